"""Reads of the tables' adapter: how many calls they take, and what they leave unread."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from export_jobs.aws.dynamodb import calls
from export_jobs.aws.dynamodb import store as store_module
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.aws.dynamodb.writes import size_of
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
from export_jobs.model.names import NO_NAMES
from export_jobs.model.ports import StoreUnavailable
from export_jobs.model.records import (
    Attempt,
    Event,
    ExpectationsState,
    Gate,
    JobRecord,
    OutboxItem,
    RequestRecord,
    SandboxState,
    Ticket,
    Undelivered,
)
from export_jobs.model.retry import Try
from export_jobs.model.steps import GateChange, SlotChange, Step
from export_jobs_cli import request_list, request_state
from support.dynamodb import Spy, Store
from support.one_item_each import RECORDS

LATE = 1_987_654_321_987
"""A time with as many significant digits as any."""
EVENT = Undelivered(Event("Some Event", {"eventId": "e"}), frozenset({"bus"}))


@pytest.fixture
def spy(store: Store) -> Spy:
    return Spy(store.client)


@pytest.fixture
def adapter(store: Store, spy: Spy, monkeypatch: pytest.MonkeyPatch) -> DynamoDbStore:
    """The adapter, with its calls recorded, and without pauses."""
    monkeypatch.setattr(store_module, "pause", lambda _: None)
    monkeypatch.setattr(calls, "pause", lambda _: None)
    return store.adapter(spy)


def job(number: int, **fields: Any) -> JobRecord:
    return JobRecord("prod", f"j{number}", 100 + number, status="NEW", **fields)


def creating(number: int, *, turn: int) -> Ticket:
    return Ticket("prod", f"create-{number}", "create", turn=turn, sent_at=turn)


def cancelling(number: int, *, turn: int) -> Ticket:
    return Ticket("prod", f"cancel-{number}", "cancel", turn=turn, sent_at=turn)


def written(adapter: DynamoDbStore, *tickets: Ticket) -> None:
    for start in range(0, len(tickets), 20):
        steps = [Step(add_tickets=(ticket,)) for ticket in tickets[start : start + 20]]
        adapter.commit("prod", steps)


def put_at_once(store: Store, items: list[Any]) -> None:
    """Puts many items, as many in a call as DynamoDB takes."""
    for start in range(0, len(items), 25):
        puts = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
        store.client.batch_write_item(RequestItems={store.jobs_table: puts})


def queried(spy: Spy) -> list[Any]:
    """The answers to the queries, one per page."""
    return [answer for answer in spy.answers if "ScannedCount" in answer]


# -- a sandbox -----------------------------------------------------------------------------------


def test_all_that_is_unfinished_is_read_at_once(adapter: DynamoDbStore, spy: Spy) -> None:
    """State, gate, open jobs, outbox and line: one strongly consistent query."""
    noted = Attempt("k", "id", 1, 2, hashes={}, rule=1)
    item = OutboxItem("prod", "k", (EVENT,))
    adapter.put(job(1), SandboxState("prod", 100))
    steps = [
        Step(outbox=(item,), add_tickets=(creating(1, turn=5), cancelling(1, turn=9))),
        Step(slot_change=SlotChange("note", noted)),
    ]
    adapter.commit("prod", steps, GateChange(version=0))
    spy.calls.clear()
    found = adapter.load("prod")
    ((_, asked),) = spy.calls
    assert asked["ConsistentRead"]
    assert found.state == SandboxState("prod", 100)
    assert found.gate == Gate("prod", slots={"k": noted}, version=1)
    assert found.open_jobs.keys() == {"j1"}
    assert [item.item_id for item in found.outbox] == ["e"]
    assert found.tickets == (cancelling(1, turn=9), creating(1, turn=5))


@pytest.mark.unmeasured
def test_thousands_of_tickets_are_read_in_a_few_calls(
    adapter: DynamoDbStore, store: Store, spy: Spy
) -> None:
    """A page holds some 4,000 of the largest (`test_a_ticket_is_small`); moto is slow with more."""
    writer = Writer(jobs_table="", requests_table="", retention_days=1)
    adapter.put(job(1))
    tickets = [
        Ticket("prod", f"{n:0128d}", "create", turn=LATE - n, sent_at=LATE, deadline_ms=LATE)
        for n in range(5_500)
    ]
    put_at_once(store, [writer.ticket(ticket).written for ticket in tickets])
    spy.calls.clear()
    found = adapter.load("prod")
    assert len(spy.calls) == 2
    assert found.tickets == tuple(reversed(tickets))
    assert found.open_jobs.keys() == {"j1"}
    spy.calls.clear()
    line = adapter.line("prod", until=LATE, limit=20)
    assert line.tickets == found.tickets[:20]
    assert len(spy.calls) == 1
    assert queried(spy)[-1]["ScannedCount"] <= 100


def test_open_jobs_beyond_a_megabyte_are_all_read(adapter: DynamoDbStore, spy: Spy) -> None:
    """A query returns a megabyte per page; what a sandbox has yet to deliver may exceed that."""
    big = Undelivered(Event("Some Event", {"text": "x" * 200_000}), frozenset({"bus"}))
    for number in range(12):
        adapter.put(job(number, outbox=(big,)))
    spy.calls.clear()
    assert len(adapter.load("prod").open_jobs) == 12
    assert len(spy.calls) > 1


# -- a line --------------------------------------------------------------------------------------


def test_the_line_has_neither_state_nor_gate_nor_those_whose_turn_is_to_come(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """An admission reads what it needs: open jobs, and requests that may be tried."""
    adapter.put(job(1), SandboxState("prod", 100))
    tickets = [creating(n, turn=n) for n in range(1, 6)]
    written(adapter, *tickets, cancelling(1, turn=2), cancelling(2, turn=9))
    adapter.commit("prod", [], GateChange(echoes=True))
    line = adapter.line("prod", until=3, limit=10)
    assert line.open_jobs.keys() == {"j1"}
    assert line.tickets == (cancelling(1, turn=2), *tickets[:3])
    read = {item["sk"]["S"] for answer in queried(spy)[-1:] for item in answer["Items"]}
    assert not read & {"!state", "!gate", "ticket#create-4", "ticket#create-5"}


def test_a_line_is_read_no_further_than_its_limit(
    adapter: DynamoDbStore, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many jobs precede it: all of them are read, and then tickets up to the limit."""
    monkeypatch.setattr(store_module, "LINE_OTHERS", 2)
    for number in range(11):
        adapter.put(job(number))
    written(adapter, *(creating(n, turn=n) for n in range(30)))
    spy.calls.clear()
    line = adapter.line("prod", until=99, limit=3)
    assert len(line.open_jobs) == 11
    assert line.tickets == tuple(creating(n, turn=n) for n in range(3))
    assert len(spy.calls) == 3
    spy.calls.clear()
    assert len(adapter.line("prod", until=99, limit=0).open_jobs) == 11


