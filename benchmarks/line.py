"""Those who wait: what they cost a sweep, and in which order they are served."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import size_of
from export_jobs.model.records import Ticket
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from support.creator import CREATE, MINUTE_MS, Creator

from benchmarks.measuring import LONG, Spread, Timed, in_turns, repeated, timed
from benchmarks.stage import Parts, Stage, count_calls

SANDBOX = "line"
WAITING = 10_000
MAX_OPEN = 20
TURNS = 10 if LONG else 3
SWEEPS = 5
"""In one measurement."""


# -- what they cost a sweep ----------------------------------------------------------------------


def sweeps(stage: Stage) -> str:
    """Compares sweeps of a sandbox without room, without and with many who wait."""
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
        f"A sweep of a sandbox without room, {WAITING:,} requests waiting: {_told(calls_among)}, and {cpu[1].in_ms()} of "
        f"CPU; with none waiting: {_told(calls_without)}, and {cpu[0].in_ms()}. A ticket is of "
        f"{size} bytes."
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
    """Writes the tickets as the creator does, all of one size; returns that, in bytes."""
    table = stage.outputs["JobsTableName"]
    writer = Writer(jobs_table=table, requests_table="", retention_days=90)
    now = now_ms()
    tickets = [Ticket(SANDBOX, f"request-{n:028d}", "create", now, now) for n in range(WAITING)]
    items = [writer.ticket(ticket).written for ticket in tickets]
    put: list[Any] = [{"PutRequest": {"Item": item}} for item in items]
    for start in range(0, WAITING, 25):
        parts.clients["dynamodb"].batch_write_item(RequestItems={table: put[start : start + 25]})
    return size_of(items[0])


def _told(calls: Counter[str]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(calls.items()))


# -- in which order they are served --------------------------------------------------------------

BURST = 30
CAP = 2
EXPORT_MS = 6 * MINUTE_MS
LOAD = 0.7
"""Newcomers, as a part of what fits."""
HOURS = 8


@dataclass(frozen=True)
class Served:
    """When each request came and when its job was created, in epoch milliseconds."""

    came: dict[str, int]
    created: dict[str, int]
    burst: frozenset[str]

    @property
    def unserved(self) -> list[str]:
        """Of the burst, those who have no job; and of the others, those who came first and have none."""
        last = max((self.came[key] for key in self.created), default=0)
        return [
            key
            for key, came in self.came.items()
            if key not in self.created and (key in self.burst or came < last - MINUTE_MS)
        ]

    @property
    def overtaken(self) -> list[tuple[str, str]]:
        """Pairs of which the second came more than a minute later, and was served before the first."""
        return [
            (one, other)
            for one, at in self.created.items()
            for other, later in self.created.items()
            if self.came[other] - self.came[one] > MINUTE_MS and later < at
        ]

    def told(self) -> str:
        waited = [
            self.created[key] - came for key, came in self.came.items() if key in self.created
        ]
        longest = max(
            self.created[key] - self.came[key] for key in self.burst & self.created.keys()
        )
        return (
            f"Field case 21, in memory: a burst of {BURST}, {CAP} exports open at the most, of {EXPORT_MS // MINUTE_MS} minutes each, then "
            f"newcomers at {LOAD:.0%} of what fits, {HOURS} hours. Of {len(self.came)} requests, {len(self.created)} were served; "
            f"unserved of the burst, or passed over: {len(self.unserved)}; overtaken by one that came more than a "
            f"minute later: {len(self.overtaken)}. The last of the burst waited for {longest // MINUTE_MS} minutes, "
            f"nobody for longer than {max(waited) // MINUTE_MS}."
        )


def field_case_21(*, hours: int = HOURS, seed: int = 21) -> Served:
    """Plays it minute by minute: exports end, a sweep wakes the creator, newcomers come at drawn moments."""
    creator = Creator(max_open=CAP, sandboxes=("prod",))
    fakes = creator.fakes
    chance, numbers = random.Random(seed), count()
    came: dict[str, int] = {}
    a_newcomer_every_ms = EXPORT_MS / CAP / LOAD

    def send() -> str:
        key = f"k{next(numbers)}"
        came[key] = fakes.now
        creator.send(key, **CREATE)
        return key

    burst = frozenset(send() for _ in range(BURST))
    began = fakes.now
    coming = began + chance.expovariate(1 / a_newcomer_every_ms)
    for minute in range(hours * 60):
        fakes.now = max(fakes.now, began + minute * MINUTE_MS)
        for number, job in list(fakes.jobs["prod"].items()):
            if job.body["status"] == "NEW" and job.body["creationTime"] + EXPORT_MS <= fakes.now:
                fakes.move("prod", number, "SUCCEEDED")
        creator.sweep()
        creator.work()
        while coming < began + (minute + 1) * MINUTE_MS:
            fakes.now = max(fakes.now, int(coming))
            send()
            creator.work()
            coming += chance.expovariate(1 / a_newcomer_every_ms)
    keys = creator.keys_by_request_id
    jobs = fakes.jobs["prod"]
    created = {
        keys[request_id]: int(jobs[number].body["creationTime"])
        for number, request_id in fakes.made.items()
    }
    assert fakes.most_open["prod"] <= CAP
    return Served(came, created, burst)
