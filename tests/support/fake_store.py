"""The tables in memory: what `model.ports` asks of them, on one dictionary.

`tests/integration/test_tables.py` compares their answers with those of DynamoDB's adapter. As in
DynamoDB, a Query may see part of a transaction; a write is atomic, and so is the read of an item.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

from export_jobs.model.baselines import Baseline
from export_jobs.model.expectations import DueExpectations, ExpectationRecord
from export_jobs.model.ports import BaselineChanged, GateMoved, RecordChanged, StoreUnavailable
from export_jobs.model.records import (
    Attempt,
    DigestState,
    ExpectationsState,
    Gate,
    JobRecord,
    Line,
    OutboxItem,
    RequestRecord,
    SandboxRecord,
    SandboxState,
    Ticket,
    as_written,
)
from export_jobs.model.steps import MAX_EXPIRED, GateChange, SlotChange, Step

from support.fakes import Fakes
from support.faults import Kind

Key = tuple[str, ...]
Stored = JobRecord | OutboxItem | RequestRecord | ExpectationRecord
"""What has a version."""
_Bearer = TypeVar("_Bearer", JobRecord, OutboxItem)
_Stored = TypeVar("_Stored", JobRecord, OutboxItem, RequestRecord)


class FakeStore:
    """Both tables: every method is one call, which a fault may strike."""

    def __init__(self, fakes: Fakes) -> None:
        self._fakes = fakes
        self._items = fakes.items

    # -- reads -----------------------------------------------------------------------------------

    def load(self, sandbox: str) -> SandboxRecord:
        def effect() -> SandboxRecord:
            seen = self._query(sandbox)
            return SandboxRecord(
                gate=seen.get(("gate", sandbox), Gate(sandbox)),
                state=seen.get(("state", sandbox)),
                expected=self._expected(sandbox)
                if ("state", sandbox) in seen
                else ExpectationsState(),
                digest=self._digest(sandbox) if ("state", sandbox) in seen else DigestState(),
                open_jobs=_jobs(seen),
                outbox=tuple(item for key, item in sorted(seen.items()) if key[0] == "outbox"),
                tickets=in_line(seen),
            )

        return self._fakes.call("query", effect, _unavailable)

    def line(self, sandbox: str, *, until: int, limit: int) -> Line:
        def effect() -> Line:
            seen = self._query(sandbox)
            due = [t for t in in_line(seen) if t.turn <= until and not t.delayed]
            return Line(_jobs(seen), tuple(due[:limit]))

        return self._fakes.call("query", effect, _unavailable)

    def requests(self, keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        def effect() -> Mapping[str, RequestRecord]:
            found = {key: self._items.get(("request", key)) for key in keys}
            return {key: record for key, record in found.items() if record is not None}

        return self._fakes.call("get item", effect, _unavailable) if keys else {}

    def gate(self, sandbox: str) -> Gate:
        return self._fakes.call("get item", lambda: self._gate(sandbox), _unavailable)

    def job(self, sandbox: str, job_id: str, creation_time: int) -> JobRecord | None:
        key = ("job", sandbox, str(creation_time), job_id)
        return self._fakes.call("get item", lambda: self._items.get(key), _unavailable)

    def baselines(self, sandbox: str, kinds: Collection[str]) -> Mapping[str, Baseline]:
        def effect() -> Mapping[str, Baseline]:
            found = {kind: self._items.get(("baseline", sandbox, kind)) for kind in kinds}
            return {kind: baseline for kind, baseline in found.items() if baseline is not None}

        return self._fakes.call("batch get", effect, _unavailable) if kinds else {}

    def every_baseline(self, sandbox: str, *, beginning: str = "") -> Iterator[Baseline]:
        def effect() -> Sequence[Baseline]:
            keys = [key for key in self._items if key[:2] == ("baseline", sandbox)]
            return [self._items[key] for key in sorted(keys) if key[2].startswith(beginning)]

        yield from self._fakes.call("query", effect, _unavailable)

    def jobs_since(self, sandbox: str, creation_time: int) -> Iterator[JobRecord]:
        def effect() -> Sequence[JobRecord]:
            jobs = [item for key, item in self._items.items() if key[:2] == ("job", sandbox)]
            jobs = [job for job in jobs if job.creation_time >= creation_time]
            return sorted(jobs, key=lambda job: (job.creation_time, job.job_id))

        yield from self._fakes.call("query", effect, _unavailable)

    def due_expectations(self, sandbox: str, *, until: int) -> DueExpectations:
        def effect() -> DueExpectations:
            first = {r for r in self._expectations(sandbox) if r.is_overdue or _due(r) <= until}
            others = [_due(r) for r in self._expectations(sandbox) if r not in first]
            in_order = sorted(first, key=lambda r: (not r.is_overdue, _due(r), r.name))
            return DueExpectations(tuple(in_order), min(others, default=None))

        return self._fakes.call("query", effect, _unavailable)

    def expectations(self, sandbox: str) -> Sequence[ExpectationRecord]:
        return self._fakes.call("query", lambda: self._expectations(sandbox), _unavailable)

    def watched(self) -> frozenset[str]:
        return self._fakes.call("get item", lambda: self._fakes.watched, _unavailable)

    # -- writes ----------------------------------------------------------------------------------

    def put(
        self,
        record: JobRecord,
        state: SandboxState | None = None,
        baseline: Baseline | None = None,
    ) -> JobRecord:
        def effect() -> JobRecord:
            current = self._items.get(_key(record))
            if _version(current) != record.version:
                raise RecordChanged(current)
            if baseline is not None:
                self._put_baseline(baseline)
            if state is not None:
                self._put_state(state)
            return self._put(record)

        together = state is not None or baseline is not None
        return self._fakes.call("transact" if together else "put", effect, _unavailable)

    def put_baseline(self, baseline: Baseline) -> None:
        self._fakes.call("put", lambda: self._put_baseline(baseline), _unavailable)

    def put_state(self, state: SandboxState) -> None:
        self._fakes.call("put", lambda: self._put_state(state), _unavailable)

    def put_outbox(self, item: OutboxItem) -> OutboxItem | None:
        def effect() -> OutboxItem | None:
            current = self._items.get(_key(item))
            if current is None and item.version:
                return None
            if _version(current) != item.version:
                raise RecordChanged(None)
            if not item.outbox:
                self._delete(item.sandbox, _key(item))
                return None
            return self._put(item)

        return self._fakes.call("put", effect, _unavailable)

    def commit(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None = None
    ) -> frozenset[int]:
        change = gate or GateChange()
        if change.version is None and any(
            s.slot_change and s.slot_change.kind == "note" for s in steps
        ):
            raise ValueError("noting attempts requires a version of the gate")
        if change == GateChange() and all(step == Step() for step in steps):
            return frozenset(range(len(steps)))
        before = dict(self._fakes.open[sandbox]) if self._fakes.turns.chance else {}
        written = self._fakes.call(
            "transact", lambda: self._commit(sandbox, steps, change), _unavailable
        )
        self._linger(sandbox, before)
        return written

    def look_at_expectations(self, sandbox: str) -> None:
        self._fakes.call("put", lambda: self._look(sandbox), _unavailable)

    def put_expected(self, sandbox: str, expected: ExpectationsState) -> bool:
        def effect() -> bool:
            if self._expected(sandbox).version != expected.version:
                return False
            written = replace(expected, version=expected.version + 1)
            self._items["expected", sandbox] = written
            return True

        return self._fakes.call("put", effect, _unavailable)

    def edit_expectations(
        self,
        sandbox: str,
        written: Sequence[ExpectationRecord],
        removed: Sequence[ExpectationRecord] = (),
    ) -> None:
        def effect() -> None:
            for record in (*written, *removed):
                if _version(self._items.get(_key(record))) != record.version:
                    raise StoreUnavailable("they have changed since they were read")
            for record in written:
                self._items[_key(record)] = replace(record, version=record.version + 1)
            for record in removed:
                self._items.pop(_key(record), None)
            self._look(sandbox)

        if written or removed:
            self._fakes.call("transact", effect, _unavailable)

    def watch(self, sandboxes: Collection[str]) -> None:
        def effect() -> None:
            self._fakes.watched |= frozenset(sandboxes)

        if sandboxes:
            self._fakes.call("put", effect, _unavailable)

    def forget(self, sandbox: str) -> None:
        self._fakes.call("put", partial(self._delete_state, sandbox), _unavailable)

    def release(self, sandbox: str) -> None:
        def effect() -> None:
            self._delete_state(sandbox)
            self._fakes.watched -= {sandbox}

        self._fakes.call("transact", effect, _unavailable)

    # -- inside ----------------------------------------------------------------------------------

    def _query(self, sandbox: str) -> dict[Key, Any]:
        """What a Query of the index sees.

        While it runs, other runs may write; of each item it sees either state, independently of the
        others. A ticket that is moved in the meantime may be missed altogether.
        """
        first = dict(self._fakes.open[sandbox])
        chance = self._fakes.turns.chance
        if chance is None:
            return first
        for where, before in self._fakes.in_flight:
            if where == sandbox:
                keys = {**before, **first}
                first = {key: _either(chance, before.get(key), first.get(key)) for key in keys}
        self._fakes.turns.take()
        then = self._fakes.open[sandbox]
        seen = {key: _either(chance, first.get(key), then.get(key)) for key in {**first, **then}}
        return {key: item for key, item in seen.items() if item is not None}

    def _linger(self, sandbox: str, before: dict[Key, Any]) -> None:
        """A transaction does not take effect everywhere at once: a Query may miss parts of it."""
        if self._fakes.turns.chance is None:
            return
        self._fakes.in_flight.append((sandbox, before))
        self._fakes.turns.take()
        self._fakes.in_flight.remove((sandbox, before))

    def _expectations(self, sandbox: str) -> list[ExpectationRecord]:
        found = [item for key, item in self._items.items() if key[:2] == ("expectation", sandbox)]
        return sorted(found, key=lambda record: record.name)

    def _expected(self, sandbox: str) -> ExpectationsState:
        expected: ExpectationsState = self._items.get(("expected", sandbox), ExpectationsState())
        return expected

    def _digest(self, sandbox: str) -> DigestState:
        digest: DigestState = self._items.get(("digest", sandbox), DigestState())
        return digest

    def _look(self, sandbox: str) -> None:
        version = self._expected(sandbox).version + 1
        self._items["expected", sandbox] = replace(
            self._expected(sandbox), due_at=0, version=version
        )

    def _delete_state(self, sandbox: str) -> None:
        """Also what it has of expectations and of the digest, which is in the same item."""
        self._delete(sandbox, ("state", sandbox))
        self._items.pop(("expected", sandbox), None)
        self._items.pop(("digest", sandbox), None)

    def _gate(self, sandbox: str) -> Gate:
        gate: Gate = self._items.get(("gate", sandbox), Gate(sandbox))
        return gate

    def _commit(self, sandbox: str, steps: Sequence[Step], change: GateChange) -> frozenset[int]:
        gate = self._gate(sandbox)
        if change.version not in {None, gate.version}:
            raise GateMoved(gate)
        written = []
        touched: set[Key] = set()
        for number, step in enumerate(steps):
            if self._holds(sandbox, step, gate) and not touched & _touched_by(step):
                written.append(number)
                touched |= _touched_by(step)
        for number in written:
            self._write(sandbox, steps[number])
        after = _gate_after(gate, [steps[number] for number in written], change)
        if after != gate:
            self._store(sandbox, ("gate", sandbox), after)
        return frozenset(written)

    def _holds(self, sandbox: str, step: Step, gate: Gate) -> bool:
        """Whether a step was not outrun."""
        records: list[Stored] = [*step.requests, *step.jobs, *step.outbox, *step.published]
        records += step.expectations
        if any(_version(self._items.get(_key(record))) != record.version for record in records):
            return False
        if step.digest and step.digest.version != self._digest(sandbox).version:
            return False
        if step.slot_change is None:
            return True
        slot = gate.slots.get(step.slot_change.attempt.request_key)
        if step.slot_change.kind == "note":
            return slot is None or slot.job_id is not None
        same = slot is not None and slot.request_id == step.slot_change.attempt.request_id
        return same and slot is not None and slot.job_id is None

    def _write(self, sandbox: str, step: Step) -> None:
        if step.slot_change and step.slot_change.kind == "note":
            self._fakes.noted.append(step.slot_change.attempt)
        for request in step.requests:
            self._put_request(request)
        for bearer in (*step.jobs, *step.outbox):
            self._put(bearer)
        self._write_plans(sandbox, step)
        for item in step.published:
            self._delete(item.sandbox, _key(item))
        for ticket in step.drop_tickets:
            self._delete(ticket.sandbox, _key(ticket))
        for ticket in step.add_tickets:
            self._store(ticket.sandbox, _key(ticket), ticket)

    def _write_plans(self, sandbox: str, step: Step) -> None:
        for record in step.expectations:
            self._items[_key(record)] = replace(record, version=record.version + 1)
        if step.digest:
            written = replace(step.digest, version=step.digest.version + 1)
            self._items["digest", sandbox] = written

    def _put_request(self, record: RequestRecord) -> None:
        self._items[_key(record)] = self._written(record)

    def _written(self, record: _Stored) -> _Stored:
        """DynamoDB's adapter writes what differs from `stored`, so that has to be right."""
        if record.stored and record.stored.version == record.version:
            assert record.stored == self._items[_key(record)]
        return as_written(record)

    def _put(self, record: _Bearer) -> _Bearer:
        written = self._written(record)
        self._store(written.sandbox, _key(written), written)
        if isinstance(written, JobRecord):
            for undelivered in written.outbox:
                detail = undelivered.event.detail
                if "sequence" in detail:
                    statuses = self._fakes.recorded[written.job_id]
                    statuses.setdefault(detail["sequence"], detail["status"])
        return written

    def _put_baseline(self, baseline: Baseline) -> None:
        key = ("baseline", baseline.sandbox, baseline.kind)
        if _version(self._items.get(key)) != baseline.version:
            raise BaselineChanged
        self._items[key] = replace(baseline, version=baseline.version + 1)

    def _put_state(self, state: SandboxState) -> None:
        current = self._items.get(("state", state.sandbox))
        if current is None or current.swept_at <= state.swept_at:
            self._store(state.sandbox, ("state", state.sandbox), state)

    def _store(self, sandbox: str, key: Key, item: Any) -> None:
        self._items[key] = item
        if isinstance(item, JobRecord) and not item.is_open:
            self._fakes.open[sandbox].pop(key, None)
        else:
            self._fakes.open[sandbox][key] = item

    def _delete(self, sandbox: str, key: Key) -> None:
        self._items.pop(key, None)
        self._fakes.open[sandbox].pop(key, None)


