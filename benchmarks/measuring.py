"""Measures side by side: interleaved runs, medians with their spread, ratios, straight lines."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")

LONG = bool(os.environ.get("EXPORT_JOBS_LONG"))
"""Whether there is time for more turns, and so for less noise."""


@dataclass(frozen=True)
class Spread:
    """Several measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def over(self, other: Spread) -> Spread:
        """The ratios to the other's measurements in the same turns."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))

    def as_ratio(self) -> str:
        return f"**{self.median:.2f}×** ({min(self.values):.2f}–{max(self.values):.2f})"

    def in_ms(self) -> str:
        return f"{self.median * 1000:,.1f} ms"


def in_turns(
    works: Mapping[str, Callable[[], _T]], *, turns: int, warm_up: int = 1
) -> dict[str, list[_T]]:
    """Calls each function once per turn; returns all results but those of the warm-up.

    So other load on the machine affects all of them alike.
    """
    found: dict[str, list[_T]] = {name: [] for name in works}
    for turn in range(warm_up + turns):
        for name, work in works.items():
            measured = work()
            if turn >= warm_up:
                found[name].append(measured)
    return found


class Timed(NamedTuple):
    """Seconds of this process's CPU time, all threads together, and of elapsed time."""

    cpu_s: float
    wall_s: float


def in_sums(measured: Sequence[Timed], number: int) -> list[Timed]:
    """The sums of each `number` measurements: for turns that are made of several short ones.

    What disturbs the machine for a second then affects all that is compared.
    """
    groups = (measured[start : start + number] for start in range(0, len(measured), number))
    return [Timed(*map(sum, zip(*group, strict=True))) for group in groups]


def timed(work: Callable[[], object]) -> Timed:
    gc.collect()  # so that this work does not pay for the garbage of others
    began_cpu, began = time.process_time(), time.perf_counter()
    work()
    return Timed(time.process_time() - began_cpu, time.perf_counter() - began)


def compared(ours: Sequence[Timed], bare: Sequence[Timed], *, each: int = 1) -> tuple[str, ...]:
    """Cells for CPU and for elapsed time: the ratio, ours and bare, of one out of `each`."""
    cells: list[str] = []
    for ours_s, bare_s in zip(zip(*ours, strict=True), zip(*bare, strict=True), strict=True):
        one, other = (Spread(tuple(s / each for s in found)) for found in (ours_s, bare_s))
        cells += [one.over(other).as_ratio(), one.in_ms(), other.in_ms()]
    return tuple(cells)


def repeated(times: int, work: Callable[[], object]) -> Callable[[], None]:
    """Repeats work that is too short to be measured once."""

    def do() -> None:
        for _ in range(times):
            work()

    return do


def cpu_s(work: Callable[[], object]) -> float:
    return timed(work).cpu_s


def wall_s(work: Callable[[], object]) -> float:
    return timed(work).wall_s


@dataclass(frozen=True)
class Line:
    """The straight line through some points; `fit` is R², 1 if all are on it."""

    slope: float
    start: float
    fit: float


def line_through(points: Sequence[tuple[float, float]]) -> Line:
    xs, ys = zip(*points, strict=True)
    slope, start = statistics.linear_regression(xs, ys)
    flat = len(set(ys)) == 1
    return Line(slope, start, 1.0 if flat else statistics.correlation(xs, ys) ** 2)
