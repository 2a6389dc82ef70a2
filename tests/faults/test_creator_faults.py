"""Promises 4 and 5: at whichever call whatever fault strikes, each request ends once, in one job."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from export_jobs.creator.fulfil import Rules
from export_jobs.creator.message import Message
from export_jobs.model.ports import TableUnavailable
from export_jobs.model.records import ACCEPTED, REJECTED, STATE_CHANGE
from export_jobs.wiring import now_ms
from support.faults import KINDS, LONG, Injector, Kind, ProcessDied, is_a_case_of_its_own
from support.local import Bench

MAX_DELIVERIES = 60


class Impatient:
    """An SQS client under which delayed messages come at once; it is the clock that moves on."""

    def __init__(self, client: Any, advance: Callable[..., None]) -> None:
        self._client = client
        self._advance = advance

    def send_message(self, **request: Any) -> Any:
        self._advance(seconds=request.pop("DelaySeconds", 0))
        return self._client.send_message(**request)

    def __getattr__(self, operation: str) -> Any:
        return getattr(self._client, operation)


@dataclass
class Office:
    """A sandbox to which requests are sent, and a poller that delivers until the queue is empty."""

    bench: Bench
    sandbox: str
    sent: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        real = self.bench.clients["sqs"]
        clients = {**self.bench.clients, "sqs": Impatient(real, self.bench.clock.advance)}
        self.bench = replace(self.bench, clients=clients)
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
        """Delivers what is on the queue, again and again, as the poller of Lambda would."""
        sqs = self.bench.clients["sqs"]
        for _ in range(MAX_DELIVERIES):
            found = sqs.receive_message(**self._queue, MessageAttributeNames=["All"])
            if not found.get("Messages"):
                return
            (message,) = found["Messages"]
            handle = {"ReceiptHandle": message["ReceiptHandle"]}
            try:
                rules = Rules(sandboxes=(self.sandbox,))
                self.bench.fulfiller(rules).fulfil(message_of(message))
            except (ProcessDied, TableUnavailable):
                self.bench.clock.advance(minutes=3)  # it is seen again when that is over
                sqs.change_message_visibility(**self._queue, **handle, VisibilityTimeout=0)
            else:
                sqs.delete_message(**self._queue, **handle)
        pytest.fail("the requests do not come to an end")

    def dead_letters(self) -> Counter[str]:
        """How often each key lies among the dead letters; they are taken off."""
        sqs = self.bench.clients["sqs"]
        keys: Counter[str] = Counter()
        while found := sqs.receive_message(
            **self._dead, MessageAttributeNames=["All"], MaxNumberOfMessages=10
        ).get("Messages"):
            for letter in found:
                keys[letter["MessageAttributes"]["requestKey"]["StringValue"]] += 1
                sqs.delete_message(**self._dead, ReceiptHandle=letter["ReceiptHandle"])
        return keys


def message_of(delivered: Mapping[str, Any]) -> Message:
    attributes = {
        name: value["StringValue"] for name, value in delivered.get("MessageAttributes", {}).items()
    }
    return Message(
        body=delivered["Body"],
        key=attributes.get("requestKey", delivered["MessageId"]),
        first_received_at=int(attributes.get("firstReceivedAt", now_ms())),
        waits=int(attributes.get("waits", 0)),
        redrives=int(attributes.get("redrives", 0)),
    )


def create(dataset: str) -> dict[str, Any]:
    return {"job": {"destination": {"datasetId": dataset}, "schema": {"name": "s"}}}


def busy_day(office: Office) -> Iterator[None]:
    """A redelivered request, two that ask for the same, one that can never be done, one cancelled."""
    office.send("nightly", times=2, **create("d1"))
    yield
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


def run(bench: Bench, sandbox: str, injector: Injector) -> Office:
    office = Office(replace(bench, injector=injector), sandbox)
    for _ in busy_day(office):
        office.work()
    injector.paused = True
    office.bench.sweeper(workers=1).sweep(sandbox)
    return office


def check(office: Office) -> None:
    """Each request ended once and rightly; its job is its own, and every event of it says so."""
    deliveries = [d for d in office.bench.subscribers.drain() if d.sink == "bus"]
    ends: dict[str, set[str]] = defaultdict(set)
    job_of: dict[str, str] = {}
    for said in deliveries:
        if said.type in {ACCEPTED, REJECTED}:
            ends[said.detail["requestKey"]].add(said.event_id)
            assert said.detail["outcome"] == OUTCOMES[said.detail["requestKey"].split("-", 1)[1]]
            if said.detail["outcome"] == "CREATED":
                job_of[said.detail["jobId"]] = said.detail["requestKey"]
    assert {key: len(ids) for key, ids in ends.items()} == dict.fromkeys(office.sent, 1)
    jobs = office.bench.service.control.jobs(office.sandbox)
    assert {str(job.id) for job in jobs} == job_of.keys()
    for job in jobs:
        asked = office.sent[job_of[str(job.id)]]["job"]["destination"]["datasetId"]
        assert job.body["destination"]["datasetId"] == asked
    for said in deliveries:
        if said.type == STATE_CHANGE:
            assert said.detail["requestKey"] == job_of[said.detail["jobId"]]
    dead = office.dead_letters()
    assert dead.keys() == {office.key("wrong")}


def strike_each_call(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind, *, of: Collection[str] | None = None
) -> None:
    workshop.subscribers.drain()
    counting = Injector()
    check(run(workshop, next(sandboxes), counting))
    chosen = [
        (number, call)
        for number, call in enumerate(counting.calls)
        if (of is None or call in of) and (LONG or is_a_case_of_its_own(kind, call, number))
    ]
    assert chosen
    for number, call in chosen:
        injector = Injector({number: kind})
        office = run(workshop, next(sandboxes), injector)
        try:
            assert injector.struck == [(call, kind)]
            check(office)
        except AssertionError as error:
            raise AssertionError(f"{kind} at call {number}, {call}: {error}") from error


@pytest.mark.parametrize("kind", KINDS)
def test_any_fault_at_any_call_makes_no_second_job(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """For every call of a run: the fault strikes there, the queue delivers again, one job each."""
    strike_each_call(workshop, sandboxes, kind)


@pytest.mark.parametrize("kind", ["dies after", "times out after", "answers 5xx", "fails in part"])
def test_nor_where_the_service_shows_our_request_ids(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """With the echo a lost job is known by its id: the creation, struck by what can lose its answer."""
    workshop.service.control.echo_request_id(True)
    try:
        strike_each_call(workshop, sandboxes, kind, of={"http create"})
    finally:
        workshop.service.control.echo_request_id(False)
