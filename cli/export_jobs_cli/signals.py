"""Ctrl-C and SIGTERM as an event, for commands that have to clean up before they end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals() -> Iterator[threading.Event]:
    """Yields an event that Ctrl-C or SIGTERM sets, so that everything is stopped in order."""
    stopped = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stopped.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for(stopped: threading.Event) -> None:
    """Waits, waking every second: a signal that another thread received does not wake this one."""
    while not stopped.wait(1.0):
        pass
