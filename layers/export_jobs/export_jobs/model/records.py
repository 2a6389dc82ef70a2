"""The records kept between runs: of each job, each request and each sandbox.

Records are values. A rule makes a new one from an old one and what was seen; the tables write it
only if no other run has written in between (`version`, 0 for a record that is not stored yet). If
`stored` has that version as it is in the table, only the differences are written. Times are epoch
milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar

from export_jobs.model.outcome import JobOutcome
from export_jobs.model.retry import NotRetried, RetryPolicy, Try

SOURCE = "aep.export-jobs"
"""EventBridge's `source` of every event."""


class EventType(StrEnum):
    """EventBridge's `detail-type` of every event; `events.registry` defines each type."""

    JOB_STATE_CHANGE = "Export Job State Change"
    JOB_DELAYED = "Export Job Delayed"
    OVERDUE = "Export Overdue"
    OVERDUE_RESOLVED = "Export Overdue Resolved"
    REQUEST_ACCEPTED = "Export Request Accepted"
    REQUEST_RETRIED = "Export Request Retried"
    REQUEST_REJECTED = "Export Request Rejected"
    DIGEST = "Export Digest"


TopicEvents = Literal["problems", "notable", "all"]
"""The levels of events for people, on the topic. Each includes the ones before it."""
Sink = Literal["bus", "topic", "dlq"]
Action = Literal["create", "cancel"]
LinkedBy = Literal["answer", "requestId", "content"]
"""How a job was linked to its request: by the response to the create call, by our own
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
"""How a request ended; docs/requests.md explains each outcome."""

OverdueReason = Literal["NEVER_STARTED", "STILL_RUNNING", "FAILED", "EMPTY", "TOO_FEW"]
"""Why an expected export is overdue; docs/expectations.md explains each reason."""

VANISHED = "VANISHED"
"""Our own final status for an open job that the service no longer knows."""


@dataclass(frozen=True)
class Event:
    """EventBridge's detail-type and the detail, ready to publish.

    The type is an `EventType`, or any text if a newer version of this software made the event.
    """

    type: str
    detail: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.detail["eventId"])


@dataclass(frozen=True)
class Undelivered:
    """An event that has not reached all its sinks yet."""

    event: Event
    sinks: frozenset[Sink]


@dataclass(frozen=True)
class PublishedEvent:
    """What is kept of a job's event after it has reached every sink."""

    type: str
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class JobRecord:
    """What we know of one job.

    `status` is None for a job that the creator has created and no sweep has seen yet. `sequence` is
    the number of the job's last event. `outbox` holds its undelivered events, in their order;
    `leased_at` is when a run took the lease to publish them, 0 if none has. `duplicate_of` is the
    key of a request that already has another job.
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
    segments: frozenset[bytes] | None = None
    """A fingerprint of each segment whose members it exports; None if it shows no segments."""
    kind: str | None = None
    """The id of its kind of export, which has the baseline: `kinds.kind_of`."""
    duration_ms: int | None = None
    profiles_exported: int | None = None
    usual_profiles: int | None = None
    """How many profiles were usual when it ended, if the baseline was settled."""
    delay_limit_ms: int | None = None
    """When it is delayed, based on what is usual; None if only the configured limit counts."""
    request_key: str | None = None
    correlation_id: str | None = None
    linked_by: LinkedBy | None = None
    duplicate_of: str | None = None
    delays: int = 0
    misses: int = 0
    outbox: tuple[Undelivered, ...] = ()
    leased_at: int = 0
    touched_at: int = 0
    """When the record was last changed; the expiry of final records counts from it."""
    outcome: JobOutcome | None = None
    history: tuple[PublishedEvent, ...] = ()
    """The job's last events that have reached every sink, in their order."""
    end_detail: Mapping[str, Any] | None = None
    """The whole detail of the job's final event, once that has reached every sink."""
    try_number: int = 1
    """Which of its request's tries it is."""
    tries_left: int = 0
    """How many more jobs its request may have; once the job has ended: will have, at most."""
    retried_on: frozenset[JobOutcome] = frozenset()
    """The outcomes after which its request may be tried again; empty once that is decided."""
    retry_at: int | None = None
    """When its request is tried again, because of how the job ended."""
    not_retried: NotRetried | None = None
    stored: JobRecord | None = field(default=None, compare=False, repr=False)

    @property
    def is_open(self) -> bool:
        return not self.final or bool(self.outbox) or self.retry_is_undecided

    @property
    def retry_is_undecided(self) -> bool:
        """Whether it has ended in a way after which its request may be tried again."""
        return self.final and self.outcome in self.retried_on

    @property
    def end(self) -> Mapping[str, Any]:
        """The detail of its final event, delivered or not; empty if it has none."""
        for undelivered in reversed(self.outbox):
            if undelivered.event.detail.get("final"):
                return undelivered.event.detail
        return self.end_detail or {}

    def without_events(self) -> JobRecord:
        """The record without what makes it large, to keep many of them in memory."""
        return replace(self, outbox=(), history=(), end_detail=None, stored=None)


