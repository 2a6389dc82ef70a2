"""Writes of the tables' adapter: what a transaction omits, what failures mean, what is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.aws.dynamodb.writes import size_of
from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
from export_jobs.model.ports import GateMoved, ItemRefused, RecordChanged, StoreUnavailable
from export_jobs.model.records import (
    Attempt,
    Event,
    ExpectationsState,
    Hold,
    JobRecord,
    OutboxItem,
    RequestRecord,
    SandboxState,
    Ticket,
    Undelivered,
)
from export_jobs.model.steps import MAX_STEPS, GateChange, SlotChange, Step
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.project import TEMPLATE
from support.dynamodb import LostAnswers, Spy, Store, refusal

EVENT = Event("Some Event", {"eventId": "e"})
UNDELIVERED = (Undelivered(EVENT, frozenset({"bus"})),)
JOB = JobRecord("prod", "j", 100, status="NEW", touched_at=1_700_000_000_000)


@pytest.fixture
def spy(store: Store) -> Spy:
    return Spy(store.client)


@pytest.fixture
def adapter(store: Store, spy: Spy) -> DynamoDbStore:
    """The adapter, with its calls recorded."""
    return store.adapter(spy)


def request(key: str, **fields: Any) -> RequestRecord:
    return RequestRecord(key, fields.pop("status", "WAITING"), "prod", **fields)


def ticket(key: str, turn: int = 5) -> Ticket:
    return Ticket("prod", key, "create", turn=turn, sent_at=turn)


def attempt(key: str, request_id: str = "") -> Attempt:
    return Attempt(key, request_id or f"id of {key}", 1, 2, hashes={"dataset": "ab"}, rule=1)


def linked(noted: Attempt, job_id: str) -> Attempt:
    return replace(noted, job_id=job_id, linked_at=9)


def expectation(name: str, **fields: Any) -> ExpectationRecord:
    return ExpectationRecord("prod", Expectation(name, "d", "UTC", every=60), 1, **fields)


def recording(*keys: str) -> list[Step]:
    return [Step(requests=(request(key, body="{}"),), add_tickets=(ticket(key),)) for key in keys]


def noting(*keys: str) -> list[Step]:
    return [Step(slot_change=SlotChange("note", attempt(key))) for key in keys]


# -- a transaction -------------------------------------------------------------------------------


def test_steps_are_written_in_one_call(adapter: DynamoDbStore, spy: Spy) -> None:
    """As many as a transaction holds, whatever they consist of."""
    keys = [f"k{n}" for n in range(MAX_STEPS)]
    assert adapter.commit("prod", recording(*keys)) == set(range(MAX_STEPS))
    assert adapter.commit("prod", noting(*keys), GateChange(version=0)) == set(range(MAX_STEPS))
    assert spy.names == ["transact_write_items"] * 2
    assert len(adapter.gate("prod").slots) == MAX_STEPS


def test_what_was_outrun_is_left_out_and_the_rest_is_written_at_the_second_try(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """With several at once, in records and in the gate alike."""
    adapter.commit("prod", recording("a"))
    adapter.commit("prod", noting("x", "y"), GateChange(version=0))
    spy.calls.clear()
    steps = [
        *recording("a", "b"),
        Step(slot_change=SlotChange("drop", attempt("x"))),
        Step(slot_change=SlotChange("drop", attempt("y", "another"))),
        *recording("c"),
    ]
    assert adapter.commit("prod", steps) == {1, 2, 4}
    assert spy.names == ["transact_write_items"] * 2
    assert adapter.requests(["a", "b", "c"]).keys() == {"a", "b", "c"}
    assert adapter.gate("prod").slots.keys() == {"y"}


def test_nothing_is_written_once_the_gate_has_moved(adapter: DynamoDbStore, spy: Spy) -> None:
    """Neither the steps nor what accompanies them."""
    adapter.commit("prod", noting("a"), GateChange(version=0))
    spy.calls.clear()
    steps = [*recording("b"), *noting("c")]
    with pytest.raises(GateMoved):
        adapter.commit("prod", steps, GateChange(version=0, hold=Hold(9, 9)))
    assert spy.names == ["transact_write_items"]
    assert adapter.requests(["b"]) == {}
    assert adapter.gate("prod").hold == Hold()


def test_of_two_holds_the_later_end_stands(adapter: DynamoDbStore) -> None:
    """If one run was asked to wait for an hour, another run's failure does not shorten that."""
    adapter.commit("prod", [], GateChange(hold=Hold(100, 15)))
    assert adapter.commit("prod", recording("a"), GateChange(hold=Hold(99, 30))) == {0}
    assert adapter.gate("prod").hold == Hold(100, 15)
    adapter.commit("prod", [], GateChange(hold=Hold(101, 30), echoes=True))
    assert adapter.gate("prod").hold == Hold(101, 30)
    adapter.commit("prod", [], GateChange(hold=Hold()))
    assert adapter.gate("prod").hold == Hold()


