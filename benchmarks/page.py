"""The web page over HTTP, against the bare queries that it can't do without.

Against moto in another process, with a sandbox whose record is as full as the page promises to be
quick with. The page's server runs in this process, with its own socket, and is asked as a browser
asks it. A first overview is that of a new server, which has kept nothing; all later pages are those
of one server.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import requests
from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb import expectations, items
from export_jobs.model.records import JobRecord
from export_jobs_cli.page import kept
from export_jobs_cli.page.addresses import SERVED
from export_jobs_cli.page.pages import Pages
from export_jobs_cli.page.server import PageServer
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.isolation import http_session
from support.dynamodb import READS

from benchmarks.measuring import LONG, Spread, in_turns, wall_s
from benchmarks.on_record import MINUTE_MS, Amount, OnRecord
from benchmarks.report import Section
from benchmarks.stage import staged

SANDBOX = "prod"
AMOUNT = Amount(10_000, 100, 27, running=5, waiting=40, rejected=30)
"""In as many days as the page keeps: of those in the 90 days of retention, it would read a third."""
FIRST_TURNS = 10 if LONG else 3
TURNS = 50 if LONG else 10
BEGUN_MS = 30 * MINUTE_MS
"""How long ago a job that runs has begun."""
MAX_TRIES = 5
AN_END = "overview, a job has ended"
BARE, BARE_AN_END = "bare", "bare, a job has ended"
HOW = (
    f"Medians of {FIRST_TURNS} first overviews and {TURNS} of each other page, interleaved, after a "
    "warm-up turn; in brackets the lowest and the highest. Reads are calls to DynamoDB, the most in "
    "any turn: once a minute, expectations or names are read, too. "
    f"There are {AMOUNT.jobs:,} jobs in {AMOUNT.days} days, all of which the page keeps, and "
    f"{AMOUNT.datasets} datasets, each with an expectation and its last 14 "
    f"windows; {AMOUNT.running} jobs run, and {AMOUNT.waiting} requests wait. Bare is one query of "
    "the index `open`; if a job has ended, also one of the latest jobs; for a first overview, all "
    "queries that return the same items. Requests within "
    f"{kept.FRESH_MS / 1000:g} s of each other usually share a reading; here, each request reads."
)


@dataclass(frozen=True)
class Fetched:
    """A page as a browser got it: `reads` are calls to DynamoDB, `size` is the HTML's, in bytes.

    Nothing was sent if it is as in the `version` that the browser had.
    """

    elapsed_s: float
    reads: int
    size: int
    version: str


class Site:
    """A page's server, and a browser that has its token."""

    def __init__(self, server: PageServer, browser: requests.Session, calls: Counter[str]) -> None:
        self._root = f"http://127.0.0.1:{server.port}"
        self._browser = browser
        self._calls = calls
        browser.get(server.address, timeout=10, allow_redirects=False).raise_for_status()

    def fetch(self, path: str, *, version: str | None = None) -> Fetched:
        answers: list[requests.Response] = []
        self._calls.clear()
        took = wall_s(lambda: answers.append(self._get(path, version)))
        (answer,) = answers
        answer.raise_for_status()
        assert "Scan" not in self._calls
        reads = sum(count for kind, count in self._calls.items() if kind in READS)
        return Fetched(took, reads, len(answer.content), answer.headers["ETag"])

    def fetch_unchanged(self, path: str) -> Fetched:
        """Tries several times: a page says, for example, for how many minutes a job has run."""
        fetched = self.fetch(path)
        for _ in range(MAX_TRIES):
            fetched = self.fetch(path, version=fetched.version)
            if not fetched.size:
                return fetched
        raise AssertionError(f"{path} has changed each time")

    def _get(self, path: str, version: str | None) -> requests.Response:
        headers = {"If-None-Match": version} if version else {}
        return self._browser.get(self._root + path, headers=headers, timeout=120)


@contextmanager
def served(open_system: Callable[[Counter[str]], DeployedSystem]) -> Iterator[Site]:
    """A new server, which has kept nothing, while the `with` block runs."""
    calls: Counter[str] = Counter()
    pages = Pages(open_system(calls), sandbox=SANDBOX)
    with PageServer(pages, port=0) as server, http_session() as browser:
        yield Site(server, browser, calls)


class Bare:
    """Only the queries, without anything made of their items."""

    def __init__(self, on_record: OnRecord, system: DeployedSystem) -> None:
        self._client = system.client("dynamodb")
        self._table = system.outputs["JobsTableName"]
        self._covered_from = on_record.state().seen_from - system.monitor.overlap_seconds * 1_000
        """Sweeps may have recorded jobs that were created since then."""

    def first(self) -> float:
        """What a first overview shows: what is unfinished, jobs, expectations and names."""
        since = now_ms() - kept.KEPT_MS

        def queries() -> None:
            self._unfinished()
            self._jobs(since)
            self._query(expectations.partition_of(SANDBOX))

        return wall_s(queries)

    def nothing_new(self) -> float:
        return wall_s(self._unfinished)

    def an_end(self) -> float:
        """What is unfinished, and then the jobs that may have changed."""

        def queries() -> None:
            self._unfinished()
            self._jobs(self._covered_from)

        return wall_s(queries)

    def _jobs(self, since: int) -> None:
        first = items.job_key(SANDBOX, "", since)["sk"]["S"]
        self._query(SANDBOX, " AND sk BETWEEN :first AND :last", first, items.AFTER_JOBS)

    def _unfinished(self) -> None:
        self._query(SANDBOX, IndexName=items.OPEN_INDEX)

    def _query(self, partition: str, condition: str = "", *between: str, **index: str) -> None:
        """All pages, newest first."""
        values = dict(zip((":sandbox", ":first", ":last"), (partition, *between), strict=False))
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression=f"sandbox = :sandbox{condition}",
            ExpressionAttributeValues={name: {"S": value} for name, value in values.items()},
            ScanIndexForward=False,
            **index,
        )
        for _ in pages:
            pass


