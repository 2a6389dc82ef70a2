"""HTTP as both the API and IMS need it: bounded in time and size, and never led astray.

TLS certificates are always verified. Redirects are not followed, and neither proxies nor `.netrc`
nor cookies are taken from around us: a token goes to the configured host only. GET and DELETE are
tried again after connection failures and "try later" answers, with backoff and jitter; a POST is
tried again only where the connection was never made.
"""

from __future__ import annotations

import email.utils
import http.cookiejar
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
)
from urllib3.util.retry import Retry

from export_jobs.client.deadline import WholeAnswerAdapter
from export_jobs.client.errors import (
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.contract.text import decode_json

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_TEXT_BYTES = 16 * 1024
"""Longer than any token that an error may quote: cut, it could not be found and removed."""
TRY_LATER = frozenset({429, 500, 502, 503, 504})
TRIES = 3
CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_S = 20.0
"""The longest wait for one answer, from the request sent to the last byte received."""
MAX_PAUSE_S = 5.0
"""The longest sleep inside a call. A longer `Retry-After` is for the caller to honour."""
LEAST_S = 1.0
"""With less time left than this, no call is begun."""
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e]|^\s|\s$")
"""What can't stand in a header: an HTTP library would refuse it, or mangle it on the way."""


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
        if re.fullmatch("[0-9]+", value):
            return float(value[:9])
        try:
            at = email.utils.parsedate_to_datetime(value)
            # A date "-0000" comes without a zone; RFC 5322 says it is UTC.
            return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time())
        except (TypeError, ValueError, OverflowError, IndexError):
            return None


class _Bearer(requests.auth.AuthBase):
    """Sets the token as `auth`, so that nothing else can set one."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Session(requests.Session):
    """A session that looks at nothing around it and at no `Location`."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self.mount(scheme, WholeAnswerAdapter(pool_maxsize=connections))

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """None: even when not told to follow, requests would read a redirect's body, unbounded."""
        return None


class Transport:
    """Sends requests over kept connections. Thread-safe for as many threads as `connections`."""

    def __init__(
        self,
        *,
        time_left_s: Callable[[], float] = lambda: math.inf,
        connections: int = 16,
        tries: int = TRIES,
    ) -> None:
        """`time_left_s` says how long the caller may still run; no call outlasts it."""
        self._session = _Session(connections)
        self._time_left_s = time_left_s
        self._tries = tries
        # urllib3's own, but counted here: the time left and a broken body are beyond its sight.
        self._retries = Retry(
            total=tries - 1,
            allowed_methods={"GET", "DELETE"},
            status_forcelist=TRY_LATER,
            backoff_factor=0.3,
            backoff_jitter=0.3,
            backoff_max=MAX_PAUSE_S,
        )

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
        """One call, with its retries. Any answer is returned, whatever its status, but a redirect.

        Raises RetryLater, NotUnderstood, Refused (it can't be sent at all) and, for a POST of
        JSON whose answer was lost, OutcomeUnknown.
        """
        for name, value in (headers or {}).items():
            if not value or _UNSENDABLE.search(value):
                raise Refused(f"the header {name} would be empty or hold characters no header can")
        creates = method == "POST" and json_body is not None
        budget_s = min(self._time_left_s(), MAX_ANSWER_S * self._tries)
        if budget_s <= LEAST_S:
            raise RetryLater("no time left in this run for another call")
        deadline = time.monotonic() + budget_s
        retries = self._retries
        while True:
            answer: Answer | None = None
            failure: SegmentationError | None = None
            reason: HTTPError | None = None
            left_s = deadline - time.monotonic()
            try:
                answer = self._once(
                    requests.Request(
                        method,
                        url,
                        params=params,
                        headers=headers,
                        json=json_body,
                        data=form,
                        auth=_Bearer(token),
                    ),
                    answer_within_s=min(MAX_ANSWER_S, left_s / (int(retries.total or 0) + 1)),
                )
            except _NeverSent as unsent:
                failure = RetryLater(f"can't reach the service: {unsent}")
                reason = ConnectTimeoutError()
            except _Lost as lost:
                failure = (OutcomeUnknown if creates else RetryLater)(str(lost))
                reason = ProtocolError()
            else:
                if not retries.is_retry(method, answer.status):
                    return answer
            asked_s = answer.retry_after_s if answer else None
            try:
                retries = retries.increment(method, url, error=reason)
            except HTTPError:  # no try left, or not a method to be repeated
                break
            pause_s = max(retries.get_backoff_time(), asked_s or 0.0)
            if pause_s > min(MAX_PAUSE_S, deadline - time.monotonic() - LEAST_S):
                break
            time.sleep(pause_s)
        if answer is None:
            raise failure or RetryLater("no answer")
        return answer

    def _once(self, request: requests.Request, *, answer_within_s: float) -> Answer:
        try:
            prepared = self._session.prepare_request(request)
        except (requests.RequestException, ValueError):
            raise Refused("the call can't be put into HTTP; check the configured address") from None
        try:
            response = self._session.send(
                prepared,
                timeout=(min(CONNECT_TIMEOUT_S, answer_within_s), answer_within_s),
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, HTTPError) as error:
            if _never_sent(error):
                raise _NeverSent(_kind(error)) from None
            raise _Lost(f"no answer from the service: {_kind(error)}") from None
        with response:
            status = response.status_code
            if 300 <= status < 400:
                raise _redirected(request, status)
            try:
                content = _read(response)
            except (requests.RequestException, HTTPError, OSError) as error:
                raise _Lost(f"the answer (HTTP {status}) broke off: {_kind(error)}") from None
            except TooLarge as large:
                if request.json is not None:
                    raise OutcomeUnknown(f"the answer (HTTP {status}) is {large}") from None
                raise NotUnderstood(f"the answer (HTTP {status}) is {large}") from None
        text = content[:MAX_TEXT_BYTES].decode("utf-8", "replace")
        return Answer(status, response.headers, _decoded(content), text)


class _NeverSent(Exception):
    """No connection was made, so the call had no effect."""


class _Lost(Exception):
    """The call may have been received; its answer was not, or not whole."""


class TooLarge(Exception):
    """The body is larger than any sane answer."""


def _redirected(request: requests.Request, status: int) -> SegmentationError:
    said = (
        f"the service redirects (HTTP {status}), which is not followed with a token; "
        "check the configured address"
    )
    # "See other" and its like may be said once a job is created.
    return OutcomeUnknown(said) if request.json is not None else NotUnderstood(said)


def _read(response: requests.Response) -> bytes:
    """The whole body, which the adapter bounds in time and this in size, also when compressed."""
    raw = response.raw
    content = bytearray()
    while chunk := raw.read1(65_536, decode_content=True):
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise TooLarge(f"larger than {MAX_BODY_BYTES} bytes")
    if raw.length_remaining:
        raise OSError(f"{raw.length_remaining} bytes are missing")
    return bytes(content)


def _decoded(content: bytes) -> Any:
    try:
        return decode_json(content)
    except (ValueError, RecursionError):
        return None


def _never_sent(error: Exception) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, NewConnectionError | ConnectTimeoutError)


def _kind(error: BaseException) -> str:
    """The kind of a failure in words. Its own text may quote the request, so that is left out."""
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) and cause.reason else error
    words = f": {error}" if type(error) is OSError else ""
    return f"{type(reason).__name__}{words}"
