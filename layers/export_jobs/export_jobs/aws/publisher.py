"""Publishes events to the two sinks: EventBridge for machines, SNS for people.

Both take ten events per call, and may accept some and refuse others. An event is delivered once the
service has confirmed it; every other event is published again later, with the same `eventId`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import SOURCE, Event, Sink

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_sns import SNSClient

logger = logging.getLogger(__name__)

MAX_ENTRIES = 10
MAX_CALL_BYTES = 240_000
"""Both services take 256 KB per call, including names and attributes."""


def _anomalies(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The attribute for filter policies; none if nothing is unusual, so that `exists` works."""
    found = detail.get("anomalies")
    if not found:
        return {}
    return {"anomalies": {"DataType": "String.Array", "StringValue": json.dumps(found)}}


class AwsEventPublisher:
    """Publishes to the bus and the topic. The clients are created when an event needs them."""

    def __init__(
        self,
        *,
        events: Callable[[], EventBridgeClient],
        sns: Callable[[], SNSClient],
        bus_name: str,
        topic_arn: str,
        stack_name: str | None = None,
        names: Callable[[str], Names] = lambda _sandbox: NO_NAMES,
    ) -> None:
        """`stack_name` goes into the commands that messages for people suggest.

        `names` returns the names of a sandbox's datasets and segments for them, and never fails.
        """
        self._events = events
        self._sns = sns
        self._bus_name = bus_name
        self._topic_arn = topic_arn
        self._stack_name = stack_name
        self._names = names

    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        """Returns the ids of the events that surely arrived; the others may be published again."""
        send = self._to_bus if sink == "bus" else self._to_topic
        arrived: set[str] = set()
        for batch in _batches(events, _bus_entry if sink == "bus" else self._topic_entry):
            try:
                arrived |= send(batch)
            except (ClientError, BotoCoreError) as error:
                logger.warning("%d events did not reach the %s: %s", len(batch), sink, error)
        return frozenset(arrived)

    def _to_bus(self, batch: list[tuple[Event, dict[str, Any]]]) -> set[str]:
        entries = [{**entry, "EventBusName": self._bus_name} for _, entry in batch]
        answer = self._events().put_events(Entries=entries)  # type: ignore[arg-type]  # plain dicts
        arrived = set()
        for (event, _), result in zip(batch, answer["Entries"], strict=True):
            if result.get("ErrorCode"):
                logger.warning("the bus refused event %s: %s", event.id, result)
            else:
                arrived.add(event.id)
        return arrived

    def _to_topic(self, batch: list[tuple[Event, dict[str, Any]]]) -> set[str]:
        entries = [{**entry, "Id": str(position)} for position, (_, entry) in enumerate(batch)]
        answer = self._sns().publish_batch(
            TopicArn=self._topic_arn,
            PublishBatchRequestEntries=entries,  # type: ignore[arg-type]  # plain dicts
        )
        for refused in answer.get("Failed", []):
            logger.warning("the topic refused an event: %s", refused)
        return {batch[int(done["Id"])][0].id for done in answer.get("Successful", [])}

    def _topic_entry(self, event: Event) -> dict[str, Any]:
        """JSON for machines, text for e-mail, and a chat message for HTTPS, which Amazon Q uses."""
        from export_jobs.events import messages  # noqa: PLC0415  only for the topic

        detail = event.detail
        attributes = {
            "eventType": event.type,
            "status": detail.get("status"),
            "outcome": detail.get("outcome"),
            "sandboxName": detail.get("sandboxName"),
            "datasetId": detail.get("datasetId"),
        }
        as_json = json.dumps({"detail-type": event.type, "detail": detail}, ensure_ascii=False)
        names = self._names_for(detail)
        chat = messages.chat(event, stack=self._stack_name, names=names)
        renditions = {
            "default": as_json,
            "email": messages.email(event, stack=self._stack_name, names=names),
            "https": json.dumps(chat, ensure_ascii=False),
        }
        return {
            "Subject": messages.subject(event),
            "MessageStructure": "json",
            "Message": json.dumps(renditions, ensure_ascii=False),
            "MessageAttributes": {
                **{
                    name: {"DataType": "String", "StringValue": value}
                    for name, value in attributes.items()
                    if value
                },
                **_anomalies(detail),
            },
        }

    def _names_for(self, detail: Mapping[str, Any]) -> Names:
        """Those of its sandbox or, for a digest, of the sandboxes of the datasets that it lists."""
        lists = (detail.get(name, ()) for name in ("failures", "unusual", "slowest", "notExpected"))
        listed = [detail, *(one for entries in lists for one in entries)]
        shown = [one for one in listed if one.get("datasetId") or one.get("segments")]
        sandboxes = dict.fromkeys(one.get("sandboxName") for one in shown)
        found = [self._names(sandbox) for sandbox in sandboxes if sandbox]
        if len(found) < 2:
            return found[0] if found else NO_NAMES
        return Names(datasets={key: name for one in found for key, name in one.datasets.items()})


def _bus_entry(event: Event) -> dict[str, Any]:
    return {
        "Source": SOURCE,
        "DetailType": event.type,
        "Detail": json.dumps(event.detail, ensure_ascii=False),
    }


def _batches(
    events: Sequence[Event], entry_of: Callable[[Event], dict[str, Any]]
) -> Iterator[list[tuple[Event, dict[str, Any]]]]:
    """The entries in batches that each fit one call, by number and by size."""
    batch: list[tuple[Event, dict[str, Any]]] = []
    size = 0
    for event in events:
        entry = entry_of(event)
        entry_size = len(json.dumps(entry, ensure_ascii=False).encode())
        if batch and (len(batch) == MAX_ENTRIES or size + entry_size > MAX_CALL_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((event, entry))
        size += entry_size
    if batch:
        yield batch
