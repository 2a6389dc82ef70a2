"""Builds the events.

Every text and list is limited, because a bus entry and an SNS message hold 256 KB, while a job may
have 1,500 segments and megabytes of call stack; `truncated` names the fields that were cut.

Every text is on one line and without control characters, so that whatever it comes to, such as a log
or the template of a rule's target, it can't be mistaken for more than a text.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from export_jobs.contract import Job
from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from export_jobs.events.details import (
    ConsideredJobDetail,
    DigestDetail,
    ErrorDetail,
    FailedExports,
    JobEventDetail,
    OutcomeCount,
    OverdueDetail,
    OverdueExport,
    OverdueResolvedDetail,
    ProblemDetail,
    RegularExports,
    RequestEventDetail,
    RequestRetriedDetail,
    SandboxDigest,
    SegmentDetail,
    SlowExport,
    UnusualExport,
    WindowDetail,
)
from export_jobs.model.baselines import Comparison
from export_jobs.model.limits import DAY_MS
from export_jobs.model.outcome import JobOutcome, duration_ms, outcome_of
from export_jobs.model.records import (
    VANISHED,
    DigestState,
    Event,
    EventType,
    JobRecord,
    RequestRecord,
)

if TYPE_CHECKING:
    from export_jobs.contract import FieldProblem
    from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
    from export_jobs.model.records import OverdueReason

MAX_SEGMENTS = 100
MAX_BATCHES = 100
MAX_ERRORS = 10
MAX_NAMESPACES = 50
MAX_PROBLEMS = 50
MAX_CONSIDERED = 10
MAX_LISTED = 20
"""Entries of each list of a digest."""
MAX_SANDBOXES = 50
JUDGED_IN_TIME_MS = 10 * 60_000
"""A window that is judged within this time after its deadline is judged in time."""
MAX_TEXT = 1_000
MAX_LISTED_TEXT = 200
MAX_DETAIL_BYTES = 40_000
"""So that the events in a job's outbox fit its item (400 KB: `decide.MAX_UNDELIVERED`)."""

_T = TypeVar("_T")
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:aep.export-jobs")


def state_change(
    record: JobRecord,
    job: Job,
    *,
    previous_status: str | None,
    comparison: Comparison,
    stack_id: str,
    now: int,
) -> Event:
    """`record` is the job's new record, which has the event's sequence."""
    detail = _job_detail(record, job, previous_status=previous_status, stack_id=stack_id, now=now)
    update = _compared(comparison) if job.is_final else {}
    return Event(EventType.JOB_STATE_CHANGE, _dump(detail.model_copy(update=update)))


def delayed(
    record: JobRecord,
    job: Job,
    *,
    limit_ms: int,
    by_usual: bool,
    comparison: Comparison,
    stack_id: str,
    now: int,
) -> Event:
    """`by_usual` is whether the limit follows from what is usual."""
    detail = _job_detail(record, job, previous_status=job.status, stack_id=stack_id, now=now)
    update = {
        "delay_limit_ms": limit_ms,
        "delay_limit_basis": "USUAL" if by_usual else "CONFIGURED",
        **_compared(comparison),
    }
    return Event(EventType.JOB_DELAYED, _dump(detail.model_copy(update=update)))


def _compared(comparison: Comparison) -> dict[str, Any]:
    """The fields that compare a job with its baseline."""
    return {
        "anomalies": list(comparison.anomalies),
        "new_usual": list(comparison.new_usual),
        "usual_profiles_exported": comparison.usual_profiles,
        "profiles_ratio": _three_digits(comparison.profiles_ratio),
        "usual_duration_ms": comparison.usual_duration_ms,
        "duration_ratio": _three_digits(comparison.duration_ratio),
        "baseline_runs": comparison.runs,
    }


def _three_digits(ratio: float | None) -> float | None:
    return None if ratio is None else float(f"{ratio:.3g}")


