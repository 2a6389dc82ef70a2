"""Expectations as items of the jobs table, in partitions of their own.

An expectation's partition is its sandbox's name after `PREFIX`, so that a policy can let people
write expectations and nothing else. In this partition, the index `open` sorts them by what a sweep
needs first: those that are overdue, then the others by their deadlines.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from typing import Any

from export_jobs.aws.dynamodb.attributes import (
    Attribute,
    as_attributes,
    compact,
    fields_of,
    numbers,
)
from export_jobs.aws.dynamodb.items import FORMAT, turn_key
from export_jobs.aws.dynamodb.writes import Item, Write, number, text
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window

logger = logging.getLogger(__name__)

PREFIX = "!expectations#"
OVERDUE = "1#"
BY_DEADLINE = "2#"
AFTER_DEADLINES = "2$"
"""Sorts right after all expectations; what comes after them is of an unknown kind."""


def partition_of(sandbox: str) -> str:
    return PREFIX + sandbox


def due_key(due: int) -> str:
    """Sorts after the overdue expectations, like the deadlines."""
    return BY_DEADLINE + turn_key(due)


def deadline_of(item: Item) -> int:
    """The deadline of one that is not overdue."""
    return int(item["openKey"]["S"].removeprefix(BY_DEADLINE).partition("#")[0])


def _definition_of(stored: str) -> Expectation:
    return Expectation.from_definition(json.loads(stored))


def _definition_text(expectation: Expectation) -> str:
    return compact(expectation.as_definition())


def _window_text(window: Window) -> str:
    return compact(astuple(window))


def _window_of(stored: str) -> Window:
    return _window(json.loads(stored)[:3])  # a newer version may have more to say of it


def _window(moments: Iterable[Any]) -> Window:
    return Window(*map(int, moments))


def _history_text(history: Iterable[PastWindow]) -> str:
    return compact(
        [[*astuple(past.window), past.outcome, past.job_id, past.good_at] for past in history]
    )


def _history_of(stored: str) -> tuple[PastWindow, ...]:
    """A newer version may have more to say of each."""
    return tuple(PastWindow(_window(entry[:3]), *entry[3:6]) for entry in json.loads(stored))


_ATTRIBUTES = (
    Attribute("definition", "expectation", "S", _definition_text, _definition_of),
    Attribute("inForce", "in_force", "S", _definition_text, _definition_of),
    Attribute("window", "window", "S", _window_text, _window_of),
    Attribute("missed", "missed", "S", _window_text, _window_of),
    Attribute("history", "history", "S", _history_text, _history_of),
    *numbers("applied_at", "muted_until", "missed_windows", "overdue_since", "told_at"),
    *numbers("last_good_at", "version"),
)


def written(record: ExpectationRecord, table: str) -> Write:
    """Replaces version `record.version`."""
    write = Write(table, _key(record), is_new=record.version == 0)
    write.put(
        (name, value) for name, value in as_attributes(record, _ATTRIBUTES) if name != "version"
    )
    due = due_key(record.window.due if record.window else 0)
    write.set(text(OVERDUE + due if record.is_overdue else due), "openKey")
    write.set(number(record.version + 1), "version")
    write.set(number(FORMAT), "format")
    write.require_version(record.version)
    return write


def removed(record: ExpectationRecord, table: str) -> Write:
    """Deletes an expectation that still has this version."""
    write = Write(table, _key(record))
    write.require_version(record.version)
    return write


def records_of(found: Sequence[Item]) -> list[ExpectationRecord]:
    """The expectations. One whose definition can't be read has no window until it is applied again."""
    # No expectation's name begins with a "!": that is an item of another kind, such as the names.
    return [_record_of(item) for item in found if not item["sk"]["S"].startswith("!")]


def _record_of(item: Item) -> ExpectationRecord:
    sandbox, name = item["sandbox"]["S"].removeprefix(PREFIX), item["sk"]["S"]
    read: dict[str, Any] = fields_of(item, _ATTRIBUTES, applied_at=0)
    if "expectation" in read:
        return ExpectationRecord(sandbox=sandbox, **read)
    logger.warning("expectation %s can't be read; apply it again", name)
    never = Expectation(name, dataset_id="", timezone="UTC", days=frozenset())
    known = {field: read[field] for field in ("applied_at", "version") if field in read}
    return ExpectationRecord(sandbox, never, **known)


def _key(record: ExpectationRecord) -> Item:
    return {"sandbox": text(partition_of(record.sandbox)), "sk": text(record.name)}
