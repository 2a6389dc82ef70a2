"""How requests are fulfilled: one job each, waiting, cancels, rejections; in a world in memory."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from export_jobs.client.errors import BadCredentials, Forbidden, Refused, RetryLater
from export_jobs.creator.fulfil import UNAVAILABLE, Fulfiller, Rules
from export_jobs.creator.message import Message
from export_jobs.messages import subject
from export_jobs.monitor.decide import Policy
from export_jobs.monitor.sweep import Sweeper
from support.faults import ProcessDied
from support.world import MemoryAnnouncer, MemoryApi, MemoryQueues, MemoryTable, ServiceJob, World

SECOND_MS = 1_000
HOUR_MS = 3_600_000
CREATE = {"job": {"destination": {"datasetId": "d"}, "schema": {"name": "s"}}}


class Creator:
    """A creator and its queue in a world."""

    def __init__(self, *, max_open: int = 5) -> None:
        self.world = World()
        self.api = MemoryApi(self.world)
        self.rules = Rules(sandboxes=("prod", "dev"), max_open=max_open)
        self.time_left_s = 300.0
        self._ids = itertools.count()

    def fulfiller(self) -> Fulfiller:
        return Fulfiller(
            api=self.api,
            ledger=MemoryTable(self.world),
            queues=MemoryQueues(self.world),
            announcer=MemoryAnnouncer(self.world),
            rules=self.rules,
            clock=self.world.clock,
            time_left_s=lambda: self.time_left_s,
            new_id=lambda: f"id-{next(self._ids)}",
        )

    def send(self, key: str | None = "key", **envelope: Any) -> Message:
        asked = {**envelope, **({"requestKey": key} if key else {})}
        message = Message(json.dumps(asked), f"m{next(self._ids)}", self.world.now)
        self.world.queue.append((self.world.now, message))
        return message

    def work(self) -> list[str]:
        """Works off what can be seen; what came of each message."""
        ready = [entry for entry in self.world.queue if entry[0] <= self.world.now]
        self.world.queue = [entry for entry in self.world.queue if entry not in ready]
        return [self.fulfiller().fulfil(message) for _, message in ready]

    def work_together(self, order: int) -> None:
        """Works off all messages at the same time, their calls in an order drawn by `order`."""
        messages, self.world.queue = [m for _, m in self.world.queue], []
        self.world.turns.run(
            random.Random(order),
            [partial(self.fulfiller().fulfil, message) for message in messages],
        )

    def work_until_done(self, *, rounds: int = 50) -> None:
        for _ in range(rounds):
            if not self.world.queue:
                return
            self.world.now = max(self.world.now, min(at for at, _ in self.world.queue))
            self.work()
        pytest.fail("requests wait for ever")

    def sweep(self) -> None:
        report = Sweeper(
            api=MemoryApi(self.world),
            table=MemoryTable(self.world),
            announcer=MemoryAnnouncer(self.world),
            policy=Policy(),
            clock=self.world.clock,
            time_left_s=lambda: 300.0,
            workers=1,
        ).sweep("prod")
        assert report.problems == []

    def ends(self) -> list[tuple[str, str]]:
        """Key and outcome of each request that has ended, as the bus was told."""
        return [
            (event.detail["requestKey"], event.detail["outcome"])
            for event in self.world.told["bus"]
            if event.type.startswith("Export Request")
        ]

    def last(self) -> dict[str, Any]:
        return dict(self.world.told["bus"][-1].detail)

    def finish(self, status: str = "SUCCEEDED") -> None:
        for number, job in list(self.world.jobs["prod"].items()):
            if job.body["status"] == "CANCELLING":
                self.world.move("prod", number, "CANCELLED")
            elif job.body["status"] in {"NEW", "PROCESSING"}:
                self.world.move("prod", number, status)

    @property
    def jobs(self) -> list[str]:
        return list(self.world.life)


@pytest.fixture
def creator() -> Creator:
    return Creator()


# -- one request, one job ------------------------------------------------------------------------


def test_a_request_becomes_a_job(creator: Creator) -> None:
    """What was asked for is sent as it was, and the bus is told with the correlation id."""
    creator.send(correlationId="campaign", **CREATE)
    assert creator.work() == ["CREATED"]
    (job,) = creator.world.jobs["prod"].values()
    assert job.body["destination"] == {"datasetId": "d"}
    assert creator.last()["jobId"] == job.body["id"]
    assert creator.last()["correlationId"] == "campaign"


def test_a_bare_body_is_a_request_of_its_own(creator: Creator) -> None:
    """Without a request key, the message's id serves: a redelivery makes no second job."""
    message = creator.send(key=None, **CREATE["job"])
    creator.world.queue *= 2
    assert creator.work() == ["CREATED", "CREATED"]
    assert len(creator.jobs) == 1
    assert creator.ends() == [(message.key, "CREATED")]


