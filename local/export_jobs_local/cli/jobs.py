"""`jobs` and `job`: what the service shows of its jobs, and what our tables know of them besides."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from export_jobs.client import NotFound
from export_jobs.contract import FINAL_STATUSES, Job, JobError
from export_jobs.contract.times import rfc3339
from export_jobs.events.wording import span
from export_jobs.model.outcome import duration_ms, outcome_of
from export_jobs.model.records import JobRecord, RequestRecord
from export_jobs.wiring import now_ms
from rich.markup import escape

from export_jobs_local.cli import output
from export_jobs_local.cli.deployed import DeployedSystem
from export_jobs_local.cli.errors import UserError

MAX_LISTED = 2_000
"""So many jobs of a sandbox are looked at: what the filters leave out costs calls, too."""
_STATUSES = ("NEW", "QUEUED", "PROCESSING", "CANCELLING", *sorted(FINAL_STATUSES))
_OUTCOMES = ("IN_PROGRESS", "SUCCEEDED_WITH_ERRORS", "SUCCEEDED_EMPTY")
"""Those that are no statuses as well."""
_WITHOUT_DATA = FINAL_STATUSES - {"SUCCEEDED"}
_SERVER_FILTERS = frozenset({"NEW", "SUCCEEDED", "FAILED"})
"""Values that the service's own `status` filter is known to take."""


@dataclass(frozen=True)
class Listed:
    sandbox: str
    job: Job

    def as_json(self) -> dict[str, Any]:
        job, metrics = self.job, self.job.metrics
        return {
            "sandboxName": self.sandbox,
            "jobId": job.id,
            "status": job.status,
            "outcome": outcome_of(job),
            "final": job.is_final,
            "datasetId": job.destination.dataset_id if job.destination else None,
            "batchIds": job.destination.batch_ids if job.destination else [],
            "createdAt": rfc3339(job.creation_time),
            "updatedAt": rfc3339(job.update_time),
            "durationMs": duration_ms(job, now_ms()),
            "profilesExported": metrics.total_exported_profile_counter if metrics else None,
            "errors": [{"code": error.code, "message": error.msg} for error in job.errors],
        }


def find(
    system: DeployedSystem,
    *,
    sandbox: str | None,
    status: str | None,
    dataset: str | None,
    limit: int,
) -> list[Listed]:
    """The newest jobs that match, newest first over all sandboxes. Raises UserError."""
    wanted = _known(status) if status else None

    def matches(listed: Listed) -> bool:
        job = listed.job
        in_dataset = dataset is None or (job.destination and job.destination.dataset_id == dataset)
        return bool(in_dataset and (wanted is None or wanted in {job.status, outcome_of(job)}))

    def of(sandbox: str) -> Iterator[Listed]:
        pages = system.api.iter_pages(
            sandbox,
            limit=100 if wanted or dataset else min(limit, 100),
            status=wanted if wanted in _SERVER_FILTERS else None,
        )
        every = (Listed(sandbox, job) for page in pages for job in page.records)
        return filter(matches, islice(every, MAX_LISTED))

    merged = heapq.merge(
        *(of(name) for name in system.sandboxes(sandbox)),
        key=lambda listed: -(listed.job.creation_time or 0),
    )
    return list(islice(merged, limit))


def _known(status: str) -> str:
    """Raises UserError, with the nearest one, for what is no status and no outcome."""
    wanted, known = status.upper(), (*_STATUSES, *_OUTCOMES)
    if wanted in known:
        return wanted
    nearest = get_close_matches(wanted, known, n=1, cutoff=0)
    raise UserError(
        f"{status!r} is no status and no outcome; did you mean {nearest[0]}? "
        f"There are {', '.join(known)}"
    )


def show_list(found: Sequence[Listed], *, watched: int) -> None:
    """`watched`: of how many sandboxes the system has jobs; with one, it need not be said which."""
    console = output.console()
    if not found:
        console.print("no such jobs")
        return
    columns = ["created UTC", "job", "sandbox", "status", "took", "profiles", "dataset"]
    rows = [_row(listed) for listed in found]
    if watched == 1:
        for line in (columns, *rows):
            del line[2]
    right = ("took", "profiles")
    output.print_table(console, output.table(columns, rows, right=right, shrinking=("dataset",)))
    troubled = [listed for listed in found if listed.job.errors]
    if troubled:
        console.print("\nfirst errors", style="bold")
        output.facts(
            console,
            [(escape(t.job.id), escape(_error(t.job.errors[0]))) for t in troubled],
        )


