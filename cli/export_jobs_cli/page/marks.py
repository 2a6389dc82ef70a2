"""The marks that stand for runs and windows: each has a shape, a colour and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from export_jobs.events.wording import span
from export_jobs.model.calendar import local_time, zone_named
from export_jobs.model.expectations import ExpectationRecord, PastWindow, Window

from export_jobs_cli.expectations.shown import in_zone
from export_jobs_cli.job_list import status_of
from export_jobs_cli.jobs import KnownJob

Tone = Literal["good", "warn", "bad", "busy", "quiet"]
"""What a mark means for its reader; it decides the colour."""


@dataclass(frozen=True)
class Kind:
    """A kind of mark: its shape has the id `shape` in the page."""

    shape: str
    tone: Tone
    words: str


KINDS: Final[Mapping[str, Kind]] = {
    "succeeded": Kind("tick", "good", "succeeded"),
    "drop": Kind("down", "warn", "succeeded with far fewer profiles than usual"),
    "spike": Kind("up", "warn", "succeeded with far more profiles than usual"),
    "slow": Kind("hourglass", "warn", "succeeded, but took far longer than usual"),
    "unusual": Kind("down", "warn", "succeeded, but is unusual"),
    "errors": Kind("exclamation", "bad", "succeeded with errors"),
    "empty": Kind("zero", "bad", "succeeded, and exported no profile"),
    "failed": Kind("cross", "bad", "failed"),
    "vanished": Kind("question", "bad", "vanished: the service no longer knows it"),
    "cancelled": Kind("slash", "quiet", "cancelled"),
    "running": Kind("dots", "busy", "running"),
    "delayed": Kind("clock", "warn", "running, and delayed"),
    "overdue": Kind("bell", "bad", "overdue: nothing succeeded by the deadline"),
    "made-good": Kind("bell-tick", "warn", "made good after its deadline"),
    "muted": Kind("mute", "quiet", "missed, but muted"),
    "expected": Kind("ring", "quiet", "expected"),
    "problem": Kind("exclamation", "warn", "needs a look"),
    "no-sweeps": Kind("exclamation", "bad", "sweeps fail or have stopped"),
}
"""By name, in the order of the legend; the last two stand for no run and no window."""
_OF_OUTCOMES: Final = {
    "SUCCEEDED": "succeeded",
    "SUCCEEDED_WITH_ERRORS": "errors",
    "SUCCEEDED_EMPTY": "empty",
    "FAILED": "failed",
    "VANISHED": "vanished",
    "CANCELLED": "cancelled",
}
_OF_ANOMALIES: Final = {"VOLUME_DROP": "drop", "VOLUME_SPIKE": "spike", "SLOW": "slow"}
_SEVERITY: Final[Sequence[Tone]] = ("bad", "warn", "busy", "quiet", "good")
"""The worst first."""
_UTC: Final = zone_named("UTC")


@dataclass(frozen=True)
class Mark:
    """A mark in the grid; `title` says in words what it stands for, `at` is in epoch ms.

    It stands for a job, or for a window of an expectation.
    """

    kind: str
    at: int
    title: str
    sandbox: str
    job_id: str | None = None
    expectation: str | None = None

    @property
    def shape(self) -> str:
        return KINDS[self.kind].shape

    @property
    def tone(self) -> Tone:
        return KINDS[self.kind].tone

    @property
    def severity(self) -> int:
        """See `severity_of`."""
        return severity_of(self.tone)


def severity_of(tone: Tone) -> int:
    """Less is worse."""
    return _SEVERITY.index(tone)


def kind_of_job(job: KnownJob) -> str:
    """The name of the mark of a job, by how it ended and what was unusual about it."""
    if not job.is_final:
        return "delayed" if job.record and job.record.delays else "running"
    kind = _OF_OUTCOMES.get(job.outcome, "failed")
    if kind == "succeeded" and job.anomalies:
        return _OF_ANOMALIES.get(job.anomalies[0], "unusual")
    return kind


def mark_of_job(job: KnownJob) -> Mark:
    return Mark(kind_of_job(job), job.created_at, _title(job), job.sandbox, job_id=job.id)


def mark_of_past(past: PastWindow, record: ExpectationRecord) -> Mark | None:
    """The mark of a window whose deadline has passed; None if its job's mark says it all."""
    due = f"{record.name}, due {in_zone(past.window.due, record)}"
    match past.outcome:
        case "GOOD" | "NOT_JUDGED":
            return None
        case "MUTED":
            kind, title = "muted", f"muted: {due}"
        case _ if past.good_at is not None:
            late = span(past.good_at - past.window.due)
            kind, title = "made-good", f"made good by job {past.job_id}, {late} late: {due}"
        case reason:
            kind, title = "overdue", f"overdue, {reason}: {due}"
    return Mark(kind, past.window.due, title, record.sandbox, expectation=record.name)


def mark_of_next(window: Window, record: ExpectationRecord) -> Mark:
    """The mark of the window whose deadline comes next."""
    title = f"expected by {in_zone(window.due, record)}: {record.name}"
    return Mark("expected", window.due, title, record.sandbox, expectation=record.name)


def utc(epoch_ms: int) -> str:
    """`Sat 2026-11-28 02:00 UTC`."""
    return f"{local_time(epoch_ms, _UTC):%a %Y-%m-%d %H:%M} UTC"


def _title(job: KnownJob) -> str:
    took = span(job.duration_ms)
    profiles = job.profiles_exported
    facts = [
        f"job {job.id}: {status_of(job)}",
        *job.unusual,
        utc(job.created_at) if job.created_at else "",
        (took if job.is_final else f"running for {took}") if took else "",
        "" if profiles is None else f"{profiles:,} profiles",
    ]
    return ", ".join(fact for fact in facts if fact)
