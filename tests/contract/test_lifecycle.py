"""How cancels, scripts and the end of the service affect a job, whenever they come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.counting import CountingEngine
from export_jobs_local.segmentation.engine import ExportCancelled, ExportResult
from export_jobs_local.segmentation.server import SegmentationService

from .conftest import BODY, Caller


class Held(CountingEngine):
    """Exports until it is released, or cancelled."""

    def __init__(self) -> None:
        super().__init__(datasets=frozenset({BODY["destination"]["datasetId"]}))
        self.begun = threading.Semaphore(0)
        self.go_on = threading.Event()
        self.heeds_cancels = True
        self.discarded: list[str] = []

    def run(self, request: Any, batch_ids: Any, cancelled: threading.Event) -> ExportResult:
        self.begun.release()
        while not self.go_on.wait(0.01):
            if cancelled.is_set() and self.heeds_cancels:
                raise ExportCancelled
        return super().run(request, batch_ids, threading.Event())

    def discard(self, request: Any, batch_ids: Any) -> None:
        self.discarded += batch_ids


@pytest.fixture
def engine() -> Held:
    return Held()


@pytest.fixture
def caller(engine: Held) -> Iterator[Caller]:
    config = ServiceConfig(pace_s=0, run_s=0, max_running=1, engine=lambda _: engine)
    with SegmentationService(config) as service:
        yield Caller(service)
        engine.go_on.set()


def create(caller: Caller, body: Any = BODY) -> int:
    return int(caller.call("POST", json=body).json()["id"])


def job(caller: Caller, number: int) -> dict[str, Any]:
    found: dict[str, Any] = caller.call("GET", f"/{number}").json()
    return found


def statuses(caller: Caller, number: int) -> list[str]:
    """Every status that a job has had, in order."""
    return [e.status for e in caller.service.control.journal() if e.job == number]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_job_that_waits_for_its_turn_is_cancelled_at_once(caller: Caller, engine: Held) -> None:
    """Even if no worker is free; nothing is written for it."""
    create(caller)
    assert engine.begun.acquire(timeout=10)
    waiting = create(caller)
    assert caller.call("DELETE", f"/{waiting}").status_code == 200
    assert job(caller, waiting)["status"] == "CANCELLED"
    assert statuses(caller, waiting) == ["NEW", "CANCELLING", "CANCELLED"]
    assert engine.discarded == [job(caller, waiting)["destination"]["batchId"]]
    assert "endTimeInMs" in job(caller, waiting)["metrics"]["totalTime"]
    engine.go_on.set()
    after = create(caller)
    wait_for(lambda: job(caller, after)["status"] == "SUCCEEDED")


def test_a_job_cancelled_while_new_does_not_fail() -> None:
    """Its dataset does not exist, but that no longer matters."""
    engine = Held()
    engine.go_on.set()
    config = ServiceConfig(pace_s=30, engine=lambda _: engine)
    with SegmentationService(config) as service:
        caller = Caller(service)
        number = create(caller, {**BODY, "destination": {"datasetId": "nowhere"}})
        caller.call("DELETE", f"/{number}")
        wait_for(lambda: job(caller, number)["status"] not in {"NEW", "CANCELLING"})
        assert statuses(caller, number) == ["NEW", "CANCELLING", "CANCELLED"]
        assert job(caller, number)["errors"] == []


def test_a_failure_that_a_cancel_overtakes_is_a_cancel(caller: Caller, engine: Held) -> None:
    """The engine finds its error after the job was marked for cancelling."""
    engine.heeds_cancels = False
    number = create(caller, {**BODY, "destination": {"datasetId": "nowhere"}})
    assert engine.begun.acquire(timeout=10)
    caller.call("DELETE", f"/{number}")
    engine.go_on.set()
    wait_for(lambda: job(caller, number)["status"] != "CANCELLING")
    assert statuses(caller, number) == ["NEW", "PROCESSING", "CANCELLING", "CANCELLED"]


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("status", ["FAILED", "SUCCEEDED", "CANCELLED"])
def test_a_job_that_a_script_has_ended_stays_so(
    caller: Caller, engine: Held, status: str, *, heeds: bool
) -> None:
    """Its run is stopped and its output removed; a run that ignores this changes nothing."""
    engine.heeds_cancels = heeds
    number = create(caller)
    assert engine.begun.acquire(timeout=10)
    url = f"{caller.service.root_url}/_control/jobs/{number}"
    assert requests.patch(url, json={"status": status}, timeout=10).status_code == 200
    if not heeds:
        engine.go_on.set()
    wait_for(lambda: bool(engine.discarded))
    assert statuses(caller, number) == ["NEW", "PROCESSING", status]


def test_the_run_of_a_job_that_was_removed_is_stopped(caller: Caller, engine: Held) -> None:
    """It frees capacity for other jobs."""
    number = create(caller)
    assert engine.begun.acquire(timeout=10)
    caller.service.control.delete_job(number)
    create(caller)
    assert engine.begun.acquire(timeout=10)
    assert statuses(caller, number)[-1] == "DELETED"


def test_a_restart_takes_up_what_was_left_open(tmp_path: Path) -> None:
    """Real jobs start again, or are cancelled if marked for it; scripted ones do not change."""
    config = ServiceConfig(data_dir=tmp_path, manual=True)
    with SegmentationService(config) as service:
        caller = Caller(service)
        to_run, to_cancel = create(caller), create(caller)
        caller.call("DELETE", f"/{to_cancel}")
        scripted = service.control.create_job("prod").id
    moving = replace(config, manual=False, pace_s=0, run_s=0)
    with SegmentationService(moving) as service:
        caller = Caller(service)
        wait_for(lambda: job(caller, to_run)["status"] == "SUCCEEDED")
        assert job(caller, to_cancel)["status"] == "CANCELLED"
        assert job(caller, scripted)["status"] == "NEW"


def test_organisations_are_kept_apart() -> None:
    """A job of one can't be listed, found or cancelled by another, whatever the sandbox."""
    config = ServiceConfig(manual=True, other_orgs=("second@AdobeOrg",))
    with SegmentationService(config) as service:
        caller = Caller(service)
        second: dict[str, str | None] = {"x-gw-ims-org-id": "second@AdobeOrg"}
        first_s = create(caller)
        second_s = caller.call("POST", json=BODY, headers=second).json()
        assert second_s["imsOrgId"] == "second@AdobeOrg"
        for headers, own, other in (
            (second, second_s["id"], first_s),
            ({}, first_s, second_s["id"]),
        ):
            page = caller.call("GET", "?limit=5", headers=headers).json()
            assert [record["id"] for record in page["records"]] == [own]
            for method in ("GET", "DELETE"):
                assert caller.call(method, f"/{other}", headers=headers).status_code == 404
        unknown: dict[str, str | None] = {"x-gw-ims-org-id": "third@AdobeOrg"}
        assert caller.call("GET", "?limit=5", headers=unknown).json()["error_code"] == "403025"
