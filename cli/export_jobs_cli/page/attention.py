"""What needs attention now, in words: the worst first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from export_jobs.contract.text import one_line
from export_jobs.events.wording import span, why_overdue
from export_jobs.model.calendar import DAY_MINUTES
from export_jobs.model.expectations import ExpectationRecord
from export_jobs.monitor.expectations import ended_at

from export_jobs_cli import output
from export_jobs_cli.expectations.shown import in_zone, state_of
from export_jobs_cli.job_list import error_text
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.line import WaitingLine
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.marks import KINDS, Tone, kind_of_job, severity_of, utc
from export_jobs_cli.page.status import StackStatus

RECENT_MS: Final = 3 * DAY_MINUTES * 60_000
"""A run that did not end well needs attention for so long, unless a later one has succeeded."""
REPEATED_MS: Final = 14 * DAY_MINUTES * 60_000
"""The same for an export that has run before: the next run may be a week away."""
MAX_SEGMENTS: Final = 2
"""Segments of a job that are named."""


@dataclass(frozen=True)
class Item:
    """Something to look at. It is about a job, an expectation, the requests, or the whole stack.

    `kind` is that of its mark. `more` says why, or what to do.
    """

    kind: str
    text: str
    more: str = ""
    sandbox: str | None = None
    job_id: str | None = None
    expectation: str | None = None
    requests: bool = False
    command: str | None = None
    """The command that shows more, after `export-jobs`."""

    @property
    def tone(self) -> Tone:
        return KINDS[self.kind].tone

    @property
    def shape(self) -> str:
        return KINDS[self.kind].shape


def attention_of(
    readings: Sequence[Reading], lines: Mapping[str, WaitingLine], status: StackStatus, *, now: int
) -> list[Item]:
    """What needs attention in all sandboxes, the worst first, otherwise in the order of `readings`."""
    found = list(_of_the_stack(status))
    for reading in readings:
        found += _of_sweeps(reading, status, now=now)
        found += _of_expectations(reading, now=now)
        found += _of_jobs(reading, lines[reading.sandbox], now=now)
        found += _of_requests(lines[reading.sandbox])
    return sorted(found, key=lambda item: severity_of(item.tone))


def _of_the_stack(status: StackStatus) -> Iterator[Item]:
    if status.dead_letters:
        yield Item(
            "problem",
            f"{_number(status.dead_letters, 'dead letter')}: rejected requests, and messages that "
            "could not be processed",
            "Fix and redrive each one, or delete it:",
            requests=True,
            command="dlq list",
        )
    for problem in status.problems:
        yield Item("problem", problem[:1].upper() + problem[1:])


def _of_sweeps(reading: Reading, status: StackStatus, *, now: int) -> Iterator[Item]:
    problem = status.problem_of_sweeps(reading.sandbox, reading.known.state, now=now)
    if problem:
        yield Item(
            "no-sweeps",
            f"Sandbox {reading.sandbox}: {problem}",
            "What this page shows may be out of date." if reading.known.state else "",
            sandbox=reading.sandbox,
            command="doctor",
        )


def _of_expectations(reading: Reading, *, now: int) -> Iterator[Item]:
    for record in reading.expectations:
        state = state_of(record, now=now)
        if state == "OVERDUE":
            yield _overdue(record, reading)
        elif state == "UNREADABLE":
            yield Item(
                "problem",
                f"Expectation {record.name} can't be read, so nothing is expected",
                "Apply its file again, with the same version of the command as the stack.",
                sandbox=record.sandbox,
                expectation=record.name,
            )


def _overdue(record: ExpectationRecord, reading: Reading) -> Item:
    missed = record.missed
    past = next((one for one in reversed(record.history) if one.window == missed), None)
    why = why_overdue({"reason": past.outcome}) if past else "it has not succeeded"
    due = in_zone(missed.due, record) if missed else ""
    dataset = reading.names.dataset(record.expectation.dataset_id)
    windows = record.missed_windows
    again = f"; {windows} windows missed in a row" if windows > 1 else ""
    return Item(
        "overdue",
        f"{record.name} is overdue: {why} by {due}{again}"
        if past and past.outcome == "NEVER_STARTED"
        else f"{record.name} is overdue: {why} (due {due}){again}",
        f"Into dataset {dataset}.",
        sandbox=record.sandbox,
        expectation=record.name,
    )


def _of_jobs(reading: Reading, line: WaitingLine, *, now: int) -> Iterator[Item]:
    """The last run of each export, if it did not end well, open ones that are late, duplicates."""
    runs = Counter(map(_same_export, reading.jobs))
    decided: set[object] = set()
    for position, job in enumerate(reading.jobs):
        if not job.is_final:
            if kind_of_job(job) == "delayed":
                yield _late(job, line)
            continue
        if job.record and job.record.duplicate_of and _ended_at(job) >= now - RECENT_MS:
            yield _duplicate(job, job.record.duplicate_of)
        export = _same_export(job)
        if export in decided or job.outcome == "CANCELLED":
            continue
        decided.add(export)
        if KINDS[kind_of_job(job)].tone == "good" or _is_tried_again(job, reading.jobs[:position]):
            continue
        if _ended_at(job) >= now - (REPEATED_MS if runs[export] > 1 else RECENT_MS):
            yield _of_ended(job)


def _same_export(job: KnownJob) -> object:
    """Equal for jobs that do the same again; a job of which too little is known has no other."""
    record = job.record
    if record and record.kind:
        return job.dataset_id, record.kind
    if record and job.dataset_id and record.segments is not None:
        return job.dataset_id, record.segments
    return job.sandbox, job.id, job.created_at


def _is_tried_again(job: KnownJob, later: Iterable[KnownJob]) -> bool:
    """Whether its request has a later job: then that one counts, unless it was cancelled."""
    key = job.request_key
    return any(key and other.request_key == key and other.outcome != "CANCELLED" for other in later)


def _ended_at(job: KnownJob) -> int:
    """When it ended or, if that is unknown, was recorded; in epoch milliseconds."""
    return ended_at(job.record) if job.record else 0


def _of_ended(job: KnownJob) -> Item:
    kind = kind_of_job(job)
    whole = f"Export job {job.id} into {job.dataset or 'an unknown dataset'}"
    if job.outcome == "SUCCEEDED":
        compared = f"compared with {job.compared_with}" if job.compared_with else ""
        return _about(job, kind, f"{whole} succeeded: {'; '.join(job.unusual)}", compared)
    why = [*job.unusual, *(one_line(error_text(error)) for error in job.errors[:1])]
    retried = ""
    if job.record and job.record.retry_at:
        retried = f"its request will be retried at {output.moment(job.record.retry_at)} UTC"
    return _about(job, kind, f"{whole} {KINDS[kind].words}", "; ".join(why), retried)


def _duplicate(job: KnownJob, request_key: str) -> Item:
    text = f"Export job {job.id} into {job.dataset or 'an unknown dataset'} is a duplicate"
    return _about(job, "problem", text, f"request {request_key} has another job")


def _late(job: KnownJob, line: WaitingLine) -> Item:
    limit = ""
    if job.record:
        limit_ms = line.delays.limit_of(job.record)
        by_usual = ", based on what is usual," if limit_ms == job.record.delay_limit_ms else ""
        limit = f"; its limit{by_usual} is {span(limit_ms)}"
    text = f"Export job {job.id} into {job.dataset or 'an unknown dataset'} is delayed"
    return _about(job, "delayed", text, f"running for {span(job.duration_ms)}{limit}")


def _about(job: KnownJob, kind: str, text: str, *more: str) -> Item:
    """An item with what tells the job from others: when it was created, and its segments."""
    segments = job.names.segments_in_words(job.segment_ids or (), MAX_SEGMENTS)
    facts = [
        f"created {utc(job.created_at)}" if job.created_at else "",
        f"segments: {segments}" if segments else "",
    ]
    whole = " · ".join(part for part in (*more, *facts) if part)
    return Item(kind, text, whole, sandbox=job.sandbox, job_id=job.id)


def _of_requests(line: WaitingLine) -> Iterator[Item]:
    """Requests that wait because the service failed or throttled."""
    wait = line.wait_in_line()
    if line.creates and wait.what == "HOLD":
        yield Item(
            "problem",
            f"Sandbox {line.sandbox}: no request is tried until {output.moment(wait.until)} UTC",
            f"{_number(len(line.creates), 'request')} waiting: the service failed or throttled calls.",
            sandbox=line.sandbox,
            requests=True,
        )


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
