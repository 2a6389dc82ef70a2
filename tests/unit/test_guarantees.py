"""The tests that the docs name exist, and each field case has one."""

from __future__ import annotations

import re

from support.files import ROOT


def test_every_test_named_in_the_docs_exists() -> None:
    """A renamed test would leave a promise without its proof."""
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"def ((?:test|check)_\w+)", code))
    files = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for page in (ROOT / "docs").glob("*.md"):
        named = re.findall(r"`((?:test|check)_\w+)(?:\[[^`]*)?`", page.read_text())
        assert set(named) <= defined, f"{page.name}: {set(named) - defined}"
        linked = re.findall(r"\b(test_\w+\.py)\b", page.read_text())
        assert set(linked) <= files, f"{page.name}: {set(linked) - files}"


def test_every_field_case_has_its_test() -> None:
    """Inputs that public bug reports of the like suggested, each named in a docstring."""
    code = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert {int(number) for number in re.findall(r"Field case (\d+)", code)} == {*range(1, 36)}
