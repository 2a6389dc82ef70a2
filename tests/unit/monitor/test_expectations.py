"""Promise 10: what became of an expected export, decided from what is on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from export_jobs.events.policy import EventPolicy
from export_jobs.model.calendar import moments, zone_named
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.fingerprints import segment_fingerprint
from export_jobs.model.records import JobRecord
from export_jobs.monitor.expectations import (
    JUDGED_WITHIN_MS,
    MAX_EVENTS,
    MAX_HISTORY,
    Judged,
    judge,
    judged_by,
    planned,
    reads_from,
    resumed,
)
from hypothesis import given
from hypothesis import strategies as st
from support.schemas import validate_event

ROME = "Europe/Rome"
DATASET = "5bb4c46757920712f924a3eb"
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
POLICY = EventPolicy(stack_id="s")


def rome(day: int, clock: str, month: int = 1) -> int:
    """A local time of 2026 in Rome, in epoch milliseconds."""
    hours, minutes = map(int, clock.split(":"))
    return moments(date(2026, month, day), 60 * hours + minutes, zone_named(ROME))[0]


NIGHTLY = Expectation("nightly", DATASET, ROME, opens=0, due=6 * 60)
HOURLY = Expectation("hourly", DATASET, ROME, every=60, grace=20)
APPLIED = rome(1, "12:00")


def record_of(expectation: Expectation = NIGHTLY, **fields: Any) -> ExpectationRecord:
    return planned(ExpectationRecord("prod", expectation, APPLIED, version=1, **fields))


def job(created: int, *, took: int = HOUR_MS, **fields: Any) -> JobRecord:
    """A job of the expected dataset; it succeeded, if nothing else is said."""
    succeeded: dict[str, Any] = {
        "status": "SUCCEEDED",
        "outcome": "SUCCEEDED",
        "final": True,
        "dataset_id": DATASET,
        "duration_ms": took,
        "profiles_exported": 500,
    }
    return JobRecord("prod", f"j{created}", created, **{**succeeded, **fields})


def open_job(created: int) -> JobRecord:
    running = {"status": "PROCESSING", "outcome": "IN_PROGRESS", "final": False}
    return job(created, **running, duration_ms=None, profiles_exported=None)


def judged(
    record: ExpectationRecord, *jobs: JobRecord, now: int, unreadable: int = 0
) -> tuple[Judged, list[tuple[str, Any]]]:
    """The result, and each event by its type and reason (or the job that resolved it)."""
    found = judge(record, jobs, org_id="o", unreadable=unreadable, policy=POLICY, now=now)
    for event in found.events:
        validate_event(event.type, event.detail)
    return found, [
        (event.type, event.detail.get("reason") or event.detail["jobId"]) for event in found.events
    ]


def outcomes(judged: Judged) -> list[str]:
    return [past.outcome for past in judged.record.history]


class TestGood:
    def test_a_window_with_a_good_job_is_announced_to_nobody(self) -> None:
        """It is remembered with its job, and the next window follows."""
        night = job(rome(2, "01:00"))
        found, events = judged(record_of(), night, now=rome(2, "06:01"))
        assert events == []
        assert outcomes(found) == ["GOOD"]
        assert found.record.history[0].job_id == night.job_id
        assert found.record.last_good_at == rome(2, "02:00")
        assert found.record.window
        assert found.record.window.due == rome(3, "06:00")

    def test_nothing_is_judged_before_its_deadline(self) -> None:
        """An hour before it, nothing is missing yet."""
        record = record_of()
        found, events = judged(record, now=rome(2, "05:59"))
        assert (found.record, events) == (record, [])

    def test_the_last_moment_is_good_enough(self) -> None:
        """A job that ends at the deadline, by the service's times, is in time."""
        created = rome(2, "01:00")
        _, in_time = judged(record_of(), job(created, took=5 * HOUR_MS), now=rome(2, "06:01"))
        _, late = judged(record_of(), job(created, took=5 * HOUR_MS + 1), now=rome(2, "06:01"))
        assert in_time == []
        assert late == [
            ("Export Overdue", "STILL_RUNNING"),
            ("Export Overdue Resolved", late[1][1]),
        ]

    @pytest.mark.parametrize(
        ("created", "counts"),
        [("00:00", True), ("05:59", True), ("06:00", False)],
    )
    def test_a_job_counts_if_it_was_created_in_the_window(self, created: str, counts: bool) -> None:
        """From the moment it opens on, until the moment it closes."""
        _, events = judged(record_of(), job(rome(2, created), took=0), now=rome(2, "06:00"))
        assert (events == []) is counts

    def test_a_job_created_before_the_window_does_not_count(self) -> None:
        """Yesterday's rerun at noon is not tonight's export."""
        _, events = judged(record_of(), job(rome(1, "23:59")), now=rome(2, "06:00"))
        assert events == [("Export Overdue", "NEVER_STARTED")]

    def test_any_good_job_is_enough(self) -> None:
        """Another try that failed before or after it does not matter."""
        jobs = [
            job(rome(2, "01:00"), status="FAILED", outcome="FAILED"),
            job(rome(2, "02:00")),
            job(rome(2, "03:00"), status="FAILED", outcome="FAILED"),
            open_job(rome(2, "05:00")),
        ]
        assert judged(record_of(), *jobs, now=rome(2, "06:00"))[1] == []

    @pytest.mark.parametrize(
        ("fields", "accepted"),
        [
            ({"outcome": "SUCCEEDED_WITH_ERRORS"}, {"SUCCEEDED", "SUCCEEDED_WITH_ERRORS"}),
            ({"profiles_exported": None}, {"SUCCEEDED"}),
            ({"profiles_exported": 100}, {"SUCCEEDED"}),
        ],
    )
    def test_what_counts_as_good(self, fields: dict[str, Any], accepted: set[str]) -> None:
        """The outcomes accepted, with enough profiles, or with an unknown number."""
        wanted = replace(NIGHTLY, accept=frozenset(accepted), min_profiles=100)
        _, events = judged(record_of(wanted), job(rome(2, "01:00"), **fields), now=rome(2, "06:00"))
        assert events == []

    def test_an_empty_export_is_good_where_no_profile_is_required(self) -> None:
        """`minProfiles: 0` says that there may be nothing to export."""
        empty = job(rome(2, "01:00"), outcome="SUCCEEDED_EMPTY", profiles_exported=0)
        wanted = replace(NIGHTLY, min_profiles=0)
        assert judged(record_of(wanted), empty, now=rome(2, "06:00"))[1] == []

    @pytest.mark.parametrize(
        ("profiles", "usual", "good"),
        [
            (700, 1_000, True),
            (699, 1_000, False),
            (699, None, True),
            (None, 1_000, True),
            (0, 1_000, False),
            (99, 100, False),
        ],
    )
    def test_far_fewer_than_usual_are_not_good(
        self, profiles: int | None, usual: int | None, good: bool
    ) -> None:
        """By `maxDrop`, if both numbers are known, and besides `minProfiles`."""
        wanted = replace(NIGHTLY, min_profiles=100, max_drop=30)
        done = job(rome(2, "01:00"), profiles_exported=profiles, usual_profiles=usual)
        found, events = judged(record_of(wanted), done, now=rome(2, "06:00"))
        reason = "TOO_FEW" if profiles else "EMPTY"
        assert events == ([] if good else [("Export Overdue", reason)])
        if not good:
            detail = found.events[0].detail
            assert (detail["minProfiles"], detail["maxDrop"]) == (100, 0.3)
            assert detail["usualProfilesExported"] == usual

    def test_without_a_drop_that_is_allowed_only_the_minimum_counts(self) -> None:
        """As before there were baselines; the event has no share then."""
        done = job(rome(2, "01:00"), profiles_exported=50, usual_profiles=1_000)
        assert judged(record_of(), done, now=rome(2, "06:00"))[1] == []
        few = replace(done, profiles_exported=0)
        found, _ = judged(record_of(), few, now=rome(2, "06:00"))
        assert found.events[0].detail["maxDrop"] is None

    def test_what_is_made_good_is_enough_by_usual(self) -> None:
        """A second job that exports too few, too, does not resolve it."""
        wanted = record_of(replace(NIGHTLY, max_drop=30))
        few = job(rome(2, "01:00"), profiles_exported=600, usual_profiles=1_000)
        again = job(rome(2, "07:00"), profiles_exported=699, usual_profiles=1_000)
        enough = job(rome(2, "08:00"), profiles_exported=700, usual_profiles=1_000)
        found, _ = judged(wanted, few, now=rome(2, "06:00"))
        assert judged(found.record, few, again, now=rome(2, "12:00"))[1] == []
        assert judged(found.record, few, again, enough, now=rome(2, "12:00"))[1] == [
            ("Export Overdue Resolved", enough.job_id)
        ]


