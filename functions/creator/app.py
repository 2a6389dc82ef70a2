"""The queue's function: turns each request into exactly one export job, or into a rejection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from export_jobs import wiring
from export_jobs.aws.requests import RequestLedger
from export_jobs.creator.fulfil import UNAVAILABLE, Fulfiller, Rules
from export_jobs.creator.message import Message
from export_jobs.queues import RequestQueues
from export_jobs.settings import creator_settings
from export_jobs.timeleft import TimeLeft

if TYPE_CHECKING:
    import logging

logger = Logger()
tracer = Tracer()
metrics = Metrics()
settings = creator_settings()
time_left = TimeLeft()
fulfiller = Fulfiller(
    api=wiring.segmentation_client(settings, time_left),
    ledger=RequestLedger(
        wiring.dynamodb(),
        jobs_table=settings.jobs_table,
        requests_table=settings.requests_table,
        retention_days=settings.retention_days,
    ),
    queues=RequestQueues(
        wiring.sqs,
        queue_url=settings.request_queue_url,
        dead_letter_queue_url=settings.dead_letter_queue_url,
    ),
    announcer=wiring.announcer(settings),
    rules=Rules(
        sandboxes=settings.sandboxes,
        max_open=settings.max_open_exports,
        topic_events=settings.topic_events,
    ),
    clock=wiring.now_ms,
    time_left_s=time_left,
)
copy_config_to_registered_loggers(logger, include={"export_jobs"})
processor = BatchProcessor(event_type=EventType.SQS, logger=cast("logging.Logger", logger))


@logger.inject_lambda_context
@metrics.log_metrics
@tracer.capture_lambda_handler(capture_response=False)
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Answers with the messages that failed unexpectedly; SQS delivers those again."""
    time_left.until_end_of(context)
    return process_partial_response(
        event=event, record_handler=fulfil, processor=processor, context=context
    )


def fulfil(record: SQSRecord) -> None:
    message = _message_of(record)
    ended = UNAVAILABLE
    try:
        ended = fulfiller.fulfil(message)
    finally:
        metrics.add_metric("RequestsFailed", MetricUnit.Count, 1 if ended == UNAVAILABLE else 0)
    logger.info("request", messageKey=message.key, ended=ended, waits=message.waits)
    metrics.add_metric(f"Requests{ended.title().replace('_', '')}", MetricUnit.Count, 1)
    age_ms = wiring.now_ms() - message.first_received_at
    metrics.add_metric("RequestAge", MetricUnit.Milliseconds, max(0, age_ms))


def _message_of(record: SQSRecord) -> Message:
    def attribute(name: str) -> str | None:
        found = record.message_attributes[name]
        return found.string_value if found else None

    def number(name: str) -> int:
        text = attribute(name) or ""
        return int(text) if text.isdecimal() else 0

    return Message(
        body=record.body,
        key=attribute("requestKey") or record.message_id,
        first_received_at=number("firstReceivedAt") or int(record.attributes.sent_timestamp or 0),
        waits=number("waits"),
        # Only what was rejected carries a reason. SQS's own redrive brings it back as it was.
        redrives=number("redrives") + (attribute("reason") is not None),
        not_before=number("notBefore"),
    )
