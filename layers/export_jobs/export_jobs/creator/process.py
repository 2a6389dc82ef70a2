"""The creator's run: takes messages in, carries out what is due, and publishes the results."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from export_jobs.contract.errors import SegmentationError
from export_jobs.creator.admission import Admission, Admitted
from export_jobs.creator.cancel import Canceller
from export_jobs.creator.intake import Intake, Taken
from export_jobs.creator.message import Message
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.report import RunReport
from export_jobs.events import outbox
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
from export_jobs.model.records import JobRecord, Line, OutboxItem, RequestRecord, Ticket, ticket_of
from export_jobs.model.steps import MAX_STEPS, Step

logger = logging.getLogger(__name__)

MAX_ROUNDS = 40
GATE_PAUSE_S = 0.01
MAX_GATE_PAUSE_S = 3.0
SETTLE_TRIES = 3


class RequestProcessor:
    """Processes batches of messages from the request queue."""

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
        """`clock` returns epoch milliseconds; nothing starts with less than `reserve_s` left."""
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
            org_id=self._org_id,
            out_of_time=self._out_of_time,
            new_id=new_id,
            sleep=sleep,
            workers=workers,
        )
        self._canceller = Canceller(api=api, store=store, policy=policy, clock=clock)

    def process(self, messages: Sequence[Message]) -> RunReport:
        """Takes the messages in, and processes waiting requests as far as cap and time allow.

        Raises no expected errors: problems are in the report, and no recorded request is lost,
        because the next sweep handles it.
        """
        report = RunReport()
        taken = self._intake.take(messages, report)
        self._publish([], taken.items, taken.sent_letters, report)
        # The sweep ends the waiting requests of a sandbox that is no longer watched.
        in_line = taken.woken | taken.waiting.keys()
        for sandbox in sorted(in_line & set(self._policy.sandboxes)):
            try:
                self._work(sandbox, taken, report)
            except StoreUnavailable as error:
                logger.warning("sandbox %s: %s", sandbox, error)
                report.problems.append(f"sandbox {sandbox}: {error}")
        return report

    def _work(self, sandbox: str, taken: Taken, report: RunReport) -> None:
        """Runs rounds until there is no capacity, no request waits, or time is up.

        Or until another run has noted attempts for all requests of this one.
        """
        conflicts = 0
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
                conflicts += 1
                took_s = time.monotonic() - began
                self._sleep(_pause_s(conflicts, took_s))

    def _round(self, sandbox: str, fresh: Mapping[str, RequestRecord], report: RunReport) -> bool:
        """Carries out cancel requests, then admits. Returns whether another round may do more."""
        gate = self._store.gate(sandbox)  # before the jobs: see open_exports
        line = self._store.line(sandbox, until=self._clock(), limit=MAX_STEPS + 1)
        cancels = [ticket for ticket in line.tickets if ticket.action == "cancel"]
        for ticket in cancels:
            if self._out_of_time():
                return False
            self._carry_out(ticket, report)
        if cancels:  # they may have ended other requests: the rest comes in the next round
            return len(line.tickets) > len(cancels) or len(line.tickets) > MAX_STEPS
        try:
            admitted = self._admission.admit(gate, line.tickets, line.open_jobs, fresh, report)
        except ItemRefused as error:
            return self._one_by_one(line, error, report)
        self._finish(admitted, report)
        return admitted.again

    def _finish(self, admitted: Admitted, report: RunReport) -> None:
        """Publishes what was admitted, and cancels jobs whose requests were cancelled meanwhile."""
        self._publish(admitted.jobs, admitted.items, [], report)
        for key in admitted.flagged:
            self._carry_out_flagged(key, report)

    def _one_by_one(self, line: Line, error: ItemRefused, report: RunReport) -> bool:
        """Admits requests one by one after the table refused an item; puts off the one at fault.

        Returns whether one was put off, so that the others can be admitted.
        """
        put_off = False
        for ticket in line.tickets:
            gate = self._store.gate(ticket.sandbox)
            try:
                admitted = self._admission.admit(gate, [ticket], line.open_jobs, {}, report)
            except ItemRefused:
                put_off |= self._put_off(ticket, error, report)
            else:
                self._finish(admitted, report)
        return put_off

    def _put_off(self, ticket: Ticket, error: Exception, report: RunReport) -> bool:
        """Puts off a request that fails for a reason of its own, if it still waits."""
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
        """Carries out a cancel request that waited for another request to get a job or to end."""
        record = self._store.requests([key]).get(key)
        if record and record.status == "WAITING":
            self._carry_out(ticket_of(record), report)

    def _carry_out(self, ticket: Ticket, report: RunReport) -> None:
        """Carries out one cancel request, or puts it off, so that its failure affects no other."""
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
        """Publishes our own events once; those that do not arrive are left to the next sweep."""
        if not (jobs or items or letters):
            return
        published = outbox.publish(
            [*jobs, *items],
            publisher=self._publisher,
            dead_letter_queue=self._dead_letter_queue,
            store=self._store,
            out_of_time=self._out_of_time,
        )
        report.problems += published.problems
        steps = [Step(jobs=(after,)) for after in (self._after(j, published.reached) for j in jobs)]
        for item in items:
            after = outbox.after_delivery(item, published.reached)
            steps.append(Step(outbox=(after,)) if after.outbox else Step(published=(item,)))
        steps += [Step(requests=(record,)) for record in letters]
        self._settle(steps, published.reached, report)

    def _settle(self, steps: Sequence[Step], reached: outbox.Reached, report: RunReport) -> None:
        """Settles with several tries, because unsettled events are published again."""
        try:
            for start in range(0, len(steps), MAX_STEPS):
                some = steps[start : start + MAX_STEPS]
                written = self._commit(some)
                for position, step in enumerate(some):
                    if position not in written:
                        for job in step.jobs:
                            self._settle_changed(job, reached)
        except StoreUnavailable as error:
            report.problems.append(f"can't settle what was published: {error}")

    def _commit(self, steps: Sequence[Step]) -> frozenset[int]:
        sandbox = self._policy.sandboxes[0]  # any will do, as no gate is changed
        for _ in range(SETTLE_TRIES - 1):
            try:
                return self._store.commit(sandbox, steps)
            except StoreUnavailable:
                if self._out_of_time():
                    raise
                self._sleep(0.1)
        return self._store.commit(sandbox, steps)

    def _settle_changed(self, job: JobRecord, reached: outbox.Reached) -> None:
        """For a job that a sweep has changed meanwhile: removes only our own event."""
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

    # -- the run -----------------------------------------------------------------------------------

    def _out_of_time(self) -> bool:
        return self._time_left_s() < self._reserve_s

    def _org_id(self) -> str | None:
        """The organisation of the credential; None while that can't be read."""
        try:
            return self._api.org_id()
        except SegmentationError as error:
            logger.warning("the organisation is unknown: %s", error)
            return None


def _pause_s(conflicts: int, took_s: float) -> float:
    """The pause after a round with a conflict, so that concurrent runs don't collide again.

    Random, up to a bound that doubles each time, starting at twice the duration of the round.
    """
    bound_s = max(GATE_PAUSE_S, took_s) * 2**conflicts
    return random.uniform(0, min(bound_s, MAX_GATE_PAUSE_S))  # nosec B311  # noqa: S311  no secret
