"""A sandbox that is swept by real parts, until nothing is left to do, while a fault strikes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace

import pytest
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.model.ports import StoreUnavailable
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper

from support.faults import BATCHES, ProcessDied
from support.local import Bench

MAX_ROUNDS = 12


@dataclass
class Life(ABC):
    """One after the other, a test changes what there is to see, and sweeps until quiet."""

    bench: Bench
    sandbox: str
    policy: MonitorPolicy = field(default_factory=MonitorPolicy)
    began: list[int] = field(default_factory=list)
    """The number of each sweep's first call."""

    def __post_init__(self) -> None:
        self._sweeper = self._new_sweeper()

    @abstractmethod
    def is_at_rest(self) -> bool:
        """Whether nothing is left to do after a sweep that has found nothing."""

    def sweep_until_quiet(self) -> None:
        """Runs the monitor, as the schedule would, until a run finds nothing to do."""
        for _ in range(MAX_ROUNDS):
            self.began.append(len(self._calls()))
            try:
                report = self._sweeper.sweep(self.sandbox)
            except ProcessDied:
                self._sweeper = self._new_sweeper()
            except StoreUnavailable:
                pass  # the invocation fails, and the schedule starts the next
            else:
                if not (report.problems or report.changes) and self.is_at_rest():
                    return
            self.bench.clock.advance(minutes=7)
        pytest.fail("the monitor does not come to rest")

    @property
    def tables(self) -> DynamoDbStore:
        """Those of the sandbox, which no fault strikes."""
        return replace(self.bench, injector=None).store

    @property
    def struck_calls(self) -> set[str]:
        """The operations that a fault has struck."""
        injector = self.bench.injector
        return {call for call, _ in injector.struck} if injector else set()

    def had_published(self) -> bool:
        """Whether the sweep that a fault struck had published what it had not yet settled."""
        assert self.bench.injector
        (number,) = self.bench.injector.strikes
        began = max(first for first in self.began if first <= number)
        return bool(BATCHES.keys() & set(self._calls()[began : number + 1]))

    def _calls(self) -> list[str]:
        return self.bench.injector.calls if self.bench.injector else []

    def _new_sweeper(self) -> Sweeper:
        """A new process, without any state."""
        return self.bench.sweeper(self.policy, workers=1)
