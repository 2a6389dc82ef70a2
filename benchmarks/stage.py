"""Runs the Segmentation service, AWS and the stack in another process, so as not to measure them.

`python -m benchmarks.stage SANDBOX …` starts them, describes them in one line of JSON on standard
output, and ends with its standard input, so that it never outlives its parent process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from export_jobs import wiring
from export_jobs.aws.publisher import AwsEventPublisher
from export_jobs.aws.sqs import SqsDeadLetterQueue, SqsRequestQueue
from export_jobs.client import Credentials, ImsTokens, SegmentationClient
from export_jobs.telemetry import MeasuredTransport
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.isolation import REGION, aws_client, aws_session, http_session
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.config import API_PATH, ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from export_jobs_local.system import describe_service, local_parameters
from support.dynamodb import store_in

START_TIMEOUT_S = 60.0
STACK = "bench"


class Stage:
    """The other process, as a client sees it: addresses, and the control over the jobs."""

    def __init__(self, description: dict[str, Any]) -> None:
        self._description = description
        self.outputs: dict[str, str] = description["outputs"]
        self.jobs_url = description["apiUrl"] + "/export/jobs"
        self._control_url = description["apiUrl"].removesuffix(API_PATH) + "/_control"
        self._control = http_session()
        self._session = aws_session(description["region"])

    def aws(self, service: Any) -> Any:
        """A client as the functions make it, but with a longer timeout.

        As moto ignores `ClientRequestToken`, a retry after a timeout would conflict with its own
        effect, unlike with DynamoDB.
        """
        config = wiring._config().merge(Config(read_timeout=60))
        return aws_client(self._session, service, self._description["awsEndpointUrl"], config)

    def system(self, calls: Counter[str]) -> DeployedSystem:
        """The stack as the command and its page open it; counts their calls to AWS."""
        session = aws_session(self._description["region"])
        count_calls(session, calls)
        endpoint_url = self._description["awsEndpointUrl"]
        return DeployedSystem(STACK, session=session, endpoint_url=endpoint_url)

    @property
    def credentials(self) -> Credentials:
        description = self._description
        return Credentials(
            client_id=description["clientId"],
            client_secret=description["clientSecret"],
            org_id=description["orgId"],
            scopes=description["scopes"],
        )

    def segmentation_client(self) -> SegmentationClient:
        """A client as the functions make it, except for the source of the credential."""
        credentials = self.credentials
        transport = MeasuredTransport(time_left_s=lambda: 300.0)
        return SegmentationClient(
            base_url=self._description["apiUrl"],
            credentials=lambda: credentials,
            tokens=ImsTokens(token_url=self._description["imsUrl"], transport=transport),
            transport=transport,
        )

    def bare_headers(self, sandbox: str) -> dict[str, str]:
        """The headers that a call needs, with a new token."""
        credentials = self.credentials
        token = new_token(
            self._description["imsUrl"],
            credentials.client_id,
            credentials.client_secret,
            credentials.scopes,
        )
        return {
            "Authorization": f"Bearer {token}",
            "x-api-key": credentials.client_id,
            "x-gw-ims-org-id": credentials.org_id,
            "x-sandbox-name": sandbox,
        }

    def create_jobs(self, sandbox: str, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Creates jobs as another client would, with the given fields and defaults for the rest."""
        for fields in jobs:
            answer = self._control.post(
                f"{self._control_url}/jobs", params={"sandbox": sandbox}, json=fields, timeout=10
            )
            answer.raise_for_status()

    def calls(self) -> Counter[str]:
        """The API calls since the last call of this, by kind."""
        answer = self._control.get(f"{self._control_url}/calls", timeout=60)
        self._control.delete(f"{self._control_url}/calls", timeout=10)
        return Counter(answer.json()["counts"])


def new_token(ims_url: str, client_id: str, client_secret: str, scopes: str) -> str:
    answer = http_session().post(
        ims_url,
        data={
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": scopes,
        },
        timeout=10,
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


class Parts:
    """The parts that both functions use, wired as in the functions."""

    def __init__(self, stage: Stage) -> None:
        outputs = stage.outputs
        self.clients = {name: stage.aws(name) for name in ("dynamodb", "events", "sns", "sqs")}
        self.store = store_in(self.clients["dynamodb"], outputs)
        self.publisher = AwsEventPublisher(
            events=lambda: self.clients["events"],
            sns=lambda: self.clients["sns"],
            bus_name=outputs["EventBusName"],
            topic_arn=outputs["AlertTopicArn"],
        )
        self.dead_letter_queue = SqsDeadLetterQueue(
            lambda: self.clients["sqs"], url=outputs["DeadLetterQueueUrl"]
        )
        self.request_queue = SqsRequestQueue(
            lambda: self.clients["sqs"], url=outputs["RequestQueueUrl"]
        )


def count_calls(caller: Any, calls: Counter[str]) -> None:
    """Counts the calls of a client, or of all clients that a session makes from now on.

    By operation, including retries.
    """

    def sent(operation_name: str, **_: Any) -> None:
        calls[operation_name] += 1

    events = caller.events if isinstance(caller, boto3.Session) else caller.meta.events
    events.register("request-created", sent)


@contextmanager
def metrics_unseen() -> Iterator[None]:
    """Discards the metrics that our parts write to standard output for CloudWatch."""
    before = os.environ.get("POWERTOOLS_METRICS_NAMESPACE")
    os.environ["POWERTOOLS_METRICS_NAMESPACE"] = "bench"
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            yield
    finally:
        if before is None:
            del os.environ["POWERTOOLS_METRICS_NAMESPACE"]
        else:
            os.environ["POWERTOOLS_METRICS_NAMESPACE"] = before


@contextmanager
def staged(sandboxes: Sequence[str]) -> Iterator[Stage]:
    """The other process, while the `with` block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stage", *sandboxes],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    # Kills it if it does not start; then the line below is empty.
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        watchdog.cancel()
        assert line, "the stage did not start"
        yield Stage(json.loads(line))
    finally:
        watchdog.cancel()
        process.stdin.close()
        try:
            process.wait(timeout=START_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
        process.stdout.close()


def main() -> None:
    """Starts without subscribers: deliveries would be most of moto's work."""
    with (
        SegmentationService(ServiceConfig(manual=True, sandboxes=tuple(sys.argv[1:]))) as service,
        MotoServer() as aws,
    ):
        stack = LocalStack(aws, STACK)
        stack.deploy(TEMPLATE, local_parameters(aws, service))
        events = aws.client("events")
        for archive in events.list_archives()["Archives"]:
            events.delete_archive(ArchiveName=archive["ArchiveName"])
        description = {
            **describe_service(service),
            "awsEndpointUrl": aws.url,
            "region": REGION,
            "outputs": dict(stack.outputs),
        }
        print(json.dumps(description), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
