"""A monitor in a world in memory: sweeps, and what came of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from export_jobs.model.records import Event
from export_jobs.monitor.decide import DelayPolicy, Policy
from export_jobs.monitor.sweep import Sweeper, SweepReport

from support.memory_table import MemoryTable
from support.world import (
    MemoryAnnouncer,
    MemoryApi,
    MemoryDeadLetters,
    MemoryWakeUps,
    World,
)

NO_DELAYS = Policy(delays=DelayPolicy(limit_ms=10**12))


class Monitor:
    """A monitor in a world: sweeps, and what came of them."""

    def __init__(
        self,
        world: World,
        policy: Policy = NO_DELAYS,
        *,
        api: MemoryApi | None = None,
        time_left_s: Callable[[], float] = lambda: math.inf,
        page_size: int = 100,
    ) -> None:
        self.world = world
        self.sweeper = Sweeper(
            api=api or MemoryApi(world),
            table=MemoryTable(world),
            announcer=MemoryAnnouncer(world),
            dead_letters=MemoryDeadLetters(world),
            wake_ups=MemoryWakeUps(world),
            policy=policy,
            clock=world.clock,
            time_left_s=time_left_s,
            page_size=page_size,
            workers=1,
        )

    def sweep(self, sandbox: str = "prod", *, watched: bool = True) -> SweepReport:
        report = self.sweeper.sweep(sandbox, watched=watched)
        assert report.problems == []
        return report

    def cost(self, sandbox: str = "prod") -> dict[str, int]:
        """The calls of one sweep, by kind."""
        self.world.calls = Counter()
        self.sweep(sandbox)
        return dict(self.world.calls)

    def said(self, sink: str = "bus") -> list[tuple[str, str]]:
        """What a sink has received since the last time: job and status."""
        events, self.world.told[sink] = self.world.told[sink], []
        return [(event.detail["jobId"], event.detail["status"]) for event in events]

    def events(self, sink: str = "bus") -> list[Event]:
        events, self.world.told[sink] = self.world.told[sink], []
        return events
