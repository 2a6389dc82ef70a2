"""The events: their registry, their details, what is written about them to people, the outbox.

`build` is imported on first use, because its models take time that a quiet sweep does without.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export_jobs.events import build as build


def __getattr__(name: str) -> Any:
    if name != "build":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.build")
