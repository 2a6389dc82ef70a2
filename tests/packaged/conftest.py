"""The packages, built once per worker: for Lambda, and for this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.packages import host_platform, sam_build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sam deploy` would ship."""
    return sam_build(tmp_path_factory.mktemp("lambda"))


@pytest.fixture(scope="session")
def built_for_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for this machine's own Python."""
    return sam_build(tmp_path_factory.mktemp("host"), **host_platform())
