"""Automatic retry, over both functions: when another job is made, and when none is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.contract.times import rfc3339
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.records import Gate, JobRecord, RequestRecord
from export_jobs.model.retry import RetryPolicy
from export_jobs.monitor.decide import Change
from export_jobs.monitor.retries import Decision, decide
from support.creator import CREATE, HOUR_MS, MINUTE_MS, Creator
from support.fake_store import FakeStore
from support.fakes import FakeApi

RETRY: dict[str, Any] = {"attempts": 2, "delayMinutes": 15}
ASKED: dict[str, Any] = {**CREATE, "retry": RETRY}


@pytest.fixture
def creator() -> Creator:
    return Creator(sandboxes=("prod",))


def job_of(creator: Creator, number: str) -> JobRecord:
    (record,) = (
        item
        for key, item in creator.fakes.items.items()
        if key[0] == "job" and item.job_id == number
    )
    assert isinstance(record, JobRecord)
    return record


def started(creator: Creator, **envelope: Any) -> None:
    """A request with a retry, whose first job runs."""
    creator.send(**{**ASKED, **envelope})
    creator.work()
    creator.minute()


def fail(creator: Creator, status: str = "FAILED", **fields: Any) -> None:
    """Ends the open jobs, with an error; a sweep sees it."""
    for job in creator.fakes.jobs["prod"].values():
        if job.body["status"] not in {"FAILED", "SUCCEEDED", "CANCELLED"}:
            job.body |= {"errors": [{"code": "7", "msg": "it broke"}], **fields}
    creator.finish(status)
    creator.minute()


def tried(creator: Creator, minutes: int = 16) -> list[str]:
    """The jobs after the delay."""
    creator.minutes(minutes)
    return creator.jobs


def events(creator: Creator, kind: str) -> list[dict[str, Any]]:
    return [dict(e.detail) for e in creator.fakes.published["bus"] if e.type == f"Export {kind}"]


def ends_of_jobs(creator: Creator) -> list[tuple[str, str, int, int]]:
    """Job, outcome, number of the try and tries left of each final event."""
    return [
        (e["jobId"], e["outcome"], e["tryNumber"], e["triesLeft"])
        for e in events(creator, "Job State Change")
        if e["final"]
    ]


def test_a_request_is_tried_again_until_a_try_is_good(creator: Creator) -> None:
    """Each failed job is followed by one more, after the delay; a good one ends the request."""
    started(creator)
    fail(creator)
    assert creator.record().status == "WAITING"
    assert tried(creator, 14) == ["1"], "before the delay is over"
    assert tried(creator, 2) == ["1", "2"]
    creator.finish("SUCCEEDED")
    creator.minutes(60)
    assert creator.jobs == ["1", "2"]
    assert ends_of_jobs(creator) == [("1", "FAILED", 1, 2), ("2", "SUCCEEDED", 2, 0)]
    record = creator.record()
    assert (record.status, record.job_id, record.try_number) == ("CREATED", "2", 2)
    assert [(one.number, one.job_id, one.outcome) for one in record.tries] == [(1, "1", "FAILED")]
    assert not creator.unfinished()


def test_no_more_jobs_are_made_than_the_request_allows(creator: Creator) -> None:
    """The last failed try is the end of the request, and says that none is left."""
    started(creator)
    for _ in range(4):
        fail(creator)
        creator.minutes(20)
    assert ends_of_jobs(creator) == [
        ("1", "FAILED", 1, 2),
        ("2", "FAILED", 2, 1),
        ("3", "FAILED", 3, 0),
    ]
    assert creator.jobs == ["1", "2", "3"]
    assert [(e["tryNumber"], e["triesLeft"]) for e in events(creator, "Request Retried")] == [
        (2, 1),
        (3, 0),
    ]


def test_the_event_of_a_retry_says_why_and_when(creator: Creator) -> None:
    """It has the job, its first error, and when the next try is due; the job's end says so, too."""
    started(creator, correlationId="c", requestKey="key")
    fail(creator)
    (retried,) = events(creator, "Request Retried")
    (end,) = (e for e in events(creator, "Job State Change") if e["final"])
    assert retried["jobId"] == "1"
    assert (retried["outcome"], retried["jobOutcome"]) == ("RETRIED", "FAILED")
    assert retried["error"] == {"code": "7", "message": "it broke"}
    assert (retried["requestKey"], retried["correlationId"]) == ("key", "c")
    assert retried["retryAt"] == end["retryAt"]
    order = [e.detail["eventId"] for e in creator.fakes.published["bus"]]
    assert order.index(retried["eventId"]) == order.index(end["eventId"]) + 1


