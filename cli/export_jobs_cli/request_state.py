"""`request show`: the state of a request, from its record or, if it has none, its dead letter."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from export_jobs.contract.times import rfc3339
from export_jobs.events.wording import error_text
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import ENDED, RequestRecord
from export_jobs.model.retry import Try

from export_jobs_cli import output
from export_jobs_cli.dead_letters import received
from export_jobs_cli.errors import UserError
from export_jobs_cli.line import Wait, WaitingLine, since_of
from export_jobs_cli.requests import GOOD, NOT_ENDED
from export_jobs_cli.stack import DeployedSystem

INDEX_LAG_S = 1.0
"""DynamoDB usually updates a global index within a second of a write to the table."""
DEAD = "DEAD_LETTER"
"""It was not rejected, but SQS moved its message to the dead-letter queue."""
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
)
_IN_WORDS = {
    "WAITING": "in line",
    "CREATING": "it is not known yet whether its create call created a job",
    "CREATED": "its job exists",
    "DONE": "carried out",
    "CANCELLED": "cancelled before its job was created",
    "CANCEL_WANTED": "it has not arrived; when it does, it will be cancelled",
}


@dataclass(frozen=True)
class RequestState:
    """The state of a request; times are epoch milliseconds.

    A waiting request has a `place` in a line of `places`, and what it waits for, also in words.
    `names` are those of its sandbox. `tries` are those before the current one, whose number is
    `try_number`; after it there may be `tries_left` more.
    """

    request_key: str
    status: str
    since: int | None = None
    deadline_ms: int | None = None
    place: int | None = None
    places: int | None = None
    wait: Wait | None = None
    wait_in_words: str | None = None
    cancelled_by: str | None = None
    outcome: str | None = None
    reason: str | None = None
    job_id: str | None = None
    linked_by: str | None = None
    event_id: str | None = None
    dataset_id: str | None = None
    names: Names = NO_NAMES
    sandbox: str | None = None
    open_exports: Mapping[str, int] | None = None
    max_open_exports: int | None = None
    try_number: int = 1
    tries_left: int = 0
    tries: Sequence[Try] = ()

    @property
    def exit_code(self) -> int:
        return GOOD if self.status in {*ENDED, DEAD} else NOT_ENDED

    def as_json(self) -> dict[str, Any]:
        return {
            "requestKey": self.request_key,
            "status": self.status,
            "since": rfc3339(self.since),
            "deadline": rfc3339(self.deadline_ms),
            "place": self.place,
            "places": self.places,
            "waitsFor": self.wait.as_json() if self.wait else None,
            "cancelledBy": self.cancelled_by,
            "outcome": self.outcome,
            "reason": self.reason,
            "jobId": self.job_id,
            "datasetId": self.dataset_id,
            "datasetName": self.names.datasets.get(self.dataset_id or ""),
            "linkedBy": self.linked_by,
            "eventId": self.event_id,
            "sandboxName": self.sandbox,
            "openExports": self.open_exports,
            "maxOpenExports": self.max_open_exports,
            "tryNumber": self.try_number,
            "triesLeft": self.tries_left,
            "tries": [_try_as_json(one) for one in self.tries],
        }


def look_up(system: DeployedSystem, key: str) -> RequestState:
    """The state of a request. Raises UserError if it is unknown."""
    record = system.store.requests([key]).get(key)
    if record:
        return _of_record(system, record)
    with received(system) as letters:
        letter = next((one for one in reversed(letters) if one.request_key == key), None)
    if letter:
        record = letter.record
    else:
        record = _rejected_on_arrival(system, key) or _a_moment_later(system, key)
    if record:
        return replace(_of_record(system, record), request_key=key)
    if letter:
        return RequestState(key, DEAD, since=letter.sent_at, reason=letter.reason)
    raise UserError(f"request {key!r} is unknown: {_why_unknown(system)}")


def _rejected_on_arrival(system: DeployedSystem, key: str) -> RequestRecord | None:
    """The newest record of an invalid message that named this key, without its body.

    Such a record has another key. An index has it, with all other rejections of its sandbox. That
    index is updated after the table, so `look_up` first looks for the dead letter.
    """
    found = [
        record
        for sandbox in system.sandboxes(None)
        for record in system.store.rejected_requests(sandbox, named=key, limit=1)
    ]
    return max(found, key=lambda record: record.touched_at, default=None)


def _a_moment_later(system: DeployedSystem, key: str) -> RequestRecord | None:
    """A second look, before a request is called unknown.

    The index may not have the rejection of a moment ago, whose dead letter may not have been sent
    yet, or was deleted already. Meanwhile the request may also have been recorded under its key.
    """
    time.sleep(INDEX_LAG_S)
    return system.store.requests([key]).get(key) or _rejected_on_arrival(system, key)


def _of_record(system: DeployedSystem, record: RequestRecord) -> RequestState:
    ended = record.has_ended
    line = None if ended else WaitingLine(system, record.sandbox)
    wait = line.wait_of(record) if line else None
    place = line.place(record.request_key) if line else None
    return RequestState(
        record.request_key,
        record.status,
        since=since_of(record) or None,
        deadline_ms=record.deadline_ms,
        place=place,
        places=len(line.creates) if line and place else None,
        wait=wait,
        wait_in_words=line.in_words(wait) if line and wait else None,
        cancelled_by=record.cancelled_by,
        outcome=record.outcome,
        reason=record.reason,
        job_id=record.job_id,
        linked_by=record.linked_by,
        event_id=record.event_id,
        dataset_id=record.dataset_id,
        names=system.names(record.sandbox) if record.dataset_id else NO_NAMES,
        sandbox=record.sandbox,
        open_exports={line.sandbox: line.open_exports} if line else None,
        max_open_exports=line.max_open if line else None,
        try_number=record.try_number,
        tries_left=_tries_left(system, record),
        tries=record.tries,
    )


def _tries_left(system: DeployedSystem, record: RequestRecord) -> int:
    """How many more jobs it may have; once its job has ended, only that job's record tells."""
    if not record.tries_left or record.status != "CREATED":
        return record.tries_left if not record.has_ended else 0
    job = next(iter(system.store.jobs(record.sandbox, named=record.job_id)), None)
    return job.tries_left if job else record.tries_left


