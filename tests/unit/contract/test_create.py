"""Checks of what is sent to the service."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from export_jobs.contract import CreateExportJob, RequestInvalid, parse_create_request
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
        (changed("schema.name", ""), "schema.name", "at least 1"),
        (changed("filter.segments", []), "filter.segments", "empty list"),
        (changed("filter.segments.0.segmentId", ...), "filter.segments[0].segmentId", "required"),
        (changed("filter.segments.0.status", []), "filter.segments[0].status", "empty list"),
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
            "no time",
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
