"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MAX_PORT = 65_535

Port = Annotated[
    int,
    typer.Option(
        min=0, max=_MAX_PORT, help="port of the Segmentation service; 0 takes any free one"
    ),
]
AwsPort = Annotated[
    int, typer.Option(min=0, max=_MAX_PORT, help="port of local AWS; 0 takes any free one")
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="print JSON, for a program; after an error (exit code 2) nothing, it is on stderr",
    ),
]
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
Parameter = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        help="a parameter of template.yaml, over its default; may be given again. With ApiBaseUrl and "
        "ImsTokenUrl (https://, or http://127.0.0.1:PORT/PATH) the functions talk to a service of "
        "yours, and no local one is started",
    ),
]
Credential = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="with ApiBaseUrl and ImsTokenUrl: what lets the functions in, a JSON object of clientId, "
        "clientSecret, orgId and scopes",
    ),
]
Stack = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="EXPORT_JOBS_STACK",
        help="a deployed stack, by the AWS settings of this shell; by default the local one that "
        "runs, export-jobs-local",
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
