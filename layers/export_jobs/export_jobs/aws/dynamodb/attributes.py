"""The attributes of items: which field of a record each holds, and how it is written and read.

An attribute is absent if the field has its default. Reading is lenient: what can't be read has the
default, too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic.alias_generators import to_camel

from export_jobs.aws.dynamodb.writes import Item, Value

logger = logging.getLogger(__name__)
_T = TypeVar("_T")

FINGERPRINT_BYTES = 8


@dataclass(frozen=True)
class Attribute:
    """An attribute and the record's field that it holds; absent if the field has its default."""

    name: str
    field: str
    type: Literal["S", "N", "B", "BOOL", "L", "M", "SS"]
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def texts(*fields: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(to_camel(field), field, "S", str, str) for field in fields)


def numbers(*fields: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(to_camel(field), field, "N", str, int) for field in fields)


def flags(*fields: str) -> tuple[Attribute, ...]:
    return tuple(Attribute(to_camel(field), field, "BOOL", bool, bool) for field in fields)


def fingerprints(name: str) -> Attribute:
    """A set of fingerprints of eight bytes each."""
    return Attribute(
        to_camel(name),
        name,
        "B",
        write=lambda values: b"".join(sorted(values)),
        read=lambda content: frozenset(
            bytes(content[at : at + FINGERPRINT_BYTES])
            for at in range(0, len(content), FINGERPRINT_BYTES)
        ),
    )


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def readable(
    name: str, read: Callable[[str], _T], entries: Sequence[Mapping[str, str]]
) -> tuple[_T, ...]:
    """The entries that can be read; one that can't costs only itself."""
    found = []
    for entry in entries:
        try:
            found.append(read(entry["S"]))
        except (KeyError, TypeError, ValueError) as error:
            logger.warning("an entry of %s can't be read: %s", name, type(error).__name__)
    return tuple(found)


def as_attributes(
    record: Any, attributes: Iterable[Attribute]
) -> Iterator[tuple[str, Value | None]]:
    """The attributes by name; None for those that are absent."""
    defaults = _defaults(type(record))  # type: ignore[arg-type]  # a type is hashable
    for attribute in attributes:
        value = getattr(record, attribute.field)
        absent = value is None or value == defaults[attribute.field]
        yield attribute.name, None if absent else {attribute.type: attribute.write(value)}


@cache
def _defaults(record_type: type[Any]) -> Mapping[str, Any]:
    return {field.name: field.default for field in fields(record_type)}


def fields_of(item: Item, attributes: Iterable[Attribute], **required: Any) -> dict[str, Any]:
    """The fields of a record. `required` has values for fields that the item may lack."""
    for attribute in attributes:
        content = item.get(attribute.name, {}).get(attribute.type)
        if content is None:
            continue
        try:
            required[attribute.field] = attribute.read(content)
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            logger.warning("attribute %s of an item can't be read", attribute.name, exc_info=True)
    return required