def test_the_same_key_in_two_messages_makes_one_job(creator: Creator) -> None:
    """Whether they ask alike by the letter or only in what they mean."""
    creator.send(**CREATE)
    other = {"schema": {"name": "s"}, "destination": {"datasetId": "d"}}
    creator.send(job=other)
    creator.work()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


@pytest.mark.parametrize("echoes", [True, False])
@pytest.mark.parametrize("strike", ["times out after", "answers 5xx", "dies after"])
def test_a_lost_answer_makes_no_second_job(creator: Creator, echoes: bool, strike: Any) -> None:
    """The job is found among those created since, by our request id or by what it was asked for."""
    creator.world.echoes_request_id = echoes
    message = creator.send(**CREATE)
    creator.world.create("prod", destination={"datasetId": "another"}, schema={"name": "s"})
    creator.world.plan([("create", strike)])
    try:
        creator.work()
    except ProcessDied:
        creator.world.queue.append((creator.world.now, message))
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 2
    assert creator.world.jobs["prod"][creator.last()["jobId"]].body["destination"] == {
        "datasetId": "d"
    }


@pytest.mark.parametrize("echoes", [True, False])
def test_equal_requests_at_the_same_moment_get_a_job_each(echoes: bool) -> None:
    """Two keys, one body, both answers lost, in every drawn order: two jobs, one for each."""
    for order in range(40):
        creator = Creator()
        creator.world.echoes_request_id = echoes
        for key in ("a", "b"):
            creator.send(key=key, **CREATE)
        creator.world.plan([("create", "times out after")])
        creator.work_together(order)
        creator.world.plan([("create", "times out after")])
        creator.work_until_done()
        assert sorted(creator.ends()) == [("a", "CREATED"), ("b", "CREATED")]
        jobs = {event.detail["jobId"] for event in creator.world.told["bus"]}
        assert jobs == set(creator.jobs)
        assert len(jobs) == 2


def test_equal_requests_are_never_taken_for_one_another() -> None:
    """A sweep that sees the job while one of them waits for a lost answer names the right request."""
    for order in range(40):
        creator = Creator()
        creator.sweep()
        creator.send(key="a", **CREATE)
        creator.world.plan([("create", "times out before")])
        creator.work()
        creator.send(key="b", **CREATE)
        message = creator.world.queue.pop()[1]
        creator.world.turns.run(
            random.Random(order),
            [partial(creator.fulfiller().fulfil, message), *[creator.sweep] * 3],
        )
        creator.work_until_done()
        creator.sweep()
        assert sorted(creator.ends()) == [("a", "CREATED"), ("b", "CREATED")]
        named = {(e.detail["jobId"], e.detail["requestKey"]) for e in creator.world.told["bus"]}
        assert len(named) == len(creator.jobs) == 2


