"""Connections that bound a whole answer in time, and that ask once more before they send.

The read timeout of requests and urllib3 is for each piece that arrives: an answer that drips in,
one header byte at a time, never meets it. Here it is the time for the answer, first byte to last.

To connect may take long: a name to look up, addresses to try, TLS to agree on. So whether a call may
still be sent is asked when its connection stands, immediately before its first byte.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class Withheld(Exception):
    """The call was not to be sent any more. Nothing of it was."""


@dataclass
class Sending:
    """One call on its way."""

    may_send: Callable[[], bool]
    max_idle_s: float
    begun: bool = False
    """Its first byte has left, or may have: from here on, the call may have its effect."""


_SENDING: ContextVar[Sending] = ContextVar("sending")


@contextmanager
def sending(may_send: Callable[[], bool], *, max_idle_s: float = math.inf) -> Iterator[Sending]:
    """What is called inside, in this thread, raises Withheld unless `may_send` says that it may.

    It goes over no connection that was last used longer ago than `max_idle_s`.
    """
    call = Sending(may_send, max_idle_s)
    before = _SENDING.set(call)
    try:
        yield call
    finally:
        _SENDING.reset(before)


class _UntilDeadline(io.RawIOBase):
    """A socket's stream that must end within the socket's timeout, counted from now."""

    def __init__(self, stream: io.RawIOBase, connection: socket.socket) -> None:
        self._stream = stream
        self._connection = connection
        self._timeout_s = connection.gettimeout()
        self._deadline = time.monotonic() + (self._timeout_s or 0.0)
        self.ended = False
        """The other side has closed the connection, and all it sent was read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._timeout_s is None:
            return self._read(buffer)
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        self._connection.settimeout(left_s)
        try:
            return self._read(buffer)
        finally:
            # The connection is kept for the next call, which sends with what is set here.
            self._connection.settimeout(self._timeout_s)

    def _read(self, buffer: Any) -> int | None:
        count = self._stream.readinto(buffer)
        self.ended = self.ended or count == 0
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._stream = _UntilDeadline(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._stream)

    def begin(self) -> None:
        """Reads the head. http.client takes one that was cut off for a whole one."""
        super().begin()
        if self._stream.ended:
            raise http.client.HTTPException("the head of the answer broke off")


class _Connection(HTTPConnection):
    response_class = _Response
    _used_at = 0.0

    def endheaders(self, *args: Any, **options: Any) -> None:
        """Ends the head of a request, which until now was only collected, and sends it."""
        call = _SENDING.get()
        now = time.time()  # a monotonic clock may stand still while Lambda is frozen
        if self.sock is not None and now - self._used_at > call.max_idle_s:
            self.sock.close()
            self.sock = None
        if self.sock is None:
            self.connect()
        if not call.may_send():
            raise Withheld
        call.begun = True
        self._used_at = now
        super().endheaders(*args, **options)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class WholeAnswerAdapter(HTTPAdapter):
    """requests' adapter, without its retries, and with a read timeout for the whole answer."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
