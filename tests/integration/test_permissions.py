"""Least privilege: each function may make only its own AWS calls, on its own resources."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from export_jobs_local.aws.server import REGION
from support.broad_run import FUNCTIONS, SECRET_KEY, BroadRun, broad_run
from support.cloudformation import ACCOUNT, NEEDED, render
from support.iam import Grant, Keys, arn, granted_by, listed, needed_for, queue_lets_in, via

pytestmark = pytest.mark.xdist_group("broad-run")

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
    """A missing permission would fail in AWS; an unused one would only help an attacker."""
    keys = Keys(run.topic_key, SECRET_KEY)
    made = {grant for call in run.calls[function] for grant in needed_for(call, keys)}
    granted = granted_to(run, function)
    assert made - granted == set(), "missing in the template"
    assert granted - made == set(), "granted by the template, used by no call"


def test_the_creator_may_not_send_to_its_own_queue(run: BroadRun) -> None:
    """Lambda stops a function that invokes itself 16 times; requests wait in the table instead."""
    request_queue = arn("sqs", run.outputs["RequestQueueUrl"].rsplit("/", 1)[-1])
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
    """The statements for Lambda's own calls grant nothing else."""
    own = [s for s in run.policies[function] if s["Sid"] in LAMBDA_S_OWN]
    assert own
    for statement in own:
        assert set(listed(statement["Action"])) == LAMBDA_S_OWN[statement["Sid"]]
        wild = "*" in listed(statement["Resource"])
        assert wild == (statement["Sid"] == "Trace"), "only X-Ray knows no resources"


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_action_is_a_pattern(run: BroadRun, function: str) -> None:
    """Every action in an Allow statement is spelt out."""
    for statement in run.policies[function]:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in listed(statement["Action"]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_keys_are_used_through_their_service_only(run: BroadRun, function: str) -> None:
    """The function itself gets no data key, neither from the topic's key nor from the secret's."""
    granted = {grant for grant in granted_to(run, function) if grant[0].startswith("kms:")}
    assert {(resource, via) for _, resource, via in granted} == {
        (run.topic_key, via("sns")),
        (SECRET_KEY, via("secretsmanager")),
    }


def granted_to(run: BroadRun, function: str) -> set[Grant]:
    """What a function's own code may do."""
    statements = run.policies[function]
    return set(granted_by(s for s in statements if s["Sid"] not in LAMBDA_S_OWN))


TAKEN = {
    "a rule of the default bus": ("events.amazonaws.com", arn("events", "rule/any")),
    "a rule of another bus": ("events.amazonaws.com", arn("events", "rule/bus/any")),
    "a topic": ("sns.amazonaws.com", arn("sns", "any")),
}
ELSEWHERE = {ACCOUNT: "999999999999", REGION: "eu-west-1"}


@pytest.mark.parametrize("sender", TAKEN)
def test_the_queue_takes_requests_of_the_account_s_rules_and_topics(sender: str) -> None:
    """By TLS only."""
    service, source = TAKEN[sender]
    sending = {"SourceArn": source}
    assert queue_lets_in("RequestQueuePolicy", service, SecureTransport="true", **sending)
    assert not queue_lets_in("RequestQueuePolicy", service, SecureTransport="false", **sending)


@pytest.mark.parametrize("sender", TAKEN)
def test_the_queue_lets_in_nobody_else(sender: str) -> None:
    """Nor anybody for another account, nor for more than sending, nor to the rejected requests."""
    service, source = TAKEN[sender]
    policy = "RequestQueuePolicy"
    for ours, other in ELSEWHERE.items():
        assert not queue_lets_in(policy, service, SourceArn=source.replace(ours, other))
    assert not queue_lets_in(policy, service)
    assert not queue_lets_in(policy, service, SourceAccount=ACCOUNT)
    assert not queue_lets_in(policy, "s3.amazonaws.com", SourceArn=source)
    (swapped,) = {"events.amazonaws.com", "sns.amazonaws.com"} - {service}
    assert not queue_lets_in(policy, swapped, SourceArn=source)
    for action in ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SetQueueAttributes"):
        assert not queue_lets_in(policy, service, action, SourceArn=source)
    assert not queue_lets_in("RequestDeadLetterQueuePolicy", service, SourceArn=source)


def test_each_queue_has_one_policy() -> None:
    """A second one for the same queue would replace the first."""
    rendered = render(NEEDED)
    policies = rendered.of("AWS::SQS::QueuePolicy").values()
    queues = [queue for policy in policies for queue in policy["Queues"]]
    assert len(queues) == len(set(queues)) == len(rendered.of("AWS::SQS::Queue"))
