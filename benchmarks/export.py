"""The local export against a bare DuckDB COPY of the rows that it wrote.

Both have the same threads, memory and compression. The COPY does not merge or select profiles, and
builds no lists.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from export_jobs.contract import CreateExportJob, parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine, EngineSettings
from export_jobs_local.exporting.generate import generate
from export_jobs_local.segmentation.engine import PlannedBatch

from benchmarks.measuring import LONG, Spread, interleaved, wall_s
from benchmarks.report import Section

PROFILES = 1_000_000
EVENTS_PER_PROFILE = 5
SETTINGS = EngineSettings(memory_mb=1_000)
TURNS = 5 if LONG else 2
HOW = (
    f"{PROFILES:,} profiles with {PROFILES * EVENTS_PER_PROFILE:,} events, "
    f"{SETTINGS.memory_mb:,} MB and {SETTINGS.threads} threads for each; {TURNS} turns, "
    "interleaved, after a warm-up turn; in brackets the lowest and highest ratio of a turn."
)
DATASET = "5b7c86968f7b6501e21ba9df"
BODY: dict[str, Any] = {
    "destination": {"datasetId": DATASET},
    "schema": {"name": "_xdm.context.profile"},
}
CASES: dict[str, dict[str, Any]] = {
    "profiles with their events": {"additionalFields": {"eventList": {"fields": ""}}},
    "profiles": {},
    "one segment, three fields": {
        "fields": "personalEmail.address,person.name.firstName,homeAddress.city",
        "filter": {"segments": [{"segmentId": "52c26d0d-45f2-47a2-ab30-ed06abc981ff"}]},
    },
}


class Case:
    """One request, exported repeatedly; a copy reads what the last export wrote."""

    def __init__(self, root: Path, request: CreateExportJob) -> None:
        self.rows = 0
        self._root = root
        self._request = request
        self._engine = DuckDbEngine(root, settings=SETTINGS)
        self._written = root / "exports" / DATASET / "batch"

    def export(self) -> None:
        outcome = self._engine.run(self._request, [PlannedBatch("batch")], threading.Event())
        self.rows = outcome.profiles_exported

    def copy(self) -> None:
        files = sorted(map(str, self._written.glob("*.parquet")))
        with duckdb.connect(
            config={
                "memory_limit": f"{SETTINGS.memory_mb}MiB",
                "threads": SETTINGS.threads,
                "temp_directory": str(self._root),
                "preserve_insertion_order": False,
            }
        ) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                f"COPY (SELECT * FROM read_parquet({files!r})) TO '{self._root / 'bare.parquet'}'"
                " (FORMAT parquet, COMPRESSION zstd)"
            )

    def copied(self) -> float:
        """The seconds of a copy; then removes the export."""
        took = wall_s(self.copy)
        shutil.rmtree(self._written)
        return took


def run() -> Section:
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        generate(root / "data", profiles=PROFILES, seed=1, events_per_profile=EVENTS_PER_PROFILE)
        for name, more in CASES.items():
            case = Case(root, parse_create_request({**BODY, **more}))
            found = interleaved(
                {"export": partial(wall_s, case.export), "copy": case.copied}, turns=TURNS
            )
            rows.append((name, *_compared(found["export"], found["copy"]), f"{case.rows:,}"))
    return Section(
        "The local export",
        "python -m benchmarks export",
        ("", "ratio", "the export", "the bare COPY", "rows"),
        rows,
        remarks=(HOW,),
    )


def _compared(ours: Spread, bare: Spread) -> tuple[str, str, str]:
    return ours.over(bare).as_ratio(), f"{ours.median:.2f} s", f"{bare.median:.2f} s"
