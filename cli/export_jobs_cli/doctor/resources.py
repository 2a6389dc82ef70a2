"""Checks of the account, the stack, and where it keeps and sends things."""

from __future__ import annotations

import json
from collections.abc import Mapping

from botocore.exceptions import ClientError
from export_jobs.aws.dynamodb.items import OPEN_INDEX, REJECTED_INDEX

from export_jobs_cli.doctor.findings import BY_HAND, RESTORE, WorthALook, Wrong, code_of
from export_jobs_cli.errors import UserError
from export_jobs_cli.stack import DeployedSystem

RECEIVES = 1000
"""The template's `maxReceiveCount` of the request queue."""
VISIBILITY_S = 720
"""The template's visibility timeout of the request queue."""


def identity(system: DeployedSystem) -> str:
    return str(system.client("sts").get_caller_identity()["Arn"])


def stack(system: DeployedSystem) -> str:
    try:
        return f"{system.name}, {len(system.outputs)} outputs"
    except UserError as error:
        raise Wrong(
            str(error).partition(";")[0],
            "check the name (--stack, EXPORT_JOBS_STACK), the account (AWS_PROFILE; see the line "
            "above) and the region (AWS_REGION): "
            f"`{system.aws_command('cloudformation list-stacks')}` lists the stacks",
        ) from None


def jobs_table(system: DeployedSystem) -> str:
    name, indexes = _table(system, "JobsTableName")
    if OPEN_INDEX not in indexes:
        raise Wrong(
            f"{name} has no index {OPEN_INDEX!r}",
            "a table can't be given this index: delete the table, and restore it with all its "
            f"indexes from the last backup that has it ({BY_HAND})",
        )
    return f"{name}, with its index {OPEN_INDEX!r}"


def requests_table(system: DeployedSystem) -> str:
    name, indexes = _table(system, "RequestsTableName")
    if REJECTED_INDEX not in indexes:
        raise WorthALook(
            f"{name} has no index {REJECTED_INDEX!r}",
            f"deploy the current version if the stack is older than the index; otherwise {RESTORE}",
            "Requests are carried out, but rejected ones can't be listed.",
        )
    return f"{name}, with its index {REJECTED_INDEX!r}"


def _table(system: DeployedSystem, output_name: str) -> tuple[str, frozenset[str]]:
    """The name of a table that can be used, and the names of its indexes."""
    name = system.outputs[output_name]
    try:
        table = system.client("dynamodb").describe_table(TableName=name)["Table"]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            raise Wrong(f"there is no table {name}", _restored(system, name)) from None
        raise
    status = table["TableStatus"]
    if status not in {"ACTIVE", "UPDATING"}:
        cures = {
            "CREATING": "wait, and run doctor again",
            "DELETING": f"wait until it is deleted; then {_restored(system, name)}",
            "INACCESSIBLE_ENCRYPTION_CREDENTIALS": "enable the KMS key that encrypts it",
        }
        cure = cures.get(status, "check the table in the AWS console")
        raise Wrong(f"{name} is {status}", cure)
    kinds = ("LocalSecondaryIndexes", "GlobalSecondaryIndexes")
    return name, frozenset(found["IndexName"] for kind in kinds for found in table.get(kind, []))


def _restored(system: DeployedSystem, table: str) -> str:
    """How to restore a deleted table. One that CloudFormation creates is empty."""
    backups = system.aws_command(
        "dynamodb list-backups", "--backup-type", "SYSTEM", "--table-name", table
    )
    restore = system.aws_command(
        "dynamodb restore-table-from-backup",
        *("--target-table-name", table, "--backup-arn", "BACKUP_ARN"),
    )
    return (
        "restore it from the backup that DynamoDB makes of a table with point-in-time recovery when "
        f"it is deleted, and keeps for 35 days: `{backups}` shows the backup's ARN, `{restore}` "
        f"restores it; then set what a backup does not have ({BY_HAND})"
    )


def event_bus(system: DeployedSystem) -> str:
    name = system.outputs["EventBusName"]
    events = system.client("events")
    try:
        events.describe_event_bus(Name=name)
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            raise Wrong(f"there is no bus {name}", RESTORE) from None
        raise
    rules = events.list_rules(EventBusName=name)["Rules"]
    return f"{name}, {len(rules)} {'rule' if len(rules) == 1 else 'rules'}"


def request_queue(system: DeployedSystem) -> str:
    attributes = queue_attributes(system, "RequestQueueUrl")
    dead = queue_attributes(system, "DeadLetterQueueUrl")
    policy = json.loads(attributes.get("RedrivePolicy", "{}"))
    if policy.get("deadLetterTargetArn") != dead["QueueArn"]:
        wanted = {"deadLetterTargetArn": dead["QueueArn"], "maxReceiveCount": RECEIVES}
        raise Wrong(
            "it has no redrive policy to the dead-letter queue",
            _set(system, {"RedrivePolicy": json.dumps(wanted)}),
            "A message that always fails is received again and again, and delays others.",
        )
    limit_s = system.function("CreatorFunctionName").get("Timeout", 0)
    if int(attributes["VisibilityTimeout"]) < limit_s:
        raise Wrong(
            f"its visibility timeout is shorter than the creator's timeout of {limit_s} s",
            _set(system, {"VisibilityTimeout": str(VISIBILITY_S)}),
            "A message is received again while the first run is still processing it.",
        )
    waiting = int(attributes["ApproximateNumberOfMessages"])
    waiting += int(attributes.get("ApproximateNumberOfMessagesDelayed", 0))
    return f"{waiting} not recorded yet; dead letters after {policy['maxReceiveCount']} receives"


def _set(system: DeployedSystem, attributes: Mapping[str, str]) -> str:
    """The command that sets attributes of the request queue."""
    return system.aws_command(
        "sqs set-queue-attributes",
        *("--queue-url", system.outputs["RequestQueueUrl"], "--attributes", json.dumps(attributes)),
    )


def dead_letters(system: DeployedSystem) -> str:
    count = int(queue_attributes(system, "DeadLetterQueueUrl")["ApproximateNumberOfMessages"])
    if count:
        raise WorthALook(
            f"{count} rejected or failed",
            f"`{system.command('dlq list')}` shows why; correct and redrive them, or delete them",
        )
    return "none"


def queue_attributes(system: DeployedSystem, output_name: str) -> dict[str, str]:
    sqs = system.client("sqs")
    url = system.outputs[output_name]
    try:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except ClientError as error:
        if "NonExistentQueue" in code_of(error):
            raise Wrong(
                f"there is no queue {url}",
                RESTORE,
                "Requests can't be sent, or those that are rejected can't be kept.",
            ) from None
        raise
    return dict(found)
