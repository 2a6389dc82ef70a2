"""Every check of doctor has its texts: the consequence of its failure, and a row in the docs."""

from __future__ import annotations

import re
from typing import get_args

from export_jobs_cli.doctor.adobe import GATEWAY_CURES
from export_jobs_cli.doctor.findings import EFFECTS, OPTIONAL, Name
from support.files import ROOT


def rows() -> dict[str, list[str]]:
    """The cells after the name of each check, in the table of docs/doctor.md."""
    page = (ROOT / "docs" / "doctor.md").read_text().partition("| check |")[2]
    lines = [re.split(r" \| ", line.strip("| ")) for line in page.splitlines()[2:]]
    return {name.strip("`"): cells for name, *cells in lines if cells}


def test_every_check_has_a_consequence() -> None:
    """One that a user understands: a sentence at least."""
    assert list(EFFECTS) == list(get_args(Name))
    assert all(re.fullmatch(r"[A-Z].{20,}\.", effect) for effect in EFFECTS.values())
    assert set(EFFECTS) >= OPTIONAL


def test_every_check_has_a_row_and_every_row_a_check() -> None:
    """In the order of the checks, with the consequence that doctor prints."""
    found = rows()
    assert list(found) == list(EFFECTS)
    for name, cells in found.items():
        effect, fails, cure = cells
        assert effect == EFFECTS[name]  # type: ignore[index]
        assert fails
        assert cure


def test_the_docs_name_the_checks_that_may_be_denied() -> None:
    """A denied call is bad for every other check."""
    page = (ROOT / "docs" / "doctor.md").read_text()
    (paragraph,) = [text for text in page.split("\n\n") if "hide it, the finding is `look`" in text]
    named = re.findall(r"`([a-z ]+)`", paragraph.partition("For ")[2].partition(", whose")[0])
    assert set(named) == OPTIONAL


def test_every_error_of_the_gateway_has_its_cure() -> None:
    """Each code of docs/contract.md, here and in the row of the API."""
    page = (ROOT / "docs" / "contract.md").read_text().partition("## Errors")[2]
    errors = page.partition("\n## ")[0]
    codes = set(re.findall(r"`(40\d{4})`", errors))
    assert len(codes) > 4
    assert set(GATEWAY_CURES) == codes
    assert set(re.findall(r"`(40\d{4})`", rows()["Segmentation API"][1])) == codes
