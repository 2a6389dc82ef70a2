"""The names of a sandbox's datasets and segments: one item, beside the sandbox's expectations.

So a policy that lets people write expectations lets them write names, too. It has no `openKey`: a
sweep reads it only if it has a message for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from export_jobs.aws.dynamodb.attributes import Attribute, as_attributes, fields_of
from export_jobs.aws.dynamodb.expectations import partition_of
from export_jobs.aws.dynamodb.items import FORMAT
from export_jobs.aws.dynamodb.writes import Item, Write, number, size_of, text
from export_jobs.contract.text import one_line
from export_jobs.model.names import MAX_NAME, Names
from export_jobs.model.ports import ItemRefused

MAX_BYTES = 400_000
"""DynamoDB takes items of at most 400 KB."""
SORT_KEY = "!names"


def names_key(sandbox: str) -> Item:
    return {"sandbox": text(partition_of(sandbox)), "sk": text(SORT_KEY)}


def _map(names: Mapping[str, str]) -> dict[str, Any]:
    return {known_id: text(name) for known_id, name in names.items()}


def _names(content: Mapping[str, Any]) -> dict[str, str]:
    """Those that can be shown. Anything else costs only itself; another version may write it."""
    read = ((known_id, _shown(entry.get("S"))) for known_id, entry in content.items())
    return {known_id: name for known_id, name in read if name}


def _shown(name: Any) -> str:
    shown = one_line(name) if isinstance(name, str) else ""
    return shown if len(shown) <= MAX_NAME else shown[: MAX_NAME - 1] + "…"


_ATTRIBUTES = (
    Attribute("datasets", "datasets", "M", _map, _names),
    Attribute("segments", "segments", "M", _map, _names),
)


def written(sandbox: str, names: Names, table: str) -> Write:
    """Replaces all names of a sandbox. Raises ItemRefused if they are too many for one item."""
    write = Write(table, names_key(sandbox))
    write.put(as_attributes(names, _ATTRIBUTES))
    write.set(number(FORMAT), "format")
    size = size_of(write.written)
    if size > MAX_BYTES:
        raise ItemRefused(
            f"the names of sandbox {sandbox} take {size:,} bytes, and at most {MAX_BYTES:,} can be "
            "stored: leave out what is exported no more"
        )
    return write


def names_of(item: Item | None) -> Names:
    return Names(**fields_of(item or {}, _ATTRIBUTES))
