"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print JSON. After an error (exit code 2) nothing is printed."),
]
Stack = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="EXPORT_JOBS_STACK",
        help="Name of a deployed stack. By default, the running local system.",
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="AWS profile to use with --stack, instead of AWS_PROFILE."),
]
Region = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="AWS region of --stack, instead of AWS_REGION."),
]
Sandbox = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this AEP sandbox. By default, all.")
]
Live = Annotated[
    bool,
    typer.Option(
        "--live",
        help="Ask the Segmentation Service instead of the stack's tables. "
        "Needs read access to the Adobe secret.",
    ),
]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="WHEN",
        help="Only jobs created since then: 30m, 12h, 7d, a date, or an RFC 3339 time.",
    ),
]
Outcome = Annotated[
    str | None,
    typer.Option(
        metavar="OUTCOME",
        help="Only this outcome or status, for example FAILED, SUCCEEDED_EMPTY or PROCESSING.",
    ),
]
Dataset = Annotated[
    str | None,
    typer.Option(metavar="ID", help="Only exports to this destination dataset: its id or name."),
]
RequestKey = Annotated[
    str | None,
    typer.Option("--request", metavar="KEY", help="Only jobs of the request with this key."),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait for the request and its job to end, and show progress.")
]
Timeout = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=1, help="With --wait: stop waiting after this time."),
]

# -- options of the local system -----------------------------------------------------------------

_MAX_PORT = 65_535

Port = Annotated[
    int,
    typer.Option(
        metavar="PORT",
        min=0,
        max=_MAX_PORT,
        help="Port of the Segmentation service; 0 takes any free port.",
    ),
]
AwsPort = Annotated[
    int,
    typer.Option(
        metavar="PORT", min=0, max=_MAX_PORT, help="Port of local AWS; 0 takes any free port."
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Directory for jobs and exports. Without it, they are deleted at the end.",
    ),
]
MemoryMb = Annotated[
    int,
    typer.Option(metavar="MB", min=50, help="Memory for one job. Beyond it, data spills to disk."),
]
MaxRunning = Annotated[
    int, typer.Option(metavar="N", min=1, max=64, help="How many jobs run at the same time.")
]
Pace = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", min=0, max=86_400, help="How long a job stays NEW, then PROCESSING."
    ),
]
Seed = Annotated[
    int, typer.Option(metavar="S", min=0, max=2**63 - 1, help="Random seed of planned faults.")
]
_PAGE_PORT_HELP = (
    "Port of the web page; 0 takes any free port. By default 8642, or any if that is in use."
)
UiPort = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="PORT",
        min=0,
        max=_MAX_PORT,
        show_default=False,
        help=_PAGE_PORT_HELP,
    ),
]
PagePort = Annotated[
    int | None,
    typer.Option(metavar="PORT", min=0, max=_MAX_PORT, show_default=False, help=_PAGE_PORT_HELP),
]
Parameter = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        help="Set a parameter of the stack; can be repeated. With ApiBaseUrl and ImsTokenUrl "
        "(https://, or http://127.0.0.1:PORT/PATH), the functions call your own service, and no "
        "local one is started.",
    ),
]
Credential = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Credential for your own service (ApiBaseUrl, ImsTokenUrl): a JSON object with "
        "clientId, clientSecret, orgId and scopes.",
    ),
]
