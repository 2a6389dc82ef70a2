"""A sweep settles attempts whose answer was lost: it finds their job, or that there is none."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.contract import Job, JobHeader, JobPage
from export_jobs.contract.errors import NotFound, RetryLater
from export_jobs.model.limits import (
    HOLDS_ANSWER_MS,
    LISTINGS_APART_MS,
    OUTCOME_KNOWN_WITHIN_MS,
)
from export_jobs.model.matching import RULE, gives_up_from
from export_jobs.model.records import Attempt, JobRecord, SandboxState
from export_jobs.monitor.observe import Observation
from export_jobs.monitor.progress import SweepReport
from support.creator import HOUR_MS, MINUTE_MS, SECOND_MS, Creator, asking
from support.fake_store import FakeStore
from support.fakes import FakeApi

ASKED = asking(filter={"segments": [{"segmentId": "x"}]})
"""What our request asks for."""


@pytest.fixture
def creator() -> Creator:
    """A sandbox that was swept before."""
    creator = Creator()
    creator.sweep()
    return creator


class Altered(FakeApi):
    """A service whose listing, or whose answers by id, are altered."""

    def __init__(
        self,
        creator: Creator,
        *,
        page: Callable[[JobPage], JobPage] = lambda page: page,
        by_id: Callable[[Job], Job] = lambda job: job,
    ) -> None:
        super().__init__(creator.fakes)
        self._altered_page, self._altered_job = page, by_id

    def _page(self, *asked: Any) -> JobPage:
        return self._altered_page(super()._page(*asked))

    def get_job(self, sandbox: str, job_id: str) -> Job:
        return self._altered_job(super().get_job(sandbox, job_id))


def alter(
    creator: Creator,
    *,
    page: Callable[[JobPage], JobPage] = lambda page: page,
    by_id: Callable[[Job], Job] = lambda job: job,
) -> None:
    """From now on, sweeps see the service altered in this way."""
    creator.sweep_api = lambda: Altered(creator, page=page, by_id=by_id)


def of_each(change: Callable[[Job], Job]) -> Callable[[JobPage], JobPage]:
    def changed(page: JobPage) -> JobPage:
        return replace(page, records=tuple(JobHeader.of(change(job.whole)) for job in page.records))

    return changed


def without_segments(job: Job) -> Job:
    return job.model_copy(update={"filter": None})


def lose(creator: Creator, *, made: bool, key: str = "key") -> Attempt:
    """Sends a request whose create call gets no answer. Returns its attempt."""
    creator.send(key, **ASKED)
    creator.fakes.plan([("create", "times out after" if made else "times out before")])
    creator.work()
    attempt = creator.gate().slots[key]
    assert attempt.job_id is None
    return attempt


def stranger(creator: Creator, *, status: str = "NEW") -> str:
    """Somebody else's job, which is clearly not ours."""
    made = creator.fakes.create("prod", destination={"datasetId": "e"}, status=status)
    return str(made.body["id"])


def swept_at(creator: Creator, time: int) -> SweepReport:
    """Sweeps at a time, or now if that time has passed."""
    creator.fakes.now = max(creator.fakes.now, time)
    return creator.sweep()


def published(creator: Creator) -> list[tuple[str, str, str | None]]:
    """Job, status and request of each event of a job on the bus."""
    return [
        (event.detail["jobId"], event.detail["status"], event.detail["requestKey"])
        for event in creator.fakes.published["bus"]
        if "status" in event.detail
    ]


def recorded(creator: Creator) -> set[str]:
    return {item.job_id for item in creator.fakes.items.values() if isinstance(item, JobRecord)}


def state(creator: Creator) -> SandboxState:
    found = creator.fakes.items["state", "prod"]
    assert isinstance(found, SandboxState)
    return found


# -- while it is too early to decide -------------------------------------------------------------


