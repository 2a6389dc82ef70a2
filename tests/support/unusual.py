"""A kind of export that is known for four weeks, and a job of it that exported far too few."""

from __future__ import annotations

from dataclasses import replace

from export_jobs.contract import Job
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.records import JobRecord, Undelivered
from export_jobs.monitor.baselines import compare

from support.observed import observed

DAY_MS = 24 * 3_600_000
KIND = "1-0123456789abcdef"
DATASET = "5bb4c46757920712f924a3eb"
TOOK_MS = 20 * 60_000
USUAL = 1_000_000


def learned(today: int, *, version: int = 0) -> Baseline:
    """What was learned from the nights before, and today's unusual run. `today`: midnight."""
    runs = tuple(Run(today - night * DAY_MS, TOOK_MS, USUAL) for night in range(28, 0, -1))
    unusual = (Run(today, TOOK_MS, 400_000),)
    return Baseline("prod", KIND, DATASET, runs=runs, unusual=unusual, version=version)


def unusual_job(today: int) -> JobRecord:
    """Today's job, whose end was delivered."""
    job = Job.model_validate(
        {
            "id": "unusual-1",
            "status": "SUCCEEDED",
            "creationTime": today,
            "updateTime": today + TOOK_MS,
            "destination": {"datasetId": DATASET},
            "metrics": {
                "totalExportedProfileCounter": 400_000,
                "totalTime": {"endTimeInMs": today + TOOK_MS},
            },
        }
    )
    before = JobRecord("prod", job.id, today, status="PROCESSING", sequence=1, kind=KIND)
    comparison = compare(learned(today), Run(today, TOOK_MS, 400_000))
    record = observed(job, before=before, comparison=comparison, now=today + TOOK_MS)
    assert record
    (entry,) = record.outbox
    assert isinstance(entry, Undelivered)
    return replace(record, outbox=(), leased_at=0, end_detail=entry.event.detail, version=0)
