"""Items: whatever was once written can still be read, leniently, and stays small."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date, timedelta
from typing import Any

import pytest
from export_jobs.aws.dynamodb import baselines, expectations, index, items
from export_jobs.aws.dynamodb.gate import GatePart, gate_of
from export_jobs.aws.dynamodb.index import Found
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import Write, size_of
from export_jobs.events.build import MAX_DETAIL_BYTES
from export_jobs.events.outbox import KEPT, MAX_HISTORY
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.fingerprints import MAX_SEGMENTS, segment_fingerprint
from export_jobs.model.matching import hashes_of_request
from export_jobs.model.records import (
    Attempt,
    DigestState,
    Event,
    ExpectationsState,
    Gate,
    JobRecord,
    OutboxItem,
    PublishedEvent,
    RequestRecord,
    SandboxState,
    Sink,
    Ticket,
    Undelivered,
)
from export_jobs.model.steps import (
    MAX_EXPIRED,
    MAX_STEPS,
    GateChange,
    SlotChange,
    SlotChangeKind,
    Step,
)
from export_jobs.monitor import expectations as judging
from export_jobs.monitor.baselines import MAX_RUNS
from export_jobs.monitor.decide import MAX_UNDELIVERED
from export_jobs.monitor.expectations import planned
from export_jobs_cli.expectations.plan import plan
from support.one_item_each import (
    BASELINE,
    EXPECTATION,
    EXPECTED,
    FROZEN,
    ONLY_READ,
    RECORDS,
    SMALL_EXPECTATION,
    STATE,
    as_json,
    from_json,
    items_written,
)

FROZEN_ITEMS: dict[str, Any] = {}
for path in sorted(FROZEN.glob("*.json")):
    FROZEN_ITEMS |= json.loads(path.read_text())
READERS: dict[str, Any] = {
    "job": items.job_of,
    "job that ended": items.job_of,
    "job with history": items.job_of,
    "job with segments": items.job_of,
    "job with usual values": items.job_of,
    "baseline": lambda item: next(iter(baselines.baselines_of([item]).values())),
    "job of a retry": items.job_of,
    "outbox": items.outbox_item_of,
    "state": items.state_of,
    "digest in a state": items.digest_of,
    "gate": lambda item: gate_of(item, "prod"),
    "ticket": items.ticket_of,
    "ticket to cancel": items.ticket_of,
    "delayed ticket": items.ticket_of,
    "request": items.request_of,
    "request that was rejected": items.request_of,
    "request with a retry": items.request_of,
    "expected": items.expected_of,
    "expectation": lambda item: next(iter(expectations.records_of([item])), None),
    "small expectation": lambda item: next(iter(expectations.records_of([item])), None),
}
WRITER = Writer(jobs_table="jobs", requests_table="requests", retention_days=90)
KEY = "k" * 128
SANDBOX = "s" * 40
BOTH: frozenset[Sink] = frozenset({"bus", "topic"})
LATE = 1_987_654_321_987
"""A time with as many significant digits as any."""
EXPECTED_SEGMENTS = tuple(f"{n:036d}" for n in range(1_500))


def frozen(kind: str) -> Any:
    return from_json(FROZEN_ITEMS[kind])


@pytest.mark.parametrize("kind", RECORDS)
def test_items_of_format_1_are_read_for_ever(kind: str) -> None:
    """Items that this version wrote are in `tests/data/items`; every later version reads them."""
    assert READERS[kind](frozen(kind)) == RECORDS[kind]


@pytest.mark.parametrize("kind", sorted(RECORDS.keys() - ONLY_READ))
def test_items_are_written_as_they_are_kept(kind: str) -> None:
    """A change in what is written fails here: it needs a new file, and perhaps a new format."""
    assert as_json(items_written()[kind]) == FROZEN_ITEMS[kind]


@pytest.mark.parametrize(
    ("record", "attributes", "in_the_key"),
    [
        (JobRecord, items._JOB_ATTRIBUTES, {"sandbox", "job_id", "creation_time"}),
        (OutboxItem, items._OUTBOX_ATTRIBUTES, {"sandbox", "item_id"}),
        (SandboxState, items._STATE_ATTRIBUTES, {"sandbox"}),
        (DigestState, items._DIGEST_ATTRIBUTES, set()),
        (RequestRecord, items._REQUEST_ATTRIBUTES, {"request_key"}),
        (ExpectationsState, items._EXPECTED_ATTRIBUTES, set()),
        (ExpectationRecord, expectations._ATTRIBUTES, {"sandbox"}),
        (Baseline, baselines._ATTRIBUTES, {"sandbox", "kind"}),
    ],
)
def test_every_field_of_a_record_is_in_its_item(
    record: Any, attributes: Any, in_the_key: set[str]
) -> None:
    """A field that is forgotten in `aws/dynamodb` would be lost silently."""
    compared = {field.name for field in fields(record) if field.compare}
    assert {attribute.field for attribute in attributes} | in_the_key == compared


@pytest.mark.parametrize("runs", ["7", "{}", "no JSON", "null"])
def test_a_baseline_whose_runs_cannot_be_read_starts_anew(runs: str) -> None:
    """Whatever another version, or a person, has written, the sweep goes on."""
    read = READERS["baseline"]({**frozen("baseline"), "runs": {"S": runs}})
    assert read == replace(BASELINE, runs=())


@pytest.mark.parametrize(
    "run",
    [
        '["x", 1, 2]',
        "[1, -2, 3]",
        "[1]",
        '{"at": 1}',
        "null",
        "[1, 1.5, 2]",
        "[1, 2, true]",
        f"[1, 2, {10**400}]",
        f"[{10**14}, 2, 3]",
    ],
)
def test_a_run_that_cannot_be_read_costs_only_itself(run: str) -> None:
    """What is left can be compared with, and is not lost at the next write."""
    item = {**frozen("baseline"), "runs": {"S": f"[[1, 2, 3], {run}, [4, null, 6]]"}}
    assert READERS["baseline"](item).runs == (Run(1, 2, 3), Run(4, None, 6))


def test_a_newer_version_may_say_more_of_each_run() -> None:
    """What this one knows of it stays readable."""
    item = {**frozen("baseline"), "runs": {"S": '[[1, 2, 3, "more"]]'}}
    assert READERS["baseline"](item).runs == (Run(1, 2, 3),)


def test_a_baseline_is_small_and_expires() -> None:
    """A year of hourly runs would be kept as 672 of them, in a tenth of what an item may hold."""
    runs = tuple(Run(LATE + n, 10**9, 10**14) for n in range(MAX_RUNS))
    segments = tuple(f"{n:0256d}" for n in range(10))
    whole = Baseline(SANDBOX, "1-" + "f" * 16, "d" * 256, segments, 1_500, runs, runs[:2], 10**6)
    written = baselines.written(whole, "jobs").written
    assert size_of(written) < 40_000
    assert written["ttl"] == {"N": str((LATE + MAX_RUNS - 1 + 60 * 86_400_000) // 1_000)}
    assert "openKey" not in written


@pytest.mark.parametrize("kind", RECORDS)
def test_attributes_that_are_not_known_are_passed_over(kind: str) -> None:
    """A newer version may have written them, also in a slot of the gate."""
    item = frozen(kind)
    item["future"] = {"M": {"a": {"L": []}}}
    for slot in item.get("slots", {}).get("M", {}).values():
        slot["M"]["future"] = {"BOOL": True}
    assert READERS[kind](item) == RECORDS[kind]


@pytest.mark.parametrize("name", sorted(set(FROZEN_ITEMS["state"]) - {"sandbox", "sk"}))
def test_an_absent_attribute_of_the_state_has_its_default(name: str) -> None:
    """Field case 12: whichever it is, the sweep continues."""
    item = frozen("state")
    del item[name]
    state = items.state_of(item)
    changed = {f.name for f in fields(state) if getattr(state, f.name) != getattr(STATE, f.name)}
    assert len(changed) <= 1
    for field in changed:
        assert getattr(state, field) in {0, frozenset()}


@pytest.mark.parametrize("name", sorted(set(FROZEN_ITEMS["expected"]) - {"sandbox", "sk"}))
def test_an_absent_attribute_of_what_the_state_has_of_expectations_has_its_default(
    name: str,
) -> None:
    """Whichever it is, the sweep continues."""
    item = frozen("expected")
    del item[name]
    read, default = items.expected_of(item), ExpectationsState()
    changed = {f.name for f in fields(read) if getattr(read, f.name) != getattr(EXPECTED, f.name)}
    assert len(changed) == 1
    for field in changed:
        assert getattr(read, field) == getattr(default, field)


def test_a_state_and_what_it_has_of_expectations_are_read_from_one_item() -> None:
    """Each passes over the attributes of the other, and neither needs the other's."""
    item = frozen("state") | frozen("expected")
    assert items.state_of(item) == STATE
    assert items.expected_of(item) == EXPECTED
    assert items.expected_of(frozen("state")) == ExpectationsState()
    found = Found()
    found.add_page([item])
    assert (found.state, found.expected) == (STATE, EXPECTED)


