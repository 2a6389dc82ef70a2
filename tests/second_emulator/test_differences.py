"""What moto and ministack answer to the same call, and AWS, as it documents."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from export_jobs_local.aws.server import AwsServer, MotoServer
from export_jobs_local.aws.stack import LocalStack
from support import dynamodb
from support.cloudformation import NEEDED, render
from support.dynamodb import Store

KEY = {"sandbox": {"S": "prod"}, "sk": {"S": "job"}}
ACCEPTED = "accepted"


@pytest.fixture(scope="module")
def both(aws: AwsServer) -> Iterator[dict[str, AwsServer]]:
    with MotoServer() as moto:
        yield {"moto": moto, "ministack": aws}


@pytest.fixture
def stores(both: dict[str, AwsServer]) -> Iterator[dict[str, Store]]:
    with (
        dynamodb.created(both["moto"].client("dynamodb")) as moto,
        dynamodb.created(both["ministack"].client("dynamodb")) as ministack,
    ):
        yield {"moto": moto, "ministack": ministack}


def outcome(call: Callable[[], Any]) -> str:
    """The code of its error, or that there was none."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ACCEPTED


# -- DynamoDB ------------------------------------------------------------------------------------


def repeat_a_transaction(store: Store) -> None:
    put = {"TableName": store.jobs_table, "Item": KEY}
    actions: Any = [{"Put": {**put, "ConditionExpression": "attribute_not_exists(sk)"}}]
    for _ in range(2):
        store.client.transact_write_items(TransactItems=actions, ClientRequestToken="t" * 20)


def write_on_condition(condition: str) -> Callable[[Store], None]:
    def write(store: Store) -> None:
        store.client.put_item(TableName=store.jobs_table, Item=KEY, ConditionExpression=condition)

    return write


def write_a_number_for_an_index(store: Store) -> None:
    store.client.put_item(TableName=store.jobs_table, Item={**KEY, "openKey": {"N": "1"}})


@pytest.mark.parametrize(
    ("call", "documented", "moto"),
    [
        (repeat_a_transaction, ACCEPTED, "TransactionCanceledException"),
        (
            write_on_condition(f"attribute_not_exists({'a' * 4_200})"),
            *("ValidationException", ACCEPTED),
        ),
        (write_a_number_for_an_index, "ValidationException", ACCEPTED),
    ],
    ids=["repeat", "long", "type"],
)
def test_ministack_s_tables_answer_as_dynamodb_documents_and_moto_s_do_not(
    stores: dict[str, Store], call: Callable[[Store], None], documented: str, moto: str
) -> None:
    """A transaction repeated under its token, an expression over 4 KB, a wrong type in an index."""
    found = {name: outcome(lambda store=store: call(store)) for name, store in stores.items()}  # type: ignore[misc]
    assert found == {"moto": moto, "ministack": documented}


def test_only_moto_limits_a_batch_to_sixteen_megabytes(stores: dict[str, Store]) -> None:
    """DynamoDB returns the other keys as unprocessed."""
    keys = [{"requestKey": {"S": str(number)}} for number in range(45)]
    for name, store in stores.items():
        for key in keys:
            item = {**key, "body": {"S": "x" * 390_000}}
            store.client.put_item(TableName=store.requests_table, Item=item)
        asked = {store.requests_table: {"Keys": keys}}
        left = store.client.batch_get_item(RequestItems=asked)["UnprocessedKeys"]
        assert bool(left) == (name == "moto")


# -- CloudFormation ------------------------------------------------------------------------------


