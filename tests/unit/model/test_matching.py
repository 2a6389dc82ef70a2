"""Whether a job is what a request asked for, told by its content."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract import Job, parse_create_request
from export_jobs.model.matching import (
    REQUEST_ID_PREFIX,
    job_fingerprint,
    made_by,
    request_fingerprint,
)
from export_jobs.model.records import Attempt
from hypothesis import given
from hypothesis import strategies as st

AT = 1_800_000_000_000
names = st.text("abcdef", min_size=1, max_size=5)
moments = st.sampled_from(["2024-01-01T00:00:00Z", "2024-06-01T12:30:00.5Z"])
bodies = st.fixed_dictionaries(
    {
        "destination": st.fixed_dictionaries(
            {"datasetId": names}, optional={"segmentPerBatch": st.booleans()}
        ),
        "schema": st.fixed_dictionaries({"name": names}),
    },
    optional={
        "fields": st.lists(names, unique=True).map(",".join),
        "filter": st.fixed_dictionaries(
            {},
            optional={
                "segments": st.lists(
                    st.fixed_dictionaries(
                        {"segmentId": names},
                        optional={"segmentNs": names, "status": st.just(["exited"])},
                    ),
                    min_size=1,
                    max_size=3,
                    unique_by=lambda segment: segment["segmentId"],
                ),
                "fromIngestTimestamp": moments,
                "emptyProfiles": st.booleans(),
            },
        ),
        "additionalFields": st.fixed_dictionaries(
            {
                "eventList": st.fixed_dictionaries(
                    {"fields": names},
                    optional={"filter": st.just({"fromIngestTimestamp": "2024-01-01T00:00:00Z"})},
                )
            }
        ),
    },
)


def shown(body: dict[str, Any], **more: Any) -> Job:
    """The job as a service shows it that fills in what was left out, in an order of its own."""
    destination = {"segmentPerBatch": False, **body["destination"], "batchId": "b"}
    selection = dict(body.get("filter", {}))
    if "segments" in selection:
        selection["segments"] = [
            {"segmentNs": "ups", "status": ["realized"], **segment}
            for segment in reversed(selection["segments"])
        ]
    selection.setdefault("emptyProfiles", False)
    return Job.model_validate(
        {
            "fields": "",
            **body,
            "id": 1,
            "status": "NEW",
            "creationTime": AT,
            "destination": destination,
            "filter": selection,
            "mergePolicy": {"id": "default", "version": 1},
            **more,
        }
    )


@given(bodies)
def test_a_job_has_the_fingerprint_of_its_request(body: dict[str, Any]) -> None:
    """However the service fills in and orders what it was not asked to keep."""
    assert job_fingerprint(shown(body)) == request_fingerprint(parse_create_request(body))


@given(bodies, bodies)
def test_another_request_has_another_fingerprint(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Only requests whose jobs look alike share one."""
    alike = shown(one).model_dump() == shown(other).model_dump()
    same = job_fingerprint(shown(one)) == request_fingerprint(parse_create_request(other))
    if alike:
        assert same
    if same:
        assert one["destination"]["datasetId"] == other["destination"]["datasetId"]
        assert one["schema"] == other["schema"]


def attempt(body: dict[str, Any], **more: Any) -> Attempt:
    fingerprint = request_fingerprint(parse_create_request(body))
    return Attempt("prod", "key", f"{REQUEST_ID_PREFIX}1", fingerprint, AT, **more)


BODY: dict[str, Any] = {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}


@pytest.mark.parametrize(
    ("fields", "ours"),
    [
        ({"requestId": f"{REQUEST_ID_PREFIX}1", "destination": {"datasetId": "other"}}, True),
        ({"requestId": f"{REQUEST_ID_PREFIX}2"}, False),
        ({"requestId": "the service's own"}, True),
        ({"creationTime": AT - 119_000}, True),
        ({"creationTime": AT - 121_000}, False),
        ({"fields": "one"}, False),
    ],
)
def test_our_request_id_decides_where_it_is_shown_and_the_content_elsewhere(
    fields: dict[str, Any], ours: bool
) -> None:
    """By content, only jobs made since the attempt count, give or take the clocks' difference."""
    assert made_by(attempt(BODY), shown(BODY, **fields)) is ours


@pytest.mark.parametrize(("asked", "ours"), [(None, True), ("default", True), ("another", False)])
def test_a_merge_policy_that_was_asked_for_has_to_match(asked: str | None, ours: bool) -> None:
    """One that was not asked for is the service's choice."""
    assert made_by(attempt(BODY, merge_policy_id=asked), shown(BODY)) is ours
