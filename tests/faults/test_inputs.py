"""Whatever comes in has one visible end: bytes of requests, and answers of the service."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

from export_jobs.client.transport import Answer
from export_jobs.contract.text import decode_text
from export_jobs.creator.message import Message
from export_jobs.model.records import RejectedOutcome
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from support.creator import CREATE, LARGEST, Creator
from support.faults import LONG
from support.fed import Fed, client_of
from support.files import seed
from support.hostile_text import hostile, hostile_key

EXAMPLES = 10_000 if LONG else 100
JOB = {**LARGEST, "fields": ""}
ENVELOPE = {"requestKey": "key", "sandboxName": "dev", "correlationId": "campaign-42"}
REQUESTS: list[dict[str, Any]] = [
    JOB,
    {**ENVELOPE, "job": JOB},
    {"action": "create", "expiresAt": "2035-01-01T00:00:00Z", "job": JOB},
    {**ENVELOPE, "action": "cancel", "jobId": 1},
    {**ENVELOPE, "action": "cancel", "cancelRequestKey": "earlier"},
]


class Pairs(list[tuple[str, Any]]):
    """A JSON object as written: a key may be in it twice."""


def as_pairs(value: Any) -> Any:
    if isinstance(value, dict):
        return Pairs((name, as_pairs(inner)) for name, inner in value.items())
    return [as_pairs(inner) for inner in value] if isinstance(value, list) else value


def written(value: Any) -> str:
    if isinstance(value, Pairs):
        pairs = (f"{json.dumps(name)}: {written(inner)}" for name, inner in value)
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def entries(value: Any) -> Iterator[tuple[Any, int]]:
    """Every object and list in a document, with the position of each of its entries."""
    if not isinstance(value, list):
        return
    for position, entry in enumerate(value):
        yield value, position
        yield from entries(entry[1] if isinstance(value, Pairs) else entry)


odd_values = st.sampled_from(
    [None, Pairs(), [], "", " ", True, 0, -1, 10**40, 1e300, "9999-12-31T23:59:59-05:00", [None]]
).map(copy.deepcopy) | hostile.map(lambda text: text[:300])


@st.composite
def requests(draw: st.DrawFn) -> tuple[Any, int]:
    """A request as its sender may have written it, and in how many places it is wrong."""
    document = as_pairs(draw(st.sampled_from(REQUESTS)))
    wrong = draw(st.integers(0, 2))
    for _ in range(wrong):
        places = list(entries(document))
        if not places:
            break
        holder, at = draw(st.sampled_from(places))
        value = draw(odd_values)
        if not isinstance(holder, Pairs):
            holder[at] = value
            continue
        name, held = holder[at]
        match draw(st.sampled_from(["replace", "drop", "double", "repeat", "misspell"])):
            case "replace":
                holder[at] = (name, value)
            case "drop":
                del holder[at]
            case "double":
                holder.insert(at + draw(st.integers(0, 1)), (name, value))
            case "repeat":
                holder.append((name, held))
            case _:
                holder[at] = (draw(st.sampled_from([name + "s", name.upper(), " " + name])), held)
    return document, wrong


encodings = st.sampled_from(
    ["utf-8"] * 6 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "cp037"]
)


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, int]:
    """The bytes of a request, perhaps wrapped, damaged or in another encoding."""
    document, wrong = draw(requests())
    text = written(document)
    if draw(st.integers(0, 19)) == 0:
        text, wrong = json.dumps({"Type": "Notification", "TopicArn": "t", "Message": text}), 1
    raw = text.encode(draw(encodings), "replace")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw, wrong = raw[:at] + draw(st.binary(max_size=3)), wrong + 1
    return raw, wrong


def unclear(value: Any) -> bool:
    """Whether a key is doubled, or anything is null, empty or blank, so that it may be forgotten.

    An empty list of fields means all of them, and a correlation id selects nothing.
    """
    if isinstance(value, Pairs):
        names = [name for name, _ in value]
        return (
            not value
            or len(set(names)) < len(names)
            or any(
                unclear(inner)
                for name, inner in value
                if (name, inner) != ("fields", "")
                and not (name == "correlationId" and isinstance(inner, str))
            )
        )
    if isinstance(value, list):
        return not value or any(map(unclear, value))
    return value is None or (isinstance(value, str) and not value.strip())


def texts_in(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in texts_in(inner)]
    if isinstance(value, list | tuple):
        return [text for inner in value for text in texts_in(inner)]
    return [value] if isinstance(value, str) else []


def check_events(creator: Creator) -> None:
    """The fakes have checked each event's schema; its texts can be shown and encoded."""
    for event in creator.fakes.published["bus"]:
        for text in texts_in(event.detail):
            assert all(c.isprintable() for c in text if text != event.detail["correlationId"])
            text.encode()


def in_a_stack() -> Creator:
    """Sandboxes with a job that was created by hand, and one that an earlier request created."""
    creator = Creator()
    creator.fakes.create("dev")
    creator.send("earlier", sandboxName="dev", **CREATE)
    creator.work()
    for sandbox in creator.sandboxes:
        creator.sweep(sandbox)
    creator.fakes.published.clear()
    return creator