def test_each_try_is_accepted_by_an_event_of_its_own(creator: Creator) -> None:
    """No two of them have the same id, or a subscriber would take the second for a duplicate."""
    started(creator)
    for _ in range(3):
        fail(creator)
        creator.minutes(20)
    accepted = events(creator, "Request Accepted")
    assert [(e["jobId"], e["tryNumber"]) for e in accepted] == [("1", 1), ("2", 2), ("3", 3)]
    assert len({e["eventId"] for e in accepted}) == 3
    assert len({e.id for e in creator.fakes.published["bus"]}) == len(
        creator.fakes.published["bus"]
    )


@pytest.mark.parametrize(
    ("on", "ends", "jobs"),
    [
        (["FAILED"], {"metrics": {"totalExportedProfileCounter": 0}}, 1),
        (["SUCCEEDED_EMPTY"], {"metrics": {"totalExportedProfileCounter": 0}}, 2),
        (["FAILED", "SUCCEEDED_EMPTY"], {"metrics": {"totalExportedProfileCounter": 0}}, 2),
        (["SUCCEEDED_EMPTY"], {"metrics": {"totalExportedProfileCounter": 1}}, 1),
    ],
)
def test_only_the_outcomes_that_are_named_are_followed_by_a_try(
    creator: Creator, on: Sequence[str], ends: dict[str, Any], jobs: int
) -> None:
    """An empty export is a success unless the request says otherwise."""
    started(creator, retry={**RETRY, "on": on})
    fail(creator, "SUCCEEDED", errors=[], **ends)
    assert len(tried(creator)) == jobs


@pytest.mark.parametrize("end", ["with errors", "vanished", "cancelled"])
def test_what_may_have_written_data_is_never_tried_again(creator: Creator, end: str) -> None:
    """Nor is an export that somebody cancelled."""
    started(creator)
    if end == "vanished":
        creator.minutes(6)
        creator.fakes.delete("prod", "1")
        creator.minutes(3)
    else:
        fail(creator, "SUCCEEDED" if end == "with errors" else "CANCELLED")
    assert tried(creator, 20) == ["1"]
    assert creator.record().status == "CREATED"
    assert not events(creator, "Request Retried")


def test_a_request_without_a_retry_is_never_tried_again(creator: Creator) -> None:
    """And nothing of tries is stored with it or with its job."""
    creator.send(**CREATE)
    creator.work()
    fail(creator)
    assert tried(creator, 30) == ["1"]
    assert ends_of_jobs(creator) == [("1", "FAILED", 1, 0)]
    assert job_of(creator, "1").retried_on == frozenset()


def test_a_job_that_comes_back_after_it_failed_changes_nothing(creator: Creator) -> None:
    """Its later events speak of no further try: the one that was planned follows all the same."""
    started(creator)
    fail(creator)
    for status in ("PROCESSING", "FAILED"):
        creator.fakes.move("prod", "1", status)
        creator.minute()
    *_, back, end = events(creator, "Job State Change")
    assert (back["status"], back["triesLeft"], back["retryAt"]) == ("PROCESSING", 0, None)
    assert (end["status"], end["triesLeft"], end["retryAt"]) == ("FAILED", 0, None)
    assert tried(creator) == ["1", "2"]
    assert len(events(creator, "Request Retried")) == 1


