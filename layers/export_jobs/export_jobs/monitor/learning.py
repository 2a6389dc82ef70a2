"""Compares jobs with the baselines of their kinds, which learn from the jobs that ended well.

Baselines are read only for the kinds that a sweep has news of, all in one call, and each is written
once, together with a job that it has learned from. If they can't be read, events are published all the same.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from export_jobs.model.concurrently import each
from export_jobs.model.limits import CLOCKS_MS
from export_jobs.model.ports import BaselineChanged, ItemRefused, StoreUnavailable, SweepStore
from export_jobs.monitor.delivery import WRITE_TRIES

if TYPE_CHECKING:
    from export_jobs.model.baselines import Baseline, Comparison
    from export_jobs.model.records import JobRecord, SandboxState
    from export_jobs.monitor.decide import Case, Change

logger = logging.getLogger(__name__)

MAX_KINDS = 1_000
"""Kinds whose history a sandbox's first sweep learns from: those with the newest jobs."""
MAX_LEARNED = 2_000
"""Jobs of one kind that it learns from: the newest, of which a baseline keeps the last 672."""


@dataclass(frozen=True)
class _GoodJob:
    """A job that has ended well, and the segments that it shows, to name its kind for people."""

    record: JobRecord
    segments: Sequence[str]

    @classmethod
    def of_end(cls, record: JobRecord) -> _GoodJob:
        shown = record.end.get("segments") or []
        return cls(record, [one["segmentId"] for one in shown if one.get("segmentId")])


class BaselineUpdate:
    """What the baseline of one kind learns from the jobs that a sweep settles. Not thread-safe."""

    def __init__(
        self, store: SweepStore, jobs: Sequence[_GoodJob], known: Baseline | None = None
    ) -> None:
        """`known` is the baseline as it was read; without it, or without jobs, none is written."""
        self._store = store
        self._jobs = jobs
        self._due = _updated(known, jobs) if known else None
        """The baseline to write; None if there is nothing to write, or no more."""

    def put_with(self, record: JobRecord, state: SandboxState | None) -> None:
        """Writes a job as `SweepStore.put` does, with the baseline; raises the same for the job.

        A baseline that can't be written keeps no job from being settled.
        """
        self._write(lambda baseline: self._store.put(record, state, baseline))

    def put_alone(self) -> None:
        """Writes the baseline on its own. Raises StoreUnavailable."""

        def put(baseline: Baseline | None) -> None:
            if baseline:
                self._store.put_baseline(baseline)

        self._write(put)

    def _write(self, put: Callable[[Baseline | None], object]) -> None:
        for _ in range(WRITE_TRIES):
            try:
                put(self._due)
            except BaselineChanged:
                self._read_again()
            except ItemRefused as error:
                if self._due is None:
                    raise
                logger.warning("kind %s learns nothing: %s", self._due.kind, error)
                self._due = None
            else:
                self._due = None
                return
        logger.warning("a baseline changes faster than it can be written; it learns nothing")
        put(None)

    def _read_again(self) -> None:
        record = self._jobs[0].record
        known = _read(self._store, record.sandbox, [record.kind or ""])
        self._due = _updated(known[record.kind or ""], self._jobs) if known else None


@dataclass
class Compared:
    """The baselines of the kinds that some changes are about, and how the jobs compare with them."""

    store: SweepStore
    known: Mapping[str, Baseline] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    """By job id."""

    def updates_by_kind(self, records: Iterable[JobRecord]) -> Mapping[str | None, BaselineUpdate]:
        """What the baselines learn from these jobs; one for all jobs without a kind is empty."""
        by_kind: dict[str | None, list[_GoodJob]] = defaultdict(list)
        for record in records:
            jobs_of_kind = by_kind[record.kind]
            if _is_learned_from(record):
                jobs_of_kind.append(_GoodJob.of_end(record))
        return {
            kind: BaselineUpdate(self.store, jobs, self.known.get(kind or ""))
            for kind, jobs in by_kind.items()
        }


