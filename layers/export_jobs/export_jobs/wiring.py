"""Makes the parts from the settings. Clients are made on first use, because imports take time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.aws.names import KeptNames
from export_jobs.aws.publisher import AwsEventPublisher
from export_jobs.aws.settings import MonitorSettings, Settings
from export_jobs.aws.sqs import SqsDeadLetterQueue, SqsRequestQueue
from export_jobs.client import (
    Credentials,
    ImsTokens,
    RetryLater,
    SegmentationClient,
)
from export_jobs.telemetry import MeasuredTransport

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from export_jobs.monitor.heartbeat import Heartbeat

AFTER_A_CALL_S = 12.0
"""The time that the longest call to the service must leave to record its result."""


@cache
def _config() -> Any:
    from botocore.config import Config  # noqa: PLC0415  with boto3, once a client is made

    return Config(
        connect_timeout=2,
        read_timeout=5,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=16,
        # Validation takes as long as the rest of a transaction; mypy checks the parameters.
        parameter_validation=False,
    )


def _client(service: Any) -> Any:
    import boto3  # noqa: PLC0415  the slowest import of all

    return boto3.client(service, config=_config())


@cache
def dynamodb() -> DynamoDBClient:
    client: DynamoDBClient = _client("dynamodb")
    return client


@cache
def events() -> EventBridgeClient:
    client: EventBridgeClient = _client("events")
    return client


@cache
def sns() -> SNSClient:
    client: SNSClient = _client("sns")
    return client


@cache
def sqs() -> SQSClient:
    client: SQSClient = _client("sqs")
    return client


@cache
def secretsmanager() -> SecretsManagerClient:
    client: SecretsManagerClient = _client("secretsmanager")
    return client


def _secret(secret_id: str) -> str | bytes:
    """Reads a secret from Secrets Manager. Raises RetryLater."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415  with boto3

    try:
        secret = secretsmanager().get_secret_value(SecretId=secret_id)
    except (BotoCoreError, ClientError) as error:
        raise RetryLater(f"can't read the secret {secret_id}: {error}") from error
    return secret.get("SecretString") or secret["SecretBinary"]


def credentials_from(secret_id: str) -> Callable[[], Credentials]:
    """Returns a function that reads the credential from Secrets Manager, at each call."""
    return lambda: Credentials.from_secret(_secret(secret_id))


def segmentation_client(settings: Settings, time_left_s: Callable[[], float]) -> SegmentationClient:
    credentials = credentials_from(settings.aep_secret_id)
    transport = MeasuredTransport(time_left_s=lambda: time_left_s() - AFTER_A_CALL_S)
    return SegmentationClient(
        base_url=settings.aep_base_url,
        credentials=credentials,
        tokens=ImsTokens(token_url=settings.ims_token_url, transport=transport),
        transport=transport,
    )


def heartbeat(settings: MonitorSettings, time_left_s: Callable[[], float]) -> Heartbeat | None:
    """None if the stack has none; then nothing of it is imported."""
    secret_id = settings.heartbeat_secret_id
    if not secret_id:
        return None
    from export_jobs.client.heartbeat import HeartbeatUrl  # noqa: PLC0415
    from export_jobs.monitor.heartbeat import Heartbeat  # noqa: PLC0415

    url = HeartbeatUrl(
        lambda: _secret(secret_id), time_left_s=lambda: time_left_s() - AFTER_A_CALL_S
    )
    return Heartbeat(url, clock=now_ms)


def publisher(settings: Settings) -> AwsEventPublisher:
    return AwsEventPublisher(
        events=events,
        sns=sns,
        bus_name=settings.event_bus_name,
        topic_arn=settings.topic_arn,
        stack_name=settings.stack_name,
        names=KeptNames(lambda sandbox: store(settings).names(sandbox)),
    )


def store(settings: Settings) -> DynamoDbStore:
    return DynamoDbStore(
        dynamodb(),
        jobs_table=settings.jobs_table,
        requests_table=settings.requests_table,
        retention_days=settings.retention_days,
    )


def dead_letter_queue(settings: Settings) -> SqsDeadLetterQueue:
    return SqsDeadLetterQueue(sqs, url=settings.dead_letter_queue_url)


def request_queue(settings: Settings) -> SqsRequestQueue:
    return SqsRequestQueue(sqs, url=settings.request_queue_url)
