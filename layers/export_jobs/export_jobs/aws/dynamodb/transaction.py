"""Writes steps in one transaction: leaves out those superseded by other runs, and tries again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from export_jobs.aws.dynamodb.calls import Cancelled, transact
from export_jobs.aws.dynamodb.gate import GatePart, gate_of
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import Write, size_of
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import Gate
from export_jobs.model.steps import GateChange, Step

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from export_jobs.model.expectations import ExpectationRecord

_T = TypeVar("_T")

MAX_ACTIONS = 100
MAX_BYTES = 3_500_000
"""DynamoDB takes 4 MB per transaction; how it counts attributes that stay unchanged is unknown."""
MAX_ROUNDS = 25
"""Every round leaves out superseded steps: one for each step, and some for a changing gate."""


@dataclass(frozen=True)
class _Prepared:
    """A step and its actions, which are the same in every try."""

    step: Step
    actions: tuple[dict[str, Any], ...]
    places: frozenset[tuple[str, ...]]
    """The items of the actions, and the step's slot."""
    size: int
    """The approximate size of what the actions write, in bytes."""


@dataclass
class _Plan:
    """One try: the actions, and their owners (the number of a step, None for the gate)."""

    gate: GatePart
    actions: list[dict[str, Any]] = field(default_factory=list)
    owners: list[int | None] = field(default_factory=list)
    steps: set[int] = field(default_factory=set)

    def add(self, action: dict[str, Any], owner: int | None) -> None:
        self.actions.append(action)
        self.owners.append(owner)

    def outrun(self, cancelled: Cancelled) -> tuple[set[int], Gate | None]:
        """The steps that other runs have superseded, and the gate that was found if it changed."""
        owners = {self.owners[position] for position in cancelled.failed}
        outrun = {owner for owner in owners if owner is not None}
        if None not in owners:
            return outrun, None
        found = gate_of(cancelled.found(self.owners.index(None)), self.gate.sandbox)
        return outrun | self.gate.outrun(found), found


class Commit:
    """Writes steps, as `model.ports.RequestStore.commit` specifies."""

    def __init__(self, client: DynamoDBClient, writer: Writer) -> None:
        self._client = client
        self._writer = writer

    def __call__(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None
    ) -> frozenset[int]:
        change = gate or GateChange()
        if change.version is None and any(
            s.slot_change and s.slot_change.kind == "note" for s in steps
        ):
            raise ValueError("noting attempts requires a version of the gate")
        numbered = {n: self._prepared(sandbox, step) for n, step in enumerate(steps)}
        if change != GateChange() or any(step.slot_change or step.forget for step in steps):
            return frozenset(self._write(sandbox, numbered, change))
        written: set[int] = set()
        for some in self._by_size(numbered):
            written |= self._write(sandbox, some, change)
        return frozenset(written)

    def _write(self, sandbox: str, steps: Mapping[int, _Prepared], change: GateChange) -> set[int]:
        left = _without_slots_to_settle(steps) if change.version == 0 else dict(steps)
        known: Gate | None = None
        for _ in range(MAX_ROUNDS):
            plan = self._plan(sandbox, left, change, known)
            if not plan.actions:
                return plan.steps
            try:
                transact(self._client, plan.actions, f"write {len(plan.steps)} steps")
            except Cancelled as cancelled:
                outrun, found = plan.outrun(cancelled)
                known = found or known
                left = {number: one for number, one in left.items() if number not in outrun}
            else:
                return plan.steps
        raise StoreUnavailable("can't write steps: their records keep changing")

    def _plan(
        self, sandbox: str, steps: Mapping[int, _Prepared], change: GateChange, known: Gate | None
    ) -> _Plan:
        """All steps, except those that touch what an earlier one writes."""
        touched: set[tuple[str, ...]] = set()
        taken: dict[int, Step] = {}
        actions: list[tuple[int, dict[str, Any]]] = []
        for number, one in steps.items():
            if one.places & touched:
                continue
            touched |= one.places
            taken[number] = one.step
            actions += [(number, action) for action in one.actions]
        plan = _Plan(GatePart.of(sandbox, taken, change), steps=set(taken))
        for number, action in actions:
            plan.add(action, number)
        gate = plan.gate.write(self._writer.jobs_table, known=known)
        if gate is not None:
            plan.add(gate.as_action(), None)
        return plan

    def _prepared(self, sandbox: str, step: Step) -> _Prepared:
        """Makes the actions. A ticket that is both dropped and added stays, in its new position."""
        writes = [
            *map(self._writer.request, step.requests),
            *map(self._writer.job, step.jobs),
            *map(self._writer.outbox_item, step.outbox),
            *map(self._writer.ticket, step.add_tickets),
            *map(self._expectation, step.expectations),
            *([self._writer.digest(sandbox, step.digest)] if step.digest else []),
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
        if step.slot_change:
            places.add(("slot", step.slot_change.attempt.request_key))
        return _Prepared(
            step,
            actions=(
                *(write.as_action() for write in writes),
                *(delete.as_action(deletes=True) for delete in deletes),
            ),
            places=frozenset(places),
            size=sum(size_of(write.written) for write in both),
        )

    def _expectation(self, record: ExpectationRecord) -> Write:
        from export_jobs.aws.dynamodb import expectations  # noqa: PLC0415  not for a quiet sweep

        return expectations.written(record, self._writer.jobs_table)

    def _by_size(self, steps: Mapping[int, _Prepared]) -> Iterator[Mapping[int, _Prepared]]:
        """The steps in parts that each fit one transaction."""
        sizes = ((number, len(one.actions), one.size) for number, one in steps.items())
        for some in in_parts(sizes, most=MAX_ACTIONS):
            yield {number: steps[number] for number in some}


def in_parts(whole: Iterable[tuple[_T, int, int]], *, most: int) -> Iterator[list[_T]]:
    """Parts that each fit one transaction, of elements with their numbers of actions and bytes."""
    part: list[_T] = []
    actions = size = 0
    for element, its_actions, its_size in whole:
        if part and (actions + its_actions > most or size + its_size > MAX_BYTES):
            yield part
            part, actions, size = [], 0, 0
        part.append(element)
        actions += its_actions
        size += its_size
    if part:
        yield part


def _without_slots_to_settle(steps: Mapping[int, _Prepared]) -> dict[int, _Prepared]:
    """The steps that settle no slot, because a gate of version 0 has none."""
    return {
        number: one
        for number, one in steps.items()
        if not one.step.slot_change or one.step.slot_change.kind == "note"
    }
