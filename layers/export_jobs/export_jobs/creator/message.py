"""Messages from the queue, and the requests and wake-ups in them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from export_jobs.contract import CreateExportJob, FieldProblem, RequestInvalid
from export_jobs.contract.create import (
    NOT_BLANK,
    OptionalField,
    RequestPart,
    Rfc3339,
    checked_name,
    describe_problems,
)
from export_jobs.contract.text import DoubledKeys, decode_json
from export_jobs.contract.times import epoch_ms_of
from export_jobs.model import wake_up
from export_jobs.model.records import Action, RequestRecord
from export_jobs.model.retry import (
    DEFAULT_DELAY_MINUTES,
    MAX_ATTEMPTS,
    MAX_DELAY_MINUTES,
    RetryPolicy,
)

MAX_KEY = 128
MAX_CORRELATION_ID = 256
MAX_BODY_BYTES = 258_048
"""252 KB: a request's body is kept in an item of the table, and its dead letter must fit the queue,
together with the reason of the rejection."""
HASH_RULE = "1"
"""The version of the rule that hashes bodies. Hashes of different rules can't be compared."""
_KEY = r"[!-~]{1,128}"
_RECORD_KEY = r"[!-~]{1,256}"
_EVENT_ID = r"[0-9a-f-]{36}"
Key = Annotated[str, Field(min_length=1, max_length=MAX_KEY, pattern=f"^{_KEY}$")]
CorrelationId = Annotated[
    str,
    # No control characters and no line ends.
    Field(max_length=MAX_CORRELATION_ID, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"),
]
JobId = Annotated[
    str,
    BeforeValidator(
        lambda value: (
            str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        )
    ),
    Field(min_length=1, max_length=256, pattern=NOT_BLANK),
    AfterValidator(checked_name),
]
"""An id as the service shows it: a number or a string."""
_WRAPPERS: Mapping[frozenset[str], str] = {
    frozenset({"Type", "TopicArn", "Message"}): (
        "is wrapped by SNS; turn on raw message delivery (RawMessageDelivery) for the subscription"
    ),
    frozenset({"detail-type", "source", "detail"}): (
        "is an EventBridge event, not a request; give the rule's target an input transformer that "
        "makes the request, or the input path $.detail if the detail is one"
    ),
    frozenset({"requestContext", "requestPayload"}): (
        "is wrapped by Lambda in an invocation record; send the request itself"
    ),
    frozenset({"Records"}): (
        "is a list of records, such as an S3 notification, not a request; send one message "
        "for each request"
    ),
    **dict.fromkeys(
        map(frozenset, [{"body"}, {"Body"}, {"MessageBody"}, {"Message"}, {"Messages"}, {"data"}]),
        "is a request that another service has wrapped; send the request itself",
    ),
    frozenset({"Service", "Event", "Bucket"}): "is a test notification from S3; ignore it",
}
"""What another service makes of a message, by the fields that show it, and what to do."""
_BODY_MARKS = frozenset({"destination", "schema"})
_ENVELOPE_MARKS = frozenset({"action", "job", "jobId", "cancelRequestKey", "requestKey"})


def _never_retried(value: Any) -> Any:
    """Raises ValueError for an outcome after which another export would be wrong."""
    match value:
        case "SUCCEEDED_WITH_ERRORS" | "VANISHED":
            raise ValueError(
                f"can't be {value}: such a job may have written data, which another one would "
                "write again; it can be FAILED or SUCCEEDED_EMPTY"
            )
        case "CANCELLED" | "SUCCEEDED":
            raise ValueError(
                f"can't be {value}: such a job ended as intended; it can be FAILED or "
                "SUCCEEDED_EMPTY"
            )
    return value


class Retry(RequestPart):
    """Whether the export is tried again when its job has ended badly."""

    model_config = ConfigDict(strict=True)

    attempts: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_ATTEMPTS,
            description="how many more jobs may be created after the first one, each only after "
            "the one before has ended",
        ),
    ]
    delay_minutes: Annotated[
        int,
        Field(
            ge=0,
            le=MAX_DELAY_MINUTES,
            description="how long after the end of a job the next one waits in line; 0: at once",
        ),
    ] = DEFAULT_DELAY_MINUTES
    on: Annotated[
        Sequence[Annotated[Literal["FAILED", "SUCCEEDED_EMPTY"], BeforeValidator(_never_retried)]],
        Field(min_length=1, description="after which outcomes of a job the export is tried again"),
    ] = ("FAILED",)

    @field_validator("on")
    @classmethod
    def _on_once(cls, value: Sequence[str]) -> Sequence[str]:
        if len(set(value)) < len(value):
            raise ValueError(f"names {max(value, key=value.count)!r} twice")
        return value

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(self.attempts, self.delay_minutes * 60_000, frozenset(self.on))


