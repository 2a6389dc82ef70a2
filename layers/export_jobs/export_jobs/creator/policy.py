"""How requests are handled in one deployment."""

from __future__ import annotations

from dataclasses import dataclass, field

from export_jobs.events.policy import EventPolicy
from export_jobs.model.delays import DelayPolicy


@dataclass(frozen=True)
class CreatorPolicy:
    """`sandboxes` are those that are watched; requests that name none go to the first.

    `max_open` is the cap: how many exports may be open in a sandbox at once.
    """

    sandboxes: tuple[str, ...]
    events: EventPolicy = field(default_factory=EventPolicy)
    delays: DelayPolicy = field(default_factory=DelayPolicy)
    max_open: int = 20
