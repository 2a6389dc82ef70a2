"""Decides what is unusual, and what a baseline learns: functions of values, without any I/O.

docs/baselines.md explains the rule, and states how often it is wrong. Values are compared by their
logarithms: half as many and twice as many are equally far from usual.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Final

from export_jobs.model.baselines import Anomaly, Baseline, Comparison, Metric, Run, Stage, Usual
from export_jobs.model.limits import DAY_MS
from export_jobs.model.records import JobRecord

VOLUME_FLOOR: Final = math.log(1.5)
"""The least distance from usual that is unusual: a drop by a third, or half as many again."""
DURATION_FLOOR: Final = math.log(2)
DEVIATIONS: Final = 4.0
"""How many standard deviations from usual are unusual, if that is more."""

WEEK_MS: Final = 7 * DAY_MS
KEPT_MS: Final = 4 * WEEK_MS + DAY_MS // 2
"""Four weeks, and half a day because a daily export does not start at the same moment every day."""
MAX_RUNS: Final = 672
"""One an hour for 28 days. If there are more, those at least half an hour apart are kept."""
APART_MS: Final = DAY_MS // 48
MIN_RUNS: Final = 7
MIN_SPAN_MS: Final = WEEK_MS - DAY_MS // 2
"""With fewer runs, or less than a week of them, nothing is unusual: they may lack a weekend."""
FOUR_WEEKS_MS: Final = 4 * WEEK_MS - 3 * DAY_MS // 2
"""Runs that span this time cover four weeks; one day may be missing."""
PEER_WITHIN_MS: Final = DAY_MS // 2
"""How far runs of other weeks may be from the same moment; less if there are several a day."""
MIN_PEERS: Final = 3
IN_A_ROW: Final = 3
"""So many unusual runs in a row that agree are the new usual."""


@dataclass(frozen=True)
class _Metric:
    """One of the values that are compared, and the names of what is unusual about it."""

    name: Metric
    value: Callable[[Run], int | None]
    floor: float
    high: Anomaly
    low: Anomaly | None = None


_VOLUME: Final = _Metric(
    "VOLUME", lambda run: run.profiles, VOLUME_FLOOR, high="VOLUME_SPIKE", low="VOLUME_DROP"
)
_DURATION: Final = _Metric("DURATION", lambda run: run.duration_ms, DURATION_FLOOR, high="SLOW")
_METRICS: Final = {metric.name: metric for metric in (_VOLUME, _DURATION)}


@dataclass(frozen=True)
class _Compared:
    """A value beside what is usual; `residual` is the difference of their logarithms."""

    usual: int | None = None
    ratio: float | None = None
    residual: float = 0.0
    anomaly: Anomaly | None = None


def run_of(job: JobRecord) -> Run:
    """What can be compared of a job: of one that is open or has failed, nothing."""
    if job.status != "SUCCEEDED":
        return Run(job.creation_time)
    return Run(job.creation_time, job.duration_ms, job.profiles_exported)


def compare(baseline: Baseline, run: Run) -> Comparison:
    """Compares a run with a baseline. A value that is None is not compared."""
    series = [_Series.of(baseline, metric, at=run.created_at) for metric in (_VOLUME, _DURATION)]
    volume, duration = (one.compare(run) for one in series)
    anomalies = tuple(one.anomaly for one in (volume, duration) if one.anomaly)
    return Comparison(
        anomalies=anomalies,
        new_usual=tuple(anomaly for anomaly in anomalies if _is_new_usual(baseline, run, anomaly)),
        usual_duration_ms=duration.usual,
        usual_profiles=volume.usual,
        duration_ratio=duration.ratio,
        profiles_ratio=volume.ratio,
        runs=len(baseline.runs),
        settled=frozenset(one.metric.name for one in series if one.is_settled),
    )


def usual_at(baseline: Baseline, metric: Metric, *, at: int) -> Usual:
    """What is usual for a run that is created at that moment, and beyond which values it is not."""
    return _Series.of(baseline, _METRICS[metric], at=at).usual_now()


def learn(baseline: Baseline, run: Run, comparison: Comparison) -> Baseline:
    """The baseline after a run that ended well; a run that it knows changes nothing.

    `comparison` is that of the run with this baseline. An unusual run is not learned unless it is
    the third in a row that is unusual in the same way. Those three replace what was usual in that
    respect.
    """
    if knows(baseline, run):
        return baseline
    if not comparison.anomalies:
        newest = not baseline.unusual or run.created_at > baseline.unusual[-1].created_at
        return replace(_with_runs(baseline, [run]), unusual=() if newest else baseline.unusual)
    if comparison.new_usual:
        return _with_new_usual(baseline, [*baseline.unusual[1 - IN_A_ROW :], run], comparison)
    if run.created_at < baseline.newest_at:  # in a row are only those that came one after the other
        return baseline
    return replace(baseline, unusual=(*baseline.unusual, run)[1 - IN_A_ROW :])


def knows(baseline: Baseline, run: Run) -> bool:
    """Whether it has learned from a run, by the time at which its job was created."""
    return any(run.created_at == known.created_at for known in (*baseline.runs, *baseline.unusual))


def accept(baseline: Baseline, run: Run) -> Baseline:
    """The baseline after a person has said that an unusual run is the new usual."""
    comparison = compare(baseline, run)
    comparison = replace(comparison, new_usual=comparison.anomalies)
    others = tuple(known for known in baseline.runs if known.created_at != run.created_at)
    return _with_new_usual(replace(baseline, runs=others), [run], comparison)


def _with_new_usual(baseline: Baseline, runs: Sequence[Run], comparison: Comparison) -> Baseline:
    """Forgets what was usual where it has changed, and learns the runs, but nothing else unusual."""
    forgotten = [_without(run, comparison.new_usual) for run in baseline.runs]
    left = [anomaly for anomaly in comparison.anomalies if anomaly not in comparison.new_usual]
    learned = [_without(run, left) for run in runs]
    return replace(_with_runs(replace(baseline, runs=tuple(forgotten)), learned), unusual=())


def _without(run: Run, anomalies: Iterable[Anomaly]) -> Run:
    for anomaly in anomalies:
        run = replace(run, duration_ms=None) if anomaly == "SLOW" else replace(run, profiles=None)
    return run


def _with_runs(baseline: Baseline, runs: Sequence[Run]) -> Baseline:
    """Keeps the runs of the last weeks, without those of which nothing is known any more."""
    in_order = sorted([*baseline.runs, *runs], key=lambda run: run.created_at)
    oldest = in_order[-1].created_at - KEPT_MS
    kept = [
        run
        for run in in_order
        if run.created_at > oldest and (run.duration_ms, run.profiles) != (None, None)
    ]
    if len(kept) > MAX_RUNS:
        kept = _thinned(kept)
    return replace(baseline, runs=tuple(kept[-MAX_RUNS:]))


def _thinned(runs: Sequence[Run]) -> list[Run]:
    """Without runs right after another: of an export every few minutes, two weeks are kept."""
    kept = [runs[0]]
    for run in runs[1:]:
        if run.created_at - kept[-1].created_at >= APART_MS:
            kept.append(run)
    return kept


def _is_new_usual(baseline: Baseline, run: Run, anomaly: Anomaly) -> bool:
    """Whether a run is the last of three in a row that are unusual in the same way, and agree."""
    row = [*baseline.unusual[1 - IN_A_ROW :], run]
    if len(row) < IN_A_ROW or run.created_at <= baseline.newest_at:
        return False
    metric = _DURATION if anomaly == "SLOW" else _VOLUME
    compared = [_Series.of(baseline, metric, at=one.created_at).compare(one) for one in row]
    residuals = [one.residual for one in compared]
    same = all(one.anomaly == anomaly for one in compared)
    return same and max(residuals) - min(residuals) <= metric.floor


@dataclass(frozen=True)
class _Series:
    """The values of one metric before a moment, oldest first, as logarithms."""

    metric: _Metric
    at: int
    times: Sequence[int]
    logs: Sequence[float]

    @classmethod
    def of(cls, baseline: Baseline, metric: _Metric, *, at: int) -> _Series:
        known = [
            (run.created_at, math.log(value))
            for run in baseline.runs
            if at - KEPT_MS < run.created_at < at and (value := metric.value(run))
        ]
        return cls(metric, at, [time for time, _ in known], [log for _, log in known])

    @property
    def is_settled(self) -> bool:
        """Whether there are enough runs to call another one unusual."""
        return len(self.times) >= MIN_RUNS and self._span_ms >= MIN_SPAN_MS

    @property
    def _span_ms(self) -> int:
        return self.at - self.times[0] if self.times else 0

    @property
    def _covers_four_weeks(self) -> bool:
        return self.is_settled and self._span_ms >= FOUR_WEEKS_MS

    @cached_property
    def _peers(self) -> Sequence[int]:
        """The positions of the runs at the same time of the week; none if there are too few."""
        if not self._covers_four_weeks:
            return []
        nearest = self._nearest_a_week_before(self.at, until=len(self.times))
        found = [] if nearest is None else self._groups[nearest]
        return found if len(found) >= MIN_PEERS else []

    def usual_now(self) -> Usual:
        lowest, highest = self._limits
        settled: Stage = "FOUR_WEEKS" if self._covers_four_weeks else "EARLY"
        return Usual(
            stage=settled if self.is_settled else "LEARNING",
            runs=len(self.times),
            span_ms=self._span_ms,
            usual=round(math.exp(self._usual)) if self.times else None,
            lowest=lowest if self.metric.low else None,
            highest=highest,
        )

    def compare(self, run: Run) -> _Compared:
        value = self.metric.value(run)
        if not self.times:
            return _Compared()
        usual = round(math.exp(self._usual))
        if value is None:
            return _Compared(usual)
        residual = math.log(value) - self._usual if value else -math.inf
        return _Compared(usual, value / math.exp(self._usual), residual, self._anomaly(value))

    def _anomaly(self, value: int) -> Anomaly | None:
        lowest, highest = self._limits
        if highest is not None and value > highest:
            return self.metric.high
        return self.metric.low if lowest is not None and value < lowest else None

    @cached_property
    def _limits(self) -> tuple[int | None, int | None]:
        """The least and the greatest value that are not unusual."""
        if not self.is_settled:
            return None, None
        if self._covers_four_weeks:
            limit = max(self.metric.floor, DEVIATIONS * self._deviation())
            lowest, highest = self._usual - limit, self._usual + limit
        else:
            lowest = min(self.logs) - self.metric.floor
            highest = max(self.logs) + self.metric.floor
        return math.ceil(_value_of(lowest)), math.floor(_value_of(highest))

    @cached_property
    def _usual(self) -> float:
        """The median of the runs at the same time of the week, if there are enough, or of all."""
        return median([self.logs[n] for n in self._peers] if self._peers else self.logs)

    @cached_property
    def _peer_within_ms(self) -> float:
        """Half the usual time between two runs, so that the run of another hour is no peer."""
        between = [later - earlier for earlier, later in pairwise(self.times)]
        return min(PEER_WITHIN_MS, median(between) / 2)

    @cached_property
    def _groups(self) -> Sequence[list[int]]:
        """For each run, the positions of those at the same time of the week, itself among them."""
        groups: list[list[int]] = []
        for position, time in enumerate(self.times):
            earlier = self._nearest_a_week_before(time, until=position)
            group = [] if earlier is None else groups[earlier]
            group.append(position)
            groups.append(group)
        return groups

    def _nearest_a_week_before(self, time: int, *, until: int) -> int | None:
        """The position of the run at that time a week before, or else the last week with one."""
        for weeks in range(1, 5):
            moment = time - weeks * WEEK_MS
            after = bisect_left(self.times, moment, 0, until)
            near = [n for n in (after - 1, after) if 0 <= n < until]
            nearest = min(near, key=lambda n: abs(self.times[n] - moment), default=None)
            if nearest is not None and abs(self.times[nearest] - moment) <= self._peer_within_ms:
                return nearest
        return None

    def _deviation(self) -> float:
        """The standard deviation of runs, each from what the others make usual at its time.

        If too little is known of this time, that of all runs: they differ by the time of the week.
        """
        if not self._peers:
            return math.sqrt(sum((log - self._usual) ** 2 for log in self.logs) / len(self.logs))
        squares = []
        for position, group in enumerate(self._groups):
            others = [self.logs[other] for other in group if other != position]
            if len(others) >= MIN_PEERS - 1:
                squares.append((self.logs[position] - median(others)) ** 2)
        return math.sqrt(sum(squares) / len(squares))


def _value_of(log: float) -> float:
    """Without the error of the last digits, so that a third less than 900 is 600."""
    return float(f"{math.exp(log):.12g}")
