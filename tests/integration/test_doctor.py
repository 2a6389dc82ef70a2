"""What doctor reports for a broken stack: the cause and its cure, and no false findings."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import pytest
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError
from botocore.stub import Stubber
from export_jobs.aws.clock import now_ms
from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
from export_jobs.model.limits import CREATOR_TIMEOUT_S, MONITOR_TIMEOUT_S
from export_jobs.model.records import JobRecord
from export_jobs_cli.doctor import Finding, adobe, alerts, examine, functions, resources, sweeps
from export_jobs_cli.doctor.findings import OPTIONAL, RESTORE, Name, found
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.template import read_template
from export_jobs_local.isolation import aws_session
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from support import aws_commands
from support.aws_commands import shown
from support.command_line import parsed
from support.files import ROOT


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


@pytest.fixture
def in_aws(system: DeployedSystem, monkeypatch: pytest.MonkeyPatch) -> DeployedSystem:
    """The same, checked for what a local AWS does not have."""
    monkeypatch.setattr(DeployedSystem, "is_on_this_machine", False)
    return system


def system_of(aws: MotoServer, name: str) -> DeployedSystem:
    return DeployedSystem(
        name, session=aws_session(), profile="ops", region="eu-west-1", endpoint_url=aws.url
    )


@pytest.fixture(autouse=True)
def _every_command_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test finds: the commands in the cure exist, and reach the same account."""

    def checked(name: Name, state: Any, detail: str, *texts: Any, **more: Any) -> Finding:
        finding = Finding(name, state, detail, *texts, **more)
        for line in shown(finding.cure or ""):
            if line.startswith("aws configure"):
                continue
            if line.startswith("aws "):
                options = aws_commands.parsed(line).options
                assert options.pop("endpoint-url").startswith("http://127.0.0.1:")
                assert options == {"profile": "ops", "region": "eu-west-1"}
            else:
                given = parsed(line)
                assert given["stack"].startswith(("doctor-", "none-such"))
                assert (given["profile"], given["region"]) == ("ops", "eu-west-1")
        return finding

    monkeypatch.setattr("export_jobs_cli.doctor.findings.Finding", checked)


def cured(aws: MotoServer, finding: Finding, **values: str) -> None:
    """Runs the commands of the cure, with values for what they leave open."""
    commands = [aws_commands.parsed(line) for line in shown(str(finding.cure))]
    assert commands
    for command in commands:
        parameters = {
            name: values.get(value, value) if isinstance(value, str) else value
            for name, value in command.parameters.items()
        }
        getattr(aws.client(command.service), command.method)(**parameters)


def findings(system: DeployedSystem) -> dict[tuple[str, str | None], Finding]:
    """Every finding; each that is not fine says what does not work and what to do."""
    all_found = {(one.name, one.sandbox): one for one in examine(system)}
    for one in all_found.values():
        assert (one.state == "ok") == (not one.effect) == (not one.cure), one
    return all_found


@contextmanager
def answering(system: DeployedSystem, service: str) -> Iterator[Stubber]:
    """Answers a service's calls from a script, for what moto does not have."""
    client, real = system.client(service), system.client
    with pytest.MonkeyPatch.context() as patch, Stubber(client) as stub:
        patch.setattr(system, "client", lambda name: client if name == service else real(name))
        yield stub
        stub.assert_no_pending_responses()


def test_a_secret_that_is_no_json_is_the_only_thing_to_mend(
    aws: MotoServer, stack: LocalStack, system: DeployedSystem
) -> None:
    """Neither the token nor the API, which can't be checked without it, is blamed."""
    aws.client("secretsmanager").put_secret_value(SecretId=stack.name, SecretString="{oops")
    all_found = findings(system)
    assert "JSON object with clientId" in str(all_found["Adobe secret", None].cure)
    assert {"access token", "Segmentation API"}.isdisjoint(name for name, _ in all_found)
    assert all_found["clock", None].state == "ok"


def test_a_lost_function_is_not_to_be_deployed_again(system: DeployedSystem) -> None:
    """CloudFormation would find no change. No finding blames the user's own permissions."""
    # Not deleted: moto can't delete a stack that lacks something.
    vars(system)["outputs"] = {**system.outputs, "MonitorFunctionName": "gone"}
    all_found = findings(system)
    assert all_found["monitor function", None].state == "bad"
    for finding in all_found.values():
        assert "permission" not in str(finding.cure), finding
    assert all_found["monitor function", None].cure == RESTORE
    assert all_found["schedule", None].cure == RESTORE
    assert all_found["jobs table", None].state == "ok"


def test_a_time_out_that_leases_do_not_reckon_with_is_bad(
    aws: MotoServer, system: DeployedSystem
) -> None:
    """A longer run may still hold what another has taken over; a shorter one does no harm."""
    for output, check, longest_s in (
        ("CreatorFunctionName", "creator function", CREATOR_TIMEOUT_S),
        ("MonitorFunctionName", "monitor function", MONITOR_TIMEOUT_S),
    ):
        set_timeout(aws, system.outputs[output], longest_s + 1)
        finding = findings(system)[check, None]  # type: ignore[index]
        assert finding.state == "bad"
        cured(aws, finding)
        assert system.function(output)["Timeout"] == longest_s
        set_timeout(aws, system.outputs[output], longest_s - 1)
        assert findings(system)[check, None].state == "ok"  # type: ignore[index]


