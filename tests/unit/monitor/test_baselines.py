"""What is unusual, and what a baseline learns: the rates that docs/baselines.md states, and edges."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
from export_jobs.model.baselines import Baseline, Comparison, Run
from export_jobs.model.limits import DAY_MS
from export_jobs.monitor import baselines
from export_jobs.monitor.baselines import KEPT_MS, MAX_RUNS, MIN_RUNS, WEEK_MS
from hypothesis import given
from hypothesis import strategies as st
from support.files import ROOT
from support.usual import MONDAY, Watched

sys.path.insert(0, str(ROOT))  # the benchmarks are not an installed package

from benchmarks.baselines import (
    CHANGES,
    HOUR_MS,
    HOURLY,
    NIGHTLY,
    Rhythm,
    false_alarms,
    found_in,
    series,
)

MINUTE_MS = 60_000


def night(number: int, profiles: int | None = 1_000_000, minutes: int = 20) -> Run:
    return Run(MONDAY + number * DAY_MS, minutes * MINUTE_MS, profiles)


def taught(runs: Sequence[Run]) -> Watched:
    watched = Watched()
    for run in runs:
        watched.see(run)
    return watched


def nights(count: int) -> Watched:
    """A baseline of equal nights."""
    return taught([night(number) for number in range(count)])


# -- rates -----------------------------------------------------------------------------------------


@pytest.mark.unmeasured
@pytest.mark.parametrize(
    ("rhythm", "sigma", "days", "count"),
    [
        (NIGHTLY, 0.1, range(7, 28), 150),
        (NIGHTLY, 0.1, range(29, 90), 50),
        (NIGHTLY, 0.3, range(29, 90), 120),
        (HOURLY, 0.1, range(7, 28), 3),
        (HOURLY, 0.1, range(28, 36), 2),
        (HOURLY, 0.3, range(28, 36), 2),
    ],
)
def test_at_most_one_run_in_a_thousand_is_called_unusual_for_nothing(
    rhythm: Rhythm, sigma: float, days: range, count: int
) -> None:
    """For each anomaly, with weekends at half: to sigma 0.1 from a week on, then to sigma 0.3."""
    runs, found = false_alarms(rhythm, sigma, days, count)
    assert all(count <= max(1, runs / 1_000) for count in found.values()), (found, runs)


@pytest.mark.unmeasured
@pytest.mark.parametrize(("change", "sigma"), [("half", 0.05), ("half", 0.08), ("80 % less", 0.15)])
@pytest.mark.parametrize(("rhythm", "tries"), [(NIGHTLY, 150), (HOURLY, 10)])
def test_a_fall_is_found_ninety_nine_times_in_a_hundred(
    rhythm: Rhythm, tries: int, change: str, sigma: float
) -> None:
    """After four weeks: by half to sigma 0.08, by 80 % to sigma 0.15."""
    shares = dict(zip(CHANGES, found_in(rhythm, sigma, 29, tries), strict=True))
    assert shares[change] >= 0.99


@pytest.mark.unmeasured
def test_four_times_as_slow_is_found() -> None:
    """After four weeks, at weekends, too."""
    shares = dict(zip(CHANGES, found_in(NIGHTLY, 0.1, 35, 200), strict=True))
    assert shares["four times as slow"] >= 0.99


def test_weekends_with_half_as_many_are_no_anomaly() -> None:
    """A run is compared with those of the same weekday."""
    for weeks in (2, 6):
        runs = list(series(random.Random(1), NIGHTLY, 0.0, weeks * 7 + 7))
        watched = taught(runs[: weeks * 7])
        assert all(watched.see(run).anomalies == () for run in runs[weeks * 7 :])


def test_a_step_gives_three_alarms() -> None:
    """The third says that this is the new usual; then there is none for a week, nor afterwards."""
    watched = nights(40)
    seen = [watched.see(night(n, profiles=300_000)) for n in range(40, 90)]
    assert [one.anomalies for one in seen[:3]] == [("VOLUME_DROP",)] * 3
    assert [one.new_usual for one in seen[:3]] == [(), (), ("VOLUME_DROP",)]
    assert all(one.anomalies == () for one in seen[3:])
    assert seen[10].usual_profiles == 300_000


@pytest.mark.unmeasured
def test_growth_gives_no_alarm() -> None:
    """5 % a week stays within the floor of what was usual in the last four weeks."""
    _, found = false_alarms(NIGHTLY, 0.05, range(7, 120), 20, growth=0.05)
    assert found.total() == 0


# -- comparing -------------------------------------------------------------------------------------


def test_nothing_is_unusual_before_the_eighth_night() -> None:
    """Seven runs and a week of them are needed; what is known of the usual is told before."""
    for count in range(MIN_RUNS):
        comparison = baselines.compare(
            nights(count).baseline, night(count, profiles=1, minutes=999)
        )
        assert (comparison.anomalies, comparison.runs) == ((), count)
        assert comparison.usual_profiles == (1_000_000 if count else None)
        assert not comparison.settled
    comparison = baselines.compare(nights(7).baseline, night(7, profiles=1, minutes=999))
    assert comparison.anomalies == ("VOLUME_DROP", "SLOW")
    assert comparison.settled == {"VOLUME", "DURATION"}


def test_six_runs_are_too_few_however_long_they_took() -> None:
    """Of an export on workdays, say; the seventh is enough."""
    days = [night(day) for day in (0, 1, 2, 3, 4, 7, 8)]
    for count, anomalies in ((6, ()), (7, ("VOLUME_DROP",))):
        baseline = taught(days[:count]).baseline
        assert baselines.compare(baseline, night(9, profiles=1)).anomalies == anomalies


def test_an_hour_with_many_runs_is_no_week() -> None:
    """Seven runs that span less than a week don't show what a weekend is like."""
    hours = taught([replace(night(0), created_at=MONDAY + n * HOUR_MS) for n in range(100)])
    later = replace(night(0, profiles=1), created_at=MONDAY + 101 * HOUR_MS)
    assert baselines.compare(hours.baseline, later).anomalies == ()