@pytest.mark.parametrize(
    "name", sorted(set(FROZEN_ITEMS["expectation"]) - {"sandbox", "sk", "openKey", "definition"})
)
def test_an_absent_attribute_of_an_expectation_has_its_default(name: str) -> None:
    """Only the definition is needed."""
    item = frozen("expectation")
    del item[name]
    (record,) = expectations.records_of([item])
    default = ExpectationRecord("", SMALL_EXPECTATION.expectation, applied_at=0)
    changed = [
        f.name for f in fields(record) if getattr(record, f.name) != getattr(EXPECTATION, f.name)
    ]
    assert len(changed) == (name != "format")
    for field in changed:
        assert getattr(record, field) == getattr(default, field)


@pytest.mark.parametrize("kind", RECORDS)
def test_an_item_that_has_nothing_but_its_keys_is_read(kind: str) -> None:
    """Every attribute has a default."""
    keys = {"sandbox", "sk", "openKey", "requestKey"}
    item = {name: value for name, value in frozen(kind).items() if name in keys}
    if not kind.startswith("request"):
        item.pop("requestKey", None)
    READERS[kind](item)


def test_an_entry_of_the_outbox_that_cannot_be_read_costs_only_itself() -> None:
    """The undelivered events beside it are still published."""
    good = frozen("job")["outbox"]["L"]
    job = items.job_of(frozen("job") | {"outbox": {"L": [{"S": "no JSON"}, *good, {"N": "1"}]}})
    assert good
    assert job.outbox == RECORDS["job"].outbox


