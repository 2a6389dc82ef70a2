"""What `export-jobs local` prints works in the folder in which it is printed."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from export_jobs_cli.local import sam, serve
from export_jobs_local.project import REQUESTS
from support.command_line import typed
from support.files import ROOT

SYSTEM: Any = SimpleNamespace(
    aws=SimpleNamespace(url="http://127.0.0.1:5000", environment={}),
    stack=SimpleNamespace(name="s", outputs={"RequestQueueUrl": "url"}, functions=list),
    config=SimpleNamespace(logs="logs"),
    description=lambda: {"apiUrl": "a", "controlUrl": "c"},
)


def example_shown() -> str:
    """The file that is sent by the command in the text."""
    text = serve._how_to_connect(SYSTEM).replace("\\\n", " ")
    return shlex.split(text.splitlines()[-1])[-1].removeprefix("file://")


def test_the_example_that_is_sent_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a checkout, in any other folder, and in one whose name has a blank."""
    monkeypatch.chdir(ROOT)
    assert example_shown() == "events/requests/one-segment.json"
    monkeypatch.chdir(tmp_path)
    assert Path(example_shown()).read_text() == (REQUESTS / "one-segment.json").read_text()
    monkeypatch.setattr(serve, "REQUESTS", tmp_path / "the project's requests")
    monkeypatch.chdir(ROOT)
    assert example_shown() == str(tmp_path / "the project's requests" / "one-segment.json")


def test_sam_is_run_in_the_folder_that_has_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commands change to it first, unless it is the current one."""
    project = tmp_path / "my project"
    (project / "events").mkdir(parents=True)
    monkeypatch.setattr(sam, "ROOT", project)
    monkeypatch.setattr(sam, "SAM_TEMPLATE", project / "template.local.yaml")
    monkeypatch.setattr(sam, "SAM_VARIABLES", project / "events" / "env.json")
    monkeypatch.chdir(tmp_path)
    first, *others = commands_of(sam.write_sam_files(SYSTEM))
    assert first == ["cd", str(project)]
    monkeypatch.chdir(project)
    assert commands_of(sam.write_sam_files(SYSTEM)) == others
    template, event = others[0][3], others[1][5]
    assert (project / template).is_file()
    assert (ROOT / event).is_file()


def commands_of(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in text.splitlines() if line.startswith("  ")]


def test_sam_needs_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel lacks files that it needs; nothing is started or written."""
    monkeypatch.setattr(sam, "IS_CHECKOUT", False)
    monkeypatch.setattr(serve, "LocalSystem", None)
    done = typed(["local", "--sam", "--data", "data"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --sam needs a checkout of the project: ")
    assert list(tmp_path.iterdir()) == []
