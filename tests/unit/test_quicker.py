"""What `quicker` replaces in moto answers as moto's own function does, to the last detail."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import pytest
from export_jobs_local.aws.quicker import make_quicker
from export_jobs_local.aws.template import read_template, to_cloudformation
from export_jobs_local.project import TEMPLATE
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.cloudformation.models import Stack
from moto.core import responses, utils
from moto.dynamodb.exceptions import TransactionCanceledException
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import RESULT_SIZE_LIMIT, Table
from moto.dynamodb.parsing.key_condition_expression import parse_expression
from moto.sqs import models as sqs_models
from moto.sqs.models import Queue
from moto.sqs.responses import SQSResponse
from support.cloudformation import NEEDED

TABLE = "jobs"
PAGES = 30
"""More than any query here has."""
PADDING = {size: "x" * size for size in (0, 100_000, 199_000, 303_000, 395_000)}
"""Moto remembers every item that it has ever made: this way, they share their texts."""


@pytest.fixture(scope="module", autouse=True)
def quicker() -> None:
    make_quicker()


def key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]


SCHEMAS = {
    None: key_schema("sandbox", "sk"),
    "open": key_schema("sandbox", "openKey"),
    "noted": key_schema("note", "sk"),
}
"""Of the table, of a local index and of a global one."""


def table_of(items: Iterable[dict[str, Any]], sort_type: str = "S") -> DynamoDBBackend:
    """A table like that of the jobs, with these items."""
    types = {"sandbox": "S", "sk": sort_type, "openKey": "S", "note": "S"}
    indexes = {
        name: {"IndexName": name, "KeySchema": schema, "Projection": {"ProjectionType": "ALL"}}
        for name, schema in SCHEMAS.items()
    }
    table = Table(
        TABLE,
        account_id="123456789012",
        region="us-east-1",
        schema=SCHEMAS[None],
        attr=[{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()],
        indexes=[indexes["open"]],
        global_indexes=[indexes["noted"]],
    )
    for item in items:
        table.put_item(item)
    backend = DynamoDBBackend("us-east-1", "123456789012")
    backend.tables[TABLE] = table
    return backend


def item_of(sort_key: str, sandbox: str = "p", size: int = 0, **more: str | None) -> dict[str, Any]:
    texts = {"sandbox": sandbox, "sk": sort_key, "padding": PADDING[size], **more}
    return {name: {"S": text} for name, text in texts.items() if text is not None}


@dataclass(frozen=True)
class Query:
    """A query as moto gets it from a call, with what it makes of the call's condition."""

    comparison: str = ""
    bounds: tuple[dict[str, str], ...] = ()
    partition: dict[str, str] = field(default_factory=lambda: {"S": "p"})
    index: str | None = None
    limit: int | None = None
    start: Any = None
    forward: bool = True
    filter: str | None = None
    old_filters: dict[str, Any] = field(default_factory=dict)
    """Those of DynamoDB's older API, which names attributes instead of using an expression."""

    def pages(self, backend: DynamoDBBackend) -> list[Any]:
        """The answers, page by page; at last, moto's error, if it has one."""
        answers: list[Any] = []
        query = self
        while len(answers) < PAGES:
            try:
                items, scanned, last = query._page(backend)
            except Exception as error:  # noqa: BLE001  moto's own can be of any type
                return [*answers, (type(error), str(error))]
            answers.append(([item.to_json() for item in items], scanned, last))
            if last is None:
                return answers
            query = replace(query, start={name: value.to_json() for name, value in last.items()})
        raise AssertionError("it does not end")

    def _page(self, backend: DynamoDBBackend) -> Any:
        values = {":partition": self.partition, ":filter": {"S": "x"}}
        values |= {f":{number}": bound for number, bound in enumerate(self.bounds)}
        schema = SCHEMAS[self.index]
        hash_keys, range_keys, _ = parse_expression(self._condition, values, {}, schema)
        _, comparison, bounds = range_keys[-1] if range_keys else (None, None, [])
        return backend.query(
            TABLE,
            hash_keys[0][1],
            comparison,
            bounds,
            self.limit,
            self.start,
            self.forward,
            None,
            index_name=self.index,
            expr_names={},
            expr_values=values,
            filter_expression=self.filter,
            hash_key_conditions=hash_keys,
            range_key_conditions=range_keys,
            **self.old_filters,
        )

    @property
    def _condition(self) -> str:
        partition, sort = (key["AttributeName"] for key in SCHEMAS[self.index])
        condition = f"{partition} = :partition"
        if not self.comparison:
            return condition
        if self.comparison == "begins_with":
            return f"{condition} AND begins_with({sort}, :0)"
        if self.comparison == "BETWEEN":
            return f"{condition} AND {sort} BETWEEN :0 AND :1"
        return f"{condition} AND {sort} {self.comparison} :0"


