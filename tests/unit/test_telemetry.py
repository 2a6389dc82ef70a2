"""What CloudWatch is told: every value of a sweep, in lines that it can read."""

from __future__ import annotations

import json

import pytest
from export_jobs.creator.policy import RunReport
from export_jobs.model.records import STATE_CHANGE, Event
from export_jobs.monitor.sweep import SweepReport
from export_jobs.telemetry import report_run, report_sweep


@pytest.fixture(autouse=True)
def function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ExportJobs/test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "monitor")


@pytest.mark.parametrize("ended", [0, 1, 99, 100, 101, 350])
def test_a_sweep_with_any_number_of_ends_is_measured_whole(
    ended: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with a hundred and more, where a metric's values fill a line; none is left out."""
    detail = {
        "eventId": "e",
        "final": True,
        "outcome": "FAILED",
        "durationMs": 5,
        "profilesExported": None,
    }
    report = SweepReport("prod", events=[Event(STATE_CHANGE, detail)] * ended)
    report_sweep(report)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    emitted = [line for line in lines if "_aws" in line]
    assert {line["sandbox"] for line in emitted} == {"prod"}
    assert [line["SweepSucceeded"] for line in emitted if "SweepSucceeded" in line] == [[1.0]]
    assert sum(len(line.get("JobDuration", [])) for line in emitted) == ended
    assert sum(sum(line.get("JobsFailed", [])) for line in emitted) == ended
    assert all(len(line.get("JobDuration", [])) <= 100 for line in emitted)


def test_a_run_says_what_became_of_its_messages(capsys: pytest.CaptureFixture[str]) -> None:
    """Failed messages are always counted, so that their alarm has data; ends are by outcome."""
    report = RunReport(handled={"a": "RECORDED", "b": "FAILED", "c": "DUPLICATE"}, duplicates=1)
    report.ends.update({"CREATED": 2, "OUTCOME_UNKNOWN": 1})
    report_run(report)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
    written = json.loads(line)
    assert {name: written[name] for name in written if name.startswith(("Requests", "Dup"))} == {
        "RequestsFailed": [1.0],
        "RequestsRecorded": [1.0],
        "RequestsDuplicate": [1.0],
        "RequestsCreated": [2.0],
        "RequestsOutcomeUnknown": [1.0],
        "DuplicateJobs": [1.0],
    }
    report_run(RunReport())
    assert '"RequestsFailed":[0.0]' in capsys.readouterr().out


def test_a_sweep_says_who_waits(capsys: pytest.CaptureFixture[str]) -> None:
    """How many, and for how many minutes the oldest has: also none, so that the alarm goes back."""
    report_sweep(SweepReport("prod", waiting=3, oldest_request_ms=90_000))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
    written = json.loads(line)
    assert (written["RequestsWaiting"], written["OldestRequestMinutes"]) == ([3.0], [1.5])
