"""Fakes of what the functions call, for histories by the thousand: service, sinks and queues.

Every call goes through `Fakes.call`, where a fault may strike it and where concurrent runs take
turns in a drawn order. The tables are in `support.fake_store`.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from export_jobs.contract import FINAL_STATUSES, Job, JobHeader, JobPage
from export_jobs.contract.errors import (
    NotFound,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.creator.message import Message
from export_jobs.model.ports import QueueUnavailable
from export_jobs.model.records import Attempt, Event, Sink
from export_jobs.model.wake_up import wake_up_body

from support.faults import Kind, ProcessDied
from support.schemas import validate_event

_T = TypeVar("_T")
EPOCH = 1_700_000_000_000


class Turns:
    """Interleaves several runs, one call at a time, in an order drawn from `chance`.

    Whichever run is the last to wait for its turn gives it to the next one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._turns: dict[threading.Thread, threading.Event] = {}
        """Those of the runs that wait."""
        self._running = 0
        self._given = 0
        self._ended = threading.Event()
        self.chance: random.Random | None = None
        """What the order is drawn from, while several runs are active."""

    def take(self) -> None:
        """Waits for this thread's turn. Outside of `run`, it is always its turn."""
        if not self._running:
            return
        turn = threading.Event()
        with self._lock:
            self._turns[threading.current_thread()] = turn
            self._give()
        if not turn.wait(timeout=20):
            raise TimeoutError("a run was never given its turn")

    def _give(self) -> None:
        """Once every run waits."""
        if self._turns and len(self._turns) == self._running:
            assert self.chance is not None
            waiting = [thread for thread in self._threads if thread in self._turns]
            self._given += 1
            self._turns.pop(self.chance.choice(waiting)).set()

    def run(self, chance: random.Random, works: Sequence[Callable[[], object]]) -> None:
        """Runs all `works` to completion. They must raise nothing."""
        if len(works) == 1:  # it has every turn
            works[0]()
            return

        def worked(work: Callable[[], object]) -> None:
            try:
                self.take()
                work()
            finally:
                with self._lock:
                    self._running -= 1
                    self._give()
                    if not self._running:
                        self._ended.set()

        self.chance = chance
        self._running = len(works)
        self._ended.clear()
        self._threads = [
            threading.Thread(target=worked, args=[work], daemon=True) for work in works
        ]
        for thread in self._threads:
            thread.start()
        given = -1
        while not self._ended.wait(timeout=20):
            if given == self._given:
                raise TimeoutError("the runs wait for something that is no call")
            given = self._given
        for thread in self._threads:
            thread.join(timeout=20)
        self.chance = None


@dataclass
class ServiceJob:
    """A job of the service. `before` is its state one change ago, for a listing that lags."""

    body: dict[str, Any]
    visible_at: int = 0
    before: dict[str, Any] | None = None

    @property
    def order(self) -> tuple[int, int]:
        return int(self.body["creationTime"]), int(self.body["id"])


@dataclass(frozen=True)
class DeadLetter:
    """A message in the dead-letter queue, with the attributes that the creator gave it."""

    body: str
    request_key: str
    record_key: str
    reason: str
    event_id: str

    @property
    def attributes(self) -> dict[str, str]:
        """The message attributes with which SQS's own redrive brings it back."""
        return {
            "requestKey": self.request_key,
            "recordKey": self.record_key,
            "reason": self.reason,
            "eventId": self.event_id,
        }


