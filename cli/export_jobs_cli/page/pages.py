"""Builds each page from what is kept of the stack: its template, and what it shows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from export_jobs.aws.clock import now_ms
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import RequestRecord

from export_jobs_cli import job_show, jobs
from export_jobs_cli.baselines import stored
from export_jobs_cli.errors import UserError
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.line import WaitingLine
from export_jobs_cli.page.dataset import BaselineOf, dataset_page
from export_jobs_cli.page.expectations import expectations_of
from export_jobs_cli.page.job import shown_job
from export_jobs_cli.page.kept import FixedSandbox, KeptSandbox, Reading
from export_jobs_cli.page.overview import DAYS, overview_of
from export_jobs_cli.page.requests import MAX_SHOWN, SandboxRequests, requests_of
from export_jobs_cli.page.status import StatusReader
from export_jobs_cli.stack import DeployedSystem

MOST_LISTED: Final = 2_000
"""The most jobs that `job list` shows."""
MAX_OLDER_JOBS: Final = 100
"""Jobs that are kept because somebody has looked at them."""


@dataclass(frozen=True)
class Page:
    """A page, ready to be rendered. `commands` give the same in a terminal."""

    template: str
    title: str
    read_at: int
    commands: Sequence[str]
    values: Mapping[str, Any] = field(default_factory=dict)


class NotThere(UserError):
    """What an address names does not exist."""


class Pages:
    """The pages of a stack, or of one of its sandboxes. Thread-safe.

    Each may raise StoreUnavailable, or an error of AWS.
    """

    def __init__(self, system: DeployedSystem, *, sandbox: str | None = None) -> None:
        """Raises UserError if the sandbox is not watched."""
        self.system = system
        self.sandboxes = system.sandboxes(sandbox)
        self._only = sandbox
        self._kept: dict[str, KeptSandbox | FixedSandbox] = {
            name: KeptSandbox(system, name) for name in self.sandboxes
        }
        self._older_jobs: dict[tuple[str, str], KnownJob] = {}
        self._status = StatusReader(system, self.sandboxes)
        for service in ("dynamodb", "sqs"):  # boto3 makes no clients in several threads at once
            system.client(service)

    def readings(self) -> list[Reading]:
        return [kept.read() for kept in self._kept.values()]

    def as_of_now(self) -> Pages:
        """The same pages, but all of them show what is read now."""
        fixed = copy.copy(self)
        fixed._kept = {name: FixedSandbox(kept.read()) for name, kept in self._kept.items()}  # noqa: SLF001
        return fixed

    def overview(self) -> Page:
        now, readings = now_ms(), self.readings()
        overview = overview_of(readings, self._lines(readings), self._status.read(), now=now)
        count = len(overview.attention)
        return Page(
            "overview.html",
            f"({count}) Exports" if count else "Exports",
            _read_at(readings),
            [
                self.system.command(
                    f"job list --since {DAYS}d --limit {MOST_LISTED}", sandbox=self._only
                ),
                self.system.command("expectation list", sandbox=self._only),
                self.system.command("request list", sandbox=self._only),
            ],
            {"overview": overview, "most_jobs": jobs.MAX_READ},
        )

    def requests(self) -> Page:
        readings = self.readings()
        lines = self._lines(readings)
        return Page(
            "requests.html",
            "Requests",
            _read_at(readings),
            [
                self.system.command("request list --rejected", sandbox=self._only),
                self.system.command("dlq list"),
            ],
            {
                "requests": [self._requests_of(line) for line in lines.values()],
                "status": self._status.read(),
            },
        )

    def _requests_of(self, line: WaitingLine) -> SandboxRequests:
        """With those that were rejected, or why they are unknown."""
        try:
            found = self.system.store.rejected_requests(line.sandbox, limit=MAX_SHOWN + 1)
            return requests_of(line, list(found))
        except StoreUnavailable as error:  # an older stack has no index of them
            problem = f"Rejected requests can't be read: {error}. Does the stack have the same version as this command?"
            return requests_of(line, [], problem=problem)

    def expectations(self) -> Page:
        readings = self.readings()
        return Page(
            "expectations.html",
            "Expectations",
            _read_at(readings),
            [self.system.command("expectation list", sandbox=self._only)],
            {"sandboxes": expectations_of(readings, now=now_ms())},
        )

    def job(
        self,
        sandbox: str,
        job_id: str,
        *,
        request_of: Callable[[str], RequestRecord | None] | None = None,
        baseline_of: BaselineOf | None = None,
    ) -> Page:
        """Raises NotThere; the other arguments save reads."""
        reading = self._reading(sandbox)
        known = reading.job(job_id) or self._older_job(sandbox, job_id)
        record, key = known.record, known.request_key
        request, baseline = None, None
        problems: list[str] = []
        with _noted(problems, "its request"):
            request = (request_of or self._request)(key) if key else None
        with _noted(problems, "what is usual"):
            if record and record.kind:
                baseline = (baseline_of or self.baselines())(sandbox, record.kind)
        details = job_show.details_of(known, request, baseline, self.system)
        return Page(
            "job.html",
            f"Job {job_id}",
            reading.read_at,
            [self.system.command("job show", job_id, sandbox=sandbox)],
            {"page": shown_job(details, baseline), "problems": problems},
        )

    def _older_job(self, sandbox: str, job_id: str) -> KnownJob:
        """One that is not kept with the others; it is looked up once. Raises NotThere."""
        known = self._older_jobs.get((sandbox, job_id))
        if known is None:
            try:
                known = jobs.look_up(self.system, job_id, sandbox=sandbox, live=False)
            except UserError as error:
                raise NotThere(str(error)) from None
            if len(self._older_jobs) >= MAX_OLDER_JOBS:
                self._older_jobs.clear()
            self._older_jobs[sandbox, job_id] = known
        return known

    def dataset(
        self,
        sandbox: str,
        dataset_id: str,
        *,
        baseline_of: BaselineOf | None = None,
    ) -> Page:
        """Raises NotThere if the sandbox has nothing of this dataset."""
        reading = self._reading(sandbox)
        found = dataset_page(reading, dataset_id, baseline_of or self.baselines(), now=now_ms())
        if found is None:
            raise NotThere(
                f"sandbox {sandbox} has neither a job of the last weeks nor an expectation of "
                f"dataset {dataset_id}"
            )
        return Page(
            "dataset.html",
            f"Dataset {found.name or dataset_id}",
            reading.read_at,
            [
                self.system.command(
                    f"job list --since {2 * DAYS}d --limit {MOST_LISTED} --dataset",
                    dataset_id,
                    sandbox=sandbox,
                ),
                self.system.command("baseline list", sandbox=sandbox),
            ],
            {"page": found},
        )

    def baselines(self) -> BaselineOf:
        """Returns the baseline of a sandbox's kind, which is read once."""
        return cache(lambda sandbox, kind: stored.of_kind(self.system, sandbox, kind))

    def _request(self, key: str) -> RequestRecord | None:
        return self.system.store.requests([key]).get(key)

    def _reading(self, sandbox: str) -> Reading:
        if sandbox not in self._kept:
            shown = ", ".join(self._kept)
            raise NotThere(f"sandbox {sandbox!r} is not on this page, which shows: {shown}")
        return self._kept[sandbox].read()

    def _lines(self, readings: Sequence[Reading]) -> dict[str, WaitingLine]:
        return {one.sandbox: WaitingLine(self.system, one.sandbox, one.known) for one in readings}


@contextmanager
def _noted(problems: list[str], what: str) -> Iterator[None]:
    """Notes what the viewer may not read, so that the rest is shown."""
    try:
        yield
    except StoreUnavailable as error:
        problems.append(f"Not shown: {what}. {error}")


def _read_at(readings: Sequence[Reading]) -> int:
    return min(reading.read_at for reading in readings)
