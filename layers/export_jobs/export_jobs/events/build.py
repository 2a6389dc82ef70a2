"""The events: their models (the published JSON Schemas are made from these) and how they are built.

Every text and list is bounded, because a bus entry and an SNS message hold 256 KB while a job may
list 1,500 segments and megabytes of call stack; `truncated` names what was cut.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from export_jobs.contract import Job
from export_jobs.model.records import (
    ACCEPTED,
    DELAYED,
    REJECTED,
    STATE_CHANGE,
    VANISHED,
    Action,
    Event,
    JobRecord,
    LinkedBy,
    RequestRecord,
    Sink,
)

if TYPE_CHECKING:
    from export_jobs.contract import FieldProblem

SCHEMA_VERSION: Final = "1.0"

MAX_SEGMENTS = 100
MAX_BATCHES = 100
MAX_ERRORS = 10
MAX_NAMESPACES = 50
MAX_TEXT = 1_000
MAX_DETAIL_BYTES = 40_000
"""So that ten events owed for one job still fit its item (400 KB), and ten entries one publish."""

_T = TypeVar("_T")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:aep.export-jobs")

Outcome = Literal[
    "IN_PROGRESS",
    "SUCCEEDED",
    "SUCCEEDED_WITH_ERRORS",
    "SUCCEEDED_EMPTY",
    "FAILED",
    "CANCELLED",
    "VANISHED",
]
Time = Annotated[
    str,
    Field(description="RFC 3339, UTC, to the millisecond", examples=["2026-01-31T00:00:00.000Z"]),
]


class _Detail(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        defer_build=True,  # a quiet sweep makes no event
    )


class SegmentDetail(_Detail):
    segment_id: str | None
    segment_ns: str | None
    status: list[str]


class ErrorDetail(_Detail):
    code: str | None
    message: str | None


class JobEventDetail(_Detail):
    """The `detail` of `Export Job State Change` and `Export Job Delayed`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str = Field(description="the same whenever this event is repeated")
    sequence: int = Field(ge=1, description="counts the events of one job, without gaps")
    org_id: str | None
    sandbox_name: str
    job_id: str
    status: str = Field(description="as the service names it, or VANISHED")
    previous_status: str | None = Field(description="null when the job was seen for the first time")
    final: bool = Field(description="the job has ended")
    outcome: Outcome = Field(description="for rules to match; tells silent failures from success")
    dataset_id: str | None
    batch_ids: list[str]
    segments: list[SegmentDetail]
    profiles_exported: int | None
    profiles_by_namespace: dict[str, int] | None
    created_at: Time | None
    updated_at: Time | None
    detected_at: Time = Field(description="when the sweep saw it")
    duration_ms: int | None = Field(description="from creation to end, or until now while it runs")
    usual_duration_ms: int | None = Field(
        default=None, description="median of this dataset's recent successful exports"
    )
    previous_profiles_exported: int | None = Field(
        default=None, description="of this dataset's last successful export"
    )
    delay_limit_ms: int | None = Field(default=None, description="the limit that a delay is beyond")
    errors: list[ErrorDetail]
    request_key: str | None = Field(description="of the request that created the job, if one did")
    correlation_id: str | None
    linked_by: LinkedBy | None = Field(
        default=None,
        description="how it is known that the job is the request's: by the answer to its create "
        "call, by our x-request-id, or only by content, which an equal job of somebody else's has too",
    )
    duplicate_of_request: str | None = Field(
        default=None,
        description="key of a request that has another job already: this one was found late",
    )
    request_id: str | None
    truncated: list[str] = Field(default=[], description="names of the fields that were cut")


class ProblemDetail(_Detail):
    field: str
    message: str


class RequestEventDetail(_Detail):
    """The `detail` of `Export Request Accepted` and `Export Request Rejected`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str
    org_id: str | None
    sandbox_name: str | None
    action: Action | None
    request_key: str
    correlation_id: str | None
    job_id: str | None
    linked_by: LinkedBy | None = Field(default=None, description="as in the events of its job")
    dataset_id: str | None
    outcome: str = Field(
        description="CREATED, CANCELLING, CANCELLED or ALREADY_FINAL; for a rejection why: INVALID, "
        "KEY_REUSED, REFUSED, EXPIRED, CANCELLED, NOT_FOUND, NOT_WATCHED, OUTCOME_UNKNOWN or UNEXPECTED"
    )
    reason: str | None = Field(description="in words")
    problems: list[ProblemDetail] = Field(description="every wrong field of an invalid request")
    detected_at: Time
    truncated: list[str] = []


class Baseline(_Detail):
    """What a dataset's exports usually are, to compare one with."""

    usual_duration_ms: int | None = None
    previous_profiles_exported: int | None = None


