"""The service's schedules (`GET /config/schedules`): at which times it runs jobs by itself.

Read as leniently as jobs are: nothing is required of a schedule. Any field that is missing or
unreadable is `None`, and unknown fields are kept. Source: `docs/contract.md`. Only the command
reads schedules; the functions do not import this module.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BeforeValidator, Field, ValidationError

from export_jobs.contract.job import AnswerPart, Count, Identifier, Lenient


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _none_if_blank(value: Any) -> Any:
    return None if isinstance(value, str) and not value.strip() else value


Word = Annotated[str, BeforeValidator(_lower), Field(min_length=1, max_length=64)]
"""A word of the service's, in lower case."""
EpochSeconds = Annotated[Count, Field(lt=10**11)]
"""Seconds since 1970-01-01 UTC."""


class Sandbox(AnswerPart):
    """The sandbox that a schedule belongs to."""

    sandbox_id: Lenient[Identifier] = None
    sandbox_name: Lenient[Identifier] = None
    type: Lenient[str] = None
    default: Lenient[bool] = None


class Schedule(AnswerPart):
    """A schedule as the service returns it.

    `type` is `batch_segmentation` or `export`; `schedule` is a cron expression of Quartz, in UTC.
    What the `properties` of an `export` hold is not documented. `create_epoch` and `update_epoch`
    are epoch seconds of the service's clock.
    """

    id: Lenient[Identifier] = None
    name: Lenient[str] = None
    type: Lenient[Word] = None
    schedule: Lenient[str] = None
    state: Lenient[Word] = None
    properties: Any = None
    create_epoch: Lenient[EpochSeconds] = None
    update_epoch: Lenient[EpochSeconds] = None
    ims_org_id: Lenient[str] = None
    sandbox: Lenient[Sandbox] = None

    @property
    def is_active(self) -> bool:
        """Whether it runs; without a state it does not, as `inactive` is the service's default."""
        return self.state == "active"

    @property
    def exports(self) -> bool:
        """Whether it runs export jobs."""
        return self.type == "export"


class _PageInfo(AnswerPart):
    """The next page's start must be readable, if there is one: other schedules would be missed."""

    total_count: Lenient[Count] = None
    next: Annotated[Identifier | None, BeforeValidator(_none_if_blank)] = None


class _Link(AnswerPart):
    href: Lenient[str] = None


class _Links(AnswerPart):
    next: Lenient[_Link] = None


class _PageAnswer(AnswerPart):
    children: list[Any]
    page: _PageInfo | None = Field(default=None, alias="_page")
    links: Lenient[_Links] = Field(default=None, alias="_links")


@dataclass(frozen=True)
class ScheduleList:
    """Schedules of a sandbox."""

    schedules: tuple[Schedule, ...]
    total: int | None = None
    """How many schedules the sandbox has, by the service's count; None if it does not say."""
    unreadable: int = 0
    """Entries that are no schedule at all: skipped and counted."""


@dataclass(frozen=True)
class SchedulePage(ScheduleList):
    """A page of them."""

    next_start: str | None = None
    """The `start` of the next page; None on the last one."""

    @classmethod
    def from_answer(cls, body: Any) -> SchedulePage:
        """Reads a decoded body. Raises pydantic's ValidationError if it is not a page."""
        answer = _PageAnswer.model_validate(body)
        page = answer.page or _PageInfo()
        schedules = tuple(_readable(answer.children))
        return cls(
            schedules=schedules,
            total=page.total_count,
            unreadable=len(answer.children) - len(schedules),
            next_start=page.next or _start_of(answer.links),
        )


def _readable(entries: Iterable[Any]) -> Iterable[Schedule]:
    for entry in entries:
        try:
            yield Schedule.model_validate(entry)
        except ValidationError:
            continue


def _start_of(links: _Links | None) -> str | None:
    """The `start` in a link to the next page. The link itself is never followed."""
    href = (links and links.next and links.next.href) or ""
    try:
        starts = parse_qs(urlsplit(href).query).get("start", [])
    except ValueError:
        return None
    return starts[0] if len(starts) == 1 else None
