"""The demo's expected exports: one that is met, one that is late, and one that never comes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.model.calendar import DAY_MINUTES
from export_jobs.model.expectations import Expectation, ExpectationRecord, Window
from export_jobs.model.records import EventType

from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.demo.requests import DemoRequest
from export_jobs_local.segmentation.store import StoredJob

Expected = Literal["MET", "LATE", "MISSING"]
MINUTE_MS = 60_000
NEVER_EXPORTED = "5b0000000000000000000000"
"""A dataset that no request names."""
TYPES = frozenset({EventType.OVERDUE, EventType.OVERDUE_RESOLVED})


@dataclass
class ExpectationEnd:
    """What became of an expectation: its window at the monitor, and the events on each sink."""

    name: str
    expected: Expected
    due: int
    outcome: str | None = None
    job_id: str | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def as_expected(self) -> bool:
        return self.outcome is not None and not self.problems


@dataclass(frozen=True)
class Applied:
    """An expectation of the demo in the stack, and its only window that matters."""

    expected: Expected
    expectation: Expectation
    window: Window


class DemoExpectations:
    """Applies the expectations, as the command would, and looks at what became of them."""

    def __init__(self, store: DynamoDbStore, sandbox: str, requests: Sequence[DemoRequest]) -> None:
        self._store = store
        self._sandbox = sandbox
        self.dataset = _dataset_of(requests)
        """The dataset of those that succeed; None if no request exports to any."""
        self.applied: list[Applied] = []

    def expect_by_now(self, now: int) -> None:
        """Expects an export by the last full minute: it is overdue, until a job has succeeded."""
        due = now - now % MINUTE_MS
        if self.dataset:
            self._apply("LATE", self.dataset, due, applied_at=due - 1)

    def expect_by_the_next_minute(self, now: int) -> None:
        """Expects two exports by the next full minute: one has succeeded, one never comes."""
        due = now - now % MINUTE_MS + MINUTE_MS
        if self.dataset:
            self._apply("MET", self.dataset, due, applied_at=now)
        self._apply("MISSING", NEVER_EXPORTED, due, applied_at=now)

    def _apply(self, expected: Expected, dataset: str, due: int, *, applied_at: int) -> None:
        minutes = due // MINUTE_MS % DAY_MINUTES
        expectation = Expectation(f"demo-{expected.lower()}", dataset, "UTC", due=minutes)
        record = ExpectationRecord(self._sandbox, expectation, applied_at)
        window = expectation.next_window(applied_at)
        if window is None or window.due != due:
            raise RuntimeError(f"the window of {expectation.name} is not as planned: {window}")
        self._store.edit_expectations(self._sandbox, [record])
        self.applied.append(Applied(expected, expectation, window))

    def are_decided(self) -> bool:
        """Whether every window was judged, and the late one is made good."""
        ends = self._ends()
        return len(ends) == len(self.applied) and all(
            end.outcome and (end.job_id or end.expected == "MISSING") for end in ends
        )

    def _ends(self) -> list[ExpectationEnd]:
        records = {record.name: record for record in self._store.expectations(self._sandbox)}
        ends = []
        for one in self.applied:
            end = ExpectationEnd(one.expectation.name, one.expected, one.window.due)
            record = records.get(one.expectation.name)
            for past in record.history if record else ():
                if past.window.due == one.window.due:
                    end = replace(end, outcome=past.outcome, job_id=past.job_id)
            ends.append(end)
        return ends

    def reconcile(
        self, jobs: Sequence[StoredJob], deliveries: Sequence[Delivery]
    ) -> list[ExpectationEnd]:
        """Compares the windows and the events with the jobs that the service really had."""
        ends = self._ends()
        for one, end in zip(self.applied, ends, strict=True):
            good = [job for job in jobs if _is_good(job, one.expectation)]
            in_time = [job for job in good if job.body["updateTime"] <= one.window.due]
            truth: Expected = "MET" if in_time else "LATE" if good else "MISSING"
            if truth != one.expected:
                end.problems.append(f"the demo planned {one.expected}, but it was {truth}")
            if end.outcome is None:
                end.problems.append("its window was not judged")
            if end.job_id and end.job_id not in {str(job.id) for job in good}:
                end.problems.append(f"job {end.job_id} did not make it good")
            for sink in ("bus", "topic"):
                received = _events(deliveries, sink, end.name)
                if received != _due_events(truth):
                    end.problems.append(f"the {sink} received {', '.join(received) or 'nothing'}")
        return ends


def _dataset_of(requests: Sequence[DemoRequest]) -> str | None:
    for request in requests:
        destination = request.job.get("destination") if isinstance(request.job, dict) else None
        if request.expected == "SUCCEEDED" and isinstance(destination, dict):
            dataset = destination.get("datasetId")
            if isinstance(dataset, str):
                return dataset
    return None


def _is_good(job: StoredJob, expectation: Expectation) -> bool:
    destination, metrics = job.body["destination"], job.body["metrics"]
    return bool(
        job.status == "SUCCEEDED"
        and not job.body.get("errors")
        and destination.get("datasetId") == expectation.dataset_id
        and metrics.get("totalExportedProfileCounter")
    )


def _events(deliveries: Iterable[Delivery], sink: str, name: str) -> list[str]:
    return [
        delivery.type
        for delivery in deliveries
        if delivery.type in TYPES
        and delivery.sink == sink
        and delivery.detail["expectation"] == name
    ]


def _due_events(truth: Expected) -> list[str]:
    match truth:
        case "MET":
            return []
        case "LATE":
            return [EventType.OVERDUE, EventType.OVERDUE_RESOLVED]
        case "MISSING":
            return [EventType.OVERDUE]
