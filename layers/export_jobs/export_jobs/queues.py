"""The request queue and its dead-letter queue, as the creator writes to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from export_jobs.contract.text import printable
from export_jobs.creator.message import Message
from export_jobs.model.ports import TableUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MAX_REASON = 1_000


class RequestQueues:
    """Sends messages back to wait, and rejected ones to the dead letters, with the reason."""

    def __init__(
        self, client: Callable[[], SQSClient], *, queue_url: str, dead_letter_queue_url: str
    ) -> None:
        self._client = client
        self._queue_url = queue_url
        self._dead_letter_queue_url = dead_letter_queue_url

    def send_back(self, message: Message, *, delay_s: int) -> None:
        """A new message for the same request, seen again after `delay_s` (at most 900)."""
        attributes = {
            "requestKey": message.key,
            "firstReceivedAt": str(message.first_received_at),
            "waits": str(message.waits + 1),
            "redrives": str(message.redrives),
            **({"notBefore": str(message.not_before)} if message.not_before else {}),
        }
        self._send(self._queue_url, message.body, attributes, DelaySeconds=delay_s)

    def send_to_dead_letters(self, message: Message, *, request_key: str, reason: str) -> None:
        attributes = {
            "requestKey": request_key,
            "reason": printable(reason[:MAX_REASON]),
            "redrives": str(message.redrives),
        }
        self._send(self._dead_letter_queue_url, message.body, attributes)

    def _send(self, url: str, body: str, attributes: Mapping[str, str], **more: Any) -> None:
        try:
            self._client().send_message(
                QueueUrl=url,
                MessageBody=body,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                },
                **more,
            )
        except (ClientError, BotoCoreError) as error:
            raise TableUnavailable(f"can't send to {url.rsplit('/', 1)[-1]}: {error}") from error
