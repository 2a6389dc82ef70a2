"""Runs all parts, or those named; prints each table when it is done, and saves all, with plots."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from export_jobs_local.project import ROOT

from benchmarks.report import Section, draw, machine, put_into

PARTS = ("cost", "growth", "warm", "creator", "cold_start", "export", "time_to_know", "page")
RESULTS = ROOT / ".export-jobs" / "bench"


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument(
        "parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; by default, all"
    )
    options.add_argument(
        "--page", type=Path, metavar="FILE", help="put the tables into this page, between its marks"
    )
    given = options.parse_args(arguments)
    parts = given.parts or PARTS
    if unknown := [part for part in parts if part not in PARTS]:
        options.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(PARTS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    on = f"{machine()}, {date.today().isoformat()}."  # noqa: DTZ011  the user's own day
    texts = [f"# Measured\n\n{on}\n"]
    print(texts[0], flush=True)
    for part in parts:
        began = time.monotonic()
        section = run(part)
        text = section.markdown()
        print(text, flush=True)
        print(f"({part} took {time.monotonic() - began:.0f} s)\n", file=sys.stderr, flush=True)
        texts.append(text)
        # Written after each part, so that a later failure loses nothing.
        (RESULTS / "results.md").write_text("\n".join(texts))
        if given.page:
            page = put_into(given.page.read_text(), part, text)
            # The page names one machine and one day, so only a run of everything changes them.
            given.page.write_text(put_into(page, "machine", on) if parts == PARTS else page)
        for plot in section.plots:
            draw(plot, RESULTS)
    print(f"In {RESULTS}: results.md and the plots.", file=sys.stderr)


def run(part: str) -> Section:
    section: Section = importlib.import_module(f"benchmarks.{part}").run()
    return section


if __name__ == "__main__":
    main()
