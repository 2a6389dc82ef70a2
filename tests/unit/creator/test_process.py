"""How requests are handled: one job each, in turn, with a visible end; with fakes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from export_jobs.contract import Job
from export_jobs.contract.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    NotSent,
    OutcomeUnknown,
    Refused,
    RetryLater,
)
from export_jobs.creator import process
from export_jobs.creator.message import Message, key_of_rejected
from export_jobs.model.limits import LISTINGS_APART_MS
from export_jobs.model.matching import gives_up_from
from export_jobs.model.ports import ItemRefused
from export_jobs.model.wake_up import wake_up_body
from support.creator import CREATE, HOUR_MS, MINUTE_MS, SECOND_MS, Creator, asking
from support.fake_store import FakeStore
from support.fakes import FakeApi, ServiceJob


@pytest.fixture
def creator() -> Creator:
    return Creator()


# -- one request, one job ------------------------------------------------------------------------


def test_a_request_becomes_a_job(creator: Creator) -> None:
    """The request is sent unchanged, and the event on the bus has its correlation id."""
    creator.send(correlationId="campaign", **CREATE)
    creator.work()
    (job,) = creator.fakes.jobs["prod"].values()
    assert job.body["destination"] == {"datasetId": "d"}
    event = creator.last()
    assert (event["jobId"], event["correlationId"]) == (job.body["id"], "campaign")
    assert (event["linkedBy"], event["orgId"]) == ("answer", "ORG@AdobeOrg")
    assert creator.ends() == [("key", "CREATED")]


def test_a_lone_request_costs_seven_calls(creator: Creator) -> None:
    """Recorded, gate, line, noted, linked, published, settled; and one call creates it."""
    creator.send(**CREATE)
    creator.work()
    calls = dict(creator.fakes.calls)
    assert (calls.pop("create"), calls.pop("token")) == (1, 1)
    assert calls == {"transact": 4, "get item": 1, "query": 1, "publish to bus": 1}


class SlowTokens(FakeApi):
    """IMS takes a minute for a token."""

    def prepare(self) -> None:
        if not self._has_token:
            self._fakes.now += MINUTE_MS
        super().prepare()


@pytest.mark.parametrize("echoes", [True, False])
def test_a_slow_token_and_a_late_listing_make_no_second_job(
    creator: Creator, *, echoes: bool
) -> None:
    """Field case 3: the time that a token takes does not count towards that of the call."""
    creator.fakes.echoes_request_id = echoes
    creator.fakes.quirks.add("late")
    creator.fakes.late_ms = 150 * SECOND_MS
    creator.api = lambda: SlowTokens(creator.fakes)
    creator.sweep()
    creator.send(**CREATE)
    creator.fakes.plan([("create", "times out after")])
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


def test_a_full_batch_costs_no_more_calls_than_a_lone_request(creator: Creator) -> None:
    """Ten requests, recorded, noted, linked and published together."""
    creator.max_open = 20
    for number in range(10):
        creator.send(f"k{number}", **asking(fields=f"f{number}"))
    creator.work()
    calls = dict(creator.fakes.calls)
    assert (calls.pop("create"), calls.pop("token")) == (10, 1)
    assert sum(calls.values()) == 7


def test_a_bare_body_is_a_request_of_its_own(creator: Creator) -> None:
    """Without a request key, the message's id is used: a redelivery makes no second job."""
    message = creator.send(None, **CREATE["job"])
    creator.enqueue(message)
    creator.work()
    creator.enqueue(message)
    creator.work()
    assert len(creator.jobs) == 1
    assert creator.ends() == [(message.message_id, "CREATED")]


def test_the_same_key_in_two_messages_makes_one_job(creator: Creator) -> None:
    """In one batch or in two, whether they are identical or only mean the same."""
    creator.send(**CREATE)
    other = {"schema": {"name": "s"}, "destination": {"datasetId": "d"}}
    creator.send(job=other)
    creator.work()
    creator.send(job=other)
    creator.work()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


@pytest.mark.parametrize("echoes", [True, False])
@pytest.mark.parametrize("strike", ["times out after", "answers 5xx", "dies after"])
def test_a_lost_answer_makes_no_second_job(creator: Creator, echoes: bool, strike: Any) -> None:
    """The sweep finds the job, by our request id or by its content, and reports by which."""
    creator.fakes.echoes_request_id = echoes
    creator.sweep()
    creator.send(**asking(filter={"segments": [{"segmentId": "x"}]}))
    creator.fakes.create("prod", destination={"datasetId": "another"}, schema={"name": "s"})
    creator.fakes.plan([("create", strike)])
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 2
    (event,) = [
        e.detail for e in creator.fakes.published["bus"] if e.type == "Export Request Accepted"
    ]
    if strike != "answers 5xx":
        assert event["linkedBy"] == ("requestId" if echoes else "content")
    named = creator.fakes.jobs["prod"][event["jobId"]]
    assert named.body["destination"] == {"datasetId": "d"}


def test_a_service_that_omits_fields_is_no_contradiction(creator: Creator) -> None:
    """Field case 2: the seed's listing does not show all that the seed's request asks for."""
    creator.fakes.quirks = {"omits"}
    asked = asking(
        filter={
            "segments": [{"segmentId": "x"}],
            "segmentQualificationTime": {"startTime": "2018-01-01T00:00:00Z"},
            "fromIngestTimestamp": "2018-01-01T00:00:00Z",
            "emptyProfiles": True,
        },
        additionalFields={"eventList": {"fields": "environment.browserDetails.name"}},
    )
    creator.sweep()
    creator.send(**asked)
    creator.fakes.plan([("create", "times out after")])
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


def test_a_difference_that_is_shown_is_a_contradiction(creator: Creator) -> None:
    """Somebody else's job into the same dataset, made at the same time, is not ours."""
    creator.sweep()
    creator.send(**asking(filter={"segments": [{"segmentId": "x"}]}))
    creator.fakes.plan([("create", "times out before")])
    creator.work()
    theirs = {**CREATE["job"], "filter": {"segments": [{"segmentId": "y"}]}}
    creator.fakes.create("prod", **theirs)
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert creator.last()["requestKey"] == "key"
    assert len(creator.jobs) == 2


