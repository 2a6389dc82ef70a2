"""What a sandbox has on record after weeks of exports: jobs, baselines, expectations and requests.

Each record is made by the rules that the sweeps follow, as if they had seen every job when it was
created, while it ran and when it had ended, and had delivered each event. Only the writing differs:
it is done in batches.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from export_jobs.aws.dynamodb import baselines, expectations
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.aws.dynamodb.writes import Item
from export_jobs.contract import Job
from export_jobs.events.outbox import after_delivery
from export_jobs.model.baselines import UNKNOWN, Baseline, Run
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.fingerprints import status_fingerprint
from export_jobs.model.names import Names
from export_jobs.model.records import JobRecord, RequestRecord, SandboxState, Ticket
from export_jobs.monitor.baselines import compare, learn
from export_jobs.monitor.expectations import MAX_HISTORY, judge, planned
from export_jobs.monitor.policy import MonitorPolicy
from export_jobs_cli.stack import DeployedSystem
from support.observed import ORG, observed

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
LONGEST_MS = 2 * HOUR_MS
"""No run takes longer, so those of the past have ended."""
USUAL_MS = 20 * MINUTE_MS
LATER_MS = 5 * MINUTE_MS
"""Jobs are created at the same times every day, but for that."""
LISTED = 100
"""Jobs on a page of the listing, whose fingerprints a sandbox's state has."""
REQUESTED = 3
"""Every so many-th job was requested."""
ENDINGS = {"SUCCEEDED": 940, "unusual": 15, "empty": 5, "errors": 5, "FAILED": 25, "CANCELLED": 10}
"""How jobs end, in thousandths."""
ERROR = {
    "code": "EXPORT-1003",
    "msg": "Writing to the data lake failed: the batch was rejected, as its schema has changed",
    "callStack": "com.adobe.aep.export.BatchWriter.commit(BatchWriter.scala:214)",
}
PROFILE_FIELDS = "identities.id,personalEmail.address,person.name.firstName,segmentMembership"
BATCH = 25
"""The most items that BatchWriteItem takes."""


@dataclass(frozen=True)
class Amount:
    """How much is on record.

    The jobs are spread over the datasets and over the days up to now: as many runs a day as fit, at
    the same times every day, and the others at any time.
    """

    jobs: int
    datasets: int
    days: int
    running: int
    waiting: int
    rejected: int

    @property
    def daily(self) -> int:
        """Runs into a dataset at the same times every day."""
        return self.jobs // self.datasets // self.days


