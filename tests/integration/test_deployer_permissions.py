"""Least privilege for deployers: docs/policies/deployer.json covers SAM and CloudFormation."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from export_jobs_local.aws.server import REGION, MotoServer
from export_jobs_local.project import TEMPLATE
from support.broad_run import RECORDING
from support.cloudformation import ACCOUNT, NEEDED, STACK, render, translated
from support.iam import (
    ANY,
    NO_RESOURCE,
    Grant,
    Keys,
    arn,
    covers,
    listed,
    missing_in,
    needed_for,
    statements_of,
)
from support.packages import SAM

pytestmark = [
    pytest.mark.xdist_group("deployer"),
    pytest.mark.filterwarnings("ignore:Tried to parse"),  # moto's, of unknown types
]

BUCKET = "aws-sam-cli-managed-default-samclisourcebucket-1a2b3c4d5e6f"
EVERYTHING = {
    **NEEDED,
    "AlertEmail": "a@b.example",
    "SlackWorkspaceId": "T0",
    "SlackChannelId": "C0",
    "AlarmSlackChannelId": "C1",
    "HeartbeatUrl": "https://hc-ping.example/1",
}
"""Parameters that create every conditional resource."""
NAMES = (
    *("AlarmName", "ArchiveName", "ConfigurationName", "DashboardName", "LayerName", "Name"),
    *("SchemaName", "RegistryName"),
)
"""Properties that give a resource its name; CloudFormation generates one for the others."""
ARNS: Mapping[str, tuple[str, ...]] = {
    "AWS::Chatbot::SlackChannelConfiguration": (
        f"arn:aws:chatbot::{ACCOUNT}:chat-configuration/slack-channel/%s",
    ),
    "AWS::CloudWatch::Alarm": (arn("cloudwatch", "alarm:%s"),),
    "AWS::CloudWatch::Dashboard": (f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/%s",),
    "AWS::DynamoDB::Table": (arn("dynamodb", "table/%s"),),
    "AWS::EventSchemas::Discoverer": (
        arn("schemas", f"discoverer/events-event-bus-{STACK}-events"),
    ),
    "AWS::EventSchemas::Registry": (arn("schemas", "registry/%s"),),
    "AWS::EventSchemas::Schema": (arn("schemas", f"schema/{STACK}/%s"),),
    # It is not documented whether CloudFormation's generated name begins with the stack's.
    "AWS::Events::Archive": (
        arn("events", "archive/%s"),
        arn("events", "archive/EventArchive-1A2B3C4D5E6F"),
    ),
    "AWS::Events::EventBus": (arn("events", "event-bus/%s"),),
    "AWS::Events::Rule": (arn("events", "rule/%s"),),
    "AWS::IAM::Role": (f"arn:aws:iam::{ACCOUNT}:role/%s",),
    "AWS::KMS::Key": (arn("kms", "key/1a2b3c4d"),),
    "AWS::Lambda::EventInvokeConfig": (arn("lambda", "function:%s"),),
    "AWS::Lambda::EventSourceMapping": (arn("lambda", "event-source-mapping:1a2b3c4d"),),
    "AWS::Lambda::Function": (arn("lambda", "function:%s"),),
    "AWS::Lambda::LayerVersion": (arn("lambda", "layer:%s:1"),),
    "AWS::Lambda::Permission": (arn("lambda", "function:%s"),),
    "AWS::Logs::LogGroup": (arn("logs", "log-group:%s"),),
    "AWS::S3::Bucket": (f"arn:aws:s3:::{BUCKET}",),
    "AWS::S3::BucketPolicy": (f"arn:aws:s3:::{BUCKET}",),
    # Secrets Manager adds a hyphen and six random characters.
    "AWS::SecretsManager::Secret": (arn("secretsmanager", "secret:%s-AbC123"),),
    "AWS::SNS::Subscription": (arn("sns", "%s"),),
    "AWS::SNS::Topic": (arn("sns", "%s"),),
    "AWS::SNS::TopicPolicy": (arn("sns", "%s"),),
    "AWS::SQS::Queue": (arn("sqs", "%s"),),
    "AWS::SQS::QueuePolicy": (arn("sqs", "%s"),),
}
"""The ARN of a resource of each type, with `%s` for its name."""
_SERVICE_ROLE = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role"
ELSEWHERE = (
    (
        "AWS::Chatbot::SlackChannelConfiguration",
        "iam:CreateServiceLinkedRole",
        f"{_SERVICE_ROLE}/management.chatbot.amazonaws.com/AWSServiceRoleForAWSChatbot",
    ),
    (
        "AWS::EventSchemas::Discoverer",
        "iam:CreateServiceLinkedRole",
        f"{_SERVICE_ROLE}/schemas.amazonaws.com/AWSServiceRoleForSchemas",
    ),
    (
        "AWS::EventSchemas::Discoverer",
        "events:*",
        arn("events", f"rule/{STACK}-events/Schemas-1a2b"),
    ),
    ("AWS::Lambda::Function", "lambda:GetLayerVersion", arn("lambda", "layer:ExportJobsLayer:1")),
    (
        "AWS::Lambda::LayerVersion",
        "lambda:PublishLayerVersion",
        arn("lambda", "layer:ExportJobsLayer"),
    ),
    ("*", "s3:GetObject", f"arn:aws:s3:::{BUCKET}/code"),
)
"""Actions of a type that apply to another resource than its own."""
LEFT_OUT: Mapping[str, Mapping[str, Sequence[str]]] = {
    "AWS::Chatbot::SlackChannelConfiguration": {
        "it has no custom actions": [
            "chatbot:AssociateToConfiguration",
            "chatbot:DisassociateFromConfiguration",
        ],
    },
    "AWS::DynamoDB::Table": {
        "nothing is imported": ["dynamodb:*Import*", "logs:*", "s3:*"],
        "it streams nowhere": ["dynamodb:?*ableKinesis*", "dynamodb:UpdateKinesis*", "kinesis:*"],
        "it has no replicas": [
            *("dynamodb:*TableReplica", "dynamodb:*Item", "dynamodb:Query", "dynamodb:Scan"),
            "iam:CreateServiceLinkedRole",
        ],
        "it has no policy of its own": [
            "dynamodb:PutResourcePolicy",
            "dynamodb:DeleteResourcePolicy",
        ],
        "Contributor Insights are off": ["dynamodb:UpdateContributorInsights"],
        "AWS's own key encrypts it, whose policy lets in who calls DynamoDB": ["kms:*"],
    },
    "AWS::Events::Archive": {"no key of ours encrypts it": ["kms:*"]},
    "AWS::Events::EventBus": {
        "no key of ours encrypts it": ["kms:*"],
        "it has no policy": ["events:PutPermission", "events:RemovePermission"],
    },
    "AWS::Events::Rule": {"a function needs no role to be a target": ["iam:PassRole"]},
    "AWS::IAM::Role": {
        "all that it may is in its own policies": ["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
        "it has no boundary": ["iam:*PermissionsBoundary"],
    },
    "AWS::KMS::Key": {
        "it is enabled and rotated, always": [
            *("kms:DisableKey", "kms:EnableKey", "kms:DisableKeyRotation"),
        ],
    },
    "AWS::Lambda::EventSourceMapping": {"it has no filter to encrypt": ["kms:*"]},
    "AWS::Lambda::Function": {
        "no key of ours encrypts its variables": ["kms:*"],
        "it is in no VPC and mounts no files": ["ec2:*", "elasticfilesystem:*", "s3files:*"],
        "its code is not signed": [
            "lambda:GetCodeSigningConfig",
            "lambda:PutFunctionCodeSigningConfig",
            "lambda:DeleteFunctionCodeSigningConfig",
        ],
        "it sets none of these": [
            *("lambda:PutRuntimeManagementConfig", "lambda:PutFunctionRecursionConfig"),
            *("lambda:PutFunctionScalingConfig", "lambda:PassCapacityProvider"),
            *("lambda:AssociateRuntimeAlias", "lambda:PublishVersion"),
        ],
        "SAM names no version of an object": ["s3:GetObjectVersion"],
    },
    "AWS::Lambda::LayerVersion": {"SAM names no version of an object": ["s3:GetObjectVersion"]},
    "AWS::Logs::LogGroup": {
        "no key of ours encrypts it": ["logs:*KmsKey"],
        "its logs are always kept for some days only": ["logs:DeleteRetentionPolicy"],
        "it sets none of these": [
            *("logs:PutDataProtectionPolicy", "logs:DeleteDataProtectionPolicy"),
            *("logs:PutIndexPolicy", "logs:DeleteIndexPolicy"),
            *("logs:PutResourcePolicy", "logs:DeleteResourcePolicy"),
            *("logs:PutLogGroupDeletionProtection", "logs:PutBearerTokenAuthentication"),
        ],
        "it is delivered nowhere": ["logs:CreateLogDelivery", "s3:*", "firehose:*"],
    },
    "AWS::S3::Bucket": {
        "SAM's template sets none of these": [
            *("s3:*Abac", "s3:*AnalyticsConfiguration", "s3:*CORS", "s3:*InventoryConfiguration"),
            *("s3:*LifecycleConfiguration", "s3:*Metrics*", "s3:*BucketNotification"),
            *("s3:*Replication*", "s3:*Website", "s3:*Accelerate*", "s3:*Acl", "s3:*ObjectLock*"),
            *("s3:*Logging", "s3:*Ownership*", "s3:*Tiering*", "s3:*Metadata*", "s3tables:*"),
            *("s3:DeleteObject", "iam:PassRole"),
        ],
    },
    "AWS::SecretsManager::Secret": {
        "nothing generates its value": ["secretsmanager:GetRandomPassword"],
        "it has no replicas": [
            *("secretsmanager:ReplicateSecretToRegions", "secretsmanager:RemoveRegions*"),
        ],
    },
    "AWS::SNS::Subscription": {"only Firehose needs a role": ["iam:*"]},
    "AWS::SNS::Topic": {
        "deliveries are not logged": ["iam:*"],
        "it sets no such policy": ["sns:PutDataProtectionPolicy"],
    },
}
"""By type and reason, the actions that its handlers list for properties the template omits.

