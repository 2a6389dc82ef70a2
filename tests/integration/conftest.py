"""A running local system for the tests that run commands, and tables alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import dynamodb
from support.command_line import Local, running_local
from support.dynamodb import Store


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One for all tests of a file."""
    with running_local(tmp_path_factory.mktemp("local")) as local:
        yield local


@pytest.fixture
def store(clients: dict[str, Any]) -> Iterator[Store]:
    with dynamodb.created(clients["dynamodb"]) as store:
        yield store
