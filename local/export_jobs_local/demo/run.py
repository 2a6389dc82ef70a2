"""Runs the demo: requests and expected exports, until all has ended; then reconciles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.contract import FINAL_STATUSES
from export_jobs.model.names import Names
from export_jobs.model.records import EventType, SandboxRecord

from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.expectations import DemoExpectations
from export_jobs_local.demo.reconcile import (
    REQUEST_ENDS,
    Reconciliation,
    events_by_request,
    reconcile_events,
    reconcile_requests,
    reconcile_what_is_left,
)
from export_jobs_local.demo.requests import DemoRequest
from export_jobs_local.exporting.catalog import DataDirectory
from export_jobs_local.segmentation.jobs import PastRun
from export_jobs_local.segmentation.store import StoredJob
from export_jobs_local.system import LocalSystem

STEP_S = 0.2
FAULT_LIMIT_S = 15.0
DAY_MS = 24 * 3_600_000
NIGHTS = 28
USUAL_MS = 60_000
USUAL_PROFILES = 1_000_000
"""What the history says that is usual; the demo's data have 2,000 profiles."""
QUIET_SWEEPS = 2
"""The number of sweeps after the last event that must publish nothing."""


class Demo:
    """One run against a running local system. Calls `on_sent` with the name of each request."""

    def __init__(
        self,
        system: LocalSystem,
        requests: Sequence[DemoRequest],
        *,
        limit_s: float = 120.0,
        on_sent: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._system = system
        self._requests = requests
        self._deadline = time.monotonic() + limit_s
        self._on_sent = on_sent
        self._sent: dict[str, DemoRequest] = {}
        self._history: set[int] = set()
        self._expectations = DemoExpectations(
            self._store, system.service.sandboxes[0], self._requests
        )

    def run(self) -> Reconciliation:
        """Sends and expects everything, waits until all has ended, and reconciles.

        The system's triggers are not started yet: its first sweep learns from the history.
        """
        self._add_history()
        self._system.start_triggers()
        self._wait_until(self._has_swept)
        self._name_what_is_exported()
        self._expectations.expect_by_now(now_ms())
        for request in self._of("lost-answer"):
            self._lose_the_answer_to(request)
        for request in (*self._of("once"), *self._of("fails-once")):
            self._send(request)
        for request in self._of("twice"):
            self._send(request)
            self._send(request)
        for request in self._of("cancel"):
            if self._wait_until(lambda key=request.cancels: self._runs(key)):  # type: ignore[misc]
                self._send(request)
        self._wait_until(lambda: self._has_succeeded() or self._all_has_ended())
        if self._has_succeeded():
            self._expectations.expect_by_the_next_minute(now_ms())
        self._wait_until(self._all_has_ended)
        if self._has_succeeded():
            self._wait_until(self._expectations.are_decided)
        self._wait_for_quiet()
        return self._reconcile()

    def _add_history(self) -> None:
        """Adds what requests with a usual number of profiles have exported in the last weeks."""
        sandbox = self._system.service.sandboxes[0]
        control = self._system.service.control
        now = now_ms()
        nights = [
            PastRun(now - night * DAY_MS, USUAL_MS, USUAL_PROFILES + 1_000 * (night % 7))
            for night in range(NIGHTS, 0, -1)
        ]
        for request in self._requests:
            if request.anomalies:
                control.add_past_runs(sandbox, request.job, nights)
        self._history = {job.id for job in self._all_jobs()}

    def _name_what_is_exported(self) -> None:
        """Gives the stack the names of the demo's datasets and segments, as the command would."""
        directory = self._system.config.service.data_dir
        data = DataDirectory(directory / "data") if directory else None
        if data is None or not data.exists:
            return
        catalog = data.catalog()
        datasets = {dataset.id: dataset.name for dataset in catalog.datasets.values()}
        segments = {segment.id: segment.name for segment in catalog.segments}
        self._store.put_names(self._system.service.sandboxes[0], Names(datasets, segments))

    @cached_property
    def _store(self) -> DynamoDbStore:
        outputs = self._system.stack.outputs
        return DynamoDbStore(
            self._system.aws.client("dynamodb"),
            jobs_table=outputs["JobsTableName"],
            requests_table=outputs["RequestsTableName"],
        )

    def _of(self, sending: str) -> list[DemoRequest]:
        return [request for request in self._requests if request.sending == sending]

    def _send(self, request: DemoRequest) -> None:
        message_id = self._system.send_request(request.body)
        self._sent[request.key or message_id] = request
        self._on_sent(request.name)

    def _lose_the_answer_to(self, request: DemoRequest) -> None:
        control = self._system.service.control
        control.plan_fault("create", "reset_after")
        self._send(request)
        until = time.monotonic() + FAULT_LIMIT_S
        while control.pending_faults() and time.monotonic() < until:
            time.sleep(STEP_S)

    def _wait_until(self, condition: Callable[[], bool]) -> bool:
        while time.monotonic() < self._deadline:
            if condition():
                return True
            time.sleep(STEP_S)
        return False

    def _deliveries(self) -> list[Delivery]:
        return self._system.subscribers.deliveries()

    def _runs(self, key: str | None) -> bool:
        return any(
            delivery.detail["requestKey"] == key and delivery.detail["status"] == "PROCESSING"
            for delivery in self._deliveries()
            if delivery.type == EventType.JOB_STATE_CHANGE
        )

    def _has_swept(self) -> bool:
        """Whether the first sweep is over, which judges no deadline before it."""
        state = self._store.load(self._system.service.sandboxes[0]).state
        return bool(state and state.swept_at)

    def _has_succeeded(self) -> bool:
        """Whether people know of a good export to the dataset that is expected."""
        return any(
            delivery.detail["outcome"] == "SUCCEEDED"
            and delivery.detail["datasetId"] == self._expectations.dataset
            for delivery in self._deliveries()
            if delivery.type == EventType.JOB_STATE_CHANGE and delivery.sink == "topic"
        )

    def _all_has_ended(self) -> bool:
        deliveries = self._deliveries()
        ended = events_by_request(deliveries, REQUEST_ENDS)
        again = events_by_request(deliveries, {EventType.REQUEST_RETRIED})
        if any(len(ended[key]) <= len(again[key]) for key in self._sent):
            return False
        finals = {
            (d.sink, d.detail["jobId"])
            for d in deliveries
            if d.type == EventType.JOB_STATE_CHANGE and d.detail["final"]
        }
        return all(
            job.status in FINAL_STATUSES
            and {("bus", str(job.id)), ("topic", str(job.id))} <= finals
            for job in self._jobs()
        )

    def _wait_for_quiet(self) -> None:
        every_s = self._system.config.sweep_every_s or 1.0
        threading.Event().wait(QUIET_SWEEPS * every_s)

    def _jobs(self) -> list[StoredJob]:
        """The jobs of this run, without those of the history."""
        return [job for job in self._all_jobs() if job.id not in self._history]

    def _all_jobs(self) -> list[StoredJob]:
        control = self._system.service.control
        return [job for sandbox in self._system.service.sandboxes for job in control.jobs(sandbox)]

    def _reconcile(self) -> Reconciliation:
        result = Reconciliation()
        deliveries = self._deliveries()
        reconcile_events(self._system.service.control.journal(), deliveries, result)
        reconcile_requests(self._sent, self._jobs(), deliveries, self._dead_letter_queue(), result)
        result.expectations = self._expectations.reconcile(self._jobs(), deliveries)
        reconcile_what_is_left(self._queued(), self._sandboxes(), result)
        for request in self._requests:
            if request not in self._sent.values():
                result.lost.append(f"request {request.name} was not sent: no time, or no job")
        return result

    def _queued(self) -> int:
        """Messages in the request queue: visible, in flight or delayed."""
        url = self._system.stack.outputs["RequestQueueUrl"]
        sqs = self._system.aws.client("sqs")
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        numbers = [n for name, n in found.items() if name.startswith("ApproximateNumberOf")]
        return sum(map(int, numbers))

    def _sandboxes(self) -> list[SandboxRecord]:
        return [self._store.load(sandbox) for sandbox in self._system.service.sandboxes]

    def _dead_letter_queue(self) -> Mapping[str, str]:
        """The request keys and reasons of the dead letters, which stay in their queue."""
        sqs = self._system.aws.client("sqs")
        url = self._system.stack.outputs["DeadLetterQueueUrl"]
        found: dict[str, str] = {}
        while messages := sqs.receive_message(
            QueueUrl=url,
            MaxNumberOfMessages=10,
            VisibilityTimeout=60,
            MessageAttributeNames=["All"],
        ).get("Messages"):
            for message in messages:
                attributes = message["MessageAttributes"]
                found[attributes["requestKey"]["StringValue"]] = attributes["reason"]["StringValue"]
        return found
