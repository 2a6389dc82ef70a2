"""A run through all that the functions do: what they called, logged and measured, and what they may."""

from __future__ import annotations

import ast
import json
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.aws.triggers import sqs_record
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig

from support.files import event

RECORDING = Path(__file__).parent / "recording"
FUNCTIONS = ("monitor", "creator")
SECRET_KEY = "arn:aws:kms:us-east-1:123456789012:key/66666666-7777-8888-9999-000000000000"
"""What the template is told that the secret is encrypted with."""
Emitted = frozenset[tuple[str, frozenset[Any]]]


@dataclass(frozen=True)
class BroadRun:
    """`calls` and `policies` by function; `outputs` are the stack's.

    `emitted` holds each metric with the names of its dimensions, and with their names and values.
    """

    calls: Mapping[str, list[dict[str, Any]]]
    policies: Mapping[str, list[dict[str, Any]]]
    emitted: Emitted
    namespaces: frozenset[str]
    outputs: Mapping[str, str]
    topic_key: str


@cache
def broad_run() -> BroadRun:
    """Runs both functions as Lambda does, once a process, through all that they do."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        clock = _Clock(logs / "ahead")
        config = SystemConfig(
            logs=logs,
            service=ServiceConfig(manual=True, clock=clock.now_ms),
            parameters={"SecretKmsKeyArn": SECRET_KEY, "MaxOpenExports": "2"},
            triggers=False,
        )
        with LocalSystem(config) as system, ExitStack() as pools:
            run = _Run(system, clock, {name: _recording_pool(system, name) for name in FUNCTIONS})
            for pool in run.pools.values():
                pools.callback(pool.close)
            _go_through_everything(run)
            lines = [line for log in logs.glob("*.log") for line in log.read_text().splitlines()]
            emitted, namespaces = emitted_metrics(lines)
            return BroadRun(
                calls={
                    name: [json.loads(line) for line in _calls_file(logs, name).open()]
                    for name in FUNCTIONS
                },
                policies={name: _policy(system, name) for name in FUNCTIONS},
                emitted=emitted,
                namespaces=namespaces,
                outputs=dict(system.stack.outputs),
                topic_key=system.aws.client("sns").get_topic_attributes(
                    TopicArn=system.stack.outputs["AlertTopicArn"]
                )["Attributes"]["KmsMasterKeyId"],
            )


def emitted_metrics(
    lines: list[str],
) -> tuple[Emitted, frozenset[str]]:
    """Metrics and namespaces that CloudWatch would read from log lines in the embedded format."""
    found: set[tuple[str, frozenset[Any]]] = set()
    namespaces: set[str] = set()
    for line in lines:
        if '"CloudWatchMetrics"' not in line:
            continue
        written = json.loads(line)
        for directive in written["_aws"]["CloudWatchMetrics"]:
            namespaces.add(directive["Namespace"])
            for metric in directive["Metrics"]:
                for names in directive["Dimensions"]:
                    values = frozenset((name, written[name]) for name in names)
                    found |= {(metric["Name"], frozenset(names)), (metric["Name"], values)}
    return frozenset(found), frozenset(namespaces)


class _Clock:
    """The clock of the service and of the functions: the machine's, and so much ahead."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def advance(self, *, minutes: float) -> None:
        self.ahead_ms += int(minutes * 60_000)
        self._file.write_text(str(self.ahead_ms))


