"""The daily digest: when it is due, and what it reports, as functions of records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from export_jobs.events.build import MAX_DETAIL_BYTES, MAX_LISTED
from export_jobs.events.outbox import after_delivery
from export_jobs.events.policy import DigestPolicy
from export_jobs.model.expectations import ExpectationRecord
from export_jobs.model.records import DigestState, Event, EventType, JobRecord, Undelivered
from export_jobs.monitor.summary import (
    MAX_COVERED_MS,
    MAX_FOR_REGULAR,
    Summary,
    covered_since,
    planned,
    planned_after,
)
from support.digests import (
    DATASET,
    DAY_MS,
    DROP,
    ERROR,
    HOUR_MS,
    SINCE,
    SLOW,
    UNTIL,
    digest_of,
    ended,
    full_digest,
    nightly,
    overdue,
    quiet_digest,
    sandbox_of,
)
from support.schemas import validate_event


def at(zone: str, *local: int) -> int:
    return int(datetime(*local, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[misc, arg-type]


def utc(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def dues(policy: DigestPolicy, after: int, number: int) -> list[int]:
    """The moments at which the next digests are due, each planned at the one before."""
    state, found = planned(DigestState(), policy, now=after), []
    for _ in range(number):
        assert state.due_at
        found.append(state.due_at)
        state = planned_after(state, policy, now=state.due_at)
    return found


# -- when it is due ------------------------------------------------------------------------------


def test_it_is_due_at_the_local_time_of_every_day() -> None:
    """The same hour in winter and in summer, which is another one in UTC."""
    policy = DigestPolicy("08:00", "Europe/Rome")
    found = dues(policy, at("Europe/Rome", 2026, 3, 27, 12), 4)
    assert found == [at("Europe/Rome", 2026, 3, day, 8) for day in (28, 29, 30, 31)]
    assert found[1] - found[0] == 23 * HOUR_MS


def test_a_time_that_a_clock_change_skips_is_the_moment_of_the_change() -> None:
    """02:30 does not exist in Rome on 29 March 2026; the day has its digest all the same."""
    found = dues(DigestPolicy("02:30", "Europe/Rome"), utc(2026, 3, 28, 12), 2)
    assert found == [utc(2026, 3, 29, 1), utc(2026, 3, 30, 0, 30)]


def test_of_a_time_that_a_clock_change_repeats_the_first_counts() -> None:
    """02:30 comes twice in Rome on 25 October 2026; the digest comes once."""
    found = dues(DigestPolicy("02:30", "Europe/Rome"), utc(2026, 10, 24, 12), 2)
    assert found == [utc(2026, 10, 25, 0, 30), utc(2026, 10, 26, 1, 30)]


def test_a_digest_at_its_own_moment_plans_the_next_day() -> None:
    """Not the same moment again."""
    policy, due = DigestPolicy("08:00"), utc(2026, 1, 2, 8)
    assert planned_after(DigestState(due_at=due), policy, now=due).due_at == due + DAY_MS


def test_another_time_moves_the_next_digest_and_covers_the_same() -> None:
    """Nothing is left out, and nothing is sent at once."""
    known = DigestState(due_at=UNTIL, since=SINCE, time="00:00 UTC", version=3)
    moved = planned(known, DigestPolicy("06:00"), now=UNTIL - HOUR_MS)
    assert moved == replace(known, due_at=UNTIL + 6 * HOUR_MS, time="06:00 UTC")


def test_after_days_without_the_monitor_one_digest_covers_them() -> None:
    """It says how many days; the next one is due within a day."""
    known = DigestState(due_at=UNTIL - 3 * DAY_MS, since=UNTIL - 4 * DAY_MS)
    assert covered_since(known, now=UNTIL) == known.since
    after = planned_after(known, DigestPolicy("08:00"), now=UNTIL)
    assert (after.due_at, after.since) == (UNTIL + 8 * HOUR_MS, UNTIL)
    event = digest_of((sandbox_of(), (), ()), since=known.since)
    assert event.detail["coversDays"] == 4
    assert quiet_digest().detail["coversDays"] == 1


def test_what_a_digest_covers_is_limited() -> None:
    """So that it can be made within one run, even after a month; it says since when."""
    assert covered_since(DigestState(since=1), now=UNTIL) == UNTIL - MAX_COVERED_MS


# -- what it reports -----------------------------------------------------------------------------


def counted(*jobs: JobRecord) -> dict[str, int]:
    detail = digest_of((sandbox_of(), (), jobs)).detail
    return {one["outcome"]: one["exports"] for one in detail["outcomes"]}


def test_every_end_is_in_one_digest() -> None:
    """By the moment at which it was detected, so also if the service's own time is earlier."""
    late = ended(1, detected_at=UNTIL + 60_000)
    ends = [ended(2, detected_at=SINCE), late, ended(3, detected_at=UNTIL - 1)]
    days = [(SINCE - DAY_MS, SINCE), (SINCE, UNTIL), (UNTIL, UNTIL + DAY_MS)]
    found = [digest_of((sandbox_of(), (), ends), since=s, until=u) for s, u in days]
    assert [event.detail["exports"] for event in found] == [0, 2, 1]


