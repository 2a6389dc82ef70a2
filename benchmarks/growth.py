"""How the time and calls of a sweep grow with open jobs, changes, history and sandboxes.

Measures the core alone, in memory (`sandbox.py`): its CPU time, and the calls that it would make.
Ideally each is a straight line, and the history's is flat.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from export_jobs.monitor.progress import SweepReport
from export_jobs.monitor.sweep import Sweeper
from export_jobs.monitor.watch import Pace, watch

from benchmarks.cost import API, AWS
from benchmarks.cost import calls as calls_of
from benchmarks.measuring import LONG, Spread, cpu_s, in_turns, line_through, repeated
from benchmarks.report import Plot, Section
from benchmarks.sandbox import Service, sweeper_of

TURNS = 20 if LONG else 5
USUAL_HISTORY = 1_000
OPEN_JOBS = (10, 50, 100, 250, 500, 750, 1_000)
CHANGES = (10, 50, 100, 250, 500, 1_000)
HISTORY = (100, 1_000, 10_000, 100_000, 500_000, 1_000_000)
"""From one full page up."""
EXPECTATIONS = (0, 10, 100, 300, 1_000)
KINDS = (0, 10, 100, 1_000, 10_000)
QUIET_SWEEPS = 10
"""In one measurement."""
SANDBOXES = (1, 2, 4, 8, 16, 32)
HOW = (
    f"A slope is the cost of one more, by the straight line through the medians of {TURNS} turns "
    "at each size; R² is how much of the variation the line explains. Where nothing grows, the "
    "slope of the time is noise, and so is its R². Calls are all network calls, to Adobe and AWS."
)


Measured = tuple[float, int]
"""Seconds of CPU time, and calls."""


@dataclass(frozen=True)
class Growing:
    """Something that grows; `make` prepares a size, and returns a function that measures it."""

    name: str
    sizes: tuple[int, ...]
    make: Callable[[int], Callable[[], Measured]]


@dataclass(frozen=True)
class Grown:
    """The medians at each size."""

    cpu_s: list[tuple[float, float]]
    calls: list[tuple[float, float]]


def open_jobs(size: int) -> Callable[[], Measured]:
    """A quiet sweep of a sandbox with this number of open jobs."""
    service = Service(USUAL_HISTORY)
    sweeper = sweeper_of(service)
    for _ in range(size):
        service.move(service.create(), "PROCESSING")
    sweeper.sweep("prod")
    return lambda: measured([service.calls], lambda: swept(sweeper))


def changes(size: int) -> Callable[[], Measured]:
    """A sweep with this number of new jobs that have ended: one event each for both sinks."""

    def measure() -> Measured:
        service = Service(USUAL_HISTORY)
        sweeper = sweeper_of(service)
        sweeper.sweep("prod")
        for _ in range(size):
            service.move(service.create(), "SUCCEEDED")
        return measured([service.calls], lambda: swept(sweeper, changes=size), times=1)

    return measure


def history(size: int) -> Callable[[], Measured]:
    """A quiet sweep of a sandbox with this number of jobs that ended long ago."""
    service = Service(size)
    sweeper = sweeper_of(service)
    sweeper.sweep("prod")
    return lambda: measured([service.calls], lambda: swept(sweeper))


def expectations(size: int) -> Callable[[], Measured]:
    """A quiet sweep of a sandbox with this number of expected exports, none of which is due."""
    service = Service(USUAL_HISTORY)
    sweeper = sweeper_of(service, expectations=size)
    sweeper.sweep("prod")
    return lambda: measured([service.calls], lambda: swept(sweeper))


def kinds(size: int) -> Callable[[], Measured]:
    """A sweep in which one job ends, of a sandbox with the baselines of this number of kinds."""
    service = Service(USUAL_HISTORY)
    sweeper = sweeper_of(service, kinds=size)
    sweeper.sweep("prod")

    def end_one() -> None:
        service.move(service.create(), "SUCCEEDED")
        swept(sweeper, changes=1)

    return lambda: measured([service.calls], end_one)


def sandboxes(size: int) -> Callable[[], Measured]:
    """One invocation that sweeps this number of quiet sandboxes, each in a thread."""
    names = [f"sandbox-{number}" for number in range(size)]
    services = {name: Service(USUAL_HISTORY) for name in names}
    sweepers = {name: sweeper_of(service) for name, service in services.items()}
    for sweeper in sweepers.values():
        sweeper.sweep("prod")

    class All:
        def sweep(self, sandbox: str, *, watched: bool = True) -> SweepReport:
            return sweepers[sandbox].sweep(sandbox, watched=watched)

        def look_after_digest(self, sandboxes: Sequence[str]) -> list[str]:
            return []  # each sweeper has a table of its own

    def watched() -> None:
        problems = watch(
            cast("Sweeper", All()),
            names,
            pace=Pace(),
            monotonic=lambda: 0.0,
            sleep=lambda _: None,
            reported=lambda _: None,
        )
        assert not problems, problems

    return lambda: measured([service.calls for service in services.values()], watched)


GROWING = (
    Growing("open jobs", OPEN_JOBS, open_jobs),
    Growing("changes in one sweep", CHANGES, changes),
    Growing("ended jobs in the history", HISTORY, history),
    Growing("expected exports", EXPECTATIONS, expectations),
    Growing("kinds of exports", KINDS, kinds),
    Growing("sandboxes", SANDBOXES, sandboxes),
)


def swept(sweeper: Sweeper, *, changes: int = 0) -> None:
    report = sweeper.sweep("prod")
    assert not report.problems, report.problems
    assert report.changes == changes, (report.changes, changes)


def measured(
    counted: Sequence[Counter[str]], work: Callable[[], None], *, times: int = QUIET_SWEEPS
) -> Measured:
    """The time and calls of the work, averaged over `times`."""
    for calls in counted:
        calls.clear()
    took = cpu_s(repeated(times, work))
    made = sum(int(calls_of(calls, (*API, *AWS))) for calls in counted)
    return took / times, made // times


def grown(growing: Growing, *, turns: int = TURNS) -> Grown:
    found = in_turns({str(size): growing.make(size) for size in growing.sizes}, turns=turns)
    result = Grown([], [])
    for size in growing.sizes:
        times, calls = zip(*found[str(size)], strict=True)
        result.cpu_s.append((size, Spread(times).median))
        result.calls.append((size, calls[-1]))
    return result


def run() -> Section:
    rows, plots = [], []
    for growing in GROWING:
        found = grown(growing)
        time_line, calls_line = line_through(found.cpu_s), line_through(found.calls)
        first, last = found.cpu_s[0], found.cpu_s[-1]
        rows.append(
            (
                f"{growing.name}, {first[0]:,} to {last[0]:,}",
                f"{_ms(first[1])} to {_ms(last[1])}",
                f"{time_line.slope * 1e6:,.2f} µs",
                f"{time_line.fit:.3f}",
                f"{found.calls[0][1]:,} to {found.calls[-1][1]:,}",
                f"{calls_line.slope:,.3f}",
                f"{calls_line.fit:.3f}",
            )
        )
        plots.append(
            Plot(
                f"growth-{growing.name.replace(' ', '-')}",
                f"CPU time of a sweep, by {growing.name}",
                growing.name,
                "ms",
                {
                    "measured": [(size, took * 1000) for size, took in found.cpu_s],
                    "straight line": [
                        (size, (time_line.start + time_line.slope * size) * 1000)
                        for size, _ in found.cpu_s
                    ],
                },
            )
        )
    return Section(
        "Growth",
        "python -m benchmarks growth",
        ("as these grow", "CPU", "one more", "R²", "calls", "one more", "R²"),
        rows,
        remarks=(HOW,),
        plots=plots,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.2f} ms"