class TestMatching:
    def test_another_dataset_does_not_count(self) -> None:
        """Whatever else is exported tonight."""
        other = job(rome(2, "01:00"), dataset_id="other")
        assert judged(record_of(), other, now=rome(2, "06:00"))[1] == [
            ("Export Overdue", "NEVER_STARTED")
        ]

    @pytest.mark.parametrize(
        ("shown", "counts"),
        [(["a", "b"], True), (["a", "b", "c"], True), (["a"], False), ([], False), (None, True)],
    )
    def test_a_job_exports_at_least_the_segments(
        self, shown: list[str] | None, counts: bool
    ) -> None:
        """More are as good; a job without segments exports all profiles."""
        wanted = replace(NIGHTLY, segments=("a", "b"))
        segments = None if shown is None else frozenset(map(segment_fingerprint, shown))
        _, events = judged(
            record_of(wanted), job(rome(2, "01:00"), segments=segments), now=rome(2, "06:00")
        )
        assert (events == []) is counts

    def test_any_segments_will_do_if_none_is_named(self) -> None:
        """The dataset alone tells then."""
        some = job(rome(2, "01:00"), segments=frozenset({segment_fingerprint("x")}))
        assert judged(record_of(), some, now=rome(2, "06:00"))[1] == []


class TestOverdue:
    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            (None, "NEVER_STARTED"),
            ({"final": False, "status": "PROCESSING", "outcome": "IN_PROGRESS"}, "STILL_RUNNING"),
            ({"final": False, "status": None, "outcome": None}, "STILL_RUNNING"),
            ({"status": "FAILED", "outcome": "FAILED", "profiles_exported": None}, "FAILED"),
            ({"status": "CANCELLED", "outcome": "CANCELLED"}, "FAILED"),
            ({"status": "VANISHED", "outcome": "VANISHED"}, "FAILED"),
            ({"outcome": "SUCCEEDED_WITH_ERRORS"}, "FAILED"),
            ({"outcome": "SUCCEEDED_EMPTY", "profiles_exported": 0}, "EMPTY"),
            ({"profiles_exported": 99}, "TOO_FEW"),
        ],
    )
    def test_the_reason(self, fields: dict[str, Any] | None, reason: str) -> None:
        """What the last job of the window was like at its deadline."""
        jobs = [] if fields is None else [job(rome(2, "01:00"), **fields)]
        wanted = record_of(replace(NIGHTLY, min_profiles=100))
        found, events = judged(wanted, *jobs, now=rome(2, "06:00"))
        assert events == [("Export Overdue", reason)]
        assert outcomes(found) == [reason]

    def test_a_job_that_failed_after_the_deadline_was_still_running_at_it(self) -> None:
        """The reason is the same whenever the window is judged."""
        late = job(rome(2, "05:00"), took=2 * HOUR_MS, status="FAILED", outcome="FAILED")
        assert judged(record_of(), late, now=rome(2, "08:00"))[1] == [
            ("Export Overdue", "STILL_RUNNING")
        ]

    def test_the_event_says_what_was_looked_at(self) -> None:
        """The window in local time, its jobs, and when it was last good."""
        failed = job(rome(2, "01:00"), status="FAILED", outcome="FAILED", profiles_exported=None)
        record = record_of(last_good_at=rome(1, "02:00"))
        found, _ = judged(record, failed, job(rome(1, "23:00")), now=rome(2, "06:01"), unreadable=2)
        detail = found.events[0].detail
        assert detail["window"] == {
            "opensAt": "2026-01-01T23:00:00.000Z",
            "closesAt": "2026-01-02T05:00:00.000Z",
            "dueAt": "2026-01-02T05:00:00.000Z",
            "dueLocal": "2026-01-02T06:00+01:00",
            "timezone": ROME,
        }
        assert [shown["jobId"] for shown in detail["jobs"]] == [failed.job_id]
        assert detail["lastGoodAt"] == "2026-01-01T01:00:00.000Z"
        assert (detail["missedWindows"], detail["unreadableJobs"]) == (1, 2)
        assert detail["judgedLateMs"] is None

    def test_each_window_is_announced_once(self) -> None:
        """A second sweep at the same time finds nothing more."""
        now = rome(2, "06:00")
        found, events = judged(record_of(), now=now)
        assert len(events) == 1
        again, events = judged(found.record, now=now + 60_000)
        assert (again.record, events) == (found.record, [])

    def test_a_window_that_could_not_be_judged_in_time_is_judged_later(self) -> None:
        """The event says how late that is."""
        found, events = judged(record_of(), now=rome(2, "09:00"))
        assert events == [("Export Overdue", "NEVER_STARTED")]
        assert found.events[0].detail["judgedLateMs"] == 3 * HOUR_MS

    def test_a_window_that_could_not_be_judged_for_a_week_is_not_announced(self) -> None:
        """Nobody can do anything about it; a good one is still remembered as good."""
        now = rome(2, "06:00") + JUDGED_WITHIN_MS + 1
        good = job(rome(2, "01:00"))
        assert outcomes(judged(record_of(), now=now)[0])[0] == "NOT_JUDGED"
        assert outcomes(judged(record_of(), good, now=now)[0])[0] == "GOOD"
        assert outcomes(judged(record_of(), now=now - 1)[0])[0] == "NEVER_STARTED"

    def test_windows_in_a_row_are_counted(self) -> None:
        """Three nights without a job are three events, each with its number."""
        found, events = judged(record_of(), now=rome(4, "06:00"))
        assert events == [("Export Overdue", "NEVER_STARTED")] * 3
        assert [event.detail["missedWindows"] for event in found.events] == [1, 2, 3]
        assert {event.detail["overdueSince"] for event in found.events} == {
            "2026-01-02T05:00:00.000Z"
        }
        assert len({event.id for event in found.events}) == 3

    def test_people_are_told_of_an_hourly_export_once_a_day(self) -> None:
        """The bus gets every window, the topic the first and then one a day."""
        record, told = record_of(HOURLY), []
        for hour in range(60):
            found, _ = judged(record, now=APPLIED + hour * HOUR_MS)
            record = found.record
            told += [e.detail["window"]["dueAt"] for e in found.events if not e.detail["repeated"]]
        assert record.missed_windows > 50
        assert 3 <= len(told) <= 4

    @pytest.mark.parametrize("day", [29, 30])
    def test_nights_around_a_clock_change_are_all_told(self, day: int) -> None:
        """One of them is an hour shorter."""
        applied = rome(day - 1, "12:00", month=3)
        record = planned(replace(record_of(), applied_at=applied, window=None))
        found, _ = judged(record, now=applied + 3 * DAY_MS)
        assert [event.detail["repeated"] for event in found.events] == [False] * 3


