"""Automatic retry: what a request asks for, and what is kept of its tries.

A try is one job of a request. Its create call may need several attempts; a further try follows only
after the job of the one before has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_jobs.model.outcome import JobOutcome

RETRIED_BY_DEFAULT: frozenset[JobOutcome] = frozenset({"FAILED"})
DEFAULT_DELAY_MINUTES = 15
MAX_DELAY_MINUTES = 24 * 60
MAX_ATTEMPTS = 10
"""The most jobs that a request may have after its first one."""
MAX_TRIES_KEPT = 20
"""A request that is sent again after its rejection keeps its earlier tries, so there may be more."""

NotRetried = Literal["CANCELLED", "EXPIRES", "NOT_WATCHED"]
"""Why a request is not tried again although it has tries left: it was cancelled, or its job was
being cancelled; its `expiresAt` comes before the next try; or its sandbox is no longer watched."""


@dataclass(frozen=True)
class RetryPolicy:
    """Up to `attempts` more jobs after the first, each `delay_ms` after the end of the one before.

    Only if that one ended with an outcome in `on`.
    """

    attempts: int
    delay_ms: int = DEFAULT_DELAY_MINUTES * 60_000
    on: frozenset[JobOutcome] = RETRIED_BY_DEFAULT


@dataclass(frozen=True)
class Try:
    """A try that was followed by another one. Times are epoch milliseconds."""

    number: int
    job_id: str
    outcome: JobOutcome
    ended_at: int
    """When a sweep recorded its end."""
    error_code: str | None = None
    error_message: str | None = None
