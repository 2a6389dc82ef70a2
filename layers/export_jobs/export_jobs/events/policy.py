"""How events are configured in one deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from export_jobs.model.records import Event, EventType, Sink, TopicEvents, Undelivered

_LEVELS: tuple[TopicEvents, ...] = get_args(TopicEvents)


@dataclass(frozen=True)
class EventPolicy:
    """`stack_id` identifies the deployment and is part of every event's id.

    `topic_events` is the level of events for the topic, which people read; the bus gets all events.
    """

    stack_id: str = "local"
    topic_events: TopicEvents = "notable"

    def undelivered(self, event: Event) -> Undelivered:
        """The event with its sinks."""
        return Undelivered(event, self.sinks_of(event))

    def sinks_of(self, event: Event) -> frozenset[Sink]:
        from export_jobs.events.registry import kind_of  # noqa: PLC0415  not for a quiet sweep

        level = kind_of(EventType(event.type)).level(event.detail)
        to_topic = _LEVELS.index(level) <= _LEVELS.index(self.topic_events)
        return frozenset({"bus", "topic"} if to_topic else {"bus"})
