"""The commands and their options; what they do is elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(
    name="export-jobs",
    help="Watch and create AEP segment export jobs, on this laptop or in a deployed stack.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Port = Annotated[int, typer.Option(help="port of the Segmentation service; 0 takes any free one")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for a program")]
Data = Annotated[
    Path | None,
    typer.Option(help="directory to keep jobs and exports in; without it they are gone at the end"),
]


def main() -> None:
    """Runs a command. Errors that a user can mend are said in a line, without a traceback."""
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415  help must come quickly

    try:
        app()
    except UserError as error:
        Console(stderr=True).print(f"error: {error}", style="red", highlight=False)
        sys.exit(2)


@app.command()
def api(port: Port = 0, data: Data = None, as_json: AsJson = False) -> None:
    """Run the local Segmentation service alone, until Ctrl-C."""
    from export_jobs_local.cli import serve  # noqa: PLC0415  help must come quickly

    serve.api(port=port, data=data, as_json=as_json)


@app.command()
def local(
    port: Port = 0,
    aws_port: Annotated[int, typer.Option(help="port of local AWS; 0 takes any free one")] = 0,
    data: Data = None,
    sweep_every: Annotated[
        float | None,
        typer.Option(min=0.1, help="seconds between sweeps, instead of the template's schedule"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on this laptop, until Ctrl-C."""
    from export_jobs_local.cli import serve  # noqa: PLC0415  help must come quickly

    serve.local(port=port, aws_port=aws_port, data=data, sweep_every_s=sweep_every, as_json=as_json)


@app.command()
def demo(
    requests: Annotated[
        Path | None, typer.Option(help="folder of requests; by default events/requests")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="directory for jobs, exports and logs; by default .export-jobs/demo"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a folder of requests through the whole system, and reconcile what came of it.

    Ends with 0 if nothing was lost, said twice or unexplained, else with 1.
    """
    from export_jobs_local.cli import demo_view  # noqa: PLC0415  help must come quickly

    result = demo_view.run(requests=requests, data=data, live=not as_json)
    if as_json:
        typer.echo(json.dumps(demo_view.as_json(result), indent=2))
    else:
        demo_view.show(result)
    raise typer.Exit(0 if result.reconciliation.good else 1)
