"""Schemathesis against the local service's own OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from export_jobs_local.isolation import http_session
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
from support.faults import LONG

from .conftest import Caller

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@contextmanager
def serving() -> Iterator[Caller]:
    with SegmentationService(ServiceConfig(manual=True)) as service:
        for status in ("NEW", "SUCCEEDED", "FAILED"):
            service.control.create_job("prod", status=status)
            service.control.create_schedule("prod")
        yield Caller(service)


@pytest.fixture(scope="module")
def caller() -> Iterator[Caller]:
    with serving() as caller:
        yield caller


@pytest.fixture(scope="module")
def scripted() -> Iterator[Caller]:
    """A separate service, because its control may create faults and jobs of any shape."""
    with serving() as caller:
        yield caller


def operations_of(caller: Caller, paths: str) -> list[Any]:
    document = schemathesis.openapi.from_url(f"{caller.service.root_url}/openapi.json")
    return [o.ok() for o in document.include(path_regex=paths).get_all_operations()]


@pytest.fixture(scope="module")
def operations(caller: Caller) -> list[Any]:
    return operations_of(caller, "^/(?!_control/)")


@pytest.fixture(scope="module")
def controls(scripted: Caller) -> list[Any]:
    return operations_of(scripted, "^/_control/")


def test_the_document_has_every_call(operations: list[Any]) -> None:
    """Those of jobs, schedules, IMS and access control; all others belong to the control."""
    assert sorted((o.method.upper(), o.path) for o in operations) == [
        ("DELETE", "/data/core/ups/export/jobs/{job_id}"),
        ("GET", "/data/core/ups/config/schedules"),
        ("GET", "/data/core/ups/export/jobs"),
        ("GET", "/data/core/ups/export/jobs/{job_id}"),
        ("GET", "/data/foundation/access-control/acl/reference"),
        ("POST", "/data/core/ups/export/jobs"),
        ("POST", "/data/foundation/access-control/acl/effective-policies"),
        ("POST", "/ims/token/v3"),
    ]


def test_the_token_call_has_its_parameters_in_the_query_and_in_the_body(
    operations: list[Any],
) -> None:
    """None is required in one of the two, as it may be in the other."""
    (token,) = [o for o in operations if o.path == "/ims/token/v3"]
    described = token.definition.raw
    names = {"grant_type", "client_id", "client_secret", "scope"}
    assert {one["name"] for one in described["parameters"] if one["in"] == "query"} == names
    assert not any(one["required"] for one in described["parameters"])
    assert not described["requestBody"].get("required")
    (form,) = described["requestBody"]["content"].values()
    assert form["schema"]["properties"].keys() == names
    assert not form["schema"]["required"]


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
    headers = caller.headers() if entitled else None
    case.call_and_validate(session=http_session(), checks=CHECKS, headers=headers)


@settings(
    max_examples=2_000 if LONG else 250, deadline=None, suppress_health_check=list(HealthCheck)
)
@given(data=st.data())
def test_no_answer_of_the_control_is_outside_the_document(
    controls: list[Any], scripted: Caller, data: st.DataObject
) -> None:
    """Nor does it break the API: jobs and schedules are listed whatever they look like."""
    operation = data.draw(st.sampled_from(controls))
    case = data.draw(operation.as_strategy())
    if isinstance(case.body, dict) and case.body.get("kind") == "refuse":
        case.body["seconds"] = 0
    case.call_and_validate(session=http_session(), checks=CHECKS)
    scripted.service.control.clear_faults()
    for query in ("?limit=1000", "?limit=3&status=NEW"):
        assert scripted.call("GET", query).status_code == 200
    assert scripted.call("GET", "?limit=1000", resource="/config/schedules").status_code == 200