def test_content_is_not_believed_while_a_run_may_hold_the_answer(creator: Creator) -> None:
    """An equal foreign job is not linked to a request whose own answer may still arrive."""

    class Slow(FakeApi):
        def create_job(self, *asked: Any, **options: Any) -> Job:
            self._fakes.create("prod", **asked[1])  # somebody else's job, equal to it
            self._fakes.now += 20 * SECOND_MS
            report = creator.sweep()
            assert report.problems == []
            return super().create_job(*asked, **options)

    creator.sweep()
    creator.api = lambda: Slow(creator.fakes)
    creator.send(**asking(filter={"segments": [{"segmentId": "x"}]}))
    creator.work()
    (end,) = [
        e.detail for e in creator.fakes.published["bus"] if e.type == "Export Request Accepted"
    ]
    assert (end["jobId"], end["linkedBy"]) == (creator.jobs[1], "answer")
    creator.until_ended()
    creator.minutes(2)
    named = {e.detail["jobId"]: e.detail["requestKey"] for e in creator.fakes.published["bus"]}
    assert named == {creator.jobs[0]: None, creator.jobs[1]: "key"}


def test_an_export_that_somebody_else_made_just_before_is_not_taken_for_ours(
    creator: Creator,
) -> None:
    """Of several jobs that could be ours, it is the earliest created after the attempt."""
    creator.sweep()
    asked = asking(filter={"segments": [{"segmentId": "x"}]})
    theirs = creator.fakes.create("prod", **asked["job"]).body["id"]
    creator.fakes.now += 30 * SECOND_MS
    creator.send(**asked)
    creator.fakes.plan([("create", "times out after")])
    creator.until_ended()
    ours = next(job for job in creator.jobs if job != theirs)
    ends = [
        e.detail["jobId"]
        for e in creator.fakes.published["bus"]
        if "outcome" in e.detail and e.type == "Export Request Accepted"
    ]
    assert ends == [ours]


@pytest.mark.parametrize("echoes", [True, False])
def test_equal_requests_at_the_same_moment_get_a_job_each(echoes: bool) -> None:
    """Two keys, one body, answers lost, in every drawn order: two jobs, one for each key."""
    for order in range(30):
        creator = Creator()
        creator.sweep()
        creator.fakes.echoes_request_id = echoes
        first, second = (creator.message(key, **CREATE) for key in ("a", "b"))
        creator.fakes.plan([("create", "times out after")])
        creator.together(
            order,
            lambda: creator.deliver([first]),  # noqa: B023
            lambda: creator.deliver([second]),  # noqa: B023
        )
        creator.fakes.plan([("create", "times out after")])
        creator.until_ended()
        assert sorted(creator.ends()) == [("a", "CREATED"), ("b", "CREATED")]
        jobs = {
            e.detail["jobId"] for e in creator.fakes.published["bus"] if "requestKey" in e.detail
        }
        assert jobs == set(creator.jobs)
        assert len(jobs) == 2


def test_an_attempt_without_a_job_is_given_up_after_two_listings(creator: Creator) -> None:
    """The create call never arrived: it is repeated after the job had every chance to show."""
    creator.sweep()
    creator.send(**CREATE)
    creator.fakes.plan([("create", "times out before")])
    creator.work()
    slot = creator.gate().slots["key"]
    creator.fakes.now = gives_up_from(slot)
    creator.sweep()
    assert creator.gate().slots["key"].missed_at
    creator.fakes.now += LISTINGS_APART_MS // 2
    creator.sweep()
    assert "key" in creator.gate().slots
    creator.fakes.now += LISTINGS_APART_MS
    creator.sweep()
    assert creator.waiting() == ["key"]
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


def test_a_job_that_shows_after_giving_up_is_the_waiting_request_s(creator: Creator) -> None:
    """Former attempts stay with a request until it is admitted again."""
    creator.sweep()
    creator.max_open = 1
    creator.send(**CREATE)
    creator.fakes.plan([("create", "times out after")])
    creator.work()
    (hidden,) = creator.fakes.jobs["prod"].values()
    hidden.visible_at = creator.fakes.now + HOUR_MS
    other = creator.fakes.create("prod", destination={"datasetId": "e"})
    while creator.waiting() != ["key"]:
        creator.minute()
    hidden.visible_at = 0
    hidden.body["filter"] = {"segments": []}
    assert other.body["status"] == "NEW"
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 2


def test_a_job_that_shows_after_another_was_made_is_a_duplicate(creator: Creator) -> None:
    """It is reported, with the key of the request that has another job, and never given to it."""
    creator.fakes.echoes_request_id = True
    creator.sweep()
    creator.send(**CREATE)
    creator.fakes.plan([("create", "times out after")])
    creator.work()
    (hidden,) = creator.fakes.jobs["prod"].values()
    hidden.visible_at = creator.fakes.now + HOUR_MS
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    hidden.visible_at = 0
    report = creator.sweep()
    assert report.duplicates == 1
    (event,) = [
        e.detail for e in creator.fakes.published["bus"] if e.detail["jobId"] == creator.jobs[0]
    ]
    assert (event["duplicateOfRequest"], event["requestKey"]) == ("key", None)
    assert creator.sweep().duplicates == 0


@pytest.mark.parametrize("answer", ["down", "not found yet"])
def test_an_attempt_is_not_given_up_while_a_job_may_be_its_own(
    creator: Creator, answer: str
) -> None:
    """It shows too little and can't be fetched by its id yet: it waits, and is not recorded."""

    class Meagre(FakeApi):
        broken = True

        def _answered(self, body: Any) -> dict[str, Any]:
            meagre = {k: v for k, v in body.items() if k not in {"destination", "filter"}}
            return dict(body) if self._whole else meagre

        _whole = False

        def get_job(self, sandbox: str, job_id: str) -> Job:
            if Meagre.broken:
                raise NotFound(job_id) if answer == "not found yet" else RetryLater("503")
            self._whole = True
            try:
                return super().get_job(sandbox, job_id)
            finally:
                self._whole = False

    creator.sweep()
    creator.sweep_api = lambda: Meagre(creator.fakes)
    creator.send(**asking(filter={"segments": [{"segmentId": "x"}]}))
    creator.fakes.plan([("create", "times out after")])
    creator.work()
    minutes = 4 if answer == "not found yet" else 20
    creator.minutes(minutes)
    assert [e for e in creator.fakes.published["bus"] if e.detail.get("sequence")] == []
    assert creator.record().status == "CREATING"
    Meagre.broken = False
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


