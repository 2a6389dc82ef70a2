"""`baseline list|show|accept`: what they print. Times are in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from export_jobs.contract.times import rfc3339
from export_jobs.events.wording import MAX_SEGMENTS_SHOWN, span
from export_jobs.model.baselines import Baseline, Run, Usual
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.limits import DAY_MS
from export_jobs.model.names import Names
from export_jobs.model.records import JobRecord
from export_jobs.monitor.baselines import IN_A_ROW, MIN_RUNS, compare, usual_at
from rich.console import Console

from export_jobs_cli import output
from export_jobs_cli.baselines.stored import Accepted

RUNS_SHOWN = 14
_DAYS_NEEDED = {"LEARNING": 7, "EARLY": 28}


@dataclass(frozen=True)
class Shown:
    """A baseline, and what is usual for its next run, which is expected at `at`."""

    baseline: Baseline
    at: int
    names: Names
    delays: DelayPolicy

    @classmethod
    def of(cls, baseline: Baseline, *, names: Names, delays: DelayPolicy, now: int) -> Shown:
        return cls(baseline, next_run_at(baseline, now=now), names, delays)

    @property
    def profiles(self) -> Usual:
        return usual_at(self.baseline, "VOLUME", at=self.at)

    @property
    def duration(self) -> Usual:
        return usual_at(self.baseline, "DURATION", at=self.at)

    @property
    def dataset(self) -> str:
        """Its name and id, as far as they are known."""
        return self.names.dataset(self.baseline.dataset_id) if self.baseline.dataset_id else ""

    @property
    def segments(self) -> str:
        """A few of them, those with a name first."""
        count = self.baseline.segment_count
        if not count:
            return "none named: every profile"
        segments = self.baseline.segments
        return self.names.segments_in_words(segments, MAX_SEGMENTS_SHOWN, count=count)

    @property
    def state(self) -> str:
        """How much is known, in words; of profiles and duration apart, if that differs."""
        profiles, duration = state_of(self.profiles), state_of(self.duration)
        if profiles == duration or not any(run.profiles for run in self.baseline.runs):
            return duration
        return f"profiles {profiles}; duration {duration}"

    @property
    def delay_limit_ms(self) -> int | None:
        """The limit that follows from what is usual; None if too little is known, or it is off."""
        return self.delays.limit_by_usual(compare(self.baseline, Run(self.at)))

    @property
    def configured_limit_ms(self) -> int:
        job = JobRecord(self.baseline.sandbox, "", 0, dataset_id=self.baseline.dataset_id)
        return self.delays.limit_of(job)

    def as_json(self) -> dict[str, Any]:
        baseline = self.baseline
        return {
            "sandboxName": baseline.sandbox,
            "kind": baseline.kind,
            "datasetId": baseline.dataset_id,
            "datasetName": self.names.datasets.get(baseline.dataset_id or ""),
            "segments": list(baseline.segments),
            "segmentCount": baseline.segment_count,
            "nextRunAt": rfc3339(self.at),
            "profiles": _usual_as_json(self.profiles),
            "durationMs": _usual_as_json(self.duration),
            "delayLimitMs": self.delay_limit_ms,
            "configuredLimitMs": self.configured_limit_ms,
            "runs": [_run_as_json(run) for run in baseline.runs],
            "unusualInARow": [_run_as_json(run) for run in baseline.unusual],
        }


def next_run_at(baseline: Baseline, *, now: int) -> int:
    """When its next run is expected, by the usual time between two runs; now, if that is past."""
    times = sorted(run.created_at for run in (*baseline.runs, *baseline.unusual))
    if len(times) < 2:
        return now
    return max(now, times[-1] + round(median(later - first for first, later in pairwise(times))))


def state_of(usual: Usual) -> str:
    """`learning: 3 of 7 runs`, `early: 12 of 28 days`, `four weeks`."""
    if usual.stage == "FOUR_WEEKS":
        return "four weeks"
    days = f"{usual.span_ms // DAY_MS} of {_DAYS_NEEDED[usual.stage]} days"
    if usual.stage == "EARLY":
        return f"early: {days}"
    return f"learning: {f'{usual.runs} of {MIN_RUNS} runs' if usual.runs < MIN_RUNS else days}"


def _usual_as_json(usual: Usual) -> dict[str, Any]:
    return {
        "stage": usual.stage,
        "runs": usual.runs,
        "usual": usual.usual,
        "lowest": usual.lowest,
        "highest": usual.highest,
    }


def _run_as_json(run: Run) -> dict[str, Any]:
    return {
        "createdAt": rfc3339(run.created_at),
        "durationMs": run.duration_ms,
        "profilesExported": run.profiles,
    }


# -- list ----------------------------------------------------------------------------------------


def show_list(found: Sequence[Shown], *, sandboxes: int) -> None:
    """`sandboxes`: how many the stack watches; with only one, its name is left out."""
    console = output.console()
    if not found:
        console.print("no baselines: no export has succeeded since the sandbox was added")
        return
    columns = ["kind", "sandbox", "dataset", "segments", "runs", "took", "profiles", "last run UTC"]
    columns += ["state", "unusual in a row"]
    rows = [_row(one) for one in found]
    unused = [] if any(row[9] for row in rows) else [9]
    for at in [*unused, *([1] if sandboxes == 1 else [])]:
        for line in (columns, *rows):
            del line[at]
    right, shrinking = ("runs", "took", "profiles"), ("dataset", "segments")
    output.print_table(console, output.table(columns, rows, right=right, shrinking=shrinking))


def _row(one: Shown) -> list[str]:
    baseline, usual = one.baseline, one.profiles.usual
    return [
        output.plain(baseline.kind),
        output.plain(baseline.sandbox),
        output.plain(one.dataset),
        output.plain(one.segments),
        str(len(baseline.runs)),
        span(one.duration.usual),
        "" if usual is None else f"{usual:,}",
        output.moment(baseline.newest_at)[5:16],
        one.state,
        f"{len(baseline.unusual)} of {IN_A_ROW}" if baseline.unusual else "",
    ]


# -- show ----------------------------------------------------------------------------------------


def show(one: Shown) -> None:
    console, baseline = output.console(), one.baseline
    console.print(f"[bold]kind {output.plain(baseline.kind)}[/]\n")
    output.facts(
        console,
        [
            ("sandbox", output.plain(baseline.sandbox)),
            ("dataset", output.plain(one.dataset)),
            ("segments", output.plain(one.segments)),
            ("state", one.state),
        ],
    )
    _show_usual(console, one)
    _show_runs(console, "last runs (UTC)", baseline.runs[-RUNS_SHOWN:])
    if len(baseline.runs) > RUNS_SHOWN:
        console.print(f"and {len(baseline.runs) - RUNS_SHOWN} earlier")
    if baseline.unusual:
        title = f"unusual, in a row (UTC); {IN_A_ROW} that agree become the new usual"
        _show_runs(console, title, baseline.unusual)


def _show_usual(console: Console, one: Shown) -> None:
    console.print(f"\nnext run, at about {output.moment(one.at)[:16]} UTC", style="bold")
    profiles, duration = one.profiles, one.duration
    output.facts(
        console,
        [
            ("usual profiles", output.number(profiles.usual)),
            ("VOLUME_DROP", _beyond("fewer than", output.number(profiles.lowest))),
            ("VOLUME_SPIKE", _beyond("more than", output.number(profiles.highest))),
            ("usually takes", span(duration.usual)),
            ("SLOW", _beyond("more than", span(duration.highest))),
            ("delayed", _delay(one)),
        ],
    )


def _beyond(how: str, value: str) -> str:
    return f"{how} {value}" if value else "never: not enough runs are known"


def _delay(one: Shown) -> str:
    configured, by_usual = one.configured_limit_ms, one.delay_limit_ms
    if by_usual is not None and by_usual < configured:
        return f"after {span(by_usual)}, based on what is usual"
    why = "" if by_usual is None else f"; based on what is usual, it would be {span(by_usual)}"
    return f"after {span(configured)}, as configured{why}"


def _show_runs(console: Console, title: str, runs: Sequence[Run]) -> None:
    console.print(f"\n{title}", style="bold")
    if not runs:
        console.print("none")
        return
    rows = [
        [output.moment(run.created_at)[:16], span(run.duration_ms), output.number(run.profiles)]
        for run in reversed(runs)
    ]
    columns = ["created", "took", "profiles"]
    output.print_table(console, output.table(columns, rows, right=columns[1:]))


# -- accept --------------------------------------------------------------------------------------


def show_accepted(accepted: Accepted, one: Shown) -> None:
    console = output.console()
    what = " and ".join(accepted.anomalies)
    job = output.plain(accepted.job.job_id)
    console.print(f"job {job} is the new usual: {what} accepted", soft_wrap=True)
    lines = [
        ("profiles", output.number(one.profiles.usual), state_of(one.profiles)),
        ("duration", span(one.duration.usual), state_of(one.duration)),
    ]
    output.facts(
        console, [(name, f"usually {usual} ({state})") for name, usual, state in lines if usual]
    )
    console.print(
        "While a baseline is learning, nothing is unusual: it needs seven runs over at least a week.",
        soft_wrap=True,
    )
