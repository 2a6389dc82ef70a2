"""The gate of a sandbox, which every admission passes, as an item.

Its slots and its former attempts are maps that are written by path, so that runs that settle
different attempts at the same time don't undo each other's changes. A transaction can't write an
item twice, so all its changes of the gate are one update, under one condition. If that fails, the
item shows which of the changes have been superseded by other runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from export_jobs.aws.dynamodb.items import FORMAT, OPEN_GATE, gate_key
from export_jobs.aws.dynamodb.writes import Item, Value, Write, number, text
from export_jobs.model.ports import GateMoved
from export_jobs.model.records import Attempt, Gate, Hold
from export_jobs.model.steps import MAX_EXPIRED, GateChange, SlotChange, Step


def gate_of(item: Item | None, sandbox: str) -> Gate:
    """The gate as stored; one that was never written has version 0."""
    if item is None:
        return Gate(sandbox)
    slots: Mapping[str, Value] = item.get("slots", {}).get("M", {})
    former: Mapping[str, Value] = item.get("former", {}).get("M", {})
    return Gate(
        sandbox,
        slots={key: _attempt_of(value, request_key=key) for key, value in slots.items()},
        former={id_: _attempt_of(value, request_id=id_) for id_, value in former.items()},
        hold=Hold(_number(item, "holdUntil"), _number(item, "holdLength")),
        echoes=item["echoes"].get("BOOL") if "echoes" in item else None,
        version=_number(item, "version"),
    )


@dataclass(frozen=True)
class GatePart:
    """The changes of a gate in one transaction; those of slots by the number of their step."""

    sandbox: str
    slot_changes: Mapping[int, SlotChange]
    forget: frozenset[str]
    change: GateChange

    @classmethod
    def of(cls, sandbox: str, steps: Mapping[int, Step], change: GateChange) -> GatePart:
        return cls(
            sandbox,
            {n: step.slot_change for n, step in steps.items() if step.slot_change},
            frozenset(step.forget for step in steps.values() if step.forget is not None),
            change,
        )

    def write(self, table: str, *, known: Gate | None) -> Write | None:
        """One update; None if there is nothing to do.

        `known` is the gate that an earlier try found, if any.
        """
        change = self.change
        write = Write(table, gate_key(self.sandbox), return_old=True)
        if change.hold is not None and not (known and known.hold.outlasts(change.hold)):
            _write_hold(write, change.hold)
        if change.echoes is not None:
            write.set({"BOOL": change.echoes}, "echoes")
        noted = [one.attempt for one in self.slot_changes.values() if one.kind == "note"]
        if noted and change.version is not None:
            write.set(number(change.version + 1), "version")
        if change.version == 0:  # no attempt was ever noted, so the maps don't exist yet
            if noted:
                slots = {attempt.request_key: _slot_value(attempt) for attempt in noted}
                write.set({"M": slots}, "slots")
                write.set({"M": {}}, "former")
        else:
            self._write_paths(write, known)
        if write.changes or change.version is not None:
            # Always an update: a condition check alone would need another permission.
            write.set(text(OPEN_GATE), "openKey")
            write.set(number(FORMAT), "format")
        if change.version is not None:
            write.require_version(change.version)
        return write if write.changes else None

    def outrun(self, found: Gate) -> frozenset[int]:
        """The steps that other runs have superseded, by the gate that was found instead.

        Raises GateMoved if that has another version than the one that admits.
        """
        if self.change.version not in {None, found.version}:
            raise GateMoved(found)
        return frozenset(n for n, one in self.slot_changes.items() if not _applies(one, found))

    def _write_paths(self, write: Write, known: Gate | None) -> None:
        """Changes the maps. DynamoDB refuses a path into a map that does not exist."""
        expired, former = self._removed(known)
        if self.change.version is None and (self.slot_changes or expired or former):
            write.require(f"attribute_exists({write.path('version')})")
        for one in self.slot_changes.values():
            _require_slot(write, one)
            _write_slot(write, one)
        for key in expired:
            slot_path, job_path = write.path("slots", key), write.path("slots", key, "jobId")
            write.require(f"attribute_exists({job_path})", f"attribute_not_exists({slot_path})")
            write.remove("slots", key)
        for request_id in former:
            write.remove("former", request_id)

    def _removed(self, known: Gate | None) -> tuple[Collection[str], Collection[str]]:
        """The slots and the former attempts to remove, except those that a step writes."""
        expired = set(self.change.expired_slots[:MAX_EXPIRED])
        expired -= {one.attempt.request_key for one in self.slot_changes.values()}
        former = self.forget | set(self.change.expired_former[:MAX_EXPIRED])
        former -= {
            one.attempt.request_id for one in self.slot_changes.values() if one.kind == "give up"
        }
        if known is not None:
            linked = {key for key, slot in known.slots.items() if slot.job_id is not None}
            expired &= linked
            former &= known.former.keys()
        return sorted(expired), sorted(former)


def _write_hold(write: Write, hold: Hold) -> None:
    """Writes the hold under the same condition as `Hold.outlasts`."""
    if not hold.until:
        write.put([("holdUntil", None), ("holdLength", None)])
        return
    until = write.path("holdUntil")
    write.require(f"attribute_not_exists({until})", f"{until} <= {write.value(number(hold.until))}")
    write.put([("holdUntil", number(hold.until)), ("holdLength", number(hold.length_ms))])


def _applies(change: SlotChange, gate: Gate) -> bool:
    """Whether the gate's slot is still as the change takes it to be."""
    found = gate.slots.get(change.attempt.request_key)
    if change.kind == "note":
        return found is None or found.job_id is not None
    return (
        found is not None and found.request_id == change.attempt.request_id and found.job_id is None
    )


