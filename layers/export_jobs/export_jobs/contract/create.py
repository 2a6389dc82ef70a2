"""The body of `POST /export/jobs`, checked before it is sent.

The models hold what was requested and nothing else: `CreateExportJob.to_wire` returns the body
unchanged, without defaults of our own. Source: `docs/contract.md`.

A field that is left out often means "all": all profiles, all events, any time. So a field that is
null, empty or blank is refused, instead of being read as one that was left out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

from export_jobs.contract.text import json_path, one_line
from export_jobs.contract.times import parse_rfc3339

_T = TypeVar("_T")


EMPTY = "is empty; leave it out, or say what you want"
NOT_BLANK = r"\S"


class FieldProblem(NamedTuple):
    """One problem of a request: the field (`destination.datasetId`), and what is wrong with it."""

    field: str
    message: str

    def __str__(self) -> str:
        return one_line(f"{self.field}: {self.message}")


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
    if value and not value.strip():
        raise ValueError("is blank; leave it out for all fields")
    if not value.isprintable():
        raise ValueError("contains invisible characters")
    names = [name.strip() for name in value.split(",") if value]
    if "" in names:
        raise ValueError("has an empty name between commas")
    if duplicate := _first_duplicate(names):
        raise ValueError(f"names {duplicate!r} twice")
    return value


class _NeverNull:
    """Lets None stand for a field that was left out, and refuses null in its place."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        schema = handler(source)
        return schema["schema"] if schema["type"] == "nullable" else schema


def _without_default(schema: dict[str, Any]) -> None:
    del schema["default"]  # null, which is refused


OptionalField = Annotated[_T | None, _NeverNull(), Field(json_schema_extra=_without_default)]
"""A field that may be left out, and is then None; a null is refused."""
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


def checked_name(value: str) -> str:
    """A name as it was written. Raises ValueError if a part of it can't be seen."""
    if one_line(value) != value:
        raise ValueError("starts or ends with a blank, or contains invisible characters")
    return value


Name = Annotated[
    str, Field(min_length=1, max_length=256, pattern=NOT_BLANK), AfterValidator(checked_name)
]


class RequestPart(BaseModel):
    """A part of a request: no unknown field, no null, and not empty."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        json_schema_extra={"minProperties": 1},
    )

    @model_validator(mode="after")
    def _is_not_empty(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(EMPTY)
        return self


class _Body(RequestPart):
    model_config = ConfigDict(strict=True)


class Destination(_Body):
    """Where to export to: an existing dataset, in one batch or in one batch per segment."""

    dataset_id: Name
    segment_per_batch: bool = False


class Schema(_Body):
    """The schema of the destination dataset, e.g. `_xdm.context.profile`."""

    name: Name


class MergePolicy(_Body):
    """The merge policy to apply; include it when several segments are exported."""

    id: Name
    version: Annotated[int, Field(ge=0)] = 1


class Segment(_Body):
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


class QualificationTime(_Body):
    """When the profile qualified for the segment: from `startTime` and/or until `endTime`."""

    start_time: OptionalField[Rfc3339] = None
    end_time: OptionalField[Rfc3339] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_span(self.start_time, self.end_time, "startTime", "endTime")
        return self


class Filter(_Body):
    """Which profiles to export; all of them if it is left out."""

    segments: OptionalField[Annotated[list[Segment], Field(min_length=1)]] = None
    segment_qualification_time: OptionalField[QualificationTime] = None
    from_ingest_timestamp: OptionalField[Rfc3339] = None
    empty_profiles: bool = False

    @field_validator("segments")
    @classmethod
    def _segments_once(cls, value: list[Segment] | None) -> list[Segment] | None:
        pairs = [(segment.segment_ns, segment.segment_id) for segment in value or []]
        if duplicate := _first_duplicate(pairs):
            raise ValueError(f"lists segment {duplicate[1]!r} of {duplicate[0]!r} twice")
        return value


class EventFilter(_Body):
    """Selects events by when they were ingested (not by when they happened)."""

    from_ingest_timestamp: OptionalField[Rfc3339] = None
    to_ingest_timestamp: OptionalField[Rfc3339] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _check_span(
            self.from_ingest_timestamp,
            self.to_ingest_timestamp,
            "fromIngestTimestamp",
            "toIngestTimestamp",
        )
        return self


class EventList(_Body):
    """Time-series events to export with each profile."""

    fields: FieldList = ""
    filter: OptionalField[EventFilter] = None


class AdditionalFields(_Body):
    event_list: OptionalField[EventList] = None


class EvaluationInfo(_Body):
    """`segmentation: true` evaluates the segments as part of the job."""

    segmentation: bool = False


class CreateExportJob(_Body):
    """The body of `POST /export/jobs`."""

    destination: Destination
    schema_: Schema = Field(alias="schema")
    fields: FieldList = ""
    merge_policy: OptionalField[MergePolicy] = None
    filter: OptionalField[Filter] = None
    additional_fields: OptionalField[AdditionalFields] = None
    evaluation_info: OptionalField[EvaluationInfo] = None

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


def describe_problems(
    error: ValidationError, model: type[BaseModel], *, of: str = "the request"
) -> list[FieldProblem]:
    """Pydantic's errors by wire name, with the nearest known field for an unknown one.

    `of`: what the fields belong to.
    """
    return [
        FieldProblem(json_path(*found["loc"]) or "(body)", _message(dict(found), model, of))
        for found in error.errors(include_url=False, include_context=True)
    ]


def _check_span(start: str | None, end: str | None, start_name: str, end_name: str) -> None:
    if start and end and parse_rfc3339(start) > parse_rfc3339(end):
        raise ValueError(f"{start_name} is after {end_name}")


def _message(found: dict[str, Any], model: type[BaseModel], of: str) -> str:
    match found["type"]:
        case kind if found["input"] is None and kind not in {"missing", "extra_forbidden"}:
            return "is null; leave it out, or give it a value"
        case "missing":
            return "is required"
        case "extra_forbidden":
            return _unknown_field(found["loc"], model, of)
        case "too_short" | "string_too_short":
            return EMPTY
        case "model_type" | "model_attributes_type" | "dict_type":
            twice = "; it is JSON inside a string" if isinstance(found["input"], str) else ""
            return f"must be an object{twice}"
        case "string_pattern_mismatch" if found["ctx"]["pattern"] == NOT_BLANK:
            return "is blank"
        case "value_error":
            return str(found["ctx"]["error"])
        case _:
            return str(found["msg"])


def _unknown_field(location: tuple[int | str, ...], model: type[BaseModel], of: str) -> str:
    known = _known_fields(location[:-1], model)
    nearest = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(known)}"
    return f"is not a field of {of}; {hint}"


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
