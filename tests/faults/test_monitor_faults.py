"""Promises 1 to 3: after any fault at any call, nothing is lost and events stay in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace

import pytest
from export_jobs.contract import Job
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.kinds import kind_of
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.reconcile import Reconciliation, reconcile_events
from support.faults import (
    BATCHES,
    KINDS,
    LONG,
    MAY_REPEAT,
    Injector,
    Kind,
    strike_each_call,
)
from support.life import Life
from support.local import Bench

NO_DELAYS = MonitorPolicy(delays=DelayPolicy(limit_ms=10**12))
FINAL = {"SUCCEEDED", "FAILED", "CANCELLED", "VANISHED"}


@dataclass
class JobsLife(Life):
    """Its jobs change, alone and together."""

    policy: MonitorPolicy = NO_DELAYS
    jobs: dict[str, int] = field(default_factory=dict)
    expected: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def job(self, name: str, status: str) -> None:
        """Creates the job, or changes its status."""
        control = self.bench.service.control
        if name in self.jobs:
            control.set_status(self.jobs[name], status)
        else:
            self.bench.clock.advance(seconds=1)
            self.jobs[name] = control.create_job(self.sandbox, status=status).id
        self.expected[str(self.jobs[name])].append(status)

    def delete(self, name: str) -> None:
        self.bench.service.control.delete_job(self.jobs[name])
        self.expected[str(self.jobs[name])].append("VANISHED")

    def is_at_rest(self) -> bool:
        """The outbox is empty, and no vanished job still counts as open."""
        return not any(
            record.outbox or self.expected[record.job_id][-1] == "VANISHED"
            for record in self.tables.load(self.sandbox).open_jobs.values()
        )


def short_life(life: JobsLife) -> Iterator[None]:
    """First sweeps, changes alone and together, an end with errors, a job that vanishes."""
    yield
    life.job("a", "NEW")
    life.job("b", "PROCESSING")
    yield
    life.job("a", "PROCESSING")
    life.job("b", "SUCCEEDED")
    yield
    life.job("a", "FAILED")
    life.job("c", "SUCCEEDED")
    life.job("d", "NEW")
    yield
    life.delete("d")
    yield


def crowded_life(life: JobsLife) -> Iterator[None]:
    """More changes at once than one publish call takes."""
    yield
    for number in range(12):
        life.job(f"j{number}", "NEW")
    yield
    for number in range(12):
        life.job(f"j{number}", "SUCCEEDED" if number % 2 else "FAILED")
    yield


def run(
    bench: Bench, sandbox: str, script: Callable[[JobsLife], Iterator[None]], injector: Injector
) -> JobsLife:
    life = JobsLife(replace(bench, injector=injector), sandbox)
    for _ in script(life):
        life.sweep_until_quiet()
    return life


def check(life: JobsLife, deliveries: list[Delivery], *, may_repeat: bool) -> None:
    result = Reconciliation()
    reconcile_events(life.bench.service.control.journal(life.sandbox), deliveries, result)
    assert (result.lost, result.unexplained) == ([], [])
    if not may_repeat:
        assert result.duplicates == []
    bus: dict[str, list[str]] = defaultdict(list)
    topic: dict[str, list[str]] = defaultdict(list)
    received: dict[str, Delivery] = {}
    for delivery in deliveries:
        repeated = (delivery.sink, delivery.event_id) in received
        first = received.setdefault((delivery.sink, delivery.event_id), delivery)  # type: ignore[index,arg-type]
        assert first.detail == delivery.detail, "a repeat differs"
        if not repeated:
            by_job = bus if delivery.sink == "bus" else topic
            by_job[delivery.detail["jobId"]].append(delivery.detail["status"])
    assert dict(bus) == dict(life.expected)
    finals = {job: [s for s in statuses if s in FINAL] for job, statuses in life.expected.items()}
    assert dict(topic) == {job: statuses for job, statuses in finals.items() if statuses}
    check_what_was_learned(life)


def check_what_was_learned(life: JobsLife) -> None:
    """Each job that has succeeded taught its kind once, unless the baselines could not be read."""
    jobs = [Job.model_validate(job.body) for job in life.bench.service.control.jobs(life.sandbox)]
    kinds = {kind_of(job) or "" for job in jobs}
    baselines = life.tables.baselines(life.sandbox, kinds).values()
    taught = [run for known in baselines for run in known.runs]
    good = [job.creation_time for job in jobs if job.status == "SUCCEEDED"]
    if "batch_get_item" in life.struck_calls:
        assert {run.created_at for run in taught} <= set(good)
    else:
        assert sorted(run.created_at for run in taught) == sorted(map(int, filter(None, good)))


@pytest.mark.parametrize("script", [short_life, crowded_life])
def test_without_faults_everything_is_published_once(
    workshop: Bench, sandboxes: Iterator[str], script: Callable[[JobsLife], Iterator[None]]
) -> None:
    """What subscribers receive when nothing fails, as the baseline for the other tests."""
    workshop.subscribers.drain()
    life = run(workshop, next(sandboxes), script, Injector())
    check(life, workshop.subscribers.drain(), may_repeat=False)


@pytest.mark.parametrize("kind", KINDS)
def test_any_fault_at_any_call_loses_nothing(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """For every operation of a run: after a fault, another run publishes the rest."""
    strike_lives(workshop, sandboxes, short_life, kind, of=None)


@pytest.mark.parametrize("kind", KINDS if LONG else ["fails in part", "dies after"])
def test_any_fault_in_the_midst_of_many_changes_loses_nothing(
    workshop: Bench, sandboxes: Iterator[str], kind: Kind
) -> None:
    """The same with more events than a batch holds; by default only for calls with batches."""
    strike_lives(workshop, sandboxes, crowded_life, kind, of=None if LONG else set(BATCHES))


def strike_lives(
    workshop: Bench,
    sandboxes: Iterator[str],
    script: Callable[[JobsLife], Iterator[None]],
    kind: Kind,
    *,
    of: Collection[str] | None,
) -> None:
    """Lives by the script once for each of its calls (`of` some operations only), with a fault."""
    counting = Injector()
    run(workshop, next(sandboxes), script, counting)
    workshop.subscribers.drain()

    def struck(injector: Injector) -> None:
        life = run(workshop, next(sandboxes), script, injector)
        may_repeat = kind in MAY_REPEAT and life.had_published()
        check(life, workshop.subscribers.drain(), may_repeat=may_repeat)

    strike_each_call(counting.calls, kind, struck, of=of)
