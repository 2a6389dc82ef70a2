"""The client against a server that sends what the local service never would."""

from __future__ import annotations

import email.utils
import gzip
import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from export_jobs.client import Credentials, ImsTokens, SegmentationClient, Transport
from export_jobs.client.tokens import AGAIN_S, CREDENTIAL_MAX_AGE_S
from export_jobs.client.transport import IDLE_S, MAX_BODY_BYTES, MAX_TEXT_BYTES
from export_jobs.contract import CreateExportJob, Job
from export_jobs.contract.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from support.scripted import (
    Reply,
    ScriptedServer,
    answer,
    cut,
    dripping,
    hang_up,
    scripted,
    token_answer,
)

from .conftest import BODY

JOB = {"id": 1, "status": "NEW", "creationTime": 1_700_000_000_000}
PAGE = {"records": [JOB], "page": {}, "link": {}}
CREDENTIALS = Credentials("id", "planted-secret", "org", "scope")


def client_to(
    url: str,
    *,
    tries: int = 1,
    time_left_s: Callable[[], float] = lambda: math.inf,
    tokens: Any = None,
    credentials: Callable[[], Credentials] = lambda: CREDENTIALS,
    clock: Callable[[], float] = time.monotonic,
) -> SegmentationClient:
    transport = Transport(time_left_s=time_left_s, tries=tries)
    tokens = tokens or ImsTokens(token_url=f"{url}/ims/token/v3", transport=transport)
    return SegmentationClient(
        base_url=f"{url}/data/core/ups",
        credentials=credentials,
        tokens=tokens,
        transport=transport,
        clock=clock,
    )


def create(
    client: SegmentationClient,
    *,
    request_id: str = "r",
    may_send: Callable[[], bool] = lambda: True,
    body: Mapping[str, Any] = BODY,
) -> Job:
    return client.create_job("prod", body, request_id=request_id, may_send=may_send)


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


@pytest.mark.parametrize(
    "link", ["/export/jobs?offset=1_1", 5, [], {"next": {"href": "?offset=1_1"}}, {"next": 7}]
)
def test_a_link_that_can_t_be_read_is_no_last_page(link: Any) -> None:
    """Otherwise a listing would count as complete without the jobs on its next page."""
    with (
        served(answer(body={**PAGE, "link": link})) as (client, _),
        pytest.raises(NotUnderstood),
    ):
        client.list_jobs("prod", limit=1)


def test_a_link_with_the_whole_address_of_the_service_is_read() -> None:
    """An absolute link is followed, too, if it points to the service."""
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
    """No token is sent to a host that an answer names."""
    with (
        served(answer(body={**PAGE, "link": {"next": link}})) as (client, _),
        pytest.raises(NotUnderstood, match="another host"),
    ):
        client.list_jobs("prod", limit=2)


def test_a_cursor_that_goes_nowhere_ends_in_an_error() -> None:
    """A next link to the page itself; next links that form a circle."""
    with (
        served(answer(body={**PAGE, "link": {"next": "?offset=5_5"}})) as (client, _),
        pytest.raises(NotUnderstood, match="same page again"),
    ):
        client.list_jobs("prod", limit=2, cursor="5_5")
    circle = [answer(body={**PAGE, "link": {"next": f"?offset={n}_1"}}) for n in range(50)]
    with served(*circle) as (client, server), pytest.raises(NotUnderstood, match="repeats"):
        list(client.iter_pages("prod", limit=1))
    assert len(server.requests) == 2


def test_a_record_that_is_no_job_costs_only_itself() -> None:
    """The page's other records are read, and the unreadable one is counted."""
    records = [JOB, {"id": None, "status": "NEW"}, 7, {"id": "x", "status": "FAILED", "new": [1]}]
    with served(answer(body={"records": records})) as (client, _):
        page = client.list_jobs("prod", limit=5)
    assert [job.id for job in page.records] == ["1", "x"]
    assert page.unreadable == 2
    assert page.records[1].whole.model_extra == {"new": [1]}


def test_a_lost_answer_about_a_permission_is_tried_later() -> None:
    """Its POST creates nothing, so it does not speak of a job."""
    with served(cut(b"")) as (client, _), pytest.raises(RetryLater) as caught:
        client.has_permission("prod", "manage-datasets")
    assert type(caught.value) is RetryLater
    assert "job" not in str(caught.value)


