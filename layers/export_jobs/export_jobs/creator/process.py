"""The creator's run: take the messages in, carry out what is due, and publish what came of it."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from export_jobs.contract.errors import SegmentationError
from export_jobs.creator.admission import Admission
from export_jobs.creator.cancel import Canceller
from export_jobs.creator.intake import Intake, Taken
from export_jobs.creator.message import Message
from export_jobs.creator.policy import CreatorPolicy, RunReport
from export_jobs.events import endings, outbox
from export_jobs.model.limits import HOLD_MOST_MS
from export_jobs.model.ports import (
    CreatorStore,
    DeadLetterQueue,
    EventPublisher,
    GateMoved,
    ItemRefused,
    RequestApi,
    StoreUnavailable,
)
from export_jobs.model.records import JobRecord, Line, OutboxItem, RequestRecord, Ticket
from export_jobs.model.steps import MAX_STEPS, Step

logger = logging.getLogger(__name__)

MAX_ROUNDS = 40
GATE_PAUSE_S = 0.01
MAX_GATE_PAUSE_S = 3.0
SETTLE_TRIES = 3


class RequestProcessor:
    """Processes batches of messages of the request queue."""

    def __init__(
        self,
        *,
        api: RequestApi,
        store: CreatorStore,
        publisher: EventPublisher,
        dead_letter_queue: DeadLetterQueue,
        policy: CreatorPolicy,
        clock: Callable[[], int],
        time_left_s: Callable[[], float],
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        sleep: Callable[[float], None] = time.sleep,
        workers: int = 10,
        reserve_s: float = 30.0,
    ) -> None:
        """`clock` gives epoch milliseconds; nothing is begun with less than `reserve_s` to go."""
        self._api = api
        self._store = store
        self._publisher = publisher
        self._dead_letter_queue = dead_letter_queue
        self._policy = policy
        self._clock = clock
        self._time_left_s = time_left_s
        self._sleep = sleep
        self._reserve_s = reserve_s
        self._intake = Intake(
            store=store,
            dead_letter_queue=dead_letter_queue,
            policy=policy,
            clock=clock,
            org_id=self._org_id,
        )
        self._admission = Admission(
            api=api,
            store=store,
            policy=policy,
            clock=clock,
            out_of_time=self._out_of_time,
            new_id=new_id,
            sleep=sleep,
            workers=workers,
        )
        self._canceller = Canceller(api=api, store=store, policy=policy, clock=clock)

    def process(self, messages: Sequence[Message]) -> RunReport:
        """Takes the messages in, and works off what waits, as far as cap and time allow.

        Raises nothing that is foreseen: what went wrong is in the report, and what is recorded is
        not lost, as the next sweep sees to it.
        """
        report = RunReport()
        taken = self._intake.take(messages, report)
        self._publish([], taken.items, taken.sent_letters, report)
        # What waits in a sandbox that is watched no longer is the sweep's to end.
        in_line = taken.woken | taken.waiting.keys()
        for sandbox in sorted(in_line & set(self._policy.sandboxes)):
            try:
                self._work(sandbox, taken, report)
            except StoreUnavailable as error:
                logger.warning("sandbox %s: %s", sandbox, error)
                report.problems.append(f"sandbox {sandbox}: {error}")
        return report

    def _work(self, sandbox: str, taken: Taken, report: RunReport) -> None:
        """Round after round, until there is no room, nobody waits, or time is up.

        Or until another run has noted attempts for all that this one is here for.
        """
        outrun = 0
        fresh: Mapping[str, RequestRecord] = taken.fresh
        for _ in range(MAX_ROUNDS):
            if self._out_of_time():
                return
            began = time.monotonic()
            try:
                if not self._round(sandbox, fresh, report):
                    return
                fresh = {}
            except GateMoved as moved:
                ours = taken.waiting[sandbox]
                if sandbox not in taken.woken and ours <= moved.gate.slots.keys():
                    return
                outrun += 1
                took_s = time.monotonic() - began
                self._sleep(_pause_s(outrun, took_s))

    def _round(self, sandbox: str, fresh: Mapping[str, RequestRecord], report: RunReport) -> bool:
        """Cancels what is to be cancelled, then admits; returns whether another round may bring more."""
        gate = self._store.gate(sandbox)  # before the jobs: see open_exports
        line = self._store.line(sandbox, until=self._clock(), limit=MAX_STEPS + 1)
        cancels = [ticket for ticket in line.tickets if ticket.action == "cancel"]
        for ticket in cancels:
            if self._out_of_time():
                return False
            self._carry_out(ticket, report)
        if cancels:  # they may have taken others out of line: who is left comes in the next round
            return len(line.tickets) > len(cancels) or len(line.tickets) > MAX_STEPS
        try:
            admitted = self._admission.admit(gate, line.tickets, line.open_jobs, fresh, report)
        except ItemRefused as error:
            return self._one_by_one(line, error, report)
        self._publish(admitted.jobs, admitted.items, [], report)
        for key in admitted.flagged:
            self._carry_out_flagged(key, report)
        return admitted.again

    def _one_by_one(self, line: Line, error: ItemRefused, report: RunReport) -> bool:
        """The table refuses the item of one of those in line: who that is, is put off, and stops nobody.

        Returns whether somebody was put off, so that the others can be admitted.
        """
        put_off = False
        for ticket in line.tickets:
            gate = self._store.gate(ticket.sandbox)
            try:
                admitted = self._admission.admit(gate, [ticket], line.open_jobs, {}, report)
            except ItemRefused:
                put_off |= self._put_off(ticket, error, report)
            else:
                self._publish(admitted.jobs, admitted.items, [], report)
        return put_off

    def _put_off(self, ticket: Ticket, error: Exception, report: RunReport) -> bool:
        """A request that fails for a reason of its own is looked at again later, if it still waits."""
        key = ticket.request_key
        logger.error("request %s is put off: %s", key, error)
        report.problems.append(f"request {key} is put off: {error}")
        record = self._store.requests([key]).get(key)
        if record is None or record.status != "WAITING":
            return False
        now = self._clock()
        waits = replace(record, touched_at=now)
        later = replace(ticket, turn=now + HOLD_MOST_MS)
        step = Step(requests=(waits,), add_tickets=(later,))
        return bool(self._store.commit(ticket.sandbox, [step]))

    def _carry_out_flagged(self, key: str, report: RunReport) -> None:
        """A cancel request that waited for its request to get a job, or to end."""
        record = self._store.requests([key]).get(key)
        if record and record.status == "WAITING":
            self._carry_out(endings.ticket_of(record), report)

    def _carry_out(self, ticket: Ticket, report: RunReport) -> None:
        """One cancel request. What it fails over costs no other: it is looked at again later."""
        try:
            items = self._canceller.carry_out(ticket, report)
        except (ItemRefused, ValueError, TypeError, KeyError) as error:
            self._put_off(ticket, error, report)
            return
        self._publish([], items, [], report)

    # -- publishing --------------------------------------------------------------------------------

    def _publish(
        self,
        jobs: Sequence[JobRecord],
        items: Sequence[OutboxItem],
        letters: Sequence[RequestRecord],
        report: RunReport,
    ) -> None:
        """Publishes our own events, once, at once; whatever does not arrive is the next sweep's."""
        if not (jobs or items or letters):
            return
        published = outbox.publish(
            [*jobs, *items],
            publisher=self._publisher,
            dead_letter_queue=self._dead_letter_queue,
            body_of=self._body_of,
            out_of_time=self._out_of_time,
        )
        for sink, failed in published.failed.items():
            if failed:
                report.problems.append(f"{failed} events did not reach the {sink}")
        steps = [Step(jobs=(after,)) for after in (self._after(j, published.reached) for j in jobs)]
        for item in items:
            after = outbox.after_delivery(item, published.reached)
            steps.append(Step(outbox=(after,)) if after.outbox else Step(published=(item,)))
        steps += [Step(requests=(record,)) for record in letters]
        self._settle(steps, published.reached, report)

    def _settle(self, steps: Sequence[Step], reached: outbox.Reached, report: RunReport) -> None:
        """Not settled means published again: worth more than one try."""
        try:
            for start in range(0, len(steps), MAX_STEPS):
                some = steps[start : start + MAX_STEPS]
                written = self._commit(some)
                for position, step in enumerate(some):
                    if position not in written:
                        for job in step.jobs:
                            self._settle_outrun(job, reached)
        except StoreUnavailable as error:
            report.problems.append(f"can't settle what was published: {error}")

    def _commit(self, steps: Sequence[Step]) -> frozenset[int]:
        sandbox = self._policy.sandboxes[0]  # no gate is concerned
        for _ in range(SETTLE_TRIES - 1):
            try:
                return self._store.commit(sandbox, steps)
            except StoreUnavailable:
                if self._out_of_time():
                    raise
                self._sleep(0.1)
        return self._store.commit(sandbox, steps)

    def _settle_outrun(self, job: JobRecord, reached: outbox.Reached) -> None:
        """A sweep has changed the job meanwhile: only our own event is taken off."""
        for _ in range(SETTLE_TRIES):
            current = self._store.job(job.sandbox, job.job_id, job.creation_time)
            if current is None:
                return
            after = self._after(current, reached)
            if after.outbox == current.outbox:
                return
            if self._commit([Step(jobs=(after,))]):
                return

    def _after(self, job: JobRecord, reached: outbox.Reached) -> JobRecord:
        return replace(outbox.after_delivery(job, reached), touched_at=self._clock())

    def _body_of(self, record_key: str) -> str | None:
        record = self._store.requests([record_key]).get(record_key)
        return record.body if record else None

    # -- the run -----------------------------------------------------------------------------------

    def _out_of_time(self) -> bool:
        return self._time_left_s() < self._reserve_s

    def _org_id(self) -> str | None:
        try:
            return self._api.org_id()
        except SegmentationError as error:
            logger.warning("the organisation is not known: %s", error)
            return None


def _pause_s(outrun: int, took_s: float) -> float:
    """After a round that another run outran: runs at once should not meet at the gate again.

    Anything up to a bound that doubles each time, from twice as long as the round took.
    """
    bound_s = max(GATE_PAUSE_S, took_s) * 2**outrun
    return random.uniform(0, min(bound_s, MAX_GATE_PAUSE_S))  # nosec B311  # noqa: S311  no secret
