"""Promises 1 to 3 and 7 over random histories: faults, concurrent monitors, wrong listings."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest
from export_jobs.contract import FINAL_STATUSES
from export_jobs.events.policy import EventPolicy
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.records import EventType
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from support.fakes import Fakes, published_by_job
from support.faults import (
    KINDS,
    KINDS_IN_MEMORY,
    LONG,
    MAY_REPEAT,
    Kind,
    ProcessDied,
    struck_in_memory,
)
from support.monitor import Monitor

SANDBOX = "prod"
PAGE_SIZE = 4
POLICY = MonitorPolicy(delays=DelayPolicy(limit_ms=40 * 60_000, repeat_ms=30 * 60_000))
MINUTE_MS = 60_000
ROUNDS = 15
HISTORIES = 20_000 if LONG else 250

calls = st.sampled_from(
    ["put", "transact", "publish to bus", "publish to topic", "get", "batch get"]
)
strikes = st.lists(st.tuples(st.integers(0, 25) | calls, st.sampled_from(KINDS)), max_size=4)
statuses = st.sampled_from(["NEW", "PROCESSING", "SUCCEEDED", "FAILED", "CANCELLED", "PAUSED"])


def in_order(published: Sequence[str], happened: Sequence[str]) -> bool:
    """Whether `published` is a subsequence of `happened`."""
    rest = iter(happened)
    return all(status in rest for status in published)


class Histories(RuleBasedStateMachine):
    """Jobs change, sweeps run and die, listings are wrong; in the end, everything is published."""

    def __init__(self) -> None:
        super().__init__()
        self.fakes = Fakes()
        self.kept = self.new_sweeper()
        self.created: dict[str, int] = {}
        """When each job was created."""
        self.missed = False
        """Whether a listing has left out a job, or not shown it yet, since the last good sweep."""
        self.final_before: dict[str, int] = {}
        """Jobs that were final before the first good sweep, with the length of their lives."""
        self.hidden_at_first: set[str] = set()
        """Those of them that a listing may have hidden from that sweep."""

    def new_sweeper(self) -> Sweeper:
        monitor = Monitor(self.fakes, POLICY, time_left_s=lambda: 300.0, page_size=PAGE_SIZE)
        return monitor.sweeper

    @property
    def jobs(self) -> list[str]:
        jobs = self.fakes.jobs[SANDBOX].values()
        return [job.body["id"] for job in sorted(jobs, key=lambda job: job.order)]

    # -- what happens at the service -------------------------------------------------------------

    @initialize(before=st.lists(statuses, max_size=9))
    def install(self, before: list[str]) -> None:
        """Jobs may already exist when the monitor is installed."""
        for status in before:
            self.create(status, 0)

    @rule(status=statuses, late_minutes=st.sampled_from([0, 0, 0, 2, 9]))
    def create(self, status: str, late_minutes: int) -> None:
        job = self.fakes.create(SANDBOX, status=status, late_ms=late_minutes * MINUTE_MS)
        self.created[job.body["id"]] = job.body["creationTime"]

    @rule(number=st.integers(0, 30), status=statuses)
    def move(self, number: int, status: str) -> None:
        """Changes an open job; an ended one only while it is among the newest.

        An ended job is not changed while listings lag: they may hide that it is open again until it
        has left the part of the listing that sweeps read, and such a change can't be seen.
        """
        ids = self.jobs
        newest = set() if "lags" in self.fakes.quirks else set(ids[-PAGE_SIZE + 2 :])
        ids = [i for i in ids if i in newest or self.fakes.life[i][-1] not in FINAL_STATUSES]
        if ids and self.fakes.life[ids[number % len(ids)]][-1] != status:
            self.fakes.move(SANDBOX, ids[number % len(ids)], status)

    @rule(number=st.integers(0, 30))
    def delete(self, number: int) -> None:
        if self.jobs:
            self.fakes.delete(SANDBOX, self.jobs[number % len(self.jobs)])

    @precondition(lambda self: self.first_sweep_done)
    @rule(quirk=st.sampled_from(["lags", "misses", "repeats"]))
    def the_listing_is_wrong(self, quirk: str) -> None:
        if quirk == "misses" and self.missed:
            return
        self.fakes.quirks ^= {quirk}
        for job in self.fakes.jobs[SANDBOX].values():
            if job.before and job.before["status"] in FINAL_STATUSES:
                job.before = None  # see `move`

    @rule(minutes=st.sampled_from([1, 5, 20]))
    def time_passes(self, minutes: int) -> None:
        self.fakes.now += minutes * MINUTE_MS

    # -- sweeps ----------------------------------------------------------------------------------

    def swept(self, sweeper: Sweeper) -> bool:
        """Sweeps once; returns whether the sweep finished."""
        try:
            report = sweeper.sweep(SANDBOX)
        except ProcessDied:
            if sweeper is self.kept:
                self.kept = self.new_sweeper()
            return False
        return not report.problems and not report.changes

    def plan(self, planned: list[tuple[int | str, Kind]]) -> None:
        self.fakes.plan(planned)
        if not self.first_sweep_done:
            self.final_before = {
                job.body["id"]: len(self.fakes.life[job.body["id"]])
                for job in self.fakes.jobs[SANDBOX].values()
                if job.body["status"] in FINAL_STATUSES and job.visible_at <= self.fakes.now
            }
            self.hidden_at_first = set(self.final_before) if self.fakes.quirks else set()

    @property
    def first_sweep_done(self) -> bool:
        state = self.fakes.items.get(("state", SANDBOX))
        return bool(state and state.swept_at)

    @rule(planned=strikes)
    def sweep(self, planned: list[tuple[int | str, Kind]]) -> None:
        self.plan(planned)
        good = self.swept(self.kept)
        self.fakes.strikes = {}
        self.note_what_was_missed(good=good)

    def note_what_was_missed(self, *, good: bool) -> None:
        """After a listing has hidden a job, no listing hides another until a good sweep.

        A job that two consecutive sweeps do not see, and that is older than their overlap, can't be
        seen: docs/guarantees.md names that limit.
        """
        hid = "misses" in self.fakes.quirks or not self.all_visible()
        self.missed = hid or (self.missed and not good)
        self.fakes.quirks -= {"misses"}

    @precondition(lambda self: self.jobs)
    @rule(runs=st.integers(2, 3), order=st.integers(0, 2**32), planned=strikes)
    def sweep_together(self, runs: int, order: int, planned: list[tuple[int | str, Kind]]) -> None:
        """Runs overlap, with their calls in any order."""
        self.plan(planned)
        sweepers = [self.new_sweeper() for _ in range(runs)]
        self.fakes.turns.run(
            random.Random(order),
            [lambda s=s: self.swept(s) for s in sweepers],  # type: ignore[misc]
        )
        self.fakes.strikes = {}
        self.note_what_was_missed(good=False)

    # -- what must hold --------------------------------------------------------------------------

    def teardown(self) -> None:
        self.fakes.quirks = set()
        self.plan([])
        for _ in range(ROUNDS):
            if self.swept(self.kept) and not self.unfinished() and self.all_visible():
                break
            self.plan([])
            self.fakes.now += 7 * MINUTE_MS
        assert not self.unfinished(), "something is never finished"
        self.check_everything_recorded_was_published()
        self.check_every_job_s_last_status_was_published()
        self.check_nothing_was_published_twice()
        self.check_every_good_job_has_taught_its_baseline()

    def unfinished(self) -> bool:
        """Whether anything is pending: events in an outbox, or the end of a job that is gone."""
        records = [item for key, item in self.fakes.items.items() if key[0] == "job"]
        there = self.fakes.jobs[SANDBOX]
        return any(
            record.outbox or (not record.final and record.job_id not in there) for record in records
        )

    def all_visible(self) -> bool:
        return all(job.visible_at <= self.fakes.now for job in self.fakes.jobs[SANDBOX].values())

    def check_everything_recorded_was_published(self) -> None:
        bus, topic = (
            published_by_job(self.fakes.published["bus"]),
            published_by_job(self.fakes.published["topic"]),
        )
        for job, by_sequence in self.fakes.recorded.items():
            published = bus.get(job, [])
            assert [event.detail["sequence"] for event in published] == sorted(by_sequence), job
            assert sorted(by_sequence) == list(range(1, len(published) + 1)), job
            for event in published:
                assert event.detail["status"] == by_sequence[event.detail["sequence"]]
            notable = [e for e in published if "topic" in EventPolicy().sinks_of(e)]
            assert topic.get(job, []) == notable, job
        assert bus.keys() <= self.fakes.recorded.keys()

    def check_every_job_s_last_status_was_published(self) -> None:
        bus = published_by_job(self.fakes.published["bus"])
        for job, life in self.fakes.life.items():
            published = [
                e.detail["status"] for e in bus.get(job, []) if e.type == EventType.JOB_STATE_CHANGE
            ]
            assert in_order(published, life), (
                f"job {job}: published {published}, but it went {life}"
            )
            if life[-1] == "VANISHED":
                assert not published or published[-1] in {*FINAL_STATUSES, "VANISHED"}, (
                    job,
                    published,
                    life,
                )
            elif self.was_silent(job, life) and not published:
                continue
            elif self.final_before.get(job) == len(life) == 1:
                assert job in self.hidden_at_first, f"job {job} was not new; it went {life}"
            else:
                assert published, f"job {job} was never published; it went {life}"
                assert published[-1] == life[-1], (
                    f"job {job}: published {published}; it went {life}"
                )

    def check_every_good_job_has_taught_its_baseline(self) -> None:
        """Once, unless the baseline could not be read; and nothing else has."""
        taught = [
            run.created_at
            for key, item in self.fakes.items.items()
            if key[0] == "baseline"
            for run in (*item.runs, *item.unusual)
        ]
        assert len(taught) == len(set(taught))
        succeeded = {
            self.created[job] for job, life in self.fakes.life.items() if "SUCCEEDED" in life
        }
        assert set(taught) <= succeeded
        there, announced = self.fakes.jobs[SANDBOX], published_by_job(self.fakes.published["bus"])
        if not any(name == "batch get" for name, _ in self.fakes.struck):
            for key, record in self.fakes.items.items():
                if key[0] == "job" and record.outcome == "SUCCEEDED":
                    gone = record.job_id not in there and record.job_id not in announced
                    assert record.creation_time in taught or gone, record.job_id

    def was_silent(self, job: str, life: Sequence[str]) -> bool:
        """Whether a job looks as it did when the first sweep recorded it without an event."""
        length = self.final_before.get(job)
        return length is not None and life[length - 1] == life[-1]

    def check_nothing_was_published_twice(self) -> None:
        if any(kind in MAY_REPEAT for _, kind in self.fakes.struck) or len(self.fakes.struck) > 3:
            return
        for sink, events in self.fakes.published.items():
            repeated = [i for i, times in Counter(e.id for e in events).items() if times > 1]
            assert repeated == [], f"published twice to the {sink}"


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=HISTORIES, stateful_step_count=25, deadline=None)


def test_a_job_that_changed_before_a_first_sweep_was_finished_is_published() -> None:
    """It was recorded in its old state; the sweep that finishes the work sees another."""
    history = Histories()
    history.install(["NEW", "NEW", "NEW", "NEW", "NEW", "SUCCEEDED", "NEW"])
    ended = history.jobs[5]
    history.delete(6)
    history.delete(0)
    history.sweep([(2, "is throttled")])
    assert not history.first_sweep_done
    history.fakes.move(SANDBOX, ended, "FAILED")
    while history.jobs[0] != ended:
        history.delete(0)
    history.sweep([])
    assert history.first_sweep_done
    history.fakes.move(SANDBOX, ended, "SUCCEEDED")
    history.teardown()
    published = [
        event.detail["status"] for event in published_by_job(history.fakes.published["bus"])[ended]
    ]
    assert published == ["FAILED", "SUCCEEDED"]


def crowded_life(strike: tuple[int, Kind] | None) -> Histories:
    """A history with many changes at once, and a fault at one call."""
    history = Histories()
    history.fakes.set_strike = strike
    history.install(["SUCCEEDED", "NEW", "FAILED"])
    history.sweep([])
    for _ in range(14):
        history.create("NEW", 0)
    history.sweep([])
    for number, job in enumerate(history.jobs[3:]):
        history.fakes.move(SANDBOX, job, "SUCCEEDED" if number % 2 else "PROCESSING")
    history.sweep([])
    history.delete(3)
    history.time_passes(45)
    history.sweep_together(2, 7, [])
    history.teardown()
    return history


@pytest.mark.parametrize("kind", KINDS_IN_MEMORY)
def test_every_kind_of_fault_at_every_call(kind: Kind) -> None:
    """Each kind of fault at each call of a crowded life."""
    calls = crowded_life(None).fakes.called
    assert len(calls) > 100
    for number in struck_in_memory(calls, kind):
        assert crowded_life((number, kind)).fakes.struck == [(calls[number], kind)]
