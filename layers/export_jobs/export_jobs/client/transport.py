"""HTTP as both the API and IMS need it: bounded in time and size, and never led astray.

TLS certificates are always verified. Redirects are not followed: a token goes to the configured
host only. GET and DELETE are tried again after connection failures and "try later" answers, with
backoff and jitter; a POST is tried again only where the connection was never made.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
)
from urllib3.util.retry import Retry

from export_jobs.client.errors import NotUnderstood, OutcomeUnknown, RetryLater

MAX_BODY_BYTES = 16 * 1024 * 1024
TRY_LATER = frozenset({429, 500, 502, 503, 504})
TRIES = 3
CONNECT_TIMEOUT_S = 5.0
MAX_READ_TIMEOUT_S = 20.0
MAX_WAIT_S = 5
"""The longest sleep inside a call. A longer `Retry-After` is for the caller to honour."""


@dataclass(frozen=True)
class Answer:
    """A complete answer. `body` is decoded JSON, or None if there was none or it was not JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str
    """The start of the body as it came, for error messages; not yet free of secrets."""

    @property
    def retry_after_s(self) -> float | None:
        """`Retry-After` in seconds, given as seconds or as an HTTP date; None if there is none."""
        value = self.headers.get("Retry-After", "").strip()
        if value.isdecimal():
            return float(value[:9])
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError, OverflowError):
            return None


class _Bearer(requests.auth.AuthBase):
    """Sets the token as `auth`, so that no `.netrc` of the machine replaces it."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class Transport:
    """Sends requests over kept connections. Thread-safe for as many threads as `connections`."""

    def __init__(
        self,
        *,
        time_left_s: Callable[[], float] = lambda: math.inf,
        connections: int = 16,
        tries: int = TRIES,
    ) -> None:
        retries = Retry(
            total=tries - 1,
            connect=tries - 1,
            read=tries - 1,
            status=tries - 1,
            redirect=False,
            other=0,
            allowed_methods={"GET", "DELETE"},
            status_forcelist=TRY_LATER,
            backoff_factor=0.3,
            backoff_jitter=0.3,
            backoff_max=MAX_WAIT_S,
            retry_after_max=MAX_WAIT_S,
            raise_on_status=False,
        )
        adapter = HTTPAdapter(max_retries=retries, pool_maxsize=connections)
        self._session = requests.Session()
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._time_left_s = time_left_s
        self._tries = tries

    def send(
        self,
        method: str,
        url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        json_body: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call. Raises RetryLater, NotUnderstood and, for a POST of JSON, OutcomeUnknown."""
        budget_s = min(self._time_left_s(), MAX_READ_TIMEOUT_S * self._tries)
        if budget_s <= 1:
            raise RetryLater("no time left in this run for another call")
        lost = OutcomeUnknown if method == "POST" and json_body is not None else RetryLater
        deadline = time.monotonic() + budget_s
        timeout = (
            min(CONNECT_TIMEOUT_S, budget_s),
            min(MAX_READ_TIMEOUT_S, budget_s / self._tries),
        )
        try:
            response = self._session.request(
                method,
                url,
                params=params,
                headers=headers,
                json=json_body,
                data=form,
                auth=_Bearer(token),
                timeout=timeout,
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException as error:
            if _never_sent(error):
                raise RetryLater(f"can't reach the service: {_kind(error)}") from None
            raise lost(f"no answer from the service: {_kind(error)}") from None
        with response:
            status = response.status_code
            try:
                content = _read(response, deadline)
            except (requests.RequestException, HTTPError, OSError, TimeoutError) as error:
                raise lost(f"the answer (HTTP {status}) broke off: {_kind(error)}") from None
        if 300 <= status < 400:
            raise NotUnderstood(
                f"the service redirects (HTTP {status}), which is not followed with a token; "
                "check the configured address"
            )
        text = content[:2_000].decode("utf-8", "replace")
        return Answer(status, response.headers, _decoded(content), text)


class TooLarge(OSError):
    """The body is larger than any sane answer."""


def _read(response: requests.Response, deadline: float) -> bytes:
    """The body, read as it comes, so that neither its size nor its slowness is without bounds."""
    raw = response.raw
    content = bytearray()
    while chunk := raw.read1(65_536, decode_content=True):
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise TooLarge(f"more than {MAX_BODY_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("it came too slowly")
    if raw.length_remaining:
        raise OSError(f"{raw.length_remaining} bytes are missing")
    return bytes(content)


def _decoded(content: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(content, parse_constant=refuse)
    except (ValueError, RecursionError):
        return None


def _never_sent(error: requests.RequestException) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _kind(error: BaseException) -> str:
    """The kind of a failure in words. Its own text may quote the request, so that is left out."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) and cause.reason else error
    words = (
        str(error)
        if isinstance(error, OSError) and type(error) in {TooLarge, TimeoutError, OSError}
        else ""
    )
    return f"{type(reason).__name__}{': ' + words if words else ''}"
