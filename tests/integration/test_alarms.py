"""Alarms and dashboard watch existing metrics of this stack, and alarms fire when they should."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from export_jobs.model.records import Event, EventType
from export_jobs.monitor.progress import SweepReport
from export_jobs.telemetry import METRIC_OF_JOBS, report_sweep
from support.broad_run import BroadRun, Emitted, broad_run, emitted_metrics
from support.cloudformation import NEEDED, STACK, Rendered, render

pytestmark = pytest.mark.xdist_group("broad-run")

OURS = f"ExportJobs/{STACK}"
AWS_S = {
    ("AWS/Lambda", "FunctionName"): {"Errors", "Throttles", "Duration"},
    ("AWS/SQS", "QueueName"): {
        "ApproximateNumberOfMessagesVisible",
        "ApproximateAgeOfOldestMessage",
    },
}
"""Metrics by namespace and by their dimension."""
OF_RESOURCES = {
    "MonitorErrorsAlarm": "MonitorFunction",
    "MonitorThrottledAlarm": "MonitorFunction",
    "CreatorErrorsAlarm": "CreatorFunction",
    "CreatorThrottledAlarm": "CreatorFunction",
    "DeadLettersAlarm": "RequestDeadLetterQueue.QueueName",
    "QueueOldAlarm": "RequestQueue.QueueName",
}
"""Which alarm watches a metric of AWS's own, and of which resource."""
MINUTE = 60_000
SUMMED = {
    "DuplicateJobs",
    "Errors",
    "RequestsFailed",
    "Throttles",
    "UnreadableJobs",
}
LEAST = {"SweepsStoppedAlarm": "Minimum"}
"""Alarms that one good value prevents: one sandbox that is swept."""
NEVER_OVER = {"DuplicateJobsAlarm"}
"""Alarms about something that has happened: a message that all is well again would be wrong."""
Watched = tuple[str, str, dict[str, str] | None]
"""Namespace, metric and dimensions, or just their names if an alarm watches all values; None if it
watches all metrics of that name, whatever their dimensions.
"""


@pytest.fixture(scope="module")
def run() -> BroadRun:
    return broad_run()


@pytest.fixture(scope="module")
def stack() -> Rendered:
    return render(NEEDED)


@pytest.fixture(scope="module")
def alarms(stack: Rendered) -> dict[str, dict[str, Any]]:
    return stack.of("AWS::CloudWatch::Alarm")


