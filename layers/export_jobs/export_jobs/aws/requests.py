"""The requests table, and the transactions that tie requests, attempts and jobs together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from export_jobs.aws.jobs import (
    Item,
    JobsTable,
    TransactionCancelled,
    attempt_key,
    decided,
    item_of_attempt,
    persisting,
)
from export_jobs.contract import Job
from export_jobs.creator.message import RequestRecord
from export_jobs.model.ports import RecordChanged
from export_jobs.model.records import Attempt, Event, JobRecord, SandboxRecord

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_GATE = "!gate"


class RequestLedger:
    """Reads and writes requests with optimistic locking; creations go through a sandbox's gate.

    The gate is an item of the jobs table that every new attempt moves on by one. Who counted the
    open exports before another attempt was noted finds the gate moved, and has to count again: so
    concurrent runs keep the cap. Writes raise RecordChanged or TableUnavailable.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        jobs_table: str,
        requests_table: str,
        retention_days: int = 90,
    ) -> None:
        self._client = client
        self._jobs = JobsTable(client, jobs_table, retention_days=retention_days)
        self._jobs_table = jobs_table
        self._requests_table = requests_table
        self._retention_s = retention_days * 86_400

    def request(self, request_key: str) -> RequestRecord | None:
        """The record of a request, strongly consistent."""
        with decided(f"read request {request_key}"):
            answer = self._client.get_item(
                TableName=self._requests_table,
                Key={"requestKey": {"S": request_key}},
                ConsistentRead=True,
            )
        return _record_of(answer["Item"]) if "Item" in answer else None

    def sandbox(self, sandbox: str) -> tuple[SandboxRecord, int]:
        """What is open in a sandbox, and the version of its gate, of one moment."""
        gate = self._gate(sandbox)
        return self._jobs.load(sandbox), gate

    def job(self, sandbox: str, job: Job) -> JobRecord | None:
        return self._jobs.get(sandbox, job.id, job.creation_time or 0)

    def put_request(self, record: RequestRecord) -> RequestRecord:
        with decided(f"write request {record.request_key}"):
            persisting(lambda: self._client.put_item(**self._replacing(record)))
        return _next_version(record)

    def note_attempt(self, record: RequestRecord, attempt: Attempt, gate: int) -> RequestRecord:
        """Notes that a job is about to be created, if nobody noted another since `gate` was read."""
        self._transact(
            {"Put": self._replacing(record)},
            {
                "Put": {
                    "TableName": self._jobs_table,
                    "Item": item_of_attempt(attempt),
                    "ConditionExpression": "attribute_not_exists(sk)",
                }
            },
            {
                "Update": {
                    "TableName": self._jobs_table,
                    "Key": _gate_key(attempt.sandbox),
                    "UpdateExpression": "SET #version = :next",
                    "ConditionExpression": "#version = :version"
                    if gate
                    else "attribute_not_exists(sk)",
                    "ExpressionAttributeNames": {"#version": "version"},
                    "ExpressionAttributeValues": {
                        ":next": {"N": str(gate + 1)},
                        **({":version": {"N": str(gate)}} if gate else {}),
                    },
                }
            },
        )
        return _next_version(record)

    def drop_attempt(self, record: RequestRecord, sandbox: str) -> RequestRecord:
        """Notes that the attempt surely created nothing."""
        self._transact({"Put": self._replacing(record)}, self._deleting_attempt(record, sandbox))
        return _next_version(record)

    def link(self, record: RequestRecord, job: JobRecord) -> RequestRecord:
        """Settles a creation: request, job and attempt in one."""
        self._transact(
            {"Put": self._replacing(record)},
            {"Put": self._jobs.replacing(job)},
            self._deleting_attempt(record, job.sandbox),
        )
        return _next_version(record)

    def _gate(self, sandbox: str) -> int:
        with decided("read the gate"):
            answer = self._client.get_item(
                TableName=self._jobs_table, Key=_gate_key(sandbox), ConsistentRead=True
            )
        return int(answer["Item"]["version"]["N"]) if "Item" in answer else 0

    def _transact(self, *writes: Any) -> None:
        try:
            with decided("write a request"):
                persisting(lambda: self._client.transact_write_items(TransactItems=list(writes)))
        except TransactionCancelled:
            raise RecordChanged(None) from None

    def _deleting_attempt(self, record: RequestRecord, sandbox: str) -> dict[str, Any]:
        return {
            "Delete": {
                "TableName": self._jobs_table,
                "Key": attempt_key(sandbox, record.request_key),
            }
        }

    def _replacing(self, record: RequestRecord) -> dict[str, Any]:
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(requestKey)"}
        if record.version:
            condition = {
                "ConditionExpression": "#version = :version",
                "ExpressionAttributeNames": {"#version": "version"},
                "ExpressionAttributeValues": {":version": {"N": str(record.version)}},
            }
        return {
            "TableName": self._requests_table,
            "Item": self._item_of(_next_version(record)),
            **condition,
        }

    def _item_of(self, record: RequestRecord) -> dict[str, Any]:
        item: dict[str, Any] = {
            "requestKey": {"S": record.request_key},
            "status": {"S": record.status},
            "version": {"N": str(record.version)},
            "touchedAt": {"N": str(record.touched_at)},
            "expiresAt": {"N": str(record.touched_at // 1000 + self._retention_s)},
        }
        for name, text in (
            ("sandbox", record.sandbox),
            ("bodyHash", record.body_hash),
            ("requestId", record.request_id),
            ("jobId", record.job_id),
        ):
            if text is not None:
                item[name] = {"S": text}
        for name, number in (
            ("attemptedAt", record.attempted_at),
            ("redrives", record.redrives),
            ("leasedAt", record.leased_at),
        ):
            if number:
                item[name] = {"N": str(number)}
        if record.event:
            entry = {"type": record.event.type, "detail": record.event.detail}
            item["event"] = {"S": json.dumps(entry, ensure_ascii=False, separators=(",", ":"))}
        if record.owed:
            item["owed"] = {"SS": sorted(record.owed)}
        return item


def _gate_key(sandbox: str) -> dict[str, Any]:
    return {"sandbox": {"S": sandbox}, "sk": {"S": _GATE}}


def _next_version(record: RequestRecord) -> RequestRecord:
    return replace(record, version=record.version + 1)


def _record_of(item: Item) -> RequestRecord:
    def number(name: str) -> int:
        return int(item[name]["N"]) if name in item else 0

    entry = json.loads(item["event"]["S"]) if "event" in item else None
    return RequestRecord(
        request_key=item["requestKey"]["S"],
        status=item["status"]["S"],
        sandbox=item["sandbox"]["S"] if "sandbox" in item else None,
        body_hash=item["bodyHash"]["S"] if "bodyHash" in item else None,
        version=number("version"),
        request_id=item["requestId"]["S"] if "requestId" in item else None,
        attempted_at=number("attemptedAt"),
        job_id=item["jobId"]["S"] if "jobId" in item else None,
        redrives=number("redrives"),
        event=Event(entry["type"], entry["detail"]) if entry else None,
        owed=frozenset(item["owed"]["SS"]) if "owed" in item else frozenset(),
        leased_at=number("leasedAt"),
        touched_at=number("touchedAt"),
    )