def test_an_end_that_is_not_delivered_counts() -> None:
    """What the outbox has was detected."""
    job = ended(1, "FAILED", errors=[ERROR])
    assert job.end_detail
    event = Event(EventType.JOB_STATE_CHANGE, {**job.end_detail, "eventId": "e"})
    undelivered = Undelivered(event, frozenset({"topic"}))
    waits = replace(job, end_detail=None, outbox=(undelivered,))
    assert counted(waits) == counted(after_delivery(waits, {"e": frozenset({"topic"})}))
    assert counted(waits) == {"FAILED": 1}


def test_an_end_without_an_event_counts_when_the_job_ended() -> None:
    """It was recorded silently, at a sandbox's first sweep."""
    silent = replace(ended(1), end_detail=None, creation_time=SINCE, duration_ms=HOUR_MS)
    assert counted(silent) == {"SUCCEEDED": 1}
    assert counted(replace(silent, duration_ms=DAY_MS)) == {}


def test_open_jobs_have_not_ended() -> None:
    """Nor has one that vanished and came back, whatever its last end was."""
    assert counted(replace(ended(1, "VANISHED"), final=False, status="PROCESSING")) == {}


def test_a_record_of_an_older_version_counts_by_its_status() -> None:
    """It did not have the outcome; a status that only a newer version knows is left out."""
    old = replace(ended(1, "FAILED"), outcome=None)
    assert counted(old) == {"FAILED": 1}
    assert counted(replace(old, status="PAUSED_FOR_GOOD")) == {}


def test_failures_are_by_dataset_with_the_last_error_that_is_known() -> None:
    """The most failures first; other ends of the dataset don't count."""
    jobs = [
        ended(1, "FAILED", errors=[{"code": "1", "message": "an earlier one"}]),
        ended(2, "FAILED", detected_at=UNTIL - 3, errors=[ERROR, {"code": "2", "message": "no"}]),
        ended(3, "SUCCEEDED_EMPTY", detected_at=UNTIL - 2),
        ended(4),
        ended(5, "SUCCEEDED_WITH_ERRORS", dataset_id="other", errors=[{"message": "x" * 999}]),
    ]
    first, second = digest_of((sandbox_of(), (), jobs)).detail["failures"]
    assert first["error"] == ERROR
    assert (first["exports"], first["jobId"], first["outcome"]) == (3, "2", "FAILED")
    assert (second["datasetId"], second["exports"]) == ("other", 1)
    assert len(second["error"]["message"]) == 200


def test_the_slowest_come_first() -> None:
    """Of all sandboxes together, a few."""
    fast = [ended(n) for n in range(1, 9)]
    slow = ended(100, sandbox="dev")
    detail = digest_of((sandbox_of(), (), fast), (sandbox_of("dev"), (), [slow])).detail
    assert [one["jobId"] for one in detail["slowest"]] == ["100", "8", "7", "6", "5"]


def test_unusual_exports_are_counted_and_the_farthest_come_first() -> None:
    """By the greater of their factors; with what was usual when they ended."""
    jobs = [
        ended(1, profiles_exported=400, end={**DROP, "profilesRatio": 0.4}),
        ended(2, end=SLOW),
        ended(3, profiles_exported=0, end={**DROP, "profilesRatio": 0.0, "durationRatio": 1.0}),
        ended(4, end={"anomalies": ["VOLUME_SPIKE"], "profilesRatio": 9.0}, sandbox="dev"),
        ended(5, end={"anomalies": []}),
        ended(6, end={"anomalies": ["TOO_WARM"]}),
        ended(7),
        ended(8, end=DROP, detected_at=SINCE - 1),
    ]
    detail = digest_of((sandbox_of(), (), jobs)).detail
    assert detail["unusualExports"] == 4
    assert [one["jobId"] for one in detail["unusual"]] == ["3", "4", "2", "1"]
    assert detail["unusual"][3] == {
        "sandboxName": "prod",
        "jobId": "1",
        "datasetId": DATASET,
        "outcome": "SUCCEEDED",
        "anomalies": ["VOLUME_DROP"],
        "profilesExported": 400,
        "usualProfilesExported": 61_230,
        "durationMs": 1_000,
        "usualDurationMs": None,
    }
    many = [ended(n, end=DROP) for n in range(MAX_LISTED + 5)]
    detail = digest_of((sandbox_of(), (), many)).detail
    assert (detail["unusualExports"], len(detail["unusual"])) == (MAX_LISTED + 5, MAX_LISTED)
    assert "unusual" in detail["truncated"]


