"""How far back a sweep must read the listing, and how much of it is on record afterwards.

Everything here is computed from the few numbers of a sandbox's state (`SandboxState`), without I/O.
The watermark moves only past jobs that are recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from export_jobs.contract import JobHeader
from export_jobs.model.fingerprints import status_fingerprint
from export_jobs.model.records import SandboxState

MAX_SEEN = 10_000
"""Fingerprints kept in a sandbox's state: at most 80 KB of its item, usually 1 KB."""


def listing_reaches_back_to(state: SandboxState, *, complete_at: int, overlap_ms: int) -> int:
    """The creation time down to which a listing must be read, whichever jobs are open.

    That is the watermark or, if earlier, the time from which jobs may have appeared late since the
    last sweep that saw everything (at `complete_at`, or when the state was written). What was new
    to the sweep that wrote the state is listed once more, however long ago that was: a listing may
    leave a job out.
    """
    reach = min(state.watermark, max(state.swept_at, complete_at) - overlap_ms)
    return reach if complete_at > state.swept_at else min(reach, state.new_since)


def new_since(state: SandboxState, *, complete_at: int) -> int:
    """The creation time from which everything is new to a sweep."""
    return min(state.watermark, max(state.swept_at, complete_at))


def needs_record(job: JobHeader, state: SandboxState, *, back_to: int) -> bool:
    """Whether a listed job that is not among the known open ones may be news.

    An open one always is. A final one is, unless it was seen or is older than everything the last
    sweeps covered: the part of the listing that they read, and what a listing must reach back to.
    """
    if not job.is_final:
        return True
    covered_from = min(state.seen_from, back_to)
    covered = job.creation_time is None or job.creation_time >= covered_from
    return covered and is_unseen(job, state)


def is_unseen(job: JobHeader, state: SandboxState) -> bool:
    """Whether a final job is not among those that the last sweeps have recorded."""
    return status_fingerprint(job.id, job.status) not in state.seen


def advance(
    state: SandboxState | None,
    listed: Iterable[JobHeader],
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


def covers_the_same(before: SandboxState, after: SandboxState) -> bool:
    """Whether nothing has changed except how far the sweeps have read."""
    as_before = replace(
        after,
        swept_at=before.swept_at,
        seen_from=before.seen_from,
        new_since=before.new_since,
    )
    return as_before == before