@contextmanager
def suppress_naming(encoding: str) -> Iterator[None]:
    """Suppresses an error that names an encoding."""
    try:
        yield
    except ValueError as error:
        if encoding not in str(error):
            raise


@settings(max_examples=EXAMPLES)
@given(file=files(), key=hostile_key)
def test_any_bytes_of_a_request_have_one_end(file: tuple[bytes, int], key: str) -> None:
    """An error that names the encoding, or one event; nothing is lost, widened or done twice."""
    raw, wrong = file
    text = None
    with suppress_naming("UTF-"):
        text = decode_text(raw)
    if text is None:
        return
    creator = in_a_stack()
    before = len(creator.jobs)
    attributes = {"requestKey": key, "eventId": "made up", "notBefore": "9999999999999"}
    message = creator.enqueue(creator.raw(text, attributes))
    creator.until_ended(minutes=60)
    creator.enqueue(message)  # SQS delivers at least once
    creator.until_ended(minutes=60)

    ((_, outcome),) = (end for end in creator.ends() if end[0] != "earlier")
    assert outcome != "UNEXPECTED"
    rejected = outcome in get_args(RejectedOutcome)
    assert [letter.body for letter in creator.fakes.dead_letter_queue] == [text] * rejected
    assert bool(creator.jobs[before:]) is (outcome == "CREATED")
    if not rejected:
        asked = json.loads(text, object_pairs_hook=Pairs)
        assert not unclear(asked)
        fields = dict(asked)
        for number in creator.jobs[before:]:
            (made,) = (jobs[number] for jobs in creator.fakes.jobs.values() if number in jobs)
            job = dict(fields.get("job", asked))
            assert {name: as_pairs(made.body.get(name)) for name in job} == job
            assert ("filter" in made.body) is ("filter" in job)
            where = fields.get("sandboxName", "prod")
            assert number in creator.fakes.jobs[where]
    if not wrong:
        assert not rejected
    check_events(creator)


def test_every_kind_of_request_is_carried_out_as_it_is() -> None:
    """So that the property above is not met by rejecting everything."""
    for asked in REQUESTS:
        creator = in_a_stack()
        creator.enqueue(creator.raw(json.dumps(asked)))
        creator.until_ended()
        ends = [outcome for key, outcome in creator.ends() if key != "earlier"]
        assert ends in (["CREATED"], ["CANCELLING"]), asked


# -- answers ---------------------------------------------------------------------------------------

SHOWN = [seed("list-answer"), seed("create-answer"), seed("get-answer"), seed("delete-answer")]
odd_answers = odd_values | st.recursive(
    st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """An answer of the service in which something is odd, or that does not fit the call."""
    document = as_pairs(copy.deepcopy(draw(st.sampled_from(SHOWN))))
    for _ in range(draw(st.integers(0, 4))):
        places = list(entries(document))
        if not places:
            break
        holder, at = draw(st.sampled_from(places))
        value = draw(odd_answers)
        match draw(st.sampled_from(["replace", "drop", "add", "add"])):
            case "drop":
                del holder[at]
            case "replace":
                holder[at] = (holder[at][0], value) if isinstance(holder, Pairs) else value
            case _:
                added = (holder[at][0] + "x", value) if isinstance(holder, Pairs) else value
                holder.insert(at, added)
    text = written(document)
    try:
        body = json.loads(text)
    except ValueError:
        body = None  # a number that JSON does not have
    status = draw(st.sampled_from([200] * 12 + [201, 202, 204, 400, 401, 403, 404, 409, 429, 503]))
    wait = draw(st.sampled_from(["", "1", "1790000000", "soon", "²"]))
    return Answer(status, CaseInsensitiveDict({"Retry-After": wait}), body, text[:2_000])


@settings(max_examples=EXAMPLES)
@given(fed=st.lists(answers(), min_size=1, max_size=6), good=st.integers(0, 5))
def test_no_answer_stops_a_sweep_or_loses_a_request(fed: list[Answer], good: int) -> None:
    """While the answers are odd, and once they are as usual again, everything goes on."""
    creator = Creator()
    for sandbox in creator.sandboxes:
        creator.sweep(sandbox)
    usual, usual_in_sweeps = creator.api, creator.sweep_api
    transport = Fed(*fed)
    creator.api = creator.sweep_api = lambda: client_of(transport)  # type: ignore[assignment,return-value]
    messages: list[Message] = [
        creator.send("make", **CREATE),
        creator.send("stop", action="cancel", jobId="11037"),
    ]
    creator.minutes(4)
    creator.api, creator.sweep_api = usual, usual_in_sweeps
    number = creator.fakes.create("prod", status="SUCCEEDED").body["id"]
    for message in messages[: good % 3]:
        creator.enqueue(message)
    creator.until_ended(minutes=500)

    ends = dict(creator.ends())
    assert len(creator.ends()) == len(ends)
    assert ends.keys() == {"make", "stop"}
    assert "UNEXPECTED" not in ends.values()
    creator.sweep()
    seen = [event.detail["jobId"] for event in creator.fakes.published["bus"]]
    assume(number not in {"100", "722"})
    assert number in seen
    check_events(creator)
