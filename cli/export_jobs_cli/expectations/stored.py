"""The expectations of a stack: applies files to them, mutes and removes them.

Sweeps write the same records. If a sweep has written one in the meantime, the command reads it
again and repeats its write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Final

from export_jobs.model.expectations import ExpectationRecord
from export_jobs.model.ports import StoreRefused, StoreUnavailable

from export_jobs_cli.errors import UserError
from export_jobs_cli.expectations.file import ExpectationsFile
from export_jobs_cli.expectations.names import NO_CHANGE, AppliedNames
from export_jobs_cli.expectations.names import apply as apply_names
from export_jobs_cli.expectations.plan import Change, Plan, plan
from export_jobs_cli.stack import DeployedSystem

TRIES: Final = 3
PAUSE_S: Final = 0.3
_Records = Sequence[ExpectationRecord]


@dataclass(frozen=True)
class Applied:
    """What was done, or would be; `left` are the expectations that the file does not have."""

    changes: tuple[Change, ...]
    left: tuple[tuple[str, str], ...]
    """Sandboxes and names."""
    written: bool
    names: AppliedNames = NO_CHANGE

    def as_json(self) -> dict[str, Any]:
        kinds = ("added", "changed", "removed")
        return {
            "written": self.written,
            **{kind: [_as_json(c) for c in self.changes if c.kind == kind] for kind in kinds},
            "notInFile": [{"sandboxName": sandbox, "name": name} for sandbox, name in self.left],
            "names": [change.as_json() for change in self.names.changes],
        }


def _as_json(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = {"sandboxName": change.record.sandbox, "name": change.name}
    if change.kind == "changed":
        found["fields"] = {one.field: {"old": one.old, "new": one.new} for one in change.fields}
    return found


def apply(
    system: DeployedSystem,
    file: ExpectationsFile,
    *,
    sandbox: str | None,
    prune: bool,
    dry_run: bool,
    now: int,
) -> Applied:
    """Applies the expectations and names of the file to one sandbox, or to all.

    If the file has no expectations, or no names, those of the stack stay. Raises UserError.
    """
    sandboxes = system.sandboxes(sandbox)
    names = NO_CHANGE
    if file.names is not None:  # first, as they may be too many
        names = apply_names(system, file.names, sandboxes, prune=prune, dry_run=dry_run)
    changes: list[Change] = []
    left: list[tuple[str, str]] = []
    for name in () if file.entries is None else sandboxes:
        wanted = [
            entry.expectation
            for entry in file.entries or ()
            if (entry.sandbox or system.monitor.sandboxes[0]) == name
        ]

        def planned(stored: _Records, name: str = name, wanted: Any = wanted) -> Plan:
            return plan(stored, wanted, sandbox=name, prune=prune, now=now)

        if dry_run:
            done = planned(system.store.expectations(name))
        else:
            done = _edit(system, name, planned, done=changes)
        changes += done.changes
        left += [(name, one) for one in done.left]
    written = bool(changes or names.changes) and not dry_run
    return Applied(tuple(changes), tuple(left), written, names)


def named(system: DeployedSystem, name: str, *, sandbox: str | None) -> ExpectationRecord:
    """The expectation with this name. Raises UserError, with the nearest names, if there is none."""
    every = every_one(system, sandbox=sandbox)
    found = [record for record in every if record.name == name]
    if len(found) > 1:
        sandboxes = ", ".join(record.sandbox for record in found)
        raise UserError(
            f"several sandboxes have an expectation {name!r}: {sandboxes}; use --sandbox"
        )
    if found:
        return found[0]
    where = " or ".join(system.sandboxes(sandbox))
    nearest = get_close_matches(name[:128], {record.name for record in every}, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(nearest)}?"
        if nearest
        else f"see `{system.command('expectation list')}`"
    )
    raise UserError(f"there is no expectation {name!r} in {where}; {hint}")


def every_one(system: DeployedSystem, *, sandbox: str | None) -> list[ExpectationRecord]:
    """All expectations of one sandbox or of all, by sandbox and name."""
    return [
        record for name in system.sandboxes(sandbox) for record in system.store.expectations(name)
    ]


def mute(
    system: DeployedSystem, name: str, *, sandbox: str | None, until: Callable[[Any], int]
) -> ExpectationRecord:
    """Mutes one until a time, which `until` gets from its record; 0 unmutes. Returns the record."""
    record = named(system, name, sandbox=sandbox)
    muted_until = until(record)

    def planned(stored: _Records) -> Plan:
        current = _still_there(stored, record)
        if not current.can_be_read:  # writing it would replace what this version can't read
            raise UserError(f"the expectation {name!r} can't be read; apply its file again first")
        if current.muted_until == muted_until:
            return Plan()
        return Plan((Change("changed", replace(current, muted_until=muted_until)),))

    _edit(system, record.sandbox, planned)
    return replace(record, muted_until=muted_until)


def remove(system: DeployedSystem, name: str, *, sandbox: str | None) -> ExpectationRecord:
    """Removes one; returns what it was."""
    record = named(system, name, sandbox=sandbox)

    def planned(stored: _Records) -> Plan:
        return Plan((Change("removed", _still_there(stored, record)),))

    _edit(system, record.sandbox, planned)
    return record


def _still_there(stored: _Records, record: ExpectationRecord) -> ExpectationRecord:
    found = next((current for current in stored if current.name == record.name), None)
    if found is None:
        raise UserError(f"somebody else has just removed the expectation {record.name!r}")
    return found


def _edit(
    system: DeployedSystem,
    sandbox: str,
    planned: Callable[[_Records], Plan],
    *,
    done: Sequence[Change] = (),
) -> Plan:
    """Reads, plans and writes, repeatedly if others write meanwhile; returns all that was planned.

    `done`: what was written before, in other sandboxes, for the message of an error.
    """
    every: dict[str, Change] = {}
    for tries in range(1, TRIES + 1):
        found = planned(system.store.expectations(sandbox))
        every |= {change.name: change for change in found.changes}
        whole = Plan(tuple(every.values()), found.left)
        if not found.changes:
            return whole
        try:
            system.store.edit_expectations(sandbox, found.written, found.removed)
        except StoreUnavailable as error:
            if isinstance(error, StoreRefused):
                raise UserError("; ".join([str(error), *_written(done)])) from None
            if tries == TRIES:
                again = f"those of {sandbox} may be only partly written; run the command again"
                raise UserError("; ".join([str(error), *_written(done), again])) from None
            time.sleep(PAUSE_S)
        else:
            return whole
    raise AssertionError("the last try has returned or raised an error")


def _written(done: Sequence[Change]) -> list[str]:
    before = ", ".join(dict.fromkeys(change.record.sandbox for change in done))
    return [f"those of {before} were written"] if before else []
