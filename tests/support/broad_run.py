"""Runs all that the functions do, and records their calls, metrics and permissions."""

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
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.aws.triggers import sqs_record
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig

from support.dynamodb import store_in
from support.files import event
from support.scripted import answer, scripted

RECORDING = Path(__file__).parent / "recording"
FUNCTIONS = ("monitor", "creator")
SECRET_KEY = "arn:aws:kms:us-east-1:123456789012:key/66666666-7777-8888-9999-000000000000"
"""The value of the template's parameter for the secret's key."""
Emitted = frozenset[tuple[str, frozenset[Any]]]


@dataclass(frozen=True)
class BroadRun:
    """`calls` and `policies` by function; `outputs` are the stack's.

    `emitted` has each metric twice: with its dimensions' names, and with names and values.
    """

    calls: Mapping[str, list[dict[str, Any]]]
    policies: Mapping[str, list[dict[str, Any]]]
    emitted: Emitted
    namespaces: frozenset[str]
    outputs: Mapping[str, str]
    topic_key: str


@cache
def broad_run() -> BroadRun:
    """Runs both functions, as Lambda does, through all that they do; once per process."""
    with tempfile.TemporaryDirectory() as folder, scripted(answer()) as receiver:
        logs = Path(folder)
        clock = Clock(logs / "ahead")
        config = SystemConfig(
            logs=logs,
            service=ServiceConfig(manual=True, clock=clock.now_ms),
            parameters={
                "SecretKmsKeyArn": SECRET_KEY,
                "MaxOpenExports": "2",
                "Tracing": "true",
                "HeartbeatUrl": f"{receiver.url}/",
            },
            triggers=False,
        )
        with LocalSystem(config) as system, ExitStack() as pools:
            run = _Run(system, clock, {name: recording_pool(system, name) for name in FUNCTIONS})
            for pool in run.pools.values():
                pools.callback(pool.close)
            _go_through_everything(run)
            lines = [line for log in logs.glob("*.log") for line in log.read_text().splitlines()]
            emitted, namespaces = emitted_metrics(lines)
            return BroadRun(
                calls={
                    name: [json.loads(line) for line in calls_file(logs, name).open()]
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


class Clock:
    """The clock of the service and of the functions: the machine's, plus an offset."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def advance(self, *, minutes: float) -> None:
        self.ahead_ms += int(minutes * 60_000)
        self._file.write_text(str(self.ahead_ms))

    def advance_to(self, epoch_ms: int) -> None:
        self.advance(minutes=(epoch_ms - self.now_ms()) / 60_000)


@dataclass(frozen=True)
class _Run:
    """The functions, and the steps of a run, which assert their results."""

    system: LocalSystem
    clock: Clock
    pools: Mapping[str, FunctionPool]

    def monitor(self) -> list[str]:
        """Sweeps; returns the outcomes that the bus received, sorted."""
        assert self.pools["monitor"].invoke(event("monitor")).error is None
        return self.published()

    def creator(self, *records: Mapping[str, Any], by: FunctionPool | None = None) -> list[str]:
        """Delivers messages, and asserts that all are processed; returns the same."""
        pool = by or self.pools["creator"]
        answer = pool.invoke({"Records": list(records)})
        assert answer.answer == {"batchItemFailures": []}, answer
        return self.published()

    def published(self) -> list[str]:
        drained = self.system.subscribers.drain()
        return sorted(d.detail["outcome"] for d in drained if d.sink == "bus")

    def message(self, key: str, **asked: Any) -> dict[str, Any]:
        """A message of the queue; by default, for the job of the sample create request."""
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
        """Removes all messages from a queue; returns them as Lambda would pass them."""
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
        """Ends every open job with success, sweeps, and waits until their slots are free."""
        for number in self.open_jobs():
            self.system.service.control.set_status(number, "SUCCEEDED")
        self.monitor()
        self.clock.advance(minutes=3)


def _go_through_everything(run: _Run) -> None:
    store = store_in(run.system.aws.client("dynamodb"), run.system.stack.outputs)
    store.watch(["former"])
    run.monitor()  # the first sweep adds the configured sandboxes to those watched,
    assert store.watched() == {"prod", "dev", "former"}  # and watches a former one for 15 minutes

    (cancel,) = event("creator-cancel")["Records"]
    assert run.creator(cancel) == []  # its request has not arrived: it waits
    arrives = event("creator-create")["Records"]
    assert run.creator(*arrives) == ["CANCELLED", "CANCELLED"]  # both end
    assert run.creator(*event("creator-invalid")["Records"]) == ["INVALID"] * 2

    _refuse_and_redrive(run)
    _fill_up_and_wait(run)
    _hold(run)
    _settle_attempts(run)
    _try_again(run)
    _expire(run)
    _leave_in_the_outbox(run)
    _miss_an_expected_export(run, store)

    run.pools["creator"].invoke({"Records": [{**run.message("poison"), "body": None}]})  # fails
    run.end_jobs()


def _refuse_and_redrive(run: _Run) -> None:
    """The service refuses a request; its dead letter is redriven, and its job is created."""
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
    """Sends more requests than fit under the cap; the rest is admitted when jobs have ended."""
    asked = [run.message(f"several-{number}") for number in range(4)]
    assert run.creator(*asked) == ["CREATED"] * 2
    # Duplicates, of one that has a job and of one that waits.
    assert run.creator(asked[0], asked[3]) == []
    run.end_jobs()
    wake_ups = run.queued("RequestQueueUrl")
    assert len(wake_ups) == 1
    assert run.creator(*wake_ups) == ["CREATED"] * 2
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
    """Two answers are lost: one job is found by our request id, one call created no job."""
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


def _try_again(run: _Run) -> None:
    """A job fails: its request waits for the delay, then in line, then gets another job."""
    retry = {"attempts": 2, "delayMinutes": 10}
    assert run.creator(run.message("fails", retry=retry)) == ["CREATED"]
    (job,) = run.open_jobs()
    run.system.service.control.set_status(job, "FAILED")
    assert run.monitor() == ["FAILED", "RETRIED"]
    assert run.queued("RequestQueueUrl") == []
    run.clock.advance(minutes=11)
    assert run.monitor() == []
    assert run.creator(*run.queued("RequestQueueUrl")) == ["CREATED"]
    stop = {"action": "cancel", "cancelRequestKey": "fails"}
    assert run.creator(run.message("stop-trying", **stop)) == ["CANCELLING"]
    (job,) = (j.id for j in run.system.service.control.jobs("prod") if j.status == "CANCELLING")
    run.system.service.control.set_status(job, "CANCELLED")
    assert run.monitor() == ["CANCELLED"]
    run.clock.advance(minutes=3)


def _expire(run: _Run) -> None:
    """Requests expire while they wait: the sweep ends them, and sends their dead letters."""
    run.creator(*(run.message(f"fills-{number}") for number in range(2)))
    soon = datetime.fromtimestamp((run.clock.now_ms() + 60_000) / 1000, UTC)
    expires = {"expiresAt": soon.strftime("%Y-%m-%dT%H:%M:%SZ")}
    assert run.creator(*(run.message(f"expires-{number}", **expires) for number in range(3))) == []
    run.clock.advance(minutes=2)
    run.queued("DeadLetterQueueUrl")
    assert run.monitor().count("EXPIRED") == 3
    assert len(run.queued("DeadLetterQueueUrl")) == 3
    run.end_jobs()


def _leave_in_the_outbox(run: _Run) -> None:
    """An end does not reach the topic: the sweep publishes it once the lease has expired."""
    broken = _pool(
        run.system, "creator", TOPIC_ARN=f"{run.system.stack.outputs['AlertTopicArn']}-gone"
    )
    try:
        run.system.service.control.plan_fault("create", "http", status=400)
        assert run.creator(run.message("not-on-the-topic"), by=broken) == ["REFUSED"]
    finally:
        broken.close()
    run.clock.advance(minutes=10)
    assert run.pools["monitor"].invoke(event("monitor")).error is None
    published = [
        d
        for d in run.system.subscribers.drain()
        if d.detail.get("requestKey") == "not-on-the-topic"
    ]
    assert [d.sink for d in published] == ["topic"]


def _miss_an_expected_export(run: _Run, store: DynamoDbStore) -> None:
    """An expected export is overdue; a job makes it good."""
    hourly = Expectation("hourly", "5b7c86968f7b6501e21ba9df", "UTC", every=60)
    to_half_past = (90 - run.clock.now_ms() // 60_000 % 60) % 60
    run.clock.advance(minutes=to_half_past)  # no deadline is near
    store.edit_expectations("prod", [ExpectationRecord("prod", hourly, run.clock.now_ms())])
    run.monitor()
    run.clock.advance(minutes=45)  # past one deadline, and not past the next
    assert run.monitor() == ["OVERDUE"]
    run.system.service.control.create_job(
        status="SUCCEEDED", metrics={"totalExportedProfileCounter": 5}
    )
    assert run.monitor() == ["RESOLVED", "SUCCEEDED"]


def recording_pool(system: LocalSystem, name: str) -> FunctionPool:
    return _pool(system, name, CALLS_FILE=str(calls_file(system.config.logs, name)))


def _pool(system: LocalSystem, name: str, **variables: str) -> FunctionPool:
    """The function with other variables than the template's, and with the run's clock."""
    logs = system.config.logs
    function = system.pool(name).function
    ours = {"CALLS_FILE": os.devnull, "AHEAD_FILE": str(logs / "ahead")}
    return FunctionPool(
        replace(function, environment={**function.environment, **ours, **variables}),
        layers=[*system.stack.layer_folders(), RECORDING],
        environment=system.aws.environment,
        logs=logs,
    )


def calls_file(logs: Path, name: str) -> Path:
    return logs / f"{name}.calls"


def _policy(system: LocalSystem, name: str) -> list[dict[str, Any]]:
    """The statements of the function's role in the stack."""
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
