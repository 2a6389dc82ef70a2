"""`request create|cancel`: check, send, and with `--wait` follow the request and its job to their ends."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from export_jobs.client import NotFound, RetryLater
from export_jobs.contract import Job, RequestInvalid
from export_jobs.core.events import duration_ms, outcome_of
from export_jobs.core.records import REJECTED
from export_jobs.core.requests import (
    Message,
    Request,
    RequestRecord,
    key_of_unreadable,
    read_message,
)
from export_jobs.messages import span
from export_jobs.wiring import now_ms
from rich.markup import escape

from export_jobs_local.cli import output
from export_jobs_local.cli.deployed import DeployedSystem
from export_jobs_local.cli.errors import UserError

POLL_S = 1.0
POLL_JOB_S = 2.0
MISSES = 3
"""A job that was asked for so often in vain has vanished."""
_ENDED = frozenset({"CREATED", "DONE", "REJECTED", "CANCELLED"})
GOOD, BAD, NOT_ENDED = 0, 1, 3


@dataclass(frozen=True)
class Sent:
    """A message on the queue. `redrives` counts how often it came back from the dead letters."""

    request_key: str
    message_id: str
    action: str
    sandbox: str
    body: str
    body_hash: str
    redrives: int = 0


@dataclass(frozen=True)
class Ending:
    """How a request ended, and the job it made. `exit_code`: 0 good, 1 bad, 3 not ended in time."""

    exit_code: int
    request_key: str
    message_id: str
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

    def as_json(self) -> dict[str, Any]:
        names = {name: value for name, value in asdict(self).items() if name != "exit_code"}
        return {_camel(name): value for name, value in names.items()}


def read_body(file: str) -> str:
    """The text of a file, or of standard input for `-`. Raises UserError."""
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read {file}: {error}") from None


def checked(body: str, system: DeployedSystem, *, key: str | None = None) -> Request:
    """Reads a message as the creator would. Raises UserError naming every wrong field.

    `key` stands for the message id, which is a request's key if it names none.
    """
    message = Message(body=body, key=key or "the message id", first_received_at=0)
    try:
        return read_message(message, sandboxes=system.creator.sandboxes)
    except RequestInvalid as invalid:
        wrong = "\n".join(f"  {problem}" for problem in invalid.problems)
        raise UserError(f"the request is invalid, and was not sent:\n{wrong}") from None


def create(system: DeployedSystem, body: str) -> Sent:
    """Sends a create request that is valid. Raises UserError."""
    request = checked(body, system)
    if request.action != "create":
        raise UserError("this is a cancel request: send it with `export-jobs request cancel`")
    return _send(system, body, request)


def cancel(
    system: DeployedSystem,
    *,
    job_id: str | None,
    request_key: str | None,
    sandbox: str | None,
) -> Sent:
    """Sends a request to cancel a job, or what a request created or would create."""
    asked = {
        "action": "cancel",
        "sandboxName": sandbox,
        "jobId": job_id,
        "cancelRequestKey": request_key,
    }
    body = json.dumps({name: value for name, value in asked.items() if value is not None})
    return _send(system, body, checked(body, system))


def _send(system: DeployedSystem, body: str, request: Request) -> Sent:
    own_key = json.loads(body).get("requestKey")
    message_id = system.send(body)
    return Sent(
        request_key=own_key or message_id,
        message_id=message_id,
        action=request.action,
        sandbox=request.sandbox,
        body=body,
        body_hash=request.body_hash,
    )


def wait(
    system: DeployedSystem,
    sent: Sent,
    *,
    timeout_s: float | None,
    told: Callable[[str], None],
) -> Ending:
    """Follows the request's record, then its job; `told` of every step, in words."""
    until = time.monotonic() + timeout_s if timeout_s else None
    ending = Ending(NOT_ENDED, sent.request_key, sent.message_id, sandbox=sent.sandbox)
    record = _ended_record(system, sent, until, told)
    if record is None or record.event is None:
        return ending
    detail = record.event.detail
    rejected = record.event.type == REJECTED
    ending = replace(
        ending,
        rejected=rejected,
        outcome=detail["outcome"],
        reason=detail["reason"],
        job_id=detail["jobId"],
        exit_code=BAD if rejected else GOOD,
    )
    if rejected or ending.job_id is None or ending.outcome == "ALREADY_FINAL":
        return ending
    told(f"request {detail['outcome']}: job {ending.job_id}")
    wanted = "CANCELLED" if sent.action == "cancel" else "SUCCEEDED"
    job = _ended_job(system, sent.sandbox, ending.job_id, until, told)
    if job is None:
        return replace(ending, exit_code=BAD, status="VANISHED")
    metrics = job.metrics
    return replace(
        ending,
        exit_code=NOT_ENDED if not job.is_final else GOOD if job.status == wanted else BAD,
        status=job.status,
        job_outcome=outcome_of(job),
        duration_ms=duration_ms(job, now_ms()),
        profiles_exported=metrics.total_exported_profile_counter if metrics else None,
        first_error=next((e.msg or e.code for e in job.errors), None),
    )


