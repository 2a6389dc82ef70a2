"""The client against a server that sends what the local service never would."""

from __future__ import annotations

import email.utils
import gzip
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from export_jobs.client import Credentials, ImsTokens, SegmentationClient, Transport
from export_jobs.client.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.client.transport import MAX_BODY_BYTES
from export_jobs.contract import CreateExportJob, parse_create_request
from support.scripted import Reply, ScriptedServer, answer, cut, dripping, scripted

from .conftest import BODY

JOB = {"id": 1, "status": "NEW", "creationTime": 1_700_000_000_000}
PAGE = {"records": [JOB], "page": {}, "link": {}}
CREATE = parse_create_request(BODY)
CREDENTIALS = Credentials("id", "planted-secret", "org", "scope")


def client_to(
    url: str,
    *,
    tries: int = 1,
    time_left_s: Callable[[], float] = lambda: math.inf,
    tokens: Any = None,
) -> SegmentationClient:
    credentials = CREDENTIALS
    transport = Transport(time_left_s=time_left_s, tries=tries)
    tokens = tokens or ImsTokens(
        token_url=f"{url}/ims/token/v3", credentials=lambda: credentials, transport=transport
    )
    return SegmentationClient(
        base_url=f"{url}/data/core/ups",
        credentials=lambda: credentials,
        tokens=tokens,
        transport=transport,
    )


@contextmanager
def served(*replies: Reply, **options: Any) -> Iterator[tuple[SegmentationClient, ScriptedServer]]:
    with scripted(*replies) as server:
        yield client_to(server.url, **options), server


# -- answers to a page ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "cursor"),
    [
        (None, None),
        ({}, None),
        ({"next": None}, None),
        ({"next": ""}, None),
        ({"next": " "}, None),
        ({"next": "/export/jobs/?limit=2&offset=1538573416687_722"}, "1538573416687_722"),
        ({"next": "/data/core/ups/export/jobs/?limit=2&offset=15_7"}, "15_7"),
        ({"next": "export/jobs?offset=15_7"}, "15_7"),
        ({"next": "?offset=15_7"}, "15_7"),
    ],
)
def test_every_form_of_the_next_link_is_read(link: Any, cursor: str | None) -> None:
    """Absent, null, empty, relative with and without the base path."""
    with served(answer(body={**PAGE, "link": link})) as (client, _):
        assert client.list_jobs("prod", limit=2).next_cursor == cursor


def test_a_link_with_the_whole_address_of_the_service_is_read() -> None:
    """Also when it is absolute, as long as it leads home."""
    with ExitStack() as stack:
        server = stack.enter_context(scripted(answer(body=PAGE)))
        link = {"next": f"{server.url}/data/core/ups/export/jobs/?limit=2&offset=15_7"}
        server._replies[:] = [answer(body={**PAGE, "link": link})]
        assert client_to(server.url).list_jobs("prod", limit=2).next_cursor == "15_7"


@pytest.mark.parametrize(
    "link",
    [
        "https://elsewhere.example/export/jobs?offset=1_1",
        "//elsewhere.example/export/jobs?offset=1_1",
        "http://[broken",
        "https://127.0.0.1@elsewhere.example/?offset=1_1",
    ],
)
def test_a_link_to_another_host_is_refused(link: str) -> None:
    """No token leaves for a host that an answer names."""
    with (
        served(answer(body={**PAGE, "link": {"next": link}})) as (client, _),
        pytest.raises(NotUnderstood, match="another host"),
    ):
        client.list_jobs("prod", limit=2)


def test_a_cursor_that_goes_nowhere_ends_in_an_error() -> None:
    """A next page that is the page itself; pages that go in circles."""
    with (
        served(answer(body={**PAGE, "link": {"next": "?offset=5_5"}})) as (client, _),
        pytest.raises(NotUnderstood, match="page itself"),
    ):
        client.list_jobs("prod", limit=2, cursor="5_5")
    circle = [answer(body={**PAGE, "link": {"next": f"?offset={n}_1"}}) for n in range(50)]
    with served(*circle) as (client, server), pytest.raises(NotUnderstood, match="circles"):
        list(client.iter_pages("prod", limit=1))
    assert len(server.requests) == 2


def test_a_record_that_is_no_job_costs_only_itself() -> None:
    """The page's others are read, and the loss is counted."""
    records = [JOB, {"id": None, "status": "NEW"}, 7, {"id": "x", "status": "FAILED", "new": [1]}]
    with served(answer(body={"records": records})) as (client, _):
        page = client.list_jobs("prod", limit=5)
    assert [job.id for job in page.records] == ["1", "x"]
    assert page.unreadable == 2
    assert page.records[1].model_extra == {"new": [1]}


# -- what leaves ---------------------------------------------------------------------------------


