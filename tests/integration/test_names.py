"""Names of datasets and segments in the table, and in the messages of the function as deployed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from export_jobs.aws.dynamodb import names as stored
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.names import MAX_NAME, NO_NAMES, Names
from export_jobs.model.ports import ItemRefused, StoreUnavailable
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.broad_run import calls_file, recording_pool
from support.dynamodb import Spy, Store, refusal, store_in
from support.files import event

NAMES = Names({"d1": "Newsletter profiles", "d2": "Basket"}, {"s1": "VIP"})


# -- the table -----------------------------------------------------------------------------------


@pytest.mark.parametrize("by_query", [False, True])
def test_names_are_read_as_they_were_written(store: Store, by_query: bool) -> None:
    """By one call, strongly consistent for people alone; the last write wins; none are no error."""
    spy = Spy(store.client)
    adapter = store.adapter(spy)
    assert adapter.names("prod", by_query=by_query) == NO_NAMES
    for names in (NAMES, Names({"d1": "Newsletter"}), NO_NAMES, NAMES):
        adapter.put_names("prod", names)
        spy.calls.clear()
        assert adapter.names("prod", by_query=by_query) == names
        ((operation, asked),) = spy.calls
        assert operation == ("query" if by_query else "get_item")
        assert asked.get("ConsistentRead", False) == by_query
    assert adapter.names("dev", by_query=by_query) == NO_NAMES


def test_names_stand_beside_the_expectations_and_are_none(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither for people nor for a sweep, and without a warning."""
    adapter = store.adapter()
    record = ExpectationRecord("prod", Expectation("nightly", "d1", "UTC", due=360), applied_at=1)
    adapter.edit_expectations("prod", [record])
    adapter.put_names("prod", NAMES)
    with caplog.at_level(logging.WARNING):
        assert [found.name for found in adapter.expectations("prod")] == ["nightly"]
        (due,) = adapter.due_expectations("prod", until=10**15).records
        assert due.name == "nightly"
        found = adapter.load("prod")
        assert (found.open_jobs, found.outbox, found.tickets) == ({}, (), ())
    assert not caplog.records


def test_as_many_names_as_are_not_refused_fit_an_item(store: Store) -> None:
    """Moto has DynamoDB's limit; one name more than ours is refused, and what is stored stays."""
    adapter = store.adapter()
    many: dict[str, str] = {}
    size = 200
    for number in range(10_000):
        name = f"{number:024}"
        size += len(name) + MAX_NAME + 1
        if size > stored.MAX_BYTES:
            break
        many[name] = "n" * MAX_NAME
    adapter.put_names("prod", Names(many))
    with pytest.raises(ItemRefused, match="leave out"):
        adapter.put_names("prod", Names({**many, "one": "n" * MAX_NAME, "two": "n" * MAX_NAME}))
    assert adapter.names("prod") == Names(many)


@pytest.mark.parametrize("by_query", [False, True])
def test_a_read_that_fails_says_what_it_was_for(store: Store, by_query: bool) -> None:
    """As every read of the tables does."""
    spy = Spy(store.client)
    spy.failures = [refusal("AccessDeniedException")]
    with pytest.raises(StoreUnavailable, match="names of datasets and segments"):
        store.adapter(spy).names("prod", by_query=by_query)


# -- the function as deployed --------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """`reads` are the partitions whose names it read; `mailed`, the e-mails' texts."""

    reads: list[str]
    mailed: list[str]


@dataclass(frozen=True)
class Monitor:
    """The monitor of a local system that runs by hand; its calls are recorded."""

    system: LocalSystem
    pool: FunctionPool

    def sweep(self) -> Sweep:
        file = calls_file(self.system.config.logs, "monitor")
        file.unlink(missing_ok=True)
        assert self.pool.invoke(event("monitor")).error is None
        made = [json.loads(line)["parameters"] for line in file.open()]
        keys = [parameters.get("Key", {}) for parameters in made]
        entries = [e for one in made for e in one.get("PublishBatchRequestEntries", ())]
        return Sweep(
            reads=[key["sandbox"]["S"] for key in keys if key.get("sk") == {"S": "!names"}],
            mailed=[json.loads(entry["Message"])["email"] for entry in entries],
        )

    def create_job(self) -> int:
        segments = [{"segmentId": "s2"}, {"segmentId": "s1"}]
        job = self.system.service.control.create_job(
            destination={"datasetId": "d1"}, filter={"segments": segments}
        )
        return job.id

    def end(self, job: int) -> None:
        self.system.service.control.set_status(job, "FAILED")


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    service = ServiceConfig(manual=True, sandboxes=("prod",))
    config = SystemConfig(logs=tmp_path, service=service, triggers=False)
    with LocalSystem(config) as system, closing(recording_pool(system, "monitor")) as pool:
        store = store_in(system.aws.client("dynamodb"), system.stack.outputs)
        store.put_names("prod", NAMES)
        yield Monitor(system, pool)


def test_only_a_message_for_people_reads_names_and_only_the_first(monitor: Monitor) -> None:
    """Neither a quiet sweep nor one whose events go to the bus alone; the bus has ids alone."""
    assert monitor.sweep() == Sweep([], [])
    first, second = monitor.create_job(), monitor.create_job()
    assert monitor.sweep() == Sweep([], [])
    monitor.end(first)
    with_names = monitor.sweep()
    assert with_names.reads == ["!expectations#prod"]
    (text,) = with_names.mailed
    assert "\nDataset:            Newsletter profiles (d1)\n" in text
    assert "\nSegments:           VIP (s1), s2\n" in text
    monitor.end(second)
    assert monitor.sweep().reads == []
    published = monitor.system.subscribers.drain()
    assert [one.sink for one in published].count("topic") == 2
    for one in published:
        assert one.detail["datasetId"] == "d1"
        assert "Newsletter" not in json.dumps(one.detail)
