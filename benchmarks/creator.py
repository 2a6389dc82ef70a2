"""The creator against bare POSTs, as many at once: the price of one job a request, whatever happens.

Over sockets, against the service and moto in another process. Every request is another export, and
none has to wait: neither for the cap nor for its turn in the queue.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import requests
from export_jobs import wiring
from export_jobs.announce import Announcer
from export_jobs.aws.requests import RequestLedger
from export_jobs.creator.fulfil import Fulfiller, Rules
from export_jobs.creator.message import Message
from export_jobs.queues import RequestQueues

from benchmarks.measuring import LONG, Spread, Timed, in_turns, timed
from benchmarks.report import Section
from benchmarks.stage import Stage, count_calls, metrics_unseen, staged

AT_ONCE = (1, 5, 10)
"""Five is what the template allows."""
REQUESTS = 40
"""In one measurement."""
TURNS = 15 if LONG else 4
SANDBOXES = tuple(f"sandbox-{turn}" for turn in range((1 + TURNS) * len(AT_ONCE)))
"""One a measurement: the open exports of a sandbox are looked at for its cap."""
MAX_DELIVERIES = 20
HOW = (
    f"{TURNS} turns of {REQUESTS} requests each, after one to warm up, interleaved; in brackets the lowest "
    "and highest ratio of a turn. CPU is this process's. A request that loses a race for its sandbox's "
    "gate too often goes back to the queue; here it is taken up again at once, and the calls counted."
)


class Ours:
    """The creator's parts, as the function wires them."""

    def __init__(self, stage: Stage) -> None:
        self.calls: Counter[str] = Counter()
        self._stage = stage
        self._clients = {name: stage.aws(name) for name in ("dynamodb", "events", "sns", "sqs")}
        for client in self._clients.values():
            count_calls(client, self.calls)
        self._numbers = itertools.count()
        outputs = stage.outputs
        self._fulfiller = Fulfiller(
            api=stage.segmentation_client(),
            ledger=RequestLedger(
                self._clients["dynamodb"],
                jobs_table=outputs["JobsTableName"],
                requests_table=outputs["RequestsTableName"],
            ),
            queues=RequestQueues(
                lambda: self._clients["sqs"],
                queue_url=outputs["RequestQueueUrl"],
                dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
            ),
            announcer=Announcer(
                events=lambda: self._clients["events"],
                sns=lambda: self._clients["sns"],
                bus_name=outputs["EventBusName"],
                topic_arn=outputs["AlertTopicArn"],
            ),
            rules=Rules(sandboxes=SANDBOXES, max_open=10**9),
            clock=wiring.now_ms,
            time_left_s=lambda: 300.0,
        )

    def fulfil(self, sandbox: str) -> None:
        number = next(self._numbers)
        envelope = {"sandboxName": sandbox, "requestKey": f"k{number}", "job": body(number)}
        message = Message(json.dumps(envelope), f"m{number}", wiring.now_ms())
        for _ in range(MAX_DELIVERIES):
            if self._fulfiller.fulfil(message) == "CREATED":
                return
        raise AssertionError(f"not created in {MAX_DELIVERIES} deliveries")


def body(number: int) -> dict[str, Any]:
    """No two ask for the same: such requests wait for each other."""
    return {
        "fields": "identities.id,personalEmail.address",
        "filter": {"segments": [{"segmentId": f"segment-{number}", "segmentNs": "ups"}]},
        "destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
        "schema": {"name": "_xdm.context.profile"},
    }


class Bare:
    def __init__(self, stage: Stage) -> None:
        self._url = stage.jobs_url
        self._session = requests.Session()
        self._headers = stage.bare_headers(SANDBOXES[0])
        self._numbers = itertools.count()

    def post(self, sandbox: str) -> None:
        answer = self._session.post(
            self._url,
            json=body(next(self._numbers)),
            headers={**self._headers, "x-sandbox-name": sandbox},
            timeout=20,
        )
        answer.raise_for_status()
        assert answer.json()["id"]


def at_once(work: Callable[[str], None], sandbox: str, workers: int) -> Timed:
    with ThreadPoolExecutor(workers) as pool:
        return timed(lambda: list(pool.map(work, [sandbox] * REQUESTS)))


def run() -> Section:
    rows = []
    with staged(SANDBOXES) as stage, metrics_unseen():
        ours, bare = Ours(stage), Bare(stage)
        names = iter(SANDBOXES)

        def fulfilled(workers: int) -> Timed:
            stage.empty_tables()
            ours.calls.clear()
            stage.calls()
            took = at_once(ours.fulfil, next(names), workers)
            ours.calls.update(stage.calls())
            return took

        for workers in AT_ONCE:
            found = in_turns(
                {
                    "ours": partial(fulfilled, workers),
                    "bare": partial(at_once, bare.post, SANDBOXES[-1], workers),
                },
                turns=TURNS,
            )
            rows.append(_row(workers, found["ours"], found["bare"], ours.calls))
            if workers == 1:
                made = {kind: count / REQUESTS for kind, count in sorted(ours.calls.items())}
    each = ", ".join(f"{count:g} {NAMES.get(kind, kind)}" for kind, count in made.items())
    return Section(
        "The creator",
        "python -m benchmarks creator",
        (
            "at once",
            "requests a second, bare to ours",
            "ours",
            "bare",
            "CPU a request, ratio",
            "ours",
            "bare",
            "calls a request",
        ),
        rows,
        remarks=(HOW, f"A request's calls, one at a time: {each}."),
    )


NAMES = {"create": "POST", "list": "GET jobs", "get": "GET job", "token": "token"}


def _row(
    workers: int, ours: list[Timed], bare: list[Timed], calls: Counter[str]
) -> tuple[str, ...]:
    our_s, bare_s = (Spread(tuple(took.wall_s / REQUESTS for took in s)) for s in (ours, bare))
    our_cpu, bare_cpu = (Spread(tuple(took.cpu_s / REQUESTS for took in s)) for s in (ours, bare))
    return (
        str(workers),
        our_s.over(bare_s).as_ratio(),
        f"{1 / our_s.median:,.0f}",
        f"{1 / bare_s.median:,.0f}",
        our_cpu.over(bare_cpu).as_ratio(),
        our_cpu.in_ms(),
        bare_cpu.in_ms(),
        f"{sum(calls.values()) / REQUESTS:.1f}",
    )
