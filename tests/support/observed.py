"""How a sweep records one job."""

from __future__ import annotations

from collections.abc import Mapping

from export_jobs.contract import Job
from export_jobs.events.details import Baseline
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
    baselines: Mapping[str, Baseline] | None = None,
    now: int,
) -> JobRecord | None:
    """The record that replaces `before`, its events in the outbox; None if nothing has changed."""
    policy = policy or MonitorPolicy()
    change = change_of(Case(sandbox, before, job), org_id=ORG, policy=policy, now=now)
    return change.recorded(baselines or {}, policy=policy.events, now=now) if change else None