def test_an_attribute_that_cannot_be_read_has_its_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An attribute of another type or form loses that detail, not the record, and is logged."""
    item = frozen("job") | {"sequence": {"S": "three"}, "outbox": {"L": [{"S": "no JSON"}]}}
    with caplog.at_level(logging.WARNING):
        job = items.job_of(item)
    assert job == replace(RECORDS["job"], sequence=0, outbox=())
    assert "outbox" in caplog.text


@pytest.mark.parametrize(
    ("name", "field", "stored"),
    [
        ("inForce", "in_force", "{}"),
        ("window", "window", "no JSON"),
        ("window", "window", "[1,2]"),
        ("missed", "missed", '["a","b","c"]'),
        ("missed", "missed", "[1,2,null]"),
        ("history", "history", '[[1,2,3],"GOOD"]'),
        ("history", "history", "{"),
    ],
)
def test_an_attribute_of_an_expectation_that_cannot_be_read_has_its_default(
    name: str, field: str, stored: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the rest of the expectation is still judged."""
    with caplog.at_level(logging.WARNING):
        (record,) = expectations.records_of([frozen("expectation") | {name: {"S": stored}}])
    default = ExpectationRecord("", EXPECTATION.expectation, applied_at=0)
    assert record == replace(EXPECTATION, **{field: getattr(default, field)})
    assert name in caplog.text


