"""The tables on an emulator's DynamoDB against the ones in memory that the random histories use."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.expectations import (
    DueExpectations,
    Expectation,
    ExpectationRecord,
    PastWindow,
    Window,
)
from export_jobs.model.ports import (
    BaselineChanged,
    GateMoved,
    RecordChanged,
    StoreRefused,
    StoreUnavailable,
)
from export_jobs.model.records import (
    Attempt,
    DigestState,
    Event,
    ExpectationsState,
    Hold,
    JobRecord,
    OutboxItem,
    RequestRecord,
    SandboxState,
    Ticket,
    Undelivered,
)
from export_jobs.model.retry import RetryPolicy, Try
from export_jobs.model.steps import GateChange, SlotChange, SlotChangeKind, Step
from support.dynamodb import Store
from support.fake_store import FakeStore, _key
from support.fakes import Fakes
from support.faults import LONG

SANDBOX = "prod"
_Stored = TypeVar("_Stored", JobRecord, OutboxItem, RequestRecord)
Call = tuple[str, Callable[[Any], Any]]


class Calls:
    """Random calls of the tables, with few keys, so that they affect the same items."""

    def __init__(self, seed: int, current: FakeStore) -> None:
        """`current` holds what is stored, so that versions are mostly right."""
        self._chance = random.Random(seed)
        self._one_of = self._chance.choice
        self._current = current

    def next(self) -> Call:
        """A call, described, and as a function of the store."""
        make = self._one_of(
            [
                *(self.put, self.put_state, self.put_outbox, self.read, self.put_baseline),
                *(self.edit, self.note, self.read_expectations),
                *[self.commit] * 6,
            ]
        )
        described, call = make()
        return described, call

    # -- calls -----------------------------------------------------------------------------------

    def put(self) -> Call:
        record, state = self.job(), self._one_of([None, self.state()])
        baseline = self._one_of([None, self.baseline()])
        described = f"put {record} with {state} and {baseline}"
        return described, lambda store: store.put(record, state, baseline)

    def put_baseline(self) -> Call:
        baseline = self.baseline()
        return f"put {baseline}", lambda store: store.put_baseline(baseline)

    def put_state(self) -> Call:
        state = self.state()
        return f"put {state}", lambda store: store.put_state(state)

    def put_outbox(self) -> Call:
        item = self.outbox_item()
        if self._maybe():
            item = OutboxItem(SANDBOX, item.record_key, (), 0, item.version, item.item_id)
        return f"put {item}", lambda store: store.put_outbox(item)

    def read(self) -> Call:
        until, limit = self._chance.randint(0, 10), self._chance.randint(1, 4)
        keys = self._chance.sample(["k1", "k2", "k.3[0]", "k4"], self._chance.randint(0, 4))
        reads: list[Call] = [
            ("load", lambda store: store.load(SANDBOX)),
            ("gate", lambda store: store.gate(SANDBOX)),
            ("baselines", lambda store: dict(store.baselines(SANDBOX, {"1-a", "1-b", "1-c"}))),
            ("every baseline", lambda store: list(store.every_baseline(SANDBOX))),
            ("some", lambda store: list(store.every_baseline(SANDBOX, beginning="1-b"))),
            (f"line {until} {limit}", lambda s: s.line(SANDBOX, until=until, limit=limit)),
            (f"requests {keys}", lambda store: dict(store.requests(keys))),
            ("job", lambda store: store.job(SANDBOX, "j1", 101)),
            ("watch", lambda store: store.watch({"a", "b", SANDBOX})),
            ("watched", lambda store: store.watched()),
            ("forget", lambda store: store.forget(SANDBOX)),
            ("release", lambda store: store.release(SANDBOX)),
        ]
        return self._one_of(reads)

    def edit(self) -> Call:
        """By a person: some are written, others removed."""
        names = self._chance.sample(["e1", "e2", "e3"], self._chance.randint(0, 3))
        records = [self.expectation(name) for name in names]
        written = self._chance.randint(0, len(records))
        changes = records[:written], records[written:]
        return f"edit {changes}", lambda store: store.edit_expectations(SANDBOX, *changes)

    def note(self) -> Call:
        """What the state has of expectations, by a sweep or a person."""
        if self._maybe():
            return "look", lambda store: store.look_at_expectations(SANDBOX)
        version = self._current._expected(SANDBOX).version
        expected = ExpectationsState(
            due_at=self._one_of([None, 0, 5]),
            overdue=self._one_of([0, 1]),
            unresolved=self._one_of([0, 2]),
            version=version if self._maybe(0.8) else self._chance.randint(0, 3),
        )
        return f"put {expected}", lambda store: store.put_expected(SANDBOX, expected)

    def read_expectations(self) -> Call:
        moment = self._one_of([0, 5, 99, 101, 102, 103, 10**13])
        reads: list[Call] = [
            (f"due until {moment}", lambda store: due_in(store, moment)),
            ("expectations", lambda store: list(store.expectations(SANDBOX))),
            (f"jobs since {moment}", lambda store: list(store.jobs_since(SANDBOX, moment))),
        ]
        return self._one_of(reads)

    def commit(self) -> Call:
        steps = [self.step() for _ in range(self._chance.randint(0, 4))]
        notes = any(step.slot_change and step.slot_change.kind == "note" for step in steps)
        change = self.gate_change(notes=notes)
        described = f"commit {steps} {change}"
        return described, lambda store: store.commit(SANDBOX, steps, change)

    # -- values ----------------------------------------------------------------------------------

    def _maybe(self, likely: float = 0.3) -> bool:
        return self._chance.random() < likely

    def _version(self, key: str, kind: str) -> int:
        """Mostly the right one."""
        items = self._current._items
        found = next((v for k, v in items.items() if k[0] == kind and k[-1] == key), None)
        version = found.version if found else 0
        return version if self._maybe(0.8) else self._chance.randint(0, 3)

    def _changing(self, record: _Stored) -> _Stored:
        """Some know what they change, so that only the difference is written."""
        found = self._current._items.get(_key(record))
        return replace(record, stored=found.stored) if found and self._maybe(0.5) else record

    def key(self) -> str:
        return self._one_of(["k1", "k2", "k.3[0]", "k4"])

    def request_id(self, key: str) -> str:
        """No two requests have the same one."""
        return self._one_of([f"r1-{key}", f"r2-{key}"])

    def outbox(self) -> tuple[Undelivered, ...]:
        return tuple(
            Undelivered(
                Event("Some Event", {"eventId": self._one_of(["e1", "e2"]), "n": 1.5, "é": None}),
                frozenset(self._chance.sample(["bus", "topic", "dlq"], 2)),
            )
            for _ in range(self._chance.randint(0, 2))
        )

    def job(self) -> JobRecord:
        number = self._chance.randint(1, 3)
        record = JobRecord(
            SANDBOX,
            f"j{number}",
            100 + number,
            status=self._one_of([None, "NEW", "SUCCEEDED"]),
            final=self._maybe(0.4),
            sequence=self._chance.randint(0, 2),
            version=self._version(f"j{number}", "job"),
            update_time=self._one_of([None, 0, 7]),
            org_id=self._one_of([None, "org"]),
            dataset_id=self._one_of([None, "d"]),
            segments=self._one_of([None, frozenset(), frozenset({b"12345678", b"abcdefgh"})]),
            duration_ms=self._one_of([None, 0, 12]),
            kind=self._one_of([None, "1-a"]),
            profiles_exported=self._one_of([None, 0, 5]),
            usual_profiles=self._one_of([None, 0, 5]),
            delay_limit_ms=self._one_of([None, 600_000]),
            request_key=self._one_of([None, "k1"]),
            correlation_id=self._one_of([None, ""]),
            linked_by=self._one_of([None, "answer"]),
            duplicate_of=self._one_of([None, "k2"]),
            delays=self._one_of([0, 2]),
            misses=self._one_of([0, 1]),
            outbox=self.outbox(),
            leased_at=self._one_of([0, 9]),
            touched_at=self._one_of([0, 50]),
            outcome=self._one_of([None, "FAILED"]),
            try_number=self._one_of([1, 2]),
            tries_left=self._one_of([0, 1]),
            retried_on=self._one_of([frozenset(), frozenset({"FAILED", "SUCCEEDED_EMPTY"})]),
            retry_at=self._one_of([None, 9]),
            not_retried=self._one_of([None, "EXPIRES"]),
        )
        return self._changing(record)

    def state(self) -> SandboxState:
        return SandboxState(
            SANDBOX,
            self._chance.randint(0, 9),
            seen_from=self._one_of([0, 3]),
            seen=self._one_of([frozenset(), frozenset({b"12345678", b"abcdefgh"})]),
            swept_at=self._chance.randint(0, 9),
            new_since=self._chance.randint(0, 9),
            failing_since=self._one_of([0, 4]),
        )

    def baseline(self) -> Baseline:
        kind = self._one_of(["1-a", "1-b"])
        some = (Run(5), Run(6, 7), Run(8, 0, 10**14))
        return Baseline(
            SANDBOX,
            kind,
            dataset_id=self._one_of([None, "d"]),
            segments=self._one_of([(), ("s1", "é")]),
            segment_count=self._one_of([0, 12]),
            runs=some[: self._chance.randint(1, 3)],
            unusual=some[: self._chance.randint(0, 2)],
            version=self._version(kind, "baseline"),
        )

    def outbox_item(self) -> OutboxItem:
        event_id = self._one_of(["o1", "o2"])
        entry = Undelivered(Event("Rejected", {"eventId": event_id}), frozenset({"bus"}))
        item_id = self._one_of([event_id, event_id, "expectation#e1"])
        version = self._version(item_id, "outbox")
        item = OutboxItem(SANDBOX, self.key(), (entry,), self._one_of([0, 3]), version, item_id)
        return self._changing(item)

    def expectation(self, name: str) -> ExpectationRecord:
        def window() -> Window:
            return Window(1, 2, self._one_of([3, 5, 99, 10**13 - 1]))

        expectation = Expectation(name, self._one_of(["d", "é"]), "Europe/Rome", every=60)
        return ExpectationRecord(
            SANDBOX,
            expectation,
            applied_at=self._one_of([0, 4]),
            muted_until=self._one_of([0, 8]),
            in_force=self._one_of([None, replace(expectation, grace=5)]),
            window=self._one_of([None, window(), window()]),
            missed=self._one_of([None, None, window()]),
            missed_windows=self._one_of([0, 1]),
            overdue_since=self._one_of([0, 7]),
            told_at=self._one_of([0, 7]),
            last_good_at=self._one_of([None, 0, 6]),
            history=self._one_of([(), (PastWindow(window(), "GOOD", "j1"),)]),
            version=self._version(name, "expectation"),
        )

    def request(self) -> RequestRecord:
        key = self.key()
        record = RequestRecord(
            key,
            self._one_of(["WAITING", "CREATING", "CREATED", "REJECTED", "CANCEL_WANTED"]),
            sandbox=SANDBOX,
            action=self._one_of(["create", "cancel"]),
            body=self._one_of([None, "{}", "[]"]),
            body_hash=self._one_of([None, "hash"]),
            message_id=self._one_of([None, "m"]),
            named=self._one_of([None, "k1"]),
            org_id=self._one_of([None, "org"]),
            correlation_id=self._one_of([None, "c"]),
            dataset_id=self._one_of([None, "d"]),
            sent_at=self._one_of([0, 5]),
            deadline_ms=self._one_of([None, 0, 7]),
            request_id=self._one_of([None, "id"]),
            cancelled_by=self._one_of([None, "k2"]),
            job_id=self._one_of([None, "j1"]),
            linked_by=self._one_of([None, "content"]),
            outcome=self._one_of([None, "CREATED"]),
            reason=self._one_of([None, "because"]),
            event_id=self._one_of([None, "e"]),
            rejections=self._one_of([(), ("e1", "e2")]),
            dead_letter_sent=self._maybe(),
            retry=self._one_of([None, RetryPolicy(2), RetryPolicy(1, 5, frozenset({"FAILED"}))]),
            try_number=self._one_of([1, 2]),
            tries_left=self._one_of([0, 1]),
            tries=self._one_of([(), (Try(1, "j1", "FAILED", ended_at=6, error_message="é"),)]),
            retry_at=self._one_of([None, 9]),
            touched_at=self._one_of([0, 50]),
            version=self._version(key, "request"),
        )
        return self._changing(record)

    def ticket(self) -> Ticket:
        key, action = self.key(), self._one_of(["create", "create", "cancel"])
        return Ticket(
            SANDBOX,
            key,
            action,
            turn=self._chance.randint(0, 10),
            sent_at=self._chance.randint(0, 10),
            deadline_ms=self._one_of([None, 0, 12]),
            delayed=action == "create" and self._maybe(0.3),
        )

    def attempt(self, change: SlotChangeKind) -> Attempt:
        key = self.key()
        taken = self._current._gate(SANDBOX).slots.get(key)
        request_id = taken.request_id if taken and self._maybe(0.8) else self.request_id(key)
        return Attempt(
            key,
            request_id,
            noted_at=self._chance.randint(1, 9),
            send_by=self._chance.randint(1, 9),
            hashes=self._one_of([{}, {"dataset": "ab", "fields": "cd"}]),
            rule=1,
            missed_at=self._one_of([0, 6]),
            try_number=self._one_of([1, 2]),
            job_id="j1" if change == "link" else None,
            linked_at=8 if change == "link" else 0,
        )

    def step(self) -> Step:
        changes: list[SlotChangeKind] = ["note", "note", "link", "drop", "miss", "give up"]
        change = self._one_of(changes)
        written = (self.outbox_item(),) if self._maybe(0.2) else ()
        published = (self.outbox_item(),) if self._maybe(0.1) and not written else ()
        return Step(
            requests=(self.request(),) if self._maybe(0.6) else (),
            jobs=(self.job(),) if self._maybe(0.2) else (),
            add_tickets=(self.ticket(),) if self._maybe() else (),
            drop_tickets=(self.ticket(),) if self._maybe() else (),
            outbox=written,
            published=published,
            expectations=(self.expectation(self._one_of(["e1", "e2"])),)
            if self._maybe(0.2)
            else (),
            slot_change=SlotChange(change, self.attempt(change)) if self._maybe(0.6) else None,
            forget=self._one_of([None, None, self.request_id(self.key())]),
        )

    def gate_change(self, *, notes: bool) -> GateChange | None:
        version = self._current._gate(SANDBOX).version
        if self._maybe(0.2):
            version = self._chance.randint(0, 3)
        change = GateChange(
            version=version if notes or self._maybe() else None,
            hold=self._one_of([None, None, Hold(), Hold(9, 5), Hold(7, 3)]),
            echoes=self._one_of([None, True, False]),
            expired_slots=tuple(self._chance.sample(["k1", "k2", "k4"], 2))
            if self._maybe()
            else (),
            expired_former=self._one_of([(), (self.request_id("k1"),)]),
        )
        return None if change == GateChange() and self._maybe() else change


def outcome(call: Callable[[], Any]) -> Any:
    """The outcome of a call: its result, or the conflict that prevented it."""
    try:
        return call()
    except RecordChanged as changed:
        return ("changed", changed.current)
    except BaselineChanged:
        return "the baseline has changed"
    except GateMoved:
        return "the gate moved"
    except StoreRefused:
        raise
    except StoreUnavailable:
        return "an expectation changed"


def due_in(store: Any, until: int) -> DueExpectations:
    """Those of the same deadline by name: DynamoDB has no order for them."""
    due: DueExpectations = store.due_expectations(SANDBOX, until=until)
    assert [key(record)[:2] for record in due.records] == sorted(
        key(record)[:2] for record in due.records
    )
    return replace(due, records=tuple(sorted(due.records, key=key)))


def key(record: ExpectationRecord) -> tuple[bool, int, str]:
    return (not record.is_overdue, record.window.due if record.window else 0, record.name)


@pytest.mark.parametrize("seed", range(40 if LONG else 8))
def test_both_tables_answer_alike(store: Store, seed: int) -> None:
    """Call by call over random sequences: the same records, the same refusals."""
    real, memory = store.adapter(), FakeStore(Fakes())
    calls = Calls(seed, memory)
    for number in range(60):
        described, call = calls.next()
        assert outcome(lambda: call(real)) == outcome(lambda: call(memory)), described  # noqa: B023
        if number % 5 == 4:
            assert real.load(SANDBOX) == memory.load(SANDBOX), described


def expectation(number: int, *, due: int, missed: bool = False) -> ExpectationRecord:
    window = Window(0, due, due)
    return ExpectationRecord(
        SANDBOX,
        Expectation(f"e{number:03}", "d", "UTC", every=60),
        applied_at=number,
        window=window,
        missed=window if missed else None,
    )


def test_both_tables_have_as_many_expectations_as_there_are(store: Store) -> None:
    """More than one call reads or writes: overdue ones first, and the next deadline of the others."""
    real, memory = store.adapter(), FakeStore(Fakes())
    records = [expectation(n, due=1_000 - n, missed=n % 3 == 0) for n in range(330)]
    for both in (real, memory):
        both.put_state(SandboxState(SANDBOX, 1))
        both.edit_expectations(SANDBOX, records)
    assert list(real.expectations(SANDBOX)) == memory.expectations(SANDBOX)
    assert len(real.expectations(SANDBOX)) == 330
    for until in (0, 670, 671, 800, 999, 10**13):
        assert due_in(real, until) == due_in(memory, until)
    assert due_in(real, 800).next_due == 801
    assert due_in(real, 10**13).next_due is None
    assert len(due_in(real, 10**13).records) == 330
    assert real.load(SANDBOX).expected == ExpectationsState(due_at=0, version=4)
    assert [item.name for item in real.expectations("dev")] == []


def test_ended_requests_are_found_by_status(store: Store) -> None:
    """Without their bodies."""
    records = [
        RequestRecord("a", "CREATED", SANDBOX, body="{}", outcome="CREATED", touched_at=1),
        RequestRecord("m1!x", "REJECTED", SANDBOX, body="{}", named="a", touched_at=2),
        RequestRecord("m2!x", "REJECTED", SANDBOX, named="b", touched_at=3),
        RequestRecord("w", "WAITING", SANDBOX, named="a"),
    ]
    adapter = store.adapter()
    adapter.commit(SANDBOX, [Step(requests=(record,)) for record in records])

    def found(*statuses: Any, limit: int = 10) -> list[str]:
        some = list(adapter.ended_requests(statuses, limit=limit))
        assert all(record.body is None for record in some)
        return sorted(record.request_key for record in some)

    assert found("CREATED", "REJECTED") == ["a", "m1!x", "m2!x"]
    assert len(found("CREATED", "REJECTED", limit=2)) == 2
    assert found() == []
    assert adapter.requests(["m1!x"])["m1!x"].named == "a"


@pytest.mark.parametrize("seed", range(20 if LONG else 5))
def test_both_tables_keep_the_digest_alike(store: Store, seed: int) -> None:
    """Written together with an outbox item or not at all, whatever the states' own writes are.

    A digest that is written before the sandbox has a state is seen once it has one.
    """
    chance, calls = random.Random(seed), Calls(seed, memory := FakeStore(Fakes()))
    real = store.adapter()

    def commit() -> Call:
        known = memory._items.get(("digest", SANDBOX), DigestState())
        due_at, time = chance.choice([(None, ""), (7, "08:00 Europe/Rome")])
        version = known.version if chance.random() < 0.7 else chance.randint(0, 3)
        digest = DigestState(due_at, since=chance.choice([0, 5]), time=time, version=version)
        outbox = (calls.outbox_item(),) if chance.random() < 0.5 else ()
        steps = [Step(digest=digest, outbox=outbox), Step(digest=digest)][: chance.randint(1, 2)]
        return f"commit {steps}", lambda tables: tables.commit(SANDBOX, steps)

    def load() -> Call:
        return "load", lambda tables: tables.load(SANDBOX)

    def release() -> Call:
        return "release", lambda tables: tables.release(SANDBOX)

    for _ in range(40):
        described, call = chance.choice([*[commit] * 6, load, load, calls.put_state, release])()
        assert outcome(lambda: call(real)) == outcome(lambda: call(memory)), described  # noqa: B023


def test_jobs_are_read_page_by_page_from_a_creation_time_on(store: Store) -> None:
    """Alike in both tables, oldest first."""
    real, memory = store.adapter(), FakeStore(Fakes())
    for number in (3, 1, 2):
        for tables in (real, memory):
            tables.put(JobRecord(SANDBOX, f"j{number}", 100 + number, status="NEW"))
    found = [list(tables.jobs_since(SANDBOX, 102)) for tables in (real, memory)]
    assert found[0] == found[1]
    assert [job.job_id for job in found[0]] == ["j2", "j3"]


def test_every_baseline_is_read_page_by_page(store: Store) -> None:
    """More than fit into a megabyte, of this sandbox only, by kind; or those that begin so."""
    tables = store.adapter()
    runs = tuple(Run(1_700_000_000_000 + n, 10**7, 10**9) for n in range(672))
    kinds = [f"1-{number:016x}" for number in range(60)]
    for kind in kinds:
        tables.put_baseline(Baseline(SANDBOX, kind, runs=runs))
    tables.put_baseline(Baseline("other", kinds[0], runs=runs[:1]))
    found = list(tables.every_baseline(SANDBOX))
    assert [one.kind for one in found] == kinds
    assert {one.runs for one in found} == {runs}
    some = tables.every_baseline(SANDBOX, beginning=kinds[17][:-1])
    assert [one.kind for one in some] == kinds[16:32]
    assert [one.kind for one in tables.every_baseline("other")] == kinds[:1]
