"""Which exports are regular, by the jobs of the last weeks: functions without I/O.

Jobs are the same export if they have the same dataset and segments. It is regular if it was good in
nearly all windows of a length (`every`), or on nearly all of certain days of the week at about the
same local time (`due`). `export-jobs expectation suggest` suggests expectations for them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from zoneinfo import ZoneInfo

from export_jobs.contract.text import one_line
from export_jobs.model.calendar import DAY_MINUTES, local_time, starts_of_windows
from export_jobs.model.expectations import MAX_SEGMENTS, Expectation
from export_jobs.model.fingerprints import segment_fingerprint
from export_jobs.model.limits import DAY_MS
from export_jobs.model.records import JobRecord
from export_jobs.monitor.expectations import ended_at, matches

READ_DAYS: Final = 28
"""How far back jobs are read, for the days of the week."""
RECENT_DAYS: Final = 14
MIN_DAYS: Final = 5
"""Of the recent days, at least this many have a good run at about the same time."""
MIN_SHARE: Final = 0.75
"""Of the recent days on which it should have run, at least this many have a good run."""
BAND: Final = 120
"""Minutes between the earliest and the latest creation of runs at about the same time."""
MAX_TIMES: Final = 4
"""Times of day that are suggested for one export."""
MAX_RUNS: Final = READ_DAYS * 24
"""Runs of an export for which a time of day is looked for; more frequent ones have none."""
LENGTHS: Final = (15, 30, 60, 120, 180, 240, 360)
"""Windows, in minutes. Exports that are less frequent have a time of day."""
MIN_WINDOWS: Final = 24
MIN_FILLED: Final = 0.95
EARLIER: Final = 30
"""Minutes from `opens` to the earliest creation, at least."""
LATER: Final = 30
"""Minutes from the latest usual end to the deadline, at least."""
_QUARTER: Final = 15
_MINUTE_MS: Final = 60_000
READ_MS: Final = READ_DAYS * DAY_MS


@dataclass(frozen=True)
class Regular:
    """A regular export: an expectation without a name, and what it is based on.

    `good` of `of` windows, or days since `since`, had a good run; `last` is the latest. With `due`,
    its runs were usually created from `created_from` to `created_to` and ended by `ended_by`, in
    local minutes of the day.
    """

    expectation: Expectation
    last: JobRecord
    good: int
    of: int
    since: date
    created_from: int = 0
    created_to: int = 0
    ended_by: int = 0


@dataclass(frozen=True, eq=False)  # each is a run of its own: comparing their jobs takes long
class _Run:
    """A good run; local times are naive."""

    job: JobRecord
    created: datetime
    ended: datetime

    @property
    def minute(self) -> int:
        return self.created.hour * 60 + self.created.minute

    def minutes_to_end(self) -> int:
        return -(-(ended_at(self.job) - self.job.creation_time) // _MINUTE_MS)


def regular_exports(
    jobs: Iterable[JobRecord], *, zone: ZoneInfo, known: Sequence[Expectation], now: int
) -> list[Regular]:
    """The regular exports that `known` does not expect. `jobs` are of one sandbox, in any order."""
    groups: dict[tuple[str, frozenset[bytes] | None], list[_Run]] = defaultdict(list)
    for job in jobs:
        if _is_good(job) and now - READ_MS <= job.creation_time <= now:
            groups[job.dataset_id or "", job.segments].append(_run_of(job, zone))
    found = []
    for runs in groups.values():
        runs.sort(key=lambda run: run.job.creation_time)
        found += [
            one
            for one in _of_group(runs, zone, now)
            if not any(_expects(expectation, one.last) for expectation in known)
        ]
    return found


def _is_good(job: JobRecord) -> bool:
    return bool(
        job.final
        and job.outcome == "SUCCEEDED"
        and job.creation_time
        and job.dataset_id
        and _can_be_written(job.dataset_id)
    )


def _can_be_written(value: str) -> bool:
    """Whether a file can hold an id: it has only what can be seen."""
    return one_line(value) == value and len(value) <= 256


def _run_of(job: JobRecord, zone: ZoneInfo) -> _Run:
    created, ended = (local_time(at, zone) for at in (job.creation_time, ended_at(job)))
    return _Run(job, created.replace(tzinfo=None), ended.replace(tzinfo=None))


def _of_group(runs: Sequence[_Run], zone: ZoneInfo, now: int) -> Iterator[Regular]:
    frequent = _frequent(runs, zone, now)
    if frequent:
        yield frequent
        return
    today = local_time(now, zone).date()
    left = list(runs) if len(runs) <= MAX_RUNS else []
    for _ in range(MAX_TIMES):
        band = _densest(left, today)
        if not band:
            return
        left = [run for run in left if run not in band]
        if daily := _daily(band, zone, now):
            yield daily


# -- windows ---------------------------------------------------------------------------------------


def _frequent(runs: Sequence[_Run], zone: ZoneInfo, now: int) -> Regular | None:
    """The shortest windows that nearly all have a good run."""
    today = local_time(now, zone).date()
    begins = max(runs[0].created.date() + timedelta(days=1), today - timedelta(days=RECENT_DAYS))
    whole_days = [begins + timedelta(days=n) for n in range((today - begins).days)]
    created = [run for run in runs if begins <= run.created.date() < today]
    for length in LENGTHS:
        windows = [
            window
            for day in whole_days
            for window in pairwise(starts_of_windows(day, length, zone))
        ]
        if len(windows) < MIN_WINDOWS or len(created) < MIN_FILLED * len(windows):
            continue
        late = _first_ends(created, windows)
        if len(late) >= MIN_FILLED * len(windows):
            grace = round_up(max(0, _usual_latest(late) + _QUARTER))
            expectation = _expectation(runs[-1], zone, every=length, grace=grace)
            return Regular(expectation, runs[-1].job, len(late), len(windows), begins)
    return None


def _first_ends(runs: Sequence[_Run], windows: Sequence[tuple[int, int]]) -> list[int]:
    """How many minutes after its window's end the first good run of each ended; may be negative."""
    found: list[int] = []
    at = 0
    for start, end in windows:
        ends = []
        while at < len(runs) and runs[at].job.creation_time < end:
            if runs[at].job.creation_time >= start:
                ends.append(ended_at(runs[at].job))
            at += 1
        if ends:
            found.append(-((end - min(ends)) // _MINUTE_MS))
    return found


# -- a time of day ---------------------------------------------------------------------------------


def _densest(runs: Sequence[_Run], today: date) -> list[_Run]:
    """The runs of the two hours in which the most of the recent days have one."""
    best: list[_Run] = []
    most = MIN_DAYS - 1
    for start in sorted({run.minute for run in runs}):
        band = [run for run in runs if (run.minute - start) % DAY_MINUTES <= BAND]
        recent = {
            day for run in band if 0 < (today - (day := _day_of(run, start))).days <= RECENT_DAYS
        }
        if len(recent) > most:
            best, most = band, len(recent)
    return best


def _day_of(run: _Run, opens: int) -> date:
    """The day on which the window opened that a run was created in."""
    return (run.created - timedelta(minutes=(run.minute - opens) % DAY_MINUTES)).date()


def _daily(band: Sequence[_Run], zone: ZoneInfo, now: int) -> Regular | None:
    earliest = _earliest(band)
    opens = max(0, (earliest - EARLIER) // _QUARTER * _QUARTER)
    lengths = [(run.minute - opens) % DAY_MINUTES + run.minutes_to_end() for run in band]
    due = round_up(opens + _usual_latest(lengths) + LATER)
    if due - opens > DAY_MINUTES:
        return None
    yesterday = local_time(now, zone).date() - timedelta(days=1)
    ran = {_day_of(run, opens) for run in band}
    days = _weekdays(ran, yesterday)
    recent = [yesterday - timedelta(days=n) for n in range(RECENT_DAYS)]
    due_days = [day for day in recent if day.weekday() in days]
    good_days = [day for day in due_days if day in ran]
    if len(good_days) < MIN_DAYS or len(good_days) < MIN_SHARE * len(due_days):
        return None
    latest = _usual_latest([(run.minute - earliest) % DAY_MINUTES for run in band])
    return Regular(
        _expectation(band[-1], zone, opens=opens, due=due % DAY_MINUTES, days=days),
        band[-1].job,
        len(good_days),
        len(due_days),
        recent[-1],
        created_from=earliest,
        created_to=(earliest + latest) % DAY_MINUTES,
        ended_by=(opens + _usual_latest(lengths)) % DAY_MINUTES,
    )


def _earliest(band: Sequence[_Run]) -> int:
    """The minute of the day from which all creations are within the band; it may wrap."""
    return next(
        run.minute
        for run in sorted(band, key=lambda run: run.minute)
        if all((other.minute - run.minute) % DAY_MINUTES <= BAND for other in band)
    )


def _weekdays(ran: set[date], last: date) -> frozenset[int]:
    """The days of the week on which it ran at least every other time."""
    first = min(ran)
    every = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return frozenset(
        weekday
        for weekday in range(7)
        if (days := [day for day in every if day.weekday() == weekday])
        and 2 * sum(day in ran for day in days) >= len(days)
    )


# -- the expectation -------------------------------------------------------------------------------


def _expectation(run: _Run, zone: ZoneInfo, **window: Any) -> Expectation:
    return Expectation(
        name="",
        dataset_id=run.job.dataset_id or "",
        timezone=zone.key,
        segments=tuple(sorted(segment_ids(run.job) or ())),
        **window,
    )


def segment_ids(job: JobRecord) -> list[str] | None:
    """The ids of the segments whose members a job exports; None if not all are on record."""
    exported = job.segments or frozenset()
    listed: Any = job.end.get("segments") or ()
    ids = {
        str(one["segmentId"]) for one in listed if isinstance(one, Mapping) and "segmentId" in one
    }
    known = {one: segment_fingerprint(one) for one in ids}
    found = {one for one, fingerprint in known.items() if fingerprint in exported}
    complete = len(found) == len(exported) <= MAX_SEGMENTS
    return sorted(found) if complete and all(map(_can_be_written, found)) else None


def _expects(expectation: Expectation, job: JobRecord) -> bool:
    return matches(job, expectation) and is_open(expectation, job.creation_time)


def is_open(expectation: Expectation, at: int) -> bool:
    """Whether jobs created at that time of any of its days count."""
    if expectation.due is None or expectation.opens is None:
        return True
    created = local_time(at, expectation.zone)
    length = (expectation.due - expectation.opens) % DAY_MINUTES or DAY_MINUTES
    return (created.hour * 60 + created.minute - expectation.opens) % DAY_MINUTES < length


def _usual_latest(minutes: Sequence[int]) -> int:
    """The latest, without one of twenty."""
    return sorted(minutes)[-1 - len(minutes) // 20]


def round_up(minutes: int) -> int:
    """Rounded up to a quarter of an hour."""
    return -(-minutes // _QUARTER) * _QUARTER
