"""The second half of a sweep: records what has changed, publishes it, and settles it.

A change is recorded together with its events before anything is published, and only if no other run
has written the job in between. So overlapping sweeps publish once, and after a crash the events are
in the outbox. Delivered events are then removed; the last of these writes also has the sandbox's
state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from export_jobs.events import outbox
from export_jobs.model.baselines import UNKNOWN
from export_jobs.model.concurrently import each
from export_jobs.model.ports import RecordChanged, StoreUnavailable, SweepStore
from export_jobs.model.records import JobRecord, SandboxState, Ticket
from export_jobs.monitor import coverage
from export_jobs.monitor.decide import Case, Change, change_of
from export_jobs.monitor.delivery import WRITE_TRIES, Delivery
from export_jobs.monitor.learning import BaselineKeeper, BaselineUpdate, Compared
from export_jobs.monitor.overdue import ExpectationKeeper
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepInProgress
from export_jobs.monitor.retries import Retries

MAX_RECORDED_SILENTLY = 1_000


@dataclass(frozen=True)
class _Due:
    """A case that requires a change, and the change."""

    case: Case
    change: Change


@dataclass(frozen=True)
class _Recorded:
    """The result of recording a change: `ours` is the record if its outbox is ours to publish.

    `tickets` are those of requests that are tried again.
    """

    changed: bool = False
    ours: JobRecord | None = None
    problem: str | None = None
    tickets: tuple[Ticket, ...] = ()


@dataclass(frozen=True)
class _Settled:
    """The result of settling a record: `record` is the new one, if it was written."""

    record: JobRecord | None = None
    undelivered: JobRecord | None = None
    problem: str | None = None


class ChangeRecorder:
    """Records, publishes and settles what a sweep has seen."""

    def __init__(
        self,
        *,
        store: SweepStore,
        delivery: Delivery,
        expectations: ExpectationKeeper,
        policy: MonitorPolicy,
        clock: Callable[[], int],
        out_of_time: Callable[[], bool],
        workers: int,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._expectations = expectations
        self._policy = policy
        self._clock = clock
        self._out_of_time = out_of_time
        self._workers = workers
        self._baselines = BaselineKeeper(store, workers=workers)
        self._retries = Retries(store)

    def work_off(self, sweep: SweepInProgress) -> bool:
        """Processes all cases, oldest first, as far as time allows.

        Returns whether everything that was seen is on record.
        """
        due, silent = self._due(sweep)
        recorded, done = self._learn_from_history(sweep, silent), 0
        due += silent[-MAX_RECORDED_SILENTLY:]
        if any(one.change.after.final for one in due):
            self._expectations.expect_ends(sweep)
        for some in sweep.chunks(due, out_of_time=self._out_of_time):
            done += len(some)
            compared = self._baselines.compare(
                sweep.sandbox, [one.change for one in some if not one.case.silent]
            )
            results = self._record_all(some, compared, sweep)
            recorded = recorded and not any(result.problem for result in results)
            ours = [result.ours for result in results if result.ours]
            reached = self._delivery.publish(ours, sweep.report)
            state = None
            if recorded and sweep.seen.complete:
                state = self._state_after(sweep, [one.case for one in due[done:]])
            self._settle(ours, reached, state, compared, sweep)
        if not due and sweep.seen.complete and _has_news_without_a_change(sweep):
            self.put_state(self._state_after(sweep, []), sweep)
        return recorded and done == len(due)

    def put_state(self, state: SandboxState | None, sweep: SweepInProgress) -> None:
        """Writes the sandbox's state, if there is a new one."""
        if state is None:
            return
        try:
            self._store.put_state(state)
        except StoreUnavailable as error:
            sweep.report.problems.append(f"can't write the sandbox's state: {error}")
        else:
            sweep.state = state

    # -- deciding --------------------------------------------------------------------------------

    def _due(self, sweep: SweepInProgress) -> tuple[list[_Due], list[_Due]]:
        """The changes to make, each decided once; apart from those to be recorded silently."""
        due: list[_Due] = []
        silent: list[_Due] = []
        sweep.open_jobs = dict(sweep.known.open_jobs)
        for case in _cases(sweep):
            change = self._change_of(case, sweep)
            if change is None:
                continue
            if case.silent:
                silent.append(_Due(case, change))
                continue
            due.append(_Due(case, change))
            sweep.open_jobs[change.after.job_id] = change.after
            sweep.has_events |= bool(change.news)
        open_jobs = sweep.open_jobs.values()
        sweep.has_events |= any(record.outbox for record in open_jobs)
        sweep.report.open_jobs = sum(not record.final for record in open_jobs)
        return due, silent

    def _learn_from_history(self, sweep: SweepInProgress, silent: Sequence[_Due]) -> bool:
        """Learns from the jobs that had ended at a first sweep; False if it must be repeated."""
        try:
            ended = [(one.case, one.change) for one in silent]
            learned = self._baselines.learn_from_history(
                sweep.sandbox, ended, out_of_time=self._out_of_time
            )
        except StoreUnavailable as error:
            sweep.report.problems.append(f"can't learn what is usual: {error}")
            return False
        sweep.report.unfinished |= not learned
        return learned

    def _change_of(self, case: Case, sweep: SweepInProgress) -> Change | None:
        return change_of(case, org_id=sweep.org_id, policy=self._policy, now=self._clock())

    # -- recording -------------------------------------------------------------------------------

    def _record_all(
        self, due: Sequence[_Due], compared: Compared, sweep: SweepInProgress
    ) -> Sequence[_Recorded]:
        results = each(lambda one: self._record(one, compared, sweep), due, workers=self._workers)
        sweep.report.changes += sum(result.changed for result in results)
        sweep.report.problems += [result.problem for result in results if result.problem]
        sweep.settled.tickets += [ticket for result in results for ticket in result.tickets]
        return results

    def _record(self, due: _Due, compared: Compared, sweep: SweepInProgress) -> _Recorded:
        """Records a change. If another run was faster, the change is decided again."""
        change: Change | None = due.change
        comparison = compared.comparisons.get(due.change.after.job_id, UNKNOWN)
        for _ in range(WRITE_TRIES):
            if change is None:
                return _Recorded()
            now = self._clock()
            try:
                decided = self._retries.decided(change, watched=sweep.watched, now=now)
                after = decided.change.recorded(comparison, policy=self._policy, now=now)
                leased = after.leased_at != (change.before.leased_at if change.before else 0)
                written = self._retries.record(after, decided)
            except RecordChanged as changed:
                case = replace(due.case, record=changed.current)
                change = self._change_of(case, sweep)
            except StoreUnavailable as error:
                return _Recorded(problem=f"can't record job {change.after.job_id}: {error}")
            else:
                return _Recorded(True, written if leased else None, tickets=decided.tickets)
        return _Recorded(problem="a job changes faster than it can be recorded")

    # -- settling --------------------------------------------------------------------------------

    def _settle(
        self,
        records: Sequence[JobRecord],
        reached: outbox.Reached,
        state: SandboxState | None,
        compared: Compared,
        sweep: SweepInProgress,
    ) -> None:
        """Removes delivered events from the records; the state is written with the last of them.

        What is learned from the jobs of one kind is written with one of them, so these are written
        one after another.
        """
        if not records:
            self.put_state(state, sweep)
            return
        updates = compared.updates_by_kind(records)
        *others, last = records

        def settle(some: Sequence[JobRecord]) -> Sequence[_Settled]:
            return [self._settle_one(record, reached, updates[record.kind]) for record in some]

        results = [
            one for some in each(settle, _by_kind(others), workers=self._workers) for one in some
        ]
        results.append(last_one := self._settle_one(last, reached, updates[last.kind], state))
        if state and last_one.record:
            sweep.state = state
        for result in results:
            if result.problem:
                sweep.report.problems.append(result.problem)
            if result.undelivered:
                self._delivery.note_undelivered(result.undelivered, sweep.report)

    def _settle_one(
        self,
        record: JobRecord,
        reached: outbox.Reached,
        update: BaselineUpdate,
        state: SandboxState | None = None,
    ) -> _Settled:
        """Settles a record; retries, because the events of an unsettled one are published again."""
        current: JobRecord | None = record
        undelivered: JobRecord | None = None
        problem = "it changes faster than it can be settled"
        for _ in range(WRITE_TRIES):
            if current is None:
                return _Settled(undelivered=undelivered)
            settled = replace(outbox.after_delivery(current, reached), touched_at=self._clock())
            if current is not record and settled.outbox == current.outbox:
                return _Settled(undelivered=undelivered)
            undelivered = settled if settled.outbox else undelivered
            try:
                update.put_with(settled, state)
            except RecordChanged as changed:
                current = changed.current
            except StoreUnavailable as error:
                problem = str(error)
            else:
                return _Settled(settled, undelivered)
        return _Settled(None, undelivered, f"can't settle job {record.job_id}: {problem}")

    # -- coverage --------------------------------------------------------------------------------

    def _state_after(self, sweep: SweepInProgress, rest: Sequence[Case]) -> SandboxState | None:
        """The state once everything but `rest` is on record; None if it covers the same as before.

        An unfinished first sweep writes no state, or jobs that it has not reached would no longer
        count as final before the first sweep.
        """
        if not sweep.watched or (sweep.is_first and (rest or sweep.settled.undecided)):
            return None
        known, seen = sweep.known.state, sweep.seen
        watermark = _recorded_until(sweep, rest)
        new_since = watermark
        if known and not sweep.is_first:
            watermark = max(watermark, known.watermark)
            new_since = coverage.new_since(known, complete_at=sweep.complete_at)
        left = sweep.settled.undecided | {case.job.id for case in rest if case.job}
        # What later sweeps may read again: the first page, and what they must reach back to.
        read_again = min(
            seen.first_page_reach, new_since, watermark, sweep.began - self._policy.overlap_ms
        )
        state = coverage.advance(
            known,
            [job for job in seen.jobs.values() if job.id not in left],
            sandbox=sweep.sandbox,
            watermark=watermark,
            oldest=max(seen.reach, read_again),
            new_since=new_since,
            now=sweep.began,
        )
        if sweep.report.problems:
            since = known.failing_since if known else 0
            state = replace(state, failing_since=since or sweep.began)
        return None if known and coverage.covers_the_same(known, state) else state