def compared(backend: DynamoDBBackend, query: Query) -> list[Any]:
    """The answers to a query, of which moto's own function gives the same."""
    answers = query.pages(backend)
    with patch.object(Table, "query", Table.query.__wrapped__):
        assert answers == query.pages(backend)
    return answers


texts = st.text("ab", min_size=1, max_size=3)
notes = st.none() | st.sampled_from(["x", "y"])
bounds = texts.map(lambda text: {"S": text})
tables = st.dictionaries(
    st.tuples(st.sampled_from(["p", "p", "q"]), texts),
    st.tuples(st.sampled_from([0, 0, *PADDING]), st.none() | texts, notes),
    max_size=14,
).map(
    lambda items: [
        item_of(sort_key, sandbox, size, openKey=open_key, note=note)
        for (sandbox, sort_key), (size, open_key, note) in items.items()
    ]
)
starts = st.builds(
    lambda sandbox, sort_key, others: {"sandbox": {"S": sandbox}, "sk": sort_key, **others},
    st.sampled_from(["p", "p", "p", "q"]),
    bounds | st.just({"N": "1"}),
    st.sampled_from([{}, {}, {"openKey": {"S": "a"}}, {"note": {"S": "x"}}]),
)


@st.composite
def queries(draw: st.DrawFn) -> Query:
    index = draw(st.sampled_from([None, None, None, "open", "noted"]))
    comparison = draw(st.sampled_from(["", "=", "<", "<=", ">", ">=", "BETWEEN", "begins_with"]))
    operands = {"": 0, "BETWEEN": 2}.get(comparison, 1)
    partitions = ["x", "z"] if index == "noted" else ["p", "p", "p", "q", "missing"]
    old = {"note": {"ComparisonOperator": "EQ", "AttributeValueList": [{"S": "x"}]}}
    return Query(
        comparison,
        tuple(draw(bounds) for _ in range(operands)),
        {"S": draw(st.sampled_from(partitions))},
        index,
        draw(st.none() | st.integers(1, 4)),
        draw(st.none() | starts),
        draw(st.booleans()),
        draw(st.none() | st.just("note = :filter")),
        draw(st.sampled_from([{}, {}, {}, {}, old])),
    )


@settings(max_examples=settings().max_examples * 4)
@given(tables, st.lists(queries(), min_size=5, max_size=5))
def test_a_query_is_answered_as_by_moto(items: list[dict[str, Any]], asked: list[Query]) -> None:
    """Page by page, with any condition, start, limit, order, filter and index."""
    backend = table_of(items)
    for query in asked:
        compared(backend, query)


BETWEEN = Query("BETWEEN", ({"S": "b"}, {"S": "c"}))


@pytest.mark.parametrize("forward", [True, False])
def test_a_full_page_says_that_it_is_not_the_last_one_if_an_item_follows(forward: bool) -> None:
    """Even one outside of the range: DynamoDB also finds out only when it is asked for the next."""
    backend = table_of(item_of(sort_key) for sort_key in "abcd")
    query = replace(BETWEEN, limit=2, forward=forward)
    assert [scanned for _, scanned, _ in compared(backend, query)] == [2, 0]
    alone = table_of(item_of(sort_key) for sort_key in "bc")
    assert [scanned for _, scanned, _ in compared(alone, query)] == [2]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize(("large", "pages"), [(395_000, 2), (303_000, 1), (0, 1)])
def test_a_nearly_full_page_is_ended_by_a_large_item_anywhere_after_it(
    large: int, pages: int, forward: bool
) -> None:
    """Moto looks at every item after the range, though it can't be in the page."""
    items = [
        *(item_of(sort_key, size=303_000) for sort_key in ("b", "c")),
        *(item_of(sort_key, size=large) for sort_key in ("aa", "cb")),
        *(item_of(sort_key) for sort_key in ("a", "ab", "ca", "cc")),
    ]
    query = replace(BETWEEN, forward=forward)
    assert len(compared(table_of(items), query)) == pages


