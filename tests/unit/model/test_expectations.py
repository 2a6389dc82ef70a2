"""Windows of expected exports: by hand across clock changes, and by rule for all zones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from export_jobs.model.calendar import (
    DAY_MINUTES,
    is_skipped,
    local_date,
    local_time,
    moments,
    zone_named,
)
from export_jobs.model.expectations import MAX_SEARCHED_DAYS, Expectation, Window
from hypothesis import example, given
from hypothesis import strategies as st
from support.zones import zones, zones_and_days

ROME = "Europe/Rome"
NEW_YORK = "America/New_York"
CAIRO = "Africa/Cairo"
LORD_HOWE = "Australia/Lord_Howe"
APIA = "Pacific/Apia"
MINUTE_MS = 60_000
MON, FRI = 0, 4
WORKDAYS = frozenset(range(5))


def utc(text: str) -> int:
    """Epoch milliseconds of a time such as `2026-03-29 01:00`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


def minutes_of(clock: str | None) -> int | None:
    if clock is None:
        return None
    hours, minutes = map(int, clock.split(":"))
    return 60 * hours + minutes


def daily(zone: str, opens: str | None, due: str, **fields: Any) -> Expectation:
    return Expectation("nightly", "d", zone, opens=minutes_of(opens), due=minutes_of(due), **fields)


def walked(expectation: Expectation, after: int, number: int) -> list[Window]:
    """The next windows, each found from the deadline of the one before."""
    found: list[Window] = []
    while len(found) < number and (window := expectation.next_window(after)):
        found.append(window)
        after = window.due
    return found


def in_utc(windows: Sequence[Window]) -> list[str]:
    """`opens/closes/due`, or only `opens/due` if it closes at its deadline."""

    def text(moment: int) -> str:
        return datetime.fromtimestamp(moment / 1_000, UTC).strftime("%m-%d %H:%M")

    return [
        "/".join(map(text, dict.fromkeys((window.opens, window.closes, window.due))))
        for window in windows
    ]


def next_windows(expectation: Expectation, after: str, number: int = 1) -> list[str]:
    return in_utc(walked(expectation, utc(after), number))