def test_only_noting_moves_the_gate(adapter: DynamoDbStore) -> None:
    """An admission stays valid, whatever else is settled in the meantime."""
    adapter.commit("prod", noting("a", "b", "c"), GateChange(version=0))
    settling = [
        Step(slot_change=SlotChange("link", linked(attempt("a"), "1"))),
        Step(slot_change=SlotChange("drop", attempt("b"))),
        Step(slot_change=SlotChange("give up", attempt("c"))),
    ]
    adapter.commit("prod", settling, GateChange(hold=Hold(9, 9), echoes=True))
    assert adapter.gate("prod").version == 1
    assert adapter.commit("prod", noting("d"), GateChange(version=1)) == {0}
    assert adapter.gate("prod").version == 2


def test_runs_that_settle_different_slots_do_not_undo_each_other(store: Store) -> None:
    """Each writes its own slot within the gate, whatever it knows of the others."""
    first, second = store.adapter(), store.adapter()
    first.commit("prod", noting("a", "b", "c"), GateChange(version=0))
    known = first.gate("prod")
    first.commit("prod", [Step(slot_change=SlotChange("link", linked(known.slots["a"], "1")))])
    second.commit("prod", [Step(slot_change=SlotChange("give up", known.slots["b"]))])
    second.commit(
        "prod", [Step(slot_change=SlotChange("miss", replace(known.slots["c"], missed_at=7)))]
    )
    gate = first.gate("prod")
    assert gate.slots.keys() == {"a", "c"}
    assert gate.slots["a"].job_id == "1"
    assert gate.slots["c"] == replace(attempt("c"), missed_at=7)
    assert gate.former == {"id of b": attempt("b")}


def test_a_linked_slot_is_written_small(store: Store) -> None:
    """The content of its request is no longer needed."""
    store.adapter().commit("prod", noting("a"), GateChange(version=0))
    store.adapter().commit(
        "prod", [Step(slot_change=SlotChange("link", linked(attempt("a"), "1")))]
    )
    item = store.job_item("!gate")
    assert item["slots"]["M"]["a"]["M"].keys() == {"requestId", "jobId", "linkedAt"}


def test_a_slot_that_is_in_use_again_does_not_expire(adapter: DynamoDbStore) -> None:
    """The key may have been noted again since its linked slot was read."""
    adapter.commit("prod", noting("a"), GateChange(version=0))
    adapter.commit("prod", [Step(slot_change=SlotChange("link", linked(attempt("a"), "1")))])
    again = [Step(slot_change=SlotChange("note", attempt("a", "again")))]
    assert adapter.commit("prod", again, GateChange(version=1)) == {0}
    adapter.commit("prod", recording("b"), GateChange(expired_slots=("a",)))
    assert adapter.gate("prod").slots["a"].request_id == "again"
    assert adapter.requests(["b"])


def test_housekeeping_of_a_gate_that_does_not_exist_is_no_error(adapter: DynamoDbStore) -> None:
    """DynamoDB refuses a path into a missing map, so the adapter does not try it twice."""
    step = Step(requests=(request("a"),), forget="x")
    change = GateChange(expired_slots=("k",), expired_former=("f",))
    assert adapter.commit("prod", [step], change) == {0}
    assert adapter.requests(["a"])


