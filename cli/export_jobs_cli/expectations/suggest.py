"""Suggests expectations for regular exports, each with a name and with what it is based on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

from export_jobs.model.calendar import local_time
from export_jobs.model.expectations import Expectation
from export_jobs.model.records import JobRecord
from export_jobs.monitor.regular import Regular, regular_exports, segment_ids

from export_jobs_cli.expectations.fields import days_text, duration_text, time_text


@dataclass(frozen=True)
class Suggestion:
    """An expectation, and what it is based on, in sentences."""

    sandbox: str
    expectation: Expectation
    basis: tuple[str, ...]


def from_jobs(
    sandbox: str,
    jobs: Iterable[JobRecord],
    *,
    zone: ZoneInfo,
    known: Sequence[Expectation],
    now: int,
) -> list[Suggestion]:
    """Suggests what `known` does not expect. `jobs` are those of a sandbox, in any order."""
    taken = {expectation.name for expectation in known}
    found = []
    for one in regular_exports(jobs, zone=zone, known=known, now=now):
        name = free_name(_name_of(one.expectation, one.created_from), taken)
        taken.add(name)
        named = replace(one.expectation, name=name)
        found.append(Suggestion(sandbox, named, (_based_on(one), *_last(one, zone))))
    return found


def free_name(name: str, taken: set[str]) -> str:
    """The name, with a number if it is taken."""
    numbered = (f"{name}-{n}" if n > 1 else name for n in range(1, len(taken) + 2))
    return next(one for one in numbered if one not in taken)


def _name_of(expectation: Expectation, created_from: int) -> str:
    if expectation.every:
        name = f"every-{duration_text(expectation.every)}"
    else:
        name = f"daily-{time_text(created_from).replace(':', '')}"
    shown = re.sub(r"[^A-Za-z0-9]", "", expectation.dataset_id)[:8]
    return f"{name}-{shown}" if shown else name


def _based_on(one: Regular) -> str:
    every, days = one.expectation.every, one.expectation.days
    if every:
        windows = f"{one.good:,} of {one.of:,} windows of {duration_text(every)}"
        return f"{windows} since {one.since} have a good run"
    pattern = "days" if len(days) == 7 else f"days ({days_text(days)})"
    created = f"created {time_text(one.created_from)} to {time_text(one.created_to)}"
    good = f"{one.good} of the last {one.of} {pattern} have a good run"
    return f"{good}, {created} and ended by {time_text(one.ended_by)}"


def _last(one: Regular, zone: ZoneInfo) -> Iterator[str]:
    created = local_time(one.last.creation_time, zone)
    yield f"last: job {one.last.job_id}, created {created:%Y-%m-%d %H:%M}"
    if segment_ids(one.last) is None:
        yield "its segments are not all on record: add them, or any job into this dataset counts"