def test_cancels_that_are_not_due_hide_nobody(
    adapter: DynamoDbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They precede the creations in the index, and are skipped."""
    monkeypatch.setattr(store_module, "LINE_OTHERS", 2)
    written(adapter, *(cancelling(n, turn=50) for n in range(20)), creating(1, turn=1))
    assert adapter.line("prod", until=9, limit=3).tickets == (creating(1, turn=1),)


# -- expectations --------------------------------------------------------------------------------


def expectation(name: str, due: int, *, missed: bool = False, **fields: Any) -> ExpectationRecord:
    return ExpectationRecord(
        "prod",
        Expectation(name, "d", "UTC", every=60),
        applied_at=1,
        window=Window(1, due, due),
        missed=Window(0, 1, 1) if missed else None,
        **fields,
    )


def names_due(adapter: DynamoDbStore, until: int) -> list[str]:
    return [record.name for record in adapter.due_expectations("prod", until=until).records]


def test_what_is_due_is_read_without_what_is_not(adapter: DynamoDbStore, spy: Spy) -> None:
    """Overdue ones first, then by deadline; of the others, one call reads no more than a hundred."""
    adapter.edit_expectations(
        "prod",
        [
            *(expectation(f"later-{n}", 1_000 + n) for n in range(120)),
            *(expectation("b", 5), expectation("a", 7), expectation("other", 8)),
            *(expectation("missed-2", 2_000, missed=True), expectation("missed-1", 9, missed=True)),
        ],
    )
    spy.calls.clear()
    assert names_due(adapter, 7) == ["missed-1", "missed-2", "b", "a"]
    ((_, asked),) = spy.calls
    assert asked["ConsistentRead"]
    assert queried(spy)[-1]["ScannedCount"] == 100
    assert adapter.due_expectations("prod", until=7).next_due == 8
    assert adapter.due_expectations("prod", until=4).next_due == 5
    assert names_due(adapter, 4) == ["missed-1", "missed-2"]


def test_more_due_expectations_than_a_call_returns_are_all_read(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """Page by page, until one is not due."""
    adapter.edit_expectations("prod", [expectation(f"e{n:03}", n) for n in range(250)])
    spy.calls.clear()
    due = adapter.due_expectations("prod", until=149)
    assert [record.window and record.window.due for record in due.records] == list(range(150))
    assert due.next_due == 150
    assert spy.names == ["query"] * 2
    assert len(adapter.expectations("prod")) == 250


def test_expectations_of_an_unknown_kind_are_passed_over(
    adapter: DynamoDbStore, store: Store
) -> None:
    """A newer version may have added them to the same partition; sweeps go on beside it."""
    adapter.edit_expectations("prod", [expectation("a", 5), expectation("b", 9)])
    key = {"sandbox": {"S": "!expectations#prod"}, "sk": {"S": "!later"}}
    store.client.put_item(TableName=store.jobs_table, Item={**key, "openKey": {"S": "3#x"}})
    assert names_due(adapter, 7) == ["a"]
    assert adapter.due_expectations("prod", until=99).next_due is None
    assert names_due(adapter, 99) == ["a", "b"]
    assert [record.name for record in adapter.expectations("prod")] == ["a", "b"]


def test_expectations_of_another_sandbox_are_not_read(adapter: DynamoDbStore) -> None:
    """Also if its name begins with this one's; nor are they among what is unfinished."""
    adapter.put(job(1), SandboxState("prod", 100))
    adapter.edit_expectations("prod-2", [replace(expectation("a", 5), sandbox="prod-2")])
    assert adapter.expectations("prod") == []
    assert names_due(adapter, 99) == []
    adapter.edit_expectations("prod", [expectation("b", 5)])
    assert names_due(adapter, 99) == ["b"]
    loaded = adapter.load("prod")
    assert loaded.open_jobs.keys() == {"j1"}
    assert loaded.expected == ExpectationsState(due_at=0, version=1)


def test_a_state_that_only_the_command_has_written_is_not_one_of_a_sweep(
    adapter: DynamoDbStore, store: Store
) -> None:
    """The first sweep is still the first; when it writes its state, it finds what was noted."""
    adapter.edit_expectations("prod", [expectation("a", 5)])
    adapter.look_at_expectations("prod")
    assert "openKey" not in store.job_item("!state")
    assert adapter.load("prod").state is None
    assert adapter.load("prod").expected == ExpectationsState()
    state = SandboxState("prod", 100, swept_at=7)
    adapter.put_state(state)
    assert adapter.load("prod").state == state
    assert adapter.load("prod").expected == ExpectationsState(due_at=0, version=2)
    adapter.put_expected("prod", ExpectationsState(due_at=9, overdue=1, unresolved=2, version=2))
    adapter.put_state(replace(state, swept_at=8))
    assert adapter.load("prod").expected == ExpectationsState(9, overdue=1, unresolved=2, version=3)


def test_jobs_since_a_time_are_read_from_the_table_itself(adapter: DynamoDbStore, spy: Spy) -> None:
    """Open and ended ones, oldest first, from that millisecond on, and strongly consistent."""
    for number in (3, 1, 2):
        adapter.put(job(number, final=number == 2))
    adapter.edit_expectations("prod", [expectation("a", 5)])
    spy.calls.clear()
    assert [found.job_id for found in adapter.jobs_since("prod", 102)] == ["j2", "j3"]
    ((_, asked),) = spy.calls
    assert asked["ConsistentRead"]
    assert [found.job_id for found in adapter.jobs_since("prod", 0)] == ["j1", "j2", "j3"]
    assert list(adapter.jobs_since("prod", 104)) == []


def test_jobs_since_a_time_are_read_page_by_page_as_they_are_wanted(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """A megabyte a page: many jobs are judged without all of them in memory."""
    big = Undelivered(Event("Some Event", {"text": "x" * 200_000}), frozenset({"bus"}))
    for number in range(13):
        adapter.put(job(number, outbox=(big,)))
    spy.calls.clear()
    found = iter(adapter.jobs_since("prod", 101))
    assert next(found).job_id == "j1"
    assert spy.names == ["query"]
    assert len(list(found)) == 11
    assert len(spy.calls) > 1


# -- requests ------------------------------------------------------------------------------------


def record(key: str, **fields: Any) -> RequestRecord:
    return RequestRecord(key, fields.pop("status", "WAITING"), "prod", version=1, **fields)


def recorded(adapter: DynamoDbStore, *records: RequestRecord) -> None:
    for start in range(0, len(records), 20):
        some = records[start : start + 20]
        adapter.commit(
            "prod",
            [Step(requests=(RequestRecord(**{**vars(r), "version": 0}),)) for r in some],
        )


def test_one_request_is_read_by_its_key_and_several_in_one_call(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """Both reads are strongly consistent; a key may be given twice."""
    recorded(adapter, record("a", body="{}"), record("b"))
    spy.calls.clear()
    assert adapter.requests(["a", "a"]) == {"a": record("a", body="{}")}
    assert adapter.requests(["a", "b", "c", "b"]) == {
        "a": record("a", body="{}"),
        "b": record("b"),
    }
    assert adapter.requests([]) == {}
    (first, second) = spy.calls
    assert (first[0], second[0]) == ("get_item", "batch_get_item")
    assert first[1]["ConsistentRead"]
    assert all(asked["ConsistentRead"] for asked in second[1]["RequestItems"].values())


def test_more_than_a_hundred_requests_take_several_calls(adapter: DynamoDbStore, spy: Spy) -> None:
    """BatchGetItem takes a hundred keys."""
    keys = [f"k{n}" for n in range(150)]
    recorded(adapter, *map(record, keys[95:105]))
    spy.calls.clear()
    assert adapter.requests(keys).keys() == set(keys[95:105])
    assert spy.names == ["batch_get_item"] * 2


def test_baselines_are_read_together(adapter: DynamoDbStore, spy: Spy) -> None:
    """Those that exist, of one sandbox, a hundred in a call; strongly consistent."""
    kinds = [f"1-{number:016x}" for number in range(150)]
    known = [Baseline("prod", kind, runs=(Run(1, 2, 3),)) for kind in kinds[::50]]
    for baseline in known:
        adapter.put_baseline(baseline)
    adapter.put_baseline(Baseline("dev", kinds[1], runs=(Run(4, 5, 6),)))
    spy.calls.clear()
    assert adapter.baselines("prod", set(kinds)) == {
        baseline.kind: replace(baseline, version=1) for baseline in known
    }
    assert adapter.baselines("prod", set()) == {}
    assert spy.names == ["batch_get_item"] * 2
    for _, asked in spy.calls:
        assert all(table["ConsistentRead"] for table in asked["RequestItems"].values())


def unprocessed(store: Store, kept: int) -> Any:
    """Limits a batch's answer to this many items; moto always returns all of them."""

    def changed(name: str, answer: Any) -> Any:
        if name != "batch_get_item":
            return answer
        items = answer["Responses"][store.requests_table]
        keys = [{"requestKey": item["requestKey"]} for item in items[kept:]]
        answer["Responses"][store.requests_table] = items[:kept]
        answer["UnprocessedKeys"] = {store.requests_table: {"Keys": keys}} if keys else {}
        return answer

    return changed


def test_what_dynamodb_leaves_out_of_a_batch_is_asked_for_again(
    adapter: DynamoDbStore, store: Store, spy: Spy
) -> None:
    """It does so if items are many, or large, or if it is busy."""
    keys = [f"k{n}" for n in range(7)]
    recorded(adapter, *map(record, keys))
    spy.calls.clear()
    spy.changed = unprocessed(store, 2)
    assert adapter.requests(keys).keys() == set(keys)
    assert len(spy.calls) == 4


def test_a_batch_that_gets_nowhere_is_given_up(
    adapter: DynamoDbStore, store: Store, spy: Spy
) -> None:
    """After a few tries."""
    recorded(adapter, record("a"), record("b"))
    spy.calls.clear()
    spy.changed = unprocessed(store, 0)
    with pytest.raises(StoreUnavailable):
        adapter.requests(["a", "b"])
    assert len(spy.calls) == 1 + len(store_module.UNPROCESSED_PAUSES_S)


def test_ended_requests_are_found_by_a_scan_without_their_bodies(adapter: DynamoDbStore) -> None:
    """Those that have one of the statuses, as many as wanted."""
    recorded(
        adapter,
        record("a", status="REJECTED", body="{}", outcome="INVALID", reason="why"),
        record("b", status="CREATED", body="{}", job_id="1"),
        record("c", status="WAITING", body="{}"),
        record("d", status="CANCELLED"),
    )
    found = {
        request.request_key: request
        for request in adapter.ended_requests(["REJECTED", "CREATED"], limit=9)
    }
    assert found == {
        "a": record("a", status="REJECTED", outcome="INVALID", reason="why"),
        "b": record("b", status="CREATED", job_id="1"),
    }
    assert len(list(adapter.ended_requests(["REJECTED", "CREATED", "CANCELLED"], limit=2))) == 2
    assert list(adapter.ended_requests([], limit=2)) == []


def rejected(key: str, at: int, **fields: Any) -> RequestRecord:
    return record(key, status="REJECTED", touched_at=at, **fields)


def test_rejected_requests_are_found_by_a_query_of_their_index(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """Those of a sandbox, newest first, without their bodies, and nothing else is read."""
    recorded(
        adapter,
        rejected("a", 5, body="{}", outcome="INVALID", reason="why"),
        record("b", status="CREATED", body="{}", touched_at=6),
        record("c", status="CANCELLED", touched_at=7),
        rejected("d", 8),
        replace(rejected("e", 9), sandbox="dev"),
        rejected("f", 7, job_id="1"),
    )
    spy.calls.clear()
    found = list(adapter.rejected_requests("prod", limit=9))
    assert [one.request_key for one in found] == ["d", "f", "a"]
    assert found[2] == replace(rejected("a", 5, outcome="INVALID", reason="why"), version=0)
    assert [one.request_key for one in adapter.rejected_requests("dev", limit=9)] == ["e"]
    assert list(adapter.rejected_requests("stage", limit=9)) == []
    assert set(spy.names) == {"query"}
    assert [answer["ScannedCount"] for answer in queried(spy)[-3:]] == [3, 1, 0]


def test_no_more_rejected_requests_are_read_than_are_wanted(
    adapter: DynamoDbStore, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page of the web that polls for the last few pays for those few; pages come on demand."""
    monkeypatch.setattr(store_module, "REJECTIONS", 4)
    recorded(adapter, *(rejected(f"k{n}", 10 + n) for n in range(9)))
    spy.calls.clear()
    spy.answers.clear()
    assert [one.touched_at for one in adapter.rejected_requests("prod", limit=2)] == [18, 17]
    assert [answer["ScannedCount"] for answer in spy.answers] == [2]
    every = adapter.rejected_requests("prod", limit=10**12)
    assert len(spy.calls) == 1
    assert next(every).touched_at == 18
    assert len(spy.calls) == 2
    assert len(list(every)) == 8
    assert [answer["ScannedCount"] for answer in spy.answers] == [2, 4, 4, 1]
    assert list(adapter.rejected_requests("prod", limit=0)) == []
    assert len(spy.calls) == 4


def test_a_rejection_is_found_by_the_key_that_its_message_names(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """A message rejected at intake has a record under a key of its own; no other record counts."""
    recorded(
        adapter,
        rejected("a", 1),
        rejected("m1!x", 2, named="a"),
        rejected("m2!x", 3, named="a"),
        *(rejected(f"n{n}!x", 10 + n, named="b") for n in range(5)),
        record("w", named="a", touched_at=9),
    )

    def keys(named: str, limit: int = 9) -> list[str]:
        found = adapter.rejected_requests("prod", named=named, limit=limit)
        return [one.request_key for one in found]

    assert keys("a") == ["m2!x", "m1!x"]
    spy.calls.clear()
    assert keys("a", limit=1) == ["m2!x"]
    assert len(spy.calls) == 1, "the newer ones, of another name, are read in the same call"
    assert keys("c") == []


def test_the_index_has_all_that_people_are_shown_of_a_rejected_request(
    adapter: DynamoDbStore,
) -> None:
    """Its place in `request list`, and `request show`, as if its whole record had been read."""
    tries = (Try(1, "7", "FAILED", ended_at=1, error_code="c", error_message="m"),)
    whole = replace(RECORDS["request that was rejected"], version=1, tries=tries, try_number=2)
    recorded(adapter, whole)
    (indexed,) = adapter.rejected_requests("prod", limit=9)
    read = adapter.requests([whole.request_key])[whole.request_key]
    assert read == whole
    system: Any = SimpleNamespace(names=lambda _: NO_NAMES)
    states = [request_state._of_record(system, one) for one in (indexed, read)]
    assert states[0] == states[1]
    rows = [request_list._ended_as_json(one, system.names) for one in (indexed, read)]
    assert rows[0] == rows[1]
    unset = [name for name, value in rows[0].items() if value is None]
    assert unset == ["datasetName"]
    assert (indexed.message_id, indexed.sent_at) == (read.message_id, read.sent_at)


def test_a_scan_reads_a_page_only_when_it_is_wanted(adapter: DynamoDbStore, spy: Spy) -> None:
    """A long history is not read for its first lines."""
    recorded(adapter, *(record(f"k{n}", status="CREATED", body="x" * 300_000) for n in range(8)))
    spy.calls.clear()
    found = adapter.ended_requests(["CREATED"], limit=100)
    assert not spy.calls
    next(found)
    assert spy.names == ["scan"]
    assert len(list(found)) == 7
    assert len(spy.calls) > 1


# -- sandboxes that were ever watched ------------------------------------------------------------


def test_sandboxes_that_were_ever_watched_are_remembered(adapter: DynamoDbStore, spy: Spy) -> None:
    """Each is added once, whichever run adds it, and stays until it is released."""
    assert adapter.watched() == frozenset()
    adapter.watch({"prod", "dev"})
    adapter.watch({"dev", "stage"})
    spy.calls.clear()
    adapter.watch(())
    assert not spy.calls
    assert adapter.watched() == {"prod", "dev", "stage"}


def test_a_sandbox_that_is_released_is_as_new(adapter: DynamoDbStore) -> None:
    """Its sweeps' progress is removed with it, in one transaction; its jobs are kept."""
    adapter.put(job(1), SandboxState("prod", 100))
    adapter.watch({"prod"})
    adapter.release("prod")
    assert adapter.watched() == frozenset()
    assert adapter.load("prod").state is None
    assert adapter.load("prod").open_jobs.keys() == {"j1"}
    adapter.release("prod")
    adapter.watch({"prod"})
    assert adapter.watched() == {"prod"}


def test_a_ticket_in_the_table_is_as_small_as_it_is_counted(
    adapter: DynamoDbStore, store: Store
) -> None:
    """Only what its write sets is stored."""
    ticket = Ticket("prod", "k" * 128, "cancel", turn=7, sent_at=5, deadline_ms=9)
    written(adapter, ticket)
    ((_, item),) = store.everything()
    writer = Writer(jobs_table="", requests_table="", retention_days=1)
    assert size_of(item) == size_of(writer.ticket(ticket).written)
