"""One sandbox in memory, metered: the service's jobs, the jobs table and both sinks.

For simulations of tens of thousands of sweeps without waiting requests. Counts calls as they would
go over the network, and DynamoDB's units by the size of the items that `aws.dynamodb.items` writes.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, cast

from export_jobs.aws.dynamodb.baselines import written
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import Write, size_of
from export_jobs.contract import Job, JobHeader, JobPage
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.expectations import DueExpectations, Expectation, ExpectationRecord
from export_jobs.model.ports import RecordChanged
from export_jobs.model.records import (
    Event,
    ExpectationsState,
    Gate,
    JobRecord,
    SandboxRecord,
    SandboxState,
    Sink,
)
from export_jobs.model.steps import Step
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs.monitor.sweep import Sweeper

EPOCH = 1_800_000_000_000
"""The history is before it, one job per minute."""
MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
ORG_ID = "1BD6382559DF0C130A49422D@AdobeOrg"


class Service:
    """Jobs, newest first; those of the history have ended, and are made on demand."""

    def __init__(self, history: int) -> None:
        self.calls: Counter[str] = Counter()
        self.now = EPOCH
        self._history = history
        self._jobs: dict[str, JobHeader] = {}
        self._created: list[tuple[int, str]] = []

    def create(self) -> str:
        self.now += 1
        job_id = str(10**9 + len(self._created))
        self._created.append((self.now, job_id))
        self._jobs[job_id] = _job(job_id, self.now, "NEW", self.now)
        return job_id

    def move(self, job_id: str, status: str) -> None:
        self.now += 1
        created = self._jobs[job_id].creation_time or 0
        self._jobs[job_id] = _job(job_id, created, status, self.now)

    def list_jobs(self, sandbox: str, *, limit: int, cursor: str | None = None) -> JobPage:
        self.calls["GET jobs"] += 1
        before = int(cursor.partition("_")[0]) if cursor else self.now + 1
        end = bisect.bisect_left(self._created, (before, ""))
        shown = [self._jobs[job_id] for _, job_id in self._created[max(0, end - limit) : end][::-1]]
        first = max(1, 1 + (EPOCH - before) // MINUTE_MS)
        last = min(self._history, first + limit - len(shown) - 1)
        shown += [_old_job(number) for number in range(first, last + 1)]
        more = last < self._history or end > limit
        oldest = shown[-1] if shown and more else None
        return JobPage(
            tuple(shown), next_cursor=f"{oldest.creation_time}_{oldest.id}" if oldest else None
        )

    def org_id(self) -> str:
        return ORG_ID

    def get_job(self, sandbox: str, job_id: str) -> Job:
        self.calls["GET job"] += 1
        return self._jobs[job_id].whole


class Table:
    """The jobs table, with the units that DynamoDB would charge."""

    def __init__(self, calls: Counter[str], expectations: int = 0, kinds: int = 0) -> None:
        self._calls = calls
        self._expectations = {
            record.name: record for record in map(_expectation, range(expectations))
        }
        self._expected = ExpectationsState()
        self._records: dict[str, JobRecord] = {}
        self._sizes: dict[str, int] = {}
        self._open: dict[str, JobRecord] = {}
        self._baselines = {baseline.kind: baseline for baseline in map(_baseline, range(kinds))}
        self._state: SandboxState | None = None
        self._state_size = 0
        self._writer = Writer(jobs_table="jobs", requests_table="requests", retention_days=90)

    def load(self, sandbox: str) -> SandboxRecord:
        size = self._state_size + sum(self._sizes[job_id] for job_id in self._open)
        self._calls["Query"] += 1 + size // 1_000_000
        self._calls["read units"] += max(1, math.ceil(size / 4_096))
        return SandboxRecord(Gate(sandbox), self._state, dict(self._open), expected=self._expected)

    def due_expectations(self, sandbox: str, *, until: int) -> DueExpectations:
        dues = {r: r.window.due if r.window else 0 for r in self._expectations.values()}
        due = tuple(record for record, at in dues.items() if at <= until)
        self._calls["Query"] += 1 + len(due) // 100
        return DueExpectations(due, min((at for at in dues.values() if at > until), default=None))

    def put_expected(self, sandbox: str, expected: ExpectationsState) -> bool:
        self._calls["UpdateItem"] += 1
        self._expected = replace(expected, version=expected.version + 1)
        return True

    def commit(self, sandbox: str, steps: Sequence[Step]) -> frozenset[int]:
        self._calls["TransactWriteItems"] += 1
        for record in (record for step in steps for record in step.expectations):
            self._expectations[record.name] = replace(record, version=record.version + 1)
        return frozenset(range(len(steps)))

    def put(
        self,
        record: JobRecord,
        state: SandboxState | None = None,
        baseline: Baseline | None = None,
    ) -> JobRecord:
        current = self._records.get(record.job_id)
        if (current.version if current else 0) != record.version:
            raise RecordChanged(current)
        write = self._writer.job(replace(record, stored=None))  # all of it counts
        after = replace(record, version=record.version + 1)
        before = self._sizes.get(record.job_id, 0) if record.job_id in self._open else 0
        size = _size(write)
        units = _write_units(size) + (
            _write_units(max(size, before)) if record.is_open or before else 0
        )
        self._records[record.job_id], self._sizes[record.job_id] = after, size
        if after.is_open:
            self._open[record.job_id] = after
        else:
            self._open.pop(record.job_id, None)
        alone = "UpdateItem" if record.version else "PutItem"
        units += self._put_state(state) if state else 0
        units += self._put_baseline(baseline) if baseline else 0
        together = bool(state or baseline)
        self._calls["TransactWriteItems" if together else alone] += 1
        self._calls["write units"] += 2 * units if together else units
        return after

    def put_state(self, state: SandboxState) -> None:
        self._calls["UpdateItem"] += 1
        self._calls["write units"] += self._put_state(state)

    def baselines(self, sandbox: str, kinds: Collection[str]) -> Mapping[str, Baseline]:
        found = {kind: self._baselines[kind] for kind in kinds if kind in self._baselines}
        sizes = (self._size_of(found[kind]) if kind in found else 1 for kind in kinds)
        self._calls["BatchGetItem"] += math.ceil(len(kinds) / 100)
        self._calls["read units"] += sum(math.ceil(size / 4_096) for size in sizes)
        return found

    def put_baseline(self, baseline: Baseline) -> None:
        self._calls["UpdateItem"] += 1
        self._calls["write units"] += self._put_baseline(baseline)

    def _put_baseline(self, baseline: Baseline) -> int:
        self._baselines[baseline.kind] = replace(baseline, version=baseline.version + 1)
        return _write_units(self._size_of(baseline))

    def _size_of(self, baseline: Baseline) -> int:
        return _size(written(baseline, "jobs"))

    def _put_state(self, state: SandboxState) -> int:
        self._state = state
        self._state_size = _size(self._writer.state(state))
        return 2 * _write_units(self._state_size)  # the table's, and the index's


class Sinks:
    """The bus and the topic, ten events per call."""

    def __init__(self, calls: Counter[str]) -> None:
        self._calls = calls

    def publish(self, events: Sequence[Event], sink: Sink) -> frozenset[str]:
        self._calls["PutEvents" if sink == "bus" else "PublishBatch"] += math.ceil(len(events) / 10)
        self._calls[f"events on the {sink}"] += len(events)
        return frozenset(event.id for event in events)


def sweeper_of(service: Service, *, expectations: int = 0, kinds: int = 0) -> Sweeper:
    """The deployed core, with the deployed policy (but no delays), on this sandbox.

    With some expected exports, none of which is due, and the baselines of some other exports. A
    first sweep looks back an hour only, to be quicker.
    """
    table = Table(service.calls, expectations, kinds)
    return Sweeper(
        api=service,
        store=cast("Any", table),  # requests use the rest of its port
        publisher=Sinks(service.calls),
        dead_letter_queue=cast("Any", None),
        request_queue=cast("Any", None),
        policy=MonitorPolicy(delays=DelayPolicy(limit_ms=10**12), first_lookback_ms=60 * MINUTE_MS),
        clock=lambda: service.now,
        time_left_s=lambda: 300.0,
        workers=1,
    )


def _expectation(number: int) -> ExpectationRecord:
    expectation = Expectation(f"export-{number}", f"{number:024x}", "UTC", every=60)
    return ExpectationRecord("prod", expectation, applied_at=EPOCH)


def _baseline(number: int) -> Baseline:
    runs = tuple(Run(EPOCH - day * DAY_MS, MINUTE_MS, 1_000_000) for day in range(28, 0, -1))
    return Baseline("prod", f"1-{number:016x}", runs=runs, version=1)


def _job(job_id: str, created: int, status: str, updated: int) -> JobHeader:
    body: dict[str, Any] = {
        "id": job_id,
        "creationTime": created,
        "updateTime": updated,
        "status": status,
        "imsOrgId": ORG_ID,
        "destination": {"datasetId": "5b7c86968f7b6501e21ba9df", "batchId": "b" * 32},
        "filter": {
            "segments": [{"segmentId": "s" * 36, "segmentNs": "ups", "status": ["realized"]}]
        },
    }
    if status == "SUCCEEDED":
        body["metrics"] = {"totalExportedProfileCounter": 1_000_000}
    return JobHeader.read(body)


@lru_cache(maxsize=100_000)
def _old_job(number: int) -> JobHeader:
    created = EPOCH - number * MINUTE_MS
    return _job(str(10**9 - number), created, "SUCCEEDED", created + 1)


def _size(write: Write) -> int:
    """Bytes of the item that the write leaves, as DynamoDB counts them."""
    return size_of(write.written)


def _write_units(size: int) -> int:
    return max(1, math.ceil(size / 1_024))
