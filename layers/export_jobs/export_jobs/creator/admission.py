"""Admission: creates jobs for waiting requests, in order of arrival, as many as the cap allows.

The attempts are noted in one transaction that passes the sandbox's gate; then the jobs are created,
several at once; the results are recorded in one transaction, and published in one call. A create
call with an unknown outcome is left to the sweep.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from export_jobs.contract.errors import (
    Forbidden,
    NotSent,
    OutcomeUnknown,
    Refused,
    SegmentationError,
)
from export_jobs.creator.message import job_asked_for
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.report import RunReport
from export_jobs.events import endings
from export_jobs.model import matching
from export_jobs.model.capacity import admissible, held_on, open_exports
from export_jobs.model.concurrently import each
from export_jobs.model.limits import FORMER_KEPT_MS, LINKED_SLOT_MS, SEND_WITHIN_MS
from export_jobs.model.ports import CreatorStore, RequestApi, StoreUnavailable
from export_jobs.model.records import (
    Attempt,
    Gate,
    Hold,
    JobRecord,
    OutboxItem,
    RequestRecord,
    Ticket,
    as_written,
)
from export_jobs.model.steps import MAX_STEPS, GateChange, SlotChange, Step

if TYPE_CHECKING:
    from export_jobs.contract import Job

logger = logging.getLogger(__name__)

COMMIT_TRIES = 4
MAX_BODIES_BYTES = 3_000_000
"""The bodies of the requests in one transaction. An update does not contain them, but DynamoDB's
limit of 4 MB per transaction may count whole items."""
WORKERS = 10


@dataclass(frozen=True)
class _Member:
    """A request that is being admitted, with its record after its attempt was noted."""

    record: RequestRecord
    ticket: Ticket
    attempt: Attempt


@dataclass(frozen=True)
class _Noted:
    """What is written of a chosen request; without a member, the request ends."""

    step: Step
    member: _Member | None = None


@dataclass(frozen=True)
class _Answer:
    """The result of a create call: a job, or an error, which may leave the outcome unknown."""

    member: _Member
    job: Job | None = None
    error: SegmentationError | None = None

    @property
    def is_settled(self) -> bool:
        return not isinstance(self.error, OutcomeUnknown)

    @property
    def holds_admission(self) -> bool:
        return self.error is not None and not isinstance(self.error, Refused | NotSent)


@dataclass
class Admitted:
    """The result of a round of admission: what to publish, and whether another may admit more."""

    jobs: list[JobRecord]
    items: list[OutboxItem]
    flagged: list[str]
    """Keys of cancel requests that waited for one of these requests."""
    again: bool = False


class Admission:
    """Admits the waiting requests of a sandbox. May raise StoreUnavailable."""

    def __init__(
        self,
        *,
        api: RequestApi,
        store: CreatorStore,
        policy: CreatorPolicy,
        clock: Callable[[], int],
        org_id: Callable[[], str | None],
        out_of_time: Callable[[], bool],
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        sleep: Callable[[float], None] = time.sleep,
        workers: int = WORKERS,
    ) -> None:
        """`org_id` is asked for requests recorded while the credential could not be read."""
        self._api = api
        self._store = store
        self._policy = policy
        self._clock = clock
        self._org_id = org_id
        self._out_of_time = out_of_time
        self._new_id = new_id
        self._sleep = sleep
        self._workers = workers

    def admit(
        self,
        gate: Gate,
        tickets: Sequence[Ticket],
        open_jobs: Mapping[str, JobRecord],
        fresh: Mapping[str, RequestRecord],
        report: RunReport,
    ) -> Admitted:
        """Admits as many of `tickets` as possible. `fresh`: records that this run has just written.

        The gate must be read before the jobs. Raises GateMoved if another run was faster.
        """
        admitted = Admitted([], [], [])
        now = self._clock()
        open_now = open_exports(open_jobs, gate, delays=self._policy.delays, now=now)
        capacity = admissible(gate, open_now=open_now, max_open=self._policy.max_open, now=now)
        chosen = [ticket for ticket in tickets if ticket.turn <= now][: min(capacity, MAX_STEPS)]
        if not chosen:
            return admitted
        try:
            self._api.prepare()  # a slow token must not use up an attempt's time
        except SegmentationError as error:
            if not isinstance(error, NotSent):
                self._hold(gate, error)
            report.problems.append(f"no token: {error}")
            return admitted
        members = self._note(gate, chosen, fresh, admitted, report)
        answers = self._create(members)
        self._conclude(gate, answers, admitted, report)
        taken = sum(1 for answer in answers if answer.job)
        may_continue = not any(answer.holds_admission for answer in answers) and (
            gate.hold.length_ms > 0 or taken < capacity
        )
        admitted.again = (admitted.again or len(tickets) > len(chosen)) and may_continue
        return admitted

    # -- noting ------------------------------------------------------------------------------------

    def _note(
        self,
        gate: Gate,
        chosen: Sequence[Ticket],
        fresh: Mapping[str, RequestRecord],
        admitted: Admitted,
        report: RunReport,
    ) -> list[_Member]:
        """Notes an attempt for each, and ends those past their deadline, all in one transaction."""
        missing = [t.request_key for t in chosen if t.request_key not in fresh]
        records = {**fresh, **(self._store.requests(missing) if missing else {})}
        org_id = self._org_id()
        now = self._clock()
        noted: list[_Noted] = []
        size = 0
        for ticket in chosen:
            record = records.get(ticket.request_key)
            if record is None or record.status != "WAITING" or record.body is None:
                continue  # a query may show a ticket that is gone
            size += len(record.body.encode())
            if noted and size > MAX_BODIES_BYTES:
                admitted.again = True  # the others come in the next round
                break
            noted.append(self._noted(record, ticket, org_id, now))
        if not noted:
            return []
        steps = [one.step for one in noted]
        written = sorted(self._store.commit(gate.sandbox, steps, self._passing(gate, now)))
        for position in written:
            if noted[position].member is None:
                self._note_written(steps[position], admitted, report)
        return [member for position in written if (member := noted[position].member)]

    def _noted(self, record: RequestRecord, ticket: Ticket, org_id: str | None, now: int) -> _Noted:
        """The step that notes an attempt of a request, or ends it."""
        if record.deadline_ms is not None and record.deadline_ms <= now:
            ended = endings.expired(record, policy=self._policy.events, now=now)
            return _Noted(ended.step(ticket))
        try:
            attempt = self._attempt(record, now)
        except (ValueError, TypeError, KeyError) as error:
            logger.exception("request %s can't be admitted", record.request_key)
            reason = f"its stored body can't be read: {type(error).__name__}"
            ended = endings.rejected(
                record, "UNEXPECTED", reason, policy=self._policy.events, now=now
            )
            return _Noted(ended.step(ticket))
        creating = replace(
            record,
            status="CREATING",
            request_id=attempt.request_id,
            org_id=record.org_id or org_id,
            touched_at=now,
        )
        step = Step(
            requests=(creating,), drop_tickets=(ticket,), slot_change=SlotChange("note", attempt)
        )
        return _Noted(step, _Member(as_written(creating), ticket, attempt))

    def _attempt(self, record: RequestRecord, now: int) -> Attempt:
        return Attempt(
            request_key=record.request_key,
            request_id=matching.REQUEST_ID_PREFIX + self._new_id(),
            noted_at=now,
            send_by=now + SEND_WITHIN_MS,
            hashes=matching.hashes_of_request(job_asked_for(record.body or "")),
            rule=matching.RULE,
            try_number=record.try_number,
        )

    def _passing(self, gate: Gate, now: int) -> GateChange:
        """Requires the gate as it was read, and removes what has expired in it."""
        return GateChange(
            version=gate.version,
            expired_slots=tuple(
                key
                for key, slot in gate.slots.items()
                if slot.job_id is not None and now - slot.linked_at >= LINKED_SLOT_MS
            ),
            expired_former=tuple(
                request_id
                for request_id, attempt in gate.former.items()
                if now - max(attempt.noted_at, attempt.missed_at) >= FORMER_KEPT_MS
            ),
        )

    def _note_written(self, step: Step, admitted: Admitted, report: RunReport) -> None:
        admitted.jobs += [as_written(job) for job in step.jobs]
        admitted.items += [as_written(item) for item in step.outbox]
        report.note_ends(step.requests)
        admitted.flagged += [
            record.cancelled_by
            for record in step.requests
            if record.has_ended and record.cancelled_by
        ]

    # -- creating ----------------------------------------------------------------------------------

    def _create(self, members: Sequence[_Member]) -> Sequence[_Answer]:
        """Sends the create calls, several at once; stops after a failure that holds admission."""
        stopped = threading.Event()

        def create(member: _Member) -> _Answer:
            attempt = member.attempt

            def may_send() -> bool:
                late = self._clock() > attempt.send_by or self._out_of_time()
                return not (late or stopped.is_set())

            try:
                job = self._api.create_job(
                    member.record.sandbox,
                    job_asked_for(member.record.body or ""),
                    request_id=attempt.request_id,
                    may_send=may_send,
                )
            except SegmentationError as error:
                answer = _Answer(member, error=error)
                if answer.holds_admission:
                    stopped.set()
                return answer
            return _Answer(member, job=job)

        return each(create, members, workers=self._workers)

    # -- concluding --------------------------------------------------------------------------------

    def _conclude(
        self,
        gate: Gate,
        answers: Sequence[_Answer],
        admitted: Admitted,
        report: RunReport,
    ) -> None:
        """Records the results, all at once; then, one by one, those whose request has changed."""
        settled = [answer for answer in answers if answer.is_settled]
        change = self._change(gate, answers)
        if not settled and change is None:
            return
        for answer in answers:
            if answer.error:
                logger.warning("request %s: %s", answer.member.record.request_key, answer.error)
        steps = [self._step(answer, answer.member.record) for answer in settled]
        written = self._commit(gate.sandbox, steps, change)
        for position, answer in enumerate(settled):
            if position in written:
                self._note_written(steps[position], admitted, report)
            else:
                self._conclude_changed(answer, admitted, report)

    def _change(self, gate: Gate, answers: Sequence[_Answer]) -> GateChange | None:
        """The change of the gate: failures hold admission, and a created job lifts the hold."""
        failures = [answer.error for answer in answers if answer.error and answer.holds_admission]
        created = [answer for answer in answers if answer.job]
        hold: Hold | None = None
        if failures:
            asked_s = max((error.retry_after_s or 0.0 for error in failures), default=0.0)
            hold = held_on(
                gate.hold,
                retry_after_s=asked_s,
                jitter=random.random(),  # nosec B311  # noqa: S311
                now=self._clock(),
            )
        elif created and gate.hold.length_ms:
            hold = Hold()
        echoes: bool | None = None
        if created:
            answer = created[-1]
            echoes = answer.job is not None and (
                answer.job.request_id == answer.member.attempt.request_id
            )
        if hold is None and (echoes is None or echoes == gate.echoes):
            return None
        return GateChange(hold=hold, echoes=echoes)

    def _hold(self, gate: Gate, error: SegmentationError) -> None:
        logger.warning("admission in %s is held: %s", gate.sandbox, error)
        hold = held_on(
            gate.hold,
            retry_after_s=error.retry_after_s,
            jitter=random.random(),  # nosec B311  # noqa: S311
            now=self._clock(),
        )
        self._store.commit(gate.sandbox, [], GateChange(hold=hold))

    def _step(
        self, answer: _Answer, record: RequestRecord, existing: JobRecord | None = None
    ) -> Step:
        """The step for a result; its request is CREATING by this attempt, or waits again."""
        now = self._clock()
        attempt = answer.member.attempt
        in_slot = record.status == "CREATING" and record.request_id == attempt.request_id
        if answer.job:
            linked = replace(attempt, job_id=answer.job.id, linked_at=now)
            return endings.created(
                record,
                answer.job,
                slot_change=SlotChange("link", linked) if in_slot else None,
                linked_by="answer",
                existing=existing,
                leased=True,
                policy=self._policy.events,
                now=now,
            )
        drop = SlotChange("drop", attempt)
        if record.cancelled_by:
            return endings.cancelled(record, policy=self._policy.events, now=now).step(
                slot_change=drop
            )
        if isinstance(answer.error, Refused):
            ended = endings.rejected(
                record, "REFUSED", str(answer.error), policy=self._policy.events, now=now
            )
            return ended.step(slot_change=drop)
        waits = replace(record, status="WAITING", request_id=None, touched_at=now)
        ticket = answer.member.ticket
        if isinstance(answer.error, Forbidden):
            ticket = replace(ticket, turn=now)  # perhaps only this one is: it goes to the end
        return Step(requests=(waits,), add_tickets=(ticket,), slot_change=drop)

    def _conclude_changed(self, answer: _Answer, admitted: Admitted, report: RunReport) -> None:
        """For a request that has changed: a cancel flagged it, or the sweep settled its attempt."""
        key, sandbox = answer.member.record.request_key, answer.member.record.sandbox
        for _ in range(COMMIT_TRIES):
            record = self._store.requests([key]).get(key)
            if answer.job:
                step = self._step_of_late_job(answer, answer.job, record)
            else:
                step = self._step_of_late_failure(answer, record)
            if step is None:
                return
            if self._commit(sandbox, [step], None):
                self._note_written(step, admitted, report)
                report.duplicates += sum(job.duplicate_of is not None for job in step.jobs)
                return
        report.problems.append(f"request {key} changes faster than its result can be recorded")

    def _step_of_late_failure(self, answer: _Answer, record: RequestRecord | None) -> Step | None:
        """The request waits again or ends, unless its attempt is settled."""
        if record is None or record.has_ended:
            return None
        ours = record.request_id == answer.member.attempt.request_id
        return self._step(answer, record) if ours else None

    def _step_of_late_job(
        self, answer: _Answer, job: Job, record: RequestRecord | None
    ) -> Step | None:
        """Links the job, or records it as a duplicate; None if another run has done so."""
        member = answer.member
        if record and record.job_id == job.id:
            return None  # the sweep has found it
        existing = self._store.job(member.record.sandbox, job.id, job.creation_time or 0)
        if existing and existing.request_key not in {None, member.record.request_key}:
            logger.error("job %s belongs to request %s", job.id, existing.request_key)
            return None  # the response has another request's job: the sweep settles the attempt
        if existing and existing.request_key:
            return None  # a sweep has linked it, and since then the request is tried again
        if record and not record.has_ended and record.try_number == member.attempt.try_number:
            return self._step(answer, record, existing)
        if existing and existing.duplicate_of:
            return None
        return self._duplicate(job, member, record, existing)

    def _duplicate(
        self,
        job: Job,
        member: _Member,
        record: RequestRecord | None,
        existing: JobRecord | None,
    ) -> Step:
        """The step for a job whose request has already ended, perhaps with another job."""
        late = endings.found_late(
            job,
            member.record.sandbox,
            member.record.request_key,
            record,
            linked_by="answer",
            try_number=member.attempt.try_number,
            now=self._clock(),
        )
        if late.duplicate_of:
            logger.error("job %s is a second job of request %s", job.id, late.duplicate_of)
        if existing:
            late = replace(
                existing,
                request_key=late.request_key,
                duplicate_of=late.duplicate_of,
                linked_by=late.linked_by,
            )
        return Step(jobs=(late,))

    def _commit(
        self, sandbox: str, steps: Sequence[Step], change: GateChange | None
    ) -> frozenset[int]:
        """Commits results, which must not get lost, with several tries."""
        for number in range(COMMIT_TRIES - 1):
            try:
                return self._store.commit(sandbox, steps, change)
            except StoreUnavailable:
                if self._out_of_time():
                    raise
                self._sleep(0.1 * 2**number)
        return self._store.commit(sandbox, steps, change)
