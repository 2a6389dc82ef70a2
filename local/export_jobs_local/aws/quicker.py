"""Caches what moto computes again in every call: this halves the time of a query or an event.

Each of these replaces a function of moto, in the whole process, with an equivalent one.
"""

from __future__ import annotations

import base64
import copy
import functools
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

_TABLES: ContextVar[dict[int, Any] | None] = ContextVar("tables as they were", default=None)
"""The tables that this thread's transaction has copied."""


@functools.cache
def make_quicker() -> None:
    _keep_service_names()
    _keep_parsed_paths()
    _pass_attribute_values()
    _copy_tables_once()


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


def _copy_tables_once() -> None:
    """Copies a table once per transaction, not once per action: it does not change in between."""
    from moto.dynamodb import models  # noqa: PLC0415  with the server's own imports
    from moto.dynamodb.models.table import Table  # noqa: PLC0415

    transact = models.DynamoDBBackend.transact_write_items

    @functools.wraps(transact)
    def transacting(*args: Any, **more: Any) -> Any:
        kept = _TABLES.set({})
        try:
            return transact(*args, **more)
        finally:
            _TABLES.reset(kept)

    def deepcopy(thing: Any) -> Any:
        copied = _TABLES.get()
        if copied is None or not isinstance(thing, Table):
            return copy.deepcopy(thing)
        if id(thing) not in copied:
            copied[id(thing)] = copy.deepcopy(thing)
        return copied[id(thing)]

    models.DynamoDBBackend.transact_write_items = transacting  # type: ignore[method-assign]
    models.copy = SimpleNamespace(deepcopy=deepcopy)  # type: ignore[assignment, attr-defined]
