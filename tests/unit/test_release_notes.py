"""Release notes: what is taken from CHANGELOG.md for a tag, and which tags are refused."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.files import ROOT

SCRIPT = ROOT / ".github" / "release_notes.py"
CHANGELOG = """\
# Changelog

## Unreleased

- Not for this release.

## 1.2.0, 2026-11-30

The second version.

- One change, told
  in two lines.
  - A detail of it.
- Another change.

## 1.1.0, 2026-10-01

- An older change.
"""
NOTES = """\
The second version.

- One change, told in two lines.
  - A detail of it.
- Another change.
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of version 1.2.0, whose changelog has a dated section for it."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "some"\nversion = "1.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text(CHANGELOG)
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=project, capture_output=True, text=True
    )


def refusal(project: Path, *arguments: str) -> str:
    """The one line with which it fails."""
    ran = run(project, *arguments)
    assert (ran.returncode, ran.stdout) == (1, "")
    (line,) = ran.stderr.splitlines()
    return line


def test_the_notes_are_the_tags_own_section(project: Path) -> None:
    """Nothing of the sections above and below it, and each item on one line."""
    ran = run(project, "v1.2.0")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, NOTES, "")


def test_the_last_section_ends_with_the_file(project: Path) -> None:
    """The first release of a project has no older section below its own."""
    (project / "CHANGELOG.md").write_text(CHANGELOG.partition("## 1.1.0")[0])
    assert run(project, "v1.2.0").stdout == NOTES


@pytest.mark.parametrize("tag", ["v1.2.1", "v1.1.0", "v1.2", "1.2.0", "vv1.2.0", "v1.2.0-rc1", ""])
def test_a_tag_that_is_not_the_version_is_refused(project: Path, tag: str) -> None:
    """Even where the changelog has a dated section for it; the line names both."""
    line = refusal(project, tag)
    assert f"the tag is {tag}," in line
    assert "version 1.2.0" in line


@pytest.mark.parametrize(
    "heading",
    [
        "## 1.2.0, unreleased",
        "## 1.2.0, Unreleased",
        "## 1.2.0",
        "## 1.2.0,",
        "## 1.2.0, 2026-11",
        "## 1.2.0, 20261130",
        "## 1.2.0, 2026-11-31",
        "## 1.2.0, 30 November 2026",
    ],
)
def test_a_section_without_a_date_is_refused(project: Path, heading: str) -> None:
    """The line shows how the heading has to be written."""
    (project / "CHANGELOG.md").write_text(CHANGELOG.replace("## 1.2.0, 2026-11-30", heading))
    line = refusal(project, "v1.2.0")
    assert "no date for 1.2.0" in line
    assert "## 1.2.0, YYYY-MM-DD" in line


@pytest.mark.parametrize(
    "heading", ["## Unreleased", "## 1.2.01, 2026-11-30", "# 1.2.0, 2026-11-30"]
)
def test_a_version_without_a_section_is_refused(project: Path, heading: str) -> None:
    """A heading that only resembles the version's is not its heading."""
    (project / "CHANGELOG.md").write_text(CHANGELOG.replace("## 1.2.0, 2026-11-30", heading))
    assert "no section for 1.2.0" in refusal(project, "v1.2.0")


def test_a_section_without_text_is_refused(project: Path) -> None:
    """A release needs notes."""
    (project / "CHANGELOG.md").write_text("## 1.2.0, 2026-11-30\n\n## 1.1.0, 2026-10-01\n\n- A.\n")
    assert "says nothing about 1.2.0" in refusal(project, "v1.2.0")


def test_a_project_without_a_version_is_refused(project: Path) -> None:
    """One that its build computes can't be compared with a tag."""
    (project / "pyproject.toml").write_text('[project]\nname = "some"\ndynamic = ["version"]\n')
    assert "pyproject.toml has no readable project.version" in refusal(project, "v1.2.0")


@pytest.mark.parametrize("name", ["pyproject.toml", "CHANGELOG.md"])
def test_a_missing_file_is_named(project: Path, name: str) -> None:
    """Outside the project's root it prints one line, and no traceback."""
    (project / name).unlink()
    assert name in refusal(project, "v1.2.0")


@pytest.mark.parametrize("arguments", [(), ("v1.2.0", "v1.2.0")])
def test_it_takes_one_tag(project: Path, arguments: tuple[str, ...]) -> None:
    """With none or several it shows how it is used."""
    assert refusal(project, *arguments) == "usage: python .github/release_notes.py TAG"


def test_the_projects_own_changelog_can_be_read(project: Path) -> None:
    """Its headings have the form that the script knows; a dated top section gives notes."""
    changelog = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"(?m)^## (.*)$", changelog)
    for heading in headings:
        assert re.fullmatch(
            r"unreleased|\d+\.\d+\.\d+, (unreleased|\d{4}-\d\d-\d\d)", heading, re.IGNORECASE
        )
    dated = changelog.replace(f"## {headings[0]}\n", "## 1.2.0, 2026-11-30\n")
    (project / "CHANGELOG.md").write_text(dated)
    ran = run(project, "v1.2.0")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.strip()
