"""`request create|cancel`: checks and sends a request; `--wait` follows it and its job."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from export_jobs.client import NotFound, RetryLater
from export_jobs.contract import RequestInvalid
from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from export_jobs.creator.message import (
    Request,
    cancel_asked_for,
    key_of_rejected,
    named_sandbox,
    read_request,
)
from export_jobs.events.wording import span
from export_jobs.model.records import JobRecord, RequestRecord
from export_jobs.model.retry import RetryPolicy
from pydantic.alias_generators import to_camel
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from export_jobs_cli import output
from export_jobs_cli.errors import UserError
from export_jobs_cli.job_list import error_text, status_of
from export_jobs_cli.jobs import KnownJob, NotOnRecord, look_up
from export_jobs_cli.line import WaitingLine
from export_jobs_cli.stack import DeployedSystem, Target, opened

POLL_S = 1.0
POLL_JOB_S = 2.0
MISSES = 3
"""A job has vanished after this number of answers that it does not exist."""
GOOD, BAD, NOT_ENDED, GOOD_ONLY_BY_NAME = 0, 1, 3, 4
"""Exit codes. The last is for jobs that have SUCCEEDED, but with errors or without a profile."""


@dataclass(frozen=True)
class Waiting:
    """How long to wait for a request, and whether to ask the service for its job."""

    timeout_s: float | None = None
    live: bool = False

    @classmethod
    def asked_for(cls, *, wait: bool, timeout_s: float | None, live: bool) -> Waiting | None:
        """Raises UserError for options that need `--wait`."""
        if wait:
            return cls(timeout_s, live)
        if timeout_s is not None or live:
            raise UserError(f"{'--timeout' if timeout_s is not None else '--live'} needs --wait")
        return None


@dataclass(frozen=True)
class Sent:
    """A message on the queue, and the request in it.

    `rejection` is the event id of the rejection, if the message was redriven. `known` is the record
    of a request whose job already exists: then nothing was sent.
    """

    request_key: str
    message_id: str | None
    body: str
    request: Request
    rejection: str | None = None
    known: RequestRecord | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "requestKey": self.request_key,
            "messageId": self.message_id,
            "action": self.request.action,
            "alreadyUsedAt": rfc3339(self.known.touched_at) if self.known else None,
            "jobId": self.known.job_id if self.known else None,
        }


@dataclass(frozen=True)
class Ending:
    """How a request ended, and its job."""

    exit_code: int
    request_key: str
    message_id: str | None
    action: str
    already_used_at: str | None = None
    rejected: bool = False
    outcome: str | None = None
    reason: str | None = None
    job_id: str | None = None
    sandbox: str | None = None
    status: str | None = None
    job_outcome: str | None = None
    duration_ms: int | None = None
    profiles_exported: int | None = None
    first_error: str | None = None
    try_number: int = 1

    def as_json(self) -> dict[str, Any]:
        names = {name: value for name, value in asdict(self).items() if name != "exit_code"}
        return {to_camel(name): value for name, value in names.items()}


def checked_for(target: Target, body: str) -> Request:
    """Checks a message without sending it; without a stack, any sandbox is accepted."""
    if target.stack is None:
        return checked(body, sandboxes=[named_sandbox(body) or "prod"])
    with opened(target) as system:
        return checked(body, sandboxes=system.creator.sandboxes)


def checked(body: str, *, sandboxes: Sequence[str]) -> Request:
    """Reads a message as the creator would. Raises UserError naming every wrong field."""
    try:
        return read_request(body, sandboxes=sandboxes)
    except RequestInvalid as invalid:
        wrong = "\n".join(f"  {problem}" for problem in invalid.problems)
        raise UserError(f"the request is invalid, and was not sent:\n{wrong}") from None


def as_json(request: Request) -> dict[str, Any]:
    """What a valid request asks for."""
    return {
        "valid": True,
        "action": request.action,
        "requestKey": request.key,
        "correlationId": request.correlation_id,
        "datasetId": request.dataset_id,
        "expiresAt": rfc3339(request.expires_at),
        "retry": _retry_as_json(request.retry) if request.retry else None,
    }


def _retry_as_json(retry: RetryPolicy) -> dict[str, Any]:
    return {
        "attempts": retry.attempts,
        "delayMinutes": retry.delay_ms // 60_000,
        "on": sorted(retry.on),
    }


def create(system: DeployedSystem, body: str) -> Sent:
    """Checks and sends a create request, unless its job already exists. Raises UserError."""
    request = checked(body, sandboxes=system.creator.sandboxes)
    if request.action != "create":
        raise UserError(
            f"this is a cancel request: send it with `{_cancelling(system, body, request)}`"
        )
    return _send(system, body, request)


def _cancelling(system: DeployedSystem, body: str, request: Request) -> str:
    """The command that cancels the same as a cancel request."""
    sandbox = request.sandbox if request.names_sandbox else None
    if request.cancel_request_key:
        return system.command("request cancel", request.cancel_request_key, sandbox=sandbox)
    job_id, _ = cancel_asked_for(body)
    return system.command("request cancel --job", str(job_id), sandbox=sandbox)


def cancel(
    system: DeployedSystem,
    *,
    job_id: str | None,
    request_key: str | None,
    sandbox: str | None,
) -> Sent:
    """Sends a request to cancel a job, or what a request created or would create.

    Raises UserError if the job is not on record and no sandbox is named.
    """
    if sandbox is not None:
        system.sandboxes(sandbox)
    elif job_id is not None:
        try:
            sandbox = look_up(system, job_id, sandbox=None, live=False).sandbox
        except NotOnRecord as error:
            raise UserError(
                f"{error}; to cancel it all the same, name its sandbox with --sandbox"
            ) from None
    asked = {
        "action": "cancel",
        "sandboxName": sandbox,
        "jobId": job_id,
        "cancelRequestKey": request_key,
    }
    body = json.dumps({name: value for name, value in asked.items() if value is not None})
    return _send(system, body, checked(body, sandboxes=system.creator.sandboxes))


def _send(system: DeployedSystem, body: str, request: Request) -> Sent:
    known = _with_its_job(system, request, request.key) if request.key else None
    message_id = None if known else system.send(body)
    return Sent(request.key or str(message_id), message_id, body, request, known=known)


def _with_its_job(system: DeployedSystem, request: Request, key: str) -> RequestRecord | None:
    """The record of a request whose job already exists.

    Raises UserError for a key with which sending the request has no effect.
    """
    record = system.store.requests([key]).get(key)
    if record is None:
        return None
    when = f"{output.moment(record.touched_at)} UTC"
    if record.status == "REJECTED":
        raise UserError(
            f"request key {key!r} was rejected on {when} ({record.outcome}: "
            f"{one_line(record.reason or '')}); "
            "sending it again has no effect.\n"
            f"Correct and redrive it: {system.command('dlq redrive --body FILE', key)}\n"
            "Or give it a new requestKey."
        )
    if record.status == "CANCELLED":
        raise UserError(
            f"request key {key!r} was cancelled on {when}, before its job was created; "
            "give the request a new requestKey"
        )
    if record.status != "CANCEL_WANTED" and not request.is_that_of(record):
        raise UserError(
            f"request key {key!r} was used on {when} for another request; "
            "give this one a different requestKey"
        )
    return record if record.status == "CREATED" else None


def already(sent: Sent, known: RequestRecord) -> str:
    """Why nothing was sent."""
    return (
        f"request key {sent.request_key!r} was used before, on "
        f"{output.moment(known.touched_at)} UTC: job {known.job_id}; no new export is made"
    )


def followed(system: DeployedSystem, sent: Sent, waiting: Waiting, *, quiet: bool) -> Ending:
    """Waits for a request and its job to end; progress is shown on standard error."""
    console = output.console(stderr=True)
    if sent.known and not quiet:
        console.print(output.plain(already(sent, sent.known)), soft_wrap=True)
    try:
        with progress(quiet=quiet) as report:
            return wait(system, sent, waiting, report=report)
    except BaseException:  # on Ctrl-C, too: shows how to find the request again
        console.print(
            "the request continues without this command; to see its state:\n"
            f"  {output.plain(system.command('request show', sent.request_key))}",
            soft_wrap=True,
        )
        raise


def wait(
    system: DeployedSystem, sent: Sent, waiting: Waiting, *, report: Callable[[str], None]
) -> Ending:
    """Follows the request's record, then its job; calls `report` with a text for each step."""
    until = time.monotonic() + waiting.timeout_s if waiting.timeout_s else None
    ending = Ending(
        NOT_ENDED,
        sent.request_key,
        sent.message_id,
        sent.request.action,
        already_used_at=rfc3339(sent.known.touched_at) if sent.known else None,
        sandbox=sent.request.sandbox,
    )
    while True:
        record = _ended_record(system, sent, until, report)
        if record is None:
            return ending
        reached = _ended_try(
            system, sent, record, ending, live=waiting.live, until=until, report=report
        )
        if reached is not None:
            return reached


