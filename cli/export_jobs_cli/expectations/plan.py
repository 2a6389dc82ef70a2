"""What applying a file changes: functions of what is stored and what the file says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from export_jobs.model.expectations import Expectation, ExpectationRecord

from export_jobs_cli.expectations.file import written

Kind = Literal["added", "changed", "removed"]
DEFAULT = "(default)"


@dataclass(frozen=True)
class FieldChange:
    """A field as it is called in the file, with its values as texts."""

    field: str
    old: str
    new: str


@dataclass(frozen=True)
class Change:
    """One expectation that is to be written or removed; `record` is as it will be or, removed, was."""

    kind: Kind
    record: ExpectationRecord
    fields: tuple[FieldChange, ...] = ()

    @property
    def name(self) -> str:
        return self.record.name


@dataclass(frozen=True)
class Plan:
    """The changes of a sandbox; `left` are the names that are stored and not in the file."""

    changes: tuple[Change, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def written(self) -> list[ExpectationRecord]:
        return [change.record for change in self.changes if change.kind != "removed"]

    @property
    def removed(self) -> list[ExpectationRecord]:
        return [change.record for change in self.changes if change.kind == "removed"]


def plan(
    stored: Sequence[ExpectationRecord],
    wanted: Sequence[Expectation],
    *,
    sandbox: str,
    prune: bool,
    now: int,
) -> Plan:
    """What makes the expectations of a sandbox those that are wanted."""
    known = {record.name: record for record in stored}
    changes = []
    for expectation in wanted:
        record = known.pop(expectation.name, None)
        if record is None:
            new = ExpectationRecord(sandbox, expectation, applied_at=now)
            changes.append(Change("added", new))
        elif record.expectation != expectation:
            fields = tuple(differences(record.expectation, expectation))
            changes.append(Change("changed", changed(record, expectation, now=now), fields))
    if prune:
        changes += [Change("removed", record) for record in known.values()]
        return Plan(tuple(changes))
    return Plan(tuple(changes), left=tuple(known))


def changed(record: ExpectationRecord, new: Expectation, *, now: int) -> ExpectationRecord:
    """The record with another definition, which applies from the next window to begin.

    A window that has opened keeps the definition with which it opened. One that has not is planned
    again by the next sweep, as for an expectation that is applied now.
    """
    window = record.window
    if window is None or window.opens > now:
        return replace(record, expectation=new, in_force=None, window=None, applied_at=now)
    in_force = record.in_force or record.expectation
    return replace(record, expectation=new, in_force=None if in_force == new else in_force)


def differences(old: Expectation, new: Expectation) -> list[FieldChange]:
    """The fields of the file that differ."""
    before, after = written(old), written(new)
    return [
        FieldChange(
            name, field_text(before.get(name, DEFAULT)), field_text(after.get(name, DEFAULT))
        )
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def field_text(value: Any) -> str:
    """A value of an entry of the file."""
    return ", ".join(value) if isinstance(value, list) else str(value)
