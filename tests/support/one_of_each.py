"""Events of every kind, as the code makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from export_jobs.contract import Job
from export_jobs.events import build as events
from export_jobs.events import endings
from export_jobs.model.baselines import UNKNOWN, Comparison
from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
from export_jobs.model.records import VANISHED, Event, JobRecord, OverdueReason, RequestRecord
from export_jobs.model.retry import RetryPolicy

from support.digests import full_digest, quiet_digest
from support.observed import ORG, observed

DATASET = "5bb4c46757920712f924a3eb"
NOW = 1_700_000_000_000
STACK = "local"


def ended(number: int, dataset: str = DATASET, sandbox: str = "prod", **fields: Any) -> Event:
    return seen({"id": number, "destination": {"datasetId": dataset}, **fields}, sandbox=sandbox)


def changed(before: JobRecord, dataset: str = DATASET, **fields: Any) -> Event:
    """The event of a job that is on record, which has changed since."""
    body = {"id": before.job_id, "destination": {"datasetId": dataset}, **fields}
    return seen(body, sandbox=before.sandbox, before=before)


def seen(body: dict[str, Any], *, sandbox: str, before: JobRecord | None = None) -> Event:
    job = Job.model_validate({"creationTime": 1, **body})
    record = observed(job, before=before, sandbox=sandbox, now=NOW)
    assert record
    return record.outbox[0].event


def unusual(number: int, comparison: Comparison, **fields: Any) -> Event:
    """The final event of a job that compares so with its baseline."""
    body = {"id": number, "status": "SUCCEEDED", "creationTime": 1, **fields}
    body["destination"] = {"datasetId": "other"}
    record = observed(Job.model_validate(body), comparison=comparison, now=NOW)
    assert record
    return record.outbox[0].event


DROP = Comparison(("VOLUME_DROP",), usual_profiles=1_000, profiles_ratio=0.005, runs=28)


def one_of_each() -> dict[str, Event]:
    """Events, by a name that describes them."""
    running = Job.model_validate({"id": 20, "status": "PROCESSING", "creationTime": 1})
    record = JobRecord("prod", "20", 1, status="PROCESSING", sequence=1, org_id=ORG)
    late = replace(record, delays=1)
    gone = replace(record, status=VANISHED, final=True, sequence=2)
    return {
        "success": ended(1, status="SUCCEEDED", metrics={"totalExportedProfileCounter": 5}),
        "success elsewhere": ended(2, dataset="other", status="SUCCEEDED"),
        "success in dev": ended(3, sandbox="dev", status="SUCCEEDED"),
        "empty": ended(4, status="SUCCEEDED", metrics={"totalExportedProfileCounter": 0}),
        "with errors": ended(5, status="SUCCEEDED", errors=[{"code": "1"}]),
        "drop": unusual(25, DROP, metrics={"totalExportedProfileCounter": 5}),
        "slow": unusual(26, Comparison(("SLOW",), usual_duration_ms=1, duration_ratio=4.0, runs=9)),
        "failed": ended(6, status="FAILED"),
        "failed in dev": ended(7, sandbox="dev", dataset="other", status="FAILED"),
        "running": ended(8, status="PROCESSING"),
        "vanished": events.vanished(gone, previous_status="PROCESSING", stack_id=STACK, now=NOW),
        "late": events.delayed(
            late, running, limit_ms=1, by_usual=False, comparison=UNKNOWN, stack_id=STACK, now=NOW
        ),
        "overdue": overdue(),
        "overdue resolved": events.overdue_resolved(
            MISSED,
            JobRecord("prod", "9", NOW, outcome="SUCCEEDED", final=True, profiles_exported=7),
            succeeded_at=NOW + 3_600_000,
            org_id=ORG,
            stack_id=STACK,
            now=NOW + 3_660_000,
        ),
        "success after a delay": changed(
            replace(late, job_id="21"), status="SUCCEEDED", dataset="other"
        ),
        "cancelled": ended(22, dataset="other", status="CANCELLED"),
        "cancelled after a delay": changed(
            replace(late, job_id="23"), status="CANCELLED", dataset="other"
        ),
        "back": changed(replace(gone, job_id="24"), status="PROCESSING", dataset="other"),
        "accepted": events.accepted(request("CREATED"), stack_id=STACK, now=NOW),
        "accepted after all": events.accepted(
            replace(request("CREATED"), rejections=("e",)), stack_id=STACK, now=NOW
        ),
        "failed, tried again": tried_again()[0],
        "retried": tried_again()[1],
        "success at the second try": changed(
            replace(record, job_id="26", request_key="k", try_number=2),
            status="SUCCEEDED",
            dataset="other",
        ),
        "rejected": events.rejected(request("INVALID"), stack_id=STACK, now=NOW),
        "cancelled before": events.rejected(request("CANCELLED"), stack_id=STACK, now=NOW),
        "digest": full_digest(),
        "digest of a quiet day": quiet_digest(),
    }


WINDOW = Window(NOW - 21_600_000, NOW, NOW)
MISSED = ExpectationRecord(
    "prod",
    Expectation("nightly", DATASET, "Europe/Rome", due=0),
    applied_at=1,
    window=WINDOW,
    missed=WINDOW,
    missed_windows=1,
    overdue_since=NOW,
)


def overdue(
    *,
    reason: OverdueReason = "NEVER_STARTED",
    jobs: Sequence[JobRecord] = (),
    unreadable: int = 0,
    now: int = NOW + 60_000,
    **fields: Any,
) -> Event:
    """The event of an overdue expectation; `fields` are those of its record."""
    return events.overdue(
        replace(MISSED, **fields),
        WINDOW,
        reason,
        jobs,
        repeated=False,
        unreadable=unreadable,
        org_id=ORG,
        stack_id=STACK,
        now=now,
    )


def tried_again() -> tuple[Event, Event]:
    """The end of a job whose request is tried again, and the event of that request."""
    job = Job.model_validate({"id": 25, "status": "FAILED", "creationTime": 1})
    at = NOW + 900_000
    record = JobRecord(
        *("prod", "25", 1, "FAILED"),
        final=True,
        outcome="FAILED",
        sequence=2,
        org_id=ORG,
        request_key="k",
        tries_left=2,
        retry_at=at,
    )
    end = events.state_change(
        record, job, previous_status="NEW", comparison=UNKNOWN, stack_id=STACK, now=NOW
    )
    asked = replace(request("CREATED"), retry=RetryPolicy(2), tries_left=2)
    errors = [{"code": "7", "message": "it broke"}]
    waits = endings.tried_again(asked, record, errors, at, now=NOW)
    return end, events.retried(waits, record, stack_id=STACK, now=NOW)


def request(outcome: str) -> RequestRecord:
    """The record of a request that has ended with this outcome."""
    status = "CREATED" if outcome == "CREATED" else "REJECTED"
    return RequestRecord("k", status, "prod", message_id="m", org_id=ORG, outcome=outcome)
