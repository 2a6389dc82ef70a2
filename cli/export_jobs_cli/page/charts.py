"""The geometry of charts, which templates draw as SVG. Lengths are in the chart's own units."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from export_jobs.model.baselines import Baseline, Metric, Usual
from export_jobs.model.calendar import local_time, zone_named
from export_jobs.model.limits import DAY_MS
from export_jobs.monitor.baselines import usual_at

from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.page.marks import Mark, mark_of_job

WIDTH: Final = 640
HEIGHT: Final = 180
LEFT: Final = 64
"""Room for the labels of the vertical axis."""
RIGHT: Final = 12
TOP: Final = 12
BOTTOM: Final = 24
BAND_POINTS: Final = 42
"""Moments at which the band is computed: what is usual differs by the time of the week."""
TICKS: Final = 4
_ROUND_SPANS: Final = tuple(
    seconds * 1_000
    for seconds in (
        *(1, 2, 5, 10, 15, 30),
        *(60, 120, 300, 600, 900, 1_800),
        *(3_600, 7_200, 10_800, 21_600, 43_200, 86_400),
    )
)


@dataclass(frozen=True)
class Point:
    """A run in a chart."""

    x: float
    y: float
    mark: Mark


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """Runs over time, with the band in which they are usual.

    `bands` are the points of polygons, `usual` those of lines, in SVG's notation. `summary` says in
    words what the chart shows.
    """

    title: str
    points: Sequence[Point]
    bands: Sequence[str]
    usual: Sequence[str]
    across: Sequence[Tick]
    up: Sequence[Tick]
    summary: str


def chart_of(
    title: str,
    metric: Metric,
    jobs: Sequence[KnownJob],
    baseline: Baseline | None,
    *,
    since: int,
    now: int,
    in_words: Callable[[int], str],
) -> Chart | None:
    """A chart of what `metric` was of each job since then; None if no job has a value.

    Durations are in milliseconds. `in_words` writes a value.
    """
    value_of = _profiles if metric == "VOLUME" else _duration
    values = [(job, value) for job in jobs if (value := value_of(job)) is not None]
    if not values:
        return None
    usual = _usual_over_time(baseline, metric, since=since, now=now) if baseline else []
    known = [value for _, value in values]
    tops = [one.highest or one.usual or 0 for _, one in usual]
    top = max([*known, *(min(limit, 3 * max(known)) for limit in tops), 1])
    ticks = _ticks(top, _ROUND_SPANS if metric == "DURATION" else (), in_words)
    scale = _Scale(since, now, ticks[-1][0])
    points = [
        Point(scale.x(job.created_at), scale.y(value), mark_of_job(job)) for job, value in values
    ]
    return Chart(
        title,
        points,
        list(_bands(usual, scale)),
        list(_lines(usual, scale)),
        [Tick(scale.x(at), label) for at, label in _days(since, now)],
        [Tick(scale.y(value), label) for value, label in ticks],
        _summary(title, known, usual, in_words),
    )


@dataclass(frozen=True)
class Bullet:
    """One value beside what is usual, from 0 to 100."""

    value: float
    usual: float | None
    lowest: float
    highest: float


def bullet_of(value: int, usual: Usual) -> Bullet:
    """`lowest` and `highest` are where a value begins to be unusual."""
    top = max(value, usual.usual or 0, min(usual.highest or 0, 3 * max(value, usual.usual or 0)), 1)

    def at(what: int) -> float:
        return round(min(100.0, 95 * what / top), 1)

    return Bullet(
        max(0.8, at(value)),  # to be seen
        None if usual.usual is None else at(usual.usual),
        at(usual.lowest or 0),
        100.0 if usual.highest is None else at(usual.highest),
    )


@dataclass(frozen=True)
class _Scale:
    since: int
    until: int
    top: float

    def x(self, at: int) -> float:
        share = min(1.0, max(0.0, (at - self.since) / max(1, self.until - self.since)))
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = min(1.0, max(0.0, value / self.top))
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def _usual_over_time(
    baseline: Baseline, metric: Metric, *, since: int, now: int
) -> list[tuple[int, Usual]]:
    """What was usual at evenly spaced moments, as far as anything was known then."""
    step = (now - since) / (BAND_POINTS - 1)
    moments = [round(since + n * step) for n in range(BAND_POINTS)]
    found = [(at, usual_at(baseline, metric, at=at)) for at in moments]
    return [(at, usual) for at, usual in found if usual.usual is not None]


def _bands(usual: Sequence[tuple[int, Usual]], scale: _Scale) -> list[str]:
    """The polygon between the limits, from where on there are any."""
    limited = [(at, one) for at, one in usual if one.highest is not None]
    if len(limited) < 2:
        return []
    above = [f"{scale.x(at)},{scale.y(one.highest or 0)}" for at, one in limited]
    below = [f"{scale.x(at)},{scale.y(one.lowest or 0)}" for at, one in reversed(limited)]
    return [" ".join([*above, *below])]


def _lines(usual: Sequence[tuple[int, Usual]], scale: _Scale) -> list[str]:
    if len(usual) < 2:
        return []
    return [" ".join(f"{scale.x(at)},{scale.y(one.usual or 0)}" for at, one in usual)]


def _ticks(
    top: float, steps: Sequence[int], in_words: Callable[[int], str]
) -> list[tuple[float, str]]:
    """Round values from 0 up to at least `top`, whose words differ.

    They are multiples of one of the steps, or of a power of ten if `top` is too large for those.
    """
    rough = top / TICKS
    power = 10 ** math.floor(math.log10(rough))
    decimal = (n * power * ten for ten in (1, 10, 100) for n in (1, 2, 5))
    for step in (max(1, one) for one in (*steps, *decimal) if one >= rough):
        values = [n * step for n in range(math.ceil(top / step) + 1)]
        labels = [in_words(round(value)) for value in values]
        if len(set(labels)) == len(labels):
            return list(zip(values, labels, strict=True))
    return [(0, in_words(0)), (top, in_words(round(top)))]


def _days(since: int, now: int) -> list[tuple[int, str]]:
    """Every seventh midnight in UTC, the last one first."""
    midnights = range(now - now % DAY_MS, since, -7 * DAY_MS)
    return [(at, f"{local_time(at, zone_named('UTC')):%d %b}") for at in midnights]


def _summary(
    title: str,
    values: Sequence[int],
    usual: Sequence[tuple[int, Usual]],
    in_words: Callable[[int], str],
) -> str:
    runs = "one run" if len(values) == 1 else f"{len(values)} runs"
    span = f"{runs}, from {in_words(min(values))} to {in_words(max(values))}"
    newest = f"the newest {in_words(values[0])}"
    last = usual[-1][1].usual if usual else None
    now = f"; usual now: {in_words(last)}" if last is not None else ""
    return f"{title}: {span}, {newest}{now}. The table below has each value."


def _profiles(job: KnownJob) -> int | None:
    return job.profiles_exported if job.is_final else None


def _duration(job: KnownJob) -> int | None:
    return job.duration_ms if job.is_final else None