def vanished(record: JobRecord, *, previous_status: str | None, stack_id: str, now: int) -> Event:
    """The service no longer knows the job, so the event has only what is on record."""
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
        delayed=record.delays > 0,
        errors=[],
        request_key=record.request_key,
        correlation_id=record.correlation_id,
        linked_by=record.linked_by,
        duplicate_of_request=record.duplicate_of,
        try_number=record.try_number if record.request_key else None,
        tries_left=record.tries_left,
        retry_at=rfc3339(record.retry_at),
        not_retried=record.not_retried,
        request_id=None,
    )
    return Event(EventType.JOB_STATE_CHANGE, _dump(detail))


def overdue(
    record: ExpectationRecord,
    window: Window,
    reason: OverdueReason,
    jobs: Sequence[JobRecord],
    *,
    repeated: bool,
    unreadable: int,
    org_id: str | None,
    stack_id: str,
    now: int,
) -> Event:
    """`record` is the expectation's record with this window among the missed ones."""
    cut: list[str] = []
    expected = record.in_force or record.expectation
    newest_first = sorted(jobs, key=lambda job: -job.creation_time)
    late_ms = now - window.due
    detail = OverdueDetail(
        event_id=_event_id(
            "overdue", stack_id, org_id, record.sandbox, record.name, record.applied_at, window.due
        ),
        org_id=org_id,
        sandbox_name=record.sandbox,
        expectation=record.name,
        dataset_id=expected.dataset_id,
        window=_window(window, expected),
        reason=reason,
        jobs=[
            ConsideredJobDetail(
                job_id=job.job_id,
                status=job.status,
                outcome=job.outcome,
                created_at=rfc3339(job.creation_time),
                profiles_exported=job.profiles_exported,
            )
            for job in _few(newest_first, MAX_CONSIDERED, "jobs", cut)
        ],
        min_profiles=expected.min_profiles,
        max_drop=None if expected.max_drop is None else expected.max_drop / 100,
        usual_profiles_exported=newest_first[0].usual_profiles if newest_first else None,
        last_good_at=rfc3339(record.last_good_at),
        overdue_since=rfc3339(record.overdue_since),
        missed_windows=record.missed_windows,
        repeated=repeated,
        judged_late_ms=late_ms if late_ms > JUDGED_IN_TIME_MS else None,
        unreadable_jobs=unreadable,
        detected_at=rfc3339(now),
        truncated=cut,
    )
    return Event(EventType.OVERDUE, _dump(detail))


def overdue_resolved(
    record: ExpectationRecord,
    job: JobRecord,
    *,
    succeeded_at: int,
    org_id: str | None,
    stack_id: str,
    now: int,
) -> Event:
    """`record` is the expectation's record as it was while overdue; `job` made it good."""
    expected = record.in_force or record.expectation
    window = record.missed
    if window is None or job.outcome is None:
        raise ValueError(f"expectation {record.name} is not overdue")
    detail = OverdueResolvedDetail(
        event_id=_event_id(
            "resolved", stack_id, org_id, record.sandbox, record.name, record.applied_at, window.due
        ),
        org_id=org_id,
        sandbox_name=record.sandbox,
        expectation=record.name,
        dataset_id=expected.dataset_id,
        window=_window(window, expected),
        overdue_since=rfc3339(record.overdue_since),
        missed_windows=record.missed_windows,
        late_by_ms=max(0, succeeded_at - record.overdue_since),
        job_id=job.job_id,
        job_outcome=job.outcome,
        profiles_exported=job.profiles_exported,
        succeeded_at=rfc3339(succeeded_at),
        detected_at=rfc3339(now),
    )
    return Event(EventType.OVERDUE_RESOLVED, _dump(detail))


def _window(window: Window, expected: Expectation) -> WindowDetail:
    from export_jobs.model.calendar import local_time  # noqa: PLC0415  zoneinfo, only for this

    due_local = local_time(window.due, expected.zone)
    return WindowDetail(
        opens_at=rfc3339(window.opens),
        closes_at=rfc3339(window.closes),
        due_at=rfc3339(window.due),
        due_local=due_local.isoformat(timespec="minutes"),
        timezone=expected.timezone,
    )


