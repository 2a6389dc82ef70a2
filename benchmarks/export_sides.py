"""One export by one side, measured in a process of its own.

`python -m benchmarks.export_sides SIDE CASE ROOT` prints its outcome as JSON. `ROOT` has `data/`.
"""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import FILE_FORMAT, DuckDbEngine, EngineSettings
from export_jobs_local.project import ROOT as PROJECT

from benchmarks import export_peers
from benchmarks.export_peers import EVENTS, PROFILES, SEGMENT
from benchmarks.measuring import timed

SETTINGS = EngineSettings(memory_mb=1_000)
DATASET = "5b7c86968f7b6501e21ba9df"
BODY: dict[str, Any] = {
    "destination": {"datasetId": DATASET},
    "schema": {"name": "_xdm.context.profile"},
}
CASES: dict[str, dict[str, Any]] = {
    EVENTS: {"additionalFields": {"eventList": {"fields": ""}}},
    PROFILES: {},
    SEGMENT: {
        "fields": "personalEmail.address,person.name.firstName,homeAddress.city",
        "filter": {"segments": [{"segmentId": export_peers.SEGMENT_ID}]},
    },
}
_LOOK_EVERY_S = 0.05
_TIMEOUT_S = 600


@dataclass(frozen=True)
class Outcome:
    """What an export took, and the profiles that it counted in each namespace."""

    elapsed_s: float
    cpu_s: float
    peak_mib: float
    namespaces: Mapping[str, int]
    temporary_mib: float = 0.0


def ours(case: str, root: Path) -> Mapping[str, int]:
    engine = DuckDbEngine(root, settings=SETTINGS)
    request = parse_create_request({**BODY, **CASES[case]})
    done = engine.run(request, ["batch"], threading.Event())
    return done.profiles_by_namespace


def by_hand(case: str, root: Path) -> Mapping[str, int]:
    with export_peers.connection(root, SETTINGS) as connection:
        return export_peers.by_hand(connection, case, written("by hand", root))


def polars(case: str, root: Path) -> Mapping[str, int]:
    return export_peers.polars(case, root / "data", written("polars", root))


def copy(_: str, root: Path) -> Mapping[str, int]:
    """Copies the rows of our export: nothing is merged, selected, listed or counted."""
    files = sorted(map(str, written("ours", root).glob("*.parquet")))
    with export_peers.connection(root, SETTINGS) as connection:
        connection.execute(
            f"COPY (FROM read_parquet({files!r}))"
            f" TO '{written('copy', root) / 'rows.parquet'}' ({FILE_FORMAT})"
        )
    return {}


SIDES: dict[str, Callable[[str, Path], Mapping[str, int]]] = {
    "ours": ours,
    "by hand": by_hand,
    "polars": polars,
    "copy": copy,
}
PEERS = ("by hand", "polars")


def written(side: str, root: Path) -> Path:
    """The folder for the Parquet files of a side's last export."""
    return root / "exports" / DATASET / "batch" if side == "ours" else root / side


def export(side: str, case: str, root: Path) -> Outcome:
    """Exports in this process."""
    folder = written(side, root)
    shutil.rmtree(folder, ignore_errors=True)
    if side != "ours":
        folder.mkdir()
    found: dict[str, int] = {}
    took = timed(lambda: found.update(SIDES[side](case, root)))
    return Outcome(took.wall_s, took.cpu_s, _peak_mib(), found)


def measured(side: str, case: str, root: Path) -> Outcome:
    """Exports in another process, as memory once used may stay with a process."""
    command = [sys.executable, "-m", "benchmarks.export_sides", side, case, str(root)]
    environment = export_peers.environment(SETTINGS)
    most = 0
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + _TIMEOUT_S
        try:
            while process.poll() is None and time.monotonic() < deadline:
                most = max(most, _bytes_in(root / "spill"))
                time.sleep(_LOOK_EVERY_S)
        finally:
            process.kill()
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Outcome(**{**json.loads(printed), "temporary_mib": most / 2**20})


def _bytes_in(folder: Path) -> int:
    found = 0
    for path in folder.rglob("*"):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # removed while we look
            continue
    return found


def _peak_mib() -> float:
    """Of this process alone: getrusage also counts what it was forked from."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert peak
    return int(peak[1]) / 1024


def main(arguments: Sequence[str]) -> None:
    side, case, root = arguments
    print(json.dumps(asdict(export(side, case, Path(root)))))


if __name__ == "__main__":
    main(sys.argv[1:])
