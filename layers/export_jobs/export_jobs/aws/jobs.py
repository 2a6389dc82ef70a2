"""The jobs table: of each sandbox its state, its jobs, and the creations under way.

One item each, under the partition key `sandbox`; the sort key begins with the creation time, so the
newest jobs are read first. A sparse local secondary index, `open`, holds the sandbox's state, the
open jobs and the attempts: one strongly consistent query brings all that a sweep has to know.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from export_jobs.model.ports import RecordChanged, TableUnavailable
from export_jobs.model.records import (
    Attempt,
    Event,
    JobRecord,
    Owed,
    SandboxRecord,
    SandboxState,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

OPEN_INDEX = "open"

_STATE = "!state"
_JOB = "job#"
_ATTEMPT = "attempt#"
_DAY_MS = 24 * 3_600_000
CONFLICT_PAUSES_S = (0.02, 0.1, 0.4)

Item = Mapping[str, Any]
"""An item in DynamoDB's own notation, e.g. `{"status": {"S": "NEW"}}`."""


class JobsTable:
    """Reads and writes records with optimistic locking. Thread-safe."""

    def __init__(self, client: DynamoDBClient, name: str, *, retention_days: int = 90) -> None:
        self._client = client
        self._name = name
        self._retention_ms = retention_days * _DAY_MS

    def load(self, sandbox: str) -> SandboxRecord:
        """State, open jobs and attempts of a sandbox, strongly consistent.

        One query, which DynamoDB pages by the megabyte. Raises TableUnavailable.
        """
        state: SandboxState | None = None
        jobs: dict[str, JobRecord] = {}
        attempts: list[Attempt] = []
        request: dict[str, Any] = {
            "TableName": self._name,
            "IndexName": OPEN_INDEX,
            "ConsistentRead": True,
            "KeyConditionExpression": "sandbox = :sandbox",
            "ExpressionAttributeValues": {":sandbox": {"S": sandbox}},
        }
        while True:
            with decided("read the open jobs"):
                answer = self._client.query(**request)
            for item in answer["Items"]:
                key = item["sk"]["S"]
                if key == _STATE:
                    state = _state_of(item)
                elif key.startswith(_ATTEMPT):
                    attempts.append(attempt_of(item))
                else:
                    record = record_of(item)
                    jobs[record.job_id] = record
            if not answer.get("LastEvaluatedKey"):
                return SandboxRecord(state, jobs, tuple(attempts))
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def put(self, record: JobRecord, state: SandboxState | None = None) -> JobRecord:
        """Replaces version `record.version`; see `ports.JobTable.put`."""
        put = self.replacing(record)
        if state is None:
            self._put(put)
        else:
            self._put_with_state(put, state)
        return replace(record, version=record.version + 1)

    def put_state(self, state: SandboxState) -> None:
        try:
            with decided("write the sandbox's state"):
                persisting(lambda: self._client.put_item(**self._replacing_state(state)))
        except RecordChanged:
            return

    def recent_finals(self, sandbox: str) -> Sequence[JobRecord]:
        """Of the sandbox's 50 newest jobs those that have ended, newest first."""
        with decided("read the recent jobs"):
            answer = self._client.query(
                TableName=self._name,
                KeyConditionExpression="sandbox = :sandbox AND begins_with(sk, :job)",
                ExpressionAttributeValues={":sandbox": {"S": sandbox}, ":job": {"S": _JOB}},
                ScanIndexForward=False,
                Limit=50,
            )
        return [record for item in answer["Items"] if (record := record_of(item)).final]

    def get(self, sandbox: str, job_id: str, creation_time: int) -> JobRecord | None:
        """The record of one job, strongly consistent."""
        with decided(f"read job {job_id}"):
            answer = self._client.get_item(
                TableName=self._name,
                Key=job_key(sandbox, job_id, creation_time),
                ConsistentRead=True,
            )
        return record_of(answer["Item"]) if "Item" in answer else None

    def replacing(self, record: JobRecord) -> Any:
        """The conditional put that replaces version `record.version`, for PutItem or a transaction."""
        written = replace(record, version=record.version + 1)
        return {
            "TableName": self._name,
            "Item": self._item_of(written),
            **_unless_changed(record.version),
        }

    def _put(self, put: Any) -> None:
        with decided("write a job"):
            persisting(lambda: self._client.put_item(**put))

    def _put_with_state(self, put: Any, state: SandboxState) -> None:
        try:
            writes: Any = [{"Put": put}, {"Put": self._replacing_state(state)}]
            with decided("write a job and its sandbox's state"):
                persisting(lambda: self._client.transact_write_items(TransactItems=writes))
        except TransactionCancelled as cancelled:
            if cancelled.changed(0):
                raise RecordChanged(cancelled.current(0)) from None
            self._put(put)

    def _replacing_state(self, state: SandboxState) -> Any:
        return {
            "TableName": self._name,
            "Item": _item_of_state(state),
            "ConditionExpression": "attribute_not_exists(sk) OR sweptAt <= :sweptAt",
            "ExpressionAttributeValues": {":sweptAt": {"N": str(state.swept_at)}},
        }

    def _item_of(self, record: JobRecord) -> dict[str, Any]:
        item: dict[str, Any] = {
            **job_key(record.sandbox, record.job_id, record.creation_time),
            "jobId": {"S": record.job_id},
            "creationTime": {"N": str(record.creation_time)},
            "version": {"N": str(record.version)},
            "sequence": {"N": str(record.sequence)},
            "touchedAt": {"N": str(record.touched_at)},
        }
        if record.is_open:
            item["openKey"] = item["sk"]
        else:
            expires_at = (record.touched_at + self._retention_ms) // 1000
            item["expiresAt"] = {"N": str(expires_at)}
        for name, text in (
            ("status", record.status),
            ("orgId", record.org_id),
            ("datasetId", record.dataset_id),
            ("requestKey", record.request_key),
            ("correlationId", record.correlation_id),
        ):
            if text is not None:
                item[name] = {"S": text}
        for name, number in (
            ("updateTime", record.update_time),
            ("durationMs", record.duration_ms),
            ("profilesExported", record.profiles_exported),
            ("delays", record.delays or None),
            ("misses", record.misses or None),
            ("leasedAt", record.leased_at or None),
        ):
            if number is not None:
                item[name] = {"N": str(number)}
        if record.final:
            item["final"] = {"BOOL": True}
        if record.owed:
            item["owed"] = {"L": [{"S": _owed_text(owed)} for owed in record.owed]}
        return item