class Exports:
    """The exports into one dataset, all of one kind, and the baseline that they have taught."""

    def __init__(self, sandbox: str, number: int) -> None:
        self._sandbox = sandbox
        self._number = number
        self._chance = random.Random(number)
        self._count = 0
        self._profiles = self._chance.randint(10_000, 2_000_000)
        self.dataset_id = f"{self._chance.getrandbits(96):024x}"
        self.segment_ids = [str(self._uuid()) for _ in range(self._chance.randint(1, 12))]
        self.baseline = Baseline(sandbox, "")

    def ended(self, created: int) -> JobRecord:
        """A job that has ended in one of the usual ways."""
        (ending,) = self._chance.choices(list(ENDINGS), list(ENDINGS.values()))
        return self.end(self.begin(created), ending)

    def begin(self, created: int) -> JobRecord:
        """A job that runs."""
        self._count += 1
        job_id = str(10**9 + 10**5 * self._number + self._count)
        linked = JobRecord(self._sandbox, job_id, created, linked_by="answer")
        linked = replace(linked, request_key=f"nightly-{self._number}-{self._count}")
        known = None if self._count % REQUESTED else linked
        begun = self._seen(self._body(job_id, created, "NEW", created), known, UNKNOWN)
        started = created + MINUTE_MS
        return self._seen(self._body(job_id, created, "PROCESSING", started), begun, UNKNOWN)

    def end(self, running: JobRecord, ending: str = "SUCCEEDED") -> JobRecord:
        """The job as it ended; its baseline has learned from it."""
        created = running.creation_time
        took = min(LONGEST_MS, int(USUAL_MS * self._chance.lognormvariate(0, 0.15)))
        profiles = int(self._profiles * self._chance.lognormvariate(0, 0.05))
        profiles = {"unusual": profiles // 4, "empty": 0}.get(ending, profiles)
        status = ending if ending in {"FAILED", "CANCELLED"} else "SUCCEEDED"
        succeeded = status == "SUCCEEDED"
        body = self._body(running.job_id, created, status, created + took)
        body["errors"] = [ERROR] if ending in {"FAILED", "errors"} else []
        body["metrics"] |= {"profileExportTime": _time(created + MINUTE_MS, created + took)}
        if succeeded:
            by_namespace = {"ECID": profiles, "Email": profiles // 2}
            body["metrics"]["totalExportedProfileCounter"] = profiles
            body["metrics"]["exportedProfileByNamespaceCounter"] = by_namespace
        run = Run(created, took, profiles) if succeeded else Run(created)
        comparison = compare(self.baseline, run)
        record = self._seen(body, running, comparison)
        if record.outcome == "SUCCEEDED":
            self.baseline = replace(
                learn(self.baseline, run, comparison),
                kind=record.kind or "",
                dataset_id=self.dataset_id,
                segments=tuple(self.segment_ids[:10]),
                segment_count=len(self.segment_ids),
            )
        return record

    def _seen(self, body: dict[str, Any], before: JobRecord | None, comparison: Any) -> JobRecord:
        """The record after a sweep has seen the job so, and has delivered the event."""
        now = body["updateTime"]
        record = observed(
            Job.model_validate(body),
            before=before,
            sandbox=self._sandbox,
            comparison=comparison,
            now=now,
        )
        assert record
        reached = {entry.event.id: entry.sinks for entry in record.outbox}
        return after_delivery(record, reached)

    def _body(self, job_id: str, created: int, status: str, updated: int) -> dict[str, Any]:
        """The job as the service shows it."""
        return {
            "id": job_id,
            "jobType": "BATCH",
            "destination": {
                "datasetId": self.dataset_id,
                "segmentPerBatch": False,
                "batchId": f"{int(job_id):032x}",
            },
            "fields": PROFILE_FIELDS,
            "schema": {"name": "_xdm.context.profile"},
            "imsOrgId": ORG,
            "status": status,
            "filter": {
                "segments": [
                    {"segmentId": one, "segmentNs": "ups", "status": ["realized"]}
                    for one in self.segment_ids
                ]
            },
            "mergePolicy": {"id": "timestampOrdered-none-mp", "version": 1},
            "profileInstanceId": "ups",
            "errors": [],
            "metrics": {"totalTime": _time(created, updated)},
            "computeGatewayJobId": {"exportJob": f"{int(job_id):032x}"},
            "creationTime": created,
            "updateTime": updated,
        }

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(int=self._chance.getrandbits(128), version=4)


def _time(start: int, end: int) -> dict[str, int]:
    return {"startTimeInMs": start, "endTimeInMs": end, "totalTimeInMs": end - start}


@dataclass
class OnRecord:
    """What is on record in a sandbox at a moment."""

    sandbox: str
    amount: Amount
    now: int
    exports: Sequence[Exports] = field(init=False)
    jobs: list[JobRecord] = field(init=False)
    """Those that have ended, newest first."""
    running: list[JobRecord] = field(init=False)

    def __post_init__(self) -> None:
        amount = self.amount
        self.exports = [Exports(self.sandbox, number) for number in range(amount.datasets)]
        ended = [
            exports.ended(created)
            for number, exports in enumerate(self.exports)
            for created in self._creations(number)
        ]
        self.jobs = sorted(ended, key=lambda job: -job.creation_time)
        self.running = [
            exports.begin(self.now - 10 * MINUTE_MS)
            for exports in self.exports[: self.amount.running]
        ]

    def _creations(self, number: int) -> list[int]:
        """When the jobs of a dataset were created, oldest first."""
        amount, chance = self.amount, random.Random(number)
        regular = [
            self._usual_time(number) - run * self._interval_ms
            for run in range(amount.daily * amount.days)
        ]
        others = amount.jobs // amount.datasets - len(regular)
        found = [at - chance.randrange(LATER_MS) for at in regular]
        found += [
            self.now - LONGEST_MS - chance.randrange(amount.days * DAY_MS) for _ in range(others)
        ]
        return sorted(found)

    def _usual_time(self, number: int) -> int:
        """When the last regular job of a dataset was created, at the latest."""
        return self.now - LONGEST_MS - number * self._interval_ms // self.amount.datasets

    @property
    def _interval_ms(self) -> int:
        return DAY_MS // self.amount.daily

    def write(self, system: DeployedSystem) -> None:
        """Writes everything into empty tables."""
        jobs_table, requests_table = (
            system.outputs[name] for name in ("JobsTableName", "RequestsTableName")
        )
        writer = Writer(jobs_table=jobs_table, requests_table=requests_table, retention_days=90)
        requests = list(self._requests())
        waiting = [request for request in requests if request.status == "WAITING"]
        in_jobs = [
            *map(writer.job, (*self.jobs, *self.running)),
            *(writer.ticket(_ticket(request)) for request in waiting),
            *(expectations.written(one, jobs_table) for one in self.expectations()),
            *(baselines.written(exports.baseline, jobs_table) for exports in self.exports),
        ]
        client = system.client("dynamodb")
        put(client, jobs_table, [write.written for write in in_jobs])
        put(client, requests_table, [writer.request(request).written for request in requests])
        system.store.put_names(self.sandbox, self._names())
        system.store.put_state(self.state())

    def state(self) -> SandboxState:
        """As the last sweep left it."""
        listed = self.jobs[:LISTED]
        return SandboxState(
            self.sandbox,
            watermark=max(job.creation_time for job in (*self.running, *listed)),
            seen_from=listed[-1].creation_time,
            new_since=listed[0].creation_time,
            seen=frozenset(status_fingerprint(job.job_id, job.status or "") for job in listed),
            swept_at=self.now,
        )

    def expectations(self) -> Iterator[ExpectationRecord]:
        """One for each dataset, judged at each of the last deadlines, as sweeps judge it."""
        by_dataset: dict[str | None, list[JobRecord]] = {}
        for job in self.jobs:
            by_dataset.setdefault(job.dataset_id, []).append(job)
        for number, exports in enumerate(self.exports):
            its_jobs = by_dataset[exports.dataset_id]
            due = (self._usual_time(number) + LONGEST_MS) % DAY_MS // MINUTE_MS
            expected = Expectation(f"nightly-{number}", exports.dataset_id, "UTC", due=due)
            applied_at = self.now - (MAX_HISTORY + 1) * DAY_MS
            record = planned(ExpectationRecord(self.sandbox, expected, applied_at))
            while record.window and record.window.due <= self.now:
                at = record.window.due
                policy = MonitorPolicy().events
                record = judge(record, its_jobs, org_id=ORG, policy=policy, now=at).record
            yield record

    def _requests(self) -> Iterator[RequestRecord]:
        """Those of the jobs, those that wait, and those that were rejected."""
        for job in (*self.jobs, *self.running):
            if job.request_key:
                at, job_id = job.creation_time, job.job_id
                yield self._request(job.request_key, "CREATED", at, job_id=job_id)
        for number in range(self.amount.waiting):
            at = self.now - (number + 1) * MINUTE_MS
            yield self._request(f"waiting-{number}", "WAITING", at)
        for number in range(self.amount.rejected):
            at = self.now - (number + 1) * HOUR_MS
            reason = "job.destination.datasetId: is required; job.fields: must be a text"
            yield self._request(
                f"rejected-{number}", "REJECTED", at, outcome="INVALID", reason=reason
            )

    def _request(self, key: str, status: Any, at: int, **fields: Any) -> RequestRecord:
        body = {
            "sandboxName": self.sandbox,
            "requestKey": key,
            "job": {
                "destination": {"datasetId": self.exports[0].dataset_id},
                "schema": {"name": "_xdm.context.profile"},
                "fields": PROFILE_FIELDS,
            },
        }
        message_id = str(uuid.uuid5(uuid.NAMESPACE_OID, key))
        return RequestRecord(
            key,
            status,
            self.sandbox,
            body=json.dumps(body),
            message_id=message_id,
            sent_at=at,
            touched_at=at,
            **fields,
        )

    def _names(self) -> Names:
        named = list(enumerate(self.exports))
        segments = [one for exports in self.exports for one in exports.segment_ids]
        return Names(
            datasets={one.dataset_id: f"Newsletter {number}" for number, one in named},
            segments={one: f"Segment {number}" for number, one in enumerate(segments)},
        )


def _ticket(request: RequestRecord) -> Ticket:
    at = request.sent_at
    return Ticket(request.sandbox, request.request_key, "create", at, at)


def put(client: Any, table: str, items: Sequence[Item]) -> None:
    for some in _in_batches(items):
        puts = [{"PutRequest": {"Item": item}} for item in some]
        answer: Mapping[str, Any] = client.batch_write_item(RequestItems={table: puts})
        assert not answer["UnprocessedItems"]


def _in_batches(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))
