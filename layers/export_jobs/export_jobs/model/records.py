"""What is remembered between runs: of each job, each request and each sandbox.

Records are values. A rule makes a new one from an old one and what was seen; the tables write it
only if nobody else wrote in between (`version`, 0 for what is not stored yet). Where `stored` is that
version as the table has it, only what differs from it is written. Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar

SOURCE = "aep.export-jobs"
"""EventBridge's `source` of every event."""


class EventType(StrEnum):
    """EventBridge's `detail-type` of every event. What else is to know of each: `events.registry`."""

    JOB_STATE_CHANGE = "Export Job State Change"
    JOB_DELAYED = "Export Job Delayed"
    REQUEST_ACCEPTED = "Export Request Accepted"
    REQUEST_REJECTED = "Export Request Rejected"


Sink = Literal["bus", "topic", "dlq"]
Action = Literal["create", "cancel"]
LinkedBy = Literal["answer", "requestId", "content"]
"""How it is known that a job is a request's: by the answer to its create call, by our own
`x-request-id`, or only by what the job exports."""
AcceptedOutcome = Literal["CREATED", "CANCELLING", "CANCELLED", "ALREADY_FINAL"]
RejectedOutcome = Literal[
    "INVALID",
    "KEY_REUSED",
    "REFUSED",
    "EXPIRED",
    "CANCELLED",
    "NOT_FOUND",
    "NOT_WATCHED",
    "OUTCOME_UNKNOWN",
    "UNEXPECTED",
]
RequestOutcome = Literal[AcceptedOutcome, RejectedOutcome]
"""How a request ended: docs/requests.md says what each means."""

VANISHED = "VANISHED"
"""Our own final status, for an open job that the service no longer knows."""


@dataclass(frozen=True)
class Event:
    """EventBridge's detail-type and the detail, ready to publish.

    The type is an `EventType`, or any text where a newer version of this software has made the event.
    """

    type: str
    detail: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.detail["eventId"])


@dataclass(frozen=True)
class Undelivered:
    """An event that has still to reach some sinks."""

    event: Event
    sinks: frozenset[Sink]


@dataclass(frozen=True)
class JobRecord:
    """What we know of one job.

    `status` is None for a job that the creator has made and no sweep has seen yet. `sequence` is
    the number of the job's last event. `outbox` holds its events that are not delivered yet, in
    their order; `leased_at` says when some run took on to publish them, 0 that nobody has.
    `duplicate_of` is the key of a request that has another job already.
    """

    sandbox: str
    job_id: str
    creation_time: int
    status: str | None = None
    final: bool = False
    sequence: int = 0
    version: int = 0
    update_time: int | None = None
    org_id: str | None = None
    dataset_id: str | None = None
    duration_ms: int | None = None
    profiles_exported: int | None = None
    request_key: str | None = None
    correlation_id: str | None = None
    linked_by: LinkedBy | None = None
    duplicate_of: str | None = None
    delays: int = 0
    misses: int = 0
    outbox: tuple[Undelivered, ...] = ()
    leased_at: int = 0
    touched_at: int = 0
    """When the record was last changed; final records expire by it."""
    stored: JobRecord | None = field(default=None, compare=False, repr=False)

    @property
    def is_open(self) -> bool:
        return not self.final or bool(self.outbox)


@dataclass(frozen=True)
class OutboxItem:
    """An event of a request that has no job, not delivered yet; the bearer of its own small outbox.

    `record_key` is the key under which the request's record is stored; its body is what goes to the
    dead-letter queue. `event_id` is the event's, also when it is delivered and the outbox empty.
    """

    sandbox: str
    record_key: str
    outbox: tuple[Undelivered, ...]
    leased_at: int = 0
    version: int = 0
    event_id: str = ""
    stored: OutboxItem | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.event_id:
            object.__setattr__(self, "event_id", self.outbox[0].event.id)


SEEN_RULE: Final = 1
"""The version of the rule by which fingerprints of jobs are made: `matching.status_fingerprint`."""


@dataclass(frozen=True)
class SandboxState:
    """How far the sweeps of a sandbox have got.

    `watermark` is the creation time of the newest job recorded: every older one has been, too.
    `seen` holds a fingerprint of each final job in the part of the listing that a sweep reads
    (from `seen_from` on), so that the next sweep finds what is new there without asking the table.
    `swept_at` is when the sweep that wrote this began; jobs created from `new_since` on were new to
    it. `failing_since` is when sweeps began to fail, 0 while they succeed.
    """

    sandbox: str
    watermark: int
    seen_from: int = 0
    seen: frozenset[bytes] = frozenset()
    swept_at: int = 0
    new_since: int = 0
    failing_since: int = 0


RequestStatus = Literal[
    "WAITING", "CREATING", "CREATED", "DONE", "REJECTED", "CANCELLED", "CANCEL_WANTED"
]
ENDED: Final = frozenset({"CREATED", "DONE", "REJECTED", "CANCELLED"})


