"""What `sam build` packs: for the right machine, complete, and nothing else."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from pathlib import Path

import pytest
from export_jobs_local.aws.template import read_template
from support.files import ROOT

pytestmark = pytest.mark.xdist_group("packaged")

FUNCTIONS = ("MonitorFunction", "CreatorFunction")
LAYER = "ExportJobsLayer"
AARCH64 = 183
"""e_machine of an ELF file, /usr/include/elf.h."""
MOST_ZIPPED = {"MonitorFunction": 10_000, "CreatorFunction": 10_000, LAYER: 8_500_000}
"""Bytes, with byte code. Lambda accepts 50 MB; a small package starts sooner."""


def test_artefacts_are_for_the_runtime_and_machine_of_the_template(built: Path) -> None:
    """Wheels and native code for Python 3.13 on arm64, whatever machine built them."""
    template = read_template(built / "template.yaml")
    assert template["Globals"]["Function"]["Runtime"] == "python3.13"
    assert template["Globals"]["Function"]["Architectures"] == ["arm64"]
    layer = template["Resources"][LAYER]["Properties"]
    assert layer["CompatibleRuntimes"] == ["python3.13"]
    assert layer["CompatibleArchitectures"] == ["arm64"]

    tags = {
        wheel.parent.name: re.findall(r"^Tag: (.+)$", wheel.read_text(), re.MULTILINE)
        for wheel in site(built).glob("*.dist-info/WHEEL")
    }
    assert len(tags) > 5
    for name, of_wheel in tags.items():
        assert any(fits(tag) for tag in of_wheel), (name, of_wheel)
    natives = list(built.rglob("*.so"))
    assert natives
    for native in natives:
        header = native.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == AARCH64, native.name
        assert re.search(r"\.(cpython-313-aarch64-linux-gnu|abi3)\.so$", native.name) or (
            "cpython" not in native.name
        )


def test_nothing_but_code_that_runs_is_packed(built: Path) -> None:
    """A function is its handler; the layer is our package and pinned ones, no `local` or tests."""
    for function in FUNCTIONS:
        assert [path.name for path in (built / function).iterdir()] == ["app.py"]
    assert [path.name for path in (built / LAYER).iterdir()] == ["python"]
    names = {path.name for path in site(built).iterdir()} - {"__pycache__"}
    of_wheels = {
        line.split(",")[0].split("/")[0]
        for record in site(built).glob("*.dist-info/RECORD")
        for line in record.read_text().splitlines()
    }
    assert names - of_wheels == {"export_jobs"}
    packed = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    unwanted = re.compile(
        r"export_jobs_local|(^|/)tests?/|\.(db|duckdb|env|key|pem)$|/bin/|/\."
        r"|__pycache__/(?!.*\.cpython-313\.pyc$)"  # if this machine has the runtime's Python
    )
    authorities = f"{LAYER}/python/certifi/cacert.pem"  # CAs, no secret
    assert {path for path in packed if unwanted.search(path)} - {authorities} == set()


def test_our_code_is_packed_as_it_stands(built: Path) -> None:
    """Every file of the package and of the functions, byte for byte."""
    pairs = [(ROOT / "layers" / "export_jobs" / "export_jobs", site(built) / "export_jobs")]
    pairs += [
        (ROOT / "functions" / name.removesuffix("Function").lower(), built / name)
        for name in FUNCTIONS
    ]
    for source, packed in pairs:
        wanted = {
            path.relative_to(source): path.read_bytes()
            for path in source.rglob("*")
            if path.is_file() and path.suffix != ".pyc" and path.name != "Makefile"
        }
        found = {
            path.relative_to(packed): path.read_bytes()
            for path in packed.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert found == wanted


def test_what_is_pinned_is_what_is_shipped(built: Path) -> None:
    """The layer's requirements by name and version, no others; boto3 is the runtime's own."""
    text = (ROOT / "layers" / "export_jobs" / "requirements.txt").read_text()
    pinned = {
        (plain(name), version)
        for name, version in re.findall(r"^([\w.-]+)==([\w.]+)", text, re.MULTILINE)
    }
    shipped = set()
    for folder in site(built).glob("*.dist-info"):
        name, version = folder.name.removesuffix(".dist-info").split("-")
        shipped.add((plain(name), version))
    assert shipped == pinned
    assert not {"boto3", "botocore"} & {name for name, _ in shipped}


@pytest.mark.parametrize("artefact", [*FUNCTIONS, LAYER])
def test_packages_stay_small(
    built: Path, artefact: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes as uploaded; printed, so that growth is seen before it hurts."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((built / artefact).rglob("*")):
            archive.write(path, path.relative_to(built / artefact))
    size = len(packed.getvalue())
    with capsys.disabled():
        sys.stdout.write(f"\n{artefact}: {size:,} bytes zipped\n")
    assert size <= MOST_ZIPPED[artefact]


def site(built: Path) -> Path:
    return built / LAYER / "python"


def fits(tag: str) -> bool:
    python, abi, platforms = tag.split("-")
    if platforms == "any":
        return "py3" in python and abi == "none"
    native = bool(re.search(r"manylinux.*aarch64", platforms))
    return native and (python == "cp313" or abi == "abi3" or (abi == "none" and "py3" in python))


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
