"""Suggests expectations from Adobe's own schedules: functions without I/O.

A schedule says when it runs, in UTC, but not how long an export takes; what it exports is not
documented. So less is known of these than of jobs on record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from export_jobs.contract.schedule import Schedule
from export_jobs.model.calendar import DAY_MINUTES
from export_jobs.model.expectations import Expectation
from export_jobs.model.limits import DAY_MS
from export_jobs.monitor.regular import is_open, round_up

from export_jobs_cli.expectations.fields import time_text
from export_jobs_cli.expectations.quartz import NotWeekly, WeeklyTime, read_quartz
from export_jobs_cli.expectations.suggest import Suggestion, free_name

HOURS: Final = 4
"""From a schedule's time to the deadline that is suggested."""
DATASET_TO_FILL_IN: Final = "FILL-IN"
_MAX_DEPTH: Final = 6


@dataclass(frozen=True)
class Scheduled:
    """What is suggested for schedules, what lacks its dataset, and sentences on the others."""

    complete: tuple[Suggestion, ...] = ()
    without_dataset: tuple[Suggestion, ...] = ()
    notes: tuple[str, ...] = ()


def from_schedules(
    sandbox: str, schedules: Iterable[Schedule], *, known: Sequence[Expectation], now: int
) -> Scheduled:
    """Suggests what `known` does not expect, for active schedules of exports."""
    complete: list[Suggestion] = []
    without: list[Suggestion] = []
    notes: list[str] = []
    taken = {expectation.name for expectation in known}
    for schedule in schedules:
        if not (schedule.is_active and schedule.exports):
            continue
        called = f"Adobe's schedule {schedule.name or 'without a name'} ({schedule.id or 'no id'})"
        weekly = read_quartz(schedule.schedule or "")
        if isinstance(weekly, NotWeekly):
            notes.append(f"{called} in {sandbox} {weekly.reason}: write its expectation yourself")
            continue
        dataset = _dataset_in(schedule.properties)
        if any(
            expected.dataset_id == dataset and is_open(expected, _at(weekly, now))
            for expected in known
        ):
            continue
        name = free_name(_name_of(schedule, weekly), taken)
        taken.add(name)
        expectation = _expectation(name, dataset or DATASET_TO_FILL_IN, weekly)
        guess = f"it does not say how long an export takes, so {_due_of(expectation)} is a guess"
        basis = [f"{called} runs at {weekly.at:%H:%M} UTC; {guess}"]
        if dataset is None:
            basis.append("it does not say which dataset it exports to, either: fill that in")
        suggestion = Suggestion(sandbox, expectation, tuple(basis))
        (complete if dataset else without).append(suggestion)
    return Scheduled(tuple(complete), tuple(without), tuple(notes))


def _due_of(expectation: Expectation) -> str:
    return f"due {time_text(expectation.due or 0)}"


def _expectation(name: str, dataset: str, weekly: WeeklyTime) -> Expectation:
    minute = weekly.at.hour * 60 + weekly.at.minute
    return Expectation(
        name=name,
        dataset_id=dataset,
        timezone="UTC",
        opens=minute // 15 * 15,
        due=round_up(minute + HOURS * 60) % DAY_MINUTES,
        days=weekly.days,
    )


def _at(weekly: WeeklyTime, now: int) -> int:
    """The time on the day of `now`, in epoch milliseconds."""
    return now // DAY_MS * DAY_MS + (weekly.at.hour * 60 + weekly.at.minute) * 60_000


def _name_of(schedule: Schedule, weekly: WeeklyTime) -> str:
    words = re.findall(r"[a-z0-9]+", (schedule.name or "").lower())
    return "-".join(words)[:100].strip("-") or f"scheduled-{weekly.at:%H%M}"


def _dataset_in(properties: Any, depth: int = 0) -> str | None:
    """The only `datasetId` somewhere in the properties; None if there is none, or several."""
    found = {*_datasets_in(properties, depth)}
    return found.pop() if len(found) == 1 else None


def _datasets_in(value: Any, depth: int) -> Iterable[str]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "datasetId" and isinstance(inner, str) and re.fullmatch(r"[\w.:-]+", inner):
                yield inner
            else:
                yield from _datasets_in(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _datasets_in(inner, depth + 1)
