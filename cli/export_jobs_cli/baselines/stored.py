"""The baselines of a stack: finds them, and says that an unusual job is the new usual.

Sweeps write the same items. If a sweep has written one in the meantime, the command reads it again
and repeats its write.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from export_jobs.model.baselines import Anomaly, Baseline
from export_jobs.model.ports import BaselineChanged
from export_jobs.model.records import JobRecord
from export_jobs.monitor import baselines as rule

from export_jobs_cli import jobs
from export_jobs_cli.errors import UserError
from export_jobs_cli.stack import DeployedSystem

TRIES: Final = 4
PAUSE_S: Final = 0.3
MAX_KINDS_NAMED: Final = 5
_KIND = re.compile(r"\d+-[0-9a-f]*", re.ASCII)
"""A kind's id or its beginning; a job's id has no such form."""


@dataclass(frozen=True)
class Accepted:
    """What was written: the baseline after a person has accepted a job."""

    job: JobRecord
    anomalies: tuple[Anomaly, ...]
    """What was unusual about the job, and is usual from now on."""
    baseline: Baseline

    def as_json(self) -> dict[str, Any]:
        return {
            "sandboxName": self.job.sandbox,
            "jobId": self.job.job_id,
            "kind": self.baseline.kind,
            "accepted": list(self.anomalies),
        }


def every_one(system: DeployedSystem, *, sandbox: str | None) -> list[Baseline]:
    """The baselines of one sandbox or of all; by sandbox, the one with the newest run first."""
    return [
        baseline
        for name in system.sandboxes(sandbox)
        for baseline in sorted(system.store.every_baseline(name), key=lambda one: -one.newest_at)
    ]


def named(system: DeployedSystem, kind_or_job: str, *, sandbox: str | None) -> Baseline:
    """The baseline of a kind, by its id or the beginning of it, or that of a job's kind.

    Raises UserError if there is none, or several.
    """
    if _KIND.fullmatch(kind_or_job):
        found = [
            baseline
            for name in system.sandboxes(sandbox)
            for baseline in system.store.every_baseline(name, beginning=kind_or_job)
        ]
        if found:
            return _only_one(found, kind_or_job)
    job = jobs.recorded(system, kind_or_job, sandbox=sandbox)
    return _of_job(system, job)


def _only_one(found: Sequence[Baseline], beginning: str) -> Baseline:
    if len({baseline.kind for baseline in found}) > 1:
        kinds = list(dict.fromkeys(baseline.kind for baseline in found))
        some = ", ".join(kinds[:MAX_KINDS_NAMED])
        more = f" and {len(kinds) - MAX_KINDS_NAMED} more" if len(kinds) > MAX_KINDS_NAMED else ""
        raise UserError(f"several kinds begin with {beginning!r}: {some}{more}; use more of the id")
    if len(found) > 1:
        sandboxes = ", ".join(baseline.sandbox for baseline in found)
        raise UserError(
            f"several sandboxes have the kind {found[0].kind}: {sandboxes}; use --sandbox"
        )
    return found[0]


def _of_job(system: DeployedSystem, job: JobRecord) -> Baseline:
    """The baseline of a job's kind. Raises UserError if there is none."""
    if job.kind is None:
        raise UserError(
            f"job {job.job_id!r} has no baseline: it was recorded by an older version, or its "
            "dataset or segments can't be read"
        )
    found = of_kind(system, job.sandbox, job.kind)
    if found is None:
        raise UserError(
            f"there is no baseline for job {job.job_id!r} (kind {job.kind}): no such export has "
            "succeeded in the last weeks"
        )
    return found


def of_kind(system: DeployedSystem, sandbox: str, kind: str) -> Baseline | None:
    """By a query, as people may not be allowed to get items."""
    every = system.store.every_baseline(sandbox, beginning=kind)
    return next((baseline for baseline in every if baseline.kind == kind), None)


# -- accepting -----------------------------------------------------------------------------------


def accept(system: DeployedSystem, job_id: str, *, sandbox: str | None) -> Accepted:
    """Makes an unusual job the new usual of its kind.

    Raises UserError if the job is not unusual, or shows nothing that could be usual.
    """
    job = jobs.recorded(system, job_id, sandbox=sandbox)
    if why_not := cannot_be_accepted(job):
        raise UserError(f"job {job.job_id!r} {why_not}")
    for _ in range(TRIES):
        known = _of_job(system, job)
        anomalies = still_unusual(known, job)
        if not anomalies:
            raise UserError(
                f"job {job.job_id!r} is usual by now: it, or a later job like it, was accepted, or "
                "three in a row were like it"
            )
        after = rule.accept(known, rule.run_of(job))
        try:
            system.store.put_baseline(after)
        except BaselineChanged:
            time.sleep(PAUSE_S)
        else:
            return Accepted(job, anomalies, after)
    raise UserError(
        f"the baseline of job {job.job_id!r} keeps changing; nothing was accepted; "
        "run the command again"
    )


def cannot_be_accepted(job: JobRecord) -> str | None:
    """Why a job, by its record alone, can't be accepted; None if it can."""
    if not job.final:
        return f"is still open ({job.status or 'NEW'}); it can be accepted once it has succeeded"
    if job.outcome != "SUCCEEDED":
        return (
            f"has ended as {job.outcome or job.status}; only a job that has exported profiles "
            "without errors shows what is usual"
        )
    if not job.end.get("anomalies"):
        return "was not unusual when it ended; there is nothing to accept"
    return None


def still_unusual(known: Baseline, job: JobRecord) -> tuple[Anomaly, ...]:
    """What is unusual about a job by what its baseline knows now: nothing if it was accepted."""
    return rule.compare(known, rule.run_of(job)).anomalies