class TestResolved:
    def overdue(self) -> ExpectationRecord:
        return judged(record_of(), now=rome(2, "06:00"))[0].record

    def test_a_late_success_resolves_it(self) -> None:
        """Once, by how late; and the state is as before."""
        late = job(rome(2, "07:00"))
        found, events = judged(self.overdue(), late, now=rome(2, "08:01"))
        assert events == [("Export Overdue Resolved", late.job_id)]
        assert found.events[0].detail["lateByMs"] == 2 * HOUR_MS
        assert not found.record.is_overdue
        assert found.record.history[-1].good_at == rome(2, "08:00")
        assert judged(found.record, late, now=rome(2, "08:02"))[1] == []

    @pytest.mark.parametrize(
        "fields",
        [
            {"status": "FAILED", "outcome": "FAILED"},
            {"final": False, "status": "PROCESSING", "outcome": "IN_PROGRESS"},
            {"outcome": "SUCCEEDED_EMPTY", "profiles_exported": 0},
            {"dataset_id": "other"},
        ],
    )
    def test_nothing_less_than_a_success_does(self, fields: dict[str, Any]) -> None:
        """It stays overdue, and is not announced again."""
        record = self.overdue()
        found, events = judged(record, job(rome(2, "07:00"), **fields), now=rome(2, "09:00"))
        assert (found.record, events) == (record, [])

    def test_a_job_of_the_missed_window_that_ends_later_resolves_it(self) -> None:
        """It had been running at the deadline."""
        running = judged(record_of(), open_job(rome(2, "05:30")), now=rome(2, "06:00"))[0].record
        ended = job(rome(2, "05:30"))
        assert judged(running, ended, now=rome(2, "06:31"))[1] == [
            ("Export Overdue Resolved", ended.job_id)
        ]

    def test_a_late_success_is_not_the_next_night_s(self) -> None:
        """With `opens`, a rerun after the deadline belongs to no window."""
        late = job(rome(2, "07:00"))
        record = judged(self.overdue(), late, now=rome(2, "08:01"))[0].record
        assert judged(record, late, now=rome(3, "06:00"))[1] == [
            ("Export Overdue", "NEVER_STARTED")
        ]

    def test_the_next_good_night_resolves_those_before_it(self) -> None:
        """One event for all of them, and none for the night itself."""
        record = judged(record_of(), now=rome(4, "06:00"))[0].record
        night = job(rome(5, "01:00"))
        found, events = judged(record, night, now=rome(5, "06:00"))
        assert events == [("Export Overdue Resolved", night.job_id)]
        assert found.events[0].detail["missedWindows"] == 3
        assert outcomes(found) == [*["NEVER_STARTED"] * 3, "GOOD"]

    def test_events_come_in_the_order_of_what_happened(self) -> None:
        """Also if the monitor was down for days: missed, made good, missed again."""
        late = job(rome(2, "10:00"))
        found, events = judged(record_of(), late, now=rome(3, "07:00"))
        assert events == [
            ("Export Overdue", "NEVER_STARTED"),
            ("Export Overdue Resolved", late.job_id),
            ("Export Overdue", "NEVER_STARTED"),
        ]
        assert outcomes(found) == ["NEVER_STARTED", "NEVER_STARTED"]
        assert found.record.history[0].job_id == late.job_id

    def test_after_it_is_resolved_people_are_told_at_once_again(self) -> None:
        """An hourly export that is missed, made good and missed again is news."""
        start = APPLIED
        record, _ = judged(record_of(HOURLY), now=start + 80 * 60_000)
        good = job(start + 90 * 60_000, took=60_000)
        record, events = judged(record.record, good, now=start + 100 * 60_000)
        assert events == [("Export Overdue Resolved", good.job_id)]
        found, events = judged(record.record, good, now=start + 3 * HOUR_MS + 20 * 60_000)
        assert [event.detail["repeated"] for event in found.events] == [False]


