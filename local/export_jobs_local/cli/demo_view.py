"""`demo`, as it is seen: what is sent, the jobs as they change, the events as they arrive, the end."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export_jobs.core.records import ACCEPTED, REJECTED, STATE_CHANGE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.cli.errors import UserError
from export_jobs_local.demo.reconcile import Reconciliation
from export_jobs_local.demo.requests import NoRequests, read_requests
from export_jobs_local.demo.run import Demo
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.project import REQUESTS
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig

SWEEP_EVERY_S = 1.0
_STYLES = {
    "SUCCEEDED": "green",
    "FAILED": "bold red",
    "REJECTED": "bold red",
    "CANCELLED": "yellow",
    "CANCELLING": "yellow",
    "PROCESSING": "cyan",
}


@dataclass(frozen=True)
class DemoResult:
    reconciliation: Reconciliation
    directory: Path
    seconds: float


def run(*, requests: Path | None, data: Path | None, live: bool) -> DemoResult:
    """Runs the demo in a fresh directory. Raises UserError."""
    try:
        wanted = read_requests(requests or REQUESTS)
    except NoRequests as error:
        raise UserError(str(error)) from None
    began = time.monotonic()
    view = _LiveView(began) if live else None
    directory = data or Path(".export-jobs") / "demo"
    _forget_last_run(directory)
    config = SystemConfig(
        logs=directory / "logs",
        service=ServiceConfig(data_dir=directory, pace_s=1.0, run_s=3.0, engine=DuckDbEngine),
        sweep_every_s=SWEEP_EVERY_S,
    )
    if view:
        view.say("starting the Segmentation service, AWS and the stack of template.yaml")
    with LocalSystem(config) as system:
        if view:
            view.say(f"up; sending {len(wanted)} requests through SQS")
        system.subscribers.follow(view.arrived if view else lambda _: None)
        demo = Demo(system, wanted, said=view.sent if view else lambda _: None)
        reconciliation = demo.run()
    return DemoResult(reconciliation, directory, time.monotonic() - began)


def _forget_last_run(directory: Path) -> None:
    """Removes jobs, exports and logs, and keeps the data they were exported from."""
    for folder in ("exports", "logs", "spill"):
        shutil.rmtree(directory / folder, ignore_errors=True)
    for file in directory.glob("jobs.sqlite3*"):
        file.unlink()


def as_json(result: DemoResult) -> dict[str, Any]:
    found = result.reconciliation
    return {
        "good": found.good,
        "seconds": round(result.seconds, 1),
        "directory": str(result.directory),
        "jobs": found.jobs,
        "delivered": found.delivered,
        "lost": found.lost,
        "duplicated": found.duplicated,
        "unexplained": found.unexplained,
        "requests": [{**asdict(row), "as_expected": row.as_expected} for row in found.requests],
    }


def show(result: DemoResult) -> None:
    """The reconciliation, in 80 columns."""
    console = _console()
    found = result.reconciliation
    table = Table(title="What came of each request", box=None, pad_edge=False, title_justify="left")
    for name in ("request", "end", "job", "status"):
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    table.add_column("profiles", justify="right")
    table.add_column("", width=2)
    for row in found.requests:
        table.add_row(
            row.name,
            row.end or "-",
            row.job_id or "",
            _styled(row.job_status),
            "" if row.profiles is None else f"{row.profiles:,}",
            "ok" if row.as_expected else "[bold red]!![/]",
        )
    console.print()
    console.print(table)
    console.print()
    told = ", ".join(f"{count} on the {sink}" for sink, count in sorted(found.delivered.items()))
    console.print(f"{found.jobs} jobs at the service; events delivered: {told}")
    for name, lines in (
        ("lost", found.lost),
        ("said twice", found.duplicated),
        ("unexplained", found.unexplained),
    ):
        console.print(f"  {name:<12} {len(lines)}", style="bold red" if lines else "green")
        for line in lines:
            console.print(f"    {escape(line)}")
    console.print(f"\nExports: {result.directory / 'exports'}/<datasetId>/<batchId>/*.parquet")
    console.print(f"Logs:    {result.directory / 'logs'}   ({result.seconds:.0f} s)")


class _LiveView:
    """Prints a line for whatever happens, with the seconds since the start."""

    def __init__(self, began: float) -> None:
        self._console = _console()
        self._began = began

    def say(self, text: str) -> None:
        self._print(text)

    def sent(self, name: str) -> None:
        self._print(f"[dim]sent [/]  {name}")

    def arrived(self, delivery: Delivery) -> None:
        what = _what(delivery.type, delivery.detail)
        line = escape(delivery.subject or "") if delivery.sink == "topic" else what
        self._print(f"[bold]{delivery.sink:<5}[/]  {line}")

    def _print(self, text: str) -> None:
        now = f"[dim]{time.monotonic() - self._began:5.1f} s[/]"
        self._console.print(f"{now} {text}", no_wrap=True, overflow="ellipsis")


def _what(event_type: str, detail: Mapping[str, Any]) -> str:
    if event_type == STATE_CHANGE:
        before = f"{detail['previousStatus']} -> " if detail["previousStatus"] else ""
        return f"job {detail['jobId']:<4} {before}{_styled(detail['status'])}"
    word = {ACCEPTED: "accepted", REJECTED: "[bold red]REJECTED[/]"}.get(event_type, event_type)
    reason = detail.get("reason")
    job = f"job {detail['jobId']:<4} " if detail.get("jobId") else ""
    return f"{job}{word} {detail.get('requestKey')}" + (f": {escape(reason)}" if reason else "")


def _styled(status: str | None) -> str:
    style = _STYLES.get(status or "")
    return f"[{style}]{status}[/]" if style else status or ""


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=80)
    return console