def set_timeout(aws: MotoServer, name: str, timeout_s: int) -> None:
    aws.client("lambda").update_function_configuration(FunctionName=name, Timeout=timeout_s)


def test_a_sandbox_that_fails_hides_no_other(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """Each has its own finding, for the API and for its sweeps."""
    service.control.plan_fault("list", "http", status=400, times=1)
    all_found = findings(system)
    assert all_found["Segmentation API", "prod"].state == "bad"
    assert all_found["Segmentation API", "dev"].state == "ok"
    assert all_found["last sweeps", "prod"].detail == "never swept"
    assert all_found["last sweeps", "dev"].detail == "never swept"


def test_an_unknown_stack_gets_a_list_of_what_to_check(aws: MotoServer) -> None:
    """Name, account and region; nothing else is checked."""
    all_found = findings(system_of(aws, "none-such"))
    assert [name for name, _ in all_found] == ["AWS credentials", "stack"]
    cure = str(all_found["stack", None].cure)
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
        (refused("ResourceNotFoundException"), "deleted by hand"),
        (refused("AWS.SimpleQueueService.NonExistentQueue"), "deleted by hand"),
        (refused("InternalError"), "if it fails again"),
        (NoCredentialsError(), "aws configure"),
        (NoRegionError(), "AWS_REGION"),
    ],
    ids=str,
)
def test_a_cure_fits_the_error(error: Exception, cure: str) -> None:
    """Permissions are blamed only if AWS denies access."""
    finding = found("jobs table", partial(raising, error))
    assert finding.state == "bad"
    assert cure in str(finding.cure)
    assert ("permissions" in str(finding.cure)) is (cure == "permissions")


def test_a_lost_table_is_restored_once(system: DeployedSystem) -> None:
    """With its contents: a check that can't read it does not have it made anew, and empty."""
    vars(system)["outputs"] = {**system.outputs, "JobsTableName": "gone"}
    all_found = findings(system)
    cure = str(all_found["jobs table", None].cure)
    backups, restore = (aws_commands.parsed(line) for line in shown(cure))
    assert backups.parameters == {"BackupType": "SYSTEM", "TableName": "gone"}
    assert restore.parameters == {"TargetTableName": "gone", "BackupArn": "BACKUP_ARN"}
    assert all_found["last sweeps", "prod"].cure == "see the tables above"