def _row(listed: Listed) -> list[str]:
    shown = listed.as_json()
    profiles = shown["profilesExported"]
    return [
        output.moment(listed.job.creation_time)[5:16],
        escape(listed.job.id),
        escape(listed.sandbox),
        output.styled(_status_of(listed.job)),
        span(shown["durationMs"]),
        "" if profiles is None else f"{profiles:,}",
        escape(shown["datasetId"] or ""),
    ]


@dataclass(frozen=True)
class Life:
    """All that is known of one job: what the service shows, and our records of it, if any."""

    listed: Listed
    record: JobRecord | None
    request: RequestRecord | None

    def timeline(self) -> list[tuple[int, str]]:
        """Moments in epoch milliseconds, in order, and what happened then."""
        job, found = self.listed.job, list[tuple[int | None, str]]()
        if self.request:
            found.append((self.request.sent_at or None, "its request is sent"))
            found.append((self.request.touched_at or None, _linked(self.request)))
        found.append((job.creation_time, "created"))
        exporting = job.metrics.profile_export_time if job.metrics else None
        if exporting:
            found.append((exporting.start_time_in_ms, "profile export begins"))
            found.append((exporting.end_time_in_ms, "profile export ends"))
        if job.update_time and not job.is_final:
            found.append((job.update_time, f"last change at the service: {job.status}"))
        if job.is_final:
            ended = (job.creation_time or 0) + (duration_ms(job, now_ms()) or 0)
            found.append((ended, job.status))
        return sorted(((at, what) for at, what in found if at), key=lambda moment: moment[0])

    @property
    def published(self) -> int:
        """How many changes of this job have reached every sink."""
        if self.record is None:
            return 0
        numbered = [u for u in self.record.outbox if u.event.detail.get("sequence") is not None]
        return self.record.sequence - len(numbered)

    def outbox(self) -> list[dict[str, Any]]:
        """Its events that have still to reach some sinks, in their order."""
        return [
            {
                "type": undelivered.event.type,
                "sequence": undelivered.event.detail.get("sequence"),
                "detectedAt": undelivered.event.detail["detectedAt"],
                "sinks": sorted(undelivered.sinks),
            }
            for undelivered in (self.record.outbox if self.record else ())
        ]

    def as_json(self, system: DeployedSystem) -> dict[str, Any]:
        return {
            **self.listed.as_json(),
            "requestKey": self.record.request_key if self.record else None,
            "correlationId": self.record.correlation_id if self.record else None,
            "linkedBy": self.record.linked_by if self.record else None,
            "duplicateOf": self.record.duplicate_of if self.record else None,
            "eventsPublished": self.published,
            "outbox": self.outbox(),
            "timeline": [{"at": rfc3339(at), "what": what} for at, what in self.timeline()],
            "data": where_data_is(self.listed.job, system),
            "job": self.listed.job.model_dump(by_alias=True, exclude_unset=True, mode="json"),
        }


def locate(system: DeployedSystem, job_id: str, *, sandbox: str | None) -> Listed:
    """The job, and which sandbox has it. Raises UserError if none has."""
    tried = system.sandboxes(sandbox)
    for name in tried:
        try:
            return Listed(name, system.api.get_job(name, job_id))
        except NotFound:
            continue
    raise UserError(f"the service knows no job {job_id!r} in {' or '.join(tried)}")


def look_up(system: DeployedSystem, job_id: str, *, sandbox: str | None) -> Life:
    """Raises UserError if no sandbox has the job."""
    listed = locate(system, job_id, sandbox=sandbox)
    record = system.store.job(listed.sandbox, listed.job.id, listed.job.creation_time or 0)
    key = record.request_key if record else None
    return Life(listed, record, system.store.requests([key]).get(key) if key else None)


