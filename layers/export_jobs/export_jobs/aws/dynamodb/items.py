"""Writes and reads records as items of the tables.

The jobs table has the partition key `sandbox` and the sort key `sk`, which starts with the kind of
the item. The local index `open` has the items with an `openKey`: everything that is unfinished in a
sandbox, in the order of `openKey`. The requests table has the key `requestKey`. Its global index
`rejected` has the items with a `rejectedIn`: the rejected requests of a sandbox, by `touchedAt`.

Reading is lenient: an absent attribute has the default of the record's field; unknown attributes,
and items of an unknown kind, are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, fields, replace

from export_jobs.aws.dynamodb.attributes import (
    Attribute,
    as_attributes,
    compact,
    fields_of,
    fingerprints,
    flags,
    numbers,
    readable,
    texts,
)
from export_jobs.aws.dynamodb.writes import Item, Value, Write, number, text
from export_jobs.model.fingerprints import SEEN_RULE
from export_jobs.model.limits import DAY_MS
from export_jobs.model.records import (
    DigestState,
    Event,
    ExpectationsState,
    JobRecord,
    OutboxItem,
    PublishedEvent,
    RequestRecord,
    SandboxState,
    Ticket,
    Undelivered,
    as_read,
)
from export_jobs.model.retry import RetryPolicy, Try

FORMAT = 1
"""The version of the format in which this package writes items; every item has it."""
OPEN_INDEX = "open"
REJECTED_INDEX = "rejected"
MAX_INDEX_KEY_BYTES = 2_048
"""The size limit of an index's partition key; DynamoDB refuses an item with a larger one, or with an
empty one (docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html)."""

STATE = "!state"
GATE = "!gate"
JOB = "job#"
AFTER_JOBS = "job$"
"""Sorts right after all jobs."""
OUTBOX = "outbox#"
TICKET = "ticket#"
STACK = "!stack"

# The first character of `openKey` sorts the index by kind.
_OPEN_STATE = "1#"
OPEN_GATE = "2#"
OPEN_JOBS = "3#"
_OPEN_OUTBOX = "4#"
OPEN_CANCELS = "5#"
OPEN_CREATES = "6#"
_OPEN_DELAYED = "7#"
"""After the line, where the creator does not read."""


# -- keys ----------------------------------------------------------------------------------------


def state_key(sandbox: str) -> Item:
    return _key(sandbox, STATE)


def gate_key(sandbox: str) -> Item:
    return _key(sandbox, GATE)


def job_key(sandbox: str, job_id: str, creation_time: int) -> Item:
    return _key(sandbox, f"{JOB}{creation_time:014d}#{job_id}")


def outbox_key(item: OutboxItem) -> Item:
    return _key(item.sandbox, f"{OUTBOX}{item.item_id}")


def ticket_key(ticket: Ticket) -> Item:
    return _key(ticket.sandbox, f"{TICKET}{ticket.request_key}")


def stack_key() -> Item:
    return _key(STACK, STACK)


def request_key(key: str) -> Item:
    return {"requestKey": text(key)}


def turn_key(turn: int) -> str:
    """Sorts like the turns."""
    return f"{turn:014d}"


def _key(sandbox: str, sort_key: str) -> Item:
    return {"sandbox": text(sandbox), "sk": text(sort_key)}


# -- attributes ----------------------------------------------------------------------------------


def _undelivered_text(undelivered: Undelivered) -> str:
    entry = {
        "type": undelivered.event.type,
        "sinks": sorted(undelivered.sinks),
        "detail": undelivered.event.detail,
    }
    return compact(entry)


def _undelivered_of(entry_text: str) -> Undelivered:
    entry = json.loads(entry_text)
    return Undelivered(Event(entry["type"], entry["detail"]), frozenset(entry["sinks"]))


def _published_text(published: PublishedEvent) -> str:
    return compact({"type": published.type, "detail": published.detail})


def _published_of(entry_text: str) -> PublishedEvent:
    entry = json.loads(entry_text)
    return PublishedEvent(entry["type"], entry["detail"])


def _try_of(entry_text: str) -> Try:
    entry = json.loads(entry_text)
    return Try(**{field.name: entry[field.name] for field in fields(Try) if field.name in entry})


def _retry_text(retry: RetryPolicy) -> str:
    return compact({**asdict(retry), "on": sorted(retry.on)})


def _retry_of(entry_text: str) -> RetryPolicy:
    entry = json.loads(entry_text)
    return RetryPolicy(entry["attempts"], entry["delay_ms"], frozenset(entry["on"]))


_OUTBOX = Attribute(
    "outbox",
    "outbox",
    "L",
    write=lambda outbox: [text(_undelivered_text(undelivered)) for undelivered in outbox],
    read=lambda entries: readable("outbox", _undelivered_of, entries),
)
_JOB_ATTRIBUTES = (
    *texts("status", "outcome", "org_id", "dataset_id", "request_key", "correlation_id"),
    *texts("linked_by", "duplicate_of", "kind"),
    *numbers("sequence", "version", "update_time", "duration_ms", "profiles_exported"),
    *numbers("usual_profiles", "delay_limit_ms", "delays", "misses", "leased_at", "touched_at"),
    *flags("final"),
    fingerprints("segments"),
    _OUTBOX,
    Attribute(
        "history",
        "history",
        "L",
        write=lambda history: [text(_published_text(event)) for event in history],
        read=lambda entries: readable("history", _published_of, entries),
    ),
    Attribute("endDetail", "end_detail", "S", write=compact, read=json.loads),
    *numbers("try_number", "tries_left", "retry_at"),
    *texts("not_retried"),
    Attribute("retriedOn", "retried_on", "SS", write=sorted, read=frozenset),
)
_OUTBOX_ATTRIBUTES = (*texts("record_key"), *numbers("leased_at", "version"), _OUTBOX)
_STATE_ATTRIBUTES = (
    *numbers("watermark", "seen_from", "swept_at", "new_since", "failing_since"),
    fingerprints("seen"),
)
_EXPECTED_ATTRIBUTES = (
    Attribute("expectationsDueAt", "due_at", "N", str, int),
    Attribute("expectationsOverdue", "overdue", "N", str, int),
    Attribute("expectationsUnresolved", "unresolved", "N", str, int),
    Attribute("expectationsVersion", "version", "N", str, int),
)
_DIGEST_ATTRIBUTES = (
    Attribute("digestDueAt", "due_at", "N", str, int),
    Attribute("digestSince", "since", "N", str, int),
    Attribute("digestTime", "time", "S", str, str),
    Attribute("digestVersion", "version", "N", str, int),
)
"""Both stand in the item of the sandbox's state, but are written on their own."""
_REQUEST_ATTRIBUTES = (
    *texts("status", "sandbox", "action", "body_hash", "message_id", "org_id", "correlation_id"),
    *texts("dataset_id", "request_id", "cancelled_by", "job_id", "linked_by", "outcome"),
    *texts("reason", "event_id", "named", "body"),
    *numbers("sent_at", "deadline_ms", "touched_at", "version"),
    *flags("dead_letter_sent"),
    Attribute(
        "rejections",
        "rejections",
        "L",
        write=lambda event_ids: [text(event_id) for event_id in event_ids],
        read=lambda entries: tuple(entry["S"] for entry in entries),
    ),
    Attribute("retry", "retry", "S", write=_retry_text, read=_retry_of),
    *numbers("try_number", "tries_left", "retry_at"),
    Attribute(
        "tries",
        "tries",
        "L",
        write=lambda tries: [text(compact(asdict(one))) for one in tries],
        read=lambda entries: readable("tries", _try_of, entries),
    ),
)

