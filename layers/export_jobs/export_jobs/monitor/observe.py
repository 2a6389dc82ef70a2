"""The first half of a sweep: what the service shows of a sandbox's jobs, in as few calls as it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from export_jobs.contract import Job, JobPage
from export_jobs.contract.errors import NotFound, SegmentationError
from export_jobs.model.concurrently import each
from export_jobs.model.ports import JobApi
from export_jobs.model.records import JobRecord
from export_jobs.monitor import decide


@dataclass
class Observation:
    """What the service showed: jobs listed or looked up, by id, and how far back that reached."""

    jobs: dict[str, Job] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    """Open jobs that the service answered 404 for."""
    newest: int = 0
    reach: int = 0
    """Creation time of the oldest job listed; 0 when the listing was read to its end."""
    first_page_reach: int = 0
    """Creation time of the oldest job on the first page, which every sweep reads."""
    complete: bool = False
    """The listing was read as far back as it had to be."""
    pages: int = 0
    lookups: int = 0
    unreadable: int = 0
    unreadable_fields: set[str] = field(default_factory=set)
    looked_up: set[str] = field(default_factory=set)
    """Jobs that were asked for by their id."""
    created_at: dict[str, int] = field(default_factory=dict)
    """For each job listed its creation time or, where it shows none, that of the next older one."""
    created_until: dict[str, int] = field(default_factory=dict)
    """The same by the next newer one."""
    gap_until: int = 0
    """Newest creation time on a page with a record that can't be read: from there on down, a job may be
    missing from what was seen."""
    problems: list[str] = field(default_factory=list)

    def add_page(self, page: JobPage) -> bool:
        """Takes a page in. Returns whether it brought any job that was not shown before."""
        known = len(self.jobs)
        self.pages += 1
        self.unreadable += page.unreadable
        self.unreadable_fields |= page.unreadable_fields
        times = [job.creation_time for job in page.records if job.creation_time]
        if page.unreadable:
            self.gap_until = max(self.gap_until, self.reach or sys.maxsize, *times)
        last = page.records[-1].creation_time if page.records else None
        older = last or (page.oldest if page.next_cursor else None) or 0
        newer = self.reach or sys.maxsize
        for job in page.records:
            newer = job.creation_time or newer
            self.created_until.setdefault(job.id, newer)
        for job in reversed(page.records):
            older = job.creation_time or older
            self.created_at.setdefault(job.id, older)
            shown = self.jobs.get(job.id)
            if shown is None or (job.update_time or 0) > (shown.update_time or 0):
                self.jobs[job.id] = job
        if page.oldest:
            self.newest = max(self.newest, page.oldest, *times)
            self.reach = min(self.reach or page.oldest, page.oldest, *times)
            self.first_page_reach = self.first_page_reach or self.reach
        return len(self.jobs) > known

    def complete_since(self, time: int) -> bool:
        """Whether the listing was read down to a creation time, without a gap."""
        reached = self.reach == 0 or self.reach <= time
        return self.complete and reached and time > self.gap_until


class Observer:
    """Observes sandboxes through the API, for as long as there is time for it."""

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
        """Reads on from the first page until `back_to` and until every open job has been met.

        The open jobs that further pages would not show more cheaply are looked up by id, and so
        are those that the listing left out. Trouble ends in `problems`, with what was seen kept.
        For the first time, there is nothing to go on from: then as far as time allows will do.
        """
        seen = Observation()
        watched = [record for record in open_jobs if not record.final]
        seen.add_page(first_page)
        cursor = first_page.next_cursor
        while cursor:
            if 0 < seen.reach < back_to:
                seen.complete = True
                if not _another_page_pays(watched, seen):
                    break
            if out_of_time():
                seen.complete |= for_the_first_time
                if not seen.complete:
                    seen.problems.append("no time left to list back to where the last sweep was")
                break
            cursor = self._list_further(sandbox, cursor, seen)
        else:
            if not seen.problems:
                seen.complete, seen.reach = True, 0
        unmet = [record for record in watched if record.job_id not in seen.jobs]
        each(
            lambda record: self._look_up_open(record, seen, out_of_time),
            unmet,
            workers=self._workers,
        )
        return seen

    def _list_further(self, sandbox: str, cursor: str, seen: Observation) -> str | None:
        """Takes in the page at `cursor`. Returns the next one's; None at the end, or in trouble."""
        try:
            page = self._api.list_jobs(sandbox, limit=self._page_size, cursor=cursor)
        except SegmentationError as error:
            seen.problems.append(f"can't list further: {error}")
            return None
        fresh = seen.add_page(page)
        if page.next_cursor and not fresh:
            seen.problems.append("the listing goes in circles: a page brought no new job")
            return None
        return page.next_cursor

    def _look_up_open(
        self, record: JobRecord, seen: Observation, out_of_time: Callable[[], bool]
    ) -> None:
        if out_of_time():
            seen.problems.append(f"no time left to look up job {record.job_id}")
            return
        if not self.look_up(record.sandbox, record.job_id, seen):
            seen.missing.add(record.job_id)

    def look_up(self, sandbox: str, job_id: str, seen: Observation) -> bool:
        """Takes in a job by its id. Returns False if the service does not know it."""
        seen.lookups += 1
        try:
            seen.jobs[job_id] = self._api.get_job(sandbox, job_id)
        except NotFound:
            return False
        except SegmentationError as error:
            seen.problems.append(f"can't look up job {job_id}: {error}")
        else:
            seen.looked_up.add(job_id)
        return True


def _another_page_pays(watched: list[JobRecord], seen: Observation) -> bool:
    older = [
        record.creation_time
        for record in watched
        if record.creation_time < seen.reach and record.job_id not in seen.jobs
    ]
    span = (seen.newest - seen.reach) / seen.pages
    return decide.pages_worth_reading(older, reach=seen.reach, span_per_page=span) > 0