@dataclass
class Fakes:
    """All fakes. `strikes` maps a future call, by its number or its name, to the fault it meets."""

    echoes_request_id: bool = False
    now: int = EPOCH
    jobs: dict[str, dict[str, ServiceJob]] = field(default_factory=lambda: defaultdict(dict))
    life: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Every status of every job, in order; VANISHED when it was deleted."""
    quirks: set[str] = field(default_factory=set)
    """What is wrong with the answers. In listings: `lags`, `repeats`, `misses`; `late`: they show
    what a create call made only `late_ms` later. In listings and by id: `omits`, of a job's optional
    fields those that the listing of Adobe's own example leaves out.
    """
    late_ms: int = 60_000
    items: dict[tuple[str, ...], Any] = field(default_factory=dict)
    """What is in the tables, by kind, sandbox and key."""
    open: dict[str, dict[tuple[str, ...], Any]] = field(default_factory=lambda: defaultdict(dict))
    """The items in the index `open`, by sandbox."""
    in_flight: list[tuple[str, dict[tuple[str, ...], Any]]] = field(default_factory=list)
    """Transactions that have taken effect and not returned yet: what the index was before."""
    watched: frozenset[str] = frozenset()
    """The sandboxes that the stack item names."""
    recorded: dict[str, dict[int, str | None]] = field(default_factory=lambda: defaultdict(dict))
    """The statuses of the events that were ever in a job's outbox, by job and sequence number."""
    published: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """What arrived at each sink."""
    queue: list[tuple[int, Message]] = field(default_factory=list)
    """The messages of the request queue, each with the time from which it can be received."""
    dead_letter_queue: list[DeadLetter] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    strikes: dict[int | str, Kind] = field(default_factory=dict)
    set_strike: tuple[int, Kind] | None = None
    """One more, at a call by its number, which no plan removes."""
    struck: list[tuple[str, Kind]] = field(default_factory=list)
    called: list[str] = field(default_factory=list)
    """Every call by its name; their numbers are those of the plans."""
    most_open: Counter[str] = field(default_factory=Counter)
    """The most jobs that were ever open in a sandbox at once."""
    made: dict[str, str] = field(default_factory=dict)
    """The request id with which one of our create calls made a job, by job."""
    noted: list[Attempt] = field(default_factory=list)
    """Every attempt that was ever noted."""
    most_made: Counter[str] = field(default_factory=Counter)
    """The most jobs of our create calls that were ever open in a sandbox at once."""
    turns: Turns = field(default_factory=Turns)

    def clock(self) -> int:
        return self.now

    @property
    def numbered(self) -> int:
        return len(self.called)

    def plan(self, planned: Iterable[tuple[int | str, Kind]]) -> None:
        """Replaces the planned faults: each is for a call's name, or for its number from now on."""
        self.strikes = {
            self.numbered + which if isinstance(which, int) else which: kind
            for which, kind in planned
        }

    def call(self, name: str, effect: Callable[[], _T], failure: Callable[[Kind], Exception]) -> _T:
        """A call that may be struck; `failure` makes the error that the caller then sees."""
        self.turns.take()
        self.now += 1
        self.calls[name] += 1
        kind = self.strikes.pop(self.numbered, None) or self.strikes.pop(name, None)
        if self.set_strike and self.set_strike[0] == self.numbered:
            kind = self.set_strike[1]
        self.called.append(name)
        if kind:
            self.struck.append((name, kind))
        if kind == "dies before":
            raise ProcessDied
        if kind in {"times out before", "is throttled", "answers 5xx"}:
            raise failure(kind)
        result = effect()
        if kind == "dies after":
            raise ProcessDied
        if kind == "times out after":
            raise failure(kind)
        return result

    # -- what happens at the service -------------------------------------------------------------

    def create(
        self, sandbox: str, *, status: str = "NEW", late_ms: int = 0, **body: Any
    ) -> ServiceJob:
        self.now += 1
        number = str(1 + sum(len(jobs) for jobs in self.jobs.values()))
        while number in self.life:
            number = str(int(number) + 1)
        job = ServiceJob(
            {
                "id": number,
                "creationTime": self.now,
                "updateTime": self.now,
                "destination": {"datasetId": "d"},
                **body,
                "status": status,
            },
            visible_at=self.now + late_ms,
        )
        self.jobs[sandbox][number] = job
        self.life[number].append(status)
        if status not in FINAL_STATUSES:
            running = sum(
                job.body["status"] not in FINAL_STATUSES for job in self.jobs[sandbox].values()
            )
            self.most_open[sandbox] = max(self.most_open[sandbox], running)
        return job

    def note_made(self, sandbox: str, job: ServiceJob, request_id: str) -> None:
        self.made[job.body["id"]] = request_id
        ours = sum(
            other.body["status"] not in FINAL_STATUSES
            for number, other in self.jobs[sandbox].items()
            if number in self.made
        )
        self.most_made[sandbox] = max(self.most_made[sandbox], ours)

    def move(self, sandbox: str, number: str, status: str) -> None:
        job = self.jobs[sandbox][number]
        self.now += 1
        job.before = job.body
        job.body = {**job.body, "status": status, "updateTime": self.now}
        self.life[number].append(status)

    def delete(self, sandbox: str, number: str) -> None:
        del self.jobs[sandbox][number]
        self.life[number].append("VANISHED")


