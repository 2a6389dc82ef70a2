"""Which job an attempt has made: by our request id, or else by the job's visible content."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.contract import Job, parse_create_request
from export_jobs.contract.create import CreateExportJob
from export_jobs.model.limits import CALL_MS, CLOCKS_MS, HOLDS_ANSWER_MS, SEND_WITHIN_MS, SHOWS_MS
from export_jobs.model.matching import (
    NOT_COMPARED,
    REQUEST_ID_PREFIX,
    RULE,
    Candidate,
    Matches,
    hashes_of_job,
    hashes_of_request,
    match,
)
from export_jobs.model.records import Attempt
from hypothesis import given
from hypothesis import strategies as st
from support.files import seed

AT = 1_800_000_000_000
DAY_MS = 86_400_000
LATER = AT + HOLDS_ANSWER_MS
"""From when no run can hold the answer to an attempt of `AT` any more."""
LATEST = AT + SEND_WITHIN_MS + CALL_MS + SHOWS_MS
"""The latest creation of a job of such an attempt, by the service's clock."""
BODY: dict[str, Any] = {
    "destination": {"datasetId": "d"},
    "schema": {"name": "s"},
    "filter": {"segments": [{"segmentId": "x"}]},
}
FULL: dict[str, Any] = seed("create-request")
"""A request that has every field."""
LEAVES: dict[str, tuple[str | None, Any]] = {
    "destination.datasetId": ("dataset", "other"),
    "destination.segmentPerBatch": ("segmentPerBatch", True),
    "schema.name": ("schema", "other"),
    "fields": ("fields", "identities.id"),
    "mergePolicy.id": ("mergePolicy", "other"),
    "mergePolicy.version": ("mergePolicyVersion", 2),
    "filter.segments.segmentId": ("segments", "other"),
    "filter.segments.segmentNs": ("segments", "other"),
    "filter.segments.status": ("segments", ["realized", "exited"]),
    "filter.segmentQualificationTime.startTime": ("qualifiedFrom", "2017-01-01T00:00:00Z"),
    "filter.segmentQualificationTime.endTime": ("qualifiedTo", "2019-01-01T00:00:00Z"),
    "filter.fromIngestTimestamp": ("ingestedSince", "2019-01-01T00:00:00Z"),
    "filter.emptyProfiles": ("emptyProfiles", False),
    "additionalFields.eventList.fields": ("eventFields", "other"),
    "additionalFields.eventList.filter.fromIngestTimestamp": ("eventsFrom", "2017-01-01T00:00:00Z"),
    "additionalFields.eventList.filter.toIngestTimestamp": ("eventsTo", "2021-01-01T00:00:00Z"),
    "evaluationInfo.segmentation": (None, False),
}
"""Each field of a create request: the name of its hash, and a value other than in `FULL`."""
DEFAULTS: dict[str, Any] = {
    "destination.segmentPerBatch": False,
    "fields": "",
    "filter.segments.segmentNs": "ups",
    "filter.segments.status": ["realized"],
    "filter.emptyProfiles": False,
    "additionalFields.eventList.fields": "",
    "evaluationInfo.segmentation": False,
}
"""The fields that mean the same when they are left out."""

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
        ).filter(bool),
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


def shown(body: Mapping[str, Any], number: int = 1, **more: Any) -> Job:
    """The job as shown by a service that fills in what was left out and reorders the rest."""
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
            "mergePolicy": {"id": "default", "version": 1},
            **body,
            "id": number,
            "status": "NEW",
            "creationTime": AT,
            "destination": destination,
            "filter": selection,
            **more,
        }
    )


def candidate(
    body: Mapping[str, Any] = BODY,
    number: int = 1,
    *,
    at: int = AT,
    whole: bool = False,
    **more: Any,
) -> Candidate:
    return Candidate(shown(body, number, creationTime=at, **more), at, whole=whole)


