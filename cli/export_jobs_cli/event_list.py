"""`event list`: what was published for a job, and what is still in its outbox."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from export_jobs.contract.text import one_line
from export_jobs.events.registry import kind_named
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import JobRecord

from export_jobs_cli import output


@dataclass(frozen=True)
class RecordedEvent:
    """An event on a job's record; `undelivered` names the sinks that it has not reached."""

    type: str
    detail: Mapping[str, Any]
    undelivered: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        names = ("eventId", "sequence", "detectedAt", "status", "outcome")
        return {
            "type": self.type,
            **{name: self.detail.get(name) for name in names},
            "undelivered": list(self.undelivered),
            "summary": plain_summary(self.type, self.detail),
        }


def events_of(record: JobRecord | None) -> list[RecordedEvent]:
    """A job's events in order: the last ones published, then those in the outbox."""
    if record is None:
        return []
    return [
        *(RecordedEvent(one.type, _whole(one.detail, record)) for one in record.history),
        *(
            RecordedEvent(one.event.type, one.event.detail, tuple(sorted(one.sinks)))
            for one in record.outbox
        ),
    ]


def lines_of(record: JobRecord | None, names: Names = NO_NAMES) -> Iterator[str]:
    """The same as lines of markup; with the reason if there are none, or fewer than published."""
    events = events_of(record)
    if not events:
        yield _why_none(record)
    first = next((event.detail["sequence"] for event in events if event.detail.get("sequence")), 1)
    if first > 1:
        yield f"[dim]{first - 1} earlier events are no longer kept[/]"
    for event in events:
        left = f" [yellow]not yet on the {', '.join(event.undelivered)}[/]"
        yield line_of(event.type, event.detail, names) + (left if event.undelivered else "")


def line_of(event_type: str, detail: Mapping[str, Any], names: Names = NO_NAMES) -> str:
    """An event as a line of markup: when it was detected, what it reports, and into which dataset.

    The dataset is left out if it has no name.
    """
    at = str(detail.get("detectedAt") or "")[:19].replace("T", " ")
    line = f"[dim]{at}[/] {summary(event_type, detail)}"
    dataset_id = str(detail.get("datasetId") or "")
    named = dataset_id in names.datasets
    return f"{line}  [dim]{output.plain(names.dataset(dataset_id))}[/]" if named else line


def summary(event_type: str, detail: Mapping[str, Any]) -> str:
    """What an event reports, as a line of markup; good and bad news have colours."""
    kind = kind_named(event_type)
    if kind is None:  # from a stack that is newer than this command
        return output.plain(event_type)
    detail = kind.whole(detail)
    headline = output.plain(kind.headline(detail, one_line))
    more = output.plain(kind.in_brief(detail))
    if kind.is_bad_news(detail):
        headline = f"[bold red]{headline}[/]"
    elif detail.get("final"):
        headline = f"[green]{headline}[/]"
    return f"{headline}: {more}" if more else headline


def plain_summary(event_type: str, detail: Mapping[str, Any]) -> str:
    kind = kind_named(event_type)
    if kind is None:
        return event_type
    detail = kind.whole(detail)
    more = one_line(kind.in_brief(detail))
    return kind.headline(detail, one_line) + (f": {more}" if more else "")


def show(record: JobRecord | None, names: Names = NO_NAMES) -> None:
    """`names` are those of its sandbox."""
    console = output.console()
    for line in lines_of(record, names):
        console.print(line, soft_wrap=True)


def _whole(detail: Mapping[str, Any], record: JobRecord) -> Mapping[str, Any]:
    """The full detail if the event is the job's end; the history has only the short form."""
    end = record.end_detail
    if end and end.get("eventId") == detail.get("eventId"):
        return end
    known = {
        "jobId": record.job_id,
        "sandboxName": record.sandbox,
        "datasetId": record.dataset_id,
    }
    return {**known, **detail}


def _why_none(record: JobRecord | None) -> str:
    if record is None:
        return "none: the job is not on record"
    if not record.sequence and record.final:
        return "none: the job had ended before the first sweep"
    return "none yet"
