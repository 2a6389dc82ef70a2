"""Reading Quartz's cron expressions as a time of day on certain days of the week."""

from __future__ import annotations

import re
from datetime import UTC, time

import pytest
from export_jobs_cli.expectations.quartz import NotWeekly, WeeklyTime, read_quartz
from hypothesis import given
from hypothesis import strategies as st

MON, TUE, WED, THU, FRI, SAT, SUN = range(7)
EVERY_DAY = {MON, TUE, WED, THU, FRI, SAT, SUN}
WEEKDAYS = {MON, TUE, WED, THU, FRI}


@pytest.mark.parametrize(
    ("expression", "at", "days"),
    [
        # Every day, in each way that days, months and years can be left open.
        ("0 30 13 * * ?", time(13, 30), EVERY_DAY),
        ("0 0 1 ? * *", time(1), EVERY_DAY),
        ("0 0 1 * * *", time(1), EVERY_DAY),
        ("0 0 1 ? * ?", time(1), EVERY_DAY),
        ("0 0 12 1/1 * ? *", time(12), EVERY_DAY),
        ("0 0 12 1-31 1-12 ? 1970-2099", time(12), EVERY_DAY),
        ("0 0 12 */1 JAN-DEC ? */1", time(12), EVERY_DAY),
        ("0 0 12 /1 1/1 ? 1970/1", time(12), EVERY_DAY),
        ("0 0 12 ? * 1-7", time(12), EVERY_DAY),
        ("0 0 12 ? * SUN-SAT", time(12), EVERY_DAY),
        # Seconds come first, and may be other than zero.
        ("5 4 3 * * ?", time(3, 4, 5), EVERY_DAY),
        ("59 59 23 * * ?", time(23, 59, 59), EVERY_DAY),
        ("00 05 07 * * ?", time(7, 5), EVERY_DAY),
        # The days of the week are 1 to 7, from Sunday on.
        ("0 0 1 ? * 1", time(1), {SUN}),
        ("0 0 1 ? * 2", time(1), {MON}),
        ("0 0 1 ? * 7", time(1), {SAT}),
        ("0 0 1 ? * 2-6", time(1), WEEKDAYS),
        ("0 0 1 ? * MON-FRI", time(1), WEEKDAYS),
        ("0 0 1 * * MON-FRI", time(1), WEEKDAYS),
        ("0 0 1 ? * mon-Fri", time(1), WEEKDAYS),
        ("0 0 1 ? * MON,wed,6", time(1), {MON, WED, FRI}),
        ("0 0 1 ? * MON, WED , FRI", time(1), {MON, WED, FRI}),
        ("0 0 1 ? * TUE,TUE", time(1), {TUE}),
        ("0 0 1 ? * FRI-MON", time(1), {FRI, SAT, SUN, MON}),
        ("0 0 1 ? * 7-1", time(1), {SAT, SUN}),
        ("0 0 1 ? * L", time(1), {SAT}),
        ("0 0 1 ? * l", time(1), {SAT}),
        ("0 0 1 ? * */2", time(1), {SUN, TUE, THU, SAT}),
        ("0 0 1 ? * 3/2", time(1), {TUE, THU, SAT}),
        ("0 0 1 ? * 2-6/2", time(1), {MON, WED, FRI}),
        ("0 0 1 ? * 6-2/2", time(1), {FRI, SUN}),
        # A range or a step that has one value only is one time of day.
        ("0 45/30 13 * * ?", time(13, 45), EVERY_DAY),
        ("0-0 30-30 13-13 * * ?", time(13, 30), EVERY_DAY),
        ("0 0,0 22-2/12 * * ?", time(22), EVERY_DAY),
        # Any blanks.
        (" 0\t0  1 *\n* ? ", time(1), EVERY_DAY),
    ],
)
def test_a_time_of_day_on_days_of_the_week_is_read(
    expression: str, at: time, days: set[int]
) -> None:
    """As Quartz runs it, in UTC, with Python's numbers of the days."""
    assert read_quartz(expression) == WeeklyTime(at.replace(tzinfo=UTC), frozenset(days))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("* * * * * ?", "runs several times a day"),
        ("0 * 18 * * ?", "runs several times a day"),
        ("0 0/10 17 * * ?", "runs several times a day"),
        ("0/59 0 1 * * ?", "runs several times a day"),
        ("0 13,38 5 ? 6 WED", "runs several times a day"),
        ("0 0 22-2 * * ?", "runs several times a day"),
        ("0 0 1 15 * ?", "runs only on certain days of the month"),
        ("0 0 1 1-30 * ?", "runs only on certain days of the month"),
        ("0 0 1 */2 * ?", "runs only on certain days of the month"),
        ("0 0 1 31-1 * ?", "runs only on certain days of the month"),
        ("0 0 1 15 * MON", "runs only on certain days of the month"),
        ("0 0 1 L * ?", "runs only on certain days of the month"),
        ("0 0 1 L-3 * ?", "runs only on certain days of the month"),
        ("0 0 1 LW * ?", "runs only on certain days of the month"),
        ("0 0 1 15W * ?", "runs only on certain days of the month"),
        ("0 0 1 1,L * ?", "runs only on certain days of the month"),
        ("0 30 12 ? * 6L", "runs only on certain days of the month"),
        ("0 30 12 ? * friL", "runs only on certain days of the month"),
        ("0 30 12 ? * 4#3", "runs only on certain days of the month"),
        ("0 30 12 ? * WED#3", "runs only on certain days of the month"),
        ("0 0 1 ? 6 WED", "runs only in certain months"),
        ("0 0 1 ? NOV-FEB *", "runs only in certain months"),
        ("0 0 1 * */2 ?", "runs only in certain months"),
        ("0 30 9 * * ? 2022", "runs only in certain years"),
        ("0 30 9 * * ? 2022/1", "runs only in certain years"),
    ],
)
def test_what_is_no_time_of_day_on_days_of_the_week_has_its_reason(
    expression: str, reason: str
) -> None:
    """In words that continue a sentence about the schedule."""
    assert read_quartz(expression) == NotWeekly(reason)


