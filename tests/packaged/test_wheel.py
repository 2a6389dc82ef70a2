"""The wheel, installed outside a checkout: with its dependencies, and with the `local` extra."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from support.files import ROOT
from support.readme import shown_after

pytestmark = pytest.mark.xdist_group("wheel")

MAX_BYTES = 150_000_000
NOWHERE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "COLUMNS": "80"}


def required(requirements: Iterator[str] | list[str], extras: set[str]) -> set[str]:
    """The distributions in this environment that these need, directly or indirectly."""
    found: set[str] = set()
    todo = [(Requirement(text), extras) for text in requirements]
    while todo:
        requirement, wanted = todo.pop()
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in {"", *wanted}):
            continue
        key = f"{requirement.name.lower()}[{','.join(sorted(requirement.extras))}]"
        if key in found:
            continue
        found.add(key)
        inner = metadata.distribution(requirement.name).requires or []
        todo += [(Requirement(text), set(requirement.extras)) for text in inner]
    return {key.partition("[")[0] for key in found}


def top_levels(distribution: str) -> set[Path]:
    """What a distribution has in site-packages, by the first part of each path."""
    dist = metadata.distribution(distribution)
    files = dist.files or []
    tops = {file.parts[0] for file in files if file.parts[0] not in {"..", "__pycache__"}}
    return {Path(str(dist.locate_file(top))) for top in tops}


def size_of(distributions: set[str]) -> int:
    files = (file for name in distributions for file in metadata.distribution(name).files or [])
    paths = (Path(str(file.locate())) for file in files)
    return sum(path.stat().st_size for path in paths if path.exists())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--wheel-dir", folder, ROOT],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (made,) = folder.glob("*.whl")
    return made


def requirements_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]


def installed(wheel: Path, folder: Path, *, extra: str | None = None) -> Path:
    """The command in a virtual environment with the wheel and its declared dependencies.

    The dependencies are those of this environment, so that the test needs no network.
    """
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    python = venv / "bin" / "python"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps",
         "--no-index", wheel],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    (site,) = (venv / "lib").glob("python3*/site-packages")
    for name in required(requirements_of(wheel), {extra} if extra else set()):
        for top in top_levels(name):
            if not (site / top.name).exists():
                (site / top.name).symlink_to(top)
    return venv / "bin" / "export-jobs"


def test_the_command_works_without_the_local_system_s_dependencies(
    wheel: Path, tmp_path: Path
) -> None:
    """Help, version, checks of requests and clear errors work; what needs the extra is named."""
    command = installed(wheel, tmp_path)

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [command, *arguments], cwd=tmp_path, env=NOWHERE, input=text, capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip

    assert run("--version").stdout == f"export-jobs {metadata.version('export-jobs-monitor')}\n"
    assert "job list" in run("job", "list", "-h").stdout
    stacked = run("job", "list", "--stack", "x", "--region", "eu-west-1")
    assert stacked.stderr == (
        "error: no AWS credentials; use --profile, set AWS_PROFILE, or run `aws configure`\n"
    )
    assert (stacked.returncode, stacked.stdout) == (2, "")
    request = (ROOT / "events" / "requests" / "one-segment.json").read_text()
    assert run("request", "create", "-", "--dry-run", text=request).stdout.startswith("valid: ")
    page = run("ui")
    assert page.stderr.startswith("error: no local system is running here"), page.stderr
    for local in (["demo"], ["local"], ["api"], ["data", "generate"]):
        done = run(*local)
        assert done.returncode == 2
        # Not the name alone: it is not on PyPI, where anybody could register it.
        assert "in a checkout of the project, run pip install '.[local]'" in done.stderr
        assert "export-jobs-monitor" not in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def with_local(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed with the local system."""
    return installed(wheel, tmp_path_factory.mktemp("with-local"), extra="local")


def test_sam_is_refused_outside_a_checkout(with_local: Path, tmp_path: Path) -> None:
    """The wheel lacks the files that it needs, and nothing is written next to the others."""
    done = subprocess.run(
        [with_local, "local", "--sam"], cwd=tmp_path, env=NOWHERE, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: --sam needs a checkout of the project: ")


def test_the_demo_runs_outside_a_checkout_and_shows_what_the_readme_shows(
    with_local: Path, tmp_path: Path
) -> None:
    """From the files in the wheel; its sections, columns and the outcomes of requests."""
    done = subprocess.run(
        [with_local, "demo"], cwd=tmp_path, env=NOWHERE, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    for row in _ends(shown_after("make demo")):
        assert row in _ends(done.stdout.splitlines())
    for word in ("Result of each request", "lost", "duplicates", "left over", "REJECTED"):
        assert word in done.stdout
    page = tmp_path / ".export-jobs" / "demo" / "page" / "index.html"
    assert str(page.relative_to(tmp_path)) in done.stdout
    assert "Needs attention" in page.read_text()
    assert page.with_name("assets").joinpath("page.css").is_file()
    assert list((tmp_path / ".export-jobs" / "demo" / "exports").rglob("*.parquet"))


def _ends(lines: list[str]) -> list[tuple[str, ...]]:
    """Name, end, status and verdict of each row; job numbers, counts and times may differ."""
    rows = (line.split() for line in lines if line.endswith("ok"))
    return [tuple(word for word in row if not re.fullmatch(r"[\d,:]+", word)) for row in rows]


def test_what_an_installation_brings_is_no_more_than_150_mb(wheel: Path) -> None:
    """Most of it is botocore's descriptions of AWS services."""
    names = required(requirements_of(wheel), set())
    assert {"boto3", "typer", "pydantic", "requests"} <= names
    assert not {"moto", "duckdb", "fastapi", "aws-lambda-powertools"} & names
    assert size_of(names) < MAX_BYTES


def test_the_wheel_carries_what_is_deployed(wheel: Path) -> None:
    """Each file is as in the checkout, and none was generated by a run."""
    root = "export_jobs_local/project_files/"
    with zipfile.ZipFile(wheel) as archive:
        carried = {
            name.removeprefix(root): archive.read(name)
            for name in archive.namelist()
            if name.startswith(root) and not name.endswith("/")
        }
    assert "template.yaml" in carried
    for name, content in carried.items():
        assert (ROOT / name).read_bytes() == content, name
    for folder in ("functions", "layers", "events/requests"):
        kept = {
            str(path.relative_to(ROOT))
            for path in (ROOT / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".egg-info"
        }
        assert kept == {name for name in carried if name.startswith(folder)}
