"""The daily digest in the monitor's runs: once a day, at no cost to a quiet run, whatever fails."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from export_jobs.contract.errors import RetryLater
from export_jobs.events.messages import email
from export_jobs.events.policy import DigestPolicy
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.limits import LEASE_MS
from export_jobs.model.records import DigestState, Event, EventType
from export_jobs.monitor.watch import Pace, watch
from support.fake_store import FakeStore
from support.fakes import FakeApi, Fakes
from support.faults import Kind, ProcessDied
from support.monitor import NO_DELAYS, Monitor

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
AT_8 = replace(NO_DELAYS, digest=DigestPolicy("08:00", "Europe/Rome"))
OFF = NO_DELAYS
QUIET = {"list": 1, "query": 1}
FAULTS: tuple[Kind, ...] = (
    *("dies before", "dies after", "times out before", "times out after", "is throttled"),
)  # fmt: skip


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


@pytest.fixture
def monitor(fakes: Fakes) -> Monitor:
    """A monitor that has planned its first digest."""
    monitor = Monitor(fakes, AT_8)
    monitor.run()
    monitor.run()
    return monitor


def state(fakes: Fakes, sandbox: str = "prod") -> DigestState:
    found: DigestState = fakes.items.get(("digest", sandbox), DigestState())
    return found


def advance_to_due(fakes: Fakes, sandbox: str = "prod") -> int:
    due = state(fakes, sandbox).due_at
    assert due
    fakes.now = max(fakes.now, due)
    return due


def digests(monitor: Monitor) -> list[Event]:
    """Those that the topic has received since the last call; none is ever on the bus."""
    assert not [e for e in monitor.fakes.published["bus"] if e.type == EventType.DIGEST]
    return [event for event in monitor.events("topic") if event.type == EventType.DIGEST]


# -- what it costs -------------------------------------------------------------------------------


def calls_of_a_run(monitor: Monitor) -> dict[str, int]:
    monitor.fakes.calls = Counter()
    assert monitor.run() == []
    return dict(monitor.fakes.calls)


def test_a_quiet_run_costs_nothing_more(fakes: Fakes, monitor: Monitor) -> None:
    """Promise 6, with a digest and without one: one API call and one read, nothing written."""
    assert state(fakes).due_at
    assert calls_of_a_run(monitor) == QUIET
    off = Monitor(Fakes(), OFF)
    off.run()
    assert calls_of_a_run(off) == QUIET


def test_a_digest_costs_a_few_calls_once(fakes: Fakes, monitor: Monitor) -> None:
    """One transaction, one publish, one write that settles it; four reads of each sandbox."""
    advance_to_due(fakes)
    assert calls_of_a_run(monitor) == {
        **QUIET, "query": 5, "transact": 1, "publish to topic": 1, "put": 1,
    }  # fmt: skip
    assert calls_of_a_run(monitor) == QUIET


# -- when it is sent -----------------------------------------------------------------------------


def test_the_first_run_with_a_digest_only_plans_it(fakes: Fakes) -> None:
    """Promise 7: installing it sends nothing, and counts nothing that ended before."""
    plain = Monitor(fakes, OFF)
    plain.run()
    fakes.create("prod", status="FAILED")
    plain.run()
    plain.events("topic")
    monitor = Monitor(fakes, AT_8)
    for _ in range(3):
        assert monitor.run() == []
    assert digests(monitor) == []
    advance_to_due(fakes)
    monitor.run()
    (digest,) = digests(monitor)
    assert digest.detail["exports"] == 0


def test_nothing_is_planned_before_the_sandbox_has_a_state(fakes: Fakes) -> None:
    """Without one, no sweep would find the plan, and each would make another."""
    monitor = Monitor(fakes, AT_8)
    fakes.plan([(number, "is throttled") for number in (3, 4)])  # both writes of the state
    assert monitor.run()
    assert ("state", "prod") not in fakes.items
    assert ("digest", "prod") not in fakes.items
    monitor.run()
    monitor.run()
    assert state(fakes).due_at


def test_there_is_one_digest_a_day_and_each_end_is_in_one(fakes: Fakes, monitor: Monitor) -> None:
    """Through a week with a clock change on both ends, by a run every half hour."""
    ends, sent = 0, []
    for number in range(7 * 48):
        fakes.now += HOUR_MS // 2
        if number % 5 == 0:
            fakes.create("prod", status="SUCCEEDED" if number % 3 else "FAILED")
            ends += 1
        assert monitor.run() == []
        sent += digests(monitor)
    advance_to_due(fakes)
    monitor.run()
    sent += digests(monitor)
    assert len({event.id for event in sent}) == len(sent) == 8
    assert sum(event.detail["exports"] for event in sent) == ends
    assert all(event.detail["coversDays"] == 1 for event in sent)
    for before, after in pairwise(sent):
        assert before.detail["until"] == after.detail["since"]


@pytest.mark.parametrize(
    ("start", "dues"),
    [
        (1_774_650_000_000, ["2026-03-28T07", "2026-03-29T06", "2026-03-30T06"]),
        (1_792_800_000_000, ["2026-10-24T06", "2026-10-25T07", "2026-10-26T07"]),
    ],
    ids=["spring", "autumn"],
)
def test_a_clock_change_neither_repeats_nor_skips_one(start: int, dues: list[str]) -> None:
    """It comes at eight o'clock in Rome, on both days around the change."""
    fakes = Fakes(now=start)
    monitor = Monitor(fakes, AT_8)
    monitor.run()
    found = []
    for _ in range(3 * 24 * 4):
        monitor.run()
        found += [event.detail["dueAt"][:13] for event in digests(monitor)]
        fakes.now += 15 * MINUTE_MS
    assert found == dues


