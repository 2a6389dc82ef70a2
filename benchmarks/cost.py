"""The cost to know: a month of following the same jobs, with this system and with alternatives.

The same scripted week is simulated for all, minute by minute. Ours is the deployed core, with every
outgoing call counted. The others are what people would use instead:

- *list everything*: Adobe's community client, `aepp`, whose `getExportJobs` reads every page. It
  runs against the local service, to count its calls.
- *a loop per job*: AWS's "job poller" sample for Step Functions: wait, get the status, choose;
  three state transitions and one function per round.
- *the least possible*: one listing and one read per minute, one write and a tenth of a publish call
  per change.

Each is charged only what it needs; only ours is charged for state between runs.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from benchmarks.report import Plot, Section
from benchmarks.sandbox import EPOCH, MINUTE_MS, Service, sweeper_of

WEEK_MIN = 7 * 24 * 60
AEPP_PAGE = 1_000
"""The default page size of `getExportJobs`."""
API_CALL_S, AWS_CALL_S = 0.2, 0.01
"""How long a function is assumed to wait for a call to Adobe, and for one to AWS."""
MEMORY_GB = 0.5
PRICES = {
    # List prices of us-east-1 in dollars, Lambda's for arm64.
    "read units": 0.125e-6,
    "write units": 0.625e-6,
    "events on the bus": 1.0e-6,
    "PublishBatch": 0.5e-6,
    "transitions": 25e-6,
    "invocations": 0.2e-6,
    "GB-seconds": 13.3334e-6,
}
ASSUMED = (
    "Dollars are list prices of us-east-1 (DynamoDB on demand, EventBridge, SNS, Step Functions, "
    f"Lambda on arm64 with 512 MB), assuming {API_CALL_S} s for a call to Adobe and {AWS_CALL_S} s "
    "for one to AWS. Alarms, logs and metrics are not included."
)
API = ("GET jobs", "GET job")
AWS = (
    "Query",
    "BatchGetItem",
    "PutItem",
    "UpdateItem",
    "TransactWriteItems",
    "PutEvents",
    "PublishBatch",
    "transitions",
)


@dataclass(frozen=True)
class Week:
    name: str
    jobs_a_day: int
    open_at_once: int
    history: int


WEEKS = (
    Week("quiet, a history of 1,000,000", 0, 0, 1_000_000),
    Week("5 jobs a day, 1 open, a history of 10,000", 5, 1, 10_000),
    Week("500 jobs a day, 50 open, a history of 10,000", 500, 50, 10_000),
    Week("500 jobs a day, 50 open, a history of 1,000,000", 500, 50, 1_000_000),
)


@dataclass
class Played:
    """One week: our calls, and what the others would have had to read."""

    ours: Counter[str]
    changes: int = 0
    ends: int = 0
    open_minutes: int = 0
    pages_of_everything: int = 0


def play(week: Week, *, minutes: int = WEEK_MIN, aepp_page: int = AEPP_PAGE) -> Played:
    service = Service(week.history)
    sweeper = sweeper_of(service)
    sweeper.sweep("prod")
    service.calls.clear()
    played = Played(service.calls)
    chance = random.Random(1)
    runs_min = round(week.open_at_once / week.jobs_a_day * 24 * 60) if week.jobs_a_day else 0
    due: dict[int, list[tuple[str, str]]] = {}
    created = 0
    for minute in range(minutes):
        service.now = max(service.now, EPOCH + minute * MINUTE_MS)
        if chance.random() < week.jobs_a_day / (24 * 60):
            job = service.create()
            created += 1
            played.changes += 1
            due.setdefault(minute + 1, []).append((job, "PROCESSING"))
            due.setdefault(minute + max(2, runs_min), []).append((job, "SUCCEEDED"))
        for job, status in due.pop(minute, []):
            service.move(job, status)
            played.changes += 1
            played.ends += status == "SUCCEEDED"
        played.open_minutes += created - played.ends
        played.pages_of_everything += max(1, math.ceil((week.history + created) / aepp_page))
        report = sweeper.sweep("prod")
        assert not report.problems, report.problems
    return played


def bills(played: Played, minutes: int = WEEK_MIN) -> dict[str, Counter[str]]:
    """What each would pay for in that week."""
    ours = Counter(played.ours)
    ours["invocations"] = minutes
    delivered = {"events on the bus": played.changes}
    least = Counter(
        {
            "GET jobs": minutes,
            "Query": minutes,
            "read units": minutes,
            "PutItem": played.changes,
            "write units": played.changes,
            "PutEvents": math.ceil(played.changes / 10),
            "PublishBatch": math.ceil(played.ends / 10),
            "invocations": minutes,
            **delivered,
        }
    )
    everything = Counter(
        {
            "GET jobs": played.pages_of_everything,
            "PutItem": played.changes,
            "write units": played.changes,
            "PutEvents": played.changes,
            "PublishBatch": played.ends,
            "invocations": minutes,
            **delivered,
        }
    )
    loops = Counter(
        {
            "GET job": played.open_minutes,
            "transitions": 3 * played.open_minutes + 4 * played.ends,
            "PutEvents": played.ends,
            "events on the bus": played.ends,
            "PublishBatch": played.ends,
            "invocations": played.open_minutes,
        }
    )
    found = {"ours": ours, "least": least, "everything": everything, "loops": loops}
    for bill in found.values():
        busy_s = calls(bill, API) * API_CALL_S + calls(bill, AWS[:-1]) * AWS_CALL_S
        bill["GB-seconds"] = round(busy_s * MEMORY_GB)
    return found


def calls(bill: Mapping[str, float], kinds: tuple[str, ...]) -> float:
    return sum(bill.get(kind, 0) for kind in kinds)


def dollars_a_month(bill: Mapping[str, float]) -> float:
    return sum(price * bill.get(kind, 0) for kind, price in PRICES.items()) * 30 / 7


NAMES = {
    "ours": "ours",
    "least": "the least possible",
    "everything": "list everything (`aepp`)",
    "loops": "a loop per job (Step Functions)",
}


def run() -> Section:
    from benchmarks.peers import pages_that_aepp_reads  # noqa: PLC0415  needs aepp

    rows: list[tuple[str, ...]] = []
    growth: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES.values()}
    with ProcessPoolExecutor(2) as pool:  # calls are counted, and no time is measured
        weeks = list(zip(WEEKS, pool.map(play, WEEKS), strict=True))
    for week, played in weeks:
        found = bills(played)
        least = found["least"]
        rows.append((f"*{week.name}; {played.changes:,} changes*", "", "", "", "", ""))
        for kind, bill in found.items():
            api, aws, dollars = calls(bill, API), calls(bill, AWS), dollars_a_month(bill)
            rows.append(
                (
                    NAMES[kind],
                    _ratio(api, calls(least, API)),
                    f"{api:,.0f}",
                    _ratio(aws, calls(least, AWS)),
                    f"{aws:,.0f}",
                    f"{dollars:,.2f}",
                )
            )
            if week.jobs_a_day == 500:
                growth[NAMES[kind]].append((week.history, api))
    counted = pages_that_aepp_reads((10, 10_000, 100_000))
    by_history = ", ".join(f"{pages:,} for {jobs:,} jobs" for jobs, pages in counted.items())
    return Section(
        "Cost to know",
        "python -m benchmarks cost",
        (
            "a week",
            "API calls, ratio",
            "API calls",
            "AWS calls, ratio",
            "AWS calls",
            "$ a month",
        ),
        rows,
        remarks=(
            f"Calls that `aepp` made in this run for one `getExportJobs`: {by_history}.",
            ASSUMED,
        ),
        plots=(
            Plot(
                "cost",
                "API calls a week, 500 jobs a day, 50 open",
                "ended jobs in the history",
                "API calls",
                growth,
                scale="log",
            ),
        ),
    )


def _ratio(one: float, other: float) -> str:
    return f"{one / other:,.2f}×"
