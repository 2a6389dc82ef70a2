"""The first half of a sweep: observes the jobs of a sandbox, in as few calls as possible."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from export_jobs.contract import JobHeader, JobPage
from export_jobs.contract.errors import NotFound, SegmentationError
from export_jobs.model.concurrently import each
from export_jobs.model.ports import JobApi
from export_jobs.model.records import JobRecord

if TYPE_CHECKING:
    from export_jobs.contract import Job


@dataclass(frozen=True)
class LookUp:
    """The result of asking for one job by its id: the job, a 404, or a problem."""

    job_id: str
    job: Job | None = None
    problem: str | None = None
    asked: bool = True
    """False if there was no time left for the call."""

    @property
    def is_missing(self) -> bool:
        """The service answered 404."""
        return self.job is None and self.problem is None


@dataclass
class Observation:
    """What the service showed: jobs listed or looked up, by id, and how far back it was read."""

    jobs: dict[str, JobHeader] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    """Jobs that the service answered 404 for."""
    newest: int = 0
    reach: int = 0
    """Creation time of the oldest job listed; 0 if the listing was read to its end."""
    first_page_reach: int = 0
    """Creation time of the oldest job on the first page, which every sweep reads."""
    complete: bool = False
    """The listing was read as far back as required."""
    pages: int = 0
    lookups: int = 0
    unreadable: int = 0
    unreadable_fields: set[str] = field(default_factory=set)
    looked_up: set[str] = field(default_factory=set)
    """Jobs that were looked up by their id, and found."""
    created_at: dict[str, int] = field(default_factory=dict)
    """The creation time of each listed job or, if it shows none, that of the next older one."""
    created_until: dict[str, int] = field(default_factory=dict)
    """The same with the next newer one."""
    gap_until: int = 0
    """Newest creation time on a page with an unreadable record: older jobs may be missing from what
    was seen."""
    problems: list[str] = field(default_factory=list)

    def add_page(self, page: JobPage) -> bool:
        """Adds a page. Returns whether it has any job that was not shown before."""
        known = len(self.jobs)
        self.pages += 1
        self._note_unreadable(page)
        self._note_creation_times(page)
        for job in page.records:
            shown = self.jobs.get(job.id)
            if shown is None or (job.update_time or 0) > (shown.update_time or 0):
                self.jobs[job.id] = job
        if page.oldest:
            times = [page.oldest, *_times(page)]
            self.newest = max(self.newest, *times)
            self.reach = min(self.reach or page.oldest, *times)
            self.first_page_reach = self.first_page_reach or self.reach
        return len(self.jobs) > known

    def add_look_up(self, result: LookUp) -> None:
        """Adds the result of looking up one job by its id."""
        self.lookups += result.asked
        if result.problem:
            self.problems.append(result.problem)
        elif result.job is None:
            self.missing.add(result.job_id)
        else:
            self.jobs[result.job_id] = JobHeader.of(result.job)
            self.looked_up.add(result.job_id)

    def complete_since(self, time: int) -> bool:
        """Whether the listing was read down to a creation time, without a gap."""
        reached = self.reach == 0 or self.reach <= time
        return self.complete and reached and time > self.gap_until

    def _note_unreadable(self, page: JobPage) -> None:
        if page.unreadable:
            self.unreadable += page.unreadable
            self.unreadable_fields |= page.unreadable_fields
            self.gap_until = max(self.gap_until, self.reach or sys.maxsize, *_times(page))

    def _note_creation_times(self, page: JobPage) -> None:
        """Bounds the time of a job without one by its neighbours', as a listing is sorted."""
        newer = self.reach or sys.maxsize
        for job in page.records:
            newer = job.creation_time or newer
            self.created_until.setdefault(job.id, newer)
        last = page.records[-1].creation_time if page.records else None
        older = last or (page.oldest if page.next_cursor else None) or 0
        for job in reversed(page.records):
            older = job.creation_time or older
            self.created_at.setdefault(job.id, older)