# -- the line ------------------------------------------------------------------------------------


def test_a_further_try_is_served_before_those_who_came_later(creator: Creator) -> None:
    """Its place in line is by the time at which its message came."""
    creator.max_open = 1
    started(creator)
    for number in range(30):
        creator.send(f"later-{number}", **CREATE)
        creator.fakes.now += 1
    creator.work()
    fail(creator)  # the first of the later ones gets the place
    creator.minutes(16)
    assert creator.waiting()[0] == "key"
    creator.finish("SUCCEEDED")
    creator.minutes(2)
    assert creator.record().job_id == creator.jobs[-1]


def test_those_whose_delay_runs_keep_no_one_out(creator: Creator) -> None:
    """The line is served although more requests than it reads at once wait for their next try."""
    creator.max_open = 60
    for number in range(50):
        creator.send(f"k{number}", **ASKED)
    creator.work()
    creator.minute()
    fail(creator)
    creator.send("another", **CREATE)
    creator.work()
    assert creator.record("another").status == "CREATED"


def test_a_further_try_counts_under_the_cap(creator: Creator) -> None:
    """It waits while other exports take all the room."""
    creator.max_open = 1
    started(creator)
    fail(creator)
    creator.send("other", **CREATE)
    creator.work()
    assert tried(creator, 30) == ["1", "2"]
    assert creator.record().status == "WAITING"
    creator.finish("SUCCEEDED")
    assert tried(creator, 2) == ["1", "2", "3"]
    assert creator.record().job_id == "3"


def test_a_delay_costs_nothing_and_wakes_nobody(creator: Creator) -> None:
    """A sweep during the delay makes the calls of a quiet one, and reports one that waits."""
    started(creator)
    fail(creator)
    creator.minutes(2)
    before = creator.fakes.calls.copy()
    report = creator.sweep()
    assert creator.fakes.calls - before == {"list": 1, "query": 1}
    assert (report.waiting, report.oldest_request_ms) == (1, 0)
    assert not report.finished


def test_a_failed_end_with_a_retry_costs_one_read_more() -> None:
    """The request's; and one read and one write when the delay is over, besides the wake-up."""
    costs = []
    for envelope in (CREATE, {**CREATE, "retry": {"attempts": 1}}):
        here = Creator(sandboxes=("prod",))
        here.send(**envelope)
        here.work()
        here.sweep()
        here.sweep()
        here.finish("FAILED")
        before = here.fakes.calls.copy()
        sweeper = here.sweeper()
        sweeper.sweep("prod")
        costs.append(here.fakes.calls - before)
    assert [cost["get item"] for cost in costs] == [0, 1]
    # The third frees the job's slot, as whenever a request waits.
    assert [cost["put"] + cost["transact"] for cost in costs] == [2, 3]
    here.fakes.now += 15 * MINUTE_MS
    before = here.fakes.calls.copy()
    here.sweep()
    assert here.fakes.calls - before == {
        "list": 1,
        "query": 1,
        "get item": 1,
        "transact": 1,
        "send": 1,
    }


def test_the_age_of_a_further_try_counts_from_when_it_was_due(creator: Creator) -> None:
    """The alarm on requests that wait is not for the time in which the first job ran."""
    creator.max_open = 1
    started(creator)
    creator.minutes(120)
    fail(creator)
    creator.send("other", **CREATE)
    creator.work()
    creator.minutes(20)
    assert creator.sweep().oldest_request_ms < 7 * MINUTE_MS


# -- the end -------------------------------------------------------------------------------------


def at(creator: Creator, minutes: int) -> str:
    return rfc3339(creator.fakes.now + minutes * MINUTE_MS)


