"""Schemathesis against the local service's own OpenAPI document."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from .conftest import Caller

LONG = bool(os.environ.get("EXPORT_JOBS_LONG"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with SegmentationService(ServiceConfig(manual=True)) as service:
        for status in ("NEW", "SUCCEEDED", "FAILED"):
            service.control.create_job("prod", status=status)
        yield Caller(service)


@pytest.fixture(scope="module")
def operations(caller: Caller) -> list[Any]:
    document = schemathesis.openapi.from_url(f"{caller.service.root_url}/openapi.json")
    chosen = document.include(path_regex=r"^/(data|ims)/").get_all_operations()
    return [operation.ok() for operation in chosen]


def test_the_document_has_every_call(operations: list[Any]) -> None:
    """The four of `/export/jobs` and the token's."""
    assert sorted((o.method.upper(), o.path) for o in operations) == [
        ("DELETE", "/data/core/ups/export/jobs/{job_id}"),
        ("GET", "/data/core/ups/export/jobs"),
        ("GET", "/data/core/ups/export/jobs/{job_id}"),
        ("POST", "/data/core/ups/export/jobs"),
        ("POST", "/ims/token/v3"),
    ]


@settings(
    max_examples=2_000 if LONG else 250, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.data(), entitled=st.booleans())
def test_no_answer_is_outside_the_document(
    operations: list[Any], caller: Caller, data: st.DataObject, *, entitled: bool
) -> None:
    """No crash, and no status, content type or body that the document does not describe."""
    operation = data.draw(st.sampled_from(operations))
    case = data.draw(operation.as_strategy())
    case.call_and_validate(checks=CHECKS, headers=caller.headers() if entitled else None)
