"""`job list`: a table of jobs, printed once or refreshed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from export_jobs.events import wording
from export_jobs.events.wording import span
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from export_jobs_cli import output
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.signals import stopped_by_signals

WATCH_S = 5.0
_COLUMNS = ("created UTC", "job", "sandbox", "status", "took", "profiles", "dataset")
_RIGHT = ("took", "profiles")


def show(found: Sequence[KnownJob], *, sandboxes: int) -> None:
    """`sandboxes`: how many the stack watches; with only one, its name is left out."""
    console = output.console()
    if not found:
        console.print("no matching jobs")
        return
    output.print_table(console, _table(found, sandboxes=sandboxes))
    unusual = [job for job in found if job.anomalies]
    if unusual:
        console.print("\nunusual", style="bold")
        output.facts(
            console, [(output.plain(j.id), output.plain("; ".join(j.unusual))) for j in unusual]
        )
    with_errors = [job for job in found if job.errors]
    if with_errors:
        console.print("\nfirst errors", style="bold")
        output.facts(
            console,
            [(output.plain(j.id), output.plain(error_text(j.errors[0]))) for j in with_errors],
        )


def watch(read: Callable[[], Sequence[KnownJob]], *, sandboxes: int) -> None:
    """Refreshes a table or, without a terminal, prints a line per changed job, until Ctrl-C."""
    console = output.console()
    with stopped_by_signals() as stopped:
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while not stopped.is_set():
                    live.update(_refreshed(read(), sandboxes=sandboxes), refresh=True)
                    stopped.wait(WATCH_S)
            return
        shown: dict[tuple[str, str], str | None] = {}
        while not stopped.is_set():
            _print_changes(console, read(), shown)
            stopped.wait(WATCH_S)


def status_of(job: KnownJob) -> str:
    """The outcome of a job that has ended, otherwise its status."""
    return job.outcome if job.is_final else job.status or "NEW"


def error_text(error: dict[str, str | None]) -> str:
    """One of `KnownJob.errors`, as events word it."""
    return wording.error_text(error["message"], error["code"])


def _table(found: Sequence[KnownJob], *, sandboxes: int) -> Table:
    columns, rows = list(_COLUMNS), [_row(job) for job in found]
    if sandboxes == 1:
        for line in (columns, *rows):
            del line[2]
    return output.table(columns, rows, right=_RIGHT, shrinking=("dataset",))


def _refreshed(found: Sequence[KnownJob], *, sandboxes: int) -> RenderableType:
    hint = Text(f"refreshed every {WATCH_S:.0f} s; press Ctrl-C to stop", style="dim")
    return Group(_table(found, sandboxes=sandboxes) if found else Text("no matching jobs"), hint)


def _print_changes(
    console: Console, found: Sequence[KnownJob], shown: dict[tuple[str, str], str | None]
) -> None:
    for job in reversed(found):
        key = (job.sandbox, job.id)
        if shown.get(key) != status_of(job):
            shown[key] = status_of(job)
            console.print("  ".join(cell for cell in _row(job) if cell), soft_wrap=True)


def _row(job: KnownJob) -> list[str]:
    profiles = job.profiles_exported
    return [
        output.moment(job.created_at)[5:16],
        output.plain(job.id),
        output.plain(job.sandbox),
        output.styled(status_of(job)),
        span(job.duration_ms),
        "" if profiles is None else f"{profiles:,}",
        output.plain(job.dataset),
    ]
