"""Telling whether a job is the one that a request asked for, where the service does not say so."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from export_jobs.contract import Job
from export_jobs.contract.times import parse_rfc3339
from export_jobs.model.records import Attempt

if TYPE_CHECKING:
    from export_jobs.contract import CreateExportJob

REQUEST_ID_PREFIX = "export-jobs-"
"""Begins every `x-request-id` that we send with a create call."""


def status_fingerprint(job_id: str, status: str) -> bytes:
    """Eight bytes that stand for "this job in this status"."""
    return hashlib.blake2b(f"{job_id}\0{status}".encode(), digest_size=8).digest()


def request_fingerprint(request: CreateExportJob) -> str:
    """The same for two requests whose jobs could be taken for one another.

    `mergePolicy` is left out (the service fills it in where it was not asked for), and so is
    `evaluationInfo` (the service does not show it).
    """
    return _fingerprint(request.to_wire())


def job_fingerprint(job: Job) -> str:
    """Equal to `request_fingerprint` of the request that created the job."""
    shown = job.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return _fingerprint(shown)


def made_by(attempt: Attempt, job: Job, *, clock_skew_ms: int = 120_000) -> bool:
    """Whether a job is what an attempt asked for: by the id it was sent with, else by its content.

    The id counts where the service shows ours. The content counts only for jobs created since the
    attempt, give or take the difference between the two clocks.
    """
    if job.request_id and job.request_id.startswith(REQUEST_ID_PREFIX):
        return job.request_id == attempt.request_id
    created_since = (job.creation_time or 0) >= attempt.attempted_at - clock_skew_ms
    policy = job.merge_policy.id if job.merge_policy else None
    return (
        created_since
        and (attempt.merge_policy_id is None or attempt.merge_policy_id == policy)
        and job_fingerprint(job) == attempt.fingerprint
    )


def _fingerprint(body: Mapping[str, Any]) -> str:
    destination = _mapping(body.get("destination"))
    selection = _mapping(body.get("filter"))
    events = _mapping(_mapping(body.get("additionalFields")).get("eventList"))
    window = _mapping(selection.get("segmentQualificationTime"))
    span = _mapping(events.get("filter"))
    asked = {
        "dataset": destination.get("datasetId") or destination.get("dataSetId"),
        "segmentPerBatch": bool(destination.get("segmentPerBatch")),
        "schema": _mapping(body.get("schema")).get("name"),
        "fields": _names(body.get("fields")),
        "segments": sorted(_segment(_mapping(s)) for s in selection.get("segments") or []),
        "qualified": [_moment(window.get("startTime")), _moment(window.get("endTime"))],
        "ingestedSince": _moment(selection.get("fromIngestTimestamp")),
        "emptyProfiles": bool(selection.get("emptyProfiles")),
        "events": [
            _names(events.get("fields")),
            _moment(span.get("fromIngestTimestamp")),
            _moment(span.get("toIngestTimestamp")),
        ],
    }
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _moment(value: Any) -> Any:
    """The same for the same time, however it is written."""
    try:
        return int(parse_rfc3339(str(value)).timestamp() * 1000)
    except ValueError:
        return value


def _names(value: Any) -> list[str]:
    return sorted(name.strip() for name in str(value or "").split(",") if name.strip())


def _segment(segment: Mapping[str, Any]) -> list[Any]:
    statuses = segment.get("status") or ["realized"]
    statuses = [statuses] if isinstance(statuses, str) else statuses
    return [
        str(segment.get("segmentNs") or "ups"),
        str(segment.get("segmentId")),
        sorted(str(s) for s in statuses),
    ]
