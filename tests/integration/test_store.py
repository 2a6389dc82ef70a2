"""The store on DynamoDB (moto's) against the one in memory that the random histories use."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from export_jobs.aws.jobs import JobsTable
from export_jobs.contract import Job
from export_jobs.creator.message import RequestRecord
from export_jobs.model.ports import RecordChanged, TableUnavailable
from export_jobs.model.records import Attempt, Event, JobRecord, Owed, SandboxState
from export_jobs_local.project import TEMPLATE
from support.local import Bench
from support.world import MemoryTable, World

EVENT = Event("Export Job State Change", {"eventId": "e", "sequence": 1, "status": "NEW"})
OWED = (Owed(EVENT, frozenset({"bus", "topic"})),)


def attempt(key: str) -> Attempt:
    return Attempt("prod", key, f"export-jobs-{key}", "print", 5, "policy", "correlation")


def outcome(call: Callable[[], Any]) -> Any:
    """What a call came to: its result, or who stood in its way."""
    try:
        return call()
    except RecordChanged as changed:
        return ("changed", changed.current)


def steps(chance: random.Random) -> tuple[str, Callable[[Any], Any]]:
    """A random call, described, and as a function of the store."""
    number = chance.randint(1, 3)
    key = f"k{number}"
    version = chance.randint(0, 3)
    job = JobRecord(
        "prod",
        f"j{number}",
        100 + number,
        status=chance.choice(["NEW", "SUCCEEDED"]),
        final=chance.random() < 0.4,
        sequence=1,
        version=version,
        update_time=chance.choice([None, 7]),
        org_id="org",
        dataset_id=chance.choice([None, "d"]),
        duration_ms=chance.choice([None, 0, 12]),
        profiles_exported=chance.choice([None, 0, 5]),
        request_key=chance.choice([None, key]),
        delays=chance.choice([0, 2]),
        misses=chance.choice([0, 1]),
        owed=chance.choice([(), OWED]),
        leased_at=chance.choice([0, 9]),
        touched_at=50,
    )
    state = SandboxState(
        "prod",
        chance.randint(0, 9),
        seen_from=3,
        seen=frozenset({b"12345678", b"abcdefgh"}),
        swept_at=chance.randint(1, 9),
        new_since=chance.randint(0, 9),
        blind_since=chance.choice([0, 4]),
    )
    request = RequestRecord(
        key,
        chance.choice(["WAITING", "CREATING", "CREATED"]),
        sandbox=chance.choice([None, "prod"]),
        body_hash="hash",
        version=version,
        request_id=chance.choice([None, "id"]),
        attempted_at=chance.choice([0, 5]),
        job_id=chance.choice([None, "j"]),
        event=chance.choice([None, EVENT]),
        owed=chance.choice([frozenset(), frozenset({"bus", "dlq"})]),
        touched_at=50,
    )
    shown = Job.model_validate({"id": f"j{number}", "status": "NEW", "creationTime": 100 + number})
    gate = chance.randint(0, 2)
    choices: dict[str, Callable[[Any], Any]] = {
        f"put {job}": lambda store: store.put(job),
        f"put {job} with {state}": lambda store: store.put(job, state),
        f"put {state}": lambda store: store.put_state(state),
        "load": lambda store: store.load("prod"),
        f"request {key}": lambda store: store.request(key),
        f"put {request}": lambda store: store.put_request(request),
        f"note {request} gate {gate}": lambda store: store.note_attempt(
            request, attempt(key), gate
        ),
        f"drop {request}": lambda store: store.drop_attempt(request, "prod"),
        f"link {request} {job}": lambda store: store.link(request, job),
        f"job j{number}": lambda store: store.job("prod", shown),
        "sandbox": lambda store: store.sandbox("prod"),
        "finals": lambda store: store.recent_finals("prod"),
    }
    return chance.choice(list(choices.items()))


class Both:
    """The two adapters of DynamoDB as one, as the one in memory is."""

    def __init__(self, bench: Bench) -> None:
        self._table, self._ledger = bench.jobs_table, bench.ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table if hasattr(JobsTable, name) else self._ledger, name)


@pytest.mark.parametrize("seed", range(6))
def test_both_stores_answer_alike(bench: Bench, seed: int) -> None:
    """Call by call over random sequences: the same records, the same refusals."""
    chance = random.Random(seed)
    real, memory = Both(bench), MemoryTable(World())
    for _ in range(150):
        described, call = steps(chance)
        assert outcome(lambda: call(real)) == outcome(lambda: call(memory)), described  # noqa: B023


def test_open_jobs_beyond_a_megabyte_are_all_read(bench: Bench) -> None:
    """One query brings a megabyte a page; a sandbox may owe more than that."""
    big = Event("Export Job State Change", {"eventId": "e", "text": "x" * 200_000})
    table = bench.jobs_table
    for number in range(12):
        owed = (Owed(big, frozenset({"bus"})),)
        table.put(JobRecord("prod", f"j{number}", 100, status="NEW", owed=owed))
    assert len(table.load("prod").open_jobs) == 12


def test_ended_records_expire_and_open_ones_never_do(bench: Bench) -> None:
    """DynamoDB's own expiry takes what is final and settled, so many days after its last change."""
    table = bench.jobs_table
    name = bench.stack.outputs["JobsTableName"]
    record = JobRecord("prod", "j", 100, status="NEW", touched_at=1_700_000_000_000)
    written = table.put(record)
    assert "expiresAt" not in item(bench, name)
    owing = table.put(replace(written, status="FAILED", final=True, owed=OWED))
    assert "expiresAt" not in item(bench, name)
    table.put(replace(owing, owed=()))
    assert item(bench, name)["expiresAt"] == {"N": str(1_700_000_000 + 90 * 86_400)}
    assert TEMPLATE.read_text().count("AttributeName: expiresAt") == 2  # moto keeps no such setting


