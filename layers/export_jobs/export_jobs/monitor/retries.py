"""Decides whether a request is tried again after its job has ended, and records both together.

The end of the job and the request's wait for its next try are written in one transaction. So a run
that dies leaves neither no further try nor two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from export_jobs.events import endings
from export_jobs.model.ports import RecordChanged, SweepStore
from export_jobs.model.records import (
    JobRecord,
    RequestRecord,
    Ticket,
    as_written,
    delayed_ticket_of,
)
from export_jobs.model.retry import NotRetried
from export_jobs.model.steps import Step
from export_jobs.monitor.decide import Change, StatusChanged, TriedAgain


@dataclass(frozen=True)
class Decision:
    """`at` is when the request is tried again; None if it is not."""

    at: int | None = None
    why_not: NotRetried | None = None


@dataclass(frozen=True)
class Decided:
    """A change, with what becomes of the job's request; without one, the request is left alone."""

    change: Change
    request: RequestRecord | None = None
    tickets: tuple[Ticket, ...] = ()


def decide(
    change: Change, request: RequestRecord | None, *, watched: bool, now: int
) -> Decision | None:
    """Whether the request of a job that has ended is tried again.

    None if the job's end is not for its request to act on: it has another job, or has ended.
    """
    job, before = change.after, change.before
    if (
        request is None
        or request.status != "CREATED"
        or request.job_id != job.job_id
        or request.retry is None
    ):
        return None
    cancelling = before is not None and before.status == "CANCELLING"
    if cancelling or request.cancelled_by or not request.tries_left:
        return Decision(why_not="CANCELLED")  # while it is undecided, tries are left
    if not watched:
        return Decision(why_not="NOT_WATCHED")
    at = now + request.retry.delay_ms
    if request.deadline_ms is not None and request.deadline_ms <= at:
        return Decision(why_not="EXPIRES")
    return Decision(at)


class Retries:
    """Decides and records. May raise StoreUnavailable."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store

    def decided(self, change: Change, *, watched: bool, now: int) -> Decided:
        """The change with the decision in it. Reads the request only if it may be tried again."""
        job = change.after
        if not job.retried_on:
            # Once that is decided, a job that comes back does not change it.
            came_back = change.news and (job.retry_at or job.not_retried)
            return Decided(_with(change) if came_back else change)
        if not job.final:
            return Decided(change)
        if not job.retry_is_undecided or job.request_key is None:
            return Decided(_with(change))
        request = self._store.requests([job.request_key]).get(job.request_key)
        decision = decide(change, request, watched=watched, now=now)
        if request is None or decision is None:
            return Decided(_with(change))
        if decision.at is None:
            ended = replace(request, tries_left=0) if request.tries_left else None
            return Decided(_with(change, not_retried=decision.why_not), ended)
        waits = endings.tried_again(request, job, _errors(change), decision.at, now=now)
        change = _with(change, tries_left=request.tries_left, retry_at=decision.at)
        change = replace(change, news=(*change.news, TriedAgain(change.after, waits)))
        return Decided(change, waits, (delayed_ticket_of(waits),))

    def record(self, after: JobRecord, decided: Decided) -> JobRecord:
        """Writes the job's record and, in the same transaction, what becomes of its request.

        Returns the record with its new version. Raises RecordChanged, with the job's current
        record, if another run has written either of them.
        """
        if decided.request is None:
            return self._store.put(after)
        step = Step(requests=(decided.request,), jobs=(after,), add_tickets=decided.tickets)
        if self._store.commit(after.sandbox, [step]):
            return as_written(after)
        raise RecordChanged(self._store.job(after.sandbox, after.job_id, after.creation_time))


def _with(
    change: Change,
    *,
    tries_left: int = 0,
    retry_at: int | None = None,
    not_retried: NotRetried | None = None,
) -> Change:
    """The change with the decision in its record, and in those from which its events are built."""

    def decided(record: JobRecord) -> JobRecord:
        return replace(
            record,
            tries_left=tries_left,
            retried_on=frozenset(),
            retry_at=retry_at,
            not_retried=not_retried,
        )

    news = tuple(replace(one, record=decided(one.record)) for one in change.news)
    return replace(change, after=decided(change.after), news=news)


def _errors(change: Change) -> Sequence[Mapping[str, Any]]:
    """The errors of the job, as in the detail of its final event."""
    for news in change.news:
        if isinstance(news, StatusChanged):
            return [{"code": error.code, "message": error.msg} for error in news.job.errors[:1]]
    return change.after.end.get("errors") or ()
