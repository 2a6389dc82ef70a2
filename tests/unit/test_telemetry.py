"""What CloudWatch receives: every value of a sweep and of a run, in lines that it can read."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import Any, get_args

import pytest
from export_jobs.creator.report import Handled, RunReport
from export_jobs.model.outcome import JobOutcome
from export_jobs.model.records import Event, EventType, RequestOutcome
from export_jobs.monitor.progress import SweepReport
from export_jobs.telemetry import (
    METRIC_OF_JOBS,
    METRIC_OF_MESSAGES,
    METRIC_OF_REQUESTS,
    MeasuredTransport,
    logger,
    report_run,
    report_sweep,
)
from support.scripted import answer, scripted


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables by which the template sets where metrics go."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ExportJobs/test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "test")


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """Level, message and fields of each line that was logged."""
    lines: list[tuple[str, str, dict[str, Any]]] = []

    def keep(level: str) -> Any:
        return lambda message, **fields: lines.append(
            (level, message, json.loads(json.dumps(fields)))
        )

    for level in ("info", "error"):
        monkeypatch.setattr(logger, level, keep(level))
    return lines


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Each line in the embedded metric format."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "_aws" in line]


def metrics_in(line: dict[str, Any]) -> dict[str, float]:
    """The sum of each metric of a line, by its name."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    return {metric["Name"]: sum(line[metric["Name"]]) for metric in directive["Metrics"]}


def dimensions_of(line: dict[str, Any]) -> set[str]:
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    (dimensions,) = directive["Dimensions"]
    return set(dimensions)


def test_every_outcome_has_a_metric_of_its_own() -> None:
    """A job in progress has not ended; a rejected or cancelled message counts as a request."""
    assert METRIC_OF_JOBS.keys() == set(get_args(JobOutcome)) - {"IN_PROGRESS"}
    assert METRIC_OF_REQUESTS.keys() == set(get_args(RequestOutcome))
    assert METRIC_OF_MESSAGES.keys() < set(get_args(Handled))
    names = [*METRIC_OF_JOBS.values(), *METRIC_OF_REQUESTS.values(), *METRIC_OF_MESSAGES.values()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("ended", [0, 1, 99, 100, 101, 350])
def test_a_sweep_with_any_number_of_ends_is_measured_whole(
    ended: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even with a hundred or more, where a metric's values fill a line; none is left out."""
    detail = {
        "eventId": "e",
        "final": True,
        "outcome": "FAILED",
        "durationMs": 5,
        "profilesExported": None,
    }
    report = SweepReport("prod", events=[Event(EventType.JOB_STATE_CHANGE, detail)] * ended)
    report_sweep(report)
    lines = emitted(capsys)
    assert {line["sandbox"] for line in lines} == {"prod"}
    assert [line["SweepAge"] for line in lines if "SweepAge" in line] == [[0.0]]
    assert sum(len(line.get("JobDuration", [])) for line in lines) == ended
    assert sum(sum(line.get("JobsFailed", [])) for line in lines) == ended
    assert all(len(line.get("JobDuration", [])) <= 100 for line in lines)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, {}),
        ({"open_jobs": 7}, {"OpenJobs": 7}),
        ({"problems": ["x"], "failing_ms": 90_000}, {"SweepAge": 90_000}),
        ({"problems": ["the first"], "failing_ms": 0}, {"SweepAge": 1}),
        ({"failing_ms": 90_000}, {}),
        ({"oldest_undelivered_ms": 5}, {"OldestUndelivered": 5}),
        (
            {"waiting": 40, "oldest_request_ms": 90_000},
            {"RequestsWaiting": 40, "OldestRequestMinutes": 1.5},
        ),
        ({"duplicates": 2}, {"DuplicateJobs": 2}),
        ({"unreadable": 3}, {"UnreadableJobs": 3}),
        ({"overdue": 2}, {"OverdueExports": 2}),
    ],
)
def test_a_sweep_reports_the_state_of_its_sandbox(
    capsys: pytest.CaptureFixture[str], fields: dict[str, Any], told: dict[str, float]
) -> None:
    """By sandbox: its age every time, which only a good sweep reports as 0; else no zeros."""
    report_sweep(SweepReport("prod", **fields))
    (line,) = emitted(capsys)
    assert metrics_in(line) == {"SweepAge": 0, **told}
    assert dimensions_of(line) == {"sandbox", "service"}


