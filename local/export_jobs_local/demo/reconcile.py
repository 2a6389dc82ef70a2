"""Reconciliation: compares what subscribers received with what really happened at the service."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from export_jobs.contract import FINAL_STATUSES
from export_jobs.model.records import VANISHED, EventType, SandboxRecord

from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.expectations import ExpectationEnd
from export_jobs_local.demo.requests import DemoRequest
from export_jobs_local.segmentation.store import JournalEntry, StoredJob

REQUEST_ENDS = frozenset({EventType.REQUEST_ACCEPTED, EventType.REQUEST_REJECTED})
GONE = "DELETED"
"""The journal's last status of a job that was removed."""


@dataclass
class RequestEnd:
    """How one request and its job ended; `earlier_jobs` are those of the tries before."""

    name: str
    key: str
    expected: str
    end: str | None = None
    job_id: str | None = None
    job_status: str | None = None
    profiles: int | None = None
    reason: str | None = None
    anomalies: list[str] = field(default_factory=list)
    expected_anomalies: list[str] = field(default_factory=list)
    earlier_jobs: list[str] = field(default_factory=list)

    @property
    def as_expected(self) -> bool:
        if self.anomalies != self.expected_anomalies:
            return False
        match self.expected:
            case "REJECTED":
                return self.end == "INVALID"
            case "CANCELS":
                return self.end == "CANCELLING"
            case status:
                return self.end == "CREATED" and self.job_status == status


@dataclass
class Reconciliation:
    """Empty lists mean success. Each entry is a sentence about one event or job."""

    requests: list[RequestEnd] = field(default_factory=list)
    expectations: list[ExpectationEnd] = field(default_factory=list)
    jobs: int = 0
    delivered: dict[str, int] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        wrong = self.lost or self.duplicates or self.unexplained or self.left
        return not wrong and all(end.as_expected for end in self.expectations)


def reconcile_events(
    journal: Iterable[JournalEntry], deliveries: Sequence[Delivery], result: Reconciliation
) -> None:
    """Checks that each job's end reached both sinks once, and all events are true and in order."""
    happened: dict[str, list[str]] = defaultdict(list)
    for entry in journal:
        happened[str(entry.job)].append(entry.status)
    result.jobs = len(happened)
    result.delivered = dict(Counter(delivery.sink for delivery in deliveries))
    _check_repeats(deliveries, result)
    received = {sink: _state_changes(deliveries, sink) for sink in ("bus", "topic")}
    for job_id, statuses in happened.items():
        for sink, by_job in received.items():
            _check_statuses(sink, job_id, by_job.get(job_id, []), statuses, result)
        _check_sequence(job_id, received["bus"].get(job_id, []), result)
    for job_id in (received["bus"].keys() | received["topic"].keys()) - happened.keys():
        result.unexplained.append(f"events of job {job_id}, which the service never had")


def reconcile_requests(
    sent: Mapping[str, DemoRequest],
    jobs: Sequence[StoredJob],
    deliveries: Sequence[Delivery],
    dead_letter_queue: Mapping[str, str],
    result: Reconciliation,
) -> None:
    """Checks that each request ended once, as expected, and accepted ones with the right job.

    `sent` maps request keys to what was sent, `dead_letter_queue` request keys to reasons.
    """
    by_id = {str(job.id): job for job in jobs}
    ends = events_by_request(deliveries, REQUEST_ENDS)
    again = events_by_request(deliveries, {EventType.REQUEST_RETRIED})
    anomalies = {
        job_id: delivery.detail["anomalies"]
        for job_id, changes in _state_changes(deliveries, "bus").items()
        for delivery in changes
        if delivery.detail["final"]
    }
    for key, request in sent.items():
        row = RequestEnd(
            request.name, key, request.expected, expected_anomalies=list(request.anomalies)
        )
        result.requests.append(row)
        end = _last_end(request, ends[key], again[key], result)
        if end is None:
            continue
        row.earlier_jobs = [str(one.detail["jobId"]) for one in ends[key] if one is not end]
        detail = end.detail
        row.end, row.reason, row.job_id = detail["outcome"], detail["reason"], detail["jobId"]
        if end.type == EventType.REQUEST_REJECTED and key not in dead_letter_queue:
            result.lost.append(
                f"request {request.name}: rejected, but not in the dead-letter queue"
            )
        row.anomalies = anomalies.get(str(row.job_id), [])
        _check_job(row, request, by_id.get(str(row.job_id)), result)
        if not row.as_expected:
            result.unexplained.append(
                f"request {request.name}: expected {request.expected}, "
                f"got {' '.join([str(row.end), str(row.job_status), *row.anomalies])}"
            )
    for key in ends.keys() - sent.keys():
        result.unexplained.append(f"the end of request {key}, which was never sent")
    _check_owners(by_id, result)


