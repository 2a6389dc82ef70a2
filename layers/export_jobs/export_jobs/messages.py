"""What people read: the subject and the text of an e-mail about an event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from export_jobs.core.records import ACCEPTED, DELAYED, REJECTED, Event

MAX_SUBJECT = 99
"""SNS takes fewer than 100 plain characters."""

_HAPPENED = {
    "IN_PROGRESS": "is {status}",
    "SUCCEEDED": "succeeded",
    "SUCCEEDED_WITH_ERRORS": "succeeded WITH ERRORS",
    "SUCCEEDED_EMPTY": "succeeded but exported NO PROFILE",
    "FAILED": "FAILED",
    "CANCELLED": "was cancelled",
    "VANISHED": "VANISHED",
}


def subject(event: Event) -> str:
    """One line: what happened to which export, in which sandbox. Plain ASCII, under 100 characters."""
    detail = event.detail
    sandbox = detail.get("sandboxName")
    line = f"[{sandbox}] {_headline(event)}" if sandbox else _headline(event)
    plain = line.encode("ascii", "replace").decode()
    plain = " ".join(plain.split())
    return plain if len(plain) <= MAX_SUBJECT else plain[: MAX_SUBJECT - 3] + "..."


def email(event: Event) -> str:
    """A text that a tired person understands: what, where, since when, how it compares, what next."""
    lines = [f"{_headline(event)}.", ""]
    facts = _request_facts if event.type in {ACCEPTED, REJECTED} else _job_facts
    lines += [f"{name + ':':<20}{value}" for name, value in facts(event.detail) if value]
    lines += ["", f"Look further:  {_command(event)}", "", f"Event {event.id}"]
    return "\n".join(lines)


def span(milliseconds: int | None) -> str:
    """A duration as people say it: `45 s`, `12 min`, `3 h 20 min`."""
    if milliseconds is None:
        return ""
    seconds = round(milliseconds / 1000)
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _headline(event: Event) -> str:
    detail = event.detail
    if event.type == REJECTED:
        return f"Export request {detail['requestKey']} was REJECTED ({detail['outcome']})"
    if event.type == ACCEPTED:
        made = f" as job {detail['jobId']}" if detail.get("jobId") else ""
        return f"Export request {detail['requestKey']} was accepted{made} ({detail['outcome']})"
    if event.type == DELAYED:
        return f"Export job {detail['jobId']} is LATE: running for {span(detail['durationMs'])}"
    happened = _HAPPENED[detail["outcome"]].format(status=detail["status"])
    return f"Export job {detail['jobId']} {happened}"


def _job_facts(detail: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", detail["datasetId"]
    yield "Status", _status(detail)
    yield "Created", _moment(detail["createdAt"])
    yield "Took" if detail["final"] else "Running for", _compared_span(detail)
    yield "Limit", span(detail["delayLimitMs"])
    yield "Profiles exported", _compared_profiles(detail)
    for error in detail["errors"][:1]:
        more = len(detail["errors"]) - 1
        others = f", and {more} more" if more else ""
        yield "First error", f"{error['message'] or 'no message'} (code {error['code']}){others}"
    yield "Request", detail["requestKey"]
    yield "Correlation id", detail["correlationId"]


def _request_facts(detail: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", detail["datasetId"]
    yield "Job", detail["jobId"]
    if not detail["problems"]:
        yield "Reason", detail["reason"]
    for problem in detail["problems"]:
        yield "Wrong field", f"{problem['field']}: {problem['message']}"
    yield "Correlation id", detail["correlationId"]


def _status(detail: Mapping[str, Any]) -> str:
    status, before = str(detail["status"]), detail["previousStatus"]
    if detail["outcome"] == "VANISHED":
        status += " (the service no longer knows it)"
    return f"{status}, before: {before}" if before and before != detail["status"] else status


def _moment(time: str | None) -> str | None:
    """`2026-01-31T00:00:00.000Z` as people read it."""
    return f"{time[:10]} {time[11:16]} UTC" if time else None


def _compared_span(detail: Mapping[str, Any]) -> str | None:
    took, usual = span(detail["durationMs"]), span(detail["usualDurationMs"])
    return f"{took} (usually {usual})" if took and usual else took


def _compared_profiles(detail: Mapping[str, Any]) -> str | None:
    count, previous = detail["profilesExported"], detail["previousProfilesExported"]
    if count is None:
        return None
    return f"{count:,} (last time {previous:,})" if previous is not None else f"{count:,}"


def _command(event: Event) -> str:
    detail = event.detail
    if event.type == REJECTED:
        return "export-jobs dlq list"
    if detail.get("jobId"):
        return f"export-jobs job {detail['jobId']} --sandbox {detail['sandboxName']}"
    return "export-jobs jobs"
