"""The outbox: who may publish what is in it, in which order, and what is left afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from export_jobs.contract.times import rfc3339
from export_jobs.events.outbox import (
    KEPT,
    MAX_HISTORY,
    MAX_REASON,
    Bearer,
    Published,
    after_delivery,
    can_publish,
    publish,
    send_dead_letter,
    waiting_ms,
)
from export_jobs.model.limits import LEASE_MS
from export_jobs.model.ports import QueueUnavailable, RequestReader, StoreUnavailable
from export_jobs.model.records import (
    Event,
    EventType,
    JobRecord,
    OutboxItem,
    RequestRecord,
    Sink,
    Undelivered,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000_000
BOTH: frozenset[Sink] = frozenset({"bus", "topic"})
ALL: frozenset[Sink] = frozenset({"bus", "topic", "dlq"})


@dataclass
class Sinks:
    """Every sink: what it was sent, and whether it accepts."""

    takes: Callable[[str, Sink], bool] = lambda _event_id, _sink: True
    calls: list[tuple[Sink, list[str]]] = field(default_factory=list)
    letters: list[dict[str, Any]] = field(default_factory=list)

    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        self.calls.append((sink, [event.id for event in events]))
        return frozenset(event.id for event in events if self.takes(event.id, sink))

    def send(self, body: str, **attributes: str) -> None:
        if not self.takes(attributes["event_id"], "dlq"):
            raise QueueUnavailable
        self.letters.append({"body": body, **attributes})

    def of(self, sink: Sink) -> list[list[str]]:
        """What was sent to a sink, call by call."""
        return [ids for asked, ids in self.calls if asked == sink]


@dataclass
class Messages:
    """The records of requests: by default, one for each key, with a body."""

    requests: Callable[[Sequence[str]], Mapping[str, RequestRecord]] = lambda keys: {
        key: RequestRecord(key, "REJECTED", "prod", body=f"body of {key}") for key in keys
    }


def event(event_id: str, *, detected_at: int = NOW, reason: str = "no") -> Event:
    detail = {
        "eventId": event_id,
        "detectedAt": rfc3339(detected_at),
        "requestKey": "named",
        "outcome": "REFUSED",
        "reason": reason,
    }
    return Event(EventType.JOB_STATE_CHANGE, detail)


def entries(name: str, *sinks: frozenset[Sink]) -> tuple[Undelivered, ...]:
    return tuple(Undelivered(event(f"{name}{n}"), to) for n, to in enumerate(sinks, 1))


def job(name: str, *sinks: frozenset[Sink]) -> JobRecord:
    """A job whose events `name1`, `name2`, ... these sinks have not received yet."""
    return JobRecord("prod", name, NOW, outbox=entries(name, *sinks))


def item(name: str, sinks: frozenset[Sink] = ALL) -> OutboxItem:
    return OutboxItem("prod", f"record of {name}", entries(name, sinks))


def published(
    bearers: Sequence[Bearer],
    sinks: Sinks,
    *,
    store: RequestReader | None = None,
    out_of_time: Callable[[], bool] = lambda: False,
) -> Published:
    return publish(
        bearers,
        publisher=sinks,
        dead_letter_queue=sinks,
        store=store or Messages(),
        out_of_time=out_of_time,
    )


# -- who may publish -----------------------------------------------------------------------------


@pytest.mark.parametrize("bearer", [job("a", BOTH), item("a")])
@pytest.mark.parametrize(("age_ms", "ours"), [(0, False), (LEASE_MS - 1, False), (LEASE_MS, True)])
def test_a_lease_lasts_as_long_as_any_run(bearer: Bearer, age_ms: int, ours: bool) -> None:
    """After that, the run that took it must have died, and another one publishes."""
    assert can_publish(replace(bearer, leased_at=NOW - age_ms), now=NOW) is ours


def test_what_nobody_has_taken_is_anybody_s() -> None:
    """Unless there is nothing in it."""
    assert can_publish(job("a", BOTH), now=NOW)
    assert not can_publish(job("a"), now=NOW)


# -- order ---------------------------------------------------------------------------------------


def test_the_first_events_of_all_go_before_any_second() -> None:
    """Jobs and requests together, in one call each time, to each sink."""
    sinks = Sinks()
    published([job("a", BOTH, BOTH, BOTH), item("i"), job("b", BOTH, BOTH)], sinks)
    assert sinks.of("bus") == [["a1", "i1", "b1"], ["a2", "b2"], ["a3"]]
    assert sinks.of("topic") == sinks.of("bus")


def test_a_job_s_next_event_waits_until_the_one_before_has_arrived() -> None:
    """A sink that lags delays no other job, and no other sink."""
    sinks = Sinks(takes=lambda event_id, sink: (event_id, sink) != ("a1", "bus"))
    result = published([job("a", BOTH, BOTH), job("b", BOTH, BOTH)], sinks)
    assert sinks.of("bus") == [["a1", "b1"], ["b2"]]
    assert sinks.of("topic") == [["a1", "b1"], ["a2", "b2"]]
    assert dict(result.reached) == {
        "a1": {"topic"}, "a2": {"topic"}, "b1": BOTH, "b2": BOTH,
    }  # fmt: skip
    assert result.failed == {"bus": 1, "topic": 0}
    assert result.delivered == {"bus": 2, "topic": 4}
    assert [event.id for event in result.events] == ["b1", "b2"]


def test_a_sink_gets_only_the_events_it_still_lacks() -> None:
    """Neither those for other sinks nor those it has; without any, it is not called."""
    sinks = Sinks()
    published([job("a", frozenset({"topic"}), BOTH), job("b", frozenset({"topic"}))], sinks)
    assert sinks.of("bus") == [["a2"]]
    assert sinks.of("topic") == [["a1", "b1"], ["a2"]]
    assert published([job("a")], idle := Sinks()).reached == {}
    assert idle.calls == []


@given(
    st.lists(st.lists(st.sampled_from([BOTH, frozenset({"bus"})]), max_size=4), max_size=4),
    st.lists(st.booleans(), max_size=30),
)
def test_published_again_and_again_each_sink_hears_each_event_once_in_order(
    boxes: list[list[frozenset[Sink]]], fails: list[bool]
) -> None:
    """Whatever fails on the way: what has arrived is removed, and nothing else."""
    failing = iter(fails)
    bearers: list[JobRecord] = [job(chr(97 + n), *box) for n, box in enumerate(boxes)]
    arrived: dict[Sink, list[str]] = {"bus": [], "topic": []}

    def takes(event_id: str, sink: Sink) -> bool:
        if next(failing, False):
            return False
        arrived[sink].append(event_id)
        return True

    for _ in range(len(fails) + 1):
        result = published(bearers, Sinks(takes=takes))
        bearers = [after_delivery(bearer, result.reached) for bearer in bearers]
        if not any(bearer.outbox for bearer in bearers):
            break
    for n, box in enumerate(boxes):
        name = chr(97 + n)
        for sink, heard in arrived.items():
            meant = [f"{name}{k}" for k, sinks in enumerate(box, 1) if sink in sinks]
            assert [event_id for event_id in heard if event_id[0] == name] == meant


# -- what is left --------------------------------------------------------------------------------


@given(st.sets(st.sampled_from(["bus", "topic", "dlq"])))
def test_only_what_arrived_is_taken_off(arrived: set[Any]) -> None:
    """Sink by sink; the lease is given back, so that any run may publish the rest."""
    bearer = replace(item("a"), leased_at=NOW, version=3)
    after = after_delivery(bearer, {"a1": frozenset(arrived), "other": ALL})
    left = ALL - arrived
    assert [entry.sinks for entry in after.outbox] == ([left] if left else [])
    assert (after.leased_at, after.version, after.item_id) == (0, 3, "a1")


def test_other_events_stay_as_they_are() -> None:
    """In their order, with the sinks that have not received them."""
    record = job("a", frozenset({"topic"}), BOTH, frozenset({"bus"}))
    after = after_delivery(record, {"a2": frozenset({"bus"}), "a3": BOTH})
    assert [(e.event.id, e.sinks) for e in after.outbox] == [("a1", {"topic"}), ("a2", {"topic"})]
    assert replace(after, outbox=record.outbox, history=()) == record


def test_a_job_keeps_what_was_published_of_it() -> None:
    """The newest ones, in order and in short form, but the end of the job in full."""
    record = job("a", BOTH, frozenset({"bus"}), BOTH)
    after = after_delivery(record, {"a1": BOTH, "a2": frozenset({"bus"})})
    assert [event.detail["eventId"] for event in after.history] == ["a1", "a2"]
    assert after.history[0].type == EventType.JOB_STATE_CHANGE
    assert set(after.history[0].detail) == set(KEPT)
    assert after.end_detail is None
    end = Event(EventType.JOB_STATE_CHANGE, {"eventId": "end", "final": True, "errors": [1]})
    ending = replace(after, outbox=(Undelivered(end, BOTH),))
    for n in range(MAX_HISTORY):
        ended = after_delivery(ending, {"end": BOTH})
        ending = replace(ended, outbox=(Undelivered(end, BOTH),))
        assert ended.end_detail == end.detail, n
    assert [event.detail["eventId"] for event in ended.history] == ["end"] * MAX_HISTORY


def test_how_long_the_first_event_has_been_waiting() -> None:
    """Since the change was noticed, not since the last try; never below 0 if clocks differ."""
    old = Undelivered(event("old", detected_at=NOW - 90_000), BOTH)
    record = replace(job("a", BOTH), outbox=(old, *entries("a", BOTH)), leased_at=NOW)
    assert waiting_ms(record, NOW) == 90_000
    assert waiting_ms(job("a", BOTH), NOW - 5) == 0


# -- dead letters --------------------------------------------------------------------------------


def test_a_rejected_request_s_message_goes_to_the_dead_letter_queue() -> None:
    """With its rejection: the key of its record, the reason, and the id of the event."""
    sinks = Sinks()
    result = published([item("a")], sinks)
    assert sinks.letters == [
        {
            "body": "body of record of a",
            "request_key": "named",
            "record_key": "record of a",
            "reason": "REFUSED: no",
            "event_id": "a1",
        }
    ]
    assert dict(result.reached) == {"a1": ALL}
    assert result.delivered["dlq"] == 1


def test_only_what_is_rejected_has_a_dead_letter() -> None:
    """An accepted request has none, and neither has one that was already sent there."""
    sinks = Sinks()
    published([item("a", BOTH), job("b", BOTH)], sinks)
    assert sinks.letters == []


def test_a_dead_letter_that_can_t_be_sent_stays_in_the_outbox() -> None:
    """The other sinks have received it; the letters after it are sent."""
    sinks = Sinks(takes=lambda event_id, sink: (event_id, sink) != ("a1", "dlq"))
    result = published([item("a"), item("b")], sinks)
    assert [letter["event_id"] for letter in sinks.letters] == ["b1"]
    assert dict(result.reached) == {"a1": BOTH, "b1": ALL}
    assert result.failed["dlq"] == 1
    (left,) = after_delivery(item("a"), result.reached).outbox
    assert left.sinks == {"dlq"}


def test_a_message_that_can_t_be_read_now_is_sent_later() -> None:
    """One whose record is gone for good has nothing to send, and is not retried for ever."""

    def requests(keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        if "record of a" in keys:
            raise StoreUnavailable("throttled")
        return {}

    sinks = Sinks()
    result = published([item("a"), item("b")], sinks, store=Messages(requests))
    assert sinks.letters == []
    assert dict(result.reached) == {"a1": BOTH, "b1": ALL}


def test_a_reason_is_bounded() -> None:
    """A message attribute holds no more, and shares its space with the body."""
    sinks = Sinks()
    long = Event(EventType.REQUEST_REJECTED, event("a1", reason="x" * 5_000).detail)
    send_dead_letter("body", long, "record", sinks)
    (letter,) = sinks.letters
    assert len(letter["reason"]) == MAX_REASON
    assert letter["reason"].startswith("REFUSED: xxx")


# -- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "bus", "topic", "letters"),
    [(0, [], [], 0), (1, [["a1", "b1"]], [], 0), (3, [["a1", "b1"], ["b2"]], [["a1", "b1"]], 0)],
)
def test_publishing_stops_when_time_is_up(
    asked: int, bus: list[list[str]], topic: list[list[str]], letters: int
) -> None:
    """Between two calls; the rest stays, and the report shows that there is more."""
    left = iter([False] * asked + [True] * 10)
    sinks = Sinks()
    result = published([item("a"), job("b", BOTH, BOTH)], sinks, out_of_time=lambda: next(left))
    assert (sinks.of("bus"), sinks.of("topic"), len(sinks.letters)) == (bus, topic, letters)
    assert result.unfinished
    left = iter([False] * asked + [True] * 10)
    assert published([job("b", BOTH, BOTH)], Sinks(), out_of_time=lambda: next(left)).unfinished


def test_publishing_that_came_to_its_end_is_finished() -> None:
    """Even if not everything arrived: that is another problem than time."""
    assert not published([item("a")], Sinks(takes=lambda *_: False)).unfinished
    assert not published([item("a"), job("b", BOTH)], Sinks()).unfinished