def _try_as_json(one: Try) -> dict[str, Any]:
    return {
        "tryNumber": one.number,
        "jobId": one.job_id,
        "outcome": one.outcome,
        "endedAt": rfc3339(one.ended_at),
        "error": {"code": one.error_code, "message": one.error_message},
    }


def _why_unknown(system: DeployedSystem) -> str:
    """The reason, from the number of messages in the queue; none is read.

    Receiving a message would hide it from the creator, and count as a delivery.
    """
    attributes = system.client("sqs").get_queue_attributes(
        QueueUrl=system.outputs["RequestQueueUrl"], AttributeNames=list(_COUNTS)
    )["Attributes"]
    queued = sum(int(attributes.get(name, 0)) for name in _COUNTS)
    if queued:
        messages = "1 message is" if queued == 1 else f"{queued} messages are"
        return f"{messages} in the queue, not recorded yet; if it was sent, it may be among them"
    return "the queue is empty, so it was never sent, or its record has expired"


def show(system: DeployedSystem, state: RequestState) -> None:
    words = _in_words(state)
    place = f", place {state.place} of {state.places}" if state.place else ""
    output.facts(
        output.console(),
        [
            ("request", output.plain(state.request_key)),
            ("state", f"{output.styled(state.status)}{words and ': '}{words}{place}"),
            ("since", f"{output.moment(state.since)} UTC" if state.since else None),
            ("waits for", output.plain(state.wait_in_words or "")),
            ("deadline", f"{output.moment(state.deadline_ms)} UTC" if state.deadline_ms else None),
            (
                "cancelled by",
                output.plain(f"request {state.cancelled_by}" if state.cancelled_by else ""),
            ),
            ("outcome", output.plain(state.outcome or "")),
            ("reason", output.plain(state.reason or "")),
            *((f"try {one.number}", _try_in_words(one)) for one in state.tries),
            ("job", output.plain(state.job_id or "")),
            ("tries left", str(state.tries_left or "")),
            ("dataset", output.plain(state.names.dataset(state.dataset_id or ""))),
            ("sandbox", output.plain(state.sandbox or "")),
            *(
                ("open exports", f"{count} of {state.max_open_exports}")
                for count in (state.open_exports or {}).values()
            ),
        ],
        details=_command(system, state),
    )


def _in_words(state: RequestState) -> str:
    words = _IN_WORDS.get(state.status, "")
    if state.try_number == 1:
        return words
    return words.replace("its job", f"the job of its try {state.try_number}")


def _try_in_words(one: Try) -> str:
    message, code = one.error_message, one.error_code
    why = f": {output.plain(error_text(message, code))}" if message or code else ""
    ended = output.moment(one.ended_at)
    return f"job {output.plain(one.job_id)} {output.styled(one.outcome)}, seen {ended} UTC{why}"


def _command(system: DeployedSystem, state: RequestState) -> str:
    if state.job_id:
        return system.command("job show", state.job_id)
    if state.status == DEAD:
        return system.command("dlq show", state.request_key)
    return "" if state.status in ENDED else system.command("request list")
