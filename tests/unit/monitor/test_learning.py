"""Sweeps compare jobs with the baselines of their kinds, which learn from them."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.ports import ItemRefused
from export_jobs.model.records import Event, JobRecord
from export_jobs.monitor import baselines as rule
from export_jobs.monitor import learning
from export_jobs.monitor.policy import MonitorPolicy
from support.fake_store import FakeStore
from support.fakes import FakeApi, FakePublisher, Fakes, ServiceJob
from support.faults import KINDS_IN_MEMORY, Kind, ProcessDied
from support.monitor import NO_DELAYS, Monitor

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
NOT_READ: set[Kind] = {"times out before", "times out after", "is throttled", "answers 5xx"}
"""The faults of a read after which the run goes on without it."""
BY_USUAL = MonitorPolicy(delays=DelayPolicy(limit_ms=150 * MINUTE_MS, factor=3))


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


class Nights:
    """A sandbox with an export every night, swept when it is created and when it has ended."""

    def __init__(self, fakes: Fakes, policy: MonitorPolicy = NO_DELAYS) -> None:
        self.fakes = fakes
        self.monitor = Monitor(fakes, policy)
        self.monitor.sweep()

    def begin(self, **body: Any) -> ServiceJob:
        return self.fakes.create("prod", status="NEW", **body)

    def end(
        self,
        job: ServiceJob,
        *,
        status: str = "SUCCEEDED",
        minutes: float = 20,
        profiles: int | None = 1_000_000,
        **body: Any,
    ) -> None:
        """Ends it so many minutes after its creation, now or later."""
        created = int(job.body["creationTime"])
        self.fakes.now = max(self.fakes.now, created + round(minutes * MINUTE_MS))
        metrics = {} if profiles is None else {"totalExportedProfileCounter": profiles}
        self.fakes.move("prod", job.body["id"], status)
        ended = {"updateTime": created + round(minutes * MINUTE_MS), "metrics": metrics, **body}
        job.body = {**job.body, **ended}

    def night(self, **ended: Any) -> Event | None:
        """A night's export and the sweeps around it; returns its final event, if there is one."""
        self.next_day()
        job = self.begin()
        self.monitor.sweep()
        self.end(job, **ended)
        self.monitor.sweep()
        return next((e for e in self.monitor.events() if e.detail["final"]), None)

    def nights(self, count: int) -> None:
        for _ in range(count):
            event = self.night()
            assert event
            assert event.detail["anomalies"] == []

    def next_day(self) -> None:
        self.fakes.now += DAY_MS - self.fakes.now % DAY_MS

    def baselines(self) -> Mapping[str, Baseline]:
        return {key[2]: item for key, item in self.fakes.items.items() if key[0] == "baseline"}

    def baseline(self) -> Baseline:
        (baseline,) = self.baselines().values()
        return baseline


def of_segment(name: str) -> dict[str, Any]:
    return {"filter": {"segments": [{"segmentId": name, "status": ["realized"]}]}}


# -- comparing -------------------------------------------------------------------------------------


def test_an_export_with_far_fewer_profiles_says_so(fakes: Fakes) -> None:
    """Its outcome stays what it is; the event has the numbers to compare."""
    nights = Nights(fakes)
    nights.nights(9)
    event = nights.night(profiles=1_000)
    assert event
    shown = {
        name: event.detail[name]
        for name in ("outcome", "anomalies", "newUsual", "profilesRatio", "durationRatio")
    }
    assert shown == {
        "outcome": "SUCCEEDED",
        "anomalies": ["VOLUME_DROP"],
        "newUsual": [],
        "profilesRatio": 0.001,
        "durationRatio": 1.0,
    }
    assert event.detail["usualProfilesExported"] == 1_000_000
    assert event.detail["usualDurationMs"] == 20 * MINUTE_MS
    assert event.detail["baselineRuns"] == 9


