"""The page of a job: its life, its numbers beside the baseline, its request and its events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from export_jobs.events.wording import span
from export_jobs.model.baselines import Baseline, Metric
from export_jobs.monitor.baselines import usual_at

from export_jobs_cli.event_list import RecordedEvent, events_of, plain_summary
from export_jobs_cli.job_list import error_text
from export_jobs_cli.job_show import JobDetails
from export_jobs_cli.output import number
from export_jobs_cli.page.charts import Bullet, bullet_of


@dataclass(frozen=True)
class ComparedNumber:
    """A number of a job beside what is usual at the time of the week at which it was created."""

    name: str
    value: str
    usual: str
    limits: str
    """From where on it is unusual, in words; empty if too little is known."""
    bullet: Bullet | None


@dataclass(frozen=True)
class ShownJob:
    """A job, with its numbers and its errors in words."""

    details: JobDetails
    comparisons: Sequence[ComparedNumber]
    errors: Sequence[str]
    events: Sequence[tuple[RecordedEvent, str]]
    """Each with what it reports."""


def shown_job(details: JobDetails, baseline: Baseline | None) -> ShownJob:
    """`baseline` is that of its kind."""
    known = details.known
    events = events_of(known.record)
    return ShownJob(
        details,
        list(_comparisons(details, baseline)),
        [error_text(error) for error in known.errors],
        [(event, plain_summary(event.type, event.detail)) for event in events],
    )


def _comparisons(details: JobDetails, baseline: Baseline | None) -> Iterator[ComparedNumber]:
    known = details.known
    metrics: tuple[tuple[str, Metric, int | None, int | None, Callable[[int | None], str]], ...] = (
        ("profiles", "VOLUME", known.profiles_exported, known.usual_profiles, number),
        ("duration", "DURATION", known.duration_ms, known.usual_duration_ms, span),
    )
    for name, metric, value, usual_at_end, in_words in metrics:
        if value is None:
            continue
        now = usual_at(baseline, metric, at=known.created_at) if baseline else None
        usual = usual_at_end if usual_at_end is not None or now is None else now.usual
        limits = ""
        if now and now.highest is not None:
            low = f"fewer than {in_words(now.lowest)} or " if now.lowest is not None else ""
            limits = f"{low}more than {in_words(now.highest)}"
        bullet = bullet_of(value, now) if now and now.usual is not None else None
        yield ComparedNumber(name, in_words(value), in_words(usual), limits, bullet)
