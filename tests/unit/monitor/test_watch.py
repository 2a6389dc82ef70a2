"""Several sandboxes in one invocation, and sweeps faster than the clock."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract.errors import RetryLater
from export_jobs.monitor.progress import SweepReport
from export_jobs.monitor.watch import Pace, watch
from support.fakes import FakeApi, Fakes
from support.monitor import Monitor

MINUTE_MS = 60_000


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


def test_one_sandbox_s_failure_delays_no_other(fakes: Fakes) -> None:
    """Sandboxes are swept concurrently and independently; every problem is reported at the end."""

    class Troubled(FakeApi):
        def list_jobs(self, sandbox: str, **options: Any) -> Any:
            if sandbox == "down":
                raise RetryLater("out of reach")
            if sandbox == "broken":
                raise ZeroDivisionError
            return super().list_jobs(sandbox, **options)

    monitor = Monitor(fakes, api=Troubled(fakes))
    job = fakes.create("prod").body["id"]
    problems = watch(
        monitor.sweeper,
        ["down", "broken", "prod"],
        pace=Pace(),
        monotonic=lambda: 0.0,
        sleep=lambda _: None,
        reported=lambda _: None,
    )
    assert monitor.published() == [(job, "NEW")]
    assert len(problems) == 2
    assert problems[0].startswith("down: can't list jobs")
    assert problems[1].startswith("broken: unexpected ZeroDivisionError")


def test_how_long_a_sandbox_fails_is_reported_whatever_the_cause(fakes: Fakes) -> None:
    """Even after an unexpected error, and in a process that has never seen the sandbox succeed."""

    class Broken(FakeApi):
        def list_jobs(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError

    monitor = Monitor(fakes, api=Broken(fakes))
    reports: list[SweepReport] = []
    for _ in range(2):
        watch(
            monitor.sweeper,
            ["prod"],
            pace=Pace(),
            monotonic=lambda: 0.0,
            sleep=lambda _: None,
            reported=reports.append,
        )
        fakes.now += 20 * MINUTE_MS
    assert [report.failing_ms // MINUTE_MS for report in reports] == [0, 20]


class Time:
    """A clock that only sleeping advances."""

    def __init__(self, fakes: Fakes) -> None:
        self.now_s = 0.0
        self._fakes = fakes

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._fakes.now += int(seconds * 1000)


def test_faster_than_the_clock_while_jobs_are_open(fakes: Fakes) -> None:
    """With `POLL_SECONDS` an alert comes that soon after the end; if all is quiet, sweeps stop."""
    monitor = Monitor(fakes)
    time = Time(fakes)
    job = fakes.create("prod").body["id"]
    sweeps: list[float] = []

    def reported(_: SweepReport) -> None:
        sweeps.append(time.now_s)
        if time.now_s == 20:
            fakes.move("prod", job, "SUCCEEDED")

    def run() -> None:
        watch(
            monitor.sweeper,
            ["prod"],
            pace=Pace(poll_s=10, period_s=60),
            monotonic=lambda: time.now_s,
            sleep=time.sleep,
            reported=reported,
        )

    run()
    assert sweeps == [0, 10, 20, 30]  # at 30 s the end is seen: nothing is open any more
    assert monitor.published() == [(job, "NEW"), (job, "SUCCEEDED")]
    sweeps.clear()
    time.now_s = 100
    run()
    assert sweeps == [100]
    fakes.create("prod")
    sweeps.clear()
    time.now_s = 200
    run()
    assert sweeps == [200, 210, 220, 230, 240, 250]  # and the next invocation continues at 260


@pytest.mark.parametrize(
    ("poll_s", "moments"),
    [
        (0, [0]),
        (5, list(range(0, 60, 5))),
        (20, [0, 20, 40]),
        (30, [0, 30]),
        (45, [0, 45]),
        (60, [0]),
    ],
)
def test_every_pace_that_can_be_set_sweeps_until_the_next_invocation_takes_over(
    fakes: Fakes, poll_s: int, moments: list[int]
) -> None:
    """Between 0 and 60 seconds; no gap is left at the end of the minute, and no run overlaps."""
    monitor, time = Monitor(fakes), Time(fakes)
    fakes.create("prod")
    sweeps: list[float] = []
    watch(
        monitor.sweeper,
        ["prod"],
        pace=Pace(poll_s=poll_s, period_s=60),
        monotonic=lambda: time.now_s,
        sleep=time.sleep,
        reported=lambda _: sweeps.append(time.now_s),
    )
    assert sweeps == moments
