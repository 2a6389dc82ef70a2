"""Spares moto what it computes again in every call, or in vain.

That halves the time of an event; that of a query then depends on its answer, and hardly on the table.
Each of these replaces a function of moto, or of a library that it uses, in the whole process, with an
equivalent one.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import operator
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

_ITEMS: ContextVar[list[Any] | None] = ContextVar("items to query", default=None)
"""Those that this thread's query has to look at; None are all of the table."""
_BOUNDS = {"=": 1, "<": 1, "<=": 1, ">": 1, ">=": 1, "BETWEEN": 2, "BEGINS_WITH": 1}
"""The comparisons whose matches follow each other in the order of the keys, and their bounds."""
_MAX_ITEM_SIZE = 405_000
"""Moto's limit, in `LimitedSizeDict`; DynamoDB's is 400 KB."""


class _Transaction:
    """Copies each table once, with what the actions can change: the items that they name."""

    def __init__(self, actions: Sequence[dict[str, Any]]) -> None:
        self._actions = actions
        self._copies: dict[int, Any] = {}

    def copy_of(self, table: Any) -> Any:
        if id(table) not in self._copies:
            self._copies[id(table)] = self._copied(table)
        return self._copies[id(table)]

    def _copied(self, table: Any) -> Any:
        copied = copy.copy(table)
        copied.items = table.items.copy()
        for action in self._actions:
            for details in action.values():
                names = details.get("Key") or details.get("Item") or {}
                if details.get("TableName") == table.name and table.hash_key_attr in names:
                    _copy_item(copied, table, names)
        return copied


_TRANSACTION: ContextVar[_Transaction | None] = ContextVar("transaction", default=None)
"""This thread's."""


@functools.cache
def make_quicker() -> None:
    _keep_service_names()
    _keep_parsed_paths()
    _keep_names()
    _read_json_templates()
    _pass_attribute_values()
    _copy_few_items()
    _query_few_items()


def _keep_service_names() -> None:
    """Caches the service of a call: its lookup takes a directory and a hundred patterns."""
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415  with the server's own imports
        DomainDispatcherApplication,
    )

    look_up = functools.cache(DomainDispatcherApplication.get_backend_for_host)
    DomainDispatcherApplication.get_backend_for_host = look_up  # type: ignore[method-assign]


def _keep_parsed_paths() -> None:
    """Caches parsed paths: EventBridge makes a parser for each of eight fields per event."""
    from jsonpath_ng import ext  # noqa: PLC0415  with the server's own imports

    ext.parse = functools.cache(ext.parse)  # type: ignore[attr-defined]


def _keep_names() -> None:
    """Caches a class's names of methods, needed in every call, and the words in names of attributes.

    Each call to a queue takes a dozen of the latter apart.
    """
    from moto.core import responses, utils  # noqa: PLC0415  with the server's own imports
    from moto.sqs import models  # noqa: PLC0415

    names, words = functools.cache(utils.method_names_from_class), utils.camelcase_to_underscores
    responses.method_names_from_class = names  # type: ignore[attr-defined]
    models.camelcase_to_underscores = functools.cache(words)  # type: ignore[attr-defined]


def _read_json_templates() -> None:
    """Reads a stack's template as JSON if it is: as YAML, that takes longer than making the stack."""
    from moto.cloudformation.models import Stack  # noqa: PLC0415  with the server's own imports

    parse = Stack.parse_template

    @functools.wraps(parse)
    def parsing(template: str) -> Any:
        try:
            return json.loads(template)
        except ValueError:
            return parse(template)

    Stack.parse_template = staticmethod(parsing)  # type: ignore[method-assign]


def _pass_attribute_values() -> None:
    """Passes DynamoDB's values on, instead of looking in each for every possible type.

    Moto has them in the format in which they are sent, except binary ones.
    """
    from moto.core.serialize import BaseJSONSerializer  # noqa: PLC0415  with the server's imports

    serialize = BaseJSONSerializer._serialize_type_structure  # noqa: SLF001

    @functools.wraps(serialize)
    def serializing(self: Any, serialized: Any, value: Any, shape: Any, key: str) -> None:
        if shape.name == "AttributeValue" and isinstance(value, dict):
            self._default_serialize(serialized, _as_json(value), shape, key)
        else:
            serialize(self, serialized, value, shape, key)

    BaseJSONSerializer._serialize_type_structure = serializing  # type: ignore[method-assign]  # noqa: SLF001


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _as_json(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_as_json(part) for part in value]
    return value