@dataclass(frozen=True)
class _Run:
    """The functions, and what a run does with them. What it expects to come of it, it asserts."""

    system: LocalSystem
    clock: _Clock
    pools: Mapping[str, FunctionPool]

    def monitor(self) -> list[str]:
        """Sweeps; returns the outcomes and statuses that people and machines are told, sorted."""
        assert self.pools["monitor"].invoke(event("monitor")).error is None
        return self.told()

    def creator(self, *records: Mapping[str, Any], by: FunctionPool | None = None) -> list[str]:
        """Delivers messages, all of which are done then; returns the same."""
        pool = by or self.pools["creator"]
        answer = pool.invoke({"Records": list(records)})
        assert answer.answer == {"batchItemFailures": []}, answer
        return self.told()

    def told(self) -> list[str]:
        drained = self.system.subscribers.drain()
        return sorted(d.detail["outcome"] for d in drained if d.sink == "bus")

    def message(self, key: str, **asked: Any) -> dict[str, Any]:
        """A message of the queue; without more, it asks for what the sample create request asks for."""
        (sample,) = event("creator-create")["Records"]
        request = (
            asked if "action" in asked else {"job": json.loads(sample["body"])["job"], **asked}
        )
        return {
            **sample,
            "messageId": f"message-{key}",
            "body": json.dumps({"requestKey": key, **request}),
            "attributes": {**sample["attributes"], "SentTimestamp": str(self.clock.now_ms())},
        }

    def queued(self, output: str) -> list[dict[str, Any]]:
        """Takes all messages off a queue, as Lambda would hand them over."""
        sqs, url = self.system.aws.client("sqs"), self.system.stack.outputs[output]
        found = []
        while messages := sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
        ).get("Messages"):
            for message in messages:
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                record = sqs_record(message, "arn:aws:sqs:us-east-1:123456789012:requests")
                sent_at = int(record["attributes"]["SentTimestamp"]) + self.clock.ahead_ms
                record["attributes"]["SentTimestamp"] = str(sent_at)
                found.append(record)
        return found

    def open_jobs(self) -> list[int]:
        jobs = self.system.service.control.jobs("prod")
        return [job.id for job in jobs if job.body["status"] == "NEW"]

    def end_jobs(self) -> None:
        """Every open job succeeds, and a sweep sees it; their slots are free when it is over."""
        for number in self.open_jobs():
            self.system.service.control.set_status(number, "SUCCEEDED")
        self.monitor()
        self.clock.advance(minutes=3)


def _go_through_everything(run: _Run) -> None:
    store = DynamoDbStore(
        run.system.aws.client("dynamodb"),
        jobs_table=run.system.stack.outputs["JobsTableName"],
        requests_table=run.system.stack.outputs["RequestsTableName"],
    )
    store.watch(["former"])
    run.monitor()  # the first sweep; it takes up the sandboxes that are watched, and looks after another
    assert store.watched() == {"prod", "dev", "former"}  # for a quarter of an hour yet

    (cancel,) = event("creator-cancel")["Records"]
    assert run.creator(cancel) == []  # of a request that has not arrived: waits
    arrives = event("creator-create")["Records"]
    assert run.creator(*arrives) == ["CANCELLED", "CANCELLED"]  # and so does its request, cancelled
    assert run.creator(*event("creator-invalid")["Records"]) == ["INVALID"] * 2

    _refuse_and_redrive(run)
    _fill_up_and_wait(run)
    _hold(run)
    _settle_attempts(run)
    _end_in_vain(run)
    _leave_in_the_outbox(run)

    run.pools["creator"].invoke({"Records": [{**run.message("poison"), "body": None}]})  # fails
    run.end_jobs()


def _refuse_and_redrive(run: _Run) -> None:
    """A request that the service refuses; its dead letter is sent again, and it is created."""
    run.queued("DeadLetterQueueUrl")
    run.system.service.control.plan_fault("create", "http", status=400)
    assert run.creator(run.message("refused")) == ["REFUSED"]
    (letter,) = run.queued("DeadLetterQueueUrl")
    assert letter["messageAttributes"].keys() == {"requestKey", "reason", "eventId"}
    assert run.creator(letter) == ["CREATED"]
    assert run.creator(letter) == []  # the same letter twice
    (job,) = run.open_jobs()
    assert run.creator(run.message("stop", action="cancel", jobId=str(job))) == ["CANCELLING"]
    run.system.service.control.set_status(job, "CANCELLED")
    run.end_jobs()


def _fill_up_and_wait(run: _Run) -> None:
    """Several requests at once, more than the cap lets in; the others are admitted when jobs have ended."""
    asked = [run.message(f"several-{number}") for number in range(4)]
    assert run.creator(*asked) == ["CREATED"] * 2
    assert (
        run.creator(asked[0], asked[3]) == []
    )  # duplicates, of one that has a job and one that waits
    run.end_jobs()
    request_queue = run.queued("RequestQueueUrl")
    assert len(request_queue) == 1
    assert run.creator(*request_queue) == ["CREATED"] * 2
    waits = run.message("waits")
    assert run.creator(waits) == []
    key = {"action": "cancel", "cancelRequestKey": "waits"}
    assert run.creator(run.message("stop-waiting", **key)) == ["CANCELLED"] * 2
    run.end_jobs()


