"""`request list`: waiting requests, in order; those in progress; and those that have ended."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from export_jobs.aws.clock import now_ms
from export_jobs.contract.times import rfc3339
from export_jobs.events.wording import span
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import ENDED, Attempt, JobRecord, RequestRecord

from export_jobs_cli import output
from export_jobs_cli.line import WaitingLine, ticket_as_json
from export_jobs_cli.stack import DeployedSystem


@dataclass(frozen=True)
class RequestList:
    """The requests of some sandboxes. `ended` is None if it was not asked for.

    At most `limit` of each kind are shown.
    """

    lines: Sequence[WaitingLine]
    limit: int
    now: int
    ended: Sequence[RequestRecord] | None = None
    names: Callable[[str], Names] = lambda _sandbox: NO_NAMES
    """Returns those of a sandbox."""

    def as_json(self) -> dict[str, Any]:
        ended = None
        if self.ended is not None:
            ended = [_ended_as_json(record, self.names) for record in self.ended]
        return {
            "sandboxes": [_line_as_json(line) for line in self.lines],
            "waiting": self.waiting()[: self.limit],
            "underWay": self.under_way()[: self.limit],
            "ended": ended,
        }

    def waiting(self) -> list[dict[str, Any]]:
        """For each sandbox, the requests in line, in order; those between two tries; cancels."""
        return [
            ticket_as_json(ticket, line.place(ticket.request_key))
            for line in self.lines
            for ticket in (*line.creates, *line.delayed, *line.cancels)
        ]

    def under_way(self) -> list[dict[str, Any]]:
        """Create calls whose outcome is unknown, then open jobs; the oldest of each first."""
        return [
            *(
                _attempt_as_json(attempt, line.sandbox, self.now)
                for line in self.lines
                for attempt in line.attempts
            ),
            *(
                _job_as_json(job, self.names, self.now)
                for line in self.lines
                for job in line.jobs_of_requests
            ),
        ]


def find(
    system: DeployedSystem,
    *,
    sandbox: str | None,
    ended: bool = False,
    rejected: bool = False,
    limit: int,
) -> RequestList:
    """Lists requests, of the watched sandboxes or of one.

    `ended` adds ended ones, also of sandboxes that are no longer watched: it reads the whole table.
    `rejected` adds rejected ones; it reads them from an index, which may be slightly stale.
    """
    watched = system.sandboxes(sandbox)
    lines = [WaitingLine(system, name) for name in watched]
    store = system.store
    records: Iterable[RequestRecord]
    if ended:
        every = store.ended_requests(ENDED, limit=sys.maxsize)
        records = (record for record in every if sandbox in {None, record.sandbox})
    elif rejected:
        some = (store.rejected_requests(name, limit=limit) for name in watched)
        records = chain.from_iterable(some)
    else:
        return RequestList(lines, limit, now_ms(), names=system.names)
    newest = heapq.nlargest(limit, records, key=lambda record: record.touched_at)
    return RequestList(lines, limit, now_ms(), newest, system.names)


def show(found: RequestList) -> None:
    console = output.console()
    for line in found.lines:
        between = f"{len(line.delayed)} between two tries, " if line.delayed else ""
        console.print(
            f"[bold]{output.plain(line.sandbox)}[/]: {len(line.creates)} waiting, {between}"
            f"{line.open_exports} of {line.max_open} exports open",
            soft_wrap=True,
        )
        if line.held_until:
            until = output.moment(line.held_until)
            console.print(f"  held until {until} UTC: the service failed or throttled calls")
    several = len(found.lines) > 1
    _show_waiting(found, several=several)
    _show_under_way(found, several=several)
    if found.ended is not None:
        _show_ended(found.ended, found.names)


def _show_waiting(found: RequestList, *, several: bool) -> None:
    rows = [
        [
            str(row["place"] or ("retry" if row["waitsForRetry"] else "cancel")),
            output.plain(row["requestKey"]),
            output.plain(row["sandboxName"]),
            f"from {_moment(row['notBefore'])}" if row["waitsForRetry"] else _moment(row["since"]),
            _moment(row["deadline"]),
        ]
        for row in found.waiting()
    ]
    columns = ["place", "request", "sandbox", "since UTC", "deadline UTC"]
    _show_table("waiting", columns, rows, found.limit, several=several, right=("place",))


def _show_under_way(found: RequestList, *, several: bool) -> None:
    rows = [
        [
            output.styled(row["status"]),
            output.plain(row["requestKey"]),
            output.plain(row["sandboxName"]),
            span(row["ageMs"]),
            output.plain(row["jobId"] or ""),
            output.plain(row["jobStatus"] or ""),
            output.plain(_dataset(row["sandboxName"], row["datasetId"], found.names)),
        ]
        for row in found.under_way()
    ]
    columns = ["state", "request", "sandbox", "since", "job", "job status", "dataset"]
    _show_table("in progress", columns, rows, found.limit, several=several, right=("since",))


def _show_table(
    title: str,
    columns: list[str],
    rows: list[list[str]],
    limit: int,
    *,
    several: bool,
    right: tuple[str, ...],
) -> None:
    console = output.console()
    if not rows:
        return
    console.print(f"\n{title}", style="bold")
    shown = rows[:limit]
    _drop_unused(columns, shown, "dataset")
    if not several:
        _drop(columns, shown, "sandbox")
    table = output.table(columns, shown, right=right, shrinking=("dataset",))
    output.print_table(console, table)
    if len(rows) > limit:
        console.print(f"and {len(rows) - limit} more: see --limit", style="dim")


def _show_ended(ended: Sequence[RequestRecord], names: Callable[[str], Names]) -> None:
    rows = [
        [
            output.plain(record.key_in_message),
            f"{output.moment(record.touched_at)} UTC",
            output.plain(record.sandbox),
            output.styled(record.status),
            output.plain("" if record.outcome == record.status else record.outcome or ""),
            output.plain(f"job {record.job_id}" if record.job_id else ""),
            output.plain(_dataset(record.sandbox, record.dataset_id, names)),
            output.plain(record.reason or ""),
        ]
        for record in ended
    ]
    columns = ["request", "since", "sandbox", "state", "outcome", "job", "dataset", "reason"]
    _drop_unused(columns, rows, "dataset")
    console = output.console()
    console.print("\nended, newest first", style="bold")
    output.print_records(console, columns, rows)


def _drop_unused(columns: list[str], rows: list[list[str]], name: str) -> None:
    """Drops a column in which no row has anything."""
    if name in columns and not any(row[columns.index(name)] for row in rows):
        _drop(columns, rows, name)


def _drop(columns: list[str], rows: list[list[str]], name: str) -> None:
    at = columns.index(name)
    for line in (columns, *rows):
        del line[at]


def _line_as_json(line: WaitingLine) -> dict[str, Any]:
    return {
        "sandboxName": line.sandbox,
        "waiting": len(line.creates),
        "waitingForRetry": len(line.delayed),
        "cancelsWaiting": len(line.cancels),
        "openExports": line.open_exports,
        "maxOpenExports": line.max_open,
        "heldUntil": rfc3339(line.held_until),
    }


def _attempt_as_json(attempt: Attempt, sandbox: str, now: int) -> dict[str, Any]:
    return {
        "requestKey": attempt.request_key,
        "sandboxName": sandbox,
        "status": "CREATING",
        "since": rfc3339(attempt.noted_at),
        "ageMs": now - attempt.noted_at,
        "jobId": None,
        "jobStatus": None,
        "datasetId": None,
        "datasetName": None,
    }


def _job_as_json(job: JobRecord, names: Callable[[str], Names], now: int) -> dict[str, Any]:
    return {
        "requestKey": job.request_key,
        "sandboxName": job.sandbox,
        "status": "CREATED",
        "since": rfc3339(job.creation_time),
        "ageMs": now - job.creation_time,
        "jobId": job.job_id,
        "jobStatus": job.status,
        **_dataset_as_json(job.sandbox, job.dataset_id, names),
    }


def _ended_as_json(record: RequestRecord, names: Callable[[str], Names]) -> dict[str, Any]:
    return {
        "requestKey": record.key_in_message,
        "recordKey": record.request_key,
        "sandboxName": record.sandbox,
        "status": record.status,
        "action": record.action,
        "since": rfc3339(record.touched_at),
        "outcome": record.outcome,
        "reason": record.reason,
        "jobId": record.job_id,
        **_dataset_as_json(record.sandbox, record.dataset_id, names),
        "linkedBy": record.linked_by,
        "correlationId": record.correlation_id,
        "eventId": record.event_id,
    }


def _dataset(sandbox: str, dataset_id: str | None, names: Callable[[str], Names]) -> str:
    """Its name and id; empty without a name, as lines are long."""
    if dataset_id is None or dataset_id not in names(sandbox).datasets:
        return ""
    return names(sandbox).dataset(dataset_id)


def _dataset_as_json(
    sandbox: str, dataset_id: str | None, names: Callable[[str], Names]
) -> dict[str, Any]:
    name = names(sandbox).datasets.get(dataset_id) if dataset_id else None
    return {"datasetId": dataset_id, "datasetName": name}


def _moment(time: str | None) -> str:
    """`01-31 02:00`, as in `job list`."""
    return "" if time is None else time[5:16].replace("T", " ")
