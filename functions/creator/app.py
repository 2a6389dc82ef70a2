"""The queue's function: turns each request into exactly one export job, or into a rejection."""

from __future__ import annotations

import gc

gc.disable()  # What a start loads is no garbage. To look for some there takes a tenth of its time.

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext
from export_jobs import wiring
from export_jobs.aws.clock import TimeLeft, now_ms
from export_jobs.aws.settings import Settings
from export_jobs.creator.message import Message
from export_jobs.creator.policy import CreatorPolicy
from export_jobs.creator.process import RequestProcessor
from export_jobs.telemetry import report_run

logger = Logger()
copy_config_to_registered_loggers(logger, include={"export_jobs"})
settings = Settings.from_environment()
time_left = TimeLeft()
processor = RequestProcessor(
    api=wiring.segmentation_client(settings, time_left),
    store=wiring.store(settings),
    publisher=wiring.publisher(settings),
    dead_letter_queue=wiring.dead_letter_queue(settings),
    policy=CreatorPolicy(
        sandboxes=settings.sandboxes,
        events=settings.event_policy,
        delays=settings.delay_policy,
        max_open=settings.max_open_exports,
    ),
    clock=now_ms,
    time_left_s=time_left,
)

gc.freeze()  # Later collections leave out what the start has loaded.
gc.enable()


@logger.inject_lambda_context
@event_source(data_class=SQSEvent)
def handler(event: SQSEvent, context: LambdaContext) -> dict[str, Any]:
    """Processes a batch. Returns the messages that failed; SQS delivers those again."""
    time_left.until_end_of(context)
    report = processor.process([_message_of(record) for record in event.records])
    report_run(report)
    return {"batchItemFailures": [{"itemIdentifier": message} for message in report.failed]}


def _message_of(record: SQSRecord) -> Message:
    return Message(
        message_id=record.message_id,
        body=record.body,
        sent_at=int(record.attributes.sent_timestamp or 0),
        receive_count=int(record.attributes.approximate_receive_count or 1),
        attributes={
            name: attribute.string_value
            for name, attribute in record.message_attributes.items()
            if attribute.string_value is not None
        },
    )