def raising(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize("name", get_args(Name))
def test_a_denied_call_is_bad_only_where_doctor_must_vouch(name: Name) -> None:
    """For a check of what makes failures worse or hides them, it is worth a look."""
    for code in ("AccessDenied", "AuthorizationErrorException", "AccessDeniedException"):
        finding = found(name, partial(raising, refused(code)))
        assert finding.state == ("look" if name in OPTIONAL else "bad")
        assert "Not checked" in str(finding.effect)
    assert found(name, partial(raising, refused("ExpiredToken"))).state == "bad"
    assert found(name, partial(raising, refused("InternalError"))).state == "bad"


@pytest.mark.parametrize("code", ["404", "InvalidAction", "UnknownOperationException"])
def test_a_call_that_this_aws_lacks_is_no_alarm(code: str) -> None:
    """If the check is one that the system can do without."""
    finding = found("concurrency", partial(raising, refused(code)))
    assert (finding.state, finding.effect) == ("ok", None)
    assert "not checked" in finding.detail
    assert found("jobs table", partial(raising, refused(code))).state == "bad"


# -- a system where all is well --------------------------------------------------------------------


def subscribe(
    aws: MotoServer, system: DeployedSystem, topic: str = "AlarmTopicArn", **attributes: str
) -> None:
    """Subscribes a queue to the topic of that output, without a confirmation."""
    outputs = system.outputs
    aws.client("sns").subscribe(
        TopicArn=outputs[topic],
        Protocol="sqs",
        Endpoint=f"{outputs['DeadLetterQueueArn']}{len(attributes)}",
        Attributes=attributes,
    )


def test_each_check_runs_and_finds_nothing_wrong(
    aws: MotoServer, system: DeployedSystem, service: SegmentationService
) -> None:
    """In the order of their names, without a job created; nothing has swept this stack."""
    subscribe(aws, system, "AlertTopicArn")
    subscribe(aws, system, "AlarmTopicArn")
    service.control.forget_calls()
    all_found = findings(system)
    assert list(dict.fromkeys(name for name, _ in all_found)) == list(get_args(Name))
    wrong = {name for (name, _), finding in all_found.items() if finding.state != "ok"}
    assert wrong == {"last sweeps"}
    assert service.control.calls()["policies"] == 2
    assert service.control.calls()["create"] == 0


# -- Adobe -----------------------------------------------------------------------------------------


def test_a_missing_permission_to_create_is_bad_in_its_sandbox(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """Its name is the one in Adobe's Permissions; no create call is made to find out."""
    service.control.deny_create("dev")
    all_found = findings(system)
    assert all_found["export permission", "prod"].state == "ok"
    finding = all_found["export permission", "dev"]
    assert finding.state == "bad"
    assert "Export Audience for Segment" in finding.detail
    assert "Export Audience for Segment" in str(finding.cure)
    assert service.control.calls()["create"] == 0
    assert all_found["Segmentation API", "dev"].state == "ok"


@pytest.mark.parametrize(
    ("call", "kind", "status"),
    [
        ("policies", "http", 404),
        ("policies", "http", 403),
        ("policies", "http", 503),
        ("policies", "not_json", 200),
        ("policies", "reset_before", 0),
        ("reference", "http", 404),
        ("reference", "not_json", 200),
    ],
)
def test_no_answer_about_the_permission_is_no_missing_permission(
    service: SegmentationService, system: DeployedSystem, call: Any, kind: str, status: int
) -> None:
    """It is worth a look; that the answer says nothing is said."""
    service.control.deny_create("prod", "dev")
    details = {"status": status} if kind == "http" else {}
    service.control.plan_fault(call, kind, times=1, **details)
    all_found = findings(system)
    finding = all_found["export permission", "prod"]
    assert finding.state == "look"
    assert "can't be determined" in finding.detail
    assert "the creator's log has Adobe's answer, in a line 'request KEY: …'" in str(finding.cure)
    assert all_found["export permission", "dev"].state == "bad"


def test_a_permission_that_adobe_has_renamed_is_not_taken_for_missing(
    system: DeployedSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access control leaves out a name that it does not know, too."""
    monkeypatch.setattr(adobe, "MAY_CREATE", "a-name-of-the-past")
    finding = findings(system)["export permission", "prod"]
    assert finding.state == "look"
    assert "a-name-of-the-past" in finding.detail


def test_the_permission_is_not_asked_for_where_the_api_fails(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """The cause is reported alone, in its own sandbox only."""
    service.control.plan_fault("list", "http", status=400, times=1)
    all_found = findings(system)
    assert ("export permission", "prod") not in all_found
    assert all_found["export permission", "dev"].state == "ok"


def test_each_error_of_the_gateway_has_a_cure_of_its_own(
    aws: MotoServer, stack: LocalStack, system: DeployedSystem, service: SegmentationService
) -> None:
    """A wrong key, a token of another environment, a wrong organisation, a missing sandbox."""
    settings = system.monitor
    cures = {}
    for code, config in {
        "403003": ServiceConfig(client_id="another"),
        "401013": ServiceConfig(),
        "403025": ServiceConfig(org_id="another@AdobeOrg"),
    }.items():
        with SegmentationService(config) as other:
            tokens = other if code == "403025" else service
            again = system_of(aws, stack.name)
            urls = {"aep_base_url": other.api_url, "ims_token_url": tokens.ims_url}
            vars(again)["monitor"] = settings.model_copy(update=urls)
            finding = findings(again)["Segmentation API", "prod"]
        assert finding.state == "bad"
        assert code in finding.detail
        cures[code] = str(finding.cure)
    vars(system)["monitor"] = settings.model_copy(update={"sandboxes": ("prod", "misspelt")})
    all_found = findings(system)
    assert all_found["Segmentation API", "prod"].state == "ok"
    cures["sandbox"] = str(all_found["Segmentation API", "misspelt"].cure)
    for code, words in {
        "403003": "add the Experience Platform API",
        "401013": "the same environment",
        "403025": "orgId",
        "sandbox": "sandbox of exactly this name",
    }.items():
        assert [other for other, cure in cures.items() if words in cure] == [code]


def test_a_refusal_without_a_gateway_s_code_is_about_the_sandbox(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """The same status, with the code of a missing header, is about what is on the way."""
    service.control.plan_fault("list", "http", status=403, times=1)
    assert "headers" in str(findings(system)["Segmentation API", "prod"].cure)
    error = adobe.Forbidden("not allowed (HTTP 403: no access)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system.api, "list_jobs", lambda *_, **__: raising(error))
        finding = findings(system)["Segmentation API", "prod"]
    assert "access to this sandbox" in str(finding.cure)


@pytest.mark.parametrize("name", ["clientId", "clientSecret"])
def test_a_refused_client_is_told_what_to_compare(
    aws: MotoServer, stack: LocalStack, system: DeployedSystem, name: str
) -> None:
    """IMS has the same code for a wrong id, a wrong secret and an expired one."""
    secrets = aws.client("secretsmanager")
    credential = json.loads(secrets.get_secret_value(SecretId=stack.name)["SecretString"])
    text = json.dumps({**credential, name: "wrong-one"})
    secrets.put_secret_value(SecretId=stack.name, SecretString=text)
    finding = findings(system)["access token", None]
    assert finding.state == "bad"
    assert "has expired" in str(finding.cure)
    assert "wrong-one" not in str(finding)


@pytest.mark.parametrize(
    ("code", "words"), [("invalid_scope", "scopes"), ("unauthorized_client", "server-to-server")]
)
def test_each_error_of_ims_has_a_cure_of_its_own(
    system: DeployedSystem, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    """The local IMS has no scopes to refuse, so the client's error is made up."""
    error = adobe.BadCredentials(f"IMS refuses the client (HTTP 400, {code}): check it")
    monkeypatch.setattr(system.api, "prepare", lambda: raising(error))
    assert words in str(found("access token", partial(adobe.token, system)).cure)


def test_ims_that_is_down_is_not_a_wrong_secret(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """Until the last token expires, nothing fails."""
    service.control.plan_fault("token", "http", status=503, times=0)
    finding = findings(system)["access token", None]
    assert finding.state == "bad"
    assert "IMS is down" in str(finding.cure)
    assert "until the last one expires" in str(finding.effect)
    assert "secret" not in str(finding.cure)


def test_a_service_that_is_down_needs_only_time(
    service: SegmentationService, system: DeployedSystem
) -> None:
    """No finding asks for a change."""
    service.control.plan_fault("list", "http", status=503, times=3)
    finding = findings(system)["Segmentation API", "prod"]
    assert finding.state == "bad"
    assert "resume by themselves" in str(finding.cure)


def test_a_secret_that_is_marked_for_deletion_has_to_be_restored(
    aws: MotoServer, stack: LocalStack, system: DeployedSystem
) -> None:
    """While it can be."""
    aws.client("secretsmanager").delete_secret(SecretId=stack.name)
    cured(aws, findings(system)["Adobe secret", None])
    assert findings(system)["Adobe secret", None].state == "ok"


def test_a_secret_s_key_that_is_denied_is_not_the_secret_s_fault(system: DeployedSystem) -> None:
    """The cure names the key's permission; a key that can't decrypt is another matter."""
    with answering(system, "secretsmanager") as stub:
        denied = "Access to KMS is not allowed"
        stub.add_client_error("get_secret_value", "AccessDeniedException", denied)
        stub.add_client_error("get_secret_value", "DecryptionFailure", "no")
        check = partial(adobe.secret, system)
        cure = str(found("Adobe secret", check).cure)
        assert "kms:Decrypt" in cure
        assert "enable its KMS key" in str(found("Adobe secret", check).cure)
    policy = json.loads((ROOT / "docs" / "policies" / "operator.json").read_text())
    (sid,) = (one["Sid"] for one in policy["Statement"] if one["Action"] == "kms:Decrypt")
    assert f"the statement {sid} of the operator's policy" in cure


# -- Lambda, which moto has only in part -----------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "state"),
    [(("Terminate", "Terminate"), "ok"), (("Terminate", "Allow"), "look"), (("Allow",), "look")],
)
def test_a_function_that_may_loop_is_worth_a_look(
    system: DeployedSystem, settings: tuple[str, ...], state: str
) -> None:
    """Either of the two; the cure is a command that stops it."""
    names = [system.outputs[name] for name in ("MonitorFunctionName", "CreatorFunctionName")]
    with answering(system, "lambda") as stub:
        for name, setting in zip(names, settings, strict=False):
            stub.add_response(
                "get_function_recursion_config", {"RecursiveLoop": setting}, {"FunctionName": name}
            )
        finding = found("loop detection", partial(functions.loop_detection, system))
    assert finding.state == state
    if state == "look":
        assert f"--function-name {names[len(settings) - 1]} " in str(finding.cure)


@pytest.mark.parametrize(
    ("reserved", "unreserved", "state"),
    [(None, 8, "ok"), (None, 7, "look"), (6, 2, "ok"), (6, 1, "look"), (None, 990, "ok")],
)
def test_too_little_unreserved_concurrency_is_worth_a_look(
    in_aws: DeployedSystem, reserved: int | None, unreserved: int, state: str
) -> None:
    """Eight runs without a reservation, or the creator's two with one for the monitor."""
    with answering(in_aws, "lambda") as stub:
        stub.add_response(
            "get_function_concurrency",
            {} if reserved is None else {"ReservedConcurrentExecutions": reserved},
            {"FunctionName": in_aws.outputs["MonitorFunctionName"]},
        )
        stub.add_response(
            "get_function_concurrency", {}, {"FunctionName": in_aws.outputs["CreatorFunctionName"]}
        )
        limit = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": unreserved}
        stub.add_response("get_account_settings", {"AccountLimit": limit})
        finding = found("concurrency", partial(functions.concurrency, in_aws))
    assert finding.state == state
    assert ("request-service-quota-increase" in str(finding.cure)) is (state == "look")


def test_a_function_that_may_never_run_is_bad(in_aws: DeployedSystem) -> None:
    """A reserved concurrency of 0 stops it; the cure takes the reservation away."""
    name = in_aws.outputs["CreatorFunctionName"]
    limit = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    with answering(in_aws, "lambda") as stub:
        stub.add_response("get_function_concurrency", {})
        stub.add_response("get_function_concurrency", {"ReservedConcurrentExecutions": 0})
        stub.add_response("get_account_settings", {"AccountLimit": limit})
        finding = found("concurrency", partial(functions.concurrency, in_aws))
    assert finding.state == "bad"
    assert f"delete-function-concurrency --function-name {name}" in str(finding.cure)


def test_a_table_that_is_being_deleted_is_not_waited_for(system: DeployedSystem) -> None:
    """One that is being created is."""
    with answering(system, "dynamodb") as stub:
        for state in ("DELETING", "CREATING"):
            stub.add_response("describe_table", {"Table": {"TableStatus": state}})
        check = partial(resources.requests_table, system)
        deleting, creating = found("requests table", check), found("requests table", check)
    assert "restore-table-from-backup" in str(deleting.cure)
    assert creating.cure == "wait, and run doctor again"


@pytest.mark.parametrize(
    ("check", "state"), [(resources.jobs_table, "bad"), (resources.requests_table, "look")]
)
def test_a_table_that_lacks_its_index_is_noticed(
    system: DeployedSystem, check: Callable[[DeployedSystem], str], state: str
) -> None:
    """Such as one restored without it: no sweep works without `open`; `rejected` is only listed."""
    other = [{"IndexName": "other"}]
    with answering(system, "dynamodb") as stub:
        for kind in ("LocalSecondaryIndexes", "GlobalSecondaryIndexes"):
            table = {"Table": {"TableStatus": "ACTIVE", kind: other}}
            stub.add_response("describe_table", table)
            finding = found("requests table", partial(check, system))
            assert (finding.state, "has no index" in finding.detail) == (state, True)


# -- the queues ------------------------------------------------------------------------------------


def test_a_queue_whose_settings_were_changed_gets_back_the_template_s(
    aws: MotoServer, system: DeployedSystem
) -> None:
    """By the printed command: a deployment would not notice the change."""
    properties = read_template(TEMPLATE)["Resources"]["RequestQueue"]["Properties"]
    assert properties["RedrivePolicy"]["maxReceiveCount"] == resources.RECEIVES
    assert properties["VisibilityTimeout"] == resources.VISIBILITY_S
    before = resources.queue_attributes(system, "RequestQueueUrl")
    sqs, url = aws.client("sqs"), system.outputs["RequestQueueUrl"]
    for name, wrong in (("RedrivePolicy", ""), ("VisibilityTimeout", "1")):
        sqs.set_queue_attributes(QueueUrl=url, Attributes={name: wrong})
        finding = findings(system)["request queue", None]
        assert finding.state == "bad"
        cured(aws, finding)
        after = resources.queue_attributes(system, "RequestQueueUrl")[name]
        assert json.loads(after) == json.loads(before[name])
    assert findings(system)["request queue", None].state == "ok"


def test_what_invokes_the_functions_is_enabled_again(
    aws: MotoServer, system: DeployedSystem
) -> None:
    """By the printed commands; a rejected request is shown by one, too."""
    events = aws.client("events")
    arn = system.function("MonitorFunctionName")["FunctionArn"]
    (rule,) = events.list_rule_names_by_target(TargetArn=arn)["RuleNames"]
    (mapping,) = aws.client("lambda").list_event_source_mappings(
        FunctionName=system.outputs["CreatorFunctionName"]
    )["EventSourceMappings"]
    events.disable_rule(Name=rule)
    aws.client("lambda").update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    aws.client("sqs").send_message(
        QueueUrl=system.outputs["DeadLetterQueueUrl"], MessageBody="rejected"
    )
    all_found = findings(system)
    for name in ("schedule", "queue trigger"):
        assert all_found[name, None].state == "bad"  # type: ignore[index]
        cured(aws, all_found[name, None])  # type: ignore[index]
    assert "dlq list --stack" in str(all_found["dead letters", None].cure)
    all_found = findings(system)
    assert all_found["schedule", None].state == all_found["queue trigger", None].state == "ok"


# -- the topics and their key -------------------------------------------------------------------------


def topic_key(system: DeployedSystem) -> Finding:
    return findings(system)["topic key", None]


def key_of(aws: MotoServer, system: DeployedSystem) -> str:
    topic = aws.client("sns").get_topic_attributes(TopicArn=system.outputs["AlarmTopicArn"])
    return str(topic["Attributes"]["KmsMasterKeyId"])


def let_alarms(aws: MotoServer, system: DeployedSystem, **changed: Any) -> None:
    """Sets the key's policy: the template's, with a part of CloudWatch's statement replaced."""
    key, kms = key_of(aws, system), aws.client("kms")
    policy = json.loads(kms.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
    for statement in policy["Statement"]:
        if statement["Sid"] == "LetAlarmsPublish":
            statement.update(changed)
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"Action": ["kms:Decrypt", "kms:GenerateDataKey"]}, "ok"),
        (
            {"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:*:*:alarm:doctor-*"}}},
            "ok",
        ),
        ({"Action": ["kms:Decrypt"]}, "bad"),
        ({"Action": ["kms:GenerateDataKey*"]}, "bad"),
        ({"Principal": {"Service": "events.amazonaws.com"}}, "bad"),
        ({"Condition": {"StringEquals": {"aws:SourceAccount": "999999999999"}}}, "bad"),
        (
            {"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:*:*:alarm:*-old"}}},
            "bad",
        ),
        ({"Condition": {"StringEquals": {"aws:SourceOrgID": "o-1"}}}, "look"),
    ],
    ids=str,
)
def test_a_key_that_alarms_can_t_use_is_bad(
    aws: MotoServer, system: DeployedSystem, changed: dict[str, Any], state: str
) -> None:
    """Every alarm of the stack needs it; what doctor can't decide is worth a look."""
    let_alarms(aws, system, **changed)
    finding = topic_key(system)
    assert finding.state == state
    if state != "ok":
        assert "silently lost" in str(finding.effect)
        assert f"get-template --stack-name {system.name}" in str(finding.cure)
    if state == "look":
        assert f"set-alarm-state --alarm-name {system.name}-creator-errors" in str(finding.cure)


def test_a_key_that_is_not_enabled_is_bad(aws: MotoServer, system: DeployedSystem) -> None:
    """Disabled, or to be deleted: nothing can be published, and a command makes it usable."""
    key, kms = key_of(aws, system), aws.client("kms")
    key_id = key.rpartition("/")[2]
    in_moto = {key: key_id}  # whose calls take no ARN
    kms.disable_key(KeyId=key_id)
    finding = topic_key(system)
    assert finding.state == "bad"
    cured(aws, finding, **in_moto)
    assert topic_key(system).state == "ok"
    kms.schedule_key_deletion(KeyId=key_id)
    finding = topic_key(system)
    assert finding.state == "bad"
    assert f"cancel-key-deletion --key-id {key}" in str(finding.cure)
    assert "Nothing can be published" in str(finding.effect)
    cured(aws, finding, **in_moto)
    assert topic_key(system).state == "ok"


@pytest.mark.parametrize(
    ("name", "state", "words"),
    [
        ("alias/aws/sns", "bad", "managed by AWS"),
        ("", "look", "not encrypted"),
        ("11111111-2222-3333-4444-555555555555", "bad", "there is no key"),
    ],
)
def test_a_topic_of_alarms_with_another_key_or_none(
    aws: MotoServer, system: DeployedSystem, name: str, state: str, words: str
) -> None:
    """AWS's own key loses alarms; without any, they arrive."""
    give_key(aws, system, "AlarmTopicArn", name)
    finding = topic_key(system)
    assert finding.state == state
    assert words in finding.detail
    assert ("lost" in str(finding.effect)) is (state == "bad")
    assert ("set-topic-attributes" in str(finding.cure)) is ("no key" not in words)


