"""A running local system, for the tests that type commands at one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.command_line import Local, running_local


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One for all tests of a file."""
    with running_local(tmp_path_factory.mktemp("local")) as local:
        yield local
