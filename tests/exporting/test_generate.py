"""Data made for the local service: repeatable, usable, never overwritten by mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from export_jobs_local.exporting.generate import generate

EXPORT_JOBS = Path(sys.executable).with_name("export-jobs")


def content(folder: Path) -> list[object]:
    return [
        duckdb.sql(
            f"SELECT count(*), bit_xor(hash(t)) FROM (SELECT COLUMNS(*)::VARCHAR FROM "
            f"'{folder}/{name}/*.parquet') AS t"
        ).fetchall()
        for name in ("fragments", "events", "memberships")
    ]


def test_the_same_seed_makes_the_same_data(tmp_path: Path) -> None:
    """Another seed makes other data."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        generate(tmp_path / name, profiles=500, seed=seed)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert content(tmp_path / "a") != content(tmp_path / "c")


def run(*options: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EXPORT_JOBS, "data", "generate", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_generates_the_number_of_profiles_asked_for(tmp_path: Path) -> None:
    """It prints their location as JSON."""
    done = run("--profiles", "300", "--seed", "5", "--data", "mine", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["directory"] == str(tmp_path / "mine" / "data")
    found = duckdb.sql(
        f"SELECT count(DISTINCT profileId) FROM '{printed['directory']}/events/*.parquet'"
    )
    assert 200 < found.fetchall()[0][0] <= 300


def test_existing_data_are_replaced_only_with_force(tmp_path: Path) -> None:
    """Without `--force`, the error names that option."""
    assert run("--profiles", "10", "--data", "d", folder=tmp_path).returncode == 0
    before = content(tmp_path / "d" / "data")
    refused = run("--profiles", "20", "--data", "d", folder=tmp_path)
    assert refused.returncode == 2
    assert "replace it with --force" in refused.stderr
    assert content(tmp_path / "d" / "data") == before
    assert run("--profiles", "20", "--data", "d", "--force", folder=tmp_path).returncode == 0
    assert content(tmp_path / "d" / "data") != before


def test_old_data_are_there_until_the_new_are_whole(tmp_path: Path) -> None:
    """A replacement that is stopped or fails leaves the old data unchanged."""
    data = tmp_path / "data"
    generate(data, profiles=50, seed=0)
    before = content(data)

    def stop(step: str) -> None:
        if step == "memberships":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(data, profiles=60, seed=1, replace=True, done=stop)
    assert content(data) == before
    generate(data, profiles=60, seed=1, replace=True)
    assert content(data) != before
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize(
    "options", [("--seed", str(10**40)), ("--profiles", "0"), ("--profiles", str(10**12))]
)
def test_numbers_that_can_t_be_are_refused_in_a_line(tmp_path: Path, options: tuple[str]) -> None:
    """Nothing is generated."""
    done = run(*options, "--data", "d", folder=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_full_disk_is_reported_in_one_line(tmp_path: Path) -> None:
    """DuckDB's own error causes no traceback either; files can't grow beyond 4 KB here."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"trap '' XFSZ; ulimit -f 8; exec {EXPORT_JOBS} data generate --data d"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "can't write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_can_t_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    """Without a traceback."""
    (tmp_path / "file").write_text("")
    done = run("--profiles", "5", "--data", "file/below", folder=tmp_path)
    assert done.returncode == 2
    assert "can't write to" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_half_made_stays(tmp_path: Path) -> None:
    """Complete or not at all."""

    def stop(step: str) -> None:
        if step == "events":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "data", profiles=50, seed=0, done=stop)
    assert not (tmp_path / "data").exists()
    generate(tmp_path / "data", profiles=50, seed=0)
    assert (tmp_path / "data" / "segments.json").exists()