def outcome_of(job: Job) -> Outcome:
    """SUCCEEDED is told from success with errors and from success without a single profile."""
    match job.status:
        case "SUCCEEDED" if job.errors:
            return "SUCCEEDED_WITH_ERRORS"
        case "SUCCEEDED" if job.metrics and job.metrics.total_exported_profile_counter == 0:
            return "SUCCEEDED_EMPTY"
        case "SUCCEEDED" | "FAILED" | "CANCELLED" as status:
            return status
        case _:
            return "IN_PROGRESS"


def duration_ms(job: Job, now: int) -> int | None:
    """Milliseconds from creation to the end by the job's own times, or until `now` if it runs."""
    if job.creation_time is None:
        return None
    if not job.is_final:
        return max(0, now - job.creation_time)
    total = job.metrics.total_time if job.metrics else None
    if total and total.end_time_in_ms is not None and total.end_time_in_ms >= job.creation_time:
        return total.end_time_in_ms - job.creation_time
    return max(0, (job.update_time or now) - job.creation_time)


def state_change(
    record: JobRecord,
    job: Job,
    *,
    previous_status: str | None,
    past: Baseline,
    stack_id: str,
    now: int,
) -> Event:
    """`record` is the job's new record: its sequence is the event's."""
    detail = _job_detail(record, job, previous_status=previous_status, stack_id=stack_id, now=now)
    compared = past.model_dump() if job.is_final else {}
    return Event(STATE_CHANGE, _dump(detail.model_copy(update=compared)))


def delayed(
    record: JobRecord, job: Job, *, limit_ms: int, past: Baseline, stack_id: str, now: int
) -> Event:
    detail = _job_detail(record, job, previous_status=job.status, stack_id=stack_id, now=now)
    update = {"delay_limit_ms": limit_ms, **past.model_dump()}
    return Event(DELAYED, _dump(detail.model_copy(update=update)))


def vanished(record: JobRecord, *, previous_status: str | None, stack_id: str, now: int) -> Event:
    """The service no longer knows the job, so all there is to say is what we remember."""
    detail = JobEventDetail(
        event_id=_job_event_id(record, stack_id),
        sequence=record.sequence,
        org_id=record.org_id,
        sandbox_name=record.sandbox,
        job_id=record.job_id,
        status=VANISHED,
        previous_status=previous_status,
        final=True,
        outcome="VANISHED",
        dataset_id=record.dataset_id,
        batch_ids=[],
        segments=[],
        profiles_exported=None,
        profiles_by_namespace=None,
        created_at=rfc3339(record.creation_time or None),
        updated_at=rfc3339(record.update_time),
        detected_at=rfc3339(now),
        duration_ms=None,
        errors=[],
        request_key=record.request_key,
        correlation_id=record.correlation_id,
        linked_by=record.linked_by,
        duplicate_of_request=record.duplicate_of,
        request_id=None,
    )
    return Event(STATE_CHANGE, _dump(detail))


def accepted(record: RequestRecord, *, stack_id: str, now: int) -> Event:
    """`record` is that of the request's end: its outcome and its job are told."""
    return _request_event(ACCEPTED, record, record.request_key, stack_id=stack_id, now=now)


def rejected(
    record: RequestRecord,
    *,
    stack_id: str,
    now: int,
    named: str | None = None,
    problems: Sequence[FieldProblem] = (),
) -> Event:
    """The same for a rejection. `named`: the key that the message itself names, if it has another."""
    key = named or record.request_key
    return _request_event(REJECTED, record, key, stack_id=stack_id, now=now, problems=problems)


def _request_event(
    event_type: Literal["Export Request Accepted", "Export Request Rejected"],
    record: RequestRecord,
    request_key: str,
    *,
    stack_id: str,
    now: int,
    problems: Sequence[FieldProblem] = (),
) -> Event:
    cut: list[str] = []
    known = record.body_hash is not None
    detail = RequestEventDetail(
        # Its message tells a request from another that was sent under the same key, to another
        # stack or long ago; the number of rejections tells apart the ends of one sent again.
        event_id=_event_id(
            "request",
            stack_id,
            record.org_id,
            record.sandbox,
            record.request_key,
            record.message_id,
            len(record.rejections),
            record.outcome,
        ),
        org_id=record.org_id,
        sandbox_name=record.sandbox if known else None,
        action=record.action if known else None,
        request_key=request_key,
        correlation_id=record.correlation_id,
        job_id=record.job_id,
        linked_by=record.linked_by,
        dataset_id=record.dataset_id,
        outcome=record.outcome or "",
        reason=_text(record.reason, "reason", cut),
        problems=[
            ProblemDetail(
                field=_text(p.field, "problems", cut) or "",
                message=_text(p.message, "problems", cut) or "",
            )
            for p in _few(problems, 50, "problems", cut)
        ],
        detected_at=rfc3339(now),
        truncated=sorted(set(cut)),
    )
    return Event(event_type, _dump(detail))


