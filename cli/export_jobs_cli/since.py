"""Parses times given on the command line."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final
from zoneinfo import ZoneInfo

from export_jobs.contract.times import as_epoch_ms, epoch_ms_of, parse_rfc3339
from export_jobs.model.calendar import moments

from export_jobs_cli.errors import UserError

_SPAN = re.compile(r"(\d{1,6})([mhd])")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
MAX_AHEAD_DAYS: Final = 366
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 24 * 3_600_000}


def since_ms(since: str, *, now: int) -> int:
    """Reads `30m`, `12h`, `7d`, `2026-01-31` (midnight UTC) or RFC 3339. Raises UserError."""
    if span := _SPAN.fullmatch(since):
        return now - int(span[1]) * _UNIT_MS[span[2]]
    try:
        if _DATE.fullmatch(since):
            at = datetime.fromisoformat(since).replace(tzinfo=UTC)
        else:
            at = parse_rfc3339(since)
    except ValueError:
        raise UserError(
            f"--since {since!r} is not a time: use 30m, 12h, 7d, 2026-01-31 or 2026-01-31T06:00:00Z"
        ) from None
    return as_epoch_ms(at)


def until_ms(until: str, *, now: int, zone: ZoneInfo) -> int:
    """Reads `12h`, `3d` (from now), `2026-12-27` (its midnight in the zone) or RFC 3339.

    Raises UserError, also for a time that is past or more than a year ahead.
    """
    try:
        if span := _SPAN.fullmatch(until):
            at = now + int(span[1]) * _UNIT_MS[span[2]]
        elif _DATE.fullmatch(until):
            at = moments(date.fromisoformat(until), 0, zone)[0]
        else:
            at = epoch_ms_of(until)
    except (OverflowError, ValueError):
        raise UserError(
            f"--until {until!r} is not a time: use 12h, 3d, 2026-12-27 or 2026-12-27T06:00:00+01:00"
        ) from None
    if at <= now:
        raise UserError(f"--until {until!r} is in the past")
    if at - now > MAX_AHEAD_DAYS * _UNIT_MS["d"]:
        raise UserError(
            f"--until {until!r} is more than a year ahead; remove the expectation instead"
        )
    return at