def reconcile_what_is_left(
    queued: int, sandboxes: Iterable[SandboxRecord], result: Reconciliation
) -> None:
    """Checks that the queue is empty, and nothing waits, is being created or is undelivered."""
    if queued:
        result.left.append(f"messages in the queue: {queued}")
    for known in sandboxes:
        sandbox = known.gate.sandbox
        for ticket in known.tickets:
            result.left.append(f"request {ticket.request_key} waits in {sandbox}")
        for attempt in known.gate.unsettled:
            result.left.append(f"request {attempt.request_key} is being created in {sandbox}")
        for item in known.outbox:
            result.left.append(f"an event of {item.record_key} is in the outbox")
        for job in known.open_jobs.values():
            what = "has events in the outbox" if job.outbox else "is open on record"
            result.left.append(f"job {job.job_id} {what}")


def _state_changes(deliveries: Iterable[Delivery], sink: str) -> dict[str, list[Delivery]]:
    """The state changes of jobs that a sink received, by job id."""
    received: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in deliveries:
        if delivery.type == EventType.JOB_STATE_CHANGE and delivery.sink == sink:
            received[delivery.detail["jobId"]].append(delivery)
    return received


def _check_repeats(deliveries: Iterable[Delivery], result: Reconciliation) -> None:
    """Checks that no event reached a sink twice."""
    for (name, event_id), times in Counter((d.sink, d.event_id) for d in deliveries).items():
        if times > 1:
            result.duplicates.append(f"event {event_id} reached the {name} {times} times")


def _check_statuses(
    sink: str,
    job_id: str,
    received: Iterable[Delivery],
    happened: Sequence[str],
    result: Reconciliation,
) -> None:
    """Checks that a sink received a job's end, and only statuses that it had, in order."""
    statuses = [str(delivery.detail["status"]) for delivery in _once(received)]
    last = VANISHED if happened[-1] == GONE else happened[-1]
    if last in FINAL_STATUSES | {VANISHED} and last not in statuses:
        result.lost.append(f"job {job_id}: the {sink} never received {last}")
    if not _in_order(statuses, happened):
        result.unexplained.append(
            f"job {job_id}: the {sink} received {' '.join(statuses)}, "
            f"but the job went through {' '.join(happened)}"
        )


def _check_sequence(job_id: str, received: Iterable[Delivery], result: Reconciliation) -> None:
    """Checks that the events of a job on the bus are numbered from 1, without gaps."""
    numbers = [delivery.detail["sequence"] for delivery in _once(received)]
    if numbers != list(range(1, len(numbers) + 1)):
        result.lost.append(f"job {job_id}: the bus received the events {numbers}")


def events_by_request(
    deliveries: Iterable[Delivery], types: Container[str]
) -> dict[str, list[Delivery]]:
    """The events of these types that the bus received, once each, by request key."""
    found: dict[str, list[Delivery]] = defaultdict(list)
    for delivery in _once(one for one in deliveries if one.sink == "bus"):
        if delivery.type in types:
            found[delivery.detail["requestKey"]].append(delivery)
    return found


def _last_end(
    request: DemoRequest,
    ends: Sequence[Delivery],
    again: Sequence[Delivery],
    result: Reconciliation,
) -> Delivery | None:
    """The end of a request, or of its last try; one has to be announced after each one before.

    If too few or too many were published, reports it and returns None.
    """
    if len(ends) == request.jobs == len(again) + 1:
        return max(ends, key=lambda delivery: delivery.detail["tryNumber"])
    number = "no end was" if not ends else f"{len(ends)} ends were"
    tried = f", and {len(again)} further tries" if again or request.jobs > 1 else ""
    result.lost.append(f"request {request.name}: {number} published{tried}")
    return None


def _check_job(
    row: RequestEnd, request: DemoRequest, job: StoredJob | None, result: Reconciliation
) -> None:
    """Checks that a created job exists and is the one requested; adds its result to `row`."""
    if job is None:
        if row.end == "CREATED":
            result.unexplained.append(f"request {request.name}: there is no job {row.job_id}")
        return
    row.job_status = job.status
    row.profiles = job.body["metrics"].get("totalExportedProfileCounter")
    if row.end == "CREATED" and job.request != request.job:
        result.unexplained.append(
            f"request {request.name}: job {job.id} does not export what was requested"
        )


def _check_owners(job_ids: Iterable[str], result: Reconciliation) -> None:
    """Checks that every job belongs to exactly one request."""
    created = Counter(row.job_id for row in result.requests if row.end == "CREATED")
    created.update(job_id for row in result.requests for job_id in row.earlier_jobs)
    for job_id in job_ids:
        if created[job_id] != 1:
            result.unexplained.append(f"job {job_id} belongs to {created[job_id]} requests")


def _once(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """The deliveries without repeats of the same event."""
    return list({delivery.event_id: delivery for delivery in deliveries}.values())


def _in_order(statuses: Sequence[str], happened: Sequence[str]) -> bool:
    """Whether the statuses are a part of what happened, in the same order."""
    rest = iter([VANISHED if status == GONE else status for status in happened])
    return all(status in rest for status in statuses)
