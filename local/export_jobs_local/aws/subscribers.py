"""Subscribes to the bus and the topic, and records what they deliver."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from export_jobs.model.records import SOURCE

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

_DRAIN_EVERY_S = 0.1


@dataclass(frozen=True)
class Delivery:
    """An event that has arrived."""

    sink: Literal["bus", "topic"]
    type: str
    detail: Mapping[str, Any]
    subject: str | None

    @property
    def event_id(self) -> str:
        return str(self.detail["eventId"])


class Subscribers:
    """Has one queue per sink; keeps deliveries in the order of arrival for each sink."""

    def __init__(
        self,
        *,
        sqs: SQSClient,
        events: EventBridgeClient,
        sns: SNSClient,
        bus_name: str,
        topic_arn: str,
        name: str = "export-jobs",
    ) -> None:
        self._sqs = sqs
        self._lock = threading.Lock()
        self._deliveries: list[Delivery] = []
        self._bus_queue, bus_queue_arn = self._queue(f"{name}-bus-subscriber")
        self._topic_queue, topic_queue_arn = self._queue(f"{name}-topic-subscriber")
        events.put_rule(
            Name=f"{name}-subscriber",
            EventBusName=bus_name,
            EventPattern=json.dumps({"source": [SOURCE]}),
        )
        events.put_targets(
            Rule=f"{name}-subscriber",
            EventBusName=bus_name,
            Targets=[{"Id": "queue", "Arn": bus_queue_arn}],
        )
        sns.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=topic_queue_arn)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def deliveries(self) -> list[Delivery]:
        with self._lock:
            return list(self._deliveries)

    def follow(self, on_delivery: Callable[[Delivery], None] = lambda _: None) -> None:
        """Drains the queues in a thread until `stop`; calls `on_delivery` for every delivery."""

        def loop() -> None:
            while not self._stopping.wait(_DRAIN_EVERY_S):
                for delivery in self.drain():
                    on_delivery(delivery)

        self._thread = threading.Thread(target=loop, name="subscribers", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread:
            self._thread.join(timeout=5)

    def drain(self) -> list[Delivery]:
        """Receives what has arrived since the last call."""
        new = [self._from_bus(body) for body in self._received(self._bus_queue)]
        new += [self._from_topic(body) for body in self._received(self._topic_queue)]
        with self._lock:
            self._deliveries += new
        return new

    def _queue(self, name: str) -> tuple[str, str]:
        url = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, attributes["Attributes"]["QueueArn"]

    def _received(self, url: str) -> list[dict[str, Any]]:
        bodies: list[dict[str, Any]] = []
        while messages := self._sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            self._sqs.delete_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(position), "ReceiptHandle": message["ReceiptHandle"]}
                    for position, message in enumerate(messages)
                ],
            )
            bodies += [json.loads(message["Body"]) for message in messages]
        return bodies

    @staticmethod
    def _from_bus(body: Mapping[str, Any]) -> Delivery:
        return Delivery("bus", body["detail-type"], body["detail"], None)

    @staticmethod
    def _from_topic(body: Mapping[str, Any]) -> Delivery:
        event = json.loads(body["Message"])
        return Delivery("topic", event["detail-type"], event["detail"], body.get("Subject"))
