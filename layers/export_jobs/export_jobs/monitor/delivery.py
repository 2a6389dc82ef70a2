"""Publishes the outboxes of a sandbox, and reports the results."""

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

WRITE_TRIES = 4
"""How often a write is tried that other runs, or an outage of the tables, may have prevented."""


class Delivery:
    """Publishes events that are ours to publish, and takes over those that no other run will."""

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
        """Publishes their outboxes. Returns, for each event id, the sinks that it reached."""
        if not bearers:
            return {}
        published = outbox.publish(
            bearers,
            publisher=self._publisher,
            dead_letter_queue=self._dead_letter_queue,
            store=self._store,
            out_of_time=self._out_of_time,
        )
        report.events += published.events
        report.published += published.delivered
        report.unfinished |= published.unfinished
        report.problems += published.problems
        return published.reached

    def publish_items(self, ours: Sequence[OutboxItem], report: SweepReport) -> bool:
        """Publishes the events of outbox items. Returns whether any may be left."""
        reached = self.publish(ours, report)
        left = len(ours)
        for item in ours:
            after = outbox.after_delivery(item, reached)
            self.note_undelivered(after, report)
            left -= self._settled(after, report)
        return left > 0

    def _settled(self, item: OutboxItem, report: SweepReport) -> bool:
        """Settles an item; returns whether it is gone.

        Tries again, because the events of an unsettled one are published again.
        """
        problem = ""
        for _ in range(WRITE_TRIES):
            try:
                return self._store.put_outbox(item) is None
            except RecordChanged:
                return False
            except StoreUnavailable as error:
                problem = str(error)
        report.problems.append(f"can't settle an event: {problem}")
        return False

    def take_over(self, found: Sequence[OutboxItem], report: SweepReport) -> bool:
        """Publishes what other runs have left in the outbox. Returns whether any may be left."""
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
        """Reports how long the first of its events has been undelivered, if any is left."""
        if bearer.outbox:
            waiting_ms = outbox.waiting_ms(bearer, self._clock())
            report.oldest_undelivered_ms = max(report.oldest_undelivered_ms, waiting_ms)
