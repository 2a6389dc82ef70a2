"""The fakes that the histories use: they must be no more lenient than the real services."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from export_jobs.contract.errors import RetryLater
from export_jobs.model.ports import GateMoved, QueueUnavailable
from export_jobs.model.records import Attempt, Gate, JobRecord, RequestRecord, SandboxRecord, Ticket
from export_jobs.model.steps import GateChange, SlotChange, Step
from export_jobs.model.wake_up import wake_up_body
from support.fake_store import FakeStore
from support.fakes import FakeApi, FakeDeadLetterQueue, FakeRequestQueue, Fakes

REQUEST = RequestRecord("k", "WAITING", "prod", body="{}")
TICKET = Ticket("prod", "k", "create", turn=5, sent_at=5)
ATTEMPT = Attempt("k", "export-jobs-1", noted_at=7, send_by=9, hashes={"dataset": "ab"}, rule=1)
BODY = {
    "destination": {"datasetId": "d"},
    "filter": {"segments": [{"segmentId": "s"}], "emptyProfiles": True},
    "additionalFields": {"eventList": {"fields": "f"}},
}


def recorded(fakes: Fakes) -> FakeStore:
    """A table with one waiting request."""
    table = FakeStore(fakes)
    assert table.commit("prod", [Step(requests=(REQUEST,), add_tickets=(TICKET,))]) == {0}
    return table


def noting(table: FakeStore) -> Step:
    record = table.requests(["k"])["k"]
    return Step(
        requests=(replace(record, status="CREATING"),),
        drop_tickets=(TICKET,),
        slot_change=SlotChange("note", ATTEMPT),
    )


def seen_during_a_transaction(seed: int) -> tuple[SandboxRecord, Gate]:
    """What another run reads of a sandbox while a waiting request becomes an attempt."""
    fakes = Fakes()
    table = recorded(fakes)
    step = noting(table)
    reads: list[tuple[SandboxRecord, Gate]] = []
    fakes.turns.run(
        random.Random(seed),
        [
            lambda: table.commit("prod", [step], GateChange(version=0)),
            lambda: reads.append((table.load("prod"), table.gate("prod"))),
        ],
    )
    return reads[0]


def test_a_query_may_see_a_transaction_in_part() -> None:
    """Of a ticket that becomes a slot, it sees one, the other, both or neither."""
    seen = {
        (bool(record.tickets), bool(record.gate.slots))
        for record, _ in map(seen_during_a_transaction, range(100))
    }
    assert seen == {(True, False), (False, True), (True, True), (False, False)}


def test_a_single_item_is_read_as_it_was_at_one_moment() -> None:
    """The gate that is read by its key has the version that belongs to its slots."""
    gates = [gate for _, gate in map(seen_during_a_transaction, range(100))]
    assert {(gate.version, len(gate.slots)) for gate in gates} <= {(0, 0), (1, 1)}


def test_a_query_alone_sees_what_is_there() -> None:
    """If no other run is active, no read is torn."""
    fakes = Fakes()
    table = recorded(fakes)
    assert table.load("prod").tickets == (TICKET,)
    assert table.line("prod", until=5, limit=1).tickets == (TICKET,)
    assert table.line("prod", until=4, limit=1).tickets == ()


def test_attempts_are_noted_only_by_the_gate_that_was_read() -> None:
    """Once the gate has moved, nothing of the transaction is written."""
    fakes = Fakes()
    table = recorded(fakes)
    step = noting(table)
    assert table.commit("prod", [step], GateChange(version=0)) == {0}
    other = Step(requests=(RequestRecord("other", "WAITING", "prod"),))
    with pytest.raises(GateMoved):
        table.commit("prod", [other], GateChange(version=0))
    assert table.requests(["other"]) == {}


def test_a_step_that_was_outrun_stops_no_other() -> None:
    """Its position is missing from the answer, and nothing of it is written."""
    fakes = Fakes()
    table = recorded(fakes)
    stale = Step(
        requests=(RequestRecord("k", "WAITING", "prod"),), jobs=(JobRecord("prod", "j", 100),)
    )
    fresh = Step(requests=(RequestRecord("other", "WAITING", "prod"),))
    assert table.commit("prod", [stale, Step(), fresh]) == {1, 2}
    assert table.job("prod", "j", 100) is None
    assert table.requests(["k", "other"]).keys() == {"k", "other"}


def test_a_record_must_know_what_it_changes() -> None:
    """DynamoDB's adapter writes only the difference: with a wrong one, old values would stay."""
    table = recorded(Fakes())
    record = table.requests(["k"])["k"]
    wrong = replace(record, body="{ }", stored=replace(record, body="{ }"))
    with pytest.raises(AssertionError):
        table.commit("prod", [Step(requests=(wrong,))])


def test_a_create_call_asks_before_it_is_sent() -> None:
    """If it may not be sent any more, no job is made, and the caller knows that."""
    fakes = Fakes()
    with pytest.raises(RetryLater):
        FakeApi(fakes).create_job("prod", BODY, request_id="r", may_send=lambda: False)
    assert not fakes.jobs["prod"]


def test_listings_may_omit_what_the_request_asked_for() -> None:
    """As in the listing of Adobe's own example; by its id a job shows no more."""
    fakes = Fakes(quirks={"omits"})
    api = FakeApi(fakes)
    job = api.create_job("prod", BODY, request_id="r", may_send=lambda: True)
    (listed,) = api.list_jobs("prod", limit=10).records
    for shown in (listed.whole, api.get_job("prod", job.id)):
        assert "additionalFields" not in (shown.model_extra or {})
        assert shown.filter
        assert "emptyProfiles" not in (shown.filter.model_extra or {})
        assert shown.filter.segments[0].segment_id == "s"


def test_queues_take_messages_or_say_so() -> None:
    """A wake-up reaches the request queue, a rejection the dead letters, a fault the caller."""
    fakes = Fakes()
    FakeRequestQueue(fakes).wake("prod")
    FakeDeadLetterQueue(fakes).send(
        "{}", request_key="k", record_key="k", reason="no", event_id="e"
    )
    assert [message.body for _, message in fakes.queue] == [wake_up_body("prod")]
    assert [(letter.body, letter.event_id) for letter in fakes.dead_letter_queue] == [("{}", "e")]
    fakes.plan([("send", "times out before")])
    with pytest.raises(QueueUnavailable):
        FakeRequestQueue(fakes).wake("prod")
