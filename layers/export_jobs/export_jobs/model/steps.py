"""What is written of a request at once, or not at all: the words that deciding and the tables share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from export_jobs.model.records import (
    Attempt,
    Hold,
    JobRecord,
    OutboxItem,
    RequestRecord,
    Ticket,
)

MAX_STEPS = 20
"""Steps in one transaction: DynamoDB takes 100 items, and a step has four at the most."""

MAX_EXPIRED = 25
"""How many expired slots, and how many former attempts, one transaction takes out of the gate."""

SlotChange = Literal["note", "link", "drop", "miss", "give up"]


@dataclass(frozen=True)
class Slot:
    """A change of an attempt's slot in the gate.

    `note` takes the slot. The others happen only if the slot is still that attempt's, and its outcome
    not settled: `link` writes down its job, `drop` frees the slot, `miss` writes down that a listing
    did not show the job, and `give up` frees the slot and keeps the attempt among the former ones.
    """

    change: SlotChange
    attempt: Attempt


@dataclass(frozen=True)
class Step:
    """One step of one request. Records replace the version they were read with.

    `outbox` items of version 0 are added, others are replaced; `published` ones are deleted.
    """

    requests: tuple[RequestRecord, ...] = ()
    jobs: tuple[JobRecord, ...] = ()
    add_tickets: tuple[Ticket, ...] = ()
    drop_tickets: tuple[Ticket, ...] = ()
    outbox: tuple[OutboxItem, ...] = ()
    published: tuple[OutboxItem, ...] = ()
    slot: Slot | None = None
    forget: str | None = None
    """The request id of a former attempt that no longer matters."""


@dataclass(frozen=True)
class GateChange:
    """A change of the gate that goes with the steps of a transaction.

    `version`: the attempts noted are admitted by this version of the gate; if it has moved, nothing is
    written. `expired_slots` are the keys of linked slots, `expired_former` the ids of former attempts
    to take out: the first `MAX_EXPIRED` of each, and of slots only those that still are linked. A
    `hold` that ends later than the new one stays.
    """

    version: int | None = None
    hold: Hold | None = None
    echoes: bool | None = None
    expired_slots: tuple[str, ...] = ()
    expired_former: tuple[str, ...] = ()