def test_a_job_that_may_be_ours_is_left_until_it_can_be_decided(creator: Creator) -> None:
    """It is neither recorded nor published, and each sweep costs no more than a quiet one."""
    attempt = lose(creator, made=True)
    (job,) = creator.jobs
    for _ in range(3):
        creator.fakes.now += MINUTE_MS
        creator.fakes.calls = Counter()
        assert creator.sweep().problems == []
        assert dict(creator.fakes.calls) == {"list": 1, "query": 1}
        assert (recorded(creator), published(creator)) == (set(), [])
    swept_at(creator, attempt.noted_at + HOLDS_ANSWER_MS)
    assert creator.ends() == [("key", "CREATED")]
    assert published(creator) == [(job, "NEW", "key")]


def test_the_watermark_does_not_pass_what_is_left(creator: Creator) -> None:
    """Newer jobs are recorded; what is left is still new to the sweep that can decide."""
    attempt = lose(creator, made=True)
    (ours,) = creator.jobs
    created = int(creator.fakes.jobs["prod"][ours].body["creationTime"])
    creator.fakes.move("prod", ours, "SUCCEEDED")
    for _ in range(3):
        creator.fakes.now += MINUTE_MS
        newer = stranger(creator, status="FAILED")
        creator.sweep()
        assert (newer, "FAILED", None) in published(creator)
        assert state(creator).watermark < created
    swept_at(creator, attempt.noted_at + HOLDS_ANSWER_MS)
    assert (ours, "SUCCEEDED", "key") in published(creator)
    assert creator.sweep().changes == 0
    assert state(creator).watermark > created
    assert len(published(creator)) == 4


@pytest.mark.parametrize("ends", [True, False])
def test_what_was_left_is_a_stranger_s_once_the_attempt_is_settled_otherwise(
    creator: Creator, ends: bool
) -> None:
    """It is published like any job, once, even if it has ended by then."""
    attempt = lose(creator, made=True)
    theirs = creator.fakes.create("prod", **ASKED["job"]).body["id"]
    ours = creator.jobs[0]
    creator.sweep()
    assert recorded(creator) == set()
    if ends:
        creator.fakes.move("prod", theirs, "SUCCEEDED")
    swept_at(creator, attempt.noted_at + HOLDS_ANSWER_MS)
    creator.sweep()
    status = "SUCCEEDED" if ends else "NEW"
    assert sorted(published(creator)) == [(ours, "NEW", "key"), (theirs, status, None)]


def test_an_equal_job_is_a_stranger_s_when_the_attempt_made_none(creator: Creator) -> None:
    """One from before the attempt, which the table does not have, belongs to no request."""
    theirs = creator.fakes.create("prod", **ASKED["job"], status="SUCCEEDED").body["id"]
    creator.fakes.now += 3 * MINUTE_MS
    attempt = lose(creator, made=False)
    creator.sweep()
    assert published(creator) == [(theirs, "SUCCEEDED", None)]
    swept_at(creator, gives_up_from(attempt))
    swept_at(creator, creator.fakes.now + LISTINGS_APART_MS)
    assert creator.waiting() == ["key"]


@pytest.mark.parametrize("fault", ["get item", "transact"])
def test_a_table_out_of_reach_while_settling_makes_no_stranger(
    creator: Creator, fault: str
) -> None:
    """The job is left for the next sweep, which links it; other jobs are recorded."""
    attempt = lose(creator, made=True)
    (ours,) = creator.jobs
    other = stranger(creator)
    creator.sweep()
    assert recorded(creator) == {other}
    creator.fakes.now = attempt.noted_at + HOLDS_ANSWER_MS
    creator.fakes.plan([(fault, "times out before")])
    report = creator.sweep()
    assert report.problems == ["can't settle attempts: as planned"]
    assert recorded(creator) == {other}
    assert creator.sweep().problems == []
    assert creator.ends() == [("key", "CREATED")]
    assert published(creator)[-1] == (ours, "NEW", "key")


