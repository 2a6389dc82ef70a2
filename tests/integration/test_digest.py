"""The daily digest by the function as deployed, under a clock that is moved."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path

from export_jobs.model.calendar import moments, zone_named
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.broad_run import Clock, recording_pool
from support.files import event

ROME = "Europe/Rome"
FIRST_DAY = date(2027, 3, 27)
"""The clock changes in the night after it."""


def test_one_message_a_day_reaches_the_topic_and_none_the_bus(tmp_path: Path) -> None:
    """At eight o'clock in Rome, with what has ended; a day without the monitor is in the next."""
    clock = Clock(tmp_path / "ahead")
    config = SystemConfig(
        logs=tmp_path,
        service=ServiceConfig(manual=True, sandboxes=("prod", "dev"), clock=clock.now_ms),
        parameters={"DigestTime": "08:00", "DigestTimezone": ROME},
        triggers=False,
    )
    zone = zone_named(ROME)
    with LocalSystem(config) as system, closing(recording_pool(system, "monitor")) as pool:

        def run(day: int, hour: int, minute: int = 0) -> None:
            at = date.fromordinal(FIRST_DAY.toordinal() + day)
            clock.advance_to(moments(at, 60 * hour + minute, zone)[0])
            assert pool.invoke(event("monitor")).error is None

        run(0, 9)
        run(0, 9, minute=1)  # plans the first one
        system.service.control.create_job("dev", status="SUCCEEDED")
        for day, hour in ((0, 12), (1, 7), (1, 8), (1, 9), (3, 11), (3, 12)):
            run(day, hour, minute=1)
        delivered = system.subscribers.drain()
    digests = [one for one in delivered if one.type == "Export Digest"]
    assert [(one.sink, one.detail["dueAt"][:16]) for one in digests] == [
        ("topic", "2027-03-28T06:00"),
        ("topic", "2027-03-29T06:00"),
    ]
    first, second = (one.detail for one in digests)
    assert (first["exports"], first["coversDays"]) == (1, 1)
    assert (second["exports"], second["coversDays"]) == (0, 2)
