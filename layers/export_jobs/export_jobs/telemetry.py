"""Log lines of sweeps and requests, and metrics in CloudWatch's embedded metric format."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from export_jobs.client import Transport
from export_jobs.client.transport import Answer
from export_jobs.model.outcome import JobOutcome
from export_jobs.model.records import EventType, RequestOutcome

if TYPE_CHECKING:
    from export_jobs.creator.policy import Handled, RunReport
    from export_jobs.monitor.progress import SweepReport

logger = Logger(child=True)

MAX_VALUES = 90
"""Values of one metric in a line. At the hundredth, Powertools would write the line itself."""
MAX_PROBLEMS = 20
"""Problems in one log line. CloudWatch truncates lines of more than 256 KB."""
MINUTE_MS = 60_000

METRIC_OF_JOBS: Mapping[JobOutcome, str] = {
    "SUCCEEDED": "JobsSucceeded",
    "SUCCEEDED_WITH_ERRORS": "JobsSucceededWithErrors",
    "SUCCEEDED_EMPTY": "JobsSucceededEmpty",
    "FAILED": "JobsFailed",
    "CANCELLED": "JobsCancelled",
    "VANISHED": "JobsVanished",
}
"""The metric that counts the jobs with each outcome. A job in progress has not ended."""
METRIC_OF_REQUESTS: Mapping[RequestOutcome, str] = {
    "CREATED": "RequestsCreated",
    "CANCELLING": "RequestsCancelling",
    "CANCELLED": "RequestsCancelled",
    "ALREADY_FINAL": "RequestsAlreadyFinal",
    "INVALID": "RequestsInvalid",
    "KEY_REUSED": "RequestsKeyReused",
    "REFUSED": "RequestsRefused",
    "EXPIRED": "RequestsExpired",
    "NOT_FOUND": "RequestsNotFound",
    "NOT_WATCHED": "RequestsNotWatched",
    "OUTCOME_UNKNOWN": "RequestsOutcomeUnknown",
    "UNEXPECTED": "RequestsUnexpected",
}
"""The metric that counts the requests with each outcome."""
METRIC_OF_MESSAGES: Mapping[Handled, str] = {
    "RECORDED": "RequestsRecorded",
    "DUPLICATE": "RequestsDuplicate",
    "FAILED": "RequestsFailed",
}
"""The metric that counts the messages with each result; the other results count as requests."""


def report_sweep(report: SweepReport) -> None:
    """Writes the metrics and the log line of one sweep."""
    metrics = EphemeralMetrics()
    metrics.add_dimension("sandbox", report.sandbox)
    good = not report.problems
    metrics.add_metric("SweepSucceeded", MetricUnit.Count, 1 if good else 0)
    metrics.add_metric("SweepAge", MetricUnit.Milliseconds, report.failing_ms)
    metrics.add_metric("OpenJobs", MetricUnit.Count, report.open_jobs)
    metrics.add_metric("OldestUndelivered", MetricUnit.Milliseconds, report.oldest_undelivered_ms)
    metrics.add_metric("RequestsWaiting", MetricUnit.Count, report.waiting)
    oldest_minutes = report.oldest_request_ms / MINUTE_MS  # CloudWatch has no such unit
    metrics.add_metric("OldestRequestMinutes", MetricUnit.NoUnit, oldest_minutes)
    if report.duplicates:
        metrics.add_metric("DuplicateJobs", MetricUnit.Count, report.duplicates)
    if report.unreadable:
        metrics.add_metric("UnreadableJobs", MetricUnit.Count, report.unreadable)
    ended = [
        event.detail
        for event in report.events
        if event.type == EventType.JOB_STATE_CHANGE and event.detail["final"]
    ]
    _emit(metrics)
    for start in range(0, len(ended), MAX_VALUES):
        _emit(_of_ended(report.sandbox, ended[start : start + MAX_VALUES]))
    (logger.info if good else logger.error)(
        "swept" if good else "sweep failed",
        sandbox=report.sandbox,
        pages=report.pages,
        lookups=report.lookups,
        openJobs=report.open_jobs,
        changes=report.changes,
        published=report.published,
        waiting=report.waiting,
        duplicates=report.duplicates,
        unfinished=report.unfinished,
        problems=report.problems[:MAX_PROBLEMS],
    )


def report_run(report: RunReport) -> None:
    """Writes the metrics and the log line of a creator's run, which have no sandbox."""
    handled = Counter(report.handled.values())
    metrics = EphemeralMetrics()
    for how, name in METRIC_OF_MESSAGES.items():
        metrics.add_metric(name, MetricUnit.Count, handled[how])
    for outcome, count in report.ends.items():
        metrics.add_metric(METRIC_OF_REQUESTS[outcome], MetricUnit.Count, count)
    if report.duplicates:
        metrics.add_metric("DuplicateJobs", MetricUnit.Count, report.duplicates)
    _emit(metrics)
    good = not report.problems
    (logger.info if good else logger.error)(
        "processed" if good else "processing failed",
        messages=report.handled,
        handled=handled,
        ends=report.ends,
        duplicates=report.duplicates,
        problems=report.problems[:MAX_PROBLEMS],
    )


def _of_ended(sandbox: str, details: Sequence[Mapping[str, Any]]) -> EphemeralMetrics:
    metrics = EphemeralMetrics()
    metrics.add_dimension("sandbox", sandbox)
    for outcome, count in Counter(detail["outcome"] for detail in details).items():
        metrics.add_metric(METRIC_OF_JOBS[outcome], MetricUnit.Count, count)
    for detail in details:
        if detail["durationMs"] is not None:
            metrics.add_metric("JobDuration", MetricUnit.Milliseconds, detail["durationMs"])
        if detail["profilesExported"] is not None:
            metrics.add_metric("ProfilesExported", MetricUnit.Count, detail["profilesExported"])
    return metrics


class MeasuredTransport(Transport):
    """A transport that reports each call: `ApiLatency` in ms, including retries, and `ApiErrors`.

    An error is a call without a response, or with a status of 400 or more, except 404.
    """

    def send(self, method: str, url: str, **options: Any) -> Answer:
        began = time.monotonic()
        good = False
        try:
            answer = super().send(method, url, **options)
            good = answer.status < 400 or answer.status == 404
            return answer
        finally:
            metrics = EphemeralMetrics()
            elapsed_ms = (time.monotonic() - began) * 1000
            metrics.add_metric("ApiLatency", MetricUnit.Milliseconds, elapsed_ms)
            metrics.add_metric("ApiErrors", MetricUnit.Count, 0 if good else 1)
            _emit(metrics)


def _emit(metrics: EphemeralMetrics) -> None:
    """Writes once: `print` writes twice, so that another thread could split the line."""
    sys.stdout.write(json.dumps(metrics.serialize_metric_set(), separators=(",", ":")) + "\n")