def test_a_link_whose_answer_was_lost_is_no_second_one(creator: Creator) -> None:
    """The transaction was written, and the sweep does not know: the next finds the job linked."""
    attempt = lose(creator, made=True)
    creator.fakes.now = attempt.noted_at + HOLDS_ANSWER_MS
    creator.fakes.plan([("transact", "times out after")])
    assert creator.sweep().problems
    assert creator.sweep().problems == []
    assert creator.ends() == [("key", "CREATED")]
    assert [event.detail.get("status") for event in creator.fakes.published["bus"]] == [None, "NEW"]


def test_an_older_equal_attempt_does_not_take_a_job_whose_answer_is_on_its_way() -> None:
    """Two requests that ask for the same have two jobs, though only content distinguishes them."""
    creator = Creator()
    creator.sweep()
    old = lose(creator, made=False, key="old")

    class Slow(FakeApi):
        def create_job(self, *asked: Any, **options: Any) -> Job:
            job = super().create_job(*asked, **options)
            swept_at(creator, old.noted_at + HOLDS_ANSWER_MS)
            return job

    creator.fakes.now = old.noted_at + HOLDS_ANSWER_MS - 20 * SECOND_MS
    creator.send("young", **ASKED)
    creator.api = lambda: Slow(creator.fakes)
    creator.work()
    creator.api = lambda: FakeApi(creator.fakes)
    creator.until_ended()
    creator.sweep()
    assert sorted(creator.ends()) == [("old", "CREATED"), ("young", "CREATED")]
    assert {request: job for job, _, request in published(creator)} == {
        "young": creator.jobs[0],
        "old": creator.jobs[1],
    }


# -- jobs that show little -----------------------------------------------------------------------


def timeless(job: Job) -> Job:
    return job.model_copy(update={"creation_time": None})


@pytest.mark.parametrize("history", [0, 60])
@pytest.mark.parametrize("by_id", [timeless, lambda job: job])
@pytest.mark.parametrize("whose", ["another's", "ours", "everybody's"])
def test_jobs_without_a_creation_time_hide_no_job_of_ours(
    history: int, by_id: Callable[[Job], Job], whose: str
) -> None:
    """Field case 4: one export; and no sweep reads the whole history because of them."""
    creator = Creator(page_size=10)
    for _ in range(history):
        creator.fakes.create("prod", status="SUCCEEDED")
        creator.fakes.now += 10 * MINUTE_MS
    ours: set[str] = set()

    def listed(job: Job) -> Job:
        hidden = {"another's": job.id not in ours, "ours": job.id in ours}
        return timeless(job) if hidden.get(whose, True) else job

    alter(creator, page=of_each(listed), by_id=by_id)
    creator.sweep()
    creator.fakes.now += MINUTE_MS
    others = [stranger(creator)]
    lose(creator, made=True)
    ours |= {creator.jobs[-1]}
    others.append(stranger(creator))
    for _ in range(15):
        creator.fakes.calls = Counter()
        creator.sweep()
        assert creator.fakes.calls["list"] <= 2
        creator.work()
        creator.fakes.now += MINUTE_MS
    assert creator.ends() == [("key", "CREATED")]
    assert sorted(published(creator)) == sorted(
        [*((job, "NEW", None) for job in others), *((job, "NEW", "key") for job in ours)]
    )
    assert len(creator.jobs) == history + 3


def test_a_final_job_without_a_creation_time_that_may_be_ours_is_not_lost(
    creator: Creator,
) -> None:
    """While it is left, it must not be remembered among those that have been recorded."""
    attempt = lose(creator, made=True)
    (ours,) = creator.jobs
    creator.fakes.move("prod", ours, "FAILED")
    alter(creator, page=of_each(timeless))
    for _ in range(3):
        creator.fakes.now += MINUTE_MS
        stranger(creator, status="FAILED")
        creator.sweep()
    swept_at(creator, attempt.noted_at + HOLDS_ANSWER_MS)
    creator.sweep()
    assert (ours, "FAILED", "key") in published(creator)
    assert len(published(creator)) == len(set(published(creator))) == 4


