"""The client through a proxy of the environment, with TLS to the service at its other end."""

from __future__ import annotations

import base64
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from export_jobs.client.environment import proxies_for
from export_jobs.client.transport import IDLE_S
from export_jobs.contract.errors import OutcomeUnknown, RetryLater
from support.proxy import HOST, Proxy, proxied, server_tls
from support.scripted import Reply, ScriptedServer, answer, dripping, hang_up, scripted

from .test_client import JOB, PAGE, OpaqueTokens, client_to, create

SECRETS = (b"planted", b"opaque", b"Bearer", b"authorization: ")
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


class Authority(NamedTuple):
    """A server's TLS, and the file with which its clients trust it."""

    tls: ssl.SSLContext
    ca: Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(*server_tls(tmp_path_factory.mktemp("ca")))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    """One without proxies, which trusts the test's server."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca))


@pytest.fixture
def server(authority: Authority) -> Iterator[ScriptedServer]:
    with scripted(answer(body={**PAGE, **JOB}), tls=authority.tls) as server:
        yield server


@pytest.fixture
def proxy(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxied(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield proxy


def assert_saw_no_token(proxy: Proxy) -> None:
    seen = b"".join(proxy.asked) + bytes(proxy.passed)
    assert not [secret for secret in SECRETS if secret.lower() in seen.lower()]


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("bundle", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_proxy_passes_on_what_it_can_t_read(
    server: ScriptedServer,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    bundle: str,
) -> None:
    """By any of its variables; it sees the service's name, and no token and no secret."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv(bundle, str(authority.ca))
    with proxied(server.port) as proxy:
        monkeypatch.setenv(variable, f"http://user:pass@{proxy.address}")
        assert client_to(f"https://{HOST}").list_jobs("prod", limit=1).records
        assert len(server.requests) == len(server.token_calls) == 1
        assert b"Bearer planted.token" in server.requests[0][2]
        assert b"proxy-authorization" not in server.requests[0][2].lower()
        (head,) = proxy.asked
        login = b"Proxy-Authorization: Basic " + base64.b64encode(b"user:pass")
        assert head.startswith(f"CONNECT {HOST}:443 ".encode())
        assert login in head
        assert len(proxy.passed) > 1_000
        proxy.asked[0] = head.replace(login, b"")
        assert_saw_no_token(proxy)


