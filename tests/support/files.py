"""Canned data: the seed's examples, the sample events and requests, and the project's own files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def seed(name: str) -> Any:
    """An example of the seed, without its trailing commas."""
    return json.loads((ROOT / "tests" / "data" / "seed" / f"{name}.json").read_text())


def event(name: str) -> Any:
    """A sample invocation of a function."""
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def request(name: str) -> str:
    """A sample message for the request queue, as text."""
    return (ROOT / "events" / "requests" / f"{name}.json").read_text()
