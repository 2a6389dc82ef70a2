"""What the monitor and the creator need of the world around them. The adapters fit these shapes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

from export_jobs.contract import Job, JobPage
from export_jobs.model.records import (
    Event,
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


class JobApi(Protocol):
    """The part of the Segmentation client that a sweep needs. Raises SegmentationError."""

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage: ...
    def get_job(self, sandbox: str, job_id: str) -> Job: ...
    def org_id(self) -> str:
        """The organisation of the credential."""


class RequestApi(Protocol):
    """The part of the Segmentation client that requests need. Raises SegmentationError."""

    def prepare(self) -> None:
        """Has a token ready for the calls that follow."""

    def create_job(
        self,
        sandbox: str,
        body: Mapping[str, Any],
        *,
        request_id: str,
        may_send: Callable[[], bool],
    ) -> Job:
        """`may_send` is asked before every time that the call is sent."""

    def get_job(self, sandbox: str, job_id: str) -> Job: ...
    def cancel_job(self, sandbox: str, job_id: str) -> None: ...
    def org_id(self) -> str: ...


class RequestStore(Protocol):
    """Requests, tickets, gates and what links them to jobs. May raise StoreUnavailable, StoreRefused."""

    def requests(self, keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        """The records of those that exist, with their bodies, strongly consistent."""

    def gate(self, sandbox: str) -> Gate:
        """Strongly consistent, and never torn by a transaction."""

    def job(self, sandbox: str, job_id: str, creation_time: int) -> JobRecord | None:
        """The record of one job, strongly consistent."""

    def commit(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None = None
    ) -> frozenset[int]:
        """Writes the steps in one transaction; returns the positions of those that were written.

        A step that somebody else has outrun is left out, and so is one that touches what an earlier
        step writes; the others are written. The change of the gate is written in any case. Raises
        GateMoved, with nothing written, if the gate is no longer of the version that `gate` names.
        Without a change of the gate, steps that are too large for one transaction are written in
        several; if one of those fails, the ones before stay written.
        """


class CreatorStore(RequestStore, Protocol):
    """What the creator needs of the tables."""

    def line(self, sandbox: str, *, until: int, limit: int) -> Line:
        """The open jobs, and the first tickets whose turn came by `until`.

        Reads no further than `limit` tickets. Strongly consistent, but not of one moment: a
        transaction may be seen in part.
        """


class SweepStore(RequestStore, Protocol):
    """What a sweep needs of the tables."""

    def load(self, sandbox: str) -> SandboxRecord:
        """One consistent read of all that is unfinished; a transaction may be seen in part."""

    def put(self, record: JobRecord, state: SandboxState | None = None) -> JobRecord:
        """Writes what replaces version `record.version`, and in the same call the state.

        Returns the record with its new version. Raises RecordChanged if somebody else wrote the
        record. A state that another sweep has outrun is dropped.
        """

    def put_state(self, state: SandboxState) -> None:
        """Writes the state, unless another sweep has outrun it."""

    def put_outbox(self, item: OutboxItem) -> OutboxItem | None:
        """Replaces version `item.version`; deletes it if its outbox is empty.

        Returns it with its new version, or None if it is gone. Raises RecordChanged, which tells
        nothing of the item, if somebody else wrote it.
        """

    def recent_finals(self, sandbox: str) -> Sequence[JobRecord]:
        """Some of the newest jobs that have ended, newest first; may be a moment old."""


class SandboxRegister(Protocol):
    """The sandboxes that were ever watched. May raise StoreUnavailable."""

    def watched(self) -> frozenset[str]: ...
    def watch(self, sandboxes: Collection[str]) -> None:
        """Adds sandboxes, if there are any."""

    def forget(self, sandbox: str) -> None:
        """Forgets how far the sweeps of a sandbox had got; its next one is as its first."""

    def release(self, sandbox: str) -> None:
        """Takes out a sandbox, and forgets it."""


class EventPublisher(Protocol):
    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        """Publishes to the bus or the topic. Returns the ids of the events that surely arrived."""


class DeadLetterQueue(Protocol):
    def send(
        self, body: str, *, request_key: str, record_key: str, reason: str, event_id: str
    ) -> None:
        """Sends a rejected message to the dead-letter queue, with what its rejection said.

        `record_key`: under which its record is, where that is not the request's key. Raises
        QueueUnavailable.
        """


class RequestQueue(Protocol):
    def wake(self, sandbox: str) -> None:
        """Has the creator look at a sandbox's line. Raises QueueUnavailable."""


class RecordChanged(Exception):
    """Somebody else wrote the record since it was read. `current` is what it is now, if anything."""

    def __init__(self, current: JobRecord | None) -> None:
        self.current = current
        super().__init__("the record has changed since it was read")


class GateMoved(Exception):
    """Another run has noted attempts since the gate was read: count again. `gate` is what it is now."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        super().__init__("the gate has moved since it was read")


class StoreUnavailable(Exception):
    """The table could not do what was asked, or nobody can tell; the next run finds out."""


class StoreRefused(StoreUnavailable):
    """The table refuses this until somebody fixes something (a permission): not to be tried at once."""


class ItemRefused(StoreRefused):
    """The table refuses an item for good: it is too large, or not as an item may be."""


class QueueUnavailable(Exception):
    """The queue could not take a message, or nobody can tell."""
