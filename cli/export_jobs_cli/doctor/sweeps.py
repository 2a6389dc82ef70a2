"""Checks of what the tables and the metrics say about recent sweeps and waiting requests."""

from __future__ import annotations

from export_jobs.aws.clock import now_ms
from export_jobs.model.calendar import zone_named
from export_jobs.monitor.regular import READ_MS, regular_exports

from export_jobs_cli import jobs, output
from export_jobs_cli.doctor.findings import WorthALook, Wrong
from export_jobs_cli.last_sweep import WINDOW_MINUTES, last_sweep
from export_jobs_cli.line import WaitingLine
from export_jobs_cli.stack import DeployedSystem

MAX_DATASETS = 3
"""Datasets or expectations that are named."""


def sweeps(system: DeployedSystem, sandbox: str) -> str:
    """The tables show whether sweeps fail; only CloudWatch shows that they have stopped."""
    state = system.store.load(sandbox).state
    if state is None:
        raise Wrong("never swept", "wait for the schedule's next run; then read the monitor's log")
    if state.failing_since:
        raise Wrong(
            f"sweeps have failed since {output.moment(state.failing_since)} UTC",
            "read the monitor's log; see the checks above",
        )
    if not system.is_on_this_machine and last_sweep(system, sandbox) is None:
        raise Wrong(
            f"no successful sweep in {WINDOW_MINUTES} minutes",
            "check the schedule, the monitor's log and its throttles",
        )
    return f"successful; last recorded change {output.moment(state.swept_at)[5:16]} UTC"


def line(system: DeployedSystem, sandbox: str) -> str:
    line = WaitingLine(system, sandbox)
    waiting = (
        f"{len(line.creates)} waiting, {line.open_exports} of {line.max_open} exports open, "
        f"{len(line.attempts)} create calls with unknown outcome"
    )
    if line.held_until:
        raise WorthALook(
            f"{waiting}; held until {output.moment(line.held_until)} UTC",
            "the service failed or throttled calls: read the creator's log; a created job lifts the hold",
        )
    return waiting


def expected(system: DeployedSystem, sandbox: str) -> str:
    """Regular exports that no expectation covers, and expectations that are overdue."""
    records = system.store.expectations(sandbox)
    now = now_ms()
    found = regular_exports(
        jobs.recent(system, sandbox, since=now - READ_MS),
        zone=zone_named("UTC"),
        known=[record.expectation for record in records],
        now=now,
    )
    datasets = list(dict.fromkeys(one.expectation.dataset_id for one in found))
    if datasets:
        more = f", and {len(datasets) - MAX_DATASETS} more" if len(datasets) > MAX_DATASETS else ""
        raise WorthALook(
            f"regular exports without an expectation: into {', '.join(datasets[:MAX_DATASETS])}{more}",
            f"`{system.command('expectation suggest', sandbox=sandbox)}` proposes what to expect",
        )
    unreadable = [record.name for record in records if not record.can_be_read]
    if unreadable:
        raise WorthALook(
            f"can't be read: {', '.join(unreadable[:MAX_DATASETS])}",
            "apply their file again, with the same version of the command as the stack",
            "These exports are not judged.",
        )
    overdue = [record.name for record in records if record.is_overdue and not record.is_muted(now)]
    if overdue:
        show = system.command("expectation show", overdue[0], sandbox=sandbox)
        raise WorthALook(
            f"{len(records)}, of which overdue: {', '.join(overdue[:MAX_DATASETS])}",
            f"`{show}` shows what was missed",
            "These exports have not succeeded by their deadlines.",
        )
    return f"{len(records)}, none overdue"
