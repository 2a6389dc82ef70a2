"""Reading the answers of the service."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract import Job, JobPage
from export_jobs.model.outcome import outcome_of
from hypothesis import given
from hypothesis import strategies as st
from support.files import seed


def test_the_seeds_listing_is_read_whole() -> None:
    """Every value of the seed's own listing comes out, jobs in their order and the next cursor."""
    page = JobPage.from_answer(seed("list-answer"))
    first, second = (job.whole for job in page.records)
    assert [job.id for job in page.records] == ["100", "722"]
    assert page.next_link == "/export/jobs/?limit=2&offset=1538573416687_722"
    assert first.destination is not None
    assert first.destination.batch_ids == ["da5cfb4de32c4b93a09f7e37fa53ad52"]
    assert first.metrics is not None
    assert first.metrics.exported_profile_by_namespace_counter == {
        "namespace1": 10,
        "namespace2": 5,
    }
    assert first.errors[0].code == "0100000003"
    assert second.status == "FAILED"
    assert second.errors[1].msg == "Job aborted."
    assert second.metrics is not None
    assert second.metrics.total_time is not None
    assert second.metrics.total_time.total_time_in_ms == 505_864
    assert second.creation_time == 1_538_573_416_687


def test_the_seeds_new_job_has_its_start_only() -> None:
    """A NEW job has no end, no counters and no errors, and is not final."""
    job = Job.model_validate(seed("create-answer"))
    assert job.metrics is not None
    assert job.metrics.total_time is not None
    assert job.metrics.total_time.end_time_in_ms is None
    assert job.metrics.total_exported_profile_counter is None
    assert (job.status, job.is_final, job.errors) == ("NEW", False, [])


def test_the_seeds_single_job_is_read() -> None:
    """The answer to a GET by id is a job like any other."""
    job = Job.model_validate(seed("get-answer"))
    assert (job.id, job.is_final) == ("11037", True)
    assert job.metrics is not None
    assert job.metrics.total_exported_profile_counter == 20


def test_the_seeds_batches_are_read_with_either_status() -> None:
    """`dataSetId`, and a batch's status as a list or as a bare string."""
    job = Job.model_validate({"id": 1, "status": "NEW", **seed("batches")})
    assert job.destination is not None
    assert job.destination.dataset_id == "{DATASET_ID}"
    assert [batch.status for batch in job.destination.batches] == [["realized"], ["exited"]]
    assert job.destination.batch_ids == [
        "da5cfb4de32c4b93a09f7e37fa53ad52",
        "df4gssdfb93a09f7e37fa53ad52",
    ]


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        ({"id": "abc-1"}, {"id": "abc-1"}),
        ({"status": "ARCHIVING"}, {"status": "ARCHIVING", "is_final": False}),
        ({"status": "QUEUED"}, {"is_final": False}),
        ({"status": "CANCELLING"}, {"is_final": False}),
        ({"status": "CANCELLED"}, {"is_final": True}),
        ({"jobType": "STREAMING"}, {"job_type": "STREAMING"}),
        ({"errors": None}, {"errors": []}),
        ({"errors": ""}, {"errors": []}),
        ({"errors": {}}, {"errors": []}),
        ({"errors": False}, {"errors": []}),
        ({"metrics": "broken"}, {"metrics": None}),
        ({"creationTime": "yesterday"}, {"creation_time": None}),
        ({"destination": 7}, {"destination": None}),
        ({"filter": {"segments": {"segmentId": 5}}}, {}),
    ],
)
def test_variants_and_broken_details_cost_no_job(
    shown: dict[str, Any], read: dict[str, Any]
) -> None:
    """Whatever a field other than id and status holds, the job is read."""
    job = Job.model_validate({"id": 1, "status": "NEW", **shown})
    assert {name: getattr(job, name) for name in read} == read


@pytest.mark.parametrize(
    ("shown", "read"),
    [
        (["Job aborted."], [(None, "Job aborted.")]),
        ("Job aborted.", [(None, "Job aborted.")]),
        ([None, {"code": "7", "msg": "lost"}], [("7", "lost")]),
        ([{"code": [7], "msg": "lost"}, ["?"], {"code": 8}], [(None, "lost"), ("8", None)]),
        ([7, True, 0.5, ""], [(None, "7"), (None, "true"), (None, "0.5"), (None, "")]),
        ({"code": "7", "msg": "lost"}, [("7", "lost")]),
        ([None], [(None, None)]),
        ([[], [None]], [(None, None)]),
        ([{}], [(None, None)]),
        ([], []),
    ],
)
def test_errors_are_read_as_far_as_they_can_be(shown: Any, read: list[Any]) -> None:
    """Field case 6: whatever their form; if there is any, the job has succeeded with errors."""
    job = Job.model_validate({"id": 1, "status": "SUCCEEDED", "errors": shown})
    assert [(error.code, error.msg) for error in job.errors] == read
    assert outcome_of(job) == ("SUCCEEDED_WITH_ERRORS" if read else "SUCCEEDED")


