"""What IAM requires for an AWS call, and what a policy grants."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from export_jobs_cli.doctor.policies import Asked, allows
from export_jobs_local.aws.server import REGION

from support.cloudformation import ACCOUNT, NEEDED, render
from support.files import ROOT

FOLDER = ROOT / "docs" / "policies"
ANY = "*"
Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Touched:
    """What a write to a table touches or, with patterns, may touch; an empty set is anything.

    `keys` are values of partition keys (`dynamodb:LeadingKeys`), `attributes` names of attributes,
    also those of keys and conditions (`dynamodb:Attributes`):
    docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
    """

    keys: frozenset[str] = frozenset()
    attributes: frozenset[str] = frozenset()

    def covers(self, other: Touched) -> bool:
        keys = all(any(fnmatchcase(key, one) for one in self.keys) for key in other.keys)
        return (keys or not self.keys) and (
            not self.attributes or other.attributes <= self.attributes
        )


Grant = tuple[str, str, str | Touched]
"""An IAM action, its resource, and the service through which it may be used or the items that it
may touch; "" is any way."""
Needed = Iterator[tuple[str, str]]

NO_RESOURCE = frozenset(
    {
        *("chatbot:CreateSlackChannelConfiguration", "chatbot:DescribeSlackChannelConfigurations"),
        *("chatbot:ListTagsForResource", "chatbot:TagResource", "chatbot:UntagResource"),
        "cloudwatch:GetMetricStatistics",
        *("events:ListRuleNamesByTarget", "events:ListRules"),
        "kms:CreateKey",
        *("lambda:CreateEventSourceMapping", "lambda:GetAccountSettings"),
        "lambda:ListEventSourceMappings",
        *("logs:DescribeIndexPolicies", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies"),
        "schemas:CreateDiscoverer",
        *("sns:GetSubscriptionAttributes", "sns:SetSubscriptionAttributes", "sns:Unsubscribe"),
    }
)
"""The actions that the service authorization reference has no resource for."""
TRANSFORM = f"arn:aws:cloudformation:{REGION}:aws:transform/Serverless-2016-10-31"


@dataclass(frozen=True)
class Keys:
    """The keys that encrypt the stack's topic and the Adobe secret."""

    topic: str
    secret: str


def needed_for(call: Parameters, keys: Keys, *, items: bool = False) -> Iterator[Grant]:
    """What IAM requires for a call. Raises LookupError for a call that is not known here.

    With `items`, also which items a transaction touches.

    Sources: the service authorization reference, which names the resources of each action
    (docs.aws.amazon.com/service-authorization/latest/reference); an encrypted topic or secret needs
    its key, used by that service.
    """
    service, operation = call["service"], call["operation"]
    if service not in _SERVICES:
        raise LookupError(f"the tests do not know what {service}:{operation} needs")
    if items and operation in {"TransactWriteItems", "UpdateItem"}:
        yield from _touching(operation, call["parameters"])
        return
    for action, resource in _SERVICES[service](operation, call["parameters"]):
        yield action, resource, ""
        if action == "sns:Publish":
            yield "kms:GenerateDataKey", keys.topic, via("sns")
            yield "kms:Decrypt", keys.topic, via("sns")
        if action == "secretsmanager:GetSecretValue":
            yield "kms:Decrypt", keys.secret, via("secretsmanager")


def via(service: str) -> str:
    return f"{service}.{REGION}.amazonaws.com"


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


# -- what a policy grants --------------------------------------------------------------------------


def statements_of(policy: str, placeholders: Mapping[str, str]) -> list[dict[str, Any]]:
    """A policy of docs/policies, completed as its readers would."""
    text = (FOLDER / f"{policy}.json").read_text()
    for name, value in placeholders.items():
        text = text.replace(name, value)
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return statements


def granted_by(statements: Iterable[Parameters]) -> Iterator[Grant]:
    """Each action with each of its resources, which may be patterns."""
    for statement in statements:
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                yield action, resource, condition_of(statement)


def condition_of(statement: Parameters) -> str | Touched:
    """A service, or items. Any other condition is one that the tests do not know how to meet."""
    condition = statement.get("Condition")
    if condition is None:
        return ""
    if "StringEquals" in condition:
        assert condition.keys() == {"StringEquals"}
        assert condition["StringEquals"].keys() == {"kms:ViaService"}
        return str(condition["StringEquals"]["kms:ViaService"])
    return _items_in(condition)