A handler uses these only if the property is set. A pattern stands for the actions that match it.
"""
THROUGH_CLOUDFORMATION = {
    "ForAnyValue:StringEquals": {"aws:CalledVia": "cloudformation.amazonaws.com"}
}
"""The condition of what only CloudFormation may do for a deployer."""
ONLY_MADE = {"AWS::S3::Bucket", "AWS::S3::BucketPolicy"}
"""What SAM creates once for all its stacks, and neither changes nor removes."""


@dataclass(frozen=True)
class Made:
    """A resource that CloudFormation creates. `role` is the logical id of the role it is given."""

    kind: str
    name: str
    role: str = ""

    def needed(self) -> set[Grant]:
        """The actions for its whole life, each with its resource."""
        return {
            (action, resource, "")
            for action in _listed_for(self.kind)
            if not any(fnmatchcase(action, pattern) for pattern in _left_out_for(self.kind))
            for resource in self._resources(action)
        }

    def _resources(self, action: str) -> Sequence[str]:
        if action in NO_RESOURCE:
            return [ANY]
        if action == "iam:PassRole":
            return [f"arn:aws:iam::{ACCOUNT}:role/{_made_up(self.role)}"]
        for kind, pattern, resource in ELSEWHERE:
            if fnmatchcase(self.kind, kind) and fnmatchcase(action, pattern):
                return [resource]
        return [form.replace("%s", self.name) for form in ARNS[self.kind]]


@cache
def _listed_for(kind: str) -> frozenset[str]:
    """What the type's handlers need, by its schema: to create, read, update and delete."""
    handlers = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, kind).schema["handlers"]
    wanted = ["create"] if kind in ONLY_MADE else ["create", "read", "update", "delete"]
    return frozenset(
        action for name in wanted for action in handlers.get(name, {}).get("permissions", [])
    )