class Observer:
    """Observes sandboxes through the API, as long as there is time."""

    def __init__(self, api: JobApi, *, page_size: int, workers: int) -> None:
        self._api = api
        self._page_size = page_size
        self._workers = workers

    def first_page(self, sandbox: str) -> JobPage:
        """The newest jobs. Raises SegmentationError."""
        return self._api.list_jobs(sandbox, limit=self._page_size)

    def observe(
        self,
        sandbox: str,
        first_page: JobPage,
        open_jobs: Iterable[JobRecord],
        *,
        back_to: int,
        for_the_first_time: bool,
        out_of_time: Callable[[], bool],
    ) -> Observation:
        """Reads on from the first page down to `back_to`, and until every open job has been seen.

        Open jobs are looked up by id if that is cheaper than further pages, or if the listing left
        them out. Problems are added to `problems`, and what was seen is kept. A first sweep has no
        earlier one to reach: it is complete as far as time allows.
        """
        seen = Observation()
        not_final = [record for record in open_jobs if not record.final]
        seen.add_page(first_page)
        cursor = first_page.next_cursor
        while cursor:
            if 0 < seen.reach < back_to:
                seen.complete = True
                if not _another_page_pays(not_final, seen):
                    break
            if out_of_time():
                seen.complete |= for_the_first_time
                if not seen.complete:
                    seen.problems.append("no time left to list back to the last sweep")
                break
            cursor = self._list_further(sandbox, cursor, seen)
        else:
            if not seen.problems:
                seen.complete, seen.reach = True, 0
        unmet = [record for record in not_final if record.job_id not in seen.jobs]
        for result in self._look_up_all(unmet, out_of_time):
            seen.add_look_up(result)
        return seen

    def look_up(self, sandbox: str, job_id: str) -> LookUp:
        """Looks up a job by its id."""
        try:
            return LookUp(job_id, self._api.get_job(sandbox, job_id))
        except NotFound:
            return LookUp(job_id)
        except SegmentationError as error:
            return LookUp(job_id, problem=f"can't look up job {job_id}: {error}")

    def _list_further(self, sandbox: str, cursor: str, seen: Observation) -> str | None:
        """Adds the page at `cursor`. Returns the next cursor; None at the end or if it failed."""
        try:
            page = self._api.list_jobs(sandbox, limit=self._page_size, cursor=cursor)
        except SegmentationError as error:
            seen.problems.append(f"can't list further: {error}")
            return None
        fresh = seen.add_page(page)
        if page.next_cursor and not fresh:
            seen.problems.append("the listing repeats itself: a page has no new job")
            return None
        return page.next_cursor

    def _look_up_all(
        self, records: Sequence[JobRecord], out_of_time: Callable[[], bool]
    ) -> Sequence[LookUp]:
        def look_up(record: JobRecord) -> LookUp:
            if out_of_time():
                problem = f"no time left to look up job {record.job_id}"
                return LookUp(record.job_id, problem=problem, asked=False)
            return self.look_up(record.sandbox, record.job_id)

        return each(look_up, records, workers=self._workers)


def pages_worth_reading(unmet: Sequence[int], *, reach: int, span_per_page: float) -> int:
    """How many more pages to read before looking up by id the open jobs not seen yet.

    `unmet` holds their creation times, all older than `reach`, the oldest time listed so far. A
    page costs one call, and so does a look-up; how far a page reaches is estimated from those read.
    """
    if not unmet or span_per_page <= 0:
        return 0
    ages = sorted(max(1, math.ceil((reach - created) / span_per_page)) for created in unmet)
    best_pages, best_cost = 0, len(ages)
    for met, pages in enumerate(ages, start=1):
        cost = pages + len(ages) - met
        if cost < best_cost:
            best_pages, best_cost = pages, cost
    return best_pages


def _times(page: JobPage) -> list[int]:
    return [job.creation_time for job in page.records if job.creation_time]


def _another_page_pays(not_final: Sequence[JobRecord], seen: Observation) -> bool:
    older = [
        record.creation_time
        for record in not_final
        if record.creation_time < seen.reach and record.job_id not in seen.jobs
    ]
    span = (seen.newest - seen.reach) / seen.pages
    return pages_worth_reading(older, reach=seen.reach, span_per_page=span) > 0
