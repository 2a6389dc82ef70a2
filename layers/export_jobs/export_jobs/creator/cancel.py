"""Cancelling: by a job's id, or by the key of the request that created or will create the job.

Cancel requests come first, and the cap does not apply to them. One that can't be carried out yet
keeps its ticket and is tried again a little later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from export_jobs.contract.errors import NotFound, Refused, SegmentationError
from export_jobs.creator import decide
from export_jobs.creator.message import cancel_asked_for
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.report import RunReport
from export_jobs.events import endings
from export_jobs.model.limits import CANCEL_AGAIN_MS
from export_jobs.model.ports import CreatorStore, RequestApi
from export_jobs.model.records import (
    AcceptedOutcome,
    OutboxItem,
    RejectedOutcome,
    RequestRecord,
    Ticket,
    as_written,
    ticket_of,
)
from export_jobs.model.steps import Step

logger = logging.getLogger(__name__)

TRIES = 4


@dataclass(frozen=True)
class _Later:
    """The cancel request can't be carried out yet."""

    wait_ms: int = CANCEL_AGAIN_MS
    also: tuple[RequestRecord, ...] = ()
    """A record to write meanwhile: a flag or a tombstone."""


class Canceller:
    """Carries out cancel requests. May raise StoreUnavailable."""

    def __init__(
        self,
        *,
        api: RequestApi,
        store: CreatorStore,
        policy: CreatorPolicy,
        clock: Callable[[], int],
    ) -> None:
        self._api = api
        self._store = store
        self._policy = policy
        self._clock = clock

    def carry_out(self, ticket: Ticket, report: RunReport) -> list[OutboxItem]:
        """Carries out a cancel request, or puts it off. Returns the events to publish."""
        key = ticket.request_key
        for _ in range(TRIES):
            record = self._store.requests([key]).get(key)
            if record is None or record.status != "WAITING":
                # A query may show a ticket that is gone.
                self._store.commit(ticket.sandbox, [Step(drop_tickets=(ticket,))])
                return []
            step = self._step(record, ticket)
            if self._store.commit(ticket.sandbox, [step]):
                report.note_ends(step.requests)
                return [as_written(item) for item in step.outbox]
        return []  # another run handles it

    def _step(self, record: RequestRecord, ticket: Ticket) -> Step:
        now = self._clock()
        if record.deadline_ms is not None and record.deadline_ms <= now:
            return endings.expired(record, policy=self._policy.events, now=now).step(ticket)
        job_id, request_key = cancel_asked_for(record.body or "")
        outcome = (
            self._cancel_request(record, ticket, str(request_key))
            if job_id is None
            else self._cancel_job(record, record.sandbox, job_id)
        )
        if isinstance(outcome, _Later):
            waits = replace(record, touched_at=now)
            again = replace(ticket, turn=now + outcome.wait_ms)
            return Step(requests=(waits, *outcome.also), add_tickets=(again,))
        if isinstance(outcome, endings.Ended):
            return outcome.step(ticket)
        return outcome

    def _cancel_request(
        self, record: RequestRecord, ticket: Ticket, key: str
    ) -> endings.Ended | _Later | Step:
        if key == record.request_key:
            return self._rejected(record, "NOT_FOUND", "it would cancel itself")
        target = self._store.requests([key]).get(key)
        if target is None:
            return _Later(also=(self._tombstone(record, key),))
        match target.status:
            case "CANCEL_WANTED":
                return self._wait_for(record, target)
            case "WAITING":
                return self._cancel_waiting(record, ticket, target)
            case "CREATING":
                flagged = replace(target, cancelled_by=record.request_key)
                return _Later(also=() if target.cancelled_by else (flagged,))
            case "CREATED":
                return self._cancel_created(record, ticket, target)
            case "CANCELLED":
                return self._cancelled_before(record, target)
            case status:
                reason = f"request {key!r} has ended: {status}"
                return self._accepted(record, "ALREADY_FINAL", reason, sandbox=target.sandbox)

    def _tombstone(self, record: RequestRecord, key: str) -> RequestRecord:
        """Stands for a request that has not arrived, and is to be cancelled when it does."""
        return RequestRecord(
            key,
            "CANCEL_WANTED",
            sandbox=record.sandbox,
            cancelled_by=record.request_key,
            touched_at=self._clock(),
        )

    def _wait_for(self, record: RequestRecord, tombstone: RequestRecord) -> endings.Ended | _Later:
        """For a request that has not arrived; it may do so as long as the tombstone is valid."""
        now = self._clock()
        if decide.is_valid_tombstone(tombstone, now):
            return _Later()
        if tombstone.cancelled_by != record.request_key:  # left by an earlier cancel request
            ours = replace(tombstone, cancelled_by=record.request_key, touched_at=now)
            return _Later(also=(ours,))
        reason = f"no request {tombstone.request_key!r} has arrived"
        return self._rejected(record, "NOT_FOUND", reason)

    def _cancel_waiting(self, record: RequestRecord, ticket: Ticket, target: RequestRecord) -> Step:
        """Both requests end in one step, which drops both tickets."""
        cancelled = endings.cancelled(target, policy=self._policy.events, now=self._clock())
        done = self._cancelled_before(record, target)
        return Step(
            requests=(cancelled.record, done.record),
            drop_tickets=(ticket_of(target), ticket),
            outbox=(cancelled.item, done.item),
        )

    def _cancel_created(
        self, record: RequestRecord, ticket: Ticket, target: RequestRecord
    ) -> endings.Ended | _Later | Step:
        """Cancels the job and, in the step that says so, takes the tries that are left.

        Whether the job can be cancelled or not, or not yet: nobody wants another one. If a sweep
        has the request tried again meanwhile, the step is not written, and it is that wait which is
        cancelled instead.
        """
        outcome = self._cancel_job(record, target.sandbox, str(target.job_id))
        if not target.tries_left:
            return outcome
        ended = replace(target, tries_left=0, cancelled_by=record.request_key)
        if isinstance(outcome, _Later):
            return replace(outcome, also=(ended,))
        step = outcome.step(ticket)
        return replace(step, requests=(*step.requests, ended))

    def _cancel_job(
        self, record: RequestRecord, sandbox: str, job_id: str
    ) -> endings.Ended | _Later:
        try:
            return self._try_to_cancel(record, sandbox, job_id)
        except NotFound:
            reason = f"the service has no job {job_id!r} in sandbox {sandbox!r}"
            return self._rejected(record, "NOT_FOUND", reason, sandbox=sandbox)
        except SegmentationError as error:
            logger.warning("cancel request %s waits: %s", record.request_key, error)
            asked_ms = int((error.retry_after_s or 0) * 1000)
            return _Later(wait_ms=max(CANCEL_AGAIN_MS, asked_ms))

    def _try_to_cancel(self, record: RequestRecord, sandbox: str, job_id: str) -> endings.Ended:
        refused: Refused | None = None
        job = self._api.get_job(sandbox, job_id)
        if not job.is_final and job.status != "CANCELLING":
            try:
                self._api.cancel_job(sandbox, job_id)
            except Refused as error:  # the job may have ended or been marked meanwhile
                refused = error
                job = self._api.get_job(sandbox, job_id)
        if job.is_final:
            reason = f"the job has already ended: {job.status}"
            return self._accepted(record, "ALREADY_FINAL", reason, job_id=job_id, sandbox=sandbox)
        if refused and job.status != "CANCELLING":
            return self._rejected(record, "REFUSED", str(refused), job_id=job_id, sandbox=sandbox)
        return self._accepted(record, "CANCELLING", None, job_id=job_id, sandbox=sandbox)

    def _cancelled_before(self, record: RequestRecord, target: RequestRecord) -> endings.Ended:
        return endings.accepted(
            record,
            "CANCELLED",
            endings.cancelled_before(target),
            job_sandbox=target.sandbox,
            try_number=target.try_number,
            policy=self._policy.events,
            now=self._clock(),
        )

    def _accepted(
        self,
        record: RequestRecord,
        outcome: AcceptedOutcome,
        reason: str | None,
        *,
        job_id: str | None = None,
        sandbox: str,
    ) -> endings.Ended:
        return endings.accepted(
            record,
            outcome,
            reason,
            job_id=job_id,
            job_sandbox=sandbox,
            policy=self._policy.events,
            now=self._clock(),
        )

    def _rejected(
        self,
        record: RequestRecord,
        outcome: RejectedOutcome,
        reason: str,
        *,
        job_id: str | None = None,
        sandbox: str | None = None,
    ) -> endings.Ended:
        return endings.rejected(
            record,
            outcome,
            reason,
            job_id=job_id,
            job_sandbox=sandbox,
            policy=self._policy.events,
            now=self._clock(),
        )
