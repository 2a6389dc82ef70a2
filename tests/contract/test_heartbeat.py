"""The call of a heartbeat's URL, against a server that a test scripts."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from export_jobs.client.heartbeat import LIMIT_S, HeartbeatUrl
from export_jobs.client.tokens import CREDENTIAL_MAX_AGE_S
from export_jobs.contract.errors import BadCredentials, NotSent, RetryLater, SegmentationError
from support.scripted import Reply, ScriptedServer, answer, cut, dripping, scripted

PATH = "/ping/planted-7f3a?token=planted-51c9"


@dataclass
class Secret:
    """The secret with the URL, which counts its reads."""

    url: str
    reads: int = 0

    def read(self) -> str:
        self.reads += 1
        return self.url


@dataclass
class Called:
    """A heartbeat, the server that it calls, and its clock."""

    server: ScriptedServer
    time_left_s: float = math.inf
    now_s: float = 0.0
    secret: Secret = field(init=False)
    url: HeartbeatUrl = field(init=False)

    def __post_init__(self) -> None:
        self.secret = Secret(f"{self.server.url}{PATH}")
        self.url = HeartbeatUrl(
            self.secret.read, time_left_s=lambda: self.time_left_s, clock=lambda: self.now_s
        )


@contextmanager
def called(*replies: Reply) -> Iterator[Called]:
    with scripted(*replies) as server:
        yield Called(server)


def test_it_is_one_get_that_names_nobody() -> None:
    """Without a token, a cookie or a body; the answer's cookies are not sent back."""
    with called(answer(headers={"Set-Cookie": "a=b"})) as it:
        it.url.beat()
        it.url.beat()
    assert [(method, path) for method, path, _ in it.server.requests] == [("GET", PATH)] * 2
    for _, _, whole in it.server.requests:
        assert b"authorization" not in whole.lower()
        assert b"cookie" not in whole.lower()
        assert whole.endswith(b"\r\n\r\n")


FAILURES: dict[str, Reply] = {
    "an error of the server": answer(500),
    "throttled": answer(429, headers={"Retry-After": "1"}),
    "an unknown check": answer(404),
    "no answer": b"",
    "a cut answer": cut(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nOK"),
    "no HTTP": cut(b"planted nonsense\r\n\r\n"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_not_retried_and_its_text_has_no_part_of_the_url(name: str) -> None:
    """Whatever comes back."""
    with called(FAILURES[name]) as it:
        with pytest.raises(SegmentationError) as caught:
            it.url.beat()
        assert len(it.server.requests) == 1
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    for part in ("planted", "ping", "127.0.0.1", str(it.server.port)):
        assert part not in str(caught.value)


def test_a_receiver_out_of_reach_is_a_failure() -> None:
    """Nothing listens there."""
    with called(answer()) as it:
        pass
    with pytest.raises(RetryLater) as caught:
        it.url.beat()
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    """Neither to another host nor to the same one: the URL is the secret, and no other is."""
    with scripted(answer()) as elsewhere, called() as it:
        to = {"Location": f"{elsewhere.url}/stolen"}
        it.server._replies[:] = [answer(status, headers=to)]
        with pytest.raises(SegmentationError):
            it.url.beat()
        assert elsewhere.requests == []
        assert len(it.server.requests) == 1


def hanging(connection: socket.socket) -> None:
    connection.recv(1)  # until the other side gives up


@pytest.mark.parametrize("reply", [hanging, dripping(answer() * 9, 0.2)], ids=["hangs", "drips"])
@pytest.mark.parametrize(("left_s", "most_s"), [(math.inf, LIMIT_S), (1.5, 1.5)])
def test_a_receiver_that_hangs_holds_up_nobody_for_long(
    reply: Callable[[socket.socket], None], left_s: float, most_s: float
) -> None:
    """Three seconds, or what is left of the run, if that is less."""
    assert LIMIT_S == 3
    with called(reply) as it:
        it.time_left_s = left_s
        began = time.monotonic()
        with pytest.raises(RetryLater):
            it.url.beat()
        assert time.monotonic() - began < most_s + 1


def test_it_is_not_called_when_no_time_is_left() -> None:
    """The run must end before Lambda ends it."""
    with called(answer()) as it:
        it.time_left_s = 0.5
        with pytest.raises(NotSent):
            it.url.beat()
        assert it.server.requests == []


def test_the_secret_is_read_once_an_hour_and_after_a_failure() -> None:
    """So a URL that was changed takes effect, and a working one costs nothing."""
    with called(answer(), answer(), answer(), answer(410), answer()) as it:
        reads = []
        for now_s in (0, 300, CREDENTIAL_MAX_AGE_S, CREDENTIAL_MAX_AGE_S + 300):
            it.now_s = now_s
            it.secret.url = f"{it.server.url}/at-{now_s:.0f}"
            try:
                it.url.beat()
            except RetryLater:
                reads.append("failed")
            reads.append(it.secret.reads)
        assert reads == [1, 1, 2, "failed", 2]
        it.url.beat()
        assert it.secret.reads == 3
    assert [path for _, path, _ in it.server.requests] == [
        *("/at-0", "/at-0", "/at-3600", "/at-3600", "/at-3900")
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_binary_secret_is_read_as_text(encoding: str) -> None:
    """As the credential is: Secrets Manager holds either."""
    with scripted(answer()) as server:
        secret = f"{server.url}{PATH}\n".encode(encoding)
        HeartbeatUrl(lambda: secret, time_left_s=lambda: math.inf).beat()
    assert [path for _, path, _ in server.requests] == [PATH]


@pytest.mark.parametrize(
    "url",
    [
        *("", "http://hc-ping.com/planted", "ftp://x/planted", "https://", "http://[planted"),
        b"https://planted.example/\xff",
    ],
)
def test_a_secret_without_an_https_url_is_not_called(url: str | bytes) -> None:
    """Unencrypted, anybody on the way could read it. The text does not quote it."""
    heartbeat = HeartbeatUrl(lambda: url, time_left_s=lambda: math.inf)
    with pytest.raises(BadCredentials) as caught:
        heartbeat.beat()
    assert "planted" not in str(caught.value)


MALFORMED = cut(b"HTTP/1.1 200 OK\r\nodd header\r\nContent-Length: 0\r\n\r\n")
"""urllib3 warns of such a head, with the URL."""


@pytest.mark.parametrize("reply", [answer(), MALFORMED, b""], ids=["fine", "malformed", "none"])
def test_no_log_line_has_the_url(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    """Not even at DEBUG, at which urllib3 logs each one; other calls are logged as before."""
    with called(reply) as it, caplog.at_level(logging.DEBUG):
        try:
            it.url.beat()
        except SegmentationError:
            assert reply == b""
    assert "planted" not in caplog.text
    assert logging.getLogger("urllib3").propagate