def _ended_record(
    system: DeployedSystem, sent: Sent, until: float | None, told: Callable[[str], None]
) -> RequestRecord | None:
    """The request's record once it has ended; None when time is up."""
    message = Message(sent.body, sent.message_id, 0)
    if sent.redrives:
        message = replace(message, key=sent.request_key)
    said = ""
    while True:
        record = system.requests.request(sent.request_key)
        if record and record.body_hash != sent.body_hash:
            record = None  # another request has this key: ours will be rejected
        record = record or system.requests.request(key_of_unreadable(message))
        if record and record.status in _ENDED and _is_of_this_try(record, sent):
            return record
        now = {
            "CREATING": "its job is being created",
            "WAITING": "the request waits its turn",
        }.get(record.status if record else "", "the request is in the queue")
        if now != said:
            told(now)
            said = now
        if not _time_left(until, POLL_S):
            return None


def _is_of_this_try(record: RequestRecord, sent: Sent) -> bool:
    return record.status != "REJECTED" or record.redrives >= sent.redrives


def _ended_job(
    system: DeployedSystem,
    sandbox: str,
    job_id: str,
    until: float | None,
    told: Callable[[str], None],
) -> Job | None:
    """The job once it has ended, or as it is when time is up; None if the service has lost it."""
    said = ""
    misses = 0
    job = None
    while misses < MISSES:
        try:
            job = system.api.get_job(sandbox, job_id)
            misses = 0
            now = f"job {job_id} is {job.status}"
        except NotFound:
            misses += 1
            now = f"the service does not find job {job_id}"
        except RetryLater as later:
            now = f"the service can't be asked just now: {later}"
        if job and job.is_final:
            return job
        if now != said:
            told(now)
            said = now
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
    """A way to say how far things are: a moving line on a terminal, else a line each."""
    console = output.console(stderr=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with console.status("sent") as status:
            yield lambda text: status.update(escape(text))
    else:
        yield lambda text: console.print(escape(text), soft_wrap=True)


def show_sent(sent: Sent) -> None:
    console = output.console()
    console.print(f"sent {sent.action} request {escape(sent.request_key)} to the queue")


def show_ending(ending: Ending) -> None:
    console = output.console()
    if ending.outcome is None:
        console.print("[yellow]not ended yet[/]; the request goes on by itself")
    status = ending.job_outcome or ending.status
    output.facts(
        console,
        [
            ("request", escape(ending.request_key)),
            ("rejected" if ending.rejected else "outcome", _styled_outcome(ending)),
            ("reason", escape(ending.reason or "")),
            ("job", escape(ending.job_id or "")),
            ("sandbox", escape(ending.sandbox or "") if ending.job_id else None),
            ("status", output.styled(status)),
            ("took", span(ending.duration_ms)),
            (
                "profiles",
                None if ending.profiles_exported is None else f"{ending.profiles_exported:,}",
            ),
            ("first error", escape(ending.first_error or "")),
            ("look further", _command(ending)),
        ],
    )


def _styled_outcome(ending: Ending) -> str:
    return f"[bold red]{ending.outcome}[/]" if ending.rejected else ending.outcome or ""


def _command(ending: Ending) -> str | None:
    if ending.rejected:
        return "export-jobs dlq list"
    return f"export-jobs job {escape(ending.job_id)}" if ending.job_id else None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)