def test_after_three_days_without_the_monitor_one_digest_covers_them(
    fakes: Fakes, monitor: Monitor
) -> None:
    """With the ends that the same run has only just found, in every sandbox, and it says so."""
    monitor.run("prod", "dev")
    monitor.run("prod", "dev")
    first_due = state(fakes).due_at
    fakes.now += 3 * DAY_MS
    fakes.create("prod", status="FAILED")
    fakes.create("dev", status="SUCCEEDED")
    assert monitor.run("prod", "dev") == []
    (digest,) = digests(monitor)
    assert (digest.detail["coversDays"], digest.detail["exports"]) == (3, 2)
    assert "3 days: no digest was sent in between" in email(digest)
    assert first_due
    assert state(fakes).due_at == first_due + 3 * DAY_MS
    monitor.run("prod", "dev")
    assert digests(monitor) == []


def test_without_the_parameter_nothing_is_sent_and_with_it_again_it_starts_anew(
    fakes: Fakes, monitor: Monitor
) -> None:
    """What ended meanwhile is not reported, and there is no digest at once."""
    off = Monitor(fakes, OFF)
    off.run()
    assert replace(state(fakes), version=0) == DigestState()
    assert calls_of_a_run(off) == QUIET
    fakes.now += 5 * DAY_MS
    fakes.create("prod", status="FAILED")
    off.run()
    again = Monitor(fakes, AT_8)
    again.run()
    assert state(fakes).since > fakes.now - HOUR_MS
    assert digests(again) == []
    advance_to_due(fakes)
    again.run()
    (digest,) = digests(again)
    assert digest.detail["exports"] == 0


def test_another_time_is_planned_at_once(fakes: Fakes, monitor: Monitor) -> None:
    """The next digest comes at the new time, and covers what the old one would have."""
    before = state(fakes)
    changed = Monitor(fakes, replace(AT_8, digest=DigestPolicy("09:30", "Europe/Rome")))
    changed.run()
    assert before.due_at
    assert state(fakes).due_at == before.due_at + 90 * MINUTE_MS
    assert state(fakes).since == before.since
    assert digests(changed) == []
    assert calls_of_a_run(changed) == QUIET


def test_another_first_sandbox_plans_anew(fakes: Fakes, monitor: Monitor) -> None:
    """The former first one forgets its plan, so that it sends none later."""
    for _ in range(3):
        assert monitor.run("dev", "prod") == []
    assert state(fakes).due_at is None
    advance_to_due(fakes, "dev")
    monitor.run("dev", "prod")
    assert len(digests(monitor)) == 1


