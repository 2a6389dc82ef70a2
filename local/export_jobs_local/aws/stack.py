"""Creates the stack of `template.yaml` in a local AWS, and describes its functions."""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import WaiterError

from export_jobs_local.aws.parameters import check
from export_jobs_local.aws.server import AwsServer
from export_jobs_local.aws.template import code_folders, read_template, to_cloudformation

_BUCKET = "export-jobs-code"
_TEMPLATE = "template.json"
"""CloudFormation takes a template of this size only from S3; moto takes any from the call."""


class StackFailed(Exception):
    """The stack could not be created; the text has CloudFormation's reason."""


@dataclass(frozen=True)
class DeployedFunction:
    """A function as deployed. `folder` has its code; `timeout_s` limits its runs.

    `allows_loops`: whether Lambda lets one chain of invocations invoke it without limit.
    """

    name: str
    arn: str
    handler: str
    folder: Path
    timeout_s: int
    memory_mb: int
    environment: Mapping[str, str]
    allows_loops: bool = False


@dataclass(frozen=True)
class DeployedSchedule:
    rule_arn: str
    expression: str
    function_arn: str


@dataclass(frozen=True)
class DeployedQueueTrigger:
    """An event source mapping: `function_arn` is invoked with messages of `queue_arn`."""

    queue_arn: str
    function_arn: str
    batch_size: int
    max_concurrency: int
    partial_answers: bool


class LocalStack:
    """Creates the stack and reads it back. `outputs` are the template's."""

    def __init__(self, aws: AwsServer, name: str = "export-jobs") -> None:
        self._aws = aws
        self.name = name
        self.outputs: dict[str, str] = {}

    def deploy(self, template_path: Path, parameters: Mapping[str, str]) -> None:
        """Raises StackFailed, and ParameterRefused for a value that CloudFormation would refuse."""
        template = read_template(template_path)
        check(template, parameters)
        self._folders = {
            name: template_path.parent / folder for name, folder in code_folders(template).items()
        }
        self._upload_code()
        translated = to_cloudformation(template, bucket=_BUCKET, parameters=parameters)
        self._allows_loops = {
            name for name, value in _recursive_loops(translated, parameters) if value == "Allow"
        }
        cloudformation = self._aws.client("cloudformation")
        with warnings.catch_warnings():
            # Moto skips what it does not support (EventInvokeConfig), with a warning for each.
            warnings.simplefilter("ignore")
            logging.getLogger("moto").setLevel(logging.ERROR)
            try:
                cloudformation.create_stack(
                    StackName=self.name,
                    TemplateURL=self._upload(_TEMPLATE, json.dumps(translated, default=str)),
                    Parameters=[
                        {"ParameterKey": key, "ParameterValue": value}
                        for key, value in parameters.items()
                    ],
                    Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
                )
            except cloudformation.exceptions.ClientError as error:
                raise StackFailed(f"the stack can't be created: {error}") from error
        with suppress(WaiterError):  # the stack's status is clearer
            complete = cloudformation.get_waiter("stack_create_complete")
            complete.wait(StackName=self.name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        stack = cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        if stack["StackStatus"] != "CREATE_COMPLETE":
            raise StackFailed(f"the stack is {stack['StackStatus']}")
        self._aws.stop_own_pollers()
        self.outputs = {
            output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])
        }

    def delete(self) -> None:
        """Deletes the stack with its resources."""
        self._aws.client("cloudformation").delete_stack(StackName=self.name)

    def functions(self) -> list[DeployedFunction]:
        found = self._aws.client("lambda").list_functions()["Functions"]
        return [self._function(function) for function in found if self._owns(function)]

    def layer_folders(self) -> list[Path]:
        functions = {function.folder for function in self.functions()}
        return [folder for folder in self._folders.values() if folder not in functions]

    def schedules(self) -> list[DeployedSchedule]:
        """The scheduled rules of the default bus that invoke the stack's functions."""
        events = self._aws.client("events")
        ours = {function.arn for function in self.functions()}
        return [
            DeployedSchedule(rule["Arn"], rule["ScheduleExpression"], target["Arn"])
            for rule in events.list_rules()["Rules"]
            if rule.get("ScheduleExpression") and rule.get("State") == "ENABLED"
            for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
            if target["Arn"] in ours
        ]

    def queue_triggers(self) -> list[DeployedQueueTrigger]:
        """The queues that invoke the stack's functions."""
        ours = {function.arn for function in self.functions()}
        mappings = self._aws.client("lambda").list_event_source_mappings()["EventSourceMappings"]
        return [
            DeployedQueueTrigger(
                queue_arn=mapping["EventSourceArn"],
                function_arn=mapping["FunctionArn"],
                batch_size=mapping.get("BatchSize", 10),
                max_concurrency=mapping.get("ScalingConfig", {}).get("MaximumConcurrency", 5),
                partial_answers="ReportBatchItemFailures"
                in mapping.get("FunctionResponseTypes", []),
            )
            for mapping in mappings
            if mapping["FunctionArn"] in ours
            and ":sqs:" in mapping["EventSourceArn"]
            and mapping.get("State") == "Enabled"
        ]

    def _owns(self, function: Mapping[str, Any]) -> bool:
        return str(function["FunctionName"]).startswith(f"{self.name}-")

    def _function(self, function: Mapping[str, Any]) -> DeployedFunction:
        name = function["FunctionName"]
        logical_id = re.sub(rf"^{re.escape(self.name)}-(.+)-[^-]+$", r"\1", name)
        variables = function.get("Environment", {}).get("Variables", {})
        return DeployedFunction(
            name=name,
            arn=function["FunctionArn"],
            handler=function["Handler"],
            folder=self._folders[logical_id],
            timeout_s=function["Timeout"],
            memory_mb=function["MemorySize"],
            environment={key: str(value) for key, value in variables.items()},
            allows_loops=logical_id in self._allows_loops,
        )

    def _upload_code(self) -> None:
        self._aws.client("s3").create_bucket(Bucket=_BUCKET)
        for name, folder in self._folders.items():
            self._upload(name, _zipped(folder))

    def _upload(self, name: str, content: bytes | str) -> str:
        """Returns the URL by which CloudFormation finds the file."""
        self._aws.client("s3").put_object(Bucket=_BUCKET, Key=name, Body=content)
        return f"https://s3.amazonaws.com/{_BUCKET}/{name}"


def _recursive_loops(
    template: Mapping[str, Any], parameters: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Each function's logical id and `RecursiveLoop`, which moto does not keep.

    Raises StackFailed if that is neither a valid value nor a parameter with one.
    """
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Lambda::Function":
            continue
        value = resource["Properties"].get("RecursiveLoop", "Terminate")
        if isinstance(value, dict) and value.keys() == {"Ref"}:
            default = template.get("Parameters", {}).get(value["Ref"], {}).get("Default")
            value = parameters.get(value["Ref"], default)
        if value not in {"Allow", "Terminate"}:
            raise StackFailed(f"RecursiveLoop of {name} must be Allow or Terminate, not {value}")
        yield name, value


def _zipped(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*.py")):
            archive.write(path, path.relative_to(folder))
    return packed.getvalue()
