"""Decides what has changed of a job: functions of (known, observed, now), without any I/O.

A change is decided once, as a `Change`: the record to write, and what is new about the job. Its
events are built once, too, when it is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from export_jobs import events
from export_jobs.contract import JobHeader
from export_jobs.events.outbox import can_publish
from export_jobs.events.policy import EventPolicy
from export_jobs.model.baselines import Comparison
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.fingerprints import segments_of
from export_jobs.model.kinds import kind_of
from export_jobs.model.outcome import duration_ms, outcome_of
from export_jobs.model.records import VANISHED, Event, JobRecord, RequestRecord
from export_jobs.monitor.policy import MonitorPolicy

if TYPE_CHECKING:
    from export_jobs.contract import Job

MISSES_TO_VANISH = 2
MISSES_APART_MS = 30_000
"""The same 404 in two overlapping sweeps counts as one miss."""
YOUNG_MS = 5 * 60_000
"""How long after its creation a job may not be found by its id."""
MAX_UNDELIVERED = 7
"""The most events of a job in its outbox. Each has at most 40 KB, as has the detail of the job's end, and an
item holds 400 KB, with 32 KB of segments. At this limit, the job's next change is recorded after some have been
delivered."""
MAX_UNDELIVERED_FOR_DELAYS = 5
"""With this many events of a job in its outbox, no delays are added."""

_LIFECYCLE_ORDER = {"NEW": 0, "QUEUED": 1, "PROCESSING": 2, "CANCELLING": 3}
_FINAL_ORDER = 4


@dataclass(frozen=True)
class Case:
    """A job that may have something to record or to publish.

    Without `job`, the service either returned 404 for it (`missing`) or was not asked. `silent`
    marks a job that was final before the first sweep.
    """

    sandbox: str
    record: JobRecord | None
    job: JobHeader | None = None
    missing: bool = False
    silent: bool = False

    @property
    def creation_time(self) -> int:
        if self.record:
            return self.record.creation_time
        return (self.job.creation_time if self.job else None) or 0


@dataclass(frozen=True)
class StatusChanged:
    """A job is new, or has another status. `record` has the sequence of the event."""

    record: JobRecord
    job: Job
    previous_status: str | None


@dataclass(frozen=True)
class LimitPassed:
    """A job has been open for longer than its limit."""

    record: JobRecord
    job: Job
    limit_ms: int


@dataclass(frozen=True)
class JobVanished:
    """The service no longer knows an open job."""

    record: JobRecord
    previous_status: str | None


@dataclass(frozen=True)
class TriedAgain:
    """The job's request waits for its next try. `request` is its record, as it waits."""

    record: JobRecord
    request: RequestRecord


News = StatusChanged | LimitPassed | JobVanished | TriedAgain


@dataclass(frozen=True)
class Change:
    """The record that replaces a job's record, and the news for its events."""

    before: JobRecord | None
    after: JobRecord
    decided_at: int
    news: tuple[News, ...] = ()

    @property
    def needs_baseline(self) -> bool:
        """Whether the job is compared with its baseline, or the baseline learns from it."""
        is_late = any(isinstance(news, LimitPassed) for news in self.news)
        return self.after.final or self._is_first_seen or is_late

    @property
    def _is_first_seen(self) -> bool:
        return any(
            isinstance(news, StatusChanged) and news.previous_status is None for news in self.news
        )

    def recorded(self, comparison: Comparison, *, policy: MonitorPolicy, now: int) -> JobRecord:
        """The record with its events in the outbox; leased to us if we may publish them.

        What is usual is recorded with the job when it is first seen, and when it has ended.
        """
        events = [_event_of(n, comparison, policy.events, self.decided_at) for n in self.news]
        undelivered = (policy.events.undelivered(event) for event in events)
        record = replace(self.after, outbox=(*self.after.outbox, *undelivered))
        if record.final and "VOLUME" in comparison.settled:
            record = replace(record, usual_profiles=comparison.usual_profiles)
        elif not record.final and self._is_first_seen:
            record = _with_limit_by_usual(record, comparison, policy.delays, self.decided_at)
        return replace(record, leased_at=now) if can_publish(record, now=now) else record


def _with_limit_by_usual(
    record: JobRecord, comparison: Comparison, delays: DelayPolicy, now: int
) -> JobRecord:
    """The record with its limit. If it is late already by the configured one, that was announced."""
    limited = replace(record, delay_limit_ms=delays.limit_by_usual(comparison))
    if not record.delays:
        return limited
    return replace(limited, delays=max(record.delays, delays.delays_of(limited, now)))


def change_of(case: Case, *, org_id: str | None, policy: MonitorPolicy, now: int) -> Change | None:
    """The change to write; None if nothing has changed and nothing is to be published."""
    record = case.record
    change: Change | None = None
    if case.silent and case.job and record is None:
        first = _first_record(case.job, case.sandbox)
        return Change(None, replace(_described(first, case.job.whole, now), touched_at=now), now)
    if case.missing and record and not record.final:
        change = _missed(record, now)
    elif case.job:
        change = _seen(case, case.job, org_id, policy, now)
    if change is None and record and (record.retry_is_undecided or can_publish(record, now=now)):
        return Change(record, record, now)
    return change


