"""The demo's requests: their file names determine how they are sent and what is expected.

`NAME.json` is sent as it is. `NAME.twice.json` is delivered twice. For `NAME.lost-answer.json`, the
answer to the create call is lost. `NAME.cancel.json` is sent once the job that it names is running.
The job of `NAME.fails-once.json` fails at the first try, and the request has to be tried again.
A request whose name begins with `invalid-` must be rejected; with `fails-`, its job must fail. One
with `fewer-` has a history of four weeks in which it exported far more profiles, every night.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from export_jobs.contract.text import decode_json, decode_text
from export_jobs.model.baselines import Anomaly

Sending = Literal["once", "twice", "lost-answer", "cancel", "fails-once"]
_SENDINGS: dict[str, Sending] = {
    "": "once",
    "twice": "twice",
    "lost-answer": "lost-answer",
    "cancel": "cancel",
    "fails-once": "fails-once",
}
MAX_MESSAGE_BYTES = 256 * 1024
Expected = Literal["SUCCEEDED", "FAILED", "CANCELLED", "REJECTED", "CANCELS"]


class RequestsUnusable(Exception):
    """No request to send, or one that can't be sent; the text has the file and the reason."""


@dataclass(frozen=True)
class DemoRequest:
    """One file. `job` is its POST body, if it can be read."""

    name: str
    body: str
    sending: Sending
    expected: Expected
    key: str | None
    """The message's request key; without one, its message id will be the key."""
    cancels: str | None
    job: Any
    anomalies: tuple[Anomaly, ...] = ()
    """How its job must be far from usual."""

    @property
    def jobs(self) -> int:
        """How many jobs it has if it is not rejected."""
        return 2 if self.sending == "fails-once" else 1


def read_requests(folder: Path) -> list[DemoRequest]:
    """Raises RequestsUnusable."""
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise RequestsUnusable(f"no *.json file in {folder}")
    cancelled = {request.cancels for request in found}
    return [
        DemoRequest(**{**vars(request), "expected": "CANCELLED"})
        if request.key and request.key in cancelled
        else request
        for request in found
    ]


def _read(path: Path) -> DemoRequest:
    name, _, manner = path.stem.partition(".")
    if manner not in _SENDINGS:
        raise RequestsUnusable(
            f"{path}: unknown suffix {manner!r}; name the file NAME.json, "
            + ", ".join(f"NAME.{known}.json" for known in _SENDINGS if known)
        )
    try:
        body = decode_text(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RequestsUnusable(f"{path} can't be read: {error}") from None
    if not 0 < len(body.encode()) <= MAX_MESSAGE_BYTES:
        raise RequestsUnusable(f"{path} is empty, or larger than 256 KB, the limit of a message")
    message = _object_in(body)
    key, cancels = message.get("requestKey"), message.get("cancelRequestKey")
    sending = _SENDINGS[manner]
    if sending == "cancel" and not isinstance(cancels, str):
        raise RequestsUnusable(f"{path} needs a cancelRequestKey, to name the request to cancel")
    expected: Expected = "SUCCEEDED"
    if name.startswith("invalid-"):
        expected = "REJECTED"
    elif name.startswith("fails-"):
        expected = "FAILED"
    elif sending == "cancel":
        expected = "CANCELS"
    return DemoRequest(
        name=path.stem,
        body=body,
        sending=sending,
        expected=expected,
        key=key if isinstance(key, str) else None,
        cancels=cancels if isinstance(cancels, str) else None,
        job=message.get("job", message),
        anomalies=("VOLUME_DROP",) if name.startswith("fewer-") else (),
    )


def _object_in(body: str) -> dict[str, Any]:
    """The JSON object in a body; a body without one is sent nevertheless, to be rejected."""
    try:
        message = decode_json(body)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
