"""What a sweep makes of what it saw: functions of (known, observed, now), without any I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from export_jobs.contract import Job
from export_jobs.events import build as events
from export_jobs.events.build import Baseline
from export_jobs.model.matching import status_fingerprint
from export_jobs.model.records import VANISHED, Event, JobRecord, SandboxState
from export_jobs.monitor.policy import MonitorPolicy

MISSES_TO_VANISH = 2
MISSES_APART_MS = 30_000
"""Two overlapping sweeps that meet the same moment of a 404 have missed a job once."""
YOUNG_MS = 5 * 60_000
"""A job may take so long from its creation until it is found by its id."""
MAX_SEEN = 10_000
"""Fingerprints kept in a sandbox's state: 80 KB of its item at the most, 1 KB as a rule."""
MAX_UNDELIVERED = 9
"""Events of a job that may be in its outbox at once. Each is of 40 KB at the most, and an item holds
400 KB: with so many there, the job's next change is recorded when some have been delivered."""
MAX_UNDELIVERED_FOR_DELAYS = 6
"""With so many events of a job in its outbox, its delays are not published on top."""

_ORDER_OF_LIFE = {"NEW": 0, "QUEUED": 1, "PROCESSING": 2, "CANCELLING": 3}
_FINAL_ORDER = 4


def observe(
    record: JobRecord | None,
    job: Job,
    *,
    sandbox: str,
    org_id: str | None,
    policy: MonitorPolicy,
    past: Mapping[str, Baseline] | None = None,
    now: int,
) -> JobRecord | None:
    """The record after seeing `job`, with the events of what changed; None when nothing did."""
    known = replace(record or first_record(job, sandbox), org_id=org_id)
    seen = _with_status(known, job, policy, past or {}, now)
    seen = _with_delay(seen or known, job, policy, past or {}, now) or seen
    if seen is None and known.misses:
        seen = replace(known, misses=0)
    return replace(seen, touched_at=now) if seen else None


def miss(record: JobRecord, *, policy: MonitorPolicy, now: int) -> JobRecord | None:
    """The record after the service answered 404 for an open job; at the second time it vanished.

    None where a 404 says nothing: the job is too young to be found by its id, or this one is the
    same as the last.
    """
    too_young = now - record.creation_time < YOUNG_MS
    same_as_the_last = record.misses and now - record.touched_at < MISSES_APART_MS
    if too_young or same_as_the_last:
        return None
    missed = replace(record, misses=record.misses + 1, touched_at=now)
    if missed.misses < MISSES_TO_VANISH:
        return missed
    gone = replace(missed, status=VANISHED, final=True, sequence=record.sequence + 1)
    event = events.vanished(
        gone, previous_status=record.status, stack_id=policy.events.stack_id, now=now
    )
    return _with_event(gone, event, policy)


def record_silently(job: Job, *, sandbox: str, now: int) -> JobRecord:
    """The record of a job that was final before the first sweep: known, and not announced."""
    return replace(_described(first_record(job, sandbox), job, now), touched_at=now)


def is_stale(record: JobRecord, job: Job) -> bool:
    """Whether the listing shows an older state of the job than the one on record.

    A later `updateTime` is always news. Without one, only a step forward in a job's life is: a
    listing that lags must not reopen a job. A job that is shown after it vanished is back.
    """
    if record.status in {None, VANISHED}:
        return False
    times = (record.update_time, job.update_time)
    if None not in times and times[0] != times[1]:
        return bool(times[0] > times[1])  # type: ignore[operator]  # neither is None here
    shown = _place_in_life(job.status, final=job.is_final)
    recorded = _place_in_life(record.status, final=record.final)
    both_known = {job.status, record.status} <= _ORDER_OF_LIFE.keys()
    return shown < recorded or (shown == recorded and (record.final or both_known))


def listing_reaches_back_to(state: SandboxState, *, complete_at: int, overlap_ms: int) -> int:
    """The creation time down to which a listing has to be read, whatever jobs are open.

    That is the watermark; and further back, jobs that may have appeared late since the last sweep
    that saw everything (at `complete_at`, or when the state was written). What was new to the sweep
    that wrote the state is listed once more, however long ago it is: a listing may leave a job out.
    """
    reach = min(state.watermark, max(state.swept_at, complete_at) - overlap_ms)
    return reach if complete_at > state.swept_at else min(reach, state.new_since)


def new_since(state: SandboxState, *, complete_at: int) -> int:
    """The creation time from which on everything is new to a sweep."""
    return min(state.watermark, max(state.swept_at, complete_at))


def needs_record(job: Job, state: SandboxState, *, back_to: int) -> bool:
    """Whether a listed job that is not among the open ones may be news.

    An open one always is. A final one is unless it was seen, or lies before all that the last
    sweeps covered: the part of the listing they read, and what a listing has to reach back to.
    """
    if not job.is_final:
        return True
    covered_from = min(state.seen_from, back_to)
    covered = job.creation_time is None or job.creation_time >= covered_from
    return covered and is_unseen(job, state)