def _by_kind(records: Sequence[JobRecord]) -> Sequence[Sequence[JobRecord]]:
    """The records in groups of one kind; one that has none is a group of its own."""
    groups: dict[str, list[JobRecord]] = {}
    for record in records:
        groups.setdefault(record.kind or f"job {record.job_id}", []).append(record)
    return list(groups.values())


def _cases(sweep: SweepInProgress) -> list[Case]:
    """Every job that may have something to record or to publish, oldest first."""
    known, seen = sweep.known, sweep.seen
    listed = [_case_of_listed(job_id, sweep) for job_id in seen.jobs]
    unlisted = [
        Case(sweep.sandbox, record, missing=record.job_id in seen.missing)
        for record in known.open_jobs.values()
        if record.job_id not in seen.jobs
    ]
    cases = [*filter(None, listed), *unlisted]
    return sorted(cases, key=lambda case: case.creation_time)


def _case_of_listed(job_id: str, sweep: SweepInProgress) -> Case | None:
    """The case of a job that the service showed; None if it is no news, or too early to decide."""
    job, record = sweep.seen.jobs[job_id], sweep.known.open_jobs.get(job_id)
    if job_id in sweep.settled.undecided or (record is None and not sweep.watched):
        return None
    if record or not job.is_final:
        return Case(sweep.sandbox, record, job)
    state = sweep.known.state
    if state is None or sweep.is_first:
        return Case(sweep.sandbox, None, job, silent=True)
    if coverage.needs_record(job, state, back_to=sweep.back_to):
        return Case(sweep.sandbox, None, job)
    return None


def _recorded_until(sweep: SweepInProgress, rest: Sequence[Case]) -> int:
    """The creation time up to which every seen job is on record, once everything but `rest` is."""
    unrecorded = [case.creation_time for case in rest]
    unrecorded += [sweep.seen.created_at.get(job_id, 0) for job_id in sweep.settled.undecided]
    return min(unrecorded) - 1 if unrecorded else sweep.seen.newest


def _has_news_without_a_change(sweep: SweepInProgress) -> bool:
    """Whether a sweep without a change must write the state: it is the first, or succeeds again."""
    state = sweep.known.state
    succeeds_again = state and state.failing_since and not sweep.report.problems
    return sweep.is_first or bool(succeeds_again)
