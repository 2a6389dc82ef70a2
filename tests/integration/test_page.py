"""The web page over sockets: who gets in, what is read, and what a snapshot is made of."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.names import Names
from export_jobs.model.ports import StoreRefused
from export_jobs.model.records import RequestRecord, SandboxState
from export_jobs.model.steps import Step
from export_jobs_cli.errors import UserError
from export_jobs_cli.page import kept, snapshot, status
from export_jobs_cli.page.pages import Pages
from export_jobs_cli.page.server import HEADERS, PageServer
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import REGION, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.isolation import aws_session, http_session
from export_jobs_local.project import TEMPLATE
from support.cloudformation import NEEDED
from support.command_line import parsed
from support.dynamodb import READS
from support.pages import DAY_MS, HOUR_MS, job_record
from support.site import Site, system_of

# -- who gets in ---------------------------------------------------------------------------------


def test_nobody_gets_in_without_the_token(site: Site) -> None:
    """Neither without one nor with a wrong one, on any page."""
    for path in ("/", "/job?sandbox=prod&id=1", "/requests", "/none-such"):
        for extra in ("", "token=", "token=wrong", "token=é"):
            answer = site.bare(f"{path}{'&' if '?' in path else '?'}{extra}")
            assert answer.status_code == 403
            assert "sandbox prod" not in answer.text.lower()
    assert site.bare("/", Cookie=f"{site.server.cookie}=wrong").status_code == 403


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(site: Site) -> None:
    """So that it is in no bookmark and no history; the rest of the address stays."""
    token = site.server.token
    answer = site.bare(f"/job?sandbox=prod&token={token}&id=a%26b")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/job?sandbox=prod&id=a%26b"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"{site.server.cookie}={token};")
    assert {"HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
    assert site.bare("/", Cookie=cookie.split(";")[0]).status_code == 200


def test_a_bookmark_of_an_earlier_start_asks_for_the_token(site: Site) -> None:
    """And leads to the same page once it has it."""
    asked = site.bare("/job?sandbox=prod&id=%3Cb%3E").text
    fields = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', asked))
    assert fields == {"sandbox": "prod", "id": "&lt;b&gt;"}
    assert 'name="token"' in asked


def test_each_start_has_a_token_of_its_own(site: Site) -> None:
    """One that leaked is of no use after the next start."""
    assert PageServer(site.pages).token != site.server.token
    assert len(site.server.token) >= 32


def test_each_start_has_a_cookie_of_its_own(site: Site) -> None:
    """Browsers don't tell ports apart: two machines' pages, through tunnels, have the same host."""
    with PageServer(site.pages, port=0) as other:
        port = other.port
        assert other.cookie != site.server.cookie
        site.session.get(other.address, timeout=30)
        assert site.get("/").status_code == 200
        assert site.session.get(f"http://127.0.0.1:{port}/", timeout=30).status_code == 200
    with PageServer(site.pages, port=port) as again:
        assert again.cookie != other.cookie


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil", "", "[::1]"],
)
def test_another_host_is_refused_even_with_the_token(site: Site, host: str) -> None:
    """A page elsewhere can make its own name lead here (DNS rebinding)."""
    connection = http.client.HTTPConnection("127.0.0.1", site.server.port, timeout=10)
    connection.putrequest("GET", f"/?token={site.server.token}", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 400
    assert answer.getheader("Set-Cookie") is None
    connection.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "localhost:9000"])
def test_this_machine_s_own_names_are_answered(site: Site, host: str) -> None:
    """Also with another port, as through a tunnel."""
    answer = site.bare(f"/?token={site.server.token}", Host=host)
    cookie = answer.headers["Set-Cookie"].split(";")[0]
    assert site.bare("/", Host=host, Cookie=cookie).status_code == 200


def test_every_answer_has_the_headers_that_keep_it_to_itself(site: Site) -> None:
    """Pages, errors, redirects and assets."""
    version = site.get("/").headers["ETag"]
    answers = [
        site.get("/"),
        site.get("/", headers={"If-None-Match": version}),
        site.get("/job?sandbox=prod&id=none"),
        site.get("/none-such"),
        site.get("/assets/page.js"),
        site.bare("/"),
        site.bare("/", Host="evil.example"),
        site.bare(f"/?token={site.server.token}"),
        site.session.post(f"{site.root}/", timeout=30),
    ]
    assert [a.status_code for a in answers] == [200, 304, 404, 404, 200, 403, 400, 303, 405]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_fault_of_the_page_is_said_and_is_logged(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the headers of every answer; what it says goes to the terminal only, and is harmless."""

    def fails() -> None:
        raise RuntimeError("a fault \x1b[31m in <b>red</b>")

    monkeypatch.setattr(site.pages, "overview", fails)
    answer = site.get("/")
    assert answer.status_code == 500
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "Something went wrong in this page" in answer.text
    assert "See the error in the terminal" in answer.text
    assert "a fault" not in answer.text
    (record,) = caplog.records
    assert (record.levelname, record.exc_info) == ("ERROR", None)
    logged = record.getMessage()
    assert "the page '/' could not be made" in logged
    assert "Traceback" in logged
    assert ", in fails" in logged
    assert "RuntimeError: a fault \ufffd[31m in <b>red</b>" in logged
    assert site.get("/requests").status_code == 200, "other pages go on"


