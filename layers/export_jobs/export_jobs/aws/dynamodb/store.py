"""The stores of `model.ports`, in two tables on DynamoDB."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from export_jobs.aws.dynamodb import items
from export_jobs.aws.dynamodb.calls import (
    Cancelled,
    Outrun,
    delete,
    meaning,
    pause,
    transact,
    write_item,
)
from export_jobs.aws.dynamodb.gate import gate_of
from export_jobs.aws.dynamodb.index import Found
from export_jobs.aws.dynamodb.transaction import Commit, in_parts
from export_jobs.aws.dynamodb.writes import Item, Value, Write, number, size_of, text
from export_jobs.model.ports import (
    BaselineChanged,
    ItemRefused,
    RecordChanged,
    StoreUnavailable,
)
from export_jobs.model.records import (
    ExpectationsState,
    Gate,
    JobRecord,
    Line,
    OutboxItem,
    RequestRecord,
    RequestStatus,
    SandboxRecord,
    SandboxState,
    Ticket,
    as_written,
)
from export_jobs.model.steps import GateChange, Step

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from export_jobs.model.baselines import Baseline
    from export_jobs.model.expectations import DueExpectations, ExpectationRecord
    from export_jobs.model.names import Names

MAX_KEYS = 100
"""The most keys that BatchGetItem takes."""
UNPROCESSED_PAUSES_S = (0.05, 0.2, 0.8)
LINE_OTHERS = 50
"""Jobs and other items that are usually read together with a sandbox's tickets."""
EXPECTATIONS = 100
"""Expectations read in one call."""
REJECTIONS = 500
"""Rejected requests read in one call, at most."""
MAX_EXPECTATION_BYTES = 390_000
"""What a sweep adds to it still fits into an item."""
MAX_EDITS = 99
"""Expectations written in one transaction, which also makes the next sweep look at them."""


