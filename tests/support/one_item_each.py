"""One record of each kind, equal to the items in `tests/data/items/`.

Neither is ever edited: stored items must stay readable. A field that a record gains later has its
default here, and so no attribute there; items that have it go into another file. An item that would
be written differently now stays, and is only read; another file has it as it is written now.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from export_jobs.aws.dynamodb import baselines, expectations
from export_jobs.aws.dynamodb.gate import GatePart
from export_jobs.aws.dynamodb.items import Writer
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.records import (
    Attempt,
    DigestState,
    Event,
    ExpectationsState,
    Gate,
    Hold,
    JobRecord,
    OutboxItem,
    PublishedEvent,
    RequestRecord,
    SandboxState,
    Ticket,
    Undelivered,
)
from export_jobs.model.retry import RetryPolicy, Try
from export_jobs.model.steps import GateChange, SlotChange, Step

FROZEN = Path(__file__).parents[1] / "data" / "items"

_NOW = 1_790_000_000_123
_EVENT = Event("Export Job State Change", {"eventId": "e-1", "status": "NEW", "error": "naïve 😀"})
_UNDELIVERED = Undelivered(_EVENT, frozenset({"bus", "topic"}))

JOB = JobRecord(
    sandbox="prod",
    job_id="job#1",
    creation_time=_NOW,
    status="SUCCEEDED",
    final=True,
    sequence=3,
    version=4,
    update_time=_NOW + 1,
    org_id="ORG@AdobeOrg",
    dataset_id="dataset",
    duration_ms=12_000,
    profiles_exported=0,
    request_key="key",
    correlation_id="correlation",
    linked_by="answer",
    duplicate_of="other",
    delays=2,
    misses=1,
    outbox=(_UNDELIVERED,),
    leased_at=_NOW + 2,
    touched_at=_NOW + 3,
)
SETTLED_JOB = JobRecord("prod", "2", _NOW, status="FAILED", final=True, version=1, touched_at=_NOW)
JOB_WITH_HISTORY = JobRecord(
    "prod",
    "3",
    _NOW,
    status="SUCCEEDED",
    final=True,
    version=2,
    touched_at=_NOW,
    outcome="SUCCEEDED_EMPTY",
    history=(PublishedEvent(_EVENT.type, {"eventId": "e-1", "status": "NEW", "sequence": 1}),),
    end_detail={"eventId": "e-2", "errors": [], "segments": [{"segmentId": "naïve 😀"}]},
)
JOB_WITH_SEGMENTS = JobRecord(
    "prod",
    "4",
    _NOW,
    status="PROCESSING",
    version=1,
    dataset_id="dataset",
    segments=frozenset({b"\x00\x01\x02\x03\x04\x05\x06\x07", b"abcdefgh"}),
    touched_at=_NOW,
)
JOB_WITH_USUAL_VALUES = JobRecord(
    "prod",
    "5",
    _NOW,
    status="PROCESSING",
    version=1,
    kind="1-0123456789abcdef",
    usual_profiles=1_000_000,
    delay_limit_ms=3_600_000,
    touched_at=_NOW,
)
BASELINE = Baseline(
    sandbox="prod",
    kind="1-0123456789abcdef",
    dataset_id="dataset",
    segments=("naïve 😀", "segment"),
    segment_count=12,
    runs=(Run(_NOW - 3, 12_000, 10**14), Run(_NOW - 2, None, 0), Run(_NOW - 1, 1)),
    unusual=(Run(_NOW, 120_000, 5),),
    version=7,
)
JOB_OF_A_RETRY = JobRecord(
    "prod",
    "5",
    _NOW,
    status="FAILED",
    final=True,
    version=1,
    request_key="key",
    touched_at=_NOW,
    outcome="FAILED",
    try_number=2,
    tries_left=1,
    retried_on=frozenset({"FAILED", "SUCCEEDED_EMPTY"}),
    retry_at=_NOW + 1,
    not_retried="EXPIRES",
)
OUTBOX_ITEM = OutboxItem("prod", "record key", (_UNDELIVERED,), leased_at=_NOW, version=1)
STATE = SandboxState(
    sandbox="prod",
    watermark=_NOW,
    seen_from=_NOW - 1,
    seen=frozenset({b"\x00\x01\x02\x03\x04\x05\x06\x07", b"abcdefgh"}),
    swept_at=_NOW + 1,
    new_since=_NOW - 2,
    failing_since=_NOW - 3,
)
EXPECTED = ExpectationsState(due_at=_NOW, overdue=2, unresolved=3, version=4)
EXPECTATION = ExpectationRecord(
    sandbox="prod",
    expectation=Expectation(
        name="nightly",
        dataset_id="naïve 😀",
        timezone="Europe/Rome",
        opens=22 * 60,
        due=6 * 60,
        days=frozenset({0, 4}),
        excepted=frozenset({date(2026, 12, 24), date(2026, 12, 25)}),
        segments=("segment 2", "segment 1"),
        min_profiles=0,
        accept=frozenset({"SUCCEEDED", "SUCCEEDED_WITH_ERRORS"}),
    ),
    applied_at=_NOW,
    muted_until=_NOW + 1,
    in_force=Expectation("nightly", "dataset", "UTC", every=60, grace=20),
    window=Window(_NOW + 2, _NOW + 3, _NOW + 4),
    missed=Window(_NOW - 4, _NOW - 3, _NOW - 2),
    missed_windows=2,
    overdue_since=_NOW - 5,
    told_at=_NOW - 6,
    last_good_at=_NOW - 7,
    history=(
        PastWindow(Window(_NOW - 10, _NOW - 9, _NOW - 8), "STILL_RUNNING", "1", good_at=_NOW - 7),
        PastWindow(Window(_NOW - 8, _NOW - 7, _NOW - 6), "GOOD", "2"),
        PastWindow(Window(_NOW - 4, _NOW - 3, _NOW - 2), "NEVER_STARTED"),
    ),
    version=5,
)
SMALL_EXPECTATION = ExpectationRecord(
    "prod", Expectation("hourly", "dataset", "UTC", every=60), applied_at=_NOW, version=1
)
DIGEST = DigestState(due_at=_NOW, since=_NOW - 1, time="08:00 Europe/Rome", version=3)
REQUEST = RequestRecord(
    request_key="key",
    status="REJECTED",
    sandbox="prod",
    action="cancel",
    body='{"action": "cancel"}',
    body_hash="1:hash",
    message_id="message",
    named="named key",
    org_id="ORG@AdobeOrg",
    correlation_id="correlation",
    dataset_id="dataset",
    sent_at=_NOW,
    deadline_ms=_NOW + 1,
    request_id="export-jobs-1",
    cancelled_by="other",
    job_id="1",
    linked_by="content",
    outcome="REFUSED",
    reason="no such dataset",
    event_id="e-2",
    rejections=("e-0", "e-1"),
    dead_letter_sent=True,
    touched_at=_NOW + 2,
    version=7,
)
REQUEST_WITH_A_RETRY = RequestRecord(
    "retried key",
    "WAITING",
    "prod",
    touched_at=_NOW,
    version=3,
    retry=RetryPolicy(2, 60_000, frozenset({"FAILED", "SUCCEEDED_EMPTY"})),
    try_number=3,
    tries_left=1,
    tries=(
        Try(1, "1", "FAILED", ended_at=_NOW, error_code="7", error_message="naïve 😀"),
        Try(2, "5", "SUCCEEDED_EMPTY", ended_at=_NOW + 1),
    ),
    retry_at=_NOW + 2,
)
TICKET = Ticket("prod", "key", "create", turn=_NOW, sent_at=_NOW - 1, deadline_ms=_NOW + 1)
DELAYED_TICKET = Ticket(
    "prod", "key", "create", turn=_NOW, sent_at=_NOW, deadline_ms=_NOW + 1, delayed=True
)
CANCEL_TICKET = Ticket("prod", "cancel key", "cancel", turn=_NOW, sent_at=_NOW)
ATTEMPT = Attempt(
    request_key="key",
    request_id="export-jobs-1",
    noted_at=_NOW,
    send_by=_NOW + 1,
    hashes={"dataset": "0123456789ab", "fields": "ba9876543210"},
    rule=1,
    missed_at=_NOW + 2,
)
_LINKED = Attempt("linked", "export-jobs-2", 0, 0, hashes={}, rule=0, job_id="1", linked_at=_NOW)
_FORMER = replace(ATTEMPT, request_key="former", request_id="export-jobs-3")
GATE = Gate(
    sandbox="prod",
    slots={"key": ATTEMPT, "linked": _LINKED},
    former={"export-jobs-3": _FORMER},
    hold=Hold(_NOW + 1, 60_000),
    echoes=False,
    version=1,
)

RECORDS: Mapping[str, Any] = {
    "job": JOB,
    "job that ended": SETTLED_JOB,
    "job with history": JOB_WITH_HISTORY,
    "job with segments": JOB_WITH_SEGMENTS,
    "job with usual values": JOB_WITH_USUAL_VALUES,
    "baseline": BASELINE,
    "job of a retry": JOB_OF_A_RETRY,
    "outbox": OUTBOX_ITEM,
    "state": STATE,
    "digest in a state": DIGEST,
    "gate": GATE,
    "ticket": TICKET,
    "ticket to cancel": CANCEL_TICKET,
    "delayed ticket": DELAYED_TICKET,
    "request": REQUEST,
    "request that was rejected": REQUEST,
    "request with a retry": REQUEST_WITH_A_RETRY,
    "expected": EXPECTED,
    "expectation": EXPECTATION,
    "small expectation": SMALL_EXPECTATION,
}


ONLY_READ = {"request"}
"""Written before rejected requests had an index."""


def items_written() -> dict[str, Any]:
    """The items as this version writes them, all but those that are only read."""
    writer = Writer(jobs_table="jobs", requests_table="requests", retention_days=90)

    def before(record: Any) -> Any:
        return replace(record, version=record.version - 1)

    return {
        "job": writer.job(before(JOB)).written,
        "job that ended": writer.job(before(SETTLED_JOB)).written,
        "job with history": writer.job(before(JOB_WITH_HISTORY)).written,
        "job with segments": writer.job(before(JOB_WITH_SEGMENTS)).written,
        "job with usual values": writer.job(before(JOB_WITH_USUAL_VALUES)).written,
        "baseline": baselines.written(before(BASELINE), "jobs").written,
        "job of a retry": writer.job(before(JOB_OF_A_RETRY)).written,
        "outbox": writer.outbox_item(before(OUTBOX_ITEM)).written,
        "state": writer.state(STATE).written,
        "digest in a state": writer.digest("prod", before(DIGEST)).written,
        "gate": _gate_written(),
        "ticket": writer.ticket(TICKET).written,
        "ticket to cancel": writer.ticket(CANCEL_TICKET).written,
        "delayed ticket": writer.ticket(DELAYED_TICKET).written,
        "request that was rejected": writer.request(before(REQUEST)).written,
        "request with a retry": writer.request(before(REQUEST_WITH_A_RETRY)).written,
        "expected": writer.expected("prod", before(EXPECTED)).written,
        "expectation": expectations.written(before(EXPECTATION), "jobs").written,
        "small expectation": expectations.written(before(SMALL_EXPECTATION), "jobs").written,
    }


def _gate_written() -> dict[str, Any]:
    """The gate after several transactions, assembled from what they write."""
    change = GateChange(version=0, hold=GATE.hold, echoes=GATE.echoes)
    noting = {0: Step(slot_change=SlotChange("note", ATTEMPT))}
    noted = GatePart.of("prod", noting, change).write("jobs", known=None)
    settling = {
        0: Step(slot_change=SlotChange("link", _LINKED)),
        1: Step(slot_change=SlotChange("give up", _FORMER)),
    }
    settled = GatePart.of("prod", settling, GateChange()).write("jobs", known=None)
    assert noted
    assert settled
    item: dict[str, Any] = json.loads(json.dumps(noted.written))
    values = list(settled.as_update()["ExpressionAttributeValues"].values())
    linked, former = (value for value in values if "M" in value)
    item["slots"]["M"]["linked"] = linked
    item["former"]["M"]["export-jobs-3"] = former
    return item


def as_json(item: Any) -> Any:
    """Encodes bytes as in DynamoDB's JSON."""
    if isinstance(item, bytes):
        return base64.b64encode(item).decode()
    if isinstance(item, Mapping):
        return {name: as_json(value) for name, value in item.items()}
    return [as_json(element) for element in item] if isinstance(item, list) else item


def from_json(item: Any) -> Any:
    """The reverse, for whole attributes."""
    return {
        name: {"B": base64.b64decode(value["B"])} if "B" in value else value
        for name, value in item.items()
    }
