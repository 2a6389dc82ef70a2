"""The whole system on one laptop: Segmentation service, AWS, the deployed functions and their triggers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.aws.server import REGION, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.subscribers import Subscribers
from export_jobs_local.aws.triggers import QueueTrigger, ScheduleTrigger
from export_jobs_local.project import LOCAL_STACK, TEMPLATE
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService


@dataclass(frozen=True)
class SystemConfig:
    """`logs`: a directory for the functions' logs. `sweep_every_s`: instead of the stack's schedule.

    `parameters` go to the stack over the local ones. Without `triggers` nothing invokes a function
    by itself.
    """

    logs: Path
    service: ServiceConfig = field(default_factory=ServiceConfig)
    aws_port: int = 0
    stack_name: str = LOCAL_STACK
    template: Path = TEMPLATE
    parameters: Mapping[str, str] = field(default_factory=dict)
    sweep_every_s: float | None = None
    triggers: bool = True


class LocalSystem:
    """Everything up and answering, for as long as the `with` block lasts."""

    def __init__(self, config: SystemConfig) -> None:
        self.config = config
        self._open = ExitStack()
        self._triggers: list[ScheduleTrigger | QueueTrigger] = []

    def __enter__(self) -> Self:
        with ExitStack() as opening:  # whatever fails on the way up, what is up comes down again
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
        self.service = self._open.enter_context(SegmentationService(config.service))
        self.aws = self._open.enter_context(MotoServer(port=config.aws_port))
        self.stack = LocalStack(self.aws, config.stack_name)
        parameters = {**local_parameters(self.aws, self.service), **config.parameters}
        self.stack.deploy(config.template, parameters)
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
            self._start_triggers()

    def pool(self, folder: str) -> FunctionPool:
        """The function whose code is in `functions/<folder>`."""
        return next(p for p in self.pools.values() if p.function.folder.name == folder)

    def send_request(self, body: str) -> str:
        """Puts a message on the request queue; returns its id."""
        sqs = self.aws.client("sqs")
        sent = sqs.send_message(QueueUrl=self.stack.outputs["RequestQueueUrl"], MessageBody=body)
        return str(sent["MessageId"])

    def description(self) -> dict[str, Any]:
        """What a program needs to join in: addresses, credentials and the stack's outputs."""
        return {
            **describe_service(self.service),
            "awsEndpointUrl": self.aws.url,
            "region": REGION,
            "stackName": self.stack.name,
            "outputs": dict(self.stack.outputs),
        }

    def _start_triggers(self) -> None:
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


def local_parameters(aws: MotoServer, service: SegmentationService) -> dict[str, str]:
    """The template's parameters for a local service; its credential is put into Secrets Manager."""
    secret = aws.client("secretsmanager").create_secret(
        Name="export-jobs/aep",
        SecretString=json.dumps(
            {
                "clientId": service.client_id,
                "clientSecret": service.client_secret,
                "orgId": service.org_id,
                "scopes": service.scopes,
            }
        ),
    )
    return {
        "AepSecretArn": secret["ARN"],
        "Sandboxes": ",".join(service.sandboxes),
        "ApiBaseUrl": service.api_url,
        "ImsTokenUrl": service.ims_url,
    }


def describe_service(service: SegmentationService) -> dict[str, Any]:
    """Where the Segmentation service is, and what its clients need to get in."""
    return {
        "apiUrl": service.api_url,
        "imsUrl": service.ims_url,
        "clientId": service.client_id,
        "clientSecret": service.client_secret,
        "scopes": service.scopes,
        "orgId": service.org_id,
        "sandboxes": list(service.sandboxes),
    }
