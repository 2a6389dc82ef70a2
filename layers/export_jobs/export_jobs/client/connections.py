"""Connections that limit the time of a whole response, and check once more before they send.

The read timeout of requests and urllib3 applies to each chunk: a response that arrives one byte at
a time never exceeds it. Here it applies to the whole response, from the first byte to the last.

Connecting may take long: the name lookup, several addresses, a proxy, TLS. So whether a call may
still be sent is checked once its connection is open, immediately before its first byte.

A proxy is asked for a tunnel, in which TLS hides the call from it. Nothing else is sent to a proxy.
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
from requests.exceptions import InvalidProxyURL
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class ProxyNotSupported(InvalidProxyURL):
    """Only http:// and https:// proxies are: a SOCKS library has connections of its own."""


class Withheld(Exception):
    """The call must not be sent any more. Nothing of it was sent."""


@dataclass
class Sending:
    """One call in progress."""

    may_send: Callable[[], bool]
    max_idle_s: float
    begun: bool = False
    """Its first byte was sent, or may have been: from here on, the call may have its effect."""


_SENDING: ContextVar[Sending] = ContextVar("sending")


@contextmanager
def sending(may_send: Callable[[], bool], *, max_idle_s: float = math.inf) -> Iterator[Sending]:
    """Calls inside, in this thread, raise Withheld unless `may_send` returns True.

    They use no connection that was last used more than `max_idle_s` seconds ago.
    """
    call = Sending(may_send, max_idle_s)
    before = _SENDING.set(call)
    try:
        yield call
    finally:
        _SENDING.reset(before)


class _UntilDeadline(io.RawIOBase):
    """A socket's stream that must end within the socket's timeout, counted from its creation."""

    def __init__(self, stream: io.RawIOBase, connection: socket.socket) -> None:
        self._stream = stream
        self._connection = connection
        self._timeout_s = connection.gettimeout()
        self._deadline = time.monotonic() + (self._timeout_s or 0.0)
        self.ended = False
        """The other side has closed the connection, and all that it sent was read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._timeout_s is None:
            return self._read(buffer)
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the response took too long")
        self._connection.settimeout(left_s)
        try:
            return self._read(buffer)
        finally:
            # The connection is reused, and its next call sends with the timeout set here.
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
        """Reads the head. http.client accepts one that was cut off as complete."""
        super().begin()
        if self._stream.ended:
            raise http.client.HTTPException("the head of the response was cut off")


class _Connection(HTTPConnection):
    response_class = _Response
    _used_at = 0.0

    def connect(self) -> None:
        """Opens the connection. Through a proxy, urllib3 does so before the request is written."""
        super().connect()
        self._used_at = _now_s()

    def endheaders(self, *args: Any, **options: Any) -> None:
        """Completes the head of a request, which was only buffered until now, and sends it."""
        call = _SENDING.get()
        at_s = _now_s()
        if self.sock is not None and at_s - self._used_at > call.max_idle_s:
            self.sock.close()
            self.sock = None
        if self.sock is None:
            self.connect()
        if self.proxy is not None and self._tunnel_host is None:
            raise ProxyNotSupported("the proxy would read the call")
        if not call.may_send():
            raise Withheld
        call.begun = True
        self._used_at = at_s
        super().endheaders(*args, **options)


def _now_s() -> float:
    return time.time()  # a monotonic clock may stand still while Lambda is frozen


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class WholeAnswerAdapter(HTTPAdapter):
    """requests' adapter without its retries, and with a read timeout for the whole response."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """The pools of connections through a proxy. Raises ProxyNotSupported."""
        if not proxy.lower().startswith(("http://", "https://")):
            raise ProxyNotSupported("the proxy's address must begin with http:// or https://")
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager
