"""Promises 4 and 5 over random histories: redelivery, faults, overlaps, cancels, a full sandbox."""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from export_jobs.contract import FINAL_STATUSES
from export_jobs.creator.message import Message
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import Event, EventType
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.creator import MINUTE_MS, SECOND_MS, Creator
from support.fakes import published_by_job
from support.faults import (
    KINDS,
    KINDS_IN_MEMORY,
    LONG,
    MAY_REPEAT,
    Kind,
    ProcessDied,
    struck_in_memory,
)

SANDBOX = "prod"
ROUNDS = 400
HISTORIES = 20_000 if LONG else 200
SEGMENTS = {"segments": [{"segmentId": "x"}]}


def _try_number(event: Event) -> int:
    return int(event.detail["tryNumber"])


keys = st.sampled_from(["a", "b", "c", "d", "e"])
datasets = st.sampled_from(["one", "one", "two", "refused"])
calls = st.sampled_from(
    ["create", "create", "transact", "transact", "send", "publish to bus", "delete", "token"]
)
RETRIES: dict[str, dict[str, Any]] = {
    "b": {"attempts": 1, "delayMinutes": 0, "on": ["FAILED"]},
    "c": {"attempts": 2, "delayMinutes": 1, "on": ["FAILED", "SUCCEEDED_EMPTY"]},
    "in-time-2": {"attempts": 2, "delayMinutes": 15, "on": ["FAILED"]},
}
"""What the requests with these keys ask for, besides their jobs."""
strikes = st.lists(st.tuples(st.integers(0, 30) | calls, st.sampled_from(KINDS)), max_size=4)


def job_of(dataset: str) -> dict[str, Any]:
    return {"destination": {"datasetId": dataset}, "schema": {"name": "s"}, "filter": SEGMENTS}


