"""Kinds of exports: jobs that do the same again have the same kind, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.model.kinds import kind_of
from hypothesis import given
from hypothesis import strategies as st
from support.files import seed

NIGHTLY: dict[str, Any] = {
    "id": 1,
    "status": "NEW",
    "creationTime": 1_700_000_000_000,
    "destination": {"datasetId": "d", "segmentPerBatch": False},
    "fields": "identityMap, person.name",
    "schema": {"name": "_xdm.context.profile"},
    "filter": {
        "segments": [
            {"segmentId": "s1", "segmentNs": "ups", "status": ["realized"]},
            {"segmentId": "s2", "status": ["realized", "exited"]},
        ],
        "segmentQualificationTime": {
            "startTime": "2026-01-01T00:00:00Z",
            "endTime": "2026-01-02T00:00:00Z",
        },
        "fromIngestTimestamp": "2026-01-01T00:00:00Z",
    },
    "additionalFields": {
        "eventList": {
            "fields": "_id",
            "filter": {
                "fromIngestTimestamp": "2026-01-01T00:00:00Z",
                "toIngestTimestamp": "2026-01-02T00:00:00Z",
            },
        }
    },
}
KIND = kind_of(Job.model_validate(NIGHTLY))


def changed(path: str, value: Any) -> Job:
    """The job with another value at a path; None removes it."""

    def replaced(part: Any, names: list[str]) -> Any:
        if not names:
            return value
        first, *rest = names
        if isinstance(part, list):
            return [replaced(one, rest) if n == int(first) else one for n, one in enumerate(part)]
        others = {name: held for name, held in part.items() if name != first}
        new = replaced(part.get(first, {}), rest)
        return others if new is None and not rest else {**others, first: new}

    return Job.model_validate(replaced(NIGHTLY, path.split(".")))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", "another"),
        ("status", "SUCCEEDED"),
        ("creationTime", 1_800_000_000_000),
        ("metrics", {"totalExportedProfileCounter": 7}),
        ("destination.batchId", "b"),
        ("destination.segmentPerBatch", None),
        ("fields", "person.name,identityMap"),
        ("filter.emptyProfiles", False),
        ("filter.segmentQualificationTime.startTime", "2026-02-01T00:00:00Z"),
        ("filter.segmentQualificationTime.endTime", "2026-02-02T00:00:00+01:00"),
        ("filter.fromIngestTimestamp", "2026-02-01T00:00:00Z"),
        ("additionalFields.eventList.filter.toIngestTimestamp", "2026-02-01T00:00:00Z"),
        ("filter.segments", list(reversed(NIGHTLY["filter"]["segments"]))),
        ("filter.segments.0.segmentNs", None),
        ("filter.segments.0.status", "realized"),
        ("filter.segments.0.status", None),
        ("mergePolicy", {"id": "m", "version": 4}),
        ("requestId", "r"),
    ],
)
def test_the_same_export_on_another_day_is_of_the_same_kind(path: str, value: Any) -> None:
    """Its times differ, and what the service fills in, or spells in another way."""
    assert kind_of(changed(path, value)) == KIND


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("destination.datasetId", "another"),
        ("destination.segmentPerBatch", True),
        ("fields", "identityMap"),
        ("fields", None),
        ("schema.name", "another"),
        ("filter.segments.0.segmentId", "s3"),
        ("filter.segments.0.segmentNs", "another"),
        ("filter.segments.0.status", ["exited"]),
        ("filter.segments", [NIGHTLY["filter"]["segments"][0]]),
        ("filter.segments", None),
        ("filter.emptyProfiles", True),
        ("filter.segmentQualificationTime", None),
        ("filter.fromIngestTimestamp", None),
        ("additionalFields", None),
        ("additionalFields.eventList.fields", "_id, timestamp"),
    ],
)
def test_another_export_is_of_another_kind(path: str, value: Any) -> None:
    """It writes or selects something else; or it is whole, where this one adds what is new."""
    assert kind_of(changed(path, value)) not in {KIND, None}


def test_a_filter_that_is_not_shown_is_not_every_profile() -> None:
    """Nor is one that can't be read."""
    every_profile = kind_of(changed("filter", {}))
    assert kind_of(changed("filter", None)) == kind_of(changed("filter", "x")) != every_profile


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("destination", None),
        ("destination.datasetId", {}),
        ("filter.segments.0.segmentId", {}),
    ],
)
def test_a_job_that_does_not_show_what_it_exports_has_no_kind(path: str, value: Any) -> None:
    """It is compared with nothing, rather than with other exports."""
    assert kind_of(changed(path, value)) is None


def test_the_rule_is_part_of_the_kind() -> None:
    """Baselines are stored by kind: if this fails, give the rule another number."""
    assert KIND == "1-e6cedfc67c36d1cb"


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_any_job_has_a_kind_or_none(value: Any) -> None:
    """Whatever the service shows, nothing fails."""
    for path in ("filter", "filter.segments", "additionalFields", "additionalFields.eventList"):
        kind = kind_of(changed(path, value))
        assert kind is None or kind.startswith("1-")


def test_the_listing_and_the_job_itself_are_of_one_kind() -> None:
    """Of Adobe's own examples: the job that the create call returned, and as it is read later."""
    created, read = (Job.model_validate(seed(name)) for name in ("create-answer", "get-answer"))
    assert kind_of(created)
    assert kind_of(read)
    listed = [Job.model_validate(record) for record in seed("list-answer")["records"]]
    assert all(kind_of(job) for job in listed)
