"""Access tokens from Adobe's Identity Management Service (IMS), OAuth server-to-server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from export_jobs.client.credentials import Credentials
from export_jobs.client.transport import Transport
from export_jobs.contract.errors import BadCredentials, NotUnderstood, RetryLater

MARGIN_S = 300.0
"""How long before its expiry a token is replaced (IMS issues it for 24 hours)."""
CREDENTIAL_MAX_AGE_S = 3_600.0
"""How long a credential is kept while it works. Each read of the secret costs money: every minute
would cost more than all other calls of a quiet sweep, and every hour costs less than a cent a month.
"""
AGAIN_S = 60.0
"""How long after the secret could not be read it is read again, while a credential is kept."""
REMEMBERED = 16
"""How many of the last tokens are kept, to be removed from texts that quote them."""
_TOKEN = re.compile(r"[\x21-\x7e]+")
"""The characters that the header with the token may have."""


class ImsTokens:
    """Keeps a token for each credential, for all threads; replaces it when it is due or refused."""

    def __init__(
        self, *, token_url: str, transport: Transport, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock` returns seconds."""
        self._token_url = token_url
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Mapping[Credentials, tuple[str, float]] = {}
        """The token of each credential, and when it is due. Replaced, never changed."""
        self._given: Sequence[str] = ()

    def get(self, credentials: Credentials) -> str:
        """A token of this credential that stays valid for some minutes.

        Raises BadCredentials if IMS refuses the client, RetryLater if IMS is unavailable, and
        NotUnderstood if its response can't be parsed.
        """
        with self._lock:
            token, due = self._kept.get(credentials, ("", 0.0))
            if not token or self._clock() >= due:
                token, lifetime_s = self._fetch(credentials)
                at_s = self._clock()
                due = at_s + max(lifetime_s - MARGIN_S, lifetime_s / 2)
                others = {key: kept for key, kept in self._kept.items() if kept[1] > at_s}
                self._kept = {**others, credentials: (token, due)}
                self._given = (*self._given, token)[-REMEMBERED:]
            return token

    def forget(self, token: str) -> None:
        """Drops a refused token, unless another thread has already replaced it."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] != token}

    def secrets(self) -> Sequence[str]:
        """What must not appear in any text that we log or publish."""
        return self._given

    def _fetch(self, credentials: Credentials) -> tuple[str, float]:
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
        if answer.asks_for_patience:
            raise RetryLater(
                f"IMS returned HTTP {answer.status}", retry_after_s=answer.retry_after_s
            )
        if 400 <= answer.status < 500:
            raise BadCredentials(
                f"IMS refuses the client (HTTP {answer.status}, {_code(body)}): "
                "check clientId, clientSecret and scopes in the secret"
            )
        token, lifetime = body.get("access_token"), body.get("expires_in")
        if not answer.succeeded or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise NotUnderstood(f"IMS returned HTTP {answer.status} without a readable token")
        if not isinstance(lifetime, int | float) or not 0 < lifetime < 10**9:
            lifetime = 2 * MARGIN_S
        return token, float(lifetime)


class Authorization(NamedTuple):
    """A credential, and a token of it."""

    credentials: Credentials
    token: str


class Authorizer:
    """Authorizes calls with one credential, for all threads.

    It is read again when it or its token is refused, and after an hour, so that one that replaces it
    takes effect by then, even if both work. If it can't be read after an hour, it is kept.
    """

    def __init__(
        self, read: Callable[[], Credentials], tokens: ImsTokens, *, clock: Callable[[], float]
    ) -> None:
        """`read` may raise a SegmentationError. `clock` returns seconds."""
        self._read = read
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: Credentials | None = None
        self._due = 0.0

    def credentials(self) -> Credentials:
        """The credential, without a token. Raises what `read` raises."""
        with self._lock:
            return self._current()

    def get(self) -> Authorization:
        """Raises what `read` and `ImsTokens.get` raise."""
        with self._lock:
            kept = self._kept
            credentials = self._current()
            try:
                return Authorization(credentials, self._tokens.get(credentials))
            except BadCredentials:
                self._due = 0.0
                if credentials is not kept or (another := self._current()) == credentials:
                    raise
            return Authorization(another, self._tokens.get(another))

    def refused(self, authorization: Authorization, *, token: bool) -> None:
        """Has a refused credential read again, and forgets its token if that was refused.

        If another thread has already replaced the credential, it stays.
        """
        if token:
            self._tokens.forget(authorization.token)
        with self._lock:
            if self._kept is authorization.credentials:
                self._due = 0.0

    def _current(self) -> Credentials:
        if self._kept is None or self._clock() >= self._due:
            try:
                self._kept = self._read()
                self._due = self._clock() + CREDENTIAL_MAX_AGE_S
            except RetryLater:
                if self._kept is None:
                    raise
                self._due = self._clock() + AGAIN_S
        return self._kept


def _code(body: dict[str, object]) -> str:
    """IMS's own error code (`invalid_client`), which contains nothing that we sent."""
    code = body.get("error")
    return code if isinstance(code, str) and code.isidentifier() and len(code) < 64 else "no code"
