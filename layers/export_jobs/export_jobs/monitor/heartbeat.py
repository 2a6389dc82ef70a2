"""Tells a monitor outside the account that sweeps succeed, so that it notices when they stop.

Alarms can't report that the whole stack is gone, or its account out of reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from export_jobs.contract.errors import SegmentationError
from export_jobs.model.ports import HeartbeatReceiver

logger = logging.getLogger(__name__)

EVERY_MS = 5 * 60_000
"""The least time between two calls, whether they succeed or not."""


class Heartbeat:
    """Calls the receiver after good sweeps. The time of the last call is known to this process only."""

    def __init__(self, receiver: HeartbeatReceiver, *, clock: Callable[[], int]) -> None:
        """`clock` returns epoch milliseconds: others may stand still while Lambda freezes the process."""
        self._receiver = receiver
        self._clock = clock
        self._called_at: int | None = None

    def after_good_sweeps(self) -> None:
        """Call this when sweeps of all sandboxes have succeeded. It never fails, but logs a warning."""
        now = self._clock()
        # A clock that was set back must not hold up the next call for longer.
        if self._called_at is not None and 0 <= now - self._called_at < EVERY_MS:
            return
        self._called_at = now
        try:
            self._receiver.beat()
        except SegmentationError as error:
            logger.warning("the heartbeat was not received: %s", error)
        except Exception as error:  # noqa: BLE001  its text or its traceback may have the URL
            logger.warning("the heartbeat failed: unexpected %s", type(error).__name__)
