"""Local times as moments, by hand for clock changes of every kind, and by rule for all zones."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from export_jobs.model.calendar import (
    DAY_MINUTES,
    is_skipped,
    local_date,
    local_time,
    moments,
    starts_of_windows,
    zone_named,
)
from hypothesis import example, given
from hypothesis import strategies as st
from support.zones import zones_and_days

MINUTE_MS = 60_000
ROME = "Europe/Rome"
NEW_YORK = "America/New_York"
CAIRO = "Africa/Cairo"
LORD_HOWE = "Australia/Lord_Howe"
HAVANA = "America/Havana"
ST_JOHNS = "America/St_Johns"
APIA = "Pacific/Apia"

lengths = st.sampled_from([n for n in range(15, DAY_MINUTES + 1) if DAY_MINUTES % n == 0])


def utc(text: str) -> int:
    """Epoch milliseconds of a time such as `2026-03-29 01:00`."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000


def text_of(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")


def minutes_of(clock: str) -> int:
    hours, minutes = map(int, clock.split(":"))
    return 60 * hours + minutes


def shown(day: str, clock: str, zone: str) -> tuple[str, ...]:
    """When the clock shows a time: once or twice, in UTC."""
    first, last = moments(date.fromisoformat(day), minutes_of(clock), zone_named(zone))
    return (text_of(first),) if first == last else (text_of(first), text_of(last))


# -- a time of day -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "day", "clock", "expected"),
    [
        ("UTC", "2026-03-29", "02:30", ("2026-03-29 02:30",)),
        ("Asia/Kolkata", "2026-03-29", "02:30", ("2026-03-28 21:00",)),
        (ROME, "2026-01-01", "06:00", ("2026-01-01 05:00",)),
        (ROME, "2026-07-01", "06:00", ("2026-07-01 04:00",)),
        # 02:00 is followed by 03:00, at 01:00 UTC.
        (ROME, "2026-03-29", "01:59", ("2026-03-29 00:59",)),
        (ROME, "2026-03-29", "02:00", ("2026-03-29 01:00",)),
        (ROME, "2026-03-29", "02:30", ("2026-03-29 01:00",)),
        (ROME, "2026-03-29", "02:59", ("2026-03-29 01:00",)),
        (ROME, "2026-03-29", "03:00", ("2026-03-29 01:00",)),
        (ROME, "2026-03-29", "03:01", ("2026-03-29 01:01",)),
        # 03:00 is followed by 02:00, at 01:00 UTC.
        (ROME, "2026-10-25", "01:59", ("2026-10-24 23:59",)),
        (ROME, "2026-10-25", "02:00", ("2026-10-25 00:00", "2026-10-25 01:00")),
        (ROME, "2026-10-25", "02:30", ("2026-10-25 00:30", "2026-10-25 01:30")),
        (ROME, "2026-10-25", "02:59", ("2026-10-25 00:59", "2026-10-25 01:59")),
        (ROME, "2026-10-25", "03:00", ("2026-10-25 02:00",)),
        (NEW_YORK, "2026-03-08", "02:30", ("2026-03-08 07:00",)),
        (NEW_YORK, "2026-11-01", "01:30", ("2026-11-01 05:30", "2026-11-01 06:30")),
        (NEW_YORK, "2026-11-01", "02:00", ("2026-11-01 07:00",)),
        # Midnight is followed by 01:00; half a year later, by 23:00 of the day before.
        (CAIRO, "2026-04-23", "23:59", ("2026-04-23 21:59",)),
        (CAIRO, "2026-04-24", "00:00", ("2026-04-23 22:00",)),
        (CAIRO, "2026-04-24", "00:30", ("2026-04-23 22:00",)),
        (CAIRO, "2026-04-24", "01:00", ("2026-04-23 22:00",)),
        (CAIRO, "2026-10-29", "23:30", ("2026-10-29 20:30", "2026-10-29 21:30")),
        (CAIRO, "2026-10-30", "00:00", ("2026-10-29 22:00",)),
        # By half an hour: 02:00 is followed by 02:30; half a year later, by 01:30.
        (LORD_HOWE, "2026-10-04", "02:15", ("2026-10-03 15:30",)),
        (LORD_HOWE, "2026-10-04", "02:30", ("2026-10-03 15:30",)),
        (LORD_HOWE, "2026-04-05", "01:45", ("2026-04-04 14:45", "2026-04-04 15:15")),
        (LORD_HOWE, "2026-04-05", "02:00", ("2026-04-04 15:30",)),
        # 01:00 is followed by midnight.
        (HAVANA, "2026-11-01", "00:00", ("2026-11-01 04:00", "2026-11-01 05:00")),
        # One minute past midnight is followed by 23:01 of the day before.
        (ST_JOHNS, "2010-11-06", "23:30", ("2010-11-07 02:00", "2010-11-07 03:00")),
        (ST_JOHNS, "2010-11-07", "00:00", ("2010-11-07 02:30", "2010-11-07 03:30")),
        # The whole of December 30 was skipped.
        (APIA, "2011-12-29", "23:59", ("2011-12-30 09:59",)),
        (APIA, "2011-12-30", "00:00", ("2011-12-30 10:00",)),
        (APIA, "2011-12-30", "12:00", ("2011-12-30 10:00",)),
        (APIA, "2011-12-31", "00:00", ("2011-12-30 10:00",)),
        (APIA, "2011-12-31", "06:00", ("2011-12-30 16:00",)),
    ],
)
def test_a_time_of_day_is_one_moment_or_two(
    zone: str, day: str, clock: str, expected: tuple[str, ...]
) -> None:
    """A time that a clock change skips is the moment of the change, one that it repeats is both."""
    assert shown(day, clock, zone) == expected