def test_no_try_is_planned_for_after_the_deadline(creator: Creator) -> None:
    """The job's end says that the request's `expiresAt` is the reason."""
    started(creator, expiresAt=at(creator, 10))
    fail(creator)
    (end,) = (e for e in events(creator, "Job State Change") if e["final"])
    assert (end["triesLeft"], end["retryAt"], end["notRetried"]) == (0, None, "EXPIRES")
    assert tried(creator, 30) == ["1"]
    assert (creator.record().status, creator.record().tries_left) == ("CREATED", 0)


def test_a_try_that_still_waits_at_the_deadline_expires(creator: Creator) -> None:
    """The reason names the tries before, and the request is among the dead letters."""
    creator.max_open = 1
    started(creator, expiresAt=at(creator, 40))
    fail(creator)
    creator.send("other", **CREATE)
    creator.work()
    assert tried(creator, 45) == ["1", "2"]
    (end,) = events(creator, "Request Rejected")
    assert end["outcome"] == "EXPIRED"
    assert end["tryNumber"] == 2
    assert end["reason"].endswith(", after 1 try; its last job, 1, ended as FAILED")
    assert [letter.request_key for letter in creator.fakes.dead_letter_queue] == ["key"]


def test_a_request_that_is_refused_at_a_later_try_is_rejected(creator: Creator) -> None:
    """With its dead letter; sent again, it has all of its tries, and the earlier ones on record."""
    started(creator)
    creator.fakes.jobs["prod"]["1"].body["destination"] = {"datasetId": "d"}
    fail(creator)
    record = creator.record()
    refused = (record.body or "").replace('"datasetId": "d"', '"datasetId": "refused"')
    creator.fakes.items["request", "key"] = replace(record, body=refused, stored=None)
    creator.minutes(20)
    (end,) = events(creator, "Request Rejected")
    assert (end["outcome"], end["tryNumber"]) == ("REFUSED", 2)
    (letter,) = creator.fakes.dead_letter_queue
    creator.redrive(letter, (record.body or "").replace("refused", "d"))
    creator.work()
    again = creator.record()
    assert (again.status, again.try_number, again.tries_left) == ("CREATED", 2, 2)
    assert [one.job_id for one in again.tries] == ["1"]


def test_a_sandbox_that_is_not_watched_any_more_has_no_further_tries(creator: Creator) -> None:
    """A job that ends then is the last; a request that waits for its next try is rejected."""
    started(creator)
    creator.send("second", **ASKED)
    creator.work()
    creator.sweep()
    creator.fakes.move("prod", "2", "FAILED")
    creator.sweep()
    creator.finish("FAILED")
    creator.sweep(watched=False)
    (end,) = (e for e in events(creator, "Job State Change") if e["final"] and e["jobId"] == "1")
    assert (end["triesLeft"], end["notRetried"]) == (0, "NOT_WATCHED")
    (rejected,) = events(creator, "Request Rejected")
    assert (rejected["requestKey"], rejected["outcome"]) == ("second", "NOT_WATCHED")
    assert not creator.waiting()


# -- cancelling ----------------------------------------------------------------------------------


def cancel(creator: Creator, **what: str) -> None:
    creator.send("stop", action="cancel", **(what or {"cancelRequestKey": "key"}))
    creator.work()


def test_cancelling_ends_a_request_that_waits_for_its_next_try(creator: Creator) -> None:
    """At once, and neither event claims that there was no job."""
    started(creator)
    fail(creator)
    cancel(creator)
    assert creator.record().status == "CANCELLED"
    assert not creator.waiting()
    (end,) = events(creator, "Request Rejected")
    assert end["reason"] == (
        "it was cancelled before the job of its try 2 was created, after 1 try; its last "
        "job, 1, ended as FAILED"
    )
    assert end["tryNumber"] == events(creator, "Request Accepted")[-1]["tryNumber"] == 2
    assert tried(creator, 30) == ["1"]


