"""The whole system on one laptop: Segmentation service, AWS, functions and their triggers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.aws.server import AwsServer, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.subscribers import Subscribers
from export_jobs_local.aws.triggers import QueueTrigger, ScheduleTrigger
from export_jobs_local.isolation import REGION
from export_jobs_local.project import LOCAL_STACK, TEMPLATE
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService


@dataclass(frozen=True)
class SystemConfig:
    """`logs` is a directory for the functions' logs; `sweep_every_s` replaces the schedule.

    `parameters` override the local ones of the stack, and may have a secret; the local service gets
    their sandboxes.
    Without `triggers`, nothing invokes a function automatically before `start_triggers`.

    `credential`, a secret's JSON text, is for a service that runs elsewhere, to which `parameters`
    then have to point with ApiBaseUrl and ImsTokenUrl: no local one is started.

    `emulator` is given a port. Only a test chooses another one than moto.
    """

    logs: Path
    service: ServiceConfig = field(default_factory=ServiceConfig)
    aws_port: int = 0
    stack_name: str = LOCAL_STACK
    template: Path = TEMPLATE
    parameters: Mapping[str, str] = field(default_factory=dict, repr=False)
    credential: str | None = field(default=None, repr=False)
    sweep_every_s: float | None = None
    triggers: bool = True
    emulator: Callable[..., AwsServer] = MotoServer


class NoLocalService(Exception):
    """The functions call a service that runs elsewhere; there is no local one to control."""


class LocalSystem:
    """Everything is up and answers while the `with` block runs."""

    def __init__(self, config: SystemConfig) -> None:
        self.config = config
        self._open = ExitStack()
        self._service: SegmentationService | None = None
        self._triggers: list[ScheduleTrigger | QueueTrigger] = []

    def __enter__(self) -> Self:
        with ExitStack() as opening:  # if the start fails, stop what has been started
            opening.callback(self.__exit__)
            self._start()
            opening.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        for trigger in self._triggers:
            trigger.stop()
        self._open.close()
        for trigger in self._triggers:
            trigger.join()

    def _start(self) -> None:
        config = self.config
        config.logs.mkdir(parents=True, exist_ok=True)
        if config.credential is None:
            self._service = self._open.enter_context(SegmentationService(_service(config)))
        self.aws = self._open.enter_context(config.emulator(port=config.aws_port))
        self.stack = LocalStack(self.aws, config.stack_name)
        self.stack.deploy(config.template, self._parameters())
        layers = self.stack.layer_folders()
        self.pools = {
            function.arn: FunctionPool(
                function, layers=layers, environment=self.aws.environment, logs=config.logs
            )
            for function in self.stack.functions()
        }
        for pool in self.pools.values():
            self._open.callback(pool.close)
        outputs = self.stack.outputs
        self.subscribers = Subscribers(
            sqs=self.aws.client("sqs"),
            events=self.aws.client("events"),
            sns=self.aws.client("sns"),
            bus_name=outputs["EventBusName"],
            topic_arn=outputs["AlertTopicArn"],
        )
        self._open.callback(self.subscribers.stop)
        if config.triggers:
            self.start_triggers()

    @property
    def service(self) -> SegmentationService:
        """The local service. Raises NoLocalService if there is none."""
        if self._service is None:
            raise NoLocalService("the Segmentation service of this system is not a local one")
        return self._service

    @property
    def has_local_service(self) -> bool:
        return self._service is not None

    def pool(self, folder: str) -> FunctionPool:
        """The function whose code is in `functions/<folder>`."""
        return next(p for p in self.pools.values() if p.function.folder.name == folder)

    def send_request(self, body: str) -> str:
        """Puts a message on the request queue; returns its id."""
        sqs = self.aws.client("sqs")
        sent = sqs.send_message(QueueUrl=self.stack.outputs["RequestQueueUrl"], MessageBody=body)
        return str(sent["MessageId"])

    def description(self) -> dict[str, Any]:
        """What a program needs to connect: addresses, credentials and the stack's outputs.

        Of a service that runs elsewhere, only the addresses: its credential is left out, and its
        control is None.
        """
        deployed = self.pool("monitor").function.environment
        elsewhere = {
            "apiUrl": deployed["AEP_BASE_URL"],
            "imsUrl": deployed["IMS_TOKEN_URL"],
            "sandboxes": deployed["SANDBOXES"].split(","),
            "controlUrl": None,
        }
        return {
            **(describe_service(self._service) if self._service else elsewhere),
            "awsEndpointUrl": self.aws.url,
            "region": REGION,
            "stackName": self.stack.name,
            "outputs": dict(self.stack.outputs),
            "logDirectory": str(self.config.logs.resolve()),
        }

    def _parameters(self) -> dict[str, str]:
        """The given parameters, and those of the local service or of one that runs elsewhere."""
        given = self.config.parameters
        if self._service:
            return local_parameters(self.aws, self._service, given)
        if self.config.credential is None or not {"ApiBaseUrl", "ImsTokenUrl"} <= given.keys():
            raise ValueError("a credential needs the parameters ApiBaseUrl and ImsTokenUrl")
        return {**given, "AepSecretArn": _keep_secret(self.aws, self.config.credential, given)}

    def start_triggers(self) -> None:
        """Invokes the functions from now on as AWS does: on schedule, and for messages."""
        for schedule in self.stack.schedules():
            pool = self.pools[schedule.function_arn]
            self._triggers.append(
                ScheduleTrigger(schedule, pool, every_s=self.config.sweep_every_s)
            )
        for mapping in self.stack.queue_triggers():
            pool = self.pools[mapping.function_arn]
            self._triggers.append(QueueTrigger(mapping, pool, self.aws.client("sqs")))
        for trigger in self._triggers:
            trigger.start()


def _service(config: SystemConfig) -> ServiceConfig:
    """The local service's configuration, with the sandboxes that the stack is to watch."""
    sandboxes = config.parameters.get("Sandboxes")
    if sandboxes is None:
        return config.service
    return replace(config.service, sandboxes=tuple(sandboxes.split(",")))


def local_parameters(
    aws: AwsServer, service: SegmentationService, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The template's parameters for a local service; puts its credential into Secrets Manager.

    Parameters in `given` override the service's own.
    """
    given = given or {}
    credential = {
        "clientId": service.client_id,
        "clientSecret": service.client_secret,
        "orgId": service.org_id,
        "scopes": service.scopes,
    }
    return {
        "Sandboxes": ",".join(service.sandboxes),
        "ApiBaseUrl": service.api_url,
        "ImsTokenUrl": service.ims_url,
        **given,
        "AepSecretArn": _keep_secret(aws, json.dumps(credential), given),
    }


def _keep_secret(aws: AwsServer, text: str, given: Mapping[str, str]) -> str:
    """Puts a credential into Secrets Manager, under a given ARN if there is one; returns its ARN.

    Moto chooses the end of an ARN itself, but finds a secret by everything after the last colon.
    """
    arn = given.get("AepSecretArn")
    name = arn.rpartition(":")[2] if arn else "export-jobs/aep"
    created = aws.client("secretsmanager").create_secret(Name=name, SecretString=text)
    return arn or str(created["ARN"])


def describe_service(service: SegmentationService) -> dict[str, Any]:
    """The Segmentation service's addresses, and what its clients need to authenticate."""
    return {
        "apiUrl": service.api_url,
        "imsUrl": service.ims_url,
        "clientId": service.client_id,
        "clientSecret": service.client_secret,
        "scopes": service.scopes,
        "orgId": service.org_id,
        "sandboxes": list(service.sandboxes),
        "controlUrl": f"{service.root_url}/_control",
    }
