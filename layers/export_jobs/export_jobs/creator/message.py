"""Requests from the queue: reading a message, and what is remembered of a request between runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from export_jobs.contract import CreateExportJob, FieldProblem, RequestInvalid
from export_jobs.contract.create import Rfc3339, describe_problems
from export_jobs.contract.text import decode_json
from export_jobs.contract.times import parse_rfc3339
from export_jobs.model.records import Event, Sink

Action = Literal["create", "cancel"]
MAX_KEY = 128
MAX_CORRELATION_ID = 256
MAX_DELAY_S = 900
"""SQS delays a message for 15 minutes at the most."""
_KEY = r"[!-~]{1,128}"
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY, pattern=f"^{_KEY}$")]
CorrelationId = Annotated[str, Field(max_length=MAX_CORRELATION_ID, pattern=r"^[^\x00-\x1f\x7f]*$")]
_ENVELOPE_MARKS = frozenset({"action", "job", "jobId", "cancelRequestKey", "requestKey"})


class Envelope(BaseModel):
    """A message on the request queue. A bare POST body is read as `{"job": <body>}`."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True)

    action: Action = "create"
    sandbox_name: Annotated[
        str | None, Field(description="one that the monitor watches; by default the first of them")
    ] = None
    request_key: Annotated[
        Key | None, Field(description="messages with the same key are the same request")
    ] = None
    correlation_id: Annotated[
        CorrelationId | None, Field(description="comes back in every event of the job")
    ] = None
    expires_at: Annotated[
        Rfc3339 | None, Field(description="a request still waiting then is rejected")
    ] = None
    job: Annotated[CreateExportJob | None, Field(description="the POST body; to create")] = None
    job_id: Annotated[str | None, Field(min_length=1, max_length=256)] = None
    cancel_request_key: Annotated[
        Key | None, Field(description="to cancel what that request created, or will create")
    ] = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Envelope:
        if self.action == "create":
            if self.job is None:
                raise ValueError("a create request needs 'job', the body of the POST")
            if self.job_id is not None or self.cancel_request_key is not None:
                raise ValueError("'jobId' and 'cancelRequestKey' belong to a cancel request")
        elif (self.job_id is None) == (self.cancel_request_key is None):
            raise ValueError("a cancel request needs either 'jobId' or 'cancelRequestKey'")
        elif self.job is not None:
            raise ValueError("'job' belongs to a create request")
        return self


@dataclass(frozen=True)
class Message:
    """A message as the queue delivered it. `key` is the message id of its first delivery.

    `waits` counts how often it was sent back to wait, `redrives` how often it came back from the
    dead-letter queue. The service has asked not to be called for it before `not_before`.
    Times are epoch milliseconds.
    """

    body: str
    key: str
    first_received_at: int
    waits: int = 0
    redrives: int = 0
    not_before: int = 0


@dataclass(frozen=True)
class Request:
    """A readable request. Times are epoch milliseconds."""

    key: str
    action: Action
    sandbox: str
    body_hash: str
    correlation_id: str | None = None
    expires_at: int | None = None
    job: CreateExportJob | None = None
    dataset_id: str | None = None
    job_id: str | None = None
    cancel_request_key: str | None = None


RequestStatus = Literal[
    "WAITING", "CREATING", "CREATED", "DONE", "REJECTED", "CANCELLED", "CANCEL_WANTED"
]


@dataclass(frozen=True)
class RequestRecord:
    """What is remembered of a request.

    CREATED, DONE (a cancel request carried out), REJECTED and CANCELLED are ends.
    CREATING means that a create call was, or is about to be, sent (`request_id`, `attempted_at`)
    and its outcome is not known yet. CANCEL_WANTED stands for a request that has not arrived and
    is to be cancelled when it does. The last event is kept until no sink is owed it; while
    `leased_at` is fresh, some run is at it. `sandbox` is where its job is, or will be.
    """

    request_key: str
    status: RequestStatus
    sandbox: str | None = None
    body_hash: str | None = None
    version: int = 0
    request_id: str | None = None
    attempted_at: int = 0
    job_id: str | None = None
    redrives: int = 0
    event: Event | None = None
    owed: frozenset[Sink] = frozenset()
    leased_at: int = 0
    touched_at: int = 0


def read_message(message: Message, *, sandboxes: Collection[str]) -> Request:
    """Reads and checks a message. Raises RequestInvalid with every problem found."""
    try:
        decoded = decode_json(message.body)
    except (ValueError, RecursionError) as error:
        raise RequestInvalid([FieldProblem("(body)", f"is not JSON: {error}")]) from None
    if not isinstance(decoded, dict):
        raise RequestInvalid([FieldProblem("(body)", "must be a JSON object")])
    if not _ENVELOPE_MARKS & decoded.keys():
        decoded = {"job": decoded}
    try:
        envelope = Envelope.model_validate(decoded)
    except ValidationError as error:
        raise RequestInvalid(describe_problems(error, Envelope)) from None
    sandbox = envelope.sandbox_name or next(iter(sandboxes))
    if sandbox not in sandboxes:
        known = ", ".join(sandboxes)
        raise RequestInvalid(
            [FieldProblem("sandboxName", f"{sandbox!r} is not watched; watched: {known}")]
        )
    return Request(
        key=envelope.request_key or message.key,
        action=envelope.action,
        sandbox=sandbox,
        body_hash=_hash_of(envelope, sandbox),
        correlation_id=envelope.correlation_id,
        expires_at=_epoch_ms(envelope.expires_at),
        job=envelope.job,
        dataset_id=envelope.job.destination.dataset_id if envelope.job else None,
        job_id=envelope.job_id,
        cancel_request_key=envelope.cancel_request_key,
    )


@dataclass(frozen=True)
class Hints:
    """What an unreadable message still tells about itself, so that its rejection finds its sender."""

    request_key: str
    correlation_id: str | None = None


def hints_in(message: Message) -> Hints:
    try:
        decoded = decode_json(message.body)
    except (ValueError, RecursionError):
        decoded = None
    said = decoded if isinstance(decoded, dict) else {}
    key, correlation_id = said.get("requestKey"), said.get("correlationId")
    return Hints(
        key if isinstance(key, str) and re.fullmatch(_KEY, key) else message.key,
        correlation_id
        if isinstance(correlation_id, str)
        and len(correlation_id) <= MAX_CORRELATION_ID
        and correlation_id.isprintable()
        else None,
    )


def key_of_unreadable(message: Message) -> str:
    """A key for a message that is no request: its own, and never one that a mended one would use."""
    digest = hashlib.sha256(message.body.encode()).hexdigest()[:16]
    return f"{message.key}!{digest}"


def wait_s(message: Message, retry_after_s: float | None) -> float:
    """Seconds to wait before the next try: what the service asked, else 5 s doubled up to 5 min."""
    if retry_after_s is not None:
        return max(1.0, retry_after_s)
    return min(300.0, 5.0 * 2.0 ** min(message.waits, 6))


def _hash_of(envelope: Envelope, sandbox: str) -> str:
    """The same for messages that ask for the same thing, however they are written."""
    asked = {
        "action": envelope.action,
        "sandbox": sandbox,
        "job": envelope.job.canonical() if envelope.job else None,
        "jobId": envelope.job_id,
        "cancelRequestKey": envelope.cancel_request_key,
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _epoch_ms(time: str | None) -> int | None:
    return None if time is None else int(parse_rfc3339(time).astimezone(UTC).timestamp() * 1000)