def _items_in(condition: Parameters) -> Touched:
    """`ForAllValues` also holds for a call that has no such key, so `Null` has to exclude that.

    docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html
    """
    allowed = {
        key: frozenset(values)
        for operator in ("ForAllValues:StringLike", "ForAllValues:StringEquals")
        for key, values in condition.get(operator, {}).items()
    }
    assert condition["Null"] == dict.fromkeys(allowed, "false")
    others = condition.keys() - {"ForAllValues:StringLike", "ForAllValues:StringEquals", "Null"}
    assert all(condition[name] == RETURNS_NOTHING for name in others)
    assert allowed.keys() <= {"dynamodb:LeadingKeys", "dynamodb:Attributes"}
    empty: frozenset[str] = frozenset()
    keys, attributes = (allowed.get(f"dynamodb:{n}", empty) for n in ("LeadingKeys", "Attributes"))
    assert not attributes or others == {"StringEqualsIfExists"}, "it could return other attributes"
    return Touched(keys, attributes)


RETURNS_NOTHING = {"dynamodb:ReturnValues": "NONE"}


def covers(grant: Grant, needed: Grant) -> bool:
    """Whether a grant is for what is needed. A pattern's `*` stands for anything, as in IAM."""
    (action, pattern, condition), (needed_action, resource, wanted) = grant, needed
    if isinstance(wanted, Touched):
        meets = condition.covers(wanted) if isinstance(condition, Touched) else not condition
    else:
        meets = condition == wanted
    return meets and action == needed_action and fnmatchcase(resource, pattern)


def missing_in(granted: Iterable[Grant], needed: Iterable[Grant]) -> set[Grant]:
    """What is needed and not granted."""
    held = set(granted)
    return {one for one in needed if not any(covers(grant, one) for grant in held)}


def unused_in(granted: Iterable[Grant], needed: Iterable[Grant]) -> set[Grant]:
    """What is granted and not needed."""
    asked = set(needed)
    return {grant for grant in granted if not any(covers(grant, one) for one in asked)}


def queue_lets_in(
    policy: str, service: str, action: str = "sqs:SendMessage", **context: str
) -> bool:
    """Whether a policy of the template lets a service use the request queue. Moto has none.

    `context` has condition keys, without their `aws:`; the call uses TLS unless it says otherwise.
    """
    rendered = render(NEEDED)
    document = rendered.of("AWS::SQS::QueuePolicy")[policy]["PolicyDocument"]
    given = {"SecureTransport": "true", **context}
    keys = {f"aws:{name.lower()}": value for name, value in given.items()}
    queue = "arn:aws:AWS::SQS::Queue:RequestQueue"
    return allows(document, Asked(service, action, queue, keys)) is True


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


# -- the calls of each service ---------------------------------------------------------------------


def _known(service: str, operation: str, known: Iterable[str]) -> str:
    """The action of an operation that has its own name, if that is one of those known."""
    if operation not in known:
        raise LookupError(f"the tests do not know what {service}:{operation} needs")
    return f"{service}:{operation}"


