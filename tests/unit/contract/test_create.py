"""Checks of what is sent to the service."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from export_jobs.contract import CreateExportJob, RequestInvalid, parse_create_request
from export_jobs.contract.text import json_path
from pydantic import BaseModel
from support.creator import LARGEST
from support.files import seed

MINIMAL = {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The seed's request with one value changed; `path` is dotted, `...` as value removes it."""
    body = copy.deepcopy(seed("create-request"))
    at: Any = body
    *parents, last = path.split(".")
    for parent in parents:
        at = at[int(parent)] if isinstance(at, list) else at.setdefault(parent, {})
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return body  # type: ignore[no-any-return]


@pytest.mark.parametrize("body", [seed("create-request"), MINIMAL])
def test_what_was_asked_leaves_unchanged(body: dict[str, Any]) -> None:
    """None of our defaults is sent, and nothing is lost on the way."""
    assert parse_create_request(body).to_wire() == body


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (changed("destination.datasetId", ...), "destination.datasetId", "required"),
        (changed("destination", ...), "destination", "required"),
        (changed("schema", ...), "schema", "required"),
        (changed("schema.name", ""), "schema.name", "is empty"),
        (changed("filter.segments", []), "filter.segments", "is empty"),
        (changed("filter.segments.0.segmentId", ...), "filter.segments[0].segmentId", "required"),
        (changed("filter.segments.0.status", []), "filter.segments[0].status", "is empty"),
        (changed("filter.segments.0.status", ["in"]), "filter.segments[0].status[0]", "realized"),
        (
            changed("filter.segments.0.status", ["exited", "exited"]),
            "filter.segments[0].status",
            "twice",
        ),
        (changed("filter.emptyProfiles", "yes"), "filter.emptyProfiles", "boolean"),
        (
            changed("filter.fromIngestTimestamp", "2018-01-01T00:00:00"),
            "filter.fromIngestTimestamp",
            "zone",
        ),
        (
            changed("filter.fromIngestTimestamp", "2018-02-30T00:00:00Z"),
            "filter.fromIngestTimestamp",
            "not a time",
        ),
        (
            changed("filter.segmentQualificationTime.startTime", "2019-01-01T00:00:00Z"),
            "filter.segmentQualificationTime",
            "is after",
        ),
        (changed("fields", "a,,b"), "fields", "empty name"),
        (changed("fields", "a, a"), "fields", "twice"),
        (changed("feilds", "a"), "feilds", "did you mean 'fields'"),
        (changed("filter.segmnets", []), "filter.segmnets", "did you mean 'segments'"),
        (
            changed("filter.segments.0.segmentID", "x"),
            "filter.segments[0].segmentID",
            "did you mean 'segmentId'",
        ),
        (changed("mergePolicy.id", ...), "mergePolicy.id", "required"),
    ],
)
def test_a_wrong_field_is_named(body: dict[str, Any], field: str, says: str) -> None:
    """The error names the wrong field and what to do."""
    with pytest.raises(RequestInvalid) as error:
        parse_create_request(body)
    assert [problem.field for problem in error.value.problems] == [field]
    assert says in error.value.problems[0].message


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place below the top of a document."""
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for step, inner in entries:
        yield (*path, step)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, step))


def with_value(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    body = copy.deepcopy(LARGEST)
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return body


def test_the_largest_request_has_every_field() -> None:
    """So that the tests below try all of them."""

    def of_models(model: type[BaseModel]) -> Iterator[str]:
        for schema in [model.model_json_schema(), *model.model_json_schema()["$defs"].values()]:
            yield from schema.get("properties", {})

    names = {step for path in places(LARGEST) for step in path if isinstance(step, str)}
    assert names == set(of_models(CreateExportJob))
    assert parse_create_request(LARGEST).to_wire() == LARGEST


@pytest.mark.parametrize("path", list(places(LARGEST)), ids=str)
@pytest.mark.parametrize("value", [None, {}, [], "", " ", "\u00a0\t"], ids=repr)
def test_a_field_without_a_value_is_not_taken_for_one_left_out(
    path: tuple[str | int, ...], value: Any
) -> None:
    """Field case 14: left out, a filter means everybody; only an empty list of fields is meant."""
    if path in {("fields",), ("additionalFields", "eventList", "fields")} and value == "":
        parse_create_request(with_value(path, value))
        return
    with pytest.raises(RequestInvalid) as caught:
        parse_create_request(with_value(path, value))
    named = caught.value.problems[0].field
    assert named.startswith(json_path(*path))


@pytest.mark.parametrize("path", [p for p in places(LARGEST) if isinstance(p[-1], str)], ids=str)
@pytest.mark.parametrize("misspell", [str.upper, str.title, lambda n: n + " ", lambda n: n[1:]])
def test_a_misspelt_field_is_not_taken_for_an_unknown_one_to_ignore(
    path: tuple[str | int, ...], misspell: Callable[[str], str]
) -> None:
    """It would be left out, and the export would be of more than was meant."""
    body = with_value(path, None)
    at: Any = body
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    name = misspell(str(path[-1]))
    at[name] = "x"
    with pytest.raises(RequestInvalid) as caught:
        parse_create_request(body)
    assert json_path(*path[:-1], name) in {problem.field for problem in caught.value.problems}


def test_every_problem_is_found_at_once() -> None:
    """All three mistakes in a request are reported."""
    body = {"destination": {}, "schema": {"nmae": "x"}, "fields": 3}
    with pytest.raises(RequestInvalid) as error:
        parse_create_request(body)
    found = {problem.field for problem in error.value.problems}
    assert found == {"destination.datasetId", "schema.name", "schema.nmae", "fields"}


@pytest.mark.parametrize("body", [None, [], "x", 3])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    """That it is no object is reported, without a crash."""
    with pytest.raises(RequestInvalid, match=r"\(body\)"):
        parse_create_request(body)


@pytest.mark.parametrize("odd", ["\u200b", "a\x00", " a", "a\u202eb", "a\n"])
@pytest.mark.parametrize("path", ["destination.datasetId", "schema.name", "mergePolicy.id"])
def test_a_name_that_can_t_be_seen_whole_is_refused(path: str, odd: str) -> None:
    """Pasted from a page, an id may have more characters than are seen."""
    with pytest.raises(RequestInvalid, match=path):
        parse_create_request(changed(path, odd))


def test_a_problem_is_one_line_whatever_the_field_is_called() -> None:
    """A field's name can't forge the line of another problem."""
    with pytest.raises(RequestInvalid) as caught:
        parse_create_request({**MINIMAL, "a\n  job.forged: is wrong": 1})
    (problem,) = caught.value.problems
    assert str(problem).isprintable()


def test_a_segment_listed_twice_is_refused() -> None:
    """It would be unclear whether the segment is exported once or twice."""
    segment = {"segmentId": "a"}
    with pytest.raises(RequestInvalid, match="twice"):
        parse_create_request({**MINIMAL, "filter": {"segments": [segment, segment]}})


def test_the_same_request_has_one_canonical_form() -> None:
    """Order and spacing of keys make no difference."""
    body = seed("create-request")
    shuffled = json.loads(json.dumps(body, sort_keys=True))
    assert parse_create_request(body).canonical() == parse_create_request(shuffled).canonical()


def test_the_model_teaches_the_api() -> None:
    """`help()` on a model explains it."""
    assert CreateExportJob.__doc__