def test_people_get_what_is_unusual_at_every_level(fakes: Fakes) -> None:
    """Also those who get problems only."""
    policy = replace(NO_DELAYS, events=replace(NO_DELAYS.events, topic_events="problems"))
    nights = Nights(fakes, policy)
    nights.nights(8)
    assert nights.monitor.events("topic") == []
    nights.night(minutes=90)
    (event,) = nights.monitor.events("topic")
    assert event.detail["anomalies"] == ["SLOW"]


def test_other_exports_do_not_matter(fakes: Fakes) -> None:
    """Sixty others a day between the nightly ones, of the same dataset, neither mix nor push out."""
    nights = Nights(fakes)
    for number in range(12):
        for other in range(60):
            job = nights.begin(**of_segment(f"other {other}"))
            nights.end(job, minutes=1 + other, profiles=1 + other * 1_000)
        nights.monitor.sweep()
        nights.monitor.events()
        if number < 11:
            nights.nights(1)
    event = nights.night(profiles=300_000)
    assert event
    assert event.detail["anomalies"] == ["VOLUME_DROP"]
    assert event.detail["baselineRuns"] == 11
    assert len(nights.baselines()) == 61


def test_the_third_in_a_row_is_the_new_usual_and_says_so(fakes: Fakes) -> None:
    """From then on such an export is not unusual any more."""
    nights = Nights(fakes)
    nights.nights(9)
    seen = [nights.night(profiles=300_000) for _ in range(4)]
    details = [event.detail for event in seen if event]
    assert [detail["anomalies"] for detail in details] == [["VOLUME_DROP"]] * 3 + [[]]
    assert [detail["newUsual"] for detail in details] == [[], [], ["VOLUME_DROP"], []]
    assert details[3]["usualProfilesExported"] == 300_000


@pytest.mark.parametrize(
    "ended",
    [
        {"status": "FAILED", "profiles": 10},
        {"status": "CANCELLED", "minutes": 300},
        {"profiles": 0},
        {"errors": [{"code": "1"}]},
        {"profiles": 10, "errors": [{"code": "1"}]},
        {"profiles": 10},
    ],
)
def test_empty_failed_and_unusual_exports_teach_nothing(
    fakes: Fakes, ended: dict[str, Any]
) -> None:
    """What is usual stays what it was, however often it happens with good ones in between."""
    nights = Nights(fakes)
    nights.nights(9)
    runs = nights.baseline().runs
    nights.night(**ended)
    assert nights.baseline().runs == runs
    assert nights.night()
    assert len(nights.baseline().runs) == 10


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED"])
def test_an_export_that_did_not_succeed_is_not_called_unusual(fakes: Fakes, status: str) -> None:
    """It is bad enough; the event tells what would have been usual."""
    nights = Nights(fakes)
    nights.nights(9)
    event = nights.night(status=status, profiles=10, minutes=90)
    assert event
    assert event.detail["anomalies"] == []
    assert event.detail["profilesRatio"] is None
    assert event.detail["usualDurationMs"] == 20 * MINUTE_MS


def test_empty_exports_never_become_usual(fakes: Fakes) -> None:
    """Five in a row stay as bad as one; each tells what was usual."""
    nights = Nights(fakes)
    nights.nights(9)
    for _ in range(5):
        event = nights.night(profiles=0)
        assert event
        assert event.detail["outcome"] == "SUCCEEDED_EMPTY"
        assert event.detail["anomalies"] == ["VOLUME_DROP"]
        assert event.detail["newUsual"] == []
        assert event.detail["usualProfilesExported"] == 1_000_000


def test_an_unknown_number_of_profiles_is_no_alarm_and_teaches_no_volume(fakes: Fakes) -> None:
    """The event says that it is unknown; the duration counts."""
    nights = Nights(fakes)
    nights.nights(9)
    event = nights.night(profiles=None)
    assert event
    assert event.detail["profilesUnknown"] is True
    assert event.detail["profilesExported"] is None
    assert event.detail["anomalies"] == []
    assert nights.baseline().runs[-1].profiles is None
    assert nights.baseline().runs[-1].duration_ms == 20 * MINUTE_MS
    failed = nights.night(status="FAILED", profiles=None)
    assert failed
    assert failed.detail["profilesUnknown"] is False