def digest(
    planned: DigestState,
    sandboxes: Sequence[SandboxDigest],
    *,
    home: str,
    since: int,
    until: int,
    outcomes: Mapping[JobOutcome, int],
    overdue: Sequence[OverdueExport],
    failures: Sequence[FailedExports],
    unusual_exports: int,
    unusual: Sequence[UnusualExport],
    slowest: Sequence[SlowExport],
    not_expected: Sequence[RegularExports],
    incomplete: bool,
    org_id: str | None,
    stack_id: str,
) -> Event:
    """`home` is the sandbox whose state plans the digests.

    Each list is whole, and in its order; of `unusual_exports`, `unusual` has those to be listed. If another sandbox becomes the home, it may plan a digest
    for the same moment, which is another event.
    """
    cut = ["exports"] if incomplete else []
    detail = DigestDetail(
        event_id=_event_id("digest", stack_id, home, planned.due_at),
        org_id=org_id,
        due_at=rfc3339(until if planned.due_at is None else planned.due_at),
        since=rfc3339(since),
        until=rfc3339(until),
        covers_days=max(1, round((until - since) / DAY_MS)),
        exports=sum(outcomes.values()),
        outcomes=[OutcomeCount(outcome=outcome, exports=n) for outcome, n in outcomes.items()],
        open_jobs=sum(one.open_jobs for one in sandboxes),
        waiting_requests=sum(one.waiting_requests for one in sandboxes),
        waiting_since=min((s.waiting_since for s in sandboxes if s.waiting_since), default=None),
        overdue_exports=len(overdue),
        overdue=_few(overdue, MAX_LISTED, "overdue", cut),
        failed_datasets=len(failures),
        failures=_few(failures, MAX_LISTED, "failures", cut),
        unusual_exports=unusual_exports,
        unusual=_few(unusual, MAX_LISTED, "unusual", cut),
        slowest=_few(slowest, MAX_LISTED, "slowest", cut),
        not_expected_datasets=len(not_expected),
        not_expected=_few(not_expected, MAX_LISTED, "notExpected", cut),
        failing_sandboxes=sum(one.failing_since is not None for one in sandboxes),
        sandboxes=_few(sandboxes, MAX_SANDBOXES, "sandboxes", cut),
        detected_at=rfc3339(until),
        truncated=sorted(cut),
    )
    return Event(EventType.DIGEST, _dump(detail))


def first_error(errors: Sequence[Mapping[str, Any]]) -> ErrorDetail | None:
    """The first of the errors in the detail of a job's event, shortened for a list."""
    if not errors:
        return None
    message = errors[0].get("message")
    if message and len(message) > MAX_LISTED_TEXT:
        message = message[: MAX_LISTED_TEXT - 1] + "…"
    return ErrorDetail(code=errors[0].get("code"), message=message)


def accepted(record: RequestRecord, *, stack_id: str, now: int) -> Event:
    """`record` is the request's final record, with its outcome and, if there is one, its job."""
    return _request_event(
        EventType.REQUEST_ACCEPTED, record, record.request_key, stack_id=stack_id, now=now
    )


def rejected(
    record: RequestRecord,
    *,
    stack_id: str,
    now: int,
    named: str | None = None,
    problems: Sequence[FieldProblem] = (),
) -> Event:
    """The same for a rejection. `named` is the key in the message itself, if it is another one."""
    key = named or record.request_key
    return _request_event(
        EventType.REQUEST_REJECTED, record, key, stack_id=stack_id, now=now, problems=problems
    )


def retried(record: RequestRecord, job: JobRecord, *, stack_id: str, now: int) -> Event:
    """`record` is the record of the request, which waits again; `job` that of its last job."""
    last = record.tries[-1]
    error = None
    if last.error_code is not None or last.error_message is not None:
        error = ErrorDetail(code=last.error_code, message=last.error_message)
    detail = RequestRetriedDetail(
        event_id=_event_id(
            "retried",
            stack_id,
            record.org_id,
            record.sandbox,
            record.request_key,
            record.message_id,
            len(record.rejections),
            record.try_number,
        ),
        org_id=record.org_id,
        sandbox_name=record.sandbox,
        request_key=record.request_key,
        correlation_id=record.correlation_id,
        dataset_id=record.dataset_id,
        job_id=job.job_id,
        job_outcome=last.outcome,
        error=error,
        try_number=record.try_number,
        tries_left=record.tries_left,
        retry_at=rfc3339(record.retry_at or now),
        expires_at=rfc3339(record.deadline_ms),
        detected_at=rfc3339(now),
    )
    return Event(EventType.REQUEST_RETRIED, _dump(detail))


