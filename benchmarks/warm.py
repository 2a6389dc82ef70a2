"""A warm sweep against the bare calls that it must make: its overhead in CPU time.

Over sockets, against the service and moto in another process. A quiet sweep is compared with one
GET with `requests` and one query with `boto3`; a sweep with many changes with the pages, two puts
per change, and calls of both sinks with ten events each: the same payloads and concurrency.
"""

from __future__ import annotations

import copy
import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from urllib.parse import urljoin

from export_jobs.aws.clock import now_ms
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from export_jobs_local.isolation import http_session

from benchmarks.measuring import LONG, Timed, compared, in_sums, in_turns, repeated, timed
from benchmarks.report import Section
from benchmarks.stage import Parts, Stage, count_calls, metrics_unseen, staged

TURNS = 20 if LONG else 7
SWEEPS = 5
"""Quiet sweeps in one measurement."""
ALTERNATIONS = 10
"""Measurements of both sides in a turn."""
CHANGES = 300
CHANGE_TURNS = 10 if LONG else 4
WORKERS = 8
"""Concurrent writes, as in the monitor."""
PAGE = 100
TEN_MINUTES_MS = 10 * 60_000
QUIET = {"quiet, 1 job listed": ("one", 1), "quiet, 100 jobs listed": ("full", 150)}
"""Sandbox, and its number of jobs: enough for one page, and too old for another one."""
HOW = (
    f"Medians of {TURNS} turns of {SWEEPS * ALTERNATIONS} quiet sweeps, which alternate every "
    f"{SWEEPS}, and of {CHANGE_TURNS} turns of {CHANGES} changes, after a warm-up; in brackets the "
    "lowest and highest ratio of a turn. CPU is that of this process, all threads together. Most "
    "of the elapsed time is the service's and moto's, on the same cores."
)


class Ours:
    """The monitor's parts, as the function wires them."""

    def __init__(self, stage: Stage) -> None:
        self.calls: Counter[str] = Counter()
        parts = Parts(stage)
        self.clients = parts.clients
        for client in self.clients.values():
            count_calls(client, self.calls)
        self._sweeper = Sweeper(
            api=stage.segmentation_client(),
            store=parts.store,
            publisher=parts.publisher,
            dead_letter_queue=parts.dead_letter_queue,
            request_queue=parts.request_queue,
            policy=MonitorPolicy(),
            clock=now_ms,
            time_left_s=lambda: 300.0,
            page_size=PAGE,
            workers=WORKERS,
        )

    def sweep(self, sandbox: str, *, changes: int = 0) -> None:
        report = self._sweeper.sweep(sandbox)
        assert not report.problems, report.problems
        assert report.changes == changes, (report.changes, changes)

    def first_sweep(self, sandbox: str) -> None:
        """Records what has ended already, and publishes none of it."""
        assert not self._sweeper.sweep(sandbox).problems


