"""Lambda's detection of recursive loops, emulated: a function that sends to its own queue."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from export_jobs_local.aws import triggers
from export_jobs_local.aws.lineage import MAX_INVOCATIONS, Lineage
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.aws.stack import LocalStack, StackFailed
from export_jobs_local.aws.triggers import QueueTrigger, scheduled_event
from export_jobs_local.isolation import http_session
from support.command_line import until
from support.files import ROOT

TEMPLATE = ROOT / "tests" / "support" / "looping" / "template.yaml"
RECEIVES = 3
"""The template's `maxReceiveCount`."""


class Looping:
    """The function and its queue, both real; its trigger runs once it is started."""

    def __init__(self, aws: MotoServer, stack: LocalStack, folder: Path) -> None:
        self.sqs = aws.client("sqs")
        self._outputs = stack.outputs
        (self.function,) = stack.functions()
        self.pool = FunctionPool(self.function, layers=[], environment=aws.environment, logs=folder)
        (mapping,) = stack.queue_triggers()
        self.trigger = QueueTrigger(mapping, self.pool, self.sqs)

    def send(self, body: str, *, lineage: Lineage | None = None) -> None:
        header = {"DataType": "String", "StringValue": f"Root=1-0-0;Lineage={lineage}"}
        attributes = {"MessageSystemAttributes": {"AWSTraceHeader": header}} if lineage else {}
        url = self._outputs["QueueUrl"]
        self.sqs.send_message(QueueUrl=url, MessageBody=body, **attributes)

    def invoked(self, times: int) -> Lineage:
        """A chain that has invoked the function this many times."""
        lineage = Lineage()
        for _ in range(times):
            lineage = lineage.invoking(self.function.arn)
        return lineage

    def runs(self) -> list[dict[str, Any]]:
        """What the function logged of each run: the bodies it got, and its trace header."""
        if not self.pool.log.exists():
            return []
        lines = self.pool.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def dead(self) -> list[str]:
        answer = self.sqs.receive_message(
            QueueUrl=self._outputs["DeadLetterQueueUrl"], VisibilityTimeout=0
        )
        return [message["Body"] for message in answer.get("Messages", [])]

    def is_empty(self) -> bool:
        counts = self.sqs.get_queue_attributes(
            QueueUrl=self._outputs["QueueUrl"],
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return set(counts.values()) == {"0"}


@pytest.fixture
def deploy(
    aws: MotoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Looping]]:
    """With one poller: two might split a batch, or get the same message from moto."""
    monkeypatch.setattr(triggers, "MAX_POLLERS", 1)
    with ExitStack() as put_away:

        def deployed(**parameters: str) -> Looping:
            stack = LocalStack(aws, f"loop-{uuid.uuid4().hex[:8]}")
            stack.deploy(TEMPLATE, parameters)
            put_away.callback(stack.delete)
            looping = Looping(aws, stack, tmp_path)
            put_away.callback(looping.trigger.join)
            put_away.callback(looping.pool.close)
            put_away.callback(looping.trigger.stop)
            return looping

        yield deployed


def test_a_loop_is_stopped_after_sixteen_invocations(
    deploy: Callable[..., Looping], caplog: pytest.LogCaptureFixture
) -> None:
    """The next message stays, until the queue's redrive policy moves it; that is logged once."""
    looping = deploy()
    looping.send("back 40")
    looping.trigger.start()
    assert until(looping.dead, seconds=90) == ["back 24"]
    time.sleep(1.0)  # anything still pending has arrived
    assert [run["bodies"] for run in looping.runs()] == [
        [f"back {left}"] for left in range(40, 40 - MAX_INVOCATIONS, -1)
    ]
    assert looping.is_empty()
    ours = triggers.__name__
    (warning,) = [r for r in caplog.records if r.name == ours and r.levelno >= logging.WARNING]
    assert "function is not invoked with message" in warning.getMessage()
    assert "has invoked it 16 times" in warning.getMessage()


def test_the_dropped_message_is_received_as_often_as_its_queue_allows(
    deploy: Callable[..., Looping],
) -> None:
    """Dropping is not deleting: it comes back after each visibility time-out, as on AWS."""
    looping = deploy()
    looping.send("back 1", lineage=looping.invoked(MAX_INVOCATIONS))
    began = time.monotonic()
    looping.trigger.start()
    assert until(looping.dead, seconds=90) == ["back 1"]
    assert time.monotonic() - began > RECEIVES - 1  # seconds, at one per receive
    assert looping.runs() == []


def test_a_function_that_allows_loops_is_not_stopped(deploy: Callable[..., Looping]) -> None:
    """As `RecursiveLoop: Allow` sets in the template; every message is processed."""
    looping = deploy(RecursiveLoop="Allow")
    looping.send("back 19")
    looping.trigger.start()
    until(lambda: len(looping.runs()) == 20 and looping.is_empty(), seconds=90)
    assert looping.dead() == []
    assert looping.runs()[-1]["trace"].endswith(":19")


