"""Publishing what is in the outboxes of jobs and requests, and what the report says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from export_jobs.events import outbox
from export_jobs.model.ports import (
    DeadLetterQueue,
    EventPublisher,
    RecordChanged,
    StoreUnavailable,
    SweepStore,
)
from export_jobs.model.records import JobRecord, OutboxItem
from export_jobs.monitor.progress import SweepReport


class Delivery:
    """Publishes events that are ours to publish, and takes over those that nobody else will."""

    def __init__(
        self,
        *,
        store: SweepStore,
        publisher: EventPublisher,
        dead_letter_queue: DeadLetterQueue,
        clock: Callable[[], int],
        out_of_time: Callable[[], bool],
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._dead_letter_queue = dead_letter_queue
        self._clock = clock
        self._out_of_time = out_of_time

    def publish(
        self, bearers: Sequence[JobRecord] | Sequence[OutboxItem], report: SweepReport
    ) -> outbox.Reached:
        """Publishes what is in their outboxes; for each event id, the sinks it reached."""
        if not bearers:
            return {}
        published = outbox.publish(
            bearers,
            publisher=self._publisher,
            dead_letter_queue=self._dead_letter_queue,
            body_of=self._body_of,
            out_of_time=self._out_of_time,
        )
        report.events += published.events
        report.published += published.delivered
        report.unfinished |= published.unfinished
        for sink, failed in published.failed.items():
            if failed:
                report.problems.append(f"{failed} events did not reach the {sink}")
        return published.reached

    def publish_items(self, ours: Sequence[OutboxItem], report: SweepReport) -> bool:
        """Publishes the ends of requests; returns whether any may be left."""
        reached = self.publish(ours, report)
        left = len(ours)
        for item in ours:
            after = outbox.after_delivery(item, reached)
            self.note_undelivered(after, report)
            try:
                left -= self._store.put_outbox(after) is None
            except RecordChanged:
                continue
            except StoreUnavailable as error:
                report.problems.append(f"can't settle an event: {error}")
        return left > 0

    def take_over(self, found: Sequence[OutboxItem], report: SweepReport) -> bool:
        """Publishes what another run has left in the outbox; returns whether any may still be there."""
        ours = []
        for item in found:
            if not outbox.can_publish(item, now=self._clock()):
                continue
            try:
                leased = self._store.put_outbox(replace(item, leased_at=self._clock()))
            except RecordChanged:
                continue
            except StoreUnavailable as error:
                report.problems.append(f"can't take an event from the outbox: {error}")
                continue
            if leased:
                ours.append(leased)
        return self.publish_items(ours, report) or len(ours) < len(found)

    def note_undelivered(self, bearer: outbox.Bearer, report: SweepReport) -> None:
        """Reports for how long the first of its events has been waiting, if any is left."""
        if bearer.outbox:
            waiting_ms = outbox.waiting_ms(bearer, self._clock())
            report.oldest_undelivered_ms = max(report.oldest_undelivered_ms, waiting_ms)

    def _body_of(self, record_key: str) -> str | None:
        record = self._store.requests([record_key]).get(record_key)
        return record.body if record else None
