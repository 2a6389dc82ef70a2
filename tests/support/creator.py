"""A creator, its queue and a monitor on fakes."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from export_jobs.creator.message import Message
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.process import RequestProcessor
from export_jobs.creator.report import RunReport
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.records import Gate, RequestRecord
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepReport
from export_jobs.monitor.sweep import Sweeper

from support.fake_store import FakeStore, in_line
from support.fakes import (
    DeadLetter,
    FakeApi,
    FakeDeadLetterQueue,
    FakePublisher,
    Fakes,
)
from support.faults import ProcessDied
from support.monitor import Monitor

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
VISIBILITY_MS = 12 * MINUTE_MS
CREATE: dict[str, Any] = {"job": {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}}

LARGEST: dict[str, Any] = {
    "destination": {"datasetId": "d", "segmentPerBatch": True},
    "schema": {"name": "s"},
    "fields": "a,b",
    "mergePolicy": {"id": "m", "version": 1},
    "filter": {
        "segments": [{"segmentId": "x", "segmentNs": "ups", "status": ["realized"]}],
        "segmentQualificationTime": {
            "startTime": "2018-01-01T00:00:00Z",
            "endTime": "2018-02-01T00:00:00Z",
        },
        "fromIngestTimestamp": "2018-01-01T00:00:00Z",
        "emptyProfiles": True,
    },
    "additionalFields": {
        "eventList": {
            "fields": "e",
            "filter": {
                "fromIngestTimestamp": "2018-01-01T00:00:00Z",
                "toIngestTimestamp": "2018-01-01T00:00:00Z",
            },
        }
    },
    "evaluationInfo": {"segmentation": True},
}
"""The body of a request with every field that there is."""


def asking(**fields: Any) -> dict[str, Any]:
    """A create request for a job with these additional fields."""
    return {"job": {**CREATE["job"], **fields}}


class Creator:
    """Requests are sent, delivered in batches, and looked after by sweeps."""

    def __init__(
        self,
        *,
        max_open: int = 5,
        sandboxes: tuple[str, ...] = ("prod", "dev"),
        page_size: int = 100,
    ) -> None:
        self.fakes = Fakes()
        self.api: Callable[[], FakeApi] = lambda: FakeApi(self.fakes)
        self.sweep_api: Callable[[], FakeApi] = lambda: FakeApi(self.fakes)
        self.store: type[FakeStore] = FakeStore
        """The type of the creator's tables; sweeps always have tables that work."""
        self.sandboxes = sandboxes
        self.max_open = max_open
        self.page_size = page_size
        self.time_left_s = 300.0
        self.receives: dict[str, int] = {}
        self.on_attempt: Callable[[], None] = lambda: None
        """What happens between reading a waiting request and noting its attempt."""
        self._ids = itertools.count()

    # -- the parts -------------------------------------------------------------------------------

    def processor(self) -> RequestProcessor:
        """A new process, without any state."""
        return RequestProcessor(
            api=self.api(),
            store=self.store(self.fakes),
            publisher=FakePublisher(self.fakes),
            dead_letter_queue=FakeDeadLetterQueue(self.fakes),
            policy=CreatorPolicy(sandboxes=self.sandboxes, max_open=self.max_open),
            clock=self.fakes.clock,
            time_left_s=lambda: self.time_left_s,
            new_id=self._new_id,
            sleep=lambda _: None,
            workers=1,
        )

    def _new_id(self) -> str:
        self.on_attempt()
        return f"id-{next(self._ids)}"

    def sweeper(self) -> Sweeper:
        policy = MonitorPolicy(max_open=self.max_open, delays=DelayPolicy(limit_ms=10**12))
        return Monitor(
            self.fakes,
            policy,
            api=self.sweep_api(),
            time_left_s=lambda: 300.0,
            page_size=self.page_size,
        ).sweeper

    # -- what happens ----------------------------------------------------------------------------

    def message(self, key: str | None = "key", **envelope: Any) -> Message:
        asked = {**envelope, **({"requestKey": key} if key else {})}
        return self.raw(json.dumps(asked))

    def raw(self, body: str, attributes: Mapping[str, str] | None = None) -> Message:
        return Message(
            f"m{next(self._ids)}", body, self.fakes.now, attributes=dict(attributes or {})
        )

    def send(self, key: str | None = "key", **envelope: Any) -> Message:
        return self.enqueue(self.message(key, **envelope))

    def enqueue(self, message: Message) -> Message:
        self.fakes.queue.append((self.fakes.now, message))
        return message

    def redrive(self, letter: DeadLetter, body: str | None = None) -> Message:
        """Brings a dead letter back, as SQS's own redrive and the command do."""
        self.fakes.dead_letter_queue.remove(letter)
        return self.enqueue(self.raw(body or letter.body, letter.attributes))

    def receive(self, most: int = 10) -> list[Message]:
        """Receives the visible messages of the queue; each counts its receives."""
        ready = [entry for entry in self.fakes.queue if entry[0] <= self.fakes.now][:most]
        for entry in ready:
            self.fakes.queue.remove(entry)
        received = []
        for _, message in ready:
            count = self.receives[message.message_id] = self.receives.get(message.message_id, 0) + 1
            received.append(
                Message(
                    message.message_id, message.body, message.sent_at, count, message.attributes
                )
            )
        return received

    def deliver(self, messages: Sequence[Message]) -> RunReport | None:
        """One run; the messages that it fails with, or dies over, become visible again later."""
        try:
            report = self.processor().process(messages)
        except ProcessDied:
            failed = list(messages)
            report = None
        else:
            failed = [m for m in messages if m.message_id in report.failed]
        for message in failed:
            self.fakes.queue.append((self.fakes.now + VISIBILITY_MS, message))
        return report

    def work(self) -> list[RunReport | None]:
        """Processes the visible messages, in batches of ten."""
        reports = []
        while batch := self.receive():
            reports.append(self.deliver(batch))
        return reports

    def sweep(self, sandbox: str = "prod", *, watched: bool = True) -> SweepReport:
        return self.sweeper().sweep(sandbox, watched=watched)

    def minute(self) -> None:
        """One minute: a sweep, and the runs that it triggers."""
        for sandbox in self.sandboxes:
            self.sweep(sandbox)
        self.work()
        self.fakes.now += MINUTE_MS

    def minutes(self, number: int) -> None:
        for _ in range(number):
            self.minute()

    def together(self, order: int, *works: Callable[[], object]) -> None:
        """Concurrent runs, with their calls in an order drawn by `order`."""
        self.fakes.turns.run(random.Random(order), works)

    def until_ended(self, *, minutes: int = 600) -> None:
        """Minute after minute, until every request has ended and every event is delivered."""
        for _ in range(minutes):
            self.work()
            if not self.fakes.queue and not self.unfinished():
                return
            self.minute()
        raise AssertionError(f"unfinished for ever: {self.unfinished()}, {self.fakes.queue}")

    def finish(self, status: str = "SUCCEEDED", sandbox: str = "prod") -> None:
        """Ends every open job."""
        for number, job in list(self.fakes.jobs[sandbox].items()):
            if job.body["status"] == "CANCELLING":
                self.fakes.move(sandbox, number, "CANCELLED")
            elif job.body["status"] in {"NEW", "PROCESSING"}:
                self.fakes.move(sandbox, number, status)

    # -- results ---------------------------------------------------------------------------------

    def unfinished(self) -> list[Any]:
        """Requests that have not ended, and records with something in their outboxes."""
        left: list[Any] = []
        for item in self.fakes.items.values():
            if getattr(item, "outbox", ()):
                left.append(item)
            if isinstance(item, RequestRecord) and item.status in {"WAITING", "CREATING"}:
                left.append(item)
        return left

    @property
    def keys_by_request_id(self) -> dict[str, str]:
        """The request key of every attempt that was ever noted, by its request id."""
        return {slot.request_id: slot.request_key for slot in self.fakes.noted}

    def record(self, key: str = "key") -> RequestRecord:
        record = self.fakes.items["request", key]
        assert isinstance(record, RequestRecord)
        return record

    def gate(self, sandbox: str = "prod") -> Gate:
        gate: Gate = self.fakes.items.get(("gate", sandbox), Gate(sandbox))
        return gate

    def waiting(self, sandbox: str = "prod") -> list[str]:
        """The keys of the waiting requests, in the order of the line."""
        return [ticket.request_key for ticket in in_line(self.fakes.open[sandbox])]

    def ends(self) -> list[tuple[str, str]]:
        """Key and outcome of each request that has ended, as published on the bus."""
        return [
            (event.detail["requestKey"], event.detail["outcome"])
            for event in self.fakes.published["bus"]
            if event.type.startswith("Export Request")
        ]

    def last(self) -> dict[str, Any]:
        return dict(self.fakes.published["bus"][-1].detail)

    @property
    def jobs(self) -> list[str]:
        return list(self.fakes.life)
