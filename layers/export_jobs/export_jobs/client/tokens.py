"""Access tokens from Adobe's Identity Management Service (IMS), OAuth server-to-server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from export_jobs.client.credentials import Credentials
from export_jobs.client.errors import BadCredentials, NotUnderstood, RetryLater
from export_jobs.client.transport import TRY_LATER, Transport

MARGIN_S = 300.0
"""A token is replaced so long before it expires (IMS gives it for 24 hours)."""


class ImsTokens:
    """Keeps one token for all threads, and fetches the next when it is due or was refused."""

    def __init__(
        self,
        *,
        token_url: str,
        credentials: Callable[[], Credentials],
        transport: Transport,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`credentials` is asked anew for every token, so a rotated secret is found by itself."""
        self._token_url = token_url
        self._credentials = credentials
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._token: str | None = None
        self._forgotten: str | None = None
        self._until = 0.0

    def get(self) -> str:
        """A token good for some minutes more.

        Raises BadCredentials if IMS refuses the client, RetryLater if it can't be asked now.
        """
        with self._lock:
            if self._token is None or self._clock() >= self._until:
                self._token, lifetime_s = self._fetch()
                self._until = self._clock() + max(lifetime_s - MARGIN_S, lifetime_s / 2)
            return self._token

    def forget(self, token: str) -> None:
        """Drops a token that was refused, unless another thread has replaced it already."""
        with self._lock:
            if self._token == token:
                self._token, self._forgotten = None, token

    def secrets(self) -> list[str]:
        """What must not appear in any text that leaves us."""
        return [token for token in (self._token, self._forgotten) if token]

    def _fetch(self) -> tuple[str, float]:
        credentials = self._credentials()
        answer = self._transport.send(
            "POST",
            self._token_url,
            form={
                "grant_type": "client_credentials",
                "client_id": credentials.client_id,
                "client_secret": credentials.client_secret,
                "scope": credentials.scopes,
            },
        )
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status in TRY_LATER:
            raise RetryLater(
                f"IMS answers HTTP {answer.status}", retry_after_s=answer.retry_after_s
            )
        if 400 <= answer.status < 500:
            raise BadCredentials(
                f"IMS refuses the client (HTTP {answer.status}, {_code(body)}): "
                "check clientId, clientSecret and scopes in the secret"
            )
        token, lifetime = body.get("access_token"), body.get("expires_in")
        if answer.status != 200 or not isinstance(token, str) or not token.isascii() or not token:
            raise NotUnderstood(f"IMS answers HTTP {answer.status} without a readable token")
        if not isinstance(lifetime, int | float) or not 0 < lifetime < 10**9:
            lifetime = 2 * MARGIN_S
        return token, float(lifetime)


def _code(body: dict[str, object]) -> str:
    """IMS's own error code (`invalid_client`), which holds nothing of ours."""
    code = body.get("error")
    return code if isinstance(code, str) and code.isidentifier() and len(code) < 64 else "no code"