def test_every_call_carries_its_headers() -> None:
    """And POST its content type and our request id; nothing of it leaves unchecked."""
    with served(answer(body=JOB)) as (client, server):
        client.create_job("prod", CREATE, request_id="export-jobs-1")
    ((method, path, sent),) = server.requests
    assert (method, path) == ("POST", "/data/core/ups/export/jobs")
    head, _, body = sent.partition(b"\r\n\r\n")
    for line in (
        b"authorization: bearer planted.token",
        b"x-api-key: id",
        b"x-gw-ims-org-id: org",
        b"x-sandbox-name: prod",
        b"x-request-id: export-jobs-1",
        b"content-type: application/json",
    ):
        assert line in head.lower()
    assert json.loads(body) == BODY


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed_with_the_token(status: int) -> None:
    """The other host is never called."""
    with scripted(answer(body=PAGE)) as elsewhere:
        redirect = answer(status, headers={"Location": f"{elsewhere.url}/export/jobs"})
        with served(redirect) as (client, _):
            with pytest.raises(NotUnderstood, match="redirects"):
                client.list_jobs("prod", limit=1)
            with pytest.raises(OutcomeUnknown, match="redirects"):
                client.create_job("prod", CREATE, request_id="r")
        assert elsewhere.requests == []


def test_a_proxy_of_the_environment_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configured host is spoken to."""
    with scripted(answer(body=PAGE)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        with served(answer(body=PAGE)) as (client, server):
            client.list_jobs("prod", limit=1)
        assert len(server.requests) == 1
        assert proxy.requests == []


# -- what comes back, and when -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, BadCredentials),
        (403, Forbidden),
        (404, NotFound),
        (409, Refused),
        (408, RetryLater),
        (429, RetryLater),
        (500, RetryLater),
        (502, RetryLater),
        (503, RetryLater),
        (599, RetryLater),
        (206, NotUnderstood),
    ],
)
def test_each_status_says_what_to_do(status: int, error: type[SegmentationError]) -> None:
    """A small typed family, with the start of the body in the message."""
    with (
        served(answer(status, {"message": "the reason"})) as (client, _),
        pytest.raises(error, match="the reason") as caught,
    ):
        client.get_job("prod", "1")
    assert type(caught.value) is error


@pytest.mark.parametrize(
    ("status", "error"),
    [(429, RetryLater), (503, OutcomeUnknown), (500, OutcomeUnknown), (504, OutcomeUnknown)],
)
def test_a_create_call_that_was_not_surely_turned_away_may_have_had_its_effect(
    status: int, error: type[SegmentationError]
) -> None:
    """Only 429 says that no job was created: a 503 may come from a gateway, after the effect."""
    with served(answer(status), tries=3) as (client, server), pytest.raises(error):
        client.create_job("prod", CREATE, request_id="r")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        cut(answer(body=JOB)[:-4]),
        cut(b"HTTP/1.1 200 OK\r\nContent-Le"),
        b"nonsense\r\n\r\n",
        answer(body=b"<html>"),
        answer(body={"no": "job"}),
    ],
)
def test_a_create_call_is_never_repeated_blindly(reply: Reply) -> None:
    """Its answer lost or unreadable: an error of its own, and the server was called once."""
    with served(reply, tries=3) as (client, server), pytest.raises(OutcomeUnknown):
        client.create_job("prod", CREATE, request_id="r")
    assert len(server.requests) == 1


@pytest.mark.parametrize("broken", [b"", answer(503), cut(answer(body=PAGE)[:-4]), answer(429)])
def test_get_and_delete_are_tried_again(broken: Reply) -> None:
    """With backoff, up to three times; the answer that comes counts."""
    with served(broken, broken, answer(body=PAGE), tries=3) as (client, server):
        assert len(client.list_jobs("prod", limit=1).records) == 1
    assert len(server.requests) == 3
    with served(broken, answer(204), tries=3) as (client, server):
        client.cancel_job("prod", "1")
    assert [method for method, _, _ in server.requests] == ["DELETE", "DELETE"]


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, {"status": True, "message": "Export job has been marked for cancelling"}),
        answer(200),
        answer(204),
        answer(200, b"not JSON"),
    ],
)
def test_delete_takes_success_with_any_body_or_none(reply: Reply) -> None:
    """200 or 204: the sources differ."""
    with served(reply) as (client, _):
        client.cancel_job("prod", "1")


def test_out_of_reach_is_to_be_tried_later() -> None:
    """Nobody listens: also a create call surely had no effect."""
    with scripted(answer()) as server:
        url = server.url
    for call in (
        lambda: client_to(url).list_jobs("prod", limit=1),
        lambda: client_to(url).create_job("prod", CREATE, request_id="r"),
    ):
        with pytest.raises(RetryLater, match="can't reach"):
            call()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        ("Wed, 99 Zzz", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    """Seconds, or a date; anything else is as if it were not there."""
    with (
        served(answer(429, headers={"Retry-After": header})) as (client, _),
        pytest.raises(RetryLater) as caught,
    ):
        client.list_jobs("prod", limit=1)
    assert caught.value.retry_after_s == seconds


def test_a_retry_after_that_is_a_date_is_read_as_seconds_from_now() -> None:
    """By our clock, and never less than none."""
    for ahead_s, least, most in ((120, 60, 120), (-120, 0, 0)):
        date = email.utils.formatdate(time.time() + ahead_s, usegmt=True)
        with (
            served(answer(429, headers={"Retry-After": date})) as (client, _),
            pytest.raises(RetryLater) as caught,
        ):
            client.list_jobs("prod", limit=1)
        asked = caught.value.retry_after_s
        assert asked is not None
        assert least <= asked <= most


def test_a_long_retry_after_is_left_to_the_caller() -> None:
    """A function is not kept running for it: one call, and the time in the error."""
    with (
        served(answer(503, headers={"Retry-After": "600"}), tries=3) as (client, server),
        pytest.raises(RetryLater) as caught,
    ):
        client.list_jobs("prod", limit=1)
    assert caught.value.retry_after_s == 600
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nX: " + b"x" * 2_000, 0.05),
        dripping(answer(body={**PAGE, "more": "x" * 2_000}), 0.05),
        lambda _: time.sleep(4.5),
    ],
)
def test_no_answer_outlasts_the_time_left(reply: Reply) -> None:
    """Not one that drips in, headers or body, and not one that never comes."""
    with served(reply, time_left_s=lambda: 2.5) as (client, _):
        began = time.monotonic()
        with pytest.raises(RetryLater):
            client.list_jobs("prod", limit=1)
        assert time.monotonic() - began < 4.4


def test_without_time_no_call_is_begun() -> None:
    """Then it is for the next run."""
    with served(answer(body=PAGE), time_left_s=lambda: 0.5) as (client, server):
        with pytest.raises(RetryLater, match="no time left"):
            client.list_jobs("prod", limit=1)
        assert server.requests == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_over_a_sane_size_is_not_read_to_its_end(*, packed: bool) -> None:
    """Neither one sent as it is nor one that unpacks to it."""
    body = b" " * (MAX_BODY_BYTES + 1_000_000)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    reply = answer(body=gzip.compress(body) if packed else body, headers=headers)
    with served(reply) as (client, _):
        with pytest.raises(NotUnderstood, match="larger than"):
            client.list_jobs("prod", limit=1)
        with pytest.raises(OutcomeUnknown, match="larger than"):
            client.create_job("prod", CREATE, request_id="r")


def test_a_deeply_nested_body_is_not_understood() -> None:
    """It ends in a typed error, not in a recursion."""
    body = b"[" * 200_000 + b"]" * 200_000
    with served(answer(body=body)) as (client, _), pytest.raises(NotUnderstood):
        client.list_jobs("prod", limit=1)


def test_secrets_in_a_body_are_removed_from_the_error() -> None:
    """A server that repeats our token, or shows another's, does not bring it into our logs."""
    other = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXBhcnQ"
    said = {"message": f"bad token planted.token, not Bearer {other}"}
    with served(answer(400, said)) as (client, _), pytest.raises(Refused) as caught:
        client.list_jobs("prod", limit=1)
    assert "planted.token" not in str(caught.value)
    assert other not in str(caught.value)
    assert "bad token" in str(caught.value)


