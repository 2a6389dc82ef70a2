"""Reads the values of an expectation as people write them: times, durations, dates, days, zones.

Each function raises ValueError with what is wrong and, where it can be guessed, the right spelling.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable, Sequence
from datetime import date
from difflib import get_close_matches
from functools import cache
from typing import Final
from zoneinfo import available_timezones

from export_jobs.contract.text import one_line
from export_jobs.model.calendar import DAY_MINUTES

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIN_WINDOW: Final = 5
"""Minutes. Sweeps may be as far apart as that."""
_NOT_ZONES = frozenset({"Factory", "localtime", "posixrules"})
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_LOOSE_TIME = re.compile(
    r"(\d{1,2})(?:[:.h ]?(\d{2}))?(?::\d{2})?\s*h?\s*([ap])?\.?(?:m\.?)?", re.ASCII | re.IGNORECASE
)
_DURATION = re.compile(r"([1-9]\d{0,5})([mhd])", re.ASCII)
_LOOSE_DURATION = re.compile(
    r"(?:(\d{1,4})\s*d[a-z]*)?\s*(?:(\d{1,4})\s*h[a-z]*)?\s*(?:(\d{1,6})\s*m[a-z]*)?",
    re.ASCII | re.IGNORECASE,
)
_UNIT_MINUTES = {"m": 1, "h": 60, "d": DAY_MINUTES}
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LOOSE_DATES = (
    re.compile(r"(?P<year>\d{4})[-/. ]?(?P<month>\d{1,2})[-/. ]?(?P<day>\d{1,2})(?:[T ].*)?"),
    re.compile(r"(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>\d{4})"),
)


def quoted(text: str) -> str:
    """A value from outside as it appears in a message."""
    shown = one_line(text)
    return repr(shown if len(shown) <= 60 else f"{shown[:60]}…")


def minutes_of_day(text: str) -> int:
    """`06:00` in minutes after midnight."""
    if found := _TIME.fullmatch(text):
        return int(found[1]) * 60 + int(found[2])
    hint = _time_meant(text)
    raise ValueError(
        f"{quoted(text)} is not a time of day; "
        + (f'write "{hint}"' if hint else "write it as HH:MM, from 00:00 to 23:59")
    )


def time_text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _time_meant(text: str) -> str | None:
    found = _LOOSE_TIME.fullmatch(text.strip())
    if not found:
        return None
    hours, minutes, half = int(found[1]), int(found[2] or 0), (found[3] or "").lower()
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half == "p" else 0)
    if (hours, minutes) == (24, 0):
        return "00:00"
    return time_text(hours * 60 + minutes) if hours < 24 and minutes < 60 else None


def minutes_of(text: str) -> int:
    """`15m`, `1h`, `90m` or `1d` in minutes."""
    if found := _DURATION.fullmatch(text):
        return int(found[1]) * _UNIT_MINUTES[found[2]]
    loose = _LOOSE_DURATION.fullmatch(text.strip()) if text.strip() else None
    meant = 0
    if loose:
        meant = sum(int(n or 0) * u for n, u in zip(loose.groups(), (1440, 60, 1), strict=True))
    raise ValueError(
        f"{quoted(text)} is not a duration; "
        + (f"write {duration_text(meant)}" if meant else "write it as 15m, 1h or 90m")
    )


def duration_text(minutes: int) -> str:
    return f"{minutes // 60}h" if minutes and minutes % 60 == 0 else f"{minutes}m"


def window_minutes(text: str) -> int:
    """A duration that divides a day."""
    minutes = minutes_of(text)
    fitting = [length for length in range(MIN_WINDOW, DAY_MINUTES + 1) if DAY_MINUTES % length == 0]
    if minutes not in fitting:
        below = max((n for n in fitting if n < minutes), default=None)
        above = min((n for n in fitting if n > minutes), default=None)
        nearest = " or ".join(duration_text(n) for n in (below, above) if n)
        raise ValueError(f"must divide a day, and be at least {MIN_WINDOW}m; write {nearest}")
    return minutes


def date_of(text: str) -> date:
    """`2026-12-25`."""
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            nearest = _nearest_date(*map(int, text.split("-")))
            hint = f"; the nearest is {nearest}" if nearest else ""
            raise ValueError(f"{quoted(text)} is not a date that exists{hint}") from None
    for pattern in _LOOSE_DATES:
        if found := pattern.fullmatch(text.strip()):
            meant = _nearest_date(int(found["year"]), int(found["month"]), int(found["day"]))
            if meant:
                raise ValueError(f"{quoted(text)} is not a date; write {meant}")
    raise ValueError(f"{quoted(text)} is not a date; write it as 2026-12-25")


def _nearest_date(year: int, month: int, day: int) -> date | None:
    if year < 1:
        return None
    month = min(max(month, 1), 12)
    return date(year, month, min(max(day, 1), monthrange(year, month)[1]))


def days_of(texts: Sequence[str]) -> frozenset[int]:
    """Weekdays of `mon-fri`, `mon,wed` or a list of those; Monday is 0. `fri-mon` wraps."""
    found: list[int] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if first not in DAYS or (dash and last not in DAYS):
            raise ValueError(f"{quoted(part)} is not a day; {_day_meant(first, last, dash)}")
        start, end = DAYS.index(first), DAYS.index(last if dash else first)
        found += [(start + n) % 7 for n in range((end - start) % 7 + 1)]
    for day in found:
        if found.count(day) > 1:
            raise ValueError(f"names {DAYS[day]} twice")
    return frozenset(found)


def days_text(days: Iterable[int]) -> str:
    """The shortest way to write some weekdays: `mon-fri`, `mon,wed`."""
    held = sorted(days)
    if held == list(range(7)):
        return "mon-sun"
    starts = [day for day in held if (day - 1) % 7 not in held]
    runs = []
    for start in starts:
        length = next(n for n in range(1, 8) if (start + n) % 7 not in held)
        last = DAYS[(start + length - 1) % 7]
        runs += [f"{DAYS[start]}-{last}"] if length > 2 else list(DAYS * 2)[start : start + length]
    return ",".join(runs)


_GROUPS = {
    "weekdays": "mon-fri",
    "workdays": "mon-fri",
    "weekends": "sat-sun",
    "weekend": "sat-sun",
}
_EVERY_DAY = frozenset({"daily", "all", "every day", "everyday"})


def _day_meant(first: str, last: str, dash: str) -> str:
    if group := _GROUPS.get(first.lower()):
        return f"write {group}"
    if first.lower() in _EVERY_DAY:
        return "leave days out for every day"
    meant = [piece.lower()[:3] for piece in ((first, last) if dash else (first,))]
    if all(piece in DAYS for piece in meant):
        return f"write {'-'.join(meant)}"
    return f"the days are {', '.join(DAYS)}"


def zone_of(text: str) -> str:
    """The name of a zone in the IANA database, such as `Europe/Rome`."""
    if text in zones():
        return text
    meant = _zone_meant(text)
    hint = f"did you mean {meant!r}?" if meant else "write one such as Europe/Rome"
    raise ValueError(f"there is no time zone {quoted(text)}; {hint}")


@cache
def zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NOT_ZONES)


def _zone_meant(text: str) -> str | None:
    wanted = text.strip().replace(" ", "_").casefold()
    names = {name.casefold(): name for name in sorted(zones())}
    if wanted in names:
        return names[wanted]
    cities = {name.rpartition("/")[2].casefold(): name for name in sorted(zones()) if "/" in name}
    if wanted in cities:
        return cities[wanted]
    nearest = get_close_matches(wanted[:64], [*names, *cities], n=1, cutoff=0.7)
    return (names.get(nearest[0]) or cities[nearest[0]]) if nearest else None
