"""Tests that share something costly run on one worker."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("of-its-own")
def test_a_group_of_tests_is_known_to_the_scheduler(request: pytest.FixtureRequest) -> None:
    """A pytest that hides it from pytest-xdist would make each worker prepare everything."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@of-its-own")
