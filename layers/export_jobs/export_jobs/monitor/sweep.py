"""A sweep: one poll of one sandbox. Observe, record what has changed, publish it, settle.

The guarantees (docs/guarantees.md) depend on the order of the steps:

- The first page is read *before* the store. So for every job in it that a request of ours created,
  the store has the attempt or the link by the time we look.
- A transition is recorded together with its event before anything is published, and only if no
  other run has written in between: overlapping sweeps publish once, and after a crash the event is
  in the outbox.
- The watermark moves only past jobs that are recorded.

Only the sweep settles what is unfinished: it settles attempts whose outcome is unknown, ends
requests past their deadline, publishes what is left in the outbox, and wakes the creator.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from export_jobs.contract import JobPage
from export_jobs.contract.errors import SegmentationError
from export_jobs.model.ports import (
    DeadLetterQueue,
    EventPublisher,
    JobApi,
    RequestQueue,
    StoreUnavailable,
    SweepStore,
)
from export_jobs.model.records import DigestState, SandboxState
from export_jobs.monitor import coverage
from export_jobs.monitor.attempts import AttemptSettler, oldest_unsettled
from export_jobs.monitor.changes import ChangeRecorder
from export_jobs.monitor.delivery import Delivery
from export_jobs.monitor.digest import DigestKeeper
from export_jobs.monitor.observe import Observer
from export_jobs.monitor.overdue import ExpectationKeeper
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepInProgress, SweepReport
from export_jobs.monitor.waiting import RequestKeeper

logger = logging.getLogger(__name__)


class Sweeper:
    """Sweeps sandboxes. One instance may sweep several at once, each in its own thread."""

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
        """`clock` returns epoch milliseconds; a sweep stops when less than `reserve_s` is left.

        `reserve_s` is longer than any single call with all its retries.
        """
        self._api = api
        self._store = store
        self._policy = policy
        self._clock = clock
        self._time_left_s = time_left_s
        self._reserve_s = reserve_s
        self._observer = Observer(api, page_size=page_size, workers=workers)
        self._settler = AttemptSettler(store, policy=policy, look_up=self._observer.look_up)
        delivery = Delivery(
            store=store,
            publisher=publisher,
            dead_letter_queue=dead_letter_queue,
            clock=clock,
            out_of_time=self._out_of_time,
        )
        self._expectations = ExpectationKeeper(
            store=store,
            delivery=delivery,
            policy=policy,
            clock=clock,
            out_of_time=self._out_of_time,
        )
        self._recorder = ChangeRecorder(
            store=store,
            delivery=delivery,
            expectations=self._expectations,
            policy=policy,
            clock=clock,
            out_of_time=self._out_of_time,
            workers=workers,
        )
        self._keeper = RequestKeeper(
            store=store,
            delivery=delivery,
            request_queue=request_queue,
            policy=policy,
            clock=clock,
            out_of_time=self._out_of_time,
        )
        self._digest = DigestKeeper(
            store=store,
            delivery=delivery,
            policy=policy,
            clock=clock,
            org_id=self._org_id,
            out_of_time=self._out_of_time,
        )
        self._digests: dict[str, DigestState] = {}
        """As last read. A stale one does no harm: what is written on it is refused."""
        self._complete_at: dict[str, int] = {}
        self._good_at: dict[str, int] = {}

    def sweep(self, sandbox: str, *, watched: bool = True) -> SweepReport:
        """Sweeps one sandbox; its problems are in the report.

        One that is no longer watched is swept until nothing in it is unfinished: no new job is
        recorded there, its waiting requests end, and no sweep state is written.
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

    def look_after_digest(self, sandboxes: Sequence[str]) -> list[str]:
        """Sends the daily digest if it is due. Called when all `sandboxes` were swept.

        Returns the problems.
        """
        known = {name: self._digests[name] for name in sandboxes if name in self._digests}
        report = SweepReport(sandboxes[0])
        try:
            self._digest.look_after(sandboxes, known, report)
        except StoreUnavailable as error:
            report.problems.append(str(error))
        return report.problems

    def failing_ms(self, sandbox: str) -> int:
        """How long no sweep of the sandbox has succeeded, as far as this process knows."""
        return self._clock() - self._good_at[sandbox]

    def _out_of_time(self) -> bool:
        return self._time_left_s() < self._reserve_s

    def _sweep(self, sandbox: str, began: int, report: SweepReport, *, watched: bool) -> None:
        half_of_the_time_s = self._time_left_s() / 2

        def out_of_time() -> bool:  # the remaining time is for what was seen by then
            return self._out_of_time() or self._time_left_s() < half_of_the_time_s

        org_id, first_page = self._first_page(sandbox, report)
        sweep = SweepInProgress(
            sandbox,
            began,
            self._store.load(sandbox),
            report,
            watched=watched,
            org_id=org_id,
            complete_at=self._complete_at.get(sandbox, 0),
        )
        report.overdue = sweep.expected.overdue
        if watched and sweep.known.state:
            self._digests[sandbox] = sweep.known.digest
        if first_page:
            self._observe(sweep, first_page, out_of_time)
        self._settle_attempts(sweep, out_of_time)
        self._report_seen(sweep)
        if sweep.is_first and watched and first_page:
            self._expectations.resume(sweep)
        recorded = self._recorder.work_off(sweep)
        if sweep.seen.complete and recorded and not sweep.settled.undecided:
            self._complete_at[sandbox] = began
            if watched:
                self._expectations.look_after(sweep)
        self._keeper.look_after(sweep)
        if report.problems:
            self._note_failing(sweep)

    def _org_id(self) -> str | None:
        try:
            return self._api.org_id()
        except SegmentationError:
            return None

    def _first_page(self, sandbox: str, report: SweepReport) -> tuple[str | None, JobPage | None]:
        """The organisation, which every event needs, and the newest jobs; None for what fails."""
        org_id: str | None = None
        try:
            org_id = self._api.org_id()
            return org_id, self._observer.first_page(sandbox)
        except SegmentationError as error:
            report.problems.append(f"can't list jobs: {error}")
            return org_id, None

    def _observe(
        self, sweep: SweepInProgress, first_page: JobPage, out_of_time: Callable[[], bool]
    ) -> None:
        sweep.back_to = self._back_to(sweep)
        sweep.seen = self._observer.observe(
            sweep.sandbox,
            first_page,
            sweep.known.open_jobs.values(),
            back_to=sweep.back_to,
            for_the_first_time=sweep.is_first,
            out_of_time=out_of_time,
        )

    def _back_to(self, sweep: SweepInProgress) -> int:
        state = sweep.known.state
        if not sweep.watched:
            back_to = sweep.began  # no new jobs are recorded
        elif sweep.is_first or state is None:
            back_to = sweep.began - self._policy.first_lookback_ms
        else:
            back_to = coverage.listing_reaches_back_to(
                state, complete_at=sweep.complete_at, overlap_ms=self._policy.overlap_ms
            )
        since = oldest_unsettled(sweep.known.gate.unsettled)
        return back_to if since is None else min(back_to, since)

    def _settle_attempts(self, sweep: SweepInProgress, out_of_time: Callable[[], bool]) -> None:
        settled = self._settler.settle(
            sweep.known, sweep.seen, began=sweep.began, now=self._clock(), out_of_time=out_of_time
        )
        sweep.settled = settled
        sweep.known = replace(
            sweep.known, open_jobs={**sweep.known.open_jobs, **settled.jobs}, gate=settled.gate
        )

    def _report_seen(self, sweep: SweepInProgress) -> None:
        report, seen, settled = sweep.report, sweep.seen, sweep.settled
        report.duplicates = settled.duplicates
        report.pages, report.lookups = seen.pages, seen.lookups
        report.unreadable = seen.unreadable
        if settled.problem:
            report.problems.append(settled.problem)
        report.problems += seen.problems
        if seen.unreadable:
            fields = ", ".join(sorted(seen.unreadable_fields))
            logger.warning(
                "%s: %d jobs can't be read, for %s", sweep.sandbox, seen.unreadable, fields
            )

    def _note_failing(self, sweep: SweepInProgress) -> None:
        """Records, once, since when sweeps fail, because a quiet sweep writes no state."""
        if not sweep.watched:
            return
        state = sweep.state or SandboxState(sandbox=sweep.sandbox, watermark=0)
        if not state.failing_since:
            state = replace(state, failing_since=sweep.began)
            self._recorder.put_state(state, sweep)
        sweep.report.failing_ms = sweep.began - state.failing_since
