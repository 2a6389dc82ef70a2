"""Reads the cron expressions of Adobe's schedules, which are Quartz's, in UTC.

They differ from those of cron: seconds come first, a year may come last, the days of the week are 1
to 7 from Sunday on, `?` is no restriction, and a range may wrap around (`FRI-MON`). Sources: the
CronTrigger tutorial at quartz-scheduler.org, and the appendix of Adobe's guide to schedules.

No library does this: those for Python read the formats of cron or of AWS, only check Quartz's, or
have not been maintained for years.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, time

from export_jobs.contract.text import one_line

MAX_LENGTH = 500


@dataclass(frozen=True)
class WeeklyTime:
    """A time of day on certain days of the week, both in UTC.

    In another time zone, the same moment may be on another day of the week.
    """

    at: time
    days: frozenset[int]
    """As `datetime.weekday` counts them: Monday is 0, Sunday is 6. Never empty."""


@dataclass(frozen=True)
class NotWeekly:
    """Why an expression is no time of day on certain days of the week.

    `reason` continues a sentence that begins with the schedule: "runs several times a day".
    """

    reason: str


class _Unreadable(ValueError):
    """Quartz refuses the expression, or ignores a part of it."""


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()
    """The words for the values from `low` on."""
    by_month: str = "(?!)"
    """A pattern of values that differ from month to month: the last day, the second Monday."""
    may_wrap: bool = True

    @property
    def every(self) -> frozenset[int]:
        return frozenset(range(self.low, self.high + 1))


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SECOND = _Field("second", 0, 59)
_MINUTE = _Field("minute", 0, 59)
_HOUR = _Field("hour", 0, 23)
_DAY_OF_MONTH = _Field(
    "day of the month", 1, 31, by_month=r"L(-\d{1,2})?W?|(0?[1-9]|[12]\d|3[01])W"
)
_MONTH = _Field("month", 1, 12, _MONTHS)
_DAY_OF_WEEK = _Field(
    "day of the week", 1, 7, _DAYS, by_month=rf"({'|'.join(_DAYS)}|[1-7])(L|#[1-5])"
)
_YEAR = _Field("year", 1970, 2099, may_wrap=False)
_FIELDS = (_SECOND, _MINUTE, _HOUR, _DAY_OF_MONTH, _MONTH, _DAY_OF_WEEK, _YEAR)
_ITEM = re.compile(r"(?:\*|([A-Z]{3}|\d{1,4})(?:-([A-Z]{3}|\d{1,4}))?)?(?:/(\d{1,4}))?")
"""All values, one, or a range; with a step, each n-th of them, or each n-th from that one on."""

_COMMA_BETWEEN_WORDS = re.compile(r"(?<=[A-Z])\s*,\s*(?=[A-Z])")


def read_quartz(expression: str) -> WeeklyTime | NotWeekly:
    """When a schedule runs, as a time of day on certain days of the week; or why it is none.

    Where Quartz is stricter, an expression that can mean only one thing is read: with blanks around
    a comma between two words, as in Adobe's guide, or with `*` or `?` for both kinds of day.
    """
    try:
        seconds, minutes, hours, days_of_month, months, days_of_week, years = (
            _values(field, text) for field, text in zip(_FIELDS, _split(expression), strict=True)
        )
    except _Unreadable as problem:
        return NotWeekly(f"has a cron expression that can't be read: {problem}")
    if len(seconds) * len(minutes) * len(hours) > 1:
        return NotWeekly("runs several times a day")
    if days_of_month != _DAY_OF_MONTH.every or not days_of_week:
        return NotWeekly("runs only on certain days of the month")
    if months != _MONTH.every:
        return NotWeekly("runs only in certain months")
    if years != _YEAR.every:
        return NotWeekly("runs only in certain years")
    (second,), (minute,), (hour,) = seconds, minutes, hours
    # Quartz counts from Sunday, which is 1; Python from Monday, which is 0.
    return WeeklyTime(
        time(hour, minute, second, tzinfo=UTC), frozenset((day + 5) % 7 for day in days_of_week)
    )


def _split(expression: str) -> list[str]:
    """The seven fields, in capitals."""
    if len(expression) > MAX_LENGTH:
        raise _Unreadable(f"it has more than {MAX_LENGTH} characters")
    if not expression.isascii():
        raise _Unreadable(f"{_quoted(expression)} has characters that are not ASCII")
    fields = _COMMA_BETWEEN_WORDS.sub(",", expression.upper()).split()
    if len(fields) not in {6, 7}:
        raise _Unreadable(f"{_quoted(expression)} has {len(fields)} fields instead of six or seven")
    return [*fields, "*"][:7]


def _values(field: _Field, text: str) -> frozenset[int]:
    """The values that a field allows; none if they differ from month to month."""
    if text == "?" and field in {_DAY_OF_MONTH, _DAY_OF_WEEK}:
        return field.every
    if text == "L" and field == _DAY_OF_WEEK:
        return frozenset({7})
    items = text.split(",")
    if any(re.fullmatch(field.by_month, item) for item in items):
        return frozenset()
    return frozenset(value for item in items for value in _values_of_item(field, item))


def _values_of_item(field: _Field, text: str) -> list[int]:
    found = _ITEM.fullmatch(text)
    if not text or not found:
        raise _Unreadable(f"{_quoted(text)} is not a valid {field.name}")
    first, last, step = found.groups()
    if step and not 1 <= int(step) <= field.high:
        raise _Unreadable(f"{_quoted(text)} has a step that no {field.name} can have")
    if step and text[0].isalpha():
        raise _Unreadable(f"{_quoted(text)} has a step after a word, which Quartz ignores")
    start = _value(field, first) if first else field.low
    end = _value(field, last) if last else start if first and not step else field.high
    size = field.high - field.low + 1
    if end < start:
        if not field.may_wrap:
            raise _Unreadable(f"{_quoted(text)} ends before it starts")
        end += size
    return [field.low + (at - field.low) % size for at in range(start, end + 1, int(step or 1))]


def _value(field: _Field, text: str) -> int:
    if text in field.words:
        return field.low + field.words.index(text)
    if not text.isdigit() or int(text) not in field.every:
        raise _Unreadable(f"{_quoted(text)} is not a valid {field.name}")
    return int(text)


def _quoted(text: str) -> str:
    shown = one_line(text)
    return f'"{shown if len(shown) <= 60 else shown[:59] + "…"}"'