def _request_event(
    event_type: EventType,
    record: RequestRecord,
    request_key: str,
    *,
    stack_id: str,
    now: int,
    problems: Sequence[FieldProblem] = (),
) -> Event:
    if record.outcome is None:
        raise ValueError(f"request {record.request_key} has not ended")
    cut: list[str] = []
    known = record.body_hash is not None
    detail = RequestEventDetail(
        # The message id distinguishes a request from another one that was sent under the same key,
        # to another stack or long ago; the number of rejections, the ends of one sent again; the
        # number of the try, the jobs of one that is tried again.
        event_id=_event_id(
            "request",
            stack_id,
            record.org_id,
            record.sandbox,
            record.request_key,
            record.message_id,
            len(record.rejections),
            record.outcome,
            *([record.try_number] if record.try_number > 1 else []),
        ),
        org_id=record.org_id,
        sandbox_name=record.sandbox if known else None,
        action=record.action if known else None,
        request_key=request_key,
        correlation_id=record.correlation_id,
        job_id=record.job_id,
        linked_by=record.linked_by,
        dataset_id=record.dataset_id,
        outcome=record.outcome,
        reason=_text(record.reason, "reason", cut),
        problems=[
            ProblemDetail(
                field=_text(p.field, "problems", cut) or "",
                message=_text(p.message, "problems", cut) or "",
            )
            for p in _few(problems, MAX_PROBLEMS, "problems", cut)
        ],
        rejected_before=bool(record.rejections),
        try_number=record.try_number,
        detected_at=rfc3339(now),
        truncated=sorted(set(cut)),
    )
    return Event(event_type, _dump(detail))


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
        profiles_exported=(exported := metrics.total_exported_profile_counter if metrics else None),
        profiles_unknown=job.status == "SUCCEEDED" and exported is None,
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
        delayed=record.delays > 0,
        errors=[
            ErrorDetail(code=error.code, message=_text(error.msg, "errors", cut))
            for error in _few(job.errors, MAX_ERRORS, "errors", cut)
        ],
        request_key=record.request_key,
        correlation_id=record.correlation_id,
        linked_by=record.linked_by,
        duplicate_of_request=record.duplicate_of,
        try_number=record.try_number if record.request_key else None,
        tries_left=record.tries_left,
        retry_at=rfc3339(record.retry_at),
        not_retried=record.not_retried,
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


_VERBATIM = "correlationId"
"""For whoever sent the request to compare; checked when the request was read."""


def _on_one_line(value: Any) -> Any:
    """All texts in a value of a detail, each on one line."""
    match value:
        case str():
            return one_line(value)
        case list():
            return [_on_one_line(entry) for entry in value]
        case dict():
            return {one_line(name): _on_one_line(inner) for name, inner in value.items()}
        case _:
            return value


_CUT = (
    *("segments", "profilesByNamespace", "batchIds", "errors", "problems", "jobs"),
    *("sandboxes", "failures", "overdue", "slowest", "unusual", "notExpected"),
)
"""Fields that are shortened if a detail is still too large."""


def _dump(detail: BaseModel) -> dict[str, Any]:
    dumped = {
        name: value if name == _VERBATIM else _on_one_line(value)
        for name, value in detail.model_dump(by_alias=True, mode="json").items()
    }
    for most in (20, 5, 0):  # only needed for texts of multi-byte characters
        if len(json.dumps(dumped, ensure_ascii=False).encode()) <= MAX_DETAIL_BYTES:
            break
        for name in _CUT:
            whole = dumped.get(name)
            if whole and len(whole) > most:
                dumped[name] = (
                    dict(list(whole.items())[:most])
                    if name == "profilesByNamespace"
                    else whole[:most]
                )
                dumped["truncated"] = sorted({*dumped["truncated"], name})
    return dumped
