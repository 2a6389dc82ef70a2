"""What a sweep does for the requests that wait: ends those whose time is up, and wakes the creator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from export_jobs.events import endings
from export_jobs.model.capacity import admissible, open_exports
from export_jobs.model.ports import SweepStore
from export_jobs.model.records import (
    Gate,
    JobRecord,
    OutboxItem,
    RequestRecord,
    Ticket,
    as_written,
)
from export_jobs.model.steps import Step
from export_jobs.monitor.policy import MonitorPolicy

NOT_WATCHED = "NOT_WATCHED"
ENDED_AT_ONCE = 10
"""Requests in one transaction: with their bodies they are of less than 4 MB."""


def expired(tickets: Iterable[Ticket], now: int) -> list[Ticket]:
    return [
        ticket for ticket in tickets if ticket.deadline_ms is not None and ticket.deadline_ms <= now
    ]


def end_expired(
    store: SweepStore, tickets: Sequence[Ticket], *, policy: MonitorPolicy, now: int
) -> list[OutboxItem]:
    """Ends requests that were still waiting at their `expiresAt`. May raise StoreUnavailable."""

    def end(record: RequestRecord) -> endings.Ended:
        return endings.expired(record, policy=policy.events, now=now)

    return _end(store, tickets, end)


def end_not_watched(
    store: SweepStore, tickets: Sequence[Ticket], *, policy: MonitorPolicy, now: int
) -> list[OutboxItem]:
    """Ends the requests of a sandbox that is watched no longer. May raise StoreUnavailable."""

    def end(record: RequestRecord) -> endings.Ended:
        reason = f"sandbox {record.sandbox!r} is no longer among those that the stack watches"
        return endings.rejected(record, NOT_WATCHED, reason, policy=policy.events, now=now)

    return _end(store, tickets, end)


def wants_creator(
    tickets: Sequence[Ticket],
    gate: Gate,
    open_jobs: Mapping[str, JobRecord],
    *,
    policy: MonitorPolicy,
    now: int,
) -> bool:
    """Whether the creator has something to do: a cancel is due, or a creation for which there is room."""
    due = [ticket for ticket in tickets if ticket.turn <= now]
    if any(ticket.action == "cancel" for ticket in due):
        return True
    if not due:
        return False
    open_now = open_exports(open_jobs, gate, delays=policy.delays, now=now)
    return admissible(gate, open_now=open_now, max_open=policy.max_open, now=now) > 0


def _end(
    store: SweepStore, tickets: Sequence[Ticket], end: Callable[[RequestRecord], endings.Ended]
) -> list[OutboxItem]:
    items = []
    for start in range(0, len(tickets), ENDED_AT_ONCE):
        some = tickets[start : start + ENDED_AT_ONCE]
        records = store.requests([ticket.request_key for ticket in some])
        steps = []
        for ticket in some:
            record = records.get(ticket.request_key)
            if record is None:  # long forgotten
                steps.append(Step(drop_tickets=(ticket,)))
            elif record.status == "WAITING":
                steps.append(end(record).step(ticket))
        written = store.commit(some[0].sandbox, steps)
        items += [as_written(item) for n in sorted(written) for item in steps[n].outbox]
    return items
