"""The monthly bill of a stack in which nothing happens, item by item, at AWS's list prices.

`python -m benchmarks.bill` prints it; with `--page docs/deploy.md`, it also puts it into that page.
To renew it, correct PRICES, and the sources and the date in that page.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.cloudformation import NEEDED, render

from benchmarks.cost import API_CALL_S, AWS_CALL_S, MEMORY_GB
from benchmarks.report import put_into, table

HOURS = 730
"""A month, as AWS counts it."""
SWEEPS = 60 * HOURS
POLLS = 5 * 3 * 60 * HOURS
"""Lambda polls an idle queue with five connections, each for 20 seconds. It would reduce them to two,
but not with a maximum concurrency
(docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html).
"""
TABLE_KEY_USES = 12 * HOURS
"""DynamoDB asks KMS for a table's key every five minutes for a connection in use, and KMS charges for
it (docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html).
"""
REQUEST_ID = "8f507cfc-xmpl-4697-b07a-ac58fc914c95"
LAMBDA_S_LINES = (
    f"START RequestId: {REQUEST_ID} Version: $LATEST\n"
    f"END RequestId: {REQUEST_ID}\n"
    f"REPORT RequestId: {REQUEST_ID}\tDuration: 210.00 ms\tBilled Duration: 210 ms\t"
    "Memory Size: 512 MB\tMax Memory Used: 100 MB\t\n"
)
"""What Lambda itself logs of each run."""
TABLES_GB = 0.001
"""Two tables with some hundreds of ended jobs."""
GB = 10**9


@dataclass(frozen=True)
class Measured:
    """What a quiet sweep of one sandbox does and logs; `tests/unit/test_benchmarks.py` measures it."""

    log_bytes: int
    metrics: int
    queries: int
    secret_reads_an_hour: int


QUIET = Measured(log_bytes=903, metrics=1, queries=1, secret_reads_an_hour=1)


@dataclass(frozen=True)
class Price:
    """The price of `per` units, and how many are free in each account and month, permanently."""

    dollars: float
    per: float = 1
    free: float = 0

    def of(self, amount: float) -> float:
        return amount * self.dollars / self.per

    def beyond_free(self, amount: float) -> float:
        return self.of(max(0.0, amount - self.free))


MILLION = 10**6
PRICES: Mapping[str, Price] = {
    "KMS key of the topics": Price(1.00),
    "secret": Price(0.40),
    "reads of the secret": Price(0.05, 10_000),
    "alarms on a query, by metric analysed": Price(0.10),
    "other alarms": Price(0.10, free=10),
    "custom metrics": Price(0.30, free=10),
    "dashboard": Price(3.00, free=3),
    "SQS: polls by Lambda": Price(0.40, MILLION, MILLION),
    "Lambda: runs": Price(0.20, MILLION, MILLION),
    "Lambda: GB-seconds": Price(13.3334, MILLION, 400_000),
    "DynamoDB: reads": Price(0.125, MILLION),
    "DynamoDB: storage (GB)": Price(0.25, free=25),
    "DynamoDB: point-in-time recovery (GB)": Price(0.20),
    "KMS requests": Price(0.03, 10_000, 20_000),
    "logs: ingested (GB)": Price(0.50, free=5),
    "logs: stored (GB)": Price(0.03, free=5),
    "EventBridge: events on the bus": Price(1.00, MILLION),
    "EventBridge: archive (GB)": Price(0.10),
    "EventBridge: schema discovery, events": Price(0.10, MILLION, 5 * MILLION),
    "SNS: messages": Price(0.50, MILLION, MILLION),
    "X-Ray: traces (`Tracing`)": Price(5.00, MILLION, 100_000),
}
"""List prices of us-east-1 in dollars; Lambda's for arm64."""


def amounts(quiet: Measured = QUIET) -> tuple[dict[str, float], dict[str, float]]:
    """What a month takes with one sandbox, and what each further one adds, by item of PRICES."""
    alarms = render(NEEDED).of("AWS::CloudWatch::Alarm").values()
    queries = [str(alarm["Metrics"]) for alarm in alarms if "Metrics" in alarm]
    # The other queries find no metric while nothing is wrong.
    analysed = sum("(SweepAge)" in query for query in queries)
    sweep_s = API_CALL_S + AWS_CALL_S
    further = {
        "alarms on a query, by metric analysed": float(analysed),
        "custom metrics": quiet.metrics,
        "Lambda: GB-seconds": SWEEPS * sweep_s * MEMORY_GB,
        "DynamoDB: reads": SWEEPS * quiet.queries,
        "logs: ingested (GB)": SWEEPS * quiet.log_bytes / GB,
        "logs: stored (GB)": SWEEPS * quiet.log_bytes / GB,
    }
    lambda_s = SWEEPS * len(LAMBDA_S_LINES) / GB
    one = dict.fromkeys(PRICES, 0.0) | {
        **further,
        "KMS key of the topics": 1,
        "secret": 1,
        "reads of the secret": HOURS * quiet.secret_reads_an_hour,
        "other alarms": len(alarms) - len(queries),
        "dashboard": 1,
        "SQS: polls by Lambda": POLLS,
        "Lambda: runs": SWEEPS,
        "DynamoDB: storage (GB)": TABLES_GB,
        "DynamoDB: point-in-time recovery (GB)": TABLES_GB,
        "KMS requests": TABLE_KEY_USES,
        "logs: ingested (GB)": further["logs: ingested (GB)"] + lambda_s,
        "logs: stored (GB)": further["logs: stored (GB)"] + lambda_s,
    }
    return one, further


def rows(quiet: Measured = QUIET) -> list[tuple[str, ...]]:
    one, further = amounts(quiet)
    found: list[tuple[str, ...]] = []
    totals = [0.0, 0.0, 0.0]
    for item, price in PRICES.items():
        amount = one[item]
        dollars = (price.of(amount), price.beyond_free(amount), price.of(further.get(item, 0.0)))
        totals = [total + part for total, part in zip(totals, dollars, strict=True)]
        per = "" if price.per == 1 else f" per {price.per:,.0f}"
        found.append(
            (
                item,
                _number(amount),
                f"${_number(price.dollars)}{per}",
                _number(price.free) if price.free else "–",
                *(_dollars(part) for part in dollars),
            )
        )
    return [*found, ("**sum**", "", "", "", *(f"**{total:.2f}**" for total in totals))]


HEADERS = (
    "a month in which nothing happens",
    "amount",
    "list price",
    "free, per account",
    "$ for one sandbox, list",
    "$ beyond what is free",
    "$ for a further sandbox, list",
)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.4f}".rstrip("0").rstrip(".")


def _dollars(value: float) -> str:
    """To the cent; a smaller amount to the tenth of one."""
    return "0" if value < 0.0005 else f"{value:.2f}" if value >= 0.01 else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.bill", description=__doc__)
    options.add_argument("--page", type=Path, metavar="FILE", help="put the table into this page")
    page = options.parse_args(arguments).page
    text = table(HEADERS, rows())
    print(text)
    if page:
        page.write_text(put_into(page.read_text(), "bill", text))


if __name__ == "__main__":
    main()
