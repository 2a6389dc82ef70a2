"""The stack that a command works with: a deployed one by its name, or the running local one.

Everything is read from the stack itself: its outputs, and the configuration of its functions. The
two kinds differ only in where AWS is.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import chain
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
)
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.aws.settings import MonitorSettings, Settings, SettingsInvalid
from export_jobs.client import (
    Credentials,
    ImsTokens,
    SegmentationClient,
    SegmentationError,
    Transport,
)
from export_jobs.client.environment import on_this_machine
from export_jobs.events.wording import command_line
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.ports import StoreUnavailable
from export_jobs_local.isolation import aws_client, aws_session
from export_jobs_local.project import LOCAL_STACK

from export_jobs_cli.errors import UserError
from export_jobs_cli.running import NoneRuns, running_description

_CONFIG = Config(connect_timeout=5, read_timeout=30)
"""For AWS, the shell has its say on retries, too."""
_LOCAL_CONFIG = _CONFIG.merge(Config(retries={"mode": "standard", "total_max_attempts": 3}))
_NO_PROXY = Config(proxies={})


@dataclass(frozen=True)
class Target:
    """The stack that the options name, and how to reach it. Without a stack, the local system."""

    stack: str | None = None
    profile: str | None = None
    region: str | None = None


class DeployedSystem:
    """A stack's outputs, its functions' settings, and clients made when they are first needed."""

    def __init__(
        self,
        name: str,
        *,
        session: boto3.Session,
        profile: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        data_directory: str | None = None,
        log_directory: str | None = None,
    ) -> None:
        """`endpoint_url` is that of an AWS on this machine.

        `profile` and `region`: what the user gave, for the commands that are shown.
        `data_directory`: where the local service keeps its exports, if it keeps them.
        `log_directory`: where the local functions write their logs.
        """
        self.name = name
        self.data_directory = data_directory
        self.log_directory = log_directory
        self._session = session
        self._aws_options = {"profile": profile, "region": region}
        self._endpoint_url = endpoint_url
        self._clients: dict[str, Any] = {}

    def client(self, service: Any, config: Config | None = None) -> Any:
        """A boto3 client. Raises UserError if the shell has settings that boto3 can't read.

        `config` overrides the usual time-outs and retries. Without it, there is one client of each
        service: to make one takes longer than most calls.
        """
        if config is not None:
            return self._new_client(service, config)
        if service not in self._clients:
            self._clients[service] = self._new_client(service)
        return self._clients[service]

    def _new_client(self, service: Any, config: Config | None = None) -> Any:
        if self._endpoint_url is not None:
            local = _LOCAL_CONFIG.merge(config or Config())
            return aws_client(self._session, service, self._endpoint_url, local)
        wanted = _CONFIG.merge(config or Config())
        try:
            client = self._session.client(service, config=wanted)
            if on_this_machine(client.meta.endpoint_url):  # by AWS_ENDPOINT_URL, for example
                client = self._session.client(service, config=wanted.merge(_NO_PROXY))
        except ValueError as error:
            raise UserError(
                f"boto3 can't read a setting: {error}; check the variables AWS_… and ~/.aws/config"
            ) from None
        return client

    @cached_property
    def is_on_this_machine(self) -> bool:
        """Whether its AWS is a local one, which has no CloudWatch metrics."""
        return on_this_machine(self.client("sts").meta.endpoint_url)

    def command(self, command: str, *values: str, sandbox: str | None = None) -> str:
        """A command of `export-jobs` for this stack, quoted for a POSIX shell.

        If the command ends with an option, the first value is that option's.
        """
        if self.name == LOCAL_STACK and self.is_on_this_machine:
            return command_line(command, *values, sandbox=sandbox)
        return command_line(command, *values, sandbox=sandbox, stack=self.name, **self._aws_options)

    def aws_command(self, command: str, *values: str) -> str:
        """A command of the AWS CLI for this stack's account and region, quoted for a POSIX shell."""
        options = {**self._aws_options, "endpoint-url": self._endpoint_url}
        if self._endpoint_url:  # a local AWS, whose region may not be the shell's
            options["region"] = options["region"] or self._session.region_name
        given = [(f"--{name}", value) for name, value in options.items() if value]
        return shlex.join(["aws", *command.split(), *values, *chain.from_iterable(given)])

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The stack's outputs. Raises UserError if it does not exist, or is another project's."""
        try:
            answer = self.client("cloudformation").describe_stacks(StackName=self.name)
        except ClientError as error:
            if "does not exist" in str(error):
                raise UserError(
                    f"there is no stack {self.name!r} in region {self._session.region_name}; "
                    "check --stack, the AWS profile and the region"
                ) from None
            raise
        stack = answer["Stacks"][0]
        outputs = {o["OutputKey"]: str(o["OutputValue"]) for o in stack.get("Outputs", [])}
        if "RequestQueueUrl" not in outputs or "MonitorFunctionName" not in outputs:
            raise UserError(
                f"stack {self.name!r} ({stack['StackStatus']}) is not one of this project; "
                "check --stack"
            )
        return outputs

    @cached_property
    def creator(self) -> Settings:
        environment = self.function("CreatorFunctionName")["Environment"]["Variables"]
        return Settings.from_environment(_texts(environment))

    @cached_property
    def monitor(self) -> MonitorSettings:
        environment = self.function("MonitorFunctionName")["Environment"]["Variables"]
        return MonitorSettings.from_environment(_texts(environment))

    def function(self, output: str) -> dict[str, Any]:
        """The configuration of the function that an output names."""
        found = self.client("lambda").get_function_configuration(FunctionName=self.outputs[output])
        return {**found, "Environment": found.get("Environment") or {"Variables": {}}}

    @cached_property
    def transport(self) -> Transport:
        return Transport(connections=4)

    @cached_property
    def api(self) -> SegmentationClient:
        return SegmentationClient(
            base_url=self.monitor.aep_base_url,
            credentials=self.credentials,
            tokens=ImsTokens(token_url=self.monitor.ims_token_url, transport=self.transport),
            transport=self.transport,
        )

    def credentials(self) -> Credentials:
        return self._credentials

    @cached_property
    def _credentials(self) -> Credentials:
        secret = self.client("secretsmanager").get_secret_value(SecretId=self.monitor.aep_secret_id)
        return Credentials.from_secret(secret.get("SecretString") or secret["SecretBinary"])

    @cached_property
    def store(self) -> DynamoDbStore:
        return DynamoDbStore(
            self.client("dynamodb"),
            jobs_table=self.outputs["JobsTableName"],
            requests_table=self.outputs["RequestsTableName"],
        )

    @cached_property
    def names(self) -> Callable[[str], Names]:
        """Returns the names of a sandbox's datasets and segments, which it reads once.

        Raises StoreUnavailable.
        """
        return cache(lambda sandbox: self.store.names(sandbox, by_query=True))

    def names_for(self, detail: Mapping[str, Any]) -> Names:
        """Those of an event's sandbox, if it has a dataset."""
        sandbox = detail.get("sandboxName")
        return self.names(str(sandbox)) if sandbox and detail.get("datasetId") else NO_NAMES

    def sandboxes(self, wanted: str | None) -> tuple[str, ...]:
        """The sandbox wanted, or all watched ones. Raises UserError if it is not watched."""
        watched = self.monitor.sandboxes
        if wanted is None:
            return watched
        if wanted not in watched:
            raise UserError(
                f"sandbox {wanted!r} is not watched by {self.name}; watched: {', '.join(watched)}"
            )
        return (wanted,)

    def send(self, body: str, **attributes: str) -> str:
        """Puts a message on the request queue; returns its id."""
        sent = self.client("sqs").send_message(
            QueueUrl=self.outputs["RequestQueueUrl"],
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name, value in attributes.items()
            },
        )
        return str(sent["MessageId"])


