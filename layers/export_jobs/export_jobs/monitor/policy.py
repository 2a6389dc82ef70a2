"""How sandboxes are watched in one deployment."""

from __future__ import annotations

from dataclasses import dataclass, field

from export_jobs.events.policy import DigestPolicy, EventPolicy
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.limits import DAY_MS


@dataclass(frozen=True)
class MonitorPolicy:
    """How sandboxes are watched in one deployment.

    `max_open` is the cap: how many exports may be open in a sandbox at once. `digest` is None if
    there is no daily digest. A first sweep looks back `first_lookback_ms`, as far as baselines do.
    """

    events: EventPolicy = field(default_factory=EventPolicy)
    delays: DelayPolicy = field(default_factory=DelayPolicy)
    digest: DigestPolicy | None = None
    max_open: int = 20
    overlap_ms: int = 15 * 60_000
    first_lookback_ms: int = 28 * DAY_MS
