"""The rules of a sweep as functions: properties over random jobs, records and listings."""

from __future__ import annotations

import math
from typing import Any

from export_jobs.contract import FINAL_STATUSES, Job
from export_jobs.model.capacity import DelayPolicy
from export_jobs.model.records import JobRecord, SandboxState
from export_jobs.monitor.decide import (
    advance,
    is_stale,
    listing_reaches_back_to,
    needs_record,
    observe,
    pages_worth_reading,
)
from export_jobs.monitor.policy import MonitorPolicy
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000_000
MINUTE_MS = 60_000
POLICY = MonitorPolicy(delays=DelayPolicy(limit_ms=10**12))
STATUSES = ["NEW", "QUEUED", "PROCESSING", "CANCELLING", "SUCCEEDED", "FAILED", "CANCELLED", "ODD"]

statuses = st.sampled_from(STATUSES)
times = st.none() | st.integers(NOW - 100 * MINUTE_MS, NOW)


def job(status: str, *, number: int = 1, created: int | None = NOW, **fields: Any) -> Job:
    body = {"id": number, "status": status, "creationTime": created, **fields}
    return Job.model_validate(body)


def recorded(status: str, updated: int | None) -> JobRecord:
    record = seen(None, job(status, updateTime=updated))
    assert record
    return record


def seen(record: JobRecord | None, shown: Job, *, now: int = NOW) -> JobRecord | None:
    """What observing a job makes of its record."""
    return observe(record, shown, sandbox="s", org_id="ORG", policy=POLICY, now=now)


@given(statuses, times, statuses, times)
def test_what_was_recorded_is_no_news(
    first: str, first_at: int | None, second: str, second_at: int | None
) -> None:
    """Seen again, a job gives no new record; each event has the next number."""
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
    """Where the service gives the times of both, they decide."""
    at = NOW - 10 * MINUTE_MS
    assert not is_stale(recorded(first, at), job(second, updateTime=at + later))
    assert is_stale(recorded(first, at), job(second, updateTime=at - later))


@given(st.sampled_from(sorted(FINAL_STATUSES)), statuses)
def test_without_times_nothing_reopens_a_job(ended: str, shown: str) -> None:
    """A listing that lags shows an ended job as it was before."""
    assert is_stale(recorded(ended, None), job(shown))


@given(
    st.lists(st.integers(0, 10_000), max_size=30),
    st.integers(1, 1_000),
)
def test_paging_goes_on_exactly_as_far_as_it_is_the_cheapest(ages: list[int], span: int) -> None:
    """Of all ways to page some way and look the rest up by id, it takes one with the fewest calls."""
    reach = 20_000
    unmet = [reach - age for age in ages]

    def calls(pages: int) -> int:
        return pages + sum(max(1, math.ceil(age / span)) > pages for age in ages)

    chosen = pages_worth_reading(unmet, reach=reach, span_per_page=span)
    assert calls(chosen) == min(calls(pages) for pages in range(max(ages, default=0) // span + 2))


@given(
    st.lists(st.tuples(st.integers(0, 99), statuses, st.booleans()), max_size=30),
    st.integers(0, 99),
)
def test_what_a_sweep_has_covered_needs_no_record_in_the_next(
    shown: list[tuple[int, str, bool]], oldest_age: int
) -> None:
    """Every ended job from the oldest kept on is known by its fingerprint; older ones are no news."""
    jobs = [
        job(status, number=number, created=NOW - age * MINUTE_MS if timed else None)
        for number, (age, status, timed) in enumerate(shown)
    ]
    oldest = NOW - oldest_age * MINUTE_MS
    state = advance(None, jobs, sandbox="s", watermark=NOW, oldest=oldest, new_since=NOW, now=NOW)
    back_to = listing_reaches_back_to(state, complete_at=NOW, overlap_ms=0)
    for listed in jobs:
        assert needs_record(listed, state, back_to=back_to) == (not listed.is_final)
        if listed.is_final and listed.creation_time is not None and listed.creation_time >= oldest:
            changed = listed.model_copy(update={"status": "REOPENED"})
            assert needs_record(changed, state, back_to=back_to)


def test_a_listing_is_read_twice_over_what_was_new() -> None:
    """By the sweep that recorded it and by the next; after that, back to the overlap only."""
    state = SandboxState("s", watermark=NOW, swept_at=NOW, new_since=NOW - 60 * MINUTE_MS)
    overlap_ms = 15 * MINUTE_MS
    again = listing_reaches_back_to(state, complete_at=NOW, overlap_ms=overlap_ms)
    assert again == NOW - 60 * MINUTE_MS
    later = NOW + MINUTE_MS
    assert listing_reaches_back_to(state, complete_at=later, overlap_ms=overlap_ms) == (
        later - overlap_ms
    )
