"""Handles waiting requests in a sweep: ends expired ones, and wakes the creator for the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from export_jobs.events import endings
from export_jobs.model.capacity import admissible, open_exports
from export_jobs.model.ports import QueueUnavailable, RequestQueue, StoreUnavailable, SweepStore
from export_jobs.model.records import (
    Gate,
    JobRecord,
    OutboxItem,
    RequestRecord,
    Ticket,
    as_written,
    ticket_of,
)
from export_jobs.model.steps import GateChange, Step
from export_jobs.monitor.delivery import Delivery
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepInProgress

ENDED_AT_ONCE = 10
"""Requests in one transaction: with their bodies, they have less than 4 MB."""


class RequestKeeper:
    """Handles the requests of a sandbox, once what the sweep has seen is on record."""

    def __init__(
        self,
        *,
        store: SweepStore,
        delivery: Delivery,
        request_queue: RequestQueue,
        policy: MonitorPolicy,
        clock: Callable[[], int],
        out_of_time: Callable[[], bool],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._request_queue = request_queue
        self._policy = policy
        self._clock = clock
        self._out_of_time = out_of_time

    def look_after(self, sweep: SweepInProgress) -> None:
        """Ends expired requests, publishes final events, and wakes the creator for the others."""
        now = self._clock()
        report, unsettled = sweep.report, sweep.settled.gate.unsettled
        left_over = self._delivery.publish_items(sweep.settled.outbox, report)
        tickets, some_left = self._end_expired(sweep, now)
        left_over |= some_left
        tickets = self._put_in_line(tickets, sweep, now)
        for found in sweep.chunks(sweep.known.outbox, out_of_time=self._out_of_time):
            left_over |= self._delivery.take_over(found, report)
        since = [ticket.sent_at for ticket in tickets]
        since += [attempt.noted_at for attempt in unsettled]
        report.waiting = len(tickets)
        report.oldest_request_ms = max((0, *(now - time for time in since)))
        if tickets and sweep.watched:
            self._wake_creator(tickets, sweep)
        report.finished = not (
            report.open_jobs or left_over or tickets or unsettled or sweep.has_events
        )

    def _end_expired(self, sweep: SweepInProgress, now: int) -> tuple[list[Ticket], bool]:
        """Ends requests that have expired, and all in a sandbox that is no longer watched.

        Returns the tickets that are left, and whether final events may be left to publish.
        """
        tickets = [*sweep.known.tickets, *sweep.settled.tickets]
        to_end = expired(tickets, now) if sweep.watched else tickets
        end = self._expired if sweep.watched else self._not_watched
        ended: set[str] = set()
        left_over = False
        try:
            for some in sweep.chunks(to_end, out_of_time=self._out_of_time):
                items = self._end(some, lambda record: end(record, now))
                left_over |= self._delivery.publish_items(items, sweep.report)
                ended |= {ticket.request_key for ticket in some}
        except StoreUnavailable as error:
            sweep.report.problems.append(f"can't end requests: {error}")
        return [ticket for ticket in tickets if ticket.request_key not in ended], left_over

    def _end(
        self, tickets: Sequence[Ticket], end: Callable[[RequestRecord], endings.Ended]
    ) -> list[OutboxItem]:
        """Ends requests that still wait. Returns the events to publish. Raises StoreUnavailable."""
        items = []
        for start in range(0, len(tickets), ENDED_AT_ONCE):
            some = tickets[start : start + ENDED_AT_ONCE]
            records = self._store.requests([ticket.request_key for ticket in some])
            steps = []
            for ticket in some:
                record = records.get(ticket.request_key)
                if record is None:  # it has expired from the store
                    steps.append(Step(drop_tickets=(ticket,)))
                elif record.status == "WAITING":
                    steps.append(end(record).step(ticket))
            written = self._store.commit(some[0].sandbox, steps)
            items += [as_written(item) for n in sorted(written) for item in steps[n].outbox]
        return items

    def _put_in_line(
        self, tickets: Sequence[Ticket], sweep: SweepInProgress, now: int
    ) -> list[Ticket]:
        """Puts requests back in line whose delay before a further try has ended.

        Their place is by the time at which SQS received their messages, not behind all who came
        during the earlier tries. Returns all tickets, as they are then.
        """
        due = [ticket for ticket in tickets if ticket.delayed and ticket.turn <= now]
        in_line: dict[str, Ticket] = {}
        try:
            for some in sweep.chunks(due, out_of_time=self._out_of_time):
                in_line |= self._queued(some, now)
        except StoreUnavailable as error:
            sweep.report.problems.append(f"can't put requests in line: {error}")
        return [in_line.get(ticket.request_key, ticket) for ticket in tickets]

    def _queued(self, tickets: Sequence[Ticket], now: int) -> dict[str, Ticket]:
        """The new tickets of those that could be written. Raises StoreUnavailable."""
        queued: dict[str, Ticket] = {}
        for start in range(0, len(tickets), ENDED_AT_ONCE):
            some = tickets[start : start + ENDED_AT_ONCE]
            records = self._store.requests([ticket.request_key for ticket in some])
            steps = []
            for ticket in some:
                record = records.get(ticket.request_key)
                # A query may show a ticket that is gone.
                if record and record.status == "WAITING" and (record.retry_at or 0) <= now:
                    waits = replace(record, touched_at=now)
                    steps.append(Step(requests=(waits,), add_tickets=(ticket_of(waits),)))
            written = self._store.commit(some[0].sandbox, steps)
            for number in written:
                (ticket,) = steps[number].add_tickets
                queued[ticket.request_key] = ticket
        return queued

    def _expired(self, record: RequestRecord, now: int) -> endings.Ended:
        return endings.expired(record, policy=self._policy.events, now=now)

    def _not_watched(self, record: RequestRecord, now: int) -> endings.Ended:
        reason = f"the stack no longer watches sandbox {record.sandbox!r}"
        return endings.rejected(record, "NOT_WATCHED", reason, policy=self._policy.events, now=now)

    def _wake_creator(self, tickets: Sequence[Ticket], sweep: SweepInProgress) -> None:
        gate, open_jobs = sweep.settled.gate, sweep.open_jobs
        ended = [
            key
            for key, slot in gate.slots.items()
            if slot.job_id in open_jobs and open_jobs[slot.job_id].final
        ]
        try:
            if ended:  # or they would count under the cap until they expire
                self._store.commit(sweep.sandbox, [], GateChange(expired_slots=tuple(ended)))
            if wants_creator(tickets, gate, open_jobs, policy=self._policy, now=self._clock()):
                self._request_queue.wake(sweep.sandbox)
        except (StoreUnavailable, QueueUnavailable) as error:
            sweep.report.problems.append(f"can't wake the creator: {error}")


def expired(tickets: Iterable[Ticket], now: int) -> list[Ticket]:
    """The tickets whose deadline has passed."""
    return [
        ticket for ticket in tickets if ticket.deadline_ms is not None and ticket.deadline_ms <= now
    ]


def wants_creator(
    tickets: Sequence[Ticket],
    gate: Gate,
    open_jobs: Mapping[str, JobRecord],
    *,
    policy: MonitorPolicy,
    now: int,
) -> bool:
    """Whether the creator has work: a cancel request is due, or a creation that the cap allows."""
    due = [ticket for ticket in tickets if ticket.turn <= now and not ticket.delayed]
    if any(ticket.action == "cancel" for ticket in due):
        return True
    if not due:
        return False
    open_now = open_exports(open_jobs, gate, delays=policy.delays, now=now)
    return admissible(gate, open_now=open_now, max_open=policy.max_open, now=now) > 0