def _hold(run: _Run) -> None:
    """The service throttles: the line is held, then one request is tried, which lifts the hold."""
    run.system.service.control.plan_fault("create", "http", status=429)
    assert run.creator(run.message("throttled")) == []
    assert run.creator(run.message("behind")) == []
    assert run.queued("RequestQueueUrl") == []
    run.clock.advance(minutes=2)
    run.monitor()
    assert run.creator(*run.queued("RequestQueueUrl")) == ["CREATED"] * 2
    run.end_jobs()


def _settle_attempts(run: _Run) -> None:
    """Answers that are lost: one whose job is found by our own request id, one that made no job."""
    control = run.system.service.control
    control.echo_request_id(on=True)
    control.plan_fault("create", "reset_after")
    assert run.creator(run.message("answer-lost")) == []
    assert "CREATED" in run.monitor()
    run.end_jobs()
    control.plan_fault("create", "reset_before")
    assert run.creator(run.message("call-lost")) == []
    run.clock.advance(minutes=7)
    run.monitor()  # a listing that does not show it
    run.clock.advance(minutes=1)
    run.monitor()  # and another: it waits again
    assert run.creator(*run.queued("RequestQueueUrl")) == ["CREATED"]
    run.end_jobs()


def _end_in_vain(run: _Run) -> None:
    """Requests that wait until their time is up: the sweep ends them, and sends their dead letters."""
    run.creator(*(run.message(f"fills-{number}") for number in range(2)))
    soon = datetime.fromtimestamp((run.clock.now_ms() + 60_000) / 1000, UTC)
    expires = {"expiresAt": soon.strftime("%Y-%m-%dT%H:%M:%SZ")}
    assert run.creator(*(run.message(f"vain-{number}", **expires) for number in range(3))) == []
    run.clock.advance(minutes=2)
    run.queued("DeadLetterQueueUrl")
    assert run.monitor().count("EXPIRED") == 3
    assert len(run.queued("DeadLetterQueueUrl")) == 3
    run.end_jobs()


def _leave_in_the_outbox(run: _Run) -> None:
    """An end that does not reach the topic: the sweep publishes it when the lease is old."""
    broken = _pool(
        run.system, "creator", TOPIC_ARN=f"{run.system.stack.outputs['AlertTopicArn']}-gone"
    )
    try:
        run.system.service.control.plan_fault("create", "http", status=400)
        assert run.creator(run.message("not-told"), by=broken) == ["REFUSED"]
    finally:
        broken.close()
    run.clock.advance(minutes=10)
    assert run.pools["monitor"].invoke(event("monitor")).error is None
    told = [d for d in run.system.subscribers.drain() if d.detail.get("requestKey") == "not-told"]
    assert [d.sink for d in told] == ["topic"]


def _recording_pool(system: LocalSystem, name: str) -> FunctionPool:
    return _pool(system, name, CALLS_FILE=str(_calls_file(system.config.logs, name)))


def _pool(system: LocalSystem, name: str, **variables: str) -> FunctionPool:
    """The function with other variables than the template's, on the run's own clock."""
    logs = system.config.logs
    function = system.pool(name).function
    ours = {"CALLS_FILE": os.devnull, "AHEAD_FILE": str(logs / "ahead")}
    return FunctionPool(
        replace(function, environment={**function.environment, **ours, **variables}),
        layers=[*system.stack.layer_folders(), RECORDING],
        environment=system.aws.environment,
        logs=logs,
    )


def _calls_file(logs: Path, name: str) -> Path:
    return logs / f"{name}.calls"


def _policy(system: LocalSystem, name: str) -> list[dict[str, Any]]:
    """The statements of the function's role, as the stack has them."""
    function = system.pool(name).function
    configuration = system.aws.client("lambda").get_function_configuration(
        FunctionName=function.name
    )
    role = configuration["Role"].rsplit("/", 1)[-1]
    iam = system.aws.client("iam")
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    statements: list[dict[str, Any]] = []
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        # Moto keeps an inline policy of a stack's role as Python's text of it.
        parsed = ast.literal_eval(document) if isinstance(document, str) else document
        statements += filter(None, parsed["Statement"])  # it leaves None for AWS::NoValue, too
    return statements