@pytest.mark.parametrize(
    ("expression", "detail"),
    [
        ("", '"" has 0 fields instead of six or seven'),
        ("0 0 1 * *", "has 5 fields instead of six or seven"),
        ("30 13 * * *", "has 5 fields instead of six or seven"),
        ("0 0 1 * * ? * *", "has 8 fields instead of six or seven"),
        ("@daily", "has 1 fields instead of six or seven"),
        ("0 0 24 * * ?", '"24" is not a valid hour'),
        ("0 60 1 * * ?", '"60" is not a valid minute'),
        ("60 0 1 * * ?", '"60" is not a valid second'),
        ("0 0 1 32 * ?", '"32" is not a valid day of the month'),
        ("0 0 1 0 * ?", '"0" is not a valid day of the month'),
        ("0 0 1 * 13 ?", '"13" is not a valid month'),
        ("0 0 1 ? * 0", '"0" is not a valid day of the week'),
        ("0 0 1 ? * 8", '"8" is not a valid day of the week'),
        ("0 0 1 ? * 0-6", '"0" is not a valid day of the week'),
        ("0 0 1 ? * 8L", '"8L" is not a valid day of the week'),
        ("0 0 1 ? * MON#6", '"MON#6" is not a valid day of the week'),
        ("0 0 1 ? * MONDAY", '"MONDAY" is not a valid day of the week'),
        ("0 0 1 ? * JAN", '"JAN" is not a valid day of the week'),
        ("0 0 1 ? MON ?", '"MON" is not a valid month'),
        ("0 0 1 32W * ?", '"32W" is not a valid day of the month'),
        ("? 0 1 * * ?", '"?" is not a valid second'),
        ("0 0 1 * ? *", '"?" is not a valid month'),
        ("0 0 1 ?,5 * ?", '"?" is not a valid day of the month'),
        ("0 0 1 ? * MON,", '"" is not a valid day of the week'),
        ("0 0 1 ? * MON,L", '"L" is not a valid day of the week'),
        ("0 0 1, 2 * ?", '"" is not a valid hour'),
        ("0 0 1 ? * SAT,4-2, */1", '"" is not a valid day of the week'),
        ("0 0 */0 * * ?", '"*/0" has a step that no hour can have'),
        ("0 0 0/24 * * ?", '"0/24" has a step that no hour can have'),
        ("0 0 1 ? * MON-FRI/2", "has a step after a word, which Quartz ignores"),
        ("0 0 1 ? * MON/2", "has a step after a word, which Quartz ignores"),
        ("0 0 1 * * ? 2100", '"2100" is not a valid year'),
        ("0 0 1 * * ? 2030-2020", '"2030-2020" ends before it starts'),
        ("-0 0 1 * * ?", '"-0" is not a valid second'),
        ("0 0 1.5 * * ?", '"1.5" is not a valid hour'),
        ("0 0 \u0661 * * ?", "has characters that are not ASCII"),
        ("0 0 1 ? * fr\u0131", "has characters that are not ASCII"),
        ("0 0 99999999999999999999 * * ?", "is not a valid hour"),
        ("0 0 1 * * ?" * 100, "it has more than 500 characters"),
        ("0 0 1 * * \x1b[31m", '"\ufffd[31M" is not a valid day of the week'),
    ],
)
def test_what_quartz_would_not_run_as_written_is_unreadable(expression: str, detail: str) -> None:
    """The reason names the part at fault; Vixie cron's five fields and numbers of days are refused."""
    read = read_quartz(expression)
    assert isinstance(read, NotWeekly)
    assert read.reason.startswith("has a cron expression that can't be read: ")
    assert detail in read.reason


parts = st.lists(
    st.sampled_from(
        ["*", "?", "/", "-", ",", "L", "W", "#", "0", "1", "7", "31", "MON", "fri", "JAN", " ", "é"]
    ),
    max_size=6,
).map("".join)


@given(expression=st.text(max_size=40) | st.lists(parts, min_size=5, max_size=8).map(" ".join))
def test_any_text_is_a_time_or_a_reason(expression: str) -> None:
    """Never a crash; there is at least one day, and a reason is one short line that can be shown."""
    read = read_quartz(expression)
    if isinstance(read, WeeklyTime):
        assert read.at.tzinfo is UTC
        assert read.days
        assert read.days <= EVERY_DAY
    else:
        assert read.reason.isprintable()
        assert len(read.reason) < 200
        assert re.match("runs |has a cron expression that can't be read: ", read.reason)


@given(
    at=st.times().map(lambda at: at.replace(microsecond=0, tzinfo=UTC)),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    words=st.booleans(),
)
def test_what_is_written_is_read_back(at: time, days: frozenset[int], *, words: bool) -> None:
    """For every time of day and every set of days, in words or in Quartz's numbers."""
    names = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
    numbers = [(day + 1) % 7 for day in days]
    week = ",".join(names[number] if words else str(number + 1) for number in numbers)
    expression = f"{at.second} {at.minute} {at.hour} ? * {week}"
    assert read_quartz(expression) == WeeklyTime(at, days)
