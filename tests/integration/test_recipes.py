"""The recipes of docs/recipes.md, and the commands in the docs, run as written."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore import xform_name
from export_jobs.creator.message import job_asked_for, read_request
from export_jobs.model.records import EventType
from export_jobs_cli.expectations.file import parse
from export_jobs_local.aws.server import REGION
from export_jobs_local.isolation import isolated
from support.command_line import parsed
from support.files import ROOT
from support.iam import queue_lets_in
from support.local import Bench
from support.one_of_each import DATASET, one_of_each

PAGE = (ROOT / "docs" / "recipes.md").read_text()
ACCOUNT = "123456789012"
NIGHT = "2027-01-31T02:00:00Z"
TRIED_AGAIN = "failed, tried again"
FAILURES = "rule: matches FAILED, SUCCEEDED_EMPTY, SUCCEEDED_WITH_ERRORS, VANISHED"


def recipe(mark: str, **filled: str) -> Any:
    """The JSON after a mark in the page, with the words in capitals filled in."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```json\n(.*?)```", PAGE, re.DOTALL)
    assert found, mark
    text = found[1]
    for word, value in filled.items():
        assert re.search(rf"\b{word}\b", text), word
        text = re.sub(rf"\b{word}\b", value, text)
    return json.loads(text)


def drained(bench: Bench, url: str) -> list[dict[str, Any]]:
    sqs = bench.clients["sqs"]
    found: list[dict[str, Any]] = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            found.append(json.loads(message["Body"]))
    return found


def queue(bench: Bench, name: str = "recipe") -> tuple[str, str]:
    """URL and ARN."""
    sqs = bench.clients["sqs"]
    url = sqs.create_queue(QueueName=f"{bench.stack.name}-{name}")["QueueUrl"]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, attributes["Attributes"]["QueueArn"]


