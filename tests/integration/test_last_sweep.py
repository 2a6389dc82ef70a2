"""When a sandbox was last swept: by CloudWatch's metrics, or by the log of a local function."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from export_jobs_cli.last_sweep import is_known, last_sweep
from export_jobs_cli.page.status import StatusReader
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.isolation import aws_session


def system_of(aws: MotoServer, stack: LocalStack, *, logs: Path | None = None) -> DeployedSystem:
    return DeployedSystem(
        stack.name,
        session=aws_session(),
        endpoint_url=aws.url,
        log_directory=str(logs) if logs else None,
    )


@pytest.mark.parametrize(
    ("ages", "swept"), [([], False), ([1.0, 90_000.0], False), ([90_000.0, 0.0], True)]
)
def test_only_a_good_sweep_counts_as_one(
    aws: MotoServer, stack: LocalStack, ages: list[float], *, swept: bool
) -> None:
    """CloudWatch has an age of 0 after it; a sweep that failed has reported another."""
    system = system_of(aws, stack)
    system.is_on_this_machine = False
    at = datetime.now(UTC) - timedelta(minutes=2)
    dimensions = {"sandbox": "prod", "service": "monitor"}
    for age in ages:
        aws.client("cloudwatch").put_metric_data(
            Namespace=system.outputs["MetricsNamespace"],
            MetricData=[
                {
                    "MetricName": "SweepAge",
                    "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions.items()],
                    "Value": age,
                    "Timestamp": at,
                }
            ],
        )
    found = last_sweep(system, "prod")
    assert (found is not None) == swept
    if found is not None:
        assert abs(found - at.timestamp() * 1000) <= 60_000  # metrics are kept by the minute
    assert last_sweep(system, "dev") is None


def test_a_local_sweep_is_known_by_the_log_of_its_function(
    aws: MotoServer, stack: LocalStack, tmp_path: Path
) -> None:
    """Nothing else tells of a sweep that changed nothing."""
    system = system_of(aws, stack, logs=tmp_path)
    assert last_sweep(system, "prod") is None
    log, now = tmp_path / "monitor.log", time.time()
    log.touch()
    os.utime(log, (now - 60, now - 60))
    assert last_sweep(system, "prod") == round((now - 60) * 1000)
    os.utime(log, (now - 16 * 60, now - 16 * 60))
    assert last_sweep(system, "prod") is None


def test_without_a_log_nothing_is_known_of_local_sweeps(
    aws: MotoServer, stack: LocalStack, tmp_path: Path
) -> None:
    """Then none is missing, either."""
    assert not is_known(system_of(aws, stack))
    assert is_known(system_of(aws, stack, logs=tmp_path))
    assert StatusReader(system_of(aws, stack), ["prod"]).read().swept_at == {}
