"""Counts the open exports of a sandbox, and how many more the cap allows, for both functions."""

from __future__ import annotations

from collections.abc import Mapping

from export_jobs.model.delays import DelayPolicy
from export_jobs.model.limits import (
    CLOCKS_MS,
    HOLD_FIRST_MS,
    HOLD_MOST_MS,
    LINKED_SLOT_MS,
    RETRY_AFTER_MOST_MS,
)
from export_jobs.model.records import Gate, Hold, JobRecord

KNOWN_STATUSES = frozenset({"NEW", "QUEUED", "PROCESSING", "CANCELLING"})
"""The documented statuses of an open job."""


def open_exports(
    open_jobs: Mapping[str, JobRecord], gate: Gate, *, delays: DelayPolicy, now: int
) -> int:
    """The number of open jobs, and of attempts that may have created one.

    Read the gate before the jobs. A query may miss a job that a transaction has just linked, so a
    linked slot counts as its job for a while.
    """
    counted = {job.job_id for job in open_jobs.values() if _counts(job, delays, now)}
    created_at = {
        (job.request_key, job.try_number): job.creation_time for job in open_jobs.values()
    }
    for slot in gate.slots.values():
        if slot.job_id is None:
            # A query may show the job before the link; an older job of the request, or one of
            # another try, belongs to another attempt.
            created = created_at.get((slot.request_key, slot.try_number), 0)
            if created < slot.noted_at - CLOCKS_MS:
                counted.add(f"attempt {slot.request_id}")
        elif slot.job_id not in open_jobs and now - slot.linked_at < LINKED_SLOT_MS:
            counted.add(slot.job_id)
    return len(counted)


def admissible(gate: Gate, *, open_now: int, max_open: int, now: int) -> int:
    """How many requests may be admitted: the free capacity of the cap, none during a hold.

    After a hold, one request at a time is tried, until a created job lifts the hold.
    """
    capacity = max(0, max_open - open_now)
    if not gate.hold.length_ms:
        return capacity
    if now < gate.hold.until:
        return 0
    probing = any(attempt.noted_at >= gate.hold.until for attempt in gate.unsettled)
    return 0 if probing else min(1, capacity)


def held_on(hold: Hold, *, retry_after_s: float | None, jitter: float = 0.0, now: int) -> Hold:
    """The hold after another failure: doubled, or as long as the service asks for.

    `jitter`, from 0 to 1, keeps sandboxes that failed together from being retried together.
    """
    length = HOLD_FIRST_MS if not hold.length_ms else min(2 * hold.length_ms, HOLD_MOST_MS)
    asked = min(int((retry_after_s or 0) * 1000), RETRY_AFTER_MOST_MS)
    return Hold(until=now + max(length, asked) + int(jitter * length / 10), length_ms=length)


def _counts(job: JobRecord, delays: DelayPolicy, now: int) -> bool:
    """Whether a job counts. An unknown status may be final: such a job counts until it is late."""
    if job.final:
        return False
    if job.status is None or job.status in KNOWN_STATUSES:
        return True
    return now - job.creation_time <= delays.configured_for(job)