def test_unusual_exports_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Only jobs that have ended, each once; an event of an older version has none."""
    ended = {"eventId": "e", "final": True, "outcome": "SUCCEEDED", "durationMs": 5}
    ended["profilesExported"] = 7
    details = [
        {**ended, "anomalies": ["VOLUME_DROP"]},
        {**ended, "anomalies": ["VOLUME_DROP", "SLOW"]},
        {**ended, "anomalies": []},
        ended,
        {**ended, "final": False, "anomalies": ["SLOW"]},
    ]
    events = [Event(EventType.JOB_STATE_CHANGE, detail) for detail in details]
    report_sweep(SweepReport("prod", events=events))
    found = [
        metrics_in(line)["UnusualExports"] for line in emitted(capsys) if "UnusualExports" in line
    ]
    assert found == [2]


def test_a_sweep_s_line_shows_its_results(logged: list[Any]) -> None:
    """As an error if there were problems, of which it has only the first."""
    report_sweep(SweepReport("prod", waiting=3, duplicates=1, changes=2))
    problems = [f"problem {number}" for number in range(30)]
    report_sweep(SweepReport("prod", problems=problems))
    (level, message, fields), (with_error, _, with_problems) = logged
    assert (level, message, with_error) == ("info", "swept", "error")
    assert (fields["sandbox"], fields["waiting"], fields["duplicates"]) == ("prod", 3, 1)
    assert with_problems["problems"] == problems[:20]


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (RunReport(), {}),
        (RunReport(handled={"m": "WAKE_UP", "n": "DROPPED"}), {}),
        (
            RunReport(
                handled={"a": "RECORDED", "b": "RECORDED", "c": "DUPLICATE", "d": "REJECTED"},
                ends=Counter({"CREATED": 2, "INVALID": 1}),
            ),
            {
                "RequestsRecorded": 2,
                "RequestsDuplicate": 1,
                "RequestsCreated": 2,
                "RequestsInvalid": 1,
            },
        ),
        (
            RunReport(ends=Counter({"ALREADY_FINAL": 1, "OUTCOME_UNKNOWN": 3})),
            {"RequestsAlreadyFinal": 1, "RequestsOutcomeUnknown": 3},
        ),
        (RunReport(handled={"a": "FAILED", "b": "FAILED"}), {"RequestsFailed": 2}),
        (RunReport(duplicates=1), {"DuplicateJobs": 1}),
    ],
)
def test_a_run_reports_the_outcomes_of_requests(
    capsys: pytest.CaptureFixture[str], report: RunReport, told: dict[str, float]
) -> None:
    """For all sandboxes together, without zeros; nothing at all, if there is nothing to count."""
    report_run(report)
    lines = emitted(capsys)
    assert [metrics_in(line) for line in lines] == ([told] if told else [])
    assert all(dimensions_of(line) == {"service"} for line in lines)


def test_events_of_a_newer_version_are_no_reason_to_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They are in the outbox of a job: an outcome that is not known here, and fields that are gone."""
    details: list[dict[str, Any]] = [
        {"final": True, "outcome": "HALF_DONE"},
        {"final": True, "outcome": "SUCCEEDED", "durationMs": 7},
        {"status": "SUCCEEDED"},
    ]
    for some in (details, details[:1]):
        events = [Event(EventType.JOB_STATE_CHANGE, detail) for detail in some]
        report_sweep(SweepReport("prod", events=events))
    first, ended, only = (metrics_in(line) for line in emitted(capsys))
    assert first == only == {"SweepAge": 0}
    assert ended == {"JobsSucceeded": 1, "JobDuration": 7}


def test_a_run_s_line_shows_the_result_of_each_message(logged: list[Any]) -> None:
    """One by one and in total; as an error if there were problems."""
    handled: Any = {"a": "RECORDED", "b": "RECORDED", "c": "WAKE_UP"}
    report_run(RunReport(handled=handled, ends=Counter({"CREATED": 2})))
    problems = [f"problem {number}" for number in range(30)]
    report_run(RunReport(handled={"a": "FAILED"}, problems=problems))
    (level, message, fields), (with_error, _, with_problems) = logged
    assert (level, message, with_error) == ("info", "processed", "error")
    assert fields["messages"] == handled
    assert fields["handled"] == {"RECORDED": 2, "WAKE_UP": 1}
    assert fields["ends"] == {"CREATED": 2}
    assert with_problems["problems"] == problems[:20]


@pytest.mark.parametrize(("path", "failed"), [("/good", 0), ("/missing", 0), ("/bad", 1)])
def test_a_call_that_fails_is_counted(
    capsys: pytest.CaptureFixture[str], path: str, failed: int
) -> None:
    """One that succeeds is not, nor a 404, which is an answer like any other."""
    statuses = {"/good": 200, "/missing": 404, "/bad": 500}
    with scripted(answer(statuses[path], {})) as server:
        MeasuredTransport(tries=1).send("GET", f"{server.url}{path}")
    assert [metrics_in(line) for line in emitted(capsys)] == [{"ApiErrors": 1}] * failed


def test_a_line_shows_the_slowest_call_since_the_last(logged: list[Any]) -> None:
    """Each line starts again: a sweep without a call shows none."""
    with scripted(slowly, answer(body={})) as server:
        transport = MeasuredTransport(tries=1)
        report_sweep(SweepReport("prod"))
        for _ in range(2):
            transport.send("GET", server.url)
    report_run(RunReport())
    report_sweep(SweepReport("prod"))
    _, with_calls, without = (fields["apiMs"] for _, _, fields in logged)
    assert 200 <= with_calls < 2_000
    assert without == 0


def slowly(connection: socket.socket) -> None:
    time.sleep(0.2)
    connection.sendall(answer(body={}, headers={"Connection": "close"}))


def test_neither_function_loads_what_is_the_other_s() -> None:
    """Both report through one module; a cold start pays for no more than it uses."""
    modules = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, export_jobs.telemetry; print(*sys.modules, sep='\\n')",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    loaded = {name for name in modules if name.startswith("export_jobs.")}
    assert "export_jobs.telemetry" in loaded
    assert not [n for n in loaded if n.startswith(("export_jobs.creator", "export_jobs.monitor"))]