def test_a_message_in_a_loop_holds_up_no_other_of_its_batch(
    deploy: Callable[..., Looping],
) -> None:
    """The function gets the rest, and continues the longest chain among those."""
    looping = deploy()
    looping.send("dropped", lineage=looping.invoked(MAX_INVOCATIONS))
    looping.send("fresh")
    looping.send("late", lineage=looping.invoked(MAX_INVOCATIONS - 1))
    looping.send("early", lineage=looping.invoked(2))
    looping.trigger.start()
    (run,) = until(looping.runs, seconds=90)
    assert run["bodies"] == ["fresh", "late", "early"]
    assert run["trace"].endswith(f"Lineage={looping.invoked(MAX_INVOCATIONS)}")
    assert until(looping.dead, seconds=90) == ["dropped"]


def test_fresh_messages_and_scheduled_runs_begin_chains_of_their_own(
    deploy: Callable[..., Looping],
) -> None:
    """However many there are: none has invoked the function before."""
    looping = deploy()
    many = MAX_INVOCATIONS + 4
    for _ in range(many):
        assert (
            looping.pool.invoke(scheduled_event("arn:aws:events:us-east-1:1:rule/r")).error is None
        )
    looping.trigger.start()
    for number in range(many):
        looping.send(f"fresh {number}")
        until(lambda wanted=number: looping.runs()[-1]["bodies"] == [f"fresh {wanted}"])
    runs = looping.runs()
    assert len(runs) == 2 * many
    for run in runs:
        assert re.fullmatch(
            r"Root=1-\w{8}-\w{24};Parent=\w{16};Sampled=0;Lineage=\w{8}:0", run["trace"]
        )
    assert len({run["trace"].partition(";")[0] for run in runs}) == len(runs)


def test_a_recursive_loop_that_cannot_be_read_is_refused(deploy: Callable[..., Looping]) -> None:
    """It is not treated as absent."""
    with pytest.raises(StackFailed, match="RecursiveLoop of LoopingFunction"):
        deploy(RecursiveLoop="Sometimes")


HEADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0;Lineage=a87bd80c:1%7C68fd508a:5"
KEPT = HEADER.replace("%7C", "|")


class Queue:
    """An empty local queue, and calls with a trace header as botocore adds it within Lambda."""

    def __init__(self, aws: MotoServer) -> None:
        self._aws = aws
        self.sqs = aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
        self.arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])[
            "Attributes"
        ]["QueueArn"]

    def client(self, service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "any")
        monkeypatch.setenv("_X_AMZN_TRACE_ID", KEPT)
        return self._aws.client(service)

    def headers(self) -> dict[str, str | None]:
        """The trace header of each message, by its body."""
        messages = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, AttributeNames=["AWSTraceHeader"]
        )["Messages"]
        return {m["Body"]: m.get("Attributes", {}).get("AWSTraceHeader") for m in messages}


@pytest.fixture
def queue(aws: MotoServer) -> Queue:
    return Queue(aws)


def test_a_call_s_trace_header_is_kept_on_its_messages(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one message, and on each of a batch; a sender's own attribute overrides it, as on AWS."""
    queue.sqs.send_message(QueueUrl=queue.url, MessageBody="from outside")
    sqs = queue.client("sqs", monkeypatch)
    sqs.send_message(QueueUrl=queue.url, MessageBody="one")
    entries = [{"Id": str(number), "MessageBody": f"of batch {number}"} for number in range(2)]
    sqs.send_message_batch(QueueUrl=queue.url, Entries=entries)
    own = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-2-3"}}
    sqs.send_message(QueueUrl=queue.url, MessageBody="own", MessageSystemAttributes=own)
    assert queue.headers() == {
        "from outside": None,
        "one": KEPT,
        "of batch 0": KEPT,
        "of batch 1": KEPT,
        "own": "Root=1-2-3",
    }


def test_the_query_protocol_s_header_is_kept_too(aws: MotoServer, queue: Queue) -> None:
    """Older SDKs send forms; each call's header applies to its own messages only."""
    signature = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sqs/aws4_request, Signature=0"
    with http_session() as session:
        for body, headers in (("traced", {"X-Amzn-Trace-Id": HEADER}), ("untraced", {})):
            session.post(
                aws.url,
                data={"Action": "SendMessage", "QueueUrl": queue.url, "MessageBody": body},
                headers={"Authorization": signature, **headers},
                timeout=10,
            ).raise_for_status()
    assert queue.headers() == {"traced": KEPT, "untraced": None}


def test_the_header_passes_through_a_topic_but_not_through_a_bus(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda follows a chain through SNS, and not through EventBridge."""
    sns, events = queue.client("sns", monkeypatch), queue.client("events", monkeypatch)
    topic = sns.create_topic(Name=uuid.uuid4().hex)["TopicArn"]
    attributes = {"RawMessageDelivery": "true"}
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn, Attributes=attributes)
    sns.publish(TopicArn=topic, Message="through the topic")
    assert queue.headers() == {"through the topic": KEPT}

    bus = uuid.uuid4().hex
    events.create_event_bus(Name=bus)
    events.put_rule(Name="all", EventBusName=bus, EventPattern=json.dumps({"source": ["loops"]}))
    targets = [{"Id": "queue", "Arn": queue.arn}]
    events.put_targets(Rule="all", EventBusName=bus, Targets=targets)
    entry = {"Source": "loops", "DetailType": "any", "Detail": "{}", "EventBusName": bus}
    events.put_events(Entries=[entry])
    assert list(queue.headers().values()) == [None]
