"""`expectation apply|list|show|mute|unmute|remove`: how they print.

Times are those of the expectation's own zone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from export_jobs.contract.times import rfc3339
from export_jobs.model.calendar import local_time
from export_jobs.model.expectations import ExpectationRecord, PastWindow, Window
from export_jobs.model.names import Names
from rich.console import Console

from export_jobs_cli import output
from export_jobs_cli.expectations.fields import DAYS
from export_jobs_cli.expectations.file import written
from export_jobs_cli.expectations.names import AppliedNames
from export_jobs_cli.expectations.plan import FieldChange, differences, field_text
from export_jobs_cli.expectations.stored import Applied

State = Literal["OK", "OVERDUE", "MUTED", "NEW", "ENDED", "UNREADABLE"]
_SIGNS = {"added": "+", "changed": "~", "removed": "-"}


def state_of(record: ExpectationRecord, *, now: int) -> State:
    """NEW: the next sweep plans its window. ENDED: no day is left. UNREADABLE: apply it again."""
    if not record.can_be_read:
        return "UNREADABLE"
    if record.is_muted(now):
        return "MUTED"
    if record.is_overdue:
        return "OVERDUE"
    if record.window is None:
        return "NEW" if record.expectation.next_window(now) else "ENDED"
    return "OK"


def local(epoch_ms: int | None, record: ExpectationRecord) -> str:
    """`Sun 2026-11-29 06:00`, in the expectation's zone; empty if there is no time."""
    if not epoch_ms:
        return ""
    at = local_time(epoch_ms, record.expectation.zone)
    return f"{DAYS[at.weekday()].capitalize()} {at:%Y-%m-%d %H:%M}"


def in_zone(epoch_ms: int, record: ExpectationRecord) -> str:
    """The same, with the name of the zone."""
    return f"{local(epoch_ms, record)} {record.expectation.timezone}"


def as_json(record: ExpectationRecord, *, names: Names, now: int) -> dict[str, Any]:
    return {
        "sandboxName": record.sandbox,
        "name": record.name,
        "state": state_of(record, now=now),
        "datasetName": names.datasets.get(record.expectation.dataset_id),
        "definition": written(record.expectation, record.sandbox),
        "inForce": written(record.in_force, record.sandbox) if record.in_force else None,
        "appliedAt": rfc3339(record.applied_at),
        "window": _window_as_json(record.window) if record.window else None,
        "overdueSince": rfc3339(record.overdue_since or None),
        "missedWindows": record.missed_windows,
        "mutedUntil": rfc3339(record.muted_until or None),
        "lastGoodAt": rfc3339(record.last_good_at),
        "windows": [_past_as_json(past) for past in record.history],
    }


def _window_as_json(window: Window) -> dict[str, Any]:
    return {
        "opensAt": rfc3339(window.opens),
        "closesAt": rfc3339(window.closes),
        "dueAt": rfc3339(window.due),
    }


def _past_as_json(past: PastWindow) -> dict[str, Any]:
    return {
        **_window_as_json(past.window),
        "outcome": past.outcome,
        "jobId": past.job_id,
        "goodAt": rfc3339(past.good_at),
    }


def show_applied(applied: Applied, *, sandboxes: int) -> None:
    """`sandboxes`: how many the stack watches; with only one, its name is left out."""
    console = output.console()
    for change in applied.changes:
        name = _name(change.record.sandbox, change.name, sandboxes=sandboxes)
        line = f"{_SIGNS[change.kind]} {name}"
        for one in change.fields:
            values = f"{output.plain(one.old)} → {output.plain(one.new)}"
            console.print(f"{line}: {one.field}: {values}", soft_wrap=True)
        if not change.fields:
            console.print(line, soft_wrap=True)
        elif change.record.in_force and change.record.window:
            due = in_zone(change.record.window.due, change.record)
            console.print(f"  applies after the window that is due {due}", soft_wrap=True)
    if applied.left:
        names = ", ".join(_name(*one, sandboxes=sandboxes) for one in applied.left)
        console.print(f"not in the file, and kept: {names}; --prune removes them", soft_wrap=True)
    _show_names(console, applied.names)
    console.print(_in_short(applied))


def _in_short(applied: Applied) -> str:
    if not (applied.changes or applied.names.changes):
        return "nothing to change"
    if not applied.written:
        return "dry run: nothing was written"
    return "written; the next sweep uses it" if applied.changes else "written"


