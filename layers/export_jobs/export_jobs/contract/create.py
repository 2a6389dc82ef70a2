"""The body of `POST /export/jobs`, checked before it is sent.

The models hold what was requested and nothing else: `CreateExportJob.to_wire` returns the body
unchanged, without defaults of our own. Source: `docs/contract.md`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from export_jobs.contract.times import parse_rfc3339


class FieldProblem(NamedTuple):
    """One problem of a request: the field (`destination.datasetId`), and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


class RequestInvalid(ValueError):
    """A request that can never be carried out as written. `problems` has every wrong field."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in problems))


def _checked_time(value: str) -> str:
    parse_rfc3339(value)
    return value


def _first_duplicate(values: Iterable[Any]) -> Any:
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def _checked_field_list(value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    if names == [""]:
        return value
    if "" in names:
        raise ValueError("has an empty name between commas")
    if duplicate := _first_duplicate(names):
        raise ValueError(f"names {duplicate!r} twice")
    return value


Rfc3339 = Annotated[
    str,
    AfterValidator(_checked_time),
    Field(description="RFC 3339, with a zone", examples=["2018-01-01T00:00:00Z"]),
]
"""A time such as `2018-01-01T00:00:00Z`, kept as written."""
FieldList = Annotated[
    str,
    AfterValidator(_checked_field_list),
    Field(description="comma-separated field paths; empty means all fields"),
]
"""Comma-separated field paths; empty means all fields."""
Name = Annotated[str, Field(min_length=1, max_length=256)]


class _Request(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, strict=True, populate_by_name=False
    )


class Destination(_Request):
    """Where to export to: an existing dataset, in one batch or in one batch per segment."""

    dataset_id: Name
    segment_per_batch: bool = False


class Schema(_Request):
    """The schema of the destination dataset, e.g. `_xdm.context.profile`."""

    name: Name


class MergePolicy(_Request):
    """The merge policy to apply; include it when several segments are exported."""

    id: Name
    version: Annotated[int, Field(ge=0)] = 1


class Segment(_Request):
    """A segment to export. `status` selects its members; the service defaults to `["realized"]`."""

    segment_id: Name
    segment_ns: Name = "ups"
    status: Annotated[list[Literal["realized", "exited", "existing"]], Field(min_length=1)] = [
        "realized"
    ]

    @field_validator("status")
    @classmethod
    def _status_once(cls, value: list[str]) -> list[str]:
        if duplicate := _first_duplicate(value):
            raise ValueError(f"names {duplicate!r} twice")
        return value


class QualificationTime(_Request):
    """When the profile qualified for the segment: from `startTime` and/or until `endTime`."""

    start_time: Rfc3339 | None = None
    end_time: Rfc3339 | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_span(self.start_time, self.end_time, "startTime", "endTime")
        return self


class Filter(_Request):
    """Which profiles to export; all of them if it is left out."""

    segments: Annotated[list[Segment], Field(min_length=1)] | None = None
    segment_qualification_time: QualificationTime | None = None
    from_ingest_timestamp: Rfc3339 | None = None
    empty_profiles: bool = False

    @field_validator("segments")
    @classmethod
    def _segments_once(cls, value: list[Segment] | None) -> list[Segment] | None:
        pairs = [(segment.segment_ns, segment.segment_id) for segment in value or []]
        if duplicate := _first_duplicate(pairs):
            raise ValueError(f"lists segment {duplicate[1]!r} of {duplicate[0]!r} twice")
        return value


class EventFilter(_Request):
    """Selects events by when they were ingested (not by when they happened)."""

    from_ingest_timestamp: Rfc3339 | None = None
    to_ingest_timestamp: Rfc3339 | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_span(
            self.from_ingest_timestamp,
            self.to_ingest_timestamp,
            "fromIngestTimestamp",
            "toIngestTimestamp",
        )
        return self


class EventList(_Request):
    """Time-series events to export with each profile."""

    fields: FieldList = ""
    filter: EventFilter | None = None


class AdditionalFields(_Request):
    event_list: EventList | None = None


class EvaluationInfo(_Request):
    """`segmentation: true` evaluates the segments as part of the job."""

    segmentation: bool = False


class CreateExportJob(_Request):
    """The body of `POST /export/jobs`."""

    destination: Destination
    schema_: Schema = Field(alias="schema")
    fields: FieldList = ""
    merge_policy: MergePolicy | None = None
    filter: Filter | None = None
    additional_fields: AdditionalFields | None = None
    evaluation_info: EvaluationInfo | None = None

    def to_wire(self) -> dict[str, Any]:
        """The body to send: the request unchanged, with nothing added."""
        return self.model_dump(by_alias=True, exclude_unset=True)

    def canonical(self) -> str:
        """The request as text that does not depend on the order or the spacing of its keys."""
        return json.dumps(self.to_wire(), sort_keys=True, separators=(",", ":"))


def parse_create_request(body: Any) -> CreateExportJob:
    """Checks a decoded POST body. Raises RequestInvalid with every problem found."""
    try:
        return CreateExportJob.model_validate(body)
    except ValidationError as error:
        raise RequestInvalid(describe_problems(error, CreateExportJob)) from None


def describe_problems(error: ValidationError, model: type[BaseModel]) -> list[FieldProblem]:
    """Pydantic's errors by wire name, with the nearest known field for an unknown one."""
    return [
        FieldProblem(_path(found["loc"]) or "(body)", _message(dict(found), model))
        for found in error.errors(include_url=False, include_context=True)
    ]


def _check_span(start: str | None, end: str | None, start_name: str, end_name: str) -> None:
    if start and end and parse_rfc3339(start) > parse_rfc3339(end):
        raise ValueError(f"{start_name} is after {end_name}")


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _message(found: dict[str, Any], model: type[BaseModel]) -> str:
    match found["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return _unknown_field(found["loc"], model)
        case "too_short":
            return "is an empty list; leave it out, or say what you want"
        case "value_error":
            return str(found["ctx"]["error"])
        case _:
            return str(found["msg"])


def _unknown_field(location: tuple[int | str, ...], model: type[BaseModel]) -> str:
    known = _known_fields(location[:-1], model)
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(known)}"
    return f"is not a field of the request; {hint}"


def _known_fields(parents: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The wire names of the fields at a path in the model, read from its JSON Schema."""
    schema = model.model_json_schema(by_alias=True)
    here = schema
    for part in parents:
        here = here["items"] if isinstance(part, int) else here["properties"][part]
        choices = [c for c in here.get("anyOf", [here]) if c.get("type") != "null"]
        here = choices[0]
        if "$ref" in here:
            here = schema["$defs"][here["$ref"].rsplit("/", 1)[-1]]
    return list(here.get("properties", {}))
