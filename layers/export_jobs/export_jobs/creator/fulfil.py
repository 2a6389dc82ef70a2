"""Fulfilling requests: one request, one job, whatever dies or gets lost on the way.

The service has no idempotency key. So before a create call its attempt is noted, in one transaction
with the sandbox's gate; after it, job, request and attempt are settled in one transaction. Whoever
finds an attempt whose outcome is unknown looks for the job among those created since, and creates
anew only when it has had every chance to show up. Waiting is not failing: a request that can't be
done now goes back to the queue as a new message, so no receive count runs out.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from export_jobs.client.errors import (
    NotFound,
    NotUnderstood,
    OutcomeUnknown,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs.contract import CreateExportJob, FieldProblem, Job, JobPage, RequestInvalid
from export_jobs.creator.message import (
    MAX_DELAY_S,
    Message,
    Request,
    RequestRecord,
    RequestStatus,
    hints_in,
    key_of_unreadable,
    read_message,
    wait_s,
)
from export_jobs.events import build as events
from export_jobs.model.matching import REQUEST_ID_PREFIX, made_by, request_fingerprint
from export_jobs.model.ports import Announcer, RecordChanged, TableUnavailable
from export_jobs.model.records import (
    ACCEPTED,
    REJECTED,
    Attempt,
    Event,
    JobRecord,
    SandboxRecord,
)

logger = logging.getLogger(__name__)

TRIES = 5
UNAVAILABLE = "UNAVAILABLE"
"""What `fulfil` returns for a message that waits because AWS could not do what was asked."""
MAX_PAGES = 100
CLOCK_SKEW_MS = 120_000


class JobCalls(Protocol):
    """The part of the Segmentation client that requests need. Raises SegmentationError."""

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage: ...
    def get_job(self, sandbox: str, job_id: str) -> Job: ...
    def create_job(
        self,
        sandbox: str,
        body: Mapping[str, Any],
        *,
        request_id: str,
        may_send: Callable[[], bool],
    ) -> Job: ...
    def cancel_job(self, sandbox: str, job_id: str) -> None: ...


class Ledger(Protocol):
    """Requests, attempts and jobs. Writes raise RecordChanged if outrun, else TableUnavailable."""

    def request(self, request_key: str) -> RequestRecord | None: ...
    def sandbox(self, sandbox: str) -> tuple[SandboxRecord, int]:
        """The sandbox, and the version of its gate."""

    def job(self, sandbox: str, job: Job) -> JobRecord | None: ...
    def put_request(self, record: RequestRecord) -> RequestRecord: ...
    def note_attempt(self, record: RequestRecord, attempt: Attempt, gate: int) -> RequestRecord: ...
    def drop_attempt(self, record: RequestRecord, sandbox: str) -> RequestRecord: ...
    def link(self, record: RequestRecord, job: JobRecord) -> RequestRecord: ...


class Queues(Protocol):
    def send_back(self, message: Message, *, delay_s: int) -> None: ...
    def send_to_dead_letters(self, message: Message, *, request_key: str, reason: str) -> None: ...


@dataclass(frozen=True)
class Rules:
    """`settle_ms`: how long a job may take to show in the listing after its create call was sent.

    `lease_ms`: longer than any run; `unknown_ms`: how long a cancel waits for the request it names;
    `abandoned_ms`: longer than any request waits between two looks at it, so that an attempt that
    is older has lost its message.
    """

    sandboxes: tuple[str, ...]
    max_open: int = 20
    topic_events: Literal["notable", "all"] = "notable"
    settle_ms: int = 180_000
    lease_ms: int = 150_000
    unknown_ms: int = 15 * 60_000
    abandoned_ms: int = 60 * 60_000
    page_size: int = 100


class _Wait(Exception):
    """The request can't be done now. Not an error: it goes back to the queue."""

    def __init__(self, why: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(why)


@dataclass(frozen=True)
class _End:
    """How a request ends, before it is said."""

    type: Literal["Export Request Accepted", "Export Request Rejected"]
    outcome: str
    reason: str | None = None
    job_id: str | None = None
    sandbox: str | None = None
    """Where the job is, if that is not where the request was sent."""


class Fulfiller:
    """Takes one message at a time to its end. Thread-safe."""

    def __init__(
        self,
        *,
        api: JobCalls,
        ledger: Ledger,
        queues: Queues,
        announcer: Announcer,
        rules: Rules,
        clock: Callable[[], int],
        time_left_s: Callable[[], float],
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        reserve_s: float = 30.0,
    ) -> None:
        """`clock` gives epoch milliseconds; nothing is begun with less than `reserve_s` to go."""
        self._api = api
        self._ledger = ledger
        self._queues = queues
        self._announcer = announcer
        self._rules = rules
        self._clock = clock
        self._new_id = new_id
        self._time_left_s = time_left_s
        self._reserve_s = reserve_s

    def _out_of_time(self) -> bool:
        return self._time_left_s() < self._reserve_s

    def fulfil(self, message: Message) -> str:
        """Fulfils, rejects, or sends the message back to wait; returns in a word what happened.

        Returning means that the message may be deleted. Raises TableUnavailable where it can't even
        be sent back, and whatever is unforeseen: then the queue delivers it again.
        """
        too_early_s = (message.not_before - self._clock()) / 1000
        if too_early_s > 0:
            return self._send_back(message, "it was asked to wait so long", too_early_s)
        if self._out_of_time():
            return self._send_back(message, "this run has no time left", 0)
        try:
            request = read_message(message, sandboxes=self._rules.sandboxes)
        except RequestInvalid as error:
            invalid = error
            problems = invalid.problems
            return self._patiently(
                message,
                lambda: self._reject_unreadable(message, "INVALID", str(invalid), problems),
            )
        return self._patiently(message, lambda: self._fulfil(message, request))

    def _patiently(self, message: Message, work: Callable[[], str]) -> str:
        """Does the work, or has the message wait where it can't be done now."""
        for _ in range(TRIES):
            try:
                return work()
            except RecordChanged:
                continue  # another run was faster: look again
            except _Wait as wait:
                return self._send_back(message, str(wait), wait.retry_after_s)
            except RetryLater as later:
                return self._send_back(message, str(later), later.retry_after_s)
            except SegmentationError as error:
                return self._send_back(message, str(error), None)
            except TableUnavailable as error:
                logger.warning("request %s: %s", message.key, error)
                self._send_back(message, str(error), None)
                return UNAVAILABLE
        return self._send_back(message, "other runs are at it", None)

    def _fulfil(self, message: Message, request: Request) -> str:
        record = self._ledger.request(request.key)
        again = record is not None and _is_to_be_tried_again(record, message)  # perhaps mended
        if record and not again and record.body_hash not in {None, request.body_hash}:
            reason = f"request key {request.key!r} was used before for another request"
            return self._reject_unreadable(message, "KEY_REUSED", reason, (), request)
        if record is None or again:
            version = record.version if record else 0
            record = RequestRecord(request.key, "WAITING", version=version)
        record = replace(
            record,
            sandbox=request.sandbox,
            body_hash=request.body_hash,
            redrives=message.redrives,
        )
        if record.event:
            return self._announce(message, self._taken_over(record))
        if record.status == "CREATING" and request.job:
            found = self._find(_attempt_of(request, request.job, record))
            if found:
                return self._announce(message, self._link(request, record, found))
            record = self._give_up_attempt(request, record)
        if record.status in {"CANCEL_WANTED", "CANCELLED"}:
            why = "it was cancelled before its job was created"
            return self._end(message, request, record, _End(REJECTED, "CANCELLED", why))
        if request.expires_at is not None and self._clock() >= request.expires_at:
            why = f"it was still waiting at its expiresAt, {events.rfc3339(request.expires_at)}"
            return self._end(message, request, record, _End(REJECTED, "EXPIRED", why))
        if request.job is None:
            return self._end(message, request, record, self._cancel(request))
        attempting = self._note_attempt(request, request.job, record)
        try:
            job = self._api.create_job(
                request.sandbox,
                request.job.to_wire(),
                request_id=str(attempting.request_id),
                may_send=lambda: True,
            )
        except OutcomeUnknown as unknown:
            raise _Wait(str(unknown), retry_after_s=5) from None
        except (Refused, NotFound) as refused:
            dropped = self._drop_attempt(request, attempting)
            return self._end(message, request, dropped, _End(REJECTED, "REFUSED", str(refused)))
        except SegmentationError:
            self._drop_attempt(request, attempting)
            raise
        return self._announce(message, self._link(request, attempting, job))

    # -- create ----------------------------------------------------------------------------------

    def _note_attempt(
        self, request: Request, job: CreateExportJob, record: RequestRecord
    ) -> RequestRecord:
        """Passes the sandbox's gate: writes down that a job is about to be created, if one may be."""
        known, gate = self._ledger.sandbox(request.sandbox)
        others = [a for a in known.attempts if a.request_key != request.key]
        abandoned = [a for a in others if self._is_abandoned(a.attempted_at)]
        if abandoned:
            self._take_up(abandoned[0])
            raise RecordChanged(None)
        fingerprint = request_fingerprint(job)
        if any(other.fingerprint == fingerprint for other in others):
            raise _Wait("the job of another request that asks for the same is being created")
        linked = {job.request_key for job in known.open_jobs.values()}
        open_now = sum(1 for job in known.open_jobs.values() if not job.final)
        open_now += sum(1 for other in others if other.request_key not in linked)
        if open_now >= self._rules.max_open:
            raise _Wait(
                f"{open_now} exports are open in sandbox {request.sandbox}, as many as may be"
            )
        now = self._clock()
        noted = replace(
            record,
            status="CREATING",
            request_id=REQUEST_ID_PREFIX + self._new_id(),
            attempted_at=now,
            touched_at=now,
        )
        return self._ledger.note_attempt(noted, _attempt_of(request, job, noted), gate)

    def _is_abandoned(self, attempted_at: int) -> bool:
        return self._clock() - attempted_at > self._rules.abandoned_ms

    def _take_up(self, attempt: Attempt) -> None:
        """Settles a creation whose message is gone: else it would count as open for ever."""
        key = attempt.request_key
        record = self._ledger.request(key) or RequestRecord(key, "CREATING")
        found = self._find(attempt)
        if found is None:
            dropped = replace(record, status="WAITING", request_id=None, touched_at=self._clock())
            self._ledger.drop_attempt(dropped, attempt.sandbox)
            return
        request = Request(
            key=key,
            action="create",
            sandbox=attempt.sandbox,
            body_hash=str(record.body_hash),
            correlation_id=attempt.correlation_id,
            dataset_id=found.destination.dataset_id if found.destination else None,
        )
        self._announce(None, self._link(request, record, found))

    def _drop_attempt(self, request: Request, record: RequestRecord) -> RequestRecord:
        dropped = replace(record, status="WAITING", request_id=None, touched_at=self._clock())
        return self._ledger.drop_attempt(dropped, request.sandbox)

    def _give_up_attempt(self, request: Request, record: RequestRecord) -> RequestRecord:
        """Back to waiting, once the job has had every chance to show in the listing."""
        waited_ms = self._clock() - record.attempted_at
        if waited_ms < self._rules.settle_ms:
            raise _Wait(
                "no answer to its create call came; the job may still show up",
                retry_after_s=min(30.0, (self._rules.settle_ms - waited_ms) / 1000),
            )
        return self._drop_attempt(request, record)

    def _find(self, attempt: Attempt) -> Job | None:
        """The job that an earlier create call made, among those created since and not another's."""
        since = attempt.attempted_at - CLOCK_SKEW_MS
        mine = [
            job
            for job in self._jobs_since(attempt.sandbox, since)
            if made_by(attempt, job) and not self._is_another_s(attempt, job)
        ]
        # By content, a job made since is likelier ours than one that only differing clocks allow.
        likely = [job for job in mine if (job.creation_time or 0) >= attempt.attempted_at]
        return next(iter(likely or mine), None)

    def _is_another_s(self, attempt: Attempt, job: Job) -> bool:
        known = self._ledger.job(attempt.sandbox, job)
        return known is not None and known.request_key not in {None, attempt.request_key}

    def _jobs_since(self, sandbox: str, since: int) -> list[Job]:
        """Jobs created since a time, oldest first. Raises SegmentationError."""
        jobs: list[Job] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = self._api.list_jobs(sandbox, limit=self._rules.page_size, cursor=cursor)
            jobs += page.records
            oldest = min((job.creation_time or 0 for job in page.records), default=0)
            cursor = page.next_cursor
            if cursor is None or oldest < since:
                return jobs[::-1]
        raise NotUnderstood(f"more than {MAX_PAGES} pages of jobs since the create call")

    def _link(self, request: Request, record: RequestRecord, job: Job) -> RequestRecord:
        """Settles a creation: the job is this request's, the attempt is over, the end is owed."""
        if job.creation_time is None:  # the table's key holds it
            job = self._api.get_job(request.sandbox, job.id)
        event = self._event(request, record, _End(ACCEPTED, "CREATED", job_id=job.id))
        for _ in range(TRIES):
            known = self._ledger.job(request.sandbox, job)
            now = self._clock()
            linked = replace(
                known or JobRecord(request.sandbox, job.id, job.creation_time or 0),
                request_key=request.key,
                correlation_id=request.correlation_id,
                touched_at=now,
            )
            created = replace(
                record,
                status="CREATED",
                job_id=job.id,
                event=event,
                owed=events.sinks_of(event, topic_events=self._rules.topic_events),
                leased_at=now,
                touched_at=now,
            )
            try:
                return self._ledger.link(created, linked)
            except RecordChanged:
                current = self._ledger.request(request.key)
                if current is None or current.version != record.version:
                    raise  # another delivery settled it; otherwise the monitor wrote the job
        raise _Wait("its job changes faster than it can be linked", retry_after_s=5)

    # -- cancel ----------------------------------------------------------------------------------

    def _cancel(self, request: Request) -> _End:
        if request.job_id is not None:
            return self._cancel_job(request.sandbox, request.job_id)
        key = str(request.cancel_request_key)
        target = self._ledger.request(key)
        now = self._clock()
        if target is None or (target.status == "WAITING" and target.body_hash is None):
            version = target.version if target else 0
            wanted = RequestRecord(key, "CANCEL_WANTED", version=version, touched_at=now)
            self._ledger.put_request(wanted)
            raise _Wait(f"request {key!r} has not arrived, or waits; it will be cancelled")
        sandbox = target.sandbox or request.sandbox
        match target.status:
            case "CANCEL_WANTED":
                if now - target.touched_at < self._rules.unknown_ms:
                    raise _Wait(f"request {key!r} has not arrived yet; it will be cancelled")
                self._ledger.put_request(replace(target, status="WAITING", touched_at=now))
                return _End(REJECTED, "NOT_FOUND", f"no request {key!r} has arrived")
            case "WAITING":
                self._ledger.put_request(replace(target, status="CANCELLED", touched_at=now))
                why = "it was cancelled before its job was created"
                return _End(ACCEPTED, "CANCELLED", why, sandbox=sandbox)
            case "CREATING":
                self._take_up_if_abandoned(target, sandbox)
                raise _Wait(f"the job of request {key!r} is being created")
            case "CREATED":
                return self._cancel_job(sandbox, str(target.job_id))
            case "CANCELLED":
                why = "it was cancelled before its job was created"
                return _End(ACCEPTED, "CANCELLED", why, sandbox=sandbox)
            case status:
                return _End(
                    ACCEPTED,
                    "ALREADY_FINAL",
                    f"request {key!r} has ended: {status}",
                    sandbox=sandbox,
                )

    def _take_up_if_abandoned(self, target: RequestRecord, sandbox: str) -> None:
        if not self._is_abandoned(target.attempted_at):
            return
        known, _ = self._ledger.sandbox(sandbox)
        for attempt in known.attempts:
            if attempt.request_key == target.request_key:
                self._take_up(attempt)
                raise RecordChanged(None)

    def _cancel_job(self, sandbox: str, job_id: str) -> _End:
        marked = _End(ACCEPTED, "CANCELLING", job_id=job_id, sandbox=sandbox)
        try:
            job = self._api.get_job(sandbox, job_id)
            if job.status == "CANCELLING":
                return marked
            if not job.is_final:
                self._api.cancel_job(sandbox, job_id)
                return marked
        except NotFound:
            why = f"the service knows no job {job_id!r} in sandbox {sandbox!r}"
            return _End(REJECTED, "NOT_FOUND", why, sandbox=sandbox)
        except Refused as refused:  # it may have ended, or been marked, since we looked
            job = self._api.get_job(sandbox, job_id)
            if job.status == "CANCELLING":
                return marked
            if not job.is_final:
                return _End(REJECTED, "REFUSED", str(refused), job_id, sandbox)
        why = f"the job has ended already: {job.status}"
        return _End(ACCEPTED, "ALREADY_FINAL", why, job_id, sandbox)

    # -- the end of a request --------------------------------------------------------------------

    def _end(self, message: Message, request: Request, record: RequestRecord, end: _End) -> str:
        return self._announce(
            message, self._note_end(record, end, self._event(request, record, end))
        )

    def _note_end(self, record: RequestRecord, end: _End, event: Event) -> RequestRecord:
        owed = set(events.sinks_of(event, topic_events=self._rules.topic_events))
        if end.type == ACCEPTED:
            status: RequestStatus = "DONE"
        elif end.outcome == "CANCELLED":
            status = "CANCELLED"
        else:
            status = "REJECTED"
            owed.add("dlq")
        now = self._clock()
        ended = replace(
            record,
            status=status,
            job_id=end.job_id,
            event=event,
            owed=frozenset(owed),
            leased_at=now,
            touched_at=now,
        )
        return self._ledger.put_request(ended)

    def _event(self, request: Request, record: RequestRecord, end: _End) -> Event:
        return events.request_event(
            end.type,
            outcome=end.outcome,
            request_key=request.key,
            occasion=record.redrives,
            action=request.action,
            now=self._clock(),
            sandbox=end.sandbox or request.sandbox,
            correlation_id=request.correlation_id,
            job_id=end.job_id or request.job_id,
            dataset_id=request.dataset_id,
            reason=end.reason,
        )

    def _reject_unreadable(
        self,
        message: Message,
        outcome: str,
        reason: str,
        problems: Sequence[FieldProblem],
        request: Request | None = None,
    ) -> str:
        """Rejects a message that must not touch the record of the key it names."""
        key = key_of_unreadable(message)
        record = self._ledger.request(key)
        if record is None or _is_to_be_tried_again(record, message):
            version = record.version if record else 0
            record = RequestRecord(key, "WAITING", version=version, redrives=message.redrives)
            hints = hints_in(message)
            event = events.request_event(
                REJECTED,
                outcome=outcome,
                request_key=hints.request_key,
                occasion=f"{key} {message.redrives}",
                action=request.action if request else None,
                now=self._clock(),
                sandbox=request.sandbox if request else None,
                correlation_id=hints.correlation_id,
                reason=reason,
                problems=problems,
            )
            return self._announce(
                message, self._note_end(record, _End(REJECTED, outcome, reason), event)
            )
        return self._announce(message, self._taken_over(record))

    def _taken_over(self, record: RequestRecord) -> RequestRecord:
        """The record of a request that has ended, ours to announce as far as that is still owed."""
        if not record.owed:
            return record
        now = self._clock()
        if now - record.leased_at < self._rules.lease_ms:
            raise _Wait("its end is being announced by another run", retry_after_s=5)
        return self._ledger.put_request(replace(record, leased_at=now, touched_at=now))

    def _announce(self, message: Message | None, record: RequestRecord) -> str:
        """Says how the request ended, to every sink that has not heard it; then settles that.

        `message` is what goes to the dead letters; only a creation taken up has none.
        """
        event = record.event
        if event is None or not record.owed:
            return record.status
        left = set(record.owed)
        for sink in ("bus", "topic"):
            if sink in left and event.id in self._announcer.publish([event], sink):
                left.discard(sink)
        if "dlq" in left and message:
            reason = f"{event.detail['outcome']}: {event.detail['reason']}"
            try:
                self._queues.send_to_dead_letters(
                    message, request_key=event.detail["requestKey"], reason=reason
                )
                left.discard("dlq")
            except TableUnavailable as error:  # still owed; what the others heard is settled
                logger.warning("rejected, and not yet among the dead letters: %s", error)
        self._settle(replace(record, owed=frozenset(left), leased_at=0, touched_at=self._clock()))
        if left:
            raise _Wait("its end has not reached every sink yet", retry_after_s=5)
        return record.status

    def _settle(self, settled: RequestRecord) -> None:
        """Not settled means said again: worth more than one try."""
        for last in (False, False, True):
            try:
                self._ledger.put_request(settled)
            except TableUnavailable:
                if last:
                    raise
            else:
                return

    def _send_back(self, message: Message, why: str, retry_after_s: float | None) -> str:
        delay_s = wait_s(message, retry_after_s)
        logger.info("request %s waits %d s: %s", message.key, delay_s, why)
        not_before = int(self._clock() + delay_s * 1000) if delay_s > MAX_DELAY_S else 0
        self._queues.send_back(
            replace(message, not_before=not_before), delay_s=min(MAX_DELAY_S, math.ceil(delay_s))
        )
        return "WAITS"


def _attempt_of(request: Request, job: CreateExportJob, record: RequestRecord) -> Attempt:
    return Attempt(
        sandbox=request.sandbox,
        request_key=request.key,
        request_id=str(record.request_id),
        fingerprint=request_fingerprint(job),
        attempted_at=record.attempted_at,
        merge_policy_id=job.merge_policy.id if job.merge_policy else None,
        correlation_id=request.correlation_id,
    )


def _is_to_be_tried_again(record: RequestRecord, message: Message) -> bool:
    """Whether a rejected request has come back from the dead-letter queue since."""
    return record.status == "REJECTED" and message.redrives > record.redrives