def _ended_try(
    system: DeployedSystem,
    sent: Sent,
    record: RequestRecord,
    ending: Ending,
    *,
    live: bool,
    until: float | None,
    report: Callable[[str], None],
) -> Ending | None:
    """The ending, after the job of `record`; None if the request is tried again."""
    rejected = record.status in {"REJECTED", "CANCELLED"}
    ending = replace(
        ending,
        sandbox=_sandbox_of_job(system, sent.request, record),
        rejected=rejected,
        outcome=record.outcome,
        reason=record.reason,
        job_id=record.job_id,
        try_number=record.try_number,
        exit_code=BAD if rejected else GOOD,
    )
    if rejected or ending.job_id is None or ending.outcome == "ALREADY_FINAL":
        return ending
    report(f"request {ending.outcome}: job {ending.job_id}")
    source = _JobSource(system, ending.sandbox or "", ending.job_id, live=live)
    job = _ended_job(source, until, report)
    if job is None:
        return replace(ending, exit_code=BAD, status="VANISHED")
    decided = _followed_by_another(system, record, job, until)
    if decided:
        report(f"job {ending.job_id} {job.outcome}: the request will be retried")
        return None
    ended = replace(
        ending,
        exit_code=_exit_code(job, action=sent.request.action),
        status=job.status,
        job_outcome=job.outcome,
        duration_ms=job.duration_ms,
        profiles_exported=job.profiles_exported,
        first_error=error_text(job.errors[0]) if job.errors else None,
    )
    return replace(ended, exit_code=NOT_ENDED) if decided is None else ended


