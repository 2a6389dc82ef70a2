"""Intake: turns messages on the queue into requests in the table.

A message is done once its request is recorded, together with its ticket; from then on, the queue is
not involved. A duplicate finds the record. A message that can't be parsed becomes a rejection, and
is done once its dead letter is sent.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from export_jobs.contract import RequestInvalid
from export_jobs.creator import decide
from export_jobs.creator.decide import Reject
from export_jobs.creator.message import (
    Message,
    Request,
    hints_in,
    key_of_rejected,
    read_request,
    woken_sandbox,
)
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.report import RunReport
from export_jobs.events import endings, outbox
from export_jobs.model.limits import WAKE_UP_MS
from export_jobs.model.ports import (
    CreatorStore,
    DeadLetterQueue,
    ItemRefused,
    QueueUnavailable,
    StoreUnavailable,
)
from export_jobs.model.records import Event, OutboxItem, RequestRecord, as_written, ticket_of
from export_jobs.model.steps import Step

logger = logging.getLogger(__name__)

RECEIVES_BEFORE_UNEXPECTED = 5
"""A message that fails for a reason of its own is rejected at this receive count."""
ROUNDS = 4


@dataclass
class Taken:
    """The result of the intake: what to admit now, and what to publish."""

    waiting: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The keys of requests to admit, by sandbox."""
    woken: set[str] = field(default_factory=set)
    """Sandboxes whose waiting requests are to be admitted."""
    fresh: dict[str, RequestRecord] = field(default_factory=dict)
    """Records as this run has written them, by key."""
    items: list[OutboxItem] = field(default_factory=list)
    """Events that are ours to publish."""
    sent_letters: list[RequestRecord] = field(default_factory=list)
    """Rejections whose dead letters have been sent, which their records must show."""


@dataclass(frozen=True)
class _Arrival:
    """A readable message and the key of its request."""

    message: Message
    request: Request
    key: str


