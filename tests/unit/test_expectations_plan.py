"""What applying a file changes, and from when on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.monitor.expectations import planned
from export_jobs_cli.expectations.plan import FieldChange, plan

HOUR = 3_600_000
NOW = 1_780_012_800_000
"""2026-05-29, midnight UTC."""
NIGHTLY = Expectation("nightly", "d", "UTC", opens=0, due=360)
BEGUN = Window(NOW - HOUR, NOW + HOUR, NOW + HOUR)
COMING = Window(NOW + HOUR, NOW + 2 * HOUR, NOW + 2 * HOUR)
HISTORY = (PastWindow(Window(1, 2, 2), "GOOD", "7"),)


def record(expectation: Expectation = NIGHTLY, **fields: object) -> ExpectationRecord:
    return replace(ExpectationRecord("prod", expectation, 5, version=3), **fields)  # type: ignore[arg-type]


def changed(old: ExpectationRecord, new: Expectation) -> ExpectationRecord:
    (found,) = plan([old], [new], sandbox="prod", prune=False, now=NOW).changes
    assert found.kind == "changed"
    return found.record


def test_what_is_new_is_added() -> None:
    """As a record that was never stored, so that nobody's is overwritten."""
    (found,) = plan([], [NIGHTLY], sandbox="prod", prune=False, now=NOW).changes
    assert found.kind == "added"
    assert found.record == ExpectationRecord("prod", NIGHTLY, applied_at=NOW, version=0)


@pytest.mark.parametrize("prune", [False, True])
def test_what_is_the_same_is_left_alone(*, prune: bool) -> None:
    """Whatever sweeps and mutes have written to it."""
    stored = record(window=BEGUN, in_force=replace(NIGHTLY, due=1), muted_until=NOW, missed=BEGUN)
    assert plan([stored], [NIGHTLY], sandbox="prod", prune=prune, now=NOW).changes == ()


def test_a_window_that_has_begun_goes_by_the_former_definition() -> None:
    """The change is for the next window; the record keeps its history, its mute and its version."""
    new = replace(NIGHTLY, dataset_id="e")
    old = record(window=BEGUN, history=HISTORY, muted_until=9, missed=BEGUN)
    assert changed(old, new) == replace(old, expectation=new, in_force=NIGHTLY)


def test_several_changes_in_one_window_do_not_reach_it() -> None:
    """It keeps the definition with which it opened, not one that was never in force."""
    first, second = replace(NIGHTLY, due=420), replace(NIGHTLY, due=480)
    old = record(first, window=BEGUN, in_force=NIGHTLY)
    assert changed(old, second) == replace(old, expectation=second, in_force=NIGHTLY)
    assert changed(old, NIGHTLY) == replace(old, expectation=NIGHTLY, in_force=None)


def test_a_window_that_has_not_begun_is_planned_anew() -> None:
    """By the next sweep, as for an expectation that is applied now; no past window is judged."""
    new = replace(NIGHTLY, opens=60, due=300)
    old = record(window=COMING, history=HISTORY)
    found = changed(old, new)
    assert found == replace(old, expectation=new, window=None, applied_at=NOW)
    window = planned(found).window
    assert window
    assert (window.opens, window.due) == (NOW + HOUR, NOW + 5 * HOUR)


def test_one_that_no_sweep_has_planned_yet_just_changes() -> None:
    """There is no window that could go by the former definition."""
    new = replace(NIGHTLY, due=420)
    assert changed(record(), new).in_force is None


def test_what_the_file_lacks_is_removed_only_if_asked_for() -> None:
    """Otherwise it is named."""
    stored = [record(), record(replace(NIGHTLY, name="other"))]
    kept = plan(stored, [NIGHTLY], sandbox="prod", prune=False, now=NOW)
    assert (kept.changes, kept.left) == ((), ("other",))
    pruned = plan(stored, [NIGHTLY], sandbox="prod", prune=True, now=NOW)
    assert (pruned.written, pruned.removed, pruned.left) == ([], [stored[1]], ())


def test_each_field_that_changes_is_named_as_in_the_file() -> None:
    """With its values as they are written there."""
    new = replace(NIGHTLY, due=420, opens=None, segments=("a", "b"), days=frozenset({0, 1, 2}))
    (found,) = plan([record()], [new], sandbox="prod", prune=False, now=NOW).changes
    assert set(found.fields) == {
        FieldChange("opens", "00:00", "(default)"),
        FieldChange("due", "06:00", "07:00"),
        FieldChange("segments", "(default)", "a, b"),
        FieldChange("days", "(default)", "mon-wed"),
    }


def test_one_without_a_window_is_not_judged_for_the_time_before_it_is_applied_again() -> None:
    """As one that could not be read, or has ended: its applying may be long ago."""
    unreadable = record(replace(NIGHTLY, dataset_id="", due=None, opens=None, days=frozenset()))
    window = planned(changed(unreadable, NIGHTLY)).window
    assert window
    assert window.due > NOW