def _unavailable(_kind: Kind) -> StoreUnavailable:
    return StoreUnavailable("as planned")


def _key(item: Stored | Ticket) -> Key:
    match item:
        case ExpectationRecord():
            return ("expectation", item.sandbox, item.name)
        case JobRecord():
            return ("job", item.sandbox, str(item.creation_time), item.job_id)
        case OutboxItem():
            return ("outbox", item.sandbox, item.item_id)
        case RequestRecord():
            return ("request", item.request_key)
        case Ticket():
            return ("ticket", item.sandbox, item.request_key)


def _due(record: ExpectationRecord) -> int:
    return record.window.due if record.window else 0


def _version(item: Any) -> int:
    return item.version if item is not None else 0


def _either(chance: random.Random, before: Any, after: Any) -> Any:
    if before is after:
        return after
    moved = isinstance(before, Ticket) and isinstance(after, Ticket) and before.place != after.place
    return chance.choice([before, after, None] if moved else [before, after])


def _jobs(seen: Mapping[Key, Any]) -> dict[str, JobRecord]:
    return {item.job_id: item for key, item in seen.items() if key[0] == "job"}


def in_line(seen: Mapping[Key, Any]) -> tuple[Ticket, ...]:
    """The tickets among some items, in the order of the line."""
    tickets = [cast("Ticket", item) for key, item in seen.items() if key[0] == "ticket"]
    return tuple(sorted(tickets, key=lambda ticket: ticket.place))