class Intake:
    """Takes in batches of messages."""

    def __init__(
        self,
        *,
        store: CreatorStore,
        dead_letter_queue: DeadLetterQueue,
        policy: CreatorPolicy,
        clock: Callable[[], int],
        org_id: Callable[[], str | None],
    ) -> None:
        """`org_id` returns the organisation of the credential, None while that can't be read."""
        self._store = store
        self._dead_letter_queue = dead_letter_queue
        self._policy = policy
        self._clock = clock
        self._org_id = org_id

    def take(self, messages: Sequence[Message], report: RunReport) -> Taken:
        """Records what can be recorded; `report` gets the result of each message."""
        taken = Taken()
        arrivals: list[_Arrival] = []
        for message in messages:
            self._guarded(
                message, taken, report, partial(self._sort, message, arrivals, taken, report)
            )
        self._record(arrivals, taken, report)
        return taken

    def _guarded(
        self, message: Message, taken: Taken, report: RunReport, work: Callable[[], None]
    ) -> None:
        """A failure affects only its own message, which is rejected if it keeps failing."""
        try:
            work()
        except (StoreUnavailable, QueueUnavailable) as error:
            own_fault = isinstance(error, ItemRefused)
            self._failed(message, error, taken, report, own_fault=own_fault)
        except Exception as error:
            logger.exception("message %s failed unexpectedly", message.message_id)
            self._failed(message, error, taken, report, own_fault=True)

    def _failed(
        self,
        message: Message,
        error: Exception,
        taken: Taken,
        report: RunReport,
        *,
        own_fault: bool,
    ) -> None:
        report.handled[message.message_id] = "FAILED"
        report.problems.append(f"message {message.message_id}: {error}")
        if not own_fault or message.receive_count < RECEIVES_BEFORE_UNEXPECTED:
            return
        reason = (
            f"it failed {message.receive_count} times, the last time with {type(error).__name__}; "
            "see the creator's log"
        )
        try:
            self._reject(message, Reject("UNEXPECTED", reason), taken, report)
        except (StoreUnavailable, QueueUnavailable):
            logger.warning("message %s can't be rejected yet", message.message_id)

    # -- sorting -----------------------------------------------------------------------------------

    def _sort(
        self, message: Message, arrivals: list[_Arrival], taken: Taken, report: RunReport
    ) -> None:
        sandbox = woken_sandbox(message)
        if sandbox is not None:
            on_time = self._clock() - message.sent_at <= WAKE_UP_MS
            acts = on_time and sandbox in self._policy.sandboxes
            report.handled[message.message_id] = "WAKE_UP" if acts else "DROPPED"
            if acts:
                taken.woken.add(sandbox)
            return
        try:
            request = read_request(message.body, sandboxes=self._policy.sandboxes)
        except RequestInvalid as invalid:
            self._reject(message, Reject("INVALID", str(invalid), invalid.problems), taken, report)
            return
        arrivals.append(_Arrival(message, request, self._key(message, request)))

    def _key(self, message: Message, request: Request) -> str:
        """The request's own key, or that of the request in its dead letter, or the message id."""
        if request.key:
            return request.key
        return self._key_of_letter(message) or message.message_id

    def _key_of_letter(self, message: Message) -> str | None:
        """The key of the request that a dead letter was sent for, if its record confirms that."""
        letter = message.letter
        if letter is None:
            return None
        record = self._store.requests([letter.record_key]).get(letter.record_key)
        known = record is not None and letter.event_id in {record.event_id, *record.rejections}
        return letter.request_key if known else None

    # -- recording ---------------------------------------------------------------------------------

    def _record(self, arrivals: Sequence[_Arrival], taken: Taken, report: RunReport) -> None:
        """Records new requests in one transaction; then handles those whose key has a record."""
        left = arrivals
        try:
            self._record_new(arrivals, taken, report)
            left = [a for a in arrivals if a.message.message_id not in report.handled]
            keys = sorted({arrival.key for arrival in left})
            known = self._store.requests(keys) if keys else {}
        except StoreUnavailable as error:
            for arrival in left:
                self._failed(arrival.message, error, taken, report, own_fault=False)
            return
        for arrival in left:
            handle = partial(self._handle_known, arrival, known.get(arrival.key), taken, report)
            self._guarded(arrival.message, taken, report, handle)

    def _record_new(self, arrivals: Sequence[_Arrival], taken: Taken, report: RunReport) -> None:
        """Records the first message of each key without a record. Raises StoreUnavailable."""
        first: dict[str, _Arrival] = {}
        for arrival in arrivals:
            first.setdefault(arrival.key, arrival)
        new = list(first.values())
        try:
            written = self._put([self._new(arrival) for arrival in new], taken)
        except ItemRefused:
            written = self._put_alone(new, taken, report)
        for position in written:
            report.handled[new[position].message.message_id] = "RECORDED"

    def _put_alone(
        self, arrivals: Sequence[_Arrival], taken: Taken, report: RunReport
    ) -> frozenset[int]:
        """Records each alone after the table refused them together: one of them is at fault."""
        written = set()
        for position, arrival in enumerate(arrivals):

            def alone(arrival: _Arrival = arrival, position: int = position) -> None:
                if self._put([self._new(arrival)], taken):
                    written.add(position)

            self._guarded(arrival.message, taken, report, alone)
        return frozenset(written)

    def _new(self, arrival: _Arrival) -> Step:
        record = decide.waiting(
            arrival.message, arrival.request, arrival.key, org_id=self._org_id(), now=self._clock()
        )
        return Step(requests=(record,), add_tickets=(ticket_of(record),))

    def _put(self, steps: Sequence[Step], taken: Taken) -> frozenset[int]:
        if not steps:
            return frozenset()
        written = self._store.commit(self._policy.sandboxes[0], steps)
        for position in written:
            self._note(steps[position], taken)
        return written

    def _note(self, step: Step, taken: Taken) -> None:
        for record in step.requests:
            taken.fresh[record.request_key] = as_written(record)
        for ticket in step.add_tickets:
            taken.waiting[ticket.sandbox].add(ticket.request_key)
        taken.items += [as_written(item) for item in step.outbox]

    def _handle_known(
        self, arrival: _Arrival, record: RequestRecord | None, taken: Taken, report: RunReport
    ) -> None:
        """Handles a message whose key already had a record."""
        message = arrival.message
        for _ in range(ROUNDS):
            canceller = None
            if record and record.cancelled_by and record.status == "CANCEL_WANTED":
                canceller = self._store.requests([record.cancelled_by]).get(record.cancelled_by)
            step = decide.arrive(
                record,
                message,
                arrival.request,
                arrival.key,
                canceller=canceller,
                org_id=self._org_id(),
                policy=self._policy.events,
                now=self._clock(),
            )
            if isinstance(step, Reject):
                self._reject(message, step, taken, report, request=arrival.request)
                return
            if step is None:
                report.handled[message.message_id] = "DUPLICATE"
                if record and record.status == "WAITING":
                    taken.waiting[record.sandbox].add(record.request_key)
                return
            if self._put([step], taken):
                report.note_ends(step.requests)
                cancelled = step.requests[0].status == "CANCELLED"
                report.handled[message.message_id] = "CANCELLED" if cancelled else "RECORDED"
                return
            record = self._store.requests([arrival.key]).get(arrival.key)
        raise StoreUnavailable(f"request {arrival.key} changes faster than it can be recorded")

    # -- rejecting ---------------------------------------------------------------------------------

    def _reject(
        self,
        message: Message,
        rejection: Reject,
        taken: Taken,
        report: RunReport,
        *,
        request: Request | None = None,
    ) -> None:
        """Rejects a message that must not touch the record of the key it names."""
        key = key_of_rejected(message.message_id, message.body)
        hints = hints_in(message.body)
        named = hints.request_key or self._key_of_letter(message) or message.message_id
        ended = endings.rejected_at_intake(
            RequestRecord(
                key,
                "REJECTED",
                sandbox=request.sandbox if request else self._policy.sandboxes[0],
                action=request.action if request else "create",
                body_hash=request.body_hash if request else None,
                message_id=message.message_id,
                org_id=self._org_id(),
                correlation_id=hints.correlation_id,
                sent_at=message.sent_at,
                outcome=rejection.outcome,
                reason=rejection.reason[: outbox.MAX_REASON],
            ),
            named=named,
            problems=rejection.problems,
            policy=self._policy.events,
            now=self._clock(),
        )
        step = Step(requests=(ended.record,), outbox=(ended.item,))
        record = ended.record
        if self._store.commit(record.sandbox, [step]):
            record = as_written(record)
            taken.items.append(as_written(ended.item))
        else:
            found = self._store.requests([key]).get(key)
            if found is None:
                raise StoreUnavailable(f"the rejection {key} is being written by another run")
            record = found
        if not record.dead_letter_sent:
            event = ended.item.outbox[0].event
            self._send_letter(message, event, record)
            taken.sent_letters.append(replace(record, dead_letter_sent=True))
        report.handled[message.message_id] = "REJECTED"
        report.ends[rejection.outcome] += 1

    def _send_letter(self, message: Message, event: Event, record: RequestRecord) -> None:
        detail = {**event.detail, "eventId": record.event_id}
        letter = Event(event.type, detail)
        outbox.send_dead_letter(message.body, letter, record.request_key, self._dead_letter_queue)
