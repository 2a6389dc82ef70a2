"""Quiet sweeps by the monitor as deployed: what each of them calls, and what it logs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig

from support.broad_run import calls_file, recording_pool
from support.files import event


@dataclass(frozen=True)
class Sweep:
    """`aws` are the calls to AWS in their order; `api` counts those to the service and IMS."""

    aws: tuple[str, ...]
    api: Mapping[str, int]
    lines: tuple[str, ...]


def loaded_by_quiet_sweeps() -> frozenset[str]:
    """Our modules that a new process has loaded after a sweep of jobs that have not changed."""
    with tempfile.TemporaryDirectory() as folder:
        config = SystemConfig(logs=Path(folder), service=ServiceConfig(manual=True), triggers=False)
        with LocalSystem(config) as system:
            for status in ("NEW", "SUCCEEDED", "FAILED"):
                job = system.service.control.create_job("prod")
                system.service.control.set_status(job.id, status)
            calls = calls_file(config.logs, "monitor")
            for runs in (1, 2):  # the second process sweeps twice: its calls show what is loaded
                calls.unlink(missing_ok=True)
                with closing(recording_pool(system, "monitor")) as pool:
                    for _ in range(runs):
                        assert pool.invoke(event("monitor")).error is None
            made = [json.loads(line) for line in calls.open()]
    assert {call["operation"] for call in made} <= {"GetSecretValue", "GetItem", "Query"}, made
    return frozenset(made[-1]["loaded"])


def first_sweeps(
    number: int,
    *,
    sandboxes: tuple[str, ...] = ("prod",),
    parameters: Mapping[str, str] | None = None,
    minutes_apart: int = 0,
) -> list[Sweep]:
    """The first runs of one process, in sandboxes without jobs."""
    with tempfile.TemporaryDirectory() as folder:
        service = ServiceConfig(manual=True, sandboxes=sandboxes)
        config = SystemConfig(
            logs=Path(folder), service=service, triggers=False, parameters=parameters or {}
        )
        with LocalSystem(config) as system, closing(recording_pool(system, "monitor")) as pool:
            calls, found = calls_file(config.logs, "monitor"), []
            for run in range(number):
                (config.logs / "ahead").write_text(str(run * minutes_apart * 60_000))
                system.service.control.forget_calls()
                before = len(pool.log.read_bytes()) if pool.log.exists() else 0
                calls.unlink(missing_ok=True)
                assert pool.invoke(event("monitor")).error is None
                made = [json.loads(line) for line in calls.open()]
                found.append(
                    Sweep(
                        aws=tuple(f"{call['service']}:{call['operation']}" for call in made),
                        api={k: n for k, n in system.service.control.calls().items() if n},
                        lines=tuple(pool.log.read_bytes()[before:].decode().splitlines()),
                    )
                )
            return found
