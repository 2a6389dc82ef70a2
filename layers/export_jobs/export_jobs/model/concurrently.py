"""Runs the same step for many things at once, if the steps wait for the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")


def each(step: Callable[[_T], _R], things: Iterable[_T], *, workers: int) -> Sequence[_R]:
    """Returns the results in the order of `things`. Raises the first exception of a step."""
    todo = list(things)
    if workers == 1 or len(todo) < 2:
        return [step(thing) for thing in todo]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  a quiet sweep needs none

    with ThreadPoolExecutor(max_workers=min(workers, len(todo))) as pool:
        return list(pool.map(step, todo))