def _cloudformation(operation: str, parameters: Parameters) -> Needed:
    """A stack is known by name or ARN; a change set of a SAM template needs its transform, too."""
    known = (
        *("CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "ListChangeSets"),
        *("DescribeStacks", "DescribeStackEvents", "GetTemplate", "GetTemplateSummary"),
        "DeleteStack",
    )
    action = _known("cloudformation", operation, known)
    named = parameters["StackName"]
    yield action, named if ":" in named else arn("cloudformation", f"stack/{named}/id")
    if operation == "CreateChangeSet":
        yield action, TRANSFORM


def _cloudwatch(operation: str, parameters: Parameters) -> Needed:
    """Alarms are described by the prefix of their names, which is no resource of its own."""
    action = _known("cloudwatch", operation, ["DescribeAlarms", "GetMetricStatistics"])
    yield action, arn("cloudwatch", "alarm:*") if operation == "DescribeAlarms" else ANY


def _dynamodb(operation: str, parameters: Parameters) -> Needed:
    """A transaction needs what its parts would need.

    docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
    """
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


def _touching(operation: str, parameters: Parameters) -> Iterator[Grant]:
    """The same, with the partition key and the attributes of each write."""
    alone = [{"Update": parameters}]
    for write in parameters["TransactItems"] if operation == "TransactWriteItems" else alone:
        ((kind, body),) = write.items()
        item = body.get("Item") or body["Key"]
        partition = (item.get("sandbox") or item["requestKey"])["S"]
        names = frozenset({*item, *body.get("ExpressionAttributeNames", {}).values()})
        touched = Touched(frozenset({partition}), names)
        yield f"dynamodb:{kind}Item", _table(body["TableName"]), touched


def _events(operation: str, parameters: Parameters) -> Needed:
    """Rules of the default bus and of other buses, which have the bus in their ARN."""
    match operation:
        case "PutEvents":
            for entry in parameters["Entries"]:
                yield "events:PutEvents", arn("events", f"event-bus/{entry['EventBusName']}")
        case "DescribeEventBus":
            yield "events:DescribeEventBus", arn("events", f"event-bus/{parameters['Name']}")
        case "ListRules" | "ListRuleNamesByTarget":
            yield f"events:{operation}", ANY
        case _:
            known = ("DescribeRule", "PutRule", "DeleteRule", "PutTargets", "RemoveTargets")
            name = parameters.get("Name") or parameters["Rule"]
            bus = parameters.get("EventBusName")
            rule = arn("events", f"rule/{bus}/{name}" if bus else f"rule/{name}")
            yield _known("events", operation, known), rule


def _kms(operation: str, parameters: Parameters) -> Needed:
    yield _known("kms", operation, ["DescribeKey", "GetKeyPolicy"]), parameters["KeyId"]


def _lambda(operation: str, parameters: Parameters) -> Needed:
    if operation in {"GetAccountSettings", "ListEventSourceMappings"}:
        yield f"lambda:{operation}", ANY
        return
    known = ("GetFunctionConcurrency", "GetFunctionConfiguration", "GetFunctionRecursionConfig")
    action = _known("lambda", operation, known)
    yield action, arn("lambda", f"function:{parameters['FunctionName']}")


def _s3(operation: str, parameters: Parameters) -> Needed:
    """docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html."""
    bucket = f"arn:aws:s3:::{parameters['Bucket']}"
    match operation:
        case "ListObjectsV2":
            yield "s3:ListBucket", bucket
        case "HeadObject":
            yield "s3:GetObject", f"{bucket}/{parameters['Key']}"
        case "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload":
            yield "s3:PutObject", f"{bucket}/{parameters['Key']}"
        case _:
            action = _known("s3", operation, ["PutObject", "DeleteObject"])
            yield action, f"{bucket}/{parameters['Key']}"


def _secretsmanager(operation: str, parameters: Parameters) -> Needed:
    yield _known("secretsmanager", operation, ["GetSecretValue"]), parameters["SecretId"]


def _sns(operation: str, parameters: Parameters) -> Needed:
    """A batch of messages needs `sns:Publish`."""
    if operation == "GetSubscriptionAttributes":
        yield "sns:GetSubscriptionAttributes", ANY
        return
    known = ("Publish", "GetTopicAttributes", "ListSubscriptionsByTopic")
    name = operation.removesuffix("Batch")
    yield _known("sns", name, known), parameters["TopicArn"]


def _sqs(operation: str, parameters: Parameters) -> Needed:
    """A batch of messages needs what one of them needs; tags of a new queue need an action, too."""
    if operation == "CreateQueue":
        queue = arn("sqs", parameters["QueueName"])
        yield "sqs:CreateQueue", queue
        if parameters.get("tags"):
            yield "sqs:TagQueue", queue
        return
    known = (
        *("SendMessage", "ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"),
        *("GetQueueAttributes", "SetQueueAttributes", "DeleteQueue"),
    )
    action = _known("sqs", operation.removesuffix("Batch"), known)
    yield action, arn("sqs", parameters["QueueUrl"].rsplit("/", 1)[-1])


def _sts(operation: str, parameters: Parameters) -> Needed:
    """GetCallerIdentity needs no permission.

    docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    _known("sts", operation, ["GetCallerIdentity"])
    yield from ()


def _table(name: str) -> str:
    return arn("dynamodb", f"table/{name}")


_SERVICES: Mapping[str, Callable[[str, Parameters], Needed]] = {
    "cloudformation": _cloudformation,
    "cloudwatch": _cloudwatch,
    "dynamodb": _dynamodb,
    "events": _events,
    "kms": _kms,
    "lambda": _lambda,
    "s3": _s3,
    "secretsmanager": _secretsmanager,
    "sns": _sns,
    "sqs": _sqs,
    "sts": _sts,
}
