"""`ui`: serves the page until it is stopped, or writes a snapshot; prints where it is."""

from __future__ import annotations

import errno
import html
import json
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import typer

from export_jobs_cli import output
from export_jobs_cli.errors import UserError
from export_jobs_cli.page import snapshot as snapshots
from export_jobs_cli.page.pages import Pages
from export_jobs_cli.page.server import PageServer
from export_jobs_cli.signals import stopped_by_signals, wait_for
from export_jobs_cli.stack import DeployedSystem, Target, explained, opened


def until_stopped(
    target: Target, *, sandbox: str | None, port: int | None, opens: bool, as_json: bool
) -> None:
    """Raises UserError if the stack can't be read at all."""
    with opened(target) as system:
        pages = Pages(system, sandbox=sandbox)
        pages.readings()
        with stopped_by_signals() as stopped, serving(pages, port=port) as server:
            if as_json:
                typer.echo(json.dumps({"url": server.address, "stack": system.name}))
            else:
                output.console().print(
                    f"{server.address}\n\nThe page of stack {output.plain(system.name)}. "
                    "Ctrl-C stops it.",
                    soft_wrap=True,
                )
            with _opened_in_a_browser(server.address) if opens else nullcontext():
                wait_for(stopped)


_LEADS_TO: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={address}">
<title>Export jobs</title>
<p><a href="{address}">The page of Export Jobs Monitor</a>
"""


@contextmanager
def _opened_in_a_browser(address: str) -> Iterator[None]:
    """Opens a file that leads to the address, and removes it at the end.

    The address has the token, and every user of the machine can read the command line of a
    browser. The file, and the directory around it, can be read by its owner only.
    """
    with tempfile.TemporaryDirectory(prefix="export-jobs-") as directory:
        file = Path(directory, "page.html")
        file.touch(mode=0o600)
        file.write_text(_LEADS_TO.format(address=html.escape(address)), encoding="utf-8")
        webbrowser.open(file.as_uri())
        yield


@contextmanager
def serving(pages: Pages, *, port: int | None) -> Iterator[PageServer]:
    """Serves while the `with` block runs. Raises UserError if the port can't be used."""
    server = PageServer(pages, port=port)
    try:
        server.__enter__()
    except OSError as error:
        if error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise UserError(
            f"can't use port {port} for the page ({error.strerror}); try another, or 0 for any "
            "free port"
        ) from None
    try:
        yield server
    finally:
        server.__exit__(None, None, None)


def pages_of(system: DeployedSystem) -> Pages:
    """The pages of a running local system."""
    with explained():
        return Pages(system)


def snapshot(target: Target, directory: Path, *, sandbox: str | None, as_json: bool) -> None:
    with opened(target) as system:
        written = snapshots.write(Pages(system, sandbox=sandbox), directory)
    if as_json:
        output.print_json({"index": str(written.index), "pages": written.pages})
    else:
        output.console().print(
            f"{written.pages} pages written: open {output.plain(str(written.index))}",
            soft_wrap=True,
        )
