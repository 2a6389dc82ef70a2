"""Times as requests and events have them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from export_jobs.contract.times import epoch_ms_of, parse_rfc3339, rfc3339
from hypothesis import given
from hypothesis import strategies as st

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999 in UTC."""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9999-12-31T23:59:59-05:00", "can't be represented in UTC"),
        ("0001-01-01T00:00:00+00:01", "can't be represented in UTC"),
        ("2026-02-30T00:00:00Z", "not a time that exists"),
        ("2026-01-31T23:59:60Z", "not a time that exists"),
        ("2026-01-31T00:00:00+24:00", "not a time that exists"),
        ("2026-01-31T00:00:00+00:60", "with a zone"),
        ("2026-01-31T00:00:00+99:00", "with a zone"),
        ("0000-01-01T00:00:00Z", "not a time that exists"),
        ("2026-01-31T00:00:00", "with a zone"),
        ("2026-01-31", "with a zone"),
        ("\uff12026-01-31T00:00:00Z", "with a zone"),
        (" 2026-01-31T00:00:00Z", "with a zone"),
        ("2026-01-31T00:00:00Z\n", "with a zone"),
        ("", "with a zone"),
    ],
)
def test_a_time_that_has_no_moment_is_refused(text: str, says: str) -> None:
    """Field case 13: with the reason, and with no other error."""
    with pytest.raises(ValueError, match=says):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("1970-01-01T00:00:01.999999+00:00", 1_999),
        ("1969-12-31T23:59:59.9999Z", -1),
        ("2026-01-31t01:00:00z", 1_769_821_200_000),
        ("2026-01-31T01:00:00-05:30", 1_769_841_000_000),
        ("9999-12-31T23:59:59.999999999Z", LAST_MS),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
    ],
)
def test_a_time_is_read_to_the_millisecond(text: str, epoch_ms: int) -> None:
    """Rounded down, and exactly up to the last of the year 9999."""
    assert epoch_ms_of(text) == epoch_ms


@given(st.integers(-62_135_596_800_000, LAST_MS))
def test_a_time_that_was_written_is_read_as_it_was(epoch_ms: int) -> None:
    """Every millisecond that has a date."""
    assert epoch_ms_of(rfc3339(epoch_ms)) == epoch_ms


def test_times_are_in_utc() -> None:
    """So that they can be compared and printed."""
    assert parse_rfc3339("2026-01-31T01:00:00+02:00") == datetime(2026, 1, 30, 23, tzinfo=UTC)
    assert parse_rfc3339("2026-01-31T01:00:00+02:00").tzinfo is UTC
    assert rfc3339(None) is None