# -- a deadline a day ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "opens", "due", "after", "expected"),
    [
        ("UTC", "00:00", "06:00", "2026-03-29 00:00", "03-29 00:00/03-29 06:00"),
        ("Asia/Kolkata", "00:00", "06:00", "2026-03-29 00:30", "03-29 18:30/03-30 00:30"),
        # Due, or opening, at a time that is skipped: at the change.
        (ROME, "00:00", "02:30", "2026-03-28 12:00", "03-28 23:00/03-29 01:00"),
        (ROME, "02:30", "06:00", "2026-03-28 12:00", "03-29 01:00/03-29 04:00"),
        (ROME, None, "02:30", "2026-03-28 12:00", "03-28 01:30/03-29 01:00"),
        (ROME, None, "02:30", "2026-03-29 12:00", "03-29 01:00/03-30 00:30"),
        # Due at a time that is repeated: at its end. Opening then: at its beginning.
        (ROME, "00:00", "02:30", "2026-10-24 12:00", "10-24 22:00/10-25 01:30"),
        (ROME, "02:30", "06:00", "2026-10-24 12:00", "10-25 00:30/10-25 05:00"),
        (ROME, "02:10", "02:50", "2026-10-24 12:00", "10-25 00:10/10-25 01:50"),
        (ROME, None, "02:30", "2026-10-24 12:00", "10-24 00:30/10-25 01:30"),
        (ROME, None, "02:30", "2026-10-25 12:00", "10-25 01:30/10-26 01:30"),
        (NEW_YORK, "00:00", "02:30", "2026-03-07 12:00", "03-08 05:00/03-08 07:00"),
        (NEW_YORK, "01:30", "06:00", "2026-10-31 12:00", "11-01 05:30/11-01 11:00"),
        # A skipped window does not exist: the next day's is next.
        (ROME, "02:10", "02:50", "2026-03-28 12:00", "03-30 00:10/03-30 00:50"),
        (ROME, "02:00", "03:00", "2026-03-28 12:00", "03-30 00:00/03-30 01:00"),
        (CAIRO, "00:00", "01:00", "2026-04-23 12:00", "04-24 21:00/04-24 22:00"),
        (CAIRO, "00:00", "01:30", "2026-04-23 12:00", "04-23 22:00/04-23 22:30"),
        # Half an hour, repeated and then skipped.
        (LORD_HOWE, "01:45", "02:15", "2026-04-04 00:00", "04-04 14:45/04-04 15:45"),
        (LORD_HOWE, "01:45", "02:15", "2026-10-03 00:00", "10-03 15:15/10-03 15:30"),
        # Over midnight, also where that is skipped or repeated, and for a whole day.
        (ROME, "22:00", "06:00", "2026-03-28 12:00", "03-28 21:00/03-29 04:00"),
        (ROME, "22:00", "06:00", "2026-10-24 12:00", "10-24 20:00/10-25 05:00"),
        (ROME, "22:00", "06:00", "2026-03-29 01:30", "03-28 21:00/03-29 04:00"),
        (ROME, "22:00", "06:00", "2026-03-29 04:00", "03-29 20:00/03-30 04:00"),
        (ROME, "06:00", "06:00", "2026-03-28 12:00", "03-28 05:00/03-29 04:00"),
        (CAIRO, "23:30", "00:30", "2026-04-23 12:00", "04-23 21:30/04-23 22:00"),
        (CAIRO, "23:30", "00:30", "2026-10-29 12:00", "10-29 20:30/10-29 22:30"),
        # Before and after a day that was skipped.
        (APIA, None, "06:00", "2011-12-29 16:00", "12-29 16:00/12-30 16:00"),
        (APIA, "00:00", "06:00", "2011-12-29 16:00", "12-30 10:00/12-30 16:00"),
        (APIA, None, "00:00", "2011-12-29 10:00", "12-29 10:00/12-30 10:00"),
        (APIA, "22:00", "06:00", "2011-12-30 00:00", "12-30 08:00/12-30 10:00"),
        (APIA, "22:00", "06:00", "2011-12-30 10:00", "12-31 08:00/12-31 16:00"),
    ],
)
def test_a_daily_window_goes_by_the_local_clock(
    zone: str, opens: str | None, due: str, after: str, expected: str
) -> None:
    """Computed by hand from the rules of each zone; where a clock change leaves a choice, it is the lenient one."""
    assert next_windows(daily(zone, opens, due), after) == [expected]


def test_days_and_exceptions_of_a_window_over_midnight_are_those_on_which_it_opens() -> None:
    """The one that opens on Friday evening is due on Saturday, and is Friday's."""
    weekly = daily(ROME, "22:00", "06:00", days=frozenset({FRI}))
    assert next_windows(weekly, "2026-01-01 00:00") == ["01-02 21:00/01-03 05:00"]
    nightly = daily(ROME, "22:00", "06:00", excepted=frozenset({date(2026, 12, 24)}))
    assert next_windows(nightly, "2026-12-23 12:00", 2) == [
        "12-23 21:00/12-24 05:00",
        "12-25 21:00/12-26 05:00",
    ]


@pytest.mark.parametrize(
    ("days", "excepted", "expected"),
    [
        (WORKDAYS, (), "01-09 05:00/01-12 05:00"),
        (WORKDAYS, (9,), "01-08 05:00/01-12 05:00"),
        (WORKDAYS, (5, 6, 7, 8, 9), "01-02 05:00/01-12 05:00"),
        ({MON}, (), "01-05 05:00/01-12 05:00"),
        ({MON}, (5,), "12-29 05:00/01-12 05:00"),
        ({MON}, (5, -2, -9, -16), "12-08 05:00/01-12 05:00"),
    ],
)
def test_without_opens_a_window_begins_at_the_previous_deadline(
    days: set[int], excepted: tuple[int, ...], expected: str
) -> None:
    """Over a weekend and excepted days, too: jobs of those days count for the next window."""
    first = date(2026, 1, 1)
    left_out = frozenset(first + timedelta(days=day - 1) for day in excepted)
    due = daily(ROME, None, "06:00", days=frozenset(days), excepted=left_out)
    assert next_windows(due, "2026-01-11 12:00") == [expected]


