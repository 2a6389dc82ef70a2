"""Daily digests, made from records as a run of the monitor makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from export_jobs.contract.times import rfc3339
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.outcome import JobOutcome
from export_jobs.model.records import (
    DigestState,
    Event,
    Gate,
    JobRecord,
    SandboxRecord,
    SandboxState,
    Ticket,
)
from export_jobs.monitor.summary import Summary

from support.observed import ORG

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
DATASET = "5bb4c46757920712f924a3eb"
UNTIL = 1_700_006_400_000
"""2023-11-15 00:00 UTC."""
SINCE = UNTIL - DAY_MS
DROP = {"anomalies": ["VOLUME_DROP"], "usualProfilesExported": 61_230, "profilesRatio": 0.0163}
SLOW = {"anomalies": ["SLOW"], "usualDurationMs": 720_000, "durationRatio": 3.92}
ERROR = {"code": "0100000003", "message": "Error in Export Job"}


def ended(
    number: int,
    outcome: JobOutcome = "SUCCEEDED",
    *,
    sandbox: str = "prod",
    detected_at: int = UNTIL - HOUR_MS,
    errors: Sequence[dict[str, Any]] = (),
    end: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> JobRecord:
    """The record of a job whose end was detected at that time, and delivered.

    `end` has more fields of its final event.
    """
    status = outcome if outcome in {"FAILED", "CANCELLED", "VANISHED"} else "SUCCEEDED"
    known: dict[str, Any] = {"dataset_id": DATASET, "duration_ms": number * 1000, **fields}
    detail = {"final": True, "detectedAt": rfc3339(detected_at), "errors": list(errors), **end}
    return JobRecord(
        sandbox,
        str(number),
        detected_at - HOUR_MS,
        status=status,
        outcome=outcome,
        final=True,
        end_detail=detail,
        **known,
    )


def overdue(name: str = "nightly-newsletter", sandbox: str = "prod", hours: int = 2) -> Any:
    """The record of an expected export that has been overdue for that long."""
    due = UNTIL - hours * HOUR_MS
    window = Window(due - DAY_MS, due, due)
    return ExpectationRecord(
        sandbox,
        Expectation(name, DATASET, "Europe/Rome", due=0),
        applied_at=1,
        missed=window,
        missed_windows=1,
        overdue_since=due,
        history=(PastWindow(window, "NEVER_STARTED"),),
    )


def sandbox_of(name: str = "prod", *, waiting: int = 0, failing_since: int = 0) -> SandboxRecord:
    tickets = [
        Ticket(name, f"k{n}", "create", turn=n, sent_at=UNTIL - (waiting - n) * 60_000)
        for n in range(waiting)
    ]
    state = SandboxState(name, 1, failing_since=failing_since)
    return SandboxRecord(Gate(name), state, tickets=tuple(tickets))


def digest_of(
    *parts: tuple[SandboxRecord, Sequence[ExpectationRecord], Sequence[JobRecord]],
    since: int = SINCE,
    until: int = UNTIL,
) -> Event:
    """Regular exports are looked for among the jobs of each part, too."""
    summary = Summary(since, until)
    for known, expectations, jobs in parts:
        summary.add(known, expectations, jobs)
        sandbox = known.gate.sandbox
        summary.add_not_expected(sandbox, expectations, jobs, timezone="UTC")
    return summary.event(DigestState(due_at=until), home="prod", org_id=ORG, stack_id="local")


def nightly(dataset: str, *, days: int = 14, sandbox: str = "prod") -> list[JobRecord]:
    """Good exports into a dataset at the same time of the last days, but for the last one."""
    return [
        ended(
            900 + day,
            sandbox=sandbox,
            detected_at=UNTIL - (day + 1) * DAY_MS,
            dataset_id=dataset,
        )
        for day in range(1, days + 1)
    ]


def quiet_digest() -> Event:
    return digest_of((sandbox_of(), (), ()), since=UNTIL, until=UNTIL + DAY_MS)


def full_digest() -> Event:
    """With everything that a digest reports, after an outage of three days."""
    prod = sandbox_of(waiting=3)
    prod = replace(prod, open_jobs={"70": JobRecord("prod", "70", UNTIL - 1, status="PROCESSING")})
    jobs = [
        *(ended(n) for n in range(1, 39)),
        ended(40, "FAILED", errors=[ERROR, ERROR]),
        ended(41, "FAILED", detected_at=UNTIL - 1),
        ended(42, "SUCCEEDED_EMPTY", dataset_id="5b7c86968f7b6501e21ba9df", duration_ms=7_500_000),
        ended(43, "CANCELLED"),
        ended(44, profiles_exported=1_000, end=DROP),
        ended(45, duration_ms=2_820_000, end=SLOW),
        *nightly("60c1e5a2b7d9a11a9f3d2b10"),
    ]
    dev = sandbox_of("dev", failing_since=UNTIL - 5 * HOUR_MS)
    return digest_of(
        (prod, [overdue(), overdue("hourly", hours=9)], jobs),
        (dev, (), [ended(7, "VANISHED", sandbox="dev", dataset_id=None)]),
        since=UNTIL - 3 * DAY_MS,
    )
