"""`local`, `api`, `demo` and `data`: they run on this machine, and need the `local` extra."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from export_jobs_cli.options import (
    AsJson,
    AwsPort,
    Credential,
    Data,
    MaxRunning,
    MemoryMb,
    Pace,
    PagePort,
    Parameter,
    Port,
    Seed,
)

data_app = typer.Typer(no_args_is_help=True, help="Generate profile data for the local service.")

_OF_THE_LOCAL_SERVICE = ("port", "memory_mb", "max_running", "pace", "seed")


def add_local_commands(app: typer.Typer) -> None:
    app.command(short_help="Run the whole system on this machine.")(local)
    app.command(short_help="Run only the local Segmentation service.")(api)
    app.command(short_help="Run everything end to end, and reconcile the result.")(demo)
    app.add_typer(data_app, name="data")


def _local_part(name: str) -> ModuleType:
    """A module of `export_jobs_cli.local`. Raises UserError if its dependencies are missing."""
    from export_jobs_cli.errors import UserError  # noqa: PLC0415  keeps help fast

    try:
        return importlib.import_module(f"export_jobs_cli.local.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("export_jobs"):
            raise
        raise UserError(
            f"this command runs the local system, which needs {error.name}: in a checkout of the "
            "project, run pip install '.[local]', or pipx install --force '.[local]'"
        ) from None


def api(
    *,
    port: Port = 0,
    data: Data = None,
    memory_mb: MemoryMb = 512,
    max_running: MaxRunning = 4,
    pace: Pace = 1.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run only the local Segmentation service, until Ctrl-C."""
    serve = _local_part("serve")
    tuning = serve.Tuning(memory_mb, max_running, pace, seed)
    serve.api(port=port, data=data, tuning=tuning, as_json=as_json)


def local(
    context: typer.Context,
    *,
    port: Port = 0,
    aws_port: AwsPort = 0,
    page_port: PagePort = None,
    data: Data = None,
    sweep_every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Interval between sweeps, instead of the stack's schedule.",
        ),
    ] = None,
    sam: Annotated[
        bool,
        typer.Option(
            "--sam",
            help="Write template.local.yaml and events/env.json in the checkout, for sam local invoke.",
        ),
    ] = False,
    parameter: Parameter = None,
    credential: Credential = None,
    memory_mb: MemoryMb = 512,
    max_running: MaxRunning = 4,
    pace: Pace = 1.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on this machine, until Ctrl-C, with its web page.

    It uses the local Segmentation service, or your own: see --parameter and --credential.
    """
    serve, parameters = _local_part("serve"), _local_part("parameters")
    given = parameters.read(parameter or [], credential)
    if given.credential is not None:
        parameters.refuse_options_of_the_local_service(_given(context, *_OF_THE_LOCAL_SERVICE))
    serve.local(
        port=port,
        aws_port=aws_port,
        page_port=page_port,
        data=data,
        sweep_every_s=sweep_every,
        sam=sam,
        given=given,
        tuning=serve.Tuning(memory_mb, max_running, pace, seed),
        as_json=as_json,
    )


def _given(context: typer.Context, *parameters: str) -> list[str]:
    """The names of those options that were given on the command line."""
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in parameters
        and getattr(context.get_parameter_source(option.name), "name", None) != "DEFAULT"
    ]


def demo(
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Requests to send. By default, the project's examples."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory for jobs, exports and logs. By default, .export-jobs/demo.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a folder of requests through the whole system, and reconcile the result.

    Exits with 0 if nothing was lost, duplicated, left over or unexplained, otherwise with 1.
    """
    shown = _local_part("demo")
    result = shown.run(requests=requests, data=data, live=not as_json)
    if as_json:
        typer.echo(json.dumps(shown.as_json(result), indent=2))
    else:
        shown.show(result)
    raise typer.Exit(0 if result.reconciliation.good else 1)


@data_app.command()
def generate(
    *,
    profiles: Annotated[
        int, typer.Option(metavar="N", min=1, max=10**9, help="Number of profiles.")
    ] = 2_000,
    seed: Annotated[
        int,
        typer.Option(
            metavar="S", min=-(2**63), max=2**63 - 1, help="The same seed gives the same data."
        ),
    ] = 0,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Directory to write to; pass it to api and local as --data."
        ),
    ] = Path(".export-jobs/data"),
    force: Annotated[bool, typer.Option("--force", help="Replace existing data.")] = False,
    as_json: AsJson = False,
) -> None:
    """Generate profiles, with their events and segment memberships, for api and local to export."""
    made = _local_part("data")
    made.make(data, profiles=profiles, seed=seed, force=force, as_json=as_json)
