"""A sweep: one pass over one sandbox. Observe, record what has changed, publish it, settle.

The order of the steps carries the promises (docs/guarantees.md):

- The first page is read *before* the table. So every job in it that a request of ours created has
  its attempt, or its link, in the table by the time we look.
- A transition is recorded together with its event before anything is published, and only if nobody
  else wrote in between: overlapping sweeps publish once, and after a crash the event is in the outbox.
- The watermark moves only past jobs that are recorded.

It is also the one place that puts things right: it settles attempts whose outcome is unknown, ends
requests that wait in vain, publishes what is left in the outbox, and wakes the creator.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from export_jobs.contract import Job, JobPage
from export_jobs.contract.errors import SegmentationError
from export_jobs.events import outbox
from export_jobs.events.build import Baseline
from export_jobs.model.concurrently import each
from export_jobs.model.ports import (
    DeadLetterQueue,
    EventPublisher,
    JobApi,
    QueueUnavailable,
    RecordChanged,
    RequestQueue,
    StoreUnavailable,
    SweepStore,
)
from export_jobs.model.records import (
    Event,
    JobRecord,
    OutboxItem,
    SandboxRecord,
    SandboxState,
    Sink,
    Ticket,
)
from export_jobs.model.steps import GateChange
from export_jobs.monitor import decide, waiting
from export_jobs.monitor.attempts import AttemptSettler, Settled, oldest_unsettled
from export_jobs.monitor.observe import Observation, Observer
from export_jobs.monitor.policy import MonitorPolicy

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

CHUNK = 100
"""Jobs taken from recording to settlement before the time left is looked at again."""
RECORD_TRIES = 4
MAX_RECORDED_SILENTLY = 1_000
FINALS_KEPT_MS = 10 * 60_000
MAX_FINALS = 50


@dataclass
class SweepReport:
    """What a sweep did, for logs and metrics. `problems` is empty after a good sweep."""

    sandbox: str
    pages: int = 0
    lookups: int = 0
    unreadable: int = 0
    """Records of the listing that no job could be read from."""
    open_jobs: int = 0
    changes: int = 0
    """Jobs that had something new on record."""
    published: Counter[Sink] = field(default_factory=Counter)
    oldest_undelivered_ms: int = 0
    """For how long the oldest event has been waiting to be delivered."""
    failing_ms: int = 0
    """For how long no sweep of this sandbox has succeeded."""
    waiting: int = 0
    """Requests that wait."""
    oldest_request_ms: int = 0
    """For how long the oldest of them has been waiting, or the outcome of a create call is not known."""
    duplicates: int = 0
    """Jobs found late whose requests have another job."""
    finished: bool = False
    """Nothing in the sandbox is unfinished."""
    unfinished: bool = False
    """Stopped for lack of time; the next sweep goes on."""
    problems: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """What this sweep delivered to the bus."""


@dataclass(frozen=True)
class _Case:
    """A job that may have something to record or to publish.

    Without `job`, it is either `missing` (the service answered 404) or was not asked for.
    `silent` marks a job that was final before the first sweep.
    """

    record: JobRecord | None
    job: Job | None = None
    missing: bool = False
    silent: bool = False

    @property
    def creation_time(self) -> int:
        if self.record:
            return self.record.creation_time
        return (self.job.creation_time if self.job else None) or 0


@dataclass
class _Finals:
    """Jobs of a sandbox that have ended, newest first: as read, and as announced since."""

    read_at: int
    newest: list[JobRecord]

    def note(self, record: JobRecord) -> None:
        others = [known for known in self.newest if known.job_id != record.job_id]
        self.newest = sorted([*others, record], key=lambda final: -final.creation_time)[:MAX_FINALS]


@dataclass
class _Pass:
    """One sweep on its way: what was known and seen, and what has come of it."""

    sandbox: str
    began: int
    known: SandboxRecord
    seen: Observation
    back_to: int
    report: SweepReport
    watched: bool = True
    org_id: str | None = None
    settled: Settled = field(init=False)
    past: Mapping[str, Baseline] = field(default_factory=dict)
    state: SandboxState | None = None
    """The newest that this sweep has written, or else found."""
    open_jobs: dict[str, JobRecord] = field(default_factory=dict)
    """The open jobs by what this sweep makes of them, those that it has seen end included."""

    def __post_init__(self) -> None:
        self.settled = Settled(gate=self.known.gate)

    @property
    def is_first(self) -> bool:
        """Whether no sweep of the sandbox has succeeded yet (failed ones may have left a note)."""
        return self.known.state is None or not self.known.state.swept_at


class Sweeper:
    """Sweeps sandboxes. One instance may sweep several at once, each in a thread of its own."""

    def __init__(
        self,
        *,
        api: JobApi,
        store: SweepStore,
        publisher: EventPublisher,
        dead_letter_queue: DeadLetterQueue,
        request_queue: RequestQueue,
        policy: MonitorPolicy,
        clock: Callable[[], int],
        time_left_s: Callable[[], float],
        page_size: int = 100,
        workers: int = 8,
        reserve_s: float = 30.0,
    ) -> None:
        """`clock` gives epoch milliseconds; a sweep stops with `reserve_s` of `time_left_s` to go.

        That is longer than any one call with all its retries.
        """
        self._api = api
        self._store = store
        self._publisher = publisher
        self._dead_letter_queue = dead_letter_queue
        self._request_queue = request_queue
        self._policy = policy
        self._clock = clock
        self._time_left_s = time_left_s
        self._reserve_s = reserve_s
        self._workers = workers
        self._observer = Observer(api, page_size=page_size, workers=workers)
        self._settler = AttemptSettler(store, policy=policy, look_up=self._observer.look_up)
        self._complete_at: dict[str, int] = {}
        self._good_at: dict[str, int] = {}
        self._finals: dict[str, _Finals] = {}

    def _out_of_time(self) -> bool:
        return self._time_left_s() < self._reserve_s

    def sweep(self, sandbox: str, *, watched: bool = True) -> SweepReport:
        """One pass over one sandbox; what went wrong is in the report's `problems`.

        One that is watched no longer is followed until nothing in it is unfinished: no new job is
        recorded there, its waiting requests end, and how far its sweeps have got is not written down.
        """
        began = self._clock()
        self._good_at.setdefault(sandbox, began)
        report = SweepReport(sandbox)
        try:
            self._sweep(sandbox, began, report, watched=watched)
        except StoreUnavailable as error:
            report.problems.append(str(error))
        if report.problems:
            report.failing_ms = max(report.failing_ms, self.failing_ms(sandbox))
        else:
            self._good_at[sandbox] = began
        return report

    def failing_ms(self, sandbox: str) -> int:
        """For how long no sweep of one that was swept has succeeded, as far as this process knows."""
        return self._clock() - self._good_at[sandbox]

    def _sweep(self, sandbox: str, began: int, report: SweepReport, *, watched: bool) -> None:
        half_of_the_time_s = self._time_left_s() / 2
        first_page: JobPage | None = None
        org_id: str | None = None
        try:
            org_id = self._api.org_id()  # without it, no event can be made of what is seen
            first_page = self._observer.first_page(sandbox)
        except SegmentationError as error:
            report.problems.append(f"can't list jobs: {error}")
        known = self._store.load(sandbox)
        now = _Pass(
            sandbox,
            began,
            known,
            Observation(),
            0,
            report,
            watched=watched,
            org_id=org_id,
            state=known.state,
        )

        def out_of_time() -> bool:  # the rest of the time is for what was seen by then
            return self._out_of_time() or self._time_left_s() < half_of_the_time_s

        if first_page:
            now.back_to = self._back_to(now)
            now.seen = self._observer.observe(
                sandbox,
                first_page,
                known.open_jobs.values(),
                back_to=now.back_to,
                for_the_first_time=now.is_first,
                out_of_time=out_of_time,
            )
        self._settle_attempts(now, out_of_time)
        report.pages, report.lookups = now.seen.pages, now.seen.lookups
        report.unreadable = now.seen.unreadable
        if report.unreadable:
            fields = ", ".join(sorted(now.seen.unreadable_fields))
            logger.warning("%s: %d jobs can't be read, for %s", sandbox, report.unreadable, fields)
        report.problems += now.seen.problems
        recorded = self._work_off(now)
        if now.seen.complete and recorded and not now.settled.undecided:
            self._complete_at[sandbox] = began
        self._look_after_requests(now)
        if report.problems:
            self._note_failing(now)

    def _back_to(self, now: _Pass) -> int:
        if not now.watched:
            back_to = now.began  # nothing new is looked for
        elif now.is_first or now.known.state is None:
            back_to = now.began - self._policy.first_lookback_ms
        else:
            back_to = decide.listing_reaches_back_to(
                now.known.state,
                complete_at=self._complete_at.get(now.sandbox, 0),
                overlap_ms=self._policy.overlap_ms,
            )
        since = oldest_unsettled(now.known.gate.unsettled)
        return back_to if since is None else min(back_to, since)

    def _note_failing(self, now: _Pass) -> None:
        """Writes down, once, since when sweeps fail: a quiet sweep leaves no trace to measure by."""
        if not now.watched:
            return
        state = now.state or SandboxState(sandbox=now.sandbox, watermark=0)
        if not state.failing_since:
            state = replace(state, failing_since=now.began)
            self._put_state(state, now)
        now.report.failing_ms = now.began - state.failing_since

    # -- requests --------------------------------------------------------------------------------

    def _settle_attempts(self, now: _Pass, out_of_time: Callable[[], bool]) -> None:
        now.settled = self._settler.settle(
            now.known, now.seen, began=now.began, now=self._clock(), out_of_time=out_of_time
        )
        now.known = replace(
            now.known, open_jobs={**now.known.open_jobs, **now.settled.jobs}, gate=now.settled.gate
        )
        now.report.duplicates = now.settled.duplicates
        if now.settled.problem:
            now.report.problems.append(now.settled.problem)

    def _look_after_requests(self, now: _Pass) -> None:
        """Ends what waits in vain, publishes what has ended, and wakes the creator for the rest."""
        at = self._clock()
        tickets = [*now.known.tickets, *now.settled.tickets]
        left_over = self._publish_items(now.settled.outbox, now)
        in_vain: Sequence[Ticket] = waiting.expired(tickets, at) if now.watched else tickets
        end = waiting.end_expired if now.watched else waiting.end_not_watched
        ended: set[str] = set()
        try:
            for some in self._chunks(in_vain, now):
                items = end(self._store, some, policy=self._policy, now=at)
                left_over |= self._publish_items(items, now)
                ended |= {ticket.request_key for ticket in some}
        except StoreUnavailable as error:
            now.report.problems.append(f"can't end requests: {error}")
        for found in self._chunks(now.known.outbox, now):
            left_over |= self._publish_left_over(found, now)
        tickets = [ticket for ticket in tickets if ticket.request_key not in ended]
        now.report.waiting = len(tickets)
        since = [ticket.sent_at for ticket in tickets]
        since += [attempt.noted_at for attempt in now.settled.gate.unsettled]
        now.report.oldest_request_ms = max((at - time for time in since), default=0)
        if tickets and now.watched:
            self._wake(tickets, now)
        now.report.finished = not (
            now.report.open_jobs
            or left_over
            or tickets
            or now.settled.gate.unsettled
            or any(record.outbox for record in now.open_jobs.values())
        )

    def _chunks(self, things: Sequence[_T], now: _Pass) -> Iterator[Sequence[_T]]:
        """A hundred at a time, for as long as there is time."""
        for start in range(0, len(things), CHUNK):
            if self._out_of_time():
                now.report.unfinished = True
                return
            yield things[start : start + CHUNK]

    def _publish_left_over(self, found: Sequence[OutboxItem], now: _Pass) -> bool:
        """Takes over what somebody has left in the outbox; returns whether any may still be there."""
        mine = []
        for item in found:
            if not outbox.can_publish(item, now=self._clock()):
                continue
            try:
                leased = self._store.put_outbox(replace(item, leased_at=self._clock()))
            except RecordChanged:
                continue
            except StoreUnavailable as error:
                now.report.problems.append(f"can't take an event from the outbox: {error}")
                continue
            if leased:
                mine.append(leased)
        return self._publish_items(mine, now) or len(mine) < len(found)

    def _publish_items(self, mine: Sequence[OutboxItem], now: _Pass) -> bool:
        """Publishes the ends of requests, which are ours; returns whether any may be left."""
        reached = self._publish(mine, now.report)
        left = len(mine)
        for item in mine:
            after = outbox.after_delivery(item, reached)
            if after.outbox:
                self._note_undelivered(after, now.report)
            try:
                left -= self._store.put_outbox(after) is None
            except RecordChanged:
                continue
            except StoreUnavailable as error:
                now.report.problems.append(f"can't settle an event: {error}")
        return left > 0

    def _wake(self, tickets: Sequence[Ticket], now: _Pass) -> None:
        at = self._clock()
        gate = now.settled.gate
        ended = [
            key
            for key, slot in gate.slots.items()
            if slot.job_id in now.open_jobs and now.open_jobs[slot.job_id].final
        ]
        try:
            if ended:  # else they would count under the cap until they are old
                self._store.commit(now.sandbox, [], GateChange(expired_slots=tuple(ended)))
            if waiting.wants_creator(tickets, gate, now.open_jobs, policy=self._policy, now=at):
                self._request_queue.wake(now.sandbox)
        except (StoreUnavailable, QueueUnavailable) as error:
            now.report.problems.append(f"can't wake the creator: {error}")

    # -- decide ----------------------------------------------------------------------------------

    def _cases(self, now: _Pass) -> list[_Case]:
        """Every job that may have something to record or publish, oldest first."""
        cases = []
        known, seen = now.known, now.seen
        for job in seen.jobs.values():
            record = known.open_jobs.get(job.id)
            if job.id in now.settled.undecided or (record is None and not now.watched):
                continue
            if record or not job.is_final:
                cases.append(_Case(record, job))
            elif known.state is None or now.is_first:
                cases.append(_Case(None, job, silent=True))
            elif decide.needs_record(job, known.state, back_to=now.back_to):
                cases.append(_Case(None, job))
        cases += [
            _Case(record, missing=record.job_id in seen.missing)
            for record in known.open_jobs.values()
            if record.job_id not in seen.jobs
        ]
        return sorted(cases, key=lambda case: case.creation_time)

    def _next(self, case: _Case, record: JobRecord | None, now: _Pass) -> JobRecord | None:
        """What is to replace `record`, leased to us if we may publish its outbox; None if nothing."""
        at = self._clock()
        after = record
        if case.silent and case.job and record is None:
            return decide.record_silently(case.job, sandbox=now.sandbox, now=at)
        if case.missing and record and not record.final:
            after = decide.miss(record, policy=self._policy, now=at) or record
        elif case.job:
            after = (
                decide.observe(
                    record,
                    case.job,
                    sandbox=now.sandbox,
                    org_id=now.org_id,
                    policy=self._policy,
                    past=now.past,
                    now=at,
                )
                or record
            )
        if after and outbox.can_publish(after, now=at):
            after = replace(after, leased_at=at)
        return None if after is record else after

    def _past(self, now: _Pass) -> Mapping[str, Baseline]:
        """What the datasets' exports usually are, asked for only when one has ended or is late.

        What this process has announced itself it remembers, and so asks the table now and then.
        To compare with is a kindness: if it can't be had, the events go without.
        """
        finals = self._finals.get(now.sandbox)
        if finals is None or now.began - finals.read_at > FINALS_KEPT_MS:
            try:
                newest = self._store.recent_finals(now.sandbox)
            except StoreUnavailable as error:
                logger.warning("nothing to compare with: %s", error)
                return {}
            finals = self._finals[now.sandbox] = _Finals(now.began, list(newest))
        by_dataset: dict[str, list[JobRecord]] = defaultdict(list)
        for record in finals.newest:
            if record.dataset_id and record.status == "SUCCEEDED":
                by_dataset[record.dataset_id].append(record)
        return {dataset: _past_of(records) for dataset, records in by_dataset.items()}

    # -- record, publish, settle -----------------------------------------------------------------

    def _work_off(self, now: _Pass) -> bool:
        """Takes the cases to their end, oldest first, as far as time allows.

        Returns whether everything that was seen is on record.
        """
        due = self._due(self._cases(now), now)
        recorded = True
        for start in range(0, len(due), CHUNK):
            if self._out_of_time():
                now.report.unfinished = True
                return False
            outcomes = each(
                lambda case: self._record(case, now),
                due[start : start + CHUNK],
                workers=self._workers,
            )
            recorded = recorded and all(done for done, _ in outcomes)
            ours = [record for _, record in outcomes if record]
            reached = self._publish(ours, now.report)
            state = None
            if recorded and now.seen.complete:
                state = self._state_after(now, due[start + CHUNK :])
            self._settle(ours, reached, state, now)
        if not due and now.seen.complete and _has_news_without_a_change(now):
            self._put_state(self._state_after(now, []), now)
        return recorded

    def _due(self, cases: Sequence[_Case], now: _Pass) -> list[_Case]:
        """The cases that something is to be done about; asks for the past where they are compared."""
        silent = [case for case in cases if case.silent]
        due = []
        now.open_jobs = dict(now.known.open_jobs)
        compares = False
        for case in cases:
            after = None if case.silent else self._next(case, case.record, now)
            if after is None:
                continue
            due.append(case)
            now.open_jobs[after.job_id] = after
            compares |= after.final or after.delays > (case.record.delays if case.record else 0)
        now.report.open_jobs = sum(not record.final for record in now.open_jobs.values())
        if compares:
            now.past = self._past(now)
        return due + silent[-MAX_RECORDED_SILENTLY:]

    def _state_after(self, now: _Pass, rest: Sequence[_Case]) -> SandboxState | None:
        """How far the sandbox is covered once all but `rest` is on record.

        A first sweep that is not finished leaves no state: what it has not come to would no longer
        count as final before the first sweep.
        """
        if not now.watched or (now.is_first and (rest or now.settled.undecided)):
            return None
        known, seen, overlap_ms = now.known, now.seen, self._policy.overlap_ms
        unrecorded = [case.creation_time for case in rest]
        unrecorded += [seen.created_at.get(job_id, 0) for job_id in now.settled.undecided]
        until = min(unrecorded, default=None)
        left = now.settled.undecided | {case.job.id for case in rest if case.job}
        covered = [job for job in seen.jobs.values() if job.id not in left]
        watermark = seen.newest if until is None else until - 1
        new_since = watermark
        if known.state and not now.is_first:
            watermark = max(watermark, known.state.watermark)
            new_since = decide.new_since(
                known.state, complete_at=self._complete_at.get(now.sandbox, 0)
            )
        state = decide.advance(
            known.state,
            covered,
            sandbox=now.sandbox,
            watermark=watermark,
            # What later sweeps may read again: the first page, and what they have to reach back to.
            oldest=max(
                seen.reach,
                min(seen.first_page_reach, new_since, watermark, now.began - overlap_ms),
            ),
            new_since=new_since,
            now=now.began,
        )
        if now.report.problems:
            since = known.state.failing_since if known.state else 0
            state = replace(state, failing_since=since or now.began)
        return None if known.state and _covers_the_same(known.state, state) else state

    def _record(self, case: _Case, now: _Pass) -> tuple[bool, JobRecord | None]:
        """Puts a case on record. Returns whether it is there, and the record if it is ours to publish."""
        record, report = case.record, now.report
        for _ in range(RECORD_TRIES):
            after = self._next(case, record, now)
            if after is None:
                return True, None
            leased = after.leased_at != (record.leased_at if record else 0)
            try:
                written = self._store.put(after)
            except RecordChanged as change:
                record = change.current
            except StoreUnavailable as error:
                report.problems.append(f"can't record job {after.job_id}: {error}")
                return False, None
            else:
                report.changes += 1
                return True, written if leased else None
        report.problems.append("a job changes faster than it can be recorded")
        return False, None

    def _publish(
        self, bearers: Sequence[JobRecord] | Sequence[OutboxItem], report: SweepReport
    ) -> outbox.Reached:
        """Publishes what is in their outboxes; for each event id, the sinks it reached."""
        if not bearers:
            return {}
        published = outbox.publish(
            bearers,
            publisher=self._publisher,
            dead_letter_queue=self._dead_letter_queue,
            body_of=self._body_of,
            out_of_time=self._out_of_time,
        )
        report.events += published.events
        report.published += published.delivered
        report.unfinished |= published.unfinished
        for sink, failed in published.failed.items():
            if failed:
                report.problems.append(f"{failed} events did not reach the {sink}")
        return published.reached

    def _body_of(self, record_key: str) -> str | None:
        record = self._store.requests([record_key]).get(record_key)
        return record.body if record else None

    def _note_undelivered(self, bearer: outbox.Bearer, report: SweepReport) -> None:
        report.oldest_undelivered_ms = max(
            report.oldest_undelivered_ms, outbox.waiting_ms(bearer, self._clock())
        )

    def _settle(
        self,
        records: Sequence[JobRecord],
        reached: outbox.Reached,
        state: SandboxState | None,
        now: _Pass,
    ) -> None:
        """Takes off the records what was delivered; the state goes with the last of them."""

        def settle(record: JobRecord) -> None:
            self._settle_one(record, reached, None, now)

        if not records:
            self._put_state(state, now)
            return
        each(settle, records[:-1], workers=self._workers)
        self._settle_one(records[-1], reached, state, now)

    def _settle_one(
        self,
        record: JobRecord,
        reached: outbox.Reached,
        state: SandboxState | None,
        now: _Pass,
    ) -> None:
        report = now.report
        current: JobRecord | None = record
        trouble = "it changes faster than it is settled"
        for _ in range(RECORD_TRIES):
            if current is None:
                return
            settled = replace(outbox.after_delivery(current, reached), touched_at=self._clock())
            if current is not record and settled.outbox == current.outbox:
                return
            if settled.outbox:
                self._note_undelivered(settled, report)
            try:
                self._store.put(settled, state)
            except RecordChanged as change:
                current = change.current
            except StoreUnavailable as error:  # not settled means said again: worth another try
                trouble = str(error)
            else:
                now.state = state or now.state
                if settled.final and (finals := self._finals.get(now.sandbox)):
                    finals.note(settled)
                return
        report.problems.append(f"can't settle job {record.job_id}: {trouble}")

    def _put_state(self, state: SandboxState | None, now: _Pass) -> None:
        if state is None:
            return
        try:
            self._store.put_state(state)
        except StoreUnavailable as error:
            now.report.problems.append(f"can't write the sandbox's state: {error}")
        else:
            now.state = state


def _has_news_without_a_change(now: _Pass) -> bool:
    """Whether a sweep without a change has to write the state: it is the first, or sees again."""
    sees_again = now.known.state and now.known.state.failing_since and not now.report.problems
    return now.is_first or bool(sees_again)


def _covers_the_same(before: SandboxState, after: SandboxState) -> bool:
    """Whether nothing has changed but how far the sweeps have read."""
    as_before = replace(
        after,
        swept_at=before.swept_at,
        seen_from=before.seen_from,
        new_since=before.new_since,
    )
    return as_before == before


def _past_of(records: Sequence[JobRecord]) -> Baseline:
    import statistics  # noqa: PLC0415  12 ms, and only where jobs are compared

    durations = [record.duration_ms for record in records if record.duration_ms is not None]
    return Baseline(
        usual_duration_ms=int(statistics.median(durations)) if durations else None,
        previous_profiles_exported=records[0].profiles_exported,
    )
