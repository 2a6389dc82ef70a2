"""Promise 10 with real parts: after a fault at any call, each window is announced once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.records import EventType
from export_jobs_local.aws.subscribers import Delivery
from support.faults import KINDS, LONG, MAY_REPEAT, Injector, Kind, strike_each_call
from support.life import Life
from support.local import Bench

DAY_MS = 24 * 3_600_000
DATASET = "5b7c86968f7b6501e21ba9df"
TYPES = {EventType.OVERDUE, EventType.OVERDUE_RESOLVED}
LATE = Expectation("late", DATASET, "UTC", every=1440)
NEVER = Expectation("never", "000000000000000000000000", "UTC", every=1440)


class ExpectantLife(Life):
    """It has two expected exports: one is late and then good, the other never comes."""

    def live(self) -> None:
        to_noon_ms = (DAY_MS + DAY_MS // 2 - self.bench.clock() % DAY_MS) % DAY_MS
        self.bench.clock.advance(seconds=to_noon_ms / 1000)  # no deadline is near
        self.sweep_until_quiet()
        now = self.bench.clock()
        records = [ExpectationRecord(self.sandbox, e, applied_at=now) for e in (LATE, NEVER)]
        self.tables.edit_expectations(self.sandbox, records)
        self.sweep_until_quiet()
        self.bench.clock.advance(minutes=1441)
        self.sweep_until_quiet()
        self.bench.service.control.create_job(
            self.sandbox, status="SUCCEEDED", metrics={"totalExportedProfileCounter": 7}
        )
        self.sweep_until_quiet()

    def is_at_rest(self) -> bool:
        """Every event is out, and no deadline that has passed is left to judge."""
        known = self.tables.load(self.sandbox)
        due_at = known.expected.due_at
        planned = due_at is None or due_at > self.bench.clock()
        return planned and not known.outbox and not known.open_jobs


def lived(bench: Bench, sandbox: str, injector: Injector) -> ExpectantLife:
    life = ExpectantLife(replace(bench, injector=injector), sandbox)
    life.live()
    return life


def check(deliveries: list[Delivery], *, may_repeat: bool) -> None:
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
    check(workshop.subscribers.drain(), may_repeat=False)
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

    def struck(injector: Injector) -> None:
        life = lived(workshop, next(sandboxes), injector)
        may_repeat = kind in MAY_REPEAT and life.had_published()
        check(workshop.subscribers.drain(), may_repeat=may_repeat)

    strike_each_call(counting.calls, kind, struck)