class Rule:
    """A rule on the stack's bus."""

    def __init__(self, bench: Bench, pattern: Any) -> None:
        self._events = bench.clients["events"]
        self._where = {"EventBusName": bench.stack.outputs["EventBusName"], "Rule": "recipe"}
        bus = self._where["EventBusName"]
        self.arn = self._events.put_rule(
            Name="recipe", EventBusName=bus, EventPattern=json.dumps(pattern)
        )["RuleArn"]

    def targets(self, targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Puts them and reads them back."""
        assert self._events.put_targets(**self._where, Targets=targets)["FailedEntryCount"] == 0
        found: list[dict[str, Any]] = self._events.list_targets_by_rule(**self._where)["Targets"]
        return found

    def delete(self) -> None:
        """A bus with rules can't be deleted."""
        ids = [t["Id"] for t in self._events.list_targets_by_rule(**self._where)["Targets"]]
        if ids:
            self._events.remove_targets(**self._where, Ids=ids)
        self._events.delete_rule(Name="recipe", EventBusName=self._where["EventBusName"])


@pytest.fixture
def rule(bench: Bench, request: pytest.FixtureRequest) -> Iterator[Rule]:
    """With the pattern after a mark in the page: by default, failures."""
    made = Rule(bench, recipe(getattr(request, "param", FAILURES)))
    yield made
    made.delete()


def publish_one_of_each(bench: Bench, sink: str) -> dict[str, str]:
    """Publishes them; returns their names by their ids."""
    sent = one_of_each()
    assert len(bench.publisher.publish(list(sent.values()), sink)) == len(sent)
    return {event.id: name for name, event in sent.items()}


@pytest.mark.parametrize(
    ("rule", "matched"),
    [
        (f"rule: matches SUCCEEDED into {DATASET}", {"success", "success in dev"}),
        (
            FAILURES,
            {*("empty", "with errors", "failed", "failed in dev", "vanished"), TRIED_AGAIN},
        ),
        (
            "rule: matches failures that nothing will repeat",
            {"empty", "with errors", "failed", "failed in dev", "vanished"},
        ),
        ("rule: matches delays", {"late"}),
        ("rule: matches drops in volume", {"drop"}),
        ("rule: matches overdue exports", {"overdue", "overdue resolved"}),
    ],
    indirect=["rule"],
)
def test_a_rule_matches_its_events_and_no_others(
    bench: Bench, rule: Rule, matched: set[str]
) -> None:
    """Put on the stack's bus, with a queue as its target."""
    url, arn = queue(bench)
    rule.targets([{"Id": "queue", "Arn": arn}])
    names = publish_one_of_each(bench, "bus")
    assert {names[body["detail"]["eventId"]] for body in drained(bench, url)} == matched


@pytest.mark.parametrize(
    ("mark", "matched"),
    [
        (
            "policy: prod only",
            {
                *("empty", "with errors", "failed", "running", "vanished", "late", "back"),
                *(TRIED_AGAIN, "retried"),
                *("cancelled", "cancelled after a delay", "overdue", "overdue resolved"),
                *("drop", "slow"),
            },
        ),
        (
            "policy: dataset only",
            {
                *("success", "success in dev", "empty", "with errors", "failed", "running"),
                *("overdue", "overdue resolved"),
            },
        ),
    ],
)
def test_a_filter_policy_lets_its_events_through_and_no_others(
    bench: Bench, mark: str, matched: set[str]
) -> None:
    """Set on a subscription of the stack's topic, as the recipe's commands do."""
    url = subscribed(bench, "AlertTopicArn", mark)
    names = publish_one_of_each(bench, "topic")
    sent = {names[json.loads(body["Message"])["detail"]["eventId"]] for body in drained(bench, url)}
    assert sent == matched


def test_a_filter_on_events_hides_no_alarm(bench: Bench) -> None:
    """By the recipe's second subscription, without a policy: a policy would drop any alarm."""
    filtered, unfiltered = (
        commands_with(bench, "AlertTopicArn"),
        commands_with(bench, "AlarmTopicArn"),
    )
    assert ["--attributes" in command for command in (*filtered, *unfiltered)] == [True, False]
    events = subscribed(bench, "AlertTopicArn", "policy: prod only")
    alarms, also_filtered = (
        subscribed(bench, "AlarmTopicArn", mark, name=f"alarms-{mark and 'filtered'}")
        for mark in (None, "policy: prod only")
    )
    publish_one_of_each(bench, "topic")
    raise_alarm(bench)
    assert {json.loads(body["Message"])["AlarmName"] for body in drained(bench, alarms)} == {"some"}
    assert not drained(bench, also_filtered)
    assert all("detail" in json.loads(body["Message"]) for body in drained(bench, events))


def commands_with(bench: Bench, output: str) -> list[list[str]]:
    """The page's commands that subscribe somebody to the topic of an output."""
    assert output in bench.stack.outputs
    variable = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", output).upper()
    return [c for c in commands("docs/recipes.md") if f"${variable}" in c and c[1] == "subscribe"]


def subscribed(bench: Bench, output: str, mark: str | None, name: str = "recipe") -> str:
    """The URL of a queue that is subscribed to the topic, with a filter policy of the page."""
    url, arn = queue(bench, name)
    bench.clients["sns"].subscribe(
        TopicArn=bench.stack.outputs[output],
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"FilterPolicy": json.dumps(recipe(mark))} if mark else {},
    )
    return url


def raise_alarm(bench: Bench) -> None:
    """As CloudWatch does: JSON, and no attributes."""
    topic = bench.stack.outputs["AlarmTopicArn"]
    bench.clients["sns"].publish(TopicArn=topic, Message=json.dumps({"AlarmName": "some"}))