class Envelope(RequestPart):
    """A message on the request queue. A bare POST body is read as `{"job": <body>}`."""

    action: Action = "create"
    sandbox_name: Annotated[
        OptionalField[Annotated[str, Field(pattern=NOT_BLANK)]],
        Field(description="a watched sandbox; the first of them by default"),
    ] = None
    request_key: Annotated[
        OptionalField[Key], Field(description="messages with the same key are the same request")
    ] = None
    correlation_id: Annotated[
        OptionalField[CorrelationId],
        Field(description="part of every event of the request and its job"),
    ] = None
    expires_at: Annotated[
        OptionalField[Rfc3339],
        Field(description="the request is rejected if it still waits then"),
    ] = None
    retry: Annotated[
        OptionalField[Retry],
        Field(description="for a create request: another job if one ends badly"),
    ] = None
    job: Annotated[
        OptionalField[CreateExportJob], Field(description="the POST body, for a create request")
    ] = None
    job_id: OptionalField[JobId] = None
    cancel_request_key: Annotated[
        OptionalField[Key],
        Field(description="key of the request to cancel, even if it has no job yet"),
    ] = None

    @model_validator(mode="after")
    def _is_consistent(self) -> Envelope:
        if self.action == "create":
            if self.job is None:
                raise ValueError("a create request needs 'job', the body of the POST")
            if self.job_id is not None or self.cancel_request_key is not None:
                raise ValueError("'jobId' and 'cancelRequestKey' belong to a cancel request")
        elif (self.job_id is None) == (self.cancel_request_key is None):
            raise ValueError("a cancel request needs either 'jobId' or 'cancelRequestKey'")
        elif self.job is not None:
            raise ValueError("'job' belongs to a create request")
        elif self.retry is not None:
            raise ValueError("'retry' belongs to a create request")
        elif self.cancel_request_key is not None and self.cancel_request_key == self.request_key:
            raise ValueError("'cancelRequestKey' is the request's own key; use that of another one")
        return self


_ENVELOPE_FIELDS = frozenset(field.alias or "" for field in Envelope.model_fields.values())


@dataclass(frozen=True)
class Letter:
    """The attributes of a dead letter, which we set ourselves when its request was rejected.

    They count only if the record under `record_key` confirms them.
    """

    request_key: str
    record_key: str
    event_id: str


