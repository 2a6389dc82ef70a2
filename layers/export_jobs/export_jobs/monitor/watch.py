"""Sweeps several sandboxes in one invocation, independently and repeatedly if configured so."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from export_jobs.model.concurrently import each
from export_jobs.model.ports import SandboxRegister, StoreUnavailable
from export_jobs.monitor.progress import SweepReport
from export_jobs.monitor.sweep import Sweeper

logger = logging.getLogger(__name__)

RELEASED_AFTER_S = 15 * 60.0


@dataclass(frozen=True)
class Pace:
    """How often an invocation sweeps: once if `poll_s` is 0, or every `poll_s` while jobs are open.

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
    """Sweeps every sandbox, each in its own thread; calls `reported` after each sweep.

    Then sends the daily digest if it is due. Returns the problems, one per line; empty if there are
    none. A problem of one sandbox does not affect the others.
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

    watched = each(watch_one, sandboxes, workers=len(sandboxes))
    return [*(line for lines in watched for line in lines), *_digest_problems(sweeper, sandboxes)]


class FormerSandboxes:
    """Sandboxes that are no longer watched: swept until nothing in them is unfinished.

    They are known from a list of all sandboxes ever watched, which is read once per process. Their
    sweep states are deleted at once, so that a sandbox that is watched again starts as new.
    """

    def __init__(
        self,
        register: SandboxRegister,
        watched: Sequence[str],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._register = register
        self._watched = frozenset(watched)
        self._monotonic = monotonic
        self._former: set[str] | None = None
        self._finished_since: dict[str, float] = {}

    def look_after(self, sweeper: Sweeper) -> None:
        """Sweeps each once. Problems are only logged, as nobody depends on these sandboxes."""
        try:
            for sandbox in sorted(self._known()):
                report = _swept(sweeper, sandbox, watched=False)
                for problem in report.problems:
                    logger.warning("sandbox %s, which is no longer watched: %s", sandbox, problem)
                if not report.finished:
                    self._finished_since.pop(sandbox, None)
                elif self._has_been_finished(sandbox):
                    self._register.release(sandbox)
                    self._known().discard(sandbox)
                    logger.info("sandbox %s is no longer watched, and finished", sandbox)
        except StoreUnavailable as error:
            logger.warning("sandboxes that are no longer watched: %s", error)

    def _has_been_finished(self, sandbox: str) -> bool:
        """Whether it has been for a while; during a deployment, an old creator may still write."""
        now = self._monotonic()
        return now - self._finished_since.setdefault(sandbox, now) >= RELEASED_AFTER_S

    def _known(self) -> set[str]:
        if self._former is None:
            listed = self._register.watched()
            self._register.watch(self._watched - listed)
            former = listed - self._watched
            for sandbox in former:
                self._register.forget(sandbox)
            self._former = set(former)
        return self._former


def _swept(sweeper: Sweeper, sandbox: str, *, watched: bool = True) -> SweepReport:
    try:
        return sweeper.sweep(sandbox, watched=watched)
    except Exception as error:
        logger.exception("sweep of %s failed unexpectedly", sandbox)
        problem = f"unexpected {type(error).__name__}; see the log"
        return SweepReport(sandbox, problems=[problem], failing_ms=sweeper.failing_ms(sandbox))


def _digest_problems(sweeper: Sweeper, sandboxes: Sequence[str]) -> list[str]:
    try:
        problems = sweeper.look_after_digest(sandboxes)
    except Exception as error:
        logger.exception("the daily digest failed unexpectedly")
        problems = [f"unexpected {type(error).__name__}; see the log"]
    return [f"the daily digest: {problem}" for problem in problems]
