"""What the commands print, whatever texts they are given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.events.wording import command_line
from export_jobs.model.records import JobRecord
from export_jobs_cli import doctor, job_list, job_show, output, requests
from export_jobs_cli.job_show import JobDetails, where_data_is
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.requests import Ending
from rich.console import Console
from support.command_line import terminal
from support.observed import observed

PRINTS_GREEK = """
import sys
from export_jobs_cli.main import main
sys.argv = ["export-jobs", "job", "list", "--outcome", "\\u03b1\\u03b2\\u03b3\\u03b4\\u03b5"]
main()
"""
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:aep-AbC123"
CREATED = 1_769_824_800_000


class SystemHere:
    """As much of a system as showing a job needs."""

    data_directory = "/data:fire:"
    command = staticmethod(command_line)


SYSTEM: Any = SystemHere()


def known(number: str = "1", sandbox: str = "prod", **fields: Any) -> KnownJob:
    job = Job.model_validate(
        {
            "id": number,
            "status": "SUCCEEDED",
            "creationTime": CREATED,
            "updateTime": CREATED,
            "destination": {"datasetId": "5b7c86968f7b6501e21ba9df", "batchId": "one"},
            **fields,
        }
    )
    return KnownJob(sandbox, job=job)


def test_texts_come_out_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an ARN's `:secret:` nor an error's brackets are taken for emoji or markup."""
    said = f"{ARN} is on :fire: [bold]"
    with requests.progress(quiet=False) as report:
        report(said)
    output.error(said)
    assert capsys.readouterr().err.count(said) == 2

    doctor.show(doctor.Finding("Adobe secret", "bad", said, said))
    found = known(errors=[{"code": "9", "msg": said}])
    job_list.show([found], sandboxes=1)
    data = where_data_is(found, SYSTEM)
    job_show.show(SYSTEM, JobDetails(found, None, data))
    requests.show_ending(
        SYSTEM, Ending(1, "key:fire:", "id", "create", rejected=True, outcome="REFUSED")
    )
    out = capsys.readouterr().out
    assert out.count(":secret:") == 4
    assert out.count(":fire:") >= 7
    assert "/data:fire:/exports/5b7c86968f7b6501e21ba9df/one" in out


def test_a_moving_line_leaves_texts_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a terminal, where progress is displayed differently."""
    terminal = Console(force_terminal=True, emoji=False, highlight=False, width=200, record=True)
    monkeypatch.setattr(output, "console", lambda **_: terminal)
    with requests.progress(quiet=False) as report:
        report(f"{ARN}\n\x1b[31m")
    assert f"{ARN} \N{REPLACEMENT CHARACTER}[31m" in terminal.export_text()


def test_a_wide_list_fits_the_terminal_and_keeps_all_but_the_dataset_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In 80 columns, everything but the end of the dataset's id can be read; an id is never cut."""
    monkeypatch.setattr(output, "console", terminal)
    metrics = {
        "totalExportedProfileCounter": 12_345_678,
        "totalTime": {"endTimeInMs": CREATED + (3 * 60 + 39) * 60_000},
    }
    wide = known("123456789", errors=[{"code": "1", "msg": "one"}], metrics=metrics)
    job_list.show([wide, known("2", "dev")], sandboxes=2)
    header, line, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["created", "UTC", "job", "sandbox"]
    assert len(line.rstrip()) <= 80
    for whole in (
        "01-31 02:00",
        "123456789",
        "prod",
        "SUCCEEDED_WITH_ERRORS",
        "3 h 39 min",
        "12,345,678",
        "5b7c8",
    ):
        assert whole in line, line
    job_list.show([known("a" * 60, metrics=metrics)], sandboxes=1)
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[2:5] == ["a" * 60, "SUCCEEDED", "3"]
    assert "12,345,678" in line


def test_what_a_console_can_t_show_is_replaced() -> None:
    """Field case 27: a correlation id in Greek, on a console that knows only Latin letters."""
    printed = subprocess.run(
        [sys.executable, "-c", PRINTS_GREEK],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        timeout=60,
    )
    assert printed.returncode == 2
    assert b"error: '?????' is not" in printed.stderr


def test_a_forced_colour_makes_a_pipe_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """CI services set it, and a file still gets whole lines, and a dead letter's body unchanged."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not output.console().is_terminal
    assert output.console().width > 1_000


def test_an_error_without_a_code_is_shown_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The service may write an error as plain text."""
    job_list.show([known(errors=["Job aborted."])], sandboxes=1)
    shown = capsys.readouterr().out
    assert "Job aborted." in shown
    assert "None" not in shown


@pytest.mark.parametrize("sandboxes", [1, 2])
def test_the_sandbox_is_shown_where_there_are_several(
    capsys: pytest.CaptureFixture[str], sandboxes: int
) -> None:
    """Even if all jobs listed happen to be in one: the reader can't know that."""
    job_list.show([known()], sandboxes=sandboxes)
    assert ("sandbox" in capsys.readouterr().out) is (sandboxes == 2)


@pytest.mark.parametrize(
    ("status", "has"),
    [("PROCESSING", True), ("SUCCEEDED", True), ("FAILED", False), ("CANCELLED", False)],
)
def test_data_are_shown_only_if_the_job_has_any(status: str, *, has: bool) -> None:
    """A job that ended without success has none."""
    found = where_data_is(known(status=status), SYSTEM)
    assert bool(found) is has


@pytest.mark.parametrize(
    ("outcome", "hint"),
    [
        ("CANCELLED", "export-jobs request show 'the key'"),
        ("REFUSED", "export-jobs dlq show 'the key'"),
    ],
)
def test_a_rejection_leads_to_the_dead_letter_only_where_there_is_one(
    capsys: pytest.CaptureFixture[str], outcome: str, hint: str
) -> None:
    """Following the hint always leads somewhere."""
    requests.show_ending(
        SYSTEM, Ending(1, "the key", "id", "create", rejected=True, outcome=outcome)
    )
    assert hint in capsys.readouterr().out


def test_only_one_place_makes_consoles() -> None:
    """One made elsewhere could show emoji and colours where they were not requested."""
    folder = Path(output.__file__).parent
    made = [path.name for path in folder.rglob("*.py") if "Console(" in path.read_text()]
    assert made == ["output.py"]


def test_a_job_whose_end_is_not_delivered_yet_has_its_errors() -> None:
    """A command that waits for the end may read the record before its event is delivered."""
    job = Job.model_validate({"id": 1, "status": "FAILED", "errors": ["Job aborted."]})
    record = observed(job, now=1)
    assert record
    assert KnownJob("prod", record).errors[0]["message"] == "Job aborted."


def test_a_segment_without_a_readable_id_is_shown_as_unknown() -> None:
    """From the job's record as from the service."""
    record = JobRecord(
        "prod",
        "1",
        0,
        final=True,
        end_detail={"final": True, "segments": [{"segmentId": None}, {}]},
    )
    assert KnownJob("prod", record).segment_ids == ["?", "?"]
