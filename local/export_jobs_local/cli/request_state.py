"""`request show`: how far a request is, by its record or, before there is one, by its queue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from export_jobs.creator.message import RequestRecord
from export_jobs.events.build import rfc3339
from rich.markup import escape

from export_jobs_local.cli import output
from export_jobs_local.cli.dead_letters import received
from export_jobs_local.cli.deployed import DeployedSystem
from export_jobs_local.cli.errors import UserError
from export_jobs_local.cli.requests import ENDED, GOOD, NOT_ENDED

QUEUED = "QUEUED"
"""What a request without a record is taken for while messages are in the queue."""
_COUNTS = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
)
_IN_WORDS = {
    QUEUED: "not on record yet: it waits in the queue, if it was sent",
    "WAITING": "it waits its turn",
    "CREATING": "its create call was sent, and whether a job came of it is not known yet",
    "CREATED": "its job exists",
    "DONE": "carried out",
    "CANCELLED": "cancelled before its job was created",
    "CANCEL_WANTED": "it has not arrived; when it does, it will be cancelled",
}


@dataclass(frozen=True)
class RequestState:
    """`since` is in epoch milliseconds. What it may wait for is known only of one that has not ended."""

    request_key: str
    status: str
    since: int | None = None
    outcome: str | None = None
    reason: str | None = None
    job_id: str | None = None
    sandbox: str | None = None
    queued: int | None = None
    open_exports: Mapping[str, int] | None = None
    max_open_exports: int | None = None

    @property
    def exit_code(self) -> int:
        return GOOD if self.status in ENDED else NOT_ENDED

    def as_json(self) -> dict[str, Any]:
        names = asdict(self)
        return {
            "requestKey": names.pop("request_key"),
            "status": names.pop("status"),
            "since": rfc3339(names.pop("since")),
            "outcome": names.pop("outcome"),
            "reason": names.pop("reason"),
            "jobId": names.pop("job_id"),
            "sandboxName": names.pop("sandbox"),
            "messagesQueued": names.pop("queued"),
            "openExports": names.pop("open_exports"),
            "maxOpenExports": names.pop("max_open_exports"),
        }


def look_up(system: DeployedSystem, key: str) -> RequestState:
    """Raises UserError if nothing is known of the request and nothing is in the queue."""
    record = system.requests.request(key)
    if record:
        found = _of_record(record)
        return found if found.exit_code == GOOD else _waiting(system, found)
    with received(system) as letters:
        letter = next((one for one in reversed(letters) if one.request_key == key), None)
    if letter:
        return RequestState(key, "REJECTED", since=letter.sent_at, reason=letter.reason)
    found = _waiting(system, RequestState(key, QUEUED))
    if not found.queued:
        raise UserError(
            f"nothing is known of a request {key!r}, and the queue is empty: it was never sent, "
            "or its end is long forgotten"
        )
    return found


def _waiting(system: DeployedSystem, state: RequestState) -> RequestState:
    """The state with what it may be waiting for. The queue is counted, never read.

    To receive a message would hide it from the creator, and count as one of its deliveries.
    """
    attributes = system.client("sqs").get_queue_attributes(
        QueueUrl=system.outputs["RequestQueueUrl"], AttributeNames=list(_COUNTS)
    )["Attributes"]
    sandboxes = (state.sandbox,) if state.sandbox else system.creator.sandboxes
    return replace(
        state,
        queued=sum(int(attributes.get(name, 0)) for name in _COUNTS),
        open_exports={name: _open_exports(system, name) for name in sandboxes},
        max_open_exports=system.creator.max_open_exports,
    )


def _open_exports(system: DeployedSystem, sandbox: str) -> int:
    return sum(not job.final for job in system.jobs.load(sandbox).open_jobs.values())


def show(state: RequestState) -> None:
    words = _IN_WORDS.get(state.status, "")
    output.facts(
        output.console(),
        [
            ("request", escape(state.request_key)),
            ("state", f"{output.styled(state.status)}{words and ': '}{words}"),
            ("since", f"{output.moment(state.since)} UTC" if state.since else None),
            ("outcome", escape(state.outcome or "")),
            ("reason", escape(state.reason or "")),
            ("job", escape(state.job_id or "")),
            ("sandbox", escape(state.sandbox or "")),
            ("queue", None if state.queued is None else f"{state.queued} waiting in all"),
            *(
                ("open exports", f"{count} of {state.max_open_exports} in {escape(name)}")
                for name, count in (state.open_exports or {}).items()
            ),
            ("look further", escape(f"export-jobs job {state.job_id}") if state.job_id else None),
        ],
    )


def _of_record(record: RequestRecord) -> RequestState:
    detail = record.event.detail if record.event else {}
    return RequestState(
        record.request_key,
        record.status,
        since=record.touched_at or None,
        outcome=detail.get("outcome"),
        reason=detail.get("reason"),
        job_id=record.job_id,
        sandbox=record.sandbox or detail.get("sandboxName"),
    )
