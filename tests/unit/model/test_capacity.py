"""How many exports count as open in a sandbox, and how many more may be admitted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from export_jobs.contract import FINAL_STATUSES
from export_jobs.model.capacity import KNOWN_STATUSES, admissible, held_on, open_exports
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.limits import LINKED_SLOT_MS, RETRY_AFTER_MOST_MS
from export_jobs.model.records import Attempt, Gate, Hold, JobRecord
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000_000
MINUTE_MS = 60_000
DELAYS = DelayPolicy(limit_ms=150 * MINUTE_MS, by_dataset_ms={"hourly": 30 * MINUTE_MS})


def job(number: int, status: str | None = "NEW", **fields: Any) -> JobRecord:
    fields = {"creation_time": NOW, "final": status in FINAL_STATUSES, **fields}
    return JobRecord("prod", f"j{number}", status=status, **fields)


def slot(number: int, *, job_id: str | None = None, age_ms: int = 0) -> Attempt:
    at = NOW - age_ms
    attempt = Attempt(f"k{number}", f"r{number}", noted_at=at, send_by=at, hashes={}, rule=1)
    return replace(attempt, job_id=job_id, linked_at=at) if job_id else attempt


def gate(*slots: Attempt, hold: Hold | None = None) -> Gate:
    slots_by_key = {slot.request_key: slot for slot in slots}
    return Gate("prod", slots=slots_by_key, hold=hold or Hold())


def counted(*jobs: JobRecord, slots: tuple[Attempt, ...] = (), now: int = NOW) -> int:
    by_id = {job.job_id: job for job in jobs}
    return open_exports(by_id, gate(*slots), delays=DELAYS, now=now)


# -- what is open --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [None, *sorted(KNOWN_STATUSES)])
def test_a_job_counts_until_it_ends(status: str | None) -> None:
    """However long it takes; one that no sweep has seen yet, too."""
    assert counted(job(1, status), now=NOW + 10**9) == 1
    assert counted(job(1, status), job(2, status)) == 2


@pytest.mark.parametrize("status", sorted({*FINAL_STATUSES, "VANISHED"}))
def test_a_job_that_has_ended_does_not_count(status: str) -> None:
    """Its record is among the open ones until its last event is delivered."""
    assert counted(job(1, status, final=True)) == 0


@pytest.mark.parametrize(("dataset", "limit_minutes"), [("nightly", 150), ("hourly", 30)])
def test_an_unknown_status_counts_until_it_is_late(dataset: str, limit_minutes: int) -> None:
    """Field case 10: a status that is in fact final does not take capacity for ever.

    By the configured limit: late by what is usual says nothing about whether it has ended.
    """
    killed = job(1, "KILLED", dataset_id=dataset, delay_limit_ms=MINUTE_MS)
    limit_ms = limit_minutes * MINUTE_MS
    assert counted(killed, now=NOW + limit_ms) == 1
    assert counted(killed, now=NOW + limit_ms + 1) == 0


def test_an_attempt_counts_as_the_job_that_it_may_have_made() -> None:
    """However old it is, until it is settled."""
    assert counted(job(1), slots=(slot(1), slot(2, age_ms=10**9))) == 3


def test_an_attempt_that_was_given_up_does_not_count() -> None:
    """Its request waits again."""
    given_up = replace(gate(), former={"r1": slot(1)})
    assert open_exports({}, given_up, delays=DELAYS, now=NOW) == 0


def test_a_job_that_was_linked_after_the_gate_was_read_counts_once() -> None:
    """The gate still has its attempt, the open jobs have the job already."""
    assert counted(job(1, request_key="k1"), slots=(slot(1),)) == 1
    assert counted(job(1, request_key="k2"), slots=(slot(1),)) == 2


def test_a_linked_slot_counts_with_its_job_for_two_minutes() -> None:
    """A query may miss the job that a transaction has just linked; never is it counted twice."""
    young = slot(1, job_id="j1", age_ms=LINKED_SLOT_MS - 1)
    old = slot(1, job_id="j1", age_ms=LINKED_SLOT_MS)
    assert LINKED_SLOT_MS == 2 * MINUTE_MS
    assert counted(slots=(young,)) == 1
    assert counted(slots=(old,)) == 0
    for either in (young, old):
        assert counted(job(1), slots=(either,)) == 1
        assert counted(job(1, "FAILED"), slots=(either,)) == 0


@given(st.lists(st.sampled_from(["unlinked", "torn", "linked", "seen", "ended"]), max_size=12))
def test_each_request_counts_once_in_whichever_state_it_is_seen(states: list[str]) -> None:
    """By its attempt, by its linked slot, by its job, or by both."""
    jobs, slots = [], []
    for number, state in enumerate(states):
        if state in {"torn", "seen", "ended"}:
            status = "SUCCEEDED" if state == "ended" else "NEW"
            jobs.append(job(number, status, request_key=f"k{number}"))
        linked = None if state in {"unlinked", "torn"} else f"j{number}"
        slots.append(slot(number, job_id=linked))
    assert counted(*jobs, slots=tuple(slots)) == len(states) - states.count("ended")


# -- how many more -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("open_now", "max_open", "room"), [(0, 20, 20), (19, 20, 1), (20, 20, 0), (25, 20, 0)]
)
def test_the_cap_leaves_what_is_not_open(open_now: int, max_open: int, room: int) -> None:
    """Never below zero, if the cap was lowered or others have made jobs."""
    assert admissible(gate(), open_now=open_now, max_open=max_open, now=NOW) == room


def test_nothing_is_admitted_while_the_line_is_held() -> None:
    """Whatever the capacity."""
    held = gate(hold=Hold(until=NOW, length_ms=MINUTE_MS))
    assert admissible(held, open_now=0, max_open=20, now=NOW - 1) == 0


def test_after_a_hold_one_request_is_tried() -> None:
    """And no more until a job is created; one that was noted before the hold does not count."""
    over = Hold(until=NOW - MINUTE_MS, length_ms=MINUTE_MS)

    def may(*slots: Attempt, open_now: int = 0) -> int:
        return admissible(gate(*slots, hold=over), open_now=open_now, max_open=20, now=NOW)

    assert may() == 1
    assert may(open_now=20) == 0
    assert may(slot(1, age_ms=MINUTE_MS)) == 0
    assert may(slot(1, age_ms=MINUTE_MS + 1)) == 1
    assert may(slot(1, job_id="j1")) == 1


# -- holding the line ----------------------------------------------------------------------------


def test_a_hold_is_doubled_from_one_minute_to_fifteen() -> None:
    """Failure after failure."""
    hold, lengths = Hold(), []
    for _ in range(7):
        hold = held_on(hold, retry_after_s=None, now=NOW)
        assert hold.until == NOW + hold.length_ms
        lengths.append(hold.length_ms // MINUTE_MS)
    assert lengths == [1, 2, 4, 8, 15, 15, 15]


@pytest.mark.parametrize(
    ("asked_s", "held_ms"),
    [
        (0.0, 2 * MINUTE_MS),
        (119.0, 2 * MINUTE_MS),
        (121.5, 121_500),
        (3_600.0, RETRY_AFTER_MOST_MS),
        (1_790_000_000.0, RETRY_AFTER_MOST_MS),
    ],
)
def test_the_service_may_ask_for_more_up_to_an_hour(asked_s: float, held_ms: int) -> None:
    """Field case 5: an epoch causes no wait of years, and what it asks for is not doubled later."""
    hold = held_on(Hold(until=NOW, length_ms=MINUTE_MS), retry_after_s=asked_s, now=NOW)
    assert hold == Hold(until=NOW + held_ms, length_ms=2 * MINUTE_MS)
    assert RETRY_AFTER_MOST_MS == 3_600_000


@given(st.integers(0, 15 * MINUTE_MS), st.floats(0, 10**10) | st.none(), st.floats(0, 1))
def test_jitter_only_ever_lengthens_a_hold_by_a_tenth(
    length_ms: int, asked_s: float | None, jitter: float
) -> None:
    """So that sandboxes that failed together are not tried together; an hour stays about one."""
    before = Hold(length_ms=length_ms)
    plain = held_on(before, retry_after_s=asked_s, now=NOW)
    hold = held_on(before, retry_after_s=asked_s, jitter=jitter, now=NOW)
    assert hold.length_ms == plain.length_ms
    assert plain.until <= hold.until <= plain.until + plain.length_ms / 10


def test_an_attempt_counts_beside_an_older_job_of_its_request() -> None:
    """A job that was found late is of an earlier attempt: the new one may make another."""
    older = job(1, request_key="k1", creation_time=NOW - 60 * MINUTE_MS)
    assert counted(older, slots=(slot(1),)) == 2
    linked_just_now = job(1, request_key="k1", creation_time=NOW)
    assert counted(linked_just_now, slots=(slot(1),)) == 1


def test_an_attempt_counts_beside_the_job_of_an_earlier_try() -> None:
    """That has ended, and is among the open ones until its last event is delivered."""
    first = job(1, "FAILED", request_key="k1")
    again = replace(slot(1), try_number=2)
    assert counted(first, slots=(again,)) == 1
    second = job(2, request_key="k1", try_number=2)
    assert counted(first, second, slots=(again,)) == 1, "the query shows the job before its link"
