"""What runs a job behind the local service's API: the protocol between the service and its engines."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from export_jobs.contract import CreateExportJob


@dataclass(frozen=True)
class PlannedBatch:
    """A batch that the service has promised in its answer to the create call.

    `segment_id` is set when the job exports one batch a segment, and None when it exports all in one.
    """

    batch_id: str
    segment_id: str | None = None
    segment_ns: str | None = None


@dataclass(frozen=True)
class ExportResult:
    """What a finished export wrote: profiles over all batches, and their identities by namespace."""

    profiles_exported: int
    profiles_by_namespace: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineError:
    """One entry of a job's `errors`."""

    code: str
    message: str
    call_stack: str = ""


class ExportFailed(Exception):
    """The export can't be done, or broke on the way; nothing of it is left. The job ends FAILED."""

    def __init__(self, errors: Sequence[EngineError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(error.message for error in errors))


class ExportCancelled(Exception):
    """The export saw `cancelled` set, stopped, and removed what it wrote. The job ends CANCELLED."""


class ExportEngine(Protocol):
    def run(
        self,
        request: CreateExportJob,
        batches: Sequence[PlannedBatch],
        cancelled: threading.Event,
    ) -> ExportResult:
        """Exports, blocking until done. Raises ExportFailed or ExportCancelled, nothing else wanted."""

    def discard(self, request: CreateExportJob, batches: Sequence[PlannedBatch]) -> None:
        """Removes what `run` wrote: the job was cancelled before its success could be noted."""
