"""The models of the events' `detail`, from which the JSON Schemas are made."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from export_jobs.model.baselines import Anomaly
from export_jobs.model.outcome import JobOutcome
from export_jobs.model.records import Action, LinkedBy, OverdueReason, RequestOutcome
from export_jobs.model.retry import NotRetried

SCHEMA_VERSION: Final = "1.0"

DelayLimitBasis = Literal["CONFIGURED", "USUAL"]
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
    event_id: str = Field(description="the same each time this event is delivered")
    sequence: int = Field(ge=1, description="counts the events of one job, without gaps")
    org_id: str | None
    sandbox_name: str
    job_id: str
    status: str = Field(description="the service's status, or VANISHED")
    previous_status: str | None = Field(description="null if the job is seen for the first time")
    final: bool = Field(description="the job has ended")
    outcome: JobOutcome = Field(
        description="for rules to match; distinguishes silent failures from success"
    )
    dataset_id: str | None
    batch_ids: list[str]
    segments: list[SegmentDetail]
    anomalies: list[Anomaly] = Field(
        default=[], description="for rules to match; how a job that succeeded is far from usual"
    )
    new_usual: list[Anomaly] = Field(
        default=[],
        description="anomalies that are usual from now on: this is the third such run in a row",
    )
    profiles_exported: int | None
    profiles_unknown: bool = Field(
        default=False, description="the job succeeded, but the service shows no number of profiles"
    )
    usual_profiles_exported: int | None = Field(
        default=None, description="what is usual for this kind of export at this time of the week"
    )
    profiles_ratio: float | None = Field(
        default=None, description="profilesExported divided by usualProfilesExported"
    )
    profiles_by_namespace: dict[str, int] | None
    created_at: Time | None
    updated_at: Time | None
    detected_at: Time = Field(description="when the sweep detected it")
    duration_ms: int | None = Field(description="from creation to end, or to now while it is open")
    usual_duration_ms: int | None = Field(
        default=None, description="what is usual for this kind of export at this time of the week"
    )
    duration_ratio: float | None = Field(
        default=None, description="durationMs divided by usualDurationMs, of a job that succeeded"
    )
    baseline_runs: int | None = Field(
        default=None, description="runs of this kind of export that show what is usual"
    )
    delayed: bool = Field(
        default=False,
        description="a delay of the job was published, by this event or an earlier one",
    )
    delay_limit_ms: int | None = Field(
        default=None, description="the limit that a delayed job has exceeded"
    )
    delay_limit_basis: DelayLimitBasis | None = Field(
        default=None, description="whether that limit is configured, or follows from what is usual"
    )
    errors: list[ErrorDetail]
    request_key: str | None = Field(description="key of the request that created the job, if any")
    correlation_id: str | None
    linked_by: LinkedBy | None = Field(
        default=None,
        description="how the job was linked to its request: by the response to the create call, by "
        "our x-request-id, or only by content, which an equal job from elsewhere would match, too",
    )
    duplicate_of_request: str | None = Field(
        default=None,
        description="key of a request that already has another job: this one was found late",
    )
    try_number: int | None = Field(
        default=None, description="which of its request's tries the job is; null without a request"
    )
    tries_left: int = Field(
        default=0,
        description="how many more jobs the request may have; in a final event, 0 unless it is "
        "tried again",
    )
    retry_at: Time | None = Field(
        default=None, description="in a final event: when the request is tried again, if it is"
    )
    not_retried: NotRetried | None = Field(
        default=None, description="why it is not tried again although it had tries left"
    )
    request_id: str | None
    truncated: list[str] = Field(default=[], description="names of the fields that were truncated")


class WindowDetail(_Detail):
    opens_at: Time = Field(description="jobs created from then on count")
    closes_at: Time = Field(description="jobs created before that count")
    due_at: Time = Field(description="the deadline")
    due_local: str = Field(
        description="the deadline in the expectation's time zone",
        examples=["2026-01-31T06:00+01:00"],
    )
    timezone: str


class ConsideredJobDetail(_Detail):
    job_id: str
    status: str | None
    outcome: JobOutcome | None
    created_at: Time
    profiles_exported: int | None


class OverdueDetail(_Detail):
    """The `detail` of `Export Overdue`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str = Field(description="the same each time this event is delivered")
    org_id: str | None
    sandbox_name: str
    expectation: str = Field(description="the name of the expected export")
    dataset_id: str
    window: WindowDetail
    outcome: Literal["OVERDUE"] = "OVERDUE"
    reason: OverdueReason = Field(description="for rules to match")
    jobs: list[ConsideredJobDetail] = Field(
        description="the jobs created in the window, newest first, as they are now"
    )
    min_profiles: int
    max_drop: float | None = Field(
        default=None,
        description="the share by which it may export fewer profiles than usual, such as 0.3",
    )
    usual_profiles_exported: int | None = Field(
        default=None, description="what was usual when the newest of the jobs ended, if known"
    )
    last_good_at: Time | None = Field(description="when such an export last succeeded, if known")
    overdue_since: Time = Field(description="the first deadline that was missed and not made good")
    missed_windows: int = Field(ge=1, description="windows missed in a row, including this one")
    repeated: bool = Field(
        description="people were told of an earlier missed window less than a day ago, so the topic "
        "does not get this event"
    )
    judged_late_ms: int | None = Field(
        description="how long after the deadline it was judged; null if that was in time"
    )
    unreadable_jobs: int = Field(description="entries of the listing that can't be read as jobs")
    detected_at: Time
    truncated: list[str] = []


