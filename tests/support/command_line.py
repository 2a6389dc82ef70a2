"""A local system that the tests of the command line start as a user does, and type at."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from export_jobs_cli.main import main

EXPORT_JOBS = Path(sys.executable).with_name("export-jobs")
_SETTINGS = {"COLUMNS": "80", "AWS_EC2_METADATA_DISABLED": "true"}
PLAIN = {**os.environ, **_SETTINGS}
PACE_S = 0.2
"""How long a job of a local system stays NEW, where a test does not say otherwise."""


def typed(
    command: Sequence[str], folder: Path, *, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """A command that is typed in a folder, and ends by itself.

    It runs in this process: to import everything anew takes a process longer than most commands do.
    """
    out, err = io.StringIO(), io.StringIO()
    warnings = logging.StreamHandler(err)
    warnings.setLevel(logging.WARNING)  # as where nobody has set up logging
    code = 0
    with (
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", [str(EXPORT_JOBS), *command])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        for name, value in _SETTINGS.items():
            patch.setenv(name, value)
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
    said: dict[str, Any]
    process: subprocess.Popen[str]

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return typed(command, self.folder, stdin=stdin)

    def json(self, *command: str, code: int = 0, stdin: str = "") -> Any:
        done = self.run(*command, "--json", stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        return json.loads(done.stdout)

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.said["awsEndpointUrl"],
            region_name=self.said["region"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )

    def control(self, path: str) -> str:
        root = self.said["apiUrl"].removesuffix("/data/core/ups")
        return f"{root}/_control/{path}"

    def send(self, body: str) -> None:
        url = self.said["outputs"]["RequestQueueUrl"]
        self.client("sqs").send_message(QueueUrl=url, MessageBody=body)

    @contextmanager
    def at_pace(self, seconds: float) -> Iterator[None]:
        """How long a job stays NEW, for as long as the `with` block lasts."""
        self._set_pace(seconds)
        try:
            yield
        finally:
            self._set_pace(PACE_S)

    def _set_pace(self, seconds: float) -> None:
        said = requests.post(self.control("settings"), json={"paceS": seconds}, timeout=10)
        said.raise_for_status()

    def dead(self, key: str) -> dict[str, Any] | None:
        found = self.json("dlq", "list")
        return next((letter for letter in found if letter["requestKey"] == key), None)


@contextmanager
def running_local(folder: Path, *command: str) -> Iterator[Local]:
    """The whole system, as a user starts it in a terminal of its own."""
    command = command or ("local", "--pace", str(PACE_S), "--sweep-every", "1", "--data", "data")
    with subprocess.Popen(
        [EXPORT_JOBS, *command, "--json"],
        cwd=folder,
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


def until(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail("it did not come about in time")


def envelope(key: str, **job: Any) -> str:
    body = {"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"}, **job}
    body.setdefault("schema", {"name": "_xdm.context.profile"})
    return json.dumps({"requestKey": key, "correlationId": f"for-{key}", "job": body})