def attempt(body: Mapping[str, Any] = BODY, key: str = "key", *, at: int = AT) -> Attempt:
    return Attempt(
        key,
        f"{REQUEST_ID_PREFIX}{key}",
        noted_at=at,
        send_by=at + SEND_WITHIN_MS,
        hashes=hashes_of_request(body),
        rule=RULE,
    )


def matched(
    *candidates: Candidate,
    attempts: Iterator[Attempt] | list[Attempt] | None = None,
    echoes: bool | None = False,
    now: int = LATER,
) -> Matches:
    wanted = [attempt()] if attempts is None else list(attempts)
    return match(wanted, candidates, echoes=echoes, now=now)


def found_jobs(matches: Matches) -> dict[str, str]:
    """The id of the job of each request."""
    return {found.attempt.request_key: found.job.id for found in matches.found}


def holder(body: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """The object of a request that has a field, and the field's name in it."""
    *parents, name = path.split(".")
    here: Any = body
    for parent in parents:
        here = here[parent]
        here = here[0] if isinstance(here, list) else here
    return here, name


def changed(path: str, value: Any) -> dict[str, Any]:
    """The full request with another value of one field."""
    body = copy.deepcopy(FULL)
    here, name = holder(body, path)
    here[name] = value
    return body


def without(body: Mapping[str, Any], *paths: str) -> dict[str, Any]:
    left = copy.deepcopy(dict(body))
    for path in paths:
        here, name = holder(left, path)
        here.pop(name, None)
    return left


# -- hashes --------------------------------------------------------------------------------------


def leaves_of(schema: Mapping[str, Any], root: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Every field of a JSON Schema without fields of its own, by its path."""
    choices = [c for c in schema.get("anyOf", [schema]) if c.get("type") != "null"]
    (here,) = choices
    if "$ref" in here:
        here = root["$defs"][here["$ref"].rsplit("/", 1)[-1]]
    if here.get("type") == "array" and "$ref" in here["items"]:
        yield from leaves_of(here["items"], root, path)
    elif "properties" in here:
        for name, field in here["properties"].items():
            yield from leaves_of(field, root, f"{path}.{name}" if path else name)
    else:
        yield path


def test_every_field_of_a_request_is_compared_or_on_the_list_of_exceptions() -> None:
    """A forgotten field could link another's job to the request."""
    schema = CreateExportJob.model_json_schema(by_alias=True)
    assert set(leaves_of(schema, schema)) == LEAVES.keys()
    assert {path for path, (name, _) in LEAVES.items() if name is None} == NOT_COMPARED


@pytest.mark.parametrize("path", LEAVES)
def test_each_field_has_a_hash_of_its_own(path: str) -> None:
    """Another value changes the hash of that field and no other, for request and job alike."""
    name, value = LEAVES[path]
    before, after = hashes_of_request(FULL), hashes_of_request(changed(path, value))
    assert parse_create_request(changed(path, value))
    differ = {field for field in before if before[field] != after[field]}
    assert differ == ({name} if name else set())
    if name:
        assert hashes_of_job(shown(changed(path, value)))[name] == after[name]
        assert hashes_of_job(shown(FULL))[name] == before[name]


@pytest.mark.parametrize("path", DEFAULTS)
def test_a_field_that_is_left_out_is_its_default(path: str) -> None:
    """What the service then fills in makes no difference."""
    explicit = hashes_of_request(changed(path, DEFAULTS[path]))
    assert hashes_of_request(without(FULL, path)) == explicit


WITHOUT_DEFAULT = [p for p in LEAVES if p not in DEFAULTS and p != "filter.segments.segmentId"]


@pytest.mark.parametrize("path", WITHOUT_DEFAULT)
def test_a_field_without_a_default_is_not_the_same_when_it_is_left_out(path: str) -> None:
    """A time left out is no time; a merge policy is the service's choice, so it has no hash."""
    name, _ = LEAVES[path]
    assert name
    before, after = hashes_of_request(FULL), hashes_of_request(without(FULL, path))
    assert before[name] != after.get(name)
    assert (name in after) == (not path.startswith("mergePolicy"))


@pytest.mark.parametrize(
    "part",
    ["filter", "filter.segmentQualificationTime", "additionalFields", "additionalFields.eventList"],
)
def test_an_empty_object_is_the_same_as_none(part: str) -> None:
    """It asks for nothing."""
    assert hashes_of_request(without(FULL, part)) == hashes_of_request(changed(part, {}))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("fields", " personalEmail.address ,identities.id"),
        ("filter.fromIngestTimestamp", "2018-01-01T01:00:00.000+01:00"),
        ("filter.segments.status", ["exited", "realized"]),
    ],
)
def test_the_same_is_the_same_however_it_is_written(path: str, value: Any) -> None:
    """With any order and spacing of names, and any time zone."""
    name, other = LEAVES[path]
    assert name
    as_shown = hashes_of_job(shown(changed(path, value)))[name]
    same = changed(path, other) if "status" in path else FULL
    assert as_shown == hashes_of_request(same)[name]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("filter.fromIngestTimestamp", ""),
        ("filter.fromIngestTimestamp", 1_514_764_800_000),
        ("filter.segmentQualificationTime.startTime", ""),
        ("filter.segmentQualificationTime.endTime", "never"),
        ("filter.emptyProfiles", "true"),
        ("filter.emptyProfiles", ""),
        ("schema.name", ""),
        ("additionalFields.eventList.filter.toIngestTimestamp", ""),
        ("filter.segments.segmentId", None),
    ],
)
def test_what_shows_no_value_is_no_contradiction(path: str, value: Any) -> None:
    """Empty or unreadable is like not shown; a time in epoch milliseconds is that time."""
    asked, of_job = hashes_of_request(FULL), hashes_of_job(shown(changed(path, value)))
    assert {name for name in of_job if name in asked and of_job[name] != asked[name]} == set()