def test_digests_of_two_first_sandboxes_have_different_ids(fakes: Fakes) -> None:
    """During a deployment, both versions may send one for the same moment."""
    sent = []
    for home, other in (("prod", "dev"), ("dev", "prod")):
        fakes = Fakes()
        monitor = Monitor(fakes, AT_8)
        monitor.run(home, other)
        monitor.run(home, other)
        advance_to_due(fakes, home)
        monitor.run(home, other)
        sent += digests(monitor)
    assert sent[0].detail["dueAt"] == sent[1].detail["dueAt"]
    assert sent[0].id != sent[1].id


# -- what it reports -----------------------------------------------------------------------------


def test_it_reports_what_is_overdue_and_what_waits(fakes: Fakes, monitor: Monitor) -> None:
    """In every sandbox that is watched."""
    hourly = ExpectationRecord("dev", Expectation("hourly", "d", "UTC", every=60), fakes.now)
    FakeStore(fakes).edit_expectations("dev", [hourly])
    for _ in range(2):
        monitor.run("prod", "dev")
    fakes.create("prod", status="PROCESSING")
    advance_to_due(fakes)
    assert monitor.run("prod", "dev") == []
    (digest,) = digests(monitor)
    assert [one["expectation"] for one in digest.detail["overdue"]] == ["hourly"]
    assert digest.detail["openJobs"] == 1


def test_it_names_datasets_with_regular_exports_and_no_expectation(fakes: Fakes) -> None:
    """Until somebody expects them; the command that suggests how is in the message."""
    monitor = Monitor(fakes, AT_8)
    for _ in range(15 * 24):
        fakes.now += HOUR_MS
        fakes.create("prod", status="SUCCEEDED", metrics={"totalExportedProfileCounter": 5})
        monitor.run()
    sent = digests(monitor)
    assert sent[0].detail["notExpected"] == []
    assert sent[-1].detail["notExpected"] == [{"sandboxName": "prod", "datasetId": "d"}]
    assert "export-jobs expectation suggest --stack s" in email(sent[-1], stack="s")
    hourly = ExpectationRecord("prod", Expectation("hourly", "d", "UTC", every=60), fakes.now)
    FakeStore(fakes).edit_expectations("prod", [hourly])
    monitor.run()
    advance_to_due(fakes)
    monitor.run()
    assert digests(monitor)[-1].detail["notExpectedDatasets"] == 0


class Down(FakeApi):
    """No listing can be read."""

    def list_jobs(self, sandbox: str, **_: Any) -> Any:
        raise RetryLater(f"{sandbox} is out of reach")


class NoCredential(Down):
    """Not even the organisation is known."""

    def org_id(self) -> str:
        raise RetryLater("no secret")


@pytest.mark.parametrize("api", [Down, NoCredential])
def test_it_is_sent_when_nothing_can_be_read_and_says_so(
    fakes: Fakes, monitor: Monitor, api: type[FakeApi]
) -> None:
    """A digest that is missing when all is broken would be missing when it is needed most."""
    monitor.run("prod", "dev")
    advance_to_due(fakes)
    down = Monitor(fakes, AT_8, api=api(fakes))
    assert len(down.run("prod", "dev")) == 2
    (digest,) = digests(down)
    assert digest.detail["failingSandboxes"] == 2
    assert "Sweeps failing:     dev, since 20" in email(digest)
    down.run("prod", "dev")
    assert digests(down) == []


def test_a_table_that_can_t_be_read_delays_it(fakes: Fakes, monitor: Monitor) -> None:
    """The run reports that, and the next one sends it."""
    advance_to_due(fakes)
    fakes.plan([(2, "is throttled")])
    assert monitor.run()
    assert digests(monitor) == []
    assert monitor.run() == []
    assert len(digests(monitor)) == 1