@pytest.mark.parametrize("found", [True, False])
def test_an_attempt_whose_message_is_gone_holds_up_nobody(found: bool) -> None:
    """It is settled by whoever meets it: linked to its job, or dropped where there is none."""
    creator = Creator(max_open=2 if found else 1)
    creator.send("gone", correlationId="campaign-42", **CREATE)
    creator.world.plan([("create", "times out after" if found else "times out before")])
    creator.work()
    creator.world.queue.clear()
    creator.world.now += 2 * HOUR_MS
    creator.finish()
    creator.send("next", **CREATE)
    creator.work_until_done()
    expected = [("gone", "CREATED")] if found else []
    assert creator.ends() == [*expected, ("next", "CREATED")]
    if found:
        told = creator.world.told["bus"][0].detail
        assert (told["correlationId"], told["jobId"]) == ("campaign-42", creator.jobs[0])
        assert told["datasetId"] == "d"


def test_a_cancel_of_a_request_whose_message_is_gone_is_carried_out(creator: Creator) -> None:
    """It does not wait for ever for a creation that nobody is at."""
    creator.send("gone", **CREATE)
    creator.world.plan([("create", "times out after")])
    creator.work()
    creator.world.queue.clear()
    creator.world.now += 2 * HOUR_MS
    creator.send("stop", action="cancel", cancelRequestKey="gone")
    creator.work_until_done()
    assert creator.ends() == [("gone", "CREATED"), ("stop", "CANCELLING")]


@pytest.mark.parametrize("shown", ["2024-01-01T00:00:00.000Z", "2024-01-01T01:00:00+01:00"])
def test_a_lost_answer_is_found_however_the_service_writes_times(
    creator: Creator, shown: str
) -> None:
    """The same moment is the same request."""
    asked = {**CREATE["job"], "filter": {"fromIngestTimestamp": "2024-01-01T00:00:00Z"}}
    creator.send(job=asked)
    creator.world.plan([("create", "times out after")])
    creator.work()
    job = creator.world.jobs["prod"][creator.jobs[0]]
    job.body = {**job.body, "filter": {"fromIngestTimestamp": shown}}
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1


def test_an_export_that_somebody_else_made_just_before_is_not_taken_for_ours(
    creator: Creator,
) -> None:
    """Without a shown request id, a job created since the attempt is the likelier one."""
    theirs = creator.world.create("prod", **CREATE["job"]).body["id"]
    creator.world.now += 30 * SECOND_MS
    creator.send(**CREATE)
    creator.world.plan([("create", "times out after")])
    creator.work_until_done()
    ours = next(job for job in creator.jobs if job != theirs)
    assert creator.last()["jobId"] == ours


def test_a_job_whose_creation_answer_has_no_time_is_linked_to_its_one_record(
    creator: Creator,
) -> None:
    """The table's key holds the creation time; the monitor may have made the record before."""

    class Timeless(MemoryApi):
        def create_job(self, *asked: Any, **options: Any) -> Any:
            job = super().create_job(*asked, **options)
            creator.sweep()
            return job.model_copy(update={"creation_time": None})

    creator.sweep()
    creator.api = Timeless(creator.world)
    creator.send(**CREATE)
    creator.work()
    creator.finish()
    creator.sweep()
    statuses = [
        (event.detail["sequence"], event.detail["status"])
        for event in creator.world.told["bus"]
        if event.detail.get("sequence")
    ]
    assert statuses == [(1, "NEW"), (2, "SUCCEEDED")]


def test_an_outage_of_the_table_is_waited_out(creator: Creator) -> None:
    """However long: it costs no receives, so it never leads to the dead letters."""
    creator.send(**CREATE)
    for _ in range(30):
        creator.world.now = max(creator.world.now, *(at for at, _ in creator.world.queue))
        creator.world.strikes = {"get item": "is throttled"}
        assert creator.work() == [UNAVAILABLE]
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]
    assert creator.world.dead_letters == []


