"""Fingerprints of jobs and segments: short enough to keep thousands of them in an item."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from export_jobs.contract import Job

SEEN_RULE: Final = 1
"""The version of the rule that makes fingerprints of jobs: `status_fingerprint`."""
MAX_SEGMENTS = 4_000
"""The most segments that are remembered of a job, of eight bytes each."""


def status_fingerprint(job_id: str, status: str) -> bytes:
    """Eight bytes that identify "this job in this status"."""
    return hashlib.blake2b(f"{job_id}\0{status}".encode(), digest_size=8).digest()


def segment_fingerprint(segment_id: str) -> bytes:
    """Eight bytes that identify a segment."""
    return hashlib.blake2b(segment_id.encode(), digest_size=8).digest()


def segments_of(job: Job) -> frozenset[bytes] | None:
    """The fingerprints of the segments whose members a job exports.

    None if it shows none, because a job without segments exports all profiles, if one can't be
    read, or if there are more than `MAX_SEGMENTS`. A segment of which it only exports the profiles
    that have left is not among them.
    """
    segments = job.filter.segments if job.filter else []
    if not segments or not all(segment.segment_id for segment in segments):
        return None
    found = frozenset(
        segment_fingerprint(segment.segment_id or "")
        for segment in segments
        if not segment.status or set(segment.status) != {"exited"}
    )
    return found if len(found) <= MAX_SEGMENTS else None