def test_a_problem_of_the_digest_fails_the_run(
    fakes: Fakes, monitor: Monitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 9, also for one that nobody expected; the sweeps have their results all the same."""
    advance_to_due(fakes)
    monkeypatch.setattr(FakeStore, "jobs_since", lambda *_: 1 / 0)
    job = fakes.create("prod").body["id"]
    problems = watch(
        monitor.sweeper,
        ["prod"],
        pace=Pace(),
        monotonic=lambda: 0.0,
        sleep=lambda _: None,
        reported=lambda _: None,
    )
    assert problems == ["the daily digest: unexpected ZeroDivisionError; see the log"]
    assert monitor.published() == [(job, "NEW")]


# -- faults and overlaps -------------------------------------------------------------------------


def run_with_a_fault(fakes: Fakes, number: int, kind: Kind) -> list[Event]:
    """The digests of a run that meets a fault at that call, and of the runs after it."""
    monitor = Monitor(fakes, AT_8)
    fakes.plan([(number, kind)])
    try:
        monitor.run("prod", "dev")
    except ProcessDied:
        monitor = Monitor(fakes, AT_8)
    sent = digests(monitor)
    for _ in range(4):
        fakes.plan([])
        monitor.run("prod", "dev")
        fakes.now += LEASE_MS
        sent += digests(monitor)
    return sent


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("number", range(16))
def test_a_fault_at_any_call_loses_none_and_repeats_only_the_same(
    fakes: Fakes, number: int, kind: Kind
) -> None:
    """Promises 1 and 2: its content is the same, too; and without a fault it comes once."""
    monitor = Monitor(fakes, AT_8)
    monitor.run("prod", "dev")
    monitor.run("prod", "dev")
    fakes.create("dev", status="FAILED")
    monitor.run("prod", "dev")
    due = advance_to_due(fakes)
    sent = run_with_a_fault(fakes, number, kind)
    assert len({event.id for event in sent}) == 1
    assert all(event == sent[0] for event in sent)
    assert sent[0].detail["exports"] == 1
    assert len(sent) == 1 or kind in {"dies after", "dies before", "times out after"}
    after = state(fakes).due_at
    assert after
    assert after > due
    assert not [key for key in fakes.items if key[0] == "outbox"]


def test_the_faults_strike_every_call_of_such_a_run(fakes: Fakes, monitor: Monitor) -> None:
    """Otherwise the test above would leave some out."""
    monitor.run("prod", "dev")
    monitor.run("prod", "dev")
    advance_to_due(fakes)
    before = fakes.numbered
    monitor.run("prod", "dev")
    assert fakes.numbered - before == 15


def test_a_topic_that_takes_nothing_gets_it_later(fakes: Fakes, monitor: Monitor) -> None:
    """It waits in the outbox, and does not stop the next day's digest."""
    advance_to_due(fakes)
    fakes.plan([("publish to topic", "answers 5xx")])
    assert "events did not reach the topic" in monitor.run()[0]
    fakes.plan([])
    fakes.now += DAY_MS
    monitor.run()
    assert len({event.id for event in digests(monitor)}) == 2


@pytest.mark.parametrize("seed", range(30))
def test_overlapping_runs_send_one(fakes: Fakes, monitor: Monitor, seed: int) -> None:
    """Whichever writes first; the calls of three runs are in random order."""
    advance_to_due(fakes)
    monitors = [Monitor(fakes, AT_8) for _ in range(3)]
    fakes.turns.run(random.Random(seed), [lambda m=m: m.run() for m in monitors])  # type: ignore[misc]
    assert len(digests(monitor)) == 1


def test_a_digest_for_which_time_runs_out_is_sent_in_part(fakes: Fakes) -> None:
    """And says so: one that can't be finished would never be sent."""
    left = [300.0]
    monitor = Monitor(fakes, AT_8, time_left_s=lambda: left[0])
    monitor.run()
    monitor.run()
    for _ in range(3):
        fakes.create("prod", status="SUCCEEDED")
    monitor.run()
    advance_to_due(fakes)
    jobs_since = FakeStore.jobs_since

    def slowly(self: FakeStore, sandbox: str, creation_time: int) -> Any:
        for job in jobs_since(self, sandbox, creation_time):
            yield job
            left[0] = 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FakeStore, "jobs_since", slowly)
        monitor.run()
    left[0] = 300.0
    fakes.now += LEASE_MS
    monitor.run()
    (sent,) = digests(monitor)
    assert sent.detail["exports"] == 1
    assert "exports" in sent.detail["truncated"]
    assert "incomplete: there was no time to read all" in email(sent)