class OverdueResolvedDetail(_Detail):
    """The `detail` of `Export Overdue Resolved`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str = Field(description="the same each time this event is delivered")
    org_id: str | None
    sandbox_name: str
    expectation: str = Field(description="the name of the expected export")
    dataset_id: str
    window: WindowDetail = Field(description="the last window that was missed")
    overdue_since: Time = Field(description="the first deadline that was missed")
    missed_windows: int = Field(ge=1, description="windows missed in a row")
    late_by_ms: int = Field(ge=0, description="from the first deadline to the job's end")
    outcome: Literal["RESOLVED"] = "RESOLVED"
    job_id: str = Field(description="the job that made it good")
    job_outcome: JobOutcome
    profiles_exported: int | None
    succeeded_at: Time
    detected_at: Time
    truncated: list[str] = []


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
    outcome: RequestOutcome = Field(description="how the request ended; for a rejection, why")
    reason: str | None = Field(description="an explanation for people")
    problems: list[ProblemDetail] = Field(description="every wrong field of an invalid request")
    rejected_before: bool = Field(
        default=False, description="it was rejected, and was sent again from the dead-letter queue"
    )
    try_number: int = Field(
        default=1,
        description="which of the request's tries was accepted, or was waiting; more than 1 only "
        "after a retry",
    )
    detected_at: Time
    truncated: list[str] = []


class RequestRetriedDetail(_Detail):
    """The `detail` of `Export Request Retried`."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str = Field(description="the same each time this event is delivered")
    org_id: str | None
    sandbox_name: str
    request_key: str
    correlation_id: str | None
    dataset_id: str | None
    outcome: Literal["RETRIED"] = "RETRIED"
    job_id: str = Field(description="the job of the try that has ended")
    job_outcome: JobOutcome = Field(description="how it ended")
    error: ErrorDetail | None = Field(description="its first error, if it shows any")
    try_number: int = Field(ge=2, description="the number of the next try")
    tries_left: int = Field(ge=0, description="how many more may follow that one")
    retry_at: Time = Field(description="the next try waits in line from then on")
    expires_at: Time | None = Field(description="the request's expiresAt, if it has one")
    detected_at: Time
    truncated: list[str] = []


class OutcomeCount(_Detail):
    outcome: JobOutcome
    exports: int = Field(ge=1)


class SandboxDigest(_Detail):
    sandbox_name: str
    open_jobs: int
    waiting_requests: int
    waiting_since: Time | None = Field(description="when the first of them was sent")
    overdue_exports: int
    failing_since: Time | None = Field(
        description="since when its sweeps have failed; null if they succeed"
    )


class OverdueExport(_Detail):
    sandbox_name: str
    expectation: str
    dataset_id: str
    reason: OverdueReason | None = Field(description="of the last window that was missed")
    overdue_since: Time
    missed_windows: int


class FailedExports(_Detail):
    """The exports of one dataset that ended badly. The job is the last one that shows an error."""

    sandbox_name: str
    dataset_id: str | None
    exports: int = Field(ge=1)
    job_id: str
    outcome: JobOutcome
    error: ErrorDetail | None = Field(description="the first error of this job, if it is known")


class SlowExport(_Detail):
    sandbox_name: str
    job_id: str
    dataset_id: str | None
    outcome: JobOutcome
    duration_ms: int


class UnusualExport(_Detail):
    sandbox_name: str
    job_id: str
    dataset_id: str | None
    outcome: JobOutcome
    anomalies: list[Anomaly]
    profiles_exported: int | None
    usual_profiles_exported: int | None
    duration_ms: int | None
    usual_duration_ms: int | None


class RegularExports(_Detail):
    sandbox_name: str
    dataset_id: str


class DigestDetail(_Detail):
    """The `detail` of `Export Digest`. Only the topic gets it."""

    schema_version: Literal["1.0"] = SCHEMA_VERSION
    event_id: str = Field(description="the same each time this event is delivered")
    org_id: str | None
    due_at: Time = Field(description="the moment for which it was planned")
    since: Time = Field(description="it covers what was detected from then on")
    until: Time
    covers_days: int = Field(
        ge=1, description="more than 1 if no digest was sent in between, as after an outage"
    )
    exports: int = Field(description="how many ended")
    outcomes: list[OutcomeCount]
    open_jobs: int
    waiting_requests: int
    waiting_since: Time | None = Field(description="when the first of them was sent")
    overdue_exports: int
    overdue: list[OverdueExport] = Field(description="those overdue for the longest time first")
    failed_datasets: int
    failures: list[FailedExports] = Field(description="the dataset with the most of them first")
    unusual_exports: int = Field(default=0, description="how many of them have anomalies")
    unusual: list[UnusualExport] = Field(
        default=[], description="those farthest from what is usual first"
    )
    slowest: list[SlowExport]
    not_expected_datasets: int
    not_expected: list[RegularExports] = Field(
        description="datasets with regular exports that nothing expects"
    )
    failing_sandboxes: int = Field(description="sandboxes whose sweeps fail")
    sandboxes: list[SandboxDigest] = Field(description="those with something to report first")
    detected_at: Time
    truncated: list[str] = []
