"""Handles the expected exports of a sandbox in a sweep: judges those that are due, and announces.

While none is due, a sweep costs the same however many there are: the sandbox's state says when to
look at them next.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from export_jobs.model.limits import MONITOR_TIMEOUT_S
from export_jobs.model.ports import StoreUnavailable, SweepStore
from export_jobs.model.records import ExpectationsState, OutboxItem, as_written
from export_jobs.model.steps import Step
from export_jobs.monitor.delivery import Delivery
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepInProgress

if TYPE_CHECKING:
    from export_jobs.model.expectations import DueExpectations
    from export_jobs.monitor.expectations import Judged

logger = logging.getLogger(__name__)


class ExpectationKeeper:
    """Judges the expectations of a sandbox that was read completely."""

    def __init__(
        self,
        *,
        store: SweepStore,
        delivery: Delivery,
        policy: MonitorPolicy,
        clock: Callable[[], int],
        out_of_time: Callable[[], bool],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._policy = policy
        self._clock = clock
        self._out_of_time = out_of_time

    def resume(self, sweep: SweepInProgress) -> None:
        """At a sandbox's first sweep: looks for expectations, and skips deadlines before it.

        Done before the sweep writes its state, so that it is repeated if the sweep fails.
        """
        from export_jobs.monitor import expectations  # noqa: PLC0415  not for a quiet sweep

        due = self._store.due_expectations(sweep.sandbox, until=sweep.began)
        resumed = [expectations.resumed(record, now=sweep.began) for record in due.records]
        self._finish(sweep, due, [expectations.Judged(record) for record in resumed])

    def expect_ends(self, sweep: SweepInProgress) -> None:
        """Called before jobs that have ended are recorded: they may make good what is overdue.

        If this sweep can't look at the expectations afterwards, the next one does.
        """
        expected = sweep.expected
        if expected.unresolved:
            self._store.look_at_expectations(sweep.sandbox)
            sweep.expected = replace(expected, due_at=0, version=expected.version + 1)

    def look_after(self, sweep: SweepInProgress) -> None:
        """Judges what is due, once everything that the service showed is on record."""
        due_at = sweep.expected.due_at
        if due_at is None or due_at > sweep.began:
            return
        try:
            self._look_after(sweep)
        except StoreUnavailable as error:
            sweep.report.problems.append(f"can't judge the expected exports: {error}")
        except Exception as error:  # the rest of the sweep does not depend on expectations
            logger.exception("%s: judging the expected exports failed unexpectedly", sweep.sandbox)
            problem = f"unexpected {type(error).__name__}; see the log"
            sweep.report.problems.append(f"can't judge the expected exports: {problem}")

    def _look_after(self, sweep: SweepInProgress) -> None:
        from export_jobs.monitor import expectations  # noqa: PLC0415  not for a quiet sweep

        due = self._store.due_expectations(sweep.sandbox, until=sweep.began)
        since = expectations.reads_from(due.records, now=sweep.began)
        every = [] if since is None else self._store.jobs_since(sweep.sandbox, since)
        jobs = expectations.judged_by(due.records, every)
        judged = [
            expectations.judge(
                record,
                jobs,
                org_id=sweep.org_id,
                unreadable=sweep.seen.unreadable,
                policy=self._policy.events,
                now=sweep.began,
            )
            for record in due.records
        ]
        self._finish(sweep, due, judged)

    def _finish(
        self, sweep: SweepInProgress, due: DueExpectations, judged: Sequence[Judged]
    ) -> None:
        """Records and publishes what was judged, and notes when to look next."""
        changed = [
            one for record, one in zip(due.records, judged, strict=True) if one.record != record
        ]
        written = 0
        for some in sweep.chunks(changed, out_of_time=self._out_of_time):
            written += self._record(sweep, some)
        if written == len(changed):
            noted = self._note(sweep, self._expected(sweep, judged, due.next_due))
            if not noted and any(one.events for one in judged):
                # Another run, or a person, has written meanwhile; the counts may be out of date.
                self._store.look_at_expectations(sweep.sandbox)

    def _record(self, sweep: SweepInProgress, judged: Sequence[Judged]) -> int:
        """Returns how many were written: another run may be faster, or events undelivered."""
        now = self._clock()
        steps = [Step(expectations=(one.record,), outbox=self._outbox(one, now)) for one in judged]
        written = self._store.commit(sweep.sandbox, steps)
        items = [as_written(item) for n in sorted(written) for item in steps[n].outbox]
        self._delivery.publish_items(items, sweep.report)
        return len(written)

    def _outbox(self, judged: Judged, now: int) -> tuple[OutboxItem, ...]:
        if not judged.events:
            return ()
        undelivered = tuple(map(self._policy.events.undelivered, judged.events))
        item_id = f"expectation#{judged.record.name}"
        item = OutboxItem(
            judged.record.sandbox, item_id, undelivered, leased_at=now, item_id=item_id
        )
        return (item,)

    def _expected(
        self, sweep: SweepInProgress, judged: Sequence[Judged], next_due: int | None
    ) -> ExpectationsState:
        records = [one.record for one in judged]
        overdue = [record for record in records if record.is_overdue]
        muted = [record for record in overdue if record.is_muted(sweep.began)]
        dues = [record.window.due for record in records if record.window]
        dues += [record.muted_until for record in muted]
        dues += [] if next_due is None else [next_due]
        if any(one.events for one in judged):
            # A run that read the table before this may still record a job that makes one good, or
            # has lost its note to look at them: look again once all such runs have ended.
            dues.append(sweep.began + MONITOR_TIMEOUT_S * 1000)
        return replace(
            sweep.expected,
            due_at=min(dues, default=None),
            overdue=len(overdue) - len(muted),
            unresolved=len(overdue),
        )

    def _note(self, sweep: SweepInProgress, expected: ExpectationsState) -> bool:
        """Returns whether it is written."""
        sweep.report.overdue = expected.overdue
        if expected == sweep.expected:
            return True
        written = self._store.put_expected(sweep.sandbox, expected)
        sweep.expected = replace(expected, version=expected.version + 1)
        return written