# -- what is sent --------------------------------------------------------------------------------


def test_every_call_carries_its_headers() -> None:
    """A POST also carries its content type and our request id."""
    with served(answer(body=JOB)) as (client, server):
        create(client, request_id="export-jobs-1")
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
                create(client)
        assert elsewhere.requests == []


def test_a_proxy_of_the_environment_gets_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the configured host is called."""
    with scripted(answer(body=PAGE)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "")
        with served(answer(body=PAGE)) as (client, server):
            client.list_jobs("prod", limit=1)
        assert len(server.requests) == 1
        assert proxy.requests == []


# -- what is received, and when ------------------------------------------------------------------


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
def test_each_status_raises_its_error(status: int, error: type[SegmentationError]) -> None:
    """Each has a type that shows what to do, and the start of the body in its message."""
    with (
        served(answer(status, {"message": "the reason"})) as (client, _),
        pytest.raises(error, match="the reason") as caught,
    ):
        client.get_job("prod", "1")
    assert type(caught.value) is error


MEANS_NO_JOB = {
    **dict.fromkeys((400, 404, 405, 413, 415, 422), Refused),
    401: BadCredentials,
    403: Forbidden,
    429: RetryLater,
}


@pytest.mark.parametrize("readable", [True, False])
def test_a_create_call_that_was_not_surely_turned_away_may_have_had_its_effect(
    *, readable: bool
) -> None:
    """Field case 1: only a 2xx with a job means success, and only nine others mean no job."""
    bodiless = {*range(100, 200), 204, 304}
    with served(b"", tries=3) as (client, server):
        for status in range(101, 1000):
            body = b"" if status in bodiless else JOB if readable else {"id": 1, "message": "?"}
            server._replies[:] = [answer(status, body, headers={"Retry-After": "7"})]
            server.requests.clear()
            if readable and 200 <= status < 300 and status != 204:
                assert create(client).id == "1"
                continue
            with pytest.raises(SegmentationError) as caught:
                create(client)
            assert type(caught.value) is MEANS_NO_JOB.get(status, OutcomeUnknown), status
            if isinstance(caught.value, OutcomeUnknown | RetryLater) and status > 199:
                assert caught.value.retry_after_s == 7, status
            assert len(server.requests) == (2 if status == 401 else 1), status


def test_what_a_create_call_did_not_find_is_no_job() -> None:
    """Field case 8: a 404 is a problem with what the request names, in the service's words."""
    sent_back = {"title": "NotFoundError", "detail": "Dataset 5b7c does not exist"}
    with served(answer(404, sent_back)) as (client, _), pytest.raises(Refused) as caught:
        create(client)
    assert "was not found" in str(caught.value)
    assert "Dataset 5b7c does not exist" in str(caught.value)
    assert "no such job" not in str(caught.value)


def test_a_listing_that_is_not_found_is_no_missing_job() -> None:
    """NotFound is raised only for a job, because a sweep treats it as a job that vanished."""
    with served(answer(404)) as (client, _), pytest.raises(Refused):
        client.list_jobs("prod", limit=1)


