"""The README's commands, run as written, from a folder laid out like a clone.

A new command there has to be run here, or listed among those that can't be.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import PLAIN, running_local
from support.files import ROOT
from support.readme import README, shown_after

NOT_HERE = {
    "aws": "needs an AWS account",
    "sam": "needs an AWS account; tests/packaged builds what it would deploy",
    "make demo": "installs into the clone; then it is the demo, which tests/packaged runs and compares",
    "make test": "is what runs this",
}
LOCAL = ".venv/bin/export-jobs local --sweep-every 2"
AFTER_LOCAL = (
    ".venv/bin/export-jobs request create events/requests/one-segment.json --wait",
    ".venv/bin/export-jobs job list",
    ".venv/bin/export-jobs job show 1",
    ".venv/bin/export-jobs event list 1",
    ".venv/bin/export-jobs doctor",
)


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands() -> list[str]:
    """Every command of every block, with continued lines joined."""
    found: list[str] = []
    for block in blocks("sh"):
        open_quote = False
        for line in block.replace("\\\n", " ").splitlines():
            if open_quote:
                found[-1] += f"\n{line}"
            elif line.strip():
                found.append(line)
            open_quote = _ends_within_quotes(found[-1])
    return found


def _ends_within_quotes(command: str) -> bool:
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def reason_not_to_run(command: str) -> str | None:
    return next((why for start, why in NOT_HERE.items() if command.startswith(start)), None)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the files that the commands name, so that the real one is not changed."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "events").symlink_to(ROOT / "events")
    return tmp_path


def run(command: str, folder: Path, *, seconds: float = 120) -> str:
    """The output of a shell command, which has to succeed."""
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=PLAIN,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command_is_run_or_has_a_reason_not_to_be() -> None:
    """A new command in the README is run, or has a reason why it can't be."""
    tried = {LOCAL, *AFTER_LOCAL}
    for command in commands():
        assert command in tried or reason_not_to_run(command), command
    assert tried <= set(commands())
    for start in NOT_HERE:
        assert any(command.startswith(start) for command in commands()), start


@pytest.fixture
def local(clone: Path) -> Iterator[Path]:
    with running_local(clone, *shlex.split(LOCAL)[1:]):
        yield clone


def test_the_second_terminal_s_commands_print_what_the_readme_shows(local: Path) -> None:
    """Each command succeeds and prints exactly the rows that the README shows."""
    first, *others = AFTER_LOCAL
    output = run(first, local).splitlines()
    shown = shown_after(first)
    assert [_name(line) for line in output] == [_name(line) for line in shown]
    for line in shown:
        if _name(line) != "took":  # which depends on the machine
            assert line.split() in [one.split() for one in output]
    for command in others:
        printed = run(command, local)
        assert "prod" in printed or "nightly-newsletter" in printed


def _name(line: str) -> str:
    return line.split("  ", maxsplit=1)[0]
