"""Promise 10 with real parts: after a fault at any call, each window is announced once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import EventType
from export_jobs.monitor.sweep import Sweeper
from export_jobs_local.aws.subscribers import Delivery
from support.faults import KINDS, LONG, MAY_REPEAT, Injector, Kind, ProcessDied, one_of_each
from support.faults import is_a_case_of_its_own as is_own
from support.local import Bench

MAX_ROUNDS = 12
DAY_MS = 24 * 3_600_000
DATASET = "5b7c86968f7b6501e21ba9df"
TYPES = {EventType.OVERDUE, EventType.OVERDUE_RESOLVED}
LATE = Expectation("late", DATASET, "UTC", every=1440)
NEVER = Expectation("never", "000000000000000000000000", "UTC", every=1440)


@dataclass
class Life:
    """A sandbox with two expected exports: one is late and then good, the other never comes."""

    bench: Bench
    sandbox: str
    began: list[int] = field(default_factory=list)
    """The number of each sweep's first call."""

    def __post_init__(self) -> None:
        self._sweeper = self._new_sweeper()

    def live(self) -> None:
        to_noon_ms = (DAY_MS + DAY_MS // 2 - self.bench.clock() % DAY_MS) % DAY_MS
        self.bench.clock.advance(seconds=to_noon_ms / 1000)  # no deadline is near
        self.sweep_until_quiet()
        unharmed = replace(self.bench, injector=None).store
        now = self.bench.clock()
        records = [ExpectationRecord(self.sandbox, e, applied_at=now) for e in (LATE, NEVER)]
        unharmed.edit_expectations(self.sandbox, records)
        self.sweep_until_quiet()
        self.bench.clock.advance(minutes=1441)
        self.sweep_until_quiet()
        self.bench.service.control.create_job(
            self.sandbox, status="SUCCEEDED", metrics={"totalExportedProfileCounter": 7}
        )
        self.sweep_until_quiet()

    def sweep_until_quiet(self) -> None:
        for _ in range(MAX_ROUNDS):
            self.began.append(len(self._calls()))
            try:
                report = self._sweeper.sweep(self.sandbox)
            except ProcessDied:
                self._sweeper = self._new_sweeper()
            except StoreUnavailable:
                pass  # the invocation fails, and the schedule starts the next
            else:
                if not (report.problems or report.changes) and self._at_rest():
                    return
            self.bench.clock.advance(minutes=7)
        pytest.fail("the monitor does not come to rest")

    def had_published_by(self, number: int) -> bool:
        """Whether, before that call, its sweep had published anything."""
        began = max(first for first in self.began if first <= number)
        return bool({"put_events", "publish_batch"} & set(self._calls()[began : number + 1]))

    def _calls(self) -> list[str]:
        return self.bench.injector.calls if self.bench.injector else []

    def _new_sweeper(self) -> Sweeper:
        return self.bench.sweeper(workers=1)

    def _at_rest(self) -> bool:
        known = replace(self.bench, injector=None).store.load(self.sandbox)
        due_at = known.expected.due_at
        planned = due_at is None or due_at > self.bench.clock()
        return planned and not known.outbox and not known.open_jobs


def lived(bench: Bench, sandbox: str, injector: Injector) -> Life:
    life = Life(replace(bench, injector=injector), sandbox)
    life.live()
    return life


def check(life: Life, deliveries: list[Delivery], *, may_repeat: bool) -> None:
    ours = [delivery for delivery in deliveries if delivery.type in TYPES]
    times = Counter((delivery.sink, delivery.event_id) for delivery in ours)
    assert may_repeat or set(times.values()) == {1}
    for sink in ("bus", "topic"):
        once = {d.event_id: d for d in ours if d.sink == sink}.values()
        told = [(d.detail["expectation"], d.detail.get("reason", "RESOLVED")) for d in once]
        assert sorted(told) == [
            ("late", "NEVER_STARTED"),
            ("late", "RESOLVED"),
            ("never", "NEVER_STARTED"),
        ]
        assert told.index(("late", "NEVER_STARTED")) < told.index(("late", "RESOLVED"))


def test_without_faults_each_window_is_announced_once(
    workshop: Bench, sandboxes: Iterator[str]
) -> None:
    """On both sinks, as the baseline for the other test."""
    workshop.subscribers.drain()
    life = lived(workshop, next(sandboxes), Injector())
    check(life, workshop.subscribers.drain(), may_repeat=False)
    by_name = {record.name: record for record in workshop.store.expectations(life.sandbox)}
    assert not by_name["late"].is_overdue
    assert by_name["never"].is_overdue
    assert by_name["late"].last_good_at


@pytest.mark.parametrize(
    "kind", KINDS if LONG else ["dies after", "times out after", "fails in part", "is throttled"]
)
def test_a_fault_at_any_call_loses_no_announcement(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """For every operation of the runs: the next run judges, publishes or settles the rest."""
    workshop.subscribers.drain()
    counting = Injector()
    lived(workshop, next(sandboxes), counting)
    workshop.subscribers.drain()
    chosen = [
        (number, call)
        for number, call in enumerate(counting.calls)
        if LONG or is_own(kind, call, number)
    ]
    for number, call in chosen if LONG else one_of_each(chosen, kind):
        life = lived(workshop, next(sandboxes), injector := Injector({number: kind}))
        assert injector.struck == [(call, kind)]
        may_repeat = kind in MAY_REPEAT and life.had_published_by(number)
        try:
            check(life, workshop.subscribers.drain(), may_repeat=may_repeat)
        except AssertionError as error:
            raise AssertionError(f"{kind} at call {number}, {call}: {error}") from error
