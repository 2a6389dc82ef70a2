"""A local system for the tests of the command line, started as a user would."""

from __future__ import annotations

import functools
import io
import json
import logging
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import typer.main
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs_cli import request_state
from export_jobs_cli import requests as asked
from export_jobs_cli.main import app, main
from export_jobs_local.isolation import aws_client, aws_session
from rich.console import Console

from support.dynamodb import store_in
from support.shells import without_aws_settings

EXPORT_JOBS = Path(sys.executable).with_name("export-jobs")
_SETTINGS = {"COLUMNS": "80", "AWS_EC2_METADATA_DISABLED": "true"}
PLAIN = {**without_aws_settings(), **_SETTINGS}
PACE_S = 0.2
"""How long a job of a local system stays NEW, unless a test changes it."""
_get_command = functools.cache(typer.main.get_command)


def commands() -> dict[str, set[str]]:
    """Every command of `export-jobs`, including groups of commands, with its options."""
    found: dict[str, set[str]] = {}

    def walk(command: typer.core.TyperGroup, path: str) -> None:
        for name, inner in command.commands.items():
            options = {o for parameter in inner.params for o in parameter.opts}
            found[f"{path}{name}"] = options | {"--help", "-h"}
            if isinstance(inner, typer.core.TyperGroup):
                walk(inner, f"{path}{name} ")

    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    walk(group, "")
    return found


def parsed(line: str) -> dict[str, Any]:
    """The parameters of a command line, as its command reads them. Fails if it is not valid."""
    name: str | None
    name, *words = shlex.split(line)
    assert name == "export-jobs"
    command = typer.main.get_command(app)
    context = command.make_context(name, words)
    while isinstance(command, typer.core.TyperGroup):
        words = [*context._protected_args, *context.args]
        name, inner, words = command.resolve_command(context, words)
        assert inner is not None, line
        command = inner
        context = command.make_context(name, words, parent=context)
    return context.params


def terminal(**_: Any) -> Console:
    """A console that takes itself for a terminal of 80 columns without colours."""
    return Console(force_terminal=True, color_system=None, width=80, highlight=False)


@functools.cache
def _session() -> boto3.Session:
    return aws_session()  # one for all, as it reads the descriptions of services


def typed(
    command: Sequence[str], folder: Path, *, stdin: str | bytes = ""
) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder, until it ends by itself.

    It runs in this process: importing everything again takes longer than most commands. Typer makes
    its commands once, not once per run, and whatever waits looks more often than for a user. The
    locale of standard input is not UTF-8, though a str is piped as UTF-8.
    """
    out, err = io.StringIO(), io.StringIO()
    warnings = logging.StreamHandler(err)
    warnings.setLevel(logging.WARNING)  # the default without a logging configuration
    code = 0
    piped = stdin.encode() if isinstance(stdin, str) else stdin
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", [str(EXPORT_JOBS), *command])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped), encoding="latin-1"))
        for name, value in _SETTINGS.items():
            patch.setenv(name, value)
        patch.setattr(typer.main, "get_command", _get_command)
        patch.setattr(asked, "POLL_S", 0.4)
        patch.setattr(asked, "POLL_JOB_S", 0.4)
        patch.setattr(request_state, "INDEX_LAG_S", 0.1)
        logging.getLogger().addHandler(warnings)
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        finally:
            logging.getLogger().removeHandler(warnings)
    return subprocess.CompletedProcess([*command], code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Local:
    """A running `export-jobs local`, and the folder it was started in."""

    folder: Path
    description: dict[str, Any]
    """What `--json` prints once everything answers."""
    process: subprocess.Popen[str]

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return typed(command, self.folder, stdin=stdin)

    def json(self, *command: str, code: int = 0, stdin: str = "") -> Any:
        done = self.run(*command, "--json", stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def client(self, service: Any) -> Any:
        return aws_client(_session(), service, self.description["awsEndpointUrl"])

    def control(self, path: str) -> str:
        root = self.description["apiUrl"].removesuffix("/data/core/ups")
        return f"{root}/_control/{path}"

    def send(self, body: str) -> None:
        url = self.description["outputs"]["RequestQueueUrl"]
        self.client("sqs").send_message(QueueUrl=url, MessageBody=body)

    @contextmanager
    def at_pace(self, seconds: float) -> Iterator[None]:
        """Sets how long a job stays NEW, while the `with` block runs."""
        self._set_pace(seconds)
        try:
            yield
        finally:
            self._set_pace(PACE_S)

    def _set_pace(self, seconds: float) -> None:
        answer = requests.post(self.control("settings"), json={"paceS": seconds}, timeout=10)
        answer.raise_for_status()

    def dead(self, key: str) -> dict[str, Any] | None:
        found = self.json("dlq", "list")
        return next((letter for letter in found if letter["requestKey"] == key), None)


@contextmanager
def running_local(
    folder: Path, *command: str, environment: Mapping[str, str] | None = None
) -> Iterator[Local]:
    """The whole system, as a user starts it in another terminal."""
    command = command or ("local", "--pace", str(PACE_S), "--sweep-every", "1", "--data", "data")
    with subprocess.Popen(
        [EXPORT_JOBS, *command, "--json"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield Local(folder, json.loads(process.stdout.readline()), process)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            finally:
                process.kill()


def store_of(local: Local) -> DynamoDbStore:
    """The tables of its stack."""
    return store_in(local.client("dynamodb"), local.description["outputs"])


def until(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail("the condition did not become true in time")


def envelope(key: str, **job: Any) -> str:
    body = {"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"}, **job}
    body.setdefault("schema", {"name": "_xdm.context.profile"})
    return json.dumps({"requestKey": key, "correlationId": f"for-{key}", "job": body})