def test_the_answer_after_an_interim_one_is_not_read_as_another_call_s() -> None:
    """A job that follows "early hints" was created by that call, not by the next one."""

    def hint_then_job(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        time.sleep(0.2)
        connection.sendall(answer(body={**JOB, "id": "first"}))

    with served(hint_then_job, answer(body={**JOB, "id": "second"})) as (client, _):
        with pytest.raises(OutcomeUnknown):
            create(client)
        assert create(client).id == "second"


# -- whether a create call is sent ---------------------------------------------------------------


def test_a_create_call_that_is_too_late_is_not_sent() -> None:
    """Nothing is sent, so certainly no job was created."""
    with served(answer(body=JOB)) as (client, server):
        with pytest.raises(RetryLater, match="not sent"):
            create(client, may_send=lambda: False)
        assert server.requests == []


def test_a_create_call_is_not_sent_again_too_late() -> None:
    """After a refused token the deadline is checked again, because IMS may have been slow."""
    allowed = iter([True, False])
    with served(answer(401), answer(body=JOB)) as (client, server):
        with pytest.raises(RetryLater, match="not sent"):
            create(client, may_send=lambda: next(allowed))
        assert len(server.requests) == 1
        assert len(server.token_calls) == 2


class Line:
    """Connections to a host: the first ones fail, and all attempts are counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, failures: int = 0) -> None:
        self.tried = 0
        self.asked: list[int] = []
        self._failures = failures
        self._connect = urllib3.util.connection.create_connection
        monkeypatch.setattr(urllib3.util.connection, "create_connection", self._create)

    def _create(self, *args: Any, **options: Any) -> socket.socket:
        self.tried += 1
        if self.tried <= self._failures:
            raise ConnectionRefusedError
        return self._connect(*args, **options)

    def may_send(self, *, until: int) -> Callable[[], bool]:
        """Allows sending until more than this many connections have been tried."""

        def asked() -> bool:
            self.asked.append(self.tried)
            return self.tried <= until

        return asked


def test_whether_to_send_is_asked_once_the_connection_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Looking up a name and trying addresses may take longer than the time that was left."""
    with served(answer(body=JOB), tokens=OpaqueTokens()) as (client, server):
        line = Line(monkeypatch)
        with pytest.raises(RetryLater, match="not sent"):
            create(client, may_send=line.may_send(until=0))
        assert (line.tried, line.asked, server.requests) == (1, [1], [])
        assert create(client).id == "1"


def test_no_job_is_created_over_a_connection_that_was_not_used_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be dead, so the outcome would be unknown; each is checked, and a GET may use any."""
    now = 1_000.0
    frozen = SimpleNamespace(time=lambda: now, monotonic=time.monotonic)
    monkeypatch.setattr("export_jobs.client.connections.time", frozen)
    with (
        served(answer(body=JOB), tokens=OpaqueTokens()) as (client, _),
        ThreadPoolExecutor(2) as pool,
    ):
        line = Line(monkeypatch)

        def create_two_at_once() -> None:
            both = threading.Barrier(2)
            list(pool.map(lambda _: create(client, may_send=lambda: both.wait(5) >= 0), range(2)))

        create_two_at_once()
        assert line.tried == 2
        now += IDLE_S * 0.7
        client.get_job("prod", "1")
        assert line.tried == 2
        now += IDLE_S * 0.7
        create_two_at_once()
        assert line.tried == 3
        now += IDLE_S * 10
        client.get_job("prod", "1")
        assert line.tried == 3


@pytest.mark.parametrize(("until", "sent"), [(2, 1), (1, 0)])
def test_whether_to_send_is_asked_for_each_try(
    monkeypatch: pytest.MonkeyPatch, until: int, sent: int
) -> None:
    """A failed connection is tried again, and the check comes before anything is sent over it."""
    with served(answer(body=JOB), tokens=OpaqueTokens(), tries=3) as (client, server):
        line = Line(monkeypatch, failures=1)
        with nullcontext() if sent else pytest.raises(RetryLater, match="not sent"):
            create(client, may_send=line.may_send(until=until))
        assert (line.tried, line.asked, len(server.requests)) == (2, [2], sent)


def test_without_a_tls_connection_nothing_was_sent() -> None:
    """A handshake that fails, for whatever reason, proves that no job was created."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def close_each() -> None:
            for _ in range(2):
                listener.accept()[0].close()

        thread = threading.Thread(target=close_each)
        thread.start()
        client = client_to(
            f"https://127.0.0.1:{listener.getsockname()[1]}", tokens=OpaqueTokens(), tries=2
        )
        with pytest.raises(RetryLater, match="can't reach"):
            create(client)
        thread.join()


def test_a_request_that_ends_in_the_middle_may_have_had_its_effect() -> None:
    """Once its first byte has been sent, a broken connection means an unknown outcome."""
    with served(hang_up, tries=3) as (client, server), pytest.raises(OutcomeUnknown):
        create(client)
    assert len(server.requests) == 1


def test_a_body_that_is_no_json_is_refused_before_it_leaves() -> None:
    """No later attempt could send it either."""
    with served(answer(body=JOB)) as (client, server):
        for value in (math.nan, object(), {"deep": {1, 2}}):
            with pytest.raises(Refused, match="JSON"):
                create(client, body={**BODY, "fields": value})
        assert server.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        cut(answer(body=JOB)[:-4]),
        cut(b"HTTP/1.1 200 OK\r\nContent-Le"),
        cut(b"HTTP/1.1 400 Bad Request\r\nContent-Le"),
        cut(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n"),
        cut(answer(400, {"message": "the reason"})[:-4]),
        b"nonsense\r\n\r\n",
        answer(body=b"<html>"),
        answer(body={"no": "job"}),
    ],
)
def test_a_create_call_is_never_repeated_blindly(reply: Reply) -> None:
    """If its answer is lost or unreadable, the error is distinct and the server is called once."""
    with served(reply, tries=3) as (client, server), pytest.raises(OutcomeUnknown):
        create(client)
    assert len(server.requests) == 1


