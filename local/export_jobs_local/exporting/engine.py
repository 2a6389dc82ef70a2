"""The engine: runs a plan in DuckDB with limited memory, and publishes only complete batches."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from export_jobs.contract import CreateExportJob

from export_jobs_local.exporting import queries
from export_jobs_local.exporting.catalog import (
    PARQUET_FOLDERS,
    DataBroken,
    DataDirectory,
    MergePolicy,
    names_a_folder,
)
from export_jobs_local.exporting.columns import Tree
from export_jobs_local.exporting.generate import generate
from export_jobs_local.exporting.plan import (
    BatchPlan,
    ExportPlan,
    plan_export,
    resolve,
    shown_policy,
)
from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportCancelled,
    ExportFailed,
    ExportResult,
    Resolved,
)

DEFAULT_PROFILES = 2_000
DATA_BROKEN = "0500000422"
WRITE_FAILED = "0090000009"
OUT_OF_SPACE = "0090000028"
EVENTS_PER_MB = 1_500
PROFILES_PER_MB = 2_000
"""Limits the size of a part, as aggregates of values and lists can't spill to disk."""
MAX_PARTS = 4_096
FILE_FORMAT = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1"
"""At this level, files are as small as at DuckDB's default, and take a fifth less CPU time."""
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
        """`directory` has `data/` (generated if missing), and gets `exports/`.

        Raises DataBroken if `data/` has files but no datasets.json, or can't be generated.
        """
        self._data = DataDirectory(directory / "data")
        self.exports = directory / "exports"
        self._spill = directory / "spill"
        self._settings = settings or EngineSettings()
        self._clock = clock
        if not self._data.exists:
            try:
                generate(self._data.root, profiles=DEFAULT_PROFILES, seed=0)
            except FileExistsError:
                raise DataBroken(f"{self._data.root} has files, but no datasets.json") from None
            except (duckdb.Error, OSError) as error:
                raise DataBroken(f"{self._data.root} can't be generated: {error}") from None

    def resolve(self, request: CreateExportJob) -> Resolved:
        try:
            return resolve(request, self._data.catalog())
        except DataBroken:  # the job reports it, and fails
            listed = (request.filter.segments if request.filter else None) or []
            return Resolved(shown_policy(request), [None] * len(listed))

    def run(
        self,
        request: CreateExportJob,
        batch_ids: Sequence[str],
        cancelled: threading.Event,
    ) -> ExportResult:
        """Exports. Raises ExportFailed or ExportCancelled; then nothing of the export remains."""
        began = self._clock()
        self.discard(request, batch_ids)
        with self._connection(batch_ids[0], cancelled) as connection, self._failures(cancelled):
            profile, event = self._open(connection)
            plan = plan_export(
                request, batch_ids, self._data.catalog(), profile=profile, event=event
            )
            try:
                results = self._write(connection, plan, profile, cancelled, began)
                _stop_if(cancelled)
                for batch, result in zip(plan.batches, results, strict=True):
                    self._publish(plan, batch, request, result, began)
            except BaseException:
                self.discard(request, batch_ids)
                raise
        namespaces: Counter[str] = Counter()
        for result in results:
            namespaces.update(result.profiles_by_namespace)
        return ExportResult(sum(r.profiles_exported for r in results), dict(namespaces))

    def discard(self, request: CreateExportJob, batch_ids: Sequence[str]) -> None:
        """Removes what exists of the batches, also after a run that was killed."""
        dataset_id = request.destination.dataset_id
        if names_a_folder(dataset_id):  # otherwise nothing was written
            for batch_id in batch_ids:
                shutil.rmtree(self._aside(dataset_id, batch_id), ignore_errors=True)
                shutil.rmtree(self.exports / dataset_id / batch_id, ignore_errors=True)
        shutil.rmtree(self._spill / batch_ids[0], ignore_errors=True)

    def _open(self, connection: duckdb.DuckDBPyConnection) -> tuple[Tree, Tree]:
        """Creates views of the data; returns the columns of a profile and of an event."""
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
        profile: Tree,
        cancelled: threading.Event,
        now: datetime,
    ) -> list[ExportResult]:
        """Writes all batches to partial folders; computes what they share only once."""
        if plan.updated_after is not None:
            _make(connection, "updated", queries.updated(plan))
        if plan.empty_profiles:
            _make(connection, "without_fragments", queries.without_fragments(plan))
        events = _number(connection, "SELECT count(*) FROM events") if plan.events else 0
        evaluated: dict[tuple[str, int], str] = {}
        results = []
        for batch in plan.batches:
            _stop_if(cancelled)
            if batch.segments:
                table = self._evaluated(connection, plan, batch, profile, evaluated)
                members = queries.members(plan, batch, evaluated=table, now=now)
                try:
                    _make(connection, "members", members)
                except duckdb.Error as error:
                    if table and not cancelled.is_set():
                        _blame_a_predicate(connection, batch, table, error)
                    raise
            results.append(self._write_batch(connection, plan, batch, events))
        return results

    def _evaluated(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: ExportPlan,
        batch: BatchPlan,
        profile: Tree,
        made: dict[tuple[str, int], str],
    ) -> str:
        """The table on which a batch's predicates are evaluated, created once per merge policy."""
        if not plan.evaluate:
            return ""
        policy = batch.policy.id, batch.policy.version
        if policy not in made:
            made[policy] = f"evaluated_{len(made)}"
            self._merge(connection, batch.policy, profile, made[policy])
        return made[policy]

    def _merge(
        self, connection: duckdb.DuckDBPyConnection, policy: MergePolicy, profile: Tree, table: str
    ) -> None:
        """Creates a table of all profiles, merged, for the evaluation of predicates."""

        def write(number: int, part: int, parts: int) -> None:
            merged = queries.profiles(policy, profile, part=part, parts=parts)
            if number == 0:
                _make(connection, table, merged)
            else:
                connection.execute(f"INSERT INTO {table} {merged.sql}", merged.parameters)

        self._in_parts(write, profiles=_number(connection, "SELECT count(*) FROM fragments"))

    def _write_batch(
        self, connection: duckdb.DuckDBPyConnection, plan: ExportPlan, batch: BatchPlan, events: int
    ) -> ExportResult:
        folder = self._aside(plan.dataset_id, batch.batch_id)
        folder.mkdir(parents=True)
        chosen = queries.chosen(plan, batch)
        if batch.segments or plan.updated_after:
            # They are needed several times, and are usually few; if not, they are read each time.
            with suppress(duckdb.OutOfMemoryException):
                _make(connection, "chosen", chosen)
                chosen = queries.Query("FROM chosen")
        _make(connection, "selected", queries.selected(plan, batch, chosen))

        def write(number: int, part: int, parts: int) -> None:
            file = folder / f"part-{number:05d}.parquet"
            file.unlink(missing_ok=True)
            rows = queries.rows(plan, chosen, part=part, parts=parts)
            connection.execute(
                f"COPY ({rows.sql}) TO ? ({FILE_FORMAT})", [*rows.parameters, str(file)]
            )

        profiles = _number(connection, "SELECT count(*) FROM selected")
        self._in_parts(write, profiles=profiles, events=events)
        counting = queries.namespaces(plan, chosen, str(folder / "*.parquet"))
        found = connection.execute(counting.sql, counting.parameters).fetchall()
        return ExportResult(profiles, dict(found))

    def _in_parts(
        self, write: Callable[[int, int, int], None], *, profiles: int, events: int = 0
    ) -> None:
        """Divides profiles, by their hash, into parts that each fit into memory.

        `write` gets the number of parts written so far, the part to write, and the number of parts.
        If one does not fit, it and those after it are divided by four; written parts stay.
        """
        memory_mb = self._settings.memory_mb
        wanted = max(profiles // PROFILES_PER_MB, events // EVENTS_PER_MB) // memory_mb
        parts = min(1 + wanted, MAX_PARTS)
        to_write = list(range(parts))
        written = 0
        while to_write:
            try:
                write(written, to_write[0], parts)
            except duckdb.OutOfMemoryException:
                if parts >= MAX_PARTS:
                    raise
                # A hash that is `part` modulo `parts` is one of these modulo 4 `parts`.
                to_write = [part + parts * quarter for part in to_write for quarter in range(4)]
                parts *= 4
            else:
                written += 1
                del to_write[0]

    def _publish(
        self,
        plan: ExportPlan,
        batch: BatchPlan,
        request: CreateExportJob,
        result: ExportResult,
        began: datetime,
    ) -> None:
        """Makes a written batch visible, atomically."""
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

    @contextmanager
    def _connection(
        self, batch_id: str, cancelled: threading.Event
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A separate database for one job, whose queries stop when the job is cancelled.

        It spills to a separate folder, named after the job's first batch.
        """
        spill = self._spill / batch_id
        self._spill.mkdir(parents=True, exist_ok=True)
        connection = duckdb.connect(
            config={
                "memory_limit": f"{self._settings.memory_mb}MiB",
                "threads": self._settings.threads,
                "temp_directory": str(spill),
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
            shutil.rmtree(spill, ignore_errors=True)

    @contextmanager
    def _failures(self, cancelled: threading.Event) -> Iterator[None]:
        """Turns every failure into an error of the job that states its cause."""
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


def _make(connection: duckdb.DuckDBPyConnection, table: str, query: queries.Query) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {table} AS {query.sql}", query.parameters)


def _number(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0


def _blame_a_predicate(
    connection: duckdb.DuckDBPyConnection, batch: BatchPlan, evaluated: str, error: duckdb.Error
) -> None:
    """Raises DataBroken if one of the batch's predicates can't be evaluated by itself."""
    for segment in batch.segments:
        for definition in segment.definitions:
            try:
                connection.execute(queries.predicate_alone(definition.predicate, evaluated))
            except (duckdb.InterruptException, duckdb.OutOfMemoryException):
                raise error from None
            except duckdb.Error as found:
                raise DataBroken(
                    f"the predicate of segment {definition.id!r} in segments.json: {_line(found)}"
                ) from None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _engine_error(error: duckdb.Error | OSError) -> EngineError:
    """The error of the job; our SQL is always the same, so other errors are due to the data."""
    text = _line(error)
    no_space = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if no_space or "No space left" in text or "Disk quota" in text:
        return EngineError(OUT_OF_SPACE, f"Error writing profiles: the disk is full ({text})")
    if isinstance(error, OSError | duckdb.OutOfMemoryException | duckdb.InternalException):
        return EngineError(WRITE_FAILED, f"Error writing profiles: {text}", type(error).__name__)
    return EngineError(DATA_BROKEN, f"Error reading or writing data: {text}", type(error).__name__)
