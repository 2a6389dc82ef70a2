"""Faults on demand: each kind does what its name states, and nothing else."""

from __future__ import annotations

import errno
import socket
import threading
import time
from typing import Any, get_args

import pytest
import requests
from export_jobs_local.isolation import http_session
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.faults import Fault, FaultKind, FaultPlan
from export_jobs_local.segmentation.server import SegmentationService

from .conftest import BODY, Caller

BROKEN = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)


def plan(caller: Caller, **fault: Any) -> requests.Response:
    return requests.post(f"{caller.service.root_url}/_control/faults", json=fault, timeout=10)


def created(caller: Caller) -> int:
    return len(caller.service.control.jobs("prod"))


def wait_for_status(caller: Caller, job: int, status: str) -> None:
    until = time.monotonic() + 10
    while caller.call("GET", f"/{job}").json()["status"] != status:
        assert time.monotonic() < until, f"job {job} is not {status}"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("kind", "takes_effect"), [("reset_before", False), ("reset_after", True), ("truncated", True)]
)
def test_an_answer_is_lost_before_or_after_the_effect(
    caller: Caller, kind: str, *, takes_effect: bool
) -> None:
    """The connection breaks at once, with or without a job; the next call is answered."""
    # A service that waited would make the client time out, and that is another error.
    assert plan(caller, call="create", kind=kind, seconds=20).status_code == 201
    with pytest.raises(BROKEN):
        caller.call("POST", json=BODY)
    assert created(caller) == int(takes_effect)
    assert caller.call("POST", json=BODY).status_code == 200


@pytest.mark.parametrize(
    ("kind", "takes_effect"), [("timeout_before", False), ("timeout_after", True)]
)
def test_an_answer_does_not_come_before_the_connection_breaks(
    caller: Caller, kind: str, *, takes_effect: bool
) -> None:
    """The client waits for the planned time, with or without a job; the next call is answered."""
    plan(caller, call="create", kind=kind, seconds=0.3)
    headers, began = caller.headers(), time.monotonic()
    with pytest.raises(BROKEN):
        requests.post(
            f"{caller.service.api_url}/export/jobs", json=BODY, headers=headers, timeout=10
        )
    assert time.monotonic() - began >= 0.3
    assert created(caller) == int(takes_effect)
    assert caller.call("POST", json=BODY).status_code == 200


def is_refused(caller: Caller) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", caller.service.port)) == errno.ECONNREFUSED


def test_connections_are_refused_for_a_while(caller: Caller) -> None:
    """The socket refuses them once the plan is answered; later the same port answers again."""
    with http_session() as kept:
        kept.get(f"{caller.service.root_url}/_control/faults", timeout=10)
        assert plan(caller, call="create", kind="refuse", seconds=0.6).status_code == 201
        began = time.monotonic()
        with pytest.raises(requests.ConnectionError, match="refused"):
            kept.get(f"{caller.service.root_url}/_control/faults", timeout=10)
    assert is_refused(caller)
    while is_refused(caller) and time.monotonic() < began + 10:
        time.sleep(0.02)
    assert 0.4 < time.monotonic() - began < 3
    assert caller.call("POST", json=BODY).status_code == 200
    assert caller.service.control.pending_faults() == []


def test_connections_are_refused_after_so_many_calls(caller: Caller) -> None:
    """Earlier calls are answered, and so are those in progress when it begins."""
    plan(caller, call="get", kind="refuse", after=2, seconds=0.3)
    slow = threading.Thread(target=lambda: answers.append(caller.call("GET", "?limit=1")))
    answers: list[requests.Response] = []
    plan(caller, call="list", kind="slow_drip", seconds=0.2)
    headers = caller.headers()
    slow.start()
    time.sleep(0.05)
    assert caller.call("GET", "/1", headers=headers).status_code == 404
    assert not is_refused(caller)
    url = f"{caller.service.api_url}/export/jobs/1"
    assert requests.get(url, headers=headers, timeout=10).status_code == 404
    assert is_refused(caller)
    slow.join(timeout=10)
    assert [answer.status_code for answer in answers] == [200]


