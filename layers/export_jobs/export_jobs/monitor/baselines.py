"""The usual values of a dataset's exports, from its last ones in the store."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from export_jobs.events.details import Baseline
from export_jobs.model.ports import StoreUnavailable, SweepStore
from export_jobs.model.records import JobRecord

logger = logging.getLogger(__name__)

FINALS_KEPT_MS = 10 * 60_000
MAX_FINALS = 50


@dataclass
class _Finals:
    """The ended jobs of a sandbox, newest first: as read, and as published since."""

    read_at: int
    newest: list[JobRecord]

    def note(self, record: JobRecord) -> None:
        others = [known for known in self.newest if known.job_id != record.job_id]
        self.newest = sorted([*others, record], key=lambda final: -final.creation_time)[:MAX_FINALS]


class Baselines:
    """The baselines of datasets. Keeps what this process has published, so that it rarely reads."""

    def __init__(self, store: SweepStore) -> None:
        self._store = store
        self._finals: dict[str, _Finals] = {}

    def of(self, sandbox: str, *, now: int) -> Mapping[str, Baseline]:
        """By dataset id. If the store can't be read, events are published without a baseline."""
        finals = self._finals.get(sandbox)
        if finals is None or now - finals.read_at > FINALS_KEPT_MS:
            try:
                newest = self._store.recent_finals(sandbox)
            except StoreUnavailable as error:
                logger.warning("no baselines: %s", error)
                return {}
            finals = self._finals[sandbox] = _Finals(now, list(newest))
        by_dataset: dict[str, list[JobRecord]] = defaultdict(list)
        for record in finals.newest:
            if record.dataset_id and record.status == "SUCCEEDED":
                by_dataset[record.dataset_id].append(record)
        return {dataset: _baseline_of(records) for dataset, records in by_dataset.items()}

    def note(self, record: JobRecord) -> None:
        """Adds a job that has ended, and whose event was published."""
        if finals := self._finals.get(record.sandbox):
            finals.note(record)


def _baseline_of(records: Sequence[JobRecord]) -> Baseline:
    import statistics  # noqa: PLC0415  12 ms, and only needed to compare jobs

    durations = [record.duration_ms for record in records if record.duration_ms is not None]
    return Baseline(
        usual_duration_ms=int(statistics.median(durations)) if durations else None,
        previous_profiles_exported=records[0].profiles_exported,
    )