def test_no_method_changes_anything(site: Site) -> None:
    """There is no route for it, and nothing is called."""
    site.calls.clear()
    for path in ("/", "/requests", "/expectations", "/job?sandbox=prod&id=1", "/dataset"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = site.session.request(method, site.root + path, timeout=30)
            assert answer.status_code == 405
    assert not site.calls


# -- what it shows and reads ---------------------------------------------------------------------


def test_the_first_overview_and_all_later_ones_cost_few_reads(site: Site) -> None:
    """Later ones read what is unfinished, and what may have changed; none scans a table."""
    site.put(*(job_record(str(n), at=now_ms() - n * HOUR_MS) for n in range(1, 30)))

    def reads() -> Counter[str]:
        site.calls.clear()
        site.pages.overview()
        return Counter(call for call in site.calls if call in READS)

    assert reads() == {"Query": 8}, "for each of two sandboxes: all that there is"
    for _ in range(3):
        assert reads() == {"Query": 2}, "for each: what is unfinished"
    site.put(job_record("new", "PROCESSING", at=now_ms()))
    assert reads() == {"Query": 2}, "open jobs are in the same read"


def test_no_page_scans_a_table_or_writes(site: Site) -> None:
    """Whatever page is opened."""
    at = now_ms() - HOUR_MS
    site.put(job_record("1", at=at, request_key="r"))
    site.calls.clear()
    for path in ("/", "/requests", "/expectations", "/job?sandbox=prod&id=1"):
        site.read(path)
    site.read("/dataset?sandbox=prod&id=d1")
    assert "Scan" not in site.calls
    reading = (*READS, "GetQueueAttributes", "DescribeStacks", "GetFunctionConfiguration")
    assert set(site.calls) <= set(reading)


def test_a_job_is_shown_as_it_is_now(site: Site) -> None:
    """From its creation to its end, and with what was published since."""
    at = now_ms() - 60_000
    running = job_record("7", "PROCESSING", at=at)
    site.put(running)
    assert "running" in site.read("/")
    known = site.store.job("prod", "7", at)
    assert known
    ended = job_record("7", "FAILED", at=at, errors=[{"code": "E", "msg": "disk full"}])
    written = site.store.put(replace(ended, version=known.version, stored=known))
    assert "disk full" in site.read("/")
    assert "not yet on the" in site.read("/job?sandbox=prod&id=7")
    settled = replace(written, outbox=(), end_detail=ended.end)
    site.store.put(settled)
    assert "not yet on the" not in site.read("/job?sandbox=prod&id=7")
    assert "disk full" in site.read("/")


def test_a_job_that_came_and_ended_between_two_readings_is_not_missed(site: Site) -> None:
    """It was never among the unfinished ones that the page saw."""
    site.read("/")
    site.put(replace(job_record("8", "FAILED", at=now_ms() - 1_000), outbox=()))
    assert "job 8" not in site.read("/"), "no sweep has said yet that there is something new"
    site.store.put_state(SandboxState("prod", now_ms(), swept_at=now_ms()))
    assert "job 8" in site.read("/")


@pytest.mark.parametrize(
    ("field", "minutes"), [("watermark", 12), ("seen_from", 300), ("new_since", 300)]
)
def test_a_job_that_shows_later_than_newer_ones_is_not_missed(
    site: Site, field: str, minutes: int
) -> None:
    """The service may list a job late, and a sweep records all in what it covers, and before."""
    at = now_ms()
    covered = SandboxState("prod", at, seen_from=at, new_since=at, swept_at=at)
    reach = at - (minutes - 10) * 60_000
    site.store.put_state(replace(covered, **{field: reach}))
    site.read("/")
    site.put(replace(job_record("late", at=at - minutes * 60_000), outbox=()))
    site.store.put_state(replace(covered, **{field: reach, "swept_at": now_ms()}))
    assert "job late" in site.read("/")


def test_a_job_is_followed_to_its_end_however_old_it_is(site: Site) -> None:
    """Also one whose creation time is unknown."""
    for n, at in enumerate((now_ms() - 40 * DAY_MS, 0)):
        running = replace(job_record(f"j{n}", "PROCESSING", at=at), outbox=(), kind=f"1-{n}")
        site.put(running)
        site.read("/")
        known = site.store.job("prod", f"j{n}", at)
        assert known
        end = {"status": "FAILED", "final": True, "outcome": "FAILED"}
        times = {"update_time": now_ms(), "touched_at": now_ms(), "duration_ms": now_ms() - at}
        ended = replace(known, **end, **times)  # type: ignore[arg-type]
        site.store.put(ended)
        assert f"Export job j{n} into d1 failed" in site.read("/")


def test_a_job_that_is_not_kept_is_looked_up_once(site: Site) -> None:
    """That reads all that is on record."""
    site.put(replace(job_record("old", at=now_ms() - 60 * DAY_MS), outbox=()))
    site.read("/job?sandbox=prod&id=old")
    site.calls.clear()
    site.read("/job?sandbox=prod&id=old")
    assert [call for call in site.calls if call in READS] == ["Query", "Query"]


def test_a_sandbox_that_is_swept_for_the_first_time_is_read_again(
    site: Site, aws: MotoServer, stack: LocalStack
) -> None:
    """Its first sweep records what there was, however long ago."""
    site.store.forget("prod")
    pages = Pages(system_of(aws, stack, []))
    pages.overview()
    site.put(replace(job_record("9", "FAILED", at=now_ms() - 5 * HOUR_MS), outbox=()))
    site.store.put_state(SandboxState("prod", now_ms(), swept_at=now_ms()))
    (prod, _) = pages.readings()
    assert [job.id for job in prod.jobs] == ["9"]


def test_what_the_command_writes_is_shown_at_the_next_reading(site: Site) -> None:
    """Expectations, at once; names within a minute."""
    site.read("/expectations")
    record = ExpectationRecord("prod", Expectation("nightly", "d1", "UTC", due=60), now_ms())
    site.store.edit_expectations("prod", [record])
    assert "nightly" in site.read("/expectations")
    (written,) = site.store.expectations("prod")
    muted_until = now_ms() + DAY_MS
    site.store.edit_expectations("prod", [replace(written, muted_until=muted_until)])
    assert "MUTED" in site.read("/expectations")


def test_names_are_read_again_after_a_minute(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not announced, and seldom change."""
    site.put(replace(job_record("1", "FAILED", at=now_ms() - HOUR_MS), outbox=()))
    site.read("/")
    site.store.put_names("prod", Names(datasets={"d1": "Newsletter"}))
    assert "Newsletter" not in site.read("/")
    monkeypatch.setattr(kept, "OLD_MS", -1)
    shown = [site.read("/") for _ in range(2)]  # expectations are old, too: one a reading
    assert "into Newsletter (d1)" in shown[-1], "also where jobs are kept with their names"


def test_pages_that_are_asked_for_at_once_share_a_reading(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who opens several, or several tabs, cost no more."""
    site.read("/")
    monkeypatch.setattr(kept, "FRESH_MS", 60_000)
    site.calls.clear()
    site.read("/")
    site.read("/expectations")
    assert [call for call in site.calls if call in READS] == []


def test_the_queue_is_asked_once_a_minute(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call costs something, and a page may be open all day."""
    for _ in range(3):
        site.read("/")
    assert site.calls.count("GetQueueAttributes") == 1
    monkeypatch.setattr(status, "OLD_MS", -1)
    site.read("/")
    assert site.calls.count("GetQueueAttributes") == 2


def test_a_regular_export_is_noticed_until_something_expects_it(site: Site) -> None:
    """Of its dataset only, and again once nothing expects it any more."""
    regular = "runs regularly; no expectation set"
    now = now_ms()
    nights = [now - night * DAY_MS - HOUR_MS for night in range(12)]
    jobs = [job_record(f"{at}", at=at) for at in nights[1:]]
    site.put(*(replace(job, outbox=()) for job in jobs[:4]))
    assert regular not in site.read("/")
    site.put(*(replace(job, outbox=()) for job in jobs[4:]))
    site.put(replace(job_record("once", dataset="d2", at=nights[0]), outbox=()))
    _sweep(site, now - 13 * DAY_MS)
    _sweep(site, now)
    assert site.read("/").count(regular) == 1
    assert "expectation suggest" in site.read("/dataset?sandbox=prod&id=d1")
    assert "expectation suggest" not in site.read("/dataset?sandbox=prod&id=d2")
    expected = Expectation("nightly", "d1", "UTC", every=24 * 60)
    site.store.edit_expectations("prod", [ExpectationRecord("prod", expected, now)])
    assert regular not in site.read("/")
    assert "Expected by" in site.read("/dataset?sandbox=prod&id=d1")
    site.store.edit_expectations("prod", [], site.store.expectations("prod"))
    assert site.read("/").count(regular) == 1


def _sweep(site: Site, watermark: int) -> None:
    """What a sweep writes that has recorded something; it reads the page before."""
    site.store.put_state(SandboxState("prod", watermark, swept_at=now_ms()))
    site.read("/")


def test_jobs_that_are_too_old_are_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a page that is open for weeks would need more and more memory; open ones stay."""
    old, new = now_ms() - HOUR_MS, now_ms() - 1_000
    site.put(*(replace(job_record(n, at=at), outbox=()) for n, at in (("1", old), ("2", new))))
    site.put(job_record("3", "PROCESSING", at=old))
    site.read("/")
    monkeypatch.setattr(kept, "KEPT_MS", 60_000)
    (prod, _) = site.pages.readings()
    assert [job.id for job in prod.jobs] == ["2", "3"]


def test_rejected_requests_are_listed_with_each_wrong_field(site: Site) -> None:
    """Of every sandbox, the newest first."""
    reason = "job.destination.datasetId: is required; job.filter: is null; leave it out"
    rejected = RequestRecord(
        "r1", "REJECTED", "prod", outcome="INVALID", reason=reason, touched_at=now_ms()
    )
    site.store.commit("prod", [Step(requests=(rejected,))])
    html = site.read("/requests")
    assert "<li>job.destination.datasetId: is required</li>" in html
    assert "<li>job.filter: is null; leave it out</li>" in html
    assert "export-jobs request show r1" in html


def test_a_job_older_than_what_is_kept_has_a_page(site: Site) -> None:
    """It is looked up in the table."""
    site.put(replace(job_record("old", at=now_ms() - 60 * DAY_MS), outbox=()))
    assert "Job old" in site.read("/job?sandbox=prod&id=old")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/job?sandbox=prod&id=none", "no job &#39;none&#39; is on record in prod: "),
        ("/job?sandbox=prod&id=none", "or its record has expired</p>"),
        (
            "/job?sandbox=nowhere&id=1",
            "sandbox &#39;nowhere&#39; is not on this page, which shows: prod, dev",
        ),
        ("/job?id=1", "the address needs a sandbox and an id"),
        ("/dataset?sandbox=prod", "the address needs a sandbox and an id"),
        ("/dataset?sandbox=prod&id=none", "neither a job of the last weeks nor an expectation"),
    ],
)
def test_what_does_not_exist_is_said_on_a_page(site: Site, path: str, words: str) -> None:
    """With 404, so that nobody takes it for an export without a problem."""
    answer = site.get(path)
    assert answer.status_code == 404
    assert words in answer.text


def test_an_unchanged_page_is_not_sent_again(site: Site) -> None:
    """The time of reading alone is no change, and is in a header."""
    site.put(job_record("1", at=now_ms() - HOUR_MS))
    first = site.get("/expectations")
    time.sleep(1.1)
    again = site.get("/expectations", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.text) == (304, "")
    assert again.headers["X-Read-At"] > first.headers["X-Read-At"]


def test_a_stack_that_can_t_be_read_is_said_on_the_page() -> None:
    """With what failed, and 503, so that a page that renews itself keeps what it has."""
    with MotoServer() as own:
        stack = LocalStack(own, "ends")
        stack.deploy(TEMPLATE, {**NEEDED, "Sandboxes": "prod"})
        pages = Pages(system_of(own, stack, []))
        pages.overview()
        server = PageServer(pages, port=0)
        server.__enter__()
    try:
        time.sleep(kept.FRESH_MS / 1000)
        with http_session() as session:
            answer = session.get(server.address, timeout=60)
        assert answer.status_code == 503
        assert "can&#39;t read the open items" in answer.text
    finally:
        server.__exit__(None, None, None)


def test_a_refused_read_is_no_missing_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """404 would say that there is no such job; what can be read is shown."""
    site.put(job_record("1", at=now_ms() - HOUR_MS, request_key="r"))

    def refuses(*_: Any, **__: Any) -> Any:
        raise StoreRefused("can't read a request: AccessDenied")

    monkeypatch.setattr(site.store, "requests", refuses)
    html = site.read("/job?sandbox=prod&id=1")
    assert "Not shown: its request. can&#39;t read a request: AccessDenied" in html
    assert "Job 1" in html
    monkeypatch.setattr(site.store, "rejected_requests", refuses)
    assert "Rejected requests can&#39;t be read" in site.read("/requests")
    monkeypatch.setattr(site.store, "jobs", refuses)
    assert site.get("/job?sandbox=prod&id=none").status_code == 503
    monkeypatch.setattr(site.store, "load", refuses)
    for path in ("/", "/job?sandbox=prod&id=1", "/dataset?sandbox=prod&id=d1"):
        assert site.get(path).status_code == 503


def test_commands_are_for_the_stack_and_the_account_that_are_shown(
    site: Site, aws: MotoServer, stack: LocalStack
) -> None:
    """Pasted into a terminal, they show the same."""
    session = aws_session(REGION)
    system = DeployedSystem(
        stack.name,
        session=session,
        profile="my profile",
        region="eu-west-1",
        endpoint_url=aws.url,
    )
    pages = Pages(system, sandbox="dev")
    first, *others = pages.overview().commands
    options = f"--sandbox dev --stack {stack.name} --profile 'my profile' --region eu-west-1"
    assert first == f"export-jobs job list --since 14d --limit 2000 {options}"
    assert all(options in command for command in others)
    site.put(job_record(at=now_ms(), dataset="-d1"))  # not an option
    of_dataset, _ = Pages(system).dataset("prod", "-d1").commands
    assert parsed(of_dataset)["dataset"] == "-d1"
    assert options.replace("--sandbox dev", "--sandbox prod") in of_dataset
    for command in (first, *others, of_dataset):
        assert parsed(command)["region"] == "eu-west-1"


def test_a_queue_that_hangs_does_not_hold_up_the_page(
    site: Site, aws: MotoServer, stack: LocalStack
) -> None:
    """The tables say the most, and answer."""
    with socket.socket() as hanging:
        hanging.bind(("127.0.0.1", 0))
        hanging.listen()
        system = system_of(aws, stack, [])
        client = system.client

        def misled(service: str, config: Any = None) -> Any:
            if service != "sqs":
                return client(service, config)
            system._endpoint_url = f"http://127.0.0.1:{hanging.getsockname()[1]}"
            try:
                return client(service, config)
            finally:
                system._endpoint_url = aws.url

        system.client = misled  # type: ignore[method-assign]
        began = time.monotonic()
        page = Pages(system).overview()
        assert time.monotonic() - began < 8
        assert "How many dead letters" in page.values["overview"].attention[0].text


def test_what_aws_refuses_to_the_viewer_is_said_and_the_rest_is_shown(
    site: Site, aws: MotoServer, stack: LocalStack
) -> None:
    """The dead-letter queue, here: the tables say the most."""
    site.put(job_record("1", at=now_ms() - HOUR_MS))
    system = system_of(aws, stack, [])
    system.outputs = {**system.outputs, "DeadLetterQueueUrl": f"{aws.url}/000000000000/none"}
    page = Pages(system).overview()
    (item,) = (i for i in page.values["overview"].attention if i.kind == "problem")
    assert item.text.startswith("How many dead letters there are is unknown: AWS refused")
    assert page.values["overview"].sandboxes[0].rows


def test_the_usual_port_is_taken_if_it_is_free(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that bookmarks stay valid; otherwise any, unless a port was asked for."""
    from export_jobs_cli.page import server as servers  # noqa: PLC0415

    monkeypatch.setattr(servers, "USUAL_PORT", site.server.port)
    with PageServer(site.pages) as other:
        assert other.port != site.server.port
        free = other.port
    monkeypatch.setattr(servers, "USUAL_PORT", free)
    with PageServer(site.pages) as other:
        assert other.port == free
    with pytest.raises(OSError, match="in use"):
        PageServer(site.pages, port=site.server.port).__enter__()


# -- snapshots -----------------------------------------------------------------------------------


def _links(directory: Path) -> Iterator[tuple[Path, str]]:
    for file in directory.rglob("*.html"):
        for address in re.findall(r'(?:href|src)="([^"]*)"', file.read_text()):
            yield file, address


def test_a_snapshot_is_complete_in_itself(site: Site, tmp_path: Path) -> None:
    """Every link leads to a file of it, and nothing needs a server or another host."""
    at = now_ms() - HOUR_MS
    hostile = "../../<b>é"
    site.put(job_record("1", at=at), job_record(hostile, "FAILED", at=at, dataset=".."))
    site.put(*(job_record(name, at=now_ms() - 20 * DAY_MS) for name in ("old", "in-a-window")))
    past = PastWindow(Window(1, 2, 2), "GOOD", "in-a-window")
    expected = Expectation("nightly", "d1", "UTC", due=60)
    site.store.edit_expectations("prod", [ExpectationRecord("prod", expected, at, history=(past,))])
    written = snapshot.write(site.pages, tmp_path)
    assert written.index == tmp_path / "index.html"
    assert written.pages == len(list(tmp_path.rglob("*.html")))
    checked = 0
    for file, address in _links(tmp_path):
        parts = urlsplit(address)
        assert (parts.scheme, parts.netloc) == ("", ""), address
        assert not parts.path.startswith("/"), address
        target = (file.parent / parts.path).resolve() if parts.path else file
        assert target.is_file(), address
        assert tmp_path in target.parents
        if parts.fragment:
            assert f'id="{parts.fragment}"' in target.read_text()
        checked += 1
    assert checked > 20
    assert "<script" not in written.index.read_text()
    assert "&lt;b&gt;é" in written.index.read_text()
    assert (tmp_path / "job" / "prod.in-a-window.html").is_file()
    assert not (tmp_path / "job" / "prod.old.html").exists()


def test_two_snapshots_at_once_leave_whole_pages(site: Site, tmp_path: Path) -> None:
    """As when a schedule is shorter than a snapshot takes."""
    site.put(*(job_record(str(n), at=now_ms() - HOUR_MS) for n in range(20)))
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: snapshot.write(site.pages, tmp_path), range(3)))
    assert {one.pages for one in done} == {len(list(tmp_path.rglob("*.html")))}
    for page in tmp_path.rglob("*.html"):
        assert page.read_text().endswith("</html>\n") or page.read_text().endswith("</html>")
    assert [file for file in tmp_path.rglob(".*") if file.name != ".export-jobs-snapshot"] == []


def test_a_directory_that_can_t_be_written_is_reported(site: Site, tmp_path: Path) -> None:
    """With the file, and nothing else is written."""
    (tmp_path / ".export-jobs-snapshot").touch()
    (tmp_path / "job").write_text("a file where a directory should be")
    with pytest.raises(UserError, match=r"can't write .*job: File exists"):
        snapshot.write(site.pages, tmp_path)


def test_a_snapshot_follows_no_link_out_of_its_directory(site: Site, tmp_path: Path) -> None:
    """On a share, others may have put one there."""
    outside = tmp_path / "outside"
    outside.write_text("somebody's")
    directory = tmp_path / "site"
    snapshot.write(site.pages, directory)
    (directory / "index.html").unlink()
    (directory / "index.html").symlink_to(outside)
    snapshot.write(site.pages, directory)
    assert outside.read_text() == "somebody's"
    assert "Needs attention" in (directory / "index.html").read_text()


def test_the_next_snapshot_replaces_the_last_one(site: Site, tmp_path: Path) -> None:
    """What is no longer there goes; what is somebody else's stays."""
    at = now_ms() - HOUR_MS
    site.put(job_record("1", at=at))
    snapshot.write(site.pages, tmp_path)
    (tmp_path / "job" / "prod.gone.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    site.put(job_record("2", at=at))
    snapshot.write(site.pages, tmp_path)
    assert {file.name for file in (tmp_path / "job").iterdir()} == {
        "prod.1.html",
        "prod.2.html",
    }
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_snapshot_overwrites_nothing_that_no_snapshot_wrote(site: Site, tmp_path: Path) -> None:
    """A site of somebody else's may be in the directory."""
    (tmp_path / "index.html").write_text("somebody's site")
    with pytest.raises(UserError, match=r"'index\.html', which no snapshot wrote"):
        snapshot.write(site.pages, tmp_path)
    assert (tmp_path / "index.html").read_text() == "somebody's site"


def test_a_snapshot_reads_everything_once(site: Site, tmp_path: Path) -> None:
    """Each sandbox, its baselines, and the requests of all jobs at once: not once a job."""
    at = now_ms() - HOUR_MS
    site.put(*(job_record(str(n), at=at, request_key=f"r{n}") for n in range(30)))
    site.pages.overview()
    site.calls.clear()
    snapshot.write(site.pages, tmp_path)
    called: Mapping[str, int] = Counter(call for call in site.calls if call in READS)
    each = {"unfinished": 2, "rejected": 2, "baselines": 1}
    assert called == {"BatchGetItem": 1, "Query": sum(each.values())}
