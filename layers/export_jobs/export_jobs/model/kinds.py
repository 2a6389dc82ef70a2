"""The kind of an export: jobs of one kind do the same again, so they are compared with each other."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from export_jobs.model.matching import contents_of

if TYPE_CHECKING:
    from export_jobs.contract import Job

RULE: Final = 1
"""The version of the rule that makes ids. Kinds of different rules are not compared."""
_COMPARED: Final = (
    *("dataset", "schema", "segmentPerBatch", "fields"),
    *("segments", "emptyProfiles", "eventFields"),
)
_TIMES: Final = ("qualifiedFrom", "qualifiedTo", "ingestedSince", "eventsFrom", "eventsTo")
"""Of these, only whether a job has them: a daily export has other times every day."""


def kind_of(job: Job) -> str | None:
    """The id of its kind: the same dataset, segments and their statuses, filter and fields.

    None if its dataset or a segment can't be read. The sandbox is not part of it.
    """
    contents = contents_of(job)
    unreadable = bool(job.filter and job.filter.segments) and "segments" not in contents
    if "dataset" not in contents or unreadable:
        return None
    asked: dict[str, Any] = {name: contents[name] for name in _COMPARED if contents.get(name)}
    if job.filter is None:  # not shown, or unreadable: not the same as every profile
        asked["filter"] = None
    asked["times"] = [name for name in _TIMES if name in contents]
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return f"{RULE}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