def item(bench: Bench, table: str) -> Any:
    (found,) = bench.clients["dynamodb"].scan(TableName=table)["Items"]
    return found


class Conflicting:
    """A client of DynamoDB where the first calls meet somebody else's transaction."""

    def __init__(self, client: Any, times: int) -> None:
        self._client, self.times = client, times

    def __getattr__(self, name: str) -> Any:
        if not self.times or name not in {"put_item", "transact_write_items"}:
            return getattr(self._client, name)
        self.times -= 1
        one = {"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}
        many = {
            "Error": {"Code": "TransactionCanceledException", "Message": "cancelled"},
            "CancellationReasons": [{"Code": "TransactionConflict"}, {"Code": "None"}],
        }
        error = ClientError(one if name == "put_item" else many, name)

        def refused(**_: Any) -> None:
            raise error

        return refused


@pytest.mark.parametrize("with_state", [False, True])
def test_a_write_that_meets_a_transaction_is_tried_again(bench: Bench, with_state: bool) -> None:
    """DynamoDB refuses it for a moment: nobody has written, and nothing is wrong."""
    client = Conflicting(bench.clients["dynamodb"], times=2)
    table = JobsTable(cast("Any", client), bench.stack.outputs["JobsTableName"])
    state = SandboxState("prod", 100, swept_at=5) if with_state else None
    table.put(JobRecord("prod", "j", 100, status="NEW"), state)
    assert client.times == 0
    assert table.load("prod").open_jobs.keys() == {"j"}
    assert table.load("prod").state == state


def test_an_item_too_large_is_trouble_and_not_a_crash(bench: Bench) -> None:
    """Events are bounded so that this can't come about; if it does, the sweep reports it."""
    huge = Event("Export Job State Change", {"eventId": "e", "text": "x" * 500_000})
    with pytest.raises(TableUnavailable):
        bench.jobs_table.put(
            JobRecord("prod", "j", 100, status="NEW", owed=(Owed(huge, frozenset({"bus"})),))
        )
