"""The commands and their options; what they do is elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from export_jobs_local.cli.deployed import DeployedSystem
    from export_jobs_local.cli.requests import Sent

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
MemoryMb = Annotated[
    int,
    typer.Option(metavar="MB", min=50, help="memory for one job; what needs more spills to disk"),
]
MaxRunning = Annotated[
    int, typer.Option(metavar="N", min=1, max=64, help="jobs that run at once; others wait")
]
Pace = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, max=86_400, help="how long jobs stay NEW, and then PROCESSING"
    ),
]
Seed = Annotated[
    int, typer.Option(metavar="S", min=0, max=2**63 - 1, help="of the chance of planned faults")
]
Stack = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="a deployed stack, by the AWS settings of this shell; by default the local one that runs",
    ),
]
Sandbox = Annotated[
    str | None, typer.Option(metavar="NAME", help="this AEP sandbox only; by default all")
]
Wait = Annotated[bool, typer.Option("--wait", help="follow it to its end, with progress")]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=1, help="with --wait: how long at most; else for ever"),
]


def main() -> None:
    """Runs a command. Errors that a user can mend are said in a line, without a traceback."""
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415  help must come quickly

    try:
        app()
    except UserError as error:
        Console(stderr=True).print(
            f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True
        )
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
    *,
    port: Port = 0,
    aws_port: Annotated[int, typer.Option(help="port of local AWS; 0 takes any free one")] = 0,
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
    memory_mb: MemoryMb = 512,
    max_running: MaxRunning = 4,
    pace: Pace = 1.0,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Run the whole system on this laptop, until Ctrl-C."""
    from export_jobs_local.cli import serve  # noqa: PLC0415  help must come quickly

    serve.local(
        port=port,
        aws_port=aws_port,
        data=data,
        sweep_every_s=sweep_every,
        sam=sam,
        tuning=serve.Tuning(memory_mb, max_running, pace, seed),
        as_json=as_json,
    )


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

    Ends with 0 if nothing was lost, said twice or unexplained, else with 1.
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
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=2000, help="at most so many")] = 20,
    as_json: AsJson = False,
) -> None:
    """List export jobs, newest first, as the service shows them now.

    Of those that failed, the first error is said below. With filters, the newest 2,000 jobs of
    each sandbox are looked at.
    """
    from export_jobs_local.cli import deployed, jobs, output  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system:
        found = jobs.find(system, sandbox=sandbox, status=status, dataset=dataset, limit=limit)
    if as_json:
        output.print_json([listed.as_json() for listed in found])
    else:
        jobs.show_list(found)


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
        int | None, typer.Option(metavar="N", min=1, help="end after so many events")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", min=1, help="end after so many seconds")
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


request_app = typer.Typer(no_args_is_help=True, help="Ask for an export job, or for its end.")
app.add_typer(request_app, name="request")


@request_app.command("create")
def request_create(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="a file with the request in JSON; - is standard input"),
    ],
    *,
    stack: Stack = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Check a request, send it to the queue, and with --wait follow it to the end of its job.

    FILE holds the body of a POST to /export/jobs, or an envelope around it:

    \b
      {"requestKey": "nightly-7", "sandboxName": "prod", "correlationId": "campaign-42",
       "expiresAt": "2026-02-01T06:00:00Z",
       "job": {"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
               "schema": {"name": "_xdm.context.profile"},
               "filter": {"segments": [{"segmentId": "52c26d0d-45f2-47a2-ab30-ed06abc981ff"}]}}}

    Messages with the same requestKey are the same request: only one job comes of them. Without a
    requestKey, each message is a request of its own.

    \b
    Ends with 0: sent; with --wait: the job has succeeded
              1: rejected, or the job has failed, was cancelled or has vanished
              2: the request is invalid (each wrong field is named) and was not sent
              3: the time is up; the request goes on by itself
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import deployed, requests  # noqa: PLC0415  help must come quickly

    body = requests.read_body(file)
    with deployed.opened(stack) as system:
        _follow(system, requests.create(system, body), wait=wait, timeout=timeout, as_json=as_json)


