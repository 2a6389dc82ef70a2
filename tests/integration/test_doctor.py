"""What doctor reports for a broken stack: the cause and its cure, and no false findings."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError
from export_jobs.model.limits import CREATOR_TIMEOUT_S
from export_jobs_cli import doctor
from export_jobs_cli.doctor import Finding, examine
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import REGION, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.server import SegmentationService


@pytest.fixture
def stack(aws: MotoServer, service: SegmentationService) -> Iterator[LocalStack]:
    """A separate stack, whose functions would call the local service."""
    name = f"doctor-{uuid.uuid4().hex[:8]}"
    credential = {
        "clientId": service.client_id,
        "clientSecret": service.client_secret,
        "orgId": service.org_id,
        "scopes": service.scopes,
    }
    secret = aws.client("secretsmanager").create_secret(
        Name=name, SecretString=json.dumps(credential)
    )
    stack = LocalStack(aws, name)
    stack.deploy(
        TEMPLATE,
        {
            "AepSecretArn": secret["ARN"],
            "Sandboxes": "prod,dev",
            "ApiBaseUrl": service.api_url,
            "ImsTokenUrl": service.ims_url,
        },
    )
    yield stack
    stack.delete()


@pytest.fixture
def system(aws: MotoServer, stack: LocalStack) -> DeployedSystem:
    return system_of(aws, stack.name)


def system_of(aws: MotoServer, name: str) -> DeployedSystem:
    session = boto3.Session(
        aws_access_key_id="local", aws_secret_access_key="local", region_name=REGION
    )
    return DeployedSystem(name, session=session, endpoint_url=aws.url)


def findings(system: DeployedSystem) -> dict[tuple[str, str | None], Finding]:
    return {(found.name, found.sandbox): found for found in examine(system)}


def test_a_secret_that_is_no_json_is_the_only_thing_to_mend(
    aws: MotoServer, stack: LocalStack, system: DeployedSystem
) -> None:
    """Neither the token nor the API, which can't be checked without it, is blamed."""
    aws.client("secretsmanager").put_secret_value(SecretId=stack.name, SecretString="{oops")
    found = findings(system)
    assert "JSON object with clientId" in str(found["Adobe secret", None].cure)
    assert {"access token", "Segmentation API"}.isdisjoint(name for name, _ in found)
    assert found["clock", None].state == "ok"


def test_a_lost_function_has_to_be_deployed_again(system: DeployedSystem) -> None:
    """No finding blames the user's own permissions."""
    # Not deleted: moto can't delete a stack that lacks something.
    vars(system)["outputs"] = {**system.outputs, "MonitorFunctionName": "gone"}
    found = findings(system)
    assert found["monitor function", None].state == "bad"
    for finding in found.values():
        assert "permission" not in str(finding.cure), finding
    assert "deploy the stack again" in str(found["schedule", None].cure)
    assert found["jobs table", None].state == "ok"


def test_a_time_out_that_leases_do_not_reckon_with_is_bad(
    aws: MotoServer, system: DeployedSystem
) -> None:
    """A longer run may still hold what another has taken over; a shorter one does no harm."""
    name = system.outputs["CreatorFunctionName"]
    for timeout_s, state in ((CREATOR_TIMEOUT_S + 1, "bad"), (CREATOR_TIMEOUT_S - 1, "ok")):
        aws.client("lambda").update_function_configuration(FunctionName=name, Timeout=timeout_s)
        assert findings(system)["creator function", None].state == state


def test_a_sandbox_that_fails_hides_no_other(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """Each has its own finding, for the API and for its sweeps."""
    service.control.plan_fault("list", "http", status=400, times=1)
    found = findings(system)
    assert found["Segmentation API", "prod"].state == "bad"
    assert found["Segmentation API", "dev"].state == "ok"
    assert found["last sweeps", "prod"].detail == "never swept"
    assert found["last sweeps", "dev"].detail == "never swept"


def test_an_unknown_stack_gets_a_list_of_what_to_check(aws: MotoServer) -> None:
    """Name, account and region; nothing else is checked."""
    found = findings(system_of(aws, "none-such"))
    assert [name for name, _ in found] == ["AWS credentials", "stack"]
    cure = str(found["stack", None].cure)
    for place in ("--stack", "AWS_PROFILE", "AWS_REGION"):
        assert place in cure


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeTable")


@pytest.mark.parametrize(
    ("error", "cure"),
    [
        (refused("AccessDeniedException"), "permissions"),
        (refused("AuthorizationError"), "permissions"),
        (refused("ExpiredToken"), "log in again"),
        (refused("ResourceNotFoundException"), "deleted from the stack"),
        (refused("AWS.SimpleQueueService.NonExistentQueue"), "deleted from the stack"),
        (refused("InternalError"), "if it fails again"),
        (NoCredentialsError(), "aws configure"),
        (NoRegionError(), "AWS_REGION"),
    ],
    ids=str,
)
def test_a_cure_fits_the_error(error: Exception, cure: str) -> None:
    """Permissions are blamed only if AWS denies access."""

    def check() -> Any:
        raise error

    found = doctor._finding("any", check)
    assert found.state == "bad"
    assert cure in str(found.cure)
    assert ("permissions" in str(found.cure)) is (cure == "permissions")


@pytest.mark.parametrize(
    ("ages", "swept"), [([], False), ([1.0, 90_000.0], False), ([90_000.0, 0.0], True)]
)
def test_only_a_good_sweep_counts_as_one(
    aws: MotoServer, system: DeployedSystem, ages: list[float], *, swept: bool
) -> None:
    """CloudWatch has an age of 0 after it; a sweep that failed has reported another."""
    dimensions = {"sandbox": "prod", "service": "monitor"}
    for age in ages:
        aws.client("cloudwatch").put_metric_data(
            Namespace=system.outputs["MetricsNamespace"],
            MetricData=[
                {
                    "MetricName": "SweepAge",
                    "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                    "Value": age,
                    "Timestamp": datetime.now(UTC) - timedelta(minutes=2),
                }
            ],
        )
    assert doctor._swept_lately(system, "prod") == swept
    assert not doctor._swept_lately(system, "dev")
