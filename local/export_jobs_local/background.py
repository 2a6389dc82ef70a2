"""Servers on 127.0.0.1 that run in a thread: the local service's, and the web page's."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType
from typing import Final, Self

import uvicorn

TIMEOUT_S: Final = 10.0
"""How long a server may take to start or to stop."""


def bound_to(port: int) -> socket.socket:
    """A socket on this port; 0 takes any free one. Raises OSError if it can't be used."""
    # Without the protocol, asyncio leaves Nagle's algorithm on, and each answer takes 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
    except BaseException:
        bound.close()
        raise
    return bound


class ServerThread:
    """Runs a server on a bound socket while the `with` block runs; then closes the socket."""

    def __init__(self, server: uvicorn.Server, bound: socket.socket, *, name: str) -> None:
        """`name` is that of the thread."""
        self._server = server
        self._bound = bound
        self._thread = threading.Thread(target=server.run, args=([bound],), name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + TIMEOUT_S
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError(f"the server {self._thread.name} did not start")
            time.sleep(0.005)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=TIMEOUT_S)
        self._bound.close()