# -- windows of one length -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "every", "after", "expected"),
    [
        ("UTC", 360, "2026-01-01 12:00", ["01-01 12:00/01-01 18:00", "01-01 18:00/01-02 00:00"]),
        # 01:00 and then 03:00; 02:00, 02:00 and then 03:00.
        (ROME, 60, "2026-03-29 00:00", ["03-29 00:00/03-29 01:00", "03-29 01:00/03-29 02:00"]),
        (ROME, 60, "2026-10-25 00:00", ["10-25 00:00/10-25 01:00", "10-25 01:00/10-25 02:00"]),
        (ROME, 120, "2026-03-29 00:00", ["03-28 23:00/03-29 01:00", "03-29 01:00/03-29 02:00"]),
        (ROME, 120, "2026-10-25 00:00", ["10-25 00:00/10-25 03:00", "10-25 03:00/10-25 05:00"]),
        (ROME, 360, "2026-03-28 23:00", ["03-28 23:00/03-29 04:00", "03-29 04:00/03-29 10:00"]),
        (ROME, 360, "2026-10-24 22:00", ["10-24 22:00/10-25 05:00", "10-25 05:00/10-25 11:00"]),
        (ROME, 45, "2026-03-29 00:30", ["03-29 00:30/03-29 01:00", "03-29 01:00/03-29 01:45"]),
        (ROME, 45, "2026-10-25 00:15", ["10-25 00:15/10-25 01:15", "10-25 01:15/10-25 02:00"]),
        (ROME, 1_440, "2026-10-24 22:00", ["10-24 22:00/10-25 23:00", "10-25 23:00/10-26 23:00"]),
        (APIA, 1_440, "2011-12-29 10:00", ["12-29 10:00/12-30 10:00", "12-30 10:00/12-31 10:00"]),
    ],
)
def test_windows_of_one_length_go_by_the_local_clock(
    zone: str, every: int, after: str, expected: list[str]
) -> None:
    """Hourly ones are as many as the day's hours, 23 or 25; longer ones begin at the same times of day."""
    assert next_windows(Expectation("e", "d", zone, every=every), after, 2) == expected


def test_a_deadline_may_be_later_than_the_next_window_s_end() -> None:
    """The windows are judged in their order, each when its grace is over."""
    late = Expectation("e", "d", "UTC", every=60, grace=90)
    assert next_windows(late, "2026-01-01 00:30", 2) == [
        "12-31 23:00/01-01 00:00/01-01 01:30",
        "01-01 00:00/01-01 01:00/01-01 02:30",
    ]
    week = Expectation("e", "d", ROME, every=720, grace=7 * DAY_MINUTES, days=frozenset({MON}))
    assert next_windows(week, "2026-01-12 00:00", 2) == [
        "01-04 23:00/01-05 11:00/01-12 11:00",
        "01-05 11:00/01-05 23:00/01-12 23:00",
    ]


def test_there_may_be_no_window_at_all() -> None:
    """If it is expected on no day, or if every day of more than a year is excepted."""
    first = date(2026, 1, 5)  # a Monday
    year = frozenset(first + timedelta(days=n) for n in range(MAX_SEARCHED_DAYS))
    mondays = frozenset(first + timedelta(weeks=n) for n in range(100))
    nightly = daily(ROME, None, "06:00", excepted=year)
    assert next_windows(nightly, "2026-01-05 04:59") == ["01-04 05:00/02-09 05:00"]
    assert next_windows(daily(ROME, None, "06:00", days=frozenset()), "2026-01-05 00:00") == []
    weekly = daily(ROME, None, "06:00", days=frozenset({MON}), excepted=mondays)
    assert next_windows(weekly, "2026-01-05 04:59") == []


# -- rules for all zones -------------------------------------------------------------------------

times = st.integers(0, DAY_MINUTES - 1)
weekdays = st.frozensets(st.integers(0, 6), min_size=1)
lengths = st.sampled_from([n for n in range(15, DAY_MINUTES + 1) if DAY_MINUTES % n == 0])
graces = st.integers(0, 3 * DAY_MINUTES)
texts = st.text(max_size=20)


@st.composite
def expected(draw: st.DrawFn, shape: str | None = None) -> tuple[Expectation, int]:
    """An expectation and a moment, mostly about when clocks change there."""
    zone, day = draw(zones_and_days())
    shape = shape or draw(st.sampled_from(["due", "opens", "every"]))
    around = st.integers(-20, 20).map(lambda n: day + timedelta(days=n))
    expectation = Expectation(
        "e",
        "d",
        zone,
        due=None if shape == "every" else draw(times),
        opens=draw(times) if shape == "opens" else None,
        every=draw(lengths) if shape == "every" else None,
        grace=draw(graces) if shape == "every" else 0,
        days=draw(weekdays),
        excepted=draw(st.frozensets(around, max_size=8)),
    )
    start = moments(day, 0, zone_named(zone))[0]
    return expectation, start + draw(st.integers(-30 * 60, 30 * 60)) * MINUTE_MS


