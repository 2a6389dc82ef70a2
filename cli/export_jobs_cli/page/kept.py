"""What the page knows of a sandbox: read from the stack's tables, and kept.

A job that has ended does not change any more. So after the first reading only what is unfinished
is read again, and what has changed since: usually at most two reads, a third one if jobs have
changed and so have expectations, or expectations and names were last read minutes ago.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Final

from export_jobs.aws.clock import now_ms
from export_jobs.model.calendar import zone_named
from export_jobs.model.expectations import ExpectationRecord
from export_jobs.model.limits import DAY_MS
from export_jobs.model.names import Names
from export_jobs.model.records import JobRecord, SandboxRecord
from export_jobs.monitor.regular import READ_MS, Regular, regular_exports

from export_jobs_cli import jobs
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.stack import DeployedSystem

KEPT_MS: Final = READ_MS
"""How far back jobs are kept: as far as baselines and regular exports look."""
FRESH_MS: Final = 1_000
"""Pages that are asked for at nearly the same time share a reading."""
OLD_MS: Final = 60_000
"""What nothing announces the changes of is read again after that time, if little else is read."""
VERY_OLD_MS: Final = 5 * OLD_MS
"""And after that time in any case."""
_Key = tuple[str, int]


@dataclass(frozen=True)
class Reading:
    """A sandbox at one moment.

    `jobs` are those created or changed in the last 28 days, and open ones; newest first.
    """

    sandbox: str
    read_at: int
    known: SandboxRecord
    jobs: Sequence[KnownJob]
    expectations: Sequence[ExpectationRecord]
    names: Names
    regular: Mapping[str, Sequence[Regular]]
    """By dataset: the regular exports that nothing expects."""
    is_complete: bool
    """Whether `jobs` has all of them; otherwise the newest `jobs.MAX_READ`."""

    @cached_property
    def by_dataset(self) -> Mapping[str | None, Sequence[KnownJob]]:
        """The jobs of each dataset, newest first; None has those whose dataset is unknown."""
        found: dict[str | None, list[KnownJob]] = defaultdict(list)
        for job in self.jobs:
            found[job.dataset_id].append(job)
        return found

    def job(self, job_id: str) -> KnownJob | None:
        return self._by_id.get(job_id)

    @cached_property
    def _by_id(self) -> Mapping[str, KnownJob]:
        return {job.id: job for job in reversed(self.jobs)}


class KeptSandbox:
    """Reads a sandbox, and keeps what can't change. Thread-safe."""

    def __init__(self, system: DeployedSystem, sandbox: str) -> None:
        self._system = system
        self._store = system.store
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._last: Reading | None = None
        self._expectations_read_at = 0
        self._names_read_at = 0
        self._regular: dict[str, tuple[object, Sequence[Regular]]] = {}

    def read(self) -> Reading:
        """Raises StoreUnavailable."""
        with self._lock:
            now = now_ms()
            last = self._last
            if last is None or not 0 <= now - last.read_at < FRESH_MS:
                self._last = last = self._first(now) if last is None else self._next(last, now)
            return last

    def _first(self, now: int) -> Reading:
        known = self._store.load(self._sandbox)
        names = self._read_names(now)
        recent = list(jobs.recent(self._system, self._sandbox, since=now - KEPT_MS))
        kept = {_key_of(record): self._known_job(record, names) for record in recent}
        expectations = self._read_expectations(now)
        is_complete = len(recent) < jobs.MAX_READ
        without_jobs = Reading(self._sandbox, now, known, (), expectations, names, {}, is_complete)
        return self._with_jobs(without_jobs, kept)

    def _next(self, last: Reading, now: int) -> Reading:
        known = self._store.load(self._sandbox)
        if last.known.state is None and known.state is not None:
            return self._first(now)  # the first sweep has recorded what there was
        kept = {_key_of(job.record): job for job in last.jobs if job.record}
        has_changed = self._read_changes(kept, last, known)
        expectations, names = last.expectations, last.names
        read_at = min(self._expectations_read_at, self._names_read_at)
        age = abs(now - read_at)  # a clock may be set back
        one_more = age > (VERY_OLD_MS if has_changed else OLD_MS)
        if known.expected.version != last.known.expected.version:
            expectations = self._read_expectations(now)
        elif one_more and read_at == self._names_read_at:
            names = self._read_names(now)
        elif one_more:
            expectations = self._read_expectations(now)
        if names != last.names:
            kept = {key: replace(job, names=names) for key, job in kept.items()}
        current = replace(last, read_at=now, known=known, expectations=expectations, names=names)
        return self._with_jobs(current, kept)

    def _read_changes(
        self, kept: dict[_Key, KnownJob], last: Reading, known: SandboxRecord
    ) -> bool:
        """Reads the jobs again that may have changed; returns whether any may."""
        left = [job for job in last.jobs if _has_left(job, known)]
        for job in left:
            if job.record:
                del kept[_key_of(job.record)]
        since = self._changed_since(last, known, left)
        found = [] if since is None else list(self._store.jobs_since(self._sandbox, since))
        if any(not job.created_at for job in left):  # they come before all others
            without_time = self._store.jobs_since(self._sandbox, 0)
            found += takewhile(lambda record: not record.creation_time, without_time)
        for record in found:
            self._keep(kept, record, last.names)
        return bool(left) or since is not None

    def _changed_since(
        self, last: Reading, known: SandboxRecord, left: Iterable[KnownJob]
    ) -> int | None:
        """The creation time of the oldest job that may have changed; None if none has.

        Those in `left` were unfinished, and are not any more. If a sweep has recorded something,
        there may be others: jobs that were created, and have ended, since the last reading, and
        those that the service listed late.
        """
        times = [job.created_at for job in left if job.created_at]
        before, after = last.known.state, known.state
        if before and before != after:
            oldest = min(before.watermark, before.seen_from, before.swept_at)
            oldest = min(oldest, before.new_since or oldest)  # an older version does not write it
            oldest = min(oldest, after.seen_from) if after else oldest
            oldest -= self._system.monitor.overlap_seconds * 1_000
            times.append(max(oldest, last.read_at - KEPT_MS))
        return min(times, default=None)

    def _with_jobs(self, reading: Reading, kept: dict[_Key, KnownJob]) -> Reading:
        """The reading with the jobs kept and the open ones, without those that are too old."""
        open_jobs = reading.known.open_jobs
        for record in open_jobs.values():
            self._keep(kept, record, reading.names)
        oldest = reading.read_at - KEPT_MS
        recent = [
            job
            for key, job in kept.items()
            if max(job.created_at, _touched_at(job)) >= oldest or key[0] in open_jobs
        ]
        recent.sort(key=lambda job: (job.created_at, job.id), reverse=True)
        with_jobs = replace(reading, jobs=recent)
        return replace(with_jobs, regular=self._regular_of(with_jobs))

    def _keep(self, kept: dict[_Key, KnownJob], record: JobRecord, names: Names) -> None:
        """Keeps a record, unless a newer version of it is kept."""
        key = _key_of(record)
        known = kept.get(key)
        if known is None or known.record is None or known.record.version < record.version:
            kept[key] = self._known_job(record, names)

    def _known_job(self, record: JobRecord, names: Names) -> KnownJob:
        return KnownJob(self._sandbox, record, names=names)

    def _read_expectations(self, now: int) -> Sequence[ExpectationRecord]:
        found = self._store.expectations(self._sandbox)
        self._expectations_read_at = now
        return found

    def _read_names(self, now: int) -> Names:
        found = self._store.names(self._sandbox, by_query=True)
        self._names_read_at = now
        return found

    def _regular_of(self, reading: Reading) -> Mapping[str, Sequence[Regular]]:
        """Looks at each dataset once a day, and when a job has ended or an expectation changed."""
        expected = [record.expectation for record in reading.expectations]
        found: dict[str, Sequence[Regular]] = {}
        for dataset, its_jobs in reading.by_dataset.items():
            if dataset is None:
                continue
            ended = [job.record for job in its_jobs if job.record and job.is_final]
            basis = (
                reading.read_at // DAY_MS,
                tuple(map(_key_of, ended[:1])),
                len(ended),
                tuple(one for one in expected if one.dataset_id == dataset),
            )
            before = self._regular.get(dataset)
            if before is None or before[0] != basis:
                regular = regular_exports(
                    ended, zone=zone_named("UTC"), known=expected, now=reading.read_at
                )
                before = self._regular[dataset] = (basis, regular)
            if before[1]:
                found[dataset] = before[1]
        return found


@dataclass(frozen=True)
class FixedSandbox:
    """A sandbox as it was read once."""

    reading: Reading

    def read(self) -> Reading:
        return self.reading


def _key_of(record: JobRecord) -> _Key:
    return record.job_id, record.creation_time


def _has_left(job: KnownJob, known: SandboxRecord) -> bool:
    """Whether it was unfinished when it was read, and is not any more."""
    return job.record is not None and job.record.is_open and job.id not in known.open_jobs


def _touched_at(job: KnownJob) -> int:
    return job.record.touched_at if job.record else 0
