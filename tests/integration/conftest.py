"""A running local system for the tests that run commands, and tables alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from support import dynamodb
from support.command_line import Local, running_local
from support.dynamodb import Store
from support.shells import without_aws_settings


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One for all tests of a file."""
    with running_local(tmp_path_factory.mktemp("local")) as local:
        yield local


@pytest.fixture
def no_aws_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell without settings for AWS, and without proxies, for what reads them on purpose."""
    kept = without_aws_settings()
    for name in os.environ.keys() - kept.keys():
        monkeypatch.delenv(name)
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def store(clients: dict[str, Any]) -> Iterator[Store]:
    with dynamodb.created(clients["dynamodb"]) as store:
        yield store