def test_bodies_that_are_too_large_for_one_transaction_go_in_several(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """DynamoDB takes 4 MB at once; every part is smaller, and all are written."""
    big = "x" * 250_000
    steps = [Step(requests=(request(f"k{n}", body=big),)) for n in range(MAX_STEPS)]
    assert adapter.commit("prod", steps) == set(range(MAX_STEPS))
    assert len(spy.calls) == 2
    for _, sent in spy.calls:
        assert sum(size_of(action["Put"]["Item"]) for action in sent["TransactItems"]) < 4_000_000


def test_no_transaction_has_more_than_100_actions(adapter: DynamoDbStore, spy: Spy) -> None:
    """A step may have more than four actions, if no gate keeps the steps together."""
    steps = [
        Step(
            requests=tuple(request(f"{n}-{m}") for m in range(4)),
            add_tickets=tuple(ticket(f"{n}-{m}") for m in range(4)),
        )
        for n in range(13)
    ]
    assert adapter.commit("prod", steps) == set(range(13))
    assert [len(sent["TransactItems"]) for _, sent in spy.calls] == [96, 8]


def test_a_step_that_touches_what_an_earlier_one_writes_is_left_out(adapter: DynamoDbStore) -> None:
    """A transaction writes an item once; if the earlier step was outrun, the later is written."""
    first = Step(requests=(request("a"), request("b")))
    second = Step(requests=(request("b", reason="second"),))
    assert adapter.commit("prod", [first, second]) == {0}
    stale = Step(requests=(request("a"), request("c")))
    third = Step(requests=(request("c", reason="third"),))
    assert adapter.commit("prod", [stale, third]) == {1}
    assert adapter.requests(["c"])["c"].reason == "third"


def test_attempts_are_noted_only_by_a_version(adapter: DynamoDbStore, spy: Spy) -> None:
    """Without one, nobody would have counted the open jobs."""
    with pytest.raises(ValueError, match="version"):
        adapter.commit("prod", noting("a"))
    assert not spy.calls


def test_nothing_to_write_is_no_call(adapter: DynamoDbStore, spy: Spy) -> None:
    """Steps without content count as written."""
    assert adapter.commit("prod", [Step(), Step()]) == {0, 1}
    assert not spy.calls


def test_an_item_that_is_too_large_is_refused(adapter: DynamoDbStore) -> None:
    """Events are bounded so that this can't happen; if it does, the sweep reports it."""
    huge = Undelivered(Event("Some Event", {"text": "x" * 500_000}), frozenset({"bus"}))
    with pytest.raises(ItemRefused):
        adapter.put(replace(JOB, outbox=(huge,)))


# -- expectations --------------------------------------------------------------------------------


def test_an_expectation_is_recorded_with_its_events_or_not_at_all(adapter: DynamoDbStore) -> None:
    """Not over another run's record, nor over events that have not been delivered."""
    adapter.edit_expectations("prod", [expectation(name) for name in ("a", "b", "c")])
    adapter.put_outbox(OutboxItem("prod", "", UNDELIVERED, item_id="expectation#c"))

    def judged(name: str, version: int) -> Step:
        item = OutboxItem("prod", "", UNDELIVERED, leased_at=5, item_id=f"expectation#{name}")
        record = expectation(name, missed=Window(1, 2, 3), version=version)
        return Step(expectations=(record,), outbox=(item,))

    assert adapter.commit("prod", [judged("a", 1), judged("b", 7), judged("c", 1)]) == {0}
    found = {record.name: record for record in adapter.expectations("prod")}
    assert found["a"] == expectation("a", missed=Window(1, 2, 3), version=2)
    assert (found["b"], found["c"]) == (expectation("b", version=1), expectation("c", version=1))
    outbox = {item.item_id: item.leased_at for item in adapter.load("prod").outbox}
    assert outbox == {"expectation#a": 5, "expectation#c": 0}


def test_expectations_that_are_too_large_for_one_transaction_go_in_several(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """More than 99, or more than 4 MB; each of them makes the next sweep look."""
    segments = tuple(f"{n:036d}" for n in range(1_500))
    large = Expectation("", "d", "UTC", every=60, segments=segments)
    records = [
        ExpectationRecord(
            "prod", replace(large, name=f"large-{n:02}"), 1, in_force=large if n % 2 else None
        )
        for n in range(50)
    ]
    adapter.edit_expectations("prod", records)
    sizes = [
        sum(size_of(action["Put"]["Item"]) for action in sent["TransactItems"][:-1])
        for _, sent in spy.calls
    ]
    assert len(sizes) == 2
    assert max(sizes) < 4_000_000
    written = adapter.expectations("prod")
    assert written == [replace(record, version=1) for record in records]
    spy.calls.clear()
    small = [expectation(f"small-{n:03}") for n in range(60)]
    adapter.edit_expectations("prod", small, written)
    assert [len(sent["TransactItems"]) for _, sent in spy.calls] == [100, 12]
    for _, sent in spy.calls:
        assert sent["TransactItems"][-1]["Update"]["Key"]["sk"] == {"S": "!state"}
    assert [record.name for record in adapter.expectations("prod")] == [r.name for r in small]


def test_an_edit_that_meets_another_run_s_writes_nothing(adapter: DynamoDbStore) -> None:
    """Neither the other expectations, nor that a sweep should look; of several parts, the first stays."""
    adapter.put_state(SandboxState("prod", 1))
    adapter.edit_expectations("prod", [expectation("a")])
    stale, new = expectation("a", version=7), expectation("b")
    for edit in (([stale, new], []), ([new], [stale]), ([expectation("a"), new], [])):
        with pytest.raises(StoreUnavailable, match="have changed"):
            adapter.edit_expectations("prod", *edit)
    assert adapter.expectations("prod") == [expectation("a", version=1)]
    assert adapter.load("prod").expected == ExpectationsState(due_at=0, version=1)
    many = [expectation(f"e{n:03}") for n in range(120)]
    with pytest.raises(StoreUnavailable):
        adapter.edit_expectations("prod", [*many, stale])
    assert len(adapter.expectations("prod")) == 1 + 99
    assert adapter.load("prod").expected == ExpectationsState(due_at=0, version=2)


def test_an_edit_of_nothing_is_no_call(adapter: DynamoDbStore, spy: Spy) -> None:
    """As when a file is applied twice."""
    adapter.edit_expectations("prod", [])
    assert not spy.calls


def test_a_sweep_does_not_overwrite_that_somebody_wants_it_to_look(store: Store) -> None:
    """What was edited after the sweep had read the expectations is looked at by the next one."""
    adapter = store.adapter()
    adapter.put_state(SandboxState("prod", 1))
    adapter.put_expected("prod", ExpectationsState(due_at=50))
    read = adapter.load("prod").expected
    assert read == ExpectationsState(due_at=50, version=1)
    adapter.edit_expectations("prod", [expectation("a")])
    adapter.put_expected("prod", replace(read, due_at=99, overdue=1))
    assert adapter.load("prod").expected == ExpectationsState(due_at=0, version=2)
    adapter.put_expected("prod", ExpectationsState(version=2))
    assert adapter.load("prod").expected == ExpectationsState(version=3)
    assert "expectationsDueAt" not in store.job_item("!state")


def test_a_sandbox_that_is_forgotten_keeps_its_expectations(adapter: DynamoDbStore) -> None:
    """Only what its sweeps knew of them goes, as a first sweep looks at them in any case."""
    adapter.put_state(SandboxState("prod", 1))
    adapter.edit_expectations("prod", [expectation("a")])
    adapter.forget("prod")
    assert adapter.load("prod").state is None
    adapter.put_state(SandboxState("prod", 2))
    assert adapter.load("prod").expected == ExpectationsState()
    assert adapter.expectations("prod") == [expectation("a", version=1)]


# -- lost answers --------------------------------------------------------------------------------


def test_a_write_whose_answer_was_lost_counts_as_written(aws: MotoServer, store: Store) -> None:
    """The SDK tries again by itself, and then finds what it has written."""
    client = aws.client("dynamodb")
    adapter = store.adapter(client)
    lost = LostAnswers(client, "PutItem")
    new = adapter.put(JOB)
    assert (new, len(lost.bodies)) == (replace(JOB, version=1), 2)
    lost = LostAnswers(client, "UpdateItem")
    changed = replace(new, status="PROCESSING")
    assert adapter.put(changed) == replace(changed, version=2)
    assert len(lost.bodies) == 2
    assert store.adapter().job("prod", JOB.job_id, JOB.creation_time) == replace(changed, version=2)


def test_a_write_that_met_somebody_else_s_does_not(aws: MotoServer, store: Store) -> None:
    """Neither after a lost answer, nor if the same was already there at the first attempt."""
    store.adapter().put(replace(JOB, leased_at=7))
    client = aws.client("dynamodb")
    LostAnswers(client, "PutItem", times=0)
    with pytest.raises(RecordChanged):
        store.adapter(client).put(replace(JOB, leased_at=7))
    spy = Spy(store.client)
    other = refusal(
        "ConditionalCheckFailedException",
        Item=store.job_item("job#00000000000100#j"),
    )

    def after_a_repetition(name: str) -> Exception:
        error = cast("Any", other(name))
        error.response["ResponseMetadata"]["RetryAttempts"] = 1
        return cast("Exception", error)

    spy.failures = [after_a_repetition]
    with pytest.raises(RecordChanged) as changed:
        store.adapter(spy).put(replace(JOB, leased_at=8))
    assert changed.value.current == replace(JOB, leased_at=7, version=1)


def test_a_deletion_whose_answer_was_lost_finds_the_item_gone(
    aws: MotoServer, store: Store
) -> None:
    """That is the desired result."""
    item = store.adapter().put_outbox(OutboxItem("prod", "k", UNDELIVERED))
    assert item
    client = aws.client("dynamodb")
    lost = LostAnswers(client, "DeleteItem")
    assert store.adapter(client).put_outbox(replace(item, outbox=())) is None
    assert len(lost.bodies) == 2
    assert store.adapter().load("prod").outbox == ()


def test_a_transaction_is_repeated_under_the_same_token(aws: MotoServer, store: Store) -> None:
    """DynamoDB recognises the repeat by it; moto does not, and finds its own writes instead."""
    client = aws.client("dynamodb")
    lost = LostAnswers(client, "TransactWriteItems")
    store.adapter(client).commit("prod", recording("a"))
    first, second = (body["ClientRequestToken"] for body in lost.bodies[:2])
    assert first == second


# -- what stays as it was ------------------------------------------------------------------------


def add_future_attributes(store: Store) -> None:
    """Adds to every item and every slot what a newer version might write."""
    for table, item in store.everything():
        item["future"] = {"S": "kept"}
        for slot in item.get("slots", {}).get("M", {}).values():
            slot["M"]["future"] = {"S": "kept"}
        store.client.put_item(TableName=table, Item=item)


def test_attributes_of_a_newer_version_outlive_every_update(store: Store) -> None:
    """A version can run beside a newer one: it keeps what it does not know."""
    adapter = store.adapter()
    kept = OutboxItem("prod", "k", UNDELIVERED)
    step = Step(requests=(request("a"),), add_tickets=(ticket("a"),), outbox=(kept,))
    adapter.commit("prod", [step])
    adapter.commit("prod", noting("a", "b"), GateChange(version=0))
    adapter.put(JOB, SandboxState("prod", 1))
    adapter.watch({"prod"})
    adapter.edit_expectations("prod", [expectation("a")])
    add_future_attributes(store)

    adapter.put(replace(JOB, version=1, status="SUCCEEDED", final=True), SandboxState("prod", 2))
    adapter.put_outbox(replace(kept, version=1, leased_at=5))
    adapter.watch({"dev"})
    missed = replace(attempt("a"), missed_at=7)
    settling = [
        Step(requests=(request("a", version=1),), add_tickets=(ticket("a", 9),)),
        Step(slot_change=SlotChange("miss", missed)),
    ]
    adapter.commit("prod", settling, GateChange(hold=Hold(9, 9)))
    adapter.edit_expectations("prod", [expectation("a", version=1, muted_until=5)])
    adapter.commit("prod", [Step(expectations=(expectation("a", version=2),))])
    adapter.look_at_expectations("prod")
    adapter.put_expected("prod", ExpectationsState(version=3))
    assert adapter.expectations("prod") == [expectation("a", version=3)]
    assert adapter.load("prod").expected == ExpectationsState(version=4)
    assert len(store.everything()) == 8
    for _, item in store.everything():
        assert item["future"] == {"S": "kept"}, item
    gate = store.job_item("!gate")
    assert [slot["M"]["future"]["S"] for slot in gate["slots"]["M"].values()] == ["kept"] * 2


def test_every_item_names_the_format_it_was_written_in(store: Store) -> None:
    """So that another version can read it."""
    adapter = store.adapter()
    step = Step(
        requests=(request("a"),),
        add_tickets=(ticket("a"),),
        outbox=(OutboxItem("prod", "k", UNDELIVERED),),
    )
    adapter.commit("prod", [step], GateChange(hold=Hold(1, 1)))
    adapter.put(JOB, SandboxState("prod", 1))
    adapter.watch({"prod"})
    adapter.edit_expectations("prod", [expectation("a")])
    assert [item["format"] for _, item in store.everything()] == [{"N": "1"}] * 8


def test_an_update_carries_only_what_has_changed(adapter: DynamoDbStore, spy: Spy) -> None:
    """An admission would otherwise rewrite up to 256 KB per request."""
    adapter.commit("prod", [Step(requests=(request("a", body="{}", correlation_id="c"),))])
    before = adapter.requests(["a"])["a"]
    spy.calls.clear()
    after = replace(before, status="CREATING", request_id="r", correlation_id=None, touched_at=9)
    adapter.commit("prod", [Step(requests=(after,))])
    ((_, sent),) = spy.calls
    names = sent["TransactItems"][0]["Update"]["ExpressionAttributeNames"].values()
    changed = {"status", "requestId", "correlationId", "touchedAt"}
    assert set(names) == changed | {"rejectedIn", "ttl", "version", "format"}
    assert adapter.requests(["a"])["a"] == replace(after, version=2)


def test_a_record_that_does_not_know_what_it_replaces_is_written_whole(
    adapter: DynamoDbStore,
) -> None:
    """As when a request is sent again: nothing is left of the previous record."""
    adapter.commit("prod", recording("a"))
    before = adapter.requests(["a"])["a"]
    again = request("a", version=1, body="[]")
    stale = replace(again, stored=replace(before, version=7, body="[]"))
    adapter.commit("prod", [Step(requests=(stale,))])
    assert adapter.requests(["a"])["a"] == replace(again, version=2)


def test_ended_records_expire_and_others_never_do(store: Store) -> None:
    """DynamoDB's own expiry deletes ended records a fixed time after their last change."""
    adapter = store.adapter()
    due = {"N": str(1_700_000_000 + 90 * 86_400)}
    key = "job#00000000000100#j"
    open_job = adapter.put(JOB)
    assert "ttl" not in store.job_item(key)
    owing = adapter.put(replace(open_job, status="FAILED", final=True, outbox=UNDELIVERED))
    assert "ttl" not in store.job_item(key)
    settled = adapter.put(replace(owing, outbox=()))
    assert store.job_item(key)["ttl"] == due
    adapter.put(replace(settled, status="NEW", final=False))
    assert "ttl" not in store.job_item(key)

    for version, status in enumerate(["WAITING", "CREATING", "CREATED", "WAITING"]):
        record = request("a", status=status, touched_at=1_700_000_000_000, version=version)
        adapter.commit("prod", [Step(requests=(record,))])
        item = store.request_item("a")
        assert item.get("ttl") == (due if status == "CREATED" else None)
    assert TEMPLATE.read_text().count("AttributeName: ttl,") == 2  # moto does not keep this


def test_only_rejected_requests_are_in_their_index(store: Store) -> None:
    """One that is redriven leaves it; one that is rejected again is back, at its new time."""
    adapter = store.adapter()
    statuses = ["WAITING", "REJECTED", "WAITING", "CREATING", "REJECTED", "WAITING", "CREATED"]
    for version, status in enumerate(statuses):
        known = adapter.requests(["a"]).get("a")
        record = request("a", status=status, touched_at=100 + version, version=version)
        if known and version % 2:  # as a change of what was read, and written whole
            record = replace(record, stored=known.stored)
        adapter.commit("prod", [Step(requests=(record,))])
        found = [one.touched_at for one in adapter.rejected_requests("prod", limit=9)]
        assert found == ([100 + version] if status == "REJECTED" else [])


def test_a_rejection_without_a_sandbox_can_be_written(store: Store) -> None:
    """Such as one whose item another version, or a person, has written. The index has no place."""
    adapter = store.adapter()
    record = replace(request("a", status="REJECTED", touched_at=1), sandbox="")
    assert adapter.commit("prod", [Step(requests=(record,))]) == {0}
    read = adapter.requests(["a"])["a"]
    assert adapter.commit("prod", [Step(requests=(replace(read, touched_at=2),))]) == {0}
    assert adapter.requests(["a"])["a"].touched_at == 2


def test_a_job_that_has_ended_leaves_the_index(store: Store) -> None:
    """So that a sweep's read never grows with the history."""
    adapter = store.adapter()
    adapter.put(replace(adapter.put(JOB), status="SUCCEEDED", final=True))
    assert adapter.load("prod").open_jobs == {}
    assert [job.job_id for job in adapter.jobs("prod")] == ["j"]
