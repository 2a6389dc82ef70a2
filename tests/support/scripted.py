"""A socket server that answers with the bytes that a test gives it, and records the calls."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Reply = bytes | Callable[[socket.socket], None]
"""The bytes of an answer; or what to do with the connection. `b""` closes it without an answer."""


def answer(
    status: int = 200, body: Any = None, *, headers: Mapping[str, str] | None = None
) -> bytes:
    """A complete answer. A body that is not bytes is sent as JSON; None is no body at all."""
    content = (
        body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    )
    lines = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
    lines |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + content


def cut(data: bytes) -> Callable[[socket.socket], None]:
    """Sends the bytes and closes the connection."""
    return lambda connection: connection.sendall(data)


def dripping(data: bytes, pause_s: float) -> Callable[[socket.socket], None]:
    """Sends the bytes one by one."""

    def drip(connection: socket.socket) -> None:
        for position in range(len(data)):
            connection.sendall(data[position : position + 1])
            time.sleep(pause_s)

    return drip


def hang_up(connection: socket.socket) -> None:
    """Resets the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def token_answer(token: Any = "planted.token") -> bytes:
    """IMS's answer to a good credential."""
    return answer(body={"access_token": token, "token_type": "bearer", "expires_in": 86_399})


class ScriptedServer:
    """Answers token calls itself, and other calls with the next reply; repeats the last reply."""

    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None) -> None:
        """With `tls`, its calls are encrypted."""
        self._tls = tls
        self._replies = list(replies)
        self.requests: list[tuple[str, str, bytes]] = []
        """Method, path, and head with body, of every call except token calls."""
        self.token_calls: list[dict[str, str]] = []
        """The form of every token call."""
        self.ims: Callable[[dict[str, str]], bytes] = lambda _: token_answer()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._closing = threading.Event()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname(), timeout=1).close()
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        if self._tls:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                return
        with connection, contextlib.suppress(OSError):
            while not self._closing.is_set():
                received = _request(connection)
                if received is None:
                    return
                method, path, whole = received
                if path.endswith("/token/v3"):
                    form = dict(urllib.parse.parse_qsl(whole.partition(b"\r\n\r\n")[2].decode()))
                    self.token_calls.append(form)
                    connection.sendall(self.ims(form))
                    continue
                self.requests.append((method, path, whole))
                reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
                if callable(reply):
                    reply(connection)
                    return
                if not reply:
                    return
                connection.sendall(reply)


def _request(connection: socket.socket) -> tuple[str, str, bytes] | None:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(65_536)
        if not more:
            return None
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        (
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ),
        0,
    )
    while len(body) < length:
        body += connection.recv(65_536)
    method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
    return method, path, head + b"\r\n\r\n" + body


@contextlib.contextmanager
def scripted(*replies: Reply, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    server = ScriptedServer(*replies, tls=tls)
    try:
        yield server
    finally:
        server.close()