@dataclass(frozen=True)
class OutboxItem:
    """The outbox of undelivered events of a request that has no job, of an expectation, or a digest.

    `record_key` is the key under which the request's record is stored, whose body goes to the
    dead-letter queue. `item_id` identifies the item: the event's id, or the name of the expectation,
    so that an expectation's next events are recorded only after the last ones were delivered.
    """

    sandbox: str
    record_key: str
    outbox: tuple[Undelivered, ...]
    leased_at: int = 0
    version: int = 0
    item_id: str = ""
    stored: OutboxItem | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.item_id:
            object.__setattr__(self, "item_id", self.outbox[0].event.id)


@dataclass(frozen=True)
class SandboxState:
    """How far the sweeps of a sandbox have got.

    `watermark` is the creation time of the newest job recorded; every older job is recorded, too.
    `seen` holds a fingerprint of each final job in the part of the listing that a sweep reads
    (from `seen_from` on), so that the next sweep finds new jobs there without querying the table.
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


@dataclass(frozen=True)
class ExpectationsState:
    """What every sweep of a sandbox reads of its expectations, however many there are.

    `due_at` is when to look at them next, None if there are none. `overdue` are those that are
    overdue and not muted, `unresolved` all that are overdue. Every change increments `version`.
    """

    due_at: int | None = None
    overdue: int = 0
    unresolved: int = 0
    version: int = 0


@dataclass(frozen=True)
class DigestState:
    """When the daily digest is due; every sweep of the first watched sandbox reads it.

    `due_at` is None if none is planned. It was planned by `time`, such as `08:00 Europe/Rome`, and
    the digest covers what has happened from `since` on. Every change increments `version`.
    """

    due_at: int | None = None
    since: int = 0
    time: str = ""
    version: int = 0


RequestStatus = Literal[
    "WAITING", "CREATING", "CREATED", "DONE", "REJECTED", "CANCELLED", "CANCEL_WANTED"
]
ENDED: Final[frozenset[RequestStatus]] = frozenset({"CREATED", "DONE", "REJECTED", "CANCELLED"})


@dataclass(frozen=True)
class RequestRecord:
    """What is stored of a request, under its key.

    WAITING: it has a ticket, and no job yet. CREATING: it has a slot; a create call with
    `request_id` was sent or is about to be, and its outcome is not settled. CREATED, DONE (a cancel
    request that was carried out), REJECTED and CANCELLED are final. CANCEL_WANTED stands for a
    request that has not arrived and is to be cancelled when it does.

    `body` is the message as received, `message_id` the id of the message that the record was made
    from. `cancelled_by` is the key of a cancel request that waits for this one's outcome.
    `rejections` holds the event ids of earlier rejections after which the request was sent again;
    `event_id` is the id of its final event. `retry` is what its message asks for; `try_number`
    counts its jobs, from 1 and including the one that it waits for, and `tries` are those before.
    `tries_left` is how many more it may have after this one. `retry_at` is when the delay before
    this try ends or ended. `dead_letter_sent` is for a request rejected at intake,
    whose dead letter is the message itself; `named` is the key in such a message, under which its
    record must not be stored.
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
    retry: RetryPolicy | None = None
    try_number: int = 1
    tries_left: int = 0
    tries: tuple[Try, ...] = ()
    retry_at: int | None = None
    touched_at: int = 0
    version: int = 0
    stored: RequestRecord | None = field(default=None, compare=False, repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def key_in_message(self) -> str:
        """The key by which its sender knows it; the key of the record if the message names none."""
        return self.named or self.request_key


_Stored = TypeVar("_Stored", JobRecord, OutboxItem, RequestRecord)


def as_read(record: _Stored) -> _Stored:
    """A record as the table has it."""
    return replace(record, stored=record)


def as_written(record: _Stored) -> _Stored:
    """A record as the table has it after it is written."""
    return as_read(replace(record, version=record.version + 1, stored=None))


@dataclass(frozen=True)
class Ticket:
    """A waiting request's queue position in its sandbox: a small item of the index.

    `turn` is the time from which it may be tried, and by which tickets are ordered: when SQS
    received the message or, for a request that was put off, when it is tried again. `sent_at` is
    since when it waits: when SQS received the message or, for a further try, when that was due.

    While the delay before a further try runs (`delayed`), the creator does not see the ticket,
    however long the line is; `turn` is then when the delay ends. After it, a sweep puts the request
    back in line, by the time at which SQS received the message.
    """

    sandbox: str
    request_key: str
    action: Action
    turn: int
    sent_at: int
    deadline_ms: int | None = None
    delayed: bool = False

    @property
    def place(self) -> tuple[bool, bool, int, str]:
        """Sorts tickets: cancel requests, then the line, then those whose delay has not ended."""
        return self.action != "cancel", self.delayed, self.turn, self.request_key


def ticket_of(record: RequestRecord, *, turn: int | None = None) -> Ticket:
    """A request's ticket. `turn` is when to try it; by default, when SQS received its message."""
    return Ticket(
        sandbox=record.sandbox,
        request_key=record.request_key,
        action=record.action,
        turn=record.sent_at if turn is None else turn,
        sent_at=record.retry_at or record.sent_at,
        deadline_ms=record.deadline_ms,
    )


def delayed_ticket_of(record: RequestRecord) -> Ticket:
    """The ticket of a request during the delay before its next try."""
    return replace(ticket_of(record, turn=record.retry_at), delayed=True)


@dataclass(frozen=True)
class Attempt:
    """A create call, noted before it is sent; takes a slot of the cap until its outcome is settled.

    `request_id` is the `x-request-id` of the call, which is never sent after `send_by`. `hashes`
    has a short hash of each requested field, by the rule `rule`. `missed_at` is when a complete
    listing did not show the job. `job_id` is the outcome, known since `linked_at`. `try_number` is
    the try of the request that the attempt belongs to.
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
    try_number: int = 1


@dataclass(frozen=True)
class Hold:
    """Stops admission in a sandbox until `until`. Each failure doubles `length_ms`; 0 is no hold.

    After that time, one request is tried; a created job lifts the hold.
    """

    until: int = 0
    length_ms: int = 0

    def outlasts(self, new: Hold) -> bool:
        """Whether it stays when a run that had not read it sets a new hold."""
        return 0 < new.until < self.until


@dataclass(frozen=True)
class Gate:
    """Guards every admission of a sandbox. Only noting attempts increments its `version`.

    `slots` are attempts by request key; `former` are attempts that were given up, by request id.
    `echoes` is whether the service last returned our `x-request-id`, None if that is unknown.
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
    """The result of one consistent read of a sandbox. `state` is None before its first sweep."""

    gate: Gate
    state: SandboxState | None = None
    open_jobs: Mapping[str, JobRecord] = field(default_factory=dict)
    outbox: tuple[OutboxItem, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    """In queue order, cancel requests first; last, those whose delay before a try has not ended."""
    expected: ExpectationsState = ExpectationsState()
    digest: DigestState = DigestState()


@dataclass(frozen=True)
class Line:
    """The open jobs and waiting requests of a sandbox; in queue order, cancel requests first."""

    open_jobs: Mapping[str, JobRecord] = field(default_factory=dict)
    tickets: tuple[Ticket, ...] = ()
