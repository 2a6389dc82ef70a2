"""The creator against as many concurrent bare POSTs: the price of exactly one job per request.

Over sockets, against the service and moto in another process. A run is what the function does with
one batch; concurrent runs work in one sandbox, and so pass the same gate. What they leave waiting
is admitted by a wake-up, as after a sweep, which is counted, too. `line.py` measures what waiting
costs, and in which order waiting requests are served.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from export_jobs.aws.clock import now_ms
from export_jobs.creator.message import Message
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.process import RequestProcessor
from export_jobs.model.wake_up import wake_up_body
from export_jobs_local.isolation import http_session

from benchmarks import line
from benchmarks.measuring import LONG, Spread, Timed, in_turns, timed
from benchmarks.report import Section
from benchmarks.stage import Parts, Stage, count_calls, metrics_unseen, staged

BATCH = 10
"""Messages in a run, as in the template."""
AT_ONCE = (1, 2, 5)
"""The trigger allows two."""
REQUESTS = 100
"""In one measurement."""
TURNS = 15 if LONG else 2
MAX_OPEN = 200
"""The most that the template allows, so that no request waits for capacity."""
MAX_WAKE_UPS = 20
LONE = 20
"""Single requests, one after the other."""
HOW = (
    f"Full batches of {BATCH}, {TURNS} turns of {REQUESTS} requests each, interleaved, after a "
    "warm-up turn; in brackets the lowest and highest ratio of a turn. Each number of concurrent "
    "runs starts with a sandbox without open exports. Bare POSTs use `requests`, with one session "
    "per thread and as many threads as runs. CPU is that of this process: runs are threads here, "
    "and processes when deployed. Requests per second are limited by moto, whose DynamoDB "
    "handles one call at a time."
)


class Ours:
    """The creator's parts, as a process of the function wires them."""

    def __init__(self, stage: Stage, sandboxes: Sequence[str], calls: Counter[str]) -> None:
        parts = Parts(stage)
        for client in parts.clients.values():
            count_calls(client, calls)
        self.store = parts.store
        self._processor = RequestProcessor(
            api=stage.segmentation_client(),
            store=parts.store,
            publisher=parts.publisher,
            dead_letter_queue=parts.dead_letter_queue,
            policy=CreatorPolicy(sandboxes=tuple(sandboxes), max_open=MAX_OPEN),
            clock=now_ms,
            time_left_s=lambda: 300.0,
        )

    def run(self, messages: Sequence[Message]) -> int:
        """Returns how many requests got a job, by whatever run they were recorded."""
        report = self._processor.process(messages)
        assert not report.problems, report.problems
        assert not report.failed, report.failed
        return report.ends["CREATED"]


