"""The texts of an event for people: its headline, the facts below it, and the next step.

Ids, statuses and other values come from outside. A headline quotes them with a function that suits
where it is shown; whoever shows a fact quotes its whole text.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from export_jobs.contract.text import one_line
from export_jobs.model.names import Names

Quote = Callable[[str], str]
"""Makes a value from outside safe to show: in a chat, an e-mail, a terminal."""
Detail = Mapping[str, Any]
"""An event's `detail`, as published."""
Fact = tuple[str, str]
"""A line of a message: its name and its text."""

MAX_SUBJECT = 99
"""A subject in SNS has fewer than 100 ASCII characters."""
MAX_JOBS_SHOWN = 3
MAX_SEGMENTS_SHOWN = 3
_HAPPENED = {
    "SUCCEEDED": "succeeded",
    "SUCCEEDED_WITH_ERRORS": "succeeded WITH ERRORS",
    "SUCCEEDED_EMPTY": "succeeded but exported 0 PROFILES",
    "FAILED": "FAILED",
    "CANCELLED": "was cancelled",
    "VANISHED": "VANISHED",
}
_WHY_NOT_RETRIED = {
    "CANCELLED": "it was cancelled, or its job was being cancelled",
    "EXPIRES": "its expiresAt comes before the next try",
    "NOT_WATCHED": "the stack no longer watches its sandbox",
}


def span(milliseconds: int | None) -> str:
    """A readable duration: `45 s`, `12 min`, `3 h 20 min`."""
    if milliseconds is None:
        return ""
    seconds = round(milliseconds / 1000)
    if seconds < 90:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


# -- headlines -----------------------------------------------------------------------------------


def job_changed(detail: Detail, quote: Quote) -> str:
    happened = _HAPPENED.get(detail["outcome"]) or f"is {quote(detail['status'])}"
    late = " after a delay" if detail["final"] and detail["delayed"] else ""
    number, left = detail["tryNumber"] or 1, detail["triesLeft"]
    at_try = f" at try {number}" if detail["final"] and number > 1 and not detail["retryAt"] else ""
    again = f"; its request will be retried (try {number + 1} of {number + left})"
    return "".join(
        [
            f"Export job {quote(detail['jobId'])} {happened}{late}{at_try}",
            "".join(
                f"{': ' if n == 0 else '; '}{part}" for n, part in enumerate(unusual(detail, quote))
            ),
            again if detail["final"] and detail["retryAt"] else "",
        ]
    )


def unusual(detail: Detail, quote: Quote) -> Iterator[str]:
    """What is unusual about a job, with the numbers."""
    count, usual = detail["profilesExported"] or 0, detail["usualProfilesExported"] or 0
    for anomaly in detail["anomalies"]:
        match anomaly:
            case "VOLUME_DROP" if detail["outcome"] == "SUCCEEDED_EMPTY":
                yield f"usually {usual:,}"
            case "VOLUME_DROP" | "VOLUME_SPIKE":
                yield f"{anomaly.replace('_', ' ')}, {count:,} profiles (usually {usual:,})"
            case "SLOW":
                took, usually = span(detail["durationMs"]), span(detail["usualDurationMs"])
                yield f"SLOW, {took} (usually {usually})"
            case _:  # a newer version knows it
                yield quote(str(anomaly).replace("_", " "))


def request_retried(detail: Detail, quote: Quote) -> str:
    number = detail["tryNumber"]
    which = f"try {number} of {number + detail['triesLeft']}"
    job = f"job {quote(detail['jobId'])} {_HAPPENED.get(detail['jobOutcome'], 'ended badly')}"
    at = f" at {quote(detail['retryAt'][11:16])} UTC" if detail["retryAt"] else ""
    return f"Export request {quote(detail['requestKey'])} will be retried ({which}){at}: {job}"


def job_delayed(detail: Detail, quote: Quote) -> str:
    running = span(detail["durationMs"])
    return f"Export job {quote(detail['jobId'])} is DELAYED: running for {running}"


def overdue(detail: Detail, quote: Quote) -> str:
    return f"Expected export {quote(detail['expectation'])} is OVERDUE: {why_overdue(detail)}"


def overdue_resolved(detail: Detail, quote: Quote) -> str:
    late = span(detail["lateByMs"])
    return f"Expected export {quote(detail['expectation'])} has succeeded, {late} late"


