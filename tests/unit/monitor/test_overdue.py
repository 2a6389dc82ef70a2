"""Expected exports in a sweep: what it costs, what it announces, and what a fault leaves."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import EventType
from support.fake_store import FakeStore
from support.fakes import Fakes
from support.faults import ProcessDied
from support.monitor import Monitor

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SANDBOX = "prod"
HOURLY = Expectation("hourly", "d", "UTC", every=60, grace=10)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def monitor(fakes: Fakes) -> Monitor:
    """A monitor whose first sweep is over."""
    monitor = Monitor(fakes)
    monitor.sweep()
    return monitor


def apply(fakes: Fakes, *expectations: Expectation) -> None:
    """As the command does it."""
    store = FakeStore(fakes)
    known = {record.name: record for record in store.expectations(SANDBOX)}
    written = []
    for expectation in expectations:
        record = known.get(expectation.name)
        written.append(
            replace(record, expectation=expectation, in_force=record.expectation)
            if record
            else ExpectationRecord(SANDBOX, expectation, applied_at=fakes.now)
        )
    store.edit_expectations(SANDBOX, written)


def stored(fakes: Fakes, name: str = "hourly") -> ExpectationRecord:
    record: ExpectationRecord = fakes.items["expectation", SANDBOX, name]
    return record


def announced(monitor: Monitor, sink: str = "bus") -> list[tuple[str, str]]:
    return [
        (event.type, event.detail.get("reason") or event.detail["jobId"])
        for event in monitor.events(sink)
        if event.type in {EventType.OVERDUE, EventType.OVERDUE_RESOLVED}
    ]


NEVER_STARTED = ("Export Overdue", "NEVER_STARTED")


@pytest.mark.parametrize("expectations", [0, 1, 1_000])
def test_a_sweep_at_which_nothing_is_due_makes_two_calls(
    fakes: Fakes, monitor: Monitor, expectations: int
) -> None:
    """Promise 6: however many exports are expected."""
    apply(fakes, *(replace(HOURLY, name=f"e{n}") for n in range(expectations)))
    monitor.sweep()  # plans the windows
    assert monitor.cost() == {"list": 1, "query": 1}


def test_an_overdue_expectation_costs_no_quiet_sweep_anything(
    fakes: Fakes, monitor: Monitor
) -> None:
    """It is looked at again when a job ends, or another window is due."""
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.now += 2 * HOUR_MS
    monitor.sweep()
    assert announced(monitor)
    assert monitor.cost() == {"list": 1, "query": 1}


def test_a_missing_export_is_announced_once_and_once_more_when_it_is_made_good(
    fakes: Fakes, monitor: Monitor
) -> None:
    """Promise 10, on both sinks."""
    apply(fakes, replace(HOURLY, every=1440))
    monitor.sweep()
    fakes.now += DAY_MS
    for _ in range(3):
        monitor.sweep()
    assert announced(monitor) == announced(monitor, "topic") == [NEVER_STARTED]
    late = fakes.create(SANDBOX, status="SUCCEEDED")
    for _ in range(3):
        monitor.sweep()
    expected = [("Export Overdue Resolved", late.body["id"])]
    assert announced(monitor) == announced(monitor, "topic") == expected
    assert stored(fakes).last_good_at


def test_five_good_nights_and_three_without_a_job_are_three_events(
    fakes: Fakes, monitor: Monitor
) -> None:
    """No more, however often the monitor looks."""
    apply(fakes, replace(HOURLY, every=1440))
    for night in range(8):
        if night < 5:
            fakes.create(SANDBOX, status="SUCCEEDED")
        for _ in range(24):
            fakes.now += HOUR_MS
            monitor.sweep()
    assert announced(monitor) == [NEVER_STARTED] * 3


def test_jobs_that_had_ended_at_the_first_sweep_count(fakes: Fakes) -> None:
    """An expectation may be applied before the stack's first sweep."""
    fakes.create(SANDBOX, status="SUCCEEDED")
    apply(fakes, replace(HOURLY, every=1440))
    monitor = Monitor(fakes)
    for _ in range(3):
        monitor.sweep()
    fakes.now = stored(fakes).window.due + 1  # type: ignore[union-attr]  # the sweep planned it
    monitor.sweep()
    assert announced(monitor) == []
    assert [past.outcome for past in stored(fakes).history] == ["GOOD"]