@pytest.fixture
def emitted(
    run: BroadRun, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Emitted:
    """What both functions emit in a broad run, and a sweep with every outcome and problem."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "monitor")
    unusual = {"final": True, "anomalies": ["SLOW"]}
    ended = [
        Event(
            EventType.JOB_STATE_CHANGE,
            {**unusual, "outcome": outcome, "durationMs": 1, "profilesExported": 1},
        )
        for outcome in METRIC_OF_JOBS
    ]
    wrong = {"unreadable": 1, "overdue": 1, "duplicates": 1, "oldest_undelivered_ms": 1}
    report_sweep(SweepReport("prod", **wrong, events=ended))
    swept, _ = emitted_metrics(capfd.readouterr().out.splitlines())
    return run.emitted | swept


def test_alarms_watch_what_is_emitted(
    stack: Rendered,
    alarms: dict[str, dict[str, Any]],
    emitted: Emitted,
) -> None:
    """Each metric is ours, with exactly these dimensions, or AWS's for one of our resources."""
    for name, alarm in alarms.items():
        watched = list(of_alarm(alarm))
        assert watched
        assert missing(watched, emitted, stack) == [], name


def test_the_dashboard_shows_what_is_emitted(stack: Rendered, emitted: Emitted) -> None:
    """Each metric is ours, with exactly these dimensions, or AWS's for one of our resources."""
    body = json.loads(stack.resources["StackDashboard"]["Properties"]["DashboardBody"])
    for widget in body["widgets"]:
        watched = list(of_widget(widget["properties"]["metrics"]))
        assert watched
        assert missing(watched, emitted, stack) == [], widget["properties"]["title"]


def test_alarms_of_aws_s_metrics_watch_the_right_resource(
    alarms: dict[str, dict[str, Any]],
) -> None:
    """An alarm on the wrong queue would be useless."""
    of_resources = {
        name: value
        for name, alarm in alarms.items()
        for namespace, _, dimensions in of_alarm(alarm)
        if namespace != OURS and dimensions
        for value in dimensions.values()
    }
    assert of_resources == OF_RESOURCES


def test_every_outcome_of_a_job_is_on_the_dashboard(stack: Rendered) -> None:
    """A new outcome must not go unseen."""
    text = stack.resources["StackDashboard"]["Properties"]["DashboardBody"]
    for metric in METRIC_OF_JOBS.values():
        assert f'MetricName=\\"{metric}\\"' in text


def test_metrics_are_in_the_stack_s_own_namespace(run: BroadRun) -> None:
    """Two stacks in one account must not trip each other's alarms."""
    assert run.namespaces == {run.outputs["MetricsNamespace"]} == {"ExportJobs/export-jobs-local"}


NO_DATA = None
RINGS: dict[str, list[list[float | None]]] = {
    "SweepsStoppedAlarm": [[1] * 15, [NO_DATA] * 15, [1, NO_DATA, 90_000] * 5],
    "SandboxStaleAlarm": [[15 * MINUTE + 1]],
    "UndeliveredEventsAlarm": [[10 * MINUTE + 1]],
    "DuplicateJobsAlarm": [[1]],
    "OverdueExportsAlarm": [[1]],
    "UnreadableJobsAlarm": [[1, 1, 1]],
    "MonitorErrorsAlarm": [[1, 1, 1]],
    "CreatorErrorsAlarm": [[1, 1, 1]],
    "RequestsFailingAlarm": [[1, 1, 0], [1, NO_DATA, 1]],
    "DeadLettersAlarm": [[1]],
    "RequestOldAlarm": [[361]],
    "QueueOldAlarm": [[3601]],
    "MonitorThrottledAlarm": [[1, 1, 1]],
    "CreatorThrottledAlarm": [[1, 1, 1]],
}
"""Values of the last periods, the newest last, at which an alarm has to fire."""
QUIET: dict[str, list[list[float | None]]] = {
    "SweepsStoppedAlarm": [[1] * 14 + [0], [0] + [NO_DATA] * 14],
    "SandboxStaleAlarm": [[15 * MINUTE], [NO_DATA]],
    "UndeliveredEventsAlarm": [[10 * MINUTE], [NO_DATA]],
    "DuplicateJobsAlarm": [[0], [NO_DATA]],
    "OverdueExportsAlarm": [[0], [NO_DATA]],
    "UnreadableJobsAlarm": [[1, 1, 0], [NO_DATA] * 3],
    "MonitorErrorsAlarm": [[1, 0, 1], [NO_DATA] * 3],
    "CreatorErrorsAlarm": [[1, 0, 1], [NO_DATA] * 3],
    "RequestsFailingAlarm": [[1, 0, 0], [NO_DATA] * 3],
    "DeadLettersAlarm": [[0], [NO_DATA]],
    "RequestOldAlarm": [[360], [NO_DATA]],
    "QueueOldAlarm": [[3600], [NO_DATA]],
    "MonitorThrottledAlarm": [[1, 0, 1], [1, 1, NO_DATA]],
    "CreatorThrottledAlarm": [[1, 0, 1], [1, 1, NO_DATA]],
}


def test_every_alarm_rings_when_it_should_and_only_then(
    alarms: dict[str, dict[str, Any]],
) -> None:
    """By its threshold, number of periods and treatment of missing data; default parameters."""
    assert RINGS.keys() == QUIET.keys() == alarms.keys()
    for name, alarm in alarms.items():
        assert [rings(alarm, values) for values in RINGS[name]] == [True] * len(RINGS[name]), name
        assert [rings(alarm, values) for values in QUIET[name]] == [False] * len(QUIET[name]), name


def test_alarms_are_ones_that_cloudwatch_takes(alarms: dict[str, dict[str, Any]]) -> None:
    """Counts are summed, ages are not; periods are 1 or 5 minutes, three hours at most in all.

    The last is the limit of a Metrics Insights query in an alarm
    (docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html).
    """
    for name, alarm in alarms.items():
        period, statistic = watched_by(alarm)
        assert period in {60, 300}, name
        assert period * int(alarm["EvaluationPeriods"]) <= 3 * 3600, name
        metrics = {metric for _, metric, _ in of_alarm(alarm)}
        expected = "Sum" if metrics <= SUMMED else "Maximum"
        assert statistic == LEAST.get(name, expected), name
        assert alarm["AlarmActions"] == ["AlarmTopic"], name
        assert alarm.get("OKActions", []) == ([] if name in NEVER_OVER else ["AlarmTopic"]), name


def rings(alarm: dict[str, Any], values: list[float | None]) -> bool:
    """Whether an alarm fires for these values of its periods, newest last; None is missing."""
    periods = int(alarm["EvaluationPeriods"])
    assert len(values) == periods
    threshold = float(alarm["Threshold"])
    compare = {
        "GreaterThanThreshold": threshold.__lt__,
        "GreaterThanOrEqualToThreshold": threshold.__le__,
        "LessThanThreshold": threshold.__gt__,
    }[alarm["ComparisonOperator"]]
    breaching_if_missing = alarm["TreatMissingData"] == "breaching"
    breaching = [breaching_if_missing if v is None else compare(v) for v in values]
    return sum(breaching) >= int(alarm.get("DatapointsToAlarm", periods))


def watched_by(alarm: dict[str, Any]) -> tuple[int, str]:
    """Period in seconds, and statistic."""
    if "MetricName" in alarm:
        return alarm["Period"], alarm["Statistic"]
    (query,) = (
        metric.get("MetricStat", metric)
        for metric in alarm["Metrics"]
        if "MetricStat" in metric or "SELECT" in metric["Expression"]
    )
    words = {"SUM": "Sum", "MAX": "Maximum", "MIN": "Minimum"}
    return query["Period"], query.get("Stat") or words[query["Expression"].split("(")[0][7:]]


def missing(watched: list[Watched], emitted: Emitted, stack: Rendered) -> list[Watched]:
    functions = set(stack.of("AWS::Lambda::Function"))
    queues = {f"{name}.QueueName" for name in stack.of("AWS::SQS::Queue")}
    return [
        (namespace, metric, dimensions)
        for namespace, metric, dimensions in watched
        if not (
            is_emitted(metric, dimensions, emitted)
            if namespace == OURS
            else dimensions is not None
            and len(dimensions) == 1
            and metric in AWS_S.get((namespace, *dimensions), ())
            and set(dimensions.values()) <= functions | queues
        )
    ]


def is_emitted(metric: str, dimensions: dict[str, str] | None, emitted: Emitted) -> bool:
    if dimensions is None:
        return any(name == metric for name, _ in emitted)
    wanted = dimensions.items() if all(dimensions.values()) else dimensions
    return (metric, frozenset(wanted)) in emitted


def of_alarm(properties: dict[str, Any]) -> Iterator[Watched]:
    for query in [properties, *properties.get("Metrics", [])]:
        metric = query.get("MetricStat", {}).get("Metric", query)
        if "MetricName" in metric:
            dimensions = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
            yield metric["Namespace"], metric["MetricName"], dimensions
        expression = query.get("Expression", "")
        if "SELECT" in expression:
            whole = re.fullmatch(r'SELECT \w+\((\w+)\) FROM "([^"]+)"', expression)
            if whole:
                yield whole[2], whole[1], None
                continue
            found = re.fullmatch(r'SELECT \w+\((\w+)\) FROM SCHEMA\("(.+)", (.+)\)', expression)
            assert found, expression
            yield found[2], found[1], dict.fromkeys(found[3].split(", "), "")


def of_widget(metrics: list[list[Any]]) -> Iterator[Watched]:
    for metric in metrics:
        if isinstance(metric[0], dict):
            found = re.fullmatch(
                r"SEARCH\('\{\"(.+)\",([a-z,]+)\} MetricName=\"(\w+)\"', '\w+'\)",
                metric[0]["expression"],
            )
            assert found, metric
            yield found[1], found[3], dict.fromkeys(found[2].split(","), "")
        else:
            names = [part for part in metric[2:] if isinstance(part, str)]
            yield metric[0], metric[1], dict(zip(names[::2], names[1::2], strict=True))
