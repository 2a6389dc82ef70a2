"""The demo's engine: keeps a job that is to be cancelled running until it is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export_jobs.contract import CreateExportJob

from export_jobs_local.demo.requests import DemoRequest
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.segmentation.engine import ExportResult, PlannedBatch

MOST_S = 30.0
"""A job that is not cancelled continues after this time."""


class DemoEngine(DuckDbEngine):
    """Exports what is requested; jobs that a cancel request names first wait to be cancelled."""

    def __init__(self, directory: Path, requests: Sequence[DemoRequest]) -> None:
        super().__init__(directory)
        cancelled = {request.cancels for request in requests} - {None}
        self._to_be_cancelled: list[Any] = [r.job for r in requests if r.key in cancelled]

    def run(
        self,
        request: CreateExportJob,
        batches: Sequence[PlannedBatch],
        cancelled: threading.Event,
    ) -> ExportResult:
        if request.to_wire() in self._to_be_cancelled:
            cancelled.wait(MOST_S)
        return super().run(request, batches, cancelled)