@dataclass(frozen=True)
class Message:
    """A message as the queue delivered it. `sent_at`: when SQS received it, epoch milliseconds."""

    message_id: str
    body: str
    sent_at: int
    receive_count: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Message attributes. Those that a sender sets are ignored; see `letter`."""

    @property
    def letter(self) -> Letter | None:
        key = self.attributes.get("requestKey", "")
        record_key = self.attributes.get("recordKey", key)
        event_id = self.attributes.get("eventId", "")
        if not re.fullmatch(_KEY, key) or not re.fullmatch(_RECORD_KEY, record_key):
            return None
        return Letter(key, record_key, event_id) if re.fullmatch(_EVENT_ID, event_id) else None


@dataclass(frozen=True)
class Request:
    """A valid request. `key` is None if it has none; times are epoch milliseconds."""

    key: str | None
    action: Action
    sandbox: str
    names_sandbox: bool
    body_hash: str
    correlation_id: str | None = None
    expires_at: int | None = None
    retry: RetryPolicy | None = None
    dataset_id: str | None = None
    cancel_request_key: str | None = None

    def is_that_of(self, record: RequestRecord) -> bool:
        """Whether the record belongs to the same request, as far as that can be compared."""
        if self.names_sandbox and self.sandbox != record.sandbox:
            return False
        known = record.body_hash or ""
        return known.partition(":")[0] != HASH_RULE or known == self.body_hash


def woken_sandbox(message: Message) -> str | None:
    """The sandbox of a wake-up; None for any other message."""
    if len(message.body) > 1_000 or f'"{wake_up.KEY}"' not in message.body:
        return None
    try:
        decoded = decode_json(message.body)
    except (ValueError, RecursionError):
        return None
    is_wake_up = isinstance(decoded, dict) and decoded.keys() == {wake_up.KEY}
    return str(decoded[wake_up.KEY]) if is_wake_up else None


def read_request(body: str, *, sandboxes: Collection[str]) -> Request:
    """Parses and checks the body of a message. Raises RequestInvalid with every problem found."""
    size = len(body.encode("utf-8", "replace"))
    if size > MAX_BODY_BYTES:
        problem = f"has {size:,} bytes; the limit is {MAX_BODY_BYTES:,} (252 KB)"
        raise RequestInvalid([FieldProblem("(body)", problem)])
    envelope = _envelope(body)
    sandbox = envelope.sandbox_name or next(iter(sandboxes))
    if sandbox not in sandboxes:
        known = ", ".join(sandboxes)
        raise RequestInvalid(
            [FieldProblem("sandboxName", f"{sandbox!r} is not watched; watched: {known}")]
        )
    return Request(
        key=envelope.request_key,
        action=envelope.action,
        sandbox=sandbox,
        names_sandbox=envelope.sandbox_name is not None,
        body_hash=_hash_of(envelope),
        correlation_id=envelope.correlation_id,
        expires_at=epoch_ms_of(envelope.expires_at) if envelope.expires_at else None,
        retry=envelope.retry.policy if envelope.retry else None,
        dataset_id=envelope.job.destination.dataset_id if envelope.job else None,
        cancel_request_key=envelope.cancel_request_key,
    )


def named_sandbox(body: str) -> str | None:
    """The sandbox that a message names, if it can be parsed and names one."""
    try:
        decoded = decode_json(body)
    except (ValueError, RecursionError):
        return None
    named = decoded.get("sandboxName") if isinstance(decoded, dict) else None
    return named if isinstance(named, str) and named else None


def job_asked_for(body: str) -> Mapping[str, Any]:
    """The POST body in a create request, which was checked when it was recorded."""
    decoded = decode_json(body)
    job: Mapping[str, Any] = decoded["job"] if _ENVELOPE_MARKS & decoded.keys() else decoded
    return job


def cancel_asked_for(body: str) -> tuple[str | None, str | None]:
    """The job id or the request key in a cancel request, which was checked when it was recorded."""
    decoded = decode_json(body)
    job_id, request_key = decoded.get("jobId"), decoded.get("cancelRequestKey")
    return None if job_id is None else str(job_id), request_key


@dataclass(frozen=True)
class Hints:
    """What can be read of an invalid message, so that its sender can recognise the rejection."""

    request_key: str | None
    correlation_id: str | None = None


def hints_in(body: str) -> Hints:
    try:
        decoded = decode_json(body)
    except (ValueError, RecursionError):
        decoded = None
    found = decoded if isinstance(decoded, dict) else {}
    key, correlation_id = found.get("requestKey"), found.get("correlationId")
    return Hints(
        key if isinstance(key, str) and re.fullmatch(_KEY, key) else None,
        correlation_id
        if isinstance(correlation_id, str)
        and len(correlation_id) <= MAX_CORRELATION_ID
        and correlation_id.isprintable()
        else None,
    )


def key_of_rejected(message_id: str, body: str) -> str:
    """A key for a message that does not become a request; no other message can have the same."""
    digest = hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{message_id}!{digest}"


def _envelope(body: str) -> Envelope:
    decoded = _decoded(body)
    if not isinstance(decoded, dict):
        twice = "; it is JSON that was encoded twice" if isinstance(decoded, str) else ""
        raise RequestInvalid([FieldProblem("(body)", f"must be a JSON object{twice}")])
    if wrapper := _wrapper_of(decoded):
        raise RequestInvalid([FieldProblem("(body)", wrapper)])
    if _BODY_MARKS & decoded.keys() and _ENVELOPE_FIELDS & decoded.keys():
        mixed = ", ".join(sorted(_ENVELOPE_FIELDS & decoded.keys()))
        problem = f"has {mixed} next to the fields of a POST body; move that body into 'job'"
        raise RequestInvalid([FieldProblem("(body)", problem)])
    if not _ENVELOPE_MARKS & decoded.keys():
        decoded = {"job": decoded}
    try:
        return Envelope.model_validate(decoded)
    except ValidationError as error:
        raise RequestInvalid(describe_problems(error, Envelope)) from None


def _decoded(body: str) -> Any:
    """Decodes a message that becomes a request. Raises RequestInvalid."""
    try:
        return decode_json(body, refuse_doubled_keys=True)
    except DoubledKeys as doubled:
        problem = "is written more than once; keep only one"
        raise RequestInvalid([FieldProblem(path, problem) for path in doubled.paths]) from None
    except (ValueError, RecursionError) as error:
        raise RequestInvalid([FieldProblem("(body)", f"is not JSON: {error}")]) from None


def _wrapper_of(decoded: Mapping[str, Any]) -> str | None:
    """What to do about a request that another service has wrapped; None if it is not wrapped."""
    for fields, what_to_do in _WRAPPERS.items():
        if fields <= decoded.keys():
            return what_to_do
    return None


def _hash_of(envelope: Envelope) -> str:
    """Equal for messages that request the same, in any notation."""
    asked: dict[str, Any] = {
        "action": envelope.action,
        "job": envelope.job.canonical() if envelope.job else None,
        "jobId": envelope.job_id,
        "cancelRequestKey": envelope.cancel_request_key,
    }
    if envelope.retry:  # otherwise as before there were any, so that stored hashes stay comparable
        policy = envelope.retry.policy
        asked["retry"] = [policy.attempts, policy.delay_ms, sorted(policy.on)]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
    return f"{HASH_RULE}:{digest}"