def test_an_attempt_without_a_job_is_given_up_after_a_while(creator: Creator) -> None:
    """The create call never arrived: the job is created once it had every chance to show up."""
    creator.send(**CREATE)
    creator.world.plan([("create", "times out before")])
    began = creator.world.now
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]
    assert len(creator.jobs) == 1
    assert creator.world.now - began >= creator.rules.settle_ms


def test_a_changed_body_under_a_used_key_is_rejected(creator: Creator) -> None:
    """It says so; the first request's end stands."""
    creator.send(**CREATE)
    creator.work()
    changed = {"destination": {"datasetId": "other"}, "schema": {"name": "s"}}
    creator.send(correlationId="second", job=changed)
    creator.work()
    assert creator.ends() == [("key", "CREATED"), ("key", "KEY_REUSED")]
    assert "was used before for another request" in creator.last()["reason"]
    assert creator.last()["correlationId"] == "second"
    assert len(creator.world.dead_letters) == 1


def test_every_event_of_the_job_names_its_request(creator: Creator) -> None:
    """Also when the monitor sees the job before the creator has noted it."""
    creator.sweep()
    message = creator.send(correlationId="campaign", **CREATE)
    creator.world.plan([("create", "dies after")])
    with pytest.raises(ProcessDied):
        creator.work()
    creator.sweep()
    creator.finish()
    creator.sweep()
    creator.world.queue.append((creator.world.now, message))
    creator.work_until_done()
    told = [e.detail for e in creator.world.told["bus"]]
    assert [detail.get("status") for detail in told] == ["NEW", "SUCCEEDED", None]
    assert {detail["requestKey"] for detail in told} == {"key"}
    assert {detail["correlationId"] for detail in told} == {"campaign"}
    assert len({detail["jobId"] for detail in told}) == 1


# -- waiting -------------------------------------------------------------------------------------


def delays_s(creator: Creator) -> list[int]:
    return [round((at - creator.world.now) / SECOND_MS) for at, _ in creator.world.queue]


class Down(MemoryApi):
    """A service that answers every create call with the same failure, until it is mended."""

    failure: Exception | None = None

    def create_job(self, *args: Any, **options: Any) -> Any:
        if self.failure:
            raise self.failure
        return super().create_job(*args, **options)


@pytest.mark.parametrize(
    "failure", [RetryLater("429"), BadCredentials("expired"), Forbidden("no permission")]
)
def test_six_hours_of_outage_are_waited_out(creator: Creator, failure: Exception) -> None:
    """Outages and bad credentials never lead to the dead letters, and no receive count runs out."""
    down = Down(creator.world)
    down.failure = failure
    creator.api = down
    creator.send(**CREATE)
    until = creator.world.now + 6 * HOUR_MS
    tries = 0
    while creator.world.now < until:
        assert creator.work() == ["WAITS"]
        (entry,) = creator.world.queue
        assert 0 < entry[0] - creator.world.now <= 900 * SECOND_MS
        creator.world.now = entry[0]
        tries += 1
    assert tries < 100
    down.failure = None
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]
    assert creator.world.dead_letters == []


def test_retry_after_is_honoured(creator: Creator) -> None:
    """To the second; where it is longer than SQS can delay a message, by not calling before."""
    down = Down(creator.world)
    creator.api = down
    for asked_s, waited_s in ((7.2, 8), (600.0, 600), (86_400.0, 900)):
        creator.world.queue.clear()
        down.failure = RetryLater("429", retry_after_s=asked_s)
        creator.send(key=f"after-{asked_s}", **CREATE)
        creator.work()
        assert delays_s(creator) == [waited_s]
    creator.api = MemoryApi(creator.world)
    asked_at = creator.world.now
    creator.work_until_done(rounds=200)
    assert creator.ends() == [("after-86400.0", "CREATED")]
    assert creator.world.now - asked_at >= 86_400 * SECOND_MS - SECOND_MS
    assert creator.world.calls["create"] == 1


def test_backoff_doubles_up_to_five_minutes(creator: Creator) -> None:
    """A long outage costs few calls."""
    down = Down(creator.world)
    down.failure = RetryLater("503")
    creator.api = down
    creator.send(**CREATE)
    waits = []
    for _ in range(8):
        creator.work()
        waits += delays_s(creator)
        creator.world.now = creator.world.queue[0][0]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]


def test_a_request_that_waits_past_its_time_is_rejected(creator: Creator) -> None:
    """`expiresAt`: not created a moment after, and said to have expired."""
    down = Down(creator.world)
    down.failure = RetryLater("503")
    creator.api = down
    creator.send(expiresAt="2023-11-14T23:00:00Z", **CREATE)
    for _ in range(30):
        if creator.world.queue:
            creator.work()
            creator.world.now = max([creator.world.now, *(at for at, _ in creator.world.queue)])
    assert creator.ends() == [("key", "EXPIRED")]
    assert [key for _, key, _ in creator.world.dead_letters] == ["key"]
    assert creator.jobs == []


def test_the_cap_makes_requests_wait_their_turn() -> None:
    """At most so many jobs are open at once; the rest wait and are done, none is lost."""
    creator = Creator(max_open=3)
    for number in range(12):
        creator.send(key=f"k{number}", job={**CREATE["job"], "fields": f"f{number}"})
    for _ in range(60):
        creator.work()
        creator.sweep()
        creator.finish()
        creator.sweep()
        creator.world.now += 60 * SECOND_MS
    assert creator.world.most_open["prod"] == 3
    assert sorted(creator.ends()) == sorted((f"k{n}", "CREATED") for n in range(12))


class Busy(MemoryApi):
    """A service that takes ten create calls a minute and asks for a minute's peace after them."""

    taken = 0
    since = 0

    def create_job(self, *args: Any, **options: Any) -> Any:
        if self._world.now - self.since > 60 * SECOND_MS:
            self.since, self.taken = self._world.now, 0
        self.taken += 1
        if self.taken > 10:
            raise RetryLater("429", retry_after_s=60)
        return super().create_job(*args, **options)


def test_a_burst_of_a_thousand_requests_is_worked_off() -> None:
    """Within the cap and the service's rate, and none is lost."""
    creator = Creator(max_open=20)
    creator.api = Busy(creator.world)
    for number in range(1_000):
        creator.send(key=f"k{number}", job={**CREATE["job"], "fields": f"f{number}"})
    for _minute in range(500):
        if not creator.world.queue:
            break
        creator.world.now += 60 * SECOND_MS
        creator.work()
        creator.finish()
        creator.sweep()
    assert sorted(creator.ends()) == sorted((f"k{n}", "CREATED") for n in range(1_000))
    assert len(creator.jobs) == 1_000
    assert creator.world.most_open["prod"] <= 20
    assert creator.world.dead_letters == []


def test_the_cap_holds_among_runs_at_the_same_moment() -> None:
    """What others are just creating counts, in every drawn order of their calls."""
    for order in range(40):
        creator = Creator(max_open=1)
        for key in ("a", "b", "c"):
            creator.send(key=key, job={**CREATE["job"], "fields": key})
        creator.work_together(order)
        assert creator.world.most_open["prod"] == 1
        assert len(creator.world.queue) == 2


def test_jobs_that_others_created_count_to_the_cap() -> None:
    """The sandbox slows down by all open exports, not only by ours."""
    creator = Creator(max_open=2)
    for _ in range(2):
        creator.world.create("prod")
    creator.sweep()
    creator.send(**CREATE)
    assert creator.work() == ["WAITS"]
    creator.finish()
    creator.sweep()
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]


def test_with_no_time_left_a_request_waits(creator: Creator) -> None:
    """Nothing is begun that can't be ended before the function's time limit."""
    creator.send(**CREATE)
    creator.time_left_s = 5.0
    assert creator.work() == ["WAITS"]
    assert creator.world.calls.keys() == {"send"}
    creator.time_left_s = 300.0
    creator.work_until_done()
    assert creator.ends() == [("key", "CREATED")]


# -- cancel --------------------------------------------------------------------------------------


def test_cancel_by_job_while_it_runs(creator: Creator) -> None:
    """The job is marked for cancelling, and its end is the monitor's to announce."""
    creator.send(**CREATE)
    creator.work()
    (job,) = creator.jobs
    creator.send(key="stop", action="cancel", jobId=job)
    creator.work()
    assert creator.ends()[-1] == ("stop", "CANCELLING")
    assert creator.world.life[job][-1] == "CANCELLING"


def test_cancel_by_request_while_its_job_runs(creator: Creator) -> None:
    """Whoever asked for the export needs no job id."""
    creator.send(**CREATE)
    creator.work()
    creator.send(key="stop", action="cancel", cancelRequestKey="key")
    creator.work()
    assert creator.ends()[-1] == ("stop", "CANCELLING")


def test_cancel_by_request_goes_to_the_sandbox_of_its_job(creator: Creator) -> None:
    """Which is not the one that a cancel without a sandbox is for; ids may be the same in both."""
    creator.send(sandboxName="dev", **CREATE)
    creator.work()
    (job,) = creator.jobs
    creator.world.jobs["prod"][job] = ServiceJob(dict(creator.world.jobs["dev"][job].body))
    creator.send("stop", action="cancel", cancelRequestKey="key")
    creator.work()
    assert creator.ends()[-1] == ("stop", "CANCELLING")
    assert creator.last()["sandboxName"] == "dev"
    assert creator.world.jobs["dev"][job].body["status"] == "CANCELLING"
    assert creator.world.jobs["prod"][job].body["status"] == "NEW"


def test_cancel_that_was_carried_out_before_a_crash_is_accepted(creator: Creator) -> None:
    """Also by a service that refuses to cancel a job that is being cancelled."""

    class Strict(MemoryApi):
        def cancel_job(self, sandbox: str, job_id: str) -> None:
            if creator.world.jobs[sandbox][job_id].body["status"] == "CANCELLING":
                raise Refused("it is being cancelled")
            super().cancel_job(sandbox, job_id)

    creator.api = Strict(creator.world)
    creator.send(**CREATE)
    creator.work()
    message = creator.send("stop", action="cancel", jobId=creator.jobs[0])
    creator.world.plan([("delete", "dies after")])
    with pytest.raises(ProcessDied):
        creator.work()
    creator.world.queue = [(creator.world.now, message)]
    creator.work_until_done()
    assert creator.ends()[-1] == ("stop", "CANCELLING")


def test_cancel_before_the_request_has_arrived(creator: Creator) -> None:
    """SQS keeps no order: a request that comes after its cancellation is never carried out."""
    creator.send(key="stop", action="cancel", cancelRequestKey="key")
    assert creator.work() == ["WAITS"]
    creator.send(**CREATE)
    creator.work_until_done()
    assert sorted(creator.ends()) == [("key", "CANCELLED"), ("stop", "CANCELLED")]
    assert creator.jobs == []
    assert creator.world.dead_letters == []


def test_cancel_while_the_request_waits() -> None:
    """A request that waits for the cap is cancelled there."""
    creator = Creator(max_open=1)
    creator.world.create("prod")
    creator.sweep()
    creator.send(**CREATE)
    assert creator.work() == ["WAITS"]
    creator.send(key="stop", action="cancel", cancelRequestKey="key")
    creator.work_until_done()
    assert sorted(creator.ends()) == [("key", "CANCELLED"), ("stop", "CANCELLED")]
    assert len(creator.jobs) == 1