class Bare:
    """Only the calls, without logic, state or guarantees."""

    def __init__(self, stage: Stage, payloads: Payloads) -> None:
        self._stage = stage
        self._payloads = payloads
        self._session = http_session()
        self._headers = stage.bare_headers("one")
        self._dynamodb = stage.aws("dynamodb")
        self._events = stage.aws("events")
        self._sns = stage.aws("sns")
        self._table = stage.outputs["JobsTableName"]
        self._written = itertools.count()

    def quiet(self, sandbox: str) -> None:
        self._list(sandbox, f"{self._stage.jobs_url}?limit={PAGE}")
        self._dynamodb.query(
            TableName=self._table,
            IndexName="open",
            ConsistentRead=True,
            KeyConditionExpression="sandbox = :sandbox",
            ExpressionAttributeValues={":sandbox": {"S": sandbox}},
        )

    def changes(self, sandbox: str) -> None:
        url: str | None = f"{self._stage.jobs_url}?limit={PAGE}"
        while url:
            url = self._list(sandbox, url)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._put, [self._payloads.undelivered] * CHANGES))
        for _ in range(CHANGES // 10):
            self._events.put_events(Entries=[self._payloads.bus_entry] * 10)
        for _ in range(CHANGES // 10):
            self._sns.publish_batch(
                TopicArn=self._stage.outputs["AlertTopicArn"],
                PublishBatchRequestEntries=[
                    {**self._payloads.topic_entry, "Id": str(number)} for number in range(10)
                ],
            )
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(self._put, [self._payloads.delivered] * CHANGES))

    def _list(self, sandbox: str, url: str) -> str | None:
        headers = {**self._headers, "x-sandbox-name": sandbox}
        page = self._session.get(url, headers=headers, timeout=20).json()
        following = page.get("link", {}).get("next")
        return urljoin(url, following) if following else None

    def _put(self, item: dict[str, Any]) -> None:
        key = {"sandbox": {"S": "bare"}, "sk": {"S": f"job#{next(self._written)}"}}
        self._dynamodb.put_item(TableName=self._table, Item={**item, **key})


class Payloads:
    """What a sweep sends for a change, captured so that the bare calls send the same."""

    undelivered: dict[str, Any]
    delivered: dict[str, Any]
    bus_entry: dict[str, Any]
    topic_entry: dict[str, Any]

    def __init__(self, stage: Stage) -> None:
        ours = Ours(stage)
        self._watch(ours.clients["dynamodb"], "dynamodb.PutItem", self._new)
        self._watch(ours.clients["dynamodb"], "dynamodb.UpdateItem", self._update)
        self._watch(ours.clients["dynamodb"], "dynamodb.TransactWriteItems", self._transaction)
        self._watch(ours.clients["events"], "eventbridge.PutEvents", self._bus)
        self._watch(ours.clients["sns"], "sns.PublishBatch", self._topic)
        ours.first_sweep("sample")
        stage.create_jobs("sample", [{"status": "SUCCEEDED"}] * 2)
        ours.sweep("sample", changes=2)

    def _watch(self, client: Any, operation: str, see: Any) -> None:
        def seen(params: dict[str, Any], **_: Any) -> None:
            see(copy.deepcopy(params))

        client.meta.events.register(f"provide-client-params.{operation}", seen)

    def _new(self, params: dict[str, Any]) -> None:
        if "outbox" in params["Item"]:
            self.undelivered = params["Item"]

    def _update(self, params: dict[str, Any]) -> None:
        """Captures the update as an item: the value of each name that is set."""
        if not params["Key"]["sk"]["S"].startswith("job#"):
            return
        names, values = params["ExpressionAttributeNames"], params["ExpressionAttributeValues"]
        sets = re.findall(r"(#\d+) = (:\d+)", params["UpdateExpression"])
        self.delivered = {names[name]: values[value] for name, value in sets}

    def _transaction(self, params: dict[str, Any]) -> None:
        """A job is settled in one together with its baseline."""
        for write in params["TransactItems"]:
            if "Update" in write:
                self._update(write["Update"])

    def _bus(self, params: dict[str, Any]) -> None:
        self.bus_entry = params["Entries"][0]

    def _topic(self, params: dict[str, Any]) -> None:
        self.topic_entry = params["PublishBatchRequestEntries"][0]


def quiet(stage: Stage, ours: Ours, bare: Bare) -> Iterator[tuple[str, ...]]:
    for name, (sandbox, jobs) in QUIET.items():
        newest = now_ms() - TEN_MINUTES_MS
        stage.create_jobs(
            sandbox,
            (
                {"status": "SUCCEEDED", "creationTime": newest - TEN_MINUTES_MS * number}
                for number in range(jobs)
            ),
        )
        ours.first_sweep(sandbox)
        found = in_turns(
            {
                "ours": partial(timed, repeated(SWEEPS, partial(ours.sweep, sandbox))),
                "bare": partial(timed, repeated(SWEEPS, partial(bare.quiet, sandbox))),
            },
            turns=TURNS * ALTERNATIONS,
        )
        sides = (in_sums(found[side], ALTERNATIONS) for side in ("ours", "bare"))
        yield (name, *compared(*sides, each=SWEEPS * ALTERNATIONS))


def changed(stage: Stage, ours: Ours, bare: Bare) -> Iterator[tuple[str, ...]]:
    sandboxes = iter(change_sandboxes())
    current = ""

    def sweep() -> Timed:
        nonlocal current
        current = next(sandboxes)
        ours.first_sweep(current)
        stage.create_jobs(current, [{"status": "SUCCEEDED"}] * CHANGES)
        time.sleep(0.01)  # so that the sweep is later than the last of them
        ours.calls.clear()
        stage.calls()
        took = timed(lambda: ours.sweep(current, changes=CHANGES))
        ours.calls["GET jobs"] = stage.calls()["list"]
        return took

    found = in_turns(
        {"ours": sweep, "bare": lambda: timed(lambda: bare.changes(current))}, turns=CHANGE_TURNS
    )
    yield (f"{CHANGES} changes", *compared(found["ours"], found["bare"]))


def change_sandboxes() -> list[str]:
    """One per turn: the jobs of an earlier turn would be listed again."""
    return [f"changes-{turn}" for turn in range(1 + CHANGE_TURNS)]


def run() -> Section:
    sandboxes = ["sample", *(sandbox for sandbox, _ in QUIET.values()), *change_sandboxes()]
    with staged(sandboxes) as stage, metrics_unseen():
        ours = Ours(stage)
        bare = Bare(stage, Payloads(stage))
        rows = [*quiet(stage, ours, bare)]
        rows += changed(stage, ours, bare)
    made = ", ".join(f"{count:,} {kind}" for kind, count in sorted(ours.calls.items()))
    return Section(
        "Warm",
        "python -m benchmarks warm",
        ("a sweep", "CPU, ratio", "ours", "bare", "elapsed, ratio", "ours", "bare"),
        rows,
        remarks=(HOW, f"Our calls for {CHANGES} changes: {made}."),
    )
