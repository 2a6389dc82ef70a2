"""An engine that needs no data: it computes counters from the request."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence

from export_jobs.contract import CreateExportJob

from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportCancelled,
    ExportFailed,
    ExportResult,
    Resolved,
)

DEFAULT_MERGE_POLICY = {"id": "timestampOrdered-none-mp", "version": 1}


class CountingEngine:
    """Ends at once and reads no data.

    Its counters are invented, but the same for the same request. A job fails only if its dataset is
    not among `datasets` (None: any dataset). Real exports are made by the DuckDB engine.
    """

    def __init__(self, *, datasets: frozenset[str] | None = None) -> None:
        self._datasets = datasets

    def resolve(self, request: CreateExportJob) -> Resolved:
        segments = (request.filter.segments if request.filter else None) or []
        return Resolved(
            request.to_wire().get("mergePolicy") or DEFAULT_MERGE_POLICY,
            [segment.segment_ns for segment in segments],
        )

    def run(
        self,
        request: CreateExportJob,
        batch_ids: Sequence[str],  # noqa: ARG002  it writes none
        cancelled: threading.Event,
    ) -> ExportResult:
        dataset = request.destination.dataset_id
        if cancelled.is_set():
            raise ExportCancelled
        if self._datasets is not None and dataset not in self._datasets:
            raise ExportFailed([EngineError("0090000404", f"Dataset {dataset} does not exist")])
        segments = (request.filter.segments if request.filter else None) or []
        if not segments:
            return ExportResult(1_000, {"email": 1_000})
        profiles = sum(10 + zlib.crc32(s.segment_id.encode()) % 90 for s in segments)
        return ExportResult(profiles, {"email": profiles, "ecid": profiles // 2})

    def discard(self, request: CreateExportJob, batch_ids: Sequence[str]) -> None:
        """There is nothing to remove."""