@pytest.mark.parametrize(
    "definition",
    [{}, {"S": "no JSON"}, {"S": "[]"}, {"S": "{}"}, {"N": "1"}, {"S": "due"}],
    ids=str,
)
def test_an_expectation_whose_definition_cannot_be_read_has_no_window(
    definition: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """A warning names it; it can be applied again or removed, and the others are read."""
    if definition == {"S": "due"}:
        later = {**EXPECTATION.expectation.as_definition(), "due": "sunset"}
        definition = {"S": json.dumps(later)}
    unreadable = frozen("expectation") | {"definition": definition}
    if not definition:
        del unreadable["definition"]
    with caplog.at_level(logging.WARNING):
        found, other = expectations.records_of([unreadable, frozen("small expectation")])
    assert other == SMALL_EXPECTATION
    assert (found.name, found.version) == (EXPECTATION.name, EXPECTATION.version)
    assert (found.window, found.missed) == (None, None)
    assert planned(found) == found
    (change,) = plan([found], [EXPECTATION.expectation], sandbox="prod", prune=False, now=1).changes
    assert change.record.expectation == EXPECTATION.expectation
    assert "nightly can't be read" in caplog.text


def test_a_past_window_may_have_more_than_this_version_knows() -> None:
    """A newer version may have added something; the history is kept for it."""
    history = json.loads(frozen("expectation")["history"]["S"])
    longer = json.dumps([[*entry, {"future": 1}] for entry in history])
    (record,) = expectations.records_of([frozen("expectation") | {"history": {"S": longer}}])
    assert record == EXPECTATION


def test_fingerprints_of_another_rule_are_read_as_none() -> None:
    """They can't be compared with those of this version."""
    item = frozen("state") | {"seenRule": {"N": "2"}}
    assert items.state_of(item) == replace(STATE, seen=frozenset())


def test_an_item_of_an_unknown_kind_is_passed_over_with_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Field case 12: a newer version's, or one with another key; the items beside it are read."""
    monkeypatch.setattr(index, "_warned_of", set())
    strange = [
        {"sandbox": {"S": "prod"}, "sk": {"S": sort_key}, "openKey": {"S": "6#x"}}
        for sort_key in ("later#1", "ticket#k", "job#x", "!other")
    ]
    found = Found()
    with caplog.at_level(logging.WARNING):
        found.add_page([*strange, frozen("ticket")])
        found.add_page(strange)
    assert found.in_line == (RECORDS["ticket"],)
    assert len(caplog.records) == 1


# -- the index of rejected requests --------------------------------------------------------------


@pytest.mark.parametrize("sandbox", ["", "s" * 2_049, "é" * 1_025])
def test_a_rejection_that_the_index_can_t_hold_is_written_without_it(sandbox: str) -> None:
    """DynamoDB refuses an item whose index key is empty or has more than 2,048 bytes.

    No sandbox of the settings is like that, but a record may be read without its sandbox.
    """
    write = WRITER.request(replace(RECORDS["request that was rejected"], sandbox=sandbox))
    assert "rejectedIn" not in write.written
    assert "rejectedIn" in write.as_update()["ExpressionAttributeNames"].values()


@pytest.mark.parametrize("sandbox", ["p", "s" * 2_048, "é" * 1_024])
def test_a_rejection_is_in_the_index_under_its_sandbox(sandbox: str) -> None:
    """Up to the size that a key may have."""
    write = WRITER.request(replace(RECORDS["request that was rejected"], sandbox=sandbox))
    assert write.written["rejectedIn"] == {"S": sandbox}


@pytest.mark.parametrize(
    "status", ["WAITING", "CREATING", "CREATED", "DONE", "CANCELLED", "CANCEL_WANTED"]
)
def test_a_request_that_is_not_rejected_leaves_the_index(status: Any) -> None:
    """Every write of it says so, whatever the item had before; a new item has nothing to remove."""
    record = replace(RECORDS["request that was rejected"], status=status)
    update = WRITER.request(record).as_update()
    names = {name: key for key, name in update["ExpressionAttributeNames"].items()}
    removed = update["UpdateExpression"].partition("REMOVE ")[2].split(", ")
    assert names["rejectedIn"] in removed
    assert "rejectedIn" not in WRITER.request(replace(record, version=0)).written


# -- sizes ---------------------------------------------------------------------------------------


def test_a_ticket_is_small() -> None:
    """At most 250 bytes with the longest key; so ten thousand are three pages of a query."""
    ticket = Ticket(SANDBOX, KEY, "create", turn=LATE, sent_at=LATE - 9, deadline_ms=LATE + 9)
    for one in (ticket, replace(ticket, delayed=True)):
        size = size_of(WRITER.ticket(one).written)
        assert size <= 250
        assert math.ceil(10_000 * size / 2**20) <= 3


def longest_attempt(number: int) -> Attempt:
    key = f"{number:03d}" + KEY[3:]
    return Attempt(
        key,
        f"export-jobs-{number:032d}",
        noted_at=LATE,
        send_by=LATE,
        hashes=hashes_of_request({"mergePolicy": {"id": "policy"}}),
        rule=1,
        missed_at=LATE,
        job_id="123456" if number % 2 else None,
        linked_at=LATE if number % 2 else 0,
    )


def gate_write(change: SlotChangeKind, *, version: int | None) -> Write:
    """The largest change of the gate that one transaction may make."""
    steps = {
        n: Step(slot_change=SlotChange(change, longest_attempt(n)), forget=f"former-{n:032d}")
        for n in range(MAX_STEPS)
    }
    expired = tuple(longest_attempt(n).request_key for n in range(100, 200))
    former = tuple(f"former-{n:032d}" for n in range(100, 200))
    gate = GateChange(version=version, expired_slots=expired, expired_former=former, echoes=True)
    write = GatePart.of(SANDBOX, steps, gate).write("jobs", known=None)
    assert write
    return write


def test_a_gate_with_every_slot_taken_fits_an_item() -> None:
    """200 slots, and as many former attempts, stay within DynamoDB's 400 KB."""
    steps = {n: Step(slot_change=SlotChange("note", longest_attempt(2 * n))) for n in range(200)}
    write = GatePart.of(SANDBOX, steps, GateChange(version=0)).write("jobs", known=None)
    assert write
    size = size_of(write.written)
    assert size <= 200 * 600
    assert 2 * size < 400_000


def test_the_largest_job_fits_an_item() -> None:
    """With a full outbox, its request's event, a full history, its end's detail and all its segments."""
    largest = Undelivered(Event("t" * 40, {"eventId": "x" * (MAX_DETAIL_BYTES - 20)}), BOTH)
    accepted = Undelivered(Event("t" * 40, {"eventId": "e", "reason": "ä" * 4_000}), BOTH)
    short = dict.fromkeys(KEPT, "x" * 64) | {"requestKey": KEY, "reason": None}
    record = JobRecord(
        SANDBOX,
        "j" * 256,
        LATE,
        status="s" * 64,
        request_key=KEY,
        correlation_id="ä" * 256,
        outbox=(accepted, *[largest] * MAX_UNDELIVERED),
        segments=frozenset(segment_fingerprint(str(n)) for n in range(MAX_SEGMENTS)),
        history=(PublishedEvent("t" * 40, short),) * MAX_HISTORY,
        end_detail=largest.event.detail,
    )
    assert size_of(WRITER.job(record).written) < 409_600


def test_the_largest_expectation_fits_an_item() -> None:
    """With 1,500 segments in its definition and in the one in force, and a full history."""
    largest = Expectation(
        name=KEY,
        dataset_id="d" * 64,
        timezone="America/Argentina/ComodRivadavia",
        opens=0,
        due=360,
        excepted=frozenset(date(2026, 1, 1) + timedelta(days=n) for n in range(400)),
        segments=EXPECTED_SEGMENTS,
        min_profiles=10**15,
    )
    window = Window(LATE, LATE, LATE)
    record = ExpectationRecord(
        SANDBOX,
        largest,
        LATE,
        muted_until=LATE,
        in_force=largest,
        window=window,
        missed=window,
        missed_windows=LATE,
        overdue_since=LATE,
        told_at=LATE,
        last_good_at=LATE,
        history=(PastWindow(window, "STILL_RUNNING", "j" * 256, LATE),) * judging.MAX_HISTORY,
        version=LATE,
    )
    assert size_of(expectations.written(record, "jobs").written) < 409_600


@pytest.mark.parametrize("version", [None, 7])
@pytest.mark.parametrize("change", ["note", "link", "drop", "miss", "give up"])
def test_the_largest_change_of_the_gate_is_within_the_limits_of_expressions(
    change: SlotChangeKind, version: int | None
) -> None:
    """DynamoDB allows 4 KB and 300 operators and functions per expression; moto does not check."""
    update = gate_write(change, version=version).as_update()
    for name in ("UpdateExpression", "ConditionExpression"):
        expression = update[name]
        assert len(expression) <= 4_096
        operators = expression.count(" AND ") + expression.count(" OR ") + expression.count(" = ")
        assert operators + expression.count("attribute_") <= 300
    used = f"{update['UpdateExpression']} {update['ConditionExpression']}"
    for placeholder in (*update["ExpressionAttributeNames"], *update["ExpressionAttributeValues"]):
        assert placeholder in used  # DynamoDB refuses what no expression uses


def test_a_condition_has_no_parentheses_but_those_it_needs() -> None:
    """DynamoDB refuses others as redundant; moto refuses only some."""
    write = Write("jobs", {"sk": {"S": "k"}})
    write.set({"S": "x"}, "a")
    write.require("a", "b")
    assert write.as_update()["ConditionExpression"] == "a OR b"
    write.require("c")
    write.require("d", "e")
    assert write.as_update()["ConditionExpression"] == "(a OR b) AND c AND (d OR e)"


@pytest.mark.parametrize("kind", ["job", "outbox", "request", "expectation"])
def test_what_is_new_is_put_as_a_whole_and_only_if_nothing_is_there(kind: str) -> None:
    """DynamoDB refuses a placeholder that no expression uses."""
    new = replace(RECORDS[kind], version=0)
    writes: dict[str, Callable[[Any], Write]] = {
        "job": WRITER.job,
        "outbox": WRITER.outbox_item,
        "request": WRITER.request,
        "expectation": lambda record: expectations.written(record, "jobs"),
    }
    put = writes[kind](new).as_action()["Put"]
    assert put["ConditionExpression"] == "attribute_not_exists(#0)"
    assert put["ExpressionAttributeNames"] == {"#0": "version"}
    assert "ExpressionAttributeValues" not in put
    assert READERS[kind](put["Item"]) == replace(new, version=1)


def test_slots_expire_as_fast_as_they_are_taken() -> None:
    """Each transaction may remove as many slots as it may add."""
    assert MAX_EXPIRED >= MAX_STEPS


def test_sizes_are_as_dynamodb_counts_them() -> None:
    """Names count; a number takes a byte for every two significant digits, and one more."""
    assert size_of({"name": {"S": "é"}}) == 6
    assert size_of({"n": {"N": "1700000000000"}}) == 3
    assert size_of({"n": {"N": "-123"}}) == 5
    assert size_of({"m": {"M": {"a": {"BOOL": True}}}}) == 1 + 3 + 1 + 2
    assert size_of({"l": {"L": [{"B": b"xyz"}]}}) == 1 + 3 + 1 + 3
    assert size_of({"s": {"SS": ["ab", "c"]}}) == 4


def test_a_gate_that_was_never_written_is_of_version_0() -> None:
    """So is one that only holds the line: no attempt was ever noted."""
    assert gate_of(None, "prod") == Gate("prod")
    assert gate_of({"holdUntil": {"N": "5"}}, "prod").version == 0


def test_fields_of_a_newer_definition_are_written_back_as_they_were() -> None:
    """An older version may run beside a newer one; its sweeps write the windows."""
    newer = {**EXPECTATION.expectation.as_definition(), "latestBy": [1, {"a": 2}]}
    item = frozen("expectation") | {"definition": {"S": json.dumps(newer)}}
    (record,) = expectations.records_of([item])
    assert record.expectation == EXPECTATION.expectation
    definition: Any = expectations.written(record, "t").written["definition"]
    assert json.loads(definition["S"]) == newer


@pytest.mark.parametrize(
    ("name", "stored"),
    [("definition", "[" * 100_000), ("window", "[1e999,0,0]")],
    ids=["nested deeply", "infinite"],
)
def test_what_no_version_would_write_costs_only_itself(name: str, stored: str) -> None:
    """People may write expectations without the command."""
    item = frozen("expectation") | {name: {"S": stored}}
    (record,) = expectations.records_of([item])
    assert record.window is None


def test_a_newer_window_and_its_place_in_the_index_are_read() -> None:
    """As far as this version knows them."""
    item = frozen("expectation")
    more = {"S": json.dumps([*json.loads(item["window"]["S"]), 7])}
    (record,) = expectations.records_of([item | {"window": more}])
    assert record.window == EXPECTATION.window
    assert expectations.deadline_of({"openKey": {"S": "2#00001700000000#7"}}) == 1_700_000_000
