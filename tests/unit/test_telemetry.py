"""What CloudWatch is told: every value of a sweep, in lines that it can read."""

from __future__ import annotations

import json

import pytest
from export_jobs.model.records import STATE_CHANGE, Event
from export_jobs.monitor.sweep import SweepReport
from export_jobs.telemetry import report_sweep


@pytest.mark.parametrize("ended", [0, 1, 99, 100, 101, 350])
def test_a_sweep_with_any_number_of_ends_is_measured_whole(
    ended: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also with a hundred and more, where a metric's values fill a line; none is left out."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ExportJobs/test")
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "monitor")
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
