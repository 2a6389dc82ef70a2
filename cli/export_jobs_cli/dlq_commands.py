"""`dlq list|show|redrive|delete`: their options."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from export_jobs_cli.options import AsJson, Live, Profile, Region, Stack, Timeout, Wait

dlq_app = typer.Typer(
    no_args_is_help=True,
    help="List, redrive or delete dead letters.",
)

OptionalKey = Annotated[
    str | None,
    typer.Argument(metavar="[KEY]", show_default=False, help="The request key."),
]


@dlq_app.command("list", short_help="List the dead letters.")
def list_letters(
    stack: Stack = None, profile: Profile = None, region: Region = None, as_json: AsJson = False
) -> None:
    """List the dead letters: request, reason, time, and number of tries.

    The dead letters stay in the queue. While they are read (a few seconds), other readers do not
    see them.
    """
    from export_jobs_cli import dead_letters, output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with (
        opened(Target(stack, profile, region)) as system,
        dead_letters.received(system) as letters,
    ):
        if as_json:
            output.print_json([letter.as_json() for letter in letters])
        else:
            dead_letters.show_list(system, letters)


@dlq_app.command(short_help="Print the body of a dead letter.")
def show(
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="The request key, as `dlq list` shows it.")
    ],
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Print the body of a dead letter, so that you can correct it: `dlq show KEY > corrected.json`.

    With --json, print it with its reason, as `dlq list --json` does.
    """
    from export_jobs_cli import dead_letters, output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with (
        opened(Target(stack, profile, region)) as system,
        dead_letters.received(system) as letters,
    ):
        letter = dead_letters.of(system, letters, key)[-1]
        if as_json:
            output.print_json(letter.as_json())
        else:
            output.print_body(letter.body)


@dlq_app.command(short_help="Send dead letters back to the queue.")
def redrive(
    key: OptionalKey = None,
    *,
    every: Annotated[
        bool,
        typer.Option(
            "--all",
            help="Send back every request that is valid and certainly has no job.",
        ),
    ] = False,
    body: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="The corrected request to send instead; - is standard input."
        ),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = None,
    live: Live = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to the request queue, where they are tried again.

    A dead letter is deleted once it is sent. One that is still invalid would be rejected again:
    it stays, and the reason is printed. With --all, so does one that ended as OUTCOME_UNKNOWN,
    because it may have a job. The key stays the same, unless the corrected body has a requestKey
    of its own (which is how to correct KEY_REUSED).

    Exit codes:

    \b
    - 0: all were sent back; with --wait: the job has succeeded
    - 1: some were left, or the job has not succeeded
    - 2: no such dead letter, or the corrected request is invalid
    - 3: timed out; the request continues without this command
    - 4: the job has succeeded, but with errors or without a single profile
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs_cli import dead_letters, output, requests  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.errors import UserError  # noqa: PLC0415
    from export_jobs_cli.files import read_text  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    if (key is None) != every:
        raise UserError("name what to send back: either a KEY or --all")
    if every and (body is not None or wait):
        raise UserError("--body and --wait are for one request: name its KEY")
    waiting = requests.Waiting.asked_for(wait=wait, timeout_s=timeout, live=live)
    corrected = None if body is None else read_text(body)
    ending = None
    with opened(Target(stack, profile, region)) as system:
        with dead_letters.received(system) as letters:
            chosen = letters if key is None else dead_letters.of(system, letters, key)[-1:]
            sent, left = dead_letters.redrive(
                system, chosen, by_key=key is not None, corrected=corrected
            )
        if waiting and sent:
            ending = requests.followed(system, sent[0], waiting, quiet=as_json)
    if as_json:
        output.print_json(dead_letters.redriven_as_json(sent, left, ending))
    elif ending:
        requests.show_ending(system, ending)
    else:
        dead_letters.show_redriven(sent, left)
    raise typer.Exit(1 if left else ending.exit_code if ending else 0)


@dlq_app.command(short_help="Delete dead letters.")
def delete(
    key: OptionalKey = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Delete every dead letter.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --all: do not ask.")] = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters permanently. To keep a copy, run `dlq show KEY --json` first.

    The request stays rejected: to send it again, give it a new requestKey.
    """
    from export_jobs_cli import dead_letters, output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.errors import UserError  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    if (key is None) != every:
        raise UserError("name what to delete: either a KEY or --all")
    if every and not yes:
        if not sys.stdin.isatty():
            raise UserError("deleting every dead letter needs --yes")
        typer.confirm("Delete every dead letter permanently?", abort=True)
    with (
        opened(Target(stack, profile, region)) as system,
        dead_letters.received(system) as letters,
    ):
        chosen = letters if key is None else dead_letters.of(system, letters, key)
        dead_letters.delete(system, chosen)
    if as_json:
        output.print_json({"deleted": [letter.as_json() for letter in chosen]})
    else:
        dead_letters.show_deleted(chosen)