def test_a_sandbox_that_could_not_be_read_is_judged_when_it_can_be(
    fakes: Fakes, monitor: Monitor
) -> None:
    """A job that the listing did not show is not taken for one that does not exist."""
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.create(SANDBOX, status="SUCCEEDED")
    fakes.now = stored(fakes).window.due + 1  # type: ignore[union-attr]  # the sweep planned it
    fakes.plan([("list", "answers 5xx")])
    assert monitor.sweeper.sweep(SANDBOX).problems
    assert announced(monitor) == []
    monitor.sweep()
    assert announced(monitor) == []
    assert [past.outcome for past in stored(fakes).history] == ["GOOD"]


def test_a_listing_that_is_cut_short_judges_nothing(fakes: Fakes) -> None:
    """The page that is missing may have the job."""
    monitor = Monitor(fakes, page_size=2)
    monitor.sweep()
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.create(SANDBOX, status="SUCCEEDED")
    for _ in range(5):
        fakes.create(SANDBOX, destination={"datasetId": "other"})
    fakes.now = stored(fakes).window.due + 1  # type: ignore[union-attr]  # the sweep planned it
    fakes.plan([(2, "answers 5xx")])  # the second page
    assert monitor.sweeper.sweep(SANDBOX).problems
    assert announced(monitor) == []
    monitor.sweep()
    assert announced(monitor) == []


def test_a_removed_expectation_says_nothing_more(fakes: Fakes, monitor: Monitor) -> None:
    """Neither overdue nor resolved; and the alarm recovers."""
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.now += 2 * HOUR_MS
    assert monitor.sweep().overdue == 1
    announced(monitor)
    FakeStore(fakes).edit_expectations(SANDBOX, [], [stored(fakes)])
    fakes.create(SANDBOX, status="SUCCEEDED")
    fakes.now += DAY_MS
    assert monitor.sweep().overdue == 0
    assert announced(monitor) == []
    assert monitor.cost() == {"list": 1, "query": 1}


def test_a_muted_expectation_does_not_count_as_overdue(fakes: Fakes, monitor: Monitor) -> None:
    """The alarm recovers at the next sweep, and comes back when the time is over."""
    apply(fakes, replace(HOURLY, every=1440))
    monitor.sweep()
    fakes.now += DAY_MS
    assert monitor.sweep().overdue == 1
    until = fakes.now + HOUR_MS
    FakeStore(fakes).edit_expectations(SANDBOX, [replace(stored(fakes), muted_until=until)])
    assert monitor.sweep().overdue == 0
    fakes.now = until
    assert monitor.sweep().overdue == 1
    assert monitor.sweep().overdue == 1


def test_every_sweep_reports_how_many_are_overdue(fakes: Fakes, monitor: Monitor) -> None:
    """Also one that can't list the jobs, so that the alarm does not recover meanwhile."""
    apply(fakes, HOURLY, replace(HOURLY, name="other"))
    monitor.sweep()
    fakes.now += 2 * HOUR_MS
    assert monitor.sweep().overdue == 2
    fakes.plan([("list", "answers 5xx")])
    assert monitor.sweeper.sweep(SANDBOX).overdue == 2


def test_a_sandbox_that_is_watched_again_announces_nothing_of_the_time_between(
    fakes: Fakes, monitor: Monitor
) -> None:
    """Promise 7: its first sweep judges no deadline before it."""
    apply(fakes, HOURLY)
    monitor.sweep()
    FakeStore(fakes).forget(SANDBOX)
    fakes.now += 5 * DAY_MS
    again = Monitor(fakes)
    again.sweep()
    again.sweep()
    assert announced(again) == []
    fakes.now += 2 * HOUR_MS
    again.sweep()
    assert NEVER_STARTED in announced(again)


