"""The same step for many things at once, where each step waits for the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def each(step: Callable[[_T], _R], things: Iterable[_T], *, workers: int) -> Sequence[_R]:
    """The results in the order of `things`. The first exception a step raises is raised here."""
    todo = list(things)
    if workers == 1 or len(todo) < 2:
        return [step(thing) for thing in todo]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  a quiet sweep needs no threads

    with ThreadPoolExecutor(max_workers=min(workers, len(todo))) as pool:
        return list(pool.map(step, todo))
