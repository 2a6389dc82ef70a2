"""Decides what became of expected exports: functions of (record, jobs, now), without any I/O.

Windows are judged in their order, each once, by the jobs created in it; one of them must have ended
well by the deadline, by the service's own times. So the result does not depend on when a window is
judged.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from export_jobs.events import build
from export_jobs.events.policy import EventPolicy
from export_jobs.model.expectations import (
    Expectation,
    ExpectationRecord,
    PastWindow,
    Window,
)
from export_jobs.model.fingerprints import segment_fingerprint
from export_jobs.model.limits import DAY_MS
from export_jobs.model.records import Event, JobRecord, OverdueReason

MAX_HISTORY = 14
"""Windows that are kept after their deadlines."""
MAX_EVENTS = 7
"""Events of an expectation in its outbox, of 40 KB at most; the next ones wait until these have
been delivered."""
MAX_WINDOWS = 100
"""Windows of an expectation that one sweep judges."""
JUDGED_WITHIN_MS = 7 * DAY_MS
"""A window that could not be judged within this time after its deadline is not judged at all."""
MAX_REPEATED_MS = 2 * 3_600_000
"""The most that a clock change repeats. A window may open this long before the last one closes."""
TOLD_AGAIN_MS = 20 * 3_600_000
"""People are told of an overdue window only if the last one that they were told of is older."""


@dataclass(frozen=True)
class Judged:
    """The new record, and the events that announce what has changed."""

    record: ExpectationRecord
    events: tuple[Event, ...] = ()


def reads_from(records: Sequence[ExpectationRecord], *, now: int) -> int | None:
    """The creation time of the oldest job that is needed to judge them; None if none is.

    A window that was missed long ago is made good by a job of the last days, or not at all.
    """
    oldest = now - JUDGED_WITHIN_MS
    opens = [max(record.missed.opens, oldest) for record in records if record.missed]
    windows = [planned(record).window for record in records]
    opens += [window.opens for window in windows if window and window.due <= now]
    return min(opens, default=None)


def judged_by(records: Sequence[ExpectationRecord], jobs: Iterable[JobRecord]) -> list[JobRecord]:
    """The jobs that may matter to them, without what makes a job's record large."""
    definitions = [one for record in records for one in (record.expectation, record.in_force)]
    datasets = {expected.dataset_id for expected in definitions if expected}
    return [job.without_events() for job in jobs if job.dataset_id in datasets]


def planned(record: ExpectationRecord, *, after: int | None = None) -> ExpectationRecord:
    """The record with its next window: the first one whose deadline is later than `after`.

    Without `after`, one is planned if there is none: the next after the expectation was applied,
    and after its last window, as each is judged once. A window that has opened keeps the
    definition with which it opened. A window of a changed definition does not open before the last
    one has closed, so that no night is announced twice.
    """
    if after is None and record.window:
        return record
    past = record.history[-1].window if record.history else None
    if after is None:
        after = max(record.applied_at, past.due if past else 0)
    opens_from = past.closes - MAX_REPEATED_MS if past else 0
    if record.in_force and record.window:
        opens_from = record.window.closes
    window = record.expectation.next_window(after)
    while window and window.opens < opens_from:
        window = record.expectation.next_window(window.due)
    return replace(record, window=window, in_force=None)


def resumed(record: ExpectationRecord, *, now: int) -> ExpectationRecord:
    """The record at a sandbox's first sweep, which judges no deadline before it.

    What happened while the sandbox was not watched is not announced.
    """
    record = planned(record)
    if record.window is None or record.window.due > now:
        return record
    past = PastWindow(record.window, "NOT_JUDGED")
    return planned(_with_past(record, past), after=now)


def judge(
    record: ExpectationRecord,
    jobs: Sequence[JobRecord],
    *,
    org_id: str | None,
    unreadable: int = 0,
    policy: EventPolicy,
    now: int,
) -> Judged:
    """Judges the windows whose deadlines have passed; then checks if a missed one is made good.

    `jobs` are all jobs of the sandbox created since `reads_from`, from a listing that was begun at
    `now` or later and read completely; `unreadable` of its entries could not be read as jobs.
    """
    known = _Known(jobs, org_id, unreadable, policy.stack_id, now)
    judged = Judged(planned(record))
    for _ in range(MAX_WINDOWS):
        window = judged.record.window
        if window is None or window.due > now:
            # Not until now: the listing, which is read later, may show one that has ended since.
            return known.made_good(judged, until=window.due if window else sys.maxsize)
        if len(judged.events) + 1 >= MAX_EVENTS:  # a window may have two
            break
        judged = known.made_good(judged, until=window.due)
        judged = known.ended(judged, window)
        judged = replace(judged, record=planned(judged.record, after=window.due))
    return judged


