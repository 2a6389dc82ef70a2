"""The outside world in memory, for histories by the thousand: service, tables, sinks and queue.

Every call passes one gate, where a fault may strike it and where runs that go on at the same time
take turns in a drawn order. That the tables behave as DynamoDB does is what
`tests/integration/test_store.py` compares.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from export_jobs.client.errors import (
    NotFound,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.contract import FINAL_STATUSES, Job, JobPage
from export_jobs.creator.message import Message, RequestRecord
from export_jobs.model.ports import RecordChanged, TableUnavailable
from export_jobs.model.records import (
    Attempt,
    Event,
    JobRecord,
    SandboxRecord,
    SandboxState,
    Sink,
)

from support.faults import Kind, ProcessDied
from support.schemas import validate_event

_T = TypeVar("_T")
EPOCH = 1_700_000_000_000


class Turns:
    """Lets several runs go on at once, one call at a time, in an order drawn from `chance`."""

    def __init__(self) -> None:
        self._state = threading.Condition()
        self._waiting: set[int] = set()
        self._running = 0
        self._next: int | None = None

    def take(self) -> None:
        """Waits for this thread's turn. Outside of `run`, it is always its turn."""
        me = threading.get_ident()
        with self._state:
            if not self._running:
                return
            self._waiting.add(me)
            self._state.notify_all()
            if not self._state.wait_for(lambda: self._next == me, timeout=20):
                raise TimeoutError("a run was never given its turn")
            self._waiting.remove(me)
            self._next = None

    def run(self, chance: random.Random, works: Sequence[Callable[[], object]]) -> None:
        """Runs all `works` to their ends. They must raise nothing."""

        def worked(work: Callable[[], object]) -> None:
            try:
                self.take()
                work()
            finally:
                with self._state:
                    self._running -= 1
                    self._state.notify_all()

        self._running = len(works)
        threads = [threading.Thread(target=worked, args=[work], daemon=True) for work in works]
        for thread in threads:
            thread.start()
        with self._state:
            while self._running:
                ready = self._state.wait_for(
                    lambda: self._next is None and len(self._waiting) == self._running, timeout=20
                )
                if not ready:
                    raise TimeoutError("the runs wait for something that is no call")
                if self._running:
                    order = [t.ident for t in threads if t.ident in self._waiting]
                    self._next = chance.choice(order)
                    self._state.notify_all()
                    self._state.wait_for(lambda: self._next is None, timeout=20)
        for thread in threads:
            thread.join(timeout=20)


@dataclass
class ServiceJob:
    """A job as the service has it. `before` is its state one change ago, for a listing that lags."""

    body: dict[str, Any]
    visible_at: int = 0
    before: dict[str, Any] | None = None

    @property
    def order(self) -> tuple[int, int]:
        return int(self.body["creationTime"]), int(self.body["id"])