def test_a_service_that_refuses_can_be_stopped() -> None:
    """At once, and its port is free."""
    with SegmentationService(ServiceConfig(manual=True)) as service:
        service.control.plan_fault("list", "refuse", seconds=3600)
        assert is_refused(Caller(service))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with SegmentationService(ServiceConfig(manual=True, port=service.port)) as again:
        assert Caller(again).token().status_code == 200


@pytest.mark.parametrize("status", [401, 429, 500, 503])
def test_an_error_keeps_the_call_from_its_effect(caller: Caller, status: int) -> None:
    """With `Retry-After` as planned."""
    plan(caller, call="create", kind="http", status=status, retryAfter="17")
    answer = caller.call("POST", json=BODY)
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "17")
    assert created(caller) == 0


def test_an_answer_that_is_not_json(caller: Caller) -> None:
    """After the effect."""
    plan(caller, call="create", kind="not_json")
    answer = caller.call("POST", json=BODY)
    assert answer.status_code == 200
    assert answer.text.startswith("<html>")
    assert created(caller) == 1


def test_an_answer_that_drips(caller: Caller) -> None:
    """It arrives complete in the end, and not before the planned time."""
    job = caller.call("POST", json=BODY).json()
    plan(caller, call="get", kind="slow_drip", seconds=0.3)
    url = f"{caller.service.api_url}/export/jobs/{job['id']}"
    headers, began = caller.headers(), time.monotonic()
    assert requests.get(url, headers=headers, timeout=10).json() == job
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(("kind", "times"), [("duplicate_record", 2), ("omit_job", 0)])
def test_a_listing_that_repeats_or_misses_a_job(caller: Caller, kind: str, times: int) -> None:
    """Once; the next listing is correct."""
    job = caller.call("POST", json=BODY).json()["id"]
    plan(caller, call="list", kind=kind, jobId=job)
    for expected in (times, 1):
        records = caller.call("GET", "?limit=5").json()["records"]
        assert [record["id"] for record in records] == [job] * expected


def test_a_listing_that_lags(caller: Caller) -> None:
    """It shows the job as it was before its last change, which the control made."""
    job = caller.call("POST", json=BODY).json()["id"]
    caller.service.control.set_status(job, "FAILED")
    plan(caller, call="list", kind="stale_job", jobId=job)
    shown = [caller.call("GET", "?limit=5").json()["records"][0]["status"] for _ in range(2)]
    assert shown == ["NEW", "FAILED"]


@pytest.mark.parametrize(
    ("run_s", "before", "after"), [(0, "PROCESSING", "SUCCEEDED"), (60, "CANCELLING", "CANCELLED")]
)
def test_a_listing_that_lags_behind_the_service(run_s: float, before: str, after: str) -> None:
    """The same for a change that no control made: a job that ran, or was cancelled, to its end."""
    with SegmentationService(ServiceConfig(pace_s=0, run_s=run_s)) as service:
        caller = Caller(service)
        job = caller.call("POST", json=BODY).json()["id"]
        if after == "CANCELLED":
            wait_for_status(caller, job, "PROCESSING")
            assert caller.call("DELETE", f"/{job}").status_code == 200
        wait_for_status(caller, job, after)
        plan(caller, call="list", kind="stale_job", jobId=job)
        shown = [caller.call("GET", "?limit=5").json()["records"][0]["status"] for _ in range(2)]
    assert shown == [before, after]


def test_a_new_job_that_appears_late(caller: Caller) -> None:
    """It is found by its id at once, but listed only later."""
    plan(caller, call="create", kind="late_job", seconds=3600)
    job = caller.call("POST", json=BODY).json()["id"]
    assert caller.call("GET", "?limit=5").json()["records"] == []
    assert caller.call("GET", f"/{job}").status_code == 200


def test_a_job_deleted_behind_one_s_back(caller: Caller) -> None:
    """Gone from the listing, and 404 by id."""
    job = caller.call("POST", json=BODY).json()["id"]
    plan(caller, call="list", kind="delete_job", jobId=job)
    assert caller.call("GET", "?limit=5").json()["records"] == []
    assert caller.call("GET", f"/{job}").status_code == 404