@pytest.mark.parametrize(
    ("profiles", "minutes", "anomalies"),
    [
        (1_000_000, 20, ()),
        (670_000, 39, ()),
        (1_490_000, 1, ()),
        (660_000, 20, ("VOLUME_DROP",)),
        (1_510_000, 20, ("VOLUME_SPIKE",)),
        (1_000_000, 41, ("SLOW",)),
        (1_000, 140, ("VOLUME_DROP", "SLOW")),
        (0, 20, ("VOLUME_DROP",)),
        (None, 20, ()),
        (None, 80, ("SLOW",)),
    ],
)
@pytest.mark.parametrize("count", [8, 40])
def test_the_floor_is_a_third_of_the_volume_and_twice_the_time(
    count: int, profiles: int | None, minutes: int, anomalies: tuple[str, ...]
) -> None:
    """Whether there are four weeks or not; a volume that is not known is never unusual."""
    comparison = baselines.compare(nights(count).baseline, night(count, profiles, minutes))
    assert comparison.anomalies == anomalies
    assert (comparison.usual_profiles, comparison.usual_duration_ms) == (1_000_000, 1_200_000)
    assert comparison.profiles_ratio == (
        None if profiles is None else pytest.approx(profiles / 1_000_000)
    )
    assert comparison.duration_ratio == pytest.approx(minutes / 20)


def test_none_are_fewer_than_one() -> None:
    """However few are usual."""
    baseline = taught([night(number, profiles=1) for number in range(9)]).baseline
    assert baselines.compare(baseline, night(9, profiles=0)).anomalies == ("VOLUME_DROP",)
    assert baselines.compare(baseline, night(9, profiles=1)).anomalies == ()


def test_a_weekday_is_compared_with_its_like() -> None:
    """After four weeks: half as many are usual on a Saturday, and unusual on a Monday."""
    weeks = [night(n, 500_000 if n % 7 in {5, 6} else 1_000_000) for n in range(35)]
    baseline = taught(weeks).baseline
    assert baselines.compare(baseline, night(35, 500_000)).anomalies == ("VOLUME_DROP",)
    assert baselines.compare(baseline, night(40, 500_000)).anomalies == ()
    assert baselines.compare(baseline, night(40, 1_000_000)).anomalies == ("VOLUME_SPIKE",)


