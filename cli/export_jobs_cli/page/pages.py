"""Builds each page from what is kept of the stack: its template, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from export_jobs.aws.clock import now_ms
from export_jobs.events.wording import command_line
from export_jobs.model.baselines import Baseline
from export_jobs.model.records import RequestRecord
from export_jobs_local.project import LOCAL_STACK

from export_jobs_cli import job_show, jobs
from export_jobs_cli.baselines import stored
from export_jobs_cli.errors import UserError
from export_jobs_cli.line import Line
from export_jobs_cli.page.dataset import dataset_page
from export_jobs_cli.page.expectations import expectations_of
from export_jobs_cli.page.job import job_page
from export_jobs_cli.page.kept import KeptSandbox, Reading
from export_jobs_cli.page.overview import DAYS, overview_of
from export_jobs_cli.page.requests import MAX_SHOWN, requests_of
from export_jobs_cli.page.status import StatusReader
from export_jobs_cli.stack import DeployedSystem

_RequestsOf = Callable[[str], RequestRecord | None]


@dataclass(frozen=True)
class Page:
    """A page, ready to be rendered. `commands` give the same in a terminal."""

    template: str
    title: str
    read_at: int
    commands: Sequence[str]
    values: Mapping[str, Any] = field(default_factory=dict)


class Pages:
    """The pages of a stack, or of some of its sandboxes. Thread-safe.

    Each may raise StoreUnavailable, or an error of AWS.
    """

    def __init__(self, system: DeployedSystem, *, sandbox: str | None = None) -> None:
        """Raises UserError if the sandbox is not watched."""
        self.system = system
        self.sandboxes = system.sandboxes(sandbox)
        self._kept = {name: KeptSandbox(system, name) for name in self.sandboxes}
        self._status = StatusReader(system, self.sandboxes)
        is_local = system.name == LOCAL_STACK and system.is_on_this_machine
        self._stack = None if is_local else system.name
        for service in ("dynamodb", "sqs"):  # boto3 makes no clients in several threads at once
            system.client(service)

    def readings(self) -> list[Reading]:
        return [kept.read() for kept in self._kept.values()]

    def command(self, command: str, *values: str, sandbox: str | None = None) -> str:
        """A command for this stack, quoted for a POSIX shell."""
        return command_line(command, *values, sandbox=sandbox, stack=self._stack)

    def overview(self) -> Page:
        now, readings = now_ms(), self.readings()
        overview = overview_of(readings, self._lines(readings), self._status.read(), now=now)
        count = len(overview.attention)
        return Page(
            "overview.html",
            f"({count}) Exports" if count else "Exports",
            _read_at(readings),
            [
                self.command(f"job list --since {DAYS}d"),
                self.command("expectation list"),
                self.command("request list"),
            ],
            {"overview": overview, "most_jobs": jobs.MAX_READ},
        )

    def requests(self) -> Page:
        readings = self.readings()
        rejected = {
            name: list(self.system.store.rejected_requests(name, limit=MAX_SHOWN))
            for name in self.sandboxes
        }
        return Page(
            "requests.html",
            "Requests",
            _read_at(readings),
            [self.command("request list --rejected"), self.command("dlq list")],
            {
                "requests": requests_of(self._lines(readings), rejected),
                "status": self._status.read(),
            },
        )

    def expectations(self) -> Page:
        readings = self.readings()
        return Page(
            "expectations.html",
            "Expectations",
            _read_at(readings),
            [self.command("expectation list")],
            {"sandboxes": expectations_of(readings, now=now_ms())},
        )

    def job(
        self,
        sandbox: str,
        job_id: str,
        *,
        request_of: _RequestsOf | None = None,
        baseline_of: Callable[[str, str], Baseline | None] | None = None,
    ) -> Page:
        """Raises UserError if there is no such job; the other arguments save reads."""
        reading = self._reading(sandbox)
        known = reading.job(job_id)
        if known is None:  # older than what is kept
            known = jobs.look_up(self.system, job_id, sandbox=sandbox, live=False)
        request_of = request_of or self._request
        baseline_of = baseline_of or self.baselines()
        record, key = known.record, known.request_key
        baseline = baseline_of(sandbox, record.kind) if record and record.kind else None
        request = request_of(key) if key else None
        details = job_show.details_of(known, request, baseline, self.system)
        return Page(
            "job.html",
            f"Job {job_id}",
            reading.read_at,
            [self.command("job show", job_id, sandbox=sandbox)],
            {"page": job_page(details, baseline)},
        )

    def dataset(
        self,
        sandbox: str,
        dataset_id: str,
        *,
        baseline_of: Callable[[str, str], Baseline | None] | None = None,
    ) -> Page:
        """Raises UserError if the sandbox has nothing of this dataset."""
        reading = self._reading(sandbox)
        found = dataset_page(reading, dataset_id, baseline_of or self.baselines(), now=now_ms())
        if found is None:
            raise UserError(
                f"sandbox {sandbox} has neither a job of the last weeks nor an expectation of "
                f"dataset {dataset_id}"
            )
        return Page(
            "dataset.html",
            f"Dataset {found.name or dataset_id}",
            reading.read_at,
            [
                self.command(
                    f"job list --since {DAYS * 2}d --dataset", dataset_id, sandbox=sandbox
                ),
                self.command("baseline list", sandbox=sandbox),
            ],
            {"page": found},
        )

    def baselines(self) -> Callable[[str, str], Baseline | None]:
        """Returns the baseline of a sandbox's kind, which is read once."""
        return cache(lambda sandbox, kind: stored.of_kind(self.system, sandbox, kind))

    def _request(self, key: str) -> RequestRecord | None:
        return self.system.store.requests([key]).get(key)

    def _reading(self, sandbox: str) -> Reading:
        (name,) = self.system.sandboxes(sandbox)
        if name not in self._kept:
            raise UserError(f"sandbox {sandbox!r} is not on this page")
        return self._kept[name].read()

    def _lines(self, readings: Sequence[Reading]) -> dict[str, Line]:
        return {one.sandbox: Line(self.system, one.sandbox, one.known) for one in readings}


def _read_at(readings: Sequence[Reading]) -> int:
    return min(reading.read_at for reading in readings)
