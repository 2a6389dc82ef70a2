"""What the page is made of, without a stack: jobs, expectations and readings of a sandbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any, cast

from export_jobs.contract import Job
from export_jobs.model.baselines import UNKNOWN, Comparison
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import Gate, JobRecord, SandboxRecord, SandboxState, Ticket
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.line import WaitingLine
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.status import StackStatus

from support.observed import observed

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW = 1_790_060_400_000
"""Tuesday, 2026-09-22, 07:00 UTC."""
TONIGHT = NOW - 5 * HOUR_MS
ALL_WELL = StackStatus({"prod": NOW - 60_000}, 0)
SWEPT = SandboxState("prod", NOW, swept_at=NOW - 60_000)
FREE = Gate("prod")


def job_record(
    job_id: str = "1",
    status: str = "SUCCEEDED",
    *,
    at: int = TONIGHT,
    took_ms: int = 600_000,
    dataset: str | None = "d1",
    profiles: int | None = 1_000,
    errors: Sequence[Mapping[str, Any]] = (),
    comparison: Comparison = UNKNOWN,
    asked_for: Mapping[str, Any] = MappingProxyType({"segments": [{"segmentId": "s1"}]}),
    **fields: Any,
) -> JobRecord:
    """As a sweep records a job that it has seen running, with its final event undelivered."""
    shown = {
        "id": job_id,
        "status": status,
        "creationTime": at,
        "updateTime": at + took_ms,
        "destination": {"datasetId": dataset, "batchId": f"batch-{job_id}"},
        "filter": dict(asked_for),
        "metrics": {
            "totalExportedProfileCounter": profiles,
            "totalTime": {"endTimeInMs": at + took_ms},
        },
        "errors": list(errors),
    }
    before = JobRecord("prod", job_id, at, status="NEW", sequence=1, kind="1-a", **fields)
    record = observed(
        Job.model_validate(shown), before=before, comparison=comparison, now=at + took_ms
    )
    assert record
    return replace(record, version=2)


def expectation(name: str = "nightly", dataset: str = "d1", **fields: Any) -> ExpectationRecord:
    """Due every day at 06:00 in Rome, which was three hours before `NOW`."""
    expected = Expectation(name, dataset, "Europe/Rome", due=360)
    window = expected.next_window(NOW)
    return ExpectationRecord("prod", expected, 0, **{"window": window, **fields})


def missed(name: str = "nightly", reason: Any = "FAILED", **fields: Any) -> ExpectationRecord:
    """An expectation that is overdue since 04:00 UTC."""
    window = Window(NOW - 27 * HOUR_MS, NOW - 3 * HOUR_MS, NOW - 3 * HOUR_MS)
    return expectation(
        name,
        missed=window,
        missed_windows=1,
        overdue_since=window.due,
        history=(PastWindow(window, reason),),
        **fields,
    )


def reading(
    *jobs: JobRecord,
    expectations: Sequence[ExpectationRecord] = (),
    names: Names = NO_NAMES,
    tickets: Sequence[Ticket] = (),
    state: SandboxState | None = SWEPT,
    gate: Gate = FREE,
    sandbox: str = "prod",
) -> Reading:
    """Open jobs are in the index, too."""
    newest_first = sorted(jobs, key=lambda job: -job.creation_time)
    open_jobs = {job.job_id: job for job in jobs if job.is_open}
    known = SandboxRecord(gate, state, open_jobs, tickets=tuple(tickets))
    every = [KnownJob(sandbox, job, names=names) for job in newest_first]
    return Reading(sandbox, NOW, known, every, expectations, names, {}, is_complete=True)


def line_of(one: Reading) -> WaitingLine:
    """Its waiting requests, with the default settings of the creator."""
    settings = SimpleNamespace(max_open_exports=20, delay_policy=DelayPolicy())
    return WaitingLine(cast("Any", SimpleNamespace(creator=settings)), one.sandbox, one.known)
