"""Finds the job that an attempt created, if the response was lost. No I/O and no clock of its own.

Our own `x-request-id` decides if the service shows it as the job's `requestId`. Otherwise the
content decides: what the job exports, field by field. A field that the service does not show is no
contradiction; a field that differs is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from export_jobs.contract.times import parse_rfc3339
from export_jobs.model.limits import CALL_MS, CLOCKS_MS, HOLDS_ANSWER_MS, SHOWS_MS
from export_jobs.model.records import Attempt, LinkedBy

if TYPE_CHECKING:
    from export_jobs.contract import Job

REQUEST_ID_PREFIX = "export-jobs-"
"""The prefix of every `x-request-id` that we send with a create call."""
RULE = 1
"""The version of the rule that makes `hashes`. Hashes of different rules can't be compared."""

NOT_COMPARED = frozenset({"evaluationInfo.segmentation"})
"""Fields of a create request that have no hash, because the service does not show them."""

_ABSENT = object()


def hashes_of_request(body: Mapping[str, Any]) -> dict[str, str]:
    """A short hash of each field of a create request, including the fields that it leaves out.

    `body` is the body of the POST. A merge policy or a version that is left out has none, because
    the service fills it in; NOT_COMPARED fields never have one.
    """
    asked = {
        name: value if value is not _ABSENT else _DEFAULTS[name]
        for name, value in _contents(body).items()
        if value is not _ABSENT or name in _DEFAULTS
    }
    return {name: _short_hash(value) for name, value in asked.items()}


def hashes_of_job(job: Job) -> dict[str, str]:
    """The same hashes of a job, for the fields that the service shows."""
    return {name: _short_hash(value) for name, value in contents_of(job).items()}


def contents_of(job: Job) -> dict[str, Any]:
    """What a job exports, by name, in a normal form, as far as the service shows it."""
    contents = _contents(_as_shown(job))
    return {name: value for name, value in contents.items() if value is not _ABSENT}


def _as_shown(value: Any) -> Any:
    """A model as the service showed it. Unknown fields are not copied: they may be nested deeply."""
    if isinstance(value, list):
        return [_as_shown(entry) for entry in value]
    if not isinstance(value, BaseModel):
        return value
    fields = type(value).model_fields
    known = {
        fields[name].alias or name: _as_shown(getattr(value, name))
        for name in value.model_fields_set
        if name in fields
    }
    return {**(value.model_extra or {}), **known}


@dataclass(frozen=True)
class Candidate:
    """A job that is not known to belong to a request.

    It was created between `created_at` and `created_until`: the same moment if the job shows it,
    otherwise between its neighbours in the listing. `whole` means that it was looked up by its id,
    so the service shows no more of it.
    """

    job: Job
    created_at: int
    created_until: int = 0
    whole: bool = False

    def __post_init__(self) -> None:
        if self.created_until < self.created_at:
            object.__setattr__(self, "created_until", self.created_at)


@dataclass(frozen=True)
class Match:
    attempt: Attempt
    job: Job
    linked_by: LinkedBy


@dataclass
class Matches:
    """The result of looking for the jobs of attempts."""

    found: list[Match] = field(default_factory=list)
    undecided: set[str] = field(default_factory=set)
    """Jobs that an attempt may have created; it is too early to decide."""
    to_look_up: set[str] = field(default_factory=set)
    """Jobs of which the listing shows too little; undecided until they are looked up."""
    open: set[str] = field(default_factory=set)
    """Request ids of attempts that may have created an undecided job, so must not be given up."""

    def leave(self, attempt: Attempt, candidates: Iterable[Candidate]) -> None:
        """Leaves it undecided whether the attempt created one of these."""
        ids = {candidate.job.id for candidate in candidates}
        self.undecided |= ids
        if ids:
            self.open.add(attempt.request_id)


def match(
    attempts: Sequence[Attempt],
    candidates: Iterable[Candidate],
    *,
    echoes: bool | None,
    now: int,
) -> Matches:
    """Finds the job of each attempt, as far as it can be decided by now.

    Of several jobs that match by content, the earliest created after the attempt is taken; each job
    goes to one attempt. A job that may belong to a still undecided attempt is left to that one.
    """
    matches = Matches()
    left = sorted(candidates, key=lambda candidate: (candidate.created_at, candidate.job.id))
    todo = []
    for attempt in sorted(attempts, key=lambda attempt: (attempt.noted_at, attempt.request_key)):
        echoed = next((c for c in left if c.job.request_id == attempt.request_id), None)
        if echoed:
            left.remove(echoed)
            matches.found.append(Match(attempt, echoed.job, "requestId"))
        else:
            todo.append(attempt)
    ready = []
    for attempt in todo:
        mine = [
            c
            for c in left
            if _may_have_made(attempt, c, echoes=echoes)
            and not (c.whole and not _shows_enough(attempt, c))
        ]
        too_little = {
            c.job.id
            for c in mine
            if not c.whole and not (_shows_enough(attempt, c) and (c.job.request_id or not echoes))
        }
        matches.to_look_up |= too_little
        if too_little or now < attempt.noted_at + HOLDS_ANSWER_MS:
            matches.leave(attempt, mine)
        else:
            ready.append((attempt, mine))
    for attempt, mine in ready:
        settled = [c for c in mine if c in left]
        if not settled:
            continue
        best = _likeliest(attempt, settled)
        if best.job.id in matches.undecided:
            matches.leave(attempt, settled)
        else:
            left.remove(best)
            matches.found.append(Match(attempt, best.job, "content"))
    return matches


