"""Sends the daily digest: one message for people on what has ended, is overdue or is waiting.

The state of the first watched sandbox, which every sweep reads anyway, says when it is due. It is
made after the sweeps of all sandboxes, in the same run: after an outage, it must have what they
have just found. It is made even if sweeps have failed, because it is needed most when everything
is broken. It names the sandboxes whose sweeps fail.

One transaction adds the digest to the outbox and plans the next one, only if no other run has done
so. From then on it is an event like any other: if this run dies, another one publishes it.

If another sandbox becomes the first, the digest is planned again in its state. Around that
deployment, one digest may be left out, or two may overlap, which then have different ids.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile

from export_jobs.events.policy import DigestPolicy
from export_jobs.model.ports import SweepStore
from export_jobs.model.records import DigestState, JobRecord, OutboxItem, as_written
from export_jobs.model.steps import Step
from export_jobs.monitor.delivery import Delivery
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.progress import SweepReport

logger = logging.getLogger(__name__)


class DigestKeeper:
    """Plans the digests, and sends those that are due."""

    def __init__(
        self,
        *,
        store: SweepStore,
        delivery: Delivery,
        policy: MonitorPolicy,
        clock: Callable[[], int],
        org_id: Callable[[], str | None],
        out_of_time: Callable[[], bool],
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._policy = policy
        self._clock = clock
        self._org_id = org_id
        self._out_of_time = out_of_time

    def look_after(
        self, sandboxes: Sequence[str], known: Mapping[str, DigestState], report: SweepReport
    ) -> None:
        """Called when the watched sandboxes were swept. May raise StoreUnavailable.

        `known` is what the sweeps have read, of the sandboxes that they could read and that have a
        state. A quiet run costs nothing here.
        """
        for sandbox, digest in known.items():
            policy = self._policy.digest if sandbox == sandboxes[0] else None
            if policy is None:
                if digest.due_at is not None:  # it was turned off: later, it starts anew
                    self._write(sandbox, DigestState(version=digest.version))
            elif digest.due_at is None or digest.time != policy.planned_by:
                self._plan(sandbox, digest, policy)
            elif digest.due_at <= self._clock():
                self._send(sandboxes, digest, policy, report)

    def _plan(self, sandbox: str, digest: DigestState, policy: DigestPolicy) -> None:
        from export_jobs.monitor import summary  # noqa: PLC0415  not for a quiet run

        self._write(sandbox, summary.planned(digest, policy, now=self._clock()))

    def _send(
        self,
        sandboxes: Sequence[str],
        digest: DigestState,
        policy: DigestPolicy,
        report: SweepReport,
    ) -> None:
        from export_jobs.monitor import summary  # noqa: PLC0415  not for a quiet run

        home, now = sandboxes[0], self._clock()
        found = summary.Summary(summary.covered_since(digest, now=now), until=now)
        for sandbox in sandboxes:
            expectations = self._store.expectations(sandbox)
            jobs = self._jobs_since(sandbox, summary.reads_from(found.since))
            found.add(self._store.load(sandbox), expectations, jobs)
            found.incomplete |= self._out_of_time()
            if not found.incomplete:
                jobs = self._jobs_since(sandbox, summary.regular_from(now))
                found.add_not_expected(sandbox, expectations, jobs, timezone=policy.timezone)
        event = found.event(
            digest, home=home, org_id=self._org_id(), stack_id=self._policy.events.stack_id
        )
        undelivered = self._policy.events.undelivered(event)
        item = OutboxItem(home, "digest", (undelivered,), leased_at=self._clock())
        after = summary.planned_after(digest, policy, now=now)
        if self._write(home, after, item):
            self._delivery.publish_items([as_written(item)], report)
            logger.info("the daily digest is event %s", event.id)

    def _jobs_since(self, sandbox: str, creation_time: int) -> Iterator[JobRecord]:
        """As many as there is time for: a digest that can't be finished would never be sent."""
        jobs = self._store.jobs_since(sandbox, creation_time)
        return takewhile(lambda _: not self._out_of_time(), jobs)

    def _write(self, sandbox: str, digest: DigestState, *outbox: OutboxItem) -> bool:
        """Returns whether it was written: another run may have been faster."""
        return bool(self._store.commit(sandbox, [Step(digest=digest, outbox=outbox)]))
