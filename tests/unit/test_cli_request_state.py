"""`request show` of a request that was rejected as it arrived, in spite of an index that lags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import RequestRecord
from export_jobs_cli import request_state
from export_jobs_cli.errors import UserError

REJECTED = RequestRecord("m!1", "REJECTED", "dev", named="key", outcome="INVALID", touched_at=5)
OLDER = RequestRecord("m!0", "REJECTED", "prod", named="key", outcome="INVALID", touched_at=4)


class SystemHere:
    """Tables that show what happened only some looks later, and a queue that is empty."""

    outputs: Mapping[str, str] = {"RequestQueueUrl": "queue"}

    def __init__(self) -> None:
        self.store = self
        self.recorded: dict[int, RequestRecord] = {}
        """By the number of pauses after which it is there."""
        self.indexed: dict[int, list[RequestRecord]] = {}
        self.pauses: list[float] = []

    def requests(self, keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        found = [one for at, one in self.recorded.items() if at <= len(self.pauses)]
        return {one.request_key: one for one in found if one.request_key in keys}

    def rejected_requests(self, sandbox: str, *, limit: int, named: str) -> Iterator[RequestRecord]:
        there = [one for at, some in self.indexed.items() if at <= len(self.pauses) for one in some]
        found = [one for one in there if (one.sandbox, one.named) == (sandbox, named)]
        return iter(sorted(found, key=lambda one: -one.touched_at)[:limit])

    def sandboxes(self, _wanted: str | None) -> tuple[str, ...]:
        return "prod", "dev"

    def names(self, _sandbox: str) -> Names:
        return NO_NAMES

    def client(self, _service: str) -> Any:
        return self

    def get_queue_attributes(self, **_: Any) -> Any:
        return {"Attributes": {}}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Without dead letters."""
    system = SystemHere()

    @contextmanager
    def received(_system: Any) -> Iterator[list[Any]]:
        yield []

    monkeypatch.setattr(request_state, "received", received)
    monkeypatch.setattr("time.sleep", system.pauses.append)
    return system


def test_a_rejection_that_the_index_has_is_shown_at_once(system: Any) -> None:
    """The newest one, whichever watched sandbox it is in, under the key that its message named."""
    system.indexed[0] = [OLDER, REJECTED]
    shown = request_state.look_up(system, "key")
    assert (shown.request_key, shown.status, shown.since) == ("key", "REJECTED", 5)
    assert not system.pauses


def test_a_rejection_that_the_index_lacks_at_first_is_not_called_unknown(system: Any) -> None:
    """An index is updated after its table, so there is a second look a moment later."""
    system.indexed[1] = [REJECTED]
    assert request_state.look_up(system, "key").outcome == "INVALID"
    assert system.pauses == [request_state.INDEX_LAG_S]


def test_a_request_that_is_recorded_meanwhile_is_not_called_unknown(system: Any) -> None:
    """Its message may have left the queue between two looks."""
    system.recorded[1] = RequestRecord("key", "CREATED", "prod", job_id="1", touched_at=5)
    assert request_state.look_up(system, "key").status == "CREATED"


def test_a_request_that_nobody_sent_is_called_unknown_after_a_second_look(system: Any) -> None:
    """It waits for the index once, and not longer."""
    system.indexed[0] = [OLDER, REJECTED]
    with pytest.raises(UserError, match="'other' is unknown: the queue is empty"):
        request_state.look_up(system, "other")
    assert len(system.pauses) == 1
