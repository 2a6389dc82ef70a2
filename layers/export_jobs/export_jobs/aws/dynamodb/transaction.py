"""Steps written in one transaction: those that were outrun are left out, and the rest is tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from export_jobs.aws.dynamodb.calls import Cancelled, transact
from export_jobs.aws.dynamodb.gate import GatePart, gate_of
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import size_of
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import Gate
from export_jobs.model.steps import GateChange, Step

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ACTIONS = 100
MAX_BYTES = 3_500_000
"""DynamoDB takes 4 MB a transaction, and does not say how it counts what an update leaves as it is."""
MAX_ROUNDS = 25
"""Every round leaves out what was outrun: one for each step, and some for a gate that keeps changing."""


@dataclass(frozen=True)
class _Asked:
    """A step and the actions it is made of, which are the same in every try."""

    step: Step
    actions: tuple[dict[str, Any], ...]
    places: frozenset[tuple[str, ...]]
    """The items that the actions are about, and the step's slot."""
    size: int
    """What the actions bring, in bytes, about."""


@dataclass
class _Plan:
    """One try: the actions, and whose they are (the number of a step, None for the gate)."""

    gate: GatePart
    actions: list[dict[str, Any]] = field(default_factory=list)
    owners: list[int | None] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)

    def add(self, action: dict[str, Any], owner: int | None) -> None:
        self.actions.append(action)
        self.owners.append(owner)

    def outrun(self, cancelled: Cancelled) -> tuple[set[int], Gate | None]:
        """The steps that somebody else has outrun, and the gate as it was found, if it had changed."""
        owners = {self.owners[position] for position in cancelled.failed}
        outrun = {owner for owner in owners if owner is not None}
        if None not in owners:
            return outrun, None
        found = gate_of(cancelled.found(self.owners.index(None)), self.gate.sandbox)
        return outrun | self.gate.outrun(found), found


class Commit:
    """Writes steps, as `model.ports.RequestStore.commit` says."""

    def __init__(self, client: DynamoDBClient, writer: Writer) -> None:
        self._client = client
        self._writer = writer

    def __call__(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None
    ) -> frozenset[int]:
        change = gate or GateChange()
        if change.version is None and any(s.slot and s.slot.change == "note" for s in steps):
            raise ValueError("attempts are noted by a version of the gate")
        numbered = {n: self._asked(step) for n, step in enumerate(steps)}
        if change != GateChange() or any(step.slot or step.forget for step in steps):
            return frozenset(self._write(sandbox, numbered, change))
        written: set[int] = set()
        for some in self._by_size(numbered):
            written |= self._write(sandbox, some, change)
        return frozenset(written)

    def _write(self, sandbox: str, steps: Mapping[int, _Asked], change: GateChange) -> set[int]:
        left = _without_slots_to_settle(steps) if change.version == 0 else dict(steps)
        known: Gate | None = None
        for _ in range(MAX_ROUNDS):
            plan = self._plan(sandbox, left, change, known)
            if not plan.actions:
                return plan.steps
            try:
                transact(self._client, plan.actions, f"write {len(plan.steps)} steps of requests")
            except Cancelled as cancelled:
                outrun, found = plan.outrun(cancelled)
                known = found or known
                left = {number: asked for number, asked in left.items() if number not in outrun}
            else:
                return plan.steps
        raise StoreUnavailable("can't write steps of requests: they change faster than it goes")

    def _plan(
        self, sandbox: str, steps: Mapping[int, _Asked], change: GateChange, known: Gate | None
    ) -> _Plan:
        """All steps but those that touch what an earlier one writes."""
        touched: set[tuple[str, ...]] = set()
        taken: dict[int, Step] = {}
        actions: list[tuple[int, dict[str, Any]]] = []
        for number, asked in steps.items():
            if asked.places & touched:
                continue
            touched |= asked.places
            taken[number] = asked.step
            actions += [(number, action) for action in asked.actions]
        plan = _Plan(GatePart.of(sandbox, taken, change), steps=set(taken))
        for number, action in actions:
            plan.add(action, number)
        gate = plan.gate.write(self._writer.jobs_table, known=known)
        if gate is not None:
            plan.add(gate.as_action(), None)
        return plan

    def _asked(self, step: Step) -> _Asked:
        """A ticket that is dropped and added stays, at its new place."""
        writes = [
            *map(self._writer.request, step.requests),
            *map(self._writer.job, step.jobs),
            *map(self._writer.outbox_item, step.outbox),
            *map(self._writer.ticket, step.add_tickets),
        ]
        kept = [write.key for write in writes]
        deletes = [
            *map(self._writer.published, step.published),
            *(
                dropped
                for dropped in map(self._writer.ticket_dropped, step.drop_tickets)
                if dropped.key not in kept
            ),
        ]
        both = (*writes, *deletes)
        places = {(write.table, *(part["S"] for part in write.key.values())) for write in both}
        if step.slot:
            places.add(("slot", step.slot.attempt.request_key))
        return _Asked(
            step,
            actions=(
                *(write.as_action() for write in writes),
                *(delete.as_action(deletes=True) for delete in deletes),
            ),
            places=frozenset(places),
            size=sum(size_of(write.written) for write in both),
        )

    def _by_size(self, steps: Mapping[int, _Asked]) -> Iterator[Mapping[int, _Asked]]:
        """The steps in parts that one transaction takes each, by number and by size."""
        part: dict[int, _Asked] = {}
        actions = size = 0
        for number, asked in steps.items():
            too_many = actions + len(asked.actions) > MAX_ACTIONS
            if part and (too_many or size + asked.size > MAX_BYTES):
                yield part
                part, actions, size = {}, 0, 0
            part[number] = asked
            actions += len(asked.actions)
            size += asked.size
        if part:
            yield part


def _without_slots_to_settle(steps: Mapping[int, _Asked]) -> dict[int, _Asked]:
    """The steps that a gate allows in which no slot was ever taken: there is none to settle."""
    return {
        number: asked
        for number, asked in steps.items()
        if not asked.step.slot or asked.step.slot.change == "note"
    }
