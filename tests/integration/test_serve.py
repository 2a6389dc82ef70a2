"""`export-jobs api` and `export-jobs local`: up when they say so, and gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests

EXPORT_JOBS = Path(sys.executable).with_name("export-jobs")


@contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command with what it says on its first line."""
    with subprocess.Popen(
        [EXPORT_JOBS, *command, "--json"], stdout=subprocess.PIPE, text=True
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


def test_api_answers_once_it_says_so() -> None:
    """The first line is all that a client needs to get a token and a page of jobs."""
    with running("api") as (_, said):
        token = requests.post(
            said["imsUrl"],
            data={
                "grant_type": "client_credentials",
                "client_id": said["clientId"],
                "client_secret": said["clientSecret"],
                "scope": said["scopes"],
            },
            timeout=10,
        ).json()["access_token"]
        page = requests.get(
            f"{said['apiUrl']}/export/jobs?limit=2",
            headers={
                "Authorization": f"Bearer {token}",
                "x-api-key": said["clientId"],
                "x-gw-ims-org-id": said["orgId"],
                "x-sandbox-name": said["sandboxes"][0],
            },
            timeout=10,
        )
        assert page.json()["records"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_local_works_and_leaves_nothing_behind(number: signal.Signals) -> None:
    """A message on the stack's queue becomes a job; after Ctrl-C no process and no port is left."""
    with running("local", "--sweep-every", "0.5") as (process, said):
        sqs = boto3.client(
            "sqs",
            endpoint_url=said["awsEndpointUrl"],
            region_name=said["region"],
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )
        body = '{"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"}, "schema": {"name": "_xdm.context.profile"}}'
        sqs.send_message(QueueUrl=said["outputs"]["RequestQueueUrl"], MessageBody=body)
        journal = said["apiUrl"].replace("/data/core/ups", "/_control/journal")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not requests.get(journal, timeout=10).json():
            time.sleep(0.2)
        assert requests.get(journal, timeout=10).json()[0]["status"] == "NEW"
        functions = children_of(process.pid)
        assert functions

        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in functions)
        assert not listens(said["apiUrl"])
        assert not listens(said["awsEndpointUrl"])


def test_a_taken_port_is_said_in_a_line() -> None:
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
