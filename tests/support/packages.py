"""Builds the deployment packages as `sam deploy` would ship them, and runs them as Lambda would."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import requests
from export_jobs_local.aws.stack import DeployedFunction
from export_jobs_local.isolation import REGION

from support.files import ROOT
from support.shells import free_port, without_aws_settings

SAM = ROOT / ".venv-sam" / "bin" / "sam"
RUNTIME_S_OWN = [
    "awslambdaric",
    "boto3",
    "botocore",
    "dateutil",
    "jmespath",
    "s3transfer",
    "simplejson",
    "six.py",
    "snapshot_restore_py.py",
    "urllib3",
]
"""What Lambda's Python runtime provides, and what the runtime interface client needs."""
START_TIMEOUT_S = 30.0
INVOKE_TIMEOUT_S = 120.0


class Emulation(NamedTuple):
    """A function under the emulator: where to invoke it, and the emulator's process."""

    url: str
    emulator: int


def sam_build(folder: Path, **variables: str) -> Path:
    """Runs `sam build` into `folder` and returns the directory of the artefacts."""
    built = folder / "build"
    done = subprocess.run(
        [SAM, "build", "--template", ROOT / "template.yaml", "--build-dir", built],
        cwd=folder,
        env={
            **without_aws_settings(),  # with the shell's for the network, which pip may need
            "AWS_DEFAULT_REGION": REGION,
            "SAM_CLI_TELEMETRY": "0",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return built


def host_platform() -> dict[str, str]:
    """The variables of a build for this machine's Python."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"PLATFORM": f"manylinux2014_{platform.machine()}", "PYTHON_VERSION": version}


def runtime_folder(folder: Path) -> Path:
    """Links only what Lambda's runtime provides, from this virtual environment, into a folder."""
    site = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    for name in RUNTIME_S_OWN:
        (folder / name).symlink_to(site / name)
    for native in site.glob("runtime_client*.so"):
        (folder / native.name).symlink_to(native)
    return folder


@contextmanager
def emulated(
    function: DeployedFunction,
    *,
    built: Path,
    artefact: str,
    runtime: Path,
    environment: Mapping[str, str],
    log: Path,
) -> Iterator[Emulation]:
    """Runs a built function under AWS's runtime client and emulator.

    Its Python sees the function's artefact, the layer and what the runtime provides, but not this
    virtual environment (`-S`), so that a missing package is not found.
    """
    emulator = _emulator()
    port, api_port = free_port(), free_port()
    task = built / artefact
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [
                emulator,
                "--runtime-interface-emulator-address",
                f"127.0.0.1:{port}",
                "--runtime-api-address",
                f"127.0.0.1:{api_port}",
                "--log-level",
                "error",
                _base_python(),
                "-S",
                "-m",
                "awslambdaric",
                function.handler,
            ],
            cwd=task,
            env={
                "PATH": os.environ["PATH"],
                "HOME": os.devnull,  # otherwise boto3 reads .aws in the user's own
                "LANG": "C.UTF-8",
                **environment,
                **function.environment,
                "AWS_LAMBDA_FUNCTION_NAME": function.name,
                "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout_s),
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
                "LAMBDA_TASK_ROOT": str(task),
                "_HANDLER": function.handler,
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONTZPATH": "",  # Lambda's system may have no time zones, or old ones
                "PYTHONPATH": os.pathsep.join(
                    [str(task), str(built / "ExportJobsLayer" / "python"), str(runtime)]
                ),
            },
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            process_group=0,
        )
    try:
        _wait_for(port, process)
        url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        yield Emulation(url, process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait(timeout=10)


def invoke(url: str, payload: Any) -> Any:
    answer = requests.post(url, json=payload, timeout=INVOKE_TIMEOUT_S)
    assert answer.status_code == 200, answer.text[:500]
    return answer.json()


def _emulator() -> Path:
    name = {"x86_64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
    folder = next((ROOT / ".venv-sam" / "lib").glob("python*"))
    return folder / "site-packages" / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{name}"


def _base_python() -> str:
    return str(Path(sys.base_prefix) / "bin" / Path(sys.executable).resolve().name)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the emulator has ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError("the emulator does not answer")
