"""A sweep in progress: what was known and seen, the results so far, and the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from export_jobs.model.records import (
    Event,
    ExpectationsState,
    JobRecord,
    SandboxRecord,
    SandboxState,
    Sink,
)
from export_jobs.monitor.attempts import Settled
from export_jobs.monitor.observe import Observation

_T = TypeVar("_T")

CHUNK = 100
"""Things processed before the time left is checked again."""


@dataclass
class SweepReport:
    """The results of a sweep, for logs and metrics. `problems` is empty after a good sweep."""

    sandbox: str
    pages: int = 0
    lookups: int = 0
    unreadable: int = 0
    """Records of the listing that can't be read as jobs."""
    open_jobs: int = 0
    changes: int = 0
    """Jobs of which a change was recorded."""
    published: Counter[Sink] = field(default_factory=Counter)
    oldest_undelivered_ms: int = 0
    """How long the oldest event has been undelivered."""
    failing_ms: int = 0
    """How long no sweep of this sandbox has succeeded."""
    waiting: int = 0
    """Waiting requests."""
    oldest_request_ms: int = 0
    """How long the oldest request has waited, or the outcome of a create call has been unknown."""
    overdue: int = 0
    """Expected exports that are overdue and not muted."""
    duplicates: int = 0
    """Jobs found late whose requests have another job."""
    finished: bool = False
    """Nothing in the sandbox is unfinished."""
    unfinished: bool = False
    """The time ran out; the next sweep continues."""
    problems: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    """The events that this sweep delivered to the bus."""


@dataclass
class SweepInProgress:
    """One sweep of one sandbox, from its first read on."""

    sandbox: str
    began: int
    known: SandboxRecord
    report: SweepReport
    watched: bool = True
    """False for a sandbox that is swept only until nothing in it is unfinished."""
    org_id: str | None = None
    complete_at: int = 0
    """When the last sweep that saw everything began, as far as this process knows."""
    back_to: int = 0
    """The creation time down to which the listing must be read."""
    seen: Observation = field(default_factory=Observation)
    settled: Settled = field(init=False)
    state: SandboxState | None = field(init=False)
    """The newest state that this sweep has written, or else read."""
    expected: ExpectationsState = field(init=False)
    """The same of what the state has of expectations."""
    open_jobs: dict[str, JobRecord] = field(default_factory=dict)
    """The open jobs as this sweep leaves them, including those that it has seen end."""
    has_events: bool = False
    """Some change has an event, or some job has one in its outbox."""

    def __post_init__(self) -> None:
        self.settled = Settled(gate=self.known.gate)
        self.state = self.known.state
        self.expected = self.known.expected

    @property
    def is_first(self) -> bool:
        """Whether no sweep of the sandbox has succeeded yet (failed ones may have left a state)."""
        return self.known.state is None or not self.known.state.swept_at

    def chunks(
        self, things: Sequence[_T], *, out_of_time: Callable[[], bool]
    ) -> Iterator[Sequence[_T]]:
        """Yields CHUNK things at a time while there is time; the report shows if it ran out."""
        for start in range(0, len(things), CHUNK):
            if out_of_time():
                self.report.unfinished = True
                return
            yield things[start : start + CHUNK]
