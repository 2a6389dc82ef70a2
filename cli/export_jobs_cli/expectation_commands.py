"""`expectation apply|check|list|show|mute|unmute|remove|suggest`: their options."""

from __future__ import annotations

from typing import Annotated

import typer

from export_jobs_cli.options import AsJson, Profile, Region, Sandbox, Stack

expectation_app = typer.Typer(
    no_args_is_help=True, help="Say which exports are expected, and see whether they succeeded."
)

File = Annotated[
    str, typer.Argument(metavar="FILE", help="The expected exports, in YAML; - is standard input.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The expectation's name.")]


@expectation_app.command(short_help="Apply a file of expected exports to a stack.")
def apply(
    file: File,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print what would be changed.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Also remove the expectations and names that FILE does not have."
        ),
    ] = False,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Apply the expectations and names of a file to a stack, and print what changes.

    All of FILE is checked first, and each wrong field is named. Applying a file twice changes
    nothing. A file with only expectations, or only names, leaves the others as they are. A window
    that has opened keeps its former definition.

    \b
        - name: nightly-newsletter
          datasetId: 5bb4c46757920712f924a3eb
          opens: "00:00"
          due: "06:00"
          timezone: Europe/Rome
          days: mon-fri
    """  # noqa: D301  typer keeps the lines that follow \b
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.expectations import shown, stored  # noqa: PLC0415
    from export_jobs_cli.expectations.file import load  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    now = now_ms()
    with opened(Target(stack, profile, region)) as system:
        watched = system.monitor.sandboxes
        found = load(file, now=now, watched=watched)
        applied = stored.apply(
            system, found, sandbox=sandbox, prune=prune, dry_run=dry_run, now=now
        )
    if as_json:
        output.print_json(applied.as_json())
    else:
        shown.show_applied(applied, sandboxes=len(watched))


@expectation_app.command(short_help="Check a file of expected exports, without a stack.")
def check(file: File, *, as_json: AsJson = False) -> None:
    """Check a file of expected exports, without a stack: each wrong field is named."""
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.expectations.file import load  # noqa: PLC0415

    count = len(load(file, now=now_ms()).entries or ())
    if as_json:
        output.print_json({"valid": True, "expectations": count})
    else:
        output.console().print(f"valid: {count} expectation{'' if count == 1 else 's'}")


@expectation_app.command("list", short_help="List the expected exports.")
def list_expectations(
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """List the expected exports: state, next deadline, and since when they have been overdue.

    States: OK, OVERDUE, MUTED, NEW (the next sweep plans its window), ENDED (no day is left),
    UNREADABLE (written by a newer version, or in a time zone unknown here: apply it again).
    """
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.expectations import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    now = now_ms()
    with opened(Target(stack, profile, region)) as system:
        found = stored.every_one(system, sandbox=sandbox)
        sandboxes = len(system.monitor.sandboxes)
        if as_json:
            listed = [shown.as_json(r, names=system.names(r.sandbox), now=now) for r in found]
    if as_json:
        output.print_json(listed)
    else:
        shown.show_list(found, sandboxes=sandboxes, now=now)


@expectation_app.command(short_help="Show one expected export.")
def show(
    name: Name,
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show one expected export: its fields, its last 14 windows, and their jobs."""
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.expectations import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        found = stored.named(system, name, sandbox=sandbox)
        names = system.names(found.sandbox)
    if as_json:
        output.print_json(shown.as_json(found, names=names, now=now_ms()))
    else:
        shown.show(found, names=names, now=now_ms())


@expectation_app.command(short_help="Mute one expectation for a time.")
def mute(
    name: Name,
    *,
    until: Annotated[
        str,
        typer.Option(
            metavar="WHEN",
            help="12h, 3d, a date (its first moment in the expectation's zone), or an RFC 3339 time.",
        ),
    ],
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Mute an expectation: windows with a deadline before a given time are not announced."""
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.expectations import shown, stored  # noqa: PLC0415
    from export_jobs_cli.since import until_ms  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    now = now_ms()
    with opened(Target(stack, profile, region)) as system:
        muted = stored.mute(
            system,
            name,
            sandbox=sandbox,
            until=lambda record: until_ms(until, now=now, zone=record.expectation.zone),
        )
        names = system.names(muted.sandbox)
    if as_json:
        output.print_json(shown.as_json(muted, names=names, now=now))
    else:
        shown.show_muted(muted)


@expectation_app.command(short_help="Unmute one expectation.")
def unmute(
    name: Name,
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Unmute an expectation: from its next deadline on, missed windows are announced again."""
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.expectations import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        found = stored.mute(system, name, sandbox=sandbox, until=lambda _: 0)
        names = system.names(found.sandbox)
    if as_json:
        output.print_json(shown.as_json(found, names=names, now=now_ms()))
    else:
        shown.show_unmuted(found)


@expectation_app.command(short_help="Remove one expectation.")
def remove(
    name: Name,
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Remove an expectation and its history. Applying a file that still has it adds it again."""
    from export_jobs_cli import output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.expectations import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        removed = stored.remove(system, name, sandbox=sandbox)
    if as_json:
        output.print_json({"sandboxName": removed.sandbox, "name": removed.name})
    else:
        shown.show_removed(removed)


@expectation_app.command(short_help="Suggest what to expect, from the jobs on record.")
def suggest(
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE]",
            show_default=False,
            help="Leave out what this file already expects; - is standard input.",
        ),
    ] = None,
    *,
    timezone: Annotated[
        str | None,
        typer.Option(
            metavar="ZONE",
            help="The time zone of the suggestions. By default, UTC.",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Also suggest from Adobe's own schedules. Needs read access to the Adobe secret.",
        ),
    ] = False,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Print a file of suggested expectations, with what each is based on; nothing is written.

    Looks at the good jobs of the last 28 days, at most 10,000 in each sandbox: exports with the same
    dataset and segments, at about the same time on enough days, or in nearly every window. What the
    stack or FILE already expects is left out. Adobe's schedules run in UTC, at most once a day.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415  keeps help fast

    from export_jobs.aws.clock import now_ms  # noqa: PLC0415

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.errors import UserError  # noqa: PLC0415
    from export_jobs_cli.expectations import suggested  # noqa: PLC0415
    from export_jobs_cli.expectations.fields import zone_of  # noqa: PLC0415
    from export_jobs_cli.expectations.file import load  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    try:
        zone = ZoneInfo(zone_of(timezone or "UTC"))
    except ValueError as error:
        raise UserError(f"--timezone: {error}") from None
    now = now_ms()
    with opened(Target(stack, profile, region)) as system:
        known = load(file, now=now, watched=system.monitor.sandboxes) if file else None
        found = suggested.look_up(
            system,
            known,
            sandbox=sandbox,
            zone=zone,
            asked_for=timezone is not None,
            live=live,
            now=now,
        )
    if as_json:
        output.print_json(found.as_json())
    else:
        for line in found.as_file():
            typer.echo(line)
