"""What a run of the creator did, for its logs and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from export_jobs.model.records import RequestOutcome, RequestRecord

Handled = Literal["RECORDED", "DUPLICATE", "REJECTED", "CANCELLED", "WAKE_UP", "DROPPED", "FAILED"]
"""The result of handling a message. FAILED ones are delivered again."""


@dataclass
class RunReport:
    """The results of a run, for logs and metrics."""

    handled: dict[str, Handled] = field(default_factory=dict)
    """By message id."""
    ends: Counter[RequestOutcome] = field(default_factory=Counter)
    """How many requests ended, by outcome."""
    duplicates: int = 0
    """Jobs created for a request that has another one."""
    problems: list[str] = field(default_factory=list)

    def note_ends(self, records: Iterable[RequestRecord]) -> None:
        """Counts the requests that have ended, by their written records; each end once."""
        self.ends.update(
            record.outcome
            for record in records
            if record.has_ended
            and record.outcome
            and not (record.stored and record.stored.has_ended)
        )

    @property
    def failed(self) -> list[str]:
        """The ids of the messages to deliver again."""
        return [message for message, handled in self.handled.items() if handled == "FAILED"]