@dataclass
class World:
    """All of it. `strikes` maps a coming call, by its number or its name, to the fault it meets."""

    echoes_request_id: bool = False
    now: int = EPOCH
    jobs: dict[str, dict[str, ServiceJob]] = field(default_factory=lambda: defaultdict(dict))
    life: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Every status of every job, in order; VANISHED when it was deleted."""
    quirks: set[str] = field(default_factory=set)
    """What is wrong with the listings: `lags`, `repeats`, `misses`; `late`: they show what a create
    call made only a minute later."""
    items: dict[tuple[str, ...], Any] = field(default_factory=dict)
    open: dict[str, dict[tuple[str, ...], Any]] = field(default_factory=lambda: defaultdict(dict))
    """Of each sandbox, the open jobs and attempts among the items: the index that a sweep reads."""
    recorded: dict[str, dict[int, str | None]] = field(default_factory=lambda: defaultdict(dict))
    """Of each job, the statuses of the events that were ever owed, by sequence number."""
    told: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    """What arrived at each sink."""
    queue: list[tuple[int, Message]] = field(default_factory=list)
    dead_letters: list[tuple[Message, str, str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    strikes: dict[int | str, Kind] = field(default_factory=dict)
    set_strike: tuple[int, Kind] | None = None
    """One more, at a call by its number, which no plan takes back."""
    struck: list[tuple[str, Kind]] = field(default_factory=list)
    numbered: int = 0
    most_open: Counter[str] = field(default_factory=Counter)
    """The most jobs that were ever open in a sandbox at once."""
    turns: Turns = field(default_factory=Turns)

    def clock(self) -> int:
        return self.now

    def plan(self, planned: Iterable[tuple[int | str, Kind]]) -> None:
        """The faults to come, by a call's name or by its number from now on, instead of any before."""
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
        self.numbered += 1
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
        running = sum(
            job.body["status"] not in FINAL_STATUSES for job in self.jobs[sandbox].values()
        )
        self.most_open[sandbox] = max(self.most_open[sandbox], running)
        return job

    def move(self, sandbox: str, number: str, status: str) -> None:
        job = self.jobs[sandbox][number]
        self.now += 1
        job.before = job.body
        job.body = {**job.body, "status": status, "updateTime": self.now}
        self.life[number].append(status)

    def delete(self, sandbox: str, number: str) -> None:
        del self.jobs[sandbox][number]
        self.life[number].append("VANISHED")


class MemoryApi:
    """The four calls of the client."""

    def __init__(self, world: World) -> None:
        self._world = world

    def _listed(self, sandbox: str, after: tuple[int, ...] | None) -> list[ServiceJob]:
        """Visible jobs older than `after`, newest first."""
        return sorted(
            (
                job
                for job in self._world.jobs[sandbox].values()
                if job.visible_at <= self._world.now and (after is None or job.order < after)
            ),
            key=lambda job: job.order,
            reverse=True,
        )

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage:
        return self._world.call("list", lambda: self._page(sandbox, limit, cursor), _later)

    def _page(self, sandbox: str, limit: int, cursor: str | None) -> JobPage:
        world = self._world
        after = tuple(map(int, cursor.split("_"))) if cursor else None
        listed = self._listed(sandbox, after)
        shown = listed[:limit]
        records = [job.body for job in shown]
        if "lags" in world.quirks:
            records = [job.before or job.body for job in shown]
        if "misses" in world.quirks and len(records) > 1:
            del records[0]
        if "repeats" in world.quirks and records:
            records.insert(0, records[-1])
        last = shown[-1].order if shown else None
        return JobPage(
            tuple(Job.model_validate(record) for record in records),
            next_cursor=f"{last[0]}_{last[1]}" if last and len(listed) > limit else None,
        )

    def get_job(self, sandbox: str, job_id: str) -> Job:
        def effect() -> Job:
            job = self._world.jobs[sandbox].get(job_id)
            if job is None:
                raise NotFound(job_id)
            return Job.model_validate(job.body)

        return self._world.call("get", effect, _later)

    def create_job(
        self,
        sandbox: str,
        body: Mapping[str, Any],
        *,
        request_id: str,
        may_send: Callable[[], bool],
    ) -> Job:
        if not may_send():
            raise RetryLater("not sent")

        def effect() -> Job:
            if body["destination"]["datasetId"] == "refused":
                raise Refused("no such dataset")
            shown_id = request_id if self._world.echoes_request_id else "service's own"
            late_ms = 60_000 if "late" in self._world.quirks else 0
            job = self._world.create(sandbox, late_ms=late_ms, **body, requestId=shown_id)
            return Job.model_validate(job.body)

        return self._world.call("create", effect, _unknown)

    def cancel_job(self, sandbox: str, job_id: str) -> None:
        def effect() -> None:
            job = self._world.jobs[sandbox].get(job_id)
            if job is None:
                raise NotFound(job_id)
            if job.body["status"] in FINAL_STATUSES:
                raise Refused("it has ended")
            if job.body["status"] != "CANCELLING":
                self._world.move(sandbox, job_id, "CANCELLING")

        self._world.call("delete", effect, _later)