def test_a_cancel_that_names_itself_is_invalid(creator: Creator) -> None:
    """It would end itself twice in one step, and stop every request behind it."""
    creator.send("x", action="cancel", cancelRequestKey="x")
    creator.send(**CREATE)
    creator.work()
    assert sorted(creator.ends()) == [("key", "CREATED"), ("x", "INVALID")]
    message = creator.raw('{"action": "cancel", "cancelRequestKey": "MESSAGE"}')
    own = Message(message.message_id, message.body.replace("MESSAGE", message.message_id), 1)
    creator.enqueue(own)
    creator.work()
    assert creator.ends()[-1] == (own.message_id, "NOT_FOUND")


def test_an_attempt_that_can_t_be_settled_ends_the_request(creator: Creator) -> None:
    """After six hours without a listing it is rejected, and never sent again."""

    class Blind(FakeApi):
        def list_jobs(self, *_: Any, **__: Any) -> Any:
            raise RetryLater("down")

    creator.sweep()
    creator.send(**CREATE)
    creator.fakes.plan([("create", "times out after")])
    creator.work()
    creator.sweep_api = lambda: Blind(creator.fakes)
    creator.fakes.now += 7 * HOUR_MS
    creator.sweep()
    creator.work()
    assert creator.ends() == [("key", "OUTCOME_UNKNOWN")]
    assert [letter.request_key for letter in creator.fakes.dead_letter_queue] == ["key"]
    creator.sweep_api = lambda: FakeApi(creator.fakes)
    creator.minutes(3)
    assert len(creator.jobs) == 1
    assert creator.last()["requestKey"] == "key"


def test_a_job_whose_creation_answer_has_no_time_is_linked_to_its_one_record(
    creator: Creator,
) -> None:
    """The table's key holds the creation time, which the listing shows later."""

    class Timeless(FakeApi):
        def create_job(self, *asked: Any, **options: Any) -> Any:
            job = super().create_job(*asked, **options)
            creator.sweep()
            return job.model_copy(update={"creation_time": None})

    creator.sweep()
    creator.api = lambda: Timeless(creator.fakes)
    creator.send(**CREATE)
    creator.work()
    creator.minutes(2)
    creator.finish()
    creator.minutes(2)
    statuses = [
        (event.detail["sequence"], event.detail["status"], event.detail["requestKey"])
        for event in creator.fakes.published["bus"]
        if event.detail.get("sequence")
    ]
    assert statuses == [(1, "NEW", "key"), (2, "SUCCEEDED", "key")]


def test_every_event_of_the_job_names_its_request_in_order(creator: Creator) -> None:
    """The request's own event comes before those of its job, also when the sweep found the job."""
    creator.fakes.echoes_request_id = True
    creator.sweep()
    creator.send(correlationId="campaign", **CREATE)
    creator.fakes.plan([("create", "dies after")])
    creator.work()
    creator.sweep()
    creator.finish()
    creator.until_ended()
    creator.minutes(2)
    event = [e.detail for e in creator.fakes.published["bus"]]
    assert [detail.get("status") for detail in event] == [None, "NEW", "SUCCEEDED"]
    assert {detail["requestKey"] for detail in event} == {"key"}
    assert {detail["correlationId"] for detail in event} == {"campaign"}
    assert len({detail["jobId"] for detail in event}) == 1


def test_a_changed_body_under_a_used_key_is_rejected(creator: Creator) -> None:
    """The event reports that; the first request's end is unchanged."""
    creator.send(**CREATE)
    creator.work()
    changed = {"destination": {"datasetId": "other"}, "schema": {"name": "s"}}
    creator.send(correlationId="second", job=changed)
    creator.work()
    assert creator.ends() == [("key", "CREATED"), ("key", "KEY_REUSED")]
    assert "was already used for another request" in creator.last()["reason"]
    assert creator.last()["correlationId"] == "second"
    assert len(creator.fakes.dead_letter_queue) == 1


def test_reordering_the_sandboxes_moves_no_request(creator: Creator) -> None:
    """Field case 20: one that names no sandbox stays where it was; a redelivery is a duplicate."""
    message = creator.send(**CREATE)
    creator.work()
    creator.sandboxes = ("dev", "prod")
    creator.enqueue(message)
    creator.work()
    assert creator.ends() == [("key", "CREATED")]
    assert not creator.fakes.jobs["dev"]
    creator.send(sandboxName="dev", **CREATE)
    creator.work()
    assert creator.ends()[-1] == ("key", "KEY_REUSED")


def test_attributes_of_a_sender_mean_nothing(creator: Creator) -> None:
    """Field case 18: no key, no time and no reason; not even if it names another's rejection."""
    creator.send("taken", job={"destination": {"datasetId": "refused"}, "schema": {"name": "s"}})
    creator.work()
    for attributes in (
        {"requestKey": "x" * 3_000, "notBefore": "9999999999999"},
        {"requestKey": "taken", "eventId": "made up", "redrives": "7"},
        {"requestKey": "taken", "recordKey": "taken", "reason": "x"},
    ):
        message = creator.enqueue(creator.raw(json.dumps(CREATE["job"]), attributes))
        creator.work()
        assert creator.ends()[-1] == (message.message_id, "CREATED")
    assert creator.record("taken").status == "REJECTED"


# -- waiting -------------------------------------------------------------------------------------


class Down(FakeApi):
    """A service that answers every create call with the same failure, until it recovers."""

    failure: Exception | None = None

    def create_job(self, *asked: Any, **options: Any) -> Any:
        if Down.failure:
            self._fakes.calls["refused create"] += 1
            raise Down.failure
        return super().create_job(*asked, **options)


@pytest.mark.parametrize(
    "failure", [RetryLater("429"), BadCredentials("expired"), Forbidden("no permission")]
)
def test_six_hours_of_outage_are_waited_out(creator: Creator, failure: Exception) -> None:
    """Field case 23: outages never lead to the dead-letter queue, and cost few calls."""
    Down.failure = failure
    creator.api = lambda: Down(creator.fakes)
    creator.sweep()
    for number in range(3):
        creator.send(f"k{number}", **asking(fields=f"f{number}"))
    creator.work()
    creator.minutes(6 * 60)
    assert creator.fakes.queue == []
    assert sorted(creator.waiting()) == ["k0", "k1", "k2"]
    assert 20 < creator.fakes.calls["refused create"] < 50
    Down.failure = None
    creator.until_ended(minutes=20)
    in_order = [(f"k{n}", "CREATED") for n in range(3)]
    assert creator.ends() == in_order or isinstance(failure, Forbidden)
    assert sorted(creator.ends()) == in_order
    assert creator.fakes.dead_letter_queue == []


