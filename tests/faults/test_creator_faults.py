"""Promises 4 and 5: after any fault at any call of either function, each request ends once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from export_jobs.creator.message import Message
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import EventType
from export_jobs.monitor.policy import MonitorPolicy
from support.faults import (
    KINDS,
    LONG,
    Injector,
    Kind,
    ProcessDied,
    strike_each_call,
)
from support.local import Bench

MAX_BATCHES = 60
MAX_ROUNDS = 30


@dataclass
class Office:
    """A sandbox to which requests are sent, a poller that delivers them in batches, and sweeps."""

    bench: Bench
    sandbox: str
    sent: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failed_at: int = 0
    """The number of the first call after a job has failed."""

    def __post_init__(self) -> None:
        self._queue = {"QueueUrl": self.bench.stack.outputs["RequestQueueUrl"]}
        self._dead = {"QueueUrl": self.bench.stack.outputs["DeadLetterQueueUrl"]}

    def key(self, name: str) -> str:
        return f"{self.sandbox}-{name}"

    def send(self, name: str, *, times: int = 1, **envelope: Any) -> None:
        key = self.key(name)
        self.sent[key] = {"sandboxName": self.sandbox, "requestKey": key, **envelope}
        for _ in range(times):
            self.bench.clients["sqs"].send_message(
                **self._queue, MessageBody=json.dumps(self.sent[key])
            )

    def work(self) -> None:
        """Delivers what is in the queue, again and again, as Lambda's poller would."""
        sqs = self.bench.clients["sqs"]
        for _ in range(MAX_BATCHES):
            found = sqs.receive_message(
                **self._queue,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
                MaxNumberOfMessages=10,
            ).get("Messages", [])
            if not found:
                return
            policy = CreatorPolicy(sandboxes=(self.sandbox,))
            failed = [message["MessageId"] for message in found]
            with suppress(ProcessDied):
                report = self.bench.processor(policy, workers=1).process(
                    [self._message_of(message) for message in found]
                )
                failed = report.failed
            if failed:
                self.bench.clock.advance(minutes=3)  # the time until they are visible again
            for message in found:
                handle = {"ReceiptHandle": message["ReceiptHandle"]}
                if message["MessageId"] in failed:
                    sqs.change_message_visibility(**self._queue, **handle, VisibilityTimeout=0)
                else:
                    sqs.delete_message(**self._queue, **handle)
        pytest.fail("messages are delivered without end")

    def _message_of(self, delivered: Mapping[str, Any]) -> Message:
        """The message as the function reads it; the clock is ahead of moto's."""
        return Message(
            message_id=delivered["MessageId"],
            body=delivered["Body"],
            sent_at=int(delivered["Attributes"]["SentTimestamp"]) + self.bench.clock.ahead_ms,
            receive_count=int(delivered["Attributes"]["ApproximateReceiveCount"]),
        )

    def sweep(self) -> None:
        policy = MonitorPolicy(delays=DelayPolicy(limit_ms=10**12))
        with suppress(ProcessDied, StoreUnavailable):  # the schedule starts the next one
            self.bench.sweeper(policy, workers=1).sweep(self.sandbox)

    def until_quiet(self) -> None:
        """Runs both functions until nothing is left to do."""
        for _ in range(MAX_ROUNDS):
            self.work()
            self.sweep()
            if not self._unfinished():
                return
            self.bench.clock.advance(minutes=2)
        pytest.fail("the requests do not come to an end")

    def _unfinished(self) -> bool:
        known = replace(self.bench, injector=None).store.load(self.sandbox)
        return bool(
            known.tickets
            or known.gate.unsettled
            or known.outbox
            or any(record.outbox for record in known.open_jobs.values())
        )

    def dead_letter_queue(self) -> Counter[str]:
        """Counts the dead letters of each key, and removes them."""
        sqs = self.bench.clients["sqs"]
        keys: Counter[str] = Counter()
        while found := sqs.receive_message(
            **self._dead, MessageAttributeNames=["All"], MaxNumberOfMessages=10
        ).get("Messages"):
            for letter in found:
                keys[letter["MessageAttributes"]["requestKey"]["StringValue"]] += 1
                sqs.delete_message(**self._dead, ReceiptHandle=letter["ReceiptHandle"])
        return keys


def create(dataset: str) -> dict[str, Any]:
    segments = {"segments": [{"segmentId": "x"}]}
    return {
        "job": {
            "destination": {"datasetId": dataset},
            "schema": {"name": "s"},
            "filter": segments,
        }
    }


def busy_day(office: Office) -> Iterator[None]:
    """A redelivered request, two equal ones, one that can never be done and a cancelled one."""
    office.sweep()
    office.send("nightly", times=2, **create("d1"))
    office.send("twin-1", **create("d2"))
    office.send("twin-2", **create("d2"))
    yield
    office.send("wrong", job={"destination": {}})
    office.send("stop", action="cancel", cancelRequestKey=office.key("nightly"))
    yield


OUTCOMES = {
    "nightly": "CREATED",
    "twin-1": "CREATED",
    "twin-2": "CREATED",
    "wrong": "INVALID",
    "stop": "CANCELLING",
}


