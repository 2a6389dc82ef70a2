"""What people read about an event: the subject and text of an e-mail, and a message for chat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from export_jobs.contract.text import printable
from export_jobs.model.records import ACCEPTED, DELAYED, REJECTED, Event

MAX_SUBJECT = 99
"""SNS takes fewer than 100 plain characters."""
MAX_CHAT_TEXT = 1_500

_HAPPENED = {
    "IN_PROGRESS": "is {status}",
    "SUCCEEDED": "succeeded",
    "SUCCEEDED_WITH_ERRORS": "succeeded WITH ERRORS",
    "SUCCEEDED_EMPTY": "succeeded but exported NO PROFILE",
    "FAILED": "FAILED",
    "CANCELLED": "was cancelled",
    "VANISHED": "VANISHED",
}
_SAD = frozenset({"SUCCEEDED_WITH_ERRORS", "SUCCEEDED_EMPTY", "FAILED", "VANISHED"})


def subject(event: Event) -> str:
    """One line: what happened to which export, in which sandbox. Plain ASCII, under 100 characters."""
    detail = event.detail
    sandbox = detail.get("sandboxName")
    line = f"[{sandbox}] {_headline(event)}" if sandbox else _headline(event)
    plain = printable(line).encode("ascii", "replace").decode()
    plain = " ".join(plain.split())
    return plain if len(plain) <= MAX_SUBJECT else plain[: MAX_SUBJECT - 3] + "..."


def email(event: Event, *, stack: str | None = None) -> str:
    """A text that a tired person understands: what, where, since when, how it compares, what next.

    `stack` is the name of the stack that the suggested command is for.
    """
    lines = [f"{_headline(event)}.", ""]
    lines += [f"{name + ':':<20}{value}" for name, value in _facts(event)]
    lines += ["", f"Details:  {_command(event, stack)}", "", f"Event {event.id}"]
    return "\n".join(lines)


def chat(event: Event, *, stack: str | None = None) -> dict[str, Any]:
    """The same for a chat channel: Amazon Q Developer's schema of custom notifications.

    https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    """
    detail = event.detail
    mark = ":warning: " if _is_bad_news(event) else ""
    sandbox = detail.get("sandboxName")
    text = "\n".join(f"*{name}*: {value}" for name, value in _facts(event))
    about = f"job-{detail['jobId']}" if detail.get("jobId") else f"request-{detail['requestKey']}"
    return {
        "version": "1.0",
        "source": "custom",
        "id": event.id,
        "content": {
            "textType": "client-markdown",
            "title": mark + subject(event),
            "description": text[:MAX_CHAT_TEXT],
            "nextSteps": [f"`{_command(event, stack)}`"],
        },
        "metadata": {
            "threadId": f"export-{sandbox}-{about}" if sandbox else f"export-{about}",
            "summary": subject(event),
            "eventType": event.type,
        },
    }


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
    key, job = detail.get("requestKey"), detail.get("jobId")
    match event.type, detail["outcome"]:
        case "Export Request Rejected", outcome:
            return f"Export request {key} was REJECTED ({outcome})"
        case "Export Request Accepted", "CREATED":
            return f"Export request {key} was accepted: it is job {job}"
        case "Export Request Accepted", "CANCELLING":
            return f"Export job {job} is being cancelled, as request {key} asked"
        case "Export Request Accepted", "CANCELLED":
            return f"An export was cancelled before it began, as request {key} asked"
        case "Export Request Accepted", _:
            what = f"export job {job} had ended" if job else "the export had ended"
            return f"Request {key} had nothing to cancel: {what}"
        case "Export Job Delayed", _:
            return f"Export job {job} is LATE: running for {span(detail['durationMs'])}"
        case _, outcome:
            happened = _HAPPENED.get(outcome, "is {status}")
            return f"Export job {job} {happened.format(status=detail['status'])}"


def _is_bad_news(event: Event) -> bool:
    return event.type in {DELAYED, REJECTED} or event.detail["outcome"] in _SAD


def _facts(event: Event) -> Iterator[tuple[str, str]]:
    facts = _request_facts if event.type in {ACCEPTED, REJECTED} else _job_facts
    for name, value in facts(event.detail):
        if value:
            yield name, value


def _job_facts(detail: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", detail["datasetId"]
    yield "Status", _status(detail)
    yield "Created", _moment(detail["createdAt"])
    changed = "Ended" if detail["final"] and detail["outcome"] != "VANISHED" else "Last change"
    yield changed, _moment(detail["updatedAt"])
    yield "Took" if detail["final"] else "Running for", _compared_span(detail)
    yield "Limit", span(detail["delayLimitMs"])
    yield "Profiles exported", _compared_profiles(detail)
    for error in detail["errors"][:1]:
        more = len(detail["errors"]) - 1
        others = f", and {more} more" if more else ""
        code = f" (code {error['code']})" if error["code"] else ""
        yield "First error", f"{error['message'] or 'no message'}{code}{others}"
    yield "Request", detail["requestKey"]
    yield "Duplicate of request", detail.get("duplicateOfRequest")
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


def _command(event: Event, stack: str | None) -> str:
    detail = event.detail
    if event.type == REJECTED and detail["outcome"] != "CANCELLED":
        command = f"export-jobs dlq show {detail['requestKey']}"
    elif detail.get("jobId"):
        command = f"export-jobs job {detail['jobId']} --sandbox {detail['sandboxName']}"
    else:
        command = "export-jobs jobs"
    return f"{command} --stack {stack}" if stack else command
