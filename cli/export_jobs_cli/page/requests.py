"""The page of requests: what waits and why, what is in progress, and what was rejected."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from export_jobs.model.records import Attempt, JobRecord, RequestRecord, Ticket

from export_jobs_cli.line import WaitingLine

MAX_SHOWN: Final = 200
"""Requests of each kind that are listed; the command lists all."""
_NEXT_FIELD: Final = re.compile(r"; (?=[\w.\[\]]{1,100}: )", re.ASCII)


@dataclass(frozen=True)
class Rejected:
    """A rejected request. `reasons` has one for each wrong field."""

    record: RequestRecord
    reasons: Sequence[str]

    @property
    def key(self) -> str:
        return self.record.key_in_message


@dataclass(frozen=True)
class SandboxRequests:
    """The requests of a sandbox; at most `MAX_SHOWN` of each kind.

    `problem` is why those that were rejected are unknown.
    """

    line: WaitingLine
    every_rejected: Sequence[Rejected]
    problem: str = ""

    @property
    def sandbox(self) -> str:
        return self.line.sandbox

    @property
    def why_waiting(self) -> str:
        """What all requests in line wait for."""
        return self.line.in_words(self.line.wait_in_line())

    def waiting(self) -> Iterator[tuple[str, Ticket]]:
        """In order, each with its place; then those between two tries, and the cancel requests."""
        for place, ticket in enumerate(self.line.creates[:MAX_SHOWN], start=1):
            yield str(place), ticket
        for ticket in self.line.delayed[:MAX_SHOWN]:
            yield "retry", ticket
        for ticket in self.line.cancels[:MAX_SHOWN]:
            yield "cancel", ticket

    @property
    def more_waiting(self) -> int:
        kinds = (self.line.creates, self.line.delayed, self.line.cancels)
        return sum(max(0, len(kind) - MAX_SHOWN) for kind in kinds)

    @property
    def more_in_progress(self) -> int:
        kinds = (self.line.attempts, self.line.jobs_of_requests)
        return sum(max(0, len(kind) - MAX_SHOWN) for kind in kinds)

    @property
    def rejected(self) -> Sequence[Rejected]:
        return self.every_rejected[:MAX_SHOWN]

    @property
    def has_more_rejected(self) -> bool:
        return len(self.every_rejected) > MAX_SHOWN

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Create calls whose outcome is unknown."""
        return self.line.attempts[:MAX_SHOWN]

    @property
    def jobs(self) -> Sequence[JobRecord]:
        """The open jobs that requests have created."""
        return self.line.jobs_of_requests[:MAX_SHOWN]


def requests_of(
    line: WaitingLine, rejected: Sequence[RequestRecord], *, problem: str = ""
) -> SandboxRequests:
    return SandboxRequests(
        line,
        [Rejected(record, fields_of(record.reason or "")) for record in rejected],
        problem,
    )


def fields_of(reason: str) -> list[str]:
    """The reason of a rejection, apart for each wrong field that it names."""
    return _NEXT_FIELD.split(reason) if reason else []
