"""Charts: where runs are drawn, and from where to where they are usual."""

from __future__ import annotations

import pytest
from export_jobs.events.wording import span
from export_jobs.model.baselines import Baseline, Run, Usual
from export_jobs_cli.output import number
from export_jobs_cli.page.charts import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, bullet_of, chart_of
from hypothesis import example, given
from hypothesis import strategies as st
from support.pages import DAY_MS, NOW, TONIGHT, job_record, reading

SINCE = NOW - 28 * DAY_MS
NIGHTLY = Baseline(
    "prod", "1-a", runs=tuple(Run(SINCE + n * DAY_MS, 600_000, 1_000) for n in range(28))
)
counts = st.integers(0, 10**12)


def test_a_run_is_drawn_at_its_time_and_its_value() -> None:
    """From the first to the last moment, and from 0 up to the highest tick."""
    jobs = reading(
        job_record("1", at=SINCE, profiles=0), job_record("2", at=NOW, profiles=1_000)
    ).jobs
    chart = chart_of("P", "VOLUME", jobs, None, since=SINCE, now=NOW, in_words=number)
    assert chart
    newest, oldest = chart.points
    assert (oldest.x, oldest.y) == (LEFT, HEIGHT - BOTTOM)
    assert newest.x == WIDTH - RIGHT
    assert [tick.label for tick in chart.up] == ["0", "500", "1,000"]
    assert newest.y == chart.up[-1].at


@given(st.lists(counts, min_size=1, max_size=20))
def test_every_run_is_within_the_chart(values: list[int]) -> None:
    """Whatever its value is, and with round ticks that differ."""
    times = (TONIGHT, 0, SINCE - DAY_MS)  # unknown, and before all that is shown
    jobs = reading(
        *(job_record(str(n), at=times[n % 3], profiles=value) for n, value in enumerate(values))
    ).jobs
    chart = chart_of("P", "VOLUME", jobs, NIGHTLY, since=SINCE, now=NOW, in_words=number)
    assert chart
    for point in chart.points:
        assert LEFT <= point.x <= WIDTH
        assert 0 <= point.y <= HEIGHT
    labels = [tick.label for tick in chart.up]
    assert len(set(labels)) == len(labels) <= 7


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=9))
@example([90_001])  # 90 s and 120 s are both "2 min"
def test_the_ticks_of_durations_differ(values: list[int]) -> None:
    """They are whole seconds, minutes or hours."""
    jobs = reading(*(job_record(str(n), took_ms=value) for n, value in enumerate(values))).jobs
    chart = chart_of("D", "DURATION", jobs, None, since=SINCE, now=NOW, in_words=span)
    assert chart
    labels = [tick.label for tick in chart.up]
    assert len(set(labels)) == len(labels)


def test_the_band_begins_when_enough_is_known() -> None:
    """Seven runs and about a week; the line of the usual value begins with the first run."""
    jobs = reading(job_record("1", at=NOW)).jobs
    chart = chart_of("P", "VOLUME", jobs, NIGHTLY, since=SINCE, now=NOW, in_words=number)
    assert chart
    (band,), (line,) = chart.bands, chart.usual
    first_of_band = float(band.split()[0].split(",")[0])
    first_of_line = float(line.split()[0].split(",")[0])
    a_week = (WIDTH - LEFT - RIGHT) / 4
    assert first_of_line < LEFT + a_week / 2
    assert 0.9 * a_week < first_of_band - LEFT < 1.1 * a_week
    assert "usual now: 1,000" in chart.summary


def test_a_limit_far_beyond_the_runs_does_not_press_them_flat() -> None:
    """As after a few runs that differed a lot: the band is cut, not the runs."""
    wild = Baseline(
        "prod",
        "1-a",
        runs=tuple(Run(SINCE + n * DAY_MS, 600_000, 10 ** (3 + n % 6)) for n in range(28)),
    )
    jobs = reading(job_record("1", at=NOW, profiles=1_000)).jobs
    chart = chart_of("P", "VOLUME", jobs, wild, since=SINCE, now=NOW, in_words=number)
    assert chart
    (point,) = chart.points
    assert point.y < HEIGHT - BOTTOM - 30


def test_without_a_value_there_is_no_chart() -> None:
    """As of jobs that failed, or still run."""
    jobs = reading(
        job_record("1", "FAILED", profiles=None), job_record("2", "PROCESSING", profiles=5)
    ).jobs
    assert chart_of("P", "VOLUME", jobs, None, since=SINCE, now=NOW, in_words=number) is None


@given(counts, counts | st.none(), counts | st.none(), counts | st.none())
def test_a_bullet_never_leaves_its_place(
    value: int, usual: int | None, lowest: int | None, highest: int | None
) -> None:
    """All of it is between 0 and 100."""
    made = bullet_of(value, Usual("EARLY", 9, 9, usual, lowest, highest))
    for at in (made.value, made.lowest, made.highest, made.usual or 0):
        assert 0 <= at <= 100


def test_a_bullet_shows_a_value_below_the_band() -> None:
    """That is what people look for."""
    made = bullet_of(300, Usual("FOUR_WEEKS", 28, 28, 1_000, 666, 1_500))
    assert made.value < made.lowest < (made.usual or 0) < made.highest


@pytest.mark.parametrize("value", [0, 1])
def test_a_value_of_nearly_nothing_can_be_seen(value: int) -> None:
    """Otherwise it would look like a missing one."""
    assert bullet_of(value, Usual("EARLY", 9, 9, 10**6)).value > 0.5
