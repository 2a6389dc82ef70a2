"""Promise 10 for the function as deployed: nights without a job, under a clock that is moved."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

from export_jobs.model.calendar import moments, zone_named
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.broad_run import Clock, recording_pool
from support.dynamodb import store_in
from support.files import event

ROME = "Europe/Rome"
DATASET = "5b7c86968f7b6501e21ba9df"
NIGHTLY = Expectation("nightly-newsletter", DATASET, ROME, opens=0, due=6 * 60, min_profiles=1_000)
FIRST_NIGHT = date(2027, 3, 25)
"""The clock changes in the fourth night, on 28 March."""


def test_five_good_nights_and_three_without_a_job(tmp_path: Path) -> None:
    """Exactly three events, `NEVER_STARTED`, on each sink; the sixth night's is the first."""
    clock = Clock(tmp_path / "ahead")
    service = ServiceConfig(manual=True, sandboxes=("prod",), clock=clock.now_ms)
    config = SystemConfig(logs=tmp_path, service=service, triggers=False)
    zone = zone_named(ROME)
    with LocalSystem(config) as system, closing(recording_pool(system, "monitor")) as pool:

        def sweep(night: int, hour: int) -> None:
            day = date.fromordinal(FIRST_NIGHT.toordinal() + night)
            clock.advance_to(moments(day, 60 * hour, zone)[0])
            assert pool.invoke(event("monitor")).error is None

        sweep(-1, 12)
        store = store_in(system.aws.client("dynamodb"), system.stack.outputs)
        store.edit_expectations("prod", [ExpectationRecord("prod", NIGHTLY, clock.now_ms())])
        for night in range(8):
            sweep(night, 1)
            if night < 5:
                job = system.service.control.create_job("prod", status="PROCESSING")
                clock.advance(minutes=30)
                counted = {"totalExportedProfileCounter": 1_000}
                system.service.control.set_status(job.id, "SUCCEEDED", metrics=counted)
            for hour in (3, 6, 7, 12):
                sweep(night, hour)
        overdue = [d for d in system.subscribers.drain() if d.type.startswith("Export Overdue")]
        (record,) = store.expectations("prod")
    for sink in ("bus", "topic"):
        told = [_told(delivery) for delivery in overdue if delivery.sink == sink]
        assert told == [
            ("Export Overdue", "NEVER_STARTED", f"2027-03-{day}T06:00+02:00") for day in (30, 31)
        ] + [("Export Overdue", "NEVER_STARTED", "2027-04-01T06:00+02:00")]
    assert [past.outcome for past in record.history] == ["GOOD"] * 5 + ["NEVER_STARTED"] * 3


def _told(delivery: Delivery) -> tuple[str, str, str]:
    detail = delivery.detail
    return delivery.type, detail["reason"], detail["window"]["dueLocal"]