@pytest.mark.parametrize("status", ["CANCELLED", "FAILED"])
def test_cancelling_a_running_try_leaves_none(creator: Creator, status: str) -> None:
    """However the job ends after that."""
    started(creator)
    cancel(creator)
    assert creator.record().tries_left == 0
    creator.fakes.move("prod", "1", status)
    assert tried(creator, 30) == ["1"]
    assert creator.record().status == "CREATED"
    ((_, outcome, _, left),) = ends_of_jobs(creator)
    assert (outcome, left) == (status, 0)


def test_cancelling_a_try_that_has_failed_unseen_leaves_none(creator: Creator) -> None:
    """The service shows that the job has ended before a sweep has seen it."""
    started(creator)
    creator.finish("FAILED")
    cancel(creator)
    assert creator.record("stop").outcome == "ALREADY_FINAL"
    assert tried(creator, 30) == ["1"]
    (end,) = (e for e in events(creator, "Job State Change") if e["final"])
    assert end["notRetried"] == "CANCELLED"


def test_cancelling_while_the_job_is_being_created_leaves_none(creator: Creator) -> None:
    """The answer is lost; a sweep finds the job, which has failed, before the cancel request does."""
    creator.fakes.echoes_request_id = True
    creator.fakes.plan([("create", "times out after")])
    creator.send(**ASKED)
    creator.work()
    cancel(creator)
    assert creator.record().cancelled_by == "stop"
    creator.finish("FAILED")
    assert tried(creator, 30) == ["1"]
    (end,) = (e for e in events(creator, "Job State Change") if e["final"])
    assert (end["triesLeft"], end["notRetried"]) == (0, "CANCELLED")
    assert creator.record("stop").outcome == "ALREADY_FINAL"


def test_cancelling_counts_as_one_end(creator: Creator) -> None:
    """The request that loses its tries ended before, when its job was created."""
    started(creator)
    creator.send("stop", action="cancel", cancelRequestKey="key")
    (report,) = creator.work()
    assert report
    assert dict(report.ends) == {"CANCELLING": 1}


def test_a_job_that_fails_while_it_is_cancelled_is_not_tried_again(creator: Creator) -> None:
    """A cancel request by the job's id, or somebody in Adobe's console, wanted it to stop."""
    started(creator)
    cancel(creator, jobId="1")
    creator.minute()
    creator.fakes.move("prod", "1", "FAILED")
    assert tried(creator, 30) == ["1"]
    (end,) = (e for e in events(creator, "Job State Change") if e["final"])
    assert (end["triesLeft"], end["notRetried"]) == (0, "CANCELLED")


def test_a_cancel_request_for_a_job_that_is_gone_takes_the_tries_all_the_same(
    creator: Creator,
) -> None:
    """Nothing was cancelled, but nobody wants another job."""
    started(creator)
    creator.fakes.delete("prod", "1")
    cancel(creator)
    assert creator.record("stop").outcome == "NOT_FOUND"
    assert creator.record().tries_left == 0


@pytest.mark.parametrize("call", ["get", "delete"])
def test_a_cancel_request_that_has_to_wait_takes_the_tries_at_once(
    creator: Creator, call: str
) -> None:
    """The service can't be asked now; the job fails meanwhile."""
    started(creator)
    creator.fakes.plan([(call, "answers 5xx")])
    cancel(creator)
    assert creator.fakes.struck == [(call, "answers 5xx")]
    creator.finish("FAILED")
    assert tried(creator, 30) == ["1"]
    assert creator.record("stop").outcome == "ALREADY_FINAL"
    (end,) = (e for e in events(creator, "Job State Change") if e["final"])
    assert (end["triesLeft"], end["notRetried"]) == (0, "CANCELLED")


# -- whose job it is -----------------------------------------------------------------------------


