"""RFC 3339 times, as requests and events have them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import overload

_RFC_3339 = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-][0-2]\d:[0-5]\d)", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def parse_rfc3339(value: str) -> datetime:
    """Parses an RFC 3339 time, which always has a zone; the result is in UTC.

    Raises ValueError with the problem.
    """
    if not _RFC_3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-01-31T00:00:00Z")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except ValueError as error:
        raise ValueError(f"is not a time that exists ({error})") from None
    except OverflowError:
        raise ValueError("can't be represented in UTC, which has the years 0001 to 9999") from None


def epoch_ms_of(value: str) -> int:
    """An RFC 3339 time in epoch milliseconds, rounded down. Raises ValueError with the problem."""
    return as_epoch_ms(parse_rfc3339(value))


def as_epoch_ms(at: datetime) -> int:
    """A time that has a zone in epoch milliseconds, rounded down."""
    return (at - _EPOCH) // _MS


def as_datetime(epoch_ms: int) -> datetime:
    """Epoch milliseconds as a time in UTC."""
    return _EPOCH + epoch_ms * _MS


@overload
def rfc3339(epoch_ms: int) -> str: ...
@overload
def rfc3339(epoch_ms: None) -> None: ...
def rfc3339(epoch_ms: int | None) -> str | None:
    """Epoch milliseconds as `2026-01-31T00:00:00.000Z`; None stays None."""
    if epoch_ms is None:
        return None
    return as_datetime(epoch_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
