"""The tests that the page of guarantees names exist."""

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
