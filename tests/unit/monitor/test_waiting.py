"""What a sweep does for the requests that wait: wakes the creator, or ends them; with fakes."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.contract.errors import RetryLater
from export_jobs.creator.message import woken_sandbox
from export_jobs.model.records import Ticket
from support.creator import CREATE, MINUTE_MS, Creator, asking
from support.fakes import FakeApi


@pytest.fixture
def creator() -> Creator:
    creator = Creator(max_open=1)
    creator.sweep()
    return creator


def woken(creator: Creator) -> list[str | None]:
    """The sandboxes for which a sweep sends wake-ups; the wake-ups are removed from the queue."""
    creator.fakes.queue.clear()
    creator.sweep()
    messages, creator.fakes.queue = [message for _, message in creator.fakes.queue], []
    return [woken_sandbox(message) for message in messages]


def with_one_waiting(creator: Creator, **envelope: Any) -> str:
    """A request that waits for an open job, whose id is returned."""
    job = creator.fakes.create("prod").body["id"]
    creator.sweep()
    creator.send(**CREATE, **envelope)
    creator.work()
    assert creator.waiting() == ["key"]
    return str(job)


def test_nobody_is_woken_while_nobody_waits(creator: Creator) -> None:
    """Capacity alone is no reason, and a quiet sweep sends nothing."""
    assert woken(creator) == []


def test_one_message_wakes_the_creator_when_there_is_capacity(creator: Creator) -> None:
    """As soon as a sweep has seen the job end, and once per sweep until the creator has run."""
    job = with_one_waiting(creator)
    creator.send("second", **asking(fields="f"))
    creator.work()
    assert woken(creator) == []
    creator.fakes.move("prod", job, "SUCCEEDED")
    assert woken(creator) == ["prod"]
    assert woken(creator) == ["prod"]


def test_a_held_line_is_not_woken(creator: Creator) -> None:
    """Until the hold is over, because a run could do nothing."""

    class Down(FakeApi):
        def create_job(self, *asked: Any, **options: Any) -> Any:
            raise RetryLater("503")

    creator.api = lambda: Down(creator.fakes)
    creator.send(**CREATE)
    creator.work()
    assert woken(creator) == []
    creator.fakes.now = creator.gate().hold.until
    assert woken(creator) == ["prod"]


def test_a_turn_that_is_to_come_wakes_nobody(creator: Creator) -> None:
    """A request that was put off is not tried before its time."""
    job = with_one_waiting(creator)
    creator.fakes.move("prod", job, "SUCCEEDED")
    creator.sweep()
    key = ("ticket", "prod", "key")
    ticket = creator.fakes.items[key]
    assert isinstance(ticket, Ticket)
    later = Ticket(
        "prod", "key", "create", creator.fakes.now + 10 * MINUTE_MS, sent_at=ticket.sent_at
    )
    creator.fakes.items[key] = creator.fakes.open["prod"][key] = later
    assert woken(creator) == []
    creator.fakes.now += 10 * MINUTE_MS
    assert woken(creator) == ["prod"]


def test_a_cancel_that_is_due_wakes_whatever_the_cap(creator: Creator) -> None:
    """Line and cap do not apply to cancel requests."""
    with_one_waiting(creator)
    creator.send("stop", action="cancel", cancelRequestKey="not-there-yet")
    creator.work()
    assert woken(creator) == []
    creator.fakes.now += MINUTE_MS
    assert woken(creator) == ["prod"]


def test_a_job_that_was_just_linked_and_has_ended_frees_capacity_at_once(creator: Creator) -> None:
    """Otherwise its slot would count for two minutes, because a query may miss the job."""
    creator.send("first", **asking(fields="first"))
    creator.send("second", **asking(fields="second"))
    creator.work()
    assert creator.waiting() == ["second"]
    creator.sweep()
    creator.finish()
    assert woken(creator) == ["prod"]
    assert creator.gate().slots == {}
    creator.sweep()
    creator.work()
    assert creator.ends()[-1] == ("second", "CREATED")


def test_ten_thousand_who_wait_cost_a_sweep_no_call_but_its_query(creator: Creator) -> None:
    """While there is no capacity; it reports how many they are, and the age of the oldest."""
    with_one_waiting(creator)
    for number in range(10_000):
        key = ("ticket", "prod", f"k{number}")
        ticket = Ticket("prod", f"k{number}", "create", creator.fakes.now, creator.fakes.now)
        creator.fakes.items[key] = creator.fakes.open["prod"][key] = ticket
    creator.fakes.now += MINUTE_MS
    creator.fakes.calls.clear()
    report = creator.sweep()
    assert dict(creator.fakes.calls) == {"list": 1, "query": 1}
    assert report.waiting == 10_001
    assert report.oldest_request_ms >= MINUTE_MS


def test_a_sweep_that_can_t_list_ends_publishes_and_wakes_all_the_same(creator: Creator) -> None:
    """What needs no listing does not wait for one."""

    class NoListing(FakeApi):
        def list_jobs(self, *_: Any, **__: Any) -> Any:
            raise RetryLater("down")

    job = with_one_waiting(creator, expiresAt="2023-11-14T22:20:00Z")
    creator.send("next", **asking(fields="next"))
    creator.work()
    creator.fakes.move("prod", job, "SUCCEEDED")
    creator.sweep()
    creator.fakes.queue.clear()
    creator.sweep_api = lambda: NoListing(creator.fakes)
    creator.fakes.now += 20 * MINUTE_MS
    assert woken(creator) == ["prod"]
    assert creator.ends() == [("key", "EXPIRED")]
    assert [letter.request_key for letter in creator.fakes.dead_letter_queue] == ["key"]