def is_unseen(job: Job, state: SandboxState) -> bool:
    """Whether a final job is not among those that the last sweeps have recorded."""
    return status_fingerprint(job.id, job.status) not in state.seen


def pages_worth_reading(unmet: Sequence[int], *, reach: int, span_per_page: float) -> int:
    """How many more pages to read before looking up by id what is still unmet.

    `unmet` holds the creation times of open jobs older than `reach`, the oldest time listed so far.
    A page costs one call and so does a look-up; how far a page goes back is judged by the ones read.
    """
    if not unmet or span_per_page <= 0:
        return 0
    ages = sorted(max(1, math.ceil((reach - created) / span_per_page)) for created in unmet)
    best_pages, best_cost = 0, len(ages)
    for met, pages in enumerate(ages, start=1):
        cost = pages + len(ages) - met
        if cost < best_cost:
            best_pages, best_cost = pages, cost
    return best_pages


def advance(
    state: SandboxState | None,
    listed: Iterable[Job],
    *,
    sandbox: str,
    watermark: int,
    oldest: int,
    new_since: int,
    now: int,
) -> SandboxState:
    """The state after everything in `listed`, down to creation time `oldest`, was recorded.

    Everything from `new_since` on was new to this sweep. Fingerprints are kept from `oldest` on.
    """
    finals = sorted(
        (job for job in listed if job.is_final and (job.creation_time or oldest) >= oldest),
        key=lambda job: -(job.creation_time or 0),
    )
    kept = finals[:MAX_SEEN]
    seen_from = oldest if len(kept) == len(finals) else (kept[-1].creation_time or 0)
    return replace(
        state or SandboxState(sandbox=sandbox, watermark=watermark),
        watermark=max(watermark, state.watermark if state else 0),
        seen_from=seen_from,
        swept_at=now,
        new_since=new_since,
        failing_since=0,
        seen=frozenset(status_fingerprint(job.id, job.status) for job in kept),
    )


def first_record(job: Job, sandbox: str) -> JobRecord:
    """The record of a job that nothing is known of but that it is there."""
    return JobRecord(sandbox=sandbox, job_id=job.id, creation_time=job.creation_time or 0)


def _with_status(
    known: JobRecord, job: Job, policy: MonitorPolicy, past: Mapping[str, Baseline], now: int
) -> JobRecord | None:
    if known.status == job.status or is_stale(known, job) or len(known.outbox) >= MAX_UNDELIVERED:
        return None
    changed = replace(_described(known, job, now), sequence=known.sequence + 1)
    event = events.state_change(
        changed,
        job,
        previous_status=known.status,
        past=past.get(changed.dataset_id or "", Baseline()),
        stack_id=policy.events.stack_id,
        now=now,
    )
    return _with_event(changed, event, policy)


def _described(known: JobRecord, job: Job, now: int) -> JobRecord:
    metrics = job.metrics
    return replace(
        known,
        status=job.status,
        final=job.is_final,
        update_time=job.update_time,
        dataset_id=job.destination.dataset_id if job.destination else known.dataset_id,
        duration_ms=events.duration_ms(job, now) if job.is_final else None,
        profiles_exported=metrics.total_exported_profile_counter if metrics else None,
        misses=0,
    )


def _with_delay(
    known: JobRecord, job: Job, policy: MonitorPolicy, past: Mapping[str, Baseline], now: int
) -> JobRecord | None:
    if known.final or not known.creation_time or len(known.outbox) >= MAX_UNDELIVERED_FOR_DELAYS:
        return None
    if known.status != job.status:  # a listing that lags is no ground for a delay
        return None
    limit = policy.delays.limit_for(known.dataset_id)
    over = now - known.creation_time - limit
    due = 0 if over < 0 else 1 + over // policy.delays.repeat_ms
    if due <= known.delays:
        return None
    late = replace(known, delays=due, sequence=known.sequence + 1)
    event = events.delayed(
        late,
        job,
        limit_ms=limit,
        past=past.get(late.dataset_id or "", Baseline()),
        stack_id=policy.events.stack_id,
        now=now,
    )
    return _with_event(late, event, policy)


def _with_event(record: JobRecord, event: Event, policy: MonitorPolicy) -> JobRecord:
    return replace(record, outbox=(*record.outbox, policy.events.undelivered(event)))


def _place_in_life(status: str, *, final: bool) -> int:
    """Where in its life a status stands. One we do not know is taken for work in progress."""
    return _FINAL_ORDER if final else _ORDER_OF_LIFE.get(status, _ORDER_OF_LIFE["PROCESSING"])