@pytest.mark.parametrize("broken", [b"", answer(503), cut(answer(body=PAGE)[:-4]), answer(429)])
def test_get_is_tried_again(broken: Reply) -> None:
    """With backoff, up to three times; the answer that arrives is used."""
    with served(broken, broken, answer(body=PAGE), tries=3) as (client, server):
        assert len(client.list_jobs("prod", limit=1).records) == 1
    assert len(server.requests) == 3


@pytest.mark.parametrize("broken", [b"", answer(503), cut(b"HTTP/1.1 200 OK\r\nCon"), answer(429)])
def test_delete_is_tried_again(broken: Reply) -> None:
    """Until an answer shows the outcome."""
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
        answer(202),
        answer(206, {"id": 1}),
        answer(299, b"["),
        cut(answer(202, {"status": True})[:-4]),
        answer(200, headers={"Content-Encoding": "gzip", "Content-Length": "3"}) + b"abc",
    ],
)
def test_delete_takes_success_with_any_body_or_none(reply: Reply) -> None:
    """Field case 7: any 2xx, once: the sources differ, and a sibling endpoint answers 202."""
    with served(reply, tries=3) as (client, server):
        client.cancel_job("prod", "1")
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 203, 206, 226, 299])
def test_any_success_that_can_be_read_is_read(status: int) -> None:
    """A page or a job is read with any 2xx status."""
    with served(answer(status, JOB)) as (client, _):
        assert client.get_job("prod", "1").id == "1"
    with served(answer(status, PAGE)) as (client, _):
        assert [job.id for job in client.list_jobs("prod", limit=1).records] == ["1"]
    with scripted(answer(body=PAGE)) as server:
        server.ims = lambda _: token_answer().replace(b"200", b"%d" % status, 1)
        assert client_to(server.url).list_jobs("prod", limit=1)


def test_out_of_reach_is_to_be_tried_later() -> None:
    """No server is listening, so a create call certainly had no effect either."""
    with scripted(answer()) as server:
        url = server.url
    for call in (
        lambda: client_to(url).list_jobs("prod", limit=1),
        lambda: create(client_to(url)),
    ):
        with pytest.raises(RetryLater, match="can't reach"):
            call()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("3600", 3_600.0),
        ("3601", 3_600.0),
        ("1790000000", 3_600.0),
        ("9" * 400, 3_600.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600.0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        ("Wed, 99 Zzz", None),
        ("1e9", None),
    ],
)
def test_retry_after_is_read_in_both_forms(header: str, seconds: float | None) -> None:
    """Seconds or a date, at most an hour, from the API or IMS; anything else is ignored."""
    waits = {"Retry-After": header}
    with served(answer(429, headers=waits)) as (client, _), pytest.raises(RetryLater) as caught:
        client.list_jobs("prod", limit=1)
    assert caught.value.retry_after_s == seconds
    with served(answer(503, headers=waits)) as (client, _), pytest.raises(OutcomeUnknown) as lost:
        create(client)
    assert lost.value.retry_after_s == seconds
    with served(answer(body=PAGE)) as (client, server):
        server.ims = lambda _: answer(503, headers=waits)
        with pytest.raises(RetryLater) as caught:
            client.list_jobs("prod", limit=1)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    "reply",
    [
        answer(200, {"no": "job"}, headers={"Retry-After": "7"}),
        answer(302, headers={"Retry-After": "7"}),
        cut(answer(500, {"message": "?"}, headers={"Retry-After": "7"})[:-4]),
        answer(500, b" " * (MAX_BODY_BYTES + 1), headers={"Retry-After": "7"}),
    ],
)
def test_an_unknown_outcome_carries_retry_after(reply: Reply) -> None:
    """If the response has it, even if the rest can't be read."""
    with served(reply) as (client, _), pytest.raises(OutcomeUnknown) as caught:
        create(client)
    assert caught.value.retry_after_s == 7