def test_every_kind_has_its_test() -> None:
    """A new kind of fault needs a test here."""
    text = __file__ and open(__file__).read()  # noqa: PTH123, SIM115
    assert [kind for kind in get_args(FaultKind) if f'"{kind}"' not in text] == []


def test_faults_are_planned_by_call_and_count(caller: Caller) -> None:
    """The second and third get calls are affected, and no other call."""
    job = caller.call("POST", json=BODY).json()["id"]
    plan(caller, call="get", kind="http", status=500, after=1, times=2)
    got = [caller.call("GET", f"/{job}").status_code for _ in range(5)]
    assert got == [200, 500, 500, 200, 200]
    assert caller.call("GET", "?limit=1").status_code == 200


def test_chance_is_begun_anew_by_the_control(caller: Caller) -> None:
    """Setting the same seed again repeats a run against the service."""

    def struck() -> list[int]:
        url = f"{caller.service.root_url}/_control"
        requests.delete(f"{url}/faults", timeout=10)
        assert requests.post(f"{url}/settings", json={"seed": 7}, timeout=10).status_code == 204
        plan(caller, call="token", kind="http", times=0, probability=0.5)
        return [caller.token().status_code for _ in range(30)]

    assert struck() == struck()


def test_chance_can_be_repeated() -> None:
    """The same seed strikes the same calls; another does not."""

    def struck(seed: int) -> list[bool]:
        faults = FaultPlan(seed)
        faults.plan(Fault(call="list", kind="http", times=0, probability=0.3))
        return [faults.strike("list") is not None for _ in range(200)]

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert 30 < sum(struck(1)) < 90


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"call": "list", "kind": "explode"},
        {"call": "lsit", "kind": "http"},
        {"call": "list", "kind": "http", "status": 200},
        {"call": "list", "kind": "http", "probability": 2},
        {"call": "list", "kind": "http", "stauts": 500},
        {"call": "list", "kind": "refuse", "times": 2},
        {"call": "list", "kind": "refuse", "probability": 0.5},
        {"call": "list", "kind": "refuse", "seconds": 3601},
        {"call": "list", "kind": "http", "retryAfter": "5\r\nX: y"},
        {"call": "list", "kind": "http", "retryAfter": "fünf"},
        {"call": "list", "kind": "http", "retryAfter": ""},
        {"call": "list", "kind": "delete_job", "jobId": 10**30},
    ],
)
def test_a_bad_plan_is_refused(caller: Caller, fault: dict[str, Any]) -> None:
    """422, naming the field; nothing is planned."""
    answer = plan(caller, **fault)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"
    assert caller.service.control.pending_faults() == []


def test_the_control_is_no_part_of_the_api(caller: Caller) -> None:
    """Its calls have a path of their own and need no token."""
    root = caller.service.root_url
    for path in ("journal", "calls", "faults"):
        assert requests.get(f"{root}/_control/{path}", timeout=10).status_code == 200
        assert caller.call("GET", f"/_control/{path}").status_code == 404
    assert requests.delete(f"{root}/_control/faults", timeout=10).status_code == 204
    assert (
        requests.post(f"{root}/_control/settings", json={"echo": 1}, timeout=10).status_code == 422
    )


def test_the_journal_is_the_truth_about_every_job() -> None:
    """Every status that a job ever had, in order, even of a job that was deleted."""
    with SegmentationService(ServiceConfig(manual=True)) as service:
        caller = Caller(service)
        root = f"{service.root_url}/_control"
        job = requests.post(f"{root}/jobs?sandbox=dev", json={"status": "NEW"}, timeout=10).json()[
            "id"
        ]
        requests.patch(f"{root}/jobs/{job}", json={"status": "FAILED"}, timeout=10)
        requests.delete(f"{root}/jobs/{job}", timeout=10)
        journal = requests.get(f"{root}/journal", timeout=10).json()
        assert [entry["status"] for entry in journal] == ["NEW", "FAILED", "DELETED"]
        assert requests.patch(f"{root}/jobs/{job}", json={}, timeout=10).status_code == 404
        assert (
            caller.call("GET", "?limit=1", headers={"x-sandbox-name": "dev"}).json()["records"]
            == []
        )
