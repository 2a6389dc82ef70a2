"""What is written of requests, expectations and the digest, step by step, each step atomic.

The rules make the steps, and the tables write them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from export_jobs.model.records import (
    Attempt,
    DigestState,
    Hold,
    JobRecord,
    OutboxItem,
    RequestRecord,
    Ticket,
)

if TYPE_CHECKING:
    from export_jobs.model.expectations import ExpectationRecord

MAX_STEPS = 20
"""Steps in one transaction: DynamoDB takes 100 items, and a step that is written together with
others has at most four."""

MAX_EXPIRED = 25
"""The most expired slots, and the most former attempts, that one transaction removes."""

SlotChangeKind = Literal["note", "link", "drop", "miss", "give up"]


@dataclass(frozen=True)
class SlotChange:
    """A change of an attempt's slot in the gate.

    `note` takes the slot. The others apply only if the slot is still that attempt's, and its
    outcome is not settled: `link` records its job, `drop` frees the slot, `miss` records that a
    listing did not show the job, and `give up` frees the slot and keeps the attempt as former.
    """

    kind: SlotChangeKind
    attempt: Attempt


@dataclass(frozen=True)
class Step:
    """One step of one request or expectation, or of the digest.

    Each record replaces the version that was read. `outbox` items of version 0 are added, others are replaced; `published` ones are deleted.
    """

    requests: tuple[RequestRecord, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    add_tickets: tuple[Ticket, ...] = ()
    drop_tickets: tuple[Ticket, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    published: tuple[OutboxItem, ...] = ()
    expectations: tuple[ExpectationRecord, ...] = ()
    digest: DigestState | None = None
    """Stands in the item of the sandbox's state."""
    slot_change: SlotChange | None = None
    forget: str | None = None
    """The request id of a former attempt to remove."""


@dataclass(frozen=True)
class GateChange:
    """A change of the gate, written with the steps of a transaction.

    `version` is the version of the gate by which attempts were admitted; if the gate has another
    one, nothing is written. `expired_slots` are the keys of linked slots, `expired_former` the ids
    of former attempts to remove: the first `MAX_EXPIRED` of each, and only slots that are still
    linked. A `hold` that ends later than the new one stays.
    """

    version: int | None = None
    hold: Hold | None = None
    echoes: bool | None = None
    expired_slots: tuple[str, ...] = ()
    expired_former: tuple[str, ...] = ()