def _followed_by_another(
    system: DeployedSystem, record: RequestRecord, job: KnownJob, until: float | None
) -> bool | None:
    """Whether the request of a job is tried again; None if that is not decided when time is up.

    The sweep that records the job's end decides it, later than the service may show that end.
    """
    if not (record.retry and record.tries_left and job.outcome in record.retry.on):
        return False
    source = _JobSource(system, record.sandbox, str(record.job_id), live=False)
    while True:
        known = source.read()  # before the request: both are written at once
        current = system.store.requests([record.request_key]).get(record.request_key)
        if current is None or current.job_id != record.job_id:
            return current is not None
        if not current.tries_left or known is None or _is_decided(known):
            return False
        if not _time_left(until, POLL_JOB_S):
            return None


def _is_decided(job: KnownJob) -> bool:
    """Whether the end of a recorded job is final for its request, too."""
    return job.is_final and not (job.record and job.record.retry_is_undecided)


def _sandbox_of_job(system: DeployedSystem, request: Request, record: RequestRecord) -> str:
    """The sandbox of a request's job: a cancel request's key may name one in another sandbox."""
    named = request.cancel_request_key
    cancelled = system.store.requests([named]).get(named) if named else None
    return (cancelled or record).sandbox


def _exit_code(job: KnownJob, *, action: str) -> int:
    if not job.is_final:
        return NOT_ENDED
    if action == "cancel":
        return GOOD if job.status == "CANCELLED" else BAD
    if job.status != "SUCCEEDED":
        return BAD
    return GOOD if job.outcome == "SUCCEEDED" else GOOD_ONLY_BY_NAME


def _ended_record(
    system: DeployedSystem, sent: Sent, until: float | None, report: Callable[[str], None]
) -> RequestRecord | None:
    """The request's record once it has ended; None when time is up."""
    last = ""
    while True:
        record = _record_of(system, sent)
        if record and record.has_ended:
            return record
        state = _state_of(system, record)
        if state != last:
            report(state)
            last = state
        if not _time_left(until, POLL_S):
            return None


def _record_of(system: DeployedSystem, sent: Sent) -> RequestRecord | None:
    """The record of this message: under its key or, if rejected on arrival, a key of its own.

    Both keys are known, and reading by key is strongly consistent. So waiting does not depend on
    the index of rejected requests, which may lag behind the table.
    """
    keys = [sent.request_key]
    if sent.message_id:
        keys.append(key_of_rejected(sent.message_id, sent.body))
    found = system.store.requests(keys)
    record = found.get(sent.request_key)
    if record and sent.request.is_that_of(record) and not _is_of_an_earlier_try(record, sent):
        return record
    return found.get(keys[-1]) if sent.message_id else None


def _is_of_an_earlier_try(record: RequestRecord, sent: Sent) -> bool:
    return record.status == "REJECTED" and record.event_id == sent.rejection