@given(zones_and_days(), st.integers(0, DAY_MINUTES - 1))
@example((APIA, date(2011, 12, 30)), 600)
@example(("Antarctica/Casey", date(2010, 3, 4)), 1_439)
def test_a_moment_shows_the_time_that_it_was_made_from(
    where: tuple[str, date], minutes: int
) -> None:
    """Unless that time is skipped: then the clock shows an earlier one before it, a later one at it."""
    there, day = zone_named(where[0]), where[1]
    wanted = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minutes)
    first, last = moments(day, minutes, there)
    assert first <= last
    for moment in (first, last):
        found = local_time(moment, there).replace(tzinfo=None)
        before = local_time(moment - 1, there).replace(tzinfo=None)
        assert found == wanted or before < wanted < found
    assert last - first <= 24 * 60 * MINUTE_MS


def test_a_local_day_begins_at_the_zone_s_own_midnight() -> None:
    """To the millisecond."""
    midnight = utc("2026-10-24 22:00")
    assert local_date(midnight - 1, zone_named(ROME)) == date(2026, 10, 24)
    assert local_date(midnight, zone_named(ROME)) == date(2026, 10, 25)
    assert local_date(midnight, zone_named(NEW_YORK)) == date(2026, 10, 24)


# -- windows of a day ----------------------------------------------------------------------------


def starts(day: str, every: int, zone: str) -> list[str]:
    """In UTC."""
    return list(map(text_of, starts_of_windows(date.fromisoformat(day), every, zone_named(zone))))


def hours(first: str, number: int, *, apart: int = 60) -> list[str]:
    """So many moments from the first one on."""
    return [text_of(utc(first) + n * apart * MINUTE_MS) for n in range(number)]


