"""The file that describes the running local system, so that other commands find it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from export_jobs_cli.directories import writable
from export_jobs_cli.errors import UserError

FILE = Path(".export-jobs") / "local.json"
"""In the folder that `local` was started in. Commands search their folder and those above it."""


def refuse_a_second() -> None:
    """Raises UserError if a local system that was started in this folder is still running.

    A second one would replace it in the file, and commands would no longer find the first.
    """
    description = _read(FILE)
    if description and _runs(description):
        raise UserError(
            f"a local system is already running in this folder (process {description['pid']}): "
            "stop it first, or start this one in another folder"
        )


@contextmanager
def described(description: Mapping[str, Any]) -> Iterator[None]:
    """Keeps the description in the file while the `with` block runs."""
    path = FILE.absolute()
    writable(path.parent)
    own = {**description, "pid": os.getpid()}
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.touch(mode=0o600)  # it contains the local client's secret
    fresh.write_text(json.dumps(own, indent=2))
    fresh.replace(path)  # readers find the old file or the new one, complete
    try:
        yield
    finally:
        if _read(path).get("pid") == os.getpid():  # otherwise another `local` has been started
            with suppress(FileNotFoundError):
                path.unlink()


class NoneRuns(UserError):
    """No local system is running in this folder or in one above it."""


def running_description() -> dict[str, Any]:
    """Returns the description of the running local system. Raises NoneRuns."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        path = folder / FILE
        description = _read(path)
        if not description:
            continue
        if _runs(description):
            return description
        raise NoneRuns(
            f"the local system of {path} is no longer running: start `export-jobs local`, "
            "or name a deployed stack with --stack"
        )
    raise NoneRuns(
        "no local system is running here: start `export-jobs local` in another terminal, "
        "or name a deployed stack with --stack"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _runs(description: Mapping[str, Any]) -> bool:
    """Whether its process exists and its AWS answers; after a crash the file remains."""
    try:
        os.kill(int(description["pid"]), 0)
    except PermissionError:
        pass  # it exists, and belongs to another user
    except (ProcessLookupError, KeyError, ValueError):
        return False
    address = urlsplit(str(description.get("awsEndpointUrl")))
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address.hostname or "127.0.0.1", address.port or 0)) == 0