def is_expected(expectation: Expectation, day: date) -> bool:
    return (
        day.weekday() in expectation.days
        and day not in expectation.excepted
        and not is_skipped(day, expectation.zone)
    )


def shows(moment: int, minutes: int, expectation: Expectation) -> bool:
    """Whether the clock shows this time; not if it is skipped."""
    local = local_time(moment, expectation.zone)
    return minutes == 60 * local.hour + local.minute


APIA_S = Expectation("e", "d", APIA, due=360)
SAMOA_MOVES = utc("2011-12-29 12:00")


@given(expected())
@example((APIA_S, SAMOA_MOVES))
def test_deadlines_increase_and_no_window_opens_after_it_closes(
    case: tuple[Expectation, int],
) -> None:
    """The next deadline is later than the moment that is asked for, however windows lie."""
    expectation, after = case
    windows = walked(expectation, after, 6)
    assert len(windows) == 6
    for earlier, window in pairwise([Window(0, 0, after), *windows]):
        assert window.opens < window.closes <= window.due
        assert window.due > earlier.due


@given(expected(), st.integers(0, 5 * DAY_MINUTES))
@example((APIA_S, SAMOA_MOVES), 10)
@example((daily(ROME, "22:00", "06:00"), utc("2026-03-28 12:00")), 13 * 60)
@example((Expectation("e", "d", "America/St_Johns", every=45), utc("2010-11-06 12:00")), 960)
def test_the_next_window_is_the_same_wherever_the_search_starts(
    case: tuple[Expectation, int], minutes: int
) -> None:
    """One window after the other, or at once after a long time without a sweep."""
    expectation, after = case
    later = after + minutes * MINUTE_MS
    window = expectation.next_window(after)
    while window and window.due <= later:
        window = expectation.next_window(window.due)
    assert expectation.next_window(later) == window


@given(expected())
def test_no_window_is_of_a_day_on_which_nothing_is_expected(
    case: tuple[Expectation, int],
) -> None:
    """Neither of an excepted day nor of another weekday; a window's day is the one on which it opens."""
    expectation, after = case
    for window in walked(expectation, after, 6):
        moment, time = window.opens, expectation.opens
        if expectation.every:
            time = None
        elif time is None:
            moment, time = window.due, expectation.due
        if time is None or shows(moment, time, expectation):
            assert is_expected(expectation, local_date(moment, expectation.zone))


@given(expected("due"))
@example((APIA_S, SAMOA_MOVES))
def test_without_opens_windows_follow_each_other(case: tuple[Expectation, int]) -> None:
    """So every job counts for one window, whenever it was created."""
    expectation, after = case
    for earlier, window in pairwise(walked(expectation, after, 6)):
        assert window.opens == earlier.due
        assert window.closes == window.due


@given(expected("every"))
@example((Expectation("e", "d", "America/St_Johns", every=45), utc("2010-11-06 12:00")))
@example((Expectation("e", "d", "Antarctica/Casey", every=60), utc("2010-03-04 08:00")))
@example((Expectation("e", "d", APIA, every=720), SAMOA_MOVES))
def test_windows_of_one_length_cover_each_expected_day(case: tuple[Expectation, int]) -> None:
    """From its first midnight to the next day's, and nothing of the other days."""
    expectation, after = case
    zone = expectation.zone
    for earlier, window in pairwise(walked(expectation, after, 30)):
        if window.opens == earlier.closes:
            continue
        day, until = local_date(earlier.closes, zone), local_date(window.opens, zone)
        assert earlier.closes == moments(day, 0, zone)[0]
        assert window.opens == moments(until, 0, zone)[0]
        between = [day + timedelta(days=n) for n in range((until - day).days)]
        assert between
        assert not any(is_expected(expectation, one) for one in between)


# -- definitions ---------------------------------------------------------------------------------


