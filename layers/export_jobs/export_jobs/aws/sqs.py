"""Sends messages to the request queue and the dead-letter queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from export_jobs.contract.text import one_line
from export_jobs.events.outbox import MAX_REASON
from export_jobs.model.ports import QueueUnavailable
from export_jobs.model.wake_up import wake_up_body

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_MESSAGE_BYTES = 262_144
"""The largest message in the dead-letter queue (`MaximumMessageSize`), including attributes."""
ATTRIBUTES_BYTES = 4_096
"""The most that the attributes of a dead letter take."""


class SqsDeadLetterQueue:
    """The queue for rejected messages, with the reason and the id of the rejection's event."""

    def __init__(self, client: Callable[[], SQSClient], *, url: str) -> None:
        """The client is created when the first message is sent."""
        self._client = client
        self._url = url

    def send(
        self, body: str, *, request_key: str, record_key: str, reason: str, event_id: str
    ) -> None:
        """Truncates a too large body, and notes that in the reason. Raises QueueUnavailable."""
        encoded = body.encode("utf-8", "replace")
        if len(encoded) > MAX_MESSAGE_BYTES - ATTRIBUTES_BYTES:
            body = encoded[: MAX_MESSAGE_BYTES - ATTRIBUTES_BYTES].decode("utf-8", "ignore")
            reason = f"{reason[: MAX_REASON - 50]} (the body is truncated here)"
        attributes = {
            "requestKey": request_key,
            "reason": one_line(reason[:MAX_REASON]),
            "eventId": event_id,
        }
        if record_key != request_key:
            attributes["recordKey"] = record_key
        _send(self._client(), self._url, body, attributes)


class SqsRequestQueue:
    """The queue through which the monitor wakes the creator."""

    def __init__(self, client: Callable[[], SQSClient], *, url: str) -> None:
        """The client is created when the first message is sent."""
        self._client = client
        self._url = url

    def wake(self, sandbox: str) -> None:
        """Raises QueueUnavailable."""
        _send(self._client(), self._url, wake_up_body(sandbox), {})


def _send(client: SQSClient, url: str, body: str, attributes: Mapping[str, str]) -> None:
    try:
        client.send_message(
            QueueUrl=url,
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )
    except (ClientError, BotoCoreError) as error:
        raise QueueUnavailable(f"can't send to {url.rsplit('/', 1)[-1]}: {error}") from error
