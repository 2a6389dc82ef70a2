"""Watching several sandboxes in one invocation: each on its own, and faster than the clock if asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export_jobs.model.concurrently import each
from export_jobs.monitor.sweep import Sweeper, SweepReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pace:
    """How often an invocation sweeps: once if `poll_s` is 0, else every `poll_s` while jobs are open.

    After `period_s` the next invocation takes over.
    """

    poll_s: float = 0.0
    period_s: float = 60.0


def watch(
    sweeper: Sweeper,
    sandboxes: Sequence[str],
    *,
    pace: Pace,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
    reported: Callable[[SweepReport], None],
) -> list[str]:
    """Sweeps every sandbox, each in a thread of its own; `reported` is called after each sweep.

    Returns what is wrong, a line a problem; empty when all is well. One sandbox's trouble keeps no
    other from being swept.
    """
    ends = monotonic() + pace.period_s

    def watch_one(sandbox: str) -> list[str]:
        while True:
            report = _swept(sweeper, sandbox)
            reported(report)
            quiet = not report.open_jobs and not report.unfinished
            over = monotonic() + pace.poll_s >= ends
            if pace.poll_s <= 0 or report.problems or quiet or over:
                return [f"{sandbox}: {problem}" for problem in report.problems]
            sleep(pace.poll_s)

    return [line for lines in each(watch_one, sandboxes, workers=len(sandboxes)) for line in lines]


def _swept(sweeper: Sweeper, sandbox: str) -> SweepReport:
    try:
        return sweeper.sweep(sandbox)
    except Exception as error:
        logger.exception("sweep of %s failed unexpectedly", sandbox)
        return SweepReport(sandbox, problems=[f"unexpected {type(error).__name__}; see the log"])
