"""Steps written in one transaction: those that were outrun are left out, and the rest is tried again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from export_jobs.aws.calls import Cancelled, transact
from export_jobs.aws.gate import GatePart, gate_of
from export_jobs.aws.items import Writer, outbox_key, ticket_key
from export_jobs.aws.writes import Item, Write, size_of
from export_jobs.model.ports import TableUnavailable
from export_jobs.model.records import Gate
from export_jobs.model.steps import GateChange, Step

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

MAX_ACTIONS = 100
MAX_BYTES = 3_500_000
"""DynamoDB takes 4 MB a transaction, and does not say how it counts what an update leaves as it is."""
MAX_ROUNDS = 25
"""Every round leaves out what was outrun: one for each step, and some for a gate that keeps changing."""


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


class Commit:
    """Writes steps, as `model.ports.RequestTable.commit` says."""

    def __init__(self, client: DynamoDBClient, writer: Writer) -> None:
        self._client = client
        self._writer = writer

    def __call__(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None
    ) -> frozenset[int]:
        change = gate or GateChange()
        if change.version is None and any(s.slot and s.slot.change == "note" for s in steps):
            raise ValueError("attempts are noted by a version of the gate")
        numbered = dict(enumerate(steps))
        if change != GateChange() or any(step.slot or step.forget for step in steps):
            return frozenset(self._write(sandbox, numbered, change))
        written: set[int] = set()
        for some in self._by_size(numbered):
            written |= self._write(sandbox, some, change)
        return frozenset(written)

    def _write(self, sandbox: str, steps: Mapping[int, Step], change: GateChange) -> set[int]:
        left = dict(steps)
        known: Gate | None = None
        if change.version == 0:  # no slot was ever taken, so there is none to settle
            left = {n: s for n, s in left.items() if not s.slot or s.slot.change == "note"}
        for _ in range(MAX_ROUNDS):
            plan = self._plan(sandbox, left, change, known)
            if not plan.actions:
                return plan.steps
            try:
                transact(self._client, plan.actions, f"write {len(plan.steps)} steps of requests")
            except Cancelled as cancelled:
                for position in cancelled.failed:
                    owner = plan.owners[position]
                    if owner is not None:
                        left.pop(owner, None)
                        continue
                    known = gate_of(cancelled.found(position), sandbox)
                    for number in plan.gate.outrun(known):
                        left.pop(number, None)
            else:
                return plan.steps
        raise TableUnavailable("can't write steps of requests: they change faster than it goes")

    def _plan(
        self, sandbox: str, steps: Mapping[int, Step], change: GateChange, known: Gate | None
    ) -> _Plan:
        """All steps but those that touch what an earlier one writes."""
        touched: set[tuple[str, ...]] = set()
        taken: dict[int, Step] = {}
        actions: list[tuple[int, dict[str, Any]]] = []
        for number, step in steps.items():
            mine = list(self._actions(step))
            places = {_place(action) for action in mine}
            if step.slot:
                places.add(("slot", step.slot.attempt.request_key))
            if places & touched:
                continue
            touched |= places
            taken[number] = step
            actions += [(number, action) for action in mine]
        plan = _Plan(GatePart.of(sandbox, taken, change), steps=set(taken))
        for number, action in actions:
            plan.add(action, number)
        gate = plan.gate.write(self._writer.jobs_table, known=known)
        if gate is not None:
            plan.add(gate.as_action(), None)
        return plan

    def _actions(self, step: Step) -> Iterator[dict[str, Any]]:
        """Of one step. A ticket that is dropped and added stays, at its new place."""
        writes: list[Write] = [
            *map(self._writer.request, step.requests),
            *map(self._writer.job, step.jobs),
            *map(self._writer.outbox_item, step.outbox),
            *map(self._writer.ticket, step.add_tickets),
        ]
        for write in writes:
            yield write.as_action()
        for item in step.published:
            delete = Write(self._writer.jobs_table, outbox_key(item))
            delete.require(f"{delete.path('version')} = {delete.value({'N': str(item.version)})}")
            yield delete.as_action(deletes=True)
        kept = [ticket_key(ticket) for ticket in step.add_tickets]
        for ticket in step.drop_tickets:
            if ticket_key(ticket) not in kept:
                yield Write(self._writer.jobs_table, ticket_key(ticket)).as_action(deletes=True)

    def _by_size(self, steps: Mapping[int, Step]) -> Iterator[Mapping[int, Step]]:
        """The steps in parts that one transaction takes each, by number and by size."""
        part: dict[int, Step] = {}
        actions = size = 0
        for number, step in steps.items():
            mine = list(self._actions(step))
            my_size = sum(map(_size_of, mine))
            if part and (actions + len(mine) > MAX_ACTIONS or size + my_size > MAX_BYTES):
                yield part
                part, actions, size = {}, 0, 0
            part[number] = step
            actions += len(mine)
            size += my_size
        if part:
            yield part


def _place(action: Mapping[str, Any]) -> tuple[str, ...]:
    """The item that an action is about."""
    ((_, request),) = action.items()
    key: Item = request["Key"]
    return (request["TableName"], *(value["S"] for value in key.values()))


def _size_of(action: Mapping[str, Any]) -> int:
    """What an action brings: names are counted with the values by their placeholders, so about."""
    ((_, request),) = action.items()
    return size_of(request["Key"]) + size_of(request.get("ExpressionAttributeValues", {}))
