"""Least privilege: each function may make just its AWS calls, on just its resources, in just its way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest
from export_jobs_local.aws.server import REGION
from support.broad_run import FUNCTIONS, SECRET_KEY, BroadRun, broad_run

pytestmark = pytest.mark.xdist_group("broad-run")

ACCOUNT = "123456789012"
Grant = tuple[str, str, str]
"""An IAM action, the resource it is for, and the service through which it may be used; "" is any way."""

LAMBDA_S_OWN = {
    "TakeRequests": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "ReportFailedSweeps": {"sqs:SendMessage"},
    "Log": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "Trace": {"xray:PutTraceSegments", "xray:PutTelemetryRecords"},
}
"""What Lambda does in the function's name, by statement: its code never makes these calls.

The sources: polling a queue (docs.aws.amazon.com/lambda/latest/dg/with-sqs.html), sending failed
invocations to a destination, writing logs, and the X-Ray daemon.
"""


@pytest.fixture(scope="module")
def run() -> BroadRun:
    return broad_run()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_just_what_it_does(run: BroadRun, function: str) -> None:
    """Nothing is missing: it would fail in AWS. Nothing is unused: it would be for an attacker."""
    made = {grant for call in run.calls[function] for grant in needed_for(call, run)}
    granted = set(granted_by(run.policies[function]))
    assert made - granted == set(), "missing in the template"
    assert granted - made == set(), "granted by the template, used by no call"


def test_the_creator_may_not_send_to_its_own_queue(run: BroadRun) -> None:
    """Lambda stops a function that feeds itself, after 16 rounds: requests wait in the table instead."""
    request_queue = _queue(run.outputs["RequestQueueUrl"])
    senders = {
        function
        for function in FUNCTIONS
        for statement in run.policies[function]
        if "sqs:SendMessage" in listed(statement["Action"])
        and any(fnmatchcase(request_queue, name) for name in listed(statement["Resource"]))
    }
    assert senders == {"monitor"}, "which wakes the creator"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_lambda_does_itself_is_granted_by_name(run: BroadRun, function: str) -> None:
    """The statements for Lambda's own calls hold no more than those."""
    own = [s for s in run.policies[function] if s["Sid"] in LAMBDA_S_OWN]
    assert own
    for statement in own:
        assert set(listed(statement["Action"])) == LAMBDA_S_OWN[statement["Sid"]]
        wild = "*" in listed(statement["Resource"])
        assert wild == (statement["Sid"] == "Trace"), "only X-Ray knows no resources"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_is_a_pattern(run: BroadRun, function: str) -> None:
    """Every action is spelt out, in statements that allow."""
    for statement in run.policies[function]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in listed(statement["Action"]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_keys_are_used_through_their_service_only(run: BroadRun, function: str) -> None:
    """No data key for the function itself: neither of the topic's key nor of the secret's."""
    granted = {grant for grant in granted_by(run.policies[function]) if grant[0].startswith("kms:")}
    assert {(resource, via) for _, resource, via in granted} == {
        (run.topic_key, via("sns")),
        (SECRET_KEY, via("secretsmanager")),
    }


def granted_by(statements: list[dict[str, Any]]) -> Iterator[Grant]:
    for statement in statements:
        if statement["Sid"] not in LAMBDA_S_OWN:
            for action in listed(statement["Action"]):
                for resource in listed(statement["Resource"]):
                    yield action, resource, condition_of(statement)


def condition_of(statement: Mapping[str, Any]) -> str:
    """Any other condition than a service would be one that the test does not know how to meet."""
    condition = statement.get("Condition")
    if condition is None:
        return ""
    assert condition.keys() == {"StringEquals"}
    assert condition["StringEquals"].keys() == {"kms:ViaService"}
    return str(condition["StringEquals"]["kms:ViaService"])


def via(service: str) -> str:
    return f"{service}.{REGION}.amazonaws.com"


def needed_for(call: Mapping[str, Any], run: BroadRun) -> Iterator[Grant]:
    """What IAM asks for when a call is made.

    Sources: the service authorization reference; a transaction needs what its parts would need
    (docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html), a batch of
    messages `sns:Publish`, and an encrypted topic or secret its key, used by that service.
    """
    service, operation, parameters = call["service"], call["operation"], call["parameters"]
    match service, operation:
        case "dynamodb", _:
            for action, resource in needed_of_tables(operation, parameters):
                yield action, resource, ""
        case "events", "PutEvents":
            for entry in parameters["Entries"]:
                bus = entry["EventBusName"]
                yield "events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}", ""
        case "sns", "Publish" | "PublishBatch":
            yield "sns:Publish", parameters["TopicArn"], ""
            yield "kms:GenerateDataKey", run.topic_key, via("sns")
            yield "kms:Decrypt", run.topic_key, via("sns")
        case "sqs", "SendMessage" | "SendMessageBatch":
            yield "sqs:SendMessage", _queue(parameters["QueueUrl"]), ""
        case "secretsmanager", "GetSecretValue":
            yield "secretsmanager:GetSecretValue", parameters["SecretId"], ""
            yield "kms:Decrypt", SECRET_KEY, via("secretsmanager")
        case _:
            pytest.fail(f"the test does not know what {service}:{operation} needs")


def needed_of_tables(operation: str, parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The actions of a call of DynamoDB, each with its table or index."""
    match operation:
        case "TransactWriteItems":
            for write in parameters["TransactItems"]:
                ((kind, body),) = write.items()
                action = "ConditionCheckItem" if kind == "ConditionCheck" else f"{kind}Item"
                yield f"dynamodb:{action}", _table(body["TableName"])
        case "BatchGetItem":
            for name in parameters["RequestItems"]:
                yield "dynamodb:BatchGetItem", _table(name)
        case _:
            table = _table(parameters["TableName"])
            index = parameters.get("IndexName")
            yield f"dynamodb:{operation}", f"{table}/index/{index}" if index else table


def _queue(url: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rsplit('/', 1)[-1]}"


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _table(name: str) -> str:
    return f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"