def _touched_by(step: Step) -> set[Key]:
    """What no other step of the same transaction may touch."""
    touched: set[Key] = {_key(request) for request in step.requests}
    touched |= {_key(job) for job in step.jobs}
    touched |= {_key(item) for item in (*step.outbox, *step.published, *step.expectations)}
    touched |= {_key(ticket) for ticket in (*step.add_tickets, *step.drop_tickets)}
    if step.digest:
        touched |= {("digest",)}
    if step.slot_change:
        touched |= {("slot", step.slot_change.attempt.request_key)}
    return touched


def _gate_after(gate: Gate, steps: Sequence[Step], change: GateChange) -> Gate:
    changes = [step.slot_change for step in steps if step.slot_change is not None]
    return Gate(
        gate.sandbox,
        slots=_slots_after(gate, changes, change.expired_slots),
        former=_former_after(gate, steps, change.expired_former),
        hold=gate.hold if change.hold is None or gate.hold.outlasts(change.hold) else change.hold,
        echoes=gate.echoes if change.echoes is None else change.echoes,
        version=gate.version + any(one.kind == "note" for one in changes),
    )


def _slots_after(
    gate: Gate, changes: Sequence[SlotChange], expired: Sequence[str]
) -> dict[str, Attempt]:
    """The slots by request key, as steps have changed them; expired ones with a job are removed."""
    slots = dict(gate.slots)
    for key in expired[:MAX_EXPIRED]:
        if key in slots and slots[key].job_id is not None:
            del slots[key]
    for change in changes:
        attempt, key = change.attempt, change.attempt.request_key
        match change.kind:
            case "note":
                slots[key] = attempt
            case "link":
                slots[key] = _linked(attempt)
            case "miss":
                slots[key] = replace(slots[key], missed_at=attempt.missed_at)
            case "drop" | "give up":
                del slots[key]
    return slots


def _former_after(gate: Gate, steps: Sequence[Step], expired: Sequence[str]) -> dict[str, Attempt]:
    """The former attempts by request id, without expired or forgotten ones, with given-up ones."""
    former = dict(gate.former)
    for request_id in expired[:MAX_EXPIRED]:
        former.pop(request_id, None)
    for step in steps:
        if step.forget is not None:
            former.pop(step.forget, None)
    for step in steps:
        if step.slot_change and step.slot_change.kind == "give up":
            former[step.slot_change.attempt.request_id] = step.slot_change.attempt
    return former


def _linked(attempt: Attempt) -> Attempt:
    """What is kept of an attempt whose job is known."""
    return Attempt(
        request_key=attempt.request_key,
        request_id=attempt.request_id,
        noted_at=0,
        send_by=0,
        hashes={},
        rule=0,
        job_id=attempt.job_id,
        linked_at=attempt.linked_at,
    )
