"""The control over HTTP: what it refuses, in words that a program can read."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from export_jobs_local.segmentation.server import SegmentationService


@pytest.mark.parametrize("name", ["id", "job_id", "sandbox", "visible_after"])
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_job_has_the_id_it_is_found_by(
    service: SegmentationService, method: str, name: str
) -> None:
    """A job that says another id than its own, or a field that is none, is refused by its name."""
    job = service.control.create_job("prod")
    path = "jobs" if method == "POST" else f"jobs/{job.id}"
    url = f"{service.root_url}/_control/{path}"
    fields: dict[str, Any] = {"status": "FAILED", name: 7}
    answer = requests.request(method, url, json=fields, timeout=10)
    assert answer.status_code == 400
    assert answer.json() == {"detail": f"not to be given: {name}"}
    assert [found.body for found in service.control.jobs("prod")] == [job.body]


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_job_that_is_not_there_is_said_in_json(service: SegmentationService, method: str) -> None:
    """Like every other error of the control, with its reason."""
    url = f"{service.root_url}/_control/jobs/4711"
    answer = requests.request(method, url, json={}, timeout=10)
    assert answer.status_code == 404
    assert answer.json() == {"detail": "there is no job 4711"}
