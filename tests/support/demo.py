"""The demo as a user runs it, in a shell whose settings for AWS and the network fit nothing here."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.command_line import EXPORT_JOBS
from support.shells import FILES, everything, home


@dataclass(frozen=True)
class DemoRun:
    """`result` is what it prints; the paths in it are relative to `folder`."""

    folder: Path
    result: dict[str, Any]

    @property
    def directory(self) -> Path:
        return self.folder / self.result["directory"]

    @property
    def page(self) -> Path:
        """The directory of the snapshot that it leaves."""
        return (self.folder / self.result["page"]).parent


def run_demo(*options: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EXPORT_JOBS, "demo", *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=180,
        env={**os.environ, **environment},
    )


def run_demo_in(folder: Path) -> DemoRun:
    away = home(folder / "home", FILES["files with other settings"])
    done = run_demo("--json", cwd=folder, **everything(), **away)
    assert done.returncode == 0, done.stdout + done.stderr
    return DemoRun(folder, json.loads(done.stdout))
