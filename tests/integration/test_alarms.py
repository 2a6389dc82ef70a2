"""Alarms and dashboard watch metrics that the code really emits: a misspelt one would never alarm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from export_jobs.core.events import Outcome
from export_jobs.core.records import STATE_CHANGE, Event
from export_jobs.core.sweep import SweepReport
from export_jobs.telemetry import report_sweep
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE
from support.broad_run import BroadRun, broad_run, emitted_metrics

pytestmark = pytest.mark.xdist_group("broad-run")

OURS = "ExportJobs/${AWS::StackName}"
AWS_S = {
    "AWS/Lambda": {"Errors", "Throttles", "Duration"},
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
}
Watched = tuple[str, str, frozenset[str]]
"""Namespace, metric and names of the dimensions."""


@pytest.fixture(scope="module")
def run() -> BroadRun:
    return broad_run()


@pytest.fixture(scope="module")
def resources() -> dict[str, Any]:
    found: dict[str, Any] = read_template(TEMPLATE)["Resources"]
    return found


@pytest.fixture
def emitted(
    run: BroadRun, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> frozenset[tuple[str, frozenset[str]]]:
    """What both functions emitted in a broad run, and what a sweep with every outcome emits."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "monitor")
    ended = [
        Event(
            STATE_CHANGE,
            {"final": True, "outcome": outcome, "durationMs": 1, "profilesExported": 1},
        )
        for outcome in get_args(Outcome)
        if outcome != "IN_PROGRESS"
    ]
    report_sweep(SweepReport("prod", unreadable=1, events=ended))
    swept, _ = emitted_metrics(capfd.readouterr().out.splitlines())
    return run.emitted | swept


def test_alarms_watch_what_is_emitted(
    resources: dict[str, Any], emitted: frozenset[tuple[str, frozenset[str]]]
) -> None:
    """Each metric of an alarm is emitted by our code with just these dimensions, or is AWS's own."""
    alarms = {name: r for name, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    for name, alarm in alarms.items():
        watched = list(of_alarm(alarm["Properties"]))
        assert watched
        assert missing(watched, emitted) == [], name


def test_the_dashboard_shows_what_is_emitted(
    resources: dict[str, Any], emitted: frozenset[tuple[str, frozenset[str]]]
) -> None:
    """Each metric of the dashboard is emitted by our code with just these dimensions, or is AWS's own."""
    body = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    for widget in body["widgets"]:
        watched = list(of_widget(widget["properties"]["metrics"]))
        assert watched
        assert missing(watched, emitted) == [], widget["properties"]["title"]


def test_every_outcome_of_a_job_is_on_the_dashboard(resources: dict[str, Any]) -> None:
    """A new outcome must not go unseen."""
    text = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for outcome in get_args(Outcome):
        if outcome != "IN_PROGRESS":
            assert f'MetricName=\\"Jobs{outcome.title().replace("_", "")}\\"' in text


def test_metrics_are_in_the_stack_s_own_namespace(run: BroadRun) -> None:
    """Two stacks in one account must not trip each other's alarms."""
    assert run.namespaces == {run.outputs["MetricsNamespace"]} == {"ExportJobs/export-jobs"}


def missing(
    watched: list[Watched], emitted: frozenset[tuple[str, frozenset[str]]]
) -> list[Watched]:
    return [
        (namespace, metric, dimensions)
        for namespace, metric, dimensions in watched
        if not (
            (metric, dimensions) in emitted
            if namespace == OURS
            else metric in AWS_S.get(namespace, ())
        )
    ]


def of_alarm(properties: dict[str, Any]) -> Iterator[Watched]:
    for query in [properties, *properties.get("Metrics", [])]:
        metric = query.get("MetricStat", {}).get("Metric", query)
        if "MetricName" in metric:
            names = frozenset(dimension["Name"] for dimension in metric["Dimensions"])
            yield _plain(metric["Namespace"]), metric["MetricName"], names
        expression = _plain(query.get("Expression", ""))
        if "SELECT" in expression:
            found = re.fullmatch(r'SELECT \w+\((\w+)\) FROM SCHEMA\("(.+)", (.+)\)', expression)
            assert found, expression
            yield found[2], found[1], frozenset(found[3].split(", "))


def of_widget(metrics: list[list[Any]]) -> Iterator[Watched]:
    for metric in metrics:
        if isinstance(metric[0], dict):
            found = re.fullmatch(
                r"SEARCH\('\{\"(.+)\",([a-z,]+)\} MetricName=\"(\w+)\"', '\w+'\)",
                metric[0]["expression"],
            )
            assert found, metric
            yield found[1], found[3], frozenset(found[2].split(","))
        else:
            names = [part for part in metric[2:] if isinstance(part, str)][::2]
            yield metric[0], metric[1], frozenset(names)


def _plain(value: Any) -> str:
    return str(value.get("Fn::Sub", value)) if isinstance(value, dict) else str(value)