REQUEST_NAMES = (
    "requestKey",
    *(attribute.name for attribute in _REQUEST_ATTRIBUTES if attribute.name != "body"),
)
"""The attributes of a request, except its body."""


def _differs(record: JobRecord | OutboxItem | RequestRecord, field: str) -> bool:
    stored = record.stored
    if stored is None or stored.version != record.version:
        return True
    return bool(getattr(record, field) != getattr(stored, field))


def _rejected_in(record: RequestRecord) -> Value | None:
    """The partition of the index `rejected` that a request belongs to; None if to none.

    Intake gives every record one of the sandboxes in the settings, which fit. But a record that
    another version or a person has written may lack its sandbox; it must still be possible to write
    it, so such a request is left out of the index instead.
    """
    fits = 0 < len(record.sandbox.encode()) <= MAX_INDEX_KEY_BYTES
    return text(record.sandbox) if record.status == "REJECTED" and fits else None


# -- writing -------------------------------------------------------------------------------------


class Writer:
    """Makes the writes of records; each replaces the version that was read."""

    def __init__(self, *, jobs_table: str, requests_table: str, retention_days: int) -> None:
        self.jobs_table = jobs_table
        self.requests_table = requests_table
        self._retention_ms = retention_days * DAY_MS

    def job(self, record: JobRecord) -> Write:
        key = job_key(record.sandbox, record.job_id, record.creation_time)
        write = Write(self.jobs_table, key, is_new=record.version == 0, return_old=True)
        place = key["sk"]["S"].removeprefix(JOB)
        open_key = text(OPEN_JOBS + place) if record.is_open else None
        self._put(write, record, _JOB_ATTRIBUTES)
        ttl = self._ttl(record.touched_at, record.is_open)
        write.put([("openKey", open_key), ("ttl", ttl)])
        return write

    def outbox_item(self, item: OutboxItem) -> Write:
        write = Write(self.jobs_table, outbox_key(item), is_new=item.version == 0, return_old=True)
        self._put(write, item, _OUTBOX_ATTRIBUTES)
        write.set(text(_OPEN_OUTBOX + item.item_id), "openKey")
        return write

    def published(self, item: OutboxItem) -> Write:
        """Deletes an item, if it still has this version."""
        write = Write(self.jobs_table, outbox_key(item), return_old=True)
        write.require_version(item.version)
        return write

    def request(self, record: RequestRecord) -> Write:
        key = request_key(record.request_key)
        write = Write(self.requests_table, key, is_new=record.version == 0)
        self._put(write, record, _REQUEST_ATTRIBUTES)
        ttl = self._ttl(record.touched_at, record.status in {"WAITING", "CREATING"})
        write.put([("rejectedIn", _rejected_in(record)), ("ttl", ttl)])
        return write

    def ticket(self, ticket: Ticket) -> Write:
        """At most 250 bytes: its key and its sort key occur only once."""
        write = Write(self.jobs_table, ticket_key(ticket))
        rank = OPEN_CANCELS if ticket.action == "cancel" else OPEN_CREATES
        rank = _OPEN_DELAYED if ticket.delayed else rank
        sent_at = None if ticket.sent_at == ticket.turn else number(ticket.sent_at)
        deadline = None if ticket.deadline_ms is None else number(ticket.deadline_ms)
        write.put(
            [
                ("openKey", text(rank + turn_key(ticket.turn))),
                ("sentAt", sent_at),
                ("deadlineMs", deadline),
                ("format", number(FORMAT)),
            ]
        )
        return write

    def ticket_dropped(self, ticket: Ticket) -> Write:
        """Deletes a ticket."""
        return Write(self.jobs_table, ticket_key(ticket))

    def state(self, state: SandboxState) -> Write:
        """Writes the state, unless another sweep has written a newer one."""
        write = Write(self.jobs_table, state_key(state.sandbox))
        write.put(as_attributes(state, _STATE_ATTRIBUTES))
        write.set(number(SEEN_RULE), "seenRule")
        write.set(text(_OPEN_STATE), "openKey")
        write.set(number(FORMAT), "format")
        swept_at = write.path("sweptAt")
        not_newer = f"{swept_at} <= {write.value(number(state.swept_at))}"
        write.require(f"attribute_not_exists({swept_at})", not_newer)
        return write

    def expected(self, sandbox: str, expected: ExpectationsState) -> Write:
        """Replaces version `expected.version` of what the state has of expectations."""
        write = Write(self.jobs_table, state_key(sandbox))
        write.put(
            as_attributes(replace(expected, version=expected.version + 1), _EXPECTED_ATTRIBUTES)
        )
        write.require_version(expected.version, "expectationsVersion")
        return write

    def digest(self, sandbox: str, digest: DigestState) -> Write:
        """Replaces version `digest.version` of what the state has of the daily digest."""
        write = Write(self.jobs_table, state_key(sandbox))
        write.put(as_attributes(replace(digest, version=digest.version + 1), _DIGEST_ATTRIBUTES))
        write.require_version(digest.version, "digestVersion")
        return write

    def looks_at_expectations(self, sandbox: str) -> Write:
        """Makes the next sweep look at the sandbox's expectations, whatever other runs write."""
        write = Write(self.jobs_table, state_key(sandbox))
        write.set(number(0), "expectationsDueAt")
        write.increment("expectationsVersion")
        return write

    def _put(
        self,
        write: Write,
        record: JobRecord | OutboxItem | RequestRecord,
        attributes: Iterable[Attribute],
    ) -> None:
        """Writes what differs from the stored record, or everything if that is unknown."""
        changed = [a for a in attributes if a.name != "version" and _differs(record, a.field)]
        write.put(as_attributes(record, changed))
        write.set(number(record.version + 1), "version")
        write.set(number(FORMAT), "format")
        write.require_version(record.version)

    def _ttl(self, touched_at: int, kept: bool) -> Value | None:
        return None if kept else number((touched_at + self._retention_ms) // 1000)


# -- reading -------------------------------------------------------------------------------------


def job_of(item: Item) -> JobRecord:
    created, _, job_id = item["sk"]["S"].removeprefix(JOB).partition("#")
    key = {"sandbox": item["sandbox"]["S"], "job_id": job_id, "creation_time": int(created)}
    return as_read(JobRecord(**fields_of(item, _JOB_ATTRIBUTES, **key)))


def outbox_item_of(item: Item) -> OutboxItem:
    item_id = item["sk"]["S"].removeprefix(OUTBOX)
    required = {"record_key": "", "outbox": ()}
    read = fields_of(item, _OUTBOX_ATTRIBUTES, **required)
    return as_read(OutboxItem(sandbox=item["sandbox"]["S"], item_id=item_id, **read))


def request_of(item: Item) -> RequestRecord:
    required = {"status": "WAITING", "sandbox": ""}
    read = fields_of(item, _REQUEST_ATTRIBUTES, **required)
    return as_read(RequestRecord(item["requestKey"]["S"], **read))


def ticket_of(item: Item) -> Ticket:
    place = item["openKey"]["S"]
    turn = int(place[len(OPEN_CREATES) :])
    return Ticket(
        sandbox=item["sandbox"]["S"],
        request_key=item["sk"]["S"].removeprefix(TICKET),
        action="cancel" if place.startswith(OPEN_CANCELS) else "create",
        turn=turn,
        sent_at=int(item["sentAt"]["N"]) if "sentAt" in item else turn,
        deadline_ms=int(item["deadlineMs"]["N"]) if "deadlineMs" in item else None,
        delayed=place.startswith(_OPEN_DELAYED),
    )


def state_of(item: Item) -> SandboxState:
    """Leaves out fingerprints of another rule, which can't be compared."""
    read = fields_of(item, _STATE_ATTRIBUTES, watermark=0)
    if item.get("seenRule", {}).get("N") != str(SEEN_RULE):
        read["seen"] = frozenset()
    return SandboxState(sandbox=item["sandbox"]["S"], **read)


def expected_of(item: Item) -> ExpectationsState:
    """What the item of a sandbox's state has of its expectations."""
    return ExpectationsState(**fields_of(item, _EXPECTED_ATTRIBUTES))


def digest_of(item: Item) -> DigestState:
    """What the item of a sandbox's state has of the daily digest."""
    return DigestState(**fields_of(item, _DIGEST_ATTRIBUTES))
