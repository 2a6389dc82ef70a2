"""What the core needs of the world around it. The adapters fit these shapes and know no rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from export_jobs.contract import Job, JobPage
from export_jobs.model.records import Event, JobRecord, SandboxRecord, SandboxState, Sink


class JobApi(Protocol):
    """The part of the Segmentation client that a sweep needs. Raises SegmentationError."""

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage: ...
    def get_job(self, sandbox: str, job_id: str) -> Job: ...


class JobTable(Protocol):
    """What a sweep needs of the jobs table. Every call may raise TableUnavailable."""

    def load(self, sandbox: str) -> SandboxRecord:
        """One consistent read: state, open jobs and attempts."""

    def put(self, record: JobRecord, state: SandboxState | None = None) -> JobRecord:
        """Writes what replaces version `record.version`, and in the same call the state.

        Returns the record with its new version. Raises RecordChanged if somebody else wrote the
        record. A state that another sweep has outrun is dropped.
        """

    def put_state(self, state: SandboxState) -> None:
        """Writes the state, unless another sweep has outrun it."""

    def recent_finals(self, sandbox: str) -> Sequence[JobRecord]:
        """Some of the newest jobs that have ended, newest first; may be a moment old."""


class Announcer(Protocol):
    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        """Publishes to one sink. Returns the ids of the events that surely arrived."""


class RecordChanged(Exception):
    """Somebody else wrote the record since it was read. `current` is what it is now, if anything."""

    def __init__(self, current: JobRecord | None) -> None:
        self.current = current
        super().__init__("the record has changed since it was read")


class TableUnavailable(Exception):
    """The table could not do what was asked, or nobody can tell; the next run finds out."""
