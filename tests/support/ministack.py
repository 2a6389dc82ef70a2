"""A second emulator of AWS: ministack, as a process of its own with its own environment."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import requests
from export_jobs_local.aws.server import AwsServer
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

from support.shells import free_port

_START_S = 30.0
_PROGRAM = """
from ministack import app
from ministack.services import eventbridge, lambda_svc
eventbridge.start_scheduler = lambda_svc._ensure_poller = lambda: None
app.main()
"""
"""Ministack would invoke the functions itself, in its own environment, without their layer."""
_UNKNOWN = {"AWS::EventSchemas::Registry", "AWS::EventSchemas::Discoverer"}
_UNKNOWN |= {"AWS::EventSchemas::Schema", "AWS::Events::Archive"}
_CODE = ("CodeUri", "ContentUri")


class Ministack(AwsServer):
    """Its services, each new and empty. `python` is that of the environment with ministack."""

    def __init__(self, python: Path, *, port: int = 0) -> None:
        super().__init__(port=port or free_port())
        self._python = python

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="ministack-")
        self._log = Path(self._folder.name) / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [self._python, "-c", _PROGRAM],
                cwd=self._folder.name,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": self._folder.name,
                    "TMPDIR": self._folder.name,
                    "STATE_DIR": self._folder.name,
                    "BIND_HOST": "127.0.0.1",  # the default is every address
                    "GATEWAY_PORT": str(self._port),
                    "LOG_LEVEL": "WARNING",
                },
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def stop_own_pollers(self) -> None:
        """They were never started."""

    def _wait(self) -> None:
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if requests.get(f"{self.url}/_ministack/ready", timeout=1).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.05)
        raise RuntimeError(f"ministack does not answer; its log:\n{self._log.read_text()}")


def deployable_template(folder: Path) -> Path:
    """Writes `template.yaml` without what ministack can't create, and returns the file."""
    template = read_template(TEMPLATE)
    resources = template["Resources"]
    left_out = {name for name, resource in resources.items() if not _can_be_created(resource)}
    for kind in ("Resources", "Outputs"):
        template[kind] = {
            name: _with_whole_paths(value)
            for name, value in template[kind].items()
            if name not in left_out and not _mentions(value, left_out)
        }
    path = folder / "template.json"
    path.write_text(json.dumps(template, default=str))
    return path


def _can_be_created(resource: Mapping[str, Any]) -> bool:
    """All but four types that it does not know, and alarms on calculations of several metrics."""
    return resource["Type"] not in _UNKNOWN and not (
        resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    )


def _mentions(value: Any, names: set[str]) -> bool:
    if isinstance(value, Mapping):
        return value.get("Ref") in names or any(_mentions(part, names) for part in value.values())
    if isinstance(value, list):
        return any(_mentions(part, names) for part in value)
    return value in names


def _with_whole_paths(declared: dict[str, Any]) -> dict[str, Any]:
    """A resource whose code, if it has any, is found from any folder."""
    for name in _CODE:
        if name in declared.get("Properties", {}):
            declared["Properties"][name] = str(TEMPLATE.parent / declared["Properties"][name])
    return declared
