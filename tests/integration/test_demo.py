"""The demo, end to end, as a user runs it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pytest
import requests
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.records import (
    Attempt,
    Event,
    EventType,
    Gate,
    JobRecord,
    OutboxItem,
    SandboxRecord,
    Ticket,
    Undelivered,
)
from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.directory import NotTheDemos, begin_anew, keep
from export_jobs_local.demo.expectations import Applied, DemoExpectations
from export_jobs_local.demo.reconcile import Reconciliation, reconcile_what_is_left
from export_jobs_local.demo.requests import RequestsUnusable, read_requests
from export_jobs_local.segmentation.store import StoredJob
from support.command_line import EXPORT_JOBS, typed
from support.demo import DemoRun, run_demo
from support.files import ROOT


@pytest.mark.xdist_group("demo")
def test_the_demo_reconciles_and_leaves_real_exports(demo: DemoRun) -> None:
    """Every request ends as its file name states; nothing is lost, duplicated or left; data exist.

    The shell's settings for AWS and the network, none of which fits here, make no difference.
    """
    result = demo.result
    assert (result["lost"], result["duplicates"], result["unexplained"]) == ([], [], [])
    assert result["left"] == []
    assert result["seconds"] < 120
    assert {(row["expected"], row["outcome"]) for row in result["expectations"]} == {
        ("MET", "GOOD"),
        ("LATE", "NEVER_STARTED"),
        ("MISSING", "NEVER_STARTED"),
    }
    assert all(row["as_expected"] for row in result["expectations"])
    ends = {row["name"]: row for row in result["requests"]}
    assert ends.keys() == {path.stem for path in (ROOT / "events" / "requests").glob("*.json")}
    assert all(row["as_expected"] for row in ends.values())
    assert ends["sent-twice.twice"]["job_status"] == "SUCCEEDED"
    retried = ends["retried.fails-once"]
    assert (retried["job_status"], len(retried["earlier_jobs"])) == ("SUCCEEDED", 1)
    exported = ends["one-segment"]["profiles"]
    assert exported > 0

    manifests = [
        json.loads(path.read_text())
        for path in (demo.directory / "exports").glob("*/*/manifest.json")
    ]
    (manifest,) = [m for m in manifests if m["request"].get("fields", "").endswith("firstName")]
    folder = demo.directory / "exports" / manifest["datasetId"]
    rows = duckdb.sql(
        f"SELECT count(*), count(personalEmail.address) FROM '{folder}/{manifest['batchId']}/*.parquet'"
    ).fetchall()[0]
    assert rows[0] == exported == manifest["profiles"]
    assert rows[1] > 0


def test_the_demo_fails_when_something_is_not_as_it_should_be(tmp_path: Path) -> None:
    """A request that should succeed but does not is named, and makes the exit code 1."""
    folder = tmp_path / "requests"
    folder.mkdir()
    nowhere = (ROOT / "events" / "requests" / "fails-unknown-dataset.json").read_text()
    (folder / "should-succeed.json").write_text(nowhere)
    done = run_demo("--requests", str(folder), "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "should-succeed: expected SUCCEEDED" in json.loads(done.stdout)["unexplained"][0]


def test_whatever_is_left_over_is_named() -> None:
    """A message, a request that waits or is being created, an event in the outbox, an open job."""
    attempt = Attempt("creating", "id", noted_at=1, send_by=2, hashes={}, rule=1)
    linked = replace(attempt, request_key="linked", job_id="5", linked_at=3)
    entry = Undelivered(Event(EventType.REQUEST_REJECTED, {"eventId": "e"}), frozenset({"bus"}))
    known = SandboxRecord(
        Gate("prod", slots={"creating": attempt, "linked": linked}),
        open_jobs={"7": JobRecord("prod", "7", 1)},
        outbox=(OutboxItem("prod", "rejected", (entry,)),),
        tickets=(Ticket("prod", "waits", "create", turn=1, sent_at=1),),
    )
    result = Reconciliation()
    reconcile_what_is_left(0, [SandboxRecord(Gate("dev"))], result)
    assert result.good
    reconcile_what_is_left(2, [known], result)
    assert result.left == [
        "messages in the queue: 2",
        "request waits waits in prod",
        "request creating is being created in prod",
        "an event of rejected is in the outbox",
        "job 7 is open on record",
    ]
    assert not result.good


def a_job(number: int, status: str, updated: int, profiles: int = 5) -> StoredJob:
    body = {
        "id": number,
        "status": status,
        "destination": {"datasetId": "d"},
        "metrics": {"totalExportedProfileCounter": profiles},
        "errors": [],
        "updateTime": updated,
    }
    return cast("StoredJob", SimpleNamespace(id=number, status=status, body=body))


DUE = 1_800_000_000_000


@pytest.mark.parametrize(
    ("expected", "jobs", "past", "events", "problem"),
    [
        ("MET", [("SUCCEEDED", -1)], ("GOOD", "1"), [], None),
        ("MET", [("SUCCEEDED", -1)], ("GOOD", "1"), ["Export Overdue"], "received Export Overdue"),
        ("MET", [("SUCCEEDED", -1)], None, [], "was not judged"),
        ("MET", [("FAILED", -1)], ("GOOD", "1"), [], "it was MISSING"),
        ("MET", [("SUCCEEDED", -1)], ("GOOD", "2"), [], "job 2 did not make it good"),
        ("MISSING", [], ("NEVER_STARTED", None), ["Export Overdue"], None),
        ("MISSING", [], ("NEVER_STARTED", None), [], "received nothing"),
        ("MISSING", [], ("NEVER_STARTED", None), ["Export Overdue"] * 2, "Overdue, Export Overdue"),
        (
            *("LATE", [("SUCCEEDED", 1)], ("NEVER_STARTED", "1")),
            *(["Export Overdue", "Export Overdue Resolved"], None),
        ),
        (
            *("LATE", [("SUCCEEDED", 1)], ("NEVER_STARTED", "1")),
            *(["Export Overdue Resolved", "Export Overdue"], "received Export Overdue Resolved"),
        ),
    ],
)
def test_an_expected_export_that_is_not_as_it_was_is_named(
    expected: Any,
    jobs: list[tuple[str, int]],
    past: tuple[Any, str | None] | None,
    events: list[str],
    problem: str | None,
) -> None:
    """The window on record, and what each sink received, against the service's own jobs."""
    window = Window(0, DUE, DUE)
    expectation = Expectation("e", "d", "UTC", due=0)
    history = (PastWindow(window, *past),) if past else ()
    record = ExpectationRecord("prod", expectation, 1, history=history)
    store: Any = SimpleNamespace(expectations=lambda _: [record])
    found = DemoExpectations(store, "prod", [])
    found.applied.append(Applied(expected, expectation, window))
    deliveries = [
        Delivery(sink, kind, {"expectation": "e", "eventId": f"{kind}{n}"}, None)  # type: ignore[arg-type]  # a str
        for n, kind in enumerate(events)
        for sink in ("bus", "topic")
    ]
    at_the_service = [a_job(n, status, DUE + at) for n, (status, at) in enumerate(jobs, start=1)]
    (end,) = found.reconcile(at_the_service, deliveries)
    result = Reconciliation(expectations=[end])
    if problem is None:
        assert (end.problems, result.good) == ([], True)
    else:
        assert any(problem in found for found in end.problems)
        assert not result.good