def why_overdue(detail: Detail) -> str:
    """The reason why an expected export is overdue."""
    match detail["reason"]:
        case "NEVER_STARTED":
            return "no job was created"
        case "STILL_RUNNING":
            return "it was still running at its deadline"
        case "FAILED":
            return "its job did not succeed"
        case "EMPTY":
            return "it exported 0 PROFILES"
        case "TOO_FEW":
            return "it exported TOO FEW profiles"
        case _:  # a newer version knows it
            return "it has not succeeded"


def request_accepted(detail: Detail, quote: Quote) -> str:
    key, job = quote(detail["requestKey"]), quote(detail["jobId"] or "")
    match detail["outcome"]:
        case "CREATED":
            after = ", after it was rejected" if detail["rejectedBefore"] else ""
            which = f" (try {detail['tryNumber']})" if detail["tryNumber"] > 1 else ""
            return f"Export request {key} was accepted as job {job}{which}{after}"
        case "CANCELLING":
            return f"Export job {job} is being cancelled by request {key}"
        case "CANCELLED":
            return f"Request {key} cancelled an export before {_it_had_a_job(detail)}"
        case _:
            what = f"export job {job} had ended" if detail["jobId"] else "the export had ended"
            return f"Request {key} had nothing to cancel: {what}"


def request_rejected(detail: Detail, quote: Quote) -> str:
    key = quote(detail["requestKey"])
    if detail["outcome"] == "CANCELLED":
        return f"Export request {key} was cancelled before {_it_had_a_job(detail)}"
    return f"Export request {key} was REJECTED ({detail['outcome']})"


def _it_had_a_job(detail: Detail) -> str:
    return f"its try {detail['tryNumber']}" if detail["tryNumber"] > 1 else "it had a job"


# -- facts ---------------------------------------------------------------------------------------


def job_facts(detail: Detail, names: Names) -> Iterator[Fact]:
    """The facts, the most useful first; the value of an unknown one is empty."""
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", _dataset(detail, names)
    yield "Segments", _segments(detail, names)
    yield "Status", _status(detail)
    yield "Created", moment(detail["createdAt"])
    changed = "Ended" if detail["final"] and detail["outcome"] != "VANISHED" else "Last change"
    yield changed, moment(detail["updatedAt"])
    yield (
        "Took" if detail["final"] else "Running for",
        compared_span(detail["durationMs"], detail["usualDurationMs"]),
    )
    yield "Limit", _limit(detail)
    yield (
        "Profiles exported",
        compared_profiles(
            detail["profilesExported"],
            detail["usualProfilesExported"],
            is_unknown=bool(detail["profilesUnknown"]),
        ),
    )
    yield "Compared with", compared_with(detail)
    yield "First error", _first_error(detail)
    yield "Request", detail["requestKey"] or ""
    yield "Try", _try(detail)
    yield "Next try", moment(detail["retryAt"])
    yield "Not retried", _WHY_NOT_RETRIED.get(detail["notRetried"] or "", "")
    yield "Duplicate of request", detail.get("duplicateOfRequest") or ""
    yield "Correlation id", detail["correlationId"] or ""


def overdue_facts(detail: Detail, names: Names) -> Iterator[Fact]:
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", _dataset(detail, names)
    yield "Due", _deadline(detail)
    yield "Jobs count from", moment(detail["window"].get("opensAt"))
    for job in detail["jobs"][:MAX_JOBS_SHOWN]:
        yield "Job", _considered(job)
    if len(detail["jobs"]) > MAX_JOBS_SHOWN:
        yield "More jobs", str(len(detail["jobs"]) - MAX_JOBS_SHOWN)
    if detail["reason"] == "TOO_FEW":
        yield "Profiles expected", f"at least {detail['minProfiles']:,}"
        yield "Compared with usual", _least_by_usual(detail)
    yield "Last succeeded", moment(detail["lastGoodAt"]) or "never, as far as is known"
    yield "Missed in a row", _missed_in_a_row(detail)
    if detail["judgedLateMs"]:
        late = span(detail["judgedLateMs"])
        yield "Announced late", f"{late} after the deadline: it could not be judged earlier"
    if detail["unreadableJobs"]:
        yield (
            "Unreadable jobs",
            f"{detail['unreadableJobs']}: one of them may be the expected export",
        )


