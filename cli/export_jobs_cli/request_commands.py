"""`request create|cancel|list|show`: their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from export_jobs_cli.options import (
    AsJson,
    Live,
    Profile,
    Region,
    Sandbox,
    Stack,
    Timeout,
    Wait,
)

if TYPE_CHECKING:
    from export_jobs_cli.requests import Sent, Waiting
    from export_jobs_cli.stack import DeployedSystem

request_app = typer.Typer(no_args_is_help=True, help="Request export jobs, or cancel them.")


@request_app.command(short_help="Send a request, and wait for its job.")
def create(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="The request, in JSON; - is standard input."),
    ],
    *,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only check the request. Without --stack, any sandboxName is accepted.",
        ),
    ] = False,
    wait: Wait = False,
    timeout: Timeout = None,
    live: Live = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Check a request, send it to the queue and, with --wait, follow it until its job ends.

    FILE holds the body of a POST to /export/jobs, or an envelope around it:

    \b
        {"requestKey": "nightly-7", "sandboxName": "prod", "correlationId": "campaign-42",
         "expiresAt": "2026-02-01T06:00:00Z",
         "retry": {"attempts": 2, "delayMinutes": 15, "on": ["FAILED"]},
         "job": {"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
                 "schema": {"name": "_xdm.context.profile"},
                 "filter": {"segments": [{"segmentId": "52c26d0d-45f2-47a2-ab30-ed06abc981ff"}]}}}

    Messages with the same requestKey are the same request and create one job. If the job of a key
    already exists, nothing is sent, and --wait follows that job. Without a requestKey, every
    message is a separate request. With retry, a job that ends badly is followed by another one, up
    to the number in attempts; --wait follows them to the last one.

    Exit codes:

    \b
    - 0: sent (or valid, with --dry-run); with --wait: the job has succeeded
    - 1: rejected, or the job has failed, was cancelled or has vanished
    - 2: not sent: invalid (each wrong field is named), or its key was used before
    - 3: timed out; the request continues without this command
    - 4: the job has succeeded, but with errors or without a single profile
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_cli import output, requests  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.files import read_text  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    waiting = requests.Waiting.asked_for(wait=wait, timeout_s=timeout, live=live)
    target = Target(stack, profile, region)
    body = read_text(file)
    if dry_run:
        request = requests.checked_for(target, body)
        if as_json:
            output.print_json(requests.as_json(request))
        else:
            output.console().print(f"valid: a {request.action} request")
        return
    with opened(target) as system:
        _report(system, requests.create(system, body), waiting, as_json=as_json)


@request_app.command(short_help="Cancel a request or a job.")
def cancel(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[KEY]",
            show_default=False,
            help="Cancel the request with this key, or the job that it created.",
        ),
    ] = None,
    *,
    job_id: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="Cancel the job with this id.")
    ] = None,
    sandbox: Sandbox = None,
    wait: Wait = False,
    timeout: Timeout = None,
    live: Live = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a request by its key, or a job by its id.

    A request that has no job yet never gets one. With --job, the job has to be on record, unless
    --sandbox names its sandbox. A job that has already ended is not an error.

    Exit codes:

    \b
    - 0: sent; with --wait: cancelled, or it had already ended
    - 1: rejected, or the job has ended with another status
    - 2: wrong options or no such job; nothing was sent
    - 3: timed out; the request continues without this command
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_cli import requests  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.errors import UserError  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    if (job_id is None) == (key is None):
        raise UserError("name what to cancel: either a request's KEY or --job ID")
    waiting = requests.Waiting.asked_for(wait=wait, timeout_s=timeout, live=live)
    with opened(Target(stack, profile, region)) as system:
        sent = requests.cancel(system, job_id=job_id, request_key=key, sandbox=sandbox)
        _report(system, sent, waiting, as_json=as_json)


@request_app.command("list", short_help="List requests.")
def list_requests(
    *,
    ended: Annotated[
        bool,
        typer.Option("--ended", help="Also list ended requests. Reads the whole requests table."),
    ] = False,
    rejected: Annotated[
        bool,
        typer.Option("--rejected", help="Also list rejected requests."),
    ] = False,
    sandbox: Sandbox = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=100_000, help="Maximum number of each kind.")
    ] = 50,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """List the waiting requests, in their order, those between two tries, and those in progress.

    In progress are requests whose create call was sent and may have created a job, and requests
    whose job is open. Ended requests are listed newest first, with outcome and reason.
    """
    from export_jobs_cli import output, request_list  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        found = request_list.find(
            system, sandbox=sandbox, ended=ended, rejected=rejected, limit=limit
        )
    if as_json:
        output.print_json(found.as_json())
    else:
        request_list.show(found)


@request_app.command(short_help="Show one request.")
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The request key.")],
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show a request: its state, since when, what it waits for, its outcome and its job.

    For a waiting request: its place in line, and whether it waits for capacity under
    MaxOpenExports, for a failing or throttling service, for the outcome of its create call, or for
    the delay before its next try. The tries before are listed with the first error of each.

    Exit codes:

    \b
    - 0: it has ended, whatever the outcome
    - 2: it is unknown; a message in the queue is recorded within seconds
    - 3: it has not ended yet
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_cli import output, request_state  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        found = request_state.look_up(system, key)
    if as_json:
        output.print_json(found.as_json())
    else:
        request_state.show(system, found)
    raise typer.Exit(found.exit_code)


def _report(system: DeployedSystem, sent: Sent, waiting: Waiting | None, *, as_json: bool) -> None:
    """Prints what was sent or, with --wait, the result, and exits with its code."""
    from export_jobs_cli import output, requests  # noqa: PLC0415  keeps help fast

    if waiting is None:
        if as_json:
            output.print_json(sent.as_json())
        else:
            requests.show_sent(sent)
        return
    ending = requests.followed(system, sent, waiting, quiet=as_json)
    if as_json:
        output.print_json(ending.as_json())
    else:
        requests.show_ending(system, ending)
    raise typer.Exit(ending.exit_code)
