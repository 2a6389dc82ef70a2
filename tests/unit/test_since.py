"""Times on the command line: since when, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from export_jobs_cli.errors import UserError
from export_jobs_cli.since import until_ms
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_text import hostile

ROME = ZoneInfo("Europe/Rome")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp() * 1000)


NOW = ms("2026-11-28T12:00:00Z")


@pytest.mark.parametrize(
    ("until", "at"),
    [
        ("90m", "2026-11-28T13:30:00Z"),
        ("12h", "2026-11-29T00:00:00Z"),
        ("3d", "2026-12-01T12:00:00Z"),
        ("2026-12-27", "2026-12-26T23:00:00Z"),
        ("2027-07-01", "2027-06-30T22:00:00Z"),
        ("2026-12-27T06:00:00Z", "2026-12-27T06:00:00Z"),
        ("2026-12-27T06:00:00+01:00", "2026-12-27T05:00:00Z"),
    ],
)
def test_a_time_that_comes_is_read(until: str, at: str) -> None:
    """A date begins at midnight in the zone, in summer and in winter."""
    assert until_ms(until, now=NOW, zone=ROME) == ms(at)


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("tomorrow", "is not a time: use 12h, 3d, 2026-12-27 or 2026-12-27T06:00:00+01:00"),
        ("2026-02-30", "is not a time: use 12h, 3d, 2026-12-27 or 2026-12-27T06:00:00+01:00"),
        ("2026-12-27T06:00:00", "is not a time: use 12h, 3d, 2026-12-27 or "),
        ("0m", "is in the past"),
        ("2026-11-28", "is in the past"),
        ("9999-12-31", "is more than a year ahead; remove the expectation instead"),
        ("999999d", "is more than a year ahead; remove the expectation instead"),
    ],
)
def test_another_time_is_refused(until: str, message: str) -> None:
    """A mute that has no effect, or no end, is a mistake."""
    with pytest.raises(UserError) as caught:
        until_ms(until, now=NOW, zone=ROME)
    assert str(caught.value).startswith(f"--until {until!r} {message}")


@given(hostile | st.dates().map(str) | st.from_regex(r"\d{1,7}[mhd]", fullmatch=True))
def test_any_text_is_a_time_or_an_error(until: str) -> None:
    """And never another exception."""
    try:
        at = until_ms(until, now=NOW, zone=ROME)
    except UserError:
        return
    assert at > NOW
