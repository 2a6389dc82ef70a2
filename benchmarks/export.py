"""The local export beside the same written by hand, in DuckDB's SQL and with Polars.

All have the same files, threads and compression; DuckDB has the same memory limit, and Polars has
none. A bare COPY of the rows that our export wrote is the least possible.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import duckdb
from export_jobs_local.exporting.generate import generate

from benchmarks.export_peers import SEGMENT
from benchmarks.export_sides import (
    CASES,
    PEERS,
    SETTINGS,
    SIDES,
    Outcome,
    measured,
    written,
)
from benchmarks.measuring import LONG, Spread, in_turns
from benchmarks.report import Section

PROFILES = 1_000_000
EVENTS_PER_PROFILE = 5
TURNS = 5 if LONG else 2
SHORT_TURNS = 20 if LONG else 10
"""Of the case that takes less than a second."""
NAMES = {
    "ours": "ours",
    "by hand": "DuckDB, by hand",
    "polars": "Polars",
    "copy": "bare `COPY` of our rows",
}
HOW = (
    f"{PROFILES:,} profiles with {PROFILES * EVENTS_PER_PROFILE:,} events; {SETTINGS.threads} "
    f"threads for each, {SETTINGS.memory_mb:,} MiB for DuckDB, no limit for Polars; {TURNS} turns, "
    f"{SHORT_TURNS} of the last case, interleaved, each export in a process of its own. A ratio is "
    "ours to that side, the median of the turns, with the lowest and highest in brackets. CPU is "
    "of all threads together. Peak is the memory of the whole process; temporary is what it had on "
    "disk besides the result. All but the `COPY` wrote equal rows, which was compared, and counted "
    "the profiles of each namespace."
)


class Different(Exception):
    """Two sides did not export the same."""


def run() -> Section:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        root = Path(folder)
        generate(root / "data", profiles=PROFILES, seed=1, events_per_profile=EVENTS_PER_PROFILE)
        rows: list[Sequence[str]] = []
        against: list[str] = []
        for case in CASES:
            exported, found = compared(case, root)
            rows.append((f"*{case}; {exported:,} rows*", *[""] * 6))
            rows += [_row(side, found) for side in SIDES]
            against.append(f"{case}, {against_the_faster(found)}")
    return Section(
        "The local export",
        "python -m benchmarks export",
        (
            "",
            "elapsed, ratio",
            "elapsed",
            "CPU, ratio",
            "CPU",
            "peak MiB",
            "temporary MiB",
        ),
        rows,
        remarks=(f"Ours to the faster of the other two: {'; '.join(against)}.", HOW),
    )


def compared(case: str, root: Path) -> tuple[int, dict[str, list[Outcome]]]:
    """Exports in turns; returns the number of rows and what each side took."""
    sides = {side: partial(measured, side, case, root) for side in SIDES}
    turns = SHORT_TURNS if case == SEGMENT else TURNS
    found = in_turns(sides, turns=turns, warm_up=0)
    return check_equal(root, {side: found[side][0].namespaces for side in SIDES}), found


def check_equal(root: Path, namespaces: Mapping[str, Mapping[str, int]]) -> int:
    """Returns the number of rows that ours and the peers wrote.

    Raises Different if they are not equal, or if their profiles of each namespace are not.
    """
    ours = contents(written("ours", root))
    for side in PEERS:
        theirs = contents(written(side, root))
        if (theirs, namespaces[side]) != (ours, namespaces["ours"]):
            raise Different(f"{NAMES[side]}: {theirs}, {namespaces[side]}; ours: {ours}")
    return ours[0]


def contents(folder: Path) -> tuple[int, int | None, list[tuple[str, str]]]:
    """The number of rows, the sum of their hashes, and the columns with their types.

    The order of rows does not matter, nor that of identities; the order of events does.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = connection.read_parquet(f"{folder}/*.parquet")
        columns = list(zip(rows.columns, map(str, rows.types), strict=True))
        compared = ", ".join(
            "list_sort(list_transform(map_entries(identityMap),"
            " lambda e: {'key': e.key, 'ids': list_sort(e.value)}))"
            if name == "identityMap"
            else f'"{name}"'
            for name, _ in columns
        )
        ((number, total),) = rows.aggregate(f"count(*), sum(hash({compared}))").fetchall()
    return number, total, columns


def against_the_faster(found: Mapping[str, Sequence[Outcome]]) -> str:
    faster = min(PEERS, key=lambda side: _elapsed(found[side]).median)
    return f"{_elapsed(found['ours']).over(_elapsed(found[faster])).as_ratio()} ({NAMES[faster]})"


def _row(side: str, found: Mapping[str, Sequence[Outcome]]) -> tuple[str, ...]:
    ours, its = found["ours"], found[side]
    ratios = ("", "")
    if side != "ours":
        ratios = (
            _elapsed(ours).over(_elapsed(its)).as_ratio(),
            _cpu(ours).over(_cpu(its)).as_ratio(),
        )
    return (
        NAMES[side],
        ratios[0],
        f"{_elapsed(its).median:.2f} s",
        ratios[1],
        f"{_cpu(its).median:.2f} s",
        f"{max(one.peak_mib for one in its):,.0f}",
        f"{max(one.temporary_mib for one in its):,.0f}",
    )


def _elapsed(outcomes: Sequence[Outcome]) -> Spread:
    return Spread(tuple(one.elapsed_s for one in outcomes))


def _cpu(outcomes: Sequence[Outcome]) -> Spread:
    return Spread(tuple(one.cpu_s for one in outcomes))
