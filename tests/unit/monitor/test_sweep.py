"""What a sweep does and what it costs: every outbound call counted, with fakes."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import size_of
from export_jobs.contract import JobHeader, JobPage
from export_jobs.contract.errors import RetryLater
from export_jobs.events import build
from export_jobs.events.build import MAX_DETAIL_BYTES
from export_jobs.events.outbox import MAX_HISTORY
from export_jobs.events.policy import EventPolicy
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.records import Event, EventType, JobRecord
from export_jobs.monitor.policy import MonitorPolicy
from support.fakes import (
    EPOCH,
    FakeApi,
    Fakes,
    ServiceJob,
)
from support.faults import ProcessDied
from support.monitor import NO_DELAYS, Monitor

MINUTE_MS = 60_000
A_DAY_BACK = replace(NO_DELAYS, first_lookback_ms=24 * 60 * MINUTE_MS)
"""So that a first sweep of a long history takes no seconds."""
BIG: dict[str, Any] = {
    "filter": {
        "segments": [
            {"segmentId": f"{n:036}", "segmentNs": "名" * 2_000, "status": ["realized"]}
            for n in range(1_500)
        ]
    },
    "errors": [{"code": "E", "msg": "誤" * 10**6, "callStack": "x" * 10**6} for _ in range(40)],
}

WRITER = Writer(jobs_table="jobs", requests_table="requests", retention_days=90)


@pytest.fixture
def fakes() -> Fakes:
    return Fakes()


class LongHistory(FakeApi):
    """A service with any number of ended jobs, one a minute, besides those of the fakes."""

    def __init__(self, fakes: Fakes, length: int) -> None:
        super().__init__(fakes)
        self._length = length

    def _listed(self, sandbox: str, after: tuple[int, ...] | None) -> list[ServiceJob]:
        own = super()._listed(sandbox, after)
        skipped = 0 if after is None else max(0, (EPOCH - after[0]) // MINUTE_MS)
        return own + [
            ServiceJob(
                {
                    "id": str(10**9 - number),
                    "creationTime": EPOCH - number * MINUTE_MS,
                    "updateTime": EPOCH - number * MINUTE_MS + 1,
                    "status": "SUCCEEDED",
                    "destination": {"datasetId": "d"},
                }
            )
            for number in range(skipped + 1, min(self._length, skipped + 1_000) + 1)
        ]


# -- cost ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [0, 10, 10_000, 1_000_000])
def test_quiet_costs_one_call_and_one_read(fakes: Fakes, history: int) -> None:
    """Whether the history is ten jobs or a million, a sweep with nothing new writes nothing."""
    monitor = Monitor(fakes, A_DAY_BACK, api=LongHistory(fakes, history))
    for _ in range(3):
        fakes.create("prod", status="NEW")
    monitor.sweep()
    monitor.sweep()
    for _ in range(3):
        fakes.now += MINUTE_MS
        assert monitor.cost() == {"list": 1, "query": 1}
    assert Monitor(fakes, A_DAY_BACK, api=LongHistory(fakes, history)).cost() == {
        "list": 1,
        "query": 1,
    }


@pytest.mark.parametrize("changes", [1, 9, 10, 11, 100, 250])
@pytest.mark.parametrize("status", ["PROCESSING", "SUCCEEDED"])
def test_work_grows_with_the_changes(fakes: Fakes, changes: int, status: str) -> None:
    """C changes: at most 2C writes, C/10 calls per sink, one page for each hundred jobs."""
    monitor = Monitor(fakes)
    for _ in range(300):
        fakes.create("prod", status="SUCCEEDED")
    monitor.sweep()
    fakes.now += 30 * MINUTE_MS
    jobs = [fakes.create("prod", status="NEW").body["id"] for _ in range(changes)]
    monitor.sweep()
    for job in jobs:
        fakes.move("prod", job, status)
    fakes.now += MINUTE_MS
    cost = monitor.cost()
    final = status == "SUCCEEDED"
    chunks = math.ceil(changes / 100)  # jobs are carried to their ends a hundred at a time
    publishes = sum(math.ceil(min(100, changes - 100 * n) / 10) for n in range(chunks))
    assert cost["list"] == changes // 100 + 1
    assert cost["query"] == 1
    assert cost.get("batch get", 0) == (chunks if final else 0)  # the baselines of those that end
    assert cost["put"] + cost.get("transact", 0) <= 2 * changes
    assert cost["publish to bus"] == publishes == math.ceil(changes / 10)
    assert cost.get("publish to topic", 0) == (publishes if final else 0)
    assert cost.get("get", 0) == 0
    assert monitor.cost().get("put", 0) == 0


def test_no_more_pages_than_to_the_watermark(fakes: Fakes) -> None:
    """250 new jobs at 100 a page are three pages, however long the history."""
    monitor = Monitor(fakes, A_DAY_BACK, api=LongHistory(fakes, 1_000_000))
    monitor.sweep()
    fakes.now += 20 * MINUTE_MS
    monitor.sweep()
    for _ in range(250):
        fakes.create("prod", status="NEW")
    assert monitor.cost()["list"] == 3


@pytest.mark.unmeasured
def test_an_old_open_job_is_looked_up_where_paging_would_cost_more(fakes: Fakes) -> None:
    """One open job under 2,000 newer ones costs one page and one look-up."""
    monitor = Monitor(fakes)
    old = fakes.create("prod", status="NEW").body["id"]
    monitor.sweep()
    for _ in range(2_000):
        fakes.now += 10_000
        fakes.create("prod", status="SUCCEEDED")
    monitor.sweep()
    monitor.sweep()
    fakes.now += 30 * MINUTE_MS
    assert monitor.cost() == {"list": 1, "query": 1, "get": 1}
    monitor.published()
    fakes.move("prod", old, "FAILED")
    monitor.sweep()
    assert monitor.published() == [(old, "FAILED")]


def test_many_old_open_jobs_are_paged_to_where_that_is_cheaper(fakes: Fakes) -> None:
    """Fifty open jobs on the second page cost one more page, not fifty look-ups."""
    monitor = Monitor(fakes)
    old = [fakes.create("prod", status="NEW").body["id"] for _ in range(50)]
    monitor.sweep()
    for _ in range(110):
        fakes.now += 10_000
        fakes.create("prod", status="SUCCEEDED")
    monitor.sweep()
    fakes.now += 60 * MINUTE_MS
    assert monitor.cost() == {"list": 2, "query": 1}
    monitor.published()
    for job in old:
        fakes.move("prod", job, "CANCELLED")
    monitor.sweep()
    assert sorted(monitor.published()) == sorted((job, "CANCELLED") for job in old)


# -- first sweep ---------------------------------------------------------------------------------


def test_installing_it_floods_nobody(fakes: Fakes) -> None:
    """Jobs final at the first sweep are recorded without events; open ones are published."""
    ended = fakes.create("prod", status="SUCCEEDED").body["id"]
    running = fakes.create("prod", status="PROCESSING").body["id"]
    monitor = Monitor(fakes)
    monitor.sweep()
    assert monitor.published() == [(running, "PROCESSING")]
    fakes.move("prod", ended, "FAILED")
    fakes.move("prod", running, "SUCCEEDED")
    monitor.sweep()
    assert sorted(monitor.published()) == sorted([(ended, "FAILED"), (running, "SUCCEEDED")])


def test_a_sandbox_added_later_floods_nobody_either(fakes: Fakes) -> None:
    """Each sandbox has its own first sweep."""
    monitor = Monitor(fakes)
    fakes.create("prod")
    monitor.sweep("prod")
    monitor.published()
    for _ in range(30):
        fakes.create("later", status="FAILED")
    monitor.sweep("later")
    assert monitor.published() == []
    job = fakes.create("later", status="FAILED").body["id"]
    monitor.sweep("later")
    assert monitor.published() == [(job, "FAILED")]


# -- the life of a job ---------------------------------------------------------------------------


def test_a_delay_is_published_once_and_then_every_repeat_window(fakes: Fakes) -> None:
    """When the job is past its limit, and again every window until it ends."""
    limits = DelayPolicy(limit_ms=150 * MINUTE_MS, repeat_ms=60 * MINUTE_MS)
    monitor = Monitor(fakes, MonitorPolicy(delays=limits))
    job = fakes.create("prod", status="PROCESSING").body["id"]
    monitor.sweep()
    monitor.events()
    published_at = []
    for minute in range(5, 400, 5):
        fakes.now += 5 * MINUTE_MS
        monitor.sweep()
        for event in monitor.events():
            assert event.type == EventType.JOB_DELAYED
            assert event.detail["delayLimitMs"] == 150 * MINUTE_MS
            published_at.append(minute)
    assert published_at == [150, 210, 270, 330, 390]
    fakes.move("prod", job, "SUCCEEDED")
    monitor.sweep()
    assert [event.type for event in monitor.events()] == [EventType.JOB_STATE_CHANGE]
    fakes.now += 1_000 * MINUTE_MS
    monitor.sweep()
    assert monitor.events() == []


def test_who_gets_only_problems_hears_that_a_delay_is_over(fakes: Fakes) -> None:
    """The end of a delayed job says so and is published to the topic; that of another is not."""
    limits = DelayPolicy(limit_ms=150 * MINUTE_MS)
    policy = MonitorPolicy(delays=limits, events=EventPolicy(topic_events="problems"))
    monitor = Monitor(fakes, policy)
    late = fakes.create("prod", status="PROCESSING").body["id"]
    monitor.sweep()
    fakes.now += 151 * MINUTE_MS
    in_time = fakes.create("prod", status="PROCESSING").body["id"]
    monitor.sweep()
    for job in (late, in_time):
        fakes.move("prod", job, "SUCCEEDED")
    monitor.sweep()
    on_topic = [(event.type, event.detail["jobId"]) for event in monitor.events("topic")]
    assert on_topic == [(EventType.JOB_DELAYED, late), (EventType.JOB_STATE_CHANGE, late)]
    delayed = {e.detail["jobId"]: e.detail["delayed"] for e in monitor.events("bus")}
    assert delayed == {late: True, in_time: False}


def test_a_dataset_has_a_limit_of_its_own(fakes: Fakes) -> None:
    """The nightly one may take long, the hourly one may not."""
    limits = DelayPolicy(limit_ms=150 * MINUTE_MS, by_dataset_ms={"hourly": 30 * MINUTE_MS})
    monitor = Monitor(fakes, MonitorPolicy(delays=limits))
    for dataset in ("hourly", "nightly"):
        fakes.create("prod", destination={"datasetId": dataset})
    monitor.sweep()
    monitor.events()
    fakes.now += 31 * MINUTE_MS
    monitor.sweep()
    assert [event.detail["datasetId"] for event in monitor.events()] == ["hourly"]


def test_an_open_job_that_is_gone_twice_has_vanished(fakes: Fakes) -> None:
    """404 by id, twice in a row, closes it; nothing is published at the first."""
    monitor, job = open_for_ten_minutes(fakes)
    fakes.delete("prod", job)
    monitor.sweep()
    assert monitor.published() == []
    fakes.now += MINUTE_MS
    monitor.sweep()
    assert monitor.published("bus") == [(job, "VANISHED")]
    assert monitor.published("topic") == [(job, "VANISHED")]
    monitor.sweep()
    assert monitor.cost() == {"list": 1, "query": 1}


def open_for_ten_minutes(fakes: Fakes) -> tuple[Monitor, str]:
    """A monitor, and an open job that it has published ten minutes ago."""
    monitor = Monitor(fakes)
    job = fakes.create("prod", status="PROCESSING").body["id"]
    monitor.sweep()
    monitor.published()
    fakes.now += 10 * MINUTE_MS
    return monitor, job


def test_a_job_that_was_gone_once_has_not_vanished(fakes: Fakes) -> None:
    """A single 404 is forgotten when the job is seen again."""
    monitor, job = open_for_ten_minutes(fakes)
    kept = fakes.jobs["prod"].pop(job)
    monitor.sweep()
    fakes.jobs["prod"][job] = kept
    monitor.sweep()
    del fakes.jobs["prod"][job]
    fakes.now += MINUTE_MS
    monitor.sweep()
    assert monitor.published() == []


def test_overlapping_sweeps_that_meet_one_404_have_missed_a_job_once(fakes: Fakes) -> None:
    """Twice in a row means at two moments, not by two sweeps at the same moment."""
    first, job = open_for_ten_minutes(fakes)
    kept = fakes.jobs["prod"].pop(job)
    second = Monitor(fakes)
    fakes.turns.run(random.Random(1), [first.sweep, second.sweep])
    assert first.published() == []
    fakes.jobs["prod"][job] = kept
    fakes.now += MINUTE_MS
    first.sweep()
    assert first.published() == []


def test_a_job_is_given_time_to_be_found_by_its_id(fakes: Fakes) -> None:
    """A job created a moment ago has not vanished if the service does not know it yet."""
    monitor = Monitor(fakes)
    job = fakes.create("prod").body["id"]
    monitor.sweep()
    monitor.published()
    kept = fakes.jobs["prod"].pop(job)
    for _ in range(3):
        fakes.now += MINUTE_MS
        monitor.sweep()
    fakes.jobs["prod"][job] = kept
    fakes.move("prod", job, "SUCCEEDED")
    monitor.sweep()
    assert monitor.published() == [(job, "SUCCEEDED")]


def test_a_job_that_is_back_after_it_vanished_is_published(fakes: Fakes) -> None:
    """Even if the service shows no time of its last change to compare."""
    monitor, job = open_for_ten_minutes(fakes)
    kept = fakes.jobs["prod"].pop(job)
    for _ in range(2):
        monitor.sweep()
        fakes.now += MINUTE_MS
    kept.body = {**kept.body, "status": "SUCCEEDED", "updateTime": None}
    fakes.jobs["prod"][job] = kept
    monitor.sweep()
    assert monitor.published() == [(job, "VANISHED"), (job, "SUCCEEDED")]


def test_a_final_job_that_changes_again_is_published_again(fakes: Fakes) -> None:
    """When it is reopened, with the next sequence number, and when it ends again."""
    monitor = Monitor(fakes)
    job = fakes.create("prod").body["id"]
    monitor.sweep()
    for status in ("FAILED", "PROCESSING", "SUCCEEDED", "FAILED"):
        fakes.move("prod", job, status)
        monitor.sweep()
    events = monitor.events()
    assert [event.detail["status"] for event in events] == [
        "NEW", "FAILED", "PROCESSING", "SUCCEEDED", "FAILED",
    ]  # fmt: skip
    assert [event.detail["sequence"] for event in events] == [1, 2, 3, 4, 5]
    assert [event.detail["previousStatus"] for event in events] == [
        None, "NEW", "FAILED", "PROCESSING", "SUCCEEDED",
    ]  # fmt: skip


@pytest.mark.parametrize("quirk", ["lags", "misses", "repeats"])
def test_a_wrong_listing_publishes_nothing_false(fakes: Fakes, quirk: str) -> None:
    """A listing that lags, misses or repeats a job causes neither an event nor a loss."""
    monitor = Monitor(fakes)
    jobs = [fakes.create("prod").body["id"] for _ in range(3)]
    monitor.sweep()
    for job in jobs:
        fakes.move("prod", job, "PROCESSING")
    monitor.sweep()
    monitor.published()
    fakes.quirks = {quirk}
    for _ in range(3):
        monitor.sweep()
    assert monitor.published() == []
    for job in jobs:
        fakes.move("prod", job, "SUCCEEDED")
    monitor.sweep()
    fakes.quirks = set()
    monitor.sweep()
    assert sorted(monitor.published()) == sorted((job, "SUCCEEDED") for job in jobs)


def test_a_listing_that_misses_a_job_after_a_long_gap_loses_nothing(fakes: Fakes) -> None:
    """What came while no sweep ran is listed twice, however many newer jobs lie above it."""
    monitor = Monitor(fakes)
    monitor.sweep()
    missed = fakes.create("prod").body["id"]
    for _ in range(120):
        fakes.create("prod", status="SUCCEEDED")
    fakes.now += 30 * MINUTE_MS
    fakes.jobs["prod"][missed].visible_at = fakes.now + MINUTE_MS // 2
    monitor.sweep()
    fakes.now += MINUTE_MS
    monitor.sweep()
    fakes.move("prod", missed, "FAILED")
    monitor.sweep()
    statuses = [status for job, status in monitor.published() if job == missed]
    assert statuses == ["NEW", "FAILED"]


def test_a_final_job_without_a_creation_time_is_published_once(fakes: Fakes) -> None:
    """Any field but id and status may be missing."""

    class Timeless(LongHistory):
        def _page(self, *asked: Any) -> Any:
            page = super()._page(*asked)
            return replace(page, records=tuple(map(timeless, page.records)))

    def timeless(job: JobHeader) -> JobHeader:
        without = job.whole.model_copy(update={"creation_time": None})
        return JobHeader.of(without) if job.id == "1" else job

    monitor = Monitor(fakes, api=Timeless(fakes, 10_000))
    monitor.sweep()
    job = fakes.create("prod", status="FAILED").body["id"]
    for _ in range(3):
        fakes.now += MINUTE_MS
        monitor.sweep()
    assert monitor.published() == [(job, "FAILED")]


def test_a_job_that_appears_late_is_not_missed(fakes: Fakes) -> None:
    """One that the listing shows only minutes after newer ones, and that has ended by then."""
    monitor = Monitor(fakes)
    monitor.sweep()
    late = fakes.create("prod", status="FAILED", late_ms=10 * MINUTE_MS).body["id"]
    early = fakes.create("prod", status="FAILED").body["id"]
    monitor.sweep()
    assert monitor.published() == [(early, "FAILED")]
    fakes.now += 10 * MINUTE_MS
    monitor.sweep()
    assert monitor.published() == [(late, "FAILED")]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        ({"status": "SUCCEEDED"}, "SUCCEEDED"),
        ({"status": "SUCCEEDED", "errors": [{"code": "1", "msg": "m"}]}, "SUCCEEDED_WITH_ERRORS"),
        (
            {"status": "SUCCEEDED", "metrics": {"totalExportedProfileCounter": 0}},
            "SUCCEEDED_EMPTY",
        ),
        ({"status": "FAILED", "errors": [{"code": "1", "msg": "m"}]}, "FAILED"),
        ({"status": "CANCELLED"}, "CANCELLED"),
        ({"status": "PAUSED"}, "IN_PROGRESS"),
    ],
)
def test_a_silent_failure_has_an_outcome_of_its_own(
    fakes: Fakes, body: dict[str, Any], outcome: str
) -> None:
    """So that a rule can distinguish success, success with errors and an empty export."""
    monitor = Monitor(fakes)
    monitor.sweep()
    fakes.create("prod", **body)
    monitor.sweep()
    (event,) = monitor.events()
    assert event.detail["outcome"] == outcome


# -- size, time, problems ------------------------------------------------------------------------


@pytest.mark.unmeasured
def test_an_item_stays_below_its_limit_while_a_sink_is_down(fakes: Fakes) -> None:
    """A big job that ended and was reopened: as many events wait as fit; the last is published."""
    monitor = Monitor(fakes, replace(NO_DELAYS, events=EventPolicy(topic_events="all")))
    monitor.sweep()
    job = fakes.create("prod", **BIG).body["id"]
    for number in range(MAX_HISTORY):
        fakes.move("prod", job, ("FAILED", "QUEUED")[number % 2])
        monitor.sweep()
        fakes.now += MINUTE_MS
    for number in range(14):
        fakes.plan([("publish to topic", "is throttled")])
        monitor.sweeper.sweep("prod")
        (record,) = (item for key, item in fakes.items.items() if key[0] == "job")
        assert len(record.history) == MAX_HISTORY
        assert record.end_detail
        assert size_of(WRITER.job(record).written) < 400_000  # DynamoDB allows 409,600 bytes
        fakes.now += MINUTE_MS
        fakes.move("prod", job, ("PROCESSING", "QUEUED")[number % 2])
    fakes.move("prod", job, "FAILED")
    fakes.strikes = {}
    for _ in range(3):
        monitor.sweep()
        fakes.now += 7 * MINUTE_MS
    assert monitor.published("topic")[-1] == (job, "FAILED")
    sequences = [event.detail["sequence"] for event in fakes.published["bus"]]
    assert sequences == list(range(1, len(sequences) + 1))


def test_big_jobs_fit_and_what_was_cut_is_marked(fakes: Fakes) -> None:
    """1,500 segments, megabytes of call stack and text of many-byte characters stay bounded."""
    monitor = Monitor(fakes)
    monitor.sweep()
    fakes.create("prod", status="FAILED", **BIG)
    monitor.sweep()
    (event,) = monitor.events()
    assert len(json.dumps(event.detail, ensure_ascii=False).encode()) <= MAX_DETAIL_BYTES
    assert {"segments", "errors"} <= set(event.detail["truncated"])
    assert "callStack" not in json.dumps(event.detail)


def test_records_that_can_t_be_read_are_counted_and_the_log_names_their_fields(
    fakes: Fakes, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of all pages together, in one line per sweep; the readable jobs are still recorded."""

    class WithOddRecords(FakeApi):
        def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage:
            page = super().list_jobs(sandbox, limit=limit, cursor=cursor)
            at_fault = frozenset({"status", "id"} if cursor else {"status"})
            return replace(page, unreadable=2, unreadable_fields=at_fault)

    for _ in range(3):
        fakes.create("prod", status="NEW")
    report = Monitor(fakes, api=WithOddRecords(fakes), page_size=2).sweep()
    assert (report.unreadable, report.changes) == (4, 3)
    assert caplog.messages == ["prod: 4 jobs can't be read, for id, status"]


