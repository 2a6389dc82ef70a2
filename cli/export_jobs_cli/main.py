"""`export-jobs`: its groups of commands, and how errors are printed."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated

import typer

from export_jobs_cli.baseline_commands import baseline_app
from export_jobs_cli.dlq_commands import dlq_app
from export_jobs_cli.event_commands import event_app
from export_jobs_cli.expectation_commands import expectation_app
from export_jobs_cli.job_commands import job_app
from export_jobs_cli.local_commands import add_local_commands
from export_jobs_cli.options import AsJson, Profile, Region, Stack
from export_jobs_cli.request_commands import request_app
from export_jobs_cli.ui_commands import ui

HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="export-jobs",
    help="Monitor and create AEP segment export jobs, in a deployed stack or on this machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings=HELP_OPTIONS,
)
app.add_typer(job_app, name="job")
app.add_typer(event_app, name="event")
app.add_typer(request_app, name="request")
app.add_typer(expectation_app, name="expectation")
app.add_typer(baseline_app, name="baseline")
app.add_typer(dlq_app, name="dlq")
app.command(short_help="Show everything on a web page.")(ui)
add_local_commands(app)


def main() -> None:
    """Runs a command. An error that a user can fix is printed in one line, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):
            if isinstance(stream, TextIOWrapper):  # replaces what the terminal can't show
                stream.reconfigure(errors="replace")
    from export_jobs_cli import output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.errors import UserError  # noqa: PLC0415

    try:
        app()
    except UserError as error:
        output.error(str(error))
        sys.exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"export-jobs {version('export-jobs-monitor')}")
        raise typer.Exit


@app.callback()
def _every_command(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    pass


@app.command(short_help="Check everything that the system needs.")
def doctor(
    stack: Stack = None, profile: Profile = None, region: Region = None, as_json: AsJson = False
) -> None:
    """Check everything that the system needs, and show how to fix what is wrong.

    Checks credentials, functions, quota, secret, token, API, permissions, clock, tables, bus, topic,
    key, alarms, queues, trigger, schedule and sweeps. Changes nothing. Exits with 0 if nothing is BAD, otherwise with 1.
    """
    from export_jobs_cli import doctor as doctors  # noqa: PLC0415  keeps help fast
    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    found = []
    with opened(Target(stack, profile, region)) as system:
        for finding in doctors.examine(system):
            found.append(finding)
            if not as_json:
                doctors.show(finding)
    if as_json:
        output.print_json(doctors.as_json(found))
    raise typer.Exit(0 if doctors.as_json(found)["good"] else 1)
