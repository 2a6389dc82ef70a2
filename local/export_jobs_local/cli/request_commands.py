"""`request create|cancel|show|list`: their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from export_jobs_local.cli.options import AsJson, Sandbox, Stack, Timeout, Wait

if TYPE_CHECKING:
    from export_jobs_local.cli.deployed import DeployedSystem
    from export_jobs_local.cli.requests import Ending, Sent

request_app = typer.Typer(
    no_args_is_help=True, help="Ask for an export job or for its end, and see what came of it."
)


@request_app.command()
def create(
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

    Messages with the same requestKey are the same request: only one job comes of them. Where the
    job of a key exists already, nothing is sent, and --wait follows that job. Without a requestKey,
    each message is a request of its own.

    \b
    Ends with 0: sent; with --wait: the job has succeeded
              1: rejected, or the job has failed, was cancelled or has vanished
              2: not sent: the request is invalid (each wrong field is named), or its key is used up
              3: the time is up; the request goes on by itself
              4: the job says SUCCEEDED, but with errors or without a single profile
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import deployed, requests  # noqa: PLC0415  help must come quickly

    requests.refuse_lone_timeout(wait=wait, timeout_s=timeout)
    body = requests.read_body(file)
    with deployed.opened(stack) as system:
        _follow(system, requests.create(system, body), wait=wait, timeout=timeout, as_json=as_json)


@request_app.command()
def cancel(
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
    sandbox: Sandbox = None,
    stack: Stack = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job, by its id or by the key of the request that created it.

    A job is looked up first, in the sandbox named or in all. A request that has not created its job
    yet never will. A job that has ended already is said to have, which is no error.

    \b
    Ends with 0: sent; with --wait: it is cancelled, or had ended already
              1: rejected, or the job ended otherwise meanwhile
              2: wrong options or no such job, nothing was sent
              3: the time is up; the request goes on by itself
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import deployed, requests  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415

    if (job_id is None) == (request_key is None):
        raise UserError("say what to cancel: either --job ID or --request KEY")
    requests.refuse_lone_timeout(wait=wait, timeout_s=timeout)
    with deployed.opened(stack) as system:
        sent = requests.cancel(system, job_id=job_id, request_key=request_key, sandbox=sandbox)
        _follow(system, sent, wait=wait, timeout=timeout, as_json=as_json)


@request_app.command()
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="the request's key")],
    stack: Stack = None,
    as_json: AsJson = False,
) -> None:
    """Show how far a request is: its state, since when, what it waits for, its outcome and its job.

    Of one that waits: its place in line, and whether it waits for room under MaxOpenExports, for a
    service that fails or throttles, or for the outcome of its create call to be found out.

    \b
    Ends with 0: it has ended, one way or the other
              2: nothing is known of it; a message in the queue is taken in within seconds
              3: it has not ended yet
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import deployed, output, request_state  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system:
        found = request_state.look_up(system, key)
    if as_json:
        output.print_json(found.as_json())
    else:
        request_state.show(found)
    raise typer.Exit(found.exit_code)


@request_app.command("list")
def list_requests(
    *,
    sandbox: Sandbox = None,
    ended: Annotated[
        bool,
        typer.Option("--ended", help="those that have ended, too; reads the whole requests table"),
    ] = False,
    rejected: Annotated[
        bool,
        typer.Option(
            "--rejected", help="those that were rejected, too; reads the whole requests table"
        ),
    ] = False,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="the most to list of each kind")
    ] = 50,
    stack: Stack = None,
    as_json: AsJson = False,
) -> None:
    """List requests: those that wait, in the order of the line, and those that are under way.

    Under way are those whose create call was sent and may have made a job, and those whose job is open.
    Ended ones are listed newest first, with their outcomes and reasons.
    """
    from export_jobs_local.cli import deployed, output, request_list  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system:
        found = request_list.find(
            system, sandbox=sandbox, ended=ended, rejected=rejected, limit=limit
        )
    if as_json:
        output.print_json(found.as_json())
    else:
        request_list.show(found)


def _follow(
    system: DeployedSystem, sent: Sent, *, wait: bool, timeout: float | None, as_json: bool
) -> None:
    """Says what was sent or, with `wait`, what came of it, and ends with the code for that."""
    from export_jobs_local.cli import output, requests  # noqa: PLC0415  help must come quickly

    if not wait:
        if as_json:
            output.print_json(sent.as_json())
        else:
            requests.show_sent(sent)
        return
    ending: Ending = requests.followed(system, sent, timeout_s=timeout, quiet=as_json)
    if as_json:
        output.print_json(ending.as_json())
    else:
        requests.show_ending(ending)
    raise typer.Exit(ending.exit_code)