def _least_by_usual(detail: Detail) -> str:
    drop, usual = detail["maxDrop"], detail["usualProfilesExported"]
    if drop is None or usual is None:
        return ""
    return f"at most {drop:.0%} fewer than the usual {usual:,}"


def overdue_resolved_facts(detail: Detail, names: Names) -> Iterator[Fact]:
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", _dataset(detail, names)
    yield "Due", _deadline(detail)
    yield "Succeeded", moment(detail["succeededAt"])
    yield "Job", detail["jobId"]
    profiles = detail["profilesExported"]
    yield "Profiles exported", "" if profiles is None else f"{profiles:,}"
    yield "Missed in a row", _missed_in_a_row(detail)


def _deadline(detail: Detail) -> str:
    """`2026-01-31 06:00 Europe/Rome (05:00 UTC)`."""
    window = detail["window"]
    if not window.get("dueLocal") or not window.get("dueAt"):
        return ""
    zone = window.get("timezone")
    local = f"{window['dueLocal'][:10]} {window['dueLocal'][11:16]} {zone}"
    return local if zone == "UTC" else f"{local} ({window['dueAt'][11:16]} UTC)"


def _considered(job: Mapping[str, Any]) -> str:
    count = job.get("profilesExported")
    profiles = "" if count is None else f", {count:,} profiles"
    outcome = job.get("outcome")
    ended = f" ({outcome})" if outcome not in {None, "IN_PROGRESS", job.get("status")} else ""
    return f"{job.get('jobId')}: {job.get('status') or 'NEW'}{ended}{profiles}"


def _missed_in_a_row(detail: Detail) -> str:
    missed = detail["missedWindows"]
    if not isinstance(missed, int) or missed < 2:
        return ""
    return f"{missed}, since {moment(detail['overdueSince'])}"


def request_facts(detail: Detail, names: Names) -> Iterator[Fact]:
    yield "Sandbox", detail["sandboxName"] or ""
    yield "Dataset", _dataset(detail, names)
    yield "Job", detail["jobId"] or ""
    if not detail["problems"]:
        yield "Reason", detail["reason"] or ""
    for problem in detail["problems"]:
        yield "Wrong field", f"{problem['field']}: {problem['message']}"
    yield "Correlation id", detail["correlationId"] or ""


def request_retried_facts(detail: Detail, names: Names) -> Iterator[Fact]:
    yield "Sandbox", detail["sandboxName"]
    yield "Dataset", _dataset(detail, names)
    yield "Job", detail["jobId"]
    yield "First error", _error(detail["error"]) if detail["error"] else ""
    yield "Next try", moment(detail["retryAt"])
    yield "Tries left", f"{detail['triesLeft']} after that"
    yield "Expires", moment(detail["expiresAt"])
    yield "Correlation id", detail["correlationId"] or ""


def _try(detail: Detail) -> str:
    """`2 of 3`, or `2` for the last one; empty for the only try of a request."""
    number, left = detail["tryNumber"] or 1, detail["triesLeft"]
    if left:
        return f"{number} of {number + left}"
    return str(number) if number > 1 else ""


def _dataset(detail: Detail, names: Names) -> str:
    dataset_id = detail["datasetId"]
    return names.dataset(dataset_id) if dataset_id else ""


def _segments(detail: Detail, names: Names) -> str:
    """A few of the segments, if any has a name: ids alone tell a reader nothing."""
    listed = [segment["segmentId"] for segment in detail["segments"] if segment.get("segmentId")]
    if not any(segment_id in names.segments for segment_id in listed):
        return ""
    shown = names.few_segments(listed, MAX_SEGMENTS_SHOWN)
    more = len(detail["segments"]) - len(shown)
    if "segments" in detail["truncated"]:
        return f"{', '.join(shown)} and more than {more} others"
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _status(detail: Detail) -> str:
    status, before = str(detail["status"]), detail["previousStatus"]
    if detail["outcome"] == "VANISHED":
        status += " (the service no longer knows it)"
    return f"{status}, previously {before}" if before and before != detail["status"] else status


def moment(time: str | None) -> str:
    """`2026-01-31T00:00:00.000Z` as `2026-01-31 00:00 UTC`."""
    return f"{time[:10]} {time[11:16]} UTC" if time else ""


def compared_span(took_ms: int | None, usual_ms: int | None) -> str:
    """How long a job took or has been running, and how long is usual."""
    took, usual = span(took_ms), span(usual_ms)
    return f"{took} (usually {usual})" if took and usual else took


