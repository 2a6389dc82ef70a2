"""The demo's requests: files whose names say how they are sent and what is expected of them.

`NAME.json` is sent as it is. `NAME.twice.json` is delivered twice. Of `NAME.lost-answer.json` the
answer to the create call is lost on the way. `NAME.cancel.json` is sent once the job it names runs.
A name that begins with `invalid-` must be rejected, one that begins with `fails-` ends in a job
that fails.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Sending = Literal["once", "twice", "lost-answer", "cancel"]
Expected = Literal["SUCCEEDED", "FAILED", "CANCELLED", "REJECTED", "CANCELS"]


class NoRequests(Exception):
    """There is no request to send."""


@dataclass(frozen=True)
class DemoRequest:
    """One file. `job` is the POST body it holds, if it can be read as one."""

    name: str
    body: str
    sending: Sending
    expected: Expected
    key: str | None
    """The request key the message carries; without one, its message id will be the key."""
    cancels: str | None
    job: Any


def read_requests(folder: Path) -> list[DemoRequest]:
    """Raises NoRequests if the folder holds no JSON file."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise NoRequests(f"no *.json file in {folder}")
    cancelled = {request.cancels for request in found}
    return [
        DemoRequest(**{**vars(request), "expected": "CANCELLED"})
        if request.key and request.key in cancelled
        else request
        for request in found
    ]


def _read(path: Path) -> DemoRequest:
    name, _, manner = path.stem.partition(".")
    sendings: dict[str, Sending] = {
        "": "once",
        "twice": "twice",
        "lost-answer": "lost-answer",
        "cancel": "cancel",
    }
    expected: Expected = "SUCCEEDED"
    if name.startswith("invalid-"):
        expected = "REJECTED"
    elif name.startswith("fails-"):
        expected = "FAILED"
    elif manner == "cancel":
        expected = "CANCELS"
    body = path.read_text()
    try:
        message = json.loads(body)
    except ValueError:
        message = {}
    return DemoRequest(
        name=path.stem,
        body=body,
        sending=sendings[manner],
        expected=expected,
        key=message.get("requestKey"),
        cancels=message.get("cancelRequestKey"),
        job=message.get("job", message),
    )
