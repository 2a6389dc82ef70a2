"""The scheduled function: sweeps every sandbox and announces what has changed."""

from __future__ import annotations

import time
from typing import Any

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.utilities.typing import LambdaContext
from export_jobs import wiring
from export_jobs.aws.jobs import JobsTable
from export_jobs.monitor.decide import DelayPolicy, Policy
from export_jobs.monitor.sweep import Sweeper
from export_jobs.monitor.watch import Pace, watch
from export_jobs.settings import monitor_settings
from export_jobs.telemetry import report_sweep
from export_jobs.timeleft import TimeLeft

MINUTE_MS = 60_000

logger = Logger()
copy_config_to_registered_loggers(logger, include={"export_jobs"})
tracer = Tracer()
settings = monitor_settings()
time_left = TimeLeft()
sweeper = Sweeper(
    api=wiring.segmentation_client(settings, time_left),
    table=JobsTable(wiring.dynamodb(), settings.jobs_table, retention_days=settings.retention_days),
    announcer=wiring.announcer(settings),
    policy=Policy(
        delays=DelayPolicy(
            limit_ms=settings.delay_limit_minutes * MINUTE_MS,
            repeat_ms=settings.delay_repeat_minutes * MINUTE_MS,
            by_dataset_ms={
                dataset: minutes * MINUTE_MS
                for dataset, minutes in settings.dataset_delay_limits.items()
            },
        ),
        topic_events=settings.topic_events,
        overlap_ms=settings.overlap_seconds * 1000,
    ),
    clock=wiring.now_ms,
    time_left_s=time_left,
    page_size=settings.page_size,
)


class SweepFailed(Exception):
    """At least one sandbox could not be swept well; the others were. Fails the invocation on purpose."""


@logger.inject_lambda_context
@tracer.capture_lambda_handler(capture_response=False)
def handler(_event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Returns the number of sandboxes swept. Raises SweepFailed, so that the alarms see it."""
    time_left.until_end_of(context)
    problems = watch(
        sweeper,
        settings.sandboxes,
        pace=Pace(poll_s=settings.poll_seconds),
        monotonic=time.monotonic,
        sleep=time.sleep,
        reported=report_sweep,
    )
    if problems:
        raise SweepFailed("; ".join(problems))
    return {"sandboxes": len(settings.sandboxes)}