def compared_profiles(count: int | None, usual: int | None, *, is_unknown: bool) -> str:
    """How many profiles a job has exported, and how many are usual.

    `is_unknown`: it has exported some, and the service does not show how many.
    """
    if count is None and not is_unknown:
        return ""
    shown = "unknown: the service shows no number" if count is None else f"{count:,}"
    return shown if usual is None else f"{shown} (usually {usual:,})"


def compared_with(detail: Detail) -> str:
    """What an unusual job was compared with, and whether it is usual from now on."""
    if not detail["anomalies"] or detail["baselineRuns"] is None:
        return ""
    runs = f"{detail['baselineRuns']:,} runs of the same kind"
    if detail["newUsual"]:
        return f"{runs}; as this is the third such run in a row, it is usual from now on"
    return runs


def _limit(detail: Detail) -> str:
    limit = span(detail["delayLimitMs"])
    by_usual = detail["delayLimitBasis"] == "USUAL" and detail["usualDurationMs"]
    return (
        f"{limit}, because it usually takes {span(detail['usualDurationMs'])}"
        if by_usual
        else limit
    )


def _first_error(detail: Detail) -> str:
    if not detail["errors"]:
        return ""
    error, more = detail["errors"][0], len(detail["errors"]) - 1
    others = f", and {more} more" if more else ""
    return f"{_error(error)}{others}"


def _error(error: Mapping[str, Any]) -> str:
    return error_text(error.get("message"), error.get("code"))


def error_text(message: str | None, code: str | None) -> str:
    """An error of a job: its message, and its code if it has one."""
    shown_code = f" (code {code})" if code else ""
    return f"{message or 'no message'}{shown_code}"


# -- in a line -----------------------------------------------------------------------------------


def job_in_brief(detail: Detail) -> str:
    """What a job's headline leaves out, for a line in a terminal."""
    if detail["errors"]:
        return _first_error(detail)
    if detail["anomalies"]:
        return ""
    if detail["final"] and detail["profilesExported"] is not None:
        return f"{detail['profilesExported']:,} profiles in {span(detail['durationMs'])}"
    before = detail["previousStatus"]
    return f"was {before}" if before and before != detail["status"] else ""


def overdue_in_brief(detail: Detail) -> str:
    return f"was due {_deadline(detail)}"


def overdue_resolved_in_brief(detail: Detail) -> str:
    return f"by job {detail['jobId']}"


def request_retried_in_brief(detail: Detail) -> str:
    return _error(detail["error"]) if detail["error"] else ""


def request_in_brief(detail: Detail) -> str:
    return detail["reason"] or ""


# -- next steps ----------------------------------------------------------------------------------


def command_line(
    command: str,
    *values: str,
    sandbox: str | None = None,
    stack: str | None = None,
    profile: str | None = None,
    region: str | None = None,
) -> str:
    """A command of `export-jobs` with its arguments, quoted for a POSIX shell.

    If the command ends with an option, the first value is that option's.
    """
    arguments = [one_line(value) for value in values]
    given = {"sandbox": sandbox, "stack": stack, "profile": profile, "region": region}
    options = [
        word for name, value in given.items() if value for word in (f"--{name}", one_line(value))
    ]
    words = ["export-jobs", *command.split()]
    if words[-1].startswith("-") or not any(value.startswith("-") for value in arguments):
        words += [*arguments, *options]
    else:
        words += [*options, "--", *arguments]  # otherwise it would be taken for an option
    return shlex.join(words)


def look_at_job(detail: Detail, stack: str | None) -> str:
    """The command that shows the job, or all jobs if the event has none."""
    if not detail.get("jobId"):
        return command_line("job list", stack=stack)
    return command_line("job show", detail["jobId"], sandbox=detail["sandboxName"], stack=stack)


def look_at_request(detail: Detail, stack: str | None) -> str:
    return command_line("request show", detail["requestKey"], stack=stack)


def look_at_rejection(detail: Detail, stack: str | None) -> str:
    """The command that shows the dead letter, or the request if it was cancelled."""
    what = "request show" if detail["outcome"] == "CANCELLED" else "dlq show"
    return command_line(what, detail["requestKey"], stack=stack)


def look_at_expectation(detail: Detail, stack: str | None) -> str:
    name, sandbox = detail["expectation"], detail["sandboxName"]
    return command_line("expectation show", name, sandbox=sandbox, stack=stack)
