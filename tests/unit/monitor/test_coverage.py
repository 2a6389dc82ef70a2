"""What a sweep has covered, and where the next one starts: properties over random listings."""

from __future__ import annotations

from export_jobs.contract import JobHeader
from export_jobs.model.records import SandboxState
from export_jobs.monitor.coverage import advance, listing_reaches_back_to, needs_record
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000_000
MINUTE_MS = 60_000
STATUSES = ["NEW", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELLED", "ODD"]


def job(status: str, *, number: int, created: int | None) -> JobHeader:
    return JobHeader.read({"id": number, "status": status, "creationTime": created})


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from(STATUSES), st.booleans()), max_size=30),
    st.integers(0, 99),
)
def test_what_a_sweep_has_covered_needs_no_record_in_the_next(
    shown: list[tuple[int, str, bool]], oldest_age: int
) -> None:
    """Every ended job since the oldest kept is known by its fingerprint; older ones are no news."""
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
            changed = job("REOPENED", number=int(listed.id), created=listed.creation_time)
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
