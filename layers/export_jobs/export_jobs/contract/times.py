"""RFC 3339 times, as requests and events have them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import overload

_RFC_3339 = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


def parse_rfc3339(value: str) -> datetime:
    """Parses an RFC 3339 time, which always has a zone. Raises ValueError with the problem."""
    if not _RFC_3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with a zone, such as 2026-01-31T00:00:00Z")
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise ValueError(f"is no time that exists ({error})") from None


@overload
def rfc3339(epoch_ms: int) -> str: ...
@overload
def rfc3339(epoch_ms: None) -> None: ...
def rfc3339(epoch_ms: int | None) -> str | None:
    """Epoch milliseconds as `2026-01-31T00:00:00.000Z`; None stays None."""
    if epoch_ms is None:
        return None
    at = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