def test_a_retry_after_that_is_a_date_is_read_as_seconds_from_now() -> None:
    """By our clock, and never below zero."""
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
    """A function does not wait for it: it makes one call, and the error has the time."""
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
    """Not one whose headers or body arrive slowly, and not one that never arrives."""
    with served(reply, time_left_s=lambda: 2.5) as (client, _):
        began = time.monotonic()
        with pytest.raises(RetryLater):
            client.list_jobs("prod", limit=1)
        assert time.monotonic() - began < 4.4


def test_without_time_no_call_is_begun() -> None:
    """It is left to the next run."""
    with served(answer(body=PAGE), time_left_s=lambda: 0.5) as (client, server):
        with pytest.raises(RetryLater, match="no time left"):
            client.list_jobs("prod", limit=1)
        assert server.requests == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_body_over_a_sane_size_is_not_read_to_its_end(*, packed: bool) -> None:
    """Whether it is sent at that size or only decompresses to it."""
    body = b" " * (MAX_BODY_BYTES + 1_000_000)
    headers = {"Content-Encoding": "gzip"} if packed else {}
    reply = answer(body=gzip.compress(body) if packed else body, headers=headers)
    with served(reply) as (client, _):
        with pytest.raises(NotUnderstood, match="larger than"):
            client.list_jobs("prod", limit=1)
        with pytest.raises(OutcomeUnknown, match="larger than"):
            create(client)


def test_a_deeply_nested_body_is_not_understood() -> None:
    """It causes a typed error, not a RecursionError."""
    body = b"[" * 200_000 + b"]" * 200_000
    with served(answer(body=body)) as (client, _), pytest.raises(NotUnderstood):
        client.list_jobs("prod", limit=1)


def test_secrets_in_a_body_are_removed_from_the_error() -> None:
    """A token that a server repeats, ours or another's, does not reach our logs."""
    other = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXBhcnQ"
    sent_back = {"message": f"bad token planted.token, not Bearer {other}"}
    with served(answer(400, sent_back)) as (client, _), pytest.raises(Refused) as caught:
        client.list_jobs("prod", limit=1)
    assert "planted.token" not in str(caught.value)
    assert other not in str(caught.value)
    assert "bad token" in str(caught.value)


@pytest.mark.parametrize(
    "quoted",
    ["planted.token", " " * (MAX_TEXT_BYTES - 35) + "planted.token, and more", "planted.toke"],
)
@pytest.mark.parametrize("status", [200, 400, 409, 429, 503])
def test_no_error_of_a_create_call_holds_the_token(status: int, quoted: str) -> None:
    """Neither whole nor cut, by us or by the service, whatever the answer means."""
    with (
        served(answer(status, {"message": f"bad {quoted}"})) as (client, _),
        pytest.raises(SegmentationError) as caught,
    ):
        create(client)
    assert "planted" not in str(caught.value)


@pytest.mark.parametrize("token", ["with\nnewline", "with space", "\x00", "ü", "", None, 7])
def test_a_token_that_no_header_can_hold_is_not_understood(token: Any) -> None:
    """It is not sent, and no error of a library quotes it."""
    with served(answer(body=PAGE)) as (client, server):
        server.ims = lambda _: token_answer(token)
        with pytest.raises(NotUnderstood, match="without a readable token") as caught:
            client.list_jobs("prod", limit=1)
        assert server.requests == []
    assert not token or str(token) not in str(caught.value)


class OpaqueTokens(ImsTokens):
    """Issues tokens that match no known pattern, and a new one whenever the last was refused."""

    def __init__(self) -> None:
        super().__init__(token_url="", transport=Transport())
        self.given = 0

    def _fetch(self, credentials: Credentials) -> tuple[str, float]:
        self.given += 1
        return f"opaque{self.given}" * 100, 3_600.0


@pytest.mark.parametrize("status", [400, 401])
def test_no_part_of_any_token_is_quoted(status: int) -> None:
    """However long it is, wherever it appears, and even if it has since been replaced."""
    sent_back = {"message": "x" * 250 + " opaque1" + "opaque1" * 99 + " opaque2" + "opaque2" * 99}
    with (
        served(answer(status, sent_back), tokens=OpaqueTokens()) as (client, _),
        pytest.raises(SegmentationError) as caught,
    ):
        client.list_jobs("prod", limit=1)
    assert "opaque1" not in str(caught.value)
    assert status == 400 or "opaque2" not in str(caught.value)


