"""Promise 10 over random histories: faults, concurrent monitors, and files applied meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from export_jobs.contract.times import rfc3339
from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import Event, EventType, ExpectationsState
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.fake_store import FakeStore
from support.fakes import Fakes
from support.faults import KINDS, LONG, MAY_REPEAT, Kind, ProcessDied
from support.monitor import Monitor

SANDBOX = "prod"
MINUTE_MS = 60_000
ROUNDS = 30
HISTORIES = 10_000 if LONG else 200
TYPES = {EventType.OVERDUE, EventType.OVERDUE_RESOLVED}

EXPECTED = {
    "hourly": Expectation("hourly", "d", "UTC", every=60, grace=20),
    "six hours": Expectation("six hours", "d", "Europe/Rome", every=360),
    "nightly": Expectation("nightly", "e", "Europe/Rome", opens=22 * 60, due=6 * 60),
    "daily": Expectation("daily", "e", "America/New_York", due=12 * 60),
}
names = st.sampled_from(sorted(EXPECTED))
calls = st.sampled_from(["put", "transact", "publish to bus", "publish to topic", "list", "query"])
strikes = st.lists(st.tuples(st.integers(0, 12) | calls, st.sampled_from(KINDS)), max_size=3)
statuses = st.sampled_from(["PROCESSING", "SUCCEEDED", "FAILED"])


@dataclass
class Applied:
    """An expectation in the stack, from `since` on; `until` it was removed."""

    since: int
    until: int | None = None
    muted: list[tuple[int, int]] = field(default_factory=list)
    """When it was muted, and until when; the last one counts."""

    def is_muted(self, due: int) -> bool:
        """Whether it had been muted for a deadline before that, and was not changed later."""
        return bool(self.muted) and self.muted[-1][0] < due < self.muted[-1][1]

    def was_ever_muted(self, due: int) -> bool:
        return any(due < until for _, until in self.muted)


class Histories(RuleBasedStateMachine):
    """Jobs come and end, people edit, sweeps run and die; in the end, every window is decided."""

    def __init__(self) -> None:
        super().__init__()
        self.fakes = Fakes()
        self.kept = self.new_sweeper()
        self.applied: dict[str, list[Applied]] = {name: [] for name in EXPECTED}

    def new_sweeper(self) -> Sweeper:
        policy = MonitorPolicy()
        return Monitor(self.fakes, policy, time_left_s=lambda: 300.0, page_size=4).sweeper

    @initialize()
    def install(self) -> None:
        assert not self.kept.sweep(SANDBOX).problems

    # -- what happens at the service -------------------------------------------------------------

    @rule(status=statuses, dataset=st.sampled_from("de"))
    def create(self, status: str, dataset: str) -> None:
        self.fakes.create(SANDBOX, status=status, destination={"datasetId": dataset})

    @rule(number=st.integers(0, 30), status=statuses)
    def end(self, number: int, status: str) -> None:
        jobs = self.fakes.jobs[SANDBOX].items()
        running = [job for job, found in jobs if found.body["status"] == "PROCESSING"]
        if running and status != "PROCESSING":
            self.fakes.move(SANDBOX, running[number % len(running)], status)

    @rule(minutes=st.sampled_from([1, 10, 25, 60, 200, 700]))
    def time_passes(self, minutes: int) -> None:
        self.fakes.now += minutes * MINUTE_MS

    # -- what people do --------------------------------------------------------------------------

    def record(self, name: str) -> ExpectationRecord | None:
        found: ExpectationRecord | None = self.fakes.items.get(("expectation", SANDBOX, name))
        return found

    def edit(
        self, *written: ExpectationRecord, removed: tuple[ExpectationRecord, ...] = ()
    ) -> None:
        FakeStore(self.fakes).edit_expectations(SANDBOX, written, removed)

    @rule(name=names)
    def add(self, name: str) -> None:
        if self.record(name) is None:
            self.applied[name].append(Applied(self.fakes.now))
            self.edit(ExpectationRecord(SANDBOX, EXPECTED[name], applied_at=self.fakes.now))

    @rule(name=names)
    def change(self, name: str) -> None:
        """In a way that makes no difference, and so must make none."""
        record = self.record(name)
        if record:
            changed = replace(record.expectation, accept=frozenset({"SUCCEEDED", "CANCELLED"}))
            in_force = (record.in_force or record.expectation) if record.window else None
            self.edit(replace(record, expectation=changed, in_force=in_force))

    @rule(name=names)
    def remove(self, name: str) -> None:
        record = self.record(name)
        if record:
            self.edit(removed=(record,))
            self.applied[name][-1].until = self.fakes.now

    @rule(name=names, hours=st.sampled_from([0, 1, 30]))
    def mute(self, name: str, hours: int) -> None:
        record = self.record(name)
        if record:
            until = self.fakes.now + hours * 60 * MINUTE_MS
            self.applied[name][-1].muted.append((self.fakes.now, until))
            self.edit(replace(record, muted_until=until))

    # -- sweeps ----------------------------------------------------------------------------------

    def swept(self, sweeper: Sweeper) -> bool:
        try:
            return not sweeper.sweep(SANDBOX).problems
        except ProcessDied:
            if sweeper is self.kept:
                self.kept = self.new_sweeper()
            return False

    @rule(planned=strikes)
    def sweep(self, planned: list[tuple[int | str, Kind]]) -> None:
        self.fakes.plan(planned)
        self.swept(self.kept)
        self.fakes.strikes = {}

    @precondition(lambda self: any(self.applied.values()))
    @rule(
        runs=st.integers(2, 3),
        order=st.integers(0, 2**32),
        planned=strikes,
        edits=st.booleans(),
        name=names,
    )
    def sweep_together(
        self, runs: int, order: int, planned: list[tuple[int | str, Kind]], edits: bool, name: str
    ) -> None:
        """Runs overlap, with their calls in any order; a file may be applied in between."""

        def edit() -> None:
            record = self.record(name)
            try:
                if edits and record:
                    self.edit(replace(record, muted_until=record.muted_until))
            except (StoreUnavailable, ProcessDied):  # a person would do it again
                return

        self.fakes.plan(planned)
        sweepers = [self.new_sweeper() for _ in range(runs)]
        works = [*(lambda s=s: self.swept(s) for s in sweepers), edit]  # type: ignore[misc]
        self.fakes.turns.run(random.Random(order), works)
        self.fakes.strikes = {}

    # -- what must hold --------------------------------------------------------------------------

    def teardown(self) -> None:
        self.fakes.plan([])
        for _ in range(ROUNDS):
            if self.swept(self.kept) and self.at_rest():
                break
            self.fakes.now += 7 * MINUTE_MS
        assert self.at_rest(), "something is never finished"
        self.check_every_window()
        self.check_what_was_made_good()
        for sink in ("bus", "topic"):
            self.check_order(sink)
        self.check_nothing_was_published_twice()

    def at_rest(self) -> bool:
        """Whether nothing is left to deliver, or to look at now.

        What is announced next of an expectation is recorded by the sweep after the one that
        delivers what was announced last.
        """
        items = self.fakes.items
        records = [item for key, item in items.items() if key[0] == "expectation"]
        expected: ExpectationsState = items.get(("expected", SANDBOX), ExpectationsState())
        return (
            not any(key[0] == "outbox" for key in items)
            and all(r.window and r.window.due > self.fakes.now for r in records)
            and (expected.due_at is None or expected.due_at > self.fakes.now)
        )

    def events(self, sink: str) -> list[Event]:
        return [event for event in self.fakes.published[sink] if event.type in TYPES]

    def check_every_window(self) -> None:
        """Each window of an expectation ends good or overdue, by the service's own truth."""
        announced: Counter[tuple[str, str]] = Counter()
        for event in {event.id: event for event in self.events("bus")}.values():
            if event.type == EventType.OVERDUE:
                announced[event.detail["expectation"], event.detail["window"]["dueAt"]] += 1
        windows = self.windows()
        for (name, due), (applied, window) in windows.items():
            times, due_at = announced.pop((name, rfc3339(due)), 0), rfc3339(due)
            removed = applied.until is not None and applied.until <= window.due
            if self.is_good(EXPECTED[name], window) or removed or applied.is_muted(window.due):
                assert times == 0, (name, due_at, "announced")
            elif applied.until is None and not applied.was_ever_muted(window.due):
                assert times == 1, (name, due_at, f"announced {times} times")
            else:  # it was removed or muted after its deadline, before or after it was judged
                assert times <= 1
        assert not announced

    def windows(self) -> dict[tuple[str, int], tuple[Applied, Window]]:
        """Every window whose deadline has passed, by name and deadline.

        Of an expectation that was removed and added again before it, with the last time.
        """
        found = {}
        for name, several in self.applied.items():
            for applied in several:
                window = EXPECTED[name].next_window(applied.since)
                while window and window.due <= self.fakes.now:
                    found[name, window.due] = (applied, window)
                    window = EXPECTED[name].next_window(window.due)
        return found

    def is_good(self, expected: Expectation, window: Window) -> bool:
        return any(
            job.body["destination"]["datasetId"] == expected.dataset_id
            and window.opens <= job.body["creationTime"] < window.closes
            and job.body["status"] == "SUCCEEDED"
            and job.body["updateTime"] <= window.due
            for job in self.fakes.jobs[SANDBOX].values()
        )

    def check_what_was_made_good(self) -> None:
        """Whatever is still overdue has not been made good by any job."""
        for name, expected in EXPECTED.items():
            record = self.record(name)
            if record and record.missed:
                since = replace(record.missed, closes=self.fakes.now + 1, due=self.fakes.now)
                assert not self.is_good(expected, since), f"{name} has been made good"

    def check_order(self, sink: str) -> None:
        """An expectation is resolved once after it is overdue, and never before."""
        seen: set[str] = set()
        overdue: dict[str, bool] = {}
        for event in self.events(sink):
            name = event.detail["expectation"]
            if event.id in seen:
                continue
            seen.add(event.id)
            if event.type == EventType.OVERDUE_RESOLVED:
                assert overdue.get(name) or sink == "topic", f"{name} was resolved, not overdue"
            overdue[name] = event.type == EventType.OVERDUE

    def check_nothing_was_published_twice(self) -> None:
        if any(kind in MAY_REPEAT for _, kind in self.fakes.struck) or len(self.fakes.struck) > 3:
            return
        for sink in ("bus", "topic"):
            repeated = [i for i, n in Counter(e.id for e in self.events(sink)).items() if n > 1]
            assert repeated == [], f"published twice to the {sink}"


def test_what_is_made_good_while_its_last_event_is_undelivered_is_resolved_later() -> None:
    """A run that dies before it notes the delivery holds up the next event of the expectation."""
    history = Histories()
    history.install()
    history.add(name="nightly")
    history.time_passes(minutes=700)
    history.sweep(planned=[("put", "dies before")])
    history.create(dataset="e", status="SUCCEEDED")
    history.teardown()
    types = [event.type for event in {e.id: e for e in history.events("bus")}.values()]
    assert types == [EventType.OVERDUE, EventType.OVERDUE_RESOLVED]


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=HISTORIES, stateful_step_count=30, deadline=None)