class TestNotAnnounced:
    def test_a_muted_window_is_not_announced(self) -> None:
        """What falls due before the time is silent, what falls due after it is not."""
        record = record_of(muted_until=rome(3, "06:00"))
        found, events = judged(record, now=rome(4, "06:00"))
        assert outcomes(found) == ["MUTED", "NEVER_STARTED", "NEVER_STARTED"]
        assert len(events) == 2
        assert found.record.missed_windows == 2

    def test_what_was_announced_is_resolved_even_if_it_is_muted_since(self) -> None:
        """Or it would stay open in whatever counts on it."""
        record = judged(record_of(), now=rome(2, "06:00"))[0].record
        muted = replace(record, muted_until=rome(9, "06:00"))
        assert len(judged(muted, job(rome(2, "07:00")), now=rome(2, "09:00"))[1]) == 1

    def test_an_excepted_day_has_no_window(self) -> None:
        """The one after it does."""
        wanted = replace(NIGHTLY, excepted=frozenset({date(2026, 1, 2)}))
        found, _ = judged(record_of(wanted), now=rome(3, "06:00"))
        (past,) = found.record.history
        assert past.window.due == rome(3, "06:00")

    def test_deadlines_before_it_was_applied_are_not_judged(self) -> None:
        """The first window is the one whose deadline comes next; jobs created before it count."""
        applied = rome(2, "05:00")
        record = ExpectationRecord("prod", NIGHTLY, applied)
        assert judged(record, job(rome(2, "01:00")), now=rome(2, "06:00"))[1] == []
        assert judged(record, now=rome(2, "06:00"))[1] == [("Export Overdue", "NEVER_STARTED")]

    def test_the_first_sweep_of_a_sandbox_skips_deadlines_before_it(self) -> None:
        """Adding a sandbox again announces nothing of the time between."""
        record = resumed(record_of(), now=rome(20, "12:00"))
        assert [past.outcome for past in record.history] == ["NOT_JUDGED"]
        assert record.window
        assert record.window.due == rome(21, "06:00")
        assert resumed(record, now=rome(20, "12:01")) == record


