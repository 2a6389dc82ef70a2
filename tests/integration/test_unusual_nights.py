"""Promise 11 for the function as deployed: twenty nights, two of them unusual, by a moved clock."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.broad_run import Clock, recording_pool
from support.files import event

NIGHTS = 20
FALLEN, SLOW = 12, 16


def test_twenty_nights_give_two_anomalies_and_one_delay(tmp_path: Path) -> None:
    """A fall by 60 % and a run four times as slow, on both sinks, and nothing about the others."""
    clock = Clock(tmp_path / "ahead")
    chance = random.Random(17)
    service = ServiceConfig(manual=True, sandboxes=("prod",), clock=clock.now_ms)
    config = SystemConfig(logs=tmp_path, service=service, triggers=False)
    jobs: list[str] = []
    with LocalSystem(config) as system, closing(recording_pool(system, "monitor")) as pool:

        def sweep() -> None:
            assert pool.invoke(event("monitor")).error is None

        sweep()
        for night in range(NIGHTS):
            clock.advance(minutes=24 * 60 - 20)
            job = system.service.control.create_job("prod", status="PROCESSING")
            jobs.append(str(job.id))
            for _ in range(4 if night == SLOW else 1):
                sweep()
                clock.advance(minutes=21 if night == SLOW else 20 + chance.uniform(-1, 1))
            profiles = round(1_000_000 * chance.uniform(0.9, 1.1) * (0.4 if night == FALLEN else 1))
            counted = {"totalExportedProfileCounter": profiles}
            system.service.control.set_status(job.id, "SUCCEEDED", metrics=counted)
            sweep()
        deliveries = system.subscribers.drain()
    for sink in ("bus", "topic"):
        told = [
            (d.detail["jobId"], d.type, d.detail["anomalies"])
            for d in deliveries
            if d.sink == sink and (d.detail["anomalies"] or d.type == "Export Job Delayed")
        ]
        assert told == [
            (jobs[FALLEN], "Export Job State Change", ["VOLUME_DROP"]),
            (jobs[SLOW], "Export Job Delayed", []),
            (jobs[SLOW], "Export Job State Change", ["SLOW"]),
        ]
    (late,) = [d for d in deliveries if d.type == "Export Job Delayed" and d.sink == "bus"]
    assert late.detail["delayLimitBasis"] == "USUAL"
    ends = [d for d in deliveries if d.sink == "bus" and d.detail["final"]]
    assert len(ends) == NIGHTS
