"""Promises 4 and 5 over random histories: redelivery, faults, overlapping runs, cancels, a full sandbox."""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from export_jobs.contract import FINAL_STATUSES
from export_jobs.creator.fulfil import Fulfiller, Rules
from export_jobs.creator.message import Message
from export_jobs.model.ports import TableUnavailable
from export_jobs.model.records import ACCEPTED, REJECTED, STATE_CHANGE, Event
from export_jobs.monitor.decide import DelayPolicy, Policy
from export_jobs.monitor.sweep import Sweeper
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from support.faults import KINDS, LONG, MAY_REPEAT, Kind, ProcessDied
from support.world import (
    MemoryAnnouncer,
    MemoryApi,
    MemoryQueues,
    MemoryTable,
    World,
    told_by_job,
)

SANDBOX = "prod"
POLICY = Policy(delays=DelayPolicy(limit_ms=10**12))
SECOND_MS = 1_000
MINUTE_MS = 60_000
VISIBILITY_MS = 3 * MINUTE_MS
ROUNDS = 150
HISTORIES = 20_000 if LONG else 1_000

keys = st.sampled_from(["a", "b", "c", "d", "e"])
datasets = st.sampled_from(["one", "one", "two", "refused"])
calls = st.sampled_from(["create", "create", "transact", "put", "send", "publish to bus", "delete"])
strikes = st.lists(st.tuples(st.integers(0, 30) | calls, st.sampled_from(KINDS)), max_size=4)


