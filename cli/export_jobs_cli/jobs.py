"""Jobs as the commands show them: from the stack's tables or, with `--live`, the service."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from itertools import islice, takewhile
from typing import Any, get_args

from export_jobs.aws.clock import now_ms
from export_jobs.client import NotFound
from export_jobs.contract import FINAL_STATUSES, Job
from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from export_jobs.events.registry import kind_of
from export_jobs.events.wording import compared_with, unusual
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.outcome import JobOutcome, duration_ms, outcome_of
from export_jobs.model.records import EventType, JobRecord

from export_jobs_cli.errors import UserError
from export_jobs_cli.stack import DeployedSystem

MAX_READ = 10_000
"""The most jobs of a sandbox to read: reading jobs that are filtered out costs, too."""
MAX_IDS_SHOWN = 5
_STATUSES = ("NEW", "QUEUED", "PROCESSING", "CANCELLING", *sorted(FINAL_STATUSES))
_SERVER_FILTERS = frozenset({"NEW", "SUCCEEDED", "FAILED"})
"""Values that the service's own `status` filter is known to accept."""


_COMPARED = (
    *("anomalies", "newUsual", "usualProfilesExported", "profilesRatio"),
    *("usualDurationMs", "durationRatio", "baselineRuns", "profilesUnknown"),
)
"""The fields of a final event that compare the job with its baseline."""


@dataclass(frozen=True)
class KnownJob:
    """A job as recorded, as the service shows it, or both; the service's view is newer.

    `names` are those of its sandbox.
    """

    sandbox: str
    record: JobRecord | None = None
    job: Job | None = None
    names: Names = NO_NAMES

    @property
    def id(self) -> str:
        return self.job.id if self.job else self._record.job_id

    @property
    def created_at(self) -> int:
        """Epoch milliseconds; 0 if it is not known."""
        return (self.job.creation_time or 0) if self.job else self._record.creation_time

    @property
    def updated_at(self) -> int | None:
        return self.job.update_time if self.job else self._record.update_time

    @property
    def status(self) -> str | None:
        """None for a job that the creator has created and no sweep has seen yet."""
        return self.job.status if self.job else self._record.status

    @property
    def is_final(self) -> bool:
        return self.job.is_final if self.job else self._record.final

    @property
    def outcome(self) -> JobOutcome:
        return outcome_of(self.job) if self.job else self._record.outcome or "IN_PROGRESS"

    @property
    def dataset_id(self) -> str | None:
        if self.job:
            return self.job.destination.dataset_id if self.job.destination else None
        return self._record.dataset_id

    @property
    def dataset(self) -> str:
        """The dataset's name and id, as far as they are known."""
        return self.names.dataset(self.dataset_id) if self.dataset_id else ""

    @property
    def duration_ms(self) -> int | None:
        """Up to now, for a running job."""
        if self.job:
            return duration_ms(self.job, now_ms())
        if self.is_final or not self.created_at:
            return self._record.duration_ms
        return max(0, now_ms() - self.created_at)

    @property
    def profiles_exported(self) -> int | None:
        if self.job:
            return self.job.metrics.total_exported_profile_counter if self.job.metrics else None
        return self._record.profiles_exported

    @property
    def batch_ids(self) -> list[str]:
        """Recorded once the job has ended."""
        if self.job:
            return self.job.destination.batch_ids if self.job.destination else []
        return list(self._end.get("batchIds", []))

    @cached_property
    def errors(self) -> list[dict[str, str | None]]:
        """`code` and `message` of each. Recorded once the job has ended, at most ten."""
        if self.job:
            return [{"code": error.code, "message": error.msg} for error in self.job.errors]
        return list(self._end.get("errors", []))

    @property
    def segment_ids(self) -> list[str] | None:
        """None if unknown: they are recorded once the job has ended."""
        if self.job:
            return _segment_ids(self.job)
        listed = self._end.get("segments")
        return (
            None if listed is None else [str(segment.get("segmentId") or "?") for segment in listed]
        )

    @property
    def anomalies(self) -> list[str]:
        """How it was far from usual when it ended: recorded then, if it succeeded."""
        return [str(anomaly) for anomaly in self._end.get("anomalies") or ()]

    @cached_property
    def unusual(self) -> list[str]:
        """The same in words, with the numbers."""
        return list(unusual(self._whole_end, one_line)) if self._end else []

    @property
    def usual_profiles(self) -> int | None:
        return self._end.get("usualProfilesExported")

    @property
    def usual_duration_ms(self) -> int | None:
        return self._end.get("usualDurationMs")

    @property
    def compared_with(self) -> str:
        """What an unusual job was compared with; empty for others."""
        return compared_with(self._whole_end) if self._end else ""

    @property
    def _whole_end(self) -> Mapping[str, Any]:
        """The detail of its final event, of whatever version."""
        return kind_of(EventType.JOB_STATE_CHANGE).whole(self._end)

    @property
    def request_key(self) -> str | None:
        return self.record.request_key if self.record else None

    def as_json(self) -> dict[str, Any]:
        record = self.record
        return {
            "sandboxName": self.sandbox,
            "jobId": self.id,
            "status": self.status,
            "outcome": self.outcome,
            "final": self.is_final,
            "datasetId": self.dataset_id,
            "datasetName": self.names.datasets.get(self.dataset_id or ""),
            "batchIds": self.batch_ids,
            "createdAt": rfc3339(self.created_at or None),
            "updatedAt": rfc3339(self.updated_at),
            "durationMs": self.duration_ms,
            "profilesExported": self.profiles_exported,
            **{name: self._whole_end[name] for name in _COMPARED},
            "errors": self.errors,
            "requestKey": self.request_key,
            "correlationId": record.correlation_id if record else None,
            "linkedBy": record.linked_by if record else None,
            "duplicateOf": record.duplicate_of if record else None,
            "tryNumber": record.try_number if record and record.request_key else None,
            "triesLeft": record.tries_left if record else 0,
            "retryAt": rfc3339(record.retry_at) if record else None,
        }

    @property
    def _record(self) -> JobRecord:
        return self.record or JobRecord(self.sandbox, "", 0)

    @property
    def _end(self) -> Mapping[str, Any]:
        return self._record.end