class FakeApi:
    """The client, of one run: its first `prepare` gets a token, which is good for the whole run."""

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes
        self._has_token = False

    def org_id(self) -> str:
        return "ORG@AdobeOrg"

    def prepare(self) -> None:
        if not self._has_token:
            self._fakes.call("token", lambda: None, _later)
            self._has_token = True

    def _listed(self, sandbox: str, after: tuple[int, ...] | None) -> list[ServiceJob]:
        """Visible jobs older than `after`, newest first."""
        return sorted(
            (
                job
                for job in self._fakes.jobs[sandbox].values()
                if job.visible_at <= self._fakes.now and (after is None or job.order < after)
            ),
            key=lambda job: job.order,
            reverse=True,
        )

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage:
        return self._fakes.call("list", lambda: self._page(sandbox, limit, cursor), _later)

    def _page(self, sandbox: str, limit: int, cursor: str | None) -> JobPage:
        fakes = self._fakes
        after = tuple(map(int, cursor.split("_"))) if cursor else None
        listed = self._listed(sandbox, after)
        shown = listed[:limit]
        records = [job.body for job in shown]
        if "lags" in fakes.quirks:
            records = [job.before or job.body for job in shown]
        if "misses" in fakes.quirks and len(records) > 1:
            del records[0]
        if "repeats" in fakes.quirks and records:
            records.insert(0, records[-1])
        last = shown[-1].order if shown else None
        return JobPage(
            tuple(JobHeader.read(self._answered(record)) for record in records),
            next_cursor=f"{last[0]}_{last[1]}" if last and len(listed) > limit else None,
        )

    def get_job(self, sandbox: str, job_id: str) -> Job:
        def effect() -> Job:
            job = self._fakes.jobs[sandbox].get(job_id)
            if job is None:
                raise NotFound(job_id)
            return Job.model_validate(self._answered(job.body))

        return self._fakes.call("get", effect, _later)

    def _answered(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return _without_optional(body) if self._omits else dict(body)

    @property
    def _omits(self) -> bool:
        return "omits" in self._fakes.quirks

    def create_job(
        self,
        sandbox: str,
        body: Mapping[str, Any],
        *,
        request_id: str,
        may_send: Callable[[], bool],
    ) -> Job:
        def effect() -> Job:
            if not may_send():
                raise RetryLater("it is too late to send the call")
            if body["destination"]["datasetId"] == "refused":
                raise Refused("no such dataset")
            shown_id = request_id if self._fakes.echoes_request_id else "service's own"
            late_ms = self._fakes.late_ms if "late" in self._fakes.quirks else 0
            job = self._fakes.create(sandbox, late_ms=late_ms, **body, requestId=shown_id)
            self._fakes.note_made(sandbox, job, request_id)
            return Job.model_validate(job.body)

        return self._fakes.call("create", effect, _unknown)

    def cancel_job(self, sandbox: str, job_id: str) -> None:
        def effect() -> None:
            job = self._fakes.jobs[sandbox].get(job_id)
            if job is None:
                raise NotFound(job_id)
            if job.body["status"] in FINAL_STATUSES:
                raise Refused("it has ended")
            if job.body["status"] != "CANCELLING":
                self._fakes.move(sandbox, job_id, "CANCELLING")

        self._fakes.call("delete", effect, _later)


class FakePublisher:
    """Both sinks, ten events a call."""

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes

    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        arrived: set[str] = set()
        for start in range(0, len(events), 10):
            try:
                arrived |= self._send(events[start : start + 10], sink)
            except _NotPublished:
                continue
        return frozenset(arrived)

    def _send(self, batch: Sequence[Event], sink: Sink) -> set[str]:
        strikes, name = self._fakes.strikes, f"publish to {sink}"
        planned = {strikes.get(self._fakes.numbered), strikes.get(name)}
        in_part = "fails in part" in planned or self._fakes.set_strike == (
            self._fakes.numbered,
            "fails in part",
        )

        for event in batch:
            validate_event(event.type, event.detail)

        def effect() -> set[str]:
            taken = batch[1::2] if in_part else batch
            self._fakes.published[sink] += taken
            return {event.id for event in taken}

        return self._fakes.call(name, effect, lambda _: _NotPublished())


class FakeDeadLetterQueue:
    """The dead-letter queue, for writing."""

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes

    def send(
        self, body: str, *, request_key: str, record_key: str, reason: str, event_id: str
    ) -> None:
        letter = DeadLetter(body, request_key, record_key, reason, event_id)
        self._fakes.call(
            "send", lambda: self._fakes.dead_letter_queue.append(letter), _queue_unavailable
        )


class FakeRequestQueue:
    """The request queue, as the monitor writes to it."""

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes

    def wake(self, sandbox: str) -> None:
        def effect() -> None:
            fakes = self._fakes
            message = Message(f"wake-up-{fakes.numbered}", wake_up_body(sandbox), fakes.now)
            fakes.queue.append((fakes.now, message))

        self._fakes.call("send", effect, _queue_unavailable)


class _NotPublished(Exception):
    """Nobody knows whether the events arrived."""


def _later(_kind: Kind) -> SegmentationError:
    return RetryLater("as planned")


def _unknown(kind: Kind) -> SegmentationError:
    """Only an answer that refuses the call proves that no job was created."""
    return RetryLater("as planned") if kind == "is throttled" else OutcomeUnknown("as planned")


def _queue_unavailable(_kind: Kind) -> QueueUnavailable:
    return QueueUnavailable("as planned")


def _without_optional(body: Mapping[str, Any]) -> dict[str, Any]:
    """A job as Adobe's example of a listing shows it, without what only its create request has."""
    shown = {name: value for name, value in body.items() if name != "additionalFields"}
    if isinstance(body.get("filter"), dict):
        left_out = {"segmentQualificationTime", "fromIngestTimestamp", "emptyProfiles"}
        shown["filter"] = {
            name: value for name, value in body["filter"].items() if name not in left_out
        }
    return shown


def published_by_job(events: Sequence[Event]) -> Mapping[str, list[Event]]:
    """The events of each job that a sink received, in the order of their first arrival."""
    by_job: dict[str, dict[str, Event]] = defaultdict(dict)
    for event in events:
        if event.detail.get("sequence"):
            by_job[event.detail["jobId"]].setdefault(event.id, event)
    return {job: list(first.values()) for job, first in by_job.items()}
