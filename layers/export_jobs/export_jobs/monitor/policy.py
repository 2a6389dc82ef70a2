"""How one deployment wants its sandboxes watched."""

from __future__ import annotations

from dataclasses import dataclass, field

from export_jobs.events.policy import EventPolicy
from export_jobs.model.capacity import DelayPolicy


@dataclass(frozen=True)
class MonitorPolicy:
    """How one deployment wants its sandboxes watched.

    `max_open`: exports that may be open at once.
    """

    events: EventPolicy = field(default_factory=EventPolicy)
    delays: DelayPolicy = field(default_factory=DelayPolicy)
    max_open: int = 20
    overlap_ms: int = 15 * 60_000
    first_lookback_ms: int = 7 * 24 * 3_600_000
