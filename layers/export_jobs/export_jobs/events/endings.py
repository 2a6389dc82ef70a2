"""How a request ends: its final record and event, which are written in one step.

Both functions use this: the creator for requests that it can decide itself, the sweep for those
whose outcome it finds out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from export_jobs import events
from export_jobs.contract.text import one_line
from export_jobs.contract.times import rfc3339
from export_jobs.events.policy import EventPolicy
from export_jobs.model.records import (
    AcceptedOutcome,
    JobRecord,
    LinkedBy,
    OutboxItem,
    RejectedOutcome,
    RequestRecord,
    Ticket,
    Undelivered,
    ticket_of,
)
from export_jobs.model.retry import MAX_TRIES_KEPT, Try
from export_jobs.model.steps import SlotChange, Step

if TYPE_CHECKING:
    from export_jobs.contract import FieldProblem, Job

CANCELLED_BEFORE = "it was cancelled before its job was created"


@dataclass(frozen=True)
class Ended:
    """The record of a request that has ended, and the outbox item with its event."""

    record: RequestRecord
    item: OutboxItem

    def step(self, ticket: Ticket | None = None, slot_change: SlotChange | None = None) -> Step:
        """The step that writes it; the request gives up its ticket or its slot, if it has one."""
        return Step(
            requests=(self.record,),
            drop_tickets=(ticket,) if ticket else (),
            outbox=(self.item,),
            slot_change=slot_change,
        )


def created(
    record: RequestRecord,
    job: Job,
    *,
    slot_change: SlotChange | None,
    linked_by: LinkedBy,
    existing: JobRecord | None = None,
    leased: bool,
    policy: EventPolicy,
    now: int,
) -> Step:
    """Links a job to its request. The event goes first in the job's outbox, to keep the order.

    `existing` is the job's record, if it has one; `leased` means that we publish the event.
    A request that was waiting gives up its ticket. The job's record tells a sweep after which
    outcomes it has to look whether the request is tried again.
    """
    done = replace(
        record,
        status="CREATED",
        outcome="CREATED",
        job_id=job.id,
        linked_by=linked_by,
        dataset_id=(job.destination.dataset_id if job.destination else None) or record.dataset_id,
        touched_at=now,
    )
    event = events.build.accepted(done, stack_id=policy.stack_id, now=now)
    known = existing or JobRecord(record.sandbox, job.id, job.creation_time or 0)
    linked = replace(
        known,
        dataset_id=known.dataset_id or done.dataset_id,
        request_key=record.request_key,
        correlation_id=record.correlation_id,
        linked_by=linked_by,
        org_id=record.org_id or known.org_id,
        try_number=record.try_number,
        tries_left=record.tries_left,
        retried_on=record.retry.on if record.retry and record.tries_left else frozenset(),
        outbox=(policy.undelivered(event), *known.outbox),
        leased_at=now if leased else known.leased_at,
        touched_at=now,
    )
    return Step(
        requests=(replace(done, event_id=event.id),),
        jobs=(linked,),
        drop_tickets=(ticket_of(record),) if record.status == "WAITING" else (),
        slot_change=slot_change,
    )


def tried_again(
    record: RequestRecord,
    job: JobRecord,
    errors: Sequence[Mapping[str, Any]],
    at: int,
    *,
    now: int,
) -> RequestRecord:
    """The record of a request that waits until `at` to be tried again, after this end of its job.

    `errors` are those of the job, as in the detail of its final event.
    """
    error = events.build.first_error(errors)
    ended = Try(
        record.try_number,
        job.job_id,
        outcome=job.outcome or "FAILED",
        ended_at=now,
        error_code=one_line(error.code) if error and error.code else None,
        error_message=one_line(error.message) if error and error.message else None,
    )
    return replace(
        record,
        status="WAITING",
        outcome=None,
        job_id=None,
        linked_by=None,
        request_id=None,
        event_id=None,
        tries=(*record.tries, ended)[-MAX_TRIES_KEPT:],
        try_number=record.try_number + 1,
        tries_left=record.tries_left - 1,
        retry_at=at,
        touched_at=now,
    )


def found_late(
    job: Job,
    sandbox: str,
    request_key: str,
    record: RequestRecord | None,
    *,
    linked_by: LinkedBy,
    try_number: int,
    now: int,
) -> JobRecord:
    """The record of a job found late: a duplicate, unless its request ended as OUTCOME_UNKNOWN.

    `try_number` is that of the attempt that created it.
    """
    ended_without = record is not None and record.outcome == "OUTCOME_UNKNOWN"
    return JobRecord(
        sandbox,
        job.id,
        job.creation_time or 0,
        request_key=request_key if ended_without else None,
        duplicate_of=None if ended_without else request_key,
        correlation_id=record.correlation_id if record else None,
        linked_by=linked_by,
        try_number=try_number if ended_without else 1,
        touched_at=now,
    )


def accepted(
    record: RequestRecord,
    outcome: AcceptedOutcome,
    reason: str | None,
    *,
    job_id: str | None = None,
    job_sandbox: str | None = None,
    try_number: int = 1,
    policy: EventPolicy,
    now: int,
) -> Ended:
    """The end of a cancel request that was carried out, or had nothing to cancel.

    `try_number` is which try of the other request was cancelled.
    """
    done = replace(
        record,
        status="DONE",
        outcome=outcome,
        reason=reason,
        job_id=job_id or record.job_id,
        touched_at=now,
    )
    shown = replace(done, sandbox=job_sandbox or done.sandbox, try_number=try_number)
    event = events.build.accepted(shown, stack_id=policy.stack_id, now=now)
    return _ended(done, policy.undelivered(event), now)


def rejected(
    record: RequestRecord,
    outcome: RejectedOutcome,
    reason: str,
    *,
    job_id: str | None = None,
    job_sandbox: str | None = None,
    policy: EventPolicy,
    now: int,
) -> Ended:
    """The end of a request that can't be carried out, or was cancelled before it was.

    Its message goes to the dead-letter queue, unless it was cancelled.
    """
    done = replace(
        record,
        status="CANCELLED" if outcome == "CANCELLED" else "REJECTED",
        outcome=outcome,
        reason=reason + _after_tries(record),
        job_id=job_id or record.job_id,
        touched_at=now,
    )
    event = events.build.rejected(
        replace(done, sandbox=job_sandbox or done.sandbox), stack_id=policy.stack_id, now=now
    )
    entry = policy.undelivered(event)
    if outcome != "CANCELLED":
        entry = replace(entry, sinks=entry.sinks | {"dlq"})
    return _ended(done, entry, now)


def cancelled(record: RequestRecord, *, policy: EventPolicy, now: int) -> Ended:
    """The end of a request that was cancelled before it had a job, or its next one."""
    return rejected(record, "CANCELLED", cancelled_before(record), policy=policy, now=now)


def cancelled_before(record: RequestRecord) -> str:
    """Why a request without a job has ended: before its first one, or that of a further try."""
    if record.try_number == 1:
        return CANCELLED_BEFORE
    return f"it was cancelled before the job of its try {record.try_number} was created"


def expired(record: RequestRecord, *, policy: EventPolicy, now: int) -> Ended:
    """The end of a request that has waited past its deadline."""
    reason = f"it was not carried out by its expiresAt, {rfc3339(record.deadline_ms)}"
    return rejected(record, "EXPIRED", reason, policy=policy, now=now)


def rejected_at_intake(
    record: RequestRecord,
    *,
    named: str,
    problems: Sequence[FieldProblem],
    policy: EventPolicy,
    now: int,
) -> Ended:
    """The same for a message that does not become a request; the caller sends the dead letter.

    `record` has the outcome and the reason; `named` is the key in the message itself.
    """
    event = events.build.rejected(
        record, stack_id=policy.stack_id, now=now, named=named, problems=problems
    )
    done = replace(record, status="REJECTED", named=named, touched_at=now)
    return _ended(done, policy.undelivered(event), now)


def _after_tries(record: RequestRecord) -> str:
    """What has become of the tries before, for a reason; empty for a first try."""
    if not record.tries:
        return ""
    last = record.tries[-1]
    number = "1 try" if record.try_number == 2 else f"{record.try_number - 1} tries"
    return f", after {number}; its last job, {last.job_id}, ended as {last.outcome}"


def _ended(record: RequestRecord, entry: Undelivered, now: int) -> Ended:
    item = OutboxItem(record.sandbox, record.request_key, (entry,), leased_at=now)
    return Ended(replace(record, event_id=entry.event.id), item)
