"""The registry of event types, with everything that depends on the type.

To add a type, add it to `EventType`; mypy then reports where this registry lacks it.
CONTRIBUTING.md lists the steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, assert_never, get_args, get_origin

from pydantic import BaseModel

from export_jobs.events import digest_wording, wording
from export_jobs.events.details import (
    DigestDetail,
    JobEventDetail,
    OverdueDetail,
    OverdueResolvedDetail,
    RequestEventDetail,
    RequestRetriedDetail,
)
from export_jobs.events.wording import Detail, Fact, Quote
from export_jobs.model.names import Names
from export_jobs.model.outcome import BAD_OUTCOMES
from export_jobs.model.records import VANISHED, EventType, TopicEvents

_OfRequests = Literal[
    EventType.REQUEST_ACCEPTED, EventType.REQUEST_RETRIED, EventType.REQUEST_REJECTED
]
_BAD_STATUSES = frozenset({"FAILED", VANISHED})
"""Final statuses that are bad news; a job that has another one after them has come back."""


@dataclass(frozen=True)
class EventKind:
    """One type of event. The functions take its `detail`."""

    name: EventType
    model: type[BaseModel]
    """The model of its `detail`; source of docs/schemas and of EventBridge's schema registry."""
    when: str
    """When it is published, for the docs."""
    documented: str
    """The heading in docs/events.md under which its fields are explained."""
    thread: Callable[[Detail], str]
    """What it is about; a chat channel groups messages by thread."""
    headline: Callable[[Detail, Quote], str]
    facts: Callable[[Detail, Names], Iterator[Fact]]
    in_brief: Callable[[Detail], str]
    """What the headline leaves out, for a line in a terminal."""
    next_step: Callable[[Detail, str | None], str]
    """A command of `export-jobs` for a POSIX shell; also takes the name of the stack, if known."""
    level: Callable[[Detail], TopicEvents]
    """The narrowest level at which people get it. What resolves a problem is of the same level."""
    is_bad_news: Callable[[Detail], bool]
    more_steps: Callable[[Detail, str | None], Sequence[str]] = lambda _detail, _stack: ()
    """Further commands, after `next_step`."""
    for_machines: bool = True
    """Whether the bus gets it, too, or only the topic."""

    def whole(self, detail: Detail) -> Detail:
        """The detail with every field of its model, empty where another version left one out."""
        return {**_empty(self.model), **detail}


@cache
def _empty(model: type[BaseModel]) -> Detail:
    """Values that stand for missing fields, by their names in an event."""

    def empty(annotation: Any) -> Any:
        if type(None) in get_args(annotation):
            return None
        if get_origin(annotation) is list:
            return []
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return {}
        return annotation() if annotation in {bool, int} else "?"

    return {
        field.alias or name: empty(field.annotation) for name, field in model.model_fields.items()
    }


def kind_of(event_type: EventType) -> EventKind:
    match event_type:
        case EventType.JOB_STATE_CHANGE:
            return _JOB_STATE_CHANGE
        case EventType.JOB_DELAYED:
            return _JOB_DELAYED
        case EventType.OVERDUE:
            return _OVERDUE
        case EventType.OVERDUE_RESOLVED:
            return _OVERDUE_RESOLVED
        case EventType.DIGEST:
            return _DIGEST
        case _:
            return _kind_of_request(event_type)


def _kind_of_request(event_type: _OfRequests) -> EventKind:
    match event_type:
        case EventType.REQUEST_ACCEPTED:
            return _REQUEST_ACCEPTED
        case EventType.REQUEST_RETRIED:
            return _REQUEST_RETRIED
        case EventType.REQUEST_REJECTED:
            return _REQUEST_REJECTED
        case _:
            assert_never(event_type)


def kind_named(event_type: str) -> EventKind | None:
    """The same by detail-type; None for a type that only a newer version of this software has."""
    try:
        return kind_of(EventType(event_type))
    except ValueError:
        return None


def _about_job(detail: Detail) -> str:
    return f"job-{detail['jobId']}"


def _about_request(detail: Detail) -> str:
    return _about_job(detail) if detail["jobId"] else f"request-{detail['requestKey']}"


def _about_expectation(detail: Detail) -> str:
    return f"expectation-{detail['expectation']}"


def _always(_: Detail) -> bool:
    return True


def _about_the_stack(_: Detail) -> str:
    return "digest"


def _never(_: Detail) -> bool:
    return False


def _problem(_: Detail) -> TopicEvents:
    return "problems"


def _is_bad_end(detail: Detail) -> bool:
    return detail["outcome"] in BAD_OUTCOMES or bool(detail["anomalies"])


