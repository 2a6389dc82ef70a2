"""What the commands print, whatever the texts are that they are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs_local.cli import doctor, jobs, output, requests
from export_jobs_local.cli.jobs import Life, Listed
from export_jobs_local.cli.requests import Ending
from rich.console import Console

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:aep-1"
CREATED = 1_769_824_800_000


class SystemHere:
    """As much of a system as showing a job needs."""

    data_directory = "/data:fire:"


def job(number: str = "1", **fields: Any) -> Job:
    return Job.model_validate(
        {
            "id": number,
            "status": "SUCCEEDED",
            "creationTime": CREATED,
            "updateTime": CREATED,
            "destination": {"datasetId": "5b7c86968f7b6501e21ba9df", "batchId": "one"},
            **fields,
        }
    )


def test_texts_come_out_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither an ARN's `:secret:` nor an error's words or brackets are taken for signs or markup."""
    said = f"{ARN} is on :fire: [bold]"
    with requests.progress(quiet=False) as told:
        told(said)
    output.error(said)
    assert capsys.readouterr().err.count(said) == 2

    doctor.show(doctor.Finding("Adobe secret", "bad", said, said))
    found = job(errors=[{"code": "9", "msg": said}])
    jobs.show_list([Listed("prod", found)], watched=1)
    jobs.show(Life(Listed("prod", found), None, None), SystemHere())  # type: ignore[arg-type]
    requests.show_ending(Ending(1, "key:fire:", "id", "create", rejected=True, outcome="REFUSED"))
    out = capsys.readouterr().out
    assert out.count(":secret:") == 4
    assert out.count(":fire:") >= 7
    assert "/data:fire:/exports/5b7c86968f7b6501e21ba9df/one" in out


def test_a_moving_line_leaves_texts_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, too, where progress is another display."""
    terminal = Console(force_terminal=True, emoji=False, highlight=False, width=200, record=True)
    monkeypatch.setattr(output, "console", lambda **_: terminal)
    with requests.progress(quiet=False) as told:
        told(ARN)
    assert ARN in terminal.export_text()


def test_a_wide_list_keeps_all_but_the_dataset_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Where 80 columns are few, all but the dataset can still be read, and how that begins.

    A line that is too long all the same is not cut.
    """
    wide = job(
        "123456789",
        errors=[{"code": "1", "msg": "one"}],
        metrics={
            "totalExportedProfileCounter": 12_345_678,
            "totalTime": {"endTimeInMs": CREATED + (3 * 60 + 39) * 60_000},
        },
    )
    jobs.show_list([Listed("prod", wide), Listed("dev", job("2"))], watched=2)
    header, line, *_ = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["created", "UTC", "job", "sandbox"]
    assert len(line) <= 80
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
    jobs.show_list([Listed("prod", job("a" * 60, metrics=wide.metrics))], watched=1)
    line = capsys.readouterr().out.splitlines()[1]
    assert line.split()[2:5] == ["a" * 60, "SUCCEEDED", "3"]
    assert "12,345,678" in line


def test_an_error_without_a_code_is_shown_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The service may write an error as a bare text."""
    jobs.show_list([Listed("prod", job(errors=["Job aborted."]))], watched=1)
    shown = capsys.readouterr().out
    assert "Job aborted." in shown
    assert "None" not in shown


@pytest.mark.parametrize("watched", [1, 2])
def test_the_sandbox_is_shown_where_there_are_several(
    capsys: pytest.CaptureFixture[str], watched: int
) -> None:
    """Also when all jobs listed happen to be in one: the reader can't know that."""
    jobs.show_list([Listed("prod", job())], watched=watched)
    assert ("sandbox" in capsys.readouterr().out) is (watched == 2)


@pytest.mark.parametrize(
    ("status", "has"),
    [("PROCESSING", True), ("SUCCEEDED", True), ("FAILED", False), ("CANCELLED", False)],
)
def test_data_are_said_to_be_where_there_are_any(status: str, *, has: bool) -> None:
    """Of a job that has ended without success nothing was kept."""
    found = jobs.where_data_is(job(status=status), SystemHere())  # type: ignore[arg-type]
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
    """Whoever follows the hint finds something."""
    requests.show_ending(Ending(1, "the key", "id", "create", rejected=True, outcome=outcome))
    assert hint in capsys.readouterr().out


def test_only_one_place_makes_consoles() -> None:
    """One made elsewhere would show emoji and colours where they were not asked for."""
    folder = Path(output.__file__).parent
    made = [path.name for path in folder.glob("*.py") if "Console(" in path.read_text()]
    assert made == ["output.py"]