def test_one_request_that_is_forbidden_stands_in_nobody_s_way(creator: Creator) -> None:
    """A permission for its dataset alone: each probe is another request's, until one succeeds."""

    class Guarded(FakeApi):
        def create_job(self, sandbox: str, body: Any, **options: Any) -> Any:
            if body["destination"]["datasetId"] == "secret":
                raise Forbidden("not this dataset")
            return super().create_job(sandbox, body, **options)

    creator.api = lambda: Guarded(creator.fakes)
    creator.sweep()
    creator.send("secret", job={"destination": {"datasetId": "secret"}, "schema": {"name": "s"}})
    creator.send("other", **CREATE)
    creator.work()
    creator.minutes(10)
    assert creator.ends() == [("other", "CREATED")]
    assert creator.waiting() == ["secret"]


def test_a_call_that_is_not_sent_by_our_own_choice_holds_nothing(creator: Creator) -> None:
    """The run had no time left: that proves nothing about the service."""
    Down.failure = NotSent("no time")
    creator.api = lambda: Down(creator.fakes)
    creator.sweep()
    creator.send(**CREATE)
    creator.work()
    Down.failure = None
    assert creator.gate().hold.length_ms == 0
    assert creator.waiting() == ["key"]
    creator.until_ended(minutes=3)
    assert creator.ends() == [("key", "CREATED")]


@pytest.mark.parametrize(
    ("asked_s", "least_s", "most_s"),
    [(7.2, 60, 70), (600.0, 600, 610), (86_400.0, 3_600, 3_610), (1_790_000_000.0, 3_600, 3_610)],
)
def test_retry_after_is_honoured_up_to_an_hour(
    creator: Creator, asked_s: float, least_s: int, most_s: int
) -> None:
    """Field case 5: an epoch sent as a number of seconds does not cause a wait of years."""
    Down.failure = RetryLater("429", retry_after_s=asked_s)
    creator.api = lambda: Down(creator.fakes)
    creator.send(**CREATE)
    creator.work()
    held_s = (creator.gate().hold.until - creator.fakes.now) / SECOND_MS
    Down.failure = None
    assert least_s - 1 <= held_s <= most_s


def test_a_failure_holds_the_line_and_one_probe_lifts_it(creator: Creator) -> None:
    """1 to 15 minutes, doubled; then a single call; then all."""
    Down.failure = RetryLater("503")
    creator.api = lambda: Down(creator.fakes)
    creator.sweep()
    for number in range(4):
        creator.send(f"k{number}", **asking(fields=f"f{number}"))
    creator.work()
    holds = []
    for _ in range(7):
        hold = creator.gate().hold
        holds.append(hold.length_ms // MINUTE_MS)
        before = creator.fakes.calls["refused create"]
        creator.fakes.now = hold.until - 10 * SECOND_MS
        creator.sweep()
        creator.work()
        assert creator.fakes.calls["refused create"] == before
        creator.fakes.now = hold.until + SECOND_MS
        creator.sweep()
        creator.work()
        assert creator.fakes.calls["refused create"] == before + 1
    assert holds == [1, 2, 4, 8, 15, 15, 15]
    Down.failure = None
    creator.fakes.now = creator.gate().hold.until + SECOND_MS
    creator.sweep()
    creator.work()
    assert creator.ends() == [(f"k{n}", "CREATED") for n in range(4)]


def test_one_poisonous_request_holds_up_nobody_for_long(creator: Creator) -> None:
    """One whose create call always fails without an answer goes behind the others."""

    class Poisoned(FakeApi):
        def create_job(self, sandbox: str, body: Any, **options: Any) -> Any:
            if body["destination"]["datasetId"] == "poison":
                raise OutcomeUnknown("500")
            return super().create_job(sandbox, body, **options)

    creator.api = lambda: Poisoned(creator.fakes)
    creator.max_open = 1
    creator.sweep()
    creator.send("poison", job={"destination": {"datasetId": "poison"}, "schema": {"name": "s"}})
    creator.work()
    for number in range(3):
        creator.send(f"k{number}", **CREATE)
    for _ in range(40):
        creator.minute()
        creator.finish()
    assert creator.ends() == [(f"k{n}", "CREATED") for n in range(3)]


@pytest.mark.parametrize("outage", ["down", "cap", "held"])
def test_a_request_that_waits_past_its_time_is_rejected(creator: Creator, outage: str) -> None:
    """`expiresAt` is kept whatever else a request waits for."""
    creator.sweep()
    if outage == "cap":
        creator.max_open = 1
        creator.fakes.create("prod")
        creator.sweep()
    else:
        Down.failure = RetryLater("503", retry_after_s=3_600 if outage == "held" else None)
        creator.api = lambda: Down(creator.fakes)
    creator.send(expiresAt="2023-11-14T22:45:00Z", **CREATE)
    creator.work()
    creator.minutes(35)
    Down.failure = None
    assert creator.ends() == [("key", "EXPIRED")]
    assert [letter.request_key for letter in creator.fakes.dead_letter_queue] == ["key"]
    creator.minutes(70)
    assert creator.ends() == [("key", "EXPIRED")]


def test_the_cap_makes_requests_wait_their_turn() -> None:
    """No more jobs are open at once; the rest wait, and are served in order of arrival."""
    creator = Creator(max_open=3)
    creator.sweep()
    for number in range(12):
        creator.send(f"k{number}", **asking(fields=f"f{number}"))
        creator.fakes.now += SECOND_MS
    for _ in range(30):
        creator.minute()
        creator.finish()
    assert creator.fakes.most_open["prod"] == 3
    assert creator.ends() == [(f"k{n}", "CREATED") for n in range(12)]


def test_the_line_is_served_in_order_of_arrival() -> None:
    """Field case 21: a burst, a small cap, then newcomers: none is overtaken or left unserved."""
    creator = Creator(max_open=2)
    creator.sweep()
    arrived: list[str] = []
    for number in range(30):
        arrived.append(creator.send(f"burst{number}", **asking(fields=f"f{number}")).message_id)
        creator.fakes.now += 100
    for minute in range(240):
        if minute % 9 == 0:
            creator.send(f"later{minute}", **asking(fields=f"g{minute}"))
        creator.minute()
        if minute % 6 == 5:
            creator.finish()
    order = [key for key, outcome in creator.ends() if outcome == "CREATED"]
    assert order == sorted(
        order, key=lambda key: (key.startswith("later"), int(key.lstrip("burstlae")))
    )
    assert len(order) >= 50
    assert creator.fakes.most_open["prod"] <= 2


class Busy(FakeApi):
    """A service that accepts ten create calls a minute, and then asks for a minute's pause."""

    taken = 0
    since = 0

    def create_job(self, *asked: Any, **options: Any) -> Any:
        if self._fakes.now - Busy.since > 60 * SECOND_MS:
            Busy.since, Busy.taken = self._fakes.now, 0
        Busy.taken += 1
        if Busy.taken > 10:
            raise RetryLater("429", retry_after_s=60)
        return super().create_job(*asked, **options)


@pytest.mark.unmeasured
def test_a_burst_of_a_thousand_requests_is_worked_off() -> None:
    """Within the cap and the service's rate, and none is lost."""
    creator = Creator(max_open=20, sandboxes=("prod",))
    creator.sweep()
    creator.api = lambda: Busy(creator.fakes)
    for number in range(1_000):
        creator.send(f"k{number}", **asking(fields=f"f{number}"))
    for _ in range(600):
        if len(creator.ends()) == 1_000:
            break
        creator.minute()
        creator.finish()
    assert sorted(creator.ends()) == sorted((f"k{n}", "CREATED") for n in range(1_000))
    assert len(creator.jobs) == 1_000
    assert creator.fakes.most_open["prod"] <= 20
    assert creator.fakes.dead_letter_queue == []


def test_the_cap_holds_among_runs_at_the_same_moment() -> None:
    """Jobs that others are just creating count, in every drawn order of calls and torn reads."""
    for order in range(60):
        creator = Creator(max_open=2)
        creator.sweep()
        batches = [
            [creator.message(f"{run}{n}", **asking(fields=f"{run}{n}")) for n in range(2)]
            for run in range(3)
        ]
        creator.together(
            order,
            *[lambda b=batch: creator.deliver(b) for batch in batches],  # type: ignore[misc]  # noqa: B023
            creator.sweep,
        )
        assert creator.fakes.most_open["prod"] == 2
        assert len(creator.waiting()) == 4


def test_jobs_that_others_created_count_to_the_cap() -> None:
    """The sandbox slows down by all open exports, not only by ours."""
    creator = Creator(max_open=2)
    for _ in range(2):
        creator.fakes.create("prod")
    creator.sweep()
    creator.send(**CREATE)
    creator.minutes(5)
    assert creator.waiting() == ["key"]
    creator.finish()
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]


def test_a_lost_wake_up_is_sent_again(creator: Creator) -> None:
    """The next sweep sends another; one that arrives late does nothing."""
    creator.max_open = 1
    creator.fakes.create("prod")
    creator.sweep()
    creator.send(**CREATE)
    creator.work()
    creator.finish()
    creator.fakes.plan([("send", "times out before")])
    report = creator.sweep()
    assert report.problems
    creator.fakes.queue.clear()
    creator.sweep()
    (wake_up,) = [m for _, m in creator.fakes.queue]
    creator.fakes.now += 6 * MINUTE_MS
    (late,) = creator.work()
    assert late
    assert late.handled == {wake_up.message_id: "DROPPED"}
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]


def test_with_no_time_left_a_request_waits_for_the_next_run(creator: Creator) -> None:
    """Nothing is started that can't be finished before the function's time limit."""
    creator.sweep()
    creator.send(**CREATE)
    creator.time_left_s = 5.0
    creator.work()
    assert creator.fakes.calls["create"] == 0
    creator.time_left_s = 300.0
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]


def test_an_outage_of_the_tables_for_a_day_loses_nothing(creator: Creator) -> None:
    """No request is rejected because of it, and no message because of its receives."""
    creator.send(**CREATE)
    for _ in range(120):
        creator.fakes.now = max(creator.fakes.now, *(at for at, _ in creator.fakes.queue))
        creator.fakes.strikes = {"transact": "is throttled"}
        (report,) = creator.work()
        assert report
        assert set(report.handled.values()) == {"FAILED"}
    assert creator.receives["m0"] == 120
    creator.until_ended()
    assert creator.ends() == [("key", "CREATED")]
    assert creator.fakes.dead_letter_queue == []


def test_a_sandbox_that_is_not_watched_any_more_ends_its_requests(creator: Creator) -> None:
    """Waiting ones are rejected; open jobs are followed to their ends; new ones are not ours."""
    creator.max_open = 1
    running = creator.fakes.create("dev").body["id"]
    creator.sweep("dev")
    creator.send(sandboxName="dev", **CREATE)
    creator.work()
    report = creator.sweep("dev", watched=False)
    assert creator.ends() == [("key", "NOT_WATCHED")]
    assert [letter.request_key for letter in creator.fakes.dead_letter_queue] == ["key"]
    assert not report.finished
    creator.fakes.create("dev")
    creator.fakes.move("dev", running, "SUCCEEDED")
    creator.sweep("dev", watched=False)
    assert creator.last()["jobId"] == running
    assert creator.sweep("dev", watched=False).finished


class Refusing(FakeStore):
    """A table that keeps the request `bad`, and refuses what would become of it."""

    def commit(self, sandbox: str, steps: Any, gate: Any = None) -> frozenset[int]:
        taken = [r for step in steps for r in step.requests if r.request_key == "bad"]
        if any(record.status != "WAITING" for record in taken):
            raise ItemRefused("too large")
        return super().commit(sandbox, steps, gate)


# -- cancel --------------------------------------------------------------------------------------


def test_cancel_by_job_while_it_runs(creator: Creator) -> None:
    """The job is marked for cancelling; its id may be a number, as the service shows ids."""
    creator.send(**CREATE)
    creator.work()
    (job,) = creator.jobs
    creator.send("stop", action="cancel", jobId=int(job))
    creator.work()
    assert creator.ends()[-1] == ("stop", "CANCELLING")
    assert creator.fakes.life[job][-1] == "CANCELLING"


def test_cancel_by_request_goes_to_the_sandbox_of_its_job(creator: Creator) -> None:
    """Not to the sandbox of a cancel request that names none; ids may be the same in both."""
    creator.send(sandboxName="dev", **CREATE)
    creator.work()
    (job,) = creator.jobs
    creator.fakes.jobs["prod"][job] = ServiceJob(dict(creator.fakes.jobs["dev"][job].body))
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    assert creator.ends()[-1] == ("stop", "CANCELLING")
    assert creator.last()["sandboxName"] == "dev"
    assert creator.fakes.jobs["dev"][job].body["status"] == "CANCELLING"
    assert creator.fakes.jobs["prod"][job].body["status"] == "NEW"


def test_cancel_that_was_carried_out_before_a_crash_is_accepted(creator: Creator) -> None:
    """Even if the service refuses to cancel a job that is being cancelled."""

    class Strict(FakeApi):
        def cancel_job(self, sandbox: str, job_id: str) -> None:
            if creator.fakes.jobs[sandbox][job_id].body["status"] == "CANCELLING":
                raise Refused("it is being cancelled")
            super().cancel_job(sandbox, job_id)

    creator.api = lambda: Strict(creator.fakes)
    creator.send(**CREATE)
    creator.work()
    creator.send("stop", action="cancel", jobId=creator.jobs[0])
    creator.fakes.plan([("delete", "dies after")])
    creator.until_ended()
    assert creator.ends()[-1] == ("stop", "CANCELLING")


def test_cancel_before_the_request_has_arrived(creator: Creator) -> None:
    """SQS keeps no order: a request that arrives after its cancellation is never carried out."""
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    assert creator.ends() == []
    creator.send(**CREATE)
    (report,) = creator.work()
    assert sorted(creator.ends()) == [("key", "CANCELLED"), ("stop", "CANCELLED")]
    assert report
    assert report.ends == {"CANCELLED": 2}  # both are counted by the metric
    assert creator.jobs == []
    assert creator.waiting() == []
    assert creator.fakes.dead_letter_queue == []


def test_cancel_while_the_request_waits() -> None:
    """Both end at once, outside of line and cap."""
    creator = Creator(max_open=1)
    creator.fakes.create("prod")
    creator.sweep()
    creator.send(**CREATE)
    creator.work()
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    assert sorted(creator.ends()) == [("key", "CANCELLED"), ("stop", "CANCELLED")]
    assert len(creator.jobs) == 1
    assert creator.waiting() == []


def test_a_request_that_was_cancelled_is_not_put_back_in_line(creator: Creator) -> None:
    """Giving up its attempt ends it: no run may admit it before its cancellation is handled."""
    creator.sweep()
    creator.send(**CREATE)
    creator.fakes.plan([("create", "times out before")])
    creator.work()
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    creator.fakes.queue.clear()
    while creator.gate().unsettled:
        creator.fakes.now += 5 * MINUTE_MS
        creator.sweep()
    assert creator.record().status == "CANCELLED"
    assert creator.ends() == [("key", "CANCELLED")]


@pytest.mark.parametrize("arrives", [True, False])
def test_cancel_while_the_request_is_being_created(creator: Creator, arrives: bool) -> None:
    """A flag is set: the job is cancelled once it is known, or never created."""
    creator.sweep()
    creator.send(**asking(filter={"segments": [{"segmentId": "x"}]}))
    creator.fakes.plan([("create", "times out after" if arrives else "times out before")])
    creator.work()
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    assert creator.ends() == []
    creator.until_ended()
    if arrives:
        assert creator.ends() == [("key", "CREATED"), ("stop", "CANCELLING")]
        assert creator.fakes.life[creator.jobs[0]][-1] == "CANCELLING"
    else:
        assert sorted(creator.ends()) == [("key", "CANCELLED"), ("stop", "CANCELLED")]
        assert creator.jobs == []


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_flag_that_comes_while_the_call_is_open_is_acted_on(
    creator: Creator, one_by_one: bool
) -> None:
    """The run that holds the answer links the job, and cancels it at once.

    Also if it admits requests one by one, because the table has refused what another one needs.
    """

    class Slow(FakeApi):
        def create_job(self, *asked: Any, **options: Any) -> Job:
            job = super().create_job(*asked, **options)
            creator.api = lambda: FakeApi(creator.fakes)
            creator.deliver([creator.message("stop", action="cancel", cancelRequestKey="key")])
            return job

    if one_by_one:
        creator.store = Refusing
        creator.send("bad", **CREATE)
    creator.api = lambda: Slow(creator.fakes)
    creator.send(**CREATE)
    creator.work()
    assert creator.ends() == [("key", "CREATED"), ("stop", "CANCELLING")]
    assert creator.fakes.life[creator.jobs[0]][-1] == "CANCELLING"


@pytest.mark.parametrize("by", ["jobId", "cancelRequestKey"])
def test_cancel_after_the_end_is_accepted_as_already_final(creator: Creator, by: str) -> None:
    """It is not an error."""
    creator.send(**CREATE)
    creator.work()
    (job,) = creator.jobs
    creator.finish()
    creator.send("stop", action="cancel", **{by: job if by == "jobId" else "key"})
    creator.work()
    assert creator.ends()[-1] == ("stop", "ALREADY_FINAL")
    assert creator.fakes.dead_letter_queue == []


def test_cancel_of_an_unknown_job_is_rejected(creator: Creator) -> None:
    """At once, with the reason."""
    creator.send("stop", action="cancel", jobId="404")
    creator.work()
    assert creator.ends() == [("stop", "NOT_FOUND")]
    assert "the service has no job '404'" in creator.fakes.dead_letter_queue[0].reason


def test_cancel_of_an_unknown_request_is_rejected_after_a_while(creator: Creator) -> None:
    """Its request may still arrive for fifteen minutes; after that, it would count as new."""
    creator.send("stop", action="cancel", cancelRequestKey="never-sent")
    began = creator.fakes.now
    creator.until_ended()
    assert creator.ends() == [("stop", "NOT_FOUND")]
    assert 15 <= (creator.fakes.now - began) / MINUTE_MS <= 18
    creator.send("never-sent", **CREATE)
    creator.work()
    assert creator.ends()[-1] == ("never-sent", "CREATED")


# -- rejections ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ("{not JSON", ["(body)"]),
        ("[1]", ["(body)"]),
        ('{"job": {"schema": {"name": "s"}}}', ["job.destination"]),
        (
            '{"job": {"destination": {"datsetId": "d"}, "schema": {}, "filter": {"segments": []}}}',
            [
                "job.destination.datasetId",
                "job.destination.datsetId",
                "job.schema.name",
                "job.filter.segments",
            ],
        ),
        ('{"action": "cancel"}', ["(body)"]),
        (
            '{"sandboxName": "no", "job": {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}}',
            ["sandboxName"],
        ),
        (json.dumps({"job": {**CREATE["job"], "fields": "x" * 262_144}}), ["(body)"]),
    ],
)
def test_a_bad_request_is_rejected_at_once_naming_every_wrong_field(
    creator: Creator, body: str, fields: list[str]
) -> None:
    """No call to the service, no retry, a dead letter with the reason, an event with the fields."""
    message = creator.enqueue(creator.raw(body))
    creator.work()
    assert creator.ends() == [(message.message_id, "INVALID")]
    assert sorted(problem["field"] for problem in creator.last()["problems"]) == sorted(fields)
    (letter,) = creator.fakes.dead_letter_queue
    assert (letter.body, letter.request_key) == (body, message.message_id)
    assert fields[0] in letter.reason
    assert creator.last()["orgId"] == "ORG@AdobeOrg"
    assert not {"create", "list", "get", "delete"} & creator.fakes.calls.keys()
    creator.enqueue(message)
    creator.work()
    assert creator.ends() == [(message.message_id, "INVALID")]
    assert len(creator.fakes.dead_letter_queue) == 1


@pytest.mark.parametrize("named", ["", " ", "x" * 3_000, None, "no-such"])
def test_the_record_of_a_bad_request_is_in_a_sandbox_of_the_settings(
    creator: Creator, named: str | None
) -> None:
    """Whatever its message names: the sandbox is a key of an index, which takes not every text."""
    message = creator.enqueue(creator.raw(json.dumps({**CREATE, "sandboxName": named})))
    creator.work()
    assert creator.ends() == [(message.message_id, "INVALID")]
    assert creator.record(key_of_rejected(message.message_id, message.body)).sandbox == "prod"


def test_an_organisation_unknown_at_intake_is_in_the_final_event(creator: Creator) -> None:
    """The secret could not be read for a while; the final event still names the organisation."""

    class Locked(FakeApi):
        def org_id(self) -> str:
            raise RetryLater("the secret can't be read")

    creator.max_open = 0
    creator.api = lambda: Locked(creator.fakes)
    creator.send(**CREATE)
    creator.work()
    assert creator.record().org_id is None
    creator.api = lambda: FakeApi(creator.fakes)
    creator.max_open = 5
    creator.until_ended()
    assert creator.last()["orgId"] == "ORG@AdobeOrg"


def test_a_body_that_is_too_large_names_the_limit(creator: Creator) -> None:
    """252 KB: a request is kept in an item of the table, and its dead letter has to fit."""
    creator.enqueue(creator.raw(json.dumps({"job": {**CREATE["job"], "fields": "é" * 140_000}})))
    creator.work()
    assert "the limit is 258,048 (252 KB)" in creator.last()["reason"]


def test_a_poison_message_costs_nobody_but_itself(creator: Creator) -> None:
    """One that fails for its own reasons is rejected at its fifth receive; its batch succeeds."""
    creator.send("good", **CREATE)
    bad = creator.send("bad", **CREATE)
    processor_of = creator.processor

    def poisoned() -> Any:
        processor = processor_of()
        sort = processor._intake._sort

        def strict(message: Any, *rest: Any) -> None:
            if message.message_id == bad.message_id:
                raise KeyError("nobody foresaw this")
            sort(message, *rest)

        processor._intake._sort = strict  # type: ignore[method-assign]
        return processor

    creator.processor = poisoned  # type: ignore[method-assign]
    creator.work()
    assert creator.ends() == [("good", "CREATED")]
    for _ in range(4):
        creator.fakes.now += 13 * MINUTE_MS
        creator.work()
    assert creator.ends() == [("good", "CREATED"), ("bad", "UNEXPECTED")]
    (letter,) = creator.fakes.dead_letter_queue
    assert letter.body == bad.body
    assert creator.fakes.queue == []


@pytest.mark.parametrize("action", ["create", "cancel"])
def test_a_request_whose_item_is_refused_stops_nobody(creator: Creator, action: str) -> None:
    """Whatever DynamoDB's reason: it is put off, and those behind it get their jobs."""
    creator.sweep()
    creator.store = Refusing
    asked = CREATE if action == "create" else {"action": "cancel", "jobId": "1"}
    creator.send("bad", **asked)
    for key in ("a", "b"):
        creator.send(key, **asking(fields=key))
    creator.work()
    assert creator.ends() == [("a", "CREATED"), ("b", "CREATED")]
    assert creator.waiting() == ["bad"]
    creator.store = FakeStore
    creator.minutes(20)
    assert creator.ends()[-1][0] == "bad"


def test_large_requests_are_admitted_in_parts(creator: Creator) -> None:
    """No transaction exceeds DynamoDB's limit of 4 MB, bodies included."""
    creator.max_open = 0
    for number in range(20):
        creator.send(f"k{number}", **asking(fields=f"f{number}" + "x" * 250_000))
    creator.work()
    creator.max_open = 20
    creator.sweep()
    before = creator.fakes.calls["transact"]
    creator.work()
    assert sorted(creator.ends()) == sorted((f"k{n}", "CREATED") for n in range(20))
    assert creator.fakes.calls["transact"] - before == 2 * 3  # noted, linked, settled


def test_one_member_that_is_outrun_stops_no_other(creator: Creator) -> None:
    """A request that another run changes meanwhile is left out; the others get their jobs."""
    creator.max_open = 1
    busy = creator.fakes.create("prod")
    creator.sweep()
    for key in ("a", "b", "c"):
        creator.send(key, **asking(fields=key))
    creator.work()
    creator.fakes.move("prod", busy.body["id"], "SUCCEEDED")
    creator.sweep()
    creator.max_open = 5

    def cancelled_meanwhile() -> None:
        creator.on_attempt = lambda: None
        creator.max_open = 0  # this run admits none
        creator.deliver([creator.message("stop", action="cancel", cancelRequestKey="b")])
        creator.max_open = 5

    creator.on_attempt = cancelled_meanwhile
    creator.work()
    assert sorted(creator.ends()) == [
        ("a", "CREATED"),
        ("b", "CANCELLED"),
        ("c", "CREATED"),
        ("stop", "CANCELLED"),
    ]


