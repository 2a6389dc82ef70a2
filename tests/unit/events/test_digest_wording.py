"""The daily digest for people: short whatever there is, and one line if there is nothing."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs.events.digest_wording import MAX_SHOWN
from export_jobs.events.messages import chat, email, subject
from export_jobs.events.wording import MAX_SUBJECT, Detail
from export_jobs.model.outcome import JobOutcome
from export_jobs.model.records import Event
from hypothesis import given
from hypothesis import strategies as st
from support.digests import (
    DROP,
    SLOW,
    UNTIL,
    digest_of,
    ended,
    full_digest,
    nightly,
    overdue,
    quiet_digest,
    sandbox_of,
)

MAX_LINES = 40
OUTCOMES: list[JobOutcome] = [
    *("SUCCEEDED", "SUCCEEDED_WITH_ERRORS", "SUCCEEDED_EMPTY", "FAILED", "CANCELLED", "VANISHED"),
]  # fmt: skip


def much(number: int) -> Event:
    """A digest with that many of everything."""
    jobs = [
        ended(n * 10 + k, outcome, dataset_id=f"d{n}")
        for n in range(number)
        for k, outcome in enumerate(OUTCOMES)
    ]
    jobs += [job for n in range(number) for job in nightly(f"r{n}")]
    jobs += [ended(n, dataset_id=f"u{n}", profiles_exported=7, end=DROP) for n in range(number)]
    late = [overdue(f"e{n}") for n in range(number)]
    failing = [(sandbox_of(f"s{n}", failing_since=1, waiting=2), (), ()) for n in range(number)]
    return digest_of((sandbox_of(waiting=number), late, jobs), *failing, since=UNTIL - 10**9)


@pytest.mark.parametrize("number", [0, 1, 4, 6, 21, 300])
def test_an_e_mail_has_forty_lines_at_most(number: int) -> None:
    """Whatever there is to say; the subject is whole."""
    event = much(number)
    assert len(email(event, stack="export-jobs").split("\n")) <= MAX_LINES
    assert not subject(event).endswith("...")
    assert len(subject(event)) <= MAX_SUBJECT


many: Any = st.lists(st.just({"outcome": "PAUSED", "exports": 1, "failingSince": "x"}), max_size=99)


@given(many, many, many, st.integers(0, 10**6))
def test_so_has_one_of_another_version(one: Any, other: Any, more: Any, total: int) -> None:
    """Which may have longer lists, more outcomes or other numbers."""
    outcomes = [*much(1).detail["outcomes"], *one]
    lists = {"sandboxes": one, "overdue": other, "failures": more, "outcomes": outcomes}
    counted = (
        *("overdueExports", "failedDatasets", "notExpectedDatasets", "failingSandboxes"),
        "unusualExports",
    )
    numbers = dict.fromkeys(counted, total) | {"openJobs": 1, "waitingRequests": 1}
    detail = {
        **much(1).detail,
        **lists,
        **numbers,
        "slowest": other,
        "notExpected": more,
        "unusual": one,
    }
    assert len(email(Event("Export Digest", detail), stack="s").split("\n")) <= MAX_LINES


def test_what_is_not_shown_is_counted() -> None:
    """Of the whole, not of what the event lists."""
    text = email(much(300))
    assert text.count("\nOverdue:") == MAX_SHOWN + 1
    assert f"\nOverdue:            and {300 - MAX_SHOWN} more\n" in text
    assert f"\nEnded badly:        and {300 - MAX_SHOWN} more\n" in text
    assert "\nSweeps failing:     and 298 more\n" in text
    assert "\nNo expectation:     and 298 more\n" in text
    assert "\nUnusual:            and 298 more\n" in text
    assert "more" not in email(much(2))


def test_nothing_happened_is_one_line() -> None:
    """And where to look."""
    happened, *rest = email(quiet_digest()).split("\n\n")
    assert happened == "Export digest: no export ended; nothing is overdue or waiting."
    assert [line.partition(" ")[0] for line in rest] == ["Period:", "Details:", "Event"]


@pytest.mark.parametrize(
    ("event", "bad"),
    [
        (quiet_digest(), False),
        (digest_of((sandbox_of(waiting=1), (), [ended(1), ended(2, "CANCELLED")])), False),
        (digest_of((sandbox_of(), (), [ended(1, "SUCCEEDED_EMPTY")])), True),
        (digest_of((sandbox_of(), [overdue()], ())), True),
        (digest_of((sandbox_of(), (), [ended(1, end=DROP)])), True),
        (digest_of((sandbox_of(failing_since=1), (), ())), True),
    ],
    ids=["nothing", "good", "empty", "overdue", "unusual", "failing"],
)
def test_bad_news_is_marked(event: Event, bad: bool) -> None:
    """In a chat, where the digest stands among other messages."""
    assert chat(event)["content"]["title"].startswith(":warning: ") is bad


def commands(detail: Detail) -> list[str]:
    steps = chat(Event("Export Digest", detail), stack="st")["content"]["nextSteps"]
    return [step.strip("`") for step in steps]


def test_its_commands_show_what_it_reports() -> None:
    """The most urgent first."""
    assert commands(full_digest().detail) == [
        "export-jobs doctor --stack st",
        "export-jobs expectation list --stack st",
        "export-jobs job list --outcome FAILED --stack st",
        "export-jobs job list --stack st",
        "export-jobs request list --stack st",
        "export-jobs expectation suggest --stack st",
    ]
    assert commands(quiet_digest().detail) == ["export-jobs job list --stack st"]
    empty = digest_of((sandbox_of(), (), [ended(1, "SUCCEEDED_EMPTY")]))
    assert commands(empty.detail) == ["export-jobs job list --outcome SUCCEEDED_EMPTY --stack st"]


def test_unusual_exports_are_told_with_their_numbers() -> None:
    """What is usual, the job and where; the headline has how many."""
    jobs = [
        ended(1, profiles_exported=1_000, end=DROP),
        ended(2, duration_ms=2_820_000, end=SLOW, sandbox="prod"),
        ended(3, "SUCCEEDED_EMPTY", profiles_exported=0, end={**DROP, "profilesRatio": 0.0}),
    ]
    text = email(digest_of((sandbox_of(), (), jobs)))
    assert text.startswith("Export digest: 3 ended, 1 BADLY; 3 UNUSUAL.")
    into = "into 5bb4c46757920712f924a3eb [prod]"
    assert [line[20:] for line in text.split("\n") if line.startswith("Unusual:")] == [
        f"VOLUME DROP, 0 profiles (usually 61,230): job 3 {into}",
        f"VOLUME DROP, 1,000 profiles (usually 61,230): job 1 {into}",
        "and 1 more",
    ]
