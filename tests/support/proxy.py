"""A proxy on this machine that opens tunnels, and a certificate for what is behind it."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOST = "aep.test"
"""A name that only the proxy can resolve."""
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


def server_tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """The TLS context of a server with a new, self-signed certificate, and the CA file for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = dt.datetime.now(dt.UTC)
    loopbacks = [x509.IPAddress(ipaddress.ip_address(ip)) for ip in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName(HOST), x509.DNSName("localhost"), *loopbacks]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca = folder / "ca.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = folder / "key.pem"
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, key_file)
    return context, ca


class Proxy:
    """Opens each tunnel to the same port here, whatever host it is asked for."""

    def __init__(
        self,
        port: int,
        *,
        reply: bytes | Callable[[socket.socket], None] = OPEN,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`reply` is the answer to CONNECT, or what to do instead of opening a tunnel."""
        self._target = ("127.0.0.1", port)
        self._reply = reply
        self._tls = tls
        self.asked: list[bytes] = []
        """The head of every request to the proxy itself."""
        self.passed = bytearray()
        """Everything that passed through, in both directions."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self.address}"

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=[connection], daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    more = connection.recv(65_536)
                    if not more:
                        break
                    head += more
                self.asked.append(head)
                if callable(self._reply):
                    self._reply(connection)
                    return
                connection.sendall(self._reply)
                if self._reply == OPEN:
                    with socket.create_connection(self._target, timeout=5) as target:
                        self._relay(connection, target)

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        ways = {one: other, other: one}
        while not self._closing.is_set():
            waiting = isinstance(one, ssl.SSLSocket) and one.pending()
            for source in [one] if waiting else select.select([*ways], [], [], 0.05)[0]:
                data = source.recv(65_536)
                if not data:
                    return
                self.passed += data
                ways[source].sendall(data)


@contextlib.contextmanager
def proxied(
    port: int,
    *,
    reply: bytes | Callable[[socket.socket], None] = OPEN,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Proxy]:
    proxy = Proxy(port, reply=reply, tls=tls)
    try:
        yield proxy
    finally:
        proxy.close()