def test_a_try_is_never_linked_to_the_job_of_an_earlier_one(creator: Creator) -> None:
    """Equal content, no echo, a lost answer, and a state that does not name the earlier job."""
    creator.fakes.echoes_request_id = False
    started(creator, retry={"attempts": 1, "delayMinutes": 1})
    fail(creator)
    creator.fakes.plan([("create", "times out after")])
    creator.minutes(2)
    assert creator.jobs == ["1", "2"]
    state = creator.fakes.items["state", "prod"]
    creator.fakes.items["state", "prod"] = replace(state, seen=frozenset())
    creator.fakes.open["prod"]["state", "prod"] = creator.fakes.items["state", "prod"]
    creator.minutes(10)
    assert creator.record().job_id == "2"
    assert job_of(creator, "2").linked_by == "content"
    assert job_of(creator, "1").try_number == 1


def test_a_job_found_late_of_an_earlier_try_is_a_duplicate(creator: Creator) -> None:
    """Its create call was given up, and the job of the next call failed: it is no further try."""
    creator.fakes.quirks = {"late"}
    creator.fakes.late_ms = 2 * HOUR_MS
    creator.fakes.plan([("create", "times out after")])
    creator.send(**ASKED)
    creator.work()
    creator.minutes(5)
    creator.fakes.quirks = set()
    creator.minutes(15)
    assert creator.record().job_id == "2"
    creator.fakes.move("prod", "2", "FAILED")
    creator.minutes(2)
    creator.fakes.jobs["prod"]["1"].visible_at = 0
    creator.minutes(2)
    assert job_of(creator, "1").duplicate_of == "key"
    assert creator.record().status == "WAITING"
    assert tried(creator)[-1] == "3"
    assert creator.record().job_id == "3"


class SlowAnswers(FakeApi):
    """While the answer to a create call is on its way, its job is found, and fails."""

    def __init__(self, creator: Creator) -> None:
        super().__init__(creator.fakes)
        self._creator = creator

    def create_job(self, sandbox: str, body: Mapping[str, Any], **options: Any) -> Job:
        job = super().create_job(sandbox, body, **options)
        self._creator.sweep()
        self._creator.fakes.move(sandbox, job.id, "FAILED")
        self._creator.sweep()
        return job


def test_a_late_answer_of_an_earlier_try_is_not_the_next_one_s(creator: Creator) -> None:
    """The run that holds it finds the request waiting for its next try, without a job."""
    creator.fakes.echoes_request_id = True
    creator.fakes.items["gate", "prod"] = Gate("prod", echoes=True)
    creator.api = lambda: SlowAnswers(creator)
    creator.send(**ASKED)
    creator.work()
    assert creator.record().status == "WAITING"
    assert creator.record().job_id is None
    creator.api = lambda: FakeApi(creator.fakes)
    assert tried(creator) == ["1", "2"]
    assert creator.record().job_id == "2"
    assert job_of(creator, "1").duplicate_of is None


def test_a_ticket_that_a_query_shows_late_ends_no_delay(creator: Creator) -> None:
    """Only the record tells when the next try is due."""
    started(creator)
    fail(creator)
    key = ("ticket", "prod", "key")
    ticket = creator.fakes.items[key]
    creator.fakes.open["prod"][key] = replace(ticket, turn=creator.fakes.now - 1)
    creator.minute()
    assert creator.jobs == ["1"]


def test_a_request_that_changes_meanwhile_is_looked_at_again(creator: Creator) -> None:
    """A cancel request that is carried out between a sweep's read and its write leaves no try."""
    started(creator)
    creator.finish("FAILED")
    store = creator.fakes
    sweeper = creator.sweeper()
    real = sweeper._recorder._retries._store.commit  # type: ignore[attr-defined]

    def commit(*args: Any, **kwargs: Any) -> Any:
        if creator.record().tries_left and not store.queue:
            cancel(creator)
        return real(*args, **kwargs)

    sweeper._recorder._retries._store.commit = commit  # type: ignore[method-assign]
    sweeper.sweep("prod")
    assert not events(creator, "Request Retried"), "what was not written is not published"
    assert creator.record().tries_left == 0
    assert creator.record().status == "CREATED"
    assert tried(creator, 30) == ["1"]


