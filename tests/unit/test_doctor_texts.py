"""Every check of doctor has its texts: the consequence of its failure, and a row in the docs."""

from __future__ import annotations

import re
import shlex
from typing import Any, get_args

import jmespath
import pytest
from export_jobs.client import Forbidden
from export_jobs_cli.doctor.adobe import GATEWAY_CURES
from export_jobs_cli.doctor.findings import BY_HAND, EFFECTS, OPTIONAL, RESTORE, Name
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE
from support import aws_commands
from support.creator import Creator, asking
from support.fakes import FakeApi
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


def section() -> str:
    """What the cure for anything deleted refers to."""
    assert BY_HAND in RESTORE
    path, _, title = BY_HAND.partition(", ")
    page = (ROOT / path).read_text().partition(f"\n## {title.strip(chr(39))}\n")[2]
    return page.partition("\n## ")[0]


def commands(operation: str) -> list[str]:
    """The lines of that section with an operation of CloudFormation."""
    lines = section().replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith(f"aws cloudformation {operation} ")]


def test_what_was_deleted_is_restored_by_a_change_set_that_looks_for_it() -> None:
    """Its mode exists in AWS's description of the service."""
    (line,) = commands("create-change-set")
    parameters = aws_commands.parsed(line).parameters
    assert parameters["DeploymentMode"] == "REVERT_DRIFT"
    assert parameters["DeploymentMode"] in RESTORE
    assert parameters["UsePreviousTemplate"]
    (execute,) = commands("execute-change-set")
    made = {name: parameters[name] for name in ("StackName", "ChangeSetName")}
    assert aws_commands.parsed(execute).parameters == made


def test_the_change_set_keeps_every_parameter() -> None:
    """One that is left out would get its default, and the secret has none."""
    (line,) = commands("describe-stacks")
    words = shlex.split(line)
    names = list(read_template(TEMPLATE)["Parameters"])
    stacks = [{"Parameters": [{"ParameterKey": n, "ParameterValue": "****"} for n in names]}]
    kept = jmespath.search(words[words.index("--query") + 1], {"Stacks": stacks})
    assert kept == [{"ParameterKey": name, "UsePreviousValue": True} for name in names]
    (create,) = commands("create-change-set")
    assert f"--parameters file://{words[-1]} " in create


def test_a_restored_table_gets_what_its_backup_lacks() -> None:
    """The template's settings: both tables have the same."""
    for name in ("JobsTable", "RequestsTable"):
        table = read_template(TEMPLATE)["Resources"][name]["Properties"]
        attribute = table["TimeToLiveSpecification"]["AttributeName"]
        assert f"Enabled=true,AttributeName={attribute}\n" in section()
        assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert not {"StreamSpecification", "Tags", "DeletionProtectionEnabled"} & table.keys()


def test_adobe_s_answer_to_a_refused_request_is_in_the_creator_s_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the line that the cure names; the request itself only waits."""

    class Refusing(FakeApi):
        def create_job(self, *_: Any, **__: Any) -> Any:
            raise Forbidden("no such permission")

    creator = Creator()
    creator.api = lambda: Refusing(creator.fakes)
    creator.sweep()
    creator.send("KEY", **asking())
    creator.work()
    assert creator.waiting() == ["KEY"]
    assert "request KEY: no such permission" in caplog.messages
