"""What needs attention: the last run of each kind, what is overdue, and what does not work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.model.baselines import Comparison
from export_jobs.model.names import Names
from export_jobs.model.records import Gate, Hold, SandboxState, Ticket
from export_jobs_cli.page.attention import Item, attention_of
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.status import StackStatus
from support.pages import (
    ALL_WELL,
    DAY_MS,
    HOUR_MS,
    NOW,
    TONIGHT,
    expectation,
    job_record,
    line_of,
    missed,
    reading,
)

DROP = Comparison(
    anomalies=("VOLUME_DROP",),
    usual_profiles=1_000_000,
    profiles_ratio=0.001,
    runs=28,
    settled=frozenset({"VOLUME"}),
)


def attention(*readings: Reading, status: StackStatus = ALL_WELL) -> list[Item]:
    lines = {one.sandbox: line_of(one) for one in readings}
    return attention_of(readings, lines, status, now=NOW)


def test_nothing_needs_attention_while_all_is_well() -> None:
    """Neither good and cancelled runs, nor running ones, nor expectations that are met."""
    jobs = [
        job_record("1"),
        job_record("2", "CANCELLED"),
        job_record("3", "PROCESSING", at=NOW - HOUR_MS),
    ]
    assert attention(reading(*jobs, expectations=[expectation()])) == []


@pytest.mark.parametrize(
    ("status", "fields", "words"),
    [
        (
            "FAILED",
            {"errors": [{"code": "E1", "msg": "disk full"}]},
            ("failed", "disk full (code E1)"),
        ),
        ("SUCCEEDED", {"profiles": 0}, ("exported no profile",)),
        ("SUCCEEDED", {"errors": [{"msg": "half"}]}, ("succeeded with errors", "half")),
    ],
)
def test_a_run_that_did_not_end_well_says_why(
    status: str, fields: dict[str, object], words: tuple[str, ...]
) -> None:
    """With the job, its dataset by name, and the first error."""
    names = Names(datasets={"d1": "Newsletter"})
    (item,) = attention(reading(job_record("7", status, **fields), names=names))  # type: ignore[arg-type]
    assert (item.tone, item.job_id, item.sandbox) == ("bad", "7", "prod")
    for word in ("job 7", "Newsletter (d1)", *words):
        assert word in f"{item.text} {item.more}"


def test_an_unusual_run_says_what_is_unusual_and_what_it_was_compared_with() -> None:
    """In words, with the numbers."""
    (item,) = attention(reading(job_record("7", comparison=DROP)))
    assert item.tone == "warn"
    assert "VOLUME DROP, 1,000 profiles (usually 1,000,000)" in item.text
    assert item.more == (
        "compared with 28 runs of the same kind · created Tue 2026-09-22 02:00 UTC · segments: s1"
    )


def test_a_job_is_told_from_others_by_its_time_and_its_segments() -> None:
    """By their names, at most two of them."""
    shown = {"segments": [{"segmentId": f"s{n}"} for n in range(4)]}
    names = Names(segments={"s1": "Gold members"})
    failed = job_record("1", "FAILED", errors=[{"msg": "disk full"}], asked_for=shown)
    (item,) = attention(reading(failed, names=names))
    assert item.more == (
        "disk full · created Tue 2026-09-22 02:00 UTC · segments: Gold members (s1), s0 and 2 more"
    )


def test_only_the_last_run_of_a_kind_counts() -> None:
    """A failure is over once the same export has succeeded; one of another kind does not end it."""
    failed = job_record("1", "FAILED", at=TONIGHT - DAY_MS)
    later = job_record("2", at=TONIGHT)
    assert attention(reading(failed, later)) == []
    other = replace(later, kind="1-b")
    assert [item.job_id for item in attention(reading(failed, other))] == ["1"]
    running = job_record("3", "PROCESSING", at=NOW - HOUR_MS)
    assert [item.job_id for item in attention(reading(failed, running))] == ["1"]
    cancelled = job_record("4", "CANCELLED", at=TONIGHT)
    assert [item.job_id for item in attention(reading(failed, cancelled))] == ["1"]


ENDS_IN_MS = 600_000
"""After its creation, every job here."""


def test_an_export_that_ran_once_needs_attention_for_three_days() -> None:
    """From its end on; something that was tried once and never again is not needed for ever."""
    limit = NOW - 3 * DAY_MS - ENDS_IN_MS
    assert attention(reading(job_record("1", "FAILED", at=limit)))
    assert attention(reading(job_record("1", "FAILED", at=limit - 1))) == []


def test_an_export_that_runs_again_needs_attention_for_two_weeks() -> None:
    """The next run of a weekly export may be a week away."""
    week = 7 * DAY_MS
    failed = job_record("2", "FAILED", at=TONIGHT - 4 * DAY_MS)
    assert attention(reading(job_record("1", at=failed.creation_time - week), failed))
    limit = NOW - 14 * DAY_MS - ENDS_IN_MS
    for at, expected in ((limit, 1), (limit - 1, 0)):
        runs = (job_record("1", at=at - week), job_record("2", "FAILED", at=at))
        assert len(attention(reading(*runs))) == expected


def test_a_job_that_ran_for_days_needs_attention_from_its_end_on() -> None:
    """It may have been created before all that is recent."""
    long = job_record("1", "FAILED", at=NOW - 4 * DAY_MS, took_ms=4 * DAY_MS - 60_000)
    assert attention(reading(long))


@pytest.mark.parametrize(
    ("dataset", "segments", "hidden"),
    [
        ("d1", (b"s1", b"s1"), True),
        ("d1", (b"s1", b"s2"), False),
        ("d1", (None, None), False),
        (None, (b"s1", b"s1"), False),
    ],
)
def test_jobs_of_which_too_little_is_known_hide_no_other(
    dataset: str | None, segments: tuple[bytes | None, bytes | None], *, hidden: bool
) -> None:
    """Without a kind, those with the same dataset and segments are the same export."""
    runs = [
        job_record("1", "FAILED", at=TONIGHT - HOUR_MS, dataset=dataset),
        job_record("2", dataset=dataset),
    ]
    jobs = [
        replace(job, kind=None, segments=None if content is None else frozenset({content}))
        for job, content in zip(runs, segments, strict=True)
    ]
    assert [item.job_id for item in attention(reading(*jobs))] == ([] if hidden else ["1"])


def test_an_outcome_of_a_newer_version_is_reported() -> None:
    """It has the mark of a failure, and nobody knows that it is none."""
    newer = replace(job_record("1"), outcome="HALF_DONE")  # type: ignore[arg-type]
    assert [item.kind for item in attention(reading(newer))] == ["failed"]


def test_a_job_without_a_creation_time_is_reported() -> None:
    """By when its record was last changed."""
    failed = replace(job_record("1", "FAILED"), creation_time=0, duration_ms=None)
    assert attention(reading(replace(failed, update_time=None, touched_at=NOW - HOUR_MS)))


def test_a_duplicate_is_reported() -> None:
    """Though it succeeded: its data may have been delivered twice."""
    (item,) = attention(reading(job_record("2", duplicate_of="r")))
    assert (item.tone, item.job_id) == ("warn", "2")
    assert item.more.startswith("request r has another job · created ")


def test_a_failed_try_is_left_to_the_next_one() -> None:
    """Once the request has another job, that one counts; until then, it says when it is tried."""
    failed = job_record("1", "FAILED", request_key="r", retry_at=NOW + HOUR_MS)
    (item,) = attention(reading(failed))
    assert "its request will be retried at 2026-09-22 08:00:00 UTC" in item.more
    for status, left in (("SUCCEEDED", 0), ("PROCESSING", 0), ("CANCELLED", 1)):
        again = replace(job_record("2", status, at=NOW - HOUR_MS, request_key="r"), kind="1-b")
        assert len(attention(reading(failed, again))) == left, status


@pytest.mark.parametrize(
    ("usual_ms", "limit"),
    [
        (2 * HOUR_MS, "its limit, based on what is usual, is 2 h"),
        (5 * HOUR_MS, "its limit is 2 h 30 min"),
        (None, "its limit is 2 h 30 min"),
    ],
)
def test_a_late_job_says_for_how_long_it_runs(usual_ms: int | None, limit: str) -> None:
    """While it is open and was announced as delayed; its limit is the smaller of the two."""
    late = job_record("5", "PROCESSING", at=TONIGHT, delays=1, delay_limit_ms=usual_ms)
    (item,) = attention(reading(late))
    assert (item.tone, item.job_id) == ("warn", "5")
    assert item.text.endswith("is delayed")
    assert limit in item.more


def test_a_vanished_job_is_dated_by_when_it_vanished() -> None:
    """However long before it was created."""
    created = NOW - 4 * DAY_MS
    gone = replace(
        job_record("6", "PROCESSING", at=created),
        status="VANISHED",
        outcome="VANISHED",
        final=True,
        duration_ms=None,
        touched_at=NOW - 60_000,
    )
    (item,) = attention(reading(gone))
    assert (item.kind, item.job_id) == ("vanished", "6")
    assert attention(reading(replace(gone, touched_at=created))) == []


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("NEVER_STARTED", "no job was created by Tue 2026-09-22 06:00 Europe/Rome"),
        ("FAILED", "its job did not succeed (due Tue 2026-09-22 06:00 Europe/Rome)"),
        ("EMPTY", "it exported 0 PROFILES"),
    ],
)
def test_an_overdue_expectation_says_why_and_since_when(reason: str, words: str) -> None:
    """In its own time zone."""
    (item,) = attention(reading(expectations=[missed(reason=reason)]))
    assert (item.tone, item.expectation) == ("bad", "nightly")
    assert words in item.text


def test_windows_missed_in_a_row_are_counted() -> None:
    """An export that is missing for days is worse than one that is missing tonight."""
    (item,) = attention(reading(expectations=[replace(missed(), missed_windows=3)]))
    assert "3 windows missed in a row" in item.text


def test_an_expectation_that_can_t_be_read_is_reported() -> None:
    """Nothing is expected then, which nobody would notice."""
    unreadable = replace(missed(), expectation=replace(missed().expectation, dataset_id=""))
    (item,) = attention(reading(expectations=[unreadable]))
    assert item.text == "Expectation nightly can't be read, so nothing is expected"


def test_a_muted_expectation_needs_no_attention() -> None:
    """Until its time is over."""
    assert attention(reading(expectations=[missed(muted_until=NOW + 1)])) == []
    assert len(attention(reading(expectations=[missed(muted_until=NOW)]))) == 1


def test_what_is_overdue_comes_before_what_is_unusual() -> None:
    """The worst first, whatever sandbox it is in."""
    found = attention(
        reading(job_record("7", comparison=DROP)),
        reading(expectations=[missed()], sandbox="dev"),
    )
    assert [item.tone for item in found] == ["bad", "warn"]


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (None, ALL_WELL, "it has never been swept, so there is nothing to show yet"),
        (
            SandboxState("prod", NOW, failing_since=NOW - HOUR_MS),
            ALL_WELL,
            "sweeps have failed for 60 min, since 2026-09-22 06:00:00 UTC",
        ),
        (
            SandboxState("prod", NOW),
            StackStatus({"prod": None}, 0),
            "no successful sweep in the last 15 minutes",
        ),
    ],
)
def test_sweeps_that_do_not_work_come_first(
    state: SandboxState | None, status: StackStatus, words: str
) -> None:
    """All else may be old then."""
    item, *_ = attention(reading(state=state, expectations=[missed()]), status=status)
    assert item.text == f"Sandbox prod: {words}"
    assert item.command == "doctor"


def test_what_the_viewer_may_not_read_is_said() -> None:
    """Not knowing is not the same as nothing to report."""
    status = StackStatus({}, None, ["when sweeps ran is unknown: AWS refused it"])
    assert [item.text for item in attention(reading(), status=status)] == [
        "When sweeps ran is unknown: AWS refused it"
    ]


@pytest.mark.parametrize(("count", "words"), [(1, "1 dead letter:"), (2, "2 dead letters:")])
def test_dead_letters_point_to_the_requests(count: int, words: str) -> None:
    """With the command that lists them."""
    (item,) = attention(reading(), status=StackStatus({"prod": NOW}, count))
    assert item.text.startswith(words)
    assert (item.requests, item.command) == (True, "dlq list")


def test_a_line_is_held_only_while_something_waits_and_the_time_is_not_over() -> None:
    """A hold stays on record until a job is created, however long that takes."""
    waiting = Ticket("prod", "r", "create", NOW - HOUR_MS, NOW - HOUR_MS)
    now = now_ms()
    for until, tickets, shown in ((now + HOUR_MS, [waiting], 1), (now - 1, [waiting], 0), (now + HOUR_MS, [], 0)):  # fmt: skip
        gate = Gate("prod", hold=Hold(until=until, length_ms=60_000))
        found = attention(reading(gate=gate, tickets=tickets))
        assert [item.requests for item in found] == [True] * shown
