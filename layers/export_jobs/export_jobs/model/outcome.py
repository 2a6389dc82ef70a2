"""How a job ended and how long it took, which its status alone does not show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from export_jobs.contract import Job

JobOutcome = Literal[
    "IN_PROGRESS",
    "SUCCEEDED",
    "SUCCEEDED_WITH_ERRORS",
    "SUCCEEDED_EMPTY",
    "FAILED",
    "CANCELLED",
    "VANISHED",
]


BAD_OUTCOMES: frozenset[JobOutcome] = frozenset(
    {"SUCCEEDED_WITH_ERRORS", "SUCCEEDED_EMPTY", "FAILED", "VANISHED"}
)


def outcome_of(job: Job) -> JobOutcome:
    """Distinguishes success from success with errors and from success without a single profile."""
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
    """Milliseconds from creation to the end by the job's own times, or to `now` if it is open."""
    if job.creation_time is None:
        return None
    if not job.is_final:
        return max(0, now - job.creation_time)
    total = job.metrics.total_time if job.metrics else None
    if total and total.end_time_in_ms is not None and total.end_time_in_ms >= job.creation_time:
        return total.end_time_in_ms - job.creation_time
    return max(0, (job.update_time or now) - job.creation_time)