def one_queue(**more: Any) -> str:
    return json.dumps({"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}, **more})


SANDBOXES = {"Sandboxes": {"Type": "String", "AllowedPattern": "^[a-z]+$", "Default": "PROD"}}
UNKNOWN = {"Resources": {"Registry": {"Type": "AWS::EventSchemas::Registry"}}}


@pytest.mark.filterwarnings("ignore:Tried to parse")  # moto's, of types that it leaves out
@pytest.mark.parametrize(
    "body",
    [one_queue().ljust(51_201), one_queue(Parameters=SANDBOXES), one_queue(**UNKNOWN)],
    ids=["over 51,200 bytes", "value against its pattern", "unknown type"],
)
def test_only_ministack_refuses_a_template(both: dict[str, AwsServer], body: str) -> None:
    """As CloudFormation does, except that ministack knows fewer types of resources."""
    found = {
        name: outcome(
            lambda server=server: server.client("cloudformation").create_stack(  # type: ignore[misc]
                StackName="one", TemplateBody=body
            )
        )
        for name, server in both.items()
    }
    assert found == {"moto": ACCEPTED, "ministack": "ValidationError"}
    both["moto"].client("cloudformation").delete_stack(StackName="one")


def test_the_stack_lacks_only_what_ministack_can_t_create(
    stack: LocalStack, aws: AwsServer, clients: dict[str, Any]
) -> None:
    """Schemas, the archive and the alarms with metric math; and the key of its topics."""
    made = aws.client("cloudformation").describe_stack_resources(StackName=stack.name)
    names = {resource["LogicalResourceId"] for resource in made["StackResources"]}
    lacking = [
        one
        for name, one in render(NEEDED).resources.items()
        if name not in names and one["Type"] != "AWS::Lambda::LayerVersion"  # its name is a hash
    ]
    assert {one["Type"].removeprefix("AWS::") for one in lacking} == {
        *("CloudWatch::Alarm", "Events::Archive"),
        *("EventSchemas::Discoverer", "EventSchemas::Registry", "EventSchemas::Schema"),
    }
    for one in lacking:
        assert one["Type"] != "AWS::CloudWatch::Alarm" or "Metrics" in one["Properties"]
    topic = clients["sns"].get_topic_attributes(TopicArn=stack.outputs["AlertTopicArn"])
    assert "KmsMasterKeyId" not in topic["Attributes"]


# -- messages and events -------------------------------------------------------------------------


def test_only_ministack_refuses_a_character_that_sqs_refuses(both: dict[str, AwsServer]) -> None:
    """SQS takes the characters of XML, and so no NUL."""
    found = {}
    for name, server in both.items():
        sqs = server.client("sqs")
        url = sqs.create_queue(QueueName="characters")["QueueUrl"]
        found[name] = outcome(lambda: sqs.send_message(QueueUrl=url, MessageBody="\0"))  # noqa: B023
    assert found == {"moto": ACCEPTED, "ministack": "InvalidMessageContents"}


def test_only_moto_keeps_the_trace_header_of_a_call(both: dict[str, AwsServer]) -> None:
    """SQS does; the local system adds that to moto. So loops are detected with moto only."""
    for name, server in both.items():
        sqs = server.client("sqs")
        sqs.meta.events.register(
            "before-sign.sqs.SendMessage",
            lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", "Root=1"),
        )
        url = sqs.create_queue(QueueName="traced")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="{}")
        (message,) = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
        assert ("AWSTraceHeader" in message["Attributes"]) == (name == "moto")


def test_only_moto_refuses_an_event_whose_detail_is_no_json(both: dict[str, AwsServer]) -> None:
    """As EventBridge does, for that event alone."""
    for name, server in both.items():
        entry = {"Source": "a", "DetailType": "b", "Detail": "no JSON"}
        answer = server.client("events").put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == (name == "moto")


def test_only_moto_refuses_a_subject_that_is_too_long(both: dict[str, AwsServer]) -> None:
    """SNS takes at most a hundred characters."""
    found = {}
    for name, server in both.items():
        sns = server.client("sns")
        topic = sns.create_topic(Name="subjects")["TopicArn"]
        found[name] = outcome(lambda: sns.publish(TopicArn=topic, Message="m", Subject="s" * 101))  # noqa: B023
    assert found == {"moto": "InvalidParameter", "ministack": ACCEPTED}
