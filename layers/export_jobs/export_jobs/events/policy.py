"""How events are configured in one deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_jobs.model.records import Event, EventType, Sink, Undelivered

TopicEvents = Literal["notable", "all"]


@dataclass(frozen=True)
class EventPolicy:
    """`stack_id` identifies the deployment and is part of every event's id.

    `topic_events` selects the events for the topic, which people read; the bus gets all events.
    """

    stack_id: str = "local"
    topic_events: TopicEvents = "notable"

    def undelivered(self, event: Event) -> Undelivered:
        """The event with its sinks."""
        return Undelivered(event, self.sinks_of(event))

    def sinks_of(self, event: Event) -> frozenset[Sink]:
        from export_jobs.events.registry import kind_of  # noqa: PLC0415  not for a quiet sweep

        kind = kind_of(EventType(event.type))
        to_topic = self.topic_events == "all" or kind.is_notable(event.detail)
        return frozenset({"bus", "topic"} if to_topic else {"bus"})
