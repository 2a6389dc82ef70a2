"""What is suggested to be expected, by jobs on record and by Adobe's schedules."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from export_jobs.contract.schedule import Schedule
from export_jobs.model.expectations import Expectation
from export_jobs.model.fingerprints import segment_fingerprint
from export_jobs.model.records import JobRecord
from export_jobs_cli.expectations.file import parse
from export_jobs_cli.expectations.scheduled import Scheduled, from_schedules
from export_jobs_cli.expectations.suggest import Suggestion, from_jobs
from export_jobs_cli.expectations.suggested import Suggested
from hypothesis import given
from hypothesis import strategies as st
from support.hostile_text import hostile

ROME, UTC_ZONE = ZoneInfo("Europe/Rome"), ZoneInfo("UTC")
TODAY = date(2026, 11, 20)
"""A Friday; clocks were changed on 25 October."""
NOW = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp() * 1000)
DATASET = "5bb4c46757920712f924a3eb"


def a_run(day: date, at: str, *, took: int = 20, zone: ZoneInfo = ROME, **fields: Any) -> JobRecord:
    """A good run of 20 minutes, or as many as it took."""
    local = datetime.combine(day, time.fromisoformat(at), tzinfo=zone)
    created = int(local.timestamp() * 1000)
    job = JobRecord(
        "prod", str(created), created, status="SUCCEEDED", outcome="SUCCEEDED", final=True,
        dataset_id=DATASET, duration_ms=took * 60_000,
    )  # fmt: skip
    return replace(job, **fields)


def days(count: int) -> list[date]:
    """The last days before today."""
    return [TODAY - timedelta(days=n) for n in range(1, count + 1)]


def suggested(
    jobs: Iterable[JobRecord], *known: Expectation, zone: ZoneInfo = ROME
) -> list[Expectation]:
    found = from_jobs("prod", jobs, zone=zone, known=known, now=NOW)
    return [one.expectation for one in found]


def test_a_nightly_export_is_suggested_with_room_for_a_late_one() -> None:
    """Opens before the earliest, due after the latest usual end, both at a quarter of an hour."""
    jobs = [a_run(day, f"02:{n % 10:02}", took=20 + n % 7) for n, day in enumerate(days(27))]
    (nightly,) = suggested(jobs)
    assert nightly == Expectation(
        "daily-0200-5bb4c467", DATASET, "Europe/Rome", opens=90, due=3 * 60 + 15
    )
    (one,) = from_jobs("prod", jobs, zone=ROME, known=(), now=NOW)
    assert one.basis[0] == (
        "14 of the last 14 days have a good run, created 02:00 to 02:09 and ended by 02:32"
    )


@pytest.mark.parametrize(
    ("runs_on", "expected"),
    [(range(5), frozenset(range(5))), (range(7), frozenset(range(7))), ({1, 2, 3}, {1, 2, 3})],
)
def test_the_days_of_the_week_are_recognised(runs_on: Any, expected: Any) -> None:
    """So that a quiet weekend is not overdue."""
    (found,) = suggested(a_run(day, "02:00") for day in days(28) if day.weekday() in runs_on)
    assert found.days == expected


def test_a_run_after_midnight_belongs_to_the_day_that_its_window_opened() -> None:
    """Runs from 23:50 to 00:10 on weekdays: mon-fri, and due on the next day."""
    jobs = []
    for n, day in enumerate(days(28)):
        if day.weekday() < 5:
            jobs.append(a_run(*((day, "23:50") if n % 2 else (day + timedelta(days=1), "00:10"))))
    (found,) = suggested(job for job in jobs if job.creation_time < NOW)
    assert (found.opens, found.due, found.days) == (23 * 60 + 15, 60, frozenset(range(5)))
    assert found.due < found.opens


def test_two_times_of_day_are_two_expectations() -> None:
    """Each with its own deadline."""
    jobs = [a_run(day, at) for day in days(20) for at in ("02:00", "14:00")]
    assert [(one.opens, one.due) for one in suggested(jobs)] == [(90, 180), (810, 900)]


@pytest.mark.parametrize(
    ("minutes", "every"), [(15, 15), (60, 60), (120, 120), (240, 240), (360, 360)]
)
def test_a_frequent_export_is_suggested_with_windows(minutes: int, every: int) -> None:
    """The shortest windows that nearly all have a run, with a grace for one that ends late."""
    start = datetime(2026, 11, 10, 0, 5, tzinfo=ROME)
    jobs = [
        a_run(at.date(), f"{at:%H:%M}", took=9)
        for n in range(10 * 1440 // minutes)
        if (at := start + timedelta(minutes=n * minutes)).date() < TODAY
    ]
    (found,) = suggested(jobs)
    assert (found.every, found.due, found.opens) == (every, None, None)
    assert found.grace == (15 if every == 15 else 0)


def test_a_grace_covers_what_usually_ends_after_its_window() -> None:
    """An hourly export that is created at :50 and takes half an hour."""
    jobs = [a_run(day, f"{hour:02}:50", took=30) for day in days(9) for hour in range(24)]
    (found,) = suggested(jobs)
    assert (found.every, found.grace) == (60, 45)


@pytest.mark.parametrize(
    "jobs",
    [
        [a_run(day, "02:00") for day in days(4)],
        [a_run(day, "02:00") for day in days(28)[7:]],
        [a_run(day, "02:00", outcome="FAILED", status="FAILED") for day in days(20)],
        [a_run(day, "02:00", outcome="SUCCEEDED_EMPTY") for day in days(20)],
        [a_run(day, "02:00", final=False) for day in days(20)],
        [a_run(day, "02:00", dataset_id=None) for day in days(20)],
        [a_run(day, "02:00", took=23 * 60 + 50) for day in days(20)],
        [a_run(day, f"{(7 * n) % 24:02}:00") for n, day in enumerate(days(28))],
        [a_run(day, "02:00", dataset_id=str(n)) for n, day in enumerate(days(28))],
        [],
    ],
    ids=["few", "stopped", "failed", "empty", "open", "nowhere", "long", "any time", "others", "no"],
)  # fmt: skip
def test_what_is_not_regular_is_not_suggested(jobs: list[JobRecord]) -> None:
    """An expectation that is overdue without a reason would be worse than none."""
    assert suggested(jobs) == []


def test_one_bad_night_does_not_matter() -> None:
    """One that was much later than usual does not delay the deadline, nor does a missing one."""
    jobs = [a_run(day, "02:00", took=400 if n == 3 else 20) for n, day in enumerate(days(28))]
    (found,) = suggested(jobs[:5] + jobs[6:])
    assert (found.opens, found.due) == (90, 180)


def test_exports_of_other_segments_are_other_exports() -> None:
    """Into the same dataset; the ids come from what is recorded of a job's end."""

    def segments(*ids: str) -> dict[str, Any]:
        listed = [{"segmentId": one, "segmentNs": "ups", "status": ["realized"]} for one in ids]
        return {
            "segments": frozenset(map(segment_fingerprint, ids)),
            "end_detail": {"segments": listed},
        }

    jobs = [a_run(day, "02:00", **segments("b", "a")) for day in days(20)]
    jobs += [a_run(day, "05:00", **segments("c")) for day in days(20)]
    jobs += [a_run(day, "08:00", **{**segments("d"), "end_detail": None}) for day in days(20)]
    found = from_jobs("prod", jobs, zone=ROME, known=(), now=NOW)
    assert [one.expectation.segments for one in found] == [("a", "b"), ("c",), ()]
    assert len({one.expectation.name for one in found}) == 3
    assert found[2].basis[-1].startswith("its segments are not all on record: add them")


