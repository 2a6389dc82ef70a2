"""The tables, with clients that record calls, fail them or lose their answers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

Failure = Callable[[str], Exception]
READS = frozenset({"Query", "GetItem", "BatchGetItem", "Scan", "TransactGetItems"})
INDEXES = {"LocalSecondaryIndexes", "GlobalSecondaryIndexes"}


@dataclass(frozen=True)
class Store:
    """The two tables, as in the template, without the rest of the stack."""

    client: Any
    jobs_table: str
    requests_table: str

    def adapter(self, client: Any = None) -> DynamoDbStore:
        """The adapter, optionally with another client."""
        return DynamoDbStore(
            cast("Any", client or self.client),
            jobs_table=self.jobs_table,
            requests_table=self.requests_table,
        )

    def job_item(self, sort_key: str) -> Any:
        """An item of sandbox `prod`, None if there is none."""
        return self._item(self.jobs_table, sandbox="prod", sk=sort_key)

    def request_item(self, key: str) -> Any:
        return self._item(self.requests_table, requestKey=key)

    def everything(self) -> list[tuple[str, Any]]:
        """All items, each with its table's name."""
        return [
            (table, item)
            for table in (self.jobs_table, self.requests_table)
            for item in self.client.scan(TableName=table)["Items"]
        ]

    def _item(self, table: str, **key: str) -> Any:
        wanted = {name: {"S": text} for name, text in key.items()}
        return self.client.get_item(TableName=table, Key=wanted).get("Item")


def store_in(client: Any, outputs: Mapping[str, str]) -> DynamoDbStore:
    """The adapter of the tables that a stack's outputs name."""
    return DynamoDbStore(
        client, jobs_table=outputs["JobsTableName"], requests_table=outputs["RequestsTableName"]
    )


@contextmanager
def created(client: Any) -> Iterator[Store]:
    """Creates new, empty tables; deletes them at the end."""
    prefix = uuid.uuid4().hex[:8]
    resources = read_template(TEMPLATE)["Resources"]
    for name in ("JobsTable", "RequestsTable"):
        wanted = {"BillingMode", "AttributeDefinitions", "KeySchema", *INDEXES}
        properties = resources[name]["Properties"]
        options = {name: value for name, value in properties.items() if name in wanted}
        client.create_table(TableName=f"{prefix}-{name}", **options)
    store = Store(client, f"{prefix}-JobsTable", f"{prefix}-RequestsTable")
    yield store
    for table in (store.jobs_table, store.requests_table):
        client.delete_table(TableName=table)


class Spy:
    """A client that records its calls, and fails the next ones as planned."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answers: list[Any] = []
        self.failures: list[Failure | None] = []
        """For the next calls, in order; with None, or none left, a call succeeds."""
        self.changed: Callable[[str, Any], Any] = lambda _, answer: answer
        """Changes an answer before it is returned."""

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.calls]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            self.calls.append((name, request))
            failure = self.failures.pop(0) if self.failures else None
            if failure:
                raise failure(name)
            answer = self.changed(name, getattr(self._client, name)(**request))
            self.answers.append(answer)
            return answer

        return call


def refusal(code: str, status: int = 400, **more: Any) -> Failure:
    """An error of DynamoDB."""

    def made(name: str) -> Exception:
        response: Any = {
            "Error": {"Code": code, "Message": "as planned"},
            "ResponseMetadata": {"HTTPStatusCode": status},
            **more,
        }
        return ClientError(response, name)

    return made


def cancelled(*codes: str) -> Failure:
    """A cancelled transaction, with the reason for each of its actions."""
    reasons = [{"Code": code} for code in codes]
    return refusal("TransactionCanceledException", CancellationReasons=reasons)


class LostAnswers:
    """Makes a boto3 client lose the first answers of an operation, after the calls' effect.

    botocore then retries. (The call is really sent; only the status of the answer is changed.)
    """

    def __init__(self, client: Any, operation: str, times: int = 1) -> None:
        self._left = times
        self.bodies: list[Mapping[str, Any]] = []
        """What was sent, including repetitions."""
        client.meta.events.register(f"before-send.dynamodb.{operation}", self._send)

    def _send(self, request: Any, **_: Any) -> Any:
        self.bodies.append(json.loads(request.body))
        if not self._left:
            return None
        self._left -= 1
        answer = URLLib3Session().send(request)
        assert answer.status_code == 200
        answer.status_code = 500
        return answer
