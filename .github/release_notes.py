#!/usr/bin/env python3
"""Prints the release notes of a tag: `python .github/release_notes.py v1.2.3`, in the project's root.

They are the section of CHANGELOG.md that begins with `## 1.2.3, YYYY-MM-DD`. A tag that is not the
version in pyproject.toml is refused, and so is one whose section is missing, undated or empty.
"""

from __future__ import annotations

import re
import sys
import tomllib
from datetime import date
from pathlib import Path


class Refused(Exception):
    """There can be no release for this tag; the message says why."""


def project_version(pyproject: Path) -> str:
    """The version that the wheel will have."""
    try:
        return str(tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["version"])
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"{pyproject} has no readable project.version: {error}") from error


def section(changelog: Path, version: str) -> tuple[str, str]:
    """What follows the version in its heading, and the text below that heading."""
    _, *parts = re.split(r"(?m)^## (.*)$", changelog.read_text(encoding="utf-8"))
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        found, _, released = heading.partition(",")
        if found.strip() == version:
            return released.strip(), text.strip()
    raise Refused(f"{changelog} has no section for {version}: add '## {version}, YYYY-MM-DD'")


def is_day(text: str) -> bool:
    """Whether it is a day of the calendar, written as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def release_notes(tag: str, project: Path) -> str:
    """The notes, each item on one line: in a release, GitHub shows a line break as a line break."""
    version = project_version(project / "pyproject.toml")
    if tag != f"v{version}":
        raise Refused(f"the tag is {tag}, but pyproject.toml has version {version}")
    changelog = project / "CHANGELOG.md"
    released, notes = section(changelog, version)
    if not is_day(released):
        raise Refused(
            f"{changelog} gives no date for {version} ({released or 'nothing'}): "
            f"write '## {version}, YYYY-MM-DD'"
        )
    if not notes:
        raise Refused(f"{changelog} says nothing about {version}")
    return re.sub(r"\n +(?![ -])", " ", notes)


def main() -> None:
    """The command."""
    if len(sys.argv) != 2:
        sys.exit("usage: python .github/release_notes.py TAG")
    try:
        notes = release_notes(sys.argv[1], Path())
    except (Refused, OSError) as problem:
        sys.exit(f"release_notes.py: {problem}")
    sys.stdout.write(f"{notes}\n")


if __name__ == "__main__":
    main()
