"""These tests need ministack's environment: `make second-emulator` makes it, and runs them."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves them out of a run against moto, such as that of `make test`."""
    return None if config.getoption("--ministack") else True
