"""When an open job is late: by the configured limits, and by what is usual."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from export_jobs.model.baselines import Comparison
from export_jobs.model.records import JobRecord

LEAST_USUAL_LIMIT_MS = 10 * 60_000
"""However short an export usually is, it is not late before that."""


@dataclass(frozen=True)
class DelayPolicy:
    """When an open job is late: the limits and the repeat window, in milliseconds.

    A job is late, too, when it takes `factor` times as long as usual; 0 if that does not count.
    """

    limit_ms: int = 150 * 60_000
    repeat_ms: int = 60 * 60_000
    by_dataset_ms: Mapping[str, int] = field(default_factory=dict)
    factor: float = 3

    def configured_for(self, job: JobRecord) -> int:
        return self.by_dataset_ms.get(job.dataset_id or "", self.limit_ms)

    def limit_of(self, job: JobRecord) -> int:
        """The smaller of the configured limit and the one based on what is usual, if it has one."""
        configured = self.configured_for(job)
        return configured if job.delay_limit_ms is None else min(configured, job.delay_limit_ms)

    def delays_of(self, job: JobRecord, now: int) -> int:
        """How many delays of an open job are to be announced by now: one for each repeat window."""
        over = now - job.creation_time - self.limit_of(job)
        return 0 if over < 0 else 1 + over // self.repeat_ms

    def limit_by_usual(self, usual: Comparison) -> int | None:
        """The limit of a job of which is known what is usual; None if too little is known."""
        if not (self.factor and usual.usual_duration_ms and "DURATION" in usual.settled):
            return None
        return max(LEAST_USUAL_LIMIT_MS, round(self.factor * usual.usual_duration_ms))