@given(
    st.builds(
        Expectation,
        texts,
        texts,
        zones,
        opens=st.none() | times,
        days=weekdays,
        excepted=st.frozensets(st.dates()),
        segments=st.lists(texts).map(tuple),
        min_profiles=st.integers(0, 10**15),
        max_drop=st.none() | st.integers(1, 99),
        accept=st.frozensets(texts),
        due=times,
    )
    | st.builds(Expectation, texts, texts, zones, every=lengths, grace=graces, days=weekdays)
)
def test_a_definition_is_read_as_it_was_written(expectation: Expectation) -> None:
    """Also after it was stored as JSON; no field is taken for one of a newer version."""
    definition = expectation.as_definition()
    assert Expectation.from_definition(definition) == expectation
    assert Expectation.from_definition(definition).others == {}
    assert Expectation.from_definition(json.loads(json.dumps(definition))) == expectation


SMALL = Expectation("nightly", "d", ROME, due=360)


def test_a_definition_has_only_what_differs_from_the_defaults() -> None:
    """And what an earlier version does not know is passed over."""
    small = {"name": "nightly", "datasetId": "d", "timezone": ROME, "due": 360}
    assert SMALL.as_definition() == small
    assert Expectation.from_definition({**small, "future": {"a": []}}) == SMALL


@pytest.mark.parametrize(
    "changed",
    [
        *({"name": ...}, {"datasetId": ...}, {"timezone": ...}, {"due": ...}),
        *({"timezone": "Europe/Roma"}, {"timezone": 7}, {"every": 60}),
        *({"due": "06:00"}, {"due": 1_440}, {"due": -1}, {"due": 1.5}, {"opens": 1_440}),
        *({"due": ..., "every": 0}, {"due": ..., "every": 1_441}, {"grace": -1}, {"grace": "1h"}),
        *({"grace": 10**12}, {"days": ["mon"]}, {"days": [7]}, {"days": 1}, {"except": ["25.12."]}),
        *({"except": 1}, {"segments": "s"}, {"segments": [1]}, {"accept": "SUCCEEDED"}),
        *(
            {"accept": [None]},
            {"minProfiles": "some"},
            {"minProfiles": -1},
            {"minProfiles": None},
            {"minProfiles": float("inf")},
            {"maxDrop": 0},
            {"maxDrop": 100},
            {"maxDrop": 0.3},
            {"maxDrop": "30%"},
        ),
    ],
    ids=str,
)
def test_a_definition_that_cannot_be_judged_is_an_error(changed: dict[str, Any]) -> None:
    """When it is read, and not later, where it would stop every sweep."""
    definition = {**SMALL.as_definition(), **changed}
    left = {name: value for name, value in definition.items() if value is not ...}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Expectation.from_definition(left)


@pytest.mark.parametrize(
    ("min_profiles", "max_drop", "usual", "least"),
    [
        (1, None, 1_000, 1),
        (1, 30, None, 1),
        (1, 30, 1_000, 700),
        (1, 30, 1_001, 701),
        (800, 30, 1_000, 800),
        (0, 1, 100, 99),
        (0, 99, 0, 0),
        (0, 99, 10**15, 10**13),
    ],
)
def test_the_least_number_of_profiles_is_the_greater_limit(
    min_profiles: int, max_drop: int | None, usual: int | None, least: int
) -> None:
    """Of `minProfiles` and `maxDrop`; rounded up, so that a drop by the share itself is allowed."""
    expected = replace(SMALL, min_profiles=min_profiles, max_drop=max_drop)
    assert expected.least_profiles(usual) == least


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
field_names = st.sampled_from(
    [
        *SMALL.as_definition(),
        "opens",
        "grace",
        "days",
        "except",
        "segments",
        "minProfiles",
        "maxDrop",
        "accept",
    ]
)


@given(st.dictionaries(field_names, json_values, max_size=3), st.booleans())
def test_a_definition_that_is_read_can_be_judged(changed: dict[str, Any], hourly: bool) -> None:
    """Whatever another version, or a person, has written into it."""
    definition = {**SMALL.as_definition(), **changed}
    if hourly:
        definition |= {"due": None, "every": 60}
    with suppress(KeyError, TypeError, ValueError):
        expectation = Expectation.from_definition(definition)
        definition = {}  # what follows may raise none of these
    if not definition:
        expectation.next_window(utc("2026-01-01 00:00"))
        json.dumps(expectation.as_definition())
