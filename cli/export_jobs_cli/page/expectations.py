"""The page of expectations: their states, their windows, and what is due next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from export_jobs.model.expectations import ExpectationRecord, PastWindow
from export_jobs.model.names import Names
from export_jobs.monitor.regular import Regular

from export_jobs_cli.expectations.file import written
from export_jobs_cli.expectations.plan import FieldChange, field_text
from export_jobs_cli.expectations.shown import (
    State,
    changed_fields,
    in_zone,
    local,
    state_of,
)
from export_jobs_cli.page.kept import Reading

MAX_WINDOWS: Final = 7
"""Windows of an expectation that are shown: there may be a thousand expectations."""


@dataclass(frozen=True)
class ShownExpectation:
    """An expectation; times are in its own zone."""

    record: ExpectationRecord
    state: State
    dataset: str
    due_next: str
    muted_until: str
    overdue_since: str

    @property
    def definition(self) -> dict[str, str]:
        """The fields of its file that are not shown otherwise."""
        fields = written(self.record.expectation)
        return {
            name: field_text(value)
            for name, value in fields.items()
            if name not in {"name", "datasetId"}
        }

    @property
    def changes(self) -> Sequence[FieldChange]:
        """See `changed_fields`."""
        return changed_fields(self.record)

    @property
    def windows(self) -> Sequence[PastWindow]:
        """The last ones that are over, the newest first."""
        return self.record.history[: -MAX_WINDOWS - 1 : -1]

    def local(self, at: int | None) -> str:
        return local(at, self.record)


@dataclass(frozen=True)
class SandboxExpectations:
    """The expectations of a sandbox, those that are overdue first, and what nothing expects."""

    sandbox: str
    expectations: Sequence[ShownExpectation]
    unexpected: Sequence[Regular]
    names: Names


def expectations_of(readings: Sequence[Reading], *, now: int) -> list[SandboxExpectations]:
    return [
        SandboxExpectations(
            reading.sandbox,
            sorted(
                (_shown(record, reading.names, now=now) for record in reading.expectations),
                key=lambda one: (one.state != "OVERDUE", one.record.name),
            ),
            [one for regular in reading.regular.values() for one in regular],
            reading.names,
        )
        for reading in readings
    ]


def _shown(record: ExpectationRecord, names: Names, *, now: int) -> ShownExpectation:
    return ShownExpectation(
        record,
        state_of(record, now=now),
        names.dataset(record.expectation.dataset_id) if record.can_be_read else "",
        in_zone(record.window.due, record) if record.window else "",
        in_zone(record.muted_until, record) if record.is_muted(now) else "",
        in_zone(record.overdue_since, record) if record.is_overdue else "",
    )