def test_a_weekday_of_which_too_little_is_known_is_compared_with_all_runs() -> None:
    """Three of the last four Saturdays failed, and the other was odd: half is still no drop."""
    weeks = [night(n, 500_000 if n % 7 in {5, 6} else 1_000_000) for n in range(40)]
    weeks[33] = night(33, 1_000_000)
    runs = tuple(run for n, run in enumerate(weeks) if n not in {12, 19, 26})
    baseline = Baseline("prod", "1-a", runs=runs)
    assert baselines.compare(baseline, night(40, 500_000)).anomalies == ()
    assert baselines.compare(baseline, night(40, 200_000)).anomalies == ("VOLUME_DROP",)
    assert baselines.compare(baseline, night(42, 500_000)).anomalies == ("VOLUME_DROP",)


@pytest.mark.unmeasured
def test_the_hour_counts_where_there_are_several_runs_a_day() -> None:
    """A missing run is not stood in for by that of another hour, which may be quite different."""

    def hour(number: int) -> Run:
        noon = number % 24 == 12
        return Run(MONDAY + number * HOUR_MS, 20 * MINUTE_MS, 1_000_000 if noon else 100_000)

    runs = [hour(n) for n in range(5 * 168) if n != 4 * 168 + 12]
    baseline = taught(runs).baseline
    assert baselines.compare(baseline, hour(5 * 168 + 12)).anomalies == ()
    assert baselines.compare(baseline, hour(5 * 168 + 13)).anomalies == ()


# -- learning --------------------------------------------------------------------------------------


def test_an_unusual_run_is_not_learned() -> None:
    """It is kept apart, until a usual one follows."""
    watched = nights(10)
    watched.see(night(10, profiles=1_000))
    assert len(watched.baseline.runs) == 10
    assert watched.baseline.unusual == (night(10, profiles=1_000),)
    watched.see(night(11))
    assert len(watched.baseline.runs) == 11
    assert watched.baseline.unusual == ()


def test_a_run_teaches_once() -> None:
    """Whether it was usual or not, as a sweep may settle a job again."""
    watched = nights(10)
    watched.see(night(10, profiles=1_000))
    before = watched.baseline
    watched.see(night(9))
    watched.see(night(10, profiles=1_000))
    assert watched.baseline == before


@pytest.mark.parametrize(
    "profiles",
    [
        [300_000, 3_000_000, 300_000],
        [300_000, 100_000, 30_000],
        [300_000, 1_000_000, 300_000],
    ],
)
def test_runs_that_do_not_agree_are_no_new_usual(profiles: list[int]) -> None:
    """On either side, far from each other, or with a usual one in between."""
    watched = nights(40)
    seen = [watched.see(night(40 + n, count)) for n, count in enumerate(profiles)]
    assert all(one.new_usual == () for one in seen)
    assert baselines.compare(watched.baseline, night(50)).usual_profiles == 1_000_000


def test_runs_that_are_unusual_in_another_way_are_not_in_a_row() -> None:
    """Two slow runs with nearly as many profiles as usual don't make a drop the new usual."""
    watched = nights(40)
    seen = [watched.see(night(40 + n, p, 90)) for n, p in enumerate([900_000, 900_000, 660_000])]
    assert seen[-1].new_usual == ("SLOW",)
    assert seen[-1].anomalies == ("VOLUME_DROP", "SLOW")


def test_a_new_usual_time_leaves_the_usual_volume() -> None:
    """Only what has changed is learned anew."""
    watched = nights(40)
    for number in range(40, 43):
        watched.see(night(number, minutes=80))
    comparison = baselines.compare(watched.baseline, night(43, profiles=1_000, minutes=300))
    assert comparison.anomalies == ("VOLUME_DROP",)
    assert comparison.usual_duration_ms == 80 * MINUTE_MS
    assert comparison.settled == {"VOLUME"}


