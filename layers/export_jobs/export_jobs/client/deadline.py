"""A time limit for a whole answer.

The read timeout of requests and urllib3 is for each piece that arrives: an answer that drips in,
one header byte at a time, never meets it. Here it is the time for the answer, first byte to last.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool


class _UntilDeadline(io.RawIOBase):
    """A socket's stream that must end within the socket's timeout, counted from now."""

    def __init__(self, stream: io.RawIOBase, connection: socket.socket) -> None:
        self._stream = stream
        self._connection = connection
        self._timeout_s = connection.gettimeout()
        self._deadline = time.monotonic() + (self._timeout_s or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._timeout_s is None:
            return self._stream.readinto(buffer)
        left_s = self._deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer took too long")
        self._connection.settimeout(left_s)
        try:
            return self._stream.readinto(buffer)
        finally:
            # The connection is kept for the next call, which sends with what is set here.
            self._connection.settimeout(self._timeout_s)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_UntilDeadline(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class WholeAnswerAdapter(HTTPAdapter):
    """requests' adapter, without its retries, and with a read timeout for the whole answer."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