@pytest.mark.parametrize(
    ("known", "count"),
    [
        (Expectation("a", DATASET, "Europe/Rome", due=360), 0),
        (Expectation("a", DATASET, "Europe/Rome", opens=0, due=360), 0),
        (Expectation("a", DATASET, "UTC", opens=0, due=90), 0),
        (Expectation("a", DATASET, "UTC", opens=23 * 60, due=120), 0),
        (Expectation("a", DATASET, "UTC", every=60), 0),
        (Expectation("a", DATASET, "Europe/Rome", opens=720, due=1080), 1),
        (Expectation("a", "other", "Europe/Rome", due=360), 1),
    ],
)
def test_what_is_expected_already_is_left_out(known: Expectation, count: int) -> None:
    """By its dataset and its window, in its own zone."""
    assert len(suggested([a_run(day, "02:00") for day in days(20)], known)) == count


def test_a_name_that_is_taken_gets_a_number() -> None:
    """Applying the suggestions changes no other expectation."""
    taken = Expectation("daily-0200-5bb4c467", "other", "UTC", due=1)
    (found,) = suggested([a_run(day, "02:00") for day in days(20)], taken)
    assert found.name == "daily-0200-5bb4c467-2"


def test_times_are_those_of_the_zone_that_is_asked_for() -> None:
    """In another one, an export at the same local time moves when clocks change."""
    (found,) = suggested([a_run(day, "02:00") for day in days(20)], zone=UTC_ZONE)
    assert (found.timezone, found.opens, found.due) == ("UTC", 30, 120)