def _level_of_change(detail: Detail) -> TopicEvents:
    came_back = detail["previousStatus"] in _BAD_STATUSES
    resolves = detail["final"] and (detail["delayed"] or (detail["tryNumber"] or 1) > 1)
    if _is_bad_end(detail) or came_back or resolves:
        return "problems"
    return "notable" if detail["final"] else "all"


def _level_of_acceptance(detail: Detail) -> TopicEvents:
    return "problems" if detail["rejectedBefore"] else "all"


def _level_of_rejection(detail: Detail) -> TopicEvents:
    return "notable" if detail["outcome"] == "CANCELLED" else "problems"


_JOB_STATE_CHANGE = EventKind(
    EventType.JOB_STATE_CHANGE,
    JobEventDetail,
    when="a job was seen for the first time, changed its status, or vanished",
    documented="A job's events",
    thread=_about_job,
    headline=wording.job_changed,
    facts=wording.job_facts,
    in_brief=wording.job_in_brief,
    next_step=wording.look_at_job,
    level=_level_of_change,
    is_bad_news=_is_bad_end,
)
_JOB_DELAYED = EventKind(
    EventType.JOB_DELAYED,
    JobEventDetail,
    when="an open job is past its limit: once, then every repeat window, until it ends",
    documented="A job's events",
    thread=_about_job,
    headline=wording.job_delayed,
    facts=wording.job_facts,
    in_brief=wording.job_in_brief,
    next_step=wording.look_at_job,
    level=_problem,
    is_bad_news=_always,
)
_OVERDUE = EventKind(
    EventType.OVERDUE,
    OverdueDetail,
    when="an expected export has not succeeded by its deadline: once per window",
    documented="An expectation's events",
    thread=_about_expectation,
    headline=wording.overdue,
    facts=wording.overdue_facts,
    in_brief=wording.overdue_in_brief,
    next_step=wording.look_at_expectation,
    level=lambda detail: "all" if detail["repeated"] else "problems",
    is_bad_news=_always,
)
_OVERDUE_RESOLVED = EventKind(
    EventType.OVERDUE_RESOLVED,
    OverdueResolvedDetail,
    when="an overdue export has succeeded since",
    documented="An expectation's events",
    thread=_about_expectation,
    headline=wording.overdue_resolved,
    facts=wording.overdue_resolved_facts,
    in_brief=wording.overdue_resolved_in_brief,
    next_step=wording.look_at_expectation,
    level=_problem,
    is_bad_news=_never,
)
_REQUEST_ACCEPTED = EventKind(
    EventType.REQUEST_ACCEPTED,
    RequestEventDetail,
    when="a request's job was created (or found), or a cancel request was carried out",
    documented="A request's events",
    thread=_about_request,
    headline=wording.request_accepted,
    facts=wording.request_facts,
    in_brief=wording.request_in_brief,
    next_step=wording.look_at_job,
    level=_level_of_acceptance,
    is_bad_news=_never,
)
_REQUEST_RETRIED = EventKind(
    EventType.REQUEST_RETRIED,
    RequestRetriedDetail,
    when="a request's job ended in a way after which the request is tried again",
    documented="A request's events",
    thread=_about_job,
    headline=wording.request_retried,
    facts=wording.request_retried_facts,
    in_brief=wording.request_retried_in_brief,
    next_step=wording.look_at_request,
    level=lambda _: "all",  # the job's final event, which people get, says it, too
    is_bad_news=_never,
)
_REQUEST_REJECTED = EventKind(
    EventType.REQUEST_REJECTED,
    RequestEventDetail,
    when="a request can't be carried out, or was cancelled before it was; with the reason",
    documented="A request's events",
    thread=_about_request,
    headline=wording.request_rejected,
    facts=wording.request_facts,
    in_brief=wording.request_in_brief,
    next_step=wording.look_at_rejection,
    level=_level_of_rejection,
    is_bad_news=lambda detail: detail["outcome"] != "CANCELLED",
)
_DIGEST = EventKind(
    EventType.DIGEST,
    DigestDetail,
    when="once a day, if `DigestTime` is set: what ended, what is overdue or waiting; on the topic only",
    documented="The daily digest",
    thread=_about_the_stack,
    headline=digest_wording.headline,
    facts=digest_wording.facts,
    in_brief=digest_wording.in_brief,
    next_step=lambda detail, stack: digest_wording.steps(detail, stack)[0],
    more_steps=lambda detail, stack: digest_wording.steps(detail, stack)[1:],
    level=_problem,  # people have asked for it by `DigestTime`, whatever else they get
    is_bad_news=digest_wording.is_bad_news,
    for_machines=False,
)