@pytest.mark.parametrize("bad", [None, 7, "broken", [], [{}]])
def test_a_bad_entry_costs_itself_and_not_its_list(bad: Any) -> None:
    """The other segments, batches, statuses and counters are read."""
    job = Job.model_validate(
        {
            "id": 1,
            "status": "NEW",
            "filter": {"segments": [{"segmentId": "s", "status": [bad, "realized"]}, bad]},
            "destination": {"batches": [bad, {"batchId": "b", "status": ["exited", {}]}]},
            "metrics": {"exportedProfileByNamespaceCounter": {"a": 1, "b": [bad], "c": 3}},
        }
    )
    assert job.filter is not None
    assert job.destination is not None
    assert job.metrics is not None
    (segment,) = job.filter.segments
    assert segment.segment_id == "s"
    assert segment.status == [*([bad] if isinstance(bad, str) else []), "realized"]
    assert job.destination.batch_ids == ["b"]
    assert job.destination.batches[0].status == ["exited"]
    assert job.metrics.exported_profile_by_namespace_counter == {"a": 1, "c": 3}


@pytest.mark.parametrize(
    ("destination", "read"),
    [
        ({"datasetId": "a", "dataSetId": "b"}, "a"),
        ({"dataSetId": "b", "datasetId": "a"}, "a"),
        ({"datasetId": None, "dataSetId": "b"}, "b"),
        ({"datasetId": "", "dataSetId": "b"}, "b"),
        ({"datasetId": " ", "dataSetId": "b"}, "b"),
        ({"datasetId": {}, "dataSetId": "b"}, "b"),
        ({"datasetId": True, "dataSetId": 7}, "7"),
        ({"datasetId": "a", "dataSetId": None}, "a"),
        ({"datasetId": None, "dataSetId": ""}, None),
        ({"dataSetId": "b"}, "b"),
        ({}, None),
    ],
)
def test_the_first_spelling_with_a_value_counts(
    destination: dict[str, Any], read: str | None
) -> None:
    """The seed itself writes `datasetId` and `dataSetId`."""
    job = Job.model_validate({"id": 1, "status": "NEW", "destination": destination})
    assert job.destination is not None
    assert job.destination.dataset_id == read


@pytest.mark.parametrize(
    "odd", [True, False, -1, 10**15, 10**40, 1.5, "many", "9" * 5_000, float("nan"), [7], {}]
)
def test_an_impossible_number_is_no_number(odd: Any) -> None:
    """DynamoDB could not store some of them, and true is not one profile."""
    timing = {"startTimeInMs": odd, "endTimeInMs": 7, "totalTimeInMs": odd}
    metrics = {
        "totalTime": timing,
        "totalExportedProfileCounter": odd,
        "exportedProfileByNamespaceCounter": {"a": odd, "b": 2},
    }
    fields = {"metrics": metrics, "creationTime": odd, "updateTime": odd}
    job = Job.model_validate({"id": 1, "status": "SUCCEEDED", **fields})
    assert job.metrics is not None
    assert job.metrics.total_time is not None
    assert job.metrics.total_time.end_time_in_ms == 7
    assert job.metrics.exported_profile_by_namespace_counter == {"b": 2}
    assert job.metrics.total_exported_profile_counter is None
    total = job.metrics.total_time
    assert (total.start_time_in_ms, total.total_time_in_ms) == (None, None)
    if odd != 10**15 or isinstance(odd, bool):
        assert (job.creation_time, job.update_time) == (None, None)


def test_blanks_around_an_id_or_a_status_are_no_part_of_it() -> None:
    """A job that has SUCCEEDED with a line end is final, as its events say."""
    job = Job.model_validate({"id": " 7 ", "status": "SUCCEEDED\n", "requestId": "\t"})
    assert (job.id, job.status, job.is_final, job.request_id) == ("7", "SUCCEEDED", True, None)


def test_what_was_read_is_read_the_same_again() -> None:
    """A stored job, with the parts that were left out, is read back unchanged."""
    shown = {"errors": [None, "x", [1]], "filter": {"segments": [7, {"segmentId": 5}]}}
    job = Job.model_validate({"id": 1, "status": "NEW", **shown})
    assert Job.model_validate(job.model_dump(by_alias=True, mode="json")) == job


def test_a_single_batch_object_is_a_list_of_one() -> None:
    """Other endpoints send `batches` as an object instead of a list."""
    one = {"segmentId": "s", "batchId": "b", "status": "realized"}
    job = Job.model_validate({"id": 1, "status": "NEW", "destination": {"batches": one}})
    assert job.destination is not None
    assert job.destination.batch_ids == ["b"]


def test_unknown_fields_are_kept() -> None:
    """An undocumented field is not lost."""
    job = Job.model_validate({"id": 1, "status": "NEW", "color": {"deep": [1]}})
    assert job.model_extra == {"color": {"deep": [1]}}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
_FIELDS = sorted({*seed("list-answer")["records"][0], *seed("create-answer"), "dataSetId"})


@given(st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_no_value_of_any_field_hides_a_job(fields: dict[str, Any]) -> None:
    """Arbitrary JSON in arbitrary fields leaves a job with its id and status readable."""
    job = Job.model_validate({**fields, "id": 100, "status": "NEW"})
    assert (job.id, job.status) == ("100", "NEW")
