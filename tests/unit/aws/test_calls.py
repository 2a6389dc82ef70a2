"""What failures of DynamoDB's calls mean, and which calls are tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from export_jobs.aws.dynamodb import calls
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.ports import ItemRefused, StoreRefused, StoreUnavailable
from export_jobs.model.records import (
    Event,
    JobRecord,
    OutboxItem,
    RequestRecord,
    SandboxState,
    Undelivered,
)
from export_jobs.model.steps import Step
from support.dynamodb import Failure, Spy, cancelled, refusal

JOB = JobRecord("prod", "j", 100, status="NEW")
BASELINE = Baseline("prod", "1-a", runs=(Run(1, 2, 3),))
ITEM = OutboxItem("prod", "k", (Undelivered(Event("T", {"eventId": "e"}), frozenset({"bus"})),))


class Willing:
    """A DynamoDB that accepts every call, and is empty."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda **_: {"Items": [], "Responses": {}}


@pytest.fixture
def spy() -> Spy:
    return Spy(Willing())


@pytest.fixture
def adapter(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> DynamoDbStore:
    """The adapter, without pauses."""
    monkeypatch.setattr(calls, "pause", lambda _: None)
    client: Any = spy
    return DynamoDbStore(client, jobs_table="jobs", requests_table="requests")


def recording(*keys: str) -> list[Step]:
    return [Step(requests=(RequestRecord(key, "WAITING", "prod"),)) for key in keys]


WRITES: dict[str, Callable[[DynamoDbStore], object]] = {
    "commit": lambda adapter: adapter.commit("prod", recording("a")),
    "put": lambda adapter: adapter.put(JOB),
    "put with state": lambda adapter: adapter.put(JOB, SandboxState("prod", 1)),
    "put_state": lambda adapter: adapter.put_state(SandboxState("prod", 1)),
    "put with baseline": lambda adapter: adapter.put(JOB, None, BASELINE),
    "put_baseline": lambda adapter: adapter.put_baseline(BASELINE),
    "put_outbox": lambda adapter: adapter.put_outbox(ITEM),
    "watch": lambda adapter: adapter.watch({"prod"}),
    "release": lambda adapter: adapter.release("prod"),
}
READS: dict[str, Callable[[DynamoDbStore], object]] = {
    "load": lambda adapter: adapter.load("prod"),
    "line": lambda adapter: adapter.line("prod", until=1, limit=1),
    "gate": lambda adapter: adapter.gate("prod"),
    "job": lambda adapter: adapter.job("prod", "j", 100),
    "request": lambda adapter: adapter.requests(["a"]),
    "requests": lambda adapter: adapter.requests(["a", "b"]),
    "baselines": lambda adapter: adapter.baselines("prod", {"1-a"}),
    "ended_requests": lambda adapter: list(adapter.ended_requests(["REJECTED"], limit=1)),
    "rejected_requests": lambda adapter: list(adapter.rejected_requests("prod", limit=1)),
    "watched": lambda adapter: adapter.watched(),
}
CALLS = WRITES | READS

PASSING: dict[str, Failure] = {
    "throttled": refusal("ThrottlingException"),
    "over capacity": refusal("ProvisionedThroughputExceededException"),
    "a 500": refusal("InternalServerError", 500),
    "a 503 of no known code": refusal("", 503),
    "timed out": lambda _: ReadTimeoutError(endpoint_url="aws"),
    "not reached": lambda _: EndpointConnectionError(endpoint_url="aws"),
}
LASTING: dict[str, Failure] = {
    "not valid": refusal("ValidationException"),
    "denied": refusal("AccessDeniedException"),
    "no such table": refusal("ResourceNotFoundException"),
    "no credentials": lambda _: NoCredentialsError(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", PASSING)
def test_a_passing_failure_is_not_a_refusal(
    adapter: DynamoDbStore, spy: Spy, call: str, failure: str
) -> None:
    """After throttling, a failure of DynamoDB or a lost connection, the next run tries again."""
    spy.failures = [PASSING[failure]]
    with pytest.raises(StoreUnavailable) as raised:
        CALLS[call](adapter)
    assert not isinstance(raised.value, StoreRefused)
    assert len(spy.calls) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("failure", LASTING)
def test_a_lasting_failure_is_a_refusal(
    adapter: DynamoDbStore, spy: Spy, call: str, failure: str
) -> None:
    """After a missing permission or table, or an invalid item, an immediate retry is useless."""
    spy.failures = [LASTING[failure]]
    with pytest.raises(StoreRefused) as raised:
        CALLS[call](adapter)
    assert isinstance(raised.value, ItemRefused) == (failure == "not valid")
    assert len(spy.calls) == 1


@pytest.mark.parametrize("code", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_transaction_that_is_throttled_passes(
    adapter: DynamoDbStore, spy: Spy, code: str
) -> None:
    """The reason is given with one of its actions."""
    spy.failures = [cancelled("None", code)]
    with pytest.raises(StoreUnavailable) as raised:
        adapter.commit("prod", recording("a"))
    assert not isinstance(raised.value, StoreRefused)


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
def test_a_member_that_is_refused_fails_the_transaction_for_good(
    adapter: DynamoDbStore, spy: Spy, code: str
) -> None:
    """It was not outrun, and must not look so. The caller may try the members alone."""
    spy.failures = [cancelled("ConditionalCheckFailed", code)]
    with pytest.raises(ItemRefused, match=code):
        adapter.commit("prod", recording("a"))


@pytest.mark.parametrize("call", WRITES)
def test_a_write_that_meets_a_transaction_is_tried_again(
    adapter: DynamoDbStore, spy: Spy, call: str
) -> None:
    """DynamoDB refuses it briefly: nobody has written, and nothing is wrong."""
    single = refusal("TransactionConflictException")
    several = cancelled("TransactionConflict", "None")
    transacts = call in {"commit", "put with state", "put with baseline", "release"}
    spy.failures = [several if transacts else single] * 2
    WRITES[call](adapter)
    assert len(spy.calls) == 3


def test_a_write_that_meets_transactions_again_and_again_gives_up(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """After a few tries; the next run may succeed."""
    spy.failures = [cancelled("TransactionConflict", "None")] * 9
    with pytest.raises(StoreUnavailable):
        adapter.commit("prod", recording("a"))
    assert len(spy.calls) == 1 + len(calls.CONFLICT_PAUSES_S)


def test_a_conflict_beside_an_outrun_member_leaves_out_only_that(
    adapter: DynamoDbStore, spy: Spy
) -> None:
    """The member that met another transaction is tried again."""
    spy.failures = [cancelled("ConditionalCheckFailed", "TransactionConflict")]
    assert adapter.commit("prod", recording("a", "b")) == {1}
    assert [len(sent["TransactItems"]) for _, sent in spy.calls] == [2, 1]
