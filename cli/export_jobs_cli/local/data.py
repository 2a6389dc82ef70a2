"""`data generate`: profile data for the local service, with a progress bar."""

from __future__ import annotations

import shlex
from pathlib import Path

import duckdb
from export_jobs_local.exporting.generate import EVENTS_PER_PROFILE, STEPS, generate
from rich.progress import Progress

from export_jobs_cli.errors import UserError
from export_jobs_cli.output import console, print_json


def make(root: Path, *, profiles: int, seed: int, force: bool, as_json: bool) -> None:
    """Creates `root/data`. Raises UserError if it already contains data, unless `force` is set."""
    folder = root / "data"
    try:
        with Progress(console=console(stderr=True), disable=as_json, transient=True) as progress:
            bar = progress.add_task("generating data", total=len(STEPS))
            generate(
                folder,
                profiles=profiles,
                seed=seed,
                replace=force,
                done=lambda _: progress.advance(bar),
            )
    except FileExistsError:
        raise UserError(f"{folder} already contains data; replace it with --force") from None
    except OSError as error:
        raise UserError(f"can't write to {folder}: {error.strerror}") from None
    except duckdb.Error as error:
        raise UserError(f"can't write to {folder}: {str(error).partition(chr(10))[0]}") from None
    generated = {
        "directory": str(folder.resolve()),
        "profiles": profiles,
        "events": profiles * EVENTS_PER_PROFILE,
        "seed": seed,
    }
    if as_json:
        print_json(generated)
    else:
        console().print(
            f"{profiles:,} profiles with {generated['events']:,} events are in {folder}\n"
            f"use it with: export-jobs local --data {shlex.quote(str(root))}",
            markup=False,
            soft_wrap=True,
        )