@pytest.mark.parametrize(("more", "pages"), [(0, 1), (1, 2)])
def test_a_page_of_exactly_the_most_bytes_is_full(more: int, pages: int) -> None:
    """One more byte, or one more item in the range, needs a second page."""
    full = [item_of(sort_key, size=199_000) for sort_key in ("ba", "bb", "bc", "bd", "be")]
    missing = RESULT_SIZE_LIMIT - sum(Item({}, {}, item).size() for item in full)
    full[-1]["padding"]["S"] += "x" * (missing + more)
    assert len(compared(table_of(full), BETWEEN)) == pages
    assert len(compared(table_of([*full, item_of("bf")]), BETWEEN)) == 2
    outside = table_of([*full[:-1], item_of("z"), {**full[-1], "sk": {"S": "dd"}}])
    assert len(compared(outside, BETWEEN)) == pages


@pytest.mark.parametrize("comparison", ["", "=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("limit", [None, 0, 1, 3])
def test_numbers_are_not_compared_as_texts(comparison: str, limit: int | None) -> None:
    """A table whose sort key is a number is queried as by moto, with every comparison."""
    items = [{**item_of(""), "sk": {"N": str(number)}} for number in (1, 9, 10, 11, 100)]
    bound = ({"N": "10"},) if comparison else ()
    compared(table_of(items, "N"), Query(comparison, bound, limit=limit))


@pytest.mark.parametrize(
    "odd",
    [
        {"bounds": ({"N": "1"}, {"N": "2"})},
        {"bounds": ({"S": "b"}, {"N": "2"})},
        {"partition": {"N": "1"}},
        {"limit": 0},
        {"start": {}},
        {"start": {"sandbox": {"S": "p"}}},
        {"start": {"sandbox": {"S": "p"}, "sk": {"N": "1"}}},
        {"start": {"sandbox": {"S": "q"}, "sk": {"S": "b"}}},
        {"start": {"sandbox": {"S": "p"}, "sk": {"S": "b"}, "note": {"S": "x"}}},
        {"index": "open", "start": {"sandbox": {"S": "p"}, "sk": {"S": "b"}}},
    ],
)
@pytest.mark.parametrize("sort_keys", ["", "b", "bcd", "abcd"])
def test_an_odd_query_is_answered_as_by_moto_too(odd: dict[str, Any], sort_keys: str) -> None:
    """Also with the same errors, though DynamoDB has better ones."""
    backend = table_of(item_of(sort_key, openKey=sort_key) for sort_key in sort_keys)
    for forward in (True, False):
        compared(backend, replace(BETWEEN, forward=forward, **odd))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query("begins_with", ({"S": "eee"},)), 1),
        (replace(BETWEEN, bounds=({"S": "ee"}, {"S": "eed"})), 4),
        (Query(limit=3, start={"sandbox": {"S": "p"}, "sk": {"S": "hhh"}}), 3),
        (Query(index="open"), 5),
    ],
)
def test_only_items_of_the_page_are_looked_at(query: Query, found: int) -> None:
    """What all this is for: a few of a thousand items are not found by measuring all of them."""
    keys = ["".join(letters) for letters in itertools.product("abcdefghij", repeat=3)]
    backend = table_of(item_of(key, openKey=key if key < "aaf" else None) for key in keys)
    with (
        patch.object(Item, "size", autospec=True, side_effect=Item.size) as measured,
        patch.object(DynamoType, "__eq__", autospec=True, side_effect=DynamoType.__eq__) as equal,
        patch.object(DynamoType, "__ne__", autospec=True, side_effect=DynamoType.__ne__) as unequal,
    ):
        _, scanned, _ = query._page(backend)
    assert scanned == found
    assert measured.call_count <= 3 * (found + 1)
    assert equal.call_count + unequal.call_count < 50


# -- transactions --------------------------------------------------------------------------------

CONDITIONS = [None, "attribute_exists(sk)", "attribute_not_exists(sk)", "note = :x"]


@st.composite
def actions(draw: st.DrawFn) -> dict[str, Any]:
    """One action of a transaction on the table of a partition and a sort key, or on the other."""
    table = draw(st.sampled_from([TABLE, TABLE, "requests", "unknown"]))
    kind = draw(st.sampled_from(["Put", "Update", "Update", "Delete", "ConditionCheck"]))
    key = {"sandbox": {"S": draw(st.sampled_from(["p", "q"]))}, "sk": draw(bounds)}
    if table == "requests":
        key = {"requestKey": key["sk"]}
    key.pop(draw(st.sampled_from(["none"] * 20 + list(key))), None)
    details: dict[str, Any] = {"TableName": table}
    values: dict[str, Any] = {}
    if kind == "Put":
        details["Item"] = {**key, "note": {"S": draw(st.sampled_from("xy"))}}
    else:
        details["Key"] = key
    if kind == "Update":
        details["UpdateExpression"] = draw(
            st.sampled_from(
                ["SET note = :y", "REMOVE note", "SET note = :y, #l = :l", "SET x = gone"]
            )
        )
        if "#l" in details["UpdateExpression"]:
            details["ExpressionAttributeNames"] = {"#l": "list"}
            values[":l"] = {"L": [{"S": "a"}]}
        if ":y" in details["UpdateExpression"]:
            values[":y"] = {"S": "y"}
    condition = draw(st.sampled_from(CONDITIONS)) or (
        "note = :x" if kind == "ConditionCheck" else ""
    )
    if condition:
        details["ConditionExpression"] = condition
        if ":x" in condition:
            values[":x"] = {"S": "x"}
    return {kind: {**details, "ExpressionAttributeValues": values} if values else details}


