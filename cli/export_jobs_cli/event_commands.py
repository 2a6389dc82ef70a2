"""`event list|tail`: their options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from export_jobs_cli.options import (
    AsJson,
    Dataset,
    Outcome,
    Profile,
    Region,
    Sandbox,
    Stack,
)

event_app = typer.Typer(
    no_args_is_help=True, help="List the events of a job, or follow all events."
)


@event_app.command("list", short_help="List what was published for a job.")
def list_events(
    job_id: Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")],
    *,
    sandbox: Sandbox = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: AsJson = False,
) -> None:
    """List what was published for a job, oldest first, and what is still to be delivered.

    The last 30 events of a job are kept, as long as its record: RetentionDays from its end.
    """
    from export_jobs_cli import event_list, jobs, output  # noqa: PLC0415  keeps help fast
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    with opened(Target(stack, profile, region)) as system:
        known = jobs.look_up(system, job_id, sandbox=sandbox, live=False)
    if as_json:
        output.print_json([event.as_json() for event in event_list.events_of(known.record)])
    else:
        event_list.show(known.record, known.names)


@event_app.command(short_help="Follow events as they are published.")
def tail(
    *,
    outcome: Outcome = None,
    dataset: Dataset = None,
    request: Annotated[
        str | None,
        typer.Option("--request", metavar="KEY", help="Only events of this request and its job."),
    ] = None,
    sandbox: Sandbox = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stop after this number of events.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="N", min=1, help="Stop after this number of seconds.")
    ] = None,
    stack: Stack = None,
    profile: Profile = None,
    region: Region = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each whole event as one line of JSON.")
    ] = False,
) -> None:
    """Follow the events on the bus as they are published, until Ctrl-C.

    Creates a queue and a rule on the bus, and removes both at the end. Earlier events are not
    shown: see `event list` and `job list`.
    """
    from export_jobs_cli import event_list, event_tail, jobs, output  # noqa: PLC0415  fast help
    from export_jobs_cli.stack import Target, opened  # noqa: PLC0415

    filters = jobs.Filters(outcome, dataset, request)

    def wanted(event: Mapping[str, Any]) -> bool:
        detail = event["detail"]
        in_sandbox = sandbox in {None, detail.get("sandboxName")}
        return in_sandbox and filters.match_event(detail, system.names_for(detail))

    def show(event: Mapping[str, Any]) -> None:
        if as_json:
            typer.echo(output.json_text(event))
        else:
            detail = event["detail"]
            names = system.names_for(detail)
            line = event_list.line_of(str(event["detail-type"]), detail, names)
            output.console().print(line, soft_wrap=True)

    def ready() -> None:
        output.console(stderr=True).print(f"following {system.name}; press Ctrl-C to stop")

    with opened(Target(stack, profile, region)) as system:
        event_tail.follow(
            system, wanted=wanted, limit=limit, seconds=seconds, show=show, ready=ready
        )