def test_jobs_that_were_recorded_are_not_recorded_again_because_one_is_left(
    creator: Creator,
) -> None:
    """The sweeps that wait write nothing, however many ended jobs are above the one left."""
    lose(creator, made=True)
    alter(creator, page=of_each(timeless))
    for _ in range(20):
        stranger(creator, status="SUCCEEDED")
    creator.sweep()
    stranger(creator, status="FAILED")
    creator.sweep()
    creator.fakes.calls = Counter()
    creator.sweep()
    assert creator.fakes.calls["put"] <= 1


def test_a_job_of_which_the_listing_shows_too_little_is_looked_up(creator: Creator) -> None:
    """Its dataset and segments have to be visible; then it is ours."""
    attempt = lose(creator, made=True)
    alter(creator, page=of_each(without_segments))
    creator.fakes.calls = Counter()
    swept_at(creator, attempt.noted_at + HOLDS_ANSWER_MS)
    assert creator.fakes.calls["get"] == 1
    assert creator.ends() == [("key", "CREATED")]
    assert published(creator)[-1][2] == "key"


@pytest.mark.parametrize("error", [RetryLater("503"), NotFound("1")])
def test_an_attempt_is_not_given_up_while_a_job_that_may_be_its_can_t_be_looked_up(
    creator: Creator, error: Exception
) -> None:
    """Even if it is listed but not found by its id, for as long as it is young."""
    attempt = lose(creator, made=True)
    corrected = False

    def by_id(job: Job) -> Job:
        if not corrected:
            raise error
        return job

    alter(creator, page=of_each(without_segments), by_id=by_id)
    last = gives_up_from(attempt) + 20 * MINUTE_MS
    if isinstance(error, NotFound):
        last = attempt.noted_at + HOLDS_ANSWER_MS + 30 * SECOND_MS
    while creator.fakes.now < last:
        creator.fakes.calls = Counter()
        creator.sweep()
        assert creator.fakes.calls["get"] == 1
        assert (recorded(creator), creator.waiting()) == (set(), [])
        creator.fakes.now += 50 * SECOND_MS
    corrected = True
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


def test_jobs_that_can_t_be_looked_up_leave_time_for_what_was_seen(creator: Creator) -> None:
    """Look-ups that hang use half of a run at most; the rest publishes what the listing showed."""
    lose(creator, made=True)
    for _ in range(15):
        creator.fakes.create("prod", **ASKED["job"])
    failed = stranger(creator, status="FAILED")
    left = {"s": 300.0}

    def by_id(_: Job) -> Job:
        left["s"] -= 50
        raise RetryLater("no answer")

    alter(creator, page=of_each(without_segments), by_id=by_id)
    sweeper = creator.sweeper()
    sweeper._time_left_s = lambda: left["s"]
    assert sweeper.sweep("prod").problems
    assert (failed, "FAILED", None) in published(creator)


# -- giving up -----------------------------------------------------------------------------------


def given_up_after(creator: Creator, attempt: Attempt, *, minutes: int) -> bool:
    """Whether sweeps, one a minute for this long after the listings could decide, give it up."""
    creator.fakes.now = max(creator.fakes.now, gives_up_from(attempt))
    for _ in range(minutes):
        creator.sweep()
        creator.fakes.now += MINUTE_MS
    return creator.waiting() == ["key"]


def test_an_attempt_is_given_up_after_two_listings_and_its_request_waits_again(
    creator: Creator,
) -> None:
    """Not after one, not after two at one moment, and not before the job could have shown."""
    attempt = lose(creator, made=False)
    swept_at(creator, gives_up_from(attempt) - 10)
    assert not creator.gate().slots["key"].missed_at
    first = swept_at(creator, gives_up_from(attempt))
    assert first.problems == []
    missed_at = creator.gate().slots["key"].missed_at
    assert missed_at >= gives_up_from(attempt)
    swept_at(creator, missed_at + LISTINGS_APART_MS - 10)
    assert "key" in creator.gate().slots
    report = swept_at(creator, missed_at + LISTINGS_APART_MS)
    assert (creator.waiting(), report.waiting) == (["key"], 1)
    assert creator.gate().former.keys() == {attempt.request_id}
    assert creator.record().status == "WAITING"


