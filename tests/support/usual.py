"""A baseline that learns from runs, as it does in a sweep."""

from __future__ import annotations

from dataclasses import dataclass, field

from export_jobs.model.baselines import Baseline, Comparison, Run
from export_jobs.monitor import baselines

MONDAY = 1_700_438_400_000
"""2023-11-20, 00:00 UTC."""


@dataclass
class Watched:
    """A baseline; `see` compares a run with it, and lets it learn from the run."""

    baseline: Baseline = field(default_factory=lambda: Baseline("prod", "1-a"))

    def see(self, run: Run) -> Comparison:
        comparison = baselines.compare(self.baseline, run)
        self.baseline = baselines.learn(self.baseline, run, comparison)
        return comparison