class MemoryTable:
    """The jobs table and the requests ledger: conditional writes on one dictionary."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._items = world.items

    def load(self, sandbox: str) -> SandboxRecord:
        return self._world.call("query", lambda: self._sandbox(sandbox), _unavailable)

    def _sandbox(self, sandbox: str) -> SandboxRecord:
        mine = self._world.open[sandbox]
        return SandboxRecord(
            self._items.get(("state", sandbox)),
            {item.job_id: item for key, item in mine.items() if key[0] == "job"},
            tuple(
                sorted(
                    (item for key, item in mine.items() if key[0] == "attempt"),
                    key=lambda attempt: attempt.request_key,
                )
            ),
        )

    def put(self, record: JobRecord, state: SandboxState | None = None) -> JobRecord:
        def effect() -> JobRecord:
            self._check(_job_key(record), record.version)
            if state is not None:
                self._put_state(state)
            return self._put_job(record)

        return self._world.call("transact" if state else "put", effect, _unavailable)

    def put_state(self, state: SandboxState) -> None:
        self._world.call("put", lambda: self._put_state(state), _unavailable)

    def recent_finals(self, sandbox: str) -> Sequence[JobRecord]:
        return self._world.call(
            "query",
            lambda: sorted(
                (
                    item
                    for (kind, box, *_), item in self._items.items()
                    if kind == "job" and box == sandbox and item.final
                ),
                key=lambda item: -item.creation_time,
            ),
            _unavailable,
        )

    # -- the ledger ------------------------------------------------------------------------------

    def request(self, request_key: str) -> RequestRecord | None:
        return self._world.call(
            "get item", lambda: self._items.get(("request", "", request_key)), _unavailable
        )

    def sandbox(self, sandbox: str) -> tuple[SandboxRecord, int]:
        gate = self._world.call(
            "get item", lambda: int(self._items.get(("gate", sandbox), 0)), _unavailable
        )
        return self.load(sandbox), gate

    def job(self, sandbox: str, job: Job) -> JobRecord | None:
        key = ("job", sandbox, str(job.creation_time or 0), job.id)
        return self._world.call("get item", lambda: self._items.get(key), _unavailable)

    def put_request(self, record: RequestRecord) -> RequestRecord:
        def effect() -> RequestRecord:
            self._check(_request_key(record), record.version)
            return self._put_request(record)

        return self._world.call("put", effect, _unavailable)

    def note_attempt(self, record: RequestRecord, attempt: Attempt, gate: int) -> RequestRecord:
        def effect() -> RequestRecord:
            self._check(_request_key(record), record.version)
            place = ("attempt", attempt.sandbox, attempt.request_key)
            if place in self._items or self._items.get(("gate", attempt.sandbox), 0) != gate:
                raise RecordChanged(None)
            self._items[place] = self._world.open[attempt.sandbox][place] = attempt
            self._items["gate", attempt.sandbox] = gate + 1
            return self._put_request(record)

        return self._world.call("transact", effect, _unavailable)

    def drop_attempt(self, record: RequestRecord, sandbox: str) -> RequestRecord:
        def effect() -> RequestRecord:
            self._check(_request_key(record), record.version)
            self._remove_attempt(sandbox, record.request_key)
            return self._put_request(record)

        return self._world.call("transact", effect, _unavailable)

    def link(self, record: RequestRecord, job: JobRecord) -> RequestRecord:
        def effect() -> RequestRecord:
            self._check(_request_key(record), record.version)
            try:
                self._check(_job_key(job), job.version)
            except RecordChanged:
                raise RecordChanged(None) from None
            self._put_job(job)
            self._remove_attempt(job.sandbox, record.request_key)
            return self._put_request(record)

        return self._world.call("transact", effect, _unavailable)

    # -- writes ----------------------------------------------------------------------------------

    def _check(self, key: tuple[str, ...], version: int) -> None:
        current = self._items.get(key)
        if (current.version if current else 0) != version:
            raise RecordChanged(current if isinstance(current, JobRecord) else None)

    def _remove_attempt(self, sandbox: str, request_key: str) -> None:
        place = ("attempt", sandbox, request_key)
        self._items.pop(place, None)
        self._world.open[sandbox].pop(place, None)

    def _put_job(self, record: JobRecord) -> JobRecord:
        written = replace(record, version=record.version + 1)
        key = _job_key(record)
        self._items[key] = written
        if written.is_open:
            self._world.open[record.sandbox][key] = written
        else:
            self._world.open[record.sandbox].pop(key, None)
        for owed in written.owed:
            detail = owed.event.detail
            self._world.recorded[written.job_id].setdefault(detail["sequence"], detail["status"])
        return written

    def _put_request(self, record: RequestRecord) -> RequestRecord:
        written = replace(record, version=record.version + 1)
        self._items[_request_key(record)] = written
        return written

    def _put_state(self, state: SandboxState) -> None:
        current = self._items.get(("state", state.sandbox))
        if current is None or current.swept_at <= state.swept_at:
            self._items["state", state.sandbox] = state


class MemoryAnnouncer:
    """Both sinks, ten events a call."""

    def __init__(self, world: World) -> None:
        self._world = world

    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        arrived: set[str] = set()
        for start in range(0, len(events), 10):
            try:
                arrived |= self._send(events[start : start + 10], sink)
            except _NotPublished:
                continue
        return frozenset(arrived)

    def _send(self, batch: Sequence[Event], sink: Sink) -> set[str]:
        strikes, name = self._world.strikes, f"publish to {sink}"
        planned = {strikes.get(self._world.numbered), strikes.get(name)}
        in_part = "fails in part" in planned or self._world.set_strike == (
            self._world.numbered,
            "fails in part",
        )

        for event in batch:
            validate_event(event.type, event.detail)

        def effect() -> set[str]:
            taken = batch[1::2] if in_part else batch
            self._world.told[sink] += taken
            return {event.id for event in taken}

        return self._world.call(name, effect, lambda _: _NotPublished())


class MemoryQueues:
    """The request queue and the dead letters."""

    def __init__(self, world: World) -> None:
        self._world = world

    def send_back(self, message: Message, *, delay_s: int) -> None:
        back = replace(message, waits=message.waits + 1)
        self._send(lambda: self._world.queue.append((self._world.now + delay_s * 1000, back)))

    def send_to_dead_letters(self, message: Message, *, request_key: str, reason: str) -> None:
        self._send(lambda: self._world.dead_letters.append((message, request_key, reason)))

    def _send(self, effect: Callable[[], None]) -> None:
        self._world.call("send", effect, _unavailable)


class _NotPublished(Exception):
    """Nobody can tell whether the events arrived."""


def _later(_kind: Kind) -> SegmentationError:
    return RetryLater("as planned")


def _unknown(kind: Kind) -> SegmentationError:
    """Only an answer that turns the call away says that no job was created."""
    return RetryLater("as planned") if kind == "is throttled" else OutcomeUnknown("as planned")


def _unavailable(_kind: Kind) -> TableUnavailable:
    return TableUnavailable("as planned")


def _job_key(record: JobRecord) -> tuple[str, ...]:
    return ("job", record.sandbox, str(record.creation_time), record.job_id)


def _request_key(record: RequestRecord) -> tuple[str, ...]:
    return ("request", "", record.request_key)


def told_by_job(events: Sequence[Event]) -> Mapping[str, list[Event]]:
    """The events that a sink received of each job, in the order of their first arrival."""
    by_job: dict[str, dict[str, Event]] = defaultdict(dict)
    for event in events:
        if event.detail.get("sequence"):
            by_job[event.detail["jobId"]].setdefault(event.id, event)
    return {job: list(said.values()) for job, said in by_job.items()}
