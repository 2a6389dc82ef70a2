"""`events`: the bus, listened to through a queue and a rule that live as long as the command does."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.events.registry import kind_named
from export_jobs.model.records import SOURCE
from rich.markup import escape

from export_jobs_local.cli import output
from export_jobs_local.cli.deployed import DeployedSystem, refusal
from export_jobs_local.cli.signals import stopped_by_signals

WAIT_S = 1
_KEEP_S = "300"
"""What nobody fetches for five minutes is gone: the queue is no archive."""


def follow(
    system: DeployedSystem,
    *,
    limit: int | None,
    seconds: float | None,
    told: Callable[[Mapping[str, Any]], None],
    ready: Callable[[], None],
) -> None:
    """Tells of every event until a signal comes, or so many events or seconds have passed."""
    with stopped_by_signals() as stopped, _subscription(system) as queue_url:
        ready()
        until = time.monotonic() + seconds if seconds else None
        left = limit
        for event in _arriving(system, queue_url, stopped, until):
            told(event)
            if left is not None:
                left -= 1
                if left <= 0:
                    return


def _arriving(
    system: DeployedSystem, queue_url: str, stopped: threading.Event, until: float | None
) -> Iterator[Mapping[str, Any]]:
    sqs = system.client("sqs")
    while not stopped.is_set() and (until is None or time.monotonic() < until):
        answer = sqs.receive_message(
            QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=WAIT_S
        )
        for message in answer.get("Messages", []):
            sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            yield json.loads(message["Body"])


@contextmanager
def _subscription(system: DeployedSystem) -> Iterator[str]:
    """The address of a queue that gets every event; queue and rule are removed at the end."""
    name = f"{system.name}-follower-{uuid.uuid4().hex[:8]}"
    bus = system.outputs["EventBusName"]
    sqs, events = system.client("sqs"), system.client("events")
    with ExitStack() as removing:
        url = sqs.create_queue(
            QueueName=name,
            Attributes={"MessageRetentionPeriod": _KEEP_S},
            tags={"made-by": "export-jobs events"},
        )["QueueUrl"]
        removing.callback(_quietly, lambda: sqs.delete_queue(QueueUrl=url))
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        rule_arn = events.put_rule(
            Name=name,
            EventBusName=bus,
            EventPattern=json.dumps({"source": [SOURCE]}),
            Description="Made by `export-jobs events`, and removed when that ends",
        )["RuleArn"]
        removing.callback(_quietly, lambda: events.delete_rule(Name=name, EventBusName=bus))
        sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": json.dumps(_letting(rule_arn, send_to=arn))}
        )
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
        removing.callback(
            _quietly, lambda: events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        )
        yield url


def _letting(rule_arn: str, *, send_to: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": send_to,
                "Condition": {"ArnEquals": {"aws:SourceArn": rule_arn}},
            }
        ],
    }


def _quietly(remove: Callable[[], Any]) -> None:
    """Removes one thing; what can't be is said, and the others are removed all the same."""
    try:
        remove()
    except ClientError as error:
        output.console(stderr=True).print(escape(f"left behind: {refusal(error)}"), soft_wrap=True)
    except BotoCoreError as error:
        output.console(stderr=True).print(escape(f"left behind: {error}"), soft_wrap=True)


def show(event: Mapping[str, Any]) -> None:
    """One line an event."""
    detail = event["detail"]
    at = str(detail["detectedAt"])[11:19]
    console = output.console()
    line = f"[dim]{at}[/] {summary(str(event['detail-type']), detail)}"
    console.print(line, soft_wrap=True)


def summary(event_type: str, detail: Mapping[str, Any]) -> str:
    """An event in a line of markup: its headline, coloured by whether that is good or bad, and more."""
    kind = kind_named(event_type)
    if kind is None:  # of a newer stack than this command knows
        return escape(event_type)
    headline, more = escape(kind.headline(detail)), escape(kind.in_brief(detail))
    if kind.is_bad_news(detail):
        headline = f"[bold red]{headline}[/]"
    elif detail.get("final"):
        headline = f"[green]{headline}[/]"
    return f"{headline}: {more}" if more else headline