def test_jobs_of_one_sweep_are_compared_in_their_order(fakes: Fakes) -> None:
    """After an outage, each with those before it, too: the third in a row is in the same sweep."""
    nights = Nights(fakes)
    nights.nights(9)
    for _ in range(4):
        nights.next_day()
        nights.end(nights.begin(), profiles=300_000)
    nights.monitor.sweep()
    ends = [event.detail for event in nights.monitor.events()]
    assert [detail["anomalies"] for detail in ends] == [["VOLUME_DROP"]] * 3 + [[]]
    assert [detail["newUsual"] for detail in ends] == [[], [], ["VOLUME_DROP"], []]
    assert [run.profiles for run in nights.baseline().runs[-4:]] == [300_000] * 4


# -- learning --------------------------------------------------------------------------------------


def test_a_sweep_makes_no_more_writes_for_what_it_learns(fakes: Fakes) -> None:
    """Each job that ends is recorded and settled: two writes; its baseline is in the second."""
    nights = Nights(fakes)
    nights.monitor.sweep()
    jobs = [nights.begin(**of_segment(f"s{n % 5}")) for n in range(20)]
    nights.monitor.sweep()
    for job in jobs:
        nights.end(job)
    cost = nights.monitor.cost()
    assert cost["put"] + cost["transact"] == 40
    assert cost["transact"] == 6  # a baseline for each of five kinds, and the sandbox's state
    assert cost["batch get"] == 1
    assert {len(one.runs) for one in nights.baselines().values()} == {4}


@pytest.mark.parametrize("kinds", [10, 10_000])
def test_a_sweep_reads_the_same_however_many_kinds_there_are(fakes: Fakes, kinds: int) -> None:
    """One call for the kinds that have news; none while nothing happens."""
    nights = Nights(fakes)
    for number in range(kinds):
        kind = f"1-{number:016x}"
        baseline = Baseline("prod", kind, runs=(Run(fakes.now, 1, 1),), version=1)
        fakes.items["baseline", "prod", kind] = baseline
    fakes.now += MINUTE_MS
    assert nights.monitor.cost() == {"list": 1, "query": 1}
    job = nights.begin()
    assert nights.monitor.cost() == {
        "list": 1,
        "query": 1,
        "batch get": 1,
        "put": 1,
        "transact": 1,
        "publish to bus": 1,
    }
    nights.end(job)
    assert nights.monitor.cost()["batch get"] == 1


def test_a_first_sweep_learns_from_four_weeks(fakes: Fakes) -> None:
    """So that the first night after the installation is compared; nothing is announced of them."""
    start = fakes.now
    for number in range(40):
        fakes.now = start + number * DAY_MS
        job = fakes.create("prod", status="NEW")
        fakes.now += 20 * MINUTE_MS
        fakes.move("prod", job.body["id"], "SUCCEEDED")
        job.body["metrics"] = {"totalExportedProfileCounter": 1_000_000}
    nights = Nights(fakes)
    assert nights.monitor.events() == []
    assert len(nights.baseline().runs) == 29  # the half day more that a baseline keeps
    event = nights.night(profiles=1_000)
    assert event
    assert event.detail["anomalies"] == ["VOLUME_DROP"]
    assert event.detail["baselineRuns"] == 29


def test_a_first_sweep_that_is_repeated_teaches_once(fakes: Fakes) -> None:
    """Whatever went wrong with the first try; a failed write is a problem of the sweep."""
    for _ in range(3):
        job = fakes.create("prod", status="SUCCEEDED")
        fakes.now += DAY_MS
        job.body["metrics"] = {"totalExportedProfileCounter": 7}
    store = FakeStore(fakes)
    fakes.plan([("put", "is throttled")])
    monitor = Monitor(fakes)
    assert monitor.sweeper.sweep("prod").problems == ["can't learn what is usual: as planned"]
    assert store.load("prod").state is None or not store.load("prod").state.swept_at  # type: ignore[union-attr]
    fakes.plan([("transact", "times out after"), ("put", "times out after")])
    monitor.sweeper.sweep("prod")
    monitor.sweep()
    (baseline,) = [item for key, item in fakes.items.items() if key[0] == "baseline"]
    assert len(baseline.runs) == 3
    assert monitor.events() == []