class OpaqueTokens(ImsTokens):
    """Gives tokens that no pattern knows, a new one whenever the last was refused."""

    def __init__(self) -> None:
        super().__init__(token_url="", credentials=lambda: CREDENTIALS, transport=Transport())
        self.given = 0

    def _fetch(self) -> tuple[str, float]:
        self.given += 1
        return f"opaque{self.given}" * 100, 3_600.0


@pytest.mark.parametrize("status", [400, 401])
def test_no_part_of_any_token_is_quoted(status: int) -> None:
    """However long it is, wherever it stands, and also if it has been replaced since."""
    said = {"message": "x" * 250 + " opaque1" + "opaque1" * 99 + " opaque2" + "opaque2" * 99}
    with (
        served(answer(status, said), tokens=OpaqueTokens()) as (client, _),
        pytest.raises(SegmentationError) as caught,
    ):
        client.list_jobs("prod", limit=1)
    assert "opaque1" not in str(caught.value)
    assert status == 400 or "opaque2" not in str(caught.value)


@pytest.mark.parametrize("sandbox", ["with\nnewline", "ü", "", " prod"])
def test_what_no_header_can_hold_is_refused_before_it_leaves(sandbox: str) -> None:
    """A typed error, and no call."""
    with served(answer(body=PAGE)) as (client, server):
        with pytest.raises(Refused):
            client.list_jobs(sandbox, limit=1)
        assert server.requests == []


def test_help_on_the_models_teaches_the_api() -> None:
    """Every field of the request says what it means, where its name does not."""
    assert CreateExportJob.__doc__
    described = json.dumps(CreateExportJob.model_json_schema(by_alias=True))
    for word in ("realized", "RFC 3339", "merge policy", "batch"):
        assert word in described