@pytest.mark.parametrize("by", ["jobId", "cancelRequestKey"])
def test_cancel_after_the_end_says_so(creator: Creator, by: str) -> None:
    """That is no error."""
    creator.send(**CREATE)
    creator.work()
    (job,) = creator.jobs
    creator.finish()
    creator.send(key="stop", action="cancel", **{by: job if by == "jobId" else "key"})
    creator.work()
    assert creator.ends()[-1] == ("stop", "ALREADY_FINAL")
    assert creator.world.dead_letters == []


def test_cancel_of_an_unknown_job_is_rejected(creator: Creator) -> None:
    """At once, with the reason."""
    creator.send(key="stop", action="cancel", jobId="404")
    assert creator.work() == ["REJECTED"]
    assert creator.ends() == [("stop", "NOT_FOUND")]
    assert "knows no job '404'" in creator.world.dead_letters[0][2]


def test_cancel_of_an_unknown_request_is_rejected_after_a_while(creator: Creator) -> None:
    """Its request may still be on the way; after fifteen minutes it is not."""
    creator.send(key="stop", action="cancel", cancelRequestKey="never-sent")
    began = creator.world.now
    creator.work_until_done()
    assert creator.ends() == [("stop", "NOT_FOUND")]
    assert creator.world.now - began >= creator.rules.unknown_ms


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
    ],
)
def test_a_bad_request_is_rejected_at_once_naming_every_wrong_field(
    creator: Creator, body: str, fields: list[str]
) -> None:
    """No call to the service, no retry, a dead letter with the reason, an event with the fields."""
    message = Message(body, "m", creator.world.now)
    assert creator.fulfiller().fulfil(message) == "REJECTED"
    assert creator.ends() == [("m", "INVALID")]
    assert sorted(problem["field"] for problem in creator.last()["problems"]) == sorted(fields)
    ((dead, key, reason),) = creator.world.dead_letters
    assert (dead.body, key) == (body, "m")
    assert fields[0] in reason
    assert not {"create", "list", "get", "delete"} & creator.world.calls.keys()


def test_what_the_service_refuses_for_good_is_rejected(creator: Creator) -> None:
    """With its reason, and without a second try."""
    creator.send(job={"destination": {"datasetId": "refused"}, "schema": {"name": "s"}})
    assert creator.work() == ["REJECTED"]
    assert creator.ends() == [("key", "REFUSED")]
    assert creator.world.dead_letters[0][2] == "REFUSED: no such dataset"
    assert creator.world.calls["create"] == 1


def test_a_redriven_request_is_tried_again(creator: Creator) -> None:
    """Mended or not: each redrive ends once more, under an event id of its own."""
    refused = {"destination": {"datasetId": "refused"}, "schema": {"name": "s"}}
    message = creator.send(job=refused)
    creator.work()
    again = replace(message, redrives=1)
    assert creator.fulfiller().fulfil(again) == "REJECTED"
    mended = replace(message, body=json.dumps({"requestKey": "key", **CREATE}), redrives=2)
    assert creator.fulfiller().fulfil(mended) == "CREATED"
    assert creator.ends() == [("key", "REFUSED"), ("key", "REFUSED"), ("key", "CREATED")]
    assert len({event.id for event in creator.world.told["bus"]}) == 3


def test_a_dead_letter_that_can_t_be_sent_is_sent_later(creator: Creator) -> None:
    """The sinks that have heard of the rejection hear it once."""
    message = creator.send(job={"destination": {"datasetId": "refused"}, "schema": {"name": "s"}})
    creator.world.plan([("send", "is throttled")])
    assert creator.work() == ["WAITS"]
    assert message.key
    creator.work_until_done()
    assert creator.ends() == [("key", "REFUSED")]
    assert len(creator.world.dead_letters) == 1


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
    message = Message(body, "m", creator.world.now)
    assert creator.fulfiller().fulfil(message) == "REJECTED"
    for event in creator.world.told["topic"]:
        json.dumps(event.detail, ensure_ascii=False).encode()
        assert subject(event).isprintable()
    ((_, key, reason),) = creator.world.dead_letters
    assert key.isprintable()
    assert reason.encode()
