"""`export-jobs api` and `export-jobs local`: up when they report it, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from export_jobs_local.isolation import aws_client, aws_session
from support.command_line import EXPORT_JOBS, typed


@contextmanager
def running(*command: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The running command, and what it prints on its first line."""
    with subprocess.Popen(
        [EXPORT_JOBS, *command, "--json"], cwd=cwd, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def listens(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(url).port or 0)) == 0


def children_of(pid: int) -> list[int]:
    """Processes that this one started and that still run."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, timeout=10)
    return [int(line) for line in found.stdout.split()]


def test_api_answers_once_it_prints_its_addresses(tmp_path: Path) -> None:
    """The first line has everything that a client needs to get a token and a page of jobs."""
    with running("api", cwd=tmp_path) as (_, printed):
        token = requests.post(
            printed["imsUrl"],
            data={
                "grant_type": "client_credentials",
                "client_id": printed["clientId"],
                "client_secret": printed["clientSecret"],
                "scope": printed["scopes"],
            },
            timeout=10,
        ).json()["access_token"]
        page = requests.get(
            f"{printed['apiUrl']}/export/jobs?limit=2",
            headers={
                "Authorization": f"Bearer {token}",
                "x-api-key": printed["clientId"],
                "x-gw-ims-org-id": printed["orgId"],
                "x-sandbox-name": printed["sandboxes"][0],
            },
            timeout=10,
        )
        assert page.json()["records"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_local_works_and_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    """A message on the stack's queue becomes a job; after Ctrl-C no process and no port is left."""
    with running("local", "--sweep-every", "0.5", cwd=tmp_path) as (process, printed):
        sqs = aws_client(aws_session(printed["region"]), "sqs", printed["awsEndpointUrl"])
        body = '{"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"}, "schema": {"name": "_xdm.context.profile"}}'
        sqs.send_message(QueueUrl=printed["outputs"]["RequestQueueUrl"], MessageBody=body)
        journal = printed["apiUrl"].replace("/data/core/ups", "/_control/journal")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not requests.get(journal, timeout=10).json():
            time.sleep(0.2)
        assert requests.get(journal, timeout=10).json()[0]["status"] == "NEW"
        functions = children_of(process.pid)
        assert functions

        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in functions)
        assert not listens(printed["apiUrl"])
        assert not listens(printed["awsEndpointUrl"])


def test_a_taken_port_is_reported_in_one_line() -> None:
    """The error names the port and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [EXPORT_JOBS, "api", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "COLUMNS": "200"},
        )
    assert done.returncode == 2
    assert f"port {port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["api --port 99999", "local --port 70000", "local --aws-port -5"]
)
def test_a_port_that_is_none_is_refused(command: str, tmp_path: Path) -> None:
    """Before anything starts; the error names the valid range."""
    done = typed(command.split(), tmp_path)
    assert done.returncode == 2
    assert "65535" in done.stderr or "equal to 0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["api", "local", "demo"])
@pytest.mark.parametrize("directory", ["/proc/none", "a-file", "a-file/below"])
def test_a_directory_that_can_t_be_written_is_reported_in_one_line(
    command: str, directory: str, tmp_path: Path
) -> None:
    """Whether it can't be created, is a file, or would be inside one."""
    (tmp_path / "a-file").touch()
    done = typed([command, "--data", directory], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: can't write to {directory}: ")
    assert done.stderr.count("\n") == 1


def test_a_second_local_in_a_folder_is_refused(tmp_path: Path) -> None:
    """Commands find the first one until it ends; then another can be started."""
    with running("local", cwd=tmp_path) as (first, printed):
        done = typed(["local"], tmp_path)
        assert done.returncode == 2
        assert f"is already running in this folder (process {first.pid})" in done.stderr
        assert json.loads((tmp_path / ".export-jobs" / "local.json").read_text()) == {
            **printed,
            "pid": first.pid,
        }
        first.kill()
        first.wait(timeout=10)
    with running("local", cwd=tmp_path) as (_, printed):
        folder = Path(printed["dataDirectory"])
        assert folder.is_dir()  # also without --data: `job` shows where the exports are


def test_ctrl_c_in_the_demo_reports_no_failure(tmp_path: Path) -> None:
    """A function that is stopped while it runs has not failed."""
    with subprocess.Popen(
        [EXPORT_JOBS, "demo"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "sent" in line:
                    break
            process.send_signal(signal.SIGINT)
            _, printed = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert printed == ""
