"""`request create --wait` on a request that is tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.creator.message import Request
from export_jobs.model.records import JobRecord, RequestRecord
from export_jobs.model.retry import RetryPolicy
from export_jobs_cli import requests
from export_jobs_cli.requests import BAD, GOOD, NOT_ENDED, Ending, Sent, Waiting

KEY = "key"
HASH = "1:ab"
ASKED = Request(KEY, "create", "prod", names_sandbox=True, body_hash=HASH)
SENT = Sent(KEY, "m", "{}", ASKED)
CREATED = RequestRecord(
    KEY, "CREATED", "prod", body_hash=HASH, outcome="CREATED", job_id="1",
    retry=RetryPolicy(1), tries_left=1,
)  # fmt: skip
BETWEEN = replace(
    CREATED, status="WAITING", outcome=None, job_id=None, try_number=2, tries_left=0, retry_at=5
)
AGAIN = replace(BETWEEN, status="CREATED", outcome="CREATED", job_id="2")
OPEN = JobRecord("prod", "1", 1, status="PROCESSING", request_key=KEY, tries_left=1)
FAILED = replace(OPEN, status="FAILED", outcome="FAILED", final=True)
SUCCEEDED = JobRecord(
    "prod", "2", 2, status="SUCCEEDED", outcome="SUCCEEDED", final=True, request_key=KEY
)


class Moments:
    """A system that is one moment further on at each pause."""

    def __init__(
        self, *moments: tuple[RequestRecord, JobRecord], live: str = "", hasty: bool = False
    ) -> None:
        """A `hasty` one is also one further on after each read of the request."""
        self._moments = moments
        self._live = live
        self._hasty = hasty
        self.now = 0
        self.store = self
        self.api = self

    def pause(self, _seconds: float) -> None:
        self.now += 1
        assert self.now < 20, "it is followed for ever"

    def at(self) -> tuple[RequestRecord, JobRecord]:
        return self._moments[min(self.now, len(self._moments) - 1)]

    def requests(self, _keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        record = self.at()[0]
        self.now += self._hasty
        return {KEY: record}

    def jobs(self, _sandbox: str, *, named: str) -> Iterator[JobRecord]:
        return (job for _, job in self._moments[self.now : self.now + 1] if job.job_id == named)

    def job(self, _sandbox: str, job_id: str, _creation_time: int) -> JobRecord | None:
        return self.at()[1] if self.at()[1].job_id == job_id else None

    def get_job(self, _sandbox: str, job_id: str) -> Job:
        """The service shows at once what a sweep records later."""
        status = self._live if job_id == "1" else "SUCCEEDED"
        return Job.model_validate({"id": job_id, "status": status, "creationTime": 1})


@pytest.fixture(autouse=True)
def line_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_state_of", lambda _system, record: record.status)


def followed(
    system: Any, monkeypatch: pytest.MonkeyPatch, **waiting: Any
) -> tuple[Ending, list[str]]:
    reports: list[str] = []
    monkeypatch.setattr(requests.time, "sleep", system.pause)
    ending = requests.wait(system, SENT, Waiting(**waiting), report=reports.append)
    return ending, reports


def test_the_ending_is_that_of_the_last_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed try that is followed by another ends nothing."""
    system = Moments(
        (CREATED, OPEN),
        (BETWEEN, FAILED),
        (BETWEEN, FAILED),
        (AGAIN, SUCCEEDED),
        (AGAIN, SUCCEEDED),
    )
    ending, reports = followed(system, monkeypatch)
    assert (ending.exit_code, ending.job_id, ending.try_number) == (GOOD, "2", 2)
    assert "job 1 FAILED: the request will be retried" in reports
    assert "WAITING" in reports


def test_it_waits_until_a_sweep_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    """With --live, the service shows that the job has failed before that is on record."""
    system = Moments(
        (CREATED, OPEN), (CREATED, OPEN), (BETWEEN, FAILED), (AGAIN, SUCCEEDED), live="FAILED"
    )
    ending, _ = followed(system, monkeypatch, live=True)
    assert (ending.exit_code, ending.job_id) == (GOOD, "2")


def test_a_try_that_is_recorded_between_two_reads_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The job is read before its request, as both are written at once."""
    system = Moments(
        *[(CREATED, OPEN)] * 2, *[(BETWEEN, FAILED)] * 2, (AGAIN, SUCCEEDED), live="FAILED",
        hasty=True,
    )  # fmt: skip
    ending, _ = followed(system, monkeypatch, live=True)
    assert (ending.exit_code, ending.job_id) == (GOOD, "2")


def test_an_end_on_record_may_still_be_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a job that was linked to its request after its end was recorded."""
    undecided = replace(FAILED, retried_on=frozenset({"FAILED"}))
    system = Moments(
        (CREATED, undecided), (CREATED, undecided), (BETWEEN, FAILED), (AGAIN, SUCCEEDED)
    )
    ending, _ = followed(system, monkeypatch)
    assert (ending.exit_code, ending.job_id) == (GOOD, "2")


def test_a_failed_job_without_a_further_try_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep decided so although there were tries left, because of `expiresAt`."""
    system = Moments((CREATED, OPEN), (replace(CREATED, tries_left=0), FAILED), live="FAILED")
    for live in (False, True):
        system.now = 0
        ending, _ = followed(system, monkeypatch, live=live)
        assert (ending.exit_code, ending.job_id, ending.status) == (BAD, "1", "FAILED")


def test_what_is_not_decided_when_time_is_up_has_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code says that the request continues."""
    system = Moments((CREATED, OPEN), live="FAILED")
    ending, _ = followed(system, monkeypatch, live=True, timeout_s=0.01)
    assert ending.exit_code == NOT_ENDED
