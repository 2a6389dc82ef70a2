"""The service killed during an export: after a restart, its jobs are completed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.exporting.generate import generate
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService

DATASET = "5b7c86968f7b6501e21ba9df"
BODY = {
    "destination": {"datasetId": DATASET, "segmentPerBatch": True},
    "schema": {"name": "_xdm.context.profile"},
    "filter": {"segments": [{"segmentId": "segment1"}, {"segmentId": "segment2"}]},
    "additionalFields": {"eventList": {"fields": ""}},
}
# A service with one job, which kills itself at a given point.
SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService

place, where, body = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])

def killing(method):
    def then_die(*given, **named):
        method(*given, **named)
        os.kill(os.getpid(), signal.SIGKILL)
    return then_die

if where:
    setattr(DuckDbEngine, where, killing(getattr(DuckDbEngine, where)))
with SegmentationService(
    ServiceConfig(data_dir=place, pace_s=0, run_s=0, engine=DuckDbEngine)
) as service:
    service._state.lifecycle.create(
        parse_create_request(body), org=service.org_id, sandbox="prod", request_id="r", instance="ups"
    )
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    generate(folder / "data", profiles=20_000, seed=3)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "data", tmp_path / "data")
    return tmp_path


def files(place: Path) -> list[str]:
    exports = place / "exports" / DATASET
    return sorted(path.name for path in exports.glob("*")) if exports.exists() else []


def ended(place: Path) -> dict[str, Any]:
    """The job at its end, after a restart of the service."""
    config = ServiceConfig(data_dir=place, pace_s=0, run_s=0, engine=DuckDbEngine)
    with SegmentationService(config) as service:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            (job,) = service.control.jobs("prod")
            if job.status in {"SUCCEEDED", "FAILED", "CANCELLED"}:
                return job.body
            time.sleep(0.02)
    pytest.fail("the job did not end")


def check_exported(place: Path, job: dict[str, Any]) -> None:
    assert job["status"] == "SUCCEEDED", job["errors"]
    batches = [batch["batchId"] for batch in job["destination"]["batches"]]
    assert files(place) == sorted(batches)
    rows = duckdb.sql(f"SELECT count(*) FROM '{place}/exports/{DATASET}/*/*.parquet'").fetchall()
    assert rows == [(job["metrics"]["totalExportedProfileCounter"],)]
    assert not list((place / "spill").iterdir())


@pytest.mark.parametrize(
    ("where", "left"),
    [("_write_batch", [".partial"]), ("_write", [".partial"] * 2), ("_publish", ["", ".partial"])],
)
def test_an_export_that_was_killed_is_done_after_a_restart(
    place: Path, where: str, left: list[str]
) -> None:
    """Killed with one batch written, with all written, and with one of two published."""
    command = [sys.executable, "-c", SCRIPT, str(place), where, json.dumps(BODY)]
    assert subprocess.run(command, timeout=60).returncode == -signal.SIGKILL
    assert sorted(Path(name).suffix for name in files(place)) == left
    check_exported(place, ended(place))


def test_a_service_killed_from_outside_goes_on(place: Path) -> None:
    """Kill -9 as soon as any part of the export is on disk."""
    command = [sys.executable, "-c", SCRIPT, str(place), "", json.dumps(BODY)]
    with subprocess.Popen(command) as running:
        deadline = time.monotonic() + 60
        while not files(place) and time.monotonic() < deadline:
            time.sleep(0.001)
        running.kill()
    check_exported(place, ended(place))
