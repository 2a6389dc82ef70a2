"""`baseline list|show|accept`: their options."""

from __future__ import annotations

from typing import Annotated

import typer

from export_jobs_cli.options import AsJson, Profile, Region, Sandbox, Stack

baseline_app = typer.Typer(
    no_args_is_help=True,
    help="See what is usual for each kind of export, and accept what is new.",
)


@baseline_app.command("list", short_help="List the kinds of exports, and what is usual for each.")
def list_baselines(
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """List the kinds of exports: what they export, and what is usual for their next run.

    States: learning (nothing is unusual until there are seven runs and a week of them), early (runs
    are compared with all before them), four weeks (with those at the same time of other weeks).
    """
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.baselines import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        found = [
            shown.Shown.of(
                baseline,
                names=system.names(baseline.sandbox),
                delays=system.monitor.delay_policy,
                now=now_ms(),
            )
            for baseline in stored.every_one(system, sandbox=sandbox)
        ]
        sandboxes = len(system.monitor.sandboxes)
    if as_json:
        output.print_json([one.as_json() for one in found])
    else:
        shown.show_list(found, sandboxes=sandboxes)


@baseline_app.command(short_help="Show what is usual for one kind of export.")
def show(
    kind_or_job: Annotated[
        str,
        typer.Argument(
            metavar="KIND_OR_JOB",
            help="The id of a kind as listed, or its first part with the hyphen; or the id of a job.",
        ),
    ],
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show one kind of export: what is usual, and when its next run is unusual or delayed.

    Also shows its last runs and the unusual ones since. --json has all runs of the last four weeks.
    """
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.baselines import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        baseline = stored.named(system, kind_or_job, sandbox=sandbox)
        names, delays = system.names(baseline.sandbox), system.monitor.delay_policy
    one = shown.Shown.of(baseline, names=names, delays=delays, now=now_ms())
    if as_json:
        output.print_json(one.as_json())
    else:
        shown.show(one)


@baseline_app.command(short_help="Accept an unusual job as the new usual.")
def accept(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Accept an unusual job as the new usual, so that jobs like it are not announced again.

    What was unusual about the job is learned again from this job on, and the rest is kept: after a
    VOLUME_DROP, for example, the usual duration. Otherwise, three such jobs in a row that agree
    become the new usual.
    """
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import output  # noqa: PLC0415
    from export_jobs_cli.baselines import shown, stored  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        accepted = stored.accept(system, job_id, sandbox=sandbox)
        baseline = accepted.baseline
        names, delays = system.names(baseline.sandbox), system.monitor.delay_policy
    one = shown.Shown.of(baseline, names=names, delays=delays, now=now_ms())
    if as_json:
        output.print_json({**accepted.as_json(), "baseline": one.as_json()})
    else:
        shown.show_accepted(accepted, one)
