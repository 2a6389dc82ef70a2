"""Events as models: bounded, valid and the same whenever they are made again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.events.build import MAX_DETAIL_BYTES, duration_ms, outcome_of, rfc3339
from export_jobs.model.records import Event
from export_jobs.monitor.decide import Policy, observe
from hypothesis import given
from hypothesis import strategies as st
from support.schemas import validate_event

NOW = 1_800_000_000_000

texts = st.text(max_size=30) | st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=5), st.integers(1, 3_000)
)
bodies = st.fixed_dictionaries(
    {
        "id": st.integers(1, 10**9) | st.text(min_size=1, max_size=256),
        "status": st.sampled_from(["NEW", "SUCCEEDED", "FAILED", "ODD"]),
    },
    optional={
        "creationTime": st.none() | st.integers(0, NOW),
        "updateTime": st.none() | st.integers(0, NOW),
        "imsOrgId": st.none() | st.text(max_size=40),
        "requestId": st.none() | st.text(min_size=1, max_size=256),
        "destination": st.fixed_dictionaries(
            {},
            optional={
                "datasetId": st.text(min_size=1, max_size=256),
                "batchId": st.text(min_size=1, max_size=256),
                "batches": st.lists(st.fixed_dictionaries({"batchId": texts}), max_size=200),
            },
        ),
        "filter": st.fixed_dictionaries(
            {
                "segments": st.lists(
                    st.fixed_dictionaries(
                        {
                            "segmentId": texts,
                            "segmentNs": texts,
                            "status": st.lists(texts, max_size=9),
                        }
                    ),
                    max_size=200,
                )
            }
        ),
        "errors": st.lists(st.fixed_dictionaries({"code": texts, "msg": texts}), max_size=30),
        "metrics": st.fixed_dictionaries(
            {},
            optional={
                "totalExportedProfileCounter": st.integers(0, 10**12),
                "exportedProfileByNamespaceCounter": st.dictionaries(
                    texts, st.integers(0, 10**9), max_size=80
                ),
            },
        ),
    },
)


def event_of(body: dict[str, Any], now: int = NOW) -> Event:
    job = Job.model_validate(body)
    record = observe(None, job, sandbox="prod", policy=Policy(), now=now)
    assert record
    return record.owed[0].event


@given(bodies)
def test_any_job_gives_a_valid_event_within_its_bounds(body: dict[str, Any]) -> None:
    """Whatever the service shows: ten such events fit a call, and nine an item of the table."""
    event = event_of(body)
    validate_event(event.type, event.detail)
    assert len(json.dumps(event.detail, ensure_ascii=False).encode()) <= MAX_DETAIL_BYTES
    for name, most in (("errors", 10), ("segments", 100), ("batchIds", 100)):
        assert len(event.detail[name]) <= most
    if len(body.get("errors", [])) > 10:
        assert "errors" in event.detail["truncated"]


@given(bodies)
def test_an_event_made_again_has_the_same_id(body: dict[str, Any]) -> None:
    """Its id is of the sandbox, the job and the number of the event, not of the moment."""
    assert event_of(body).id == event_of(body, now=NOW + 1).id
    assert event_of(body).id != event_of({**body, "id": "another"}).id


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"status": "NEW"}, "IN_PROGRESS"),
        ({"status": "PAUSED"}, "IN_PROGRESS"),
        ({"status": "SUCCEEDED"}, "SUCCEEDED"),
        ({"status": "SUCCEEDED", "errors": [{"code": "1"}]}, "SUCCEEDED_WITH_ERRORS"),
        ({"status": "SUCCEEDED", "metrics": {"totalExportedProfileCounter": 0}}, "SUCCEEDED_EMPTY"),
        ({"status": "SUCCEEDED", "metrics": {"totalExportedProfileCounter": 1}}, "SUCCEEDED"),
        ({"status": "FAILED", "errors": [{"code": "1"}]}, "FAILED"),
        ({"status": "CANCELLED"}, "CANCELLED"),
    ],
)
def test_the_outcome_tells_silent_failures_from_success(
    fields: dict[str, Any], outcome: str
) -> None:
    """For rules to match."""
    assert outcome_of(Job.model_validate({"id": 1, **fields})) == outcome


@pytest.mark.parametrize(
    ("fields", "took_ms"),
    [
        ({"status": "NEW"}, 60_000),
        ({"status": "FAILED", "updateTime": NOW - 20_000}, 40_000),
        ({"status": "FAILED", "metrics": {"totalTime": {"endTimeInMs": NOW - 50_000}}}, 10_000),
        ({"status": "FAILED", "metrics": {"totalTime": {"endTimeInMs": 5}}}, 60_000),
        ({"status": "NEW", "creationTime": None}, None),
    ],
)
def test_the_duration_is_by_the_job_s_own_times(
    fields: dict[str, Any], took_ms: int | None
) -> None:
    """From its creation to its end, or until now while it runs."""
    job = Job.model_validate({"id": 1, "creationTime": NOW - 60_000, **fields})
    assert duration_ms(job, NOW) == took_ms


def test_times_are_written_to_the_millisecond() -> None:
    """RFC 3339 in UTC; none stays none."""
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert rfc3339(None) is None
