"""The scheduled function: sweeps every sandbox, publishes changes, settles what is unfinished."""

from __future__ import annotations

import gc

gc.disable()  # What a start loads is no garbage. To look for some there takes a tenth of its time.

import time
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
from aws_lambda_powertools.utilities.typing import LambdaContext
from export_jobs import wiring
from export_jobs.aws.clock import TimeLeft, now_ms
from export_jobs.aws.settings import MonitorSettings
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper
from export_jobs.monitor.watch import FormerSandboxes, Pace, watch
from export_jobs.telemetry import report_sweep

logger = Logger()
copy_config_to_registered_loggers(logger, include={"export_jobs"})
settings = MonitorSettings.from_environment()
time_left = TimeLeft()
store = wiring.store(settings)
sweeper = Sweeper(
    api=wiring.segmentation_client(settings, time_left),
    store=store,
    publisher=wiring.publisher(settings),
    dead_letter_queue=wiring.dead_letter_queue(settings),
    request_queue=wiring.request_queue(settings),
    policy=MonitorPolicy(
        events=settings.event_policy,
        delays=settings.delay_policy,
        digest=settings.digest_policy,
        max_open=settings.max_open_exports,
        overlap_ms=settings.overlap_seconds * 1000,
    ),
    clock=now_ms,
    time_left_s=time_left,
    page_size=settings.page_size,
)
former_sandboxes = FormerSandboxes(store, settings.sandboxes)
heartbeat = wiring.heartbeat(settings, time_left)

gc.freeze()  # Later collections leave out what the start has loaded.
gc.enable()


class SweepFailed(Exception):
    """The sweep of at least one sandbox failed. Makes the invocation fail, after all sweeps."""


@logger.inject_lambda_context
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
    former_sandboxes.look_after(sweeper)
    if problems:
        raise SweepFailed("; ".join(problems))
    if heartbeat:
        heartbeat.after_good_sweeps()
    return {"sandboxes": len(settings.sandboxes)}