@pytest.mark.parametrize("quirk", ["an unreadable record", "a page that can't be listed"])
def test_a_listing_with_a_gap_proves_nothing_about_what_it_may_have_left_out(
    quirk: str,
) -> None:
    """The attempt is given up only after listings that would have shown its job."""
    creator = Creator(page_size=5)
    creator.sweep()
    attempt = lose(creator, made=False)
    for _ in range(7):
        creator.fakes.create("prod", status="SUCCEEDED")

    class Broken(FakeApi):
        def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage:
            page = super().list_jobs(sandbox, limit=limit, cursor=cursor)
            if quirk == "an unreadable record":
                return page if cursor else replace(page, unreadable=1)
            if cursor:
                raise RetryLater("503")
            return page

    creator.sweep_api = lambda: Broken(creator.fakes)
    assert not given_up_after(creator, attempt, minutes=20)
    assert not creator.gate().slots["key"].missed_at
    creator.sweep_api = lambda: FakeApi(creator.fakes)
    assert not given_up_after(creator, attempt, minutes=1)
    assert given_up_after(creator, attempt, minutes=1)


def test_an_unreadable_record_among_older_jobs_delays_nothing(creator: Creator) -> None:
    """Jobs from before the attempt are not considered."""
    creator.page_size = 5
    for _ in range(7):
        creator.fakes.create("prod", status="SUCCEEDED")
    creator.fakes.now += 10 * MINUTE_MS
    creator.sweep()
    attempt = lose(creator, made=False)
    for _ in range(4):
        creator.fakes.create("prod", status="SUCCEEDED")

    def older(page: JobPage) -> JobPage:
        return replace(page, unreadable=0 if len(page.records) == 5 else 1)

    alter(creator, page=older)
    assert given_up_after(creator, attempt, minutes=2)


def test_an_attempt_that_no_listing_can_settle_ends_after_six_hours(creator: Creator) -> None:
    """It is not sent again; it keeps its slot, and its age is reported as a waiting request's."""
    attempt = lose(creator, made=False)
    alter(creator, page=lambda page: replace(page, unreadable=1))
    report = swept_at(creator, attempt.noted_at + OUTCOME_KNOWN_WITHIN_MS - 10)
    assert report.oldest_request_ms >= OUTCOME_KNOWN_WITHIN_MS - 10
    assert creator.ends() == []
    report = swept_at(creator, attempt.noted_at + OUTCOME_KNOWN_WITHIN_MS)
    assert creator.ends() == [("key", "OUTCOME_UNKNOWN")]
    assert not creator.gate().slots
    assert report.oldest_request_ms == 0
    creator.minutes(5)
    assert creator.jobs == []


@pytest.mark.parametrize("made", [True, False])
def test_an_attempt_of_another_rule_is_left_alone(creator: Creator, made: bool) -> None:
    """Another version noted it: neither matched by content nor given up, but ended in time."""
    attempt = lose(creator, made=made)
    gate = creator.gate()
    foreign = replace(attempt, rule=RULE + 1)
    table = FakeStore(creator.fakes)
    table._store("prod", ("gate", "prod"), replace(gate, slots={"key": foreign}))
    assert not given_up_after(creator, attempt, minutes=10)
    assert creator.gate().slots == {"key": foreign}
    if made:  # it is a job like any other: nobody knows whose
        assert published(creator) == [(creator.jobs[0], "NEW", None)]
    swept_at(creator, attempt.noted_at + OUTCOME_KNOWN_WITHIN_MS)
    assert creator.ends() == [("key", "OUTCOME_UNKNOWN")]