class Histories(RuleBasedStateMachine):
    """Requests arrive, are processed, fail and wait; in the end, each has ended exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.creator = Creator(sandboxes=(SANDBOX,), page_size=3)
        self.fakes = self.creator.fakes
        self.sent: dict[str, set[str]] = defaultdict(set)
        """What was requested under each key."""
        self.expire: set[str] = set()
        """Keys of requests that have an `expiresAt`."""
        self.messages: list[Message] = []
        self.foreign: set[str] = set()
        """Jobs that somebody else made."""
        self.unforeseen: list[BaseException] = []
        self.missed_once = False

    @initialize(
        echoes=st.booleans(),
        cap=st.integers(1, 3),
        omits=st.booleans(),
        running=st.sampled_from(["", "c", "bc"]),
    )
    def set_up(self, echoes: bool, cap: int, omits: bool, running: str = "") -> None:
        """The service may show our request ids or omit fields; few jobs may be open at once.

        Requests that are tried again may have jobs from the start.
        """
        self.fakes.echoes_request_id = echoes
        self.fakes.quirks = {"omits"} if omits else set()
        self.creator.max_open = cap
        for key in running:
            self.ask_for_a_job(key, "one")
            self.work([], [1], 0, 0)

    # -- requests --------------------------------------------------------------------------------

    def send(self, envelope: dict[str, Any]) -> None:
        body = json.dumps(envelope)
        message = self.creator.enqueue(self.creator.raw(body))
        self.sent[envelope["requestKey"]].add(body)
        self.messages.append(message)

    @rule(key=keys, dataset=datasets)
    def ask_for_a_job(self, key: str, dataset: str) -> None:
        """The same key may be sent again, and so may the same body under another key."""
        self.send(
            {
                "requestKey": key,
                "correlationId": f"for {key}",
                "job": job_of(dataset),
                **({"retry": RETRIES[key]} if key in RETRIES else {}),
            }
        )

    @rule(number=st.integers(1, 2))
    def ask_for_a_job_in_time(self, number: int) -> None:
        key = f"in-time-{number}"
        self.expire.add(key)
        at = "2023-11-14T23:00:00Z"  # about three quarters of an hour after the start
        self.send(
            {
                "requestKey": key,
                "correlationId": f"for {key}",
                "expiresAt": at,
                "job": job_of("one"),
                **({"retry": RETRIES[key]} if key in RETRIES else {}),
            }
        )

    @rule(key=keys, number=st.integers(1, 2))
    def ask_to_cancel(self, key: str, number: int) -> None:
        self.send(
            {
                "action": "cancel",
                "requestKey": f"cancel-{key}-{number}",
                "cancelRequestKey": key,
            }
        )

    @rule(number=st.integers(0, 30))
    def deliver_again(self, number: int) -> None:
        """SQS delivers at least once."""
        if self.messages:
            self.creator.enqueue(self.messages[number % len(self.messages)])

    @rule(doubled=st.booleans())
    def wake_ups_go_astray(self, doubled: bool) -> None:
        """They are lost or duplicated."""
        request_queue = [entry for entry in self.fakes.queue if "wakeUp" in entry[1].body]
        for entry in request_queue:
            if doubled:
                self.fakes.queue.append(entry)
            else:
                self.fakes.queue.remove(entry)

    # -- runs ------------------------------------------------------------------------------------

    def worked_off(self, batch: list[Message]) -> None:
        try:
            self.creator.deliver(batch)
        except Exception as error:  # noqa: BLE001  raised again below
            self.unforeseen.append(error)

    def swept(self) -> None:
        try:
            self.creator.sweep(SANDBOX)
        except (ProcessDied, StoreUnavailable):
            pass
        except Exception as error:  # noqa: BLE001  raised again below
            self.unforeseen.append(error)

    @rule(
        planned=strikes,
        batches=st.lists(st.integers(1, 4), max_size=3),
        sweeps=st.integers(0, 2),
        order=st.integers(0, 2**32),
    )
    def work(
        self, planned: list[tuple[int | str, Kind]], batches: list[int], sweeps: int, order: int
    ) -> None:
        """Batches are processed concurrently, perhaps during sweeps."""
        self.fakes.plan(planned)
        received = [self.creator.receive(size) for size in batches]
        works: list[Callable[[], None]] = [
            *(partial(self.worked_off, batch) for batch in received if batch),
            *[self.swept] * sweeps,
        ]
        if works:
            self.creator.together(order, *works)
        self.fakes.strikes = {}
        self.fakes.quirks -= {"misses"}
        self.check_nothing_unforeseen()

    @rule(quirk=st.sampled_from(["late", "repeats", "omits"]))
    def the_listing_is_wrong(self, quirk: str) -> None:
        self.fakes.quirks ^= {quirk}

    @precondition(lambda self: not self.missed_once)
    @rule()
    def a_listing_leaves_out_the_newest(self) -> None:
        """Only once: a job that no listing ever shows can't be found."""
        self.missed_once = True
        self.fakes.quirks |= {"misses"}

    @rule(seconds=st.sampled_from([1, 20, 300]))
    def time_passes(self, seconds: int) -> None:
        self.fakes.now += seconds * SECOND_MS

    @rule(dataset=st.sampled_from(["one", "two"]))
    def somebody_else_makes_a_job(self, dataset: str) -> None:
        """A job equal to a requested one, created at any time."""
        job = self.fakes.create(SANDBOX, **job_of(dataset), requestId="another's")
        self.foreign.add(job.body["id"])

    @rule(
        number=st.integers(0, 9),
        status=st.sampled_from(["PROCESSING", "SUCCEEDED", "FAILED", "FAILED", "EMPTY"]),
    )
    def a_job_moves_on(self, number: int, status: str) -> None:
        jobs = self.fakes.jobs[SANDBOX]
        empty, status = status == "EMPTY", status.replace("EMPTY", "SUCCEEDED")
        running = [i for i, job in jobs.items() if job.body["status"] not in FINAL_STATUSES]
        if running:
            job = running[number % len(running)]
            before = jobs[job].body["status"]
            cancels = before == "CANCELLING"
            if empty:
                jobs[job].body["metrics"] = {"totalExportedProfileCounter": 0}
            if before != status:
                self.fakes.move(SANDBOX, job, "CANCELLED" if cancels else status)

    @rule(status=st.sampled_from(["FAILED", "FAILED", "EMPTY"]), order=st.integers(0, 2**32))
    def jobs_end_badly(self, status: str, order: int) -> None:
        """All that are open, and two sweeps see it at once."""
        for _ in self.fakes.jobs[SANDBOX]:
            self.a_job_moves_on(0, status)
        self.work([], [], 2, order)

    @rule(planned=strikes, order=st.integers(0, 2**32))
    def a_minute_passes(self, planned: list[tuple[int | str, Kind]], order: int) -> None:
        """With the runs that the triggers start in it."""
        self.fakes.now += MINUTE_MS
        self.work(planned, [], 1, order)
        self.work([], [2, 2], 1, order)

    # -- what must hold --------------------------------------------------------------------------

    def teardown(self) -> None:
        self.fakes.quirks -= {"misses"}
        for _ in range(ROUNDS):
            self.swept()
            self.swept()  # whatever the first one met
            if not self.fakes.queue and not self.creator.unfinished():
                break
            self.fakes.now += 2 * MINUTE_MS
            while batch := self.creator.receive():
                self.worked_off(batch)
            self.a_job_moves_on(0, "SUCCEEDED")
        self.swept()
        self.check_nothing_unforeseen()
        assert not self.fakes.queue, "a message stays in the queue for ever"
        assert not self.creator.unfinished(), "something is unfinished for ever"
        assert not self.creator.waiting(), "a ticket is left of a request that has ended"
        assert not self.creator.gate().unsettled
        self.check_each_request_ended_once()
        self.check_one_job_each()
        self.check_tries()
        self.check_links()
        self.check_cap()
        self.check_nothing_was_published_twice()

    def check_nothing_unforeseen(self) -> None:
        for error in self.unforeseen:
            raise error

    def ends(self) -> dict[str, list[Event]]:
        """How each request ended, by its key, leaving out other bodies under the same key.

        By the number of the try: those of two jobs have no order on the bus.
        """
        ends: dict[str, dict[str, Event]] = defaultdict(dict)
        for event in self.fakes.published["bus"]:
            if (
                event.type in {EventType.REQUEST_ACCEPTED, EventType.REQUEST_REJECTED}
                and event.detail["outcome"] != "KEY_REUSED"
            ):
                ends[event.detail["requestKey"]].setdefault(event.id, event)
        return {key: sorted(events.values(), key=_try_number) for key, events in ends.items()}

    def check_each_request_ended_once(self) -> None:
        ends = self.ends()
        reused = {
            e.detail["requestKey"]
            for e in self.fakes.published["bus"]
            if e.detail.get("outcome") == "KEY_REUSED"
        }
        dead = Counter(letter.request_key for letter in self.fakes.dead_letter_queue)
        for key, bodies in self.sent.items():
            *tries, end = ends.get(key, [])
            assert len(tries) <= RETRIES.get(key, {"attempts": 0})["attempts"], (key, tries)
            assert all(earlier.detail["outcome"] == "CREATED" for earlier in tries), (key, tries)
            assert (key in reused) == (len(bodies) > 1), key
            if end.type == EventType.REQUEST_REJECTED and end.detail["outcome"] != "CANCELLED":
                assert dead[key] >= 1, key
                assert end.detail["outcome"] != "EXPIRED" or key in self.expire
            else:
                assert bool(dead[key]) == (key in reused), key
        assert ends.keys() == self.sent.keys()

    def created(self) -> list[tuple[str, Any]]:
        """The key and the detail of each job of a request, in the order of its tries."""
        return [
            (key, event.detail)
            for key, events in self.ends().items()
            for event in events
            if event.detail["outcome"] == "CREATED"
        ]

    def check_one_job_each(self) -> None:
        """No try has a second job, or somebody else's job that differs from its own."""
        created = self.created()
        jobs = Counter(detail["jobId"] for _, detail in created)
        assert not jobs or max(jobs.values()) == 1, jobs
        number_of = {slot.request_id: slot.try_number for slot in self.fakes.noted}
        keys = self.creator.keys_by_request_id
        per_try = Counter((keys[i], number_of[i]) for i in self.fakes.made.values())
        assert not per_try or max(per_try.values()) == 1, per_try
        assert per_try.keys() <= {(key, detail["tryNumber"]) for key, detail in created}
        for key, detail in created:
            job = detail["jobId"]
            assert job in self.fakes.life
            if job in self.foreign:
                assert detail["linkedBy"] == "content"
            if not self.foreign and self.fakes.made:
                assert job in self.fakes.made
            asked = [json.loads(sent)["job"]["destination"] for sent in self.sent[key]]
            assert self.fakes.jobs[SANDBOX][job].body["destination"] in asked

    def check_tries(self) -> None:
        """A further try follows each end that the request names, and no other end.

        Unless none is left, or the request is cancelled or out of time.
        """
        tries: dict[str, list[Any]] = defaultdict(list)
        for key, detail in self.created():
            tries[key].append(detail)
        finals, retried = self.finals(), self.retried()
        for key, ends_of_key in self.ends().items():
            reached = {_try_number(event) for event in ends_of_key}
            assert {announced["tryNumber"] for announced in retried[key]} <= reached, key
        for key, details in tries.items():
            assert [detail["tryNumber"] for detail in details] == [*range(1, 1 + len(details))]
            for before, after in itertools.pairwise(details):
                self.check_followed(key, finals[before["jobId"]], after)
            ends = [finals[d["jobId"]] for d in details if d["jobId"] in finals]
            again = [end["jobId"] for end in ends if end["triesLeft"]]
            assert again == [announced["jobId"] for announced in retried[key]]
            for end in ends:
                self.check_end_of_try(key, end, retried[key])

    def finals(self) -> dict[str, Any]:
        """The detail of each job's last event, if it has ended."""
        return {
            event.detail["jobId"]: event.detail
            for event in self.fakes.published["bus"]
            if event.type == EventType.JOB_STATE_CHANGE and event.detail["final"]
        }

    def retried(self) -> dict[str, list[Any]]:
        """The details of what announced further tries, by request, each once."""
        by_id: dict[str, dict[str, Any]] = defaultdict(dict)
        for event in self.fakes.published["bus"]:
            if event.type == EventType.REQUEST_RETRIED:
                by_id[event.detail["requestKey"]].setdefault(event.id, event.detail)
        announced = {
            key: sorted(found.values(), key=lambda detail: detail["tryNumber"])
            for key, found in by_id.items()
        }
        return defaultdict(list, announced)

    def check_followed(self, key: str, end: Any, after: Any) -> None:
        """A further job was made only after the one before had ended, by a minute."""
        assert end["outcome"] in RETRIES[key]["on"]
        ended = self.fakes.jobs[SANDBOX][end["jobId"]].body["updateTime"]
        created = self.fakes.jobs[SANDBOX][after["jobId"]].body["creationTime"]
        delay_ms = RETRIES[key]["delayMinutes"] * MINUTE_MS
        assert after["jobId"] in self.foreign or created >= ended + delay_ms

    def check_end_of_try(self, key: str, end: Any, retried: Iterable[Any]) -> None:
        """One more try is announced, or why there is none is clear."""
        policy = RETRIES.get(key, {"attempts": 0, "on": []})
        left = 1 + policy["attempts"] - end["tryNumber"]
        if end["outcome"] not in policy["on"] or not left:
            assert (end["triesLeft"], end["notRetried"]) == (0, None)
        elif end["notRetried"] is None:
            assert end["triesLeft"] == left
            (announced,) = (r for r in retried if r["jobId"] == end["jobId"])
            assert announced["tryNumber"] == end["tryNumber"] + 1
        elif end["notRetried"] == "EXPIRES":
            assert key in self.expire
        else:
            assert any(sent.startswith(f"cancel-{key}") for sent in self.sent)

    def check_links(self) -> None:
        """Every event of a job names the request that created it, and how that is known."""
        key_of = {detail["jobId"]: key for key, detail in self.created()}
        for job, events in published_by_job(self.fakes.published["bus"]).items():
            for event in events:
                key = key_of.get(job)
                assert event.detail["requestKey"] == key, (job, event.detail)
                assert event.detail["duplicateOfRequest"] is None
                if key:
                    assert event.detail["correlationId"] == f"for {key}"
                    assert event.detail["linkedBy"]
        assert key_of.keys() | self.foreign >= self.fakes.made.keys() or self.foreign

    def check_cap(self) -> None:
        assert self.fakes.most_made[SANDBOX] <= self.creator.max_open

    def check_nothing_was_published_twice(self) -> None:
        if any(kind in MAY_REPEAT for _, kind in self.fakes.struck) or len(self.fakes.struck) > 3:
            return
        for sink, events in self.fakes.published.items():
            repeated = [i for i, times in Counter(e.id for e in events).items() if times > 1]
            assert repeated == [], f"published twice to the {sink}"


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=HISTORIES, stateful_step_count=25, deadline=None)
every_kind = pytest.mark.parametrize("kind", KINDS if LONG else [*KINDS_IN_MEMORY, "answers 5xx"])


