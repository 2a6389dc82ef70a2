"""The demo's engine: keeps a job that is to be cancelled running, and has one fail at first."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export_jobs.contract import CreateExportJob

from export_jobs_local.demo.requests import DemoRequest
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportFailed,
    ExportResult,
)

_FAILED_ONCE = "0100000003"
_WHY_FAILED_ONCE = "the demo makes this job fail, so that its request is retried"
MOST_S = 30.0
"""A job that is not cancelled continues after this time."""


class DemoEngine(DuckDbEngine):
    """Exports what is requested; jobs that a cancel request names first wait to be cancelled.

    The first job of a request that is to fail once does so.
    """

    def __init__(self, directory: Path, requests: Sequence[DemoRequest]) -> None:
        super().__init__(directory)
        cancelled = {request.cancels for request in requests} - {None}
        self._to_be_cancelled: list[Any] = [r.job for r in requests if r.key in cancelled]
        self._to_fail: list[Any] = [r.job for r in requests if r.sending == "fails-once"]
        self._failing = threading.Lock()

    def run(
        self,
        request: CreateExportJob,
        batch_ids: Sequence[str],
        cancelled: threading.Event,
    ) -> ExportResult:
        if request.to_wire() in self._to_be_cancelled:
            cancelled.wait(MOST_S)
        with self._failing:
            if request.to_wire() in self._to_fail:
                self._to_fail.remove(request.to_wire())
                raise ExportFailed([EngineError(_FAILED_ONCE, _WHY_FAILED_ONCE)])
        return super().run(request, batch_ids, cancelled)
