"""Pages of the listing, and of their jobs what a sweep compares."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from export_jobs.contract import Job, JobHeader, JobPage
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

NAMES = ["id", "status", "creationTime", "updateTime", "creation_time", "update_time", "errors"]
TIMES = st.integers(-2, 10**16) | st.sampled_from([True, 1.5, 7.0, "1700000000000", "soon", None])
TEXTS = st.text(max_size=80) | st.sampled_from(["SUCCEEDED\n", " 7 ", "", "\ud800", "x" * 65, "é"])
VALUES = TIMES | TEXTS | st.just([7]) | st.just({"a": 1}) | st.integers(min_value=10**18)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
@example({"id": "7", "status": "NEW", "creation_time": 1_700_000_000_000})
@example({"id": True, "status": "NEW"})
@example({"id": 7, "status": "x" * 65})
@example({"id": 7, "status": "NEW", "creationTime": True, "updateTime": 1_700_000_000_000})
@example({"id": 7, "status": "FAILED", "creationTime": 10**14})
def test_a_header_says_what_the_whole_job_says(record: dict[str, Any]) -> None:
    """In every spelling: a sweep compares the header, and records what the whole job shows."""
    try:
        job = Job.model_validate(record)
    except ValidationError:
        with pytest.raises(ValidationError):
            JobHeader.read(record)
        return
    header = JobHeader.read(record)
    assert header.whole == job
    for name in ("id", "status", "creation_time", "update_time", "is_final"):
        assert getattr(header, name) == getattr(job, name), name
        assert getattr(JobHeader.of(job), name) == getattr(job, name), name


@given(st.none() | st.integers() | st.text() | st.lists(st.integers()))
def test_what_is_no_object_has_no_header(record: Any) -> None:
    """As it is no job."""
    with pytest.raises(ValidationError):
        JobHeader.read(record)


def test_listed_jobs_are_read_without_their_models() -> None:
    """A cold start pays for the models of jobs only if a job has changed."""
    code = (
        "import sys\n"
        "from export_jobs.contract import JobPage\n"
        "record = {'id': 7, 'status': 'NEW', 'creationTime': 1, 'metrics': {'x': [1]}}\n"
        "page = JobPage.from_answer({'records': [record]})\n"
        "assert page.records[0].status == 'NEW'\n"
        "assert 'export_jobs.contract.job' not in sys.modules\n"
        "assert page.records[0].whole.creation_time == 1\n"
        "assert 'export_jobs.contract.job' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize(
    "body",
    [
        None,
        7,
        [],
        "records",
        {},
        {"records": None},
        {"records": {"id": 7, "status": "NEW"}},
        {"records": "7"},
        {"records": [], "link": "?offset=1_1"},
        {"records": [], "link": []},
        {"records": [], "link": {"next": 7}},
        {"records": [], "link": {"next": ["?offset=1_1"]}},
    ],
)
def test_what_is_no_page_is_refused(body: Any) -> None:
    """It is no empty page, nor is one whose link can't be read the last: jobs would be missed."""
    with pytest.raises(ValueError, match="page"):
        JobPage.from_answer(body)


@pytest.mark.parametrize("number", ["\N{GRINNING FACE}" * 129, "\ud800", " ", "", "x" * 257])
def test_an_id_that_no_key_can_hold_makes_a_record_unreadable(number: str) -> None:
    """A key in DynamoDB has 1,024 bytes: a job that can't be stored would stop every sweep."""
    page = JobPage.from_answer(
        {"records": [{"id": number, "status": "NEW"}, {"id": 1, "status": "N"}]}
    )
    assert ([job.id for job in page.records], page.unreadable_fields) == (["1"], {"id"})


@pytest.mark.parametrize(
    ("times", "cursor", "oldest"),
    [
        ([30, 20, 10], "1700000000000_3", 10),
        ([30, None, 10], None, 10),
        ([30, 20, None], "1700000000000_3", 20),
        ([1_700_000_000_500, None], "1700000000000_3", 1_700_000_000_000),
        ([None, None], "1700000000000_3", 1_700_000_000_000),
        ([None, 0], "1700000000000_3", 1_700_000_000_000),
        ([], "1700000000000_3", 1_700_000_000_000),
        ([1_700_000_000_000, None], "1700000000500_3", 1_700_000_000_000),
        ([1_700_000_000_000, None], None, 1_700_000_000_000),
        ([None], "2_722", None),
        ([None], "17000000000001_3", None),
        ([None], "1700000000000", None),
        ([None], "next", None),
        ([None], None, None),
        ([], None, None),
    ],
)
def test_a_page_shows_how_far_back_it_reaches(
    times: list[int | None], cursor: str | None, oldest: int | None
) -> None:
    """By its last record or by its cursor, and never further than its records show."""
    records = [
        JobHeader.read({"id": number, "status": "NEW", "creationTime": time})
        for number, time in enumerate(times)
    ]
    assert JobPage(tuple(records), next_cursor=cursor).oldest == oldest


@given(st.lists(st.none() | st.integers(10**12, 10**13 - 1), min_size=1))
def test_no_page_reaches_farther_back_than_its_last_record(times: list[int | None]) -> None:
    """Otherwise a job beyond it would count as seen; with a cursor, it reaches exactly there."""
    order = sorted((time or 10**12 for time in times), reverse=True)
    hidden = {position for position, time in enumerate(times) if time is None}
    records = [
        {"id": n, "status": "NEW", **({} if n in hidden else {"creationTime": time})}
        for n, time in enumerate(order)
    ]
    page = JobPage.from_answer({"records": records})
    assert page.oldest is None or page.oldest >= order[-1]
    assert page.continuing_at(f"{order[-1]}_7").oldest == order[-1]


@pytest.mark.parametrize("link", [{}, {"next": None}, {"next": ""}, None])
def test_a_last_page_has_no_next(link: Any) -> None:
    """`link.next` may be absent, null or empty, and so may `link` itself."""
    page = JobPage.from_answer({"records": [], "link": link})
    assert not page.next_link


def test_records_that_are_no_jobs_are_counted() -> None:
    """One unreadable record loses only itself, and is counted, with the fields at fault."""
    page = JobPage.from_answer({"records": [{"id": 1, "status": "NEW"}, {"id": 2}, "x", None]})
    assert [job.id for job in page.records] == ["1"]
    assert page.unreadable == 3
    assert page.unreadable_fields == {"status", "the record"}