def _copy_few_items() -> None:
    """Copies the items that a transaction names, so that it can be undone: moto copies all tables."""
    from moto.dynamodb import models  # noqa: PLC0415  with the server's own imports
    from moto.dynamodb.models.table import Table  # noqa: PLC0415

    transact = models.DynamoDBBackend.transact_write_items

    @functools.wraps(transact)
    def transacting(self: Any, transact_items: list[dict[str, Any]]) -> Any:
        kept = _TRANSACTION.set(_Transaction(transact_items))
        try:
            return transact(self, transact_items)
        finally:
            _TRANSACTION.reset(kept)

    def deepcopy(thing: Any) -> Any:
        transaction = _TRANSACTION.get()
        if transaction is None or not isinstance(thing, Table) or thing.stream_shard:
            return copy.deepcopy(thing)
        return transaction.copy_of(thing)

    models.DynamoDBBackend.transact_write_items = transacting  # type: ignore[method-assign]
    models.copy = SimpleNamespace(deepcopy=deepcopy)  # type: ignore[assignment, attr-defined]


def _copy_item(copied: Any, table: Any, names: dict[str, Any]) -> None:
    from moto.dynamodb.models.dynamo_type import DynamoType  # noqa: PLC0415  with the server's own

    hash_key = DynamoType(names[table.hash_key_attr])
    if hash_key not in table.items:
        return
    if not table.has_range_key:
        copied.items[hash_key] = copy.deepcopy(table.items[hash_key])
        return
    if copied.items[hash_key] is table.items[hash_key]:
        copied.items[hash_key] = table.items[hash_key].copy()
    if table.range_key_attr in names:
        range_key = DynamoType(names[table.range_key_attr])
        if range_key in table.items[hash_key]:
            copied.items[hash_key][range_key] = copy.deepcopy(table.items[hash_key][range_key])


def _query_few_items() -> None:
    """Queries only the items that can change the answer: moto sorts all of the table's for each."""
    from moto.dynamodb.models.table import Table  # noqa: PLC0415  with the server's own imports

    query, all_items = Table.query, Table.all_items

    @functools.wraps(query)
    def querying(table: Any, *asked: Any, **more: Any) -> Any:
        filters = more.keys() - {"hash_key_conditions", "range_key_conditions"}
        kept = _ITEMS.set(_to_query(table, asked, filtered=bool(filters)))
        try:
            return query(table, *asked, **more)
        finally:
            _ITEMS.reset(kept)

    @functools.wraps(all_items)
    def all_to_query(self: Any) -> Any:
        items = _ITEMS.get()
        return all_items(self) if items is None else items

    Table.query = querying  # type: ignore[method-assign, assignment]
    Table.all_items = all_to_query  # type: ignore[method-assign]


def _to_query(table: Any, asked: Sequence[Any], *, filtered: bool) -> list[Any] | None:
    """The partition's items, without those that the query does not get to or leaves out.

    None if keys are not text, and for a global index, whose items are of any partition.
    """
    hash_key, comparison, values, limit, start, forward, _, index_name = asked[:8]
    if {table.hash_key_type, table.range_key_type, getattr(hash_key, "type", None)} != {"S"}:
        return None
    partition = table.items.get(hash_key, {}).values()
    if index_name:
        indexes = {index.name: index.schema_key_attrs for index in table.indexes}
        return _in_index(partition, indexes[index_name]) if index_name in indexes else None
    # Moto sorts them again, which is quick if they are sorted; its own comparisons are slow.
    items = sorted(partition, key=_sort_key, reverse=not forward)
    if filtered:  # moto does so in another way, which counts an item once per condition
        return items
    if start:
        text = start.get(table.range_key_attr, {}).get("S")
        if start != {table.hash_key_attr: {"S": hash_key.value}, table.range_key_attr: {"S": text}}:
            return items  # it is not a key of the partition
        after = operator.gt if forward else operator.lt
        items = [item for item in items if after(_sort_key(item), text)]
    return _of_page(items, comparison, values, limit)


def _in_index(partition: Iterable[Any], names: Sequence[str]) -> list[Any]:
    """Those that have its keys."""
    return [item for item in partition if all(name in item.attrs for name in names)]


def _of_page(
    items: list[Any], comparison: str | None, values: list[Any], limit: int | None
) -> list[Any]:
    """Those of the range, up to the one at which the page ends; of what follows, what may end it.

    Moto ends a page at the item that is too much, even at one after the range. Any of those ends a
    page that has its number of items, so one is enough; a page that is nearly full is ended only by
    one that is large, so that needs all.
    """
    from moto.dynamodb.comparisons import get_comparison_func  # noqa: PLC0415  with the server's own
    from moto.dynamodb.models.table import RESULT_SIZE_LIMIT  # noqa: PLC0415  imports

    found = items
    if comparison:
        if [value.type for value in values] != ["S"] * _BOUNDS.get(comparison, 0):
            return items
        matches, bounds = get_comparison_func(comparison), [value.value for value in values]
        found = [item for item in items if matches(_sort_key(item), *bounds)]
    size = 0
    for number, item in enumerate(found):
        size += item.size()
        if number == limit or size > RESULT_SIZE_LIMIT:
            return found[: number + 1]
    if size + _MAX_ITEM_SIZE > RESULT_SIZE_LIMIT:
        return items
    return found if found[-1:] == items[-1:] else [*found, items[-1]]


def _sort_key(item: Any) -> Any:
    return item.range_key.value
