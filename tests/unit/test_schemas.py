"""The published JSON Schemas match the code, and the samples in the docs conform to them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from export_jobs.contract import FieldProblem, Job
from export_jobs.events import build as events
from export_jobs.model.baselines import Comparison
from export_jobs.model.records import RequestRecord
from export_jobs_cli.expectations import schema as expectations
from export_jobs_local.schemas import FOLDER, schemas, text_of
from jsonschema_rs import ValidationError
from support.files import ROOT, seed
from support.observed import observed
from support.schemas import validate_event, validate_request

NOW = 1_700_000_000_000


def test_the_schemas_are_current() -> None:
    """`make docs` rewrites them after a change of a model."""
    every = {**schemas(), expectations.FILE: expectations.schema()}
    assert {path.name for path in FOLDER.glob("*.json")} == {path.name for path in every}
    for path, schema in every.items():
        assert path.read_text() == text_of(schema), path.name


@pytest.mark.parametrize("name", ["get-answer", "create-answer"])
def test_events_of_jobs_are_as_published(name: str) -> None:
    """First seen, late, vanished: of the seed's own jobs, which have every field."""
    job = Job.model_validate(seed(name))
    record = observed(job, now=NOW)
    assert record
    delayed = events.delayed(
        record,
        job,
        limit_ms=1,
        by_usual=True,
        comparison=Comparison(usual_duration_ms=3),
        stack_id="s",
        now=NOW,
    )
    linked = replace(record, linked_by="content", request_key="k", duplicate_of="other")
    gone = events.vanished(linked, previous_status="NEW", stack_id="s", now=NOW)
    for event in [*(entry.event for entry in record.outbox), delayed, gone]:
        validate_event(event.type, event.detail)


def test_a_bare_job_gives_a_valid_event() -> None:
    """Any field but `id` and `status` may be missing."""
    job = Job.model_validate({"id": 1, "status": "PAUSED"})
    record = observed(job, now=NOW)
    assert record
    event = record.outbox[0].event
    validate_event(event.type, event.detail)


def test_events_of_requests_are_as_published() -> None:
    """With every optional field, and with none."""
    bare = RequestRecord("k", "CREATED", "prod", outcome="CREATED")
    full = RequestRecord(
        "k", "CREATED", "prod", action="cancel", body_hash="1:ab", message_id="m", org_id="ORG",
        correlation_id="c", dataset_id="d", job_id="1", linked_by="requestId", outcome="CREATED",
        reason="why", rejections=("e",),
    )  # fmt: skip
    problems = [FieldProblem("job.fields", "is no text")]
    for record in (bare, full):
        for event in (
            events.accepted(record, stack_id="s", now=NOW),
            events.rejected(record, stack_id="s", now=NOW, named="n", problems=problems),
        ):
            validate_event(event.type, event.detail)


def test_the_sample_requests_are_as_published() -> None:
    """Those that the demo accepts; the misspelt one is not."""
    for path in (ROOT / "events" / "requests").glob("*.json"):
        if path.name == "invalid-not-json.json":
            continue
        message = json.loads(path.read_text())
        if "destination" in message or "schema" in message:
            message = {"job": message}
        if path.name.startswith("invalid-"):
            with pytest.raises(ValidationError):
                validate_request(message)
        else:
            validate_request(message)


def test_the_samples_in_the_docs_are_as_published() -> None:
    """Events with a detail, and requests."""
    seen = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for block in re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL):
            sample = json.loads(block)
            if "detail-type" in sample and isinstance(sample["detail-type"], str):
                validate_event(sample["detail-type"], sample["detail"])
                seen += 1
            elif "job" in sample or "cancelRequestKey" in sample:
                validate_request(sample)
                seen += 1
    assert seen >= 5