def job_key(sandbox: str, job_id: str, creation_time: int) -> dict[str, Any]:
    return {"sandbox": {"S": sandbox}, "sk": {"S": f"{_JOB}{creation_time:014d}#{job_id}"}}


def attempt_key(sandbox: str, request_key: str) -> dict[str, Any]:
    return {"sandbox": {"S": sandbox}, "sk": {"S": f"{_ATTEMPT}{request_key}"}}


def record_of(item: Item) -> JobRecord:
    def text(name: str) -> str | None:
        return item[name]["S"] if name in item else None

    def number(name: str) -> int | None:
        return int(item[name]["N"]) if name in item else None

    return JobRecord(
        sandbox=item["sandbox"]["S"],
        job_id=item["jobId"]["S"],
        creation_time=int(item["creationTime"]["N"]),
        status=text("status"),
        final="final" in item,
        sequence=number("sequence") or 0,
        version=number("version") or 0,
        update_time=number("updateTime"),
        org_id=text("orgId"),
        dataset_id=text("datasetId"),
        duration_ms=number("durationMs"),
        profiles_exported=number("profilesExported"),
        request_key=text("requestKey"),
        correlation_id=text("correlationId"),
        delays=number("delays") or 0,
        misses=number("misses") or 0,
        owed=tuple(_owed_of(entry["S"]) for entry in item["owed"]["L"]) if "owed" in item else (),
        leased_at=number("leasedAt") or 0,
        touched_at=number("touchedAt") or 0,
    )


def item_of_attempt(attempt: Attempt) -> dict[str, Any]:
    item: dict[str, Any] = {
        **attempt_key(attempt.sandbox, attempt.request_key),
        "requestKey": {"S": attempt.request_key},
        "requestId": {"S": attempt.request_id},
        "fingerprint": {"S": attempt.fingerprint},
        "attemptedAt": {"N": str(attempt.attempted_at)},
    }
    item["openKey"] = item["sk"]
    if attempt.merge_policy_id is not None:
        item["mergePolicyId"] = {"S": attempt.merge_policy_id}
    if attempt.correlation_id is not None:
        item["correlationId"] = {"S": attempt.correlation_id}
    return item


