"""What applying a file changes in the names of datasets and segments.

A name belongs to an id, and ids are not reused: each sandbox gets all names of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from export_jobs.model.names import Names

from export_jobs_cli.stack import DeployedSystem


@dataclass(frozen=True)
class NameChange:
    """A name that is added (`old` is None), changed, or removed (`new` is None)."""

    of: Literal["dataset", "segment"]
    id: str
    old: str | None
    new: str | None

    @property
    def kind(self) -> Literal["added", "changed", "removed"]:
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "of": self.of, "id": self.id, "old": self.old, "new": self.new}


@dataclass(frozen=True)
class AppliedNames:
    """The changes, each once for all sandboxes; `left`: how many names the file does not have."""

    changes: tuple[NameChange, ...] = ()
    left: int = 0


NO_CHANGE = AppliedNames()


def apply(
    system: DeployedSystem,
    wanted: Names,
    sandboxes: Sequence[str],
    *,
    prune: bool,
    dry_run: bool,
) -> AppliedNames:
    """Gives some sandboxes the names that are wanted; only `prune` removes others."""
    changes: dict[NameChange, None] = {}
    left: set[str] = set()
    for sandbox in sandboxes:
        stored = system.names(sandbox)
        datasets = _after(stored.datasets, wanted.datasets, prune=prune)
        segments = _after(stored.segments, wanted.segments, prune=prune)
        found = [
            *_changes("dataset", stored.datasets, datasets),
            *_changes("segment", stored.segments, segments),
        ]
        if found and not dry_run:
            system.store.put_names(sandbox, Names(datasets, segments))
        changes |= dict.fromkeys(found)
        left |= (datasets.keys() - wanted.datasets) | (segments.keys() - wanted.segments)
    return AppliedNames(tuple(changes), len(left))


def _after(
    stored: Mapping[str, str], wanted: Mapping[str, str], *, prune: bool
) -> Mapping[str, str]:
    return wanted if prune else {**stored, **wanted}


def _changes(
    of: Literal["dataset", "segment"], before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[NameChange]:
    for known_id in dict.fromkeys((*after, *before)):
        old, new = before.get(known_id), after.get(known_id)
        if old != new:
            yield NameChange(of, known_id, old, new)
