"""Nested columns: finds what a field path names, and builds it again in SQL."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

Path = tuple[str, ...]
IDENTITIES = "identities"
"""The service's name for the identities of `identityMap` as a list of `{namespace, id}`."""
IDENTITY_FIELDS = ("namespace", "id")


class UnknownField(ValueError):
    """A field path that is not in the data; the text has the nearest one that is."""


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def dotted(path: Path) -> str:
    return ".".join(path)


@dataclass
class Tree:
    """Columns by name; a struct is itself a tree, any other column is a leaf (None)."""

    children: dict[str, Tree | None] = field(default_factory=dict)

    @classmethod
    def of(cls, columns: Iterable[tuple[str, Any]]) -> Self:
        """From names and DuckDB's types."""
        tree = cls()
        for name, kind in columns:
            tree.children[name] = cls.of(kind.children) if kind.id == "struct" else None
        return tree

    def without(self, names: Iterable[str]) -> Tree:
        left_out = set(names)
        return Tree({n: child for n, child in self.children.items() if n not in left_out})

    def leaves(self, above: Path = ()) -> Iterator[Path]:
        for name, child in self.children.items():
            if child is None:
                yield (*above, name)
            else:
                yield from child.leaves((*above, name))

    def part(self, paths: Sequence[str]) -> Tree:
        """The tree with only what the paths name, in the tree's order. Raises UnknownField."""
        wanted: set[Path] = set()
        for path in paths:
            # A column may have a dot in its name: `a.b` names it, and the `b` of a struct `a`.
            under = [leaf for leaf in self.leaves() if f"{dotted(leaf)}.".startswith(f"{path}.")]
            if not under:
                raise UnknownField(self._unknown(path))
            wanted.update(under)
        return self._kept(wanted, ())

    def packed(self, leaf_sql: Mapping[Path, str], above: Path = ()) -> Iterator[tuple[str, str]]:
        """Each column's name and the SQL that builds it from its leaves."""
        for name, child in self.children.items():
            path = (*above, name)
            if child is None:
                yield name, leaf_sql[path]
            else:
                fields = ", ".join(
                    f"{quoted(part)} := {sql}" for part, sql in child.packed(leaf_sql, path)
                )
                yield name, f"struct_pack({fields})"

    def _kept(self, wanted: set[Path], above: Path) -> Tree:
        kept: dict[str, Tree | None] = {}
        for name, child in self.children.items():
            path = (*above, name)
            if child is None:
                if path in wanted:
                    kept[name] = None
            elif (part := child._kept(wanted, path)).children:  # noqa: SLF001  the same class
                kept[name] = part
        return Tree(kept)

    def _unknown(self, path: str) -> str:
        known = {dotted(leaf[:n]) for leaf in self.leaves() for n in range(1, len(leaf) + 1)}
        nearest = difflib.get_close_matches(path, sorted(known), n=1, cutoff=0.4)
        return f"unknown field {path!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else "")


def field_names(text: str) -> list[str]:
    """The paths of a comma-separated list; empty means all."""
    return [name.strip() for name in text.split(",") if name.strip()]
