"""Promise 8: text from outside is never interpreted, whatever it is and wherever it goes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import pytest
from export_jobs.aws.publisher import AwsEventPublisher, _bus_entry
from export_jobs.contract import Job
from export_jobs.contract.text import one_line
from export_jobs.events import build
from export_jobs.events.messages import chat, email, subject
from export_jobs.events.wording import MAX_SUBJECT, command_line
from export_jobs.model.baselines import UNKNOWN
from export_jobs.model.records import Event, JobRecord
from export_jobs_cli.event_list import plain_summary, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hostile_text import called, hostile, hostile_key
from support.one_of_each import NOW, one_of_each
from support.schemas import validate_event

OURS = {
    "schemaVersion", "eventId", "outcome", "action", "linkedBy", "createdAt", "updatedAt",
    "detectedAt",
}  # fmt: skip
"""The texts of an event that nothing from outside gets into."""
FILLED = ("requestKey", "correlationId", "reason", "jobId", "datasetId", "duplicateOfRequest")
EVENTS = one_of_each()


def with_texts(value: Any, text: Any, name: str = "") -> Any:
    """A detail with every text from outside replaced by what `text()` returns."""
    if isinstance(value, Mapping):
        return {key: with_texts(inner, text, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_texts(inner, text, name) for inner in value]
    from_outside = isinstance(value, str) or (value is None and name in FILLED)
    return text() if from_outside and name not in OURS else value


def full(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The same with something in each of its lists."""
    more: dict[str, Any] = {
        "errors": [{"code": "c", "message": "m"}, {"code": "c", "message": "m"}],
        "problems": [{"field": "f", "message": "m"}, {"field": "f", "message": "m"}],
        "jobs": [{"jobId": "1", "status": "s", "outcome": "FAILED", "profilesExported": 1}] * 4,
        "segments": [{"segmentId": "s", "segmentNs": "n", "status": ["x"]}] * 4,
    }
    return {**detail, **{name: value for name, value in more.items() if name in detail}}


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Event, Event]:
    """An event with hostile texts, as an older or a newer version may have left it in the outbox,
    and the same one with harmless texts.
    """
    event = EVENTS[draw(st.sampled_from(sorted(EVENTS)))]
    harmless = Event(event.type, with_texts(full(event.detail), lambda: "x"))
    return Event(event.type, with_texts(full(event.detail), lambda: draw(hostile))), harmless


@given(pairs())
def test_a_subject_is_one_plain_line(events: tuple[Event, Event]) -> None:
    """SNS allows fewer than 100 printable ASCII characters."""
    line = subject(events[0])
    assert line.isascii()
    assert line.isprintable()
    assert 0 < len(line) <= MAX_SUBJECT


@given(pairs(), hostile)
def test_an_e_mail_has_no_line_that_is_not_ours(
    events: tuple[Event, Event], called_so: str
) -> None:
    """Field case 25: each value is on its line, so none can forge another line."""
    lines, expected = (
        email(event, stack="st", names=called(known)).split("\n")
        for event, known in zip(events, (called_so, "x"), strict=True)
    )
    assert len(lines) == len(expected)
    for line, ours in zip(lines[1:], expected[1:], strict=True):
        assert line.isprintable()
        assert line[:10] == ours[:10]
    assert lines[0].isprintable()


@given(pairs(), hostile)
def test_a_chat_message_has_nothing_but_our_markup(
    events: tuple[Event, Event], called_so: str
) -> None:
    """Field case 25: every value is code, in which `<`, `>` and `&` are entities."""
    shown, expected = (
        chat(event, stack="st", names=called(known))["content"]
        for event, known in zip(events, (called_so, "x"), strict=True)
    )
    values = re.compile(r"`[^`\n]*`")
    for name in ("title", "description"):
        ours = values.sub("", expected[name])
        assert values.sub("", shown[name]) in {ours, *_beginnings(ours)}
        for value in values.findall(shown[name]):
            assert re.fullmatch(r"([^<>&]|&(amp|lt|gt);)*", value)
    assert chat(events[0])["metadata"]["summary"] in shown["title"]


def _beginnings(description: str) -> list[str]:
    """The whole lines that a description may end after, because of long values."""
    lines = description.split("\n")
    return ["\n".join(lines[:number]) for number in range(len(lines))]


@given(pairs())
def test_the_suggested_command_is_the_one_meant(events: tuple[Event, Event]) -> None:
    """Field case 24: a POSIX shell reads the program, its command and each value as one word."""
    for event in events:
        mailed = email(event, stack="st", names=called("--stack evil"))
        mailed = mailed.split("Details:  ")[-1].split("\n\nEvent")[0]
        commands = mailed.split("\n          ")
        in_chat = chat(event, stack="st")["content"]["nextSteps"]
        for command, shown in zip(commands, in_chat, strict=True):
            _check_command(command, event.detail)
            for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
                shown = shown.replace(entity, character)  # noqa: PLW2901
            assert shown.strip("`") == command.replace("`", "\N{MODIFIER LETTER GRAVE ACCENT}")


