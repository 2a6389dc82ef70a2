"""The ports of the monitor and the creator: the interfaces that the adapters implement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from export_jobs.contract import JobPage
from export_jobs.model.records import (
    Event,
    ExpectationsState,
    Gate,
    JobRecord,
    Line,
    OutboxItem,
    RequestRecord,
    SandboxRecord,
    SandboxState,
    Sink,
)
from export_jobs.model.steps import GateChange, Step

if TYPE_CHECKING:
    from export_jobs.contract import Job
    from export_jobs.model.baselines import Baseline
    from export_jobs.model.expectations import DueExpectations, ExpectationRecord


class JobApi(Protocol):
    """The part of the Segmentation client that a sweep uses. Raises SegmentationError."""

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage: ...
    def get_job(self, sandbox: str, job_id: str) -> Job: ...
    def org_id(self) -> str:
        """The organisation of the credential."""


class RequestApi(Protocol):
    """The part of the Segmentation client that the creator uses. Raises SegmentationError."""

    def prepare(self) -> None:
        """Gets a token ready for the calls that follow."""

    def create_job(
        self,
        sandbox: str,
        body: Mapping[str, Any],
        *,
        request_id: str,
        may_send: Callable[[], bool],
    ) -> Job:
        """`may_send` is called every time before the call is sent."""

    def get_job(self, sandbox: str, job_id: str) -> Job: ...
    def cancel_job(self, sandbox: str, job_id: str) -> None: ...
    def org_id(self) -> str: ...


class RequestReader(Protocol):
    """Requests by their keys. May raise StoreUnavailable."""

    def requests(self, keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        """The records of those that exist, with their bodies; strongly consistent."""


class RequestStore(RequestReader, Protocol):
    """Requests, tickets, gates and their links to jobs. May raise StoreUnavailable."""

    def gate(self, sandbox: str) -> Gate:
        """Strongly consistent; a transaction is seen as a whole or not at all."""

    def job(self, sandbox: str, job_id: str, creation_time: int) -> JobRecord | None:
        """The record of one job; strongly consistent."""

    def commit(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None = None
    ) -> frozenset[int]:
        """Writes the steps in one transaction; returns the positions of those that were written.

        A step is left out if another run has written its records first, or if it touches what an
        earlier step writes; the others are written. The change of the gate is always written.
        Raises GateMoved, with nothing written, if the gate no longer has the version in `gate`.
        Without a change of the gate, steps that are too large for one transaction are written in
        several; if one of those fails, the earlier ones stay written.
        """


class CreatorStore(RequestStore, Protocol):
    """The part of the tables that the creator uses."""

    def line(self, sandbox: str, *, until: int, limit: int) -> Line:
        """The open jobs, and the first tickets whose turn came by `until`.

        Reads at most `limit` tickets. Strongly consistent, but not a snapshot: a transaction may be
        seen in part.
        """


class SweepStore(RequestStore, Protocol):
    """The part of the tables that a sweep uses."""

    def load(self, sandbox: str) -> SandboxRecord:
        """One consistent read of everything unfinished; a transaction may be seen in part."""

    def put(
        self,
        record: JobRecord,
        state: SandboxState | None = None,
        baseline: Baseline | None = None,
    ) -> JobRecord:
        """Replaces version `record.version` of the record; writes the others in the same call.

        Returns the record with its new version. Raises RecordChanged if another run has written the
        record, or else BaselineChanged, with nothing written in both cases. The state is dropped if
        another sweep has written a newer one.
        """

    def put_state(self, state: SandboxState) -> None:
        """Writes the state, unless another sweep has written a newer one."""

    def put_outbox(self, item: OutboxItem) -> OutboxItem | None:
        """Replaces version `item.version`; deletes it if its outbox is empty.

        Returns it with its new version, or None if it is gone. Raises RecordChanged, without the
        current item, if another run has written it.
        """

    def jobs_since(self, sandbox: str, creation_time: int) -> Iterator[JobRecord]:
        """The jobs created since then, oldest first, page by page; strongly consistent."""

    def due_expectations(self, sandbox: str, *, until: int) -> DueExpectations:
        """The expectations that are overdue, or have a deadline until then; strongly consistent."""

    def expectations(self, sandbox: str) -> Sequence[ExpectationRecord]:
        """All of a sandbox; strongly consistent."""

    def look_at_expectations(self, sandbox: str) -> None:
        """Makes the next sweep look at the expectations, whatever other runs write meanwhile."""

    def put_expected(self, sandbox: str, expected: ExpectationsState) -> bool:
        """Replaces version `expected.version`; returns False if another run or a person has."""

    def baselines(self, sandbox: str, kinds: Collection[str]) -> Mapping[str, Baseline]:
        """Those that exist, by kind, in one call for up to a hundred; strongly consistent."""

    def put_baseline(self, baseline: Baseline) -> None:
        """Replaces version `baseline.version`. Raises BaselineChanged."""


class SandboxRegister(Protocol):
    """The sandboxes that were ever watched. May raise StoreUnavailable."""

    def watched(self) -> frozenset[str]: ...
    def watch(self, sandboxes: Collection[str]) -> None:
        """Adds sandboxes, if there are any."""

    def forget(self, sandbox: str) -> None:
        """Deletes the sweep state of a sandbox; its next sweep is like its first."""

    def release(self, sandbox: str) -> None:
        """Removes a sandbox and its sweep state."""


class EventPublisher(Protocol):
    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        """Publishes to the bus or the topic. Returns the ids of the events that surely arrived."""


class DeadLetterQueue(Protocol):
    def send(
        self, body: str, *, request_key: str, record_key: str, reason: str, event_id: str
    ) -> None:
        """Sends a rejected message to the dead-letter queue, with the reason of its rejection.

        `record_key` is the key of its record, which may differ from the request's. Raises
        QueueUnavailable.
        """


class RequestQueue(Protocol):
    def wake(self, sandbox: str) -> None:
        """Makes the creator look at a sandbox's waiting requests. Raises QueueUnavailable."""


class HeartbeatReceiver(Protocol):
    def beat(self) -> None:
        """Reports once that all is well. Raises a SegmentationError, without the URL in its text."""


class RecordChanged(Exception):
    """Another run has written the record since it was read. `current` is the new one, or None."""

    def __init__(self, current: JobRecord | None) -> None:
        self.current = current
        super().__init__("the record has changed since it was read")


class BaselineChanged(Exception):
    """Another run, or a person, has written the baseline since it was read: read it again."""


class GateMoved(Exception):
    """Another run noted attempts after the gate was read: count again. `gate` is the new one."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        super().__init__("the gate has moved since it was read")


class StoreUnavailable(Exception):
    """The table call failed, or its outcome is unknown; the next run finds out."""


class StoreRefused(StoreUnavailable):
    """The table refuses this until somebody fixes the cause (a permission); don't retry at once."""


class ItemRefused(StoreRefused):
    """The table refuses an item permanently: it is too large or invalid."""


class QueueUnavailable(Exception):
    """Sending to the queue failed, or its outcome is unknown."""
