"""Calls the URL of a heartbeat. Whoever has it can report in our name, so it appears in no text."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from export_jobs.client.environment import on_this_machine
from export_jobs.client.tokens import CREDENTIAL_MAX_AGE_S
from export_jobs.client.transport import Transport
from export_jobs.contract.errors import BadCredentials, RetryLater
from export_jobs.contract.text import decode_text

LIMIT_S = 3.0
"""The longest time to connect to an address, and then for the whole response."""


class HeartbeatUrl:
    """A URL from a secret, which is read an hour after it was last read, and after a failed call."""

    def __init__(
        self,
        read: Callable[[], str | bytes],
        *,
        time_left_s: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`read` returns the URL; it may raise a SegmentationError. `clock` returns seconds.

        `time_left_s` returns how long the caller may still run; no call outlasts it.
        """
        self._read = read
        self._clock = clock
        self._transport = Transport(
            time_left_s=lambda: min(LIMIT_S, time_left_s()), connections=1, tries=1
        )
        self._url: str | None = None
        self._due = 0.0

    def beat(self) -> None:
        """One GET, without retries. Raises a SegmentationError for anything but a 2xx response.

        Its text has no part of the URL.
        """
        if self._url is None or self._clock() >= self._due:
            self._url = _checked(self._read())
            self._due = self._clock() + CREDENTIAL_MAX_AGE_S
        url, self._url = self._url, None
        with _silent_urllib3():
            answer = self._transport.send("GET", url)
        if not answer.succeeded:
            raise RetryLater(f"its URL returned HTTP {answer.status}")
        self._url = url


def _checked(value: str | bytes) -> str:
    """The URL, if its calls are encrypted or stay on this machine. Raises BadCredentials."""
    url = ""
    try:
        url = (decode_text(value) if isinstance(value, bytes) else value).strip()
        parts = urlsplit(url)
        encrypted = parts.scheme == "https" and parts.hostname
        allowed = encrypted or (parts.scheme == "http" and on_this_machine(url))
    except ValueError:  # also of bytes in another encoding
        allowed = False
    if not allowed:
        raise BadCredentials("its secret is not an https:// URL")
    return url


@contextmanager
def _silent_urllib3() -> Iterator[None]:
    """urllib3 logs each URL at DEBUG, and that of a response with a malformed head as a warning."""
    logger = logging.getLogger("urllib3")
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.propagate = before
