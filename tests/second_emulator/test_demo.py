"""The demo's requests against the stack on the second emulator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from export_jobs_local.aws.server import AwsServer
from export_jobs_local.demo.engine import DemoEngine
from export_jobs_local.demo.requests import read_requests
from export_jobs_local.demo.run import Demo
from export_jobs_local.project import REQUESTS
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig


def test_the_demo_reconciles(
    emulator: Callable[..., AwsServer], template: Path, tmp_path: Path
) -> None:
    """Every request ends as its file name states; nothing is lost, duplicated or left."""
    requests = read_requests(REQUESTS)
    service = ServiceConfig(
        data_dir=tmp_path,
        pace_s=1.0,
        run_s=3.0,
        echo_request_id=True,
        engine=lambda place: DemoEngine(place, requests),
    )
    config = SystemConfig(
        logs=tmp_path / "logs",
        service=service,
        template=template,
        sweep_every_s=1.0,
        triggers=False,
        emulator=emulator,
    )
    with LocalSystem(config) as system:
        system.subscribers.follow()
        found = Demo(system, requests).run()
    assert [row for row in found.requests if not row.as_expected] == []
    assert [row for row in found.expectations if not row.as_expected] == []
    assert (found.lost, found.duplicates, found.unexplained, found.left) == ([], [], [], [])
    assert found.jobs > len(requests) / 2
