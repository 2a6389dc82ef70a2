"""The overview: what needs attention, and a grid of datasets and days."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from export_jobs.events.wording import span
from export_jobs.model.calendar import local_date, zone_named
from export_jobs.model.expectations import ExpectationRecord
from export_jobs.model.limits import DAY_MS

from export_jobs_cli.expectations.shown import state_of
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.line import WaitingLine
from export_jobs_cli.page.attention import Item, attention_of
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.marks import (
    KINDS,
    Mark,
    mark_of_job,
    mark_of_next,
    mark_of_past,
)
from export_jobs_cli.page.status import StackStatus

DAYS: Final = 14
MOST_MARKS: Final = 6
"""Marks in a cell; of more runs a day, those that ended worst are shown, and the others counted."""
_UTC: Final = zone_named("UTC")


@dataclass(frozen=True)
class Cell:
    """A day of a dataset: its marks in the order of time, and how many more there are."""

    marks: Sequence[Mark]
    more: int = 0


@dataclass(frozen=True)
class Row:
    """A dataset's days, the newest first. `unexpected`: it is regular, and nothing expects it."""

    dataset_id: str | None
    name: str
    cells: Sequence[Cell]
    last: KnownJob | None
    unexpected: bool


@dataclass(frozen=True)
class SandboxOverview:
    """A sandbox: how it is, and its datasets by name."""

    name: str
    facts: Sequence[tuple[str, str]]
    rows: Sequence[Row]
    is_complete: bool


@dataclass(frozen=True)
class Overview:
    """What the overview shows; `days` are the columns, the newest first, in UTC."""

    attention: Sequence[Item]
    sandboxes: Sequence[SandboxOverview]
    days: Sequence[date]
    status: StackStatus

    @property
    def legend(self) -> Sequence[str]:
        """The kinds of marks that are in the grid, in the order of `KINDS`."""
        shown = {
            mark.kind
            for sandbox in self.sandboxes
            for row in sandbox.rows
            for cell in row.cells
            for mark in cell.marks
        }
        return [kind for kind in KINDS if kind in shown]


def overview_of(
    readings: Sequence[Reading], lines: Mapping[str, WaitingLine], status: StackStatus, *, now: int
) -> Overview:
    """Builds the overview; `lines` has the waiting requests of each sandbox."""
    today = local_date(now, _UTC)
    days = [today - timedelta(days=n) for n in range(DAYS)]
    return Overview(
        attention_of(readings, lines, status, now=now),
        [
            SandboxOverview(
                reading.sandbox,
                list(_facts(reading, lines[reading.sandbox], status, now=now)),
                list(_rows(reading, days)),
                reading.is_complete,
            )
            for reading in readings
        ],
        days,
        status,
    )


def _facts(
    reading: Reading, line: WaitingLine, status: StackStatus, *, now: int
) -> Iterator[tuple[str, str]]:
    yield "last sweep", status.sweeps_in_words(reading.sandbox, reading.known.state, now=now)
    waiting = f"{len(line.creates)} waiting"
    if line.creates:
        oldest = min(ticket.sent_at for ticket in line.creates)
        waiting += f", the oldest for {span(now - oldest)}"
    if line.delayed:
        waiting += f"; {len(line.delayed)} between two tries"
    if line.cancels:
        waiting += f"; {len(line.cancels)} to cancel"
    yield "requests", waiting
    yield "running", str(sum(not job.final for job in reading.known.open_jobs.values()))
    states = [state_of(record, now=now) for record in reading.expectations]
    expected = [f"{len(states)}"]
    expected += [f"{states.count('OVERDUE')} overdue"] if "OVERDUE" in states else []
    expected += [f"{states.count('MUTED')} muted"] if "MUTED" in states else []
    yield "expectations", ", ".join(expected)


def _rows(reading: Reading, days: Sequence[date]) -> Iterator[Row]:
    """The datasets with a run or a window in these days, by name; those without a name last."""
    since = (days[-1] - date(1970, 1, 1)).days * DAY_MS
    windows = _windows_of(reading.expectations)
    ids = {
        dataset
        for dataset, its_jobs in reading.by_dataset.items()
        if any(job.created_at >= since or not job.is_final for job in its_jobs)
    }
    called = reading.names.datasets
    ordered = sorted(
        ids | windows.keys(),
        key=lambda one: (
            one is None,
            one not in called,
            called.get(one or "", one or "").casefold(),
        ),
    )
    for dataset_id in ordered:
        its_jobs = reading.by_dataset.get(dataset_id, ())
        # One that is still open, or whose creation time is unknown, is in the oldest day.
        marks = [
            replace(mark_of_job(job), at=max(job.created_at, since))
            for job in its_jobs
            if job.created_at >= since or not job.is_final
        ]
        marks += windows.get(dataset_id, ())
        by_day = _by_day(marks)
        yield Row(
            dataset_id,
            called.get(dataset_id or "") or dataset_id or "dataset unknown",
            [_cell(by_day.get(day, ())) for day in days],
            its_jobs[0] if its_jobs else None,
            bool(reading.regular.get(dataset_id or "")),
        )


def _windows_of(records: Iterable[ExpectationRecord]) -> Mapping[str | None, list[Mark]]:
    found: dict[str | None, list[Mark]] = defaultdict(list)
    for record in records:
        if not record.can_be_read:
            continue
        marks = (mark_of_past(past, record) for past in record.history)
        found[record.expectation.dataset_id] += filter(None, marks)
        if record.window:
            in_force = record.in_force or record.expectation
            found[in_force.dataset_id].append(mark_of_next(record.window, record))
    return found


def _by_day(marks: Iterable[Mark]) -> Mapping[date, list[Mark]]:
    """By the day in UTC."""
    found: dict[date, list[Mark]] = defaultdict(list)
    for mark in marks:
        found[local_date(mark.at, _UTC)].append(mark)
    return found


def _cell(marks: Sequence[Mark]) -> Cell:
    in_order = sorted(marks, key=lambda mark: mark.at)
    if len(in_order) <= MOST_MARKS:
        return Cell(in_order)
    worst = sorted(in_order, key=lambda mark: (mark.severity, -mark.at))[: MOST_MARKS - 1]
    shown = [mark for mark in in_order if mark in worst]
    return Cell(shown, more=len(in_order) - len(shown))
