"""Events as models: bounded, valid and the same whenever they are made again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.contract.times import rfc3339
from export_jobs.events import build
from export_jobs.events.build import MAX_DETAIL_BYTES
from export_jobs.events.registry import kind_of
from export_jobs.model.baselines import UNKNOWN
from export_jobs.model.outcome import duration_ms, outcome_of
from export_jobs.model.records import Event, EventType, JobRecord, RequestRecord
from hypothesis import given
from hypothesis import strategies as st
from support.observed import observed
from support.schemas import validate_event

NOW = 1_800_000_000_000

texts = st.text(max_size=30) | st.builds(
    lambda text, times: text * times, st.text(min_size=1, max_size=5), st.integers(1, 3_000)
)
bodies = st.fixed_dictionaries(
    {
        "id": st.integers(1, 10**9) | st.text(min_size=1, max_size=128).filter(str.strip),
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


texts_of_parts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)
"""Nothing that names a stack, an organisation, a sandbox or a request has a NUL."""


@dataclass(frozen=True)
class Origin:
    """Where an event of a job comes from."""

    stack_id: str
    org_id: str | None
    sandbox: str
    job_id: str
    creation_time: int
    sequence: int


origins = st.builds(
    Origin,
    texts_of_parts,
    st.just("ORG") | st.none(),
    texts_of_parts,
    st.text(max_size=3),
    st.integers(0, 11),
    st.integers(1, 11),
)
ends = st.tuples(
    texts_of_parts,
    st.builds(
        RequestRecord,
        request_key=texts_of_parts,
        status=st.just("REJECTED"),
        sandbox=texts_of_parts,
        message_id=texts_of_parts,
        org_id=st.just("ORG") | st.none(),
        outcome=st.sampled_from(["REFUSED", "EXPIRED"]),
        rejections=st.lists(st.just("e"), max_size=3).map(tuple),
    ),
)


def distinguished_by(end: tuple[str, RequestRecord]) -> object:
    """What distinguishes an end from others: request, message, and how often it was sent again."""
    stack_id, record = end
    return (
        stack_id,
        record.org_id,
        record.sandbox,
        record.request_key,
        record.message_id,
        len(record.rejections),
    )


def job_events(origin: Origin) -> set[str]:
    """The id of each kind of event that is made of a record of this origin."""
    record = JobRecord(
        origin.sandbox,
        origin.job_id,
        origin.creation_time,
        org_id=origin.org_id,
        sequence=origin.sequence,
    )
    job = Job(id="1", status="NEW")
    stack_id = origin.stack_id
    return {
        build.state_change(
            record, job, previous_status=None, comparison=UNKNOWN, stack_id=stack_id, now=NOW
        ).id,
        build.delayed(
            record, job, limit_ms=1, by_usual=False, comparison=UNKNOWN, stack_id=stack_id, now=NOW
        ).id,
        build.vanished(record, previous_status="NEW", stack_id=stack_id, now=NOW).id,
    }


def request_event(stack_id: str, record: RequestRecord, now: int = NOW) -> Event:
    return build.rejected(record, stack_id=stack_id, now=now)


def event_of(body: dict[str, Any], now: int = NOW) -> Event:
    job = Job.model_validate(body)
    record = observed(job, now=now)
    assert record
    return record.outbox[0].event


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


@pytest.mark.parametrize("type_", EventType)
def test_every_list_of_a_detail_is_cut_if_it_is_still_too_large(type_: EventType) -> None:
    """Its texts may have characters of many bytes; only lists of a few known words are kept."""
    lists = {
        field.alias or name
        for name, field in kind_of(type_).model.model_fields.items()
        if "list[" in str(field.annotation)
    }
    assert lists - {"truncated", "outcomes", "anomalies", "newUsual"} <= set(build._CUT)


@given(bodies)
def test_an_event_made_again_has_the_same_id(body: dict[str, Any]) -> None:
    """Its id depends on the job and the event's number, not on the time or the content."""
    assert event_of(body).id == event_of(body, now=NOW + 1).id
    assert event_of(body).id == event_of({**body, "status": "CANCELLED", "errors": []}).id
    assert event_of(body).id != event_of({**body, "id": "another"}).id


@given(st.lists(origins, min_size=2, max_size=2, unique=True))
def test_events_that_differ_in_their_origin_differ_in_their_ids(origins: list[Origin]) -> None:
    """Stack, organisation, sandbox, job id, creation time or sequence: any of them is enough."""
    one, other = map(job_events, origins)
    assert len({*one, *other}) == 2


def test_each_part_of_an_event_s_origin_is_part_of_its_id() -> None:
    """Two jobs may have the same id in two sandboxes, or one after the other in the same."""
    origin = Origin("stack", "ORG", "prod", "1", NOW, 1)
    changes: list[dict[str, Any]] = [
        {"stack_id": "other"},
        {"org_id": None},
        {"sandbox": "dev"},
        {"job_id": "2"},
        {"creation_time": NOW + 1},
        {"sequence": 2},
    ]
    ids = [job_events(replace(origin, **change)) for change in [{}, *changes]]
    assert len(set().union(*ids)) == 7


@given(st.lists(ends, min_size=2, max_size=2, unique_by=distinguished_by))
def test_two_ends_of_requests_never_share_an_id(ends: list[tuple[str, RequestRecord]]) -> None:
    """Not with one key in two stacks, in one stack after it was forgotten, or when sent again."""
    assert len({request_event(*end).id for end in ends}) == 2


@given(ends, st.text(max_size=5), st.integers(0, NOW))
def test_the_end_of_a_request_made_again_has_the_same_id(
    end: tuple[str, RequestRecord], reason: str, now: int
) -> None:
    """Its content and its time are not part of the id."""
    stack_id, record = end
    again = request_event(stack_id, replace(record, reason=reason, touched_at=now), now=now)
    assert again.id == request_event(stack_id, record).id


def test_each_way_to_send_a_key_again_makes_an_event_of_its_own() -> None:
    """To another stack, long after, or from its own dead letter: each end is published."""
    record = RequestRecord(
        "key", "REJECTED", "prod", message_id="m", org_id="ORG", outcome="REFUSED"
    )
    first = request_event("stack", record)
    others = [
        request_event("other stack", record),
        request_event("stack", replace(record, message_id="another message")),
        request_event("stack", replace(record, rejections=(first.id,))),
        request_event("stack", replace(record, sandbox="dev")),
        request_event("stack", replace(record, org_id="OTHER")),
    ]
    assert len({first.id, *(event.id for event in others)}) == 6


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
def test_the_outcome_distinguishes_silent_failures_from_success(
    fields: dict[str, Any], outcome: str
) -> None:
    """So that rules can match it."""
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
    """From the job's creation to its end, or until now while it runs."""
    job = Job.model_validate({"id": 1, "creationTime": NOW - 60_000, **fields})
    assert duration_ms(job, NOW) == took_ms


def test_times_are_written_to_the_millisecond() -> None:
    """RFC 3339 in UTC; none stays none."""
    assert rfc3339(1_700_000_000_007) == "2023-11-14T22:13:20.007Z"
    assert rfc3339(None) is None
