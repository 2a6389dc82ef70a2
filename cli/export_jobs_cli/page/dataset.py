"""The page of a dataset: its runs, by kind of export, with charts beside what is usual."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from export_jobs.events.wording import MAX_SEGMENTS_SHOWN, span
from export_jobs.model.baselines import Baseline
from export_jobs.model.expectations import ExpectationRecord

from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.output import number
from export_jobs_cli.page.charts import Chart, chart_of
from export_jobs_cli.page.kept import KEPT_MS, Reading

MAX_RUNS: Final = 100
"""Runs of a kind that are listed."""
MAX_KINDS: Final = 5
"""Kinds with charts: each costs a read."""
MIN_RUNS: Final = 3
"""Runs of a kind with charts, at least."""
BaselineOf = Callable[[str, str], Baseline | None]
"""Returns the baseline of a sandbox's kind."""


@dataclass(frozen=True)
class Runs:
    """Some runs, newest first: those of one kind, with a chart of each number that is known."""

    title: str
    jobs: Sequence[KnownJob]
    charts: Sequence[Chart] = ()

    @property
    def shown(self) -> Sequence[KnownJob]:
        return self.jobs[:MAX_RUNS]


@dataclass(frozen=True)
class DatasetPage:
    """`unexpected`: it has regular exports that nothing expects."""

    sandbox: str
    dataset_id: str
    name: str
    parts: Sequence[Runs]
    expectations: Sequence[ExpectationRecord]
    unexpected: bool


def dataset_page(
    reading: Reading, dataset_id: str, baseline_of: BaselineOf, *, now: int
) -> DatasetPage | None:
    """None if the sandbox has neither a run nor an expectation of it."""
    its_jobs = reading.by_dataset.get(dataset_id, ())
    expectations = [
        record for record in reading.expectations if record.expectation.dataset_id == dataset_id
    ]
    if not its_jobs and not expectations:
        return None
    return DatasetPage(
        reading.sandbox,
        dataset_id,
        reading.names.datasets.get(dataset_id, ""),
        list(_parts(reading, its_jobs, baseline_of, now=now)),
        expectations,
        bool(reading.regular.get(dataset_id)),
    )


def _parts(
    reading: Reading, jobs: Sequence[KnownJob], baseline_of: BaselineOf, *, now: int
) -> Iterator[Runs]:
    """The kinds that have run several times, the one with the newest run first; then the others."""
    by_kind: dict[str | None, list[KnownJob]] = defaultdict(list)
    for job in jobs:
        by_kind[job.record.kind if job.record else None].append(job)
    repeated = [kind for kind, its_jobs in by_kind.items() if kind and len(its_jobs) >= MIN_RUNS]
    apart = repeated[:MAX_KINDS]
    for kind in apart:
        yield _runs_of(by_kind[kind], baseline_of(reading.sandbox, kind), reading, now=now)
    others = [job for job in jobs if (job.record.kind if job.record else None) not in apart]
    if others:
        yield Runs("Other exports" if apart else "Exports", others)


def _runs_of(
    jobs: Sequence[KnownJob], baseline: Baseline | None, reading: Reading, *, now: int
) -> Runs:
    since = now - KEPT_MS
    charts = [
        chart_of("Profiles", "VOLUME", jobs, baseline, since=since, now=now, in_words=number),
        chart_of("Duration", "DURATION", jobs, baseline, since=since, now=now, in_words=span),
    ]
    return Runs(_segments(jobs, baseline, reading), jobs, [chart for chart in charts if chart])


def _segments(jobs: Sequence[KnownJob], baseline: Baseline | None, reading: Reading) -> str:
    """What they export, by the newest run that shows it, or by the baseline."""
    ids = next((job.segment_ids for job in jobs if job.segment_ids is not None), None)
    count = len(ids) if ids is not None else baseline.segment_count if baseline else None
    if count is None:
        return "Segments unknown"
    if not count:
        return "Every profile"
    known = ids if ids is not None else baseline.segments if baseline else ()
    shown = reading.names.segments_in_words(known, MAX_SEGMENTS_SHOWN, count=count)
    return f"Segment{'s' if count > 1 else ''} {shown}"