@pytest.mark.parametrize(
    ("name", "words"), [("alias/aws/sns", "has another key: alias/aws/sns"), ("", "not encrypted")]
)
def test_a_topic_of_events_with_another_key_or_none(
    aws: MotoServer, system: DeployedSystem, name: str, words: str
) -> None:
    """The functions are allowed the stack's key only; alarms are not concerned."""
    key = key_of(aws, system)
    give_key(aws, system, "AlertTopicArn", name)
    finding = topic_key(system)
    assert finding.state == "look"
    assert words in finding.detail
    assert "lost" not in str(finding.effect)
    cured(aws, finding, KEY_ARN=key)
    assert topic_key(system).state == "ok"


def give_key(aws: MotoServer, system: DeployedSystem, topic: str, name: str) -> None:
    aws.client("sns").set_topic_attributes(
        TopicArn=system.outputs[topic], AttributeName="KmsMasterKeyId", AttributeValue=name
    )


@pytest.mark.usefixtures("alarms")
@pytest.mark.parametrize(
    ("output", "lost", "unchecked"),
    [
        ("AlertTopicArn", "alert topic", {"topic key"}),
        ("AlarmTopicArn", "alarm topic", {"topic key", "alarms", "alarm recipients"}),
    ],
)
def test_a_lost_topic_is_the_only_finding_about_it(
    aws: MotoServer, system: DeployedSystem, output: str, lost: str, unchecked: set[str]
) -> None:
    """What depends on it is not checked; what is about the other topic is."""
    subscribe(aws, system, "AlarmTopicArn")
    vars(system)["outputs"] = {**system.outputs, output: f"{system.outputs[output]}x"}
    states = {name: finding.state for (name, _), finding in findings(system).items()}
    about_topics = {"alert topic", "alarm topic", "topic key", "alarms", "alarm recipients"}
    assert {name for name in about_topics if states.get(name) == "bad"} == {lost}
    assert about_topics - states.keys() == unchecked


