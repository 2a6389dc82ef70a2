"""`job list|show`: their options."""

from __future__ import annotations

from typing import Annotated

import typer

from export_jobs_cli.options import (
    AsJson,
    Dataset,
    Live,
    Outcome,
    Profile,
    Region,
    RequestKey,
    Sandbox,
    Since,
    Stack,
)

job_app = typer.Typer(no_args_is_help=True, help="List export jobs, or show one.")


@job_app.command("list", short_help="List export jobs, newest first.")
def list_jobs(
    *,
    since: Since = None,
    outcome: Outcome = None,
    dataset: Dataset = None,
    request: RequestKey = None,
    sandbox: Sandbox = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=2000, help="Maximum number of jobs.")
    ] = 20,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh the list every few seconds, until Ctrl-C.")
    ] = False,
    live: Live = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """List export jobs, newest first, as the last sweep saw them.

    The first error of each job that has errors is printed below the table. At most the newest
    10,000 jobs of each sandbox are searched.
    """
    from export_jobs.aws.clock import now_ms  # noqa: PLC0415  keeps help fast

    from export_jobs_cli import job_list, jobs, output  # noqa: PLC0415
    from export_jobs_cli.errors import UserError  # noqa: PLC0415
    from export_jobs_cli.since import since_ms  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    if watch and as_json:
        raise UserError("--watch and --json can't be combined; use `event tail --json`")
    filters = jobs.Filters(outcome, dataset, request, since_ms(since, now=now_ms()) if since else 0)
    with opened(Target(stack, profile, region)) as system:

        def read() -> list[jobs.KnownJob]:
            return jobs.find(system, filters, sandbox=sandbox, limit=limit, live=live)

        sandboxes = len(system.monitor.sandboxes)
        if watch:
            job_list.watch(read, sandboxes=sandboxes)
            return
        found = read()
    if as_json:
        output.print_json([job.as_json() for job in found])
    else:
        job_list.show(found, sandboxes=sandboxes)


@job_app.command(short_help="Show one job.")
def show(
    job_id: Annotated[str, typer.Argument(metavar="ID", help="The job's id.")],
    *,
    sandbox: Sandbox = None,
    live: Live = False,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """Show one job: its timeline, its request, its events, and where its data is.

    Errors, segments and batches are on record once the job has ended; until then, --live shows
    them.
    """
    from export_jobs_cli import job_show, jobs, output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.errors import UserError  # noqa: PLC0415
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        try:
            known = jobs.look_up(system, job_id, sandbox=sandbox, live=live)
        except jobs.NotOnRecord as error:
            raise UserError(f"{error}; --live asks the service") from None
        details = job_show.look_up(system, known)
    if as_json:
        output.print_json(details.as_json())
    else:
        job_show.show(system, details)
