"""A monitor on fakes: its sweeps and their results."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from export_jobs.model.delays import DelayPolicy
from export_jobs.model.records import Event
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepReport
from export_jobs.monitor.sweep import Sweeper

from support.fake_store import FakeStore
from support.fakes import (
    FakeApi,
    FakeDeadLetterQueue,
    FakePublisher,
    FakeRequestQueue,
    Fakes,
)

NO_DELAYS = MonitorPolicy(delays=DelayPolicy(limit_ms=10**12))


class Monitor:
    """A monitor on fakes: its sweeps and their results."""

    def __init__(
        self,
        fakes: Fakes,
        policy: MonitorPolicy = NO_DELAYS,
        *,
        api: FakeApi | None = None,
        time_left_s: Callable[[], float] = lambda: math.inf,
        page_size: int = 100,
    ) -> None:
        self.fakes = fakes
        self.sweeper = Sweeper(
            api=api or FakeApi(fakes),
            store=FakeStore(fakes),
            publisher=FakePublisher(fakes),
            dead_letter_queue=FakeDeadLetterQueue(fakes),
            request_queue=FakeRequestQueue(fakes),
            policy=policy,
            clock=fakes.clock,
            time_left_s=time_left_s,
            page_size=page_size,
            workers=1,
        )

    def sweep(self, sandbox: str = "prod", *, watched: bool = True) -> SweepReport:
        report = self.sweeper.sweep(sandbox, watched=watched)
        assert report.problems == []
        return report

    def run(self, *sandboxes: str) -> list[str]:
        """One invocation, its sweeps one after the other. Returns the problems."""
        names = sandboxes or ("prod",)
        problems = [problem for name in names for problem in self.sweeper.sweep(name).problems]
        return problems + self.sweeper.look_after_digest(names)

    def cost(self, sandbox: str = "prod") -> dict[str, int]:
        """The calls of one sweep, by kind."""
        self.fakes.calls = Counter()
        self.sweep(sandbox)
        return dict(self.fakes.calls)

    def published(self, sink: str = "bus") -> list[tuple[str, str]]:
        """Job and status of each event that a sink has received since the last call."""
        events, self.fakes.published[sink] = self.fakes.published[sink], []
        return [(event.detail["jobId"], event.detail["status"]) for event in events]

    def events(self, sink: str = "bus") -> list[Event]:
        events, self.fakes.published[sink] = self.fakes.published[sink], []
        return events