def failing_night(office: Office) -> Iterator[None]:
    """A request whose job fails, and which is tried again after five minutes."""
    control = office.bench.service.control
    office.sweep()
    office.send("again", retry={"attempts": 2, "delayMinutes": 5}, **create("d1"))
    yield
    (first,) = control.jobs(office.sandbox)
    control.set_status(first.id, "FAILED")
    office.failed_at = len(office.bench.injector.calls) if office.bench.injector else 0
    yield
    yield  # a sweep that could not list has not seen the end
    for job in control.jobs(office.sandbox):
        if job.id != first.id:
            control.set_status(job.id, "SUCCEEDED")
    yield


Script = Callable[[Office], Iterator[None]]


def run(bench: Bench, sandbox: str, injector: Injector, script: Script = busy_day) -> Office:
    office = Office(replace(bench, injector=injector), sandbox)
    for _ in script(office):
        office.until_quiet()
    injector.paused = True
    office.sweep()
    office.sweep()
    return office


def check(office: Office) -> None:
    """Each request ended once and correctly, with its own job, and every event shows that."""
    deliveries = [d for d in office.bench.subscribers.drain() if d.sink == "bus"]
    ends: dict[str, set[str]] = defaultdict(set)
    job_of: dict[str, str] = {}
    for delivery in deliveries:
        if delivery.type in {EventType.REQUEST_ACCEPTED, EventType.REQUEST_REJECTED}:
            ends[delivery.detail["requestKey"]].add(delivery.event_id)
            assert (
                delivery.detail["outcome"]
                == OUTCOMES[delivery.detail["requestKey"].split("-", 1)[1]]
            )
            assert delivery.detail["orgId"] == office.bench.service.org_id
            if delivery.detail["outcome"] == "CREATED":
                job_of[delivery.detail["jobId"]] = delivery.detail["requestKey"]
    assert {key: len(ids) for key, ids in ends.items()} == dict.fromkeys(office.sent, 1)
    jobs = office.bench.service.control.jobs(office.sandbox)
    assert {str(job.id) for job in jobs} == job_of.keys()
    for job in jobs:
        asked = office.sent[job_of[str(job.id)]]["job"]["destination"]["datasetId"]
        assert job.body["destination"]["datasetId"] == asked
    for delivery in deliveries:
        if delivery.type == EventType.JOB_STATE_CHANGE:
            assert delivery.detail["requestKey"] == job_of[delivery.detail["jobId"]]
    dead = office.dead_letter_queue()
    assert dead.keys() == {office.key("wrong")}


def check_tries(office: Office) -> None:
    """The request had two jobs, one after the other, and every event says which one it is about."""
    deliveries = [d for d in office.bench.subscribers.drain() if d.sink == "bus"]
    found = {
        delivery.event_id: (str(delivery.type), delivery.detail["jobId"], delivery.detail)
        for delivery in deliveries
    }
    made = sorted(job.id for job in office.bench.service.control.jobs(office.sandbox))
    jobs = [str(number) for number in made]
    assert len(jobs) == 2
    accepted = [detail for kind, _, detail in found.values() if kind == EventType.REQUEST_ACCEPTED]
    assert {(d["tryNumber"], d["jobId"]) for d in accepted} == {(1, jobs[0]), (2, jobs[1])}
    assert len(accepted) == 2
    (again,) = (detail for kind, _, detail in found.values() if kind == EventType.REQUEST_RETRIED)
    assert (again["jobId"], again["tryNumber"], again["triesLeft"]) == (jobs[0], 2, 1)
    ends = [d for _, _, d in found.values() if d.get("final")]
    assert sorted((d["tryNumber"], d["jobId"], d["status"], d["triesLeft"]) for d in ends) == [
        (1, jobs[0], "FAILED", 2),
        (2, jobs[1], "SUCCEEDED", 0),
    ]
    assert not office.dead_letter_queue()


def strike_busy_days(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind, *, of: Collection[str] | None = None
) -> None:
    workshop.subscribers.drain()
    counting = Injector()
    check(run(workshop, next(sandboxes), counting))

    def struck(injector: Injector) -> None:
        check(run(workshop, next(sandboxes), injector))

    strike_each_call(counting.calls, kind, struck, of=of)


@pytest.mark.parametrize(
    "kind", KINDS if LONG else ["dies after", "fails in part", "times out after"]
)
def test_any_fault_at_any_call_makes_no_second_job(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """For every operation of both functions: after a fault, both run again; one job per request."""
    strike_busy_days(workshop, sandboxes, kind)


@pytest.mark.parametrize("kind", ["dies after", "times out after", "answers 5xx", "fails in part"])
def test_nor_where_the_service_shows_our_request_ids(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """With the echo, a job is found by its id after any fault that can lose the create answer."""
    workshop.service.control.echo_request_id(True)
    try:
        strike_busy_days(workshop, sandboxes, kind, of={"http create"})
    finally:
        workshop.service.control.echo_request_id(False)


@pytest.mark.parametrize(
    "kind", KINDS if LONG else ["dies after", "times out after", "fails in part"]
)
def test_any_fault_after_a_failed_job_leaves_one_further_try(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """For every operation from the sweep that sees the failed end on: neither none nor two."""
    workshop.subscribers.drain()
    counting = Injector()
    office = run(workshop, next(sandboxes), counting, failing_night)
    check_tries(office)

    def struck(injector: Injector) -> None:
        check_tries(run(workshop, next(sandboxes), injector, failing_night))

    strike_each_call(counting.calls, kind, struck, since=office.failed_at)