def test_a_first_sweep_teaches_the_kinds_with_the_newest_jobs(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is a most of kinds, and of jobs of each, so that it can be finished."""
    monkeypatch.setattr(learning, "MAX_KINDS", 3)
    monkeypatch.setattr(learning, "MAX_LEARNED", 2)
    for number in range(20):
        fakes.create("prod", status="SUCCEEDED", **of_segment(f"s{number // 4}"))
    nights = Nights(fakes)
    assert sorted(one.segments for one in nights.baselines().values()) == [
        ("s2",),
        ("s3",),
        ("s4",),
    ]
    assert {len(one.runs) for one in nights.baselines().values()} == {2}


def test_a_baseline_names_what_it_is_of(fakes: Fakes) -> None:
    """For people: the dataset, and the first of its segments."""
    nights = Nights(fakes)
    segments = [{"segmentId": f"s{n:02}", "status": ["realized"]} for n in range(12)]
    nights.end(nights.begin(filter={"segments": segments}))
    nights.monitor.sweep()
    baseline = nights.baseline()
    assert baseline.dataset_id == "d"
    assert baseline.segments == tuple(f"s{n:02}" for n in range(10))
    assert baseline.segment_count == 12


def test_a_job_whose_end_shows_nothing_teaches_nothing(fakes: Fakes) -> None:
    """The service may leave out its times and counters; a baseline never ends up empty by it."""

    class Bare(FakeApi):
        def _answered(self, body: Mapping[str, Any]) -> dict[str, Any]:
            ended = body["status"] == "SUCCEEDED"
            shown = ("id", "status", "destination") if ended else body.keys()
            return {name: body[name] for name in shown}

    nights = Nights(fakes)
    nights.nights(9)
    fakes.now += 40 * DAY_MS
    job = nights.begin()
    nights.monitor = Monitor(fakes, api=Bare(fakes))
    nights.monitor.sweep()
    before = nights.baseline()
    fakes.move("prod", job.body["id"], "SUCCEEDED")
    nights.monitor.sweep()
    assert len(nights.monitor.published()) == 2
    assert nights.baseline() == before
    assert FakeStore(fakes).load("prod").open_jobs == {}


def test_a_job_with_errors_makes_nothing_usual(fakes: Fakes) -> None:
    """It may be the third in a row, but nothing is learned from it; the next good one says so."""
    nights = Nights(fakes)
    nights.nights(9)
    ends = [nights.night(profiles=300_000) for _ in range(2)]
    ends.append(nights.night(profiles=300_000, errors=[{"code": "1"}]))
    ends.append(nights.night(profiles=300_000))
    details = [event.detail for event in ends if event]
    assert [detail["anomalies"] for detail in details] == [["VOLUME_DROP"]] * 4
    assert [detail["newUsual"] for detail in details] == [[], [], [], ["VOLUME_DROP"]]


def test_a_job_that_is_reopened_is_not_its_own_successor(fakes: Fakes) -> None:
    """It ends twice, and is one run."""
    nights = Nights(fakes)
    nights.nights(9)
    nights.night(profiles=300_000)
    nights.next_day()
    job = nights.begin()
    nights.end(job, profiles=300_000)
    nights.monitor.sweep()
    fakes.move("prod", job.body["id"], "PROCESSING")
    nights.monitor.sweep()
    fakes.move("prod", job.body["id"], "SUCCEEDED")
    nights.monitor.sweep()
    ends = [event.detail for event in nights.monitor.events() if event.detail["final"]]
    assert [detail["newUsual"] for detail in ends] == [[], []]
    assert len(nights.baseline().unusual) == 2


def test_a_job_of_the_future_teaches_nothing(fakes: Fakes) -> None:
    """Every other run would be too old beside it, for years."""
    nights = Nights(fakes)
    nights.nights(9)
    before = nights.baseline()
    job = nights.begin(creationTime=fakes.now + 3_650 * DAY_MS)
    nights.monitor.sweep()
    fakes.move("prod", job.body["id"], "SUCCEEDED")
    job.body["metrics"] = {"totalExportedProfileCounter": 1_000_000}
    nights.monitor.sweep()
    assert nights.baseline() == before


def test_a_baseline_that_fails_in_an_unexpected_way_costs_only_the_comparison(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Events are published, once; the log has the error."""
    nights = Nights(fakes)
    nights.nights(2)

    def broken(*_: Any) -> Any:
        raise OverflowError("what nobody thought of")

    monkeypatch.setattr(rule, "compare", broken)
    event = nights.night(profiles=1)
    assert event
    assert event.detail["baselineRuns"] is None
    assert "failed unexpectedly" in caplog.text
    other = Fakes()
    other.create("prod", status="SUCCEEDED")
    other.now += DAY_MS
    Nights(other)
    assert FakeStore(other).load("prod").state
    assert "learns nothing" in caplog.text


def test_a_first_sweep_stops_learning_when_its_time_is_over(fakes: Fakes) -> None:
    """It is unfinished then, and the next sweep is a first one."""
    for number in range(5):
        fakes.create("prod", status="SUCCEEDED", **of_segment(f"s{number}"))

    def learned() -> int:
        return sum(key[0] == "baseline" for key in fakes.items)

    monitor = Monitor(fakes, time_left_s=lambda: 0.0 if learned() > 1 else 300.0)
    assert monitor.sweeper.sweep("prod").unfinished
    assert learned() == 2
    assert not FakeStore(fakes).load("prod").state
    nights = Nights(fakes)
    assert len(nights.baselines()) == 5


def test_a_kind_that_the_table_refuses_ends_no_first_sweep(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It learns nothing; or the sandbox would never be watched."""

    def refusing(_store: FakeStore, _baseline: Baseline) -> None:
        raise ItemRefused("the item is too large")

    fakes.create("prod", status="SUCCEEDED")
    fakes.now += DAY_MS
    monkeypatch.setattr(FakeStore, "put_baseline", refusing)
    Nights(fakes)
    assert FakeStore(fakes).load("prod").state


# -- faults and races ------------------------------------------------------------------------------


def a_night_with(fakes: Fakes, strike: tuple[int, Kind] | None) -> Nights:
    """Eight nights, then three jobs of two kinds that end in one sweep, with a fault at one call."""
    nights = Nights(fakes)
    nights.nights(8)
    nights.next_day()
    jobs = [nights.begin(), nights.begin(), nights.begin(**of_segment("s"))]
    nights.monitor.sweep()
    for job in jobs:
        nights.end(job)
    fakes.set_strike = (fakes.numbered + strike[0], strike[1]) if strike else None
    for _ in range(3):
        try:
            nights.monitor.sweeper.sweep("prod")
        except ProcessDied:
            nights.monitor = Monitor(fakes)
        fakes.now += 7 * MINUTE_MS
    nights.monitor.sweep()
    return nights


@pytest.mark.parametrize("kind", KINDS_IN_MEMORY)
def test_after_any_fault_each_job_has_taught_once(kind: Kind) -> None:
    """At whichever call. Where baselines can't be read, events go out, and nothing is learned."""
    calls = Fakes()
    before = calls.numbered
    a_night_with(calls, None)
    assert calls.numbered - before > 20
    struck: Counter[str] = Counter()
    for number in range(14):
        fakes = Fakes()
        nights = a_night_with(fakes, (number, kind))
        taught = sorted(len(one.runs) for one in nights.baselines().values())
        name = fakes.struck[0][0] if fakes.struck else ""
        struck[name] += 1
        not_read = name == "batch get" and kind in NOT_READ
        assert taught == ([8] if not_read else [1, 10]), (number, kind, fakes.struck)
        finals = Counter(e.detail["jobId"] for e in fakes.published["bus"] if e.detail["final"])
        assert len(finals) == 3
    assert {"batch get", "put", "transact", "publish to bus"} <= struck.keys()


@pytest.mark.parametrize("seed", range(30))
def test_sweeps_that_overlap_teach_each_job_once(seed: int) -> None:
    """Their writes of one baseline collide; whoever is later reads it again."""
    fakes = Fakes()
    nights = Nights(fakes)
    nights.nights(8)
    nights.next_day()
    jobs = [nights.begin() for _ in range(6)]
    nights.monitor.sweep()
    chance = random.Random(seed)
    for some in (jobs[:3], jobs[3:]):
        for job in some:
            nights.end(job)
        sweepers = [Monitor(fakes).sweeper for _ in range(3)]
        fakes.turns.run(chance, [lambda s=s: s.sweep("prod") for s in sweepers])  # type: ignore[misc]
    fakes.now += 7 * MINUTE_MS
    nights.monitor.sweep()
    assert len(nights.baseline().runs) == 14
    ids = [event.id for event in fakes.published["bus"]]
    assert len(ids) == len(set(ids))


def test_a_baseline_that_changes_meanwhile_is_read_again(fakes: Fakes) -> None:
    """A person has accepted a new usual: that stays, and the baseline learns from the job, too."""
    nights = Nights(fakes)
    nights.nights(8)
    nights.next_day()
    job = nights.begin()
    nights.monitor.sweep()
    nights.end(job)
    accepted = Run(fakes.now - 1, 1, 1)

    class Meddling(FakePublisher):
        def publish(self, *args: Any) -> frozenset[str]:
            known = nights.baseline()
            if accepted in known.runs:
                return super().publish(*args)
            fakes.items["baseline", "prod", known.kind] = replace(
                known, runs=(*known.runs, accepted), version=known.version + 1
            )
            return super().publish(*args)

    nights.monitor.sweeper._recorder._delivery._publisher = Meddling(fakes)
    nights.monitor.sweep()
    assert accepted in nights.baseline().runs
    assert len(nights.baseline().runs) == 10


def test_a_baseline_that_the_table_refuses_keeps_no_job_unsettled(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or its events would be published again and again."""
    nights = Nights(fakes)
    nights.nights(2)
    put = FakeStore.put

    def refusing(store: FakeStore, *args: Any) -> JobRecord:
        if args[2:] and args[2]:
            raise ItemRefused("the item is too large")
        return put(store, *args)

    monkeypatch.setattr(FakeStore, "put", refusing)
    assert nights.night()
    assert FakeStore(fakes).load("prod").open_jobs == {}
    fakes.now += 7 * MINUTE_MS
    nights.monitor.sweep()
    assert nights.monitor.events() == []


def test_without_a_baseline_events_are_published(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is delayed because the table can't be read; the log says so."""
    nights = Nights(fakes)
    nights.nights(9)
    fakes.plan([("batch get", "is throttled")])
    nights.next_day()
    job = nights.begin()
    nights.monitor.sweep()
    nights.end(job, profiles=1)
    fakes.plan([("batch get", "is throttled")])
    with caplog.at_level(logging.WARNING):
        nights.monitor.sweep()
    (event,) = [e for e in nights.monitor.events() if e.detail["final"]]
    assert event.detail["anomalies"] == []
    assert event.detail["baselineRuns"] is None
    assert "no baselines: as planned" in caplog.text


# -- delays ----------------------------------------------------------------------------------------


def delays_of(nights: Nights, minutes: int, **body: Any) -> list[Event]:
    """The delays of a job that is swept every minute."""
    nights.next_day()
    job = nights.begin(**body)
    for _ in range(minutes):
        nights.monitor.sweep()
        nights.fakes.now += MINUTE_MS - nights.fakes.now % MINUTE_MS
    nights.end(job, minutes=minutes)
    nights.monitor.sweep()
    return [event for event in nights.monitor.events() if event.type == "Export Job Delayed"]


def test_a_job_is_late_after_three_times_its_usual_time(fakes: Fakes) -> None:
    """Long before the limit of all jobs; the event says which limit it was."""
    nights = Nights(fakes, BY_USUAL)
    nights.nights(8)
    (event,) = delays_of(nights, 70)
    assert event.detail["delayLimitMs"] == 60 * MINUTE_MS
    assert event.detail["delayLimitBasis"] == "USUAL"
    assert event.detail["usualDurationMs"] == 20 * MINUTE_MS
    assert 60 * MINUTE_MS <= event.detail["durationMs"] < 62 * MINUTE_MS


@pytest.mark.parametrize(
    ("factor", "usual", "limit", "basis"),
    [
        (3.0, 2, 10, "USUAL"),
        (2.5, 8, 20, "USUAL"),
        (3.0, 60, 30, "CONFIGURED"),
        (0.0, 2, 30, "CONFIGURED"),
    ],
)
def test_the_smaller_limit_counts(
    fakes: Fakes, factor: float, usual: int, limit: int, basis: str
) -> None:
    """By what is usual, never under ten minutes, or as configured; 0 turns the first one off."""
    delays = DelayPolicy(limit_ms=30 * MINUTE_MS, repeat_ms=10**12, factor=factor)
    nights = Nights(fakes, MonitorPolicy(delays=delays))
    for _ in range(8):
        nights.night(minutes=usual)
    (event,) = delays_of(nights, 40)
    assert event.detail["delayLimitMs"] == limit * MINUTE_MS
    assert event.detail["delayLimitBasis"] == basis


def test_a_limit_stays_what_it_was_when_the_job_was_first_seen(fakes: Fakes) -> None:
    """What is learned while it runs does not move it; a configured limit may be changed."""
    nights = Nights(fakes, BY_USUAL)
    nights.nights(8)
    nights.next_day()
    job = nights.begin()
    nights.monitor.sweep()
    (record,) = FakeStore(fakes).load("prod").open_jobs.values()
    assert record.delay_limit_ms == 60 * MINUTE_MS
    fakes.items.update(
        {key: replace(item, runs=()) for key, item in fakes.items.items() if key[0] == "baseline"}
    )
    fakes.now = int(job.body["creationTime"]) + 61 * MINUTE_MS
    nights.monitor.sweep()
    (event,) = [e for e in nights.monitor.events() if e.type == "Export Job Delayed"]
    assert event.detail["delayLimitMs"] == 60 * MINUTE_MS


def test_a_job_that_was_late_when_it_was_first_seen_is_not_late_again_at_once(
    fakes: Fakes,
) -> None:
    """As after an outage: by the configured limit first; the windows of its usual time follow."""
    nights = Nights(fakes, BY_USUAL)
    nights.nights(8)
    nights.next_day()
    nights.begin()
    fakes.now += 160 * MINUTE_MS
    told = []
    for _ in range(25):
        nights.monitor.sweep()
        told += [e for e in nights.monitor.events() if e.type == "Export Job Delayed"]
        fakes.now += MINUTE_MS
    assert [e.detail["durationMs"] // MINUTE_MS for e in told] == [160, 180]
    assert [e.detail["delayLimitBasis"] for e in told] == ["CONFIGURED", "USUAL"]


def test_too_few_runs_give_no_limit(fakes: Fakes) -> None:
    """Six nights show too little of what is usual."""
    nights = Nights(fakes, BY_USUAL)
    nights.nights(6)
    (event,) = delays_of(nights, 160)
    assert event.detail["delayLimitBasis"] == "CONFIGURED"


def test_a_record_of_an_older_version_is_late_by_the_configured_limit(fakes: Fakes) -> None:
    """It has no kind and no limit of its own; its kind is found when it ends."""
    nights = Nights(fakes, BY_USUAL)
    nights.nights(8)
    nights.next_day()
    job = nights.begin()
    nights.monitor.sweep()
    for key, item in list(fakes.items.items()):
        if isinstance(item, JobRecord) and not item.final:
            older = replace(item, kind=None, delay_limit_ms=None, stored=None)
            older = replace(older, stored=older)
            fakes.items[key] = fakes.open["prod"][key] = older
    fakes.now = int(job.body["creationTime"]) + 100 * MINUTE_MS
    nights.monitor.sweep()
    assert [e.type for e in nights.monitor.events()] == ["Export Job State Change"]
    nights.end(job, minutes=100)
    nights.monitor.sweep()
    (event,) = nights.monitor.events()
    assert event.detail["anomalies"] == ["SLOW"]