def busy_day(strike: tuple[int, Kind] | None, *, echoes: bool) -> Histories:
    """A day of equal requests, a changed body, cancels and a refusal; one call meets a fault."""
    history = Histories()
    history.fakes.set_strike = strike
    history.set_up(echoes, 3, omits=False)
    for key, dataset in (("a", "one"), ("b", "one"), ("c", "refused"), ("a", "two")):
        history.ask_for_a_job(key, dataset)
    history.work([], [2, 2], 1, 3)
    history.deliver_again(0)
    history.ask_to_cancel("a", 1)
    history.ask_to_cancel("d", 1)
    history.time_passes(20)
    history.work([], [2, 2], 1, 5)
    history.ask_for_a_job("d", "two")
    history.teardown()
    return history


@every_kind
def test_every_kind_of_fault_at_every_call(kind: Kind) -> None:
    """Each kind at each call of a busy day; with the echo, every second call unless LONG."""
    for echoes in (False, True):
        calls = busy_day(None, echoes=echoes).fakes.called
        assert len(calls) > 80
        for number in struck_in_memory(calls, kind)[:: 2 if echoes and not LONG else 1]:
            busy_day((number, kind), echoes=echoes)


def failing_night(strike: tuple[int, Kind] | None, *, echoes: bool) -> Histories:
    """Two requests whose jobs end badly, one of them twice, beside an equal one; with one fault."""
    history = Histories()
    history.fakes.set_strike = strike
    history.set_up(echoes, 3, omits=False)
    for key in ("a", "b", "c"):
        history.ask_for_a_job(key, "one")
    history.work([], [3], 1, 3)
    for number, status in ((1, "FAILED"), (1, "EMPTY"), (2, "FAILED")):
        history.a_job_moves_on(number, status)
        history.work([], [2], 2, 5)
        history.time_passes(20)
        history.time_passes(20)
        history.time_passes(20)
        history.work([], [2, 2], 1, 7)
        history.work([], [2, 2], 1, 9)
    history.teardown()
    return history


@every_kind
def test_every_kind_of_fault_at_every_call_of_retries(kind: Kind) -> None:
    """Neither no further try nor two, whichever call of either function is struck.

    Every second call unless LONG: those with the echo that are left out without it.
    """
    for echoes in (False, True):
        history = failing_night(None, echoes=echoes)
        assert sum(detail["tryNumber"] > 1 for _, detail in history.created()) == 3
        first, step = (0, 1) if LONG else (int(echoes), 2)
        for number in struck_in_memory(history.fakes.called, kind)[first::step]:
            failing_night((number, kind), echoes=echoes)
