"""`api` and `local`: run until stopped, and print how to connect."""

from __future__ import annotations

import errno
import json
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from export_jobs_local.aws.stack import StackFailed
from export_jobs_local.aws.triggers import ScheduleUnplayable
from export_jobs_local.demo.directory import keep
from export_jobs_local.exporting.catalog import DataBroken
from export_jobs_local.exporting.engine import DuckDbEngine, EngineSettings
from export_jobs_local.project import REQUESTS
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from export_jobs_local.system import LocalSystem, SystemConfig, describe_service

from export_jobs_cli import output
from export_jobs_cli.directories import writable
from export_jobs_cli.errors import UserError
from export_jobs_cli.local.parameters import Given
from export_jobs_cli.local.sam import need_a_checkout, write_sam_files
from export_jobs_cli.page.serve import pages_of, serving
from export_jobs_cli.running import described, refuse_a_second
from export_jobs_cli.signals import stopped_by_signals, wait_for
from export_jobs_cli.stack import local_system


@dataclass(frozen=True)
class Tuning:
    """How the service runs its jobs; `seed` is the random seed of planned faults."""

    memory_mb: int
    max_running: int
    pace_s: float
    seed: int


def api(*, port: int, data: Path | None, tuning: Tuning, as_json: bool) -> None:
    with (
        _data_errors(data),
        stopped_by_signals() as stopped,
        _port_errors(port),
        SegmentationService(_service(port, data, tuning)) as service,
    ):
        _print_description(describe_service(service), _how_to_call(service), as_json=as_json)
        wait_for(stopped)


def local(
    *,
    port: int,
    aws_port: int,
    page_port: int | None,
    data: Path | None,
    sweep_every_s: float | None,
    sam: bool,
    given: Given,
    tuning: Tuning,
    as_json: bool,
) -> None:
    refuse_a_second()
    if sam:
        need_a_checkout()
    with (
        _data_errors(data),
        stopped_by_signals() as stopped,
        _port_errors(port, aws_port),
        tempfile.TemporaryDirectory(prefix="export-jobs-") as temporary,
    ):
        directory = writable(data or Path(temporary))
        config = SystemConfig(
            logs=directory / "logs",
            service=_service(port, directory, tuning),
            aws_port=aws_port,
            parameters=given.parameters,
            credential=given.credential,
            sweep_every_s=sweep_every_s,
        )
        try:
            with LocalSystem(config) as system:
                system.subscribers.follow()
                description = {
                    **system.description(),
                    # Where the local service keeps its exports; the user's own keeps none here.
                    "dataDirectory": str(directory.resolve()) if system.has_local_service else None,
                }
                how_to_connect = _how_to_connect(system) + (write_sam_files(system) if sam else "")
                pages = pages_of(local_system(description))
                with serving(pages, port=page_port) as page:
                    description |= {"pageUrl": page.address}
                    text = f"{page.address}\n\n{how_to_connect}"
                    with described(description):
                        _print_description(description, text, as_json=as_json)
                        wait_for(stopped)
        except (ScheduleUnplayable, StackFailed) as error:
            raise UserError(str(error)) from None


def _service(port: int, data: Path | None, tuning: Tuning) -> ServiceConfig:
    settings = EngineSettings(memory_mb=tuning.memory_mb)
    return ServiceConfig(
        port=port,
        data_dir=data,
        engine=lambda directory: DuckDbEngine(directory, settings=settings),
        max_running=tuning.max_running,
        pace_s=tuning.pace_s,
        run_s=tuning.pace_s,
        seed=tuning.seed,
    )


@contextmanager
def _data_errors(data: Path | None) -> Iterator[None]:
    if data:
        keep(writable(data))
    try:
        yield
    except DataBroken as error:
        raise UserError(str(error)) from None
    except sqlite3.Error as error:
        raise UserError(f"can't use the jobs in {data}: {error}") from None


@contextmanager
def _port_errors(*ports: int) -> Iterator[None]:
    """Adds the requested ports to errors, which do not name the port."""
    try:
        yield
    except OSError as error:
        asked = " or ".join(str(port) for port in ports if port)
        if not asked or error.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        raise UserError(
            f"can't use port {asked} ({error.strerror}); try another, or 0 for any free port"
        ) from None


def _print_description(description: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Prints one line of JSON, or a text for people, once everything answers."""
    if as_json:
        typer.echo(json.dumps(description))
    else:
        output.console().print(text, markup=False, soft_wrap=True)


def _how_to_call(service: SegmentationService) -> str:
    return f"""\
The Segmentation service is up. Ctrl-C stops it.

  API        {service.api_url}/export/jobs
  OpenAPI    {service.root_url}/openapi.json
  control    {service.root_url}/_control/journal   (what really happened), /_control/faults

Get a token and list the jobs:

  TOKEN=$(curl -s {service.ims_url} -d grant_type=client_credentials \\
    -d client_id={service.client_id} -d client_secret={service.client_secret} \\
    -d scope={service.scopes} | python3 -c 'import json,sys; print(json.load(sys.stdin)["access_token"])')
  curl -s '{service.api_url}/export/jobs?limit=2' -H "Authorization: Bearer $TOKEN" \\
    -H 'x-api-key: {service.client_id}' -H 'x-gw-ims-org-id: {service.org_id}' \\
    -H 'x-sandbox-name: {service.sandboxes[0]}'"""


def _how_to_connect(system: LocalSystem) -> str:
    exports = "\n".join(
        f"  export {name}={shlex.quote(value)}"
        for name, value in system.aws.environment.items()
        if name != "AWS_REGION"
    )
    width = max(len(name) for name in system.stack.outputs)
    outputs = "\n".join(
        f"  {name:<{width}}  {value}" for name, value in system.stack.outputs.items()
    )
    service = system.description()
    control = service["controlUrl"] or "none: the service is your own"
    return f"""\
The whole system is up, with its web page at the address above. Ctrl-C stops it.

  Segmentation service   {service["apiUrl"]}
  its control            {control}
  AWS                    {system.aws.url}
  logs of the functions  {system.config.logs}
  name for --stack       {system.stack.name}

The stack's outputs:

{outputs}

To connect with aws or boto3:

  unset AWS_PROFILE
{exports}

  aws sqs send-message --queue-url {system.stack.outputs["RequestQueueUrl"]} \\
    --message-body {shlex.quote(f"file://{_example()}")}"""


def _example() -> Path:
    """An example of a request: its path from the current folder, if it is below that."""
    path, here = REQUESTS / "one-segment.json", Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