def attempt_of(item: Item) -> Attempt:
    return Attempt(
        sandbox=item["sandbox"]["S"],
        request_key=item["requestKey"]["S"],
        request_id=item["requestId"]["S"],
        fingerprint=item["fingerprint"]["S"],
        attempted_at=int(item["attemptedAt"]["N"]),
        merge_policy_id=item["mergePolicyId"]["S"] if "mergePolicyId" in item else None,
        correlation_id=item["correlationId"]["S"] if "correlationId" in item else None,
    )


def _item_of_state(state: SandboxState) -> dict[str, Any]:
    return {
        "sandbox": {"S": state.sandbox},
        "sk": {"S": _STATE},
        "openKey": {"S": _STATE},
        "watermark": {"N": str(state.watermark)},
        "seenFrom": {"N": str(state.seen_from)},
        "seen": {"B": b"".join(sorted(state.seen))},
        "sweptAt": {"N": str(state.swept_at)},
        "newSince": {"N": str(state.new_since)},
        "blindSince": {"N": str(state.blind_since)},
    }


def _state_of(item: Item) -> SandboxState:
    seen = bytes(item["seen"]["B"])
    return SandboxState(
        sandbox=item["sandbox"]["S"],
        watermark=int(item["watermark"]["N"]),
        seen_from=int(item["seenFrom"]["N"]),
        seen=frozenset(seen[at : at + 8] for at in range(0, len(seen), 8)),
        swept_at=int(item["sweptAt"]["N"]),
        new_since=int(item["newSince"]["N"]),
        blind_since=int(item["blindSince"]["N"]),
    )


def _owed_text(owed: Owed) -> str:
    return json.dumps(
        {"type": owed.event.type, "sinks": sorted(owed.sinks), "detail": owed.event.detail},
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _owed_of(text: str) -> Owed:
    entry = json.loads(text)
    return Owed(Event(entry["type"], entry["detail"]), frozenset(entry["sinks"]))


def _unless_changed(version: int) -> dict[str, Any]:
    if version == 0:
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(sk)"}
    else:
        condition = {
            "ConditionExpression": "#version = :version",
            "ExpressionAttributeNames": {"#version": "version"},
            "ExpressionAttributeValues": {":version": {"N": str(version)}},
        }
    return {**condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}


class TransactionCancelled(Exception):
    """Which of a transaction's writes failed its condition, and what stood there."""

    def __init__(self, reasons: Sequence[Mapping[str, Any]]) -> None:
        self._reasons = reasons
        super().__init__("the transaction was cancelled")

    def changed(self, position: int) -> bool:
        return bool(self._reasons[position].get("Code") == "ConditionalCheckFailed")

    def current(self, position: int) -> JobRecord | None:
        item = self._reasons[position].get("Item")
        return record_of(item) if item else None


def persisting(write: Callable[[], object]) -> None:
    """Writes, again and again where another transaction is at one of the items at the moment.

    botocore does not try that again, though nobody has written yet and nothing is wrong.
    """
    for pause_s in CONFLICT_PAUSES_S:
        try:
            write()
        except ClientError as error:
            if not _meets_a_transaction(error):
                raise
            time.sleep(pause_s)
        else:
            return
    write()


def _meets_a_transaction(error: ClientError) -> bool:
    reasons: Any = error.response.get("CancellationReasons", [])
    codes = {reason.get("Code") for reason in reasons} - {"None"}
    single = error.response.get("Error", {}).get("Code") == "TransactionConflictException"
    return single or codes == {"TransactionConflict"}


@contextmanager
def decided(doing: str) -> Iterator[None]:
    """Every failure of a call gets its meaning: changed by somebody, cancelled, or unavailable."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "ConditionalCheckFailedException":
            item: Any = error.response.get("Item")
            raise RecordChanged(record_of(item) if item and "jobId" in item else None) from None
        if code == "TransactionCanceledException":
            reasons = error.response.get("CancellationReasons", [])
            if reasons:
                raise TransactionCancelled(reasons) from None
        raise TableUnavailable(f"can't {doing}: {error}") from error
    except BotoCoreError as error:
        raise TableUnavailable(f"can't {doing}: {error}") from error