class Histories(RuleBasedStateMachine):
    """Requests come, are worked off, die, wait; in the end all heals, and each must have ended once."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.sent: dict[str, set[str]] = defaultdict(set)
        """What was asked for under each key."""
        self.messages: list[Message] = []
        self.unforeseen: list[BaseException] = []

    @initialize(echoes=st.booleans(), cap=st.integers(1, 3))
    def set_up(self, echoes: bool, cap: int) -> None:
        """The service may show our request ids, or not; few jobs may be open at once."""
        self.world.echoes_request_id = echoes
        self.rules = Rules(sandboxes=(SANDBOX,), max_open=cap, page_size=3)

    def fulfiller(self) -> Fulfiller:
        numbers = iter(range(10**6))
        run = len(self.messages) + self.world.numbered
        return Fulfiller(
            api=MemoryApi(self.world),
            ledger=MemoryTable(self.world),
            queues=MemoryQueues(self.world),
            announcer=MemoryAnnouncer(self.world),
            rules=self.rules,
            clock=self.world.clock,
            time_left_s=lambda: 300.0,
            new_id=lambda: f"{run}-{id(numbers)}-{next(numbers)}",
        )

    # -- requests --------------------------------------------------------------------------------

    def send(self, envelope: dict[str, Any]) -> None:
        body = json.dumps(envelope)
        message = Message(body, f"message-{len(self.messages)}", self.world.now)
        self.sent[envelope["requestKey"]].add(body)
        self.messages.append(message)
        self.world.queue.append((self.world.now, message))

    @rule(key=keys, dataset=datasets)
    def ask_for_a_job(self, key: str, dataset: str) -> None:
        """The same key may come again, and so may the same body under another key."""
        job = {"destination": {"datasetId": dataset}, "schema": {"name": "s"}}
        self.send({"requestKey": key, "correlationId": f"for {key}", "job": job})

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
            message = self.messages[number % len(self.messages)]
            self.world.queue.append((self.world.now, message))

    # -- runs ------------------------------------------------------------------------------------

    def fulfilled(self, message: Message) -> None:
        """One delivery of one message; it comes back unless its run returns."""
        try:
            self.fulfiller().fulfil(message)
        except (ProcessDied, TableUnavailable):
            self.world.queue.append((self.world.now + VISIBILITY_MS, message))
        except Exception as error:  # noqa: BLE001  raised again below
            self.unforeseen.append(error)

    def swept(self) -> None:
        sweeper = Sweeper(
            api=MemoryApi(self.world),
            table=MemoryTable(self.world),
            announcer=MemoryAnnouncer(self.world),
            policy=POLICY,
            clock=self.world.clock,
            time_left_s=lambda: 300.0,
            page_size=3,
            workers=1,
        )
        try:
            sweeper.sweep(SANDBOX)
        except (ProcessDied, TableUnavailable):
            pass
        except Exception as error:  # noqa: BLE001  raised again below
            self.unforeseen.append(error)

    def due(self, most: int) -> list[Message]:
        """Takes messages that can be seen off the queue."""
        ready = [entry for entry in self.world.queue if entry[0] <= self.world.now][:most]
        for entry in ready:
            self.world.queue.remove(entry)
        return [message for _, message in ready]

    @rule(
        planned=strikes, runs=st.integers(1, 4), sweeps=st.booleans(), order=st.integers(0, 2**32)
    )
    def work(
        self, planned: list[tuple[int | str, Kind]], runs: int, *, sweeps: bool, order: int
    ) -> None:
        """Some messages are worked off at the same time, perhaps while a sweep goes on."""
        self.world.plan(planned)
        works: list[Callable[[], None]] = [
            lambda m=message: self.fulfilled(m)  # type: ignore[misc]
            for message in self.due(runs)
        ]
        if sweeps:
            works.append(self.swept)
        if works:
            self.world.turns.run(random.Random(order), works)
        self.world.strikes = {}
        self.check_nothing_unforeseen()

    @rule(quirk=st.sampled_from(["late", "repeats"]))
    def the_listing_lies(self, quirk: str) -> None:
        self.world.quirks ^= {quirk}

    @rule(seconds=st.sampled_from([1, 20, 300]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds * SECOND_MS

    @rule(number=st.integers(0, 9), status=st.sampled_from(["PROCESSING", "SUCCEEDED", "FAILED"]))
    def a_job_moves_on(self, number: int, status: str) -> None:
        jobs = self.world.jobs[SANDBOX]
        running = [i for i, job in jobs.items() if job.body["status"] not in FINAL_STATUSES]
        if running:
            job = running[number % len(running)]
            before = jobs[job].body["status"]
            cancels = before == "CANCELLING"
            if before != status:
                self.world.move(SANDBOX, job, "CANCELLED" if cancels else status)

    # -- what must hold --------------------------------------------------------------------------

    def teardown(self) -> None:
        for _ in range(ROUNDS):
            if not self.world.queue and not self.owing():
                break
            self.world.now += 2 * MINUTE_MS
            for message in self.due(10):
                self.fulfilled(message)
            self.a_job_moves_on(0, "SUCCEEDED")
            self.swept()
        self.swept()
        self.check_nothing_unforeseen()
        assert not self.world.queue, "a request waits for ever"
        assert not self.owing(), "something is owed for ever"
        self.check_each_request_ended_once()
        self.check_one_job_each()
        self.check_links()
        self.check_cap()
        self.check_nothing_was_told_twice()

    def owing(self) -> bool:
        return any(
            key[0] in {"job", "request"} and item.owed for key, item in self.world.items.items()
        )

    def check_nothing_unforeseen(self) -> None:
        for error in self.unforeseen:
            raise error

    def ends(self) -> dict[str, list[Event]]:
        """How each request ended, by its key; ends of other bodies under the same key left out."""
        ends: dict[str, dict[str, Event]] = defaultdict(dict)
        for event in self.world.told["bus"]:
            if event.type in {ACCEPTED, REJECTED} and event.detail["outcome"] != "KEY_REUSED":
                ends[event.detail["requestKey"]].setdefault(event.id, event)
        return {key: list(events.values()) for key, events in ends.items()}

    def check_each_request_ended_once(self) -> None:
        ends = self.ends()
        reused = {
            e.detail["requestKey"]
            for e in self.world.told["bus"]
            if e.detail.get("outcome") == "KEY_REUSED"
        }
        dead = Counter(key for _, key, _ in self.world.dead_letters)
        for key, bodies in self.sent.items():
            assert len(ends.get(key, [])) == 1, (key, [e.detail for e in ends.get(key, [])])
            (end,) = ends[key]
            assert (key in reused) == (len(bodies) > 1), key
            if end.type == REJECTED and end.detail["outcome"] != "CANCELLED":
                assert dead[key] >= 1, key
            else:
                assert bool(dead[key]) == (key in reused), key
        assert ends.keys() == self.sent.keys()

    def check_one_job_each(self) -> None:
        created = {
            key: events[0].detail["jobId"]
            for key, events in self.ends().items()
            if events[0].detail["outcome"] == "CREATED"
        }
        assert Counter(created.values()) == Counter(self.world.life.keys())
        for key, job in created.items():
            body = self.world.jobs[SANDBOX][job].body
            asked = [json.loads(sent)["job"]["destination"] for sent in self.sent[key]]
            assert body["destination"] in asked

    def check_links(self) -> None:
        """Every event of a job names the request that created it."""
        key_of = {
            events[0].detail["jobId"]: key
            for key, events in self.ends().items()
            if events[0].detail["outcome"] == "CREATED"
        }
        for job, events in told_by_job(self.world.told["bus"]).items():
            for event in events:
                assert event.type == STATE_CHANGE
                assert event.detail["requestKey"] == key_of[job], (job, event.detail)
                assert event.detail["correlationId"] == f"for {key_of[job]}"

    def check_cap(self) -> None:
        assert self.world.most_open[SANDBOX] <= self.rules.max_open

    def check_nothing_was_told_twice(self) -> None:
        if any(kind in MAY_REPEAT for _, kind in self.world.struck) or len(self.world.struck) > 3:
            return
        for sink, events in self.world.told.items():
            repeated = [i for i, times in Counter(e.id for e in events).items() if times > 1]
            assert repeated == [], f"said twice to the {sink}"


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=HISTORIES, stateful_step_count=25, deadline=None)


def busy_day(strike: tuple[int, Kind] | None, *, echoes: bool) -> Histories:
    """A day of equal requests, a changed body, cancels and a refusal; a fault strikes at one call."""
    history = Histories()
    history.world.set_strike = strike
    history.set_up(echoes, 3)
    for key, dataset in (("a", "one"), ("b", "one"), ("c", "refused"), ("a", "two")):
        history.ask_for_a_job(key, dataset)
    history.work([], 4, sweeps=True, order=3)
    history.deliver_again(0)
    history.ask_to_cancel("a", 1)
    history.ask_to_cancel("d", 1)
    history.time_passes(20)
    history.work([], 4, sweeps=True, order=5)
    history.ask_for_a_job("d", "two")
    history.teardown()
    return history


@pytest.mark.parametrize("echoes", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_fault_at_every_call(kind: Kind, *, echoes: bool) -> None:
    """Exhaustively: each call of a busy day, struck by each kind."""
    calls = busy_day(None, echoes=echoes).world.numbered
    assert calls > 80
    for number in range(calls):
        busy_day((number, kind), echoes=echoes)
