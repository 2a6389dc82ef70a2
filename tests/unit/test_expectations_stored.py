"""Changes of stored expectations by the command."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs_cli.errors import UserError
from export_jobs_cli.expectations import stored


def test_one_that_cannot_be_read_is_not_written_by_a_mute() -> None:
    """Writing it would replace the definition that only a newer version can read."""
    never = Expectation("nightly", dataset_id="", timezone="UTC", days=frozenset())
    written: list[Any] = []
    store = SimpleNamespace(
        expectations=lambda _: [ExpectationRecord("prod", never, applied_at=1, version=3)],
        edit_expectations=lambda *edits: written.append(edits),
    )
    system = cast("Any", SimpleNamespace(store=store, sandboxes=lambda _: ["prod"]))
    with pytest.raises(UserError, match="can't be read"):
        stored.mute(system, "nightly", sandbox=None, until=lambda _: 5)
    assert written == []
