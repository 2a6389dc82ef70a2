"""Baselines: what is usual for one kind of export, and how a job compares with it.

Both are values. Times are epoch milliseconds, durations milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Anomaly = Literal["VOLUME_DROP", "VOLUME_SPIKE", "SLOW"]
"""What is unusual about a job; docs/baselines.md explains each."""

Metric = Literal["VOLUME", "DURATION"]

Stage = Literal["LEARNING", "EARLY", "FOUR_WEEKS"]
"""What a value is compared with: nothing yet, all runs so far, or the same time of other weeks."""

MAX_SEGMENTS = 10
"""Segments that a baseline names, for people."""


@dataclass(frozen=True)
class Run:
    """What is learned from a job that ended well; None for what is unknown or no longer usual."""

    created_at: int
    duration_ms: int | None = None
    profiles: int | None = None


@dataclass(frozen=True)
class Baseline:
    """What is usual for one kind of export in a sandbox.

    `runs` are the usual runs of the last 28 days, oldest first; `unusual` the last unusual ones
    since, in a row. `segments` are the first `MAX_SEGMENTS` of the `segment_count` ids.
    """

    sandbox: str
    kind: str
    dataset_id: str | None = None
    segments: tuple[str, ...] = ()
    segment_count: int = 0
    runs: tuple[Run, ...] = ()
    unusual: tuple[Run, ...] = ()
    version: int = 0

    @property
    def newest_at(self) -> int:
        """When the newest run that it knows was created, usual or not; 0 if it knows none."""
        return max((run.created_at for run in (*self.runs, *self.unusual)), default=0)


@dataclass(frozen=True)
class Usual:
    """What is usual for one metric at a moment: profiles, or milliseconds.

    Less than `lowest` is unusual, and so is more than `highest`; None if nothing is. `usual` is
    None if nothing is known. `span_ms` is the time since the first of the `runs` that show it.
    """

    stage: Stage
    runs: int
    span_ms: int
    usual: int | None = None
    lowest: int | None = None
    highest: int | None = None


@dataclass(frozen=True)
class Comparison:
    """How a job compares with its baseline, which has `runs`; None if it was not compared.

    The usual values are those for the time at which the job was created; None if nothing is known.
    `settled` are the metrics of which enough is known to call a job unusual. `new_usual` are those
    of the `anomalies` that are usual from now on, because this is the third such run in a row.
    """

    anomalies: tuple[Anomaly, ...] = ()
    new_usual: tuple[Anomaly, ...] = ()
    usual_duration_ms: int | None = None
    usual_profiles: int | None = None
    duration_ratio: float | None = None
    profiles_ratio: float | None = None
    runs: int | None = None
    settled: frozenset[Metric] = frozenset()


UNKNOWN = Comparison()
"""The comparison of a job without a kind, or whose baseline could not be read."""
