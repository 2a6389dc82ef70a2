"""The time, and how much of it the current invocation has left."""

from __future__ import annotations

import math
import time
from typing import Protocol


class InvocationContext(Protocol):
    def get_remaining_time_in_millis(self) -> int: ...


class TimeLeft:
    """Seconds until Lambda ends the invocation. Made once, and set at the start of each one."""

    def __init__(self) -> None:
        self._ends_at = math.inf

    def until_end_of(self, context: InvocationContext) -> None:
        self._ends_at = time.monotonic() + context.get_remaining_time_in_millis() / 1000

    def __call__(self) -> float:
        return self._ends_at - time.monotonic()


def now_ms() -> int:
    """Epoch milliseconds."""
    return time.time_ns() // 1_000_000