@dataclass(frozen=True)
class RequestRecord:
    """What is remembered of a request, under its key.

    WAITING: it has a ticket, and no job yet. CREATING: it has a slot; a create call was, or is about
    to be, sent with `request_id`, and its outcome is not settled. CREATED, DONE (a cancel request
    carried out), REJECTED and CANCELLED are ends. CANCEL_WANTED stands for a request that has not
    arrived and is to be cancelled when it does.

    `body` is the message as it was received, `message_id` that of the message the record was made from.
    `cancelled_by` is the key of a cancel request that waits for this one's outcome. `rejections` holds
    the event ids of earlier rejections from which the request was sent again; `event_id` is that of its
    end. `dead_letter_sent` is for what was rejected at intake, whose dead letter is the message itself; `named`
    is the key that such a message names, as its record must not have that.
    """

    request_key: str
    status: RequestStatus
    sandbox: str
    action: Action = "create"
    body: str | None = None
    body_hash: str | None = None
    message_id: str | None = None
    org_id: str | None = None
    correlation_id: str | None = None
    dataset_id: str | None = None
    sent_at: int = 0
    deadline_ms: int | None = None
    request_id: str | None = None
    cancelled_by: str | None = None
    job_id: str | None = None
    linked_by: LinkedBy | None = None
    outcome: RequestOutcome | None = None
    reason: str | None = None
    event_id: str | None = None
    rejections: tuple[str, ...] = ()
    dead_letter_sent: bool = False
    named: str | None = None
    touched_at: int = 0
    version: int = 0
    stored: RequestRecord | None = field(default=None, compare=False, repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED


_Stored = TypeVar("_Stored", JobRecord, OutboxItem, RequestRecord)


def as_read(record: _Stored) -> _Stored:
    """A record as the table has it."""
    return replace(record, stored=record)


def as_written(record: _Stored) -> _Stored:
    """A record as the table has it once it is written."""
    return as_read(replace(record, version=record.version + 1, stored=None))


@dataclass(frozen=True)
class Ticket:
    """A waiting request's place in the line of its sandbox: a small item of the index.

    `turn` is the time from which it may be tried, and by which it is in line: when SQS got the
    message or, for one that was put back, when it is to be tried again.
    """

    sandbox: str
    request_key: str
    action: Action
    turn: int
    sent_at: int
    deadline_ms: int | None = None


@dataclass(frozen=True)
class Attempt:
    """A create call that is noted; it takes a slot under the cap until its outcome is settled.

    `request_id` is the `x-request-id` it is sent with. The call is never sent after `send_by`.
    `hashes` stand for what was asked for, a short one a field, by the rule `rule`. `missed_at`: a
    complete listing of that time did not show the job. `job_id`: the outcome, from `linked_at` on.
    """

    request_key: str
    request_id: str
    noted_at: int
    send_by: int
    hashes: Mapping[str, str]
    rule: int
    missed_at: int = 0
    job_id: str | None = None
    linked_at: int = 0


@dataclass(frozen=True)
class Hold:
    """The line of a sandbox is held until a time; `length_ms` is doubled the next time, 0 is no hold.

    When the time has come, one request is tried; a created job lifts the hold.
    """

    until: int = 0
    length_ms: int = 0

    def outlasts(self, new: Hold) -> bool:
        """Whether it stays though a run that did not know of it holds the line anew."""
        return 0 < new.until < self.until


@dataclass(frozen=True)
class Gate:
    """What every admission of a sandbox passes. Only noting attempts moves its `version`.

    `slots` are attempts by request key; `former` are attempts that were given up, by request id.
    `echoes` says whether the service last gave our `x-request-id` back, None if nobody knows.
    """

    sandbox: str
    slots: Mapping[str, Attempt] = field(default_factory=dict)
    former: Mapping[str, Attempt] = field(default_factory=dict)
    hold: Hold = Hold()
    echoes: bool | None = None
    version: int = 0

    @property
    def unsettled(self) -> tuple[Attempt, ...]:
        """The attempts whose outcome is not known, oldest first."""
        open_slots = [slot for slot in self.slots.values() if slot.job_id is None]
        return tuple(sorted(open_slots, key=lambda slot: (slot.noted_at, slot.request_key)))


@dataclass(frozen=True)
class SandboxRecord:
    """All that one consistent read brings of a sandbox. `state` is None before its first sweep."""

    gate: Gate
    state: SandboxState | None = None
    open_jobs: Mapping[str, JobRecord] = field(default_factory=dict)
    outbox: tuple[OutboxItem, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    """In the order of the line, cancel requests first."""


@dataclass(frozen=True)
class Line:
    """Who waits in a sandbox, and what is open there. Tickets are in their order, cancels first."""

    open_jobs: Mapping[str, JobRecord] = field(default_factory=dict)
    tickets: tuple[Ticket, ...] = ()
