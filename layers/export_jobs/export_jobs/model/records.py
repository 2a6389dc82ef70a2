"""What is remembered between runs: of each job, of each sandbox, and of creations under way.

Records are values. A rule makes a new one from an old one and what was seen; the store writes it
only if nobody else wrote in between (`version`). Times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

SOURCE = "aep.export-jobs"
"""EventBridge's `source` of every event."""
STATE_CHANGE: Final = "Export Job State Change"
DELAYED: Final = "Export Job Delayed"
ACCEPTED: Final = "Export Request Accepted"
REJECTED: Final = "Export Request Rejected"

Sink = Literal["bus", "topic", "dlq"]

VANISHED = "VANISHED"
"""Our own final status, for an open job that the service no longer knows."""


@dataclass(frozen=True)
class Event:
    """One announcement: EventBridge's detail-type and the detail, ready to publish."""

    type: str
    detail: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.detail["eventId"])


@dataclass(frozen=True)
class Owed:
    """An event that has still to reach some sinks."""

    event: Event
    sinks: frozenset[Sink]


@dataclass(frozen=True)
class JobRecord:
    """What we know of one job.

    `status` is None for a job that the creator has made and no sweep has seen yet. `sequence` is
    the number of the job's last event. `leased_at` says when some run took on to publish what is
    `owed`; 0 means that nobody has. `version` is 0 for a record not yet in the table.
    """

    sandbox: str
    job_id: str
    creation_time: int
    status: str | None = None
    final: bool = False
    sequence: int = 0
    version: int = 0
    update_time: int | None = None
    org_id: str | None = None
    dataset_id: str | None = None
    duration_ms: int | None = None
    profiles_exported: int | None = None
    request_key: str | None = None
    correlation_id: str | None = None
    delays: int = 0
    misses: int = 0
    owed: tuple[Owed, ...] = ()
    leased_at: int = 0
    touched_at: int = 0
    """When the record was last changed; final records expire by it."""

    @property
    def is_open(self) -> bool:
        return not self.final or bool(self.owed)


@dataclass(frozen=True)
class SandboxState:
    """How far the sweeps of a sandbox have got.

    `watermark` is the creation time of the newest job recorded: every older one has been, too.
    `seen` holds a fingerprint of each final job in the part of the listing that a sweep reads
    (from `seen_from` on), so that the next sweep finds what is new there without asking the table.
    `swept_at` is when the sweep that wrote this began; jobs created from `new_since` on were new to
    it.
    `blind_since` is when sweeps began to fail, 0 while they succeed.
    """

    sandbox: str
    watermark: int
    seen_from: int = 0
    seen: frozenset[bytes] = frozenset()
    swept_at: int = 0
    new_since: int = 0
    blind_since: int = 0


@dataclass(frozen=True)
class Attempt:
    """A creation that has been, or is about to be, asked of the service and is not yet settled."""

    sandbox: str
    request_key: str
    request_id: str
    """The `x-request-id` we send; a service that echoes it shows it as the job's `requestId`."""
    fingerprint: str
    attempted_at: int
    merge_policy_id: str | None = None
    correlation_id: str | None = None


@dataclass(frozen=True)
class SandboxRecord:
    """All that one consistent read brings of a sandbox. `state` is None before its first sweep."""

    state: SandboxState | None = None
    open_jobs: Mapping[str, JobRecord] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()
