"""The protocol between the local service and the engines that run its jobs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from export_jobs.contract import CreateExportJob


@dataclass(frozen=True)
class Resolved:
    """What an export uses where its request leaves it open, as the job shows it.

    `merge_policy` has `id` and, if known, `version`. `namespaces` has one entry per segment
    requested, in their order: None if neither the request nor the data determine it.
    """

    merge_policy: Mapping[str, Any]
    namespaces: Sequence[str | None] = ()


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote: profiles over all batches, and their identities by namespace."""

    profiles_exported: int
    profiles_by_namespace: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineError:
    """One entry of a job's `errors`."""

    code: str
    message: str
    call_stack: str = ""


class ExportFailed(Exception):
    """The export is impossible, or has failed; nothing of it remains. The job ends FAILED."""

    def __init__(self, errors: Sequence[EngineError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(error.message for error in errors))


class ExportCancelled(Exception):
    """`cancelled` was set; the export stopped, and removed its output. The job ends CANCELLED."""


class ExportEngine(Protocol):
    def resolve(self, request: CreateExportJob) -> Resolved:
        """What `run` will use. Raises nothing: unknown values are shown as requested."""

    def run(
        self,
        request: CreateExportJob,
        batch_ids: Sequence[str],
        cancelled: threading.Event,
    ) -> ExportResult:
        """Exports, blocking until done. Should raise only ExportFailed or ExportCancelled.

        Leftovers of an earlier run of the same batches, which was killed, must cause no error.
        """

    def discard(self, request: CreateExportJob, batch_ids: Sequence[str]) -> None:
        """Removes what `run` wrote, also before it was killed: the job must not succeed."""
