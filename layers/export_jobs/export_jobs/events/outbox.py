"""Publishes the outbox, in the same way for every event.

A bearer of an outbox is a job's record, or an item of its own for events of a request, of an
expectation or of the digest. It is written together with its events, under a lease. The run that
holds the lease publishes them; delivered events are then removed, and the others are published
again by the run that finds them after the lease has expired.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from export_jobs.contract.times import epoch_ms_of
from export_jobs.model.limits import LEASE_MS
from export_jobs.model.ports import (
    DeadLetterQueue,
    EventPublisher,
    QueueUnavailable,
    RequestReader,
    StoreUnavailable,
)
from export_jobs.model.records import Event, JobRecord, OutboxItem, PublishedEvent, Sink

logger = logging.getLogger(__name__)

SINKS: tuple[Sink, ...] = ("bus", "topic")
MAX_REASON = 1_000
MAX_HISTORY = 30
"""Published events that a job's record keeps; every sweep reads open jobs, so only KEPT of each."""
KEPT = (
    "eventId",
    "detectedAt",
    "sequence",
    "status",
    "previousStatus",
    "final",
    "outcome",
    "durationMs",
    "profilesExported",
    "requestKey",
    "reason",
)
"""Fields of an event's detail, enough for its line in a list. A job's final event is kept whole."""
KEPT_OF_TRIES = ("tryNumber", "triesLeft", "retryAt", "jobOutcome")
"""The same of events of a request that is tried again; others have nothing to tell there."""

Bearer = JobRecord | OutboxItem
_Bearer = TypeVar("_Bearer", JobRecord, OutboxItem)
Reached = Mapping[str, frozenset[Sink]]
"""For each event id, the sinks that the event has certainly reached."""


@dataclass
class Published:
    """The result of publishing. `reached` is for settling, the rest for reports."""

    reached: dict[str, frozenset[Sink]] = field(default_factory=lambda: defaultdict(frozenset))
    delivered: Counter[Sink] = field(default_factory=Counter)
    failed: Counter[Sink] = field(default_factory=Counter)
    events: list[Event] = field(default_factory=list)
    """The events that reached the bus."""
    unfinished: bool = False
    """There was not enough time to publish all events."""

    @property
    def problems(self) -> list[str]:
        """For each sink that did not accept all events, how many it has not received."""
        return [f"{n} events did not reach the {sink}" for sink, n in self.failed.items() if n]


def can_publish(bearer: Bearer, *, now: int) -> bool:
    """Whether any run may publish its outbox: no run has a lease on it, or that has expired."""
    return bool(bearer.outbox) and now - bearer.leased_at >= LEASE_MS


def after_delivery(bearer: _Bearer, reached: Reached) -> _Bearer:
    """The bearer without its delivered events, and without the lease."""
    left, delivered = [], []
    for undelivered in bearer.outbox:
        sinks = undelivered.sinks - reached.get(undelivered.event.id, frozenset())
        if sinks:
            left.append(replace(undelivered, sinks=sinks))
        else:
            delivered.append(undelivered.event)
    after = replace(bearer, outbox=tuple(left), leased_at=0)
    return _with_history(after, delivered) if isinstance(after, JobRecord) else after


def _with_history(record: JobRecord, delivered: Sequence[Event]) -> JobRecord:
    """The job's record with what is kept of events that have reached every sink."""
    kept = (
        PublishedEvent(event.type, {name: event.detail.get(name) for name in _kept(event.detail)})
        for event in delivered
    )
    ends = [event.detail for event in delivered if event.detail.get("final")]
    return replace(
        record,
        history=(*record.history, *kept)[-MAX_HISTORY:],
        end_detail=ends[-1] if ends else record.end_detail,
    )


def _kept(detail: Mapping[str, Any]) -> tuple[str, ...]:
    has_tries = detail.get("triesLeft") or (detail.get("tryNumber") or 1) > 1
    return KEPT + KEPT_OF_TRIES if has_tries else KEPT


def waiting_ms(bearer: Bearer, now: int) -> int:
    """How long its first event has been undelivered, in milliseconds."""
    return max(0, now - epoch_ms_of(bearer.outbox[0].event.detail["detectedAt"]))


def publish(
    bearers: Sequence[Bearer],
    *,
    publisher: EventPublisher,
    dead_letter_queue: DeadLetterQueue,
    store: RequestReader,
    out_of_time: Callable[[], bool],
) -> Published:
    """Publishes every event to the sinks that it has not reached.

    The n-th events of all bearers go before any (n+1)-th, and a job's next event only after the
    previous one has arrived, so that each job's events stay in order. The dead letter of a rejected
    request is its message, which is read from the `store`.
    """
    result = Published()
    for sink in SINKS:
        _publish_to(sink, bearers, publisher, out_of_time, result)
    rejections = [
        (bearer, entry.event)
        for bearer in bearers
        if isinstance(bearer, OutboxItem)
        for entry in bearer.outbox
        if "dlq" in entry.sinks
    ]
    for item, event in rejections:
        if out_of_time():
            result.unfinished = True
            break
        _deliver_dead_letter(item, event, dead_letter_queue, store, result)
    return result


def send_dead_letter(
    body: str, event: Event, record_key: str, dead_letter_queue: DeadLetterQueue
) -> None:
    """Sends the message of a rejected request to the dead-letter queue. Raises QueueUnavailable."""
    dead_letter_queue.send(
        body,
        request_key=event.detail["requestKey"],
        record_key=record_key,
        reason=f"{event.detail['outcome']}: {event.detail['reason']}"[:MAX_REASON],
        event_id=event.id,
    )


def _publish_to(
    sink: Sink,
    bearers: Sequence[Bearer],
    publisher: EventPublisher,
    out_of_time: Callable[[], bool],
    result: Published,
) -> None:
    """Publishes in rounds: in each, the next event of every bearer whose last one has arrived."""
    queues = [[entry.event for entry in bearer.outbox if sink in entry.sinks] for bearer in bearers]
    queues = [queue for queue in queues if queue]
    while queues and not out_of_time():
        arrived = publisher.publish([queue[0] for queue in queues], sink)
        result.failed[sink] += len(queues) - len(arrived)
        result.delivered[sink] += len(arrived)
        for event_id in arrived:
            result.reached[event_id] |= {sink}
        if sink == "bus":
            result.events += [queue[0] for queue in queues if queue[0].id in arrived]
        queues = [queue[1:] for queue in queues if queue[0].id in arrived and queue[1:]]
    result.unfinished |= bool(queues)


def _deliver_dead_letter(
    item: OutboxItem,
    event: Event,
    dead_letter_queue: DeadLetterQueue,
    store: RequestReader,
    result: Published,
) -> None:
    try:
        record = store.requests([item.record_key]).get(item.record_key)
        if record and record.body is not None:  # otherwise it has expired: there is none to send
            send_dead_letter(record.body, event, item.record_key, dead_letter_queue)
    except (QueueUnavailable, StoreUnavailable) as error:
        result.failed["dlq"] += 1
        logger.warning("a rejected request is not yet in the dead-letter queue: %s", error)
    else:
        result.reached[event.id] |= {"dlq"}
        result.delivered["dlq"] += 1
