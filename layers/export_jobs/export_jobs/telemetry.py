"""Log lines of sweeps and requests, and metrics in CloudWatch's embedded metric format.

CloudWatch charges for a metric by the hour in which it is reported. So only SweepAge is reported at
each sweep, because an alarm must see it, and every other metric only when it is not zero.
"""

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
from export_jobs.model.records import EventType, RequestOutcome

if TYPE_CHECKING:
    from export_jobs.creator.report import Handled, RunReport
    from export_jobs.monitor.progress import SweepReport

logger = Logger(child=True)

MAX_VALUES = 90
"""Values of one metric in a line. At the hundredth, Powertools would write the line itself."""
MAX_PROBLEMS = 20
"""Problems in one log line. CloudWatch truncates lines of more than 256 KB."""
MINUTE_MS = 60_000

METRIC_OF_JOBS: Mapping[str, str] = {
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
"""The metric that counts the messages with each result.

Those that are REJECTED or CANCELLED count as requests; a WAKE_UP and those DROPPED do not count.
"""


def report_sweep(report: SweepReport) -> None:
    """Writes the metrics and the log line of one sweep."""
    ended = [
        event.detail
        for event in report.events
        if event.type == EventType.JOB_STATE_CHANGE and event.detail.get("final")
    ]
    metrics = EphemeralMetrics()
    metrics.add_dimension("sandbox", report.sandbox)
    good = not report.problems
    # A sweep that fails for the first time has an age, too: only a good one has none.
    age_ms = 0 if good else max(1, report.failing_ms)
    metrics.add_metric("SweepAge", MetricUnit.Milliseconds, age_ms)
    for name, unit, value in (
        ("OpenJobs", MetricUnit.Count, report.open_jobs),
        ("OldestUndelivered", MetricUnit.Milliseconds, report.oldest_undelivered_ms),
        ("RequestsWaiting", MetricUnit.Count, report.waiting),
        # CloudWatch has no minutes.
        ("OldestRequestMinutes", MetricUnit.NoUnit, report.oldest_request_ms / MINUTE_MS),
        ("OverdueExports", MetricUnit.Count, report.overdue),
        ("UnusualExports", MetricUnit.Count, sum(map(_is_unusual, ended))),
        ("DuplicateJobs", MetricUnit.Count, report.duplicates),
        ("UnreadableJobs", MetricUnit.Count, report.unreadable),
        ("RequestsRetried", MetricUnit.Count, _retried(report)),
    ):
        if value:
            metrics.add_metric(name, unit, value)
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
        overdue=report.overdue,
        duplicates=report.duplicates,
        unfinished=report.unfinished,
        apiMs=_slowest_call_ms(),
        problems=report.problems[:MAX_PROBLEMS],
    )


def _retried(report: SweepReport) -> int:
    return sum(event.type == EventType.REQUEST_RETRIED for event in report.events)


def report_run(report: RunReport) -> None:
    """Writes the metrics and the log line of a creator's run, which have no sandbox."""
    handled = Counter(report.handled.values())
    counts = {
        **{name: handled[how] for how, name in METRIC_OF_MESSAGES.items()},
        **{METRIC_OF_REQUESTS[outcome]: count for outcome, count in report.ends.items()},
        "DuplicateJobs": report.duplicates,
    }
    metrics = EphemeralMetrics()
    for name, count in counts.items():
        if count:
            metrics.add_metric(name, MetricUnit.Count, count)
    _emit(metrics)
    good = not report.problems
    (logger.info if good else logger.error)(
        "processed" if good else "processing failed",
        messages=report.handled,
        handled=handled,
        ends=report.ends,
        duplicates=report.duplicates,
        apiMs=_slowest_call_ms(),
        problems=report.problems[:MAX_PROBLEMS],
    )


def _is_unusual(detail: Mapping[str, Any]) -> bool:
    return bool(detail.get("anomalies"))


def _of_ended(sandbox: str, details: Sequence[Mapping[str, Any]]) -> EphemeralMetrics:
    metrics = EphemeralMetrics()
    metrics.add_dimension("sandbox", sandbox)
    for outcome, count in Counter(str(detail.get("outcome")) for detail in details).items():
        if name := METRIC_OF_JOBS.get(outcome):  # a newer version may know more outcomes
            metrics.add_metric(name, MetricUnit.Count, count)
    for detail in details:
        if (duration_ms := detail.get("durationMs")) is not None:
            metrics.add_metric("JobDuration", MetricUnit.Milliseconds, duration_ms)
        if (profiles := detail.get("profilesExported")) is not None:
            metrics.add_metric("ProfilesExported", MetricUnit.Count, profiles)
    return metrics


_calls_ms: list[float] = []
"""How long the calls took since the last sweep or run was reported."""


def _slowest_call_ms() -> int:
    """The time of the slowest call since the last report, by this process, whatever its sandbox."""
    taken = _calls_ms[:]
    del _calls_ms[: len(taken)]
    return round(max(taken, default=0))


class MeasuredTransport(Transport):
    """A transport that measures each call, including retries, and reports those that fail.

    `ApiErrors` counts calls without a response, or with a status of 400 or more, except 404. The
    slowest call is in the next log line of a sweep or a run.
    """

    def send(self, method: str, url: str, **options: Any) -> Answer:
        began = time.monotonic()
        good = False
        try:
            answer = super().send(method, url, **options)
            good = answer.status < 400 or answer.status == 404
            return answer
        finally:
            _calls_ms.append((time.monotonic() - began) * 1000)
            if not good:
                metrics = EphemeralMetrics()
                metrics.add_metric("ApiErrors", MetricUnit.Count, 1)
                _emit(metrics)


def _emit(metrics: EphemeralMetrics) -> None:
    """Writes once: `print` writes twice, so that another thread could split the line."""
    if not metrics.metric_set:
        return
    sys.stdout.write(json.dumps(metrics.serialize_metric_set(), separators=(",", ":")) + "\n")