def test_a_stack_from_before_alarms_had_a_topic_is_to_be_upgraded(system: DeployedSystem) -> None:
    """It has no such output; doctor says so, and does not fail."""
    outputs = {name: arn for name, arn in system.outputs.items() if name != "AlarmTopicArn"}
    vars(system)["outputs"] = outputs
    finding = findings(system)["alarm topic", None]
    assert finding.state == "bad"
    assert finding.cure == "deploy the current version"


# -- alarms and who gets them ----------------------------------------------------------------------


def alarm(aws: MotoServer, name: str, *actions: str) -> None:
    """Replaces an alarm, or makes another one."""
    aws.client("cloudwatch").put_metric_alarm(
        AlarmName=name,
        AlarmActions=list(actions),
        Namespace="n",
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )


@pytest.fixture
def alarms(aws: MotoServer, system: DeployedSystem) -> Iterator[list[str]]:
    """Alarms with the names of the template's, which moto does not create."""
    names = [f"{system.name}-{name}" for name in alerts.ALARMS]
    for name in names:
        alarm(aws, name, system.outputs["AlarmTopicArn"])
    yield names
    aws.client("cloudwatch").delete_alarms(AlarmNames=names)


def test_an_alarm_that_notifies_nobody_is_bad(
    aws: MotoServer, system: DeployedSystem, alarms: list[str]
) -> None:
    """Its actions are disabled, it names another topic, or it does not exist."""
    cloudwatch, name = aws.client("cloudwatch"), f"{system.name}-queue-old"
    assert name in alarms
    assert findings(system)["alarms", None].state == "ok"
    cloudwatch.disable_alarm_actions(AlarmNames=[name])
    finding = findings(system)["alarms", None]
    assert finding.state == "bad"
    assert f"enable-alarm-actions --alarm-names {name}" in str(finding.cure)
    cured(aws, finding)
    alarm(aws, name, system.outputs["AlertTopicArn"])
    finding = findings(system)["alarms", None]
    assert finding.state == "bad"
    assert system.outputs["AlarmTopicArn"] in str(finding.cure)
    assert f"without the alarm topic in their actions: {name}" in finding.detail
    alarm(aws, name, system.outputs["AlarmTopicArn"])
    assert findings(system)["alarms", None].state == "ok"
    cloudwatch.delete_alarms(AlarmNames=[name])
    finding = findings(system)["alarms", None]
    assert (finding.state, finding.detail) == ("bad", f"missing: {name}")
    assert RESTORE in str(finding.cure)