@pytest.mark.parametrize(
    ("zone", "day", "every", "expected"),
    [
        ("UTC", "2026-03-29", 360, hours("2026-03-29 00:00", 5, apart=360)),
        ("Asia/Kolkata", "2026-10-25", 60, hours("2026-10-24 18:30", 25)),
        # A day of 23 hours: there is no window from 02:00 to 03:00, and half of one from 02:00 to 04:00.
        (ROME, "2026-03-29", 60, hours("2026-03-28 23:00", 24)),
        (
            ROME,
            "2026-03-29",
            120,
            [
                "2026-03-28 23:00",
                *hours("2026-03-29 01:00", 1),
                *hours("2026-03-29 02:00", 11, apart=120),
            ],
        ),
        (ROME, "2026-03-29", 360, ["2026-03-28 23:00", *hours("2026-03-29 04:00", 4, apart=360)]),
        # 01:30, the change at what would be 02:15 and is 03:00, 03:45.
        (
            ROME,
            "2026-03-29",
            45,
            [*hours("2026-03-28 23:00", 3, apart=45), *hours("2026-03-29 01:00", 29, apart=45)],
        ),
        (ROME, "2026-03-29", 1_440, ["2026-03-28 23:00", "2026-03-29 22:00"]),
        # A day of 25 hours: two hourly windows from 02:00 to 03:00, but none shorter than its length.
        (ROME, "2026-10-25", 60, hours("2026-10-24 22:00", 26)),
        (ROME, "2026-10-25", 30, hours("2026-10-24 22:00", 51, apart=30)),
        (
            ROME,
            "2026-10-25",
            120,
            ["2026-10-24 22:00", "2026-10-25 00:00", *hours("2026-10-25 03:00", 11, apart=120)],
        ),
        (ROME, "2026-10-25", 360, ["2026-10-24 22:00", *hours("2026-10-25 05:00", 4, apart=360)]),
        # 01:30, 02:15, 02:15 again, 03:00.
        (
            ROME,
            "2026-10-25",
            45,
            [*hours("2026-10-24 22:00", 4, apart=45), *hours("2026-10-25 01:15", 30, apart=45)],
        ),
        # 02:00, 02:40, 02:40 again; 02:00 again would end a window after 20 minutes.
        (
            ROME,
            "2026-10-25",
            40,
            [*hours("2026-10-24 22:00", 5, apart=40), *hours("2026-10-25 01:40", 33, apart=40)],
        ),
        (NEW_YORK, "2026-03-08", 60, hours("2026-03-08 05:00", 24)),
        (NEW_YORK, "2026-11-01", 60, hours("2026-11-01 04:00", 26)),
        (
            NEW_YORK,
            "2026-11-01",
            120,
            ["2026-11-01 04:00", *hours("2026-11-01 07:00", 12, apart=120)],
        ),
        # The day begins at 01:00; half a year later, its 23:00 is shown twice.
        (CAIRO, "2026-04-24", 60, hours("2026-04-23 22:00", 24)),
        (CAIRO, "2026-04-24", 120, ["2026-04-23 22:00", *hours("2026-04-23 23:00", 12, apart=120)]),
        (CAIRO, "2026-10-29", 60, hours("2026-10-28 21:00", 26)),
        (CAIRO, "2026-10-30", 60, hours("2026-10-29 22:00", 25)),
        (
            LORD_HOWE,
            "2026-10-04",
            60,
            [*hours("2026-10-03 13:30", 3), *hours("2026-10-03 16:00", 22)],
        ),
        (
            LORD_HOWE,
            "2026-04-05",
            60,
            [*hours("2026-04-04 13:00", 2), *hours("2026-04-04 15:30", 23)],
        ),
        (LORD_HOWE, "2026-04-05", 30, hours("2026-04-04 13:00", 50, apart=30)),
        # Midnight is shown twice: a daily window is 25 hours, not one and then 24.
        (HAVANA, "2026-11-01", 1_440, ["2026-11-01 04:00", "2026-11-02 05:00"]),
        (HAVANA, "2026-11-01", 60, hours("2026-11-01 04:00", 26)),
        # A day ends at the first midnight: 23:15 is shown again on what counts as the next day.
        (ST_JOHNS, "2010-11-06", 45, hours("2010-11-06 02:30", 33, apart=45)),
        (
            ST_JOHNS,
            "2010-11-07",
            45,
            ["2010-11-07 02:30", *hours("2010-11-07 03:30", 33, apart=45)],
        ),
        (APIA, "2011-12-29", 720, hours("2011-12-29 10:00", 3, apart=720)),
        (APIA, "2011-12-30", 720, ["2011-12-30 10:00"]),
        (APIA, "2011-12-31", 720, hours("2011-12-30 10:00", 3, apart=720)),
    ],
)
def test_windows_of_a_day_start_by_the_clock(
    zone: str, day: str, every: int, expected: list[str]
) -> None:
    """Computed by hand from the rules of each zone; the last moment is the day's end."""
    assert starts(day, every, zone) == expected


@given(zones_and_days(), lengths)
@example((ST_JOHNS, date(2010, 11, 6)), 45)
@example(("Antarctica/Casey", date(2010, 3, 4)), 60)
@example((APIA, date(2011, 12, 29)), 60)
@example((HAVANA, date(2026, 11, 1)), DAY_MINUTES)
def test_windows_cover_each_day_without_gap_or_overlap(where: tuple[str, date], every: int) -> None:
    """One day's end is the next one's start; the windows of a whole day are of the right length."""
    there, day = zone_named(where[0]), where[1]
    found = starts_of_windows(day, every, there)
    after = starts_of_windows(day + timedelta(days=1), every, there)
    assert list(found) == sorted(set(found))
    assert found[0] == moments(day, 0, there)[0]
    assert found[-1] == after[0]
    lasted = found[-1] - found[0]
    if lasted >= DAY_MINUTES * MINUTE_MS:
        assert min(end - start for start, end in pairwise(found)) >= every * MINUTE_MS
    assert is_skipped(day, there) == (len(found) == 1)


def test_a_day_is_skipped_only_where_there_was_none() -> None:
    """Samoa went from December 29 to December 31, when it moved across the date line."""
    samoa = zone_named(APIA)
    days = [date(2011, 12, day) for day in range(28, 32)]
    assert [is_skipped(day, samoa) for day in days] == [False, False, True, False]


# -- zones ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Europe/Roma", "europe", "America", "", ".", "../etc/passwd", "/etc", "a\0b", "x" * 999],
)
def test_a_zone_that_does_not_exist_is_an_error(name: str) -> None:
    """Also if a directory has that name, or if it would be a file elsewhere."""
    with pytest.raises((KeyError, ValueError)):
        zone_named(name)
