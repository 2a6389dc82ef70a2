"""What the daily digest reports, and when it is due: functions of (records, now), without any I/O.

A job counts in the digest in whose period its end was detected, because a digest can only read what
was detected before it was made. So each end that was announced is in one digest. The exception is
an end that another run has detected and is still recording while the digest is made: that one is in
none. An end that was recorded without an event, at the first sweep of a sandbox,
counts at the moment at which the job ended.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import Any, get_args

from export_jobs.contract.times import epoch_ms_of, rfc3339
from export_jobs.events import build
from export_jobs.events.details import (
    FailedExports,
    OverdueExport,
    RegularExports,
    SandboxDigest,
    SlowExport,
    UnusualExport,
)
from export_jobs.events.policy import DigestPolicy
from export_jobs.model.baselines import Anomaly
from export_jobs.model.calendar import local_date, moments, zone_named
from export_jobs.model.expectations import ExpectationRecord
from export_jobs.model.limits import DAY_MS
from export_jobs.model.outcome import BAD_OUTCOMES, JobOutcome
from export_jobs.model.records import DigestState, Event, JobRecord, OverdueReason, SandboxRecord
from export_jobs.monitor.expectations import ended_at
from export_jobs.monitor.regular import READ_MS, regular_exports

MAX_COVERED_MS = 14 * DAY_MS
"""The most that a digest covers after an outage, so that it can be made within one run."""
LONGEST_JOB_MS = 2 * DAY_MS
"""Jobs created earlier than this before the period are not read: those that run longer are left out."""
MAX_SLOWEST = 5
MAX_FOR_REGULAR = 10_000
"""With more jobs in a sandbox, regular exports are not looked for: it would take too long."""
_REASONS: Mapping[str, OverdueReason] = {reason: reason for reason in get_args(OverdueReason)}


# -- when it is due ------------------------------------------------------------------------------


def planned(known: DigestState, policy: DigestPolicy, *, now: int) -> DigestState:
    """The state with the next digest; it covers what happens from now on if there was none."""
    since = now if known.due_at is None else known.since
    return replace(known, due_at=_next_due(policy, now), since=since, time=policy.planned_by)


def covered_since(known: DigestState, *, now: int) -> int:
    return max(known.since, now - MAX_COVERED_MS)


def planned_after(known: DigestState, policy: DigestPolicy, *, now: int) -> DigestState:
    """The state after a digest that covers everything until `now`, however many were missed."""
    return replace(planned(known, policy, now=now), since=now)


def _next_due(policy: DigestPolicy, after: int) -> int:
    """The first moment after `after` at which the clock shows the time, or skips it.

    If a clock change repeats the time, the first one counts.
    """
    zone = zone_named(policy.timezone)
    hours, _, minutes = policy.time.partition(":")
    day = local_date(after, zone) - timedelta(days=1)
    while True:
        due, _ = moments(day, int(hours) * 60 + int(minutes), zone)
        if due > after:
            return due
        day += timedelta(days=1)


# -- what it reports -----------------------------------------------------------------------------


@dataclass
class Summary:
    """What happened in a period, and what is unfinished at its end; sandboxes are added to it."""

    since: int
    until: int
    outcomes: Counter[JobOutcome] = field(default_factory=Counter)
    sandboxes: list[SandboxDigest] = field(default_factory=list)
    overdue: list[OverdueExport] = field(default_factory=list)
    unusual_exports: int = 0
    slowest: list[SlowExport] = field(default_factory=list)
    not_expected: list[RegularExports] = field(default_factory=list)
    incomplete: bool = False
    """There was no time to look at all exports."""
    _unusual: list[tuple[float, UnusualExport]] = field(default_factory=list)
    """The farthest from usual, with how far they are."""
    _failures: list[_Failures] = field(default_factory=list)

    def add(
        self,
        known: SandboxRecord,
        expectations: Sequence[ExpectationRecord],
        jobs: Iterable[JobRecord],
    ) -> None:
        """Adds a sandbox. `jobs` are those created since `reads_from`, each looked at once."""
        sandbox = known.gate.sandbox
        overdue = [e for e in expectations if e.is_overdue and not e.is_muted(self.until)]
        self.overdue += map(_overdue, overdue)
        # One that waits for its next try is due in the future.
        sent = [min(ticket.sent_at, self.until) for ticket in known.tickets]
        self.sandboxes.append(
            SandboxDigest(
                sandbox_name=sandbox,
                open_jobs=sum(not job.final for job in known.open_jobs.values()),
                waiting_requests=len(sent),
                waiting_since=rfc3339(min(sent, default=None)),
                overdue_exports=len(overdue),
                failing_since=rfc3339((known.state and known.state.failing_since) or None),
            )
        )
        self._add_jobs(jobs)

    def add_not_expected(
        self,
        sandbox: str,
        expectations: Sequence[ExpectationRecord],
        jobs: Iterable[JobRecord],
        *,
        timezone: str,
    ) -> None:
        """Adds datasets with regular exports that nothing expects, as `doctor` names them.

        `jobs` are those created since `regular_from`, in any order.
        """
        kept = [job.without_events() for job in islice(jobs, MAX_FOR_REGULAR + 1)]
        if len(kept) > MAX_FOR_REGULAR:
            return
        known = [record.expectation for record in expectations]
        regular = regular_exports(kept, zone=zone_named(timezone), known=known, now=self.until)
        datasets = {one.expectation.dataset_id for one in regular}
        self.not_expected += [
            RegularExports(sandbox_name=sandbox, dataset_id=dataset) for dataset in sorted(datasets)
        ]

    def _add_jobs(self, jobs: Iterable[JobRecord]) -> None:
        failures: dict[str | None, _Failures] = {}
        for job in jobs:
            outcome = _outcome_of(job)
            if outcome is None or not self.since <= _detected_at(job) < self.until:
                continue
            self.outcomes[outcome] += 1
            if job.duration_ms is not None:
                self._add_slow(job, outcome, job.duration_ms)
            if anomalies := _anomalies_of(job):
                self._add_unusual(job, outcome, anomalies)
            if outcome in BAD_OUTCOMES:
                failures.setdefault(job.dataset_id, _Failures(job, outcome)).add(job, outcome)
        self._failures += failures.values()

    def _add_unusual(
        self, job: JobRecord, outcome: JobOutcome, anomalies: Sequence[Anomaly]
    ) -> None:
        self.unusual_exports += 1
        unusual = UnusualExport(
            sandbox_name=job.sandbox,
            job_id=job.job_id,
            dataset_id=job.dataset_id,
            outcome=outcome,
            anomalies=list(anomalies),
            profiles_exported=job.profiles_exported,
            usual_profiles_exported=job.end.get("usualProfilesExported"),
            duration_ms=job.duration_ms,
            usual_duration_ms=job.end.get("usualDurationMs"),
        )
        # One more than are listed, so that the event says that there are more.
        self._unusual = heapq.nlargest(
            build.MAX_LISTED + 1,
            [*self._unusual, (_distance(job), unusual)],
            key=lambda one: one[0],
        )

    def _add_slow(self, job: JobRecord, outcome: JobOutcome, duration_ms: int) -> None:
        slow = SlowExport(
            sandbox_name=job.sandbox,
            job_id=job.job_id,
            dataset_id=job.dataset_id,
            outcome=outcome,
            duration_ms=duration_ms,
        )
        self.slowest = heapq.nlargest(
            MAX_SLOWEST, [*self.slowest, slow], key=lambda one: one.duration_ms
        )

    def event(
        self, planned_for: DigestState, *, home: str, org_id: str | None, stack_id: str
    ) -> Event:
        """The digest that was planned in the state of the sandbox `home`."""
        return build.digest(
            planned_for,
            sorted(self.sandboxes, key=_trouble_first),
            home=home,
            since=self.since,
            until=self.until,
            outcomes=dict(self.outcomes.most_common()),
            overdue=sorted(self.overdue, key=lambda one: one.overdue_since),
            failures=[one.detail() for one in sorted(self._failures, key=lambda one: -one.exports)],
            unusual_exports=self.unusual_exports,
            unusual=[one for _, one in self._unusual],
            slowest=self.slowest,
            not_expected=self.not_expected,
            incomplete=self.incomplete,
            org_id=org_id,
            stack_id=stack_id,
        )


def reads_from(since: int) -> int:
    """The creation time of the oldest job that is needed."""
    return since - LONGEST_JOB_MS


def regular_from(until: int) -> int:
    """The same for regular exports."""
    return until - READ_MS


@dataclass
class _Failures:
    """The bad ends of one dataset: how many, and the last one, if possible one with an error."""

    last: JobRecord
    outcome: JobOutcome
    exports: int = 0

    def add(self, job: JobRecord, outcome: JobOutcome) -> None:
        self.exports += 1
        if _shows_more(job, self.last):
            self.last, self.outcome = job, outcome

    def detail(self) -> FailedExports:
        return FailedExports(
            sandbox_name=self.last.sandbox,
            dataset_id=self.last.dataset_id,
            exports=self.exports,
            job_id=self.last.job_id,
            outcome=self.outcome,
            error=build.first_error(_errors(self.last)),
        )


def _overdue(record: ExpectationRecord) -> OverdueExport:
    outcomes = [past.outcome for past in record.history if past.window == record.missed]
    expected = record.in_force or record.expectation
    return OverdueExport(
        sandbox_name=record.sandbox,
        expectation=record.name,
        dataset_id=expected.dataset_id,
        reason=_REASONS.get(outcomes[-1]) if outcomes else None,
        overdue_since=rfc3339(record.overdue_since),
        missed_windows=record.missed_windows,
    )


def _shows_more(job: JobRecord, other: JobRecord) -> bool:
    return (bool(_errors(job)), _detected_at(job)) > (bool(_errors(other)), _detected_at(other))


def _errors(job: JobRecord) -> Sequence[Mapping[str, Any]]:
    return job.end.get("errors") or []


def _anomalies_of(job: JobRecord) -> Sequence[Anomaly]:
    """Those that this version knows."""
    found = job.end.get("anomalies") or ()
    return [anomaly for anomaly in get_args(Anomaly) if anomaly in found]


def _distance(job: JobRecord) -> float:
    """How far it is from usual: as a factor, whichever of its values is farther."""
    ratios = [job.end.get(name) for name in ("profilesRatio", "durationRatio")]
    known = [ratio for ratio in ratios if ratio is not None]
    return max((max(ratio, 1 / ratio) if ratio else math.inf for ratio in known), default=0.0)


def _trouble_first(sandbox: SandboxDigest) -> tuple[bool, bool, bool, str]:
    return (
        sandbox.failing_since is None,
        not sandbox.overdue_exports,
        not sandbox.waiting_requests,
        sandbox.sandbox_name,
    )


def _outcome_of(job: JobRecord) -> JobOutcome | None:
    """How it ended; None if it has not. An older version did not record it."""
    if not job.final:
        return None
    if job.outcome is not None:
        return job.outcome
    match job.status:
        case "SUCCEEDED" | "FAILED" | "CANCELLED" | "VANISHED" as outcome:
            return outcome
        case _:
            return None


def _detected_at(job: JobRecord) -> int:
    detected_at = job.end.get("detectedAt")
    return epoch_ms_of(detected_at) if detected_at else ended_at(job)
