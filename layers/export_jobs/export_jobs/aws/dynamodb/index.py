"""The contents of the local index `open` for a sandbox."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from export_jobs.aws.dynamodb import items
from export_jobs.aws.dynamodb.gate import gate_of
from export_jobs.aws.dynamodb.writes import Item
from export_jobs.model.records import (
    DigestState,
    ExpectationsState,
    Gate,
    JobRecord,
    OutboxItem,
    SandboxState,
    Ticket,
)

logger = logging.getLogger(__name__)

_warned_of: set[str] = set()


@dataclass
class Found:
    """The contents of pages of the index, by kind."""

    gate: Gate | None = None
    state: SandboxState | None = None
    expected: ExpectationsState = field(default_factory=ExpectationsState)
    digest: DigestState = field(default_factory=DigestState)
    jobs: dict[str, JobRecord] = field(default_factory=dict)
    outbox: list[OutboxItem] = field(default_factory=list)
    tickets: dict[str, Ticket] = field(default_factory=dict)
    """By request key: a ticket that is moved while the index is read may appear twice."""

    @property
    def in_line(self) -> tuple[Ticket, ...]:
        return tuple(sorted(self.tickets.values(), key=lambda ticket: ticket.place))

    def add_page(self, page: Sequence[Item]) -> None:
        """Adds a page. Skips items of an unknown kind, with one warning per process."""
        for item in page:
            try:
                known = self._add(item)
            except (KeyError, ValueError):  # another version has written its key
                known = False
            if not known and not _warned_of:
                _warned_of.add(item["sk"].get("S", ""))
                logger.warning("skipped an item of an unknown kind: %s", item["sk"])

    def _add(self, item: Item) -> bool:
        """Adds an item. Returns whether its kind is known."""
        key = item["sk"]["S"]
        if key.startswith(items.TICKET):
            ticket = items.ticket_of(item)
            self.tickets[ticket.request_key] = ticket
        elif key.startswith(items.JOB):
            job = items.job_of(item)
            self.jobs[job.job_id] = job
        elif key.startswith(items.OUTBOX):
            self.outbox.append(items.outbox_item_of(item))
        elif key == items.STATE:
            self.state = items.state_of(item)
            self.expected = items.expected_of(item)
            self.digest = items.digest_of(item)
        elif key == items.GATE:
            self.gate = gate_of(item, item["sandbox"]["S"])
        else:
            return False
        return True