def with_requests(items: Iterable[dict[str, Any]]) -> DynamoDBBackend:
    """The same with a second table, which has no sort key."""
    backend = table_of(items)
    backend.tables["requests"] = Table(
        "requests",
        account_id="123456789012",
        region="us-east-1",
        schema=[{"AttributeName": "requestKey", "KeyType": "HASH"}],
        attr=[{"AttributeName": "requestKey", "AttributeType": "S"}],
    )
    backend.tables["requests"].put_item({"requestKey": {"S": "a"}, "note": {"S": "x"}})
    return backend


def transacted(backend: DynamoDBBackend, transactions: list[list[dict[str, Any]]]) -> list[Any]:
    """After each transaction, moto's error and all items."""
    found: list[Any] = []
    for transaction in transactions:
        error = None
        try:
            backend.transact_write_items(transaction)
        except Exception as raised:  # noqa: BLE001  moto's own can be of any type
            error = (type(raised), str(raised))
        held = {
            name: sorted(str(item.to_json()) for item in table.all_items())
            for name, table in backend.tables.items()
        }
        found.append((error, held))
    return found


@given(tables, st.lists(st.lists(actions(), min_size=1, max_size=4), min_size=1, max_size=4))
def test_a_transaction_has_the_effect_that_it_has_in_moto(
    items: list[dict[str, Any]], transactions: list[list[dict[str, Any]]]
) -> None:
    """All of it or none, whatever fails, and whatever came before."""
    ours = transacted(with_requests(items), transactions)
    with (
        patch.object(
            DynamoDBBackend,
            "transact_write_items",
            DynamoDBBackend.transact_write_items.__wrapped__,
        ),
    ):
        assert ours == transacted(with_requests(items), transactions)


def test_a_transaction_copies_only_the_items_that_it_names() -> None:
    """Its time does not grow with the table."""
    backend = table_of(item_of(str(number)) for number in range(500))
    before = {id(item) for item in backend.tables[TABLE].all_items()}
    key = {"sandbox": {"S": "p"}, "sk": {"S": "7"}}
    update = {"TableName": TABLE, "Key": key, "UpdateExpression": "REMOVE padding"}
    failing = {"TableName": TABLE, "Key": {**key, "sk": {"S": "new"}}}
    failing["ConditionExpression"] = "attribute_exists(sk)"
    with pytest.raises(TransactionCanceledException):
        backend.transact_write_items([{"Update": update}, {"ConditionCheck": failing}])
    after = {id(item) for item in backend.tables[TABLE].all_items()}
    assert len(after - before) == 1


def test_names_are_the_same_and_are_taken_apart_once() -> None:
    """Those of a class's methods, and the words in those of a queue's attributes."""
    for _ in range(2):
        for attribute in (*Queue.BASE_ATTRIBUTES, *Queue.FIFO_ATTRIBUTES):
            mine = sqs_models.camelcase_to_underscores(attribute)
            assert mine == utils.camelcase_to_underscores(attribute)
        mine = responses.method_names_from_class(SQSResponse)
        assert mine == utils.method_names_from_class(SQSResponse)
    assert responses.method_names_from_class(SQSResponse) is mine
    assert sqs_models.camelcase_to_underscores.cache_info().hits


def test_a_template_is_read_as_by_moto() -> None:
    """As it is sent, in JSON, it has what moto reads in it as YAML; and YAML is still read."""
    template = to_cloudformation(read_template(TEMPLATE), bucket="code", parameters=NEEDED)
    sent = json.dumps(template, default=str)
    as_yaml = inspect.unwrap(Stack.parse_template)
    assert Stack.parse_template(sent) == as_yaml(sent)
    short = "Resources:\n  Queue:\n    Arn: !GetAtt Other.Arn\n"
    assert Stack.parse_template(short) == as_yaml(short) != {}