def outrun_once(creator: Creator, *, max_open: int) -> None:
    """Before attempts are next noted, another run notes its own: as many as it may."""

    def other_run() -> None:
        creator.on_attempt = lambda: None
        mine, creator.max_open = creator.max_open, max_open
        creator.deliver([creator.raw(wake_up_body("prod"))])
        creator.max_open = mine

    creator.on_attempt = other_run


def test_a_run_leaves_its_requests_to_another_that_was_faster(creator: Creator) -> None:
    """The gate shows an attempt for each of them: the run that noted them handles the rest."""
    creator.send("a", **CREATE)
    creator.send("b", **CREATE)
    outrun_once(creator, max_open=5)
    before = creator.fakes.calls["query"]
    creator.work()
    assert sorted(creator.ends()) == [("a", "CREATED"), ("b", "CREATED")]
    assert creator.fakes.calls["query"] - before == 2  # one by each run


def test_a_run_goes_on_for_those_of_its_requests_that_another_did_not_take(
    creator: Creator,
) -> None:
    """There was no capacity for the last of them when the other run counted; now there is."""
    creator.send("a", **CREATE)
    creator.send("b", **CREATE)
    outrun_once(creator, max_open=1)
    creator.work()
    assert sorted(creator.ends()) == [("a", "CREATED"), ("b", "CREATED")]


def test_runs_that_meet_at_the_gate_wait_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In proportion to the duration of a round, up to a bound; at random, so that they separate."""
    monkeypatch.setattr(process.random, "uniform", lambda least, most: (least, most))
    assert [process._pause_s(n, 0.2) for n in (1, 2, 3, 9)] == [
        (0, 0.4),
        (0, 0.8),
        (0, 1.6),
        (0, 3),
    ]
    assert process._pause_s(1, 0.0) == (0, 0.02)


def test_a_run_that_was_woken_goes_on_for_whoever_waits(creator: Creator) -> None:
    """It has no requests of its own to handle."""
    creator.max_open = 0
    creator.send("a", **CREATE)
    creator.send("b", **CREATE)
    creator.work()
    creator.max_open = 5
    outrun_once(creator, max_open=1)
    creator.deliver([creator.raw(wake_up_body("prod"))])
    assert sorted(creator.ends()) == [("a", "CREATED"), ("b", "CREATED")]


def test_what_the_service_refuses_for_good_is_rejected(creator: Creator) -> None:
    """With its reason, and without a second try; the others of its batch are created."""
    creator.send("bad", job={"destination": {"datasetId": "refused"}, "schema": {"name": "s"}})
    creator.send("good", **CREATE)
    creator.work()
    assert sorted(creator.ends()) == [("bad", "REFUSED"), ("good", "CREATED")]
    assert creator.fakes.dead_letter_queue[0].reason == "REFUSED: no such dataset"
    assert creator.fakes.calls["create"] == 2
    assert not creator.gate().hold.length_ms


def test_a_redriven_request_is_tried_again(creator: Creator) -> None:
    """Corrected or not: each redrive ends once more, with its own event id; its copies do not."""
    refused = {"destination": {"datasetId": "refused"}, "schema": {"name": "s"}}
    creator.send(job=refused)
    creator.work()
    creator.redrive(creator.fakes.dead_letter_queue[0])
    creator.work()
    (letter,) = creator.fakes.dead_letter_queue
    copy = creator.raw(json.dumps({"requestKey": "key", **CREATE}), letter.attributes)
    creator.redrive(letter, copy.body)
    creator.work()
    creator.enqueue(copy)
    creator.work()
    assert creator.ends() == [("key", "REFUSED"), ("key", "REFUSED"), ("key", "CREATED")]
    told = [event.detail["rejectedBefore"] for event in creator.fakes.published["bus"]]
    assert told == [False, True, True]
    assert len({event.id for event in creator.fakes.published["bus"]}) == 3
    assert len(creator.jobs) == 1


def test_a_redriven_request_without_a_key_keeps_the_one_it_had(creator: Creator) -> None:
    """Delivered twice, or corrected in two copies, it makes one job."""
    message = creator.enqueue(creator.raw('{"destination": {}, "schema": {"name": "s"}}'))
    creator.work()
    (letter,) = creator.fakes.dead_letter_queue
    mended = json.dumps(CREATE["job"])
    creator.enqueue(creator.raw(mended, letter.attributes))
    creator.redrive(letter, mended)
    creator.work()
    assert creator.ends() == [(message.message_id, "INVALID"), (message.message_id, "CREATED")]
    assert len(creator.jobs) == 1


def test_a_dead_letter_that_can_t_be_sent_is_sent_later(creator: Creator) -> None:
    """The sinks that have received the rejection receive it once."""
    creator.send(job={"destination": {"datasetId": "refused"}, "schema": {"name": "s"}})
    creator.fakes.plan([("send", "is throttled")])
    creator.until_ended()
    assert creator.ends() == [("key", "REFUSED")]
    assert len(creator.fakes.dead_letter_queue) == 1


def test_a_message_rejected_at_intake_is_done_when_its_dead_letter_is_sent(
    creator: Creator,
) -> None:
    """Until then it is delivered again, and its rejection is published once."""
    message = creator.enqueue(creator.raw("{"))
    creator.fakes.plan([("send", "is throttled")])
    (report,) = creator.work()
    assert report
    assert report.failed == [message.message_id]
    creator.until_ended()
    assert creator.ends() == [(message.message_id, "INVALID")]
    assert len(creator.fakes.dead_letter_queue) == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"requestKey": "\\ud800", "job": {}}',
        '{"requestKey": "a\\u0001b", "job": {}}',
        '{"requestKey": "k", "correlationId": "\\ud800\\u0007", "job": {}}',
        '{"requestKey": "k", "job": {}, "x\\u0000\\ud800": 1}',
        '{"requestKey": "k", "sandboxName": "\\u001b", "job": {}}',
    ],
)
def test_text_that_can_t_be_passed_on_is_rejected_like_any_other(
    creator: Creator, body: str
) -> None:
    """Half a surrogate pair can't be encoded, and SNS and SQS refuse control characters."""
    creator.enqueue(creator.raw(body))
    creator.work()
    for event in creator.fakes.published["topic"]:
        json.dumps(event.detail, ensure_ascii=False).encode()
    (letter,) = creator.fakes.dead_letter_queue
    assert letter.request_key.isprintable()
    assert letter.reason.encode()
