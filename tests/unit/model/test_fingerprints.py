"""Fingerprints: what is remembered of a job in its status, and of the segments that it exports."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.model.fingerprints import (
    MAX_SEGMENTS,
    segment_fingerprint,
    segments_of,
    status_fingerprint,
)
from hypothesis import given
from hypothesis import strategies as st


@given(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5))
def test_a_fingerprint_is_of_the_job_and_its_status(one: str, other: str, status: str) -> None:
    """Eight bytes; another job in the same status has others."""
    assert len(status_fingerprint(one, status)) == 8
    if one != other:
        assert status_fingerprint(one, status) != status_fingerprint(other, status)


def exporting(*segments: dict[str, Any]) -> Job:
    return Job.model_validate({"id": "1", "status": "NEW", "filter": {"segments": list(segments)}})


def test_the_segments_of_a_job_are_those_whose_members_it_exports() -> None:
    """Not those of which it exports only the profiles that have left."""
    left = {"segmentId": "left", "status": ["exited"]}
    both = {"segmentId": "both", "status": ["realized", "exited"]}
    found = segments_of(exporting({"segmentId": "in"}, both, left))
    assert found == {segment_fingerprint("in"), segment_fingerprint("both")}
    assert segments_of(exporting(left)) == frozenset()


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [{"segmentId": "a"}, {"segmentNs": "ups"}],
        [{"segmentId": str(number)} for number in range(MAX_SEGMENTS + 1)],
    ],
    ids=["none", "one without an id", "too many"],
)
def test_a_job_whose_segments_are_not_known_may_export_any(
    segments: list[dict[str, Any]],
) -> None:
    """It shows none, or one that can't be read, or more than its item holds."""
    assert segments_of(exporting(*segments)) is None