def _require_slot(write: Write, change: SlotChange) -> None:
    """Requires what `_applies` checks."""
    key = change.attempt.request_key
    job = write.path("slots", key, "jobId")
    if change.kind == "note":
        slot_path = write.path("slots", key)
        write.require(f"attribute_not_exists({slot_path})", f"attribute_exists({job})")
    else:
        request_id = write.path("slots", key, "requestId")
        write.require(f"{request_id} = {write.value(text(change.attempt.request_id))}")
        write.require(f"attribute_not_exists({job})")


def _write_slot(write: Write, change: SlotChange) -> None:
    attempt, key = change.attempt, change.attempt.request_key
    match change.kind:
        case "note":
            write.set(_slot_value(attempt), "slots", key)
        case "link":
            write.set(_linked_value(attempt), "slots", key)
        case "miss":
            write.set(number(attempt.missed_at), "slots", key, "missedAt")
        case "drop":
            write.remove("slots", key)
        case "give up":
            write.remove("slots", key)
            former = {**_slot_value(attempt)["M"], "requestKey": text(key)}
            del former["requestId"]
            write.set({"M": former}, "former", attempt.request_id)


def _slot_value(attempt: Attempt) -> Value:
    """At most about 600 bytes with its key: an item holds 200, and as many former attempts."""
    value: dict[str, Any] = {
        "requestId": text(attempt.request_id),
        "notedAt": number(attempt.noted_at),
        "sendBy": number(attempt.send_by),
        "hashes": {"M": {name: text(hash_) for name, hash_ in attempt.hashes.items()}},
        "rule": number(attempt.rule),
    }
    if attempt.missed_at:
        value["missedAt"] = number(attempt.missed_at)
    if attempt.try_number > 1:
        value["tryNumber"] = number(attempt.try_number)
    if attempt.job_id is not None:
        value |= _linked_value(attempt)["M"]
    return {"M": value}


def _linked_value(attempt: Attempt) -> Value:
    """What is still needed of an attempt whose job is known."""
    value: dict[str, Any] = {
        "requestId": text(attempt.request_id),
        "linkedAt": number(attempt.linked_at),
    }
    if attempt.job_id is not None:
        value["jobId"] = text(attempt.job_id)
    return {"M": value}


def _attempt_of(
    value: Value, *, request_key: str | None = None, request_id: str | None = None
) -> Attempt:
    slot: Item = value.get("M", {})
    hashes: Mapping[str, Value] = slot.get("hashes", {}).get("M", {})
    return Attempt(
        request_key=request_key or _text(slot, "requestKey") or "",
        request_id=request_id or _text(slot, "requestId") or "",
        noted_at=_number(slot, "notedAt"),
        send_by=_number(slot, "sendBy"),
        hashes={name: str(hash_.get("S", "")) for name, hash_ in hashes.items()},
        rule=_number(slot, "rule"),
        missed_at=_number(slot, "missedAt"),
        job_id=_text(slot, "jobId"),
        linked_at=_number(slot, "linkedAt"),
        try_number=_number(slot, "tryNumber") or 1,
    )


def _number(item: Item, name: str) -> int:
    return int(item.get(name, {}).get("N", 0))


def _text(item: Item, name: str) -> str | None:
    return item.get(name, {}).get("S")