def is_stale(record: JobRecord, job: JobHeader) -> bool:
    """Whether the listing shows an older state of the job than the one on record.

    A later `updateTime` is always news. Without one, only a step forward in the lifecycle is: a
    stale listing must not reopen a job. A job that is shown after it vanished is back.
    """
    if record.status in {None, VANISHED}:
        return False
    times = (record.update_time, job.update_time)
    if None not in times and times[0] != times[1]:
        return bool(times[0] > times[1])  # type: ignore[operator]  # neither is None here
    shown = _lifecycle_position(job.status, final=job.is_final)
    recorded = _lifecycle_position(record.status, final=record.final)
    both_known = {job.status, record.status} <= _LIFECYCLE_ORDER.keys()
    return shown < recorded or (shown == recorded and (record.final or both_known))


def _seen(
    case: Case, job: JobHeader, org_id: str | None, policy: MonitorPolicy, now: int
) -> Change | None:
    known = case.record or _first_record(job, case.sandbox)
    if known.org_id != org_id:  # a copy of each open job would be most of a quiet sweep's time
        known = replace(known, org_id=org_id)
    news: list[News] = []
    after = known
    if status := _status_changed(known, job, now):
        news.append(status)
        after = status.record
    if late := _limit_passed(after, job, policy, now, undelivered=len(known.outbox) + len(news)):
        news.append(late)
        after = late.record
    if not news and not known.misses:
        return None
    return Change(case.record, replace(after, misses=0, touched_at=now), now, tuple(news))


def _status_changed(known: JobRecord, job: JobHeader, now: int) -> StatusChanged | None:
    if known.status == job.status or is_stale(known, job) or len(known.outbox) >= MAX_UNDELIVERED:
        return None
    changed = replace(_described(known, job.whole, now), sequence=known.sequence + 1)
    return StatusChanged(changed, job.whole, known.status)


def _limit_passed(
    known: JobRecord, job: JobHeader, policy: MonitorPolicy, now: int, *, undelivered: int
) -> LimitPassed | None:
    if known.final or not known.creation_time or undelivered >= MAX_UNDELIVERED_FOR_DELAYS:
        return None
    if known.status != job.status:  # a stale listing shows no delay
        return None
    limit = policy.delays.limit_of(known)
    due = policy.delays.delays_of(known, now)
    if due <= known.delays:
        return None
    return LimitPassed(replace(known, delays=due, sequence=known.sequence + 1), job.whole, limit)


def _missed(record: JobRecord, now: int) -> Change | None:
    """The change after a 404 for an open job, which has vanished at the second one.

    None if the 404 does not count: the job is too young to be found by its id, or the last 404 is
    too recent.
    """
    too_young = now - record.creation_time < YOUNG_MS
    same_as_the_last = record.misses and now - record.touched_at < MISSES_APART_MS
    if too_young or same_as_the_last:
        return None
    missed = replace(record, misses=record.misses + 1, touched_at=now)
    if missed.misses < MISSES_TO_VANISH:
        return Change(record, missed, now)
    gone = replace(
        missed, status=VANISHED, outcome="VANISHED", final=True, sequence=record.sequence + 1
    )
    return Change(record, gone, now, (JobVanished(gone, record.status),))


def _first_record(job: JobHeader, sandbox: str) -> JobRecord:
    """The record of a job of which only its existence is known."""
    return JobRecord(sandbox=sandbox, job_id=job.id, creation_time=job.creation_time or 0)


def _described(known: JobRecord, job: Job, now: int) -> JobRecord:
    metrics = job.metrics
    return replace(
        known,
        status=job.status,
        final=job.is_final,
        outcome=outcome_of(job),
        update_time=job.update_time,
        dataset_id=job.destination.dataset_id if job.destination else known.dataset_id,
        segments=segments_of(job) if job.filter else known.segments,
        kind=known.kind or kind_of(job),
        duration_ms=duration_ms(job, now) if job.is_final else None,
        profiles_exported=metrics.total_exported_profile_counter if metrics else None,
        misses=0,
    )


def _event_of(news: News, comparison: Comparison, policy: EventPolicy, now: int) -> Event:
    match news:
        case StatusChanged():
            return events.build.state_change(
                news.record,
                news.job,
                previous_status=news.previous_status,
                comparison=comparison,
                stack_id=policy.stack_id,
                now=now,
            )
        case LimitPassed():
            return events.build.delayed(
                news.record,
                news.job,
                limit_ms=news.limit_ms,
                by_usual=news.limit_ms == news.record.delay_limit_ms,
                comparison=comparison,
                stack_id=policy.stack_id,
                now=now,
            )
        case JobVanished():
            return events.build.vanished(
                news.record,
                previous_status=news.previous_status,
                stack_id=policy.stack_id,
                now=now,
            )
        case TriedAgain():
            return events.build.retried(
                news.request, news.record, stack_id=policy.stack_id, now=now
            )


def _lifecycle_position(status: str, *, final: bool) -> int:
    """The position of a status in the lifecycle; an unknown one counts as PROCESSING."""
    return _FINAL_ORDER if final else _LIFECYCLE_ORDER.get(status, _LIFECYCLE_ORDER["PROCESSING"])