def _state_of(system: DeployedSystem, record: RequestRecord | None) -> str:
    """The state of a request that has not ended."""
    if record is None or record.status == "CANCEL_WANTED":
        return "the request is in the queue"
    if record.status == "CREATING":
        return "its job is being created"
    line = WaitingLine(system, record.sandbox)
    wait = line.wait_of(record)
    place = line.place_in_words(record.request_key)
    return f"the request waits{place and f', {place}'}" + (
        f", for {line.in_words(wait)}" if wait else ""
    )


class _JobSource:
    """Reads a job's state from the stack's table or, with `live`, from the service."""

    def __init__(self, system: DeployedSystem, sandbox: str, job_id: str, *, live: bool) -> None:
        self.job_id = job_id
        self._system = system
        self._sandbox = sandbox
        self._live = live
        self._record: JobRecord | None = None

    def read(self) -> KnownJob | None:
        """Returns None if there is no such job. Raises RetryLater if the service is unavailable."""
        if self._live:
            try:
                return KnownJob(
                    self._sandbox, job=self._system.api.get_job(self._sandbox, self.job_id)
                )
            except NotFound:
                return None
        store, known = self._system.store, self._record
        if known:  # its key is known now, so no search is needed
            self._record = store.job(self._sandbox, self.job_id, known.creation_time)
        else:
            self._record = next(iter(store.jobs(self._sandbox, named=self.job_id)), None)
        return KnownJob(self._sandbox, self._record) if self._record else None


def _ended_job(
    source: _JobSource, until: float | None, report: Callable[[str], None]
) -> KnownJob | None:
    """The job once it has ended, or as it is when time is up; None if it is gone."""
    last = ""
    misses = 0
    job: KnownJob | None = None
    while misses < MISSES:
        try:
            found = source.read()
            misses = 0 if found else misses + 1
            job = found or job
            state = (
                f"job {source.job_id} is {status_of(found)}" if found else "the job can't be found"
            )
        except RetryLater as later:
            state = f"the service is unavailable: {later}"
        if job and job.is_final:
            return job
        if state != last:
            report(state)
            last = state
        if not _time_left(until, POLL_JOB_S):
            return job
    return None


def _time_left(until: float | None, pause_s: float) -> bool:
    """Pauses, unless the time is up."""
    if until is not None and time.monotonic() + pause_s > until:
        return False
    time.sleep(pause_s)
    return True


@contextmanager
def progress(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows steps: in a live line on a terminal, elsewhere line by line."""
    console = output.console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        line = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        with Progress(*line, console=console, transient=True) as moving:
            task = moving.add_task("sent", total=None)
            yield lambda text: moving.update(task, description=one_line(text))
    else:
        began = time.monotonic()
        yield lambda text: console.print(
            f"{time.monotonic() - began:4.0f} s  {output.plain(text)}", soft_wrap=True
        )


def show_sent(sent: Sent) -> None:
    console = output.console()
    if sent.known:
        console.print(output.plain(already(sent, sent.known)), soft_wrap=True)
        return
    console.print(
        f"sent {sent.request.action} request {output.plain(sent.request_key)} to the queue",
        soft_wrap=True,
    )


def show_ending(system: DeployedSystem, ending: Ending) -> None:
    console = output.console()
    if ending.outcome is None:
        console.print("[yellow]not ended yet[/]; the request continues without this command")
    status = ending.job_outcome or ending.status
    output.facts(
        console,
        [
            ("request", output.plain(ending.request_key)),
            ("rejected" if ending.rejected else "outcome", _styled_outcome(ending)),
            ("reason", output.plain(ending.reason or "")),
            ("job", output.plain(ending.job_id or "")),
            ("try", str(ending.try_number) if ending.try_number > 1 else None),
            ("sandbox", output.plain(ending.sandbox or "") if ending.job_id else None),
            ("status", output.styled(status)),
            ("took", span(ending.duration_ms)),
            (
                "profiles",
                None if ending.profiles_exported is None else f"{ending.profiles_exported:,}",
            ),
            ("first error", output.plain(ending.first_error or "")),
        ],
        details=_command(system, ending),
    )


def _styled_outcome(ending: Ending) -> str:
    return f"[bold red]{ending.outcome}[/]" if ending.rejected else ending.outcome or ""


def _command(system: DeployedSystem, ending: Ending) -> str:
    if ending.job_id:
        return system.command("job show", ending.job_id)
    if ending.rejected and ending.outcome != "CANCELLED":  # it has no dead letter
        return system.command("dlq show", ending.request_key)
    return system.command("request show", ending.request_key)
