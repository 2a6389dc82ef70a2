"""The docs are correct: their links resolve, their commands exist, no alarm is left out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import cfnlint
import pytest
from export_jobs_local.aws.template import read_template
from export_jobs_local.isolation import aws_session
from export_jobs_local.project import TEMPLATE
from support.cloudformation import translated
from support.command_line import commands
from support.files import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
_BLOCK = re.compile(r"```.*?```", re.DOTALL)
_TYPED = re.compile(r"(?:^ *|[`\"]|bin/)export-jobs ([a-z][a-z-]*(?: [^`\"\n|]*)?)", re.MULTILINE)
"""A command as a person would type it: in a block, between backticks or in a text to paste."""


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """To a file that exists and, where it names one, to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_the_page_of_commands_is_current(tmp_path: Path) -> None:
    """`make docs` writes it: every command with its arguments, options and exit codes."""
    page = tmp_path / "cli.md"
    made = [Path(sys.executable).with_name("typer"), "export_jobs_cli.main", "utils", "docs"]
    made += ["--name", "export-jobs", "--title", "Commands", "--output", page]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    assert page.read_text() == (ROOT / "docs" / "cli.md").read_text()


def test_the_help_names_no_file_that_only_a_checkout_has() -> None:
    """An installed command has none; `--sam` needs a checkout, and names what it writes there."""
    page = (ROOT / "docs" / "cli.md").read_text()
    named = re.findall(r"(?:docs|events)/[\w./-]*|[\w.]*template[\w.]*\.yaml|[\w-]+\.md", page)
    assert named == ["template.local.yaml", "events/env.json"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_exists(page: Path) -> None:
    """With every option that is given to it."""
    text = page.read_text().replace("\\\n", " ")
    for line in _TYPED.findall(text):
        assert wrong_in(line) is None


def wrong_in(line: str) -> str | None:
    """The parts of a command line, without its `export-jobs`, that do not exist."""
    known = commands()
    name, *more = line.split()
    is_group = any(other.startswith(f"{name} ") for other in known)
    if is_group and more and not more[0].startswith("-"):
        name = f"{name} {more[0]}"
    if name not in known:
        return f"{line}: there is no command {name}"
    options = re.findall(r"(?:^| )(--[a-z-]+)", line)
    return next((f"{line}: {option}" for option in options if option not in known[name]), None)


@pytest.mark.parametrize("line", ["dlq frob", "frob", "dlq list --frob", "job list --frob"])
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    """Also below a group that exists; otherwise the test above would accept anything."""
    assert wrong_in(line)
    assert _TYPED.findall(f"Try `export-jobs {line}`.\n\n  export-jobs {line}") == [line, line]


def test_every_alarm_has_its_line() -> None:
    """In the page that the person on call opens."""
    page = (ROOT / "docs" / "operations.md").read_text()
    for resource in read_template(TEMPLATE)["Resources"].values():
        if resource["Type"] == "AWS::CloudWatch::Alarm":
            properties = resource["Properties"]
            name = str(properties["AlarmName"]).split("}-")[1].rstrip("'}")
            assert f"| `{name}` |" in page
            assert len(str(properties["AlarmDescription"])) > 80


def resource_types_by_region() -> dict[str, set[str]]:
    """By cfn-lint's data; `sam` is no region."""
    schemas = Path(cfnlint.__file__).parent / "data" / "schemas" / "providers"
    return {
        path.stem: set(json.loads(path.read_text()))
        for path in schemas.glob("*.json")
        if path.stem != "sam"
    }


def test_the_page_on_deployment_names_the_regions_that_lack_something() -> None:
    """Every resource type that SAM creates exists everywhere, unless the page states otherwise."""
    page = (
        (ROOT / "docs" / "deploy.md").read_text().partition("## Regions")[2].partition("\n## ")[0]
    )
    known = resource_types_by_region()
    restricted = {
        kind: {region for region, kinds in known.items() if kind not in kinds}
        for kind in {resource["Type"] for resource in translated()["Resources"].values()}
    }
    without_schemas, without_chat = page.partition("The source is")[0].split("\n- ")[1:]
    named = set(re.findall(r"`([a-z]+-[a-z]+-\d)`", without_schemas))
    schemas = {"Discoverer", "Registry", "Schema"}
    chat = restricted.pop("AWS::Chatbot::SlackChannelConfiguration")
    assert chat == {region for region in known if region.startswith(("cn-", "us-gov-"))}
    assert "China and GovCloud" in without_chat
    assert {kind: regions for kind, regions in restricted.items() if regions} == {
        f"AWS::EventSchemas::{kind}": named for kind in schemas
    }


def test_the_page_on_deployment_names_the_regions_that_nothing_is_known_of() -> None:
    """Of each region that boto3 knows, there is a list of resource types, or the page says so."""
    session = aws_session()
    partitions = session.get_available_partitions()
    regions = {
        region
        for partition in partitions
        for region in session.get_available_regions("dynamodb", partition)
    }
    unlisted = {r for r in regions - resource_types_by_region().keys() if r.count("-") == 2}
    page = (ROOT / "docs" / "deploy.md").read_text().partition("It has\nno list for")[2]
    assert set(re.findall(r"`([a-z]+-[a-z]+-\d)`", page.partition(".")[0])) == unlisted


def test_every_make_target_in_the_docs_exists() -> None:
    """`make help` lists them."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`(?:[A-Z_]+=\d+ )?make ([a-z-]+)`", page.read_text()))
        named |= set(re.findall(r"^make ([a-z-]+)$", page.read_text(), re.MULTILINE))
        assert named <= targets, page.name


def test_every_module_and_every_test_is_in_the_table() -> None:
    """So that the tests of a changed module can be found by its name."""
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## Tests by module")[2]
    lines = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line] for line in lines[1:]]
    places: dict[str, set[str]] = {}
    for cell, modules, _ in rows:
        place = cell.split("`")[1].rstrip("/") if "`" in cell else cell
        places.setdefault(place, set()).update(re.findall(r"`([\w/]+)`", modules))
    packages = [ROOT / "layers" / "export_jobs", ROOT / "cli", ROOT / "local"]
    found: dict[str, set[str]] = {"functions": {"monitor/app", "creator/app"}}
    for package in packages:
        for module in package.rglob("*.py"):
            if module.stem != "__init__":
                place = str(module.parent.relative_to(package))
                found.setdefault(place, set()).add(module.stem)
    assert {place: modules for place, modules in places.items() if modules} == found
    tests = ROOT / "tests"
    named = {test for *_, cell in rows for test in re.findall(r"`(.+?)`", cell)}
    assert named == {str(path.relative_to(tests)) for path in tests.rglob("test_*.py")}
