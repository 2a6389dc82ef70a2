"""Expected exports: what should be exported, where and by when, and the windows that follow.

An expectation is a value, and so is a window. Times of day are minutes after local midnight; times
are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from export_jobs.model.calendar import (
    DAY_MINUTES,
    is_skipped,
    local_date,
    moments,
    starts_of_windows,
    zone_named,
)
from export_jobs.model.records import OverdueReason

MAX_SEARCHED_DAYS: Final = 400
"""How far ahead the next window is looked for, beyond the excepted days."""
MAX_SEGMENTS: Final = 500
"""Segments that an expectation may name."""
_EVERY_DAY: Final = frozenset(range(7))
_MAX_GRACE: Final = 366 * DAY_MINUTES
_MANY: Final = 10**15
_FIELDS: Final = frozenset(
    {
        *("name", "datasetId", "timezone", "due", "opens", "every", "grace", "days", "except"),
        *("segments", "minProfiles", "maxDrop", "accept"),
    }
)
"""The fields of a definition."""


@dataclass(frozen=True)
class Expectation:
    """An export that should succeed in each of its windows.

    Either `due` is given (a deadline a day, with `opens` as the earliest creation time or None for
    the previous deadline), or `every` (the length of windows that start at local midnight, with
    `grace` until the deadline). `days` are weekdays, Monday is 0; `excepted` are local dates.
    """

    name: str
    dataset_id: str
    timezone: str
    due: int | None = None
    opens: int | None = None
    every: int | None = None
    grace: int = 0
    days: frozenset[int] = _EVERY_DAY
    excepted: frozenset[date] = frozenset()
    segments: tuple[str, ...] = ()
    """The ids of segments that it exports at least; empty if any will do."""
    min_profiles: int = 1
    max_drop: int | None = None
    """How many percent fewer profiles than usual it may export; None if any number will do."""
    accept: frozenset[str] = frozenset({"SUCCEEDED"})
    """The outcomes that count as success."""
    others: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Fields of a newer version of this software, which are kept as they are."""

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> Expectation:
        """Reads a definition as it is stored. Raises KeyError, TypeError or ValueError.

        Unknown fields only are kept: a newer version of this software may have written them.
        """
        expectation = cls(
            name=str(definition["name"]),
            dataset_id=str(definition["datasetId"]),
            timezone=str(definition["timezone"]),
            due=_optional(definition.get("due"), 0, DAY_MINUTES - 1),
            opens=_optional(definition.get("opens"), 0, DAY_MINUTES - 1),
            every=_optional(definition.get("every"), 1, DAY_MINUTES),
            grace=_whole(definition.get("grace", 0), 0, _MAX_GRACE),
            days=frozenset(definition.get("days", _EVERY_DAY)),
            excepted=frozenset(map(date.fromisoformat, definition.get("except", ()))),
            segments=_texts(definition.get("segments", ())),
            min_profiles=_whole(definition.get("minProfiles", 1), 0, _MANY),
            max_drop=_optional(definition.get("maxDrop"), 1, 99),
            accept=frozenset(_texts(definition.get("accept", ("SUCCEEDED",)))),
            others={name: definition[name] for name in definition.keys() - _FIELDS},
        )
        if not expectation.days <= _EVERY_DAY:
            raise ValueError("there are only seven days of the week")
        if (expectation.due is None) == (expectation.every is None):
            raise ValueError("either due or every is needed")
        expectation.zone  # noqa: B018  raises an error if there is no such zone
        return expectation

    def as_definition(self) -> dict[str, Any]:
        """The same as `from_definition` reads; fields with their defaults are left out."""
        whole = {
            "name": self.name,
            "datasetId": self.dataset_id,
            "timezone": self.timezone,
            "due": self.due,
            "opens": self.opens,
            "every": self.every,
            "grace": self.grace or None,
            "days": None if self.days == _EVERY_DAY else sorted(self.days),
            "except": sorted(day.isoformat() for day in self.excepted) or None,
            "segments": list(self.segments) or None,
            "minProfiles": None if self.min_profiles == 1 else self.min_profiles,
            "maxDrop": self.max_drop,
            "accept": None if self.accept == {"SUCCEEDED"} else sorted(self.accept),
        }
        return {**{n: value for n, value in whole.items() if value is not None}, **self.others}

    @property
    def zone(self) -> ZoneInfo:
        return zone_named(self.timezone)

    def least_profiles(self, usual: int | None) -> int:
        """How many profiles a job must export where `usual` are usual; None if that is unknown."""
        if self.max_drop is None or usual is None:
            return self.min_profiles
        least_of_usual = -(-usual * (100 - self.max_drop) // 100)
        return max(self.min_profiles, least_of_usual)

    def next_window(self, after: int) -> Window | None:
        """The first window whose deadline is later than `after`; None if there is none.

        There is none if every day of more than a year ahead is excepted.
        """
        day = local_date(after - self.grace * 60_000, self.zone) - timedelta(days=2)
        for _ in range(MAX_SEARCHED_DAYS + len(self.excepted)):
            for window in self._windows_of(day):
                if window.due > after:
                    return window
            day += timedelta(days=1)
        return None

    def _windows_of(self, day: date) -> Iterator[Window]:
        if not self._includes(day):
            return
        if self.due is None:
            starts = starts_of_windows(day, self.every or DAY_MINUTES, self.zone)
            for start, end in pairwise(starts):
                yield Window(start, end, end + self.grace * 60_000)
            return
        due = self._deadline_of(day)
        opens = self._deadline_before(day) if self.opens is None else self._opens_on(day)
        if opens < due:  # otherwise a clock change skips the whole window
            yield Window(opens, due, due)

    def _includes(self, day: date) -> bool:
        wanted = day.weekday() in self.days and day not in self.excepted
        return wanted and not is_skipped(day, self.zone)

    def _opens_on(self, day: date) -> int:
        return moments(day, self.opens or 0, self.zone)[0]

    def _deadline_of(self, day: date) -> int:
        due = self.due or 0
        overnight = self.opens is not None and due <= self.opens
        return moments(day + timedelta(days=1) if overnight else day, due, self.zone)[1]

    def _deadline_before(self, day: date) -> int:
        earlier = day - timedelta(days=1)
        for _ in range(7 * (len(self.excepted) + 2)):  # it may be expected once a week
            if self._includes(earlier):
                break
            earlier -= timedelta(days=1)
        return self._deadline_of(earlier)


def _whole(value: Any, least: int, most: int) -> int:
    if not (isinstance(value, int) and least <= value <= most):
        raise ValueError("not a whole number, or out of range")
    return value


def _optional(value: Any, least: int, most: int) -> int | None:
    return None if value is None else _whole(value, least, most)


def _texts(values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise ValueError("not a list of texts")
    return tuple(values)


@dataclass(frozen=True)
class Window:
    """Jobs created from `opens` on and before `closes` count; one must have succeeded by `due`."""

    opens: int
    closes: int
    due: int


WindowOutcome = Literal["GOOD", "MUTED", "NOT_JUDGED"] | OverdueReason


@dataclass(frozen=True)
class PastWindow:
    """A window whose deadline has passed.

    `job_id` is the job that succeeded in it or, at `good_at`, made it good after its deadline.
    """

    window: Window
    outcome: WindowOutcome
    job_id: str | None = None
    good_at: int | None = None


@dataclass(frozen=True)
class ExpectationRecord:
    """What is stored of an expectation: its definition, and what became of its windows.

    The command writes `expectation`, `applied_at` and `muted_until`, the sweeps the rest. `window`
    is the one whose deadline comes next, None until a sweep has planned it; it follows `in_force`
    if the definition was changed after it had been planned. `missed` is the last of the
    `missed_windows` that were announced as overdue since `overdue_since` and not made good yet.
    `told_at` is the deadline of the last one that people were told of.
    """

    sandbox: str
    expectation: Expectation
    applied_at: int
    muted_until: int = 0
    in_force: Expectation | None = None
    window: Window | None = None
    missed: Window | None = None
    missed_windows: int = 0
    overdue_since: int = 0
    told_at: int = 0
    last_good_at: int | None = None
    history: tuple[PastWindow, ...] = ()
    """The last windows, in their order."""
    version: int = 0

    @property
    def name(self) -> str:
        return self.expectation.name

    @property
    def can_be_read(self) -> bool:
        """Whether its definition can; one that can't is judged again once it is applied again."""
        return bool(self.expectation.dataset_id)

    @property
    def is_overdue(self) -> bool:
        return self.missed is not None

    def is_muted(self, at: int) -> bool:
        return at < self.muted_until


@dataclass(frozen=True)
class DueExpectations:
    """The expectations with a deadline that has passed, or that are overdue.

    `next_due` is the earliest deadline of the others, None if there are no others.
    """

    records: tuple[ExpectationRecord, ...] = ()
    next_due: int | None = None
