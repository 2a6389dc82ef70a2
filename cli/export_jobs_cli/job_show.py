"""`job show`: everything known about one job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from export_jobs.contract import FINAL_STATUSES
from export_jobs.contract.times import rfc3339
from export_jobs.events.wording import (
    MAX_SEGMENTS_SHOWN,
    compared_profiles,
    compared_span,
    span,
)
from export_jobs.model.baselines import Baseline
from export_jobs.model.records import RequestRecord
from rich.console import Console

from export_jobs_cli import output
from export_jobs_cli.baselines import stored
from export_jobs_cli.event_list import events_of, lines_of
from export_jobs_cli.job_list import error_text, status_of
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.stack import DeployedSystem

_WITHOUT_DATA = {*(FINAL_STATUSES - {"SUCCEEDED"}), "VANISHED"}
_SHOWN_ERRORS = 3


@dataclass(frozen=True)
class JobDetails:
    """A job, its request, and where its data is."""

    known: KnownJob
    request: RequestRecord | None
    data: list[str]
    can_be_accepted: bool = False
    """It was unusual, and is not usual yet."""

    def timeline(self) -> list[tuple[int, str]]:
        """Moments in epoch milliseconds, in order, and what happened then."""
        return sorted(((at, what) for at, what in self._moments() if at), key=lambda one: one[0])

    def as_json(self) -> dict[str, Any]:
        job = self.known.job
        return {
            **self.known.as_json(),
            "events": [event.as_json() for event in events_of(self.known.record)],
            "timeline": [{"at": rfc3339(at), "what": what} for at, what in self.timeline()],
            "data": self.data,
            "canBeAccepted": self.can_be_accepted,
            "job": job.model_dump(by_alias=True, exclude_unset=True, mode="json") if job else None,
        }

    def _moments(self) -> Iterator[tuple[int | None, str]]:
        known, job = self.known, self.known.job
        if self.request:
            yield self.request.sent_at or None, "request sent"
            # Otherwise the request has been tried again since.
            if known.record and known.record.try_number == self.request.try_number:
                yield self.request.touched_at or None, _linked(self.request)
        yield known.created_at or None, "created"
        exporting = job.metrics.profile_export_time if job and job.metrics else None
        if exporting:
            yield exporting.start_time_in_ms, "profile export started"
            yield exporting.end_time_in_ms, "profile export ended"
        if known.is_final and known.created_at and known.duration_ms is not None:
            yield known.created_at + known.duration_ms, known.status or ""
        elif known.updated_at:
            yield known.updated_at, f"last change: {known.status}"


def look_up(system: DeployedSystem, known: KnownJob) -> JobDetails:
    """Adds the job's request and whether it can be accepted, from the stack's tables."""
    key, record = known.request_key, known.record
    request = system.store.requests([key]).get(key) if key else None
    baseline = None
    if record and record.kind and not stored.cannot_be_accepted(record):
        baseline = stored.of_kind(system, record.sandbox, record.kind)
    return details_of(known, request, baseline, system)


def details_of(
    known: KnownJob,
    request: RequestRecord | None,
    baseline: Baseline | None,
    system: DeployedSystem,
) -> JobDetails:
    """`baseline` is that of the job's kind; it is needed only for a job that can be accepted."""
    job = known.record
    can_be_accepted = (
        job is not None
        and baseline is not None
        and not stored.cannot_be_accepted(job)
        and bool(stored.still_unusual(baseline, job))
    )
    return JobDetails(known, request, where_data_is(known, system), can_be_accepted)


