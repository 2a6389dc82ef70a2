"""Parses times given on the command line."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from export_jobs.contract.times import parse_rfc3339

from export_jobs_cli.errors import UserError

_SPAN = re.compile(r"(\d{1,6})([mhd])")
_UNIT_MS = {"m": 60_000, "h": 3_600_000, "d": 24 * 3_600_000}


def epoch_ms(since: str, *, now: int) -> int:
    """Reads `30m`, `12h`, `7d`, `2026-01-31` (midnight UTC) or RFC 3339. Raises UserError."""
    if span := _SPAN.fullmatch(since):
        return now - int(span[1]) * _UNIT_MS[span[2]]
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", since):
            at = datetime.fromisoformat(since).replace(tzinfo=UTC)
        else:
            at = parse_rfc3339(since)
    except ValueError:
        raise UserError(
            f"--since {since!r} is not a time: use 30m, 12h, 7d, 2026-01-31 or 2026-01-31T06:00:00Z"
        ) from None
    return int(at.timestamp() * 1000)
