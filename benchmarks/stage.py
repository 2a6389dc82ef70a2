"""The Segmentation service, AWS and the stack in a process of their own, so that only our work is counted.

`python -m benchmarks.stage SANDBOX …` starts them, describes them in one line of JSON on standard
output, and ends when its standard input does: so it never outlives whoever started it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import boto3
import requests
from botocore.config import Config
from export_jobs import wiring
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.aws.publisher import AwsEventPublisher
from export_jobs.aws.sqs import SqsDeadLetterQueue, SqsRequestQueue
from export_jobs.client import Credentials, ImsTokens, SegmentationClient
from export_jobs.telemetry import MeasuredTransport
from export_jobs_local.aws.server import REGION, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.config import API_PATH, ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from export_jobs_local.system import describe_service, local_parameters

from benchmarks.peers import LOGGED_WITHIN_S

START_TIMEOUT_S = 60.0
KEY = "local"


class Stage:
    """The other process, as a client sees it: where everything is, and the control over the jobs."""

    def __init__(self, description: dict[str, Any]) -> None:
        self._said = description
        self.outputs: dict[str, str] = description["outputs"]
        self.jobs_url = description["apiUrl"] + "/export/jobs"
        self._control_url = description["apiUrl"].removesuffix(API_PATH) + "/_control"
        self._control = requests.Session()

    def aws(self, service: Any) -> Any:
        """A client as the functions make them, but for more patience with moto.

        It copies its tables for every transaction, and does not know `ClientRequestToken`: a call that
        was sent again would meet its own effect, which DynamoDB's own would not.
        """
        config = wiring._config().merge(Config(read_timeout=60))
        return boto3.client(service, config=config, **self._where)

    @property
    def _where(self) -> dict[str, Any]:
        return {
            "endpoint_url": self._said["awsEndpointUrl"],
            "region_name": self._said["region"],
            "aws_access_key_id": KEY,
            "aws_secret_access_key": KEY,
        }

    @property
    def credentials(self) -> Credentials:
        said = self._said
        return Credentials(
            client_id=said["clientId"],
            client_secret=said["clientSecret"],
            org_id=said["orgId"],
            scopes=said["scopes"],
        )

    def segmentation_client(self) -> SegmentationClient:
        """A client as the functions make them, but for where the credential comes from."""
        credentials = self.credentials
        transport = MeasuredTransport(time_left_s=lambda: 300.0)
        return SegmentationClient(
            base_url=self._said["apiUrl"],
            credentials=lambda: credentials,
            tokens=ImsTokens(token_url=self._said["imsUrl"], transport=transport),
            transport=transport,
        )

    def bare_headers(self, sandbox: str) -> dict[str, str]:
        """What a call must carry, with a token of its own."""
        credentials = self.credentials
        answer = requests.post(
            self._said["imsUrl"],
            data={
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "scope": credentials.scopes,
            },
            timeout=10,
        )
        return {
            "Authorization": f"Bearer {answer.json()['access_token']}",
            "x-api-key": credentials.client_id,
            "x-gw-ims-org-id": credentials.org_id,
            "x-sandbox-name": sandbox,
        }

    def create_jobs(self, sandbox: str, jobs: Iterable[Mapping[str, Any]]) -> None:
        """Jobs made by somebody else, with the fields given and sensible ones for the rest."""
        for fields in jobs:
            answer = self._control.post(
                f"{self._control_url}/jobs", params={"sandbox": sandbox}, json=fields, timeout=10
            )
            answer.raise_for_status()

    def empty_tables(self) -> None:
        """Moto copies a table for each write of a transaction: the time must not grow with the turns."""
        dynamodb = boto3.resource("dynamodb", **self._where)
        for name in ("JobsTableName", "RequestsTableName"):
            table = dynamodb.Table(self.outputs[name])
            keys = [key["AttributeName"] for key in table.key_schema]
            while items := table.scan()["Items"]:
                with table.batch_writer() as writer:
                    for item in items:
                        writer.delete_item(Key={key: item[key] for key in keys})

    def calls(self) -> Counter[str]:
        """The API calls since they were last asked for, by kind."""
        time.sleep(LOGGED_WITHIN_S)
        answer = self._control.get(f"{self._control_url}/calls", timeout=60)
        self._control.delete(f"{self._control_url}/calls", timeout=10)
        return Counter(answer.json()["counts"])


class Parts:
    """What both functions are wired to, as they are wired."""

    def __init__(self, stage: Stage) -> None:
        outputs = stage.outputs
        self.clients = {name: stage.aws(name) for name in ("dynamodb", "events", "sns", "sqs")}
        self.store = DynamoDbStore(
            self.clients["dynamodb"],
            jobs_table=outputs["JobsTableName"],
            requests_table=outputs["RequestsTableName"],
        )
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


def count_calls(client: Any, calls: Counter[str]) -> None:
    """From now on, counts what the client sends, tries included, by operation."""

    def sent(operation_name: str, **_: Any) -> None:
        calls[operation_name] += 1

    client.meta.events.register("request-created", sent)


@contextmanager
def metrics_unseen() -> Iterator[None]:
    """Our parts write their metrics to standard output, for CloudWatch: here, to nowhere."""
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
    """The other process, for as long as the `with` block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.stage", *sandboxes],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    # Killed if it does not come up: then the line below is empty.
    watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        line = process.stdout.readline()
        watchdog.cancel()
        assert line, "the stage did not come up"
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
    """Nobody listens to the bus and the topic: delivering would be most of moto's work."""
    with (
        SegmentationService(ServiceConfig(manual=True, sandboxes=tuple(sys.argv[1:]))) as service,
        MotoServer() as aws,
    ):
        stack = LocalStack(aws, "bench")
        stack.deploy(TEMPLATE, local_parameters(aws, service))
        events = aws.client("events")
        for archive in events.list_archives()["Archives"]:
            events.delete_archive(ArchiveName=archive["ArchiveName"])
        said = {
            **describe_service(service),
            "awsEndpointUrl": aws.url,
            "region": REGION,
            "outputs": dict(stack.outputs),
        }
        print(json.dumps(said), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
