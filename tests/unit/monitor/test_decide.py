"""How a sweep interprets a job, as functions: properties over random jobs and records."""

from __future__ import annotations

from typing import Any

from export_jobs.contract import FINAL_STATUSES, Job, JobHeader
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.records import JobRecord
from export_jobs.monitor.decide import is_stale
from export_jobs.monitor.policy import MonitorPolicy
from hypothesis import given
from hypothesis import strategies as st
from support.observed import observed

NOW = 1_800_000_000_000
MINUTE_MS = 60_000
POLICY = MonitorPolicy(delays=DelayPolicy(limit_ms=10**12))
STATUSES = ["NEW", "QUEUED", "PROCESSING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "ODD"]

statuses = st.sampled_from(STATUSES)
times = st.none() | st.integers(NOW - 100 * MINUTE_MS, NOW)


def job(status: str, *, number: int = 1, created: int | None = NOW, **fields: Any) -> Job:
    body = {"id": number, "status": status, "creationTime": created, **fields}
    return Job.model_validate(body)


def header(status: str, **fields: Any) -> JobHeader:
    return JobHeader.of(job(status, **fields))


def recorded(status: str, updated: int | None) -> JobRecord:
    record = seen(None, job(status, updateTime=updated))
    assert record
    return record


def seen(record: JobRecord | None, shown: Job, *, now: int = NOW) -> JobRecord | None:
    """The record after a job was observed."""
    return observed(shown, before=record, sandbox="s", policy=POLICY, now=now)


@given(statuses, times, statuses, times)
def test_what_was_recorded_is_no_news(
    first: str, first_at: int | None, second: str, second_at: int | None
) -> None:
    """A job that is seen again gives no new record; each event has the next number."""
    record = recorded(first, first_at)
    shown = job(second, updateTime=second_at)
    after = seen(record, shown)
    if after is not None:
        assert [entry.event.detail["sequence"] for entry in after.outbox] == [1, 2]
        record = after
    assert seen(record, shown) is None


@given(statuses, statuses, st.integers(1, 10**6))
def test_a_later_change_is_never_stale_and_an_earlier_one_always(
    first: str, second: str, later: int
) -> None:
    """If the service gives the times of both, they decide."""
    at = NOW - 10 * MINUTE_MS
    assert not is_stale(recorded(first, at), header(second, updateTime=at + later))
    assert is_stale(recorded(first, at), header(second, updateTime=at - later))


@given(st.sampled_from(sorted(FINAL_STATUSES)), statuses)
def test_without_times_nothing_reopens_a_job(ended: str, shown: str) -> None:
    """A listing that lags shows an ended job as it was before."""
    assert is_stale(recorded(ended, None), header(shown))
