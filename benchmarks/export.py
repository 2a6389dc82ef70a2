"""The local export against a bare DuckDB COPY of the very rows that it wrote, in the same run.

Both have the same threads, memory and compression. The COPY has nothing to find out: no merging,
no choosing, no lists to make. Ratios first, medians of interleaved runs.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine, EngineSettings
from export_jobs_local.exporting.generate import generate
from export_jobs_local.segmentation.engine import PlannedBatch

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


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def bare_copy(files: list[str], target: Path, settings: EngineSettings) -> None:
    with duckdb.connect(
        config={
            "memory_limit": f"{settings.memory_mb}MiB",
            "threads": settings.threads,
            "temp_directory": str(target.parent),
            "preserve_insertion_order": False,
        }
    ) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT * FROM read_parquet({files!r})) TO '{target}'"
            " (FORMAT parquet, COMPRESSION zstd)"
        )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--profiles", type=int, default=1_000_000)
    options.add_argument("--events", type=int, default=5, help="events a profile")
    options.add_argument("--memory", type=int, default=1_000, help="MB")
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    settings = EngineSettings(memory_mb=given.memory)
    with tempfile.TemporaryDirectory(prefix="bench-export-") as folder:
        root = Path(folder)
        generate(root / "data", profiles=given.profiles, seed=1, events_per_profile=given.events)
        print(
            f"{given.profiles:,} profiles, {given.profiles * given.events:,} events, "
            f"{given.memory} MB, {settings.threads} threads, {given.runs} runs\n"
        )
        print(
            f"{'what':<28} {'ratio':>6} {'export':>8} {'COPY':>8} {'rows':>10}   ratios of the runs"
        )
        for name, more in CASES.items():
            request = parse_create_request({**BODY, **more})
            engine = DuckDbEngine(root, settings=settings)
            exports, copies, rows = [], [], 0
            for number in range(given.runs + 1):
                batch = PlannedBatch(f"b{number}")

                def export(batch: PlannedBatch = batch) -> None:
                    nonlocal rows
                    rows = engine.run(request, [batch], threading.Event()).profiles_exported

                export_s = timed(export)
                written = root / "exports" / DATASET / batch.batch_id
                files = sorted(map(str, written.glob("*.parquet")))
                copy_s = timed(lambda f=files: bare_copy(f, root / "bare.parquet", settings))  # type: ignore[misc]
                shutil.rmtree(written)
                if number:  # the first is to warm up
                    exports.append(export_s)
                    copies.append(copy_s)
            ratios = [one / other for one, other in zip(exports, copies, strict=True)]
            print(
                f"{name:<28} {statistics.median(ratios):>5.2f}x {statistics.median(exports):>6.2f} s"
                f" {statistics.median(copies):>6.2f} s {rows:>10,}   "
                + " ".join(f"{ratio:.2f}" for ratio in sorted(ratios)),
                flush=True,
            )


if __name__ == "__main__":
    main()
