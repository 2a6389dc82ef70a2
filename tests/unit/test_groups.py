"""What `make test` tells pytest-xdist and pytest-cov about the tests, and what they make of it."""

from __future__ import annotations

import os

import coverage
import pytest


@pytest.mark.xdist_group("of-its-own")
def test_a_group_of_tests_is_known_to_the_scheduler(request: pytest.FixtureRequest) -> None:
    """A pytest that hides it from pytest-xdist would make each worker prepare everything."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@of-its-own")


def test_the_coverage_is_not_measured_everywhere() -> None:
    """Under pytest-xdist, pytest-cov measures it twice in each process; that doubles the time."""
    assert coverage.Coverage.current() is None
