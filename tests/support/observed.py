"""How a sweep records one job."""

from __future__ import annotations

from export_jobs.contract import Job, JobHeader
from export_jobs.model.baselines import UNKNOWN, Comparison
from export_jobs.model.records import JobRecord
from export_jobs.monitor.decide import Case, change_of
from export_jobs.monitor.policy import MonitorPolicy

ORG = "1BD6382559DF0C130A49422D@AdobeOrg"


def observed(
    job: Job,
    *,
    before: JobRecord | None = None,
    sandbox: str = "prod",
    policy: MonitorPolicy | None = None,
    comparison: Comparison = UNKNOWN,
    now: int,
) -> JobRecord | None:
    """The record that replaces `before`, its events in the outbox; None if nothing has changed."""
    policy = policy or MonitorPolicy()
    case = Case(sandbox, before, JobHeader.of(job))
    change = change_of(case, org_id=ORG, policy=policy, now=now)
    return change.recorded(comparison, policy=policy, now=now) if change else None
