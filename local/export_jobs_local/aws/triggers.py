"""Invokes the stack's functions as EventBridge's schedule and Lambda's SQS poller do."""

from __future__ import annotations

import logging
import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from export_jobs_local.aws.lineage import MAX_INVOCATIONS, Lineage
from export_jobs_local.aws.runtime import FunctionPool, Invocation
from export_jobs_local.aws.stack import DeployedQueueTrigger, DeployedSchedule
from export_jobs_local.isolation import REGION

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

WAIT_S = 1
"""How long a poller waits for messages in one call, and after a call that failed."""
MAX_POLLERS = 2
"""Enough for a laptop's two cores."""
_UNITS_S = {"minute": 60, "hour": 3_600, "day": 86_400}


class ScheduleUnplayable(Exception):
    """A schedule that can't run here; the text states what to do."""


def period_s(expression: str) -> float:
    """Seconds between two runs of a `rate(…)`. Raises ScheduleUnplayable for a `cron(…)`."""
    found = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if not found:
        raise ScheduleUnplayable(
            f"the schedule {expression} can't run locally: set the interval with --sweep-every"
        )
    return float(found[1]) * _UNITS_S[found[2]]


class _Trigger(ABC):
    """A loop in its own threads, until stopped."""

    def __init__(self, name: str, threads: int = 1) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._loop, name=f"{name}-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self) -> None:
        for thread in self._threads:
            if thread.is_alive():  # one that was never started can't be joined
                thread.join(timeout=10)

    @abstractmethod
    def _loop(self) -> None:
        """Runs until `_stopping` is set."""

    def _invoke(
        self, pool: FunctionPool, payload: Any, lineage: Lineage | None = None
    ) -> Invocation:
        """Invokes a function; logs a failure, except during a stop, which causes failures."""
        invocation = pool.invoke(payload, lineage)
        if invocation.error and not self._stopping.is_set():
            reason = f"{invocation.error.get('errorType')}: {invocation.error.get('errorMessage')}"
            logger.warning("%s failed: %s (log: %s)", pool.function.folder.name, reason, pool.log)
        return invocation


class ScheduleTrigger(_Trigger):
    """Invokes a function at an interval, one run after the other."""

    def __init__(
        self, schedule: DeployedSchedule, pool: FunctionPool, *, every_s: float | None = None
    ) -> None:
        super().__init__("schedule")
        self._schedule = schedule
        self._pool = pool
        self._every_s = period_s(schedule.expression) if every_s is None else every_s

    def _loop(self) -> None:
        while not self._stopping.is_set():
            self._invoke(self._pool, scheduled_event(self._schedule.rule_arn))
            self._stopping.wait(self._every_s)


class QueueTrigger(_Trigger):
    """Receives messages, invokes the function with them, and deletes those it has processed.

    One poller waits for messages at a time, while others may be invoking the function. Moto would
    give the same message to two that wait.

    The others become visible again after the queue's visibility timeout, until its redrive policy
    removes them. So do dropped messages: those with which a chain would invoke the function too
    often, unless it allows loops.
    """

    def __init__(self, trigger: DeployedQueueTrigger, pool: FunctionPool, sqs: SQSClient) -> None:
        super().__init__("poller", min(trigger.max_concurrency, MAX_POLLERS))
        self._trigger = trigger
        self._pool = pool
        self._sqs = sqs
        name = trigger.queue_arn.rsplit(":", 1)[-1]
        self._queue_url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        self._receiving = threading.Lock()
        self._dropped: set[str] = set()
        """Ids of dropped messages: they are received again and again, but logged once."""

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self._hand_over(self._receive())
            except (ClientError, BotoCoreError) as error:
                if not self._stopping.is_set():
                    logger.warning("polling %s failed: %s", self._queue_url, error)
                self._stopping.wait(WAIT_S)

    def _receive(self) -> Sequence[Mapping[str, Any]]:
        """Waits for messages; there may be none."""
        with self._receiving:
            if self._stopping.is_set():
                return []
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=self._trigger.batch_size,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
                WaitTimeSeconds=WAIT_S,
            )
            return answer.get("Messages", [])

    def _hand_over(self, received: Sequence[Mapping[str, Any]]) -> None:
        """Invokes the function, without messages in a loop, so that they delay no others."""
        messages = [message for message in received if not self._drops(message)]
        if not messages:
            return
        records = [sqs_record(message, self._trigger.queue_arn) for message in messages]
        lineage = Lineage.highest(_lineage(message) for message in messages)
        invocation = self._invoke(self._pool, {"Records": records}, lineage)
        if invocation.error:
            return
        failed: set[str] = set()
        if self._trigger.partial_answers:
            answer = invocation.answer or {}
            failed = {item["itemIdentifier"] for item in answer.get("batchItemFailures", [])}
        for message in messages:
            if message["MessageId"] not in failed:
                self._sqs.delete_message(
                    QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
                )

    def _drops(self, message: Mapping[str, Any]) -> bool:
        function = self._pool.function
        times = _lineage(message).of_function(function.arn)
        if function.allows_loops or times < MAX_INVOCATIONS:
            return False
        message_id = message["MessageId"]
        if message_id not in self._dropped:
            self._dropped.add(message_id)
            logger.warning(
                "%s is not invoked with message %s: its chain has invoked it %d times, and Lambda "
                "stops such loops; the message stays in the queue until its receive count runs out",
                function.folder.name,
                message_id,
                times,
            )
        return True


def _lineage(message: Mapping[str, Any]) -> Lineage:
    return Lineage.of(message.get("Attributes", {}).get("AWSTraceHeader"))


def scheduled_event(rule_arn: str) -> dict[str, Any]:
    """The event that EventBridge sends to a scheduled function."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": rule_arn.split(":")[4],
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": REGION,
        "resources": [rule_arn],
        "detail": {},
    }


def sqs_record(message: Mapping[str, Any], queue_arn: str) -> dict[str, Any]:
    """A received message in the format in which Lambda passes it to a function."""
    attributes = {
        name: {
            "stringValue": value.get("StringValue"),
            "stringListValues": [],
            "binaryListValues": [],
            "dataType": value["DataType"],
        }
        for name, value in message.get("MessageAttributes", {}).items()
    }
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": dict(message.get("Attributes", {})),
        "messageAttributes": attributes,
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": REGION,
    }
