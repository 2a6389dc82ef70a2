"""What is usual for the next run, and when it is unusual: what `baseline show` says."""

from __future__ import annotations

import random
import sys
from dataclasses import replace

import pytest
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.limits import DAY_MS
from export_jobs.monitor.baselines import accept, compare, learn, usual_at
from support.files import ROOT
from support.usual import MONDAY, Watched

sys.path.insert(0, str(ROOT))  # the benchmarks are not an installed package

from benchmarks.baselines import HOUR_MS, NIGHTLY, series


def baseline_of(runs: list[Run]) -> Baseline:
    watched = Watched()
    for run in runs:
        watched.see(run)
    return watched.baseline


def nights(count: int, profiles: int = 900) -> Baseline:
    return baseline_of([Run(MONDAY + n * DAY_MS, 1_200_000, profiles) for n in range(count)])


@pytest.mark.parametrize("days", [8, 14, 27, 28, 40])
@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("seed", range(5))
def test_the_rule_calls_unusual_what_lies_beyond_and_nothing_else(
    days: int, sigma: float, seed: int
) -> None:
    """By one profile, or one millisecond."""
    runs = list(series(random.Random(seed), NIGHTLY, sigma, days + 1))
    baseline, at = baseline_of(runs[:-1]), runs[-1].created_at
    volume, duration = (usual_at(baseline, metric, at=at) for metric in ("VOLUME", "DURATION"))
    assert None not in {volume.lowest, volume.highest, duration.highest}
    lowest, highest, slowest = volume.lowest or 0, volume.highest or 0, duration.highest or 0
    assert lowest < (volume.usual or 0) < highest
    assert duration.lowest is None
    run = Run(at)
    for profiles, anomalies in (
        (lowest, ()),
        (lowest - 1, ("VOLUME_DROP",)),
        (highest, ()),
        (highest + 1, ("VOLUME_SPIKE",)),
    ):
        assert compare(baseline, replace(run, profiles=profiles)).anomalies == anomalies
    assert compare(baseline, replace(run, duration_ms=slowest)).anomalies == ()
    assert compare(baseline, replace(run, duration_ms=slowest + 1)).anomalies == ("SLOW",)


@pytest.mark.parametrize("count", [8, 40])
def test_a_third_less_is_not_unusual_and_one_less_is(count: int) -> None:
    """The floor itself is usual, without an error of the last digits."""
    at = MONDAY + count * DAY_MS
    volume = usual_at(nights(count), "VOLUME", at=at)
    assert (volume.usual, volume.lowest, volume.highest) == (900, 600, 1_350)
    volume = usual_at(nights(count, profiles=1_001), "VOLUME", at=at)  # 667.3 and 1,501.5
    assert (volume.usual, volume.lowest, volume.highest) == (1_001, 668, 1_501)
    duration = usual_at(nights(count), "DURATION", at=MONDAY + count * DAY_MS)
    assert (duration.usual, duration.highest) == (1_200_000, 2_400_000)


@pytest.mark.parametrize(
    ("count", "stage"),
    [
        (0, "LEARNING"),
        (1, "LEARNING"),
        (6, "LEARNING"),
        (7, "EARLY"),
        (26, "EARLY"),
        (27, "FOUR_WEEKS"),
    ],
)
def test_it_says_how_much_is_known(count: int, stage: str) -> None:
    """While it is learning, nothing is unusual, and what is usual so far is told."""
    for metric in ("VOLUME", "DURATION"):
        usual = usual_at(nights(count), metric, at=MONDAY + count * DAY_MS)  # type: ignore[arg-type]
        assert (usual.stage, usual.runs, usual.span_ms) == (stage, count, count * DAY_MS)
        assert (usual.usual is None) is (count == 0)
        assert (usual.highest is None) is (stage == "LEARNING")


def test_a_week_of_seven_runs_is_needed() -> None:
    """A hundred runs in four days are still learning."""
    runs = [Run(MONDAY + n * HOUR_MS, 1_000, 10) for n in range(100)]
    usual = usual_at(baseline_of(runs), "VOLUME", at=MONDAY + 100 * HOUR_MS)
    assert (usual.stage, usual.runs, usual.lowest) == ("LEARNING", 100, None)


def test_a_job_that_is_known_in_part_is_accepted_once() -> None:
    """The third drop in a row is learned without its time, which was unusual, too."""
    baseline = nights(40)
    for number in (40, 41):
        run = Run(MONDAY + number * DAY_MS, 1_200_000, 300)
        baseline = learn(baseline, run, compare(baseline, run))
    third = Run(MONDAY + 42 * DAY_MS, 9_000_000, 300)
    baseline = learn(baseline, third, compare(baseline, third))
    assert replace(third, duration_ms=None) in baseline.runs
    accepted = accept(baseline, third)
    assert [run for run in accepted.runs if run.created_at == third.created_at] == [third]