def _show_names(console: Console, applied: AppliedNames) -> None:
    for change in applied.changes:
        line = f"{_SIGNS[change.kind]} {change.of} {output.plain(change.id)}"
        called = " → ".join(output.plain(name) for name in (change.old, change.new) if name)
        console.print(f"{line}: {called}", soft_wrap=True)
    if applied.left:
        console.print(f"names not in the file, and kept: {applied.left}; --prune removes them")


def _name(sandbox: str, name: str, *, sandboxes: int) -> str:
    return output.plain(name) if sandboxes == 1 else output.plain(f"{name} ({sandbox})")


def show_muted(record: ExpectationRecord) -> None:
    _say(record, f"is muted until {output.plain(in_zone(record.muted_until, record))}")


def show_unmuted(record: ExpectationRecord) -> None:
    _say(record, "is not muted")


def show_removed(record: ExpectationRecord) -> None:
    _say(record, "was removed")


def _say(record: ExpectationRecord, text: str) -> None:
    output.console().print(f"{output.plain(record.name)} {text}", soft_wrap=True)


def show_list(found: Sequence[ExpectationRecord], *, sandboxes: int, now: int) -> None:
    console = output.console()
    if not found:
        console.print("no expectations")
        return
    columns = ["name", "sandbox", "state", "due next", "overdue since", "muted until", "time zone"]
    rows = [_row(record, now=now) for record in found]
    unused = [at for at in (5, 4) if not any(row[at] for row in rows)]
    for at in [*unused, *([1] if sandboxes == 1 else [])]:
        for line in (columns, *rows):
            del line[at]
    output.print_table(console, output.table(columns, rows, shrinking=("time zone",)))


def _row(record: ExpectationRecord, *, now: int) -> list[str]:
    return [
        output.plain(record.name),
        output.plain(record.sandbox),
        output.styled(state_of(record, now=now)),
        local(record.window.due if record.window else None, record),
        local(record.overdue_since, record),
        local(record.muted_until if record.is_muted(now) else None, record),
        output.plain(record.expectation.timezone),
    ]


def show(record: ExpectationRecord, *, names: Names, now: int) -> None:
    console = output.console()
    state = output.styled(state_of(record, now=now))
    console.print(f"[bold]expectation {output.plain(record.name)}[/] {state}\n")
    muted = record.is_muted(now)
    output.facts(
        console,
        [
            *_fields(record, names),
            ("overdue since", local(record.overdue_since, record)),
            ("missed windows", str(record.missed_windows or "")),
            ("muted until", local(record.muted_until if muted else None, record)),
            ("last good", local(record.last_good_at, record)),
            ("window opens", local(record.window.opens if record.window else None, record)),
            ("due next", _due_next(record)),
        ],
    )
    if record.in_force and record.window:
        console.print(
            "\nIt was changed while this window was open. The window keeps the former fields:\n"
        )
        output.facts(
            console, [(one.field, output.plain(one.old)) for one in changed_fields(record)]
        )
    _show_history(console, record)


def _fields(record: ExpectationRecord, names: Names) -> list[tuple[str, str]]:
    """As they are called in the file; ids with their names."""
    entry = written(record.expectation, record.sandbox)
    del entry["name"]
    entry["datasetId"] = names.dataset(record.expectation.dataset_id)
    if record.expectation.segments:
        entry["segments"] = [names.segment(segment) for segment in record.expectation.segments]
    return [(name, output.plain(field_text(value))) for name, value in entry.items()]


def changed_fields(record: ExpectationRecord) -> list[FieldChange]:
    """What was changed while the window was open, which keeps the old values."""
    if record.in_force is None or record.window is None:
        return []
    return differences(record.in_force, record.expectation)


def _due_next(record: ExpectationRecord) -> str:
    return local(record.window.due, record) if record.window else "the next sweep plans it"


def _show_history(console: Console, record: ExpectationRecord) -> None:
    console.print(f"\nwindows ({output.plain(record.expectation.timezone)})", style="bold")
    if not record.history:
        console.print("none has ended yet")
        return
    columns = ["opened", "due", "outcome", "job", "made good"]
    rows = [
        [
            local(past.window.opens, record),
            local(past.window.due, record),
            output.styled(past.outcome),
            output.plain(past.job_id or ""),
            local(past.good_at, record),
        ]
        for past in record.history
    ]
    output.print_table(console, output.table(columns, rows, shrinking=("job",)))
