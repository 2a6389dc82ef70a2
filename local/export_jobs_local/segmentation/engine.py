"""What runs a job behind the local service's API: the protocol between the service and its engines."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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
class Resolved:
    """What an export uses where its request leaves it open, as the job shows it.

    `merge_policy` has `id` and, where known, `version`. `namespaces` has one entry a segment asked
    for, in their order: None where the request names none and the data don't tell which it is.
    """

    merge_policy: Mapping[str, Any]
    namespaces: Sequence[str | None] = ()


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
    def resolve(self, request: CreateExportJob) -> Resolved:
        """What `run` will use. Raises nothing: what is unknown is shown as it was asked for."""

    def run(
        self,
        request: CreateExportJob,
        batches: Sequence[PlannedBatch],
        cancelled: threading.Event,
    ) -> ExportResult:
        """Exports, blocking until done. Raises ExportFailed or ExportCancelled, nothing else wanted.

        What an earlier run of the same batches left, which was killed, does not stand in the way.
        """

    def discard(self, request: CreateExportJob, batches: Sequence[PlannedBatch]) -> None:
        """Removes what `run` wrote, now or before it was killed: the job is not to succeed."""
