"""The grid of datasets and days: which marks are where."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from export_jobs.model.baselines import Comparison
from export_jobs.model.expectations import ExpectationRecord, PastWindow, Window
from export_jobs.model.names import Names
from export_jobs.model.records import JobRecord, Ticket
from export_jobs.monitor.regular import Regular
from export_jobs_cli.page.kept import Reading
from export_jobs_cli.page.marks import KINDS, kind_of_job, mark_of_job
from export_jobs_cli.page.overview import DAYS, MOST_MARKS, Overview, Row, overview_of
from export_jobs_cli.page.status import StackStatus
from support.pages import (
    ALL_WELL,
    DAY_MS,
    HOUR_MS,
    NOW,
    TONIGHT,
    expectation,
    job_record,
    line_of,
    missed,
    reading,
)


def overview(one: Reading) -> Overview:
    return overview_of([one], {one.sandbox: line_of(one)}, ALL_WELL, now=NOW)


def rows(one: Reading) -> list[Row]:
    return list(overview(one).sandboxes[0].rows)


def kinds(row: Row, day: int = 0) -> list[str]:
    return [mark.kind for mark in row.cells[day].marks]


@pytest.mark.parametrize(
    ("record", "kind"),
    [
        (job_record(), "succeeded"),
        (job_record(profiles=0), "empty"),
        (job_record(errors=[{"msg": "m"}]), "errors"),
        (job_record(status="FAILED"), "failed"),
        (job_record(status="CANCELLED"), "cancelled"),
        (job_record(status="PROCESSING"), "running"),
        (job_record(status="PROCESSING", delays=2), "delayed"),
        (replace(job_record(), status="VANISHED", outcome="VANISHED"), "vanished"),
        (JobRecord("prod", "1", TONIGHT), "running"),
        *(
            (
                job_record(
                    comparison=Comparison(
                        anomalies=(anomaly,), usual_profiles=9, usual_duration_ms=9, runs=9
                    )
                ),
                kind,
            )
            for anomaly, kind in (
                ("VOLUME_DROP", "drop"),
                ("VOLUME_SPIKE", "spike"),
                ("SLOW", "slow"),
            )
        ),
    ],
)
def test_each_end_of_a_job_has_a_mark_of_its_own(record: JobRecord, kind: str) -> None:
    """A state that nobody can tell from another would be of no use."""
    (job,) = reading(record).jobs
    assert kind_of_job(job) == kind


def test_no_two_marks_look_the_same() -> None:
    """Their shapes differ, so that nobody needs to see the colours."""
    of_runs_and_windows = [kind for name, kind in KINDS.items() if name not in SHARED]
    shapes = [kind.shape for kind in of_runs_and_windows]
    assert len(set(shapes)) == len(shapes)


SHARED = {"unusual", "problem", "no-sweeps"}
"""An anomaly of a newer version, and what stands for no run."""


def test_a_mark_says_in_words_what_it_stands_for() -> None:
    """Also for those who see neither shape nor colour."""
    (job,) = reading(job_record("7", "FAILED", took_ms=90_000, profiles=None)).jobs
    assert mark_of_job(job).title == "job 7: FAILED, Tue 2026-09-22 02:00 UTC, 2 min"


def test_runs_are_in_the_cell_of_their_day_in_utc() -> None:
    """Today first; what is older than two weeks is on the page of the dataset."""
    midnight = NOW - NOW % DAY_MS
    (row,) = rows(
        reading(
            job_record("1", at=midnight),
            job_record("2", at=midnight - 1),
            job_record("3", at=midnight - (DAYS - 1) * DAY_MS),
            job_record("4", at=midnight - (DAYS - 1) * DAY_MS - 1),
        )
    )
    shown = {
        day: [mark.job_id for mark in cell.marks]
        for day, cell in enumerate(row.cells)
        if cell.marks
    }
    assert shown == {0: ["1"], 1: ["2"], DAYS - 1: ["3"]}
    assert overview(reading()).days[0] == date(2026, 9, 22)


def test_datasets_are_in_the_order_of_their_names() -> None:
    """Those without a name last, by id; a job without a readable dataset is not left out."""
    names = Names(datasets={"d1": "zebra", "d2": "Ape"})
    found = rows(
        reading(
            *(job_record(n, dataset=n) for n in ("d1", "d2", "d4", "d3")),
            job_record("5", dataset=None),
            names=names,
        )
    )
    assert [row.name for row in found] == ["Ape", "zebra", "d3", "d4", "dataset unknown"]


def test_a_dataset_without_a_recent_run_is_left_out_unless_it_is_expected() -> None:
    """Otherwise exports that ended long ago would fill the page."""
    old = job_record("1", at=NOW - 20 * DAY_MS)
    assert rows(reading(old)) == []
    (row,) = rows(reading(old, expectations=[expectation()]))
    assert row.last is not None
    running = replace(old, status="PROCESSING", final=False, outbox=())
    assert len(rows(reading(running))) == 1


def _past(outcome: str, good_at: int | None = None) -> ExpectationRecord:
    window = Window(NOW - 27 * HOUR_MS, NOW - 3 * HOUR_MS, NOW - 3 * HOUR_MS)
    past = PastWindow(window, outcome, "9" if good_at else None, good_at)  # type: ignore[arg-type]
    return expectation(history=(past,))


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        (missed(), ["overdue"]),
        (_past("FAILED", good_at=NOW), ["made-good"]),
        (_past("MUTED"), ["muted"]),
        (_past("GOOD"), []),
        (_past("NOT_JUDGED"), []),
        (expectation(window=Window(NOW, NOW + HOUR_MS, NOW + HOUR_MS)), ["expected"]),
        (expectation(window=Window(NOW, NOW + DAY_MS, NOW + DAY_MS)), []),
    ],
)
def test_windows_have_marks_where_the_runs_do_not_say_it(
    record: ExpectationRecord, wanted: list[str]
) -> None:
    """On the day of the deadline; what is due after today is not shown yet."""
    found = rows(reading(expectations=[record]))
    assert [kind for row in found for kind in kinds(row)] == wanted


def test_an_expectation_that_can_t_be_read_has_no_row() -> None:
    """Its dataset is unknown."""
    unreadable = replace(missed().expectation, dataset_id="")
    assert rows(reading(expectations=[replace(missed(), expectation=unreadable)])) == []


def test_of_many_runs_a_day_those_that_did_not_end_well_are_shown() -> None:
    """In the order of time; the others are counted."""
    hourly = [
        job_record(str(n), "FAILED" if n == 5 else "SUCCEEDED", at=NOW - (7 - n) * HOUR_MS)
        for n in range(8)
    ]
    (row,) = rows(reading(*hourly))
    cell = row.cells[0]
    assert len(cell.marks) == MOST_MARKS - 1
    assert cell.more == 8 - len(cell.marks)
    assert [mark.at for mark in cell.marks] == sorted(mark.at for mark in cell.marks)
    assert "failed" in kinds(row)
    assert cell.marks[-1].job_id == "7", "of those that are equally bad, the newest"


def test_a_job_that_has_run_for_weeks_is_in_the_oldest_day() -> None:
    """A row without a mark would say that nothing runs; so is one without a creation time."""
    running = job_record("1", "PROCESSING", at=NOW - 20 * DAY_MS)
    newer = job_record("2")
    for old in (running, replace(running, creation_time=0)):
        (row,) = rows(reading(old, newer))
        assert kinds(row, DAYS - 1) == ["running"]


def test_the_age_of_a_sweep_is_in_minutes() -> None:
    """Otherwise the page would be another one every second, and be sent again."""
    for age, words in ((0, "less than a minute ago"), (59_999, "less than a minute ago"), (150_000, "2 min ago")):  # fmt: skip
        status = StackStatus({"prod": NOW - age}, 0)
        one = reading()
        facts = overview_of([one], {"prod": line_of(one)}, status, now=NOW).sandboxes[0].facts
        assert dict(facts)["last sweep"].startswith(words)


def test_the_open_window_belongs_to_the_definition_that_it_began_with() -> None:
    """A change applies to the window after it."""
    before = replace(expectation().expectation, dataset_id="before")
    window = Window(NOW, NOW + HOUR_MS, NOW + HOUR_MS)
    found = rows(reading(expectations=[expectation(in_force=before, window=window)]))
    assert [(row.name, kinds(row)) for row in found] == [("before", ["expected"]), ("d1", [])]


def test_a_regular_export_that_nothing_expects_says_so() -> None:
    """Only that dataset's row."""
    one = reading(job_record("1"), job_record("2", dataset="d2"))
    regular = Regular(expectation().expectation, job_record(), 5, 5, date(2026, 9, 1))
    found = rows(replace(one, regular={"d1": [regular]}))
    assert [row.unexpected for row in found] == [True, False]


def test_the_facts_of_a_sandbox_are_in_words() -> None:
    """Sweeps' age, what waits since when, what runs, and what is expected."""
    waiting = [Ticket("prod", str(n), "create", n, NOW - n * HOUR_MS) for n in (1, 3, 2)]
    running = job_record("3", "PROCESSING", at=NOW - HOUR_MS)
    one = reading(running, tickets=waiting, expectations=[missed(), expectation("b")])
    assert dict(overview(one).sandboxes[0].facts) == {
        "last sweep": "60 s ago; last change 09-22 06:59 UTC",
        "requests": "3 waiting, the oldest for 3 h 0 min",
        "running": "1",
        "expectations": "2, 1 overdue",
    }


def test_the_legend_has_only_what_is_in_the_grid() -> None:
    """In the order of the list of marks."""
    one = reading(job_record("1", "FAILED"), job_record("2"), expectations=[missed()])
    assert overview(one).legend == ["succeeded", "failed", "overdue"]
