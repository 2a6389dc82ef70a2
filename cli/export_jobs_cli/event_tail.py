"""`event tail`: follows events as they are published, through a temporary queue and rule."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.model.records import SOURCE

from export_jobs_cli import output
from export_jobs_cli.signals import stopped_by_signals
from export_jobs_cli.stack import DeployedSystem, refusal

WAIT_S = 1
_KEEP_S = "300"
"""How long, in seconds, the queue keeps a message that is not fetched."""


def follow(
    system: DeployedSystem,
    *,
    wanted: Callable[[Mapping[str, Any]], bool],
    limit: int | None,
    seconds: float | None,
    show: Callable[[Mapping[str, Any]], None],
    ready: Callable[[], None],
) -> None:
    """Shows every wanted event until a signal arrives, `limit` events are shown, or time is up."""
    with stopped_by_signals() as stopped, _subscription(system) as queue_url:
        ready()
        until = time.monotonic() + seconds if seconds else None
        left = limit
        for event in filter(wanted, _arriving(system, queue_url, stopped, until)):
            show(event)
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
    """Yields the URL of a queue that gets every event; removes queue and rule at the end."""
    name = f"{system.name}-follower-{uuid.uuid4().hex[:8]}"
    bus = system.outputs["EventBusName"]
    sqs, events = system.client("sqs"), system.client("events")
    with ExitStack() as removing:
        url = sqs.create_queue(
            QueueName=name,
            Attributes={"MessageRetentionPeriod": _KEEP_S},
            tags={"made-by": "export-jobs event tail"},
        )["QueueUrl"]
        removing.callback(_quietly, lambda: sqs.delete_queue(QueueUrl=url))
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        rule_arn = events.put_rule(
            Name=name,
            EventBusName=bus,
            EventPattern=json.dumps({"source": [SOURCE]}),
            Description="Created by `export-jobs event tail`, which removes it when it ends",
        )["RuleArn"]
        removing.callback(_quietly, lambda: events.delete_rule(Name=name, EventBusName=bus))
        sqs.set_queue_attributes(
            QueueUrl=url, Attributes={"Policy": json.dumps(_allowing(rule_arn, send_to=arn))}
        )
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
        removing.callback(
            _quietly, lambda: events.remove_targets(Rule=name, EventBusName=bus, Ids=["queue"])
        )
        yield url


def _allowing(rule_arn: str, *, send_to: str) -> dict[str, Any]:
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
    """Removes one resource. A failure is printed, not raised, so that the others are removed."""
    try:
        remove()
    except ClientError as error:
        output.console(stderr=True).print(
            output.plain(f"not removed: {refusal(error)}"), soft_wrap=True
        )
    except BotoCoreError as error:
        output.console(stderr=True).print(output.plain(f"not removed: {error}"), soft_wrap=True)