def test_an_attempt_of_another_rule_is_still_known_by_its_request_id(creator: Creator) -> None:
    """That is the same in every version."""
    creator.fakes.echoes_request_id = True
    attempt = lose(creator, made=True)
    foreign = replace(creator.gate(), slots={"key": replace(attempt, rule=RULE + 1)})
    FakeStore(creator.fakes)._store("prod", ("gate", "prod"), foreign)
    creator.sweep()
    assert creator.ends() == [("key", "CREATED")]
    assert published(creator) == [(creator.jobs[0], "NEW", "key")]


def test_an_attempt_that_was_cancelled_meanwhile_is_not_sent_again(creator: Creator) -> None:
    """If there is no job, the request ends when that is known."""
    attempt = lose(creator, made=False)
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    given_up_after(creator, attempt, minutes=2)
    assert creator.ends()[0] == ("key", "CANCELLED")
    assert not creator.gate().slots
    creator.until_ended()
    assert creator.jobs == []


# -- former attempts -----------------------------------------------------------------------------


def hide(creator: Creator, job: str) -> None:
    creator.fakes.jobs["prod"][job].visible_at = creator.fakes.now + 24 * HOUR_MS


def show(creator: Creator, job: str) -> None:
    creator.fakes.jobs["prod"][job].visible_at = 0


def lose_and_give_up(creator: Creator) -> str:
    """A lost answer whose job does not show until the attempt is given up. Returns the job."""
    attempt = lose(creator, made=True)
    (job,) = creator.jobs
    hide(creator, job)
    assert given_up_after(creator, attempt, minutes=2)
    return job


@pytest.mark.parametrize("echoes", [True, False])
def test_a_late_job_is_the_request_s_as_long_as_that_waits(creator: Creator, echoes: bool) -> None:
    """The request leaves the line, and has one job."""
    creator.fakes.echoes_request_id = echoes
    job = lose_and_give_up(creator)
    show(creator, job)
    report = creator.sweep()
    assert creator.ends() == [("key", "CREATED")]
    assert published(creator) == [(job, "NEW", "key")]
    assert (creator.waiting(), report.duplicates, creator.gate().former) == ([], 0, {})
    creator.minutes(3)
    assert creator.jobs == [job]


@pytest.mark.parametrize("echoes", [True, False])
def test_a_late_job_of_a_request_that_has_another_is_a_duplicate(
    creator: Creator, echoes: bool
) -> None:
    """It is reported as one, counted once, and never given to the request."""
    creator.fakes.echoes_request_id = echoes
    job = lose_and_give_up(creator)
    creator.minutes(2)
    (_, second) = creator.jobs
    assert published(creator) == [(second, "NEW", "key")]
    show(creator, job)
    assert [creator.sweep().duplicates for _ in range(2)] == [1, 0]
    (late,) = [e.detail for e in creator.fakes.published["bus"] if e.detail["jobId"] == job]
    assert (late["requestKey"], late["duplicateOfRequest"]) == (None, "key")
    assert creator.record().job_id == second
    assert creator.ends() == [("key", "CREATED")]


def test_a_late_job_of_a_request_whose_outcome_was_unknown_names_the_request(
    creator: Creator,
) -> None:
    """It is not a duplicate, because the request has no other job and never gets one."""
    lose(creator, made=True)
    (job,) = creator.jobs
    hide(creator, job)
    alter(creator, page=lambda page: replace(page, unreadable=1))
    creator.fakes.now += OUTCOME_KNOWN_WITHIN_MS
    creator.sweep()
    alter(creator)
    show(creator, job)
    assert creator.sweep().duplicates == 0
    assert published(creator) == [(job, "NEW", "key")]
    assert creator.ends() == [("key", "OUTCOME_UNKNOWN")]