class TestChanges:
    def test_a_change_applies_from_the_next_window(self) -> None:
        """The window that has opened keeps the definition with which it opened."""
        changed = replace(record_of(), expectation=replace(NIGHTLY, dataset_id="new"))
        changed = replace(changed, in_force=NIGHTLY)
        found, events = judged(changed, job(rome(2, "01:00")), now=rome(2, "06:00"))
        assert events == []
        assert found.record.in_force is None
        _, events = judged(found.record, job(rome(3, "01:00")), now=rome(3, "06:00"))
        assert events == [("Export Overdue", "NEVER_STARTED")]

    def test_a_changed_deadline_is_the_next_one_s(self) -> None:
        """Tonight's stays at six, tomorrow's is at eight."""
        later = replace(NIGHTLY, due=8 * 60)
        changed = replace(record_of(), expectation=later, in_force=NIGHTLY)
        found, events = judged(changed, now=rome(2, "06:00"))
        assert len(events) == 1
        assert found.record.window
        assert found.record.window.due == rome(3, "08:00")


class TestBounds:
    def test_a_long_backlog_is_worked_off_in_parts(self) -> None:
        """As many events as fit one item; the next sweep goes on where this one stopped."""
        now = APPLIED + DAY_MS
        record, seen = record_of(HOURLY), 0
        for _ in range(10):
            found, events = judged(record, now=now)
            assert len(events) <= MAX_EVENTS
            record, seen = found.record, seen + len(events)
        assert seen == record.missed_windows == 24
        assert len(record.history) == MAX_HISTORY

    def test_only_the_jobs_that_matter_are_read(self) -> None:
        """From the opening of the oldest window to judge or to make good; none if there is none."""
        record = record_of()
        assert reads_from([record], now=rome(2, "05:00")) is None
        assert reads_from([record], now=rome(2, "06:00")) == rome(2, "00:00")
        overdue = judged(record, now=rome(3, "06:00"))[0].record
        assert reads_from([overdue, record_of(HOURLY)], now=APPLIED) == rome(3, "00:00")

    def test_a_window_missed_long_ago_reads_a_week_of_jobs(self) -> None:
        """However long it has been muted since."""
        overdue = judged(record_of(), now=rome(2, "06:00"))[0].record
        muted = replace(overdue, window=None)
        now = rome(28, "12:00")
        assert reads_from([replace(muted, applied_at=now)], now=now) == now - JUDGED_WITHIN_MS