jobs_on_record = st.lists(
    st.builds(
        a_run,
        st.dates(TODAY - timedelta(days=30), TODAY),
        st.times().map(lambda at: f"{at:%H:%M}"),
        took=st.integers(0, 3_000),
        dataset_id=st.sampled_from(["a", "b"]) | hostile,
        job_id=hostile,
    ),
    max_size=60,
)


@given(jobs_on_record, st.integers(0, 10_000), st.sampled_from([5, 15, 60, 400, 1440]))
def test_whatever_is_on_record_the_suggestions_are_a_valid_file(
    jobs: list[JobRecord], seed: int, period: int
) -> None:
    """Which reads as what was suggested, and whose comments are only comments."""
    generator = random.Random(seed)
    start = NOW - 20 * 86_400_000
    jobs += [
        a_run(TODAY, "00:00", creation_time=start + n * period * 60_000, dataset_id=f"'x: [{seed}")
        for n in range(min(20 * 1440 // period, 400))
        if generator.random() < 0.97
    ]
    found = from_jobs("prod", jobs, zone=ROME, known=(), now=NOW)
    assert_reads_as(found)


def assert_reads_as(suggestions: list[Suggestion], scheduled: Scheduled | None = None) -> None:
    whole = Suggested(tuple(suggestions), scheduled or Scheduled(), ROME, False, 1)
    lines = list(whole.as_file())
    assert all(line.isprintable() for line in lines)
    entries = parse("\n".join(lines), now=NOW, watched=["prod"]).entries
    assert entries is not None
    wanted = [one.expectation for one in (*suggestions, *whole.scheduled.complete)]
    assert [entry.expectation for entry in entries] == wanted


# -- schedules -------------------------------------------------------------------------------------


def schedule(cron: str, **fields: Any) -> Schedule:
    return Schedule.model_validate(
        {"id": "4e53", "name": "Nightly: VIPs", "type": "export", "state": "active",
         "schedule": cron, "properties": {"datasetId": DATASET}, **fields}
    )  # fmt: skip


def test_a_schedule_of_adobe_s_is_suggested_in_utc() -> None:
    """It always runs at the same time of UTC; its deadline is only a guess, which it says."""
    found = from_schedules("prod", [schedule("0 10 2 ? * MON-FRI")], known=(), now=NOW)
    (one,) = found.complete
    assert one.expectation == Expectation(
        "nightly-vips", DATASET, "UTC", opens=120, due=375, days=frozenset(range(5))
    )
    (basis,) = one.basis
    assert basis.startswith("Adobe's schedule Nightly: VIPs (4e53) runs at 02:10 UTC; ")
    assert basis.endswith("it does not say how long an export takes, so due 06:15 is a guess")


def test_a_schedule_without_a_dataset_is_only_a_comment() -> None:
    """What an export's schedule holds is not documented, and nothing is made up."""
    for properties in ({}, None, {"a": [{"datasetId": "x"}, {"datasetId": "y"}]}, {"datasetId": 1}):
        plan = [schedule("0 0 2 * * ?", properties=properties)]
        found = from_schedules("prod", plan, known=(), now=NOW)
        assert found.complete == ()
        (one,) = found.without_dataset
        assert "fill that in" in one.basis[-1]
        assert_reads_as([], found)


def test_only_active_schedules_of_exports_count() -> None:
    """One that can't be said as a time of day is named with the reason."""
    plans = [
        schedule("0 0 2 * * ?", state="inactive"),
        schedule("0 0 2 * * ?", type="batch_segmentation"),
        schedule("0 0 */2 * * ?"),
    ]
    found = from_schedules("prod", plans, known=(), now=NOW)
    assert (found.complete, found.without_dataset) == ((), ())
    (note,) = found.notes
    assert note.startswith("Adobe's schedule Nightly: VIPs (4e53) in prod runs several times a day")


def test_a_schedule_that_is_expected_already_is_left_out() -> None:
    """By its dataset and its time."""
    known = [Expectation("a", DATASET, "Europe/Rome", opens=120, due=360)]
    plans = [schedule("0 0 2 * * ?"), schedule("0 0 14 * * ?")]
    (one,) = from_schedules("prod", plans, known=known, now=NOW).complete
    assert one.expectation.opens == 14 * 60


@given(hostile, hostile, hostile | st.just("0 0 2 * * ?"), st.booleans())
def test_whatever_a_schedule_says_the_file_stays_valid(
    name: str, number: str, cron: str, has_dataset: bool
) -> None:
    """Its name and its id come from outside."""
    properties = {"datasetId": DATASET} if has_dataset else {"x": name}
    one = schedule(cron, name=name, id=number, properties=properties)
    assert_reads_as([], from_schedules("prod", [one, one], known=(), now=NOW))
