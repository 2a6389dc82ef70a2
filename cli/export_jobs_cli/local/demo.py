"""`demo`: prints the requests sent, the events as they arrive, and the reconciliation."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export_jobs.contract.times import rfc3339
from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.directory import DEFAULT, NotTheDemos, begin_anew
from export_jobs_local.demo.engine import DemoEngine
from export_jobs_local.demo.reconcile import Reconciliation
from export_jobs_local.demo.requests import DemoRequest, RequestsUnusable, read_requests
from export_jobs_local.demo.run import Demo
from export_jobs_local.exporting.catalog import DataBroken
from export_jobs_local.project import REQUESTS
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from rich.table import Table

from export_jobs_cli import output
from export_jobs_cli.directories import writable
from export_jobs_cli.errors import UserError
from export_jobs_cli.event_list import summary
from export_jobs_cli.page import snapshot
from export_jobs_cli.page.serve import pages_of
from export_jobs_cli.stack import local_system

SWEEP_EVERY_S = 1.0


@dataclass(frozen=True)
class DemoResult:
    reconciliation: Reconciliation
    directory: Path
    page: Path
    """The snapshot of the web page, made at the end."""
    seconds: float


def run(*, requests: Path | None, data: Path | None, live: bool) -> DemoResult:
    """Runs the demo in a fresh directory. Raises UserError."""
    directory = data or DEFAULT
    try:
        wanted = read_requests(requests or REQUESTS)
        begin_anew(writable(directory))
    except RequestsUnusable as error:
        raise UserError(str(error)) from None
    except NotTheDemos as error:
        raise UserError(
            f"{error}, which the demo would remove; choose another directory with --data"
        ) from None
    try:
        return _run(wanted, directory, live=live)
    except DataBroken as error:
        raise UserError(str(error)) from None


def _run(wanted: Sequence[DemoRequest], directory: Path, *, live: bool) -> DemoResult:
    began = time.monotonic()
    view = _LiveView(began) if live else None
    service = ServiceConfig(
        data_dir=directory,
        pace_s=1.0,
        run_s=3.0,
        # Otherwise a job whose answer is lost is found only by content, minutes later.
        echo_request_id=True,
        engine=lambda place: DemoEngine(place, wanted),
    )
    config = SystemConfig(
        logs=directory / "logs", service=service, sweep_every_s=SWEEP_EVERY_S, triggers=False
    )
    if view:
        view.show("starting the Segmentation service, AWS and the stack")
    with LocalSystem(config) as system:
        if view:
            view.show(f"started; sending {len(wanted)} requests through SQS")
        system.subscribers.follow(view.arrived if view else lambda _: None)
        demo = Demo(system, wanted, on_sent=view.sent if view else lambda _: None)
        reconciliation = demo.run()
        pages = pages_of(local_system({**system.description(), "dataDirectory": str(directory)}))
        page = snapshot.write(pages, directory / "page").index
    return DemoResult(reconciliation, directory, page, time.monotonic() - began)


def as_json(result: DemoResult) -> dict[str, Any]:
    found = result.reconciliation
    return {
        "good": found.good,
        "seconds": round(result.seconds, 1),
        "directory": str(result.directory),
        "page": str(result.page),
        "jobs": found.jobs,
        "delivered": found.delivered,
        "lost": found.lost,
        "duplicates": found.duplicates,
        "unexplained": found.unexplained,
        "left": found.left,
        "requests": [{**asdict(row), "as_expected": row.as_expected} for row in found.requests],
        "expectations": [
            {**asdict(row), "as_expected": row.as_expected} for row in found.expectations
        ],
    }


def show(result: DemoResult) -> None:
    """Prints the reconciliation in 80 columns."""
    console = output.console()
    found = result.reconciliation
    table = output.table(
        ("request", "end", "job", "status", "profiles", ""),
        [
            (
                output.plain(row.name),
                output.plain(row.end or "-"),
                output.plain(row.job_id or ""),
                output.styled(row.job_status),
                " ".join(["" if row.profiles is None else f"{row.profiles:,}", *row.anomalies]),
                "ok" if row.as_expected else "[bold red]!![/]",
            )
            for row in found.requests
        ],
        right=("profiles",),
        shrinking=("request",),
        title="Result of each request",
    )
    console.print()
    output.print_table(console, table)
    console.print()
    output.print_table(console, _expectations_table(found))
    console.print()
    counts = ", ".join(f"{count} on the {sink}" for sink, count in sorted(found.delivered.items()))
    console.print(f"{found.jobs} jobs at the service; events delivered: {counts}")
    for name, lines in (
        ("lost", found.lost),
        ("duplicates", found.duplicates),
        ("unexplained", found.unexplained),
        ("left over", found.left),
    ):
        console.print(f"  {name:<12} {len(lines)}", style="bold red" if lines else "green")
        for line in lines:
            console.print(f"    {output.plain(line)}")
    for row in found.expectations:
        for problem in row.problems:
            console.print(f"    {output.plain(row.name)}: {output.plain(problem)}")
    page = output.plain(str(result.page))
    exports = output.plain(str(result.directory / "exports"))
    logs = output.plain(str(result.directory / "logs"))
    console.print(f"\nPage:    {page}", soft_wrap=True)
    console.print(f"Exports: {exports}/<datasetId>/<batchId>/*.parquet", soft_wrap=True)
    console.print(f"Logs:    {logs}   ({result.seconds:.0f} s)", soft_wrap=True)


def _expectations_table(found: Reconciliation) -> Table:
    return output.table(
        ("expected export", "due", "at its deadline", "made good by job", ""),
        [
            (
                output.plain(row.name),
                f"{rfc3339(row.due)[11:16]} UTC",
                output.plain(row.outcome or "-"),
                output.plain((row.job_id or "") if row.expected != "MET" else ""),
                "ok" if row.as_expected else "[bold red]!![/]",
            )
            for row in found.expectations
        ],
        shrinking=("expected export",),
        title="Result of each expected export",
    )


class _LiveView:
    """Prints each step and event on a line, with the seconds since the start."""

    def __init__(self, began: float) -> None:
        self._console = output.console()
        self._began = began

    def show(self, text: str) -> None:
        self._print(text)

    def sent(self, name: str) -> None:
        self._print(f"[dim]sent [/]  {output.plain(name)}")

    def arrived(self, delivery: Delivery) -> None:
        what = summary(delivery.type, delivery.detail)
        line = output.plain(delivery.subject or "") if delivery.sink == "topic" else what
        self._print(f"[bold]{delivery.sink:<5}[/]  {line}")

    def _print(self, text: str) -> None:
        now = f"[dim]{time.monotonic() - self._began:5.1f} s[/]"
        self._console.print(f"{now} {text}", no_wrap=True, overflow="ellipsis")