class Measured:
    """The AWS calls of concurrent runs, and the requests that they left to a wake-up."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.requests = 0
        self.left = 0
        self.wake_ups = 0

    def clear(self) -> None:
        self.calls.clear()
        self.requests = self.left = self.wake_ups = 0


class Runs:
    """Concurrent runs, each in a thread with its own parts."""

    def __init__(
        self,
        stage: Stage,
        at_once: int,
        sandboxes: Iterator[str],
        watched: Sequence[str],
        numbers: Iterator[int],
    ) -> None:
        self.measured = Measured()
        self._sandboxes = sandboxes
        self._numbers = numbers
        self._processes = [Ours(stage, watched, self.measured.calls) for _ in range(at_once)]

    def __call__(self) -> Timed:
        """One measurement: several rounds, each in a new sandbox."""
        self.measured.clear()  # only the last turn's are reported
        took = [self._round() for _ in range(REQUESTS // (BATCH * len(self._processes)))]
        return Timed(sum(t.cpu_s for t in took), sum(t.wall_s for t in took))

    def _round(self) -> Timed:
        sandbox = next(self._sandboxes)
        batches = [self._batch(sandbox) for _ in self._processes]
        wanted = sum(map(len, batches))
        with ThreadPoolExecutor(len(batches)) as pool:

            def work() -> None:
                run = pool.map(lambda process, batch: process.run(batch), self._processes, batches)
                left = wanted - sum(run)
                self.measured.left += left
                while left:
                    self.measured.wake_ups += 1
                    assert self.measured.wake_ups < MAX_WAKE_UPS
                    left -= self._processes[0].run([wake_up(sandbox)])

            took = timed(work)
        self.measured.requests += wanted
        return took

    def _batch(self, sandbox: str) -> list[Message]:
        return [request(sandbox, next(self._numbers)) for _ in range(BATCH)]


class Bare:
    """Only the POSTs, without logic, state or guarantees."""

    def __init__(self, stage: Stage, sandbox: str, at_once: int, numbers: Iterator[int]) -> None:
        self._url = stage.jobs_url
        self._headers = stage.bare_headers(sandbox)
        self._sessions = [http_session() for _ in range(at_once)]
        self._numbers = numbers

    def __call__(self) -> Timed:
        share = REQUESTS // len(self._sessions)
        with ThreadPoolExecutor(len(self._sessions)) as pool:
            return timed(
                lambda: list(pool.map(self._posts, self._sessions, itertools.repeat(share)))
            )

    def _posts(self, session: requests.Session, share: int) -> None:
        for _ in range(share):
            answer = session.post(
                self._url, json=body(next(self._numbers)), headers=self._headers, timeout=20
            )
            answer.raise_for_status()
            assert answer.json()["id"]


def request(sandbox: str, number: int) -> Message:
    asked = {"sandboxName": sandbox, "requestKey": f"k{number}", "job": body(number)}
    return Message(f"m{number}", json.dumps(asked), now_ms())


def wake_up(sandbox: str) -> Message:
    return Message("wake-up", wake_up_body(sandbox), now_ms())


def body(number: int) -> dict[str, Any]:
    return {
        "fields": "identities.id,personalEmail.address",
        "filter": {"segments": [{"segmentId": f"segment-{number}", "segmentNs": "ups"}]},
        "destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
        "schema": {"name": "_xdm.context.profile"},
    }


def lone(stage: Stage, sandbox: str, numbers: Iterator[int]) -> Counter[str]:
    """The calls for one request that arrives alone, including its POST."""
    calls: Counter[str] = Counter()
    ours = Ours(stage, [sandbox], calls)
    ours.run([request(sandbox, next(numbers))])  # fetches the token
    calls.clear()
    stage.calls()
    for _ in range(LONE):
        assert ours.run([request(sandbox, next(numbers))]) == 1
    calls.update({NAMES.get(kind, kind): count for kind, count in stage.calls().items()})
    return Counter({kind: count // LONE for kind, count in calls.items()})


NAMES = {"create": "POST", "list": "GET jobs", "get": "GET job", "token": "token"}


def run() -> Section:
    rounds = sum(REQUESTS // (BATCH * at_once) for at_once in AT_ONCE)
    names = [f"sandbox-{number}" for number in range((1 + TURNS) * rounds)]
    sandboxes, numbers = iter(names), itertools.count()
    rows = []
    with staged([*names, "lone", "bare", line.SANDBOX]) as stage, metrics_unseen():
        works: dict[str, Callable[[], Timed]] = {}
        runs = {n: Runs(stage, n, sandboxes, names, numbers) for n in AT_ONCE}
        for n in AT_ONCE:
            works |= {f"ours {n}": runs[n], f"bare {n}": Bare(stage, "bare", n, numbers)}
        found = in_turns(works, turns=TURNS)
        rows = [_row(n, found[f"ours {n}"], found[f"bare {n}"], runs[n].measured) for n in AT_ONCE]
        alone = lone(stage, "lone", numbers)
        waiting = line.sweeps(stage)
    of_aws = {kind: count for kind, count in sorted(alone.items()) if kind not in NAMES.values()}
    each = ", ".join(f"{count:g} {kind}" for kind, count in of_aws.items())
    number = sum(of_aws.values())
    single = f"A single request: {number} calls to AWS ({each}), and {alone['POST']} POST."
    return Section(
        "The creator",
        "python -m benchmarks creator",
        (
            "concurrent runs",
            "AWS calls per request",
            "left to a wake-up",
            "CPU per request, ratio",
            "ours",
            "bare",
            "requests per second",
            "bare",
        ),
        rows,
        remarks=(
            HOW,
            single,
            waiting,
            line.field_case_21().summary(),
        ),
    )


def _row(at_once: int, ours: list[Timed], bare: list[Timed], measured: Measured) -> tuple[str, ...]:
    our_s, bare_s = (Spread(tuple(took.wall_s / REQUESTS for took in s)) for s in (ours, bare))
    our_cpu, bare_cpu = (Spread(tuple(took.cpu_s / REQUESTS for took in s)) for s in (ours, bare))
    return (
        str(at_once),
        f"{sum(measured.calls.values()) / measured.requests:.2f}",
        f"{measured.left} of {measured.requests}",
        our_cpu.over(bare_cpu).as_ratio(),
        our_cpu.in_ms(),
        bare_cpu.in_ms(),
        f"{1 / our_s.median:,.0f}",
        f"{1 / bare_s.median:,.0f}",
    )
