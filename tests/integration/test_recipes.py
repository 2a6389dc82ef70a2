"""The recipes of docs/recipes.md, tried on the local stack as they stand there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.core import events
from export_jobs.core.decide import Policy, miss, observe
from export_jobs.core.events import Past
from export_jobs.core.records import Event, JobRecord
from export_jobs.core.requests import Message, read_message
from support.files import ROOT
from support.local import Bench

PAGE = (ROOT / "docs" / "recipes.md").read_text()
DATASET = "5bb4c46757920712f924a3eb"
NOW = 1_700_000_000_000


def recipe(mark: str) -> Any:
    """The JSON after a mark in the page."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert found, mark
    return json.loads(found[1])


def ended(number: int, dataset: str = DATASET, sandbox: str = "prod", **fields: Any) -> Event:
    job = Job.model_validate(
        {"id": number, "creationTime": 1, "destination": {"datasetId": dataset}, **fields}
    )
    record = observe(None, job, sandbox=sandbox, policy=Policy(), now=NOW)
    assert record
    return record.owed[0].event


def one_of_each() -> dict[str, Event]:
    """Events by a name that says what they are."""
    running = Job.model_validate({"id": 20, "status": "PROCESSING", "creationTime": 1})
    record = JobRecord("prod", "20", 1, status="PROCESSING", sequence=1)
    gone = miss(miss(record, policy=Policy(), now=NOW), policy=Policy(), now=NOW)
    return {
        "success": ended(1, status="SUCCEEDED", metrics={"totalExportedProfileCounter": 5}),
        "success elsewhere": ended(2, dataset="other", status="SUCCEEDED"),
        "success in dev": ended(3, sandbox="dev", status="SUCCEEDED"),
        "empty": ended(4, status="SUCCEEDED", metrics={"totalExportedProfileCounter": 0}),
        "with errors": ended(5, status="SUCCEEDED", errors=[{"code": "1"}]),
        "failed": ended(6, status="FAILED"),
        "failed in dev": ended(7, sandbox="dev", dataset="other", status="FAILED"),
        "running": ended(8, status="PROCESSING"),
        "vanished": gone.owed[-1].event,
        "late": events.delayed(record, running, limit_ms=1, past=Past(), now=NOW),
        "rejected": events.request_event(
            "Export Request Rejected",
            outcome="INVALID",
            request_key="k",
            occasion=0,
            action=None,
            now=NOW,
        ),
    }


def drained(bench: Bench, url: str) -> list[dict[str, Any]]:
    sqs = bench.clients["sqs"]
    found: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(message["Body"]))
    return found


def queue(bench: Bench) -> tuple[str, str]:
    sqs = bench.clients["sqs"]
    url = sqs.create_queue(QueueName=f"{bench.stack.name}-recipe")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, attributes["Attributes"]["QueueArn"]


@pytest.mark.parametrize(
    ("mark", "matched"),
    [
        (f"rule: matches SUCCEEDED into {DATASET}", {"success", "success in dev"}),
        (
            "rule: matches FAILED, SUCCEEDED_EMPTY, SUCCEEDED_WITH_ERRORS, VANISHED",
            {"empty", "with errors", "failed", "failed in dev", "vanished"},
        ),
        ("rule: matches delays", {"late"}),
    ],
)
def test_a_rule_matches_what_it_says_and_no_more(
    bench: Bench, mark: str, matched: set[str]
) -> None:
    """Put on the stack's bus, with a queue as its target."""
    url, arn = queue(bench)
    bus = bench.stack.outputs["EventBusName"]
    rules = bench.clients["events"]
    rules.put_rule(Name="recipe", EventBusName=bus, EventPattern=json.dumps(recipe(mark)))
    rules.put_targets(Rule="recipe", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    sent = one_of_each()
    try:
        assert len(bench.announcer.publish(list(sent.values()), "bus")) == len(sent)
    finally:  # a bus with rules can't be deleted
        rules.remove_targets(Rule="recipe", EventBusName=bus, Ids=["queue"])
        rules.delete_rule(Name="recipe", EventBusName=bus)
    ids = {event.id: name for name, event in sent.items()}
    assert {ids[body["detail"]["eventId"]] for body in drained(bench, url)} == matched


@pytest.mark.parametrize(
    ("mark", "matched"),
    [
        ("policy: prod only", {"empty", "with errors", "failed", "running", "vanished", "late"}),
        (
            "policy: dataset only",
            {"success", "success in dev", "empty", "with errors", "failed", "running"},
        ),
    ],
)
def test_a_filter_policy_lets_through_what_it_says(
    bench: Bench, mark: str, matched: set[str]
) -> None:
    """Given to a subscription of the stack's topic."""
    url, arn = queue(bench)
    bench.clients["sns"].subscribe(
        TopicArn=bench.stack.outputs["AlertTopicArn"],
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"FilterPolicy": json.dumps(recipe(mark))},
    )
    sent = one_of_each()
    bench.announcer.publish(list(sent.values()), "topic")
    ids = {event.id: name for name, event in sent.items()}
    told = {ids[json.loads(body["Message"])["detail"]["eventId"]] for body in drained(bench, url)}
    assert told == matched


def test_the_nightly_schedule_sends_a_request_that_is_taken() -> None:
    """Each night's key is its own, and the same for a repeat."""
    schedule = recipe("schedule")
    assert re.fullmatch(r"cron\(.+\)", schedule["ScheduleExpression"])
    night = "2027-01-31T02:00:00Z"
    text = schedule["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", night)
    request = read_message(Message(text, "m", 0), sandboxes=["prod"])
    assert request.key == f"nightly-{night}"
    assert request.job
    assert request.job.destination.dataset_id == DATASET


@pytest.mark.parametrize("mark", ["transformer", "chat"])
def test_an_input_transformer_makes_valid_json_of_an_event(mark: str) -> None:
    """Its paths are fields of the event, its template names just these, and JSON comes of it."""
    transformer = recipe(mark)
    detail = one_of_each()["failed"].detail
    text = transformer["InputTemplate"]
    assert set(re.findall(r"<([a-z]+)>", text)) == transformer["InputPathsMap"].keys()
    for name, path in transformer["InputPathsMap"].items():
        value = detail[path.removeprefix("$.detail.")]
        text = text.replace(f"<{name}>", str(value))
    made = json.loads(text)
    if mark == "chat":
        assert (made["version"], made["source"]) == ("1.0", "custom")
        assert made["content"]["title"] == "Export job 6: FAILED"
