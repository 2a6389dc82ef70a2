"""`expectation suggest`: reads the jobs and the schedules, and prints suggestions as a file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from export_jobs.contract.text import one_line
from export_jobs.monitor.regular import READ_DAYS, READ_MS

from export_jobs_cli import jobs
from export_jobs_cli.expectations.file import ExpectationsFile, written
from export_jobs_cli.expectations.scheduled import Scheduled, from_schedules
from export_jobs_cli.expectations.suggest import Suggestion, from_jobs
from export_jobs_cli.stack import DeployedSystem

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/+.-]*", re.ASCII)
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True)
class Suggested:
    """What is suggested; times are of `zone`, which was `asked_for` or is only the default."""

    suggestions: tuple[Suggestion, ...]
    scheduled: Scheduled
    zone: ZoneInfo
    asked_for: bool
    sandboxes: int

    def as_json(self) -> dict[str, Any]:
        every = (*self.suggestions, *self.scheduled.complete, *self.scheduled.without_dataset)
        return {
            "suggestions": [
                {"definition": written(one.expectation, one.sandbox), "basis": list(one.basis)}
                for one in every
            ],
            "notes": list(self.scheduled.notes),
        }

    def as_file(self) -> Iterator[str]:
        """The lines of a file; what is not complete is commented out."""
        complete = (*self.suggestions, *self.scheduled.complete)
        yield f"# Suggested from the jobs of the last {READ_DAYS} days. Check each one before you apply it."
        if self.suggestions and not self.asked_for:
            yield f"# Times are in {self.zone.key}. For another zone, use for example --timezone Europe/Rome."
        for note in self.scheduled.notes:
            yield f"# {one_line(note)}"
        if not complete:
            yield "# Nothing to suggest: every regular export is already expected."
            yield "[]"
        for one in complete:
            yield from ("", *self._entry(one))
        for one in self.scheduled.without_dataset:
            comment, *lines = self._entry(one)
            yield from ("", comment, *(line if line[0] == "#" else f"# {line}" for line in lines))

    def _entry(self, one: Suggestion) -> Iterator[str]:
        for sentence in one.basis:
            yield f"# {one_line(sentence)}"
        sandbox = one.sandbox if self.sandboxes > 1 else None
        start = "- "
        for name, value in written(one.expectation, sandbox).items():
            yield f"{start}{name}: {_as_yaml(value)}"
            start = "  "


def _as_yaml(value: Any) -> str:
    """A value on one line, in quotation marks where YAML could take it for something else."""
    if isinstance(value, list):
        return f"[{', '.join(map(_as_yaml, value))}]"
    text = str(value)
    if isinstance(value, int) or (_PLAIN.fullmatch(text) and text.lower() not in _WORDS):
        return text
    return json.dumps(one_line(text), ensure_ascii=False)


def look_up(
    system: DeployedSystem,
    file: ExpectationsFile | None,
    *,
    sandbox: str | None,
    zone: ZoneInfo,
    asked_for: bool,
    live: bool,
    now: int,
) -> Suggested:
    """Reads the latest jobs and, if `live`, Adobe's schedules."""
    suggestions: list[Suggestion] = []
    scheduled: list[Scheduled] = []
    watched = system.monitor.sandboxes
    since = now - READ_MS
    for name in system.sandboxes(sandbox):
        known = [record.expectation for record in system.store.expectations(name)]
        known += [
            entry.expectation
            for entry in (file.entries if file else None) or ()
            if (entry.sandbox or watched[0]) == name
        ]
        recent = jobs.recent(system, name, since=since)
        found = from_jobs(name, recent, zone=zone, known=known, now=now)
        suggestions += found
        if live:
            known += [one.expectation for one in found]
            schedules = system.api.list_schedules(name).schedules
            scheduled.append(from_schedules(name, schedules, known=known, now=now))
    return Suggested(
        tuple(suggestions), _joined(scheduled), zone, asked_for, sandboxes=len(watched)
    )


def _joined(found: Sequence[Scheduled]) -> Scheduled:
    return Scheduled(
        tuple(one for each in found for one in each.complete),
        tuple(one for each in found for one in each.without_dataset),
        tuple(note for each in found for note in each.notes),
    )
