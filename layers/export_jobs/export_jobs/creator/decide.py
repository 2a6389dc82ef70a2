"""Decides what to do with a request: functions of (record, request, now), without any I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from export_jobs.contract import FieldProblem
from export_jobs.creator.message import Message, Request
from export_jobs.events import endings
from export_jobs.events.policy import EventPolicy
from export_jobs.model.limits import UNSEEN_MS
from export_jobs.model.records import RejectedOutcome, RequestRecord, ticket_of
from export_jobs.model.steps import Step

MAX_REJECTIONS_KEPT = 20


@dataclass(frozen=True)
class Reject:
    """A message that does not become a request, and the reason."""

    outcome: RejectedOutcome
    reason: str
    problems: Sequence[FieldProblem] = ()


def waiting(
    message: Message, request: Request, key: str, *, org_id: str | None, now: int
) -> RequestRecord:
    """The record of a new request. Its queue position depends on when SQS received its message."""
    return RequestRecord(
        key,
        "WAITING",
        sandbox=request.sandbox,
        action=request.action,
        body=message.body,
        body_hash=request.body_hash,
        message_id=message.message_id,
        org_id=org_id,
        correlation_id=request.correlation_id,
        dataset_id=request.dataset_id,
        sent_at=min(message.sent_at or now, now),
        deadline_ms=request.expires_at,
        retry=request.retry,
        tries_left=request.retry.attempts if request.retry else 0,
        touched_at=now,
    )


def arrive(
    record: RequestRecord | None,
    message: Message,
    request: Request,
    key: str,
    *,
    canceller: RequestRecord | None,
    org_id: str | None,
    policy: EventPolicy,
    now: int,
) -> Step | Reject | None:
    """The step for a message whose key had a record; None if it is the same request again.

    `canceller` is the record of the cancel request that the key's record names.
    """
    new = waiting(message, request, key, org_id=org_id, now=now)
    if record is None:
        return Step(requests=(new,), add_tickets=(ticket_of(new),))
    if record.status == "CANCEL_WANTED":
        return _over_tombstone(record, new, canceller, policy=policy, now=now)
    if _comes_back(record, message):
        again = replace(
            new,
            version=record.version,
            tries=record.tries,
            try_number=record.try_number,
            rejections=(*record.rejections, str(record.event_id))[-MAX_REJECTIONS_KEPT:],
        )
        return Step(requests=(again,), add_tickets=(ticket_of(again),))
    letter = message.letter
    if letter and letter.event_id in record.rejections:
        return None  # another copy of the dead letter that was redriven
    if request.is_that_of(record):
        return None
    return Reject("KEY_REUSED", f"request key {key!r} was already used for another request")


def is_valid_tombstone(record: RequestRecord, now: int) -> bool:
    """Whether a request that has not arrived is still to be cancelled when it does."""
    return record.status == "CANCEL_WANTED" and now - record.touched_at < UNSEEN_MS


def _over_tombstone(
    tombstone: RequestRecord,
    new: RequestRecord,
    canceller: RequestRecord | None,
    *,
    policy: EventPolicy,
    now: int,
) -> Step:
    """Ends a request that was cancelled before it arrived, and the cancel request with it."""
    new = replace(new, version=tombstone.version)
    if not is_valid_tombstone(tombstone, now):
        return Step(requests=(new,), add_tickets=(ticket_of(new),))
    cancelled = endings.cancelled(new, policy=policy, now=now)
    step = Step(requests=(cancelled.record,), outbox=(cancelled.item,))
    if canceller is None or canceller.status != "WAITING":
        return step
    done = endings.accepted(
        canceller,
        "CANCELLED",
        endings.CANCELLED_BEFORE,
        job_sandbox=new.sandbox,
        policy=policy,
        now=now,
    )
    return replace(
        step,
        requests=(*step.requests, done.record),
        drop_tickets=(ticket_of(canceller),),
        outbox=(*step.outbox, done.item),
    )


def _comes_back(record: RequestRecord, message: Message) -> bool:
    """Whether a rejected request was redriven from its own dead letter."""
    letter = message.letter
    return (
        record.status == "REJECTED"
        and letter is not None
        and record.event_id is not None
        and letter.event_id == record.event_id
    )