def test_what_is_unusual_in_another_way_is_not_learned_with_it() -> None:
    """Three drops that agree, each slow in another degree: the volume is usual, the time is not."""
    watched = nights(40)
    for number, minutes in enumerate((50, 200, 800)):
        comparison = watched.see(night(40 + number, 300_000, minutes))
    assert comparison.anomalies == ("VOLUME_DROP", "SLOW")
    assert comparison.new_usual == ("VOLUME_DROP",)
    assert [run.duration_ms for run in watched.baseline.runs[-3:]] == [None] * 3
    assert baselines.compare(watched.baseline, night(43)).usual_duration_ms == 20 * MINUTE_MS


def test_an_older_unusual_run_is_not_in_a_row() -> None:
    """Jobs may end in another order than they began; only runs after one another count."""
    watched = nights(40)
    for number in (44, 43):
        watched.see(night(number, profiles=300_000))
    assert watched.baseline.unusual == (night(44, profiles=300_000),)


def test_a_person_can_say_it_sooner() -> None:
    """What is unusual about that run is usual from then on; the rest stays known."""
    watched = nights(40)
    run = night(40, profiles=300_000)
    watched.see(run)
    watched.baseline = baselines.accept(watched.baseline, run)
    comparison = watched.see(night(41, profiles=290_000))
    assert (comparison.anomalies, comparison.usual_profiles) == ((), 300_000)
    assert watched.baseline.unusual == ()
    assert baselines.compare(watched.baseline, night(42, minutes=80)).anomalies == ("SLOW",)


@pytest.mark.unmeasured
def test_what_is_kept_is_bounded_in_time_and_number() -> None:
    """Four weeks, and 672 runs at most; a later run makes an old one go."""
    watched = Watched()
    for number in range(3 * 672):
        watched.see(Run(MONDAY + number * HOUR_MS // 2, 1_000, 10))
    assert len(watched.baseline.runs) == MAX_RUNS
    watched.see(night(100))
    assert watched.baseline.runs == (night(100),)


@pytest.mark.unmeasured
@pytest.mark.parametrize("minutes", [1, 5, 14])
def test_an_export_every_few_minutes_is_known_after_a_week(minutes: int) -> None:
    """Its last 672 runs would span less; those half an hour apart are kept for longer."""
    watched = Watched()
    every_ms = minutes * MINUTE_MS
    for number in range(10 * DAY_MS // every_ms):
        run = Run(MONDAY + number * every_ms, MINUTE_MS, 1_000_000)
        watched.baseline = baselines.learn(watched.baseline, run, Comparison())
    assert len(watched.baseline.runs) <= MAX_RUNS
    late = Run(MONDAY + 10 * DAY_MS, 9 * MINUTE_MS, 10)
    assert baselines.compare(watched.baseline, late).anomalies == ("VOLUME_DROP", "SLOW")


def test_old_runs_are_not_compared_with() -> None:
    """An export that was not run for four weeks starts anew."""
    comparison = baselines.compare(nights(20).baseline, night(60, profiles=1))
    assert (comparison.anomalies, comparison.usual_profiles) == ((), None)


counts = st.none() | st.integers(0, 10**14)
runs = st.builds(
    Run,
    created_at=st.integers(MONDAY, MONDAY + 8 * WEEK_MS),
    duration_ms=counts,
    profiles=counts,
)


@given(st.lists(runs, max_size=60))
def test_any_runs_can_be_learned(some: list[Run]) -> None:
    """Of whatever values, in whatever order: nothing fails, and the bounds hold."""
    watched = Watched()
    for run in some:
        comparison = watched.see(run)
        assert set(comparison.new_usual) <= set(comparison.anomalies)
        kept = watched.baseline.runs
        assert list(kept) == sorted(kept, key=lambda one: one.created_at)
        assert not kept or kept[-1].created_at - kept[0].created_at < KEPT_MS
        assert len(watched.baseline.unusual) <= 2
    again = watched.baseline
    for run in some:
        if any(run.created_at == known.created_at for known in (*again.runs, *again.unusual)):
            assert baselines.learn(again, run, Comparison()) == again


def test_a_baseline_without_runs_compares_nothing() -> None:
    """As at a kind's first job."""
    assert baselines.compare(Baseline("prod", "1-a"), night(0)) == Comparison(runs=0)