class Jobs:
    """The jobs that run, one after the other, while pages are fetched."""

    def __init__(self, on_record: OnRecord, system: DeployedSystem) -> None:
        self._store = system.store
        self._state = on_record.state()
        self._exports = on_record.exports[-1]
        self._running = self._begun()

    def end_one(self) -> None:
        """Writes, as a sweep does, that the job that runs has ended, and that another one runs."""
        self._store.put(self._exports.end(self._running))
        self._running = self._begun()
        self._state = replace(self._state, watermark=self._running.creation_time, swept_at=now_ms())
        self._store.put_state(self._state)

    def _begun(self) -> JobRecord:
        return self._store.put(self._exports.begin(now_ms() - BEGUN_MS))


@dataclass(frozen=True)
class Measured:
    """A page at each turn, and what is the least possible beside it."""

    name: str
    pages: Sequence[Fetched]
    bare: Spread

    @property
    def elapsed(self) -> Spread:
        return Spread(tuple(page.elapsed_s for page in self.pages))

    @property
    def reads(self) -> int:
        """The most of any turn."""
        return max(page.reads for page in self.pages)

    def row(self) -> tuple[str, ...]:
        size = max(page.size for page in self.pages)
        least, most = (f"{at(self.elapsed.values) * 1000:,.0f}" for at in (min, max))
        return (
            self.name,
            f"{self.elapsed.in_ms()} ({least}–{most})",
            str(self.reads),
            self.elapsed.over(self.bare).as_ratio(),
            self.bare.in_ms(),
            f"{size / 1000:,.0f} KB" if size else "–",
        )


def measured(
    open_system: Callable[[Counter[str]], DeployedSystem],
    on_record: OnRecord,
    *,
    first_turns: int = FIRST_TURNS,
    turns: int = TURNS,
) -> list[Measured]:
    """Writes what is on record into empty tables, and fetches each page."""
    others = open_system(Counter())
    on_record.write(others)
    jobs, bare = Jobs(on_record, others), Bare(on_record, others)

    def first_overview() -> Fetched:
        with served(open_system) as site:
            return site.fetch(SERVED.overview)

    # With the usual freshness, most requests would share a reading.
    with frozen(), patch.object(kept, "FRESH_MS", 0):
        first: Any = in_turns({"page": first_overview, BARE: bare.first}, turns=first_turns)
        with served(open_system) as site:
            site.fetch(SERVED.overview)
            pages = later(site, on_record, jobs)
            works = {**pages, BARE: bare.nothing_new, BARE_AN_END: bare.an_end}
            with frozen():
                found: Any = in_turns(works, turns=turns)
    return [
        Measured("first overview", first["page"], Spread(tuple(first[BARE]))),
        *(
            Measured(
                name, found[name], Spread(tuple(found[BARE_AN_END if name == AN_END else BARE]))
            )
            for name in pages
        ),
    ]


@contextmanager
def frozen() -> Iterator[None]:
    """Nothing collects what exists now: what was written, which a page's process does not have, and
    what its server keeps, which would be looked at before each measurement.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()  # what stays frozen is not collected at the end, and DuckDB reports it as leaked


def later(site: Site, on_record: OnRecord, jobs: Jobs) -> dict[str, Callable[[], Fetched]]:
    """What fetches each page from a server that has kept what it read, by the page's name."""
    newest = next(job for job in on_record.jobs if job.request_key)

    def after_an_end() -> Fetched:
        jobs.end_one()
        return site.fetch(SERVED.overview)

    pages = {
        "a job": SERVED.job(SANDBOX, newest.job_id),
        "a dataset": SERVED.dataset(SANDBOX, newest.dataset_id or ""),
        "requests": SERVED.requests,
        "expectations": SERVED.expectations,
    }
    return {
        "overview, nothing new": partial(site.fetch, SERVED.overview),
        AN_END: after_an_end,
        "overview, unchanged (304)": partial(site.fetch_unchanged, SERVED.overview),
        **{name: partial(site.fetch, path) for name, path in pages.items()},
    }


def run() -> Section:
    with staged([SANDBOX]) as stage:
        on_record = OnRecord(SANDBOX, AMOUNT, now_ms())
        rows = [one.row() for one in measured(stage.system, on_record)]
    return Section(
        "The web page",
        "python -m benchmarks page",
        ("a page", "elapsed", "reads", "ratio", "bare", "HTML"),
        rows,
        remarks=(HOW,),
    )
