"""The engine: runs a plan in DuckDB, within bounds of memory, and publishes whole batches only."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from export_jobs.contract import CreateExportJob

from export_jobs_local.exporting import queries
from export_jobs_local.exporting.catalog import PARQUET_FOLDERS, DataBroken, DataDirectory
from export_jobs_local.exporting.columns import Tree
from export_jobs_local.exporting.generate import generate
from export_jobs_local.exporting.plan import BatchPlan, ExportPlan, plan_export
from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportCancelled,
    ExportFailed,
    ExportResult,
    PlannedBatch,
)

DEFAULT_PROFILES = 2_000
DATA_BROKEN = "0500000422"
WRITE_FAILED = "0090000009"
OUT_OF_SPACE = "0090000028"
EVENTS_PER_MB = 1_500
PROFILES_PER_MB = 2_000
MAX_PARTS = 4_096
"""What is worked on at once: the aggregates that hold values and lists can't be spilled to disk."""
_INTERRUPT_EVERY_S = 0.05


@dataclass(frozen=True)
class EngineSettings:
    """`memory_mb` bounds one job's memory; beyond it, DuckDB spills to disk."""

    memory_mb: int = 512
    threads: int = 2


class DuckDbEngine:
    """Exports what the request asks for to `exports/<datasetId>/<batchId>/`. Thread-safe."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: EngineSettings | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`directory` holds `data/` (made now if missing) and will hold `exports/`."""
        self._data = DataDirectory(directory / "data")
        self.exports = directory / "exports"
        self._spill = directory / "spill"
        self._settings = settings or EngineSettings()
        self._clock = clock
        if not self._data.exists:
            generate(self._data.root, profiles=DEFAULT_PROFILES, seed=0)

    def run(
        self,
        request: CreateExportJob,
        batches: Sequence[PlannedBatch],
        cancelled: threading.Event,
    ) -> ExportResult:
        """Raises ExportFailed or ExportCancelled; then nothing of the export is left."""
        began = self._clock()
        with self._connection(cancelled) as connection, self._failures(cancelled):
            profile, event = self._open(connection)
            plan = plan_export(request, batches, self._data.catalog(), profile=profile, event=event)
            results = []
            try:
                for batch in plan.batches:
                    _stop_if(cancelled)
                    results.append(self._write(connection, plan, batch, profile, began))
                _stop_if(cancelled)
                for batch, result in zip(plan.batches, results, strict=True):
                    self._publish(plan, batch, request, result, began)
            except BaseException:
                self._remove(plan.dataset_id, [batch.batch_id for batch in plan.batches])
                raise
        namespaces: Counter[str] = Counter()
        for result in results:
            namespaces.update(result.profiles_by_namespace)
        return ExportResult(sum(r.profiles_exported for r in results), dict(namespaces))

    def discard(self, request: CreateExportJob, batches: Sequence[PlannedBatch]) -> None:
        """Removes the batches of an export that was cancelled after it had been written."""
        self._remove(request.destination.dataset_id, [batch.batch_id for batch in batches])

    def _open(self, connection: duckdb.DuckDBPyConnection) -> tuple[Tree, Tree]:
        """Makes the data visible as views; returns the columns of a profile and of an event."""
        trees = {}
        for folder in PARQUET_FOLDERS:
            files = self._data.files(folder)
            found = connection.read_parquet(files, union_by_name=True)
            found.create_view(folder)
            trees[folder] = Tree.of(zip(found.columns, found.types, strict=True))
        profile = trees["fragments"].without(["sourceDatasetId", "ingestedAt"])
        return profile, trees["events"].without(["profileId"])

    def _write(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: ExportPlan,
        batch: BatchPlan,
        profile: Tree,
        now: datetime,
    ) -> ExportResult:
        """Writes one batch aside."""
        folder = self._aside(plan.dataset_id, batch.batch_id)
        folder.mkdir(parents=True)
        selection = queries.selection(plan, batch, profile, now=now)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE selected AS {selection.sql}", selection.parameters
        )
        profiles = _number(connection, "SELECT count(*) FROM selected")
        parts = self._parts(connection, plan, profiles)
        while not self._write_parts(connection, plan, batch, folder, parts):
            parts *= 4
        namespaces = dict(connection.execute(queries.NAMESPACES).fetchall())
        return ExportResult(profiles, namespaces)

    def _parts(self, connection: duckdb.DuckDBPyConnection, plan: ExportPlan, profiles: int) -> int:
        """Into how many parts the profiles are divided, so that each fits into memory."""
        memory_mb = self._settings.memory_mb
        parts = profiles // (PROFILES_PER_MB * memory_mb)
        if plan.events:
            events = _number(connection, "SELECT count(*) FROM events")
            parts = max(parts, events // (EVENTS_PER_MB * memory_mb))
        return min(1 + parts, MAX_PARTS)

    @staticmethod
    def _write_parts(
        connection: duckdb.DuckDBPyConnection,
        plan: ExportPlan,
        batch: BatchPlan,
        folder: Path,
        parts: int,
    ) -> bool:
        """Returns False, with nothing written, where the parts were too large for the memory."""
        try:
            for part in range(parts):
                rows = queries.rows(plan, batch, part=part, parts=parts)
                connection.execute(
                    f"COPY ({rows.sql}) TO ? (FORMAT parquet, COMPRESSION zstd)",
                    [*rows.parameters, str(folder / f"part-{part:05d}.parquet")],
                )
        except duckdb.OutOfMemoryException:
            if parts >= MAX_PARTS:
                raise
            for written in folder.iterdir():
                written.unlink()
            return False
        return True

    def _publish(
        self,
        plan: ExportPlan,
        batch: BatchPlan,
        request: CreateExportJob,
        result: ExportResult,
        began: datetime,
    ) -> None:
        """Makes a written batch visible, all of it at once."""
        aside = self._aside(plan.dataset_id, batch.batch_id)
        manifest = {
            "batchId": batch.batch_id,
            "datasetId": plan.dataset_id,
            "mergePolicy": {"id": batch.policy.id, "version": batch.policy.version},
            "segments": [{"segmentId": s.id, "segmentNs": s.namespace} for s in batch.segments],
            "profiles": result.profiles_exported,
            "profilesByNamespace": result.profiles_by_namespace,
            "files": sorted(path.name for path in aside.glob("*.parquet")),
            "startedAt": began.isoformat(),
            "endedAt": self._clock().isoformat(),
            "request": request.to_wire(),
        }
        (aside / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        aside.rename(self.exports / plan.dataset_id / batch.batch_id)

    def _aside(self, dataset_id: str, batch_id: str) -> Path:
        return self.exports / dataset_id / f".{batch_id}.partial"

    def _remove(self, dataset_id: str, batch_ids: Sequence[str]) -> None:
        for batch_id in batch_ids:
            shutil.rmtree(self._aside(dataset_id, batch_id), ignore_errors=True)
            shutil.rmtree(self.exports / dataset_id / batch_id, ignore_errors=True)

    @contextmanager
    def _connection(self, cancelled: threading.Event) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database of its own for one job, whose queries stop when the job is cancelled."""
        self._spill.mkdir(parents=True, exist_ok=True)
        connection = duckdb.connect(
            config={
                "memory_limit": f"{self._settings.memory_mb}MiB",
                "threads": self._settings.threads,
                "temp_directory": str(self._spill),
                "preserve_insertion_order": False,
            }
        )
        connection.execute("SET TimeZone = 'UTC'")
        done = threading.Event()

        def watch() -> None:
            while not done.wait(_INTERRUPT_EVERY_S):
                if cancelled.is_set():
                    connection.interrupt()

        watcher = threading.Thread(target=watch, name="export-watch", daemon=True)
        watcher.start()
        try:
            yield connection
        finally:
            done.set()
            watcher.join()
            connection.close()

    @contextmanager
    def _failures(self, cancelled: threading.Event) -> Iterator[None]:
        """Every failure becomes an error of the job that says what it is about."""
        try:
            yield
        except duckdb.InterruptException:
            raise ExportCancelled from None
        except DataBroken as error:
            raise ExportFailed([EngineError(DATA_BROKEN, f"Error reading data: {error}")]) from None
        except (duckdb.Error, OSError) as error:
            if cancelled.is_set():
                raise ExportCancelled from None
            raise ExportFailed([_engine_error(error)]) from error


def _stop_if(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise ExportCancelled


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0


def _engine_error(error: duckdb.Error | OSError) -> EngineError:
    text = str(error).partition("\n")[0]
    no_space = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if no_space or "No space left" in text or "Disk quota" in text:
        return EngineError(OUT_OF_SPACE, f"Error writing profiles: the disk is full ({text})")
    if isinstance(
        error, duckdb.IOException | duckdb.InvalidInputException | duckdb.BinderException
    ):
        return EngineError(DATA_BROKEN, f"Error reading or writing data: {text}")
    return EngineError(WRITE_FAILED, f"Error writing profiles: {text}", type(error).__name__)