@request_app.command("cancel")
def request_cancel(
    *,
    job_id: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="the job to cancel, by its id")
    ] = None,
    request_key: Annotated[
        str | None,
        typer.Option(
            "--request", metavar="KEY", help="cancel what the request with this key created or will"
        ),
    ] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="the job's sandbox; by default the first of the stack's"),
    ] = None,
    stack: Stack = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job, by its id or by the key of the request that created it.

    A request that has not created its job yet never will. A job that has ended already is said to
    have, which is no error.

    \b
    Ends with 0: sent; with --wait: it is cancelled, or had ended already
              1: rejected, or the job ended otherwise meanwhile
              2: wrong options, nothing was sent
              3: the time is up; the request goes on by itself
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import deployed, requests  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415

    if (job_id is None) == (request_key is None):
        raise UserError("say what to cancel: either --job ID or --request KEY")
    with deployed.opened(stack) as system:
        sent = requests.cancel(system, job_id=job_id, request_key=request_key, sandbox=sandbox)
        _follow(system, sent, wait=wait, timeout=timeout, as_json=as_json)


def _follow(
    system: DeployedSystem, sent: Sent, *, wait: bool, timeout: float | None, as_json: bool
) -> None:
    """Says what was sent or, with `wait`, what came of it, and ends with the code for that."""
    from export_jobs_local.cli import output, requests  # noqa: PLC0415  help must come quickly

    if not wait:
        if as_json:
            output.print_json(
                {
                    "requestKey": sent.request_key,
                    "messageId": sent.message_id,
                    "action": sent.action,
                }
            )
        else:
            requests.show_sent(sent)
        return
    with requests.progress(quiet=as_json) as told:
        ending = requests.wait(system, sent, timeout_s=timeout, told=told)
    if as_json:
        output.print_json(ending.as_json())
    else:
        requests.show_ending(ending)
    raise typer.Exit(ending.exit_code)


dlq_app = typer.Typer(
    no_args_is_help=True, help="Look at rejected requests, and send back what was mended."
)
app.add_typer(dlq_app, name="dlq")


@dlq_app.command("list")
def dlq_list(stack: Stack = None, as_json: AsJson = False) -> None:
    """List the dead letters: which request, why, since when, how often tried. They stay there.

    While they are read (seconds) they are hidden from others who read them.
    """
    from export_jobs_local.cli import dead_letters, deployed, output  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system, dead_letters.received(system) as letters:
        if as_json:
            output.print_json([letter.as_json() for letter in letters])
        else:
            dead_letters.show_list(letters)


@dlq_app.command("show")
def dlq_show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="its request key, as `dlq list` shows it")
    ],
    stack: Stack = None,
) -> None:
    """Print the body of a dead letter, to be mended: `dlq show KEY > mended.json`."""
    from export_jobs_local.cli import dead_letters, deployed  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system, dead_letters.received(system) as letters:
        typer.echo(dead_letters.one(letters, key).body)


@dlq_app.command("redrive")
def dlq_redrive(
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="send back the request with this key")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="send back every dead letter")] = False,
    body: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="the mended request to send in its place; - is standard input"
        ),
    ] = None,
    stack: Stack = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the request queue, where they are tried again.

    Each is deleted here once it is sent. One that is invalid as it stands would only be rejected
    again: it is left where it is, and said to be. Its key stays the same, so events and correlation
    ids go on as if it had been right at once.

    \b
    Ends with 0: all sent back; with --wait (and --key): its job has succeeded
              1: something was left, or the job has not succeeded
              2: no such dead letter, or the mended request is invalid
              3: the time is up; the request goes on by itself
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import dead_letters, deployed, output, requests  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415

    if (key is None) != every:
        raise UserError("say what to send back: either --key KEY or --all")
    if every and (body is not None or wait):
        raise UserError("--body and --wait are for one request: use --key KEY")
    mended = None if body is None else requests.read_body(body)
    with deployed.opened(stack) as system:
        with dead_letters.received(system) as letters:
            chosen = letters if key is None else [dead_letters.one(letters, key)]
            sent, left = dead_letters.redrive(system, chosen, mended=mended)
        if wait and sent:
            _follow(system, sent[0], wait=True, timeout=timeout, as_json=as_json)
        if as_json:
            output.print_json(dead_letters.as_json(sent, left))
        else:
            dead_letters.show_redriven(sent, left)
    raise typer.Exit(1 if left else 0)
