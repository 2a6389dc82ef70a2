"""A write to one item, in DynamoDB's own notation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Value = Mapping[str, Any]
"""A value in DynamoDB's own notation, e.g. `{"S": "NEW"}`."""
Item = Mapping[str, Value]
Clause = Literal["SET", "REMOVE", "ADD", "DELETE"]


def text(value: str) -> Value:
    return {"S": value}


def number(value: int) -> Value:
    return {"N": str(value)}


class Write:
    """A new item, or an update of known attributes, under conditions; other attributes stay.

    A newer version of this software may have written those. Names and values are placeholders in
    the expressions, so that a name may be any text, including DynamoDB's reserved words.
    """

    def __init__(
        self, table: str, key: Item, *, is_new: bool = False, return_old: bool = False
    ) -> None:
        """With `return_old`, DynamoDB returns the item if a condition fails."""
        self.table = table
        self.key = key
        self.is_new = is_new
        self._return_old = return_old
        self._names: dict[str, str] = {}
        self._values: list[Value] = []
        self._clauses: dict[Clause, list[str]] = {}
        self._conditions: list[tuple[str, ...]] = []
        self._set: dict[str, Value] = {}
        self._removed: list[str] = []

    @property
    def changes(self) -> bool:
        """Whether it does more than check conditions."""
        return bool(self._clauses or self._set)

    def path(self, *names: str) -> str:
        """The placeholder of an attribute, or of a path within it."""
        if len(names) == 1:
            return self._placeholder(names[0])
        return ".".join(map(self._placeholder, names))

    def value(self, value: Value) -> str:
        """The placeholder of a value."""
        self._values.append(value)
        return f":{len(self._values) - 1}"

    def set(self, value: Value, *names: str) -> None:
        if not self.is_new:
            self._clause("SET", f"{self.path(*names)} = {self.value(value)}")
        if len(names) == 1:
            self._set[names[0]] = value

    def remove(self, *names: str) -> None:
        self._clause("REMOVE", self.path(*names))
        if len(names) == 1:
            self._removed.append(names[0])

    def put(self, attributes: Iterable[tuple[str, Value | None]]) -> None:
        """Sets the attributes that have a value, and removes the others if the item is not new."""
        for name, value in attributes:
            if value is not None:
                self.set(value, name)
            elif not self.is_new:
                self.remove(name)

    def increment(self, name: str) -> None:
        """Adds one to a number, which starts at zero."""
        self._clause("ADD", f"{self.path(name)} {self.value(number(1))}")

    def add_to(self, name: str, members: Iterable[str]) -> None:
        """Adds to a set of strings."""
        self._clause("ADD", f"{self.path(name)} {self.value({'SS': sorted(members)})}")

    def take_from(self, name: str, members: Iterable[str]) -> None:
        """Removes from a set of strings."""
        self._clause("DELETE", f"{self.path(name)} {self.value({'SS': sorted(members)})}")

    def require(self, *either: str) -> None:
        """Adds a condition, made with `path` and `value`; of several, one must hold."""
        self._conditions.append(either)

    def require_version(self, version: int, name: str = "version") -> None:
        """Requires that the item has this version; 0 is one that was never written."""
        name = self.path(name)
        if version == 0:
            self.require(f"attribute_not_exists({name})")
        else:
            self.require(f"{name} = {self.value(number(version))}")

    def is_in(self, item: Item) -> bool:
        """Whether an item is as this write leaves it, as far as whole attributes are concerned."""
        return all(item.get(name) == value for name, value in self._set.items()) and not any(
            name in item for name in self._removed
        )

    @property
    def written(self) -> Item:
        """The whole attributes that it sets, which count for its size."""
        return {**self.key, **self._set}

    def as_put(self) -> dict[str, Any]:
        """The arguments of PutItem, for a new item."""
        return {**self._request(), "Item": self.written}

    def as_update(self) -> dict[str, Any]:
        """The arguments of UpdateItem, for an item that is not new."""
        clauses = (f"{clause} {', '.join(parts)}" for clause, parts in self._clauses.items())
        return {
            **self._request(),
            "Key": dict(self.key),
            "UpdateExpression": " ".join(clauses),
        }

    def as_delete(self) -> dict[str, Any]:
        """The arguments of DeleteItem."""
        return {**self._request(), "Key": dict(self.key)}

    def as_action(self, *, deletes: bool = False) -> dict[str, Any]:
        """The action in a transaction."""
        if deletes:
            return {"Delete": self.as_delete()}
        return {"Put": self.as_put()} if self.is_new else {"Update": self.as_update()}

    def _placeholder(self, name: str) -> str:
        placeholder = self._names.get(name)
        if placeholder is None:
            placeholder = self._names[name] = f"#{len(self._names)}"
        return placeholder

    def _clause(self, clause: Clause, part: str) -> None:
        self._clauses.setdefault(clause, []).append(part)

    def _condition(self) -> str:
        """All conditions in one, without redundant parentheses, which DynamoDB refuses."""
        alone = len(self._conditions) == 1
        return " AND ".join(
            " OR ".join(either) if alone or len(either) == 1 else f"({' OR '.join(either)})"
            for either in self._conditions
        )

    def _request(self) -> dict[str, Any]:
        request: dict[str, Any] = {"TableName": self.table}
        if self._conditions:
            request["ConditionExpression"] = self._condition()
        if self._conditions and self._return_old:
            request["ReturnValuesOnConditionCheckFailure"] = "ALL_OLD"
        if self._names:
            request["ExpressionAttributeNames"] = {
                placeholder: name for name, placeholder in self._names.items()
            }
        if self._values:
            request["ExpressionAttributeValues"] = {
                f":{position}": value for position, value in enumerate(self._values)
            }
        return request


def size_of(item: Item) -> int:
    """The size of an item in bytes, by DynamoDB's rules for item sizes, which count names, too."""
    return sum(len(name.encode()) + _size_of_value(value) for name, value in item.items())


def _size_of_value(value: Value) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "B":
            return len(content)
        case "N":
            # A byte for two digits (without leading and trailing zeros), one more, and the sign's.
            digits: str = content.lstrip("-").strip("0")
            return (len(digits) + 1) // 2 + 1 + int(content.startswith("-"))
        case "SS":
            return sum(len(member.encode()) for member in content)
        case "L":
            return 3 + sum(1 + _size_of_value(element) for element in content)
        case "M":
            return 3 + len(content) + size_of(content)
    return 1  # a boolean, or null
