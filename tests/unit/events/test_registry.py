"""The registry of event types: complete, documented, and lenient about types of a newer version."""

from __future__ import annotations

import re

import pytest
from export_jobs.events.messages import chat, email, subject
from export_jobs.events.policy import EventPolicy
from export_jobs.events.registry import kind_named, kind_of
from export_jobs.model.records import Event, EventType, TopicEvents
from export_jobs_cli.event_list import summary
from export_jobs_local.schemas import FOLDER, file_name
from support.files import ROOT
from support.one_of_each import one_of_each

DOCS = (ROOT / "docs" / "events.md").read_text()


@pytest.mark.parametrize("event_type", EventType)
def test_a_type_is_registered_under_its_own_name(event_type: EventType) -> None:
    """A copied entry would give one type the texts of another."""
    assert kind_of(event_type).name is event_type
    assert kind_named(str(event_type)) is kind_of(event_type)


@pytest.mark.parametrize("event_type", EventType)
def test_a_type_is_in_the_docs_with_all_its_fields(event_type: EventType) -> None:
    """In the table, with its schema, and below its heading."""
    kind = kind_of(event_type)
    row = f"| `{event_type}` | {kind.when} | [schema](schemas/{file_name(event_type)}) |"
    assert row in DOCS
    assert (FOLDER / file_name(event_type)).exists()
    section = DOCS.partition(f"\n## {kind.documented}\n")[2].partition("\n## ")[0]
    fields = {
        field.serialization_alias or field.alias for field in kind.model.model_fields.values()
    }
    named = set(re.findall(r"[`\"](\w+)[`\"]", section))
    assert fields <= named, fields - named


def test_every_type_is_made_by_a_test() -> None:
    """The recipes and the messages are tried with one of each."""
    assert {event.type for event in one_of_each().values()} == set(EventType)


PROBLEMS = {
    *("empty", "with errors", "failed", "failed in dev", "vanished", "late", "rejected"),
    *("overdue", "overdue resolved", "drop", "slow"),
    "failed, tried again",
    *("success after a delay", "cancelled after a delay", "back", "accepted after all"),
    "success at the second try",
}
"""Problems and what resolves them. In the last lines is what resolves one."""
DIGESTS = {"digest", "digest of a quiet day"}
ENDS = {"success", "success elsewhere", "success in dev", "cancelled", "cancelled before"}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("problems", PROBLEMS),
        ("notable", PROBLEMS | ENDS),
        ("all", PROBLEMS | ENDS | {"running", "accepted", "retried"}),
    ],
)
def test_people_get_the_events_of_their_level(level: TopicEvents, expected: set[str]) -> None:
    """On the topic; the bus gets every event but the digests, at every level."""
    policy = EventPolicy(topic_events=level)
    sinks = {name: policy.sinks_of(event) for name, event in one_of_each().items()}
    assert {name for name, found in sinks.items() if "topic" in found} == expected | DIGESTS
    assert {name for name, found in sinks.items() if "bus" not in found} == DIGESTS


@pytest.mark.parametrize("name", one_of_each())
def test_bad_news_is_a_problem(name: str) -> None:
    """Nothing that is marked as bad news is left out at the narrowest level."""
    event = one_of_each()[name]
    kind = kind_of(EventType(event.type))
    assert not kind.is_bad_news(event.detail) or kind.level(event.detail) == "problems"


def test_an_event_of_a_newer_version_is_published_under_its_type() -> None:
    """It was left in the outbox when the stack was rolled back, and still reaches its readers."""
    event = Event("Export Job Paused", {"eventId": "e-1", "sandboxName": "prod"})
    assert subject(event) == "[prod] Export Job Paused"
    assert "Export Job Paused." in email(event, stack="s")
    assert chat(event, stack="s")["metadata"]["threadId"] == "export-prod-e-1"
    assert summary(event.type, event.detail) == "Export Job Paused"