def test_a_job_linked_after_its_end_was_recorded_is_followed_by_a_try(creator: Creator) -> None:
    """The next sweep decides whether there is a further try, as the job stays in the index."""
    started(creator)
    record = job_of(creator, "1")
    key = ("job", "prod", str(record.creation_time), "1")
    creator.finish("FAILED")
    ended = replace(record, status="FAILED", outcome="FAILED", final=True, stored=None)
    creator.fakes.items[key] = creator.fakes.open["prod"][key] = ended
    assert ended.is_open
    creator.minute()
    assert creator.record().status == "WAITING"
    assert not job_of(creator, "1").is_open
    assert tried(creator) == ["1", "2"]


def expect(creator: Creator, *, due: int) -> None:
    """Expects an export into the dataset by a minute of the day, in UTC; a sweep plans it."""
    expectation = Expectation("nightly", "d", "UTC", due=due)
    record = ExpectationRecord("prod", expectation, applied_at=creator.fakes.now)
    FakeStore(creator.fakes).edit_expectations("prod", [record])
    creator.minute()


@pytest.mark.parametrize(
    ("minutes", "announced"),
    [(23 * 60, []), (22 * 60 + 20, ["OVERDUE", "RESOLVED"])],
)
def test_an_expectation_counts_whatever_try_was_good(
    creator: Creator, minutes: int, announced: list[str]
) -> None:
    """In time, nothing is announced; late, the second try makes good what the first one missed."""
    creator.minute()  # 22:13
    expect(creator, due=minutes)
    started(creator, retry={"attempts": 1, "delayMinutes": 5})
    fail(creator)
    creator.minutes(10)
    assert creator.jobs == ["1", "2"]
    creator.fakes.jobs["prod"]["2"].body["metrics"] = {"totalExportedProfileCounter": 5}
    creator.finish("SUCCEEDED")
    creator.minutes(60)
    found = [*events(creator, "Overdue"), *events(creator, "Overdue Resolved")]
    assert [event["outcome"] for event in found] == announced
    (record,) = FakeStore(creator.fakes).expectations("prod")
    (past,) = record.history
    assert past.job_id == "2"


# -- the decision --------------------------------------------------------------------------------

FAILED = JobRecord(
    "prod", "1", 1, "FAILED", final=True, outcome="FAILED", request_key="key", tries_left=1
)
REQUEST = RequestRecord(
    "key", "CREATED", "prod", job_id="1", retry=RetryPolicy(1, 60_000), tries_left=1
)


@pytest.mark.parametrize(
    ("changed", "decision"),
    [
        ({}, Decision(160_000)),
        ({"deadline_ms": 160_001}, Decision(160_000)),
        ({"deadline_ms": 160_000}, Decision(why_not="EXPIRES")),
        ({"tries_left": 0}, Decision(why_not="CANCELLED")),
        ({"cancelled_by": "stop"}, Decision(why_not="CANCELLED")),
        ({"job_id": "2"}, None),
        ({"status": "WAITING"}, None),
        ({"status": "REJECTED"}, None),
        ({"retry": None}, None),
    ],
)
def test_what_the_request_s_record_decides(
    changed: dict[str, Any], decision: Decision | None
) -> None:
    """An end is for its request to act on only while that has this very job."""
    request = replace(REQUEST, **changed)
    assert decide(Change(None, FAILED, 1), request, watched=True, now=100_000) == decision


def test_what_the_job_and_the_sandbox_decide() -> None:
    """A job that was being cancelled, and a sandbox that is no longer watched, have no next try."""
    before = replace(FAILED, status="CANCELLING", final=False)
    cancelling = Change(before, FAILED, 1)
    assert decide(cancelling, REQUEST, watched=True, now=1) == Decision(why_not="CANCELLED")
    ended = Change(None, FAILED, 1)
    assert decide(ended, REQUEST, watched=False, now=1) == Decision(why_not="NOT_WATCHED")
    assert decide(ended, None, watched=True, now=1) is None
