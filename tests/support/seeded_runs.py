"""Seeded series of exports, nightly and hourly, with weekends at half, as baselines see them."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from export_jobs.model.baselines import Anomaly, Baseline, Comparison, Run
from export_jobs.monitor import baselines

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MONDAY = 1_700_438_400_000
"""2023-11-20, 00:00 UTC."""


@dataclass(frozen=True)
class Series:
    """A series whose values scatter by `sigma` around what is usual, as logarithms.

    Each run starts up to an eighth of the time between two runs late. `growth` is a share a week.
    """

    sigma: float
    every_ms: int = DAY_MS
    profiles: int = 1_000_000
    duration_ms: int = 20 * 60_000
    growth: float = 0.0

    def runs(self, chance: random.Random, days: float) -> Iterator[Run]:
        first_day = chance.randrange(7)
        for number in range(round(days * DAY_MS / self.every_ms)):
            time = MONDAY + first_day * DAY_MS + number * self.every_ms
            weeks = number * self.every_ms / (7 * DAY_MS)
            level = (1 + self.growth) ** weeks * (0.5 if is_weekend(time) else 1)
            yield Run(
                time + chance.randrange(self.every_ms // 8),
                round(self.duration_ms * level * math.exp(chance.gauss(0, self.sigma))),
                round(self.profiles * level * math.exp(chance.gauss(0, self.sigma))),
            )


def is_weekend(time: int) -> bool:
    return (time - MONDAY) // DAY_MS % 7 >= 5


@dataclass
class Watched:
    """A baseline that is taught a series, and what was unusual."""

    baseline: Baseline = field(default_factory=lambda: Baseline("prod", "1-a"))

    def see(self, run: Run) -> Comparison:
        comparison = baselines.compare(self.baseline, run)
        self.baseline = baselines.learn(self.baseline, run, comparison)
        return comparison


def alarms(
    series: Series, *, histories: int, first: int, last: int
) -> tuple[Counter[Anomaly], int]:
    """How many of each anomaly the runs from number `first` to `last` give, and their number."""
    chance = random.Random(f"{series} {first}")
    counted: Counter[Anomaly] = Counter()
    for _ in range(histories):
        watched = Watched()
        for number, run in enumerate(series.runs(chance, last * series.every_ms / DAY_MS)):
            comparison = watched.see(run)
            if number >= first:
                counted.update(comparison.anomalies)
    return counted, histories * (last - first)


def found(
    series: Series, factor: float, *, histories: int, days: int, trials: int = 1
) -> tuple[float, float]:
    """The shares of falls in volume, and of slow runs, by this factor that are found after days.

    Of each history, the last runs are tried, as many as `trials`.
    """
    chance = random.Random(f"{series} {factor}")
    drops = slow = 0
    for _ in range(histories):
        watched = Watched()
        runs = list(series.runs(chance, days + trials * series.every_ms / DAY_MS))
        for run in runs[:-trials]:
            watched.see(run)
        for run in runs[-trials:]:
            fallen = replace(run, profiles=round((run.profiles or 0) * factor))
            slower = replace(run, duration_ms=round((run.duration_ms or 0) / factor))
            drops += "VOLUME_DROP" in baselines.compare(watched.baseline, fallen).anomalies
            slow += "SLOW" in baselines.compare(watched.baseline, slower).anomalies
    return drops / (histories * trials), slow / (histories * trials)
