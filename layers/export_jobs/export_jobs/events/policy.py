"""How events are configured in one deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from export_jobs.model.records import Event, EventType, Sink, TopicEvents, Undelivered

_LEVELS: tuple[TopicEvents, ...] = get_args(TopicEvents)


@dataclass(frozen=True)
class EventPolicy:
    """`stack_id` identifies the deployment and is part of every event's id.

    `topic_events` is the level of events for the topic, which people read; the bus gets
    all events for machines.
    """

    stack_id: str = "local"
    topic_events: TopicEvents = "notable"

    def undelivered(self, event: Event) -> Undelivered:
        """The event with its sinks."""
        return Undelivered(event, self.sinks_of(event))

    def sinks_of(self, event: Event) -> frozenset[Sink]:
        from export_jobs.events.registry import kind_of  # noqa: PLC0415  not for a quiet sweep

        kind = kind_of(EventType(event.type))
        to_topic = _LEVELS.index(kind.level(event.detail)) <= _LEVELS.index(self.topic_events)
        wanted: dict[Sink, bool] = {"bus": kind.for_machines, "topic": to_topic}
        return frozenset(sink for sink, wants in wanted.items() if wants)


@dataclass(frozen=True)
class DigestPolicy:
    """When the daily digest is due: a local time, as `HH:MM`, in a zone of the IANA database."""

    time: str
    timezone: str = "UTC"

    @property
    def planned_by(self) -> str:
        """`08:00 Europe/Rome`."""
        return f"{self.time} {self.timezone}"
