"""`ui`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from export_jobs_cli.options import AsJson, Profile, Region, Sandbox, Stack, UiPort


def ui(
    *,
    snapshot: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the pages into this directory, as files that need no server, and exit.",
        ),
    ] = None,
    port: UiPort = None,
    open_it: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser as well.")
    ] = False,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Serve a web page of exports on this machine, until Ctrl-C; it only reads.

    The page shows what needs attention, every run of the last two weeks, jobs, datasets, requests
    and expectations. It reads the stack with your own AWS credentials, and is served only on
    127.0.0.1, to those who have the token in the printed address.
    """
    from export_jobs_cli.page import serve  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.stack import Target  # noqa: PLC0415

    target = Target(stack, profile, region)
    if snapshot:
        serve.snapshot(target, snapshot, sandbox=sandbox, as_json=as_json)
    else:
        serve.until_stopped(target, sandbox=sandbox, port=port, opens=open_it, as_json=as_json)
