"""Local times as moments in epoch milliseconds, also where a clock change repeats or skips them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from export_jobs.contract.times import as_datetime, as_epoch_ms

DAY_MINUTES: Final = 24 * 60
_MINUTE_MS = 60_000


def moments(day: date, minutes: int, zone: ZoneInfo) -> tuple[int, int]:
    """The first and the last moment at which the clock shows a time of a local day.

    They differ only for a time that a clock change repeats. A time that one skips is the moment of
    the change. `minutes` counts from midnight.
    """
    local = datetime.combine(day, time(minutes // 60, minutes % 60))
    first, last = (
        as_epoch_ms(local.replace(tzinfo=zone, fold=fold).astimezone(UTC)) for fold in (0, 1)
    )
    if first <= last:
        return first, last
    change = _change_between(last, first, zone)
    return change, change


@lru_cache(maxsize=256)
def starts_of_windows(day: date, every: int, zone: ZoneInfo) -> tuple[int, ...]:
    """The moments of a local day at which windows of `every` minutes start, and the day's end.

    A day begins when the clock first shows its midnight; windows start at the multiples of `every`.
    A multiple that the clock shows twice starts a second window only if that leaves none shorter
    than `every`: in an hour that is repeated, an hourly export is expected twice, a daily one once.
    """
    begins, ends = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    shown = [moments(day, minutes, zone) for minutes in range(0, DAY_MINUTES, every)]
    firsts = {first for first, _ in shown}
    starts: list[int] = []
    for moment in sorted(firsts | {last for _, last in shown}):
        if not begins <= moment < ends:
            continue
        if moment in firsts or moment - starts[-1] >= every * _MINUTE_MS:
            starts.append(moment)
    return (*starts, ends)


def is_skipped(day: date, zone: ZoneInfo) -> bool:
    """Whether there was no such day, as where a zone has moved across the date line."""
    return _midnight(day, zone) == _midnight(day + timedelta(days=1), zone)


def local_date(epoch_ms: int, zone: ZoneInfo) -> date:
    return local_time(epoch_ms, zone).date()


def local_time(epoch_ms: int, zone: ZoneInfo) -> datetime:
    return as_datetime(epoch_ms).astimezone(zone)


@cache
def zone_named(name: str) -> ZoneInfo:
    """A zone of the IANA database. Raises KeyError or ValueError if there is none."""
    try:
        return ZoneInfo(name)
    except OSError:  # a directory of zones
        raise ValueError(f"there is no time zone {name!r}") from None


def _midnight(day: date, zone: ZoneInfo) -> int:
    return moments(day, 0, zone)[0]


def _change_between(before: int, after: int, zone: ZoneInfo) -> int:
    """The moment of the clock change between two moments, by bisection."""
    offset = local_time(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if local_time(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