jobs = st.builds(
    lambda created, took, outcome: job(
        APPLIED + created * 600_000,
        took=took * 600_000,
        status="SUCCEEDED" if outcome.startswith("SUCCEEDED") else outcome,
        outcome=outcome,
        profiles_exported=0 if outcome == "SUCCEEDED_EMPTY" else 5,
    ),
    st.integers(0, 6 * 24 * 5),
    st.integers(0, 200),
    st.sampled_from(["SUCCEEDED", "FAILED", "SUCCEEDED_EMPTY", "CANCELLED"]),
)
expectations = st.sampled_from(
    [NIGHTLY, HOURLY, replace(HOURLY, every=360, grace=600), replace(NIGHTLY, opens=None)]
)


def as_of(known: list[JobRecord], now: int) -> list[JobRecord]:
    """The jobs as they are on record at a time: those that end later are still open."""
    created = [one for one in known if one.creation_time <= now]
    return [
        one
        if one.creation_time + (one.duration_ms or 0) <= now
        else replace(open_job(one.creation_time), job_id=one.job_id)
        for one in created
    ]


@given(
    expectations,
    st.lists(jobs, max_size=8),
    st.lists(st.integers(1, 2_000), min_size=1, max_size=30),
)
def test_it_makes_no_difference_when_windows_are_judged(
    expectation: Expectation, known: list[JobRecord], pauses: list[int]
) -> None:
    """Every window ends good or overdue, once, and the same however often the monitor looked."""
    end = APPLIED + sum(pauses) * 60_000

    def play(times: list[int]) -> tuple[list[tuple[str, str, Any]], ExpectationRecord]:
        record, events = record_of(expectation), []
        for now in times:
            for _ in range(40):  # as many sweeps as a backlog takes
                found, _ = judged(record, *as_of(known, now), now=now)
                events += [
                    (event.type, event.id, event.detail["window"]["dueAt"])
                    for event in found.events
                ]
                if found.record == record:
                    break
                record = found.record
        return events, record

    often = play([*range(APPLIED, end, 7 * 60_000), end])
    moments_looked = [APPLIED + sum(pauses[:n]) * 60_000 for n in range(1, len(pauses) + 1)]
    rarely = play(moments_looked)
    if end - APPLIED < JUDGED_WITHIN_MS:
        assert [event[:2] for event in often[0]] == [event[:2] for event in rarely[0]]
        assert often[1].history == rarely[1].history
    for events, record in (often, rarely):
        ids = [identity for _, identity, _ in events]
        assert len(ids) == len(set(ids))
        resolved = sum(kind == "Export Overdue Resolved" for kind, *_ in events)
        streaks = resolved + record.is_overdue
        assert streaks <= sum(kind == "Export Overdue" for kind, *_ in events)
        last = "Export Overdue Resolved"
        for kind, *_ in events:  # it is never resolved twice, nor before it is overdue
            assert kind == "Export Overdue" or last == "Export Overdue"
            last = kind
        assert record.window is None or record.window.due > end


