"""Reading what the service answers."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract import Job, JobPage
from hypothesis import given
from hypothesis import strategies as st
from support.files import seed


def test_the_seeds_listing_is_read_whole() -> None:
    """Every value of the seed's own listing comes out, jobs in their order and the next cursor."""
    page = JobPage.from_answer(seed("list-answer"))
    first, second = page.records
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
        ({"errors": "broken"}, {"errors": []}),
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


def test_a_single_batch_object_is_a_list_of_one() -> None:
    """Elsewhere `batches` is an object instead of a list."""
    one = {"segmentId": "s", "batchId": "b", "status": "realized"}
    job = Job.model_validate({"id": 1, "status": "NEW", "destination": {"batches": one}})
    assert job.destination is not None
    assert job.destination.batch_ids == ["b"]


def test_unknown_fields_are_kept() -> None:
    """A field that nobody told us of is not lost."""
    job = Job.model_validate({"id": 1, "status": "NEW", "color": {"deep": [1]}})
    assert job.model_extra == {"color": {"deep": [1]}}


@pytest.mark.parametrize("link", [{}, {"next": None}, {"next": ""}, None])
def test_a_last_page_has_no_next(link: Any) -> None:
    """`link.next` may be absent, null or empty, and so may `link` itself."""
    page = JobPage.from_answer({"records": [], "link": link})
    assert not page.next_link


def test_records_that_are_no_jobs_are_counted() -> None:
    """One unreadable record costs that record only, and shows in the count."""
    page = JobPage.from_answer({"records": [{"id": 1, "status": "NEW"}, {"id": 2}, "x", None]})
    assert [job.id for job in page.records] == ["1"]
    assert page.unreadable == 3


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
