"""Sandboxes that are no longer watched: how they are released, and how they begin again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from export_jobs.contract.errors import Forbidden
from export_jobs.monitor import watch
from export_jobs.monitor.watch import FormerSandboxes
from support.creator import CREATE, MINUTE_MS, Creator
from support.fake_store import FakeStore
from support.fakes import FakeApi


@pytest.fixture
def creator() -> Creator:
    """A stack that watches both sandboxes, and has swept them once."""
    creator = Creator(max_open=1)
    deployed(creator, "prod", "dev").look_after(creator.sweeper())
    creator.sweep("prod")
    creator.sweep("dev")
    return creator


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished sandboxes are released at once, unless a test changes that."""
    monkeypatch.setattr(watch, "RELEASED_AFTER_S", 0.0)


def deployed(creator: Creator, *sandboxes: str) -> FormerSandboxes:
    """What a new process handles in a stack that watches these sandboxes."""
    return FormerSandboxes(FakeStore(creator.fakes), sandboxes)


def published(creator: Creator) -> list[tuple[str, str]]:
    """Job and status of each event on the bus since the last call."""
    events, creator.fakes.published["bus"] = creator.fakes.published["bus"], []
    return [(event.detail["jobId"], event.detail["status"]) for event in events]


def test_one_that_the_service_refuses_to_list_is_released_once_nothing_is_open(
    creator: Creator,
) -> None:
    """Usually it was removed because it no longer exists; it must not be listed for ever."""

    class Gone(FakeApi):
        def list_jobs(self, sandbox: str, **options: Any) -> Any:
            raise Forbidden(f"no such sandbox: {sandbox}")

    creator.sweep_api = lambda: Gone(creator.fakes)
    creator.fakes.create("dev")
    creator.send(sandboxName="dev", **CREATE)
    creator.max_open = 0
    creator.work()
    former = deployed(creator, "prod")
    former.look_after(creator.sweeper())
    assert creator.ends() == [("key", "NOT_WATCHED")]
    assert creator.fakes.watched == {"prod"}


def test_one_with_an_open_job_is_not_released_while_it_can_t_be_listed(creator: Creator) -> None:
    """Subscribers who saw it begin have yet to receive its end."""

    class Down(FakeApi):
        def list_jobs(self, sandbox: str, **options: Any) -> Any:
            raise Forbidden("not for now")

    job = creator.fakes.create("dev").body["id"]
    creator.sweep("dev")
    creator.sweep_api = lambda: Down(creator.fakes)
    former = deployed(creator, "prod")
    former.look_after(creator.sweeper())
    assert creator.fakes.watched == {"prod", "dev"}
    creator.sweep_api = lambda: FakeApi(creator.fakes)
    creator.fakes.move("dev", job, "SUCCEEDED")
    for _ in range(2):
        former.look_after(creator.sweeper())
    assert published(creator)[-1] == (job, "SUCCEEDED")
    assert creator.fakes.watched == {"prod"}


def test_an_event_that_is_not_delivered_keeps_it(creator: Creator) -> None:
    """After a release, nobody would publish what is left in its outbox."""
    creator.max_open = 0
    creator.send(sandboxName="dev", **CREATE)
    creator.work()
    former = deployed(creator, "prod")
    creator.fakes.plan([("send", "times out before")])
    former.look_after(creator.sweeper())
    assert creator.fakes.dead_letter_queue == []
    assert creator.fakes.watched == {"prod", "dev"}
    for _ in range(20):
        creator.fakes.now += MINUTE_MS
        former.look_after(creator.sweeper())
    assert [letter.request_key for letter in creator.fakes.dead_letter_queue] == ["key"]
    assert creator.fakes.watched == {"prod"}


@pytest.mark.parametrize("unfinished", [True, False])
def test_added_again_it_is_as_new_however_soon(creator: Creator, *, unfinished: bool) -> None:
    """Jobs that ended in the meantime are not published, even if a job prevented its release."""
    lasting = creator.fakes.create("dev").body["id"]
    creator.sweep("dev")
    former = deployed(creator, "prod")
    if not unfinished:
        creator.fakes.move("dev", lasting, "SUCCEEDED")
    for _ in range(3):
        former.look_after(creator.sweeper())
    assert creator.fakes.watched == ({"prod", "dev"} if unfinished else {"prod"})
    for _ in range(300):
        number = creator.fakes.create("dev").body["id"]
        creator.fakes.move("dev", number, "SUCCEEDED")
    new = creator.fakes.create("dev").body["id"]
    former.look_after(creator.sweeper())
    published(creator)

    deployed(creator, "prod", "dev").look_after(creator.sweeper())
    creator.sweep("dev")
    creator.fakes.move("dev", lasting, "FAILED") if unfinished else None
    creator.sweep("dev")
    assert published(creator) == [(new, "NEW"), *([(lasting, "FAILED")] if unfinished else [])]
    assert creator.fakes.watched == {"prod", "dev"}


def test_a_request_that_waits_in_one_is_not_admitted_when_it_is_sent_again(
    creator: Creator,
) -> None:
    """Its second message, without a sandbox, is read; no job is made in an unwatched sandbox."""
    creator.sandboxes = ("dev", "prod")
    creator.max_open = 0
    request = creator.send(**CREATE)
    creator.work()
    assert creator.waiting("dev") == ["key"]
    creator.sandboxes, creator.max_open = ("prod",), 1
    creator.enqueue(request)
    creator.work()
    assert creator.jobs == []
    deployed(creator, "prod").look_after(creator.sweeper())
    assert creator.ends() == [("key", "NOT_WATCHED")]


def test_to_look_after_one_costs_no_more_than_a_quiet_sweep(creator: Creator) -> None:
    """One page and one read, however much has happened there; the list is read once per process."""
    creator.page_size = 10
    lasting = creator.fakes.create("dev")
    for _ in range(100):
        number = creator.fakes.create("dev").body["id"]
        creator.fakes.move("dev", number, "SUCCEEDED")
    creator.sweep("dev")
    former, sweeper = deployed(creator, "prod"), creator.sweeper()
    former.look_after(sweeper)
    creator.fakes.now += MINUTE_MS
    creator.fakes.calls = Counter()
    former.look_after(sweeper)
    assert lasting.body["status"] == "NEW"
    assert creator.fakes.calls == {"list": 1, "get": 1, "query": 1}


def test_without_any_there_is_nothing_to_do(creator: Creator) -> None:
    """A stack that has always watched the same reads the list once per process, never writes it."""
    former, sweeper = deployed(creator, "prod", "dev"), creator.sweeper()
    creator.fakes.calls = Counter()
    for _ in range(3):
        former.look_after(sweeper)
    assert creator.fakes.calls == {"get item": 1}


def test_a_request_that_comes_while_a_deployment_is_under_way_is_ended(
    creator: Creator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old creator may still record one: the sandbox is handled for another 15 minutes."""
    monkeypatch.setattr(watch, "RELEASED_AFTER_S", 900.0)
    seconds = iter([0.0, 600.0, 700.0, 1_700.0])
    deployed(creator, "prod", "dev").look_after(creator.sweeper())
    former = FormerSandboxes(FakeStore(creator.fakes), ["prod"], monotonic=lambda: next(seconds))
    former.look_after(creator.sweeper())
    former.look_after(creator.sweeper())
    creator.max_open = 0
    creator.send(sandboxName="dev", **CREATE)
    creator.work()
    for _ in range(3):
        former.look_after(creator.sweeper())
    assert creator.ends() == [("key", "NOT_WATCHED")]
    assert creator.fakes.watched == {"prod"}