@dataclass(frozen=True)
class _Known:
    """What is known when windows are judged."""

    jobs: Sequence[JobRecord]
    org_id: str | None
    unreadable: int
    stack_id: str
    now: int

    def ended(self, judged: Judged, window: Window) -> Judged:
        """Judges a window by the jobs that were created in it."""
        record = judged.record
        expected = record.in_force or record.expectation
        created = [
            job
            for job in self.jobs
            if window.opens <= job.creation_time < window.closes and matches(job, expected)
        ]
        good = _first_good(created, expected, until=window.due)
        if good:
            past = PastWindow(window, "GOOD", good.job_id)
            return replace(judged, record=_with_past(_good_at(record, good), past))
        if self.now - window.due > JUDGED_WITHIN_MS:
            return replace(judged, record=_with_past(record, PastWindow(window, "NOT_JUDGED")))
        if record.is_muted(window.due):
            return replace(judged, record=_with_past(record, PastWindow(window, "MUTED")))
        return self._overdue(judged, window, created)

    def _overdue(self, judged: Judged, window: Window, created: Sequence[JobRecord]) -> Judged:
        record = judged.record
        expected = record.in_force or record.expectation
        reason = _reason(created, expected, window)
        repeated = bool(record.told_at) and window.due - record.told_at < TOLD_AGAIN_MS
        missed = replace(
            record,
            missed=window,
            missed_windows=record.missed_windows + 1,
            overdue_since=record.overdue_since or window.due,
            told_at=record.told_at if repeated else window.due,
        )
        event = build.overdue(
            missed,
            window,
            reason,
            created,
            repeated=repeated,
            unreadable=self.unreadable,
            org_id=self.org_id,
            stack_id=self.stack_id,
            now=self.now,
        )
        return Judged(_with_past(missed, PastWindow(window, reason)), (*judged.events, event))

    def made_good(self, judged: Judged, *, until: int) -> Judged:
        """Announces that a missed window was made good by a job that ended well by then."""
        record = judged.record
        if record.missed is None:
            return judged
        expected = record.in_force or record.expectation
        since = record.missed.opens
        later = [j for j in self.jobs if j.creation_time >= since and matches(j, expected)]
        good = _first_good(later, expected, until=until)
        if good is None:
            return judged
        event = build.overdue_resolved(
            record,
            good,
            succeeded_at=ended_at(good),
            org_id=self.org_id,
            stack_id=self.stack_id,
            now=self.now,
        )
        history = tuple(
            replace(past, job_id=good.job_id, good_at=ended_at(good))
            if past.window == record.missed
            else past
            for past in record.history
        )
        resolved = replace(
            _good_at(record, good),
            missed=None,
            missed_windows=0,
            overdue_since=0,
            told_at=0,
            history=history,
        )
        return Judged(resolved, (*judged.events, event))


def matches(job: JobRecord, expected: Expectation) -> bool:
    """Whether a job exports what is expected. One that shows no segments exports all profiles."""
    if job.dataset_id != expected.dataset_id:
        return False
    if not expected.segments or job.segments is None:
        return True
    return job.segments >= {segment_fingerprint(segment) for segment in expected.segments}


def is_good(job: JobRecord, expected: Expectation) -> bool:
    """Whether it has ended as expected. If the number of profiles is unknown, it is enough."""
    accepted = job.outcome in expected.accept or (
        job.outcome == "SUCCEEDED_EMPTY" and expected.min_profiles == 0
    )
    least = expected.least_profiles(job.usual_profiles)
    enough = job.profiles_exported is None or job.profiles_exported >= least
    return job.final and accepted and enough


def ended_at(job: JobRecord) -> int:
    """When a final job ended, by the service's own times if it shows them."""
    if job.creation_time and job.duration_ms is not None:
        return job.creation_time + job.duration_ms
    return job.touched_at


def _first_good(
    jobs: Sequence[JobRecord], expected: Expectation, *, until: int
) -> JobRecord | None:
    good = [job for job in jobs if is_good(job, expected) and ended_at(job) <= until]
    return min(good, key=ended_at, default=None)


def _reason(created: Sequence[JobRecord], expected: Expectation, window: Window) -> OverdueReason:
    """Why a window is overdue, by the jobs as they were at its deadline."""
    if not created:
        return "NEVER_STARTED"
    if any(not job.final or ended_at(job) > window.due for job in created):
        return "STILL_RUNNING"
    last = max(created, key=lambda job: job.creation_time)
    succeeded = last.status == "SUCCEEDED" and last.outcome in {*expected.accept, "SUCCEEDED_EMPTY"}
    if not succeeded:
        return "FAILED"
    return "TOO_FEW" if last.profiles_exported else "EMPTY"


def _good_at(record: ExpectationRecord, job: JobRecord) -> ExpectationRecord:
    return replace(record, last_good_at=max(record.last_good_at or 0, ended_at(job)))


def _with_past(record: ExpectationRecord, past: PastWindow) -> ExpectationRecord:
    return replace(record, history=(*record.history, past)[-MAX_HISTORY:])