def test_a_stack_without_alarms_is_bad_in_aws_only(
    system: DeployedSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local one never has any, and that is no finding."""
    assert findings(system)["alarms", None].state == "ok"
    monkeypatch.setattr(system, "is_on_this_machine", False)
    finding = findings(system)["alarms", None]
    assert finding.state == "bad"
    assert finding.detail.count(system.name) == len(alerts.ALARMS)


@pytest.mark.usefixtures("alarms")
def test_a_topic_that_refuses_alarms_is_bad(aws: MotoServer, system: DeployedSystem) -> None:
    """By its own policy, whatever that of its key is."""
    owner = {"AWS": "arn:aws:iam::123456789012:root"}
    statement = {"Effect": "Allow", "Principal": owner, "Action": "sns:Publish", "Resource": "*"}
    aws.client("sns").set_topic_attributes(
        TopicArn=system.outputs["AlarmTopicArn"],
        AttributeName="Policy",
        AttributeValue=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    all_found = findings(system)
    assert all_found["topic key", None].state == "ok"
    assert all_found["alarms", None].state == "bad"
    assert "silently lost" in str(all_found["alarms", None].effect)


@pytest.mark.usefixtures("alarms")
def test_an_alarm_that_has_gone_off_is_worth_a_look(
    aws: MotoServer, system: DeployedSystem
) -> None:
    """It is named; one of a stack whose name begins the same is not."""
    other = f"{system.name}-test-queue-old"
    alarm(aws, other)
    try:
        for name in (other, f"{system.name}-request-old"):
            aws.client("cloudwatch").set_alarm_state(
                AlarmName=name, StateValue="ALARM", StateReason="a test"
            )
        finding = findings(system)["alarms", None]
    finally:
        aws.client("cloudwatch").delete_alarms(AlarmNames=[other])
    assert (finding.state, finding.detail) == ("look", f"in ALARM: {system.name}-request-old")
    cured(aws, finding)


def test_doctor_knows_the_template_s_alarms() -> None:
    """Each, and no other."""
    names = [
        str(resource["Properties"]["AlarmName"]).partition("}-")[2].rstrip("'}")
        for resource in read_template(TEMPLATE)["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert sorted(names) == sorted(alerts.ALARMS)


BY_BODY = {"FilterPolicyScope": "MessageBody"}


@pytest.mark.parametrize(
    ("attributes", "state"),
    [
        ({}, "ok"),
        ({"FilterPolicy": '{"sandboxName": ["prod"]}'}, "look"),
        ({"FilterPolicy": '{"sandboxName": [{"exists": false}]}'}, "look"),
        ({"FilterPolicy": '{"NewStateValue": ["ALARM"]}'}, "look"),
        ({"FilterPolicy": '{"NewStateValue": ["ALARM"]}', **BY_BODY}, "ok"),
        ({"FilterPolicy": '{"detail": [{"exists": false}]}', **BY_BODY}, "ok"),
        ({"FilterPolicy": '{"detail": {"status": ["FAILED"]}}', **BY_BODY}, "look"),
        ({"FilterPolicy": '{"AlarmName": ["a"], "detail": ["b"]}', **BY_BODY}, "look"),
        ({"FilterPolicy": '{"$or": [{"detail": ["b"]}, {"AlarmName": ["a"]}]}', **BY_BODY}, "ok"),
        ({"FilterPolicy": '{"$or": [{"detail": ["b"]}, {"other": ["a"]}]}', **BY_BODY}, "look"),
    ],
    ids=str,
)
def test_a_filter_that_leaves_alarms_out_is_found(
    aws: MotoServer, system: DeployedSystem, attributes: dict[str, str], state: str
) -> None:
    """They have no attributes, and a body of their own; one subscription without a filter is enough."""
    subscribe(aws, system, **attributes)
    finding = findings(system)["alarm recipients", None]
    assert finding.state == state
    if state == "look":
        assert "No one receives alarms" in str(finding.effect)
        subscribe(aws, system)
        finding = findings(system)["alarm recipients", None]
        assert (finding.state, finding.detail[:6]) == ("ok", "1 of 2")


def test_without_a_subscriber_filters_are_not_asked_for(
    aws: MotoServer, system: DeployedSystem
) -> None:
    """Nor for one that is not confirmed; the topic's own finding says that no one is notified."""
    subscribe(aws, system, "AlertTopicArn")
    all_found = findings(system)
    assert all_found["alert topic", None].state == "ok"
    assert all_found["alarm topic", None].state == "look"
    cure = str(all_found["alarm topic", None].cure)
    assert "AlarmEmail" in cure
    assert "48 hours" in cure
    (subscribe_command,) = (aws_commands.parsed(line) for line in shown(cure))
    assert subscribe_command.parameters == {
        "TopicArn": system.outputs["AlarmTopicArn"],
        "Protocol": "email",
        "Endpoint": "ADDRESS",
    }
    assert ("alarm recipients", None) not in all_found
    page = {
        "Subscriptions": [
            {
                "SubscriptionArn": "PendingConfirmation",
                "Endpoint": "you@example.com",
                "Protocol": "email",
            }
        ]
    }
    with answering(system, "sns") as stub:
        stub.add_response("get_topic_attributes", {"Attributes": {"Policy": "{}"}})
        stub.add_response("list_subscriptions_by_topic", page)
        topic = alerts.Topic(system, "AlarmTopicArn")
        finding = found("alarm topic", partial(alerts.alarm_subscribers, topic))
        assert topic.confirmed == []
    assert finding.state == "look"
    assert "you@example.com" in finding.detail
    assert "get nothing" in str(finding.effect)
    assert "within 48 hours" in str(finding.cure)


def test_regular_exports_that_nothing_expects_are_worth_a_look(system: DeployedSystem) -> None:
    """With the command that proposes what to expect, until it is expected."""
    day_ms = 24 * 3_600_000
    noon = now_ms() // day_ms * day_ms - day_ms // 2
    for night in range(15):
        created = noon - night * day_ms
        good = {"status": "SUCCEEDED", "outcome": "SUCCEEDED", "final": True, "duration_ms": 1}
        system.store.put(JobRecord("prod", f"j{night}", created, dataset_id="d1", **good))  # type: ignore[arg-type]
    check = partial(sweeps.expected, system, "prod")
    finding = found("expected exports", check, sandbox="prod")
    assert (finding.state, "into d1" in finding.detail) == ("look", True)
    assert "expectation suggest --sandbox prod" in (finding.cure or "")
    expected = Expectation("nightly", "d1", "UTC", due=23 * 60)
    system.store.edit_expectations("prod", [ExpectationRecord("prod", expected, now_ms())])
    assert found("expected exports", check).detail == "1, none overdue"


def test_an_overdue_export_is_worth_a_look(system: DeployedSystem) -> None:
    """Unless it is muted."""
    expected = Expectation("nightly", "d", "UTC", due=23 * 60)
    window = Window(1, 2, 2)
    record = ExpectationRecord("prod", expected, 1, missed=window, missed_windows=1)
    system.store.edit_expectations("prod", [record])
    check = partial(sweeps.expected, system, "prod")
    finding = found("expected exports", check)
    assert (finding.state, finding.detail) == ("look", "1, of which overdue: nightly")
    assert "expectation show nightly --sandbox prod" in (finding.cure or "")
    (stored,) = system.store.expectations("prod")
    system.store.edit_expectations("prod", [replace(stored, muted_until=now_ms() + 60_000)])
    assert found("expected exports", check).state == "ok"
