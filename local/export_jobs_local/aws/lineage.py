"""Counts each function's invocations in a chain of them: `Lineage` in X-Ray's trace header.

Lambda counts whether or not tracing is on, and stops a chain that invokes the same function too
often: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html. Its current format is
shorter and undocumented; this is the documented one, with a count for each function:
https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

MAX_INVOCATIONS = 16
"""How often a chain may invoke a function ("approximately", in AWS's documentation)."""
_COUNT = re.compile(r"([0-9a-f]{8}):(\d{1,5})")


@dataclass(frozen=True)
class Lineage:
    """The invocations of each function so far, by the hash of its ARN; none in a new chain."""

    invocations: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, header: str | None) -> Self:
        """Reads a trace header; one that is missing or unreadable counts nothing."""
        fields = dict(part.strip().partition("=")[::2] for part in (header or "").split(";"))
        counts = map(_COUNT.fullmatch, fields.get("Lineage", "").split("|"))
        return cls({found[1]: int(found[2]) + 1 for found in counts if found})

    @classmethod
    def highest(cls, lineages: Iterable[Lineage]) -> Self:
        """The lineage of an invocation with messages of several chains: the highest counts."""
        most: dict[str, int] = {}
        for lineage in lineages:
            for mark, times in lineage.invocations.items():
                most[mark] = max(times, most.get(mark, 0))
        return cls(most)

    def of_function(self, arn: str) -> int:
        """How often the function was invoked in this chain."""
        return self.invocations.get(_mark(arn), 0)

    def invoking(self, arn: str) -> Lineage:
        """With one more invocation of the function."""
        return Lineage({**self.invocations, _mark(arn): self.of_function(arn) + 1})

    def __str__(self) -> str:
        """As in the header, where a function's first invocation has the number 0."""
        return "|".join(f"{mark}:{times - 1}" for mark, times in self.invocations.items())


def _mark(arn: str) -> str:
    return hashlib.sha256(arn.encode()).hexdigest()[:8]