def test_a_deeply_nested_field_is_no_obstacle() -> None:
    """An unknown field of one job must not stop every sweep."""
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    job = shown(FULL, computeGatewayJobId=deep, unknown=deep)
    assert hashes_of_job(job) == hashes_of_job(shown(FULL))


@given(bodies)
def test_a_job_shows_what_its_request_asked_for(body: dict[str, Any]) -> None:
    """However the service fills in defaults and orders lists."""
    assert parse_create_request(body)
    asked, of_job = hashes_of_request(body), hashes_of_job(shown(body))
    assert {"dataset", "schema", "fields"} <= of_job.keys()
    assert all(asked.get(name, value) == value for name, value in of_job.items())


@given(bodies, bodies)
def test_only_requests_whose_jobs_look_alike_have_the_same_hashes(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Any other difference between them shows."""
    alike = as_sets(shown(one).model_dump()) == as_sets(shown(other).model_dump())
    assert (hashes_of_request(one) == hashes_of_request(other)) == alike


def as_sets(value: Any) -> Any:
    """Without the order of lists, or of the names in a text."""
    if isinstance(value, dict):
        return frozenset((name, as_sets(item)) for name, item in value.items())
    if isinstance(value, list):
        return frozenset(as_sets(item) for item in value)
    return frozenset(value.split(",")) if isinstance(value, str) else value


def test_a_job_has_no_hash_of_what_it_does_not_show() -> None:
    """The listing of Adobe's own example leaves out a good part of what its request asks for."""
    listed = Job.model_validate(seed("list-answer")["records"][0])
    assert hashes_of_job(listed).keys() == {
        "dataset", "segmentPerBatch", "schema", "fields", "segments", "mergePolicy",
        "mergePolicyVersion",
    }  # fmt: skip
    assert hashes_of_job(Job(id="1", status="NEW")) == {}


# -- by our request id ---------------------------------------------------------------------------


@pytest.mark.parametrize("echoes", [True, False, None])
@pytest.mark.parametrize("now", [AT, LATER])
def test_our_request_id_decides_at_once(echoes: bool | None, now: int) -> None:
    """Whatever the job's content and its time, even if a run may still hold the answer."""
    foreign = {"destination": {"datasetId": "other"}, "schema": {"name": "t"}}
    ours = candidate(foreign, requestId=f"{REQUEST_ID_PREFIX}key", at=AT + 10 * SHOWS_MS)
    matches = matched(ours, candidate(number=2), echoes=echoes, now=now)
    assert [(m.job.id, m.linked_by) for m in matches.found] == [("1", "requestId")]
    assert not matches.undecided
    assert not matches.to_look_up


@pytest.mark.parametrize("request_id", ["the service's own", f"{REQUEST_ID_PREFIX}another"])
@pytest.mark.parametrize("whole", [True, False])
def test_another_id_where_the_service_gives_ours_back_is_never_ours(
    request_id: str, whole: bool
) -> None:
    """Content is not compared; the job is somebody else's at once."""
    job = candidate(requestId=request_id, whole=whole)
    for now in (AT, LATER):
        assert matched(job, echoes=True, now=now) == Matches()


def test_a_job_without_an_id_where_the_service_gives_ours_back_is_looked_up() -> None:
    """Its listing may leave the id out; until it is looked up, the job belongs to nobody."""
    matches = matched(candidate(), echoes=True)
    assert (matches.to_look_up, matches.undecided, matches.found) == ({"1"}, {"1"}, [])


@pytest.mark.parametrize("echoes", [False, None])
def test_an_id_of_ours_is_another_s_wherever_it_shows(echoes: bool | None) -> None:
    """An id of the service's own proves nothing, unless the service is known to give ours back."""
    other = candidate(requestId=f"{REQUEST_ID_PREFIX}another")
    assert matched(other, echoes=echoes) == Matches()
    assert found_jobs(matched(candidate(requestId="the service's own"), echoes=echoes)) == {
        "key": "1"
    }


# -- by content ----------------------------------------------------------------------------------


HIDEABLE = [
    path
    for path, (name, _) in LEAVES.items()
    if name and not path.startswith(("filter.segments.", "destination.datasetId"))
]


@given(st.sets(st.sampled_from(HIDEABLE)))
def test_a_field_that_is_not_shown_is_no_contradiction(hidden: set[str]) -> None:
    """Any field but dataset and segments may be missing."""
    job = Job.model_validate({**without(FULL, *hidden), "id": 1, "status": "NEW"})
    matches = matched(Candidate(job, AT), attempts=[attempt(FULL)])
    assert [(m.job.id, m.linked_by) for m in matches.found] == [("1", "content")]


@pytest.mark.parametrize("path", [path for path, (name, _) in LEAVES.items() if name])
@pytest.mark.parametrize("now", [AT, LATER])
def test_a_difference_that_is_shown_is_a_contradiction(path: str, now: int) -> None:
    """In any field: the job is somebody else's at once."""
    other = Candidate(shown(changed(path, LEAVES[path][1])), AT)
    assert matched(other, attempts=[attempt(FULL)], now=now) == Matches()


def test_a_field_that_was_not_asked_for_is_a_contradiction_where_it_is_shown() -> None:
    """A field left out means its default; only the merge policy is the service's to choose."""
    more = {**BODY, "fields": "one"}
    assert matched(candidate(more)) == Matches()
    assert found_jobs(matched(candidate(mergePolicy={"id": "any", "version": 7}))) == {"key": "1"}


NO_DATASET = shown(without(BODY, "destination.datasetId"))
NO_SEGMENTS = shown(without(BODY, "filter"))


@pytest.mark.parametrize("job", [NO_DATASET, NO_SEGMENTS])
@pytest.mark.parametrize("now", [AT, LATER])
def test_a_job_that_shows_too_little_is_looked_up(job: Job, now: int) -> None:
    """Dataset and segments have to be visible before a job is linked to a request."""
    matches = matched(Candidate(job, AT), now=now)
    assert (matches.to_look_up, matches.undecided, matches.found) == ({"1"}, {"1"}, [])
    assert matches.open == {attempt().request_id}  # it is not given up while this is unclear


@pytest.mark.parametrize("job", [NO_DATASET, NO_SEGMENTS])
def test_a_job_that_shows_too_little_by_its_id_is_a_stranger_s(job: Job) -> None:
    """There is nothing more to see."""
    assert matched(Candidate(job, AT, whole=True)) == Matches()


def test_a_request_for_everybody_is_one_of_a_job_without_segments() -> None:
    """Once it has been looked up: its listing may have left them out."""
    everybody = attempt(without(BODY, "filter"))
    listed = Candidate(NO_SEGMENTS, AT)
    assert matched(listed, attempts=[everybody]).to_look_up == {"1"}
    assert found_jobs(matched(replace(listed, whole=True), attempts=[everybody])) == {"key": "1"}


def test_content_is_not_believed_while_a_run_may_hold_the_answer() -> None:
    """Until then a job that could be ours belongs to nobody."""
    early = matched(candidate(), now=LATER - 1)
    assert (early.found, early.undecided, early.to_look_up) == ([], {"1"}, set())
    assert early.open == {attempt().request_id}
    assert found_jobs(matched(candidate(), now=LATER)) == {"key": "1"}


@pytest.mark.parametrize(
    ("at", "ours"),
    [
        (AT - CLOCKS_MS - 1, False),
        (AT - CLOCKS_MS, True),
        (LATEST, True),
        (LATEST + 1, False),
    ],
)
def test_only_jobs_of_the_attempt_s_time_count(at: int, ours: bool) -> None:
    """Not before it, allowing for different clocks; not after its call could have made one."""
    job = candidate(at=at)
    assert matched(job, now=AT).undecided == ({"1"} if ours else set())
    assert bool(matched(job).found) is ours


def test_a_job_without_a_time_has_that_of_its_neighbour() -> None:
    """Its place in the listing shows when it was created."""
    timeless = shown(BODY, creationTime=None)
    assert found_jobs(matched(Candidate(timeless, AT))) == {"key": "1"}
    assert matched(Candidate(timeless, AT - CLOCKS_MS - 1)) == Matches()


@pytest.mark.parametrize(
    ("older", "newer", "ours"),
    [
        (0, AT + DAY_MS, True),
        (0, AT - CLOCKS_MS - 1, False),
        (0, AT - CLOCKS_MS, True),
        (LATEST, AT + DAY_MS, True),
        (LATEST + 1, AT + DAY_MS, False),
    ],
)
def test_a_job_without_a_time_was_created_between_its_neighbours(
    older: int, newer: int, ours: bool
) -> None:
    """If they have none either, nothing rules out the attempt's time."""
    timeless = Candidate(shown(BODY, creationTime=None), older, newer)
    assert bool(matched(timeless).found) is ours


def test_a_job_that_was_surely_made_since_is_likelier_than_one_that_may_have_been() -> None:
    """And that one likelier than one from before the attempt."""
    before = candidate(number=1, at=AT - 60_000)
    perhaps = Candidate(shown(BODY, 2, creationTime=None), AT - 30_000, AT + 5_000)
    since = candidate(number=3, at=AT + 1_000)
    for jobs in itertools.permutations([before, perhaps, since]):
        assert found_jobs(matched(*jobs)) == {"key": "3"}
    for jobs in itertools.permutations([before, perhaps]):
        assert found_jobs(matched(*jobs)) == {"key": "2"}


def test_of_several_jobs_the_earliest_created_since_is_ours() -> None:
    """One from before it can only be ours if the clocks differ."""
    before, since, later = (
        candidate(number=n, at=AT + second * 1_000) for n, second in enumerate((-60, 1, 2), 1)
    )
    for jobs in itertools.permutations([before, since, later]):
        assert found_jobs(matched(*jobs)) == {"key": "2"}
    earlier = candidate(number=4, at=AT - 90_000)
    for jobs in itertools.permutations([before, earlier]):
        assert found_jobs(matched(*jobs)) == {"key": "4"}


@given(
    st.lists(st.integers(-CLOCKS_MS, 60_000), min_size=1, max_size=4),
    st.lists(st.integers(-CLOCKS_MS, LATEST - AT), max_size=5),
)
def test_equal_attempts_never_share_a_job(noted: list[int], created: list[int]) -> None:
    """Each job goes to at most one of them, and to one of the right time."""
    attempts = [attempt(key=f"k{n}", at=AT + at) for n, at in enumerate(noted)]
    jobs = [candidate(number=n, at=AT + at) for n, at in enumerate(created)]
    matches = matched(*jobs, attempts=attempts, now=AT + 10 * HOLDS_ANSWER_MS)
    ids = [found.job.id for found in matches.found]
    assert len(ids) == len(set(ids))
    assert len({found.attempt.request_id for found in matches.found}) == len(ids)
    for found in matches.found:
        made = found.attempt.noted_at
        created_at = found.job.creation_time or 0
        assert made - CLOCKS_MS <= created_at <= made + (LATEST - AT)
    left = {job.job.id for job in jobs} - set(ids)
    for job in jobs:
        if job.job.id in left:  # then every attempt that could have made it has one
            makers = {
                a.request_key
                for a in attempts
                if a.noted_at - CLOCKS_MS <= job.created_at <= a.noted_at + (LATEST - AT)
            }
            assert makers <= found_jobs(matches).keys()


@given(st.integers(1, 4), st.integers(0, 5))
def test_equal_attempts_of_a_moment_get_as_many_jobs_as_there_are(asked: int, made: int) -> None:
    """The first job goes to the first attempt."""
    attempts = [attempt(key=f"k{n}", at=AT + n) for n in range(asked)]
    jobs = [candidate(number=n, at=AT + 100 + n) for n in range(made)]
    matches = matched(*reversed(jobs), attempts=reversed(attempts), now=LATER + asked)
    assert found_jobs(matches) == {f"k{n}": str(n) for n in range(min(asked, made))}


def test_a_job_that_a_young_attempt_may_have_made_is_left_to_it() -> None:
    """Its run may hold the answer; an older equal attempt does not take the job from it."""
    old, young = attempt(key="old"), attempt(key="young", at=AT + 60_000)
    job = candidate(at=AT + 61_000)
    matches = matched(job, attempts=[old, young], now=LATER)
    assert (matches.found, matches.undecided) == ([], {"1"})
    assert matches.open == {old.request_id, young.request_id}
    assert found_jobs(matched(job, attempts=[old, young], now=LATER + 60_000)) == {"old": "1"}


def test_what_an_attempt_has_in_hand_is_left_while_it_waits_for_another() -> None:
    """If the job that it prefers turns out to be the other's, it still has the choice."""
    old, young = attempt(key="old"), attempt(key="young", at=AT + 60_000)
    likelier, other = candidate(number=1, at=AT + 1), candidate(number=2, at=AT - 90_000)
    matches = matched(likelier, other, attempts=[old, young], now=LATER)
    assert (matches.found, matches.undecided) == ([], {"1", "2"})


def test_an_older_attempt_takes_what_no_young_one_can_have_made() -> None:
    """It waits no longer than it has to."""
    old, young = attempt(key="old"), attempt(key="young", at=AT + 150_000)
    first, second = candidate(number=1, at=AT + 1), candidate(number=2, at=AT + 151_000)
    matches = matched(first, second, attempts=[old, young], now=LATER)
    assert (found_jobs(matches), matches.undecided) == ({"old": "1"}, {"2"})


@pytest.mark.parametrize("now", [AT, LATER])
def test_an_attempt_of_another_rule_can_t_be_matched_by_content(now: int) -> None:
    """Its hashes can't be compared by this version, but its request id can."""
    foreign = replace(attempt(), rule=RULE + 1)
    assert matched(candidate(), attempts=[foreign], now=now) == Matches()
    echoed = candidate(requestId=foreign.request_id)
    assert found_jobs(matched(echoed, attempts=[foreign], now=now)) == {"key": "1"}
