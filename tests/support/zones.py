"""Time zones and their local days, above all those on which clocks change."""

from __future__ import annotations

import zoneinfo
from datetime import date, datetime, time, timedelta
from functools import cache

from hypothesis import strategies as st

FIRST_YEAR, LAST_YEAR = 2000, 2037
zones = st.sampled_from(sorted(zoneinfo.available_timezones()))
dates = st.dates(date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31))


@cache
def clock_changes(zone: str) -> list[date]:
    """The days during which a zone's offset from UTC changes."""
    there = zoneinfo.ZoneInfo(zone)
    days = (date(LAST_YEAR + 1, 1, 1) - date(FIRST_YEAR, 1, 1)).days
    first = datetime.combine(date(FIRST_YEAR, 1, 1), time(), there)
    offsets = [(first + timedelta(days=n)).utcoffset() for n in range(days + 1)]
    return [first.date() + timedelta(days=n) for n in range(days) if offsets[n] != offsets[n + 1]]


@st.composite
def zones_and_days(draw: st.DrawFn) -> tuple[str, date]:
    """A zone and a local day: mostly one on which clocks change there, or one beside it."""
    zone = draw(zones)
    changes = clock_changes(zone)
    if not changes or draw(st.integers(0, 4)) == 0:
        return zone, draw(dates)
    return zone, draw(st.sampled_from(changes)) + timedelta(days=draw(st.integers(-1, 1)))