def test_an_encrypted_proxy_can_t_read_it_either(
    server: ScriptedServer, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS to the proxy has TLS to the service inside."""
    with proxied(server.port, tls=authority.tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert create(client_to(f"https://{HOST}")).id == "1"
        assert len(proxy.asked) == 1
        assert_saw_no_token(proxy)


@pytest.mark.parametrize("excluded", ["NO_PROXY", "no_proxy"])
def test_a_host_in_no_proxy_is_called_directly(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, excluded: str
) -> None:
    """Here, nobody can resolve its name, so the call fails."""
    monkeypatch.setenv(excluded, HOST)
    with pytest.raises(RetryLater, match="can't reach"):
        client_to(f"https://{HOST}").list_jobs("prod", limit=1)
    assert proxy.asked == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_this_machine_is_never_reached_by_a_proxy(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, host: str, *, encrypted: bool
) -> None:
    """Whatever NO_PROXY says, for http:// and https://; and for http:// no CA has to be found."""
    with (
        scripted(answer(body=PAGE), tls=authority.tls if encrypted else None) as server,
        proxied(server.port) as proxy,
    ):
        for variable in VARIABLES:
            for name in (variable, variable.lower()):
                monkeypatch.setenv(name, "" if variable == "NO_PROXY" else proxy.url)
        if not encrypted:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
        client = client_to(server.url.replace("127.0.0.1", host), tokens=OpaqueTokens())
        if encrypted and host == "127.0.0.2":  # not in the certificate, and nobody listens there
            with pytest.raises(RetryLater, match="can't reach"):
                client.list_jobs("prod", limit=1)
        elif host != "127.0.0.2":
            assert client.list_jobs("prod", limit=1).records
        assert proxy.asked == []


def test_no_call_without_tls_goes_to_a_proxy(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would read the token; so even a host that is not this machine is called directly."""
    with proxied(server.port) as proxy:
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, proxy.url)
        assert not proxies_for(f"http://{HOST}")
        with pytest.raises(RetryLater, match="can't reach"):
            client_to(f"http://{HOST}", tokens=OpaqueTokens()).list_jobs("prod", limit=1)
        assert proxy.asked == []


def test_a_connection_to_a_proxy_sends_nothing_outside_a_tunnel(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if a proxy were chosen for a call without TLS, it would not get the call."""
    with proxied(server.port) as proxy:
        monkeypatch.setattr(
            "export_jobs.client.transport.proxies_for", lambda _: {"http": proxy.url}
        )
        with pytest.raises(RetryLater, match="can't reach"):
            create(client_to(f"http://{HOST}", tokens=OpaqueTokens()))
        assert not any(proxy.asked)


def test_a_service_that_is_not_trusted_gets_nothing(
    server: ScriptedServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that opens the tunnel elsewhere learns nothing, as its certificate is not trusted."""
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(RetryLater, match="can't reach the service: SSLError"):
        create(client_to(f"https://{HOST}", tokens=OpaqueTokens()))
    assert len(proxy.asked) == 1
    assert server.requests == []


def test_a_missing_ca_file_is_named(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, so a create call can be made again once the variable is corrected."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere.pem")
    with pytest.raises(RetryLater, match=r"/nowhere\.pem"):
        create(client_to(f"https://{HOST}", tokens=OpaqueTokens()))
    assert proxy.asked == []


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "ftp"])
def test_a_proxy_of_another_kind_is_refused(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """A library for it would send a call without asking whether it may still be sent."""
    with proxied(server.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{proxy.address}")
        with pytest.raises(RetryLater, match="ProxyNotSupported"):
            create(client_to(f"https://{HOST}", tokens=OpaqueTokens()))
        assert proxy.asked == []


def test_whether_to_send_is_asked_once_the_tunnel_stands(
    server: ScriptedServer, proxy: Proxy
) -> None:
    """The proxy and TLS may take longer than the time that was left; then nothing is sent."""
    client = client_to(f"https://{HOST}", tokens=OpaqueTokens())
    tunnels: list[int] = []

    def too_late() -> bool:
        tunnels.append(len(proxy.asked))
        return False

    with pytest.raises(RetryLater, match="not sent"):
        create(client, may_send=too_late)
    assert (tunnels, server.requests) == ([1], [])
    assert create(client).id == "1"


def test_no_job_is_created_over_a_tunnel_that_was_not_used_for_long(
    server: ScriptedServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be dead; a new tunnel is opened to the same host, and the proxy still reads nothing."""
    now = 1_000.0
    frozen = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("export_jobs.client.connections.time", frozen)
    client = client_to(f"https://{HOST}", tokens=OpaqueTokens())
    for tunnels in (1, 2):
        create(client)
        assert len(proxy.asked) == tunnels
        now += IDLE_S * 0.7
        client.get_job("prod", "1")
        assert len(proxy.asked) == tunnels
        now += IDLE_S * 1.4
    assert len(server.requests) == 4
    assert_saw_no_token(proxy)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"nonsense\r\n\r\n",
        hang_up,
    ],
)
def test_without_a_tunnel_nothing_was_sent(
    server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    reply: bytes | Callable[[socket.socket], None],
) -> None:
    """A proxy that refuses, fails or hangs up proves that no job was created."""
    with proxied(server.port, reply=reply) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(RetryLater, match="can't reach the service") as caught:
            create(client_to(f"https://{HOST}", tokens=OpaqueTokens()))
        assert len(proxy.asked) == 1
    assert server.requests == []
    if isinstance(reply, bytes) and reply.startswith(b"HTTP"):
        assert reply.split(b" ")[1].decode() in str(caught.value)


def test_without_the_proxy_nothing_was_sent(server: ScriptedServer, proxy: Proxy) -> None:
    """Nothing listens at its address; the service is not called without it."""
    proxy.close()
    with pytest.raises(RetryLater, match="can't reach"):
        create(client_to(f"https://{HOST}", tokens=OpaqueTokens()))
    assert server.requests == []


def test_an_answer_that_is_lost_behind_the_proxy_leaves_the_outcome_unknown(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call was sent, so a job may exist."""
    with scripted(hang_up, tls=authority.tls) as server, proxied(server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(OutcomeUnknown):
            create(client_to(f"https://{HOST}", tokens=OpaqueTokens(), tries=3))
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nX: " + b"x" * 2_000, 0.05),
        dripping(answer(body={**PAGE, "more": "x" * 2_000}), 0.05),
    ],
)
@pytest.mark.parametrize("encrypted", [False, True])
def test_no_answer_through_a_proxy_outlasts_the_time_left(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, reply: Reply, *, encrypted: bool
) -> None:
    """The limit is for the whole answer, though each byte of it arrives in time."""
    with (
        scripted(reply, tls=authority.tls) as server,
        proxied(server.port, tls=authority.tls if encrypted else None) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = client_to(f"https://{HOST}", tokens=OpaqueTokens(), time_left_s=lambda: 2.5)
        began = time.monotonic()
        with pytest.raises(RetryLater):
            client.list_jobs("prod", limit=1)
        assert time.monotonic() - began < 4.4
        assert len(server.requests) == 1


def test_no_tunnel_outlasts_the_time_left(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy whose answer arrives slowly does not keep a run from its end."""
    slowly = dripping(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000, 0.05)
    with proxied(server.port, reply=slowly) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        client = client_to(f"https://{HOST}", tokens=OpaqueTokens(), time_left_s=lambda: 2.5)
        began = time.monotonic()
        with pytest.raises(RetryLater, match="can't reach"):
            client.list_jobs("prod", limit=1)
        assert time.monotonic() - began < 4.4