DIGEST_COMMANDS = {
    *("export-jobs doctor --stack st", "export-jobs expectation list --stack st"),
    *("export-jobs job list --outcome FAILED --stack st", "export-jobs request list --stack st"),
    "export-jobs job list --stack st",
    "export-jobs expectation suggest --stack st",
}
"""They are the same whatever the digest says."""


def _check_command(command: str, detail: Mapping[str, Any]) -> None:
    words = shlex.split(command)
    assert words[0] == "export-jobs"
    if command in DIGEST_COMMANDS:
        return
    assert tuple(words[1:3]) in {
        ("job", "show"),
        ("job", "list"),
        ("dlq", "show"),
        ("request", "show"),
        ("expectation", "show"),
    }
    values = ("jobId", "requestKey", "expectation", "sandboxName")
    known = {one_line(str(detail.get(name))) for name in values}
    assert set(words[3:]) <= known | {"--sandbox", "--stack", "--", "st"}


@pytest.mark.parametrize("name", sorted(EVENTS))
def test_an_event_that_lacks_a_field_is_shown_without_it(name: str) -> None:
    """Field case 12: another version may have left it in the outbox; it must not stop a sweep."""
    event = EVENTS[name]
    for missing in [*event.detail, None]:
        kept = {key: value for key, value in event.detail.items() if missing not in {key, None}}
        less = Event(event.type, {**kept, "eventId": event.id})
        assert subject(less)
        assert email(less, stack="st")
        assert chat(less, stack="st")
        assert summary(event.type, kept)
        assert plain_summary(event.type, kept)


@given(hostile_key | hostile, hostile)
def test_a_command_takes_a_value_for_a_value(key: str, stack: str) -> None:
    """Even one that begins with a hyphen, which would otherwise be an option."""
    words = shlex.split(command_line("request show", key, stack=stack))
    value, name = one_line(key), one_line(stack)
    options = ["--stack", name] if stack else []
    if value.startswith("-"):
        assert words == ["export-jobs", "request", "show", *options, "--", value]
    else:
        assert words == ["export-jobs", "request", "show", value, *options]


def texts_in(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [*value, *(text for inner in value.values() for text in texts_in(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in texts_in(inner)]
    return [value] if isinstance(value, str) else []


@st.composite
def jobs(draw: st.DrawFn) -> dict[str, Any]:
    """A job of the service in which every text is hostile."""
    text = lambda: draw(hostile)  # noqa: E731  as short as its use
    return {
        "id": text()[:256],
        "status": draw(st.sampled_from(["SUCCEEDED", "FAILED"]) | hostile.map(lambda t: t[:64])),
        "imsOrgId": text(),
        "requestId": text()[:256],
        "creationTime": NOW,
        "destination": {
            "datasetId": text()[:256],
            "batches": [{"batchId": text()[:256], "status": text()}, {"batchId": "b"}],
        },
        "filter": {
            "segments": [{"segmentId": text()[:256], "segmentNs": text(), "status": [text()]}]
        },
        "errors": [{"code": text()[:256], "msg": text()}, text()],
        "metrics": {"exportedProfileByNamespaceCounter": {text(): 1, "b": 2}},
    }


@settings(max_examples=100)
@given(jobs(), hostile)
def test_an_event_has_only_lines_that_can_be_printed(job: dict[str, Any], reason: str) -> None:
    """Whatever the service shows; the bus and the topic accept it, and it fits its schema."""
    try:
        shown = Job.model_validate(job)
    except ValueError:
        return  # a blank id
    record = JobRecord("prod", shown.id, NOW, sequence=1, org_id=shown.ims_org_id)
    event = build.state_change(
        record, shown, previous_status=reason, comparison=UNKNOWN, stack_id="s", now=NOW
    )
    validate_event(event.type, event.detail)
    for text in texts_in(event.detail):
        assert text.isprintable()
        assert one_line(text) == text
    _bus_entry(event)["Detail"].encode()
    publisher = AwsEventPublisher(
        events=pytest.fail, sns=pytest.fail, bus_name="b", topic_arn="t", stack_name="st"
    )
    entry = publisher._topic_entry(event)
    for rendition in json.loads(entry["Message"]).values():
        rendition.encode()
    for attribute in entry["MessageAttributes"].values():
        assert attribute["StringValue"].isprintable()


def test_a_correlation_id_is_published_as_it_was_sent() -> None:
    """Its sender compares it, so that its blanks count, too."""
    record = JobRecord("prod", "1", NOW, sequence=1, correlation_id="  campaign   42 ")
    job = Job.model_validate({"id": 1, "status": "FAILED"})
    event = build.state_change(
        record, job, previous_status=None, comparison=UNKNOWN, stack_id="s", now=NOW
    )
    assert event.detail["correlationId"] == "  campaign   42 "