def test_what_is_muted_is_not_reported_as_overdue() -> None:
    """The longest overdue comes first, with why it is."""
    muted = replace(overdue("muted"), muted_until=UNTIL + 1)
    judged = replace(overdue("judged"), missed=None)
    known = [overdue("new", hours=1), muted, judged, overdue("old", hours=50)]
    detail = digest_of((sandbox_of(), known, ())).detail
    assert [one["expectation"] for one in detail["overdue"]] == ["old", "new"]
    assert detail["overdue"][0]["reason"] == "NEVER_STARTED"
    assert detail["overdueExports"] == detail["sandboxes"][0]["overdueExports"] == 2


def test_what_waits_and_what_fails_is_reported_by_sandbox() -> None:
    """And in all; sandboxes with something to report come first."""
    failing = sandbox_of("z", failing_since=SINCE)
    detail = digest_of(
        (sandbox_of("a"), (), ()), (sandbox_of("b", waiting=2), (), ()), (failing, (), ())
    ).detail
    assert [one["sandboxName"] for one in detail["sandboxes"]] == ["z", "b", "a"]
    assert (detail["waitingRequests"], detail["failingSandboxes"]) == (2, 1)
    assert detail["waitingSince"] == "2023-11-14T23:58:00.000Z"


def not_expected(jobs: Iterable[JobRecord], *expectations: ExpectationRecord) -> list[str]:
    summary = Summary(SINCE, UNTIL)
    summary.add_not_expected("prod", expectations, jobs, timezone="Europe/Rome")
    return [one.dataset_id for one in summary.not_expected]


def test_regular_exports_without_an_expectation_are_named() -> None:
    """By dataset: value without configuration. `suggest` and `doctor` have the same rule."""
    jobs = [*nightly("b"), *nightly("a"), *nightly("rare", days=3), *nightly(DATASET)]
    assert not_expected(jobs) == [DATASET, "a", "b"]
    assert not_expected(jobs, overdue()) == ["a", "b"]


def test_regular_exports_are_not_looked_for_among_too_many_jobs() -> None:
    """No more of them are read than can be."""
    read = 0

    def endless() -> Iterator[JobRecord]:
        nonlocal read
        while True:
            read += 1
            yield from nightly("a")

    assert not_expected(endless()) == []
    assert read * 14 < MAX_FOR_REGULAR + 28


@pytest.mark.parametrize("event", [full_digest(), quiet_digest()], ids=["full", "quiet"])
def test_a_digest_is_as_published(event: Event) -> None:
    """By its schema."""
    validate_event(event.type, event.detail)


def test_the_largest_digest_is_within_the_limit_of_an_event() -> None:
    """Whatever the names are; it says what was cut, and its numbers still count everything."""
    name = "プ" * 256
    jobs = [
        ended(n, "FAILED", dataset_id=f"{n}{name}", errors=[{"code": name, "message": name}])
        for n in range(300)
    ]
    parts = [(sandbox_of(f"s{n}", waiting=1), (), ()) for n in range(200)]
    late = [overdue(f"{n}{name}") for n in range(300)]
    event = digest_of((sandbox_of(), late, jobs), *parts)
    validate_event(event.type, event.detail)
    assert len(json.dumps(event.detail, ensure_ascii=False).encode()) <= MAX_DETAIL_BYTES
    detail = event.detail
    assert detail["failedDatasets"] == detail["overdueExports"] == 300
    assert len(detail["failures"]) <= MAX_LISTED
    assert set(detail["truncated"]) == {"failures", "overdue", "sandboxes"}


def test_jobs_are_looked_at_once_each() -> None:
    """They may be read page by page, and need not be in memory together."""
    summary = Summary(SINCE, UNTIL)
    summary.add(sandbox_of(), (), iter([ended(1), ended(2)]))
    assert sum(summary.outcomes.values()) == 2