class DynamoDbStore:
    """Reads and writes records with optimistic locking. Thread-safe.

    Any method may raise StoreUnavailable or StoreRefused. Reads are strongly consistent unless
    stated otherwise.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        *,
        jobs_table: str,
        requests_table: str,
        retention_days: int = 90,
    ) -> None:
        """Records that have ended are kept for `retention_days` after their last change."""
        self._client = client
        self._jobs_table = jobs_table
        self._requests_table = requests_table
        self._writer = items.Writer(
            jobs_table=jobs_table, requests_table=requests_table, retention_days=retention_days
        )
        self._commit = Commit(client, self._writer)

    # -- sandboxes -------------------------------------------------------------------------------

    def load(self, sandbox: str) -> SandboxRecord:
        """Everything unfinished in a sandbox: one query, which DynamoDB pages by the megabyte."""
        found = Found()
        condition = "sandbox = :sandbox"
        values = {":sandbox": text(sandbox)}
        for page in self._query("read the open items", condition, values):
            found.add_page(page["Items"])
        return SandboxRecord(
            gate=found.gate or Gate(sandbox),
            state=found.state,
            expected=found.expected,
            digest=found.digest,
            open_jobs=found.jobs,
            outbox=tuple(found.outbox),
            tickets=found.in_line,
        )

    def line(self, sandbox: str, *, until: int, limit: int) -> Line:
        """See `ports.CreatorStore.line`. Tickets come after everything else in the index."""
        found = Found()
        condition = "sandbox = :sandbox AND openKey BETWEEN :first AND :last"
        values = {
            ":sandbox": text(sandbox),
            ":first": text(items.OPEN_JOBS),
            ":last": text(items.OPEN_CREATES + items.turn_key(until)),
        }
        due: list[Ticket] = []
        doing = "read the waiting requests"
        for page in self._query(doing, condition, values, Limit=limit + LINE_OTHERS):
            found.add_page(page["Items"])
            due = [ticket for ticket in found.in_line if ticket.turn <= until]
            last = page.get("LastEvaluatedKey", {}).get("openKey", text(""))["S"]
            if len(due) >= limit and last >= items.OPEN_CANCELS:
                break
        return Line(found.jobs, tuple(due[:limit]))

    def gate(self, sandbox: str) -> Gate:
        return gate_of(self._get(self._jobs_table, items.gate_key(sandbox), "the gate"), sandbox)

    def put_state(self, state: SandboxState) -> None:
        try:
            write_item(self._client, self._writer.state(state), "write the sandbox's state")
        except Outrun:
            return

    # -- jobs ------------------------------------------------------------------------------------

    def job(self, sandbox: str, job_id: str, creation_time: int) -> JobRecord | None:
        key = items.job_key(sandbox, job_id, creation_time)
        item = self._get(self._jobs_table, key, f"job {job_id}")
        return items.job_of(item) if item else None

    def put(
        self,
        record: JobRecord,
        state: SandboxState | None = None,
        baseline: Baseline | None = None,
    ) -> JobRecord:
        """Replaces version `record.version`; see `ports.SweepStore.put`."""
        write = self._writer.job(record)
        along = [self._baseline(baseline)] if baseline else []
        along += [self._writer.state(state)] if state else []
        try:
            self._write_with(write, along, f"write job {record.job_id}", may_drop=state is not None)
        except Outrun as outrun:
            current = items.job_of(outrun.found) if outrun.found else None
            raise RecordChanged(current) from None
        return as_written(record)

    def _write_with(self, write: Write, along: list[Write], doing: str, *, may_drop: bool) -> None:
        """Writes a job, and others in the same call; `may_drop` the last of them, if outrun.

        Raises Outrun for the job, and BaselineChanged for another one.
        """
        while along:
            actions = [one.as_action() for one in (write, *along)]
            try:
                transact(self._client, actions, f"{doing} and what belongs to it")
            except Cancelled as cancelled:
                if 0 in cancelled.failed:
                    raise Outrun(cancelled.found(0)) from None
                if not may_drop:
                    raise BaselineChanged from None
                along, may_drop = along[:-1], False
            else:
                return
        write_item(self._client, write, doing)

    def jobs(self, sandbox: str, *, named: str | None = None) -> Iterator[JobRecord]:
        """A sandbox's jobs, newest first, page by page on demand; may be slightly stale.

        `named`: only those with this id. That reads the others, too: ids have no index.
        """
        request: dict[str, Any] = {
            "TableName": self._jobs_table,
            "KeyConditionExpression": "sandbox = :sandbox AND begins_with(sk, :job)",
            "ExpressionAttributeValues": {":sandbox": text(sandbox), ":job": text(items.JOB)},
            "ScanIndexForward": False,
        }
        if named is not None:
            request["FilterExpression"] = "contains(sk, :named)"
            request["ExpressionAttributeValues"][":named"] = text(f"#{named}")
        for page in self._pages(self._client.query, request, "read the jobs"):
            for item in page["Items"]:
                job = items.job_of(item)
                if named in {None, job.job_id}:
                    yield job

    def put_outbox(self, item: OutboxItem) -> OutboxItem | None:
        doing = "write an undelivered event"
        write = self._writer.outbox_item(item)
        try:
            if item.outbox:
                write_item(self._client, write, doing)
                return as_written(item)
            delete(self._client, self._writer.published(item), doing)
        except Outrun as outrun:
            if outrun.found is not None or not item.version:
                raise RecordChanged(None) from None
        return None

    def jobs_since(self, sandbox: str, creation_time: int) -> Iterator[JobRecord]:
        """The jobs created since then, oldest first, page by page. Strongly consistent."""
        request = {
            "TableName": self._jobs_table,
            "ConsistentRead": True,
            "KeyConditionExpression": "sandbox = :sandbox AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":sandbox": text(sandbox),
                ":first": items.job_key(sandbox, "", creation_time)["sk"],
                ":last": text(items.AFTER_JOBS),
            },
            "ScanIndexForward": True,
        }
        for page in self._pages(self._client.query, request, "read the latest jobs"):
            yield from map(items.job_of, page["Items"])

    # -- baselines -------------------------------------------------------------------------------

    def baselines(self, sandbox: str, kinds: Collection[str]) -> Mapping[str, Baseline]:
        """Those that exist, by kind. At most a hundred are read in a call."""
        from export_jobs.aws.dynamodb import baselines  # noqa: PLC0415  not for a quiet sweep

        keys = [baselines.key_of(sandbox, kind) for kind in sorted(kinds)]
        found = self._batch(self._jobs_table, keys, "baselines")
        return baselines.baselines_of(list(found))

    def every_baseline(self, sandbox: str, *, beginning: str = "") -> Iterator[Baseline]:
        """All of a sandbox, or those whose kind begins so, by kind; page by page on demand.

        For people, whose policy may let them query the table and not get items.
        """
        from export_jobs.aws.dynamodb import baselines  # noqa: PLC0415  not for a quiet sweep

        request: dict[str, Any] = {
            "TableName": self._jobs_table,
            "ConsistentRead": True,
            "KeyConditionExpression": "sandbox = :sandbox",
            "ExpressionAttributeValues": {":sandbox": text(baselines.partition_of(sandbox))},
        }
        if beginning:
            request["KeyConditionExpression"] += " AND begins_with(sk, :beginning)"
            request["ExpressionAttributeValues"][":beginning"] = text(beginning)
        for page in self._pages(self._client.query, request, "read the baselines"):
            yield from baselines.baselines_of(page["Items"]).values()

    def put_baseline(self, baseline: Baseline) -> None:
        """Replaces version `baseline.version`. Raises BaselineChanged."""
        try:
            write_item(self._client, self._baseline(baseline), "write a baseline")
        except Outrun:
            raise BaselineChanged from None

    def _baseline(self, baseline: Baseline) -> Write:
        from export_jobs.aws.dynamodb import baselines  # noqa: PLC0415  not for a quiet sweep

        return baselines.written(baseline, self._jobs_table)

    # -- expectations ----------------------------------------------------------------------------

    def due_expectations(self, sandbox: str, *, until: int) -> DueExpectations:
        """Those that are overdue or have a deadline until then. Reads one more, the next one."""
        from export_jobs.aws.dynamodb import expectations  # noqa: PLC0415  not for a quiet sweep
        from export_jobs.model.expectations import DueExpectations  # noqa: PLC0415

        due: list[Item] = []
        condition = "sandbox = :sandbox AND openKey < :after"
        values = {
            ":sandbox": text(expectations.partition_of(sandbox)),
            ":after": text(expectations.AFTER_DEADLINES),
        }
        doing = "read the expectations"
        for page in self._query(doing, condition, values, Limit=EXPECTATIONS):
            for item in page["Items"]:
                if item["openKey"]["S"] > expectations.due_key(until):
                    return DueExpectations(
                        tuple(expectations.records_of(due)), expectations.deadline_of(item)
                    )
                due.append(item)
        return DueExpectations(tuple(expectations.records_of(due)))

    def expectations(self, sandbox: str) -> Sequence[ExpectationRecord]:
        """All of a sandbox, by name."""
        from export_jobs.aws.dynamodb import expectations  # noqa: PLC0415  not for a quiet sweep

        request = {
            "TableName": self._jobs_table,
            "ConsistentRead": True,
            "KeyConditionExpression": "sandbox = :sandbox",
            "ExpressionAttributeValues": {":sandbox": text(expectations.partition_of(sandbox))},
        }
        pages = self._pages(self._client.query, request, "read the expectations")
        return expectations.records_of([item for page in pages for item in page["Items"]])

    def edit_expectations(
        self,
        sandbox: str,
        written: Sequence[ExpectationRecord],
        removed: Sequence[ExpectationRecord] = (),
    ) -> None:
        """Writes some expectations and removes others, and makes the next sweep look at them.

        All in one transaction, or in several if they are too large for one, or more than 99.
        Raises StoreUnavailable with the rest unwritten if another run has written one of them since
        it was read.
        """
        from export_jobs.aws.dynamodb import expectations  # noqa: PLC0415  not for a quiet sweep

        edits = [(expectations.written(record, self._jobs_table), False) for record in written]
        edits += [(expectations.removed(record, self._jobs_table), True) for record in removed]
        sizes = [
            (write.as_action(deletes=deletes), 1, size_of(write.written))
            for write, deletes in edits
        ]
        if any(size > MAX_EXPECTATION_BYTES for _, _, size in sizes):
            raise ItemRefused("can't write the expectations: one is too large; name fewer segments")
        look = self._writer.looks_at_expectations(sandbox).as_action()
        for some in in_parts(sizes, most=MAX_EDITS):
            try:
                transact(self._client, [*some, look], "write the expectations")
            except Cancelled:
                raise StoreUnavailable(
                    "can't write the expectations: they have changed since they were read"
                ) from None

    def look_at_expectations(self, sandbox: str) -> None:
        """Makes the next sweep look at the sandbox's expectations."""
        write = self._writer.looks_at_expectations(sandbox)
        write_item(self._client, write, "note that expectations may be made good")

    def put_expected(self, sandbox: str, expected: ExpectationsState) -> bool:
        """Replaces version `expected.version`; returns False if it has another version."""
        try:
            write = self._writer.expected(sandbox, expected)
            write_item(self._client, write, "write when the next expectation is due")
        except Outrun:
            return False
        return True

    # -- names -----------------------------------------------------------------------------------

    def names(self, sandbox: str, *, by_query: bool = False) -> Names:
        """What its datasets and segments are called; may be slightly stale.

        `by_query`: strongly consistent, and for people, whose policy may let them query the table
        and not get items.
        """
        from export_jobs.aws.dynamodb import names  # noqa: PLC0415  not for a quiet sweep

        key = names.names_key(sandbox)
        with meaning("read the names of datasets and segments"):
            if not by_query:
                answer = self._client.get_item(TableName=self._jobs_table, Key=dict(key))
                return names.names_of(answer.get("Item"))
            found = self._client.query(
                TableName=self._jobs_table,
                ConsistentRead=True,
                KeyConditionExpression="sandbox = :sandbox AND sk = :sk",
                ExpressionAttributeValues={":sandbox": key["sandbox"], ":sk": key["sk"]},
            )
        return names.names_of(next(iter(found["Items"]), None))

    def put_names(self, sandbox: str, names: Names) -> None:
        """Replaces the names of a sandbox; the last one to write them wins.

        Raises ItemRefused if they are too many for one item.
        """
        from export_jobs.aws.dynamodb.names import written  # noqa: PLC0415  not for a quiet sweep

        write = written(sandbox, names, self._jobs_table)
        write_item(self._client, write, "write the names of datasets and segments")

    # -- requests --------------------------------------------------------------------------------

    def requests(self, keys: Sequence[str]) -> Mapping[str, RequestRecord]:
        """The records of those that exist, with their bodies."""
        wanted = list(dict.fromkeys(keys))
        if len(wanted) == 1:
            item = self._get(self._requests_table, items.request_key(wanted[0]), "a request")
            found = [item] if item else []
        else:
            keys_of_items = list(map(items.request_key, wanted))
            found = list(self._batch(self._requests_table, keys_of_items, "requests"))
        records = map(items.request_of, found)
        return {record.request_key: record for record in records}

    def commit(
        self, sandbox: str, steps: Sequence[Step], gate: GateChange | None = None
    ) -> frozenset[int]:
        """See `ports.RequestStore.commit`."""
        return self._commit(sandbox, steps, gate)

    def rejected_requests(
        self, sandbox: str, *, limit: int, named: str | None = None
    ) -> Iterator[RequestRecord]:
        """At most `limit` rejected requests of a sandbox, newest first, page by page on demand.

        `named`: only those that were rejected at intake and name this key; that reads the others,
        too. May be slightly stale: a request that was rejected or redriven a moment ago may be
        missing, or still there, usually for less than a second. The records have only what the index
        has, so neither a body nor a version: they can be shown, and not be written.
        """
        if limit <= 0:
            return
        request: dict[str, Any] = {
            "TableName": self._requests_table,
            "IndexName": items.REJECTED_INDEX,
            "KeyConditionExpression": "rejectedIn = :sandbox",
            "ExpressionAttributeValues": {":sandbox": text(sandbox)},
            "ScanIndexForward": False,
        }
        if named is None:
            request["Limit"] = min(limit, REJECTIONS)
        else:  # no limit for the page: it would count those that the filter leaves out
            request["FilterExpression"] = "#named = :named"
            request["ExpressionAttributeNames"] = {"#named": "named"}
            request["ExpressionAttributeValues"][":named"] = text(named)
        for page in self._pages(self._client.query, request, "read the rejected requests"):
            for item in page["Items"]:
                yield items.request_of(item)
                limit -= 1
                if limit <= 0:
                    return

    def ended_requests(
        self, statuses: Collection[RequestStatus], *, limit: int
    ) -> Iterator[RequestRecord]:
        """Some requests that have one of the statuses, without their bodies, in no order.

        A scan: it reads the whole table, page by page on demand, until `limit` are found. May be
        slightly stale.
        """
        names = {name: f"#{n}" for n, name in enumerate(items.REQUEST_NAMES)}
        values = {f":{n}": text(status) for n, status in enumerate(sorted(statuses))}
        if not values:
            return
        request: dict[str, Any] = {
            "TableName": self._requests_table,
            "ProjectionExpression": ", ".join(names.values()),
            "FilterExpression": f"{names['status']} IN ({', '.join(values)})",
            "ExpressionAttributeNames": {placeholder: name for name, placeholder in names.items()},
            "ExpressionAttributeValues": values,
        }
        for page in self._pages(self._client.scan, request, "read the requests"):
            for item in page["Items"]:
                if limit <= 0:
                    return
                limit -= 1
                yield items.request_of(item)

    # -- the sandboxes that were ever watched ----------------------------------------------------

    def watched(self) -> frozenset[str]:
        item = self._get(self._jobs_table, items.stack_key(), "the watched sandboxes")
        return frozenset((item or {}).get("sandboxes", {}).get("SS", ()))

    def watch(self, sandboxes: Collection[str]) -> None:
        """Adds to the sandboxes that were ever watched."""
        if not sandboxes:
            return
        write = self._stack()
        write.add_to("sandboxes", sandboxes)
        write_item(self._client, write, "record the watched sandboxes")

    def forget(self, sandbox: str) -> None:
        """Deletes the sweep state of a sandbox."""
        state = Write(self._jobs_table, items.state_key(sandbox))
        delete(self._client, state, f"delete the sweep state of {sandbox}")

    def release(self, sandbox: str) -> None:
        """Removes a sandbox that is no longer watched; if it is watched again, it starts as new."""
        write = self._stack()
        write.take_from("sandboxes", [sandbox])
        state = Write(self._jobs_table, items.state_key(sandbox))
        actions = [write.as_action(), state.as_action(deletes=True)]
        transact(self._client, actions, f"remove sandbox {sandbox}")

    def _stack(self) -> Write:
        write = Write(self._jobs_table, items.stack_key())
        write.set(number(items.FORMAT), "format")
        return write

    # -- reading ---------------------------------------------------------------------------------

    def _get(self, table: str, key: Item, what: str) -> Item | None:
        with meaning(f"read {what}"):
            answer = self._client.get_item(TableName=table, Key=dict(key), ConsistentRead=True)
        return answer.get("Item")

    def _batch(self, table: str, keys: Sequence[Item], what: str) -> Iterator[Item]:
        """The items that exist of these keys; a hundred in a call, strongly consistent."""
        for start in range(0, len(keys), MAX_KEYS):
            yield from self._batch_of_one_call(table, keys[start : start + MAX_KEYS], what)

    def _batch_of_one_call(self, table: str, keys: Sequence[Item], what: str) -> Iterator[Item]:
        """The same for one call; asks again for those that DynamoDB leaves unprocessed."""
        wanted: Any = {table: {"Keys": [dict(key) for key in keys], "ConsistentRead": True}}
        pauses = iter(UNPROCESSED_PAUSES_S)
        while keys:
            with meaning(f"read {len(keys)} {what}"):
                answer = self._client.batch_get_item(RequestItems=wanted)
            some = answer["Responses"].get(table, [])
            yield from some
            wanted = answer.get("UnprocessedKeys")
            if not wanted:
                return
            if not some:  # a partial response is progress, an empty one is not
                length_s = next(pauses, None)
                if length_s is None:
                    raise StoreUnavailable(f"can't read {what}: DynamoDB leaves them unprocessed")
                pause(length_s)

    def _query(
        self, doing: str, condition: str, values: Mapping[str, Value], **options: Any
    ) -> Iterator[Any]:
        request = {
            "TableName": self._jobs_table,
            "IndexName": items.OPEN_INDEX,
            "ConsistentRead": True,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            **options,
        }
        return self._pages(self._client.query, request, doing)

    def _pages(
        self, call: Callable[..., Any], request: dict[str, Any], doing: str
    ) -> Iterator[Any]:
        while True:
            with meaning(doing):
                page = call(**request)
            yield page
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]
