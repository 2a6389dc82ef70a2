"""The names of datasets and segments for messages, read as seldom as possible."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.ports import StoreUnavailable

logger = logging.getLogger(__name__)

KEPT_S = 600.0
"""Names are read again after this time, also if they could not be read."""


class KeptNames:
    """Reads the names of a sandbox once, and again once they are ten minutes old.

    A message does not wait for them: if they can't be read, it has those read before, or none.
    """

    def __init__(
        self, read: Callable[[str], Names], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`read` may raise StoreUnavailable."""
        self._read = read
        self._monotonic = monotonic
        self._kept: dict[str, tuple[float, Names]] = {}

    def __call__(self, sandbox: str) -> Names:
        read_at, names = self._kept.get(sandbox, (None, NO_NAMES))
        if read_at is not None and self._monotonic() - read_at < KEPT_S:
            return names
        try:
            names = self._read(sandbox)
        except StoreUnavailable as error:
            logger.warning("messages may lack the names of datasets and segments: %s", error)
        self._kept[sandbox] = (self._monotonic(), names)
        return names
