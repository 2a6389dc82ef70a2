"""The line of a sandbox: requests beyond the cap wait in the table, and are admitted in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from support.command_line import Local, envelope, running_local, until

CAP, SENT = 20, 60
KEYS = [f"order-{number:02}" for number in range(SENT)]


@pytest.fixture
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A system whose jobs stay open."""
    folder = tmp_path_factory.mktemp("slow")
    command = ("local", "--pace", "3600", "--sweep-every", "2", "--data", "data")
    with running_local(folder, *command) as local:
        yield local


def queued(local: Local) -> int:
    """Messages that are visible, in flight or delayed."""
    attributes = local.client("sqs").get_queue_attributes(
        QueueUrl=local.description["outputs"]["RequestQueueUrl"], AttributeNames=["All"]
    )["Attributes"]
    counts = [int(n) for name, n in attributes.items() if name.startswith("ApproximateNumberOf")]
    assert len(counts) == 3
    return sum(counts)


def listed(local: Local) -> Any:
    return local.json("request", "list", "--sandbox", "prod")


def test_sixty_requests_wait_in_order_for_twenty_places(slow: Local) -> None:
    """Field case 22: they wait in the table, not in the queue; a job's end admits the next one."""
    for key in KEYS:
        slow.send(envelope(key))

    def is_settled() -> Any:
        found = listed(slow)
        full = found["sandboxes"][0]["openExports"] == CAP
        return found if full and len(found["waiting"]) == SENT - CAP and not queued(slow) else None

    found = until(is_settled, seconds=120)
    assert (
        len([job for job in slow.json("job", "list", "--limit", "100") if not job["final"]]) == CAP
    )
    waiting = [row["requestKey"] for row in found["waiting"]]
    assert waiting == sorted(waiting)
    assert [row["place"] for row in found["waiting"]] == list(range(1, SENT - CAP + 1))
    assert sorted([*waiting, *(row["requestKey"] for row in found["underWay"])]) == KEYS
    shown = slow.json("request", "show", waiting[3], code=3)
    assert (shown["place"], shown["places"]) == (4, SENT - CAP)
    assert shown["waitsFor"]["what"] == "CAPACITY"
    assert shown["openExports"] == {"prod": CAP}
    assert "capacity: 20 of 20 exports are open" in slow.run("request", "show", waiting[3]).stdout

    ended = found["underWay"][7]
    cancelled = slow.json("request", "cancel", "--job", ended["jobId"], "--wait")
    assert cancelled["status"] == "CANCELLED"
    first, *others = waiting
    until(lambda: json.loads(slow.run("request", "show", first, "--json").stdout)["jobId"])
    after = listed(slow)
    assert [row["requestKey"] for row in after["waiting"]] == others
    assert after["sandboxes"][0]["openExports"] == CAP
    assert queued(slow) == 0