@pytest.mark.parametrize("sandbox", ["with\nnewline", "ü", "", " prod"])
def test_what_no_header_can_hold_does_not_leave(sandbox: str) -> None:
    """The configuration has to be corrected: no call is made, and no request ends for good."""
    with served(answer(body=PAGE)) as (client, server):
        with pytest.raises(RetryLater, match="check the configuration"):
            client.list_jobs(sandbox, limit=1)
        with pytest.raises(RetryLater, match="check the configuration"):
            client.create_job(sandbox, BODY, request_id="r", may_send=lambda: True)
        assert server.requests == []


# -- credentials ---------------------------------------------------------------------------------


def token_of(form: Mapping[str, str]) -> bytes:
    """The answer of an IMS that issues a separate token for each credential."""
    return token_answer(".".join(form[n] for n in ("client_id", "client_secret", "scope")))


def header(sent: bytes, name: str) -> str:
    (line,) = [li for li in sent.split(b"\r\n") if li.lower().startswith(f"{name}:".encode())]
    return line.partition(b":")[2].decode().strip()


class Secret:
    """A secret that can be replaced, and a clock, which decide what the client reads and when."""

    def __init__(self) -> None:
        self.value = CREDENTIALS
        self.reads = 0
        self.now_s = 1_000.0

    def read(self) -> Credentials:
        self.reads += 1
        return replace(self.value)  # an object of its own, as from JSON

    def clock(self) -> float:
        return self.now_s


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("part", ["client_id", "client_secret", "org_id", "scopes"])
def test_a_credential_that_replaces_a_refused_one_is_used_at_once(part: str, status: int) -> None:
    """Field case 9: in the same call, and no token is ever sent with the other's key."""
    secret = Secret()
    with scripted(answer(body=PAGE), answer(status), answer(body=PAGE)) as server:
        server.ims = token_of
        client = client_to(server.url, credentials=secret.read)
        client.list_jobs("prod", limit=1)
        secret.value = replace(CREDENTIALS, **{part: "another"})
        client.list_jobs("prod", limit=1)
    old, refused, new = (sent for *_, sent in server.requests)
    for sent, credential in ((old, CREDENTIALS), (refused, CREDENTIALS), (new, secret.value)):
        assert header(sent, "x-api-key") == credential.client_id
        assert header(sent, "x-gw-ims-org-id") == credential.org_id
        bearer = f"{credential.client_id}.{credential.client_secret}.{credential.scopes}"
        assert header(sent, "authorization") == f"Bearer {bearer}"
    assert secret.reads == 2


def test_a_credential_that_ims_refuses_is_read_again() -> None:
    """A kept one may be the old one; what was just read is not read again."""
    secret = Secret()

    def ims(form: Mapping[str, str]) -> bytes:
        return answer(400) if form["client_secret"] == "planted-secret" else token_of(form)

    with scripted(answer(body=PAGE)) as server:
        server.ims = ims
        client = client_to(server.url, credentials=secret.read)
        assert client.org_id() == "org"
        secret.value = replace(CREDENTIALS, client_secret="another")
        client.list_jobs("prod", limit=1)
        assert (secret.reads, len(server.requests)) == (2, 1)

        secret.value = CREDENTIALS
        secret.reads = 0
        client = client_to(server.url, credentials=secret.read)
        for _ in range(2):
            with pytest.raises(BadCredentials):
                client.list_jobs("prod", limit=1)
        assert secret.reads == 2


def test_a_working_credential_is_read_once_an_hour() -> None:
    """Then one that replaced it takes effect, with a token of its own, though the old one works."""
    secret = Secret()
    with scripted(answer(body=PAGE)) as server:
        server.ims = token_of
        client = client_to(server.url, credentials=secret.read, clock=secret.clock)
        for _ in range(60):
            client.list_jobs("prod", limit=1)
            assert client.org_id() == "org"
            secret.now_s += 60
        assert secret.reads == 1
        secret.value = replace(CREDENTIALS, client_id="another")
        client.list_jobs("prod", limit=1)
        assert secret.reads == 2
    keys = [header(sent, "x-api-key") for *_, sent in server.requests]
    assert keys == [*["id"] * 60, "another"]
    assert len(server.token_calls) == 2