def test_one_that_is_not_watched_is_not_judged(fakes: Fakes, monitor: Monitor) -> None:
    """It is swept only until what it has begun is finished."""
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.now += 2 * HOUR_MS
    monitor.sweep(watched=False)
    assert announced(monitor) == []


def test_the_next_events_wait_until_the_last_ones_are_delivered(
    fakes: Fakes, monitor: Monitor
) -> None:
    """Promise 3: overdue is never published after resolved, whatever a sink does."""
    apply(fakes, replace(HOURLY, every=1440))
    monitor.sweep()
    fakes.now += DAY_MS
    fakes.plan([("publish to bus", "answers 5xx")])
    monitor.sweeper.sweep(SANDBOX)
    late = fakes.create(SANDBOX, status="SUCCEEDED")
    fakes.plan([("publish to bus", "answers 5xx")])
    for _ in range(4):
        fakes.now += 10 * 60_000
        monitor.sweeper.sweep(SANDBOX)
    expected = [NEVER_STARTED, ("Export Overdue Resolved", late.body["id"])]
    assert announced(monitor) == announced(monitor, "topic") == expected


@pytest.mark.parametrize("dies_at", range(12))
def test_a_sweep_that_dies_loses_and_repeats_nothing(fakes: Fakes, dies_at: int) -> None:
    """At whichever call: what makes an overdue export good is noticed by a later sweep."""
    monitor = Monitor(fakes)
    monitor.sweep()
    apply(fakes, replace(HOURLY, every=1440))
    monitor.sweep()
    fakes.now += DAY_MS
    monitor.sweep()
    announced(monitor)
    late = fakes.create(SANDBOX, status="SUCCEEDED")
    fakes.plan([(dies_at, "dies after")])
    try:
        monitor.sweeper.sweep(SANDBOX)
    except ProcessDied:
        monitor = Monitor(fakes)
    for _ in range(3):
        fakes.now += 7 * 60_000  # a lease
        monitor.sweep()
    resolved = {event.id for event in monitor.events() if event.type == EventType.OVERDUE_RESOLVED}
    assert len(resolved) == 1
    assert stored(fakes).history[-1].job_id == late.body["id"]


def test_a_command_that_writes_meanwhile_is_not_lost(fakes: Fakes, monitor: Monitor) -> None:
    """What it applies after a sweep has read the expectations is looked at by the next one."""
    apply(fakes, HOURLY)
    store = FakeStore(fakes)
    due = store.load(SANDBOX).expected
    apply(fakes, replace(HOURLY, name="new"))
    store.put_expected(SANDBOX, replace(due, due_at=fakes.now + DAY_MS))
    monitor.sweep()
    assert stored(fakes, "new").window


def test_a_sweep_whose_expectations_can_t_be_read_fails(fakes: Fakes, monitor: Monitor) -> None:
    """It reports that, and the next one judges them."""
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.now += 2 * HOUR_MS
    fakes.plan([(2, "answers 5xx")])
    (problem,) = monitor.sweeper.sweep(SANDBOX).problems
    assert "expected exports" in problem
    monitor.sweep()
    assert NEVER_STARTED in announced(monitor)


def test_no_read_is_made_for_a_job_that_ends_while_nothing_is_overdue(
    fakes: Fakes, monitor: Monitor
) -> None:
    """Only an overdue expectation can be made good."""
    apply(fakes, HOURLY)
    monitor.sweep()
    fakes.create(SANDBOX, status="SUCCEEDED")
    before: Counter[str] = Counter(monitor.cost())
    fakes.create(SANDBOX, status="SUCCEEDED")
    without = Monitor(Fakes())
    without.sweep()
    without.fakes.create(SANDBOX, status="SUCCEEDED")
    assert before == Counter(without.cost())


def test_the_fake_refuses_a_stale_write(fakes: Fakes) -> None:
    """As the table does: the command then reads again."""
    apply(fakes, HOURLY)
    stale: Any = stored(fakes)
    apply(fakes, HOURLY)
    with pytest.raises(StoreUnavailable):
        FakeStore(fakes).edit_expectations(SANDBOX, [stale])


