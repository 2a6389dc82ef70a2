"""The request queue and the dead-letter queue, as they are written to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from export_jobs.contract.text import printable
from export_jobs.model.ports import QueueUnavailable
from export_jobs.model.wake_up import wake_up_body

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_REASON = 1_000
MAX_MESSAGE_BYTES = 262_144
"""Of a message in the dead-letter queue (`MaximumMessageSize`), attributes included."""
ATTRIBUTES_BYTES = 4_096
"""At most of what a dead letter's attributes take."""


class SqsDeadLetterQueue:
    """Where rejected messages go, with the reason, and with the id of the event that tells it."""

    def __init__(self, client: Callable[[], SQSClient], *, url: str) -> None:
        """The client is made when the first message is sent."""
        self._client = client
        self._url = url

    def send(
        self, body: str, *, request_key: str, record_key: str, reason: str, event_id: str
    ) -> None:
        """A body that is too large for the queue is cut, and the reason says so. Raises QueueUnavailable."""
        encoded = body.encode("utf-8", "replace")
        if len(encoded) > MAX_MESSAGE_BYTES - ATTRIBUTES_BYTES:
            body = encoded[: MAX_MESSAGE_BYTES - ATTRIBUTES_BYTES].decode("utf-8", "ignore")
            reason = f"{reason[: MAX_REASON - 50]} (its body is cut here)"
        attributes = {
            "requestKey": request_key,
            "reason": printable(reason[:MAX_REASON]),
            "eventId": event_id,
        }
        if record_key != request_key:
            attributes["recordKey"] = record_key
        _send(self._client(), self._url, body, attributes)


class SqsRequestQueue:
    """Where the monitor wakes the creator."""

    def __init__(self, client: Callable[[], SQSClient], *, url: str) -> None:
        """The client is made when the first message is sent."""
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
