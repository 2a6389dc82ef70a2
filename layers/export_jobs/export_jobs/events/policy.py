"""How one deployment wants its events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_jobs.model.records import Event, EventType, Sink, Undelivered

TopicEvents = Literal["notable", "all"]


@dataclass(frozen=True)
class EventPolicy:
    """`stack_id` is the deployment's own and part of every event's id.

    `topic_events` says which events the topic gets, which people read; the bus gets all of them.
    """

    stack_id: str = "local"
    topic_events: TopicEvents = "notable"

    def undelivered(self, event: Event) -> Undelivered:
        """The event with the sinks it is for."""
        return Undelivered(event, self.sinks_of(event))

    def sinks_of(self, event: Event) -> frozenset[Sink]:
        from export_jobs.events.registry import kind_of  # noqa: PLC0415  a quiet sweep makes no event

        kind = kind_of(EventType(event.type))
        to_topic = self.topic_events == "all" or kind.is_notable(event.detail)
        return frozenset({"bus", "topic"} if to_topic else {"bus"})