def overdue_with_an_open_job(fakes: Fakes, monitor: Monitor) -> str:
    """A daily export that is overdue while its job runs; returns the job's id."""
    apply(fakes, replace(HOURLY, every=1440, grace=0))
    monitor.sweep()
    due = stored(fakes).window.due  # type: ignore[union-attr]  # the sweep planned it
    fakes.now = due - HOUR_MS
    running = fakes.create(SANDBOX)
    monitor.sweep()
    fakes.now = due
    monitor.sweep()
    assert announced(monitor) == [("Export Overdue", "STILL_RUNNING")]
    return str(running.body["id"])


def test_a_job_that_ends_while_a_sweep_reads_the_listing_makes_good(
    fakes: Fakes, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the service's time, it has ended after the sweep began."""
    job_id = overdue_with_an_open_job(fakes, monitor)
    first_page = monitor.sweeper._observer.first_page

    def ends_meanwhile(sandbox: str) -> Any:
        fakes.now += 500
        fakes.move(SANDBOX, job_id, "SUCCEEDED")
        return first_page(sandbox)

    monkeypatch.setattr(monitor.sweeper._observer, "first_page", ends_meanwhile)
    assert monitor.sweep().overdue == 0
    assert announced(monitor) == [("Export Overdue Resolved", job_id)]


@pytest.mark.parametrize("begins", [-5_000, 1_000])
def test_a_run_that_read_the_table_before_another_one_judged_loses_no_end(
    fakes: Fakes, begins: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end that it records is noticed once no such run is left."""
    monitor, slow = (Monitor(fakes, page_size=1) for _ in range(2))
    monitor.sweep()
    apply(fakes, replace(HOURLY, every=1440, grace=0))
    monitor.sweep()
    due = stored(fakes).window.due  # type: ignore[union-attr]  # the sweep planned it
    fakes.now = due - 10 * 60_000
    job_id = fakes.create(SANDBOX).body["id"]
    fakes.create(SANDBOX, status="SUCCEEDED", destination={"datasetId": "other"})
    monitor.sweep()
    fakes.now = due + begins
    load = slow.sweeper._store.load

    def judged_meanwhile(sandbox: str) -> Any:
        known = load(sandbox)
        fakes.now = due + 2_000
        monitor.sweep()
        fakes.move(SANDBOX, job_id, "SUCCEEDED")
        return known

    monkeypatch.setattr(slow.sweeper._store, "load", judged_meanwhile)
    slow.sweep()
    for _ in range(7):
        fakes.now += 60_000
        report = monitor.sweep()
    resolved = ("Export Overdue Resolved", job_id)
    assert announced(monitor) == [("Export Overdue", "STILL_RUNNING"), resolved]
    assert report.overdue == 0


def test_expectations_that_break_the_judging_do_not_stop_the_requests(
    fakes: Fakes, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep says so, and does the rest of its work."""
    apply(fakes, HOURLY)
    looked_after: list[Any] = []

    def has_an_item_that_nobody_foresaw(*_: Any, **__: Any) -> Any:
        raise OverflowError

    store = monitor.sweeper._store
    monkeypatch.setattr(store, "due_expectations", has_an_item_that_nobody_foresaw)
    monkeypatch.setattr(monitor.sweeper._keeper, "look_after", looked_after.append)
    (problem,) = monitor.sweeper.sweep(SANDBOX).problems
    assert "expected exports" in problem
    assert looked_after


def test_counts_that_another_run_has_outdated_are_noted_again(
    fakes: Fakes, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that comes too late after something was announced makes the next sweep look."""
    apply(fakes, replace(HOURLY, every=1440))
    monitor.sweep()
    fakes.now += DAY_MS
    store = FakeStore(fakes)
    put = FakeStore.put_expected

    def too_late(self: FakeStore, sandbox: str, expected: Any) -> bool:
        store.look_at_expectations(sandbox)
        return put(self, sandbox, expected)

    monkeypatch.setattr(FakeStore, "put_expected", too_late)
    monitor.sweep()
    monkeypatch.undo()
    assert fakes.items["expected", SANDBOX].due_at == 0
    assert monitor.sweep().overdue == 1
    assert fakes.items["expected", SANDBOX].unresolved == 1