def test_a_working_credential_is_kept_while_it_cannot_be_read() -> None:
    """An outage of Secrets Manager stops no sweep, and costs a minute's calls one attempt."""
    secret = Secret()
    readable = True

    def read() -> Credentials:
        credentials = secret.read()
        if not readable:
            raise RetryLater("can't read the secret")
        return credentials

    with scripted(answer(body=PAGE)) as server:
        server.ims = token_of
        client = client_to(server.url, credentials=read, clock=secret.clock)
        client.list_jobs("prod", limit=1)
        readable = False
        secret.now_s += CREDENTIAL_MAX_AGE_S
        secret.value = replace(CREDENTIALS, client_id="another")
        client.list_jobs("prod", limit=1)
        client.list_jobs("prod", limit=1)
        readable = True
        secret.now_s += AGAIN_S
        client.list_jobs("prod", limit=1)
        keys = [header(sent, "x-api-key") for *_, sent in server.requests]
        assert keys == ["id", "id", "id", "another"]
        assert secret.reads == 3


def test_a_refused_token_is_replaced_though_the_secret_cannot_be_read() -> None:
    """The credential is kept: only its token was refused."""
    reads = 0

    def read() -> Credentials:
        nonlocal reads
        reads += 1
        if reads > 1:
            raise RetryLater("can't read the secret")
        return CREDENTIALS

    with scripted(answer(401), answer(body=PAGE)) as server:
        server.ims = token_of
        assert client_to(server.url, credentials=read).list_jobs("prod", limit=1)
        assert (len(server.token_calls), reads) == (2, 2)


def test_a_refused_key_is_not_tried_again_with_the_same_credential() -> None:
    """A sandbox without permission costs one call, and one read of the secret."""
    secret = Secret()
    with scripted(answer(403)) as server:
        client = client_to(server.url, credentials=secret.read)
        with pytest.raises(Forbidden):
            client.list_jobs("prod", limit=1)
        assert (secret.reads, len(server.requests), len(server.token_calls)) == (2, 1, 1)


def test_threads_that_are_refused_at_once_replace_the_credential_once() -> None:
    """The first read serves all of them, as does the first token."""
    secret = Secret()
    all_refused = threading.Barrier(4)

    def refused(connection: socket.socket) -> None:
        all_refused.wait(5)
        connection.sendall(answer(401, headers={"Connection": "close"}))

    with scripted(*[refused] * 4, answer(body=PAGE)) as server, ThreadPoolExecutor(4) as pool:
        server.ims = lambda _: token_answer(f"token-{len(server.token_calls)}")
        client = client_to(server.url, credentials=secret.read)
        list(pool.map(lambda _: client.list_jobs("prod", limit=1), range(4)))
        assert len(server.requests) == 8
        assert (secret.reads, len(server.token_calls)) == (2, 2)


def test_token_and_headers_of_a_call_are_of_one_credential() -> None:
    """Also after a refused token, when the secret has been replaced."""
    secrets = iter(
        [Credentials(name, "secret", f"org-of-{name}", "scope") for name in ("old", "new")]
    )
    with scripted(answer(401), answer(body=PAGE)) as server:
        server.ims = token_of
        client = client_to(server.url, credentials=lambda: next(secrets))
        client.list_jobs("prod", limit=1)
    assert [header(sent, "x-api-key") for *_, sent in server.requests] == ["old", "new"]
    for *_, sent in server.requests:
        key = header(sent, "x-api-key")
        assert header(sent, "authorization") == f"Bearer {key}.secret.scope"
        assert header(sent, "x-gw-ims-org-id") == f"org-of-{key}"


def test_a_client_that_is_prepared_has_its_token() -> None:
    """So that no token has to be fetched between noting an attempt and its call."""
    with served(answer(body=JOB)) as (client, server):
        client.prepare()
        assert (len(server.token_calls), server.requests) == (1, [])
        client.prepare()
        create(client)
        assert (len(server.token_calls), len(server.requests)) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "error"), [(answer(400), BadCredentials), (answer(503), RetryLater)]
)
def test_a_client_that_can_t_be_prepared_reports_why(
    reply: bytes, error: type[SegmentationError]
) -> None:
    """With the same error as the call itself."""
    with served(answer(body=JOB)) as (client, server):
        server.ims = lambda _: reply
        with pytest.raises(error):
            client.prepare()