def _left_out_for(kind: str) -> list[str]:
    return [pattern for patterns in LEFT_OUT.get(kind, {}).values() for pattern in patterns]


def made_by_the_template() -> list[Made]:
    """Every resource of the template, including conditional ones."""
    found = render(EVERYTHING).resources
    assert found.keys() == translated()["Resources"].keys(), "EVERYTHING makes all of them"
    return [_made(logical_id, one["Type"], one["Properties"]) for logical_id, one in found.items()]


def _made(logical_id: str, kind: str, properties: Mapping[str, Any]) -> Made:
    names = (str(properties[name]) for name in NAMES if name in properties)
    role = properties.get("Role") or properties.get("IamRoleArn") or ""
    return Made(kind, next(names, _made_up(logical_id)), role.rpartition(":")[2])


def _made_up(logical_id: str) -> str:
    """A name as CloudFormation generates it."""
    return f"{STACK}-{logical_id}-1A2B3C4D5E6F"


@pytest.fixture(scope="module")
def statements() -> list[dict[str, Any]]:
    return statements_of("deployer", {"REGION": REGION, "ACCOUNT": ACCOUNT, "STACK": STACK})


@pytest.fixture(scope="module")
def calls(aws: MotoServer, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The calls of SAM to deploy a stack, to deploy it again and to delete it.

    Moto forgets the outputs of a stack that a change set has created. So the first `sam deploy`
    ends once it has created its bucket; for the others the bucket's stack is recreated from the
    same template.
    """
    sam = _Sam(aws, tmp_path_factory.mktemp("sam"))
    assert "Tags and/or Outputs" in sam.deploy(STACK, code=1)
    (bucket,) = (call for call in sam.calls() if call["operation"] == "CreateChangeSet")
    given = {name: bucket["parameters"][name] for name in ("StackName", "TemplateBody", "Tags")}
    cloudformation = aws.client("cloudformation")
    cloudformation.delete_stack(StackName=given["StackName"])
    cloudformation.create_stack(**given)
    sam.deploy(STACK)
    sam.deploy(STACK, "PollSeconds=5")
    sam.delete(STACK)
    sam.deploy(STACK, "--no-execute-changeset")  # like a user who declines the change set
    sam.delete(STACK)
    return sam.calls()


class _Sam:
    """The SAM CLI with the project's own samconfig.toml, on moto's server, with recorded calls."""

    def __init__(self, aws: MotoServer, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "calls"
        self._environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            **aws.environment,
            # Moto reads the bucket from the path of a template's URL only on this host.
            "AWS_ENDPOINT_URL": aws.url.replace("127.0.0.1", "localhost"),
            "AHEAD_FILE": os.devnull,
            "CALLS_FILE": str(self._file),
            "HOME": str(folder),
            "no_proxy": "localhost",
            "PYTHONPATH": str(RECORDING),
            "SAM_CLI_POLL_DELAY": "0.1",
            "SAM_CLI_TELEMETRY": "0",
        }

    def deploy(self, stack: str, *more: str, code: int = 0) -> str:
        """With a prefix for uploads, as `sam deploy --guided` writes it to samconfig.toml."""
        secret = f"AepSecretArn={NEEDED['AepSecretArn']}"
        options = ("--stack-name", stack, "--s3-prefix", stack, "--no-confirm-changeset")
        parameters = ("--parameter-overrides", secret, *more)
        return self._run(
            "deploy", "--template-file", str(TEMPLATE), *options, *parameters, code=code
        )

    def delete(self, stack: str) -> str:
        return self._run("delete", "--stack-name", stack, "--no-prompts")

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file.open()]

    def _run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            [SAM, *command],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stderr


def needed_by_sam(calls: Sequence[Mapping[str, Any]]) -> set[Grant]:
    keys = Keys(topic="", secret="")
    return {grant for call in calls for grant in needed_for(call, keys)}


def granted(statements: Sequence[Mapping[str, Any]]) -> set[Grant]:
    """Regardless of their conditions: the last test checks those."""
    return {
        (action, resource, "")
        for statement in statements
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def test_every_call_of_sam_is_granted(
    statements: list[dict[str, Any]], calls: list[dict[str, Any]]
) -> None:
    """To create its bucket, upload, deploy, update, decline and delete, as SAM itself does."""
    assert missing_in(granted(statements), needed_by_sam(calls)) == set(), (
        "missing in deployer.json"
    )


@pytest.mark.parametrize(
    "made", made_by_the_template(), ids=lambda made: f"{made.kind.split('::', 1)[1]}-{made.name}"
)
def test_cloudformation_may_do_what_a_resource_needs(
    statements: list[dict[str, Any]], made: Made
) -> None:
    """Each resource of the template can be created, read, updated and deleted, by its own name.

    The actions are those of the type's handlers in CloudFormation's resource provider schemas,
    which cfn-lint includes
    (docs.aws.amazon.com/cloudformation-cli/latest/userguide/resource-type-schema.html).
    """
    assert missing_in(granted(statements), made.needed()) == set(), "missing in deployer.json"


def test_cloudformation_may_make_sam_s_bucket(
    statements: list[dict[str, Any]], calls: list[dict[str, Any]]
) -> None:
    """Each resource of SAM's own template for it; SAM never removes them."""
    for made in _made_by_sam(calls):
        assert missing_in(granted(statements), made.needed()) == set(), "missing in deployer.json"


def _made_by_sam(calls: list[dict[str, Any]]) -> list[Made]:
    templates = [
        json.loads(call["parameters"]["TemplateBody"])
        for call in calls
        if "TemplateBody" in call["parameters"]
    ]
    kinds = {one["Type"] for template in templates for one in template["Resources"].values()}
    assert kinds == ONLY_MADE
    return [Made(kind, BUCKET) for kind in sorted(kinds)]


def test_nothing_is_granted_to_the_deployer_without_need(
    statements: list[dict[str, Any]], calls: list[dict[str, Any]]
) -> None:
    """Each action is needed on one of its statement's resources, each resource by one action."""
    needed = needed_by_sam(calls)
    for made in [*made_by_the_template(), *_made_by_sam(calls)]:
        needed |= made.needed()
    for statement in statements:
        own = granted([statement])
        used = {grant for grant in own if any(covers(grant, one) for one in needed)}
        for place in (0, 1):
            idle = {grant[place] for grant in own} - {grant[place] for grant in used}
            assert idle == set(), f"granted by {statement['Sid']}, used by nothing"


def test_what_is_left_out_is_in_the_schemas() -> None:
    """No reason is listed for an action that no handler uses any more."""
    for kind, reasons in LEFT_OUT.items():
        for patterns in reasons.values():
            for pattern in patterns:
                assert any(fnmatchcase(action, pattern) for action in _listed_for(kind)), pattern


def test_the_tables_are_retained_unless_their_creation_is_rolled_back(
    statements: list[dict[str, Any]],
) -> None:
    """Field case 30: CloudFormation may delete a failed deployment's tables, and a deployer none.

    `UpdateReplacePolicy` has no RetainExceptOnCreate
    (docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-deletionpolicy.html).
    """
    for resource in translated()["Resources"].values():
        if resource["Type"] == "AWS::DynamoDB::Table":
            assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
            assert resource["UpdateReplacePolicy"] == "Retain"
    (deleting,) = (one for one in statements if "dynamodb:DeleteTable" in listed(one["Action"]))
    assert deleting["Action"] == "dynamodb:DeleteTable"
    assert deleting["Condition"] == THROUGH_CLOUDFORMATION


def test_what_bears_another_name_is_reached_through_the_stack_only(
    statements: list[dict[str, Any]],
) -> None:
    """Keys and triggers are named by ids, some actions have no resource: CloudFormation calls."""
    of_the_functions = {
        "ArnLike": {"lambda:FunctionArn": arn("lambda", f"function:{STACK}-*")},
    }
    for statement in statements:
        for resource in listed(statement["Resource"]):
            if resource == ANY or resource.endswith(("key/*", "event-source-mapping:*")):
                assert statement["Condition"] in (THROUGH_CLOUDFORMATION, of_the_functions)
