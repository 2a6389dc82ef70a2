"""When a sandbox was last swept without a failure.

A quiet sweep writes nothing into the tables: only the functions' metrics tell, or here their log.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from botocore.config import Config

from export_jobs_cli.stack import DeployedSystem

WINDOW_MINUTES: Final = 15
"""How far back sweeps are looked for."""


def is_known(system: DeployedSystem) -> bool:
    """Whether there is anything to tell by."""
    return not system.is_on_this_machine or system.log_directory is not None


def last_sweep(system: DeployedSystem, sandbox: str, config: Config | None = None) -> int | None:
    """In epoch milliseconds; None if there was none in the window."""
    now = datetime.now(UTC)
    since = now - timedelta(minutes=WINDOW_MINUTES)
    if system.is_on_this_machine:
        found = _written_to_the_log(system)
        return found if found and found >= since.timestamp() * 1000 else None
    points = system.client("cloudwatch", config).get_metric_statistics(
        Namespace=system.outputs["MetricsNamespace"],
        MetricName="SweepAge",
        Dimensions=[
            {"Name": "sandbox", "Value": sandbox},
            {"Name": "service", "Value": "monitor"},
        ],
        StartTime=since,
        EndTime=now,
        Period=60,
        Statistics=["Minimum"],
    )["Datapoints"]
    good = [point["Timestamp"] for point in points if point["Minimum"] == 0]
    return round(max(good).timestamp() * 1000) if good else None


def _written_to_the_log(system: DeployedSystem) -> int | None:
    """When the local monitor last wrote to its log, as it does at each sweep."""
    if system.log_directory is None:
        return None
    try:
        log = (Path(system.log_directory) / "monitor.log").stat()
    except OSError:
        return None
    return round(log.st_mtime * 1000)
