"""HTTP for both the API and IMS: limited in time and size, and to the configured hosts.

TLS certificates are always verified. Redirects are not followed, and `.netrc` and cookies are
ignored: a token goes to the configured host only. A proxy of the environment opens the connection,
but TLS is with that host, so the proxy sees no token. GET and DELETE are retried
after connection failures and "try later" responses, with backoff and jitter; a POST is retried only
if nothing of it was sent.
"""

from __future__ import annotations

import email.utils
import http.cookiejar
import json
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    ProtocolError,
    ProxyError,
)
from urllib3.util.retry import Retry

from export_jobs.client.connections import ProxyNotSupported, WholeAnswerAdapter, Withheld, sending
from export_jobs.client.environment import proxies_for, trusted
from export_jobs.contract.errors import (
    NotSent,
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.contract.text import decode_json
from export_jobs.model.limits import RETRY_AFTER_MOST_MS

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_TEXT_BYTES = 16 * 1024
"""Longer than any token that an error may quote: a truncated token could not be removed."""
MAX_WORDS = 200
"""The most letters of a failure's own text in an error."""
TRIED_AGAIN = frozenset({429, 500, 502, 503, 504})
"""Responses after which a GET or a DELETE is retried within the call."""
TRIES = 3
CONNECT_TIMEOUT_S = 5.0
"""Also the longest time to send the head, and to send the body."""
MAX_ANSWER_S = 20.0
"""The longest wait for one response, from the request sent to the last byte received."""
MAX_SENT_S = 2 * CONNECT_TIMEOUT_S + MAX_ANSWER_S
"""The longest time from when `may_send` allowed a call to the end of its response."""
MAX_RETRY_AFTER_S = RETRY_AFTER_MOST_MS / 1000
"""The longest `Retry-After` that is honoured; a longer one is cut to this."""
MAX_PAUSE_S = 5.0
"""The longest sleep inside a call. A longer `Retry-After` is left to the caller."""
IDLE_S = 20.0
"""A connection that was idle for longer may be dead without a frozen Lambda noticing: a create call
is not sent over one, because its outcome would be unknown."""
LEAST_S = 1.0
"""With less time left, no call is started."""
_UNSENDABLE = re.compile(r"[^\t\x20-\x7e]|^\s|\s$")
"""What a header can't contain: an HTTP library would refuse it or change it."""


@dataclass(frozen=True)
class Answer:
    """A complete response. `body` is decoded JSON, or None if there was none or it was not JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any
    text: str
    """The start of the raw body, for error messages; may still contain secrets."""

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300

    @property
    def asks_for_patience(self) -> bool:
        """Whether a call that can be repeated may succeed later."""
        return self.status in {408, 425, 429} or self.status >= 500

    @property
    def retry_after_s(self) -> float | None:
        """The wait that `Retry-After` asks for, in seconds, at most MAX_RETRY_AFTER_S; or None."""
        return _retry_after_s(self.headers)


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Parses seconds or an HTTP date. Some servers send an epoch time as seconds."""
    value = headers.get("Retry-After", "").strip()
    try:
        if re.fullmatch("[0-9]+", value):
            asked_s = float(value[:9])
        else:
            at = email.utils.parsedate_to_datetime(value)
            # A date with "-0000" is parsed without a zone; by RFC 5322 it is UTC.
            asked_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return min(max(0.0, asked_s), MAX_RETRY_AFTER_S)


class _Bearer(requests.auth.AuthBase):
    """Sets the token as `auth`, so that nothing else can set one."""

    def __init__(self, token: str | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Session(requests.Session):
    """A session that ignores its environment, except as told, and every `Location`."""

    def __init__(self, connections: int) -> None:
        super().__init__()
        self.trust_env = False
        self.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("https://", "http://"):
            self.mount(scheme, WholeAnswerAdapter(pool_maxsize=connections))

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """None: even without following it, requests would read a redirect's body, without limit."""
        return None


class Transport:
    """Sends requests over pooled connections. Thread-safe for up to `connections` threads."""

    def __init__(
        self,
        *,
        time_left_s: Callable[[], float] = lambda: math.inf,
        connections: int = 16,
        tries: int = TRIES,
    ) -> None:
        """`time_left_s` returns how long the caller may still run; no call outlasts it."""
        self._session = _Session(connections)
        self._time_left_s = time_left_s
        self._tries = tries
        # urllib3's own, but counted here: it sees neither the time left nor a truncated body.
        self._retries = Retry(
            total=tries - 1,
            allowed_methods={"GET", "DELETE"},
            status_forcelist=TRIED_AGAIN,
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
        json_body: Mapping[str, Any] | Sequence[str] | None = None,
        form: Mapping[str, str] | None = None,
        creates: bool = False,
        may_send: Callable[[], bool] = lambda: True,
    ) -> Answer:
        """One call, with its retries. Returns any response, whatever its status, except a redirect.

        `may_send` is called each time immediately before the first byte is sent; if it returns
        False, nothing is sent. Raises RetryLater, NotUnderstood, Refused (the body can't be written
        as JSON) and, if it `creates` something, OutcomeUnknown if it was sent and no response can be
        read.
        """
        is_json = json_body is not None
        checked = _checked(headers or {})
        request = requests.Request(
            method,
            url,
            params=params,
            headers={**checked, "Content-Type": "application/json"} if is_json else checked,
            data=_encoded(json_body) if json_body is not None else form,
            auth=_Bearer(token),
        )
        budget_s = min(self._time_left_s(), MAX_ANSWER_S * self._tries)
        if budget_s <= LEAST_S:
            raise NotSent("no time left in this run for another call")
        deadline = time.monotonic() + budget_s
        retries = self._retries
        while True:
            left_s = deadline - time.monotonic()
            answer_within_s = min(MAX_ANSWER_S, left_s / (int(retries.total or 0) + 1))
            tried = self._try(
                request, creates=creates, may_send=may_send, answer_within_s=answer_within_s
            )
            if tried.answer and not retries.is_retry(method, tried.answer.status):
                return tried.answer
            try:
                retries = retries.increment(method, url, error=tried.reason)
            except HTTPError:  # no try is left, or the method must not be repeated
                return tried.result()
            pause_s = max(retries.get_backoff_time(), tried.retry_after_s)
            if pause_s > min(MAX_PAUSE_S, deadline - time.monotonic() - LEAST_S):
                return tried.result()
            time.sleep(pause_s)

    def _try(
        self,
        request: requests.Request,
        *,
        creates: bool,
        may_send: Callable[[], bool],
        answer_within_s: float,
    ) -> _Tried:
        """Sends a request once. Raises what no retry can help."""
        try:
            answer = self._once(
                request, creates=creates, may_send=may_send, answer_within_s=answer_within_s
            )
        except _NeverSent as unsent:
            error = RetryLater(f"can't reach the service: {unsent}")
            return _Tried(error=error, reason=ConnectTimeoutError())
        except _Lost as lost:
            kind = OutcomeUnknown if creates else RetryLater
            return _Tried(
                error=kind(str(lost), retry_after_s=lost.retry_after_s), reason=ProtocolError()
            )
        return _Tried(answer)

    def _once(
        self,
        request: requests.Request,
        *,
        creates: bool,
        may_send: Callable[[], bool],
        answer_within_s: float,
    ) -> Answer:
        try:
            prepared = self._session.prepare_request(request)
        except (requests.RequestException, ValueError):
            raise RetryLater(
                "not sent: it is not a valid HTTP request; check the configured address"
            ) from None
        with sending(may_send, max_idle_s=IDLE_S if creates else math.inf) as call:
            try:
                response = self._session.send(
                    prepared,
                    timeout=(min(CONNECT_TIMEOUT_S, answer_within_s), answer_within_s),
                    proxies=proxies_for(str(prepared.url)),
                    verify=trusted(),
                    allow_redirects=False,
                    stream=True,
                )
            except Withheld:
                raise NotSent("not sent: it was too late when the connection was open") from None
            except (HTTPError, OSError) as error:  # among them, requests' own errors
                if not call.begun:
                    raise _NeverSent(_kind(error)) from None
                raise _Lost(f"no response from the service: {_kind(error)}") from None
        with response:
            return _complete(response, creates=creates)


@dataclass(frozen=True)
class _Tried:
    """The result of sending a request once: a response, or an error and its reason for urllib3."""

    answer: Answer | None = None
    error: SegmentationError | None = None
    reason: HTTPError | None = None

    @property
    def retry_after_s(self) -> float:
        asked = self.answer or self.error
        return (asked.retry_after_s if asked else None) or 0.0

    def result(self) -> Answer:
        """Returns the response, or raises the error."""
        if self.answer is None:
            raise (self.error or NotSent("nothing was sent")) from None  # urllib3's has the URL
        return self.answer


class _NeverSent(Exception):
    """Nothing of the call was sent, so it had no effect."""


class _Lost(Exception):
    """The call may have been received; its response was not, or not completely."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class TooLarge(Exception):
    """The body is larger than any plausible response."""


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers that can be sent unchanged. Raises RetryLater: the configuration can be corrected."""
    for name, value in headers.items():
        if not value or _UNSENDABLE.search(value):
            raise RetryLater(
                f"not sent: the header {name} would be empty or contain invalid characters; "
                "check the configuration"
            )
    return headers


def _encoded(body: Mapping[str, Any] | Sequence[str]) -> bytes:
    try:
        plain = dict(body) if isinstance(body, Mapping) else list(body)
        return json.dumps(plain, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError):
        raise Refused("not sent: its body can't be written as JSON") from None


def _complete(response: requests.Response, *, creates: bool) -> Answer:
    """Reads the body of a response whose head has arrived."""
    status = response.status_code
    asked_s = _retry_after_s(response.headers)
    if status < 200:
        # The final response may follow: the connection is closed, so that no other call reads it.
        raise _Lost(f"HTTP {status} is not a final response")
    if 300 <= status < 400:
        raise _unclear(
            f"the service redirects (HTTP {status}), which is not followed with a token; "
            "check the configured address",
            creates=creates,  # a redirect such as "See Other" may follow the creation of a job
            retry_after_s=asked_s,
        )
    try:
        content = _read(response)
    except (requests.RequestException, HTTPError, OSError, TooLarge) as error:
        if response.request.method == "DELETE" and status < 300:
            content = b""  # it is done, whatever the body
        elif isinstance(error, TooLarge):
            problem = f"the response (HTTP {status}) is {error}"
            raise _unclear(problem, creates=creates, retry_after_s=asked_s) from None
        else:
            problem = f"the response (HTTP {status}) was cut off: {_kind(error)}"
            raise _Lost(problem, asked_s) from None
    text = content[:MAX_TEXT_BYTES].decode("utf-8", "replace")
    return Answer(status, response.headers, _decoded(content), text)


def _unclear(problem: str, *, creates: bool, retry_after_s: float | None) -> SegmentationError:
    """The error of a useless response; after a create call, the job may exist."""
    return (OutcomeUnknown if creates else NotUnderstood)(problem, retry_after_s=retry_after_s)


def _read(response: requests.Response) -> bytes:
    """The whole body; the adapter limits its time, and this its size, also if it is compressed."""
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


def _kind(error: BaseException) -> str:
    """The kind of a failure. Its own text may quote the request, so it is left out.

    Except our own, and a plain OSError's: which file is missing, or with which status a proxy has refused.
    """
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) and cause.reason else error
    origin = reason.original_error if isinstance(reason, ProxyError) else reason
    ours = isinstance(origin, ProxyNotSupported)
    words = f": {origin}"[:MAX_WORDS] if type(origin) is OSError or ours else ""
    return f"{type(reason).__name__}{words}"