def test_the_client_knows_its_organisation() -> None:
    """From the credential, without a call; a secret that can't be read is a typed error."""
    with served(answer()) as (client, server):
        assert client.org_id() == "org"
        assert (server.requests, server.token_calls) == ([], [])

    def unreadable() -> Credentials:
        return Credentials.from_secret("{}")

    with pytest.raises(SegmentationError, match="lacks clientId"):
        client_to("http://127.0.0.1:9", credentials=unreadable).org_id()


@pytest.mark.parametrize("part", ["clientId", "clientSecret", "orgId", "scopes"])
@pytest.mark.parametrize("odd", ["planted\nsecret", "plänted", "\ud800planted"])
def test_a_secret_that_can_t_be_sent_is_the_credential_s_fault(part: str, odd: str) -> None:
    """The error names the field and quotes nothing; requests wait until the secret is corrected."""
    secret = {"clientId": "i", "clientSecret": "s", "orgId": "o", "scopes": "c", part: odd}
    with pytest.raises(BadCredentials, match=f"{part} must be printable ASCII") as caught:
        Credentials.from_secret(json.dumps(secret))
    assert odd not in str(caught.value)


SECRET = {"clientId": "i", "clientSecret": "planted", "orgId": "o", "scopes": "c"}


@pytest.mark.parametrize(
    "value",
    [
        json.dumps(SECRET),
        "\ufeff" + json.dumps(SECRET),
        json.dumps(SECRET).encode(),
        json.dumps(SECRET).encode("utf-8-sig"),
        json.dumps(SECRET).encode("utf-16"),
    ],
    ids=["text", "marked text", "utf-8", "marked utf-8", "marked utf-16"],
)
def test_a_secret_is_read_in_the_encodings_of_files(value: str | bytes) -> None:
    """Stored from a file, as text or as binary data, it keeps the file's byte order mark."""
    assert Credentials.from_secret(value) == Credentials("i", "planted", "o", "c")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (json.dumps(SECRET).encode("utf-16-le"), "UTF-16 or UTF-32 without a byte order mark"),
        (json.dumps(SECRET).encode("utf-32"), "it is UTF-32"),
        ('{"clientId": "plänted"}'.encode("cp1252"), "it is not UTF-8, at byte 17"),
        ('{"clientId": "planted', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('ÿþ{"clientId": "planted"}', "UTF-16 that was read with another encoding"),
        ('"planted"', "lacks clientId, clientSecret, orgId, scopes"),
        ("null", "lacks clientId"),
    ],
)
def test_a_secret_that_can_t_be_read_is_the_credential_s_fault(
    value: str | bytes, says: str
) -> None:
    """The error names the encoding or what is missing, and quotes nothing."""
    with pytest.raises(BadCredentials, match=says) as caught:
        Credentials.from_secret(value)
    assert "nted" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_answer_may_have_a_byte_order_mark(encoding: str) -> None:
    """A proxy or another implementation of the service may add one."""
    with served(answer(200, json.dumps(JOB).encode(encoding))) as (client, _):
        assert client.get_job("prod", "1").id == "1"


@pytest.mark.parametrize("encoding", ["utf-16-le", "cp037", "utf-32"])
def test_an_answer_in_another_encoding_is_not_understood(encoding: str) -> None:
    """After a create call, the job may exist."""
    with served(answer(200, json.dumps(JOB).encode(encoding))) as (client, _):
        with pytest.raises(NotUnderstood):
            client.get_job("prod", "1")
        with pytest.raises(OutcomeUnknown):
            create(client)


def test_an_error_quotes_the_service_on_one_line() -> None:
    """Field case 25: what it answers can't act where the error is read."""
    text = b"no\r\n\x1b[31mred \xe2\x80\xaegpj \xc2\x9b2J <!channel>"
    with served(answer(400, text)) as (client, _), pytest.raises(Refused) as caught:
        client.get_job("prod", "1")
    assert str(caught.value).isprintable()
    assert "no �[31mred �gpj �2J <!channel>" in str(caught.value)


def test_help_on_the_models_teaches_the_api() -> None:
    """Every field of the request has a description, unless its name is clear."""
    assert CreateExportJob.__doc__
    described = json.dumps(CreateExportJob.model_json_schema(by_alias=True))
    for word in ("realized", "RFC 3339", "merge policy", "batch"):
        assert word in described