@pytest.mark.unmeasured
def test_thousands_of_changes_are_worked_off_over_several_runs(fakes: Fakes) -> None:
    """Each run stops cleanly and the next continues: oldest first, nothing lost or repeated."""
    left = {"calls": 0}

    def time_left_s() -> float:
        left["calls"] += 1
        return 100.0 if left["calls"] <= 130 else 1.0

    monitor = Monitor(fakes, time_left_s=time_left_s, page_size=1_000)
    monitor.sweep()
    jobs = [fakes.create("prod", status="FAILED").body["id"] for _ in range(3_000)]
    published: list[tuple[str, str]] = []
    runs = 0
    while len(published) < len(jobs):
        runs += 1
        left["calls"] = 80
        report = monitor.sweeper.sweep("prod")
        assert report.unfinished or report.changes
        published += monitor.published()
        fakes.now += MINUTE_MS
        assert runs < 20
    assert published == [(job, "FAILED") for job in jobs]
    assert runs > 1
    assert monitor.sweeper.sweep("prod").changes == 0
    left["calls"] = 0
    assert monitor.published() == []


def test_an_event_is_built_once(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep with a thousand changes builds a thousand events, despite comparing baselines."""
    built: list[str] = []
    state_change = build.state_change

    def counted(record: JobRecord, *args: Any, **options: Any) -> Event:
        built.append(record.job_id)
        return state_change(record, *args, **options)

    monitor = Monitor(fakes, page_size=1_000)
    monitor.sweep()
    jobs = [fakes.create("prod", status="SUCCEEDED").body["id"] for _ in range(1_000)]
    monkeypatch.setattr(build, "state_change", counted)
    monitor.sweep()
    assert built == jobs
    assert len(monitor.published()) == 1_000


def test_a_sweep_that_can_t_list_reports_it_and_publishes_what_is_left(fakes: Fakes) -> None:
    """It fails, after publishing what an earlier sweep left in the outbox."""
    monitor = Monitor(fakes)
    job = fakes.create("prod").body["id"]
    monitor.sweep()
    monitor.published()
    fakes.move("prod", job, "FAILED")
    fakes.strikes = {fakes.numbered + 4: "is throttled", fakes.numbered + 5: "is throttled"}
    monitor.sweeper.sweep("prod")
    assert (monitor.published("bus"), monitor.published("topic")) == ([], [])
    fakes.strikes = {}
    for minutes in (0, 7, 14):
        fakes.strikes = {fakes.numbered: "answers 5xx"}
        report = monitor.sweeper.sweep("prod")
        assert [p for p in report.problems if "can't list" in p]
        assert report.failing_ms // MINUTE_MS == minutes
        fakes.now += 7 * MINUTE_MS
    assert monitor.published("bus") == [(job, "FAILED")]
    assert monitor.published("topic") == [(job, "FAILED")]
    assert monitor.sweep().failing_ms == 0
    assert monitor.cost() == {"list": 1, "query": 1}


def test_no_event_is_made_while_the_organisation_is_not_known(fakes: Fakes) -> None:
    """It is in every event, and part of its id; a secret that can't be read fails the sweep."""

    class Unreadable(FakeApi):
        readable = True

        def org_id(self) -> str:
            if not self.readable:
                raise RetryLater("can't read the secret")
            return super().org_id()

    api = Unreadable(fakes)
    monitor = Monitor(fakes, api=api)
    monitor.sweep()
    job = fakes.create("prod", status="FAILED").body["id"]
    api.readable = False
    report = monitor.sweeper.sweep("prod")
    assert report.problems == ["can't list jobs: can't read the secret"]
    assert monitor.published() == []
    api.readable = True
    monitor.sweep()
    (event,) = monitor.events()
    assert (event.detail["jobId"], event.detail["orgId"]) == (job, "ORG@AdobeOrg")


def test_a_table_out_of_reach_fails_the_sweep(fakes: Fakes) -> None:
    """State and outbox can't be read: no event is guessed, and the failure's age is reported."""
    monitor = Monitor(fakes)
    monitor.sweep()
    fakes.create("prod")
    fakes.now += 20 * MINUTE_MS
    fakes.strikes = {"query": "times out before"}
    report = monitor.sweeper.sweep("prod")
    assert len(report.problems) == 1
    assert report.failing_ms >= 20 * MINUTE_MS
    assert monitor.published() == []

    new = Monitor(fakes)
    ages = []
    for _ in range(2):
        fakes.strikes = {"query": "times out before"}
        ages.append(new.sweeper.sweep("prod").failing_ms // MINUTE_MS)
        fakes.now += 20 * MINUTE_MS
    assert ages == [0, 20]


def test_a_listing_that_can_only_be_read_in_part_fails_a_sweep_too(fakes: Fakes) -> None:
    """The age of the last good sweep counts from the first that failed, whatever failed it."""

    class OnePage(LongHistory):
        def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> Any:
            if cursor and self.broken:
                raise RetryLater("503")
            return super().list_jobs(sandbox, limit=limit, cursor=cursor)

        broken = False

    api = OnePage(fakes, 1_000)
    Monitor(fakes, api=api).sweep()
    for _ in range(150):
        fakes.create("prod")
    api.broken = True
    ages = []
    for _ in range(3):
        fakes.now += 10 * MINUTE_MS
        ages.append(Monitor(fakes, api=api).sweeper.sweep("prod").failing_ms // MINUTE_MS)
    assert ages == [0, 10, 20]
    api.broken = False
    assert Monitor(fakes, api=api).sweep().failing_ms == 0
    assert Monitor(fakes, api=api).sweep().failing_ms == 0


def test_without_a_baseline_events_are_still_published(fakes: Fakes) -> None:
    """If the read of a kind's baseline is throttled, nothing is delayed."""
    monitor = Monitor(fakes)
    monitor.sweep()
    job = fakes.create("prod", status="FAILED").body["id"]
    fakes.strikes = {fakes.numbered + 2: "is throttled"}
    assert monitor.sweep().changes == 1
    assert fakes.struck == [("batch get", "is throttled")]
    assert monitor.published() == [(job, "FAILED")]


@pytest.mark.unmeasured
def test_looking_leaves_time_for_what_was_seen(fakes: Fakes) -> None:
    """Look-ups that hang use half of a run; the other half publishes what the listing showed."""
    left = {"s": 300.0}

    class Hanging(FakeApi):
        def get_job(self, sandbox: str, job_id: str) -> Any:
            left["s"] -= 60
            raise RetryLater("no answer")

    monitor = Monitor(fakes, api=Hanging(fakes), time_left_s=lambda: left["s"])
    for _ in range(20):
        fakes.create("prod")
    monitor.sweep()
    for _ in range(2_000):
        fakes.now += 10_000
        fakes.create("prod", status="SUCCEEDED")
    for _ in range(2):
        left["s"] = 1e9
        monitor.sweeper.sweep("prod")
    monitor.published()
    job = fakes.create("prod", status="FAILED").body["id"]
    left["s"] = 300.0
    assert monitor.sweeper.sweep("prod").problems
    assert monitor.published() == [(job, "FAILED")]


def test_a_first_sweep_without_end_starts_with_what_it_has_seen(fakes: Fakes) -> None:
    """A listing too slow to read four weeks at once must not keep the monitor from starting."""
    left = {"s": 300.0}

    class Slow(LongHistory):
        def list_jobs(self, *asked: Any, **options: Any) -> Any:
            left["s"] -= 10
            return super().list_jobs(*asked, **options)

    monitor = Monitor(fakes, api=Slow(fakes, 100_000), time_left_s=lambda: left["s"])
    running = fakes.create("prod").body["id"]
    monitor.sweep()
    assert monitor.published() == [(running, "NEW")]
    left["s"] = 300.0
    ended = fakes.create("prod", status="FAILED").body["id"]
    fakes.now += MINUTE_MS
    monitor.sweep()
    assert monitor.published() == [(ended, "FAILED")]


def test_a_first_sweep_that_dies_halfway_leaves_the_rest_silent(fakes: Fakes) -> None:
    """What it did not reach was final before the first sweep, and is not published later."""
    for _ in range(250):
        fakes.create("prod", status="SUCCEEDED")
    fakes.plan([("put", "dies after")])
    with pytest.raises(ProcessDied):
        Monitor(fakes).sweeper.sweep("prod")
    begun = fakes.calls["put"]

    def time_left_s() -> float:
        return 1.0 if fakes.calls["put"] > begun + 50 else 300.0

    assert Monitor(fakes, time_left_s=time_left_s).sweep().unfinished
    monitor = Monitor(fakes)
    monitor.sweep()
    monitor.sweep()
    assert monitor.published() == []