def created_within(attempt: Attempt) -> tuple[int, int]:
    """The earliest and the latest creation time of a job that the attempt can have created."""
    return attempt.noted_at - CLOCKS_MS, attempt.send_by + CALL_MS + SHOWS_MS


def gives_up_from(attempt: Attempt) -> int:
    """The time from which a listing without the attempt's job shows that there is none."""
    return attempt.send_by + CALL_MS + SHOWS_MS + CLOCKS_MS


def _may_have_made(attempt: Attempt, candidate: Candidate, *, echoes: bool | None) -> bool:
    """Whether nothing that the service shows of the job rules out the attempt."""
    job = candidate.job
    if attempt.rule != RULE:
        return False
    if job.request_id and (echoes or job.request_id.startswith(REQUEST_ID_PREFIX)):
        return False  # the job shows the id of another call
    earliest, latest = created_within(attempt)
    if candidate.created_until < earliest or latest < candidate.created_at:
        return False
    shown = hashes_of_job(job)
    return all(shown.get(name, asked) == asked for name, asked in attempt.hashes.items())


def _likeliest(attempt: Attempt, candidates: Sequence[Candidate]) -> Candidate:
    """The earliest job created since the attempt, else possibly since, else within clock skew."""
    since = [c for c in candidates if c.created_at >= attempt.noted_at]
    perhaps = [c for c in candidates if c.created_until >= attempt.noted_at]
    return [*since, *perhaps, *candidates][0]


def _shows_enough(attempt: Attempt, candidate: Candidate) -> bool:
    """Whether the job shows enough to be matched with the attempt by content."""
    job = candidate.job
    shows_dataset = bool(job.destination and job.destination.dataset_id)
    shows_segments = bool(job.filter and job.filter.segments)
    asked_for_none = attempt.hashes.get("segments") == _short_hash(_DEFAULTS["segments"])
    return shows_dataset and (shows_segments or (candidate.whole and asked_for_none))


def _contents(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is exported, by name, in a normal form; `_ABSENT` for what is not given."""
    destination = _mapping(body.get("destination"))
    selection = _mapping(body.get("filter"))
    qualified = _mapping(selection.get("segmentQualificationTime"))
    events = _mapping(_mapping(body.get("additionalFields")).get("eventList"))
    ingested = _mapping(events.get("filter"))
    policy = _mapping(body.get("mergePolicy"))
    dataset = destination.get("datasetId") or destination.get("dataSetId")
    return {
        "dataset": _or_absent(dataset),
        "segmentPerBatch": _or_absent(destination.get("segmentPerBatch"), _flag),
        "schema": _or_absent(_mapping(body.get("schema")).get("name")),
        "fields": _or_absent(body.get("fields"), _names),
        "segments": _or_absent(selection.get("segments") or None, _segments),
        "qualifiedFrom": _or_absent(qualified.get("startTime"), _moment),
        "qualifiedTo": _or_absent(qualified.get("endTime"), _moment),
        "ingestedSince": _or_absent(selection.get("fromIngestTimestamp"), _moment),
        "emptyProfiles": _or_absent(selection.get("emptyProfiles"), _flag),
        "eventFields": _or_absent(events.get("fields"), _names),
        "eventsFrom": _or_absent(ingested.get("fromIngestTimestamp"), _moment),
        "eventsTo": _or_absent(ingested.get("toIngestTimestamp"), _moment),
        "mergePolicy": _or_absent(policy.get("id"), str),
        "mergePolicyVersion": _or_absent(policy.get("version"), str),
    }


_DEFAULTS: Mapping[str, Any] = {
    "dataset": None,
    "segmentPerBatch": False,
    "schema": None,
    "fields": [],
    "segments": [],
    "qualifiedFrom": None,
    "qualifiedTo": None,
    "ingestedSince": None,
    "emptyProfiles": False,
    "eventFields": [],
    "eventsFrom": None,
    "eventsTo": None,
}
"""The value that a field of a request has if it is left out."""


def _short_hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _or_absent(value: Any, form: Any = str) -> Any:
    """The value in its normal form; `_ABSENT` if it has none, as if it were not shown."""
    if value is None or (form is not _names and value == ""):
        return _ABSENT
    return form(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else _ABSENT


def _moment(value: Any) -> Any:
    """The same value for the same time, in any notation, or in epoch milliseconds.

    Not `epoch_ms_of`: this is a millisecond less for some times, such as many of the year 2004, and
    to correct that would need another RULE.
    """
    if isinstance(value, int):
        return value
    try:
        return int(parse_rfc3339(str(value)).timestamp() * 1000)
    except ValueError:
        return _ABSENT


def _names(value: Any) -> list[str]:
    names = value if isinstance(value, list) else str(value).split(",")
    return sorted(str(name).strip() for name in names if str(name).strip())


def _segments(value: Any) -> Any:
    segments = [_mapping(segment) for segment in value]
    if not all(segment.get("segmentId") for segment in segments):
        return _ABSENT  # which one it is can't be read
    return sorted(_segment(segment) for segment in segments)


def _segment(segment: Mapping[str, Any]) -> list[Any]:
    statuses = segment.get("status") or ["realized"]
    statuses = [statuses] if isinstance(statuses, str) else statuses
    return [
        str(segment.get("segmentNs") or "ups"),
        str(segment.get("segmentId")),
        sorted(str(status) for status in statuses),
    ]