def where_data_is(job: Job, system: DeployedSystem) -> list[str]:
    """For each batch where to fetch it: a folder on this machine, or a call of Data Access.

    Nowhere for a job that has ended without success: nothing of it was kept.
    """
    destination = job.destination
    if not destination or not destination.dataset_id or job.status in _WITHOUT_DATA:
        return []
    if system.data_directory:
        exports = Path(system.data_directory) / "exports" / destination.dataset_id
        return [str(exports / batch) for batch in destination.batch_ids]
    api = urlsplit(system.monitor.aep_base_url)
    if api.hostname == "platform.adobe.io":
        root = f"{api.scheme}://{api.netloc}/data/foundation/export/batches"
        return [f"GET {root}/{batch}/files" for batch in destination.batch_ids]
    return [f"batch {batch}" for batch in destination.batch_ids]


def show(life: Life, system: DeployedSystem) -> None:
    console = output.console()
    shown = life.listed.as_json()
    job, record = life.listed.job, life.record
    profiles = shown["profilesExported"]
    console.print(f"[bold]job {escape(job.id)}[/] {output.styled(_status_of(job))}\n")
    output.facts(
        console,
        [
            ("sandbox", escape(life.listed.sandbox)),
            ("dataset", escape(shown["datasetId"] or "")),
            ("schema", escape(job.schema_.name or "") if job.schema_ else None),
            ("fields", escape(job.fields_ or "all")),
            ("segments", _segments(job)),
            ("took" if job.is_final else "running for", span(shown["durationMs"])),
            ("profiles", None if profiles is None else f"{profiles:,}"),
            *(("error", escape(_error(error))) for error in job.errors[:3]),
            ("more errors", str(len(job.errors) - 3) if len(job.errors) > 3 else None),
            ("request", escape(_request_of(record)) if record else None),
            ("correlation", escape(record.correlation_id or "") if record else None),
        ],
    )
    console.print("\nlife (UTC)", style="bold")
    moments = life.timeline()
    first = moments[0][0] if moments else 0
    lines = [
        (output.moment(at), f"{escape(what)} [dim]+{span(at - first)}[/]") for at, what in moments
    ]
    output.facts(console, lines)
    console.print("\nevents", style="bold")
    if record is None:
        console.print("no sweep has seen this job yet, or its record has expired")
    else:
        console.print(_published(life, record))
    for event in life.outbox():
        left = f"in the outbox, for: {', '.join(event['sinks'])}"
        console.print(escape(f"{event['detectedAt']} {event['type']}, {left}"), soft_wrap=True)
    data = where_data_is(job, system)
    if data:
        console.print(
            "\ndata" if job.is_final else "\ndata, once the job has succeeded", style="bold"
        )
        for place in data:
            console.print(escape(place), soft_wrap=True)


def _published(life: Life, record: JobRecord) -> str:
    if not record.sequence and record.final:
        return "none: it had ended before the first sweep"
    count = life.published
    return f"{count} {'change' if count == 1 else 'changes'} of this job published"


def _request_of(record: JobRecord) -> str:
    if record.duplicate_of:
        return f"a duplicate: request {record.duplicate_of} has another job"
    if record.request_key is None:
        return "not from our queue"
    how = {
        "requestId": ", by its x-request-id",
        "content": ", only by its content: an equal job of somebody else's can't be told from it",
    }
    return record.request_key + how.get(record.linked_by or "", "")


def _linked(request: RequestRecord) -> str:
    how = {"answer": "the create call's answer", "requestId": "our x-request-id"}
    by = how.get(request.linked_by or "", "what it exports")
    return f"linked to its request, by {by}"


def _status_of(job: Job) -> str:
    return outcome_of(job) if job.is_final else job.status


def _error(error: JobError) -> str:
    """Its message, and its code where it has one."""
    return (error.msg or "no message") + (f" ({error.code})" if error.code else "")


def _segments(job: Job) -> str:
    segments = job.filter.segments if job.filter else []
    if not segments:
        return "none named: every profile"
    few = ", ".join(str(segment.segment_id) for segment in segments[:3])
    more = f" and {len(segments) - 3} more" if len(segments) > 3 else ""
    return escape(few) + more