def _segment_ids(job: Job) -> list[str] | None:
    """Empty if the job exports every profile; None if the service shows what can't be read."""
    if job.filter is None:
        return None if "filter" in job.model_fields_set else []
    if not job.filter.segments and "segments" in job.filter.model_fields_set:
        return None
    return [segment.segment_id or "?" for segment in job.filter.segments]


@dataclass(frozen=True)
class Filters:
    """Selects jobs, or events of jobs. `since` is in epoch milliseconds.

    `dataset` is an id, or a name of the sandbox that a job or an event belongs to.
    """

    outcome: str | None = None
    dataset: str | None = None
    request: str | None = None
    since: int = 0

    def __post_init__(self) -> None:
        """Raises UserError, with the nearest known outcome, for an unknown one."""
        if self.outcome is not None:
            object.__setattr__(self, "outcome", _known_outcome(self.outcome))

    def match(self, job: KnownJob) -> bool:
        keys = {job.request_key, job.record.duplicate_of if job.record else None}
        return (
            self.outcome in {None, job.status, job.outcome}
            and self._is_of_dataset(job.dataset_id, job.names)
            and (self.request is None or self.request in keys)
        )

    def match_event(self, detail: Mapping[str, Any], names: Names) -> bool:
        """`names` are those of the event's sandbox."""
        return (
            self.outcome in {None, detail.get("status"), detail.get("outcome")}
            and self._is_of_dataset(detail.get("datasetId"), names)
            and self.request in {None, detail.get("requestKey"), detail.get("duplicateOfRequest")}
        )

    def _is_of_dataset(self, dataset_id: str | None, names: Names) -> bool:
        """Raises UserError if several datasets of the sandbox have the name."""
        if self.dataset in {None, dataset_id}:
            return True
        if names.datasets.get(dataset_id or "") != self.dataset:
            return False
        called_so = sorted(known for known, name in names.datasets.items() if name == self.dataset)
        if len(called_so) > 1:
            raise UserError(
                f"{len(called_so)} datasets are called {self.dataset!r}; "
                f"use an id: {', '.join(called_so[:MAX_IDS_SHOWN])}"
            )
        return True


