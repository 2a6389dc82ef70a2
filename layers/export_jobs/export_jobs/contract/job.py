"""A job of the service's responses, in every spelling that Adobe has published.

Only `id` and `status` are required of a job. Any other field that is missing or unreadable is
`None`, an unreadable entry of a list or a map is left out, and unknown fields are kept
(`model_extra`), so a change at the service costs us one detail and not the job. Source:
`docs/contract.md`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from export_jobs.contract.statuses import FINAL_STATUSES

MAX_ID_BYTES = 512
_T = TypeVar("_T")
_UNREADABLE = object()


def _none_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


def _empty_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return []


def _marked_if_unreadable(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return _UNREADABLE


def _readable(entries: Any) -> Any:
    """A list or a map without its unreadable entries."""
    if isinstance(entries, dict):
        return {name: value for name, value in entries.items() if value is not _UNREADABLE}
    return [entry for entry in entries if entry is not _UNREADABLE]


def _as_list(value: Any) -> Any:
    """Reads a single object or string as a list of one."""
    if value is None:
        return []
    return [value] if isinstance(value, dict | str) else value


def _as_errors(value: Any) -> Any:
    """Like `_as_list`, but a list that is not empty is never read as no error.

    A string, number or boolean is the message; any other value counts only if no entry is readable.
    """
    entries = value if isinstance(value, list) else [value] if value else []
    read = [error for entry in entries if (error := _as_error(entry)) is not None]
    return read or ([{}] if entries else [])


def _as_error(entry: Any) -> Any:
    if isinstance(entry, str):
        return {"msg": entry}
    if isinstance(entry, bool | int | float):
        return {"msg": json.dumps(entry)}
    return entry if isinstance(entry, dict | BaseModel) else None


def _as_text(value: Any) -> Any:
    """Identifiers are numbers in every example but opaque by contract, so they are kept as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _without_blanks_around(value)


def _without_blanks_around(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _fits_a_key(value: str) -> str:
    """Refuses what has no UTF-8, or too much of it for a key in DynamoDB (1,024 bytes)."""
    if len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"has more than {MAX_ID_BYTES} bytes")
    return value


def _no_truth_value(value: Any) -> Any:
    """Refuses true and false, which pydantic reads as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a number")  # noqa: TRY004  the error that pydantic expects
    return value


Lenient = Annotated[_T | None, WrapValidator(_none_if_unreadable)]
_Entry = Annotated[_T, WrapValidator(_marked_if_unreadable)]
ListOrOne = Annotated[
    list[_Entry[_T]],
    AfterValidator(_readable),
    WrapValidator(_empty_if_unreadable),
    BeforeValidator(_as_list),
]
Count = Annotated[int, Field(ge=0, lt=10**15), BeforeValidator(_no_truth_value)]
"""A number of profiles or milliseconds; DynamoDB and JSON keep its size exactly."""
Counters = Annotated[dict[str, _Entry[Count]], AfterValidator(_readable)]
Identifier = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(min_length=1, max_length=256),
    AfterValidator(_fits_a_key),
]
EpochMs = Annotated[int, Field(ge=0, lt=10**14), BeforeValidator(_no_truth_value)]
"""Milliseconds since 1970-01-01 UTC."""


class AnswerPart(BaseModel):
    """A part of a response: in the service's camelCase, with unknown fields kept."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True
    )


class Batch(AnswerPart):
    """One batch of a job exported with `segmentPerBatch`."""

    segment_id: Lenient[Identifier] = None
    segment_ns: Lenient[str] = None
    status: ListOrOne[str] = []
    batch_id: Lenient[Identifier] = None


class Destination(AnswerPart):
    """Where a job exports to: in one batch (`batch_id`), or in one per segment (`batches`)."""

    dataset_id: Lenient[Identifier] = None
    segment_per_batch: Lenient[bool] = None
    batch_id: Lenient[Identifier] = None
    batches: ListOrOne[Batch] = []

    @model_validator(mode="before")
    @classmethod
    def _with_one_dataset_id(cls, value: Any) -> Any:
        """Reads the first spelling of the dataset's id that has a value."""
        if not isinstance(value, dict) or "dataSetId" not in value:
            return value
        others = {name: held for name, held in value.items() if name != "dataSetId"}
        text = _as_text(value.get("datasetId"))
        if not isinstance(text, str) or not 0 < len(text.strip()) <= 256:
            others["datasetId"] = value["dataSetId"]
        return others

    @property
    def batch_ids(self) -> list[str]:
        """Every batch the job writes, in the order given."""
        listed = [batch.batch_id for batch in self.batches if batch.batch_id]
        return listed or ([self.batch_id] if self.batch_id else [])


class Schema(AnswerPart):
    name: Lenient[str] = None


class Segment(AnswerPart):
    """A segment (audience) that a job exports; `status` selects its members."""

    segment_id: Lenient[Identifier] = None
    segment_ns: Lenient[str] = None
    status: ListOrOne[str] = []


class Filter(AnswerPart):
    segments: ListOrOne[Segment] = []


class MergePolicy(AnswerPart):
    id: Lenient[Identifier] = None
    version: Lenient[int] = None


class JobError(AnswerPart):
    """One error of a job; any field may be missing. A SUCCEEDED job may have errors, too."""

    code: Lenient[Identifier] = None
    msg: Lenient[str] = None
    call_stack: Lenient[str] = None


class Timing(AnswerPart):
    """A span: times in epoch milliseconds, total in milliseconds; a new job has only the start."""

    start_time_in_ms: Lenient[EpochMs] = None
    end_time_in_ms: Lenient[EpochMs] = None
    total_time_in_ms: Lenient[Count] = None


class Metrics(AnswerPart):
    total_time: Lenient[Timing] = None
    profile_export_time: Lenient[Timing] = None
    total_exported_profile_counter: Lenient[Count] = None
    exported_profile_by_namespace_counter: Lenient[Counters] = None


class Job(AnswerPart):
    """An export job as the service returns it.

    `creation_time` and `update_time` are epoch milliseconds of the service's clock.
    `request_id` is the service's id of the request that created the job.
    """

    id: Identifier
    status: Annotated[
        str, BeforeValidator(_without_blanks_around), Field(min_length=1, max_length=64)
    ]
    job_type: Lenient[str] = None
    destination: Lenient[Destination] = None
    fields_: Lenient[str] = Field(default=None, alias="fields")
    schema_: Lenient[Schema] = Field(default=None, alias="schema")
    filter: Lenient[Filter] = None
    merge_policy: Lenient[MergePolicy] = None
    ims_org_id: Lenient[str] = None
    errors: Annotated[list[JobError], BeforeValidator(_as_errors)] = []
    metrics: Lenient[Metrics] = None
    creation_time: Lenient[EpochMs] = None
    update_time: Lenient[EpochMs] = None
    request_id: Lenient[Identifier] = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES
