"""The demo, end to end, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from support.files import ROOT

EXPORT_JOBS = Path(sys.executable).with_name("export-jobs")


def run_demo(*options: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EXPORT_JOBS, "demo", *options], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_the_demo_reconciles_and_leaves_real_exports(tmp_path: Path) -> None:
    """Every request ends as its file's name says, nothing is lost or said twice, the data is there."""
    done = run_demo("--json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert (result["lost"], result["duplicated"], result["unexplained"]) == ([], [], [])
    assert result["seconds"] < 60
    ends = {row["name"]: row for row in result["requests"]}
    assert ends.keys() == {path.stem for path in (ROOT / "events" / "requests").glob("*.json")}
    assert all(row["as_expected"] for row in ends.values())
    assert ends["sent-twice.twice"]["job_status"] == "SUCCEEDED"
    exported = ends["one-segment"]["profiles"]
    assert exported > 0

    manifests = [
        json.loads(path.read_text())
        for path in (tmp_path / result["directory"] / "exports").glob("*/*/manifest.json")
    ]
    (manifest,) = [m for m in manifests if m["request"].get("fields", "").endswith("firstName")]
    folder = tmp_path / result["directory"] / "exports" / manifest["datasetId"]
    rows = duckdb.sql(
        f"SELECT count(*), count(personalEmail.address) FROM '{folder}/{manifest['batchId']}/*.parquet'"
    ).fetchall()[0]
    assert rows[0] == exported == manifest["profiles"]
    assert rows[1] > 0


def test_the_demo_fails_when_something_is_not_as_it_should_be(tmp_path: Path) -> None:
    """A request that should succeed and does not makes the exit code 1, and is named."""
    folder = tmp_path / "requests"
    folder.mkdir()
    nowhere = (ROOT / "events" / "requests" / "fails-unknown-dataset.json").read_text()
    (folder / "should-succeed.json").write_text(nowhere)
    done = run_demo("--requests", str(folder), "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "should-succeed: expected SUCCEEDED" in json.loads(done.stdout)["unexplained"][0]


@pytest.mark.parametrize("option", ["--requests"])
def test_a_folder_without_requests_is_said_in_a_line(tmp_path: Path, option: str) -> None:
    """A mistake of the user's is not a traceback."""
    done = run_demo(option, str(tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    assert "no *.json file" in done.stderr
    assert "Traceback" not in done.stderr