class BaselineKeeper:
    """Reads and updates the baselines of sandboxes."""

    def __init__(self, store: SweepStore, *, workers: int) -> None:
        self._store = store
        self._workers = workers

    def compare(self, sandbox: str, changes: Sequence[Change]) -> Compared:
        """Compares the jobs of some changes, each also with what was learned from those before it."""
        wanted = [change.after for change in changes if change.needs_baseline and change.after.kind]
        try:
            return self._compare(sandbox, wanted) if wanted else Compared(self._store)
        except Exception:  # the rest of the sweep does not depend on baselines
            logger.exception("%s: comparing jobs with their baselines failed unexpectedly", sandbox)
            return Compared(self._store)

    def _compare(self, sandbox: str, wanted: Sequence[JobRecord]) -> Compared:
        from export_jobs.monitor import baselines  # noqa: PLC0415  not for a quiet sweep

        known = _read(self._store, sandbox, {record.kind or "" for record in wanted})
        compared = Compared(self._store, known)
        learned = dict(known)
        for record in wanted if known else ():
            baseline, run = learned[record.kind or ""], baselines.run_of(record)
            comparison = baselines.compare(baseline, run)
            if _is_learned_from(record):
                learned[baseline.kind] = baselines.learn(baseline, run, comparison)
            elif comparison.new_usual:
                comparison = replace(comparison, new_usual=())
            compared.comparisons[record.job_id] = comparison
        return compared

    def learn_from_history(
        self,
        sandbox: str,
        ended: Sequence[tuple[Case, Change]],
        *,
        out_of_time: Callable[[], bool],
    ) -> bool:
        """Learns from the jobs that had ended before a sandbox's first sweep. Raises StoreUnavailable.

        Returns False if the time ran out. Repeated if that sweep fails: from a job that it knows,
        a baseline learns nothing.
        """
        by_kind: dict[str, list[_GoodJob]] = defaultdict(list)
        for case, change in ended:
            if _is_learned_from(change.after):
                selection = case.job.whole.filter if case.job else None
                shown = selection.segments if selection else []
                ids = [segment.segment_id for segment in shown if segment.segment_id]
                by_kind[change.after.kind or ""].append(_GoodJob(change.after, ids))
        newest = sorted(by_kind, key=lambda kind: -by_kind[kind][-1].record.creation_time)
        wanted = newest[:MAX_KINDS]
        found = self._store.baselines(sandbox, wanted) if wanted else {}

        def learn_from(kind: str) -> bool:
            if out_of_time():
                return False
            known = found.get(kind) or _new(sandbox, kind)
            try:
                BaselineUpdate(self._store, by_kind[kind][-MAX_LEARNED:], known).put_alone()
            except StoreUnavailable:
                raise
            except Exception:  # it costs this kind its history, and not the sweep
                logger.exception("%s: kind %s learns nothing", sandbox, kind)
            return True

        return all(each(learn_from, wanted, workers=self._workers))


def _read(store: SweepStore, sandbox: str, kinds: Iterable[str]) -> Mapping[str, Baseline]:
    """The baselines of these kinds, new ones included; none of them if they can't be read."""
    wanted = set(kinds)
    try:
        found = store.baselines(sandbox, wanted)
    except StoreUnavailable as error:
        logger.warning("no baselines: %s", error)
        return {}
    return {kind: found.get(kind) or _new(sandbox, kind) for kind in wanted}


def _new(sandbox: str, kind: str) -> Baseline:
    from export_jobs.model.baselines import Baseline  # noqa: PLC0415  not for a quiet sweep

    return Baseline(sandbox, kind)


def _updated(known: Baseline, jobs: Sequence[_GoodJob]) -> Baseline | None:
    """The baseline after these jobs, oldest first; None if it learns nothing from them."""
    from export_jobs.model.baselines import MAX_SEGMENTS  # noqa: PLC0415  not for a quiet sweep
    from export_jobs.monitor import baselines  # noqa: PLC0415

    learned = known
    for job in jobs:
        run = baselines.run_of(job.record)
        if not baselines.knows(learned, run):
            learned = baselines.learn(learned, run, baselines.compare(learned, run))
    if learned == known:
        return None
    return replace(
        learned,
        dataset_id=jobs[-1].record.dataset_id,
        segments=tuple(jobs[-1].segments[:MAX_SEGMENTS]),
        segment_count=len(jobs[-1].segments),
    )


def _is_learned_from(record: JobRecord) -> bool:
    """Whether it has ended well, and shows something that can be compared.

    One that the service dates later than it was seen would make all other runs look old.
    """
    shows = record.duration_ms is not None or record.profiles_exported is not None
    seen_since = 0 < record.creation_time <= record.touched_at + CLOCKS_MS
    return bool(record.outcome == "SUCCEEDED" and record.kind and shows and seen_since)
