"""The functions as Lambda runs them: AWS's runtime client, the template's environment, samples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from export_jobs.model.records import EventType
from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.aws.triggers import sqs_record
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.files import event

pytestmark = pytest.mark.xdist_group("functions")  # the tests share one system, in their order


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """The whole system, in which only the test invokes functions and moves jobs."""
    logs: Path = tmp_path_factory.mktemp("logs")
    config = SystemConfig(logs=logs, service=ServiceConfig(manual=True), triggers=False)
    with LocalSystem(config) as system:
        yield system


def published(system: LocalSystem) -> list[Delivery]:
    return system.subscribers.drain()


def test_a_request_becomes_a_job_and_its_lifecycle_is_published(system: LocalSystem) -> None:
    """From a sample SQS event to a job at the service, and from its end to both sinks."""
    monitor, creator = system.pool("monitor"), system.pool("creator")
    assert monitor.invoke(event("monitor")).answer == {"sandboxes": 2}
    assert creator.invoke(event("creator-create")).answer == {"batchItemFailures": []}
    (job,) = system.service.control.jobs("prod")
    assert [d.type for d in published(system)] == [EventType.REQUEST_ACCEPTED]

    monitor.invoke(event("monitor"))
    system.service.control.set_status(job.id, "SUCCEEDED")
    assert monitor.invoke(event("monitor")).error is None

    seen = published(system)
    assert [(d.sink, d.detail["status"]) for d in seen] == [
        ("bus", "NEW"),
        ("bus", "SUCCEEDED"),
        ("topic", "SUCCEEDED"),
    ]
    assert {d.type for d in seen} == {EventType.JOB_STATE_CHANGE}
    assert {d.detail["requestKey"] for d in seen} == {"nightly-newsletter"}
    assert {d.detail["correlationId"] for d in seen} == {"campaign-42"}

    assert creator.invoke(event("creator-create")).answer == {"batchItemFailures": []}
    assert len(system.service.control.jobs("prod")) == 1


def test_requests_that_can_never_be_done_are_rejected_without_a_call(system: LocalSystem) -> None:
    """Each invalid message gives an event with the reason, a dead letter with it, and no call."""
    published(system)
    system.service.control.forget_calls()
    answer = system.pool("creator").invoke(event("creator-invalid")).answer
    assert answer == {"batchItemFailures": []}
    rejected = [d for d in published(system) if d.sink == "bus"]
    assert {d.type for d in rejected} == {EventType.REQUEST_REJECTED}
    reasons = {d.detail["requestKey"]: d.detail["reason"] for d in rejected}
    assert "did you mean 'segments'?" in reasons["misspelt"]
    assert any("is not JSON" in reason for reason in reasons.values())
    calls = system.service.control.calls()
    assert calls["create"] == 0

    sqs = system.aws.client("sqs")
    messages = sqs.receive_message(
        QueueUrl=system.stack.outputs["DeadLetterQueueUrl"],
        MaxNumberOfMessages=10,
        MessageAttributeNames=["All"],
    )["Messages"]
    dead = {
        message["MessageAttributes"]["requestKey"]["StringValue"]: message["MessageAttributes"][
            "reason"
        ]["StringValue"]
        for message in messages
    }
    assert dead.keys() == reasons.keys()
    assert all(reasons[key] in dead[key] for key in dead)


def test_a_bad_message_fails_no_other_of_its_batch(system: LocalSystem) -> None:
    """Two deliveries of a request, an unreadable message between them: one job, no failure."""
    before = len(system.service.control.jobs("prod"))
    answer = system.pool("creator").invoke(event("creator-mixed")).answer
    assert answer == {"batchItemFailures": []}
    assert len(system.service.control.jobs("prod")) == before + 1


def test_a_rejected_request_that_sqs_itself_redrives_is_tried_again(system: LocalSystem) -> None:
    """The console's button moves a dead letter back unchanged; it must not be dropped silently."""
    system.pool("creator").invoke(event("creator-invalid"))
    published(system)
    sqs, outputs = system.aws.client("sqs"), system.stack.outputs
    letters = sqs.receive_message(
        QueueUrl=outputs["DeadLetterQueueUrl"],
        MaxNumberOfMessages=10,
        VisibilityTimeout=0,
        AttributeNames=["All"],
        MessageAttributeNames=["All"],
    )["Messages"]
    records = [sqs_record(letter, "arn:aws:sqs:us-east-1:123456789012:q") for letter in letters]
    assert records
    answer = system.pool("creator").invoke({"Records": records}).answer
    assert answer == {"batchItemFailures": []}
    again = [d for d in published(system) if d.sink == "bus"]
    assert [d.type for d in again] == [EventType.REQUEST_REJECTED] * len(records)


def test_a_request_can_be_cancelled_by_its_key(system: LocalSystem) -> None:
    """The sample cancel request cancels the job of the sample create request."""
    system.pool("creator").invoke(event("creator-create"))
    system.pool("creator").invoke(event("creator-cancel"))
    outcomes = [
        d.detail["outcome"] for d in published(system) if d.type == EventType.REQUEST_ACCEPTED
    ]
    assert outcomes[-1] in {"CANCELLING", "ALREADY_FINAL"}


def test_a_sweep_that_cannot_list_fails_its_invocation(system: LocalSystem) -> None:
    """Alarms count failed invocations, so a failed listing has to be one."""
    control = system.service.control
    control.plan_fault("list", "http", times=0, status=503)
    try:
        error = system.pool("monitor").invoke(event("monitor")).error
    finally:
        control.clear_faults()
    assert error is not None
    assert error["errorType"] == "SweepFailed"
    assert "prod: can't list jobs" in error["errorMessage"]
    assert system.pool("monitor").invoke(event("monitor")).error is None


def test_a_replaced_secret_is_read_when_the_old_one_is_refused(system: LocalSystem) -> None:
    """Also by a running process: by the sweep that meets the refusal, and then by the next."""
    monitor, control = system.pool("monitor"), system.service.control
    assert monitor.invoke(event("monitor")).error is None
    secrets = system.aws.client("secretsmanager")
    kept = secrets.get_secret_value(SecretId="export-jobs/aep")["SecretString"]
    broken = json.dumps({**json.loads(kept), "clientId": "another"})
    try:
        secrets.put_secret_value(SecretId="export-jobs/aep", SecretString=broken)
        control.expire_tokens()
        error = monitor.invoke(event("monitor")).error
        assert error is not None
        assert "IMS refuses the client" in error["errorMessage"]
    finally:
        secrets.put_secret_value(SecretId="export-jobs/aep", SecretString=kept)
    assert monitor.invoke(event("monitor")).error is None


def test_logs_name_what_happened_and_hold_no_secret(system: LocalSystem) -> None:
    """Logs are JSON lines of the service that the template names, without token and secret."""
    system.pool("monitor").invoke(event("monitor"))
    system.pool("creator").invoke(event("creator-create"))
    text = "".join(path.read_text() for path in system.config.logs.glob("*.log"))
    assert '"service":"monitor"' in text
    assert '"service":"creator"' in text
    assert system.service.client_secret not in text
    assert "Bearer" not in text
