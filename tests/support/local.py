"""Wires the parts under test to a local Segmentation service and AWS, as the functions do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.aws.publisher import AwsEventPublisher
from export_jobs.aws.sqs import SqsDeadLetterQueue, SqsRequestQueue
from export_jobs.client import Credentials, ImsTokens, SegmentationClient, Transport
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.process import RequestProcessor
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from export_jobs_local.aws.server import AwsServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.subscribers import Subscribers
from export_jobs_local.segmentation.server import SegmentationService

from support.dynamodb import store_in
from support.faults import FaultyClient, FaultyTransport, Injector


def client_of(
    service: SegmentationService,
    *,
    time_left_s: Callable[[], float] = lambda: math.inf,
    tries: int = 3,
    transport: Transport | None = None,
    **credential: str,
) -> SegmentationClient:
    """A client with the service's own credential, or with other values instead."""
    values = {
        "client_id": service.client_id,
        "client_secret": service.client_secret,
        "org_id": service.org_id,
        "scopes": service.scopes,
        **credential,
    }
    credentials = Credentials(**values)
    transport = transport or Transport(time_left_s=time_left_s, tries=tries)
    return SegmentationClient(
        base_url=service.api_url,
        credentials=lambda: credentials,
        tokens=ImsTokens(token_url=service.ims_url, transport=transport),
        transport=transport,
    )


@dataclass
class Clock:
    """Epoch milliseconds that move only on demand: the machine's, plus what was added."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def advance(self, *, minutes: float = 0, seconds: float = 0) -> None:
        self.ahead_ms += int((minutes * 60 + seconds) * 1000)


@dataclass
class Bench:
    """The parts of both functions over real sockets, with a separate clock."""

    service: SegmentationService
    aws: AwsServer
    stack: LocalStack
    subscribers: Subscribers
    clients: dict[str, Any]
    clock: Clock = field(default_factory=Clock)
    injector: Injector | None = None

    def _client(self, name: str) -> Any:
        client = self.clients[name]
        return FaultyClient(client, self.injector) if self.injector else client

    def _api(self, time_left_s: Callable[[], float], tries: int) -> SegmentationClient:
        transport = None
        if self.injector:
            transport = FaultyTransport(
                self.service, self.injector, time_left_s=time_left_s, tries=tries
            )
        return client_of(self.service, time_left_s=time_left_s, tries=tries, transport=transport)

    @property
    def store(self) -> DynamoDbStore:
        return store_in(self._client("dynamodb"), self.stack.outputs)

    @property
    def dead_letter_queue(self) -> SqsDeadLetterQueue:
        return SqsDeadLetterQueue(
            lambda: self._client("sqs"), url=self.stack.outputs["DeadLetterQueueUrl"]
        )

    @property
    def request_queue(self) -> SqsRequestQueue:
        return SqsRequestQueue(
            lambda: self._client("sqs"), url=self.stack.outputs["RequestQueueUrl"]
        )

    @property
    def publisher(self) -> AwsEventPublisher:
        return AwsEventPublisher(
            events=lambda: self._client("events"),
            sns=lambda: self._client("sns"),
            bus_name=self.stack.outputs["EventBusName"],
            topic_arn=self.stack.outputs["AlertTopicArn"],
        )

    def sweeper(
        self,
        policy: MonitorPolicy | None = None,
        *,
        time_left_s: Callable[[], float] = lambda: math.inf,
        tries: int = 1,
        **options: Any,
    ) -> Sweeper:
        return Sweeper(
            api=self._api(time_left_s, tries),
            store=self.store,
            publisher=self.publisher,
            dead_letter_queue=self.dead_letter_queue,
            request_queue=self.request_queue,
            policy=policy or MonitorPolicy(),
            clock=self.clock,
            time_left_s=time_left_s,
            **options,
        )

    def processor(
        self,
        policy: CreatorPolicy | None = None,
        *,
        time_left_s: Callable[[], float] = lambda: math.inf,
        tries: int = 1,
        **options: Any,
    ) -> RequestProcessor:
        return RequestProcessor(
            api=self._api(time_left_s, tries),
            store=self.store,
            publisher=self.publisher,
            dead_letter_queue=self.dead_letter_queue,
            policy=policy or CreatorPolicy(sandboxes=self.service.sandboxes),
            clock=self.clock,
            time_left_s=time_left_s,
            sleep=lambda _: None,
            **options,
        )