def find(
    system: DeployedSystem, filters: Filters, *, sandbox: str | None, limit: int, live: bool
) -> list[KnownJob]:
    """The newest jobs that match, newest first over all sandboxes. Raises UserError."""

    def of(name: str) -> Iterator[KnownJob]:
        every = _live_jobs(system, name, filters, limit) if live else _recorded_jobs(system, name)
        new_enough = takewhile(lambda job: job.created_at >= filters.since, every)
        return filter(filters.match, islice(new_enough, MAX_READ))

    merged = heapq.merge(
        *(of(name) for name in system.sandboxes(sandbox)), key=lambda job: -job.created_at
    )
    return list(islice(merged, limit))


def recent(system: DeployedSystem, sandbox: str, *, since: int) -> Iterator[JobRecord]:
    """The records of jobs created since then, newest first; at most the newest `MAX_READ`."""
    created = takewhile(lambda job: job.creation_time >= since, system.store.jobs(sandbox))
    return islice(created, MAX_READ)


class NotOnRecord(UserError):
    """No watched sandbox has a record of the job."""

    def __init__(self, job_id: str, sandboxes: Sequence[str]) -> None:
        super().__init__(
            f"no job {job_id!r} is on record in {' or '.join(sandboxes)}: no sweep has seen it yet, "
            "or its record has expired"
        )


def look_up(system: DeployedSystem, job_id: str, *, sandbox: str | None, live: bool) -> KnownJob:
    """A job by its id. Raises NotOnRecord, or UserError if the service does not have it."""
    names = system.sandboxes(sandbox)
    for name in names:
        if live:
            try:
                job = system.api.get_job(name, job_id)
            except NotFound:
                continue
            record = system.store.job(name, job_id, job.creation_time or 0)
            return KnownJob(name, record, job, system.names(name))
        record = next(iter(system.store.jobs(name, named=job_id)), None)
        if record:
            return KnownJob(name, record, names=system.names(name))
    if live:
        raise UserError(f"the service has no job {job_id!r} in {' or '.join(names)}")
    raise NotOnRecord(job_id, names)


def recorded(system: DeployedSystem, job_id: str, *, sandbox: str | None) -> JobRecord:
    """The record of the only job with this id. Raises NotOnRecord, or UserError for several."""
    names = system.sandboxes(sandbox)
    found = [job for name in names for job in system.store.jobs(name, named=job_id)]
    if not found:
        raise NotOnRecord(job_id, names)
    if len(found) > 1:
        sandboxes = ", ".join(job.sandbox for job in found)
        raise UserError(f"several jobs have the id {job_id!r}: in {sandboxes}; use --sandbox")
    return found[0]


def _recorded_jobs(system: DeployedSystem, sandbox: str) -> Iterator[KnownJob]:
    for record in system.store.jobs(sandbox):
        yield KnownJob(sandbox, record, names=system.names(sandbox))


def _live_jobs(
    system: DeployedSystem, sandbox: str, filters: Filters, limit: int
) -> Iterator[KnownJob]:
    """Jobs as the service lists them; their records are read only to filter by request."""
    narrowed = filters != Filters()
    pages = system.api.iter_pages(
        sandbox,
        limit=100 if narrowed else min(limit, 100),
        status=filters.outcome if filters.outcome in _SERVER_FILTERS else None,
    )
    for page in pages:
        for job in page.records:
            record = None
            if filters.request is not None:
                record = system.store.job(sandbox, job.id, job.creation_time or 0)
            yield KnownJob(sandbox, record, job.whole, system.names(sandbox))


def _known_outcome(outcome: str) -> str:
    wanted, known = outcome.upper(), tuple(dict.fromkeys((*_STATUSES, *get_args(JobOutcome))))
    if wanted in known:
        return wanted
    nearest = get_close_matches(wanted, known, n=1, cutoff=0)
    raise UserError(
        f"{outcome!r} is not an outcome or a status; did you mean {nearest[0]}? "
        f"Known: {', '.join(known)}"
    )