def sinks_of(event: Event, *, topic_events: Literal["notable", "all"]) -> frozenset[Sink]:
    """The bus gets everything; the topic, which people read, what they would want to be told."""
    notable = event.type in {DELAYED, REJECTED} or (
        event.type == STATE_CHANGE and event.detail["final"]
    )
    return frozenset({"bus", "topic"} if notable or topic_events == "all" else {"bus"})


def rfc3339(epoch_ms: int | None) -> Any:
    """Epoch milliseconds as `2026-01-31T00:00:00.000Z`; None stays None."""
    if epoch_ms is None:
        return None
    at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _job_detail(
    record: JobRecord, job: Job, *, previous_status: str | None, stack_id: str, now: int
) -> JobEventDetail:
    cut: list[str] = []
    destination = job.destination
    metrics = job.metrics
    namespaces = metrics.exported_profile_by_namespace_counter if metrics else None
    return JobEventDetail(
        event_id=_job_event_id(record, stack_id),
        sequence=record.sequence,
        org_id=record.org_id,
        sandbox_name=record.sandbox,
        job_id=record.job_id,
        status=job.status,
        previous_status=previous_status,
        final=job.is_final,
        outcome=outcome_of(job),
        dataset_id=destination.dataset_id if destination else None,
        batch_ids=_few(destination.batch_ids if destination else [], MAX_BATCHES, "batchIds", cut),
        segments=[
            SegmentDetail(
                segment_id=segment.segment_id,
                segment_ns=_text(segment.segment_ns, "segments", cut),
                status=[_text(s, "segments", cut) or "" for s in segment.status[:5]],
            )
            for segment in _few(
                job.filter.segments if job.filter else [], MAX_SEGMENTS, "segments", cut
            )
        ],
        profiles_exported=metrics.total_exported_profile_counter if metrics else None,
        profiles_by_namespace=None
        if namespaces is None
        else {
            _text(name, "profilesByNamespace", cut) or "": count
            for name, count in _few(
                list(namespaces.items()), MAX_NAMESPACES, "profilesByNamespace", cut
            )
        },
        created_at=rfc3339(job.creation_time),
        updated_at=rfc3339(job.update_time),
        detected_at=rfc3339(now),
        duration_ms=duration_ms(job, now),
        errors=[
            ErrorDetail(code=error.code, message=_text(error.msg, "errors", cut))
            for error in _few(job.errors, MAX_ERRORS, "errors", cut)
        ],
        request_key=record.request_key,
        correlation_id=record.correlation_id,
        linked_by=record.linked_by,
        duplicate_of_request=record.duplicate_of,
        request_id=job.request_id,
        truncated=sorted(set(cut)),
    )


def _few(values: Sequence[_T], most: int, name: str, cut: list[str]) -> list[_T]:
    if len(values) > most:
        cut.append(name)
    return list(values[:most])


def _text(value: str | None, name: str, cut: list[str]) -> str | None:
    if value is None or len(value) <= MAX_TEXT:
        return value
    cut.append(name)
    return value[: MAX_TEXT - 1] + "…"


def _job_event_id(record: JobRecord, stack_id: str) -> str:
    return _event_id(
        "job",
        stack_id,
        record.org_id,
        record.sandbox,
        record.job_id,
        record.creation_time,
        record.sequence,
    )


def _event_id(*parts: Any) -> str:
    return str(uuid.uuid5(_NAMESPACE, "\0".join(str(part) for part in parts)))


def _dump(detail: BaseModel) -> dict[str, Any]:
    dumped = detail.model_dump(by_alias=True, mode="json")
    for most in (20, 5, 0):  # only text made of many-byte characters ever gets here
        if len(json.dumps(dumped, ensure_ascii=False).encode()) <= MAX_DETAIL_BYTES:
            break
        for name in ("segments", "profilesByNamespace", "batchIds", "errors", "problems"):
            whole = dumped.get(name)
            if whole and len(whole) > most:
                dumped[name] = (
                    dict(list(whole.items())[:most])
                    if name == "profilesByNamespace"
                    else whole[:most]
                )
                dumped["truncated"] = sorted({*dumped["truncated"], name})
    return dumped
