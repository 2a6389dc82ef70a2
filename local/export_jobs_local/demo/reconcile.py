"""Reconciliation: what subscribers were told, against what really happened at the service."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from export_jobs.contract import FINAL_STATUSES
from export_jobs.model.records import ACCEPTED, REJECTED, STATE_CHANGE, VANISHED, SandboxRecord

from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.requests import DemoRequest
from export_jobs_local.segmentation.store import JournalEntry, StoredJob

GONE = "DELETED"
"""The journal's last word on a job that was removed."""


@dataclass
class RequestEnd:
    """How one request ended, and what became of its job."""

    name: str
    key: str
    expected: str
    end: str | None = None
    job_id: str | None = None
    job_status: str | None = None
    profiles: int | None = None
    reason: str | None = None

    @property
    def as_expected(self) -> bool:
        match self.expected:
            case "REJECTED":
                return self.end == "INVALID"
            case "CANCELS":
                return self.end == "CANCELLING"
            case status:
                return self.end == "CREATED" and self.job_status == status


@dataclass
class Reconciliation:
    """Empty lists mean that all is well. Each entry is a sentence about one event or job."""

    requests: list[RequestEnd] = field(default_factory=list)
    jobs: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not (self.lost or self.duplicates or self.unexplained or self.left)


def reconcile_events(
    journal: Iterable[JournalEntry], deliveries: Sequence[Delivery], result: Reconciliation
) -> None:
    """Every job's end reached both sinks once, and what was said is true, in order, without gaps."""
    lives: dict[str, list[str]] = defaultdict(list)
    for entry in journal:
        lives[str(entry.job)].append(entry.status)
    result.jobs = len(lives)
    result.delivered = dict(Counter(delivery.sink for delivery in deliveries))
    for (name, event_id), times in Counter((d.sink, d.event_id) for d in deliveries).items():
        if times > 1:
            result.duplicates.append(f"event {event_id} reached the {name} {times} times")
    told: dict[str, dict[str, list[Delivery]]] = {"bus": defaultdict(list), "topic": {}}
    told["topic"] = defaultdict(list)
    for delivery in deliveries:
        if delivery.type == STATE_CHANGE:
            told[delivery.sink][delivery.detail["jobId"]].append(delivery)
    for job_id, statuses in lives.items():
        for sink, by_job in told.items():
            said = [str(delivery.detail["status"]) for delivery in _once(by_job.get(job_id, []))]
            last = VANISHED if statuses[-1] == GONE else statuses[-1]
            if last in FINAL_STATUSES | {VANISHED} and last not in said:
                result.lost.append(f"job {job_id}: the {sink} was never told of {last}")
            if not _in_order(said, statuses):
                result.unexplained.append(
                    f"job {job_id}: the {sink} was told {' '.join(said)}, but it went "
                    f"{' '.join(statuses)}"
                )
        numbers = [d.detail["sequence"] for d in _once(told["bus"].get(job_id, []))]
        if numbers != list(range(1, len(numbers) + 1)):
            result.lost.append(f"job {job_id}: the bus has events {numbers}")
    for job_id in (told["bus"].keys() | told["topic"].keys()) - lives.keys():
        result.unexplained.append(f"events of job {job_id}, which the service never had")


def reconcile_requests(
    sent: Mapping[str, DemoRequest],
    jobs: Sequence[StoredJob],
    deliveries: Sequence[Delivery],
    dead_letter_queue: Mapping[str, str],
    result: Reconciliation,
) -> None:
    """Every request ended once, as it should; each accepted one with one job that is what it asked for.

    `sent` maps request keys to what was sent, `dead_letter_queue` request keys to reasons.
    """
    by_id = {str(job.id): job for job in jobs}
    ends: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.type in {ACCEPTED, REJECTED} and delivery.sink == "bus":
            ends[delivery.detail["requestKey"]].append(delivery)
    for key, request in sent.items():
        row = RequestEnd(request.name, key, request.expected)
        result.requests.append(row)
        said = _once(ends.get(key, []))
        if len(said) != 1:
            told = "no end was" if not said else f"{len(said)} ends were"
            result.lost.append(f"request {request.name}: {told} published")
            continue
        detail = said[0].detail
        row.end, row.reason, row.job_id = detail["outcome"], detail["reason"], detail["jobId"]
        if said[0].type == REJECTED and key not in dead_letter_queue:
            result.lost.append(f"request {request.name}: rejected, but not among the dead letters")
        job = by_id.get(str(row.job_id))
        if row.end == "CREATED" and job is None:
            result.unexplained.append(f"request {request.name}: there is no job {row.job_id}")
        elif job:
            row.job_status = job.status
            row.profiles = job.body["metrics"].get("totalExportedProfileCounter")
            if row.end == "CREATED" and job.request != request.job:
                result.unexplained.append(f"request {request.name}: job {job.id} is another's")
        if not row.as_expected:
            result.unexplained.append(
                f"request {request.name}: expected {request.expected}, got {row.end} {row.job_status}"
            )
    for key in ends.keys() - sent.keys():
        result.unexplained.append(f"the end of request {key}, which nobody sent")
    created = Counter(row.job_id for row in result.requests if row.end == "CREATED")
    for job_id in by_id:
        if created[job_id] != 1:
            result.unexplained.append(f"job {job_id} belongs to {created[job_id]} requests")


def reconcile_what_is_left(
    queued: int, sandboxes: Iterable[SandboxRecord], result: Reconciliation
) -> None:
    """Nothing is in the queue, and nothing waits, is being created or is undelivered in a sandbox."""
    if queued:
        result.left.append(f"messages in the queue: {queued}")
    for known in sandboxes:
        sandbox = known.gate.sandbox
        for ticket in known.tickets:
            result.left.append(f"request {ticket.request_key} waits in {sandbox}")
        for attempt in known.gate.unsettled:
            result.left.append(f"request {attempt.request_key} is being created in {sandbox}")
        for item in known.outbox:
            result.left.append(f"the end of request {item.record_key} is in the outbox")
        for job in known.open_jobs.values():
            what = "has events in the outbox" if job.outbox else "is open on record"
            result.left.append(f"job {job.job_id} {what}")


def _once(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Without repeats of the same event."""
    return list({delivery.event_id: delivery for delivery in deliveries}.values())


def _in_order(said: Sequence[str], happened: Sequence[str]) -> bool:
    """Whether what was said is a part of what happened, in that order."""
    rest = iter([VANISHED if status == GONE else status for status in happened])
    return all(status in rest for status in said)