@contextmanager
def opened(target: Target) -> Iterator[DeployedSystem]:
    """Yields the target's stack. Errors of AWS or the service in the block become UserErrors."""
    with explained():
        yield _system_of(target)


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors of AWS or the service in the block into UserErrors, which say what to do."""
    try:
        yield
    except ClientError as error:
        raise UserError(refusal(error)) from None
    except BotoCoreError as error:
        raise UserError("; ".join(unreachable(error))) from None
    except SettingsInvalid as error:
        raise UserError(
            f"the stack's functions have wrong settings: {error}; deploy the stack again"
        ) from None
    except SegmentationError as error:
        raise UserError(str(error)) from None
    except StoreUnavailable as error:
        raise UserError(str(error)) from None


def refusal(error: ClientError) -> str:
    """What AWS refused, and why, in one line."""
    details = error.response.get("Error", {})
    message = " ".join(str(details.get("Message", "")).split())
    return f"AWS refused {error.operation_name} ({details.get('Code')}): {message}"


def unreachable(error: BotoCoreError) -> tuple[str, str]:
    """Why AWS could not be called at all, and what to do."""
    match error:
        case NoCredentialsError():
            return "no AWS credentials", "use --profile, set AWS_PROFILE, or run `aws configure`"
        case NoRegionError():
            return "no AWS region", "use --region, set AWS_REGION, or set a region for the profile"
        case _:
            return f"can't call AWS: {error}", "check the AWS profile, the region and the network"


def _system_of(target: Target) -> DeployedSystem:
    """Opens the target; the local stack's name means the one here, or at AWS_ENDPOINT_URL."""
    if target.stack is None:
        if target.profile or target.region:
            raise UserError("--profile and --region need --stack: they are for a deployed stack")
        return local_system(running_description())
    if target.stack == LOCAL_STACK:
        try:
            return local_system(running_description())
        except NoneRuns:
            endpoint_url = os.environ.get("AWS_ENDPOINT_URL")
            if not endpoint_url:
                raise
            if on_this_machine(endpoint_url):
                return DeployedSystem(LOCAL_STACK, session=aws_session(), endpoint_url=endpoint_url)
    # boto3 reads only the second variable; the AWS CLI and other SDKs read the first one first.
    region = target.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    try:
        session = boto3.Session(profile_name=target.profile, region_name=region)
    except ProfileNotFound as error:
        raise UserError(str(error)) from None
    return DeployedSystem(
        target.stack, session=session, profile=target.profile, region=target.region
    )


def local_system(description: Mapping[str, Any]) -> DeployedSystem:
    """The running local system that the description is of."""
    return DeployedSystem(
        str(description["stackName"]),
        session=aws_session(str(description["region"])),
        endpoint_url=str(description["awsEndpointUrl"]),
        data_directory=description.get("dataDirectory"),
        log_directory=description.get("logDirectory"),
    )


def _texts(environment: Mapping[str, Any]) -> dict[str, str]:
    """Makes all variables text, as Lambda has them; moto returns numbers as numbers."""
    return {name: str(value) for name, value in environment.items()}
