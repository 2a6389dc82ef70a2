"""A page of the listing: of each job what a sweep compares, and the whole job when it is asked for.

Most listed jobs have not changed, so neither their models are loaded (`contract.job`) nor their
other fields read. A header is read here if it has the plain form that the service writes; any other
spelling is read by the model, which alone decides what can be read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from pydantic import ValidationError

from export_jobs.contract.statuses import FINAL_STATUSES

if TYPE_CHECKING:
    from export_jobs.contract.job import Job

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PLAIN_NUMBERS: Final = range(10**14)
"""Every number of an id, and every time in epoch milliseconds, that is read without the model."""
_NAMES_OF_THE_MODEL: Final = frozenset({"creation_time", "update_time"})
"""The model reads these, too, for a field that has another name in the service's answers."""
_CURSOR: Final = re.compile(r"([0-9]{13})_.+")
"""A cursor: creation time and id of a page's last record. Only epoch times have thirteen digits."""


@dataclass(slots=True, eq=False)
class JobHeader:
    """What a sweep compares of a job; `whole` is the job itself.

    `creation_time` and `update_time` are epoch milliseconds of the service's clock.
    """

    id: str
    status: str
    creation_time: int | None
    update_time: int | None
    _shown: Any
    """The job, or the record of the answer that it is read from."""

    @classmethod
    def of(cls, job: Job) -> JobHeader:
        return cls(job.id, job.status, job.creation_time, job.update_time, job)

    @classmethod
    def read(cls, record: Any) -> JobHeader:
        """Raises pydantic's ValidationError if the record can't be read as a job."""
        return _read_plain(record) or cls.of(_job_in(record))

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUSES

    @property
    def whole(self) -> Job:
        """The whole job, read once."""
        if isinstance(self._shown, dict):
            self._shown = _job_in(self._shown)
        job: Job = self._shown
        return job


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first."""

    records: tuple[JobHeader, ...]
    next_link: str | None = None
    """As the service returned it; None on the last page."""
    next_cursor: str | None = None
    """The `offset` of the next page, if the client has found the link safe to follow."""
    unreadable: int = 0
    """Records without a readable `id` and `status`: skipped, counted by a metric and logged."""
    unreadable_fields: frozenset[str] = frozenset()
    """The fields that made those records unreadable."""

    @classmethod
    def from_answer(cls, body: Any) -> JobPage:
        """Reads a decoded body. Raises ValueError if it is not a page."""
        if not isinstance(body, dict) or not isinstance(records := body.get("records"), list):
            raise ValueError("a page has records")  # noqa: TRY004  what is received, not a type
        next_link = _next_link(body.get("link"))
        jobs = []
        at_fault: set[str] = set()
        for record in records:
            try:
                jobs.append(JobHeader.read(record))
            except ValidationError as error:
                places = [found["loc"] for found in error.errors()]
                at_fault |= {str(place[0]) if place else "the record" for place in places}
        return cls(
            records=tuple(jobs),
            next_link=next_link,
            unreadable=len(records) - len(jobs),
            unreadable_fields=frozenset(at_fault),
        )

    @property
    def oldest(self) -> int | None:
        """How far back the page reaches: the creation time of its last record, epoch milliseconds.

        If that record has none, it is the oldest of the other records' times and of the time in the
        next page's cursor (`{creationTime}_{id}`). None if there is no time at all.
        """
        times = [job.creation_time or None for job in self.records]
        if times and times[-1]:
            return times[-1]
        shown = [time for time in times if time]
        cursor = _CURSOR.fullmatch(self.next_cursor or "")
        return min([*shown, int(cursor[1])] if cursor else shown, default=None)

    def continuing_at(self, cursor: str | None) -> JobPage:
        return replace(self, next_cursor=cursor)


def _read_plain(record: Any) -> JobHeader | None:
    """The header of a record in the plain form; None if only the model can tell."""
    if type(record) is not dict or not _NAMES_OF_THE_MODEL.isdisjoint(record):
        return None
    job_id, status = record.get("id"), record.get("status")
    created, updated = record.get("creationTime"), record.get("updateTime")
    if _is_plain_number(job_id):
        job_id = str(job_id)
    if not (_is_plain_name(job_id) and _is_plain_name(status)):
        return None
    if not (_is_plain_time(created) and _is_plain_time(updated)):
        return None
    return JobHeader(job_id, status, created, updated, record)


def _is_plain_name(value: object) -> TypeGuard[str]:
    return type(value) is str and _PLAIN_NAME.fullmatch(value) is not None


def _is_plain_time(value: object) -> TypeGuard[int | None]:
    return value is None or _is_plain_number(value)


def _is_plain_number(value: object) -> bool:
    return type(value) is int and value in _PLAIN_NUMBERS  # true and false are other types


def _job_in(record: Any) -> Job:
    from export_jobs.contract.job import Job  # noqa: PLC0415  not for what has not changed

    return Job.model_validate(record)


def _next_link(link: Any) -> str | None:
    """The next page's link. One that can't be read is no last page: later jobs would be missed."""
    if link is None:
        return None
    if not isinstance(link, dict) or not isinstance(link.get("next"), str | None):
        raise ValueError("the link to the next page can't be read")  # noqa: TRY004  see above
    return link.get("next") or None
