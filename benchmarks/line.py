"""Waiting requests: what they cost a sweep, and in which order they are served."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import count

from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import size_of
from export_jobs.model.records import Ticket
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from support.creator import CREATE, MINUTE_MS, Creator

from benchmarks.measuring import LONG, Spread, Timed, in_turns, repeated, timed
from benchmarks.on_record import put
from benchmarks.stage import Parts, Stage, count_calls

SANDBOX = "line"
WAITING = 10_000
MAX_OPEN = 20
TURNS = 10 if LONG else 3
SWEEPS = 5
"""In one measurement."""


# -- what they cost a sweep ----------------------------------------------------------------------


def sweeps(stage: Stage) -> str:
    """Compares sweeps of a sandbox at its cap, without and with many waiting requests."""
    parts = Parts(stage)
    calls: Counter[str] = Counter()
    for client in parts.clients.values():
        count_calls(client, calls)
    sweeper = Sweeper(
        api=stage.segmentation_client(),
        store=parts.store,
        publisher=parts.publisher,
        dead_letter_queue=parts.dead_letter_queue,
        request_queue=parts.request_queue,
        policy=MonitorPolicy(max_open=MAX_OPEN),
        clock=now_ms,
        time_left_s=lambda: 300.0,
    )
    stage.create_jobs(SANDBOX, [{"status": "PROCESSING"}] * MAX_OPEN)
    assert not sweeper.sweep(SANDBOX).problems
    without, calls_without = _swept(sweeper, calls, waiting=0)
    size = _put_tickets(parts, stage)
    among, calls_among = _swept(sweeper, calls, waiting=WAITING)
    cpu = [Spread(tuple(took.cpu_s / SWEEPS for took in some)) for some in (without, among)]
    return (
        f"A sweep of a sandbox at its cap, {WAITING:,} requests waiting: {_listed(calls_among)}, "
        f"and {cpu[1].in_ms()} of CPU; with none waiting: {_listed(calls_without)}, "
        f"and {cpu[0].in_ms()}. A ticket has {size} bytes."
    )


def _swept(
    sweeper: Sweeper, calls: Counter[str], *, waiting: int
) -> tuple[list[Timed], Counter[str]]:
    """The measurements, and the calls to AWS of one sweep."""

    def sweep() -> None:
        report = sweeper.sweep(SANDBOX)
        assert not report.problems, report.problems
        assert report.waiting == waiting, report.waiting

    sweep()
    calls.clear()
    sweep()
    made = Counter(calls)
    return in_turns({"": partial(timed, repeated(SWEEPS, sweep))}, turns=TURNS)[""], made


def _put_tickets(parts: Parts, stage: Stage) -> int:
    """Writes tickets as the creator does, all of the same size; returns it, in bytes."""
    table = stage.outputs["JobsTableName"]
    writer = Writer(jobs_table=table, requests_table="", retention_days=90)
    now = now_ms()
    tickets = [Ticket(SANDBOX, f"request-{n:028d}", "create", now, now) for n in range(WAITING)]
    items = [writer.ticket(ticket).written for ticket in tickets]
    put(parts.clients["dynamodb"], table, items)
    return size_of(items[0])


def _listed(calls: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(calls.items()))


# -- in which order they are served --------------------------------------------------------------

BURST = 30
CAP = 2
EXPORT_MS = 6 * MINUTE_MS
LOAD = 0.7
"""Requests after the burst, as a share of the capacity."""
HOURS = 8


@dataclass(frozen=True)
class Served:
    """When each request arrived, and when its job was created, in epoch milliseconds."""

    arrived: dict[str, int]
    created: dict[str, int]
    burst: frozenset[str]

    @property
    def unserved(self) -> list[str]:
        """Requests without a job: all of the burst, and others that arrived before a served one."""
        last = max((self.arrived[key] for key in self.created), default=0)
        return [
            key
            for key, at in self.arrived.items()
            if key not in self.created and (key in self.burst or at < last - MINUTE_MS)
        ]

    @property
    def overtaken(self) -> list[tuple[str, str]]:
        """Pairs whose second request arrived over a minute later, but was served first."""
        return [
            (one, other)
            for one, at in self.created.items()
            for other, later in self.created.items()
            if self.arrived[other] - self.arrived[one] > MINUTE_MS and later < at
        ]

    def summary(self) -> str:
        waited = {
            key: self.created[key] - at for key, at in self.arrived.items() if key in self.created
        }
        longest = max(waited[key] for key in self.burst & self.created.keys())
        return (
            f"In memory, a burst of {BURST}, at most {CAP} open exports of "
            f"{EXPORT_MS // MINUTE_MS} minutes each, then further requests at {LOAD:.0%} of "
            f"capacity, {HOURS} hours. Of {len(self.arrived)} requests, {len(self.created)} were "
            f"served; unserved or passed over: {len(self.unserved)}; overtaken by one that arrived "
            f"more than a minute later: {len(self.overtaken)}. The last of the burst waited for "
            f"{longest // MINUTE_MS} minutes; the longest wait was "
            f"{max(waited.values()) // MINUTE_MS}."
        )


def field_case_21(*, hours: int = HOURS, seed: int = 21) -> Served:
    """Simulates it: exports end, each minute a sweep wakes the creator, requests arrive."""
    creator = Creator(max_open=CAP, sandboxes=("prod",))
    fakes = creator.fakes
    chance, numbers = random.Random(seed), count()
    arrived: dict[str, int] = {}
    interval_ms = EXPORT_MS / CAP / LOAD

    def send() -> str:
        key = f"k{next(numbers)}"
        arrived[key] = fakes.now
        creator.send(key, **CREATE)
        return key

    burst = frozenset(send() for _ in range(BURST))
    began = fakes.now
    next_arrival = began + chance.expovariate(1 / interval_ms)
    for minute in range(hours * 60):
        fakes.now = max(fakes.now, began + minute * MINUTE_MS)
        for number, job in list(fakes.jobs["prod"].items()):
            if job.body["status"] == "NEW" and job.body["creationTime"] + EXPORT_MS <= fakes.now:
                fakes.move("prod", number, "SUCCEEDED")
        creator.sweep()
        creator.work()
        while next_arrival < began + (minute + 1) * MINUTE_MS:
            fakes.now = max(fakes.now, int(next_arrival))
            send()
            creator.work()
            next_arrival += chance.expovariate(1 / interval_ms)
    keys = creator.keys_by_request_id
    jobs = fakes.jobs["prod"]
    created = {
        keys[request_id]: int(jobs[number].body["creationTime"])
        for number, request_id in fakes.made.items()
    }
    assert fakes.most_open["prod"] <= CAP
    return Served(arrived, created, burst)
