"""The texts of the daily digest for people, as `wording` has those of the other events.

However much there is to say, an e-mail has forty lines at most: each list shows its first entries,
and how many more there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from export_jobs.contract.text import one_line
from export_jobs.events.wording import (
    MAX_SUBJECT,
    Detail,
    Fact,
    Quote,
    command_line,
    moment,
    span,
    unusual,
    why_overdue,
)
from export_jobs.model.names import Names
from export_jobs.model.outcome import BAD_OUTCOMES

Entry = Mapping[str, Any]

MAX_SHOWN = 3
"""Entries that are shown of what is overdue, and of what has failed."""
MAX_UNUSUAL = 2
MAX_SLOWEST = 1
MAX_FAILING = 2
MAX_NOT_EXPECTED = 2
_LABELS = {
    "SUCCEEDED": "Succeeded",
    "SUCCEEDED_WITH_ERRORS": "With errors",
    "SUCCEEDED_EMPTY": "No profiles",
    "FAILED": "Failed",
    "CANCELLED": "Cancelled",
    "VANISHED": "Vanished",
}


def headline(detail: Detail, quote: Quote) -> str:  # noqa: ARG001  nothing in it is from outside
    """`Export digest: 41 ended, 3 BADLY; 2 OVERDUE; 1 waiting`."""
    badly = _ended_badly(detail)
    ended = _number(detail["exports"]) or "no export"
    parts = [f"{ended} ended" + (f", {badly:,} BADLY" if badly else "")]
    if detail["unusualExports"]:
        parts.append(f"{detail['unusualExports']:,} UNUSUAL")
    if detail["overdueExports"]:
        parts.append(f"{detail['overdueExports']:,} OVERDUE")
    waiting = [f"{detail['waitingRequests']:,} waiting"] if detail["waitingRequests"] else []
    failing = []
    if detail["failingSandboxes"]:
        failing = [f"sweeps FAIL in {_count(detail['failingSandboxes'], 'sandbox', 'es')}"]
    if [*parts, *waiting, *failing] == ["no export ended"]:
        parts.append("nothing is overdue or waiting")
    whole = f"Export digest: {'; '.join([*parts, *waiting, *failing])}"
    short = f"Export digest: {'; '.join([*parts, *failing])}"
    # Waiting requests are left out first: a line below has them.
    return whole if len(whole) <= MAX_SUBJECT else short


def is_bad_news(detail: Detail) -> bool:
    troubles = ("unusualExports", "overdueExports", "failingSandboxes")
    return bool(_ended_badly(detail) or any(detail[name] for name in troubles))


def in_brief(detail: Detail) -> str:
    return f"since {moment(detail['since'])}"


def facts(detail: Detail, names: Names) -> Iterator[Fact]:
    part = "; incomplete: there was no time to read all" if "exports" in detail["truncated"] else ""
    yield "Period", f"{moment(detail['since'])} to {moment(detail['until'])}{part}"
    if detail["coversDays"] > 1:
        yield "Covers", f"{detail['coversDays']} days: no digest was sent in between"
    failing = [one for one in detail["sandboxes"] if one.get("failingSince")]
    total = detail["failingSandboxes"]
    yield from _few("Sweeps failing", map(_failing, failing[:MAX_FAILING]), total=total)
    total = detail["overdueExports"]
    yield from _few("Overdue", map(_overdue, detail["overdue"][:MAX_SHOWN]), total=total)
    total = detail["failedDatasets"]
    failures = [_failures(one, names) for one in detail["failures"][:MAX_SHOWN]]
    yield from _few("Ended badly", failures, total=total)
    shown = [_unusual(one, names) for one in detail["unusual"][:MAX_UNUSUAL]]
    yield from _few("Unusual", shown, total=detail["unusualExports"])
    counts = {one.get("outcome"): one.get("exports", 0) for one in detail["outcomes"]}
    for outcome, label in _LABELS.items():
        yield label, _number(counts.get(outcome, 0))
    yield (
        "Other outcomes",
        _number(sum(n for outcome, n in counts.items() if outcome not in _LABELS)),
    )
    yield "Open now", _number(detail["openJobs"])
    yield "Waiting now", _waiting(detail)
    for slow in detail["slowest"][:MAX_SLOWEST]:
        yield "Slowest", f"{span(slow.get('durationMs'))}: job {_job(slow, names)}"
    regular = [_regular(one, names) for one in detail["notExpected"][:MAX_NOT_EXPECTED]]
    yield from _few("No expectation", regular, total=detail["notExpectedDatasets"])


def steps(detail: Detail, stack: str | None) -> list[str]:
    """The commands that show more, the most urgent first; at least one."""
    found = []
    if detail["failingSandboxes"]:
        found.append("doctor")
    if detail["overdueExports"]:
        found.append("expectation list")
    bad = [one.get("outcome") for one in detail["outcomes"] if one.get("outcome") in BAD_OUTCOMES]
    if bad:
        found.append(f"job list --outcome {min(bad)}")
    if detail["unusualExports"]:
        found.append("job list")
    if detail["waitingRequests"]:
        found.append("request list")
    if detail["notExpectedDatasets"]:
        found.append("expectation suggest")
    return [command_line(command, stack=stack) for command in found or ["job list"]]


def _few(name: str, shown: Iterable[str], *, total: int) -> Iterator[Fact]:
    """The first entries, and how many more there are in all."""
    for text in shown:
        total -= 1
        yield name, text
    if total > 0:
        yield name, f"and {total:,} more"


def _failing(sandbox: Entry) -> str:
    return f"{sandbox.get('sandboxName')}, since {moment(sandbox.get('failingSince'))}"


def _overdue(export: Entry) -> str:
    since = moment(export.get("overdueSince"))
    why = why_overdue({"reason": export.get("reason")})
    return f"{export.get('expectation')} [{export.get('sandboxName')}], since {since}: {why}"


def _failures(failures: Entry, names: Names) -> str:
    error = failures.get("error") or {}
    said = error.get("message") or error.get("code")
    dataset = names.dataset(failures["datasetId"]) if failures.get("datasetId") else "no dataset"
    last = f"job {failures.get('jobId')} {failures.get('outcome')}"
    where = f"{dataset} [{failures.get('sandboxName')}]"
    return f"{failures.get('exports')} into {where}; {last}" + (f": {said}" if said else "")


def _unusual(export: Entry, names: Names) -> str:
    numbers = ("profilesExported", "usualProfilesExported", "durationMs", "usualDurationMs")
    detail = {name: export.get(name) for name in numbers}
    detail |= {"anomalies": export.get("anomalies") or [], "outcome": None}  # it is said elsewhere
    return f"{'; '.join(unusual(detail, one_line))}: job {_job(export, names)}"


def _job(export: Entry, names: Names) -> str:
    into = f" into {names.dataset(export['datasetId'])}" if export.get("datasetId") else ""
    return f"{export.get('jobId')}{into} [{export.get('sandboxName')}]"


def _regular(exports: Entry, names: Names) -> str:
    dataset = names.dataset(exports.get("datasetId") or "")
    return f"{dataset} [{exports.get('sandboxName')}] has regular exports"


def _waiting(detail: Detail) -> str:
    if not detail["waitingRequests"]:
        return ""
    since = f", the first since {moment(detail['waitingSince'])}" if detail["waitingSince"] else ""
    return f"{_count(detail['waitingRequests'], 'request')}{since}"


def _ended_badly(detail: Detail) -> int:
    counts: Sequence[Entry] = detail["outcomes"]
    return sum(one.get("exports", 0) for one in counts if one.get("outcome") in BAD_OUTCOMES)


def _number(number: int) -> str:
    """Empty for none, so that the line is left out."""
    return f"{number:,}" if number else ""


def _count(number: int, thing: str, plural: str = "s") -> str:
    return f"{number:,} {thing}{'' if number == 1 else plural}"