def test_a_folder_without_requests_is_reported_in_one_line(tmp_path: Path) -> None:
    """A user's mistake causes no traceback."""
    done = typed(["demo", "--requests", str(tmp_path)], tmp_path)
    assert done.returncode == 2
    assert "no *.json file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("one.v2.json", b"{}", "NAME.twice.json"),
        ("one.json", b"\xff", "can't be read: it is not UTF-8, at byte 1"),
        ("one.json", b"", "empty"),
        ("one.json", b" " * 262_145, "256 KB"),
        ("one.cancel.json", b'{"cancelRequestKey": 5}', "needs a cancelRequestKey"),
    ],
)
def test_a_file_that_is_no_request_is_named(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    """Before anything is started."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestsUnusable, match=re.escape(words)) as caught:
        read_requests(tmp_path)
    assert name in str(caught.value)


@pytest.mark.parametrize("content", ["[]", "null", "5", '{"requestKey": {}}', "[" * 100_000, "{"])
def test_whatever_a_file_holds_is_sent(tmp_path: Path, content: str) -> None:
    """The system has to reject it, and the demo has to report that."""
    (tmp_path / "invalid-one.json").write_text(content)
    (request,) = read_requests(tmp_path)
    assert (request.body, request.key, request.expected) == (content, None, "REJECTED")


@pytest.mark.parametrize("work", ["exports/d/b/part.parquet", "logs/creator.log", "jobs.sqlite3"])
def test_a_directory_that_others_work_in_is_left_alone(tmp_path: Path, work: str) -> None:
    """Files that no demo made are not touched, and the user gets a one-line error."""
    file = tmp_path / "mine" / work
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    done = typed(["demo", "--data", "mine"], tmp_path)
    assert done.returncode == 2
    assert "mine contains" in done.stderr
    assert "Traceback" not in done.stderr
    assert file.read_text() == "precious"
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [file]


def test_a_demo_removes_what_the_last_one_made(tmp_path: Path) -> None:
    """In the directory it started in, or in its own; the data stay, as does what `keep` names."""
    work = tmp_path / "exports" / "old"
    data = tmp_path / "data" / "kept"
    begin_anew(tmp_path)
    for file in (work, data):
        file.parent.mkdir()
        file.write_text("x")
    begin_anew(tmp_path)
    assert (work.exists(), data.exists()) == (False, True)
    work.parent.mkdir()
    work.write_text("x")
    keep(tmp_path)
    with pytest.raises(NotTheDemos):
        begin_anew(tmp_path)
    assert work.exists()


def test_what_is_made_in_a_demo_s_directory_later_is_not_the_demo_s(tmp_path: Path) -> None:
    """`api --data` makes it the user's: the next demo refuses it."""
    begin_anew(tmp_path / "d")
    with api("--data", "d", cwd=tmp_path):
        pass
    with pytest.raises(NotTheDemos, match=r"jobs\.sqlite3"):
        begin_anew(tmp_path / "d")


@contextmanager
def api(*options: str, cwd: Path) -> Iterator[dict[str, Any]]:
    """The service alone, as its command starts it; yields the description that it prints."""
    with subprocess.Popen(
        [EXPORT_JOBS, "api", "--json", *options], cwd=cwd, stdout=subprocess.PIPE, text=True
    ) as serving:
        try:
            assert serving.stdout
            yield json.loads(serving.stdout.readline())
        finally:
            serving.terminate()


def test_the_service_is_tuned_by_options(tmp_path: Path) -> None:
    """With no pace a job ends at once, even with little memory; a seed is accepted."""
    tuned = ("--pace", "0", "--memory-mb", "60", "--max-running", "1", "--seed", "5")
    with api("--data", "d", *tuned, cwd=tmp_path) as served:
        token = requests.post(
            served["imsUrl"],
            data={
                "grant_type": "client_credentials",
                "client_id": served["clientId"],
                "client_secret": served["clientSecret"],
                "scope": served["scopes"],
            },
            timeout=10,
        ).json()["access_token"]
        headers = {
            "Authorization": f"Bearer {token}",
            "x-api-key": served["clientId"],
            "x-gw-ims-org-id": served["orgId"],
            "x-sandbox-name": "prod",
        }
        url = f"{served['apiUrl']}/export/jobs"
        body = json.loads((ROOT / "events" / "requests" / "with-events.json").read_text())["job"]
        job = requests.post(url, headers=headers, json=body, timeout=10).json()
        deadline = time.monotonic() + 30
        while job["status"] not in {"SUCCEEDED", "FAILED"} and time.monotonic() < deadline:
            time.sleep(0.02)
            job = requests.get(f"{url}/{job['id']}", headers=headers, timeout=10).json()
        assert job["status"] == "SUCCEEDED", job["errors"]
        waited = job["metrics"]["profileExportTime"]["startTimeInMs"] - job["creationTime"]
        assert waited < 500


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda place: place.write_text(""), "can't write to"),
        (lambda place: touch(place / "data" / "mine.csv"), "no datasets.json"),
        (lambda place: touch(place / "jobs.sqlite3", "no database" * 100), "can't use the jobs"),
    ],
)
@pytest.mark.parametrize("command", ["api", "local"])
def test_a_directory_that_is_not_ours_is_reported_in_one_line(
    tmp_path: Path, prepare: Callable[[Path], object], words: str, command: str
) -> None:
    """Without a traceback; nothing in the directory is changed."""
    place = tmp_path / "d"
    prepare(place)
    done = typed([command, "--data", "d"], tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def touch(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
