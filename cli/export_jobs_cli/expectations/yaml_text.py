"""Reads YAML strictly: every value is text, a list or a mapping, and each has its line.

PyYAML reads YAML 1.1, where an unquoted 18:00 is the number 1,080, 2026-12-25 a date object, `on` a
boolean and a dataset's id `61e5` a number. Here they stay the text that was written, which the
models then check. No tag makes an object.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Place = tuple[int | str, ...]

MAX_VALUES: Final = 50_000
"""Values in a file, each counted wherever an alias repeats it."""
MAX_DEPTH: Final = 20
_YAML = "tag:yaml.org,2002:"
_SCALARS = frozenset(
    f"{_YAML}{kind}"
    for kind in ("null", "bool", "int", "float", "str", "timestamp", "value", "merge")
)
_NULL, _MERGE = f"{_YAML}null", f"{_YAML}merge"
_TABS = "found character '\\t' that cannot start any token"


class YamlInvalid(ValueError):
    """The text can't be read as YAML. `line` counts from 1; None if it is not known."""

    def __init__(self, message: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(message)


@dataclass(frozen=True)
class YamlProblem:
    """Something that is refused, at a place of the document."""

    place: Place
    line: int
    message: str


@dataclass
class Decoded:
    """What a text says. A value is a str, a list, a dict with text as keys, or None for null."""

    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[YamlProblem] = field(default_factory=list)

    def line_of(self, place: Place) -> int | None:
        """The line of a value, or of the nearest one around it."""
        for length in range(len(place), -1, -1):
            if place[:length] in self.lines:
                return self.lines[place[:length]]
        return None


def decode_yaml(text: str) -> Decoded:
    """Reads one document. Raises YamlInvalid."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        decoded = Decoded()
        if node is not None:
            decoded.value = _Reading(decoded).value(node, ())
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlInvalid("contains an invisible character", line) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlInvalid(_problem_of(error), mark.line + 1 if mark else None) from None
    except RecursionError:
        raise YamlInvalid(_TOO_DEEP) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, YamlInvalid):
            raise
        raise YamlInvalid("is not YAML") from None  # for example, a \U that is no character
    return decoded


_TOO_DEEP = "is nested too deeply"


class _Reading:
    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._values = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        self._values += 1
        line = node.start_mark.line + 1
        if self._values > MAX_VALUES:
            raise YamlInvalid(f"has more than {MAX_VALUES:,} values", line)
        if len(place) > MAX_DEPTH:
            raise YamlInvalid(_TOO_DEEP, line)
        self._decoded.lines.setdefault(place, line)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_YAML}map":
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_YAML}seq":
            return [self.value(item, (*place, at)) for at, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            is_plain = node.style is None
            return None if node.tag == _NULL and is_plain else str(node.value)
        raise YamlInvalid(f"has a tag, {node.tag.removeprefix(_YAML)!r}; write it without", line)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _SCALARS:
                raise YamlInvalid("the name of a field must be text", line)
            name = str(key.value)
            here = (*place, name)
            if key.tag == _MERGE and key.style is None:
                message = "is not read; write the fields themselves, or use an alias for a value"
                self._decoded.problems.append(YamlProblem(here, line, message))
                continue
            if name in first:
                message = f"is written twice, the first time in line {first[name]}"
                self._decoded.problems.append(YamlProblem(here, line, message))
                continue
            first[name] = line
            self._decoded.lines[here] = line
            found[name] = self.value(value, here)
        return found


def _problem_of(error: yaml.MarkedYAMLError) -> str:
    problem = " ".join(str(error.problem or error.context or "").split())
    if problem == _TABS:
        return "has a tab where only spaces may be; indent with spaces"
    if problem == "but found another document":
        return "has a second document after ---; put all entries into one list"
    return f"is not YAML: {problem}"