def show(system: DeployedSystem, details: JobDetails) -> None:
    console, known = output.console(), details.known
    job = known.job
    console.print(f"[bold]job {output.plain(known.id)}[/] {output.styled(status_of(known))}\n")
    output.facts(
        console,
        [
            ("sandbox", output.plain(known.sandbox)),
            ("dataset", output.plain(known.dataset)),
            ("schema", output.plain(job.schema_.name or "") if job and job.schema_ else None),
            ("fields", output.plain(job.fields_ or "all") if job else None),
            ("segments", _segments(known)),
            (
                "took" if known.is_final else "running for",
                compared_span(known.duration_ms, known.usual_duration_ms),
            ),
            (
                "profiles",
                compared_profiles(
                    known.profiles_exported,
                    known.usual_profiles,
                    is_unknown=known.status == "SUCCEEDED",
                ),
            ),
            ("unusual", "; ".join(map(output.plain, known.unusual))),
            ("compared with", output.plain(known.compared_with)),
            *(("error", output.plain(error_text(error))) for error in known.errors[:_SHOWN_ERRORS]),
            ("more errors", str(max(0, len(known.errors) - _SHOWN_ERRORS) or "")),
            ("request", output.plain(_request(known))),
            ("try", _try(known)),
            (
                "correlation",
                output.plain(known.record.correlation_id or "") if known.record else None,
            ),
        ],
    )
    _show_timeline(console, details)
    console.print("\nevents", style="bold")
    for line in lines_of(known.record):
        console.print(line, soft_wrap=True)
    if details.data:
        title = "\ndata" if known.is_final else "\ndata, once the job has succeeded"
        console.print(title, style="bold")
        for place in details.data:
            console.print(output.plain(place), soft_wrap=True)
    if details.can_be_accepted:
        command = system.command("baseline accept", known.id, sandbox=known.sandbox)
        console.print(f"\nif this is usual from now on: {output.plain(command)}", soft_wrap=True)


def _show_timeline(console: Console, details: JobDetails) -> None:
    moments = details.timeline()
    if not moments:
        return
    console.print("\ntimeline (UTC)", style="bold")
    first = moments[0][0]
    lines = [
        (output.moment(at), f"{output.plain(what)} [dim]+{span(at - first)}[/]")
        for at, what in moments
    ]
    output.facts(console, lines)


def where_data_is(known: KnownJob, system: DeployedSystem) -> list[str]:
    """Where to fetch each batch: a folder on this machine, or a call of Data Access.

    Empty for a job that has ended without success: its data was not kept.
    """
    if known.dataset_id is None or known.status in _WITHOUT_DATA:
        return []
    if system.data_directory:
        exports = Path(system.data_directory) / "exports" / known.dataset_id
        return [str(exports / batch) for batch in known.batch_ids]
    api = urlsplit(system.monitor.aep_base_url)
    if api.hostname == "platform.adobe.io":
        root = f"{api.scheme}://{api.netloc}/data/foundation/export/batches"
        return [f"GET {root}/{batch}/files" for batch in known.batch_ids]
    return [f"batch {batch}" for batch in known.batch_ids]


def _request(known: KnownJob) -> str:
    record = known.record
    if record is None:
        return ""
    if record.duplicate_of:
        return f"a duplicate: request {record.duplicate_of} has another job"
    if record.request_key is None:
        return "not from the request queue"
    how = {
        "requestId": ", by its x-request-id",
        "content": ", only by its content: an equal job from elsewhere would match, too",
    }
    return record.request_key + how.get(record.linked_by or "", "")


def _try(known: KnownJob) -> str:
    """Which of its request's tries it is, and whether another follows; empty for an only one."""
    record = known.record
    if record is None or record.try_number + record.tries_left == 1:
        return ""
    if record.retry_at:
        return f"{record.try_number}; the next one not before {output.moment(record.retry_at)} UTC"
    more = f"; at most {record.tries_left} more, if it ends badly" if record.tries_left else ""
    return f"{record.try_number}{more}"


def _linked(request: RequestRecord) -> str:
    how = {"answer": "create response", "requestId": "x-request-id"}
    return f"linked to its request (by {how.get(request.linked_by or '', 'content')})"


def _segments(known: KnownJob) -> str | None:
    ids = known.segment_ids
    if ids is None:
        return None
    if not ids:
        return "none named: every profile"
    return output.plain(known.names.segments_in_words(ids, MAX_SEGMENTS_SHOWN))