def test_a_late_job_is_left_while_it_may_be_a_young_attempt_s(creator: Creator) -> None:
    """An equal request's run may hold its answer: a former attempt does not take the job."""
    creator.max_open = 1
    former = lose(creator, made=False)
    now = gives_up_from(former) + LISTINGS_APART_MS
    gate = creator.gate()
    given_up = replace(gate, slots={}, former={former.request_id: former})
    young = replace(former, request_key="young", request_id="export-jobs-young")
    young = replace(young, noted_at=now - HOLDS_ANSWER_MS + 60 * SECOND_MS)
    given_up = replace(given_up, slots={"young": replace(young, send_by=young.noted_at + 30_000)})
    table = FakeStore(creator.fakes)
    table._store("prod", ("gate", "prod"), given_up)
    creator.fakes.now = former.send_by + 3 * MINUTE_MS
    job = creator.fakes.create("prod", **ASKED["job"]).body["id"]
    swept_at(creator, now)
    assert recorded(creator) == set()
    assert job in creator.jobs


def test_a_late_job_that_shows_too_little_is_left_until_it_can_be_looked_up(
    creator: Creator,
) -> None:
    """A brief failure of the service does not make it somebody else's."""
    job = lose_and_give_up(creator)
    show(creator, job)

    def fails(_: Job) -> Job:
        raise RetryLater("503")

    alter(creator, page=of_each(without_segments), by_id=fails)
    creator.sweep()
    assert recorded(creator) == set()
    alter(creator, page=of_each(without_segments))
    creator.sweep()
    assert published(creator) == [(job, "NEW", "key")]


# -- what a listing shows ------------------------------------------------------------------------


def page(
    *times: int | None, cursor: str | None = None, unreadable: int = 0, first: int = 1
) -> JobPage:
    """Jobs with these creation times, numbered from `first` on."""
    jobs = [
        JobHeader.read({"id": n, "status": "NEW", "creationTime": time})
        for n, time in enumerate(times, first)
    ]
    return JobPage(tuple(jobs), next_cursor=cursor, unreadable=unreadable)


def created(seen: Observation, number: int) -> tuple[int, int]:
    """The times between which a job was created."""
    return seen.created_at[str(number)], seen.created_until[str(number)]


AT = 1_800_000_000_000


def test_a_job_without_a_time_was_created_between_its_neighbours() -> None:
    """On its page, on the page before, or by the cursor that leads to the next."""
    seen = Observation()
    seen.add_page(page(AT, None, AT - 5, None, cursor=f"{AT - 9}_x"))
    seen.add_page(page(None, AT - 20, first=5))
    assert created(seen, 1) == (AT, AT)
    assert created(seen, 2) == (AT - 5, AT)
    assert created(seen, 4) == (AT - 9, AT - 5)
    assert created(seen, 5) == (AT - 20, AT - 9)


def test_below_the_last_time_of_a_listing_nobody_knows_how_old_a_job_is() -> None:
    """Above the first one, nobody knows how young it is."""
    seen = Observation()
    seen.add_page(page(None, AT, None))
    assert created(seen, 1) == (AT, sys.maxsize)
    assert created(seen, 3) == (0, AT)
    alone = Observation()
    alone.add_page(page(None))
    assert created(alone, 1) == (0, sys.maxsize)


@pytest.mark.parametrize(
    ("pages", "since", "complete"),
    [
        ([page(AT, AT - 5)], AT - 100, True),
        ([page(AT, AT - 5, unreadable=1)], AT + 100, False),
        ([page(AT, cursor="c"), page(AT - 50, unreadable=1)], AT - 10, False),
        ([page(AT, cursor="c"), page(AT - 50, unreadable=1)], AT, False),
        ([page(AT, cursor="c"), page(AT - 50, unreadable=1)], AT + 1, True),
    ],
)
def test_a_listing_is_complete_down_to_its_first_gap(
    pages: list[JobPage], since: int, complete: bool
) -> None:
    """An unreadable record may be any job from the newest neighbour on its page on down."""
    seen = Observation(complete=True)
    for each in pages:
        seen.add_page(each)
    seen.reach = 0
    assert seen.complete_since(since) is complete