def test_an_expectation_that_has_ended_is_not_judged_from_its_beginning() -> None:
    """Its last window stays its last, however often it is looked at, until a later one is wanted."""
    friday = date(2026, 1, 2)
    others = frozenset(friday + timedelta(days=7 * n) for n in range(1, 120))
    record = record_of(replace(NIGHTLY, days=frozenset({4}), excepted=others))
    found, events = judged(record, now=rome(3, "12:00"))
    assert len(events) == 1
    assert judged(found.record, now=rome(3, "13:00"))[1] == []
    assert reads_from([replace(found.record, missed=None)], now=rome(3, "13:00")) is None


def test_only_jobs_of_their_datasets_are_kept_and_without_their_events() -> None:
    """However many others the sandbox has, and however large their records are."""
    night = job(rome(2, "01:00"), end_detail={"a": "large one"})
    kept = judged_by([record_of()], [night, replace(night, dataset_id="other")])
    assert kept == [replace(night, end_detail=None)]


def test_a_night_is_not_announced_again_when_its_deadline_is_moved() -> None:
    """What is changed after a window was judged applies from the next one that is not the same."""
    record = judged(record_of(), now=rome(2, "06:00"))[0].record
    for later in (replace(NIGHTLY, due=8 * 60), replace(NIGHTLY, due=8 * 60, opens=None)):
        moved = replace(record, expectation=later, window=None, applied_at=rome(2, "07:00"))
        found, events = judged(moved, now=rome(2, "08:00"))
        assert events == []
        assert found.record.window
        assert found.record.window.due == rome(3, "08:00")


def test_a_window_that_a_clock_change_lengthens_is_not_skipped() -> None:
    """In the night in which a time is repeated, it opens before the last one has closed."""
    all_day = replace(NIGHTLY, opens=150, due=150)
    applied = rome(23, "12:00", month=10)
    record = planned(ExpectationRecord("prod", all_day, applied))
    found, events = judged(record, now=applied + 4 * DAY_MS)
    assert len(events) == 4
    assert [past.outcome for past in found.record.history] == ["NEVER_STARTED"] * 4
