"""Baselines as items of the jobs table: one a kind of export, in a partition for each sandbox.

They are in no index, so a quiet sweep reads none of them, however many there are. One that has
stopped learning expires: all its runs are too old to compare with.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from export_jobs.aws.dynamodb.attributes import (
    Attribute,
    as_attributes,
    compact,
    fields_of,
    numbers,
    texts,
)
from export_jobs.aws.dynamodb.items import FORMAT
from export_jobs.aws.dynamodb.writes import Item, Write, number, text
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.limits import DAY_MS

logger = logging.getLogger(__name__)

PREFIX = "!baselines#"
KEPT_MS = 60 * DAY_MS
"""How long one is kept after its newest run."""


def partition_of(sandbox: str) -> str:
    return PREFIX + sandbox


def key_of(sandbox: str, kind: str) -> Item:
    return {"sandbox": text(partition_of(sandbox)), "sk": text(kind)}


def _runs_text(runs: Iterable[Run]) -> str:
    return compact([(run.created_at, run.duration_ms, run.profiles) for run in runs])


def _runs_of(stored: str) -> tuple[Run, ...]:
    """Those that can be read. A newer version may have more to say of each run."""
    found = []
    for entry in json.loads(stored):
        try:
            created, duration, profiles, *_ = entry
            found.append(Run(_whole(created, 10**14), _optional(duration), _optional(profiles)))
        except (TypeError, ValueError):
            logger.warning("a run of a baseline can't be read")
    return tuple(found)


def _whole(stored: Any, below: int) -> int:
    if isinstance(stored, bool) or not isinstance(stored, int) or not 0 <= stored < below:
        raise ValueError("no such number")
    return stored


def _optional(stored: Any) -> int | None:
    return None if stored is None else _whole(stored, 10**15)


def _segments_of(stored: str) -> tuple[str, ...]:
    return tuple(map(str, json.loads(stored)))


_ATTRIBUTES = (
    *texts("dataset_id"),
    Attribute("segments", "segments", "S", compact, _segments_of),
    Attribute("runs", "runs", "S", _runs_text, _runs_of),
    Attribute("unusual", "unusual", "S", _runs_text, _runs_of),
    *numbers("segment_count", "version"),
)


def written(baseline: Baseline, table: str) -> Write:
    """Replaces version `baseline.version`."""
    write = Write(table, key_of(baseline.sandbox, baseline.kind), is_new=baseline.version == 0)
    write.put(
        (name, value) for name, value in as_attributes(baseline, _ATTRIBUTES) if name != "version"
    )
    write.set(number((baseline.newest_at + KEPT_MS) // 1000), "ttl")
    write.set(number(baseline.version + 1), "version")
    write.set(number(FORMAT), "format")
    write.require_version(baseline.version)
    return write


def baselines_of(found: Sequence[Item]) -> Mapping[str, Baseline]:
    """By kind."""
    return {item["sk"]["S"]: _baseline_of(item) for item in found}


def _baseline_of(item: Item) -> Baseline:
    sandbox, kind = item["sandbox"]["S"].removeprefix(PREFIX), item["sk"]["S"]
    read: dict[str, Any] = fields_of(item, _ATTRIBUTES)
    return Baseline(sandbox, kind, **read)
