"""The commands and their options; what they do is elsewhere. Two groups have files of their own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from export_jobs_local.cli.dlq_commands import dlq_app
from export_jobs_local.cli.options import (
    AsJson,
    AwsPort,
    Credential,
    Data,
    MaxRunning,
    MemoryMb,
    Pace,
    Parameter,
    Port,
    Sandbox,
    Seed,
    Stack,
)
from export_jobs_local.cli.request_commands import request_app

app = typer.Typer(
    name="export-jobs",
    help="Watch and create AEP segment export jobs, on this laptop or in a deployed stack.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(request_app, name="request")
app.add_typer(dlq_app, name="dlq")


def main() -> None:
    """Runs a command. Errors that a user can fix are said in a line, without a traceback."""
    from export_jobs_local.cli import output  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415

    try:
        app()
    except UserError as error:
        output.error(str(error))
        sys.exit(2)


@app.command()
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
    """Run the local Segmentation service alone, until Ctrl-C."""
    from export_jobs_local.cli import serve  # noqa: PLC0415  help must come quickly

    tuning = serve.Tuning(memory_mb, max_running, pace, seed)
    serve.api(port=port, data=data, tuning=tuning, as_json=as_json)


@app.command()
def local(
    context: typer.Context,
    *,
    port: Port = 0,
    aws_port: AwsPort = 0,
    data: Data = None,
    sweep_every: Annotated[
        float | None,
        typer.Option(min=0.1, help="seconds between sweeps, instead of the template's schedule"),
    ] = None,
    sam: Annotated[
        bool,
        typer.Option(
            "--sam", help="write template.local.yaml and events/env.json, for sam local invoke"
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
    """Run the whole system on this laptop, until Ctrl-C.

    With the local Segmentation service, or with one of yours: see --parameter and --credential.
    """
    from export_jobs_local.cli import parameters, serve  # noqa: PLC0415  help must come quickly

    given = parameters.read(parameter or [], credential)
    if given.credential is not None:
        parameters.refuse_options_of_the_local_service(_typed(context, *_OF_THE_LOCAL_SERVICE))
    serve.local(
        port=port,
        aws_port=aws_port,
        data=data,
        sweep_every_s=sweep_every,
        sam=sam,
        given=given,
        tuning=serve.Tuning(memory_mb, max_running, pace, seed),
        as_json=as_json,
    )


_OF_THE_LOCAL_SERVICE = ("port", "memory_mb", "max_running", "pace", "seed")


def _typed(context: typer.Context, *parameters: str) -> list[str]:
    """Those of the options that were given, as they are typed."""
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in parameters
        and getattr(context.get_parameter_source(option.name), "name", None) != "DEFAULT"
    ]


@app.command(short_help="Show it all at work, and reconcile what came of it.")
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

    Ends with 0 if nothing was lost, duplicated, left over or unexplained, else with 1.
    """
    from export_jobs_local.cli import demo_view  # noqa: PLC0415  help must come quickly

    result = demo_view.run(requests=requests, data=data, live=not as_json)
    if as_json:
        typer.echo(json.dumps(demo_view.as_json(result), indent=2))
    else:
        demo_view.show(result)
    raise typer.Exit(0 if result.reconciliation.good else 1)


data_app = typer.Typer(no_args_is_help=True, help="Make profile data for the local service.")
app.add_typer(data_app, name="data")


@data_app.command()
def generate(
    *,
    profiles: Annotated[int, typer.Option(metavar="N", min=1, max=10**9, help="how many")] = 2_000,
    seed: Annotated[
        int,
        typer.Option(metavar="S", min=-(2**63), max=2**63 - 1, help="the same seed, the same data"),
    ] = 0,
    data: Annotated[
        Path, typer.Option(help="directory for them; api and local take the same --data")
    ] = Path(".export-jobs/data"),
    force: Annotated[bool, typer.Option("--force", help="replace data that are there")] = False,
    as_json: AsJson = False,
) -> None:
    """Make profiles, events and memberships, as docs/local-data.md describes them."""
    from export_jobs_local.cli.data import make  # noqa: PLC0415  help must come quickly

    make(data, profiles=profiles, seed=seed, force=force, as_json=as_json)


@app.command()
def jobs(
    *,
    stack: Stack = None,
    sandbox: Sandbox = None,
    status: Annotated[
        str | None,
        typer.Option(
            metavar="STATUS",
            help="only with this status or outcome, e.g. FAILED or SUCCEEDED_EMPTY",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(metavar="ID", help="only into this dataset")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=2000, help="the most jobs to list")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List export jobs, newest first, as the service shows them now.

    Of those that failed, the first error is said below. With filters, the newest 2,000 jobs of
    each sandbox are looked at.
    """
    from export_jobs_local.cli import deployed, jobs, output  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system:
        found = jobs.find(system, sandbox=sandbox, status=status, dataset=dataset, limit=limit)
        watched = len(system.monitor.sandboxes)
    if as_json:
        output.print_json([listed.as_json() for listed in found])
    else:
        jobs.show_list(found, watched=watched)


@app.command(short_help="Show one job: its life, request, events and data.")
def job(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="the job's id")],
    stack: Stack = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
) -> None:
    """Show one job: its life as a timeline, its request, its events, and where its data is."""
    from export_jobs_local.cli import deployed, jobs, output  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system:
        life = jobs.look_up(system, job_id, sandbox=sandbox)
        if as_json:
            output.print_json(life.as_json(system))
        else:
            jobs.show(life, system)


@app.command()
def events(
    *,
    stack: Stack = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", "-f", help="wait for more; there is no other way, so the default"),
    ] = True,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="end after this number of events")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", min=1, help="end after this number of seconds")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="print each event whole, as one line of JSON")
    ] = False,
) -> None:
    """Follow the events on the bus as they come, until Ctrl-C.

    Makes a queue and a rule on the bus, and removes both at the end. Past events are not shown:
    the bus keeps them in an archive, for replays only.
    """
    del follow
    from export_jobs_local.cli import deployed, output  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli import events as followed  # noqa: PLC0415

    def say(event: Mapping[str, Any]) -> None:
        if as_json:
            typer.echo(json.dumps(event, ensure_ascii=False))
        else:
            followed.show(event)

    def ready() -> None:
        output.console(stderr=True).print(f"following {system.name}; Ctrl-C ends it")

    with deployed.opened(stack) as system:
        followed.follow(system, limit=limit, seconds=seconds, told=say, ready=ready)


@app.command(short_help="Check all that the system needs.")
def doctor(stack: Stack = None, as_json: AsJson = False) -> None:
    """Check all that the system needs, and say what to do where something is wrong.

    Looks at credentials, secret, token, API, clock, tables, bus, topic, queues, trigger, schedule
    and sweeps; changes nothing. Ends with 0 if nothing is BAD, else with 1.
    """
    from export_jobs_local.cli import deployed, output  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli import doctor as doctors  # noqa: PLC0415

    found = []
    with deployed.opened(stack) as system:
        for finding in doctors.examine(system):
            found.append(finding)
            if not as_json:
                doctors.show(finding)
    if as_json:
        output.print_json(doctors.as_json(found))
    raise typer.Exit(0 if doctors.as_json(found)["good"] else 1)