@pytest.mark.usefixtures("no_aws_settings")  # moto's Step Functions read them, in threads
def test_the_workflow_is_a_target_and_runs_once_for_each_event(
    bench: Bench, rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state machine runs for the first of two equal events and for another, not for the repeat.

    Moto's rules start no executions, so the test starts them with the event, as EventBridge would.
    """
    from moto.core.config import default_user_config  # noqa: PLC0415  costs a second

    monkeypatch.setitem(default_user_config, "stepfunctions", {"execute_state_machine": True})
    monkeypatch.setenv("MOTO_PORT", bench.aws.url.rsplit(":", 1)[-1])
    machines, dynamodb = bench.aws.client("stepfunctions"), bench.clients["dynamodb"]
    definition = recipe("state machine")
    table = definition["States"]["Once"]["Parameters"]["TableName"]
    dynamodb.create_table(
        TableName=table,
        AttributeDefinitions=[{"AttributeName": "eventId", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "eventId", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    machine = machines.create_state_machine(
        name=bench.stack.name, definition=json.dumps(definition), roleArn=role()
    )["stateMachineArn"]
    _, undelivered = queue(bench, "undelivered")
    filled = {"STATE_MACHINE_ARN": machine, "ROLE_ARN": role(), "UNDELIVERED_ARN": undelivered}
    targets = recipe("targets: workflow", **filled)
    assert rule.targets(targets) == targets

    def states(number: int, event_id: str) -> list[str]:
        execution = machines.start_execution(
            stateMachineArn=machine,
            name=f"by-eventbridge-{number}",
            input=json.dumps({"detail": {"eventId": event_id}}),
        )["executionArn"]
        while machines.describe_execution(executionArn=execution)["status"] == "RUNNING":
            time.sleep(0.05)
        assert machines.describe_execution(executionArn=execution)["status"] == "SUCCEEDED"
        history = machines.get_execution_history(executionArn=execution)["events"]
        return [
            e["stateEnteredEventDetails"]["name"]
            for e in history
            if "stateEnteredEventDetails" in e
        ]

    try:
        assert states(1, "one") == ["Once", "Work"]
        assert states(2, "one") == ["Once", "Repeated"]
        assert states(3, "two") == ["Once", "Work"]
    finally:
        dynamodb.delete_table(TableName=table)


def test_pagerduty_is_a_target_and_gets_its_event(bench: Bench, rule: Rule) -> None:
    """Connection, destination and target are accepted; the transformer's event reaches a queue.

    The key comes from the connection: the rule, which more people may read, has none.
    """
    events = bench.clients["events"]
    connection = events.create_connection(**recipe("connection", ROUTING_KEY="R0123456789"))
    destination = events.create_api_destination(
        **recipe("destination", CONNECTION_ARN=connection["ConnectionArn"])
    )
    kept = events.describe_connection(Name="pagerduty")
    assert (
        kept["AuthParameters"]["InvocationHttpParameters"]["BodyParameters"][0]["Key"]
        == "routing_key"
    )
    _, undelivered = queue(bench, "undelivered")
    targets = recipe(
        "targets: pagerduty",
        API_DESTINATION_ARN=destination["ApiDestinationArn"],
        ROLE_ARN=role(),
        UNDELIVERED_ARN=undelivered,
    )
    try:
        assert rule.targets(targets) == targets
    finally:
        events.delete_api_destination(Name="pagerduty")
        events.delete_connection(Name="pagerduty")
    paged = {page["dedup_key"]: page for page in transformed(bench, rule, targets)}
    failed = one_of_each()["failed"]
    assert len(paged) == 6
    page = paged[failed.id]
    assert page["event_action"] == "trigger"
    assert page["payload"] == {
        "summary": "Export job 6 in prod: FAILED",
        "source": "export-jobs",
        "severity": "error",
    }


def test_a_second_topic_is_a_target_and_gets_chat_s_own_schema(bench: Bench, rule: Rule) -> None:
    """The policy for EventBridge is accepted; the transformer's message has chat's schema."""
    sns = bench.clients["sns"]
    topic = sns.create_topic(Name=f"{bench.stack.name}-chat")["TopicArn"]
    bus = bench.stack.outputs["EventBusName"]
    filled = {"REGION": REGION, "ACCOUNT": ACCOUNT, "EVENT_BUS_NAME": bus}
    policy = recipe("topic policy", SECOND_TOPIC_ARN=topic, **filled)
    sns.set_topic_attributes(
        TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy)
    )
    assert json.loads(sns.get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]) == policy
    assert lets_in(policy, rule)
    _, undelivered = queue(bench, "undelivered")
    name = bench.stack.name
    targets = recipe(
        "targets: chat", SECOND_TOPIC_ARN=topic, UNDELIVERED_ARN=undelivered, STACK=name
    )
    assert rule.targets(targets) == targets
    messages = transformed(bench, rule, targets)
    assert {(message["version"], message["source"]) for message in messages} == {("1.0", "custom")}
    by_title = {message["content"]["title"]: message for message in messages}
    failed = by_title["Export in prod: FAILED"]
    event_id = failed["content"]["description"].removeprefix("Event ")
    assert uuid.UUID(event_id)
    assert failed["metadata"] == {"threadId": f"export-{event_id}"}
    steps = [step for message in messages for step in message["content"]["nextSteps"]]
    assert {parsed(step)["stack"] for step in steps} == {name}


def transformed(bench: Bench, rule: Rule, targets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a target would get of one of each event: a queue stands in for it."""
    url, arn = queue(bench)
    rule.targets([{**target, "Arn": arn} for target in targets])
    publish_one_of_each(bench, "bus")
    return drained(bench, url)


def test_the_queue_of_undelivered_events_lets_in_the_rules_of_the_bus(
    bench: Bench, rule: Rule
) -> None:
    """SQS accepts its policy, which names the rules of this bus."""
    url, arn = queue(bench, "undelivered")
    bus = bench.stack.outputs["EventBusName"]
    filled = {"REGION": REGION, "ACCOUNT": ACCOUNT, "EVENT_BUS_NAME": bus}
    policy = recipe("undelivered", UNDELIVERED_ARN=arn, **filled)
    bench.clients["sqs"].set_queue_attributes(
        QueueUrl=url, Attributes={"Policy": json.dumps(policy)}
    )
    assert lets_in(policy, rule)


def test_airflow_s_queue_is_a_target_and_gets_its_events(bench: Bench, rule: Rule) -> None:
    """SQS accepts its policy, which lets in the rules of this bus."""
    url, arn = queue(bench, "airflow")
    bus = bench.stack.outputs["EventBusName"]
    filled = {"REGION": REGION, "ACCOUNT": ACCOUNT, "EVENT_BUS_NAME": bus}
    policy = recipe("airflow's queue", AIRFLOW_QUEUE_ARN=arn, **filled)
    bench.clients["sqs"].set_queue_attributes(
        QueueUrl=url, Attributes={"Policy": json.dumps(policy)}
    )
    assert lets_in(policy, rule)
    _, undelivered = queue(bench, "undelivered")
    rule.targets(recipe("targets: airflow", AIRFLOW_QUEUE_ARN=arn, UNDELIVERED_ARN=undelivered))
    publish_one_of_each(bench, "bus")
    assert len(drained(bench, url)) == 6
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    compile(code, "recipe", "exec")


def lets_in(policy: dict[str, Any], rule: Rule) -> bool:
    """Whether EventBridge may act for this rule."""
    (statement,) = policy["Statement"]
    pattern = statement["Condition"]["ArnLike"]["aws:SourceArn"].replace("*", ".*")
    return statement["Principal"] == {"Service": "events.amazonaws.com"} and bool(
        re.fullmatch(pattern, rule.arn)
    )


def test_the_nightly_schedule_is_taken_and_its_request_too(bench: Bench) -> None:
    """Scheduler stores it unchanged; each night has its own key, which a repeat has, too."""
    url, undelivered = queue(bench, "undelivered")
    filled = {
        "REQUEST_QUEUE_ARN": bench.stack.outputs["RequestQueueArn"],
        "ROLE_ARN": role(),
        "UNDELIVERED_ARN": undelivered,
    }
    schedule = recipe("schedule", **filled)
    scheduler = bench.aws.client("scheduler")
    scheduler.create_schedule(**schedule)
    try:
        kept = scheduler.get_schedule(Name=schedule["Name"])
    finally:
        scheduler.delete_schedule(Name=schedule["Name"])
    assert schedule["Target"].items() <= kept["Target"].items()
    assert kept["ScheduleExpression"] == schedule["ScheduleExpression"]

    text = kept["Target"]["Input"].replace("<aws.scheduler.scheduled-time>", NIGHT)
    bench.clients["sqs"].send_message(QueueUrl=url, MessageBody=text)
    (body,) = drained(bench, url)
    request = read_request(json.dumps(body), sandboxes=["prod"])
    assert request.key == f"nightly-{NIGHT}"
    assert request.dataset_id == DATASET
    assert job_asked_for(json.dumps(body)) == body["job"]


def test_the_nightly_expectation_is_of_the_nightly_export() -> None:
    """The file is valid; a job that the schedule requests is the one that is expected."""
    schedule = recipe("schedule")
    text = PAGE.partition("<!-- expectation -->\n```yaml\n")[2].partition("```")[0]
    (entry,) = parse(text, now=0).entries or ()
    expected = entry.expectation
    assert expected.timezone == schedule["ScheduleExpressionTimezone"]
    hour = re.fullmatch(r"cron\(0 (\d+) \* \* \? \*\)", schedule["ScheduleExpression"])
    assert hour
    assert (expected.opens or 0) < int(hour[1]) * 60 < (expected.due or 0)
    assert expected.dataset_id in schedule["Target"]["Input"]


def test_a_rule_s_request_is_taken_and_its_repeat_is_the_same(bench: Bench) -> None:
    """The key has the event's id, and the request queue lets the rule in."""
    events = bench.clients["events"]
    _, undelivered = queue(bench, "undelivered")
    filled = {
        "REQUEST_QUEUE_ARN": bench.stack.outputs["RequestQueueArn"],
        "UNDELIVERED_ARN": undelivered,
    }
    targets = recipe("targets: request", **filled)
    pattern = recipe("rule: audience complete")
    where = {"EventBusName": "audiences"}
    events.create_event_bus(Name="audiences")
    rule = {"Name": "audience-complete", "EventPattern": json.dumps(pattern)}
    arn = events.put_rule(**rule, **where)["RuleArn"]
    events.put_targets(Rule=rule["Name"], Targets=targets, **where)
    kept = events.list_targets_by_rule(Rule=rule["Name"], **where)["Targets"]
    (source,), (detail_type,) = pattern["source"], pattern["detail-type"]
    entry = {"Source": source, "DetailType": detail_type, "Detail": "{}", **where}
    sent = events.put_events(Entries=[entry, entry, {**entry, "Source": "com.example.other"}])
    events.remove_targets(Rule=rule["Name"], Ids=["request"], **where)
    events.delete_rule(Name=rule["Name"], **where)
    events.delete_event_bus(Name="audiences")
    assert kept == targets
    bodies = drained(bench, bench.stack.outputs["RequestQueueUrl"])
    read = [read_request(json.dumps(body), sandboxes=["prod"]) for body in bodies]
    of_events = [f"audience-{one['EventId']}" for one in sent["Entries"][:2]]
    assert [request.key for request in read] == of_events
    assert {request.dataset_id for request in read} == {DATASET}
    assert queue_lets_in("RequestQueuePolicy", "events.amazonaws.com", SourceArn=arn)


def test_a_topic_s_request_is_taken(bench: Bench) -> None:
    """Raw, with its own key, by the command's own attributes; the request queue lets the topic in."""
    sns = bench.clients["sns"]
    topic = sns.create_topic(Name=f"{bench.stack.name}-requests")["TopicArn"]
    (command,) = (c for c in commands("docs/recipes.md") if "$REQUEST_QUEUE_ARN" in c)
    name, value = command[command.index("--attributes") + 1].split("=")
    sns.subscribe(
        TopicArn=topic,
        Protocol=command[command.index("--protocol") + 1],
        Endpoint=bench.stack.outputs["RequestQueueArn"],
        Attributes={name: value},
    )
    wanted = recipe("request")
    try:
        sns.publish(TopicArn=topic, Message=json.dumps(wanted))
    finally:
        sns.delete_topic(TopicArn=topic)
    (body,) = drained(bench, bench.stack.outputs["RequestQueueUrl"])
    assert body == wanted
    assert read_request(json.dumps(body), sandboxes=["prod"]).key == wanted["requestKey"]
    assert queue_lets_in("RequestQueuePolicy", "sns.amazonaws.com", SourceArn=topic)


def test_events_are_of_every_kind() -> None:
    """Otherwise a pattern that lets too much through might pass for one that does not."""
    assert {EventType.REQUEST_ACCEPTED, EventType.REQUEST_REJECTED} < {
        event.type for event in one_of_each().values()
    }


def role() -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/recipes"


RENAMED = {("sns", "subscribe"): {"notification-endpoint": "endpoint"}}
"""Where the AWS CLI's option is not the API's name."""


def commands(page: str) -> list[list[str]]:
    """Each AWS CLI command in a page's shell blocks."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        words = shlex.split(block.replace("\\\n", " ").replace("\n", " ; "))
        command: list[str] = []
        for word in [*words, ";"]:
            if word != ";":
                command.append(word)
                continue
            if command[:1] == ["aws"]:
                found.append(command[1:])
            command = []
    return found


@pytest.mark.parametrize(
    "page", ["docs/recipes.md", "docs/operations.md", "docs/deploy.md", "README.md"]
)
def test_every_aws_command_is_one(page: str) -> None:
    """The operation exists, with every option, and no required option is missing."""
    with isolated():
        session = botocore.session.get_session()
    tried = commands(page)
    assert tried
    for service, operation, *words in tried:
        model = session.get_service_model(service)
        names = {xform_name(name, "-"): name for name in model.operation_names}
        shape = model.operation_model(names[operation]).input_shape
        members = {xform_name(name, "-"): name for name in (shape.members if shape else {})}
        renamed = RENAMED.get((service, operation), {})
        given = {word[2:] for word in words if word.startswith("--")} - {"query", "output"}
        given = {renamed.get(option, option) for option in given}
        if "cli-input-json" in given:
            continue
        assert given <= members.keys(), f"aws {service} {operation}"
        required = {xform_name(name, "-") for name in (shape.required_members if shape else [])}
        assert required <= given, f"aws {service} {operation}"
