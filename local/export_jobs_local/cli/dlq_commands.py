"""`dlq list|show|redrive|delete`: their options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from export_jobs_local.cli.options import AsJson, Stack, Timeout, Wait

dlq_app = typer.Typer(
    no_args_is_help=True,
    help="Look at rejected requests, send corrected ones again, or delete them.",
)


@dlq_app.command("list")
def list_letters(stack: Stack = None, as_json: AsJson = False) -> None:
    """List the dead letters: which request, why, since when, how often tried. They stay there.

    One that SQS itself has moved there, after a thousand deliveries in vain, is said to be.
    While they are read (seconds) they are hidden from others who read them.
    """
    from export_jobs_local.cli import dead_letters, deployed, output  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system, dead_letters.received(system) as letters:
        if as_json:
            output.print_json([letter.as_json() for letter in letters])
        else:
            dead_letters.show_list(letters)


@dlq_app.command()
def show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="its request key, as `dlq list` shows it")
    ],
    stack: Stack = None,
    as_json: AsJson = False,
) -> None:
    """Print the body of a dead letter, to be corrected: `dlq show KEY > corrected.json`.

    With --json it is printed with its reason, as in `dlq list --json`.
    """
    from export_jobs_local.cli import dead_letters, deployed, output  # noqa: PLC0415  help must come quickly

    with deployed.opened(stack) as system, dead_letters.received(system) as letters:
        letter = dead_letters.of(letters, key)[-1]
        if as_json:
            output.print_json(letter.as_json())
        else:
            typer.echo(letter.body)


@dlq_app.command()
def redrive(
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="send back the request with this key")
    ] = None,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="send back every one that is valid and surely has no job, whether or not its cause is fixed",
        ),
    ] = False,
    body: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="the corrected request to send in its place; - is standard input"
        ),
    ] = None,
    stack: Stack = None,
    wait: Wait = False,
    timeout: Timeout = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the request queue, where they are tried again.

    Each is deleted here once it is sent. One that is invalid as it stands would only be rejected
    again: it is left where it is, and the reason printed. With --all, so is one that ended as
    OUTCOME_UNKNOWN, as it may have a job. Whether the cause of another is gone, nobody checks: what is
    refused again comes back here. The key stays the same, unless the corrected body has a requestKey of
    its own, which is the cure for KEY_REUSED. The correlation id is the one in the body that is sent.

    \b
    Ends with 0: all sent back; with --wait (and --key): its job has succeeded
              1: something was left, or the job has not succeeded
              2: no such dead letter, or the corrected request is invalid
              3: the time is up; the request goes on by itself
              4: the job says SUCCEEDED, but with errors or without a single profile
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_local.cli import dead_letters, deployed, output, requests  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415

    if (key is None) != every:
        raise UserError("say what to send back: either --key KEY or --all")
    if every and (body is not None or wait):
        raise UserError("--body and --wait are for one request: use --key KEY")
    requests.refuse_lone_timeout(wait=wait, timeout_s=timeout)
    corrected = None if body is None else requests.read_body(body)
    ending = None
    with deployed.opened(stack) as system:
        with dead_letters.received(system) as letters:
            chosen = letters if key is None else dead_letters.of(letters, key)[-1:]
            sent, left = dead_letters.redrive(
                system, chosen, by_key=key is not None, corrected=corrected
            )
        if wait and sent:
            ending = requests.followed(system, sent[0], timeout_s=timeout, quiet=as_json)
    if as_json:
        output.print_json(dead_letters.redriven_as_json(sent, left, ending))
    elif ending:
        requests.show_ending(ending)
    else:
        dead_letters.show_redriven(sent, left)
    raise typer.Exit(1 if left else ending.exit_code if ending else 0)


@dlq_app.command()
def delete(
    *,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="delete the dead letters with this key")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="delete every dead letter")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="with --all: don't ask")] = False,
    stack: Stack = None,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good. What is to be kept, `dlq show KEY --json` prints before.

    The request itself stays rejected: sent again, it needs a new requestKey.
    """
    from export_jobs_local.cli import dead_letters, deployed, output  # noqa: PLC0415  help must come quickly
    from export_jobs_local.cli.errors import UserError  # noqa: PLC0415

    if (key is None) != every:
        raise UserError("say what to delete: either --key KEY or --all")
    if every and not yes:
        if not sys.stdin.isatty():
            raise UserError("deleting every dead letter needs --yes")
        typer.confirm("Delete every dead letter, for good?", abort=True)
    with deployed.opened(stack) as system, dead_letters.received(system) as letters:
        chosen = letters if key is None else dead_letters.of(letters, key)
        dead_letters.delete(system, chosen)
    if as_json:
        output.print_json({"deleted": [letter.as_json() for letter in chosen]})
    else:
        dead_letters.show_deleted(chosen)
