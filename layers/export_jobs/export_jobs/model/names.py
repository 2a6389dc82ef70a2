"""What people call the datasets and segments of a sandbox."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

MAX_NAME: Final = 100
"""Characters of the longest name; so a message has room for the id, too."""


@dataclass(frozen=True)
class Names:
    """The names of datasets and segments, by their ids."""

    datasets: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)

    def dataset(self, dataset_id: str) -> str:
        """`Newsletter profiles (5bb4c46757920712f924a3eb)`; the id alone if it has no name."""
        return _both(dataset_id, self.datasets)

    def segment(self, segment_id: str) -> str:
        return _both(segment_id, self.segments)

    def few_segments(self, segment_ids: Iterable[str], most: int) -> list[str]:
        """At most that many segments, each with its name; those that have one are first."""
        named_first = sorted(segment_ids, key=lambda segment_id: segment_id not in self.segments)
        return [self.segment(segment_id) for segment_id in named_first[:most]]

    def segments_in_words(
        self, segment_ids: Sequence[str], most: int, *, count: int | None = None
    ) -> str:
        """The same in one text, with the number of the others; there are `count` of them in all."""
        shown = self.few_segments(segment_ids, most)
        others = (len(segment_ids) if count is None else count) - len(shown)
        return ", ".join(shown) + (f" and {others} more" if others > 0 else "")


NO_NAMES: Final = Names()


def _both(known_id: str, names: Mapping[str, str]) -> str:
    name = names.get(known_id)
    return f"{name} ({known_id})" if name else known_id
