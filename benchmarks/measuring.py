"""Measuring side by side: interleaved runs, medians with their spread, ratios, straight lines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Spread) -> Spread:
        """The ratios to what was measured in the same turns."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def as_ratio(self) -> str:
        return f"**{self.median:.2f}×** ({min(self.values):.2f}–{max(self.values):.2f})"

    def in_ms(self) -> str:
        return f"{self.median * 1000:,.1f} ms"


def interleaved(
    works: Mapping[str, Callable[[], float]], *, turns: int, warm_up: int = 1
) -> dict[str, Spread]:
    """What each work measures, `turns` times, one after the other in every turn.

    So whatever else the machine is doing strikes them all alike. The first turns do not count.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + turns):
        for name, work in works.items():
            measured = work()
            if turn >= warm_up:
                found[name].append(measured)
    return {name: Spread(tuple(values)) for name, values in found.items()}


def cpu_s(work: Callable[[], object]) -> float:
    """Seconds of this process's CPU time, all threads together."""
    began = time.process_time()
    work()
    return time.process_time() - began


def wall_s(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@dataclass(frozen=True)
class Line:
    """The straight line through some points; `fit` is R², 1 where they lie on it."""

    slope: float
    start: float
    fit: float


def line_through(points: Sequence[tuple[float, float]]) -> Line:
    xs, ys = zip(*points, strict=True)
    slope, start = statistics.linear_regression(xs, ys)
    flat = len(set(ys)) == 1
    return Line(slope, start, 1.0 if flat else statistics.correlation(xs, ys) ** 2)
