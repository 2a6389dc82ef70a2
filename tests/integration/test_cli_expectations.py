"""`export-jobs expectation` against the local system: what a person types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.ports import StoreRefused, StoreUnavailable
from export_jobs.model.records import JobRecord
from export_jobs_cli.expectations import stored
from support.command_line import Local, store_of, typed, until

pytestmark = pytest.mark.xdist_group("expectations")

NIGHTLY = """\
- name: nightly-newsletter
  sandboxName: prod
  datasetId: 5bb4c46757920712f924a3eb
  opens: "00:00"
  due: "06:00"
  timezone: Europe/Rome
"""
HOURLY = """\
- name: hourly-suppression
  sandboxName: dev
  datasetId: 5b7c86968f7b6501e21ba9df
  every: 1h
  grace: 20m
  timezone: Europe/Rome
"""
HOUR = 3_600_000


@pytest.fixture(autouse=True)
def _none_left(local: Local) -> Iterator[None]:
    """Each test begins without expectations."""
    yield
    done = local.run("expectation", "apply", "-", "--prune", stdin="[]")
    assert done.returncode == 0, done.stderr


def apply(local: Local, text: str, *options: str, code: int = 0) -> list[str]:
    done = local.run("expectation", "apply", "-", *options, stdin=text)
    assert done.returncode == code, done.stdout + done.stderr
    return (done.stderr if code else done.stdout).splitlines()


def listed(local: Local) -> dict[str, Any]:
    return {one["name"]: one for one in local.json("expectation", "list")}


def show(local: Local, name: str) -> Any:
    return local.json("expectation", "show", name)


def planned(local: Local, name: str) -> Any:
    """As it is once a sweep has planned its window."""
    return until(lambda: (found := show(local, name))["window"] and found)


def test_a_file_is_applied_once(local: Local) -> None:
    """It prints what it adds; the second time nothing changes, and no item is written."""
    assert apply(local, NIGHTLY + HOURLY) == [
        "+ nightly-newsletter (prod)",
        "+ hourly-suppression (dev)",
        "written; the next sweep uses it",
    ]
    window = planned(local, "nightly-newsletter")["window"]
    assert window["opensAt"] < window["dueAt"] == window["closesAt"]
    until(lambda: planned(local, "hourly-suppression"))
    before = [store_of(local).expectations(name) for name in ("prod", "dev")]
    assert apply(local, NIGHTLY + HOURLY) == ["nothing to change"]
    assert [store_of(local).expectations(name) for name in ("prod", "dev")] == before


def test_a_dry_run_prints_the_same_and_writes_nothing(local: Local) -> None:
    """Also what would be changed and removed."""
    assert apply(local, NIGHTLY, "--dry-run") == [
        "+ nightly-newsletter (prod)",
        "dry run: nothing was written",
    ]
    assert listed(local) == {}
    apply(local, NIGHTLY + HOURLY)
    changed = NIGHTLY.replace("06:00", "07:00")
    printed = apply(local, changed, "--dry-run", "--prune")
    assert [line for line in printed if line[:1] in "+~-"] == [
        "~ nightly-newsletter (prod): due: 06:00 → 07:00",
        "- hourly-suppression (dev)",
    ]
    assert listed(local)["nightly-newsletter"]["definition"]["due"] == "06:00"
    assert "hourly-suppression" in listed(local)


def test_a_change_applies_from_the_next_window(local: Local) -> None:
    """The window that has begun keeps its deadline and the former fields, and `show` says so."""
    nightly = NIGHTLY.replace('  opens: "00:00"\n', "")  # so that its window has always begun
    apply(local, nightly)
    due = planned(local, "nightly-newsletter")["window"]["dueAt"]
    first, second, _ = apply(local, nightly.replace("06:00", "07:00"))
    assert first == "~ nightly-newsletter (prod): due: 06:00 → 07:00"
    assert second.startswith("  applies after the window that is due ")
    found = show(local, "nightly-newsletter")
    assert (found["definition"]["due"], found["inForce"]["due"]) == ("07:00", "06:00")
    assert found["window"]["dueAt"] == due
    text = local.run("expectation", "show", "nightly-newsletter").stdout
    assert "keeps the former fields" in text


def test_only_prune_removes_what_the_file_lacks(local: Local) -> None:
    """Without it, those are named; with --sandbox, only that sandbox is looked at."""
    apply(local, NIGHTLY + HOURLY)
    assert apply(local, NIGHTLY) == [
        "not in the file, and kept: hourly-suppression (dev); --prune removes them",
        "nothing to change",
    ]
    assert apply(local, NIGHTLY, "--prune", "--sandbox", "prod") == ["nothing to change"]
    assert apply(local, NIGHTLY, "--prune") == [
        "- hourly-suppression (dev)",
        "written; the next sweep uses it",
    ]
    assert listed(local).keys() == {"nightly-newsletter"}


def test_names_alone_remove_nothing(local: Local) -> None:
    """A file that says nothing about expectations does not mean that there are none."""
    apply(local, NIGHTLY)
    names = "names: {datasets: {5bb4c46757920712f924a3eb: Newsletter}}"
    added = "+ dataset 5bb4c46757920712f924a3eb: Newsletter"
    assert apply(local, names) == [added, "written"]
    assert apply(local, names, "--prune") == ["nothing to change"]
    assert listed(local).keys() == {"nightly-newsletter"}


def test_nothing_is_written_if_anything_in_the_file_is_wrong(local: Local) -> None:
    """Every wrong field is named, of every entry, with those that only the stack knows."""
    wrong = NIGHTLY + HOURLY.replace("dev", "dve").replace("1h", "7h")
    title, sandbox, every = apply(local, wrong, code=2)
    assert title == "error: standard input is not valid:"
    where = "hourly-suppression: sandboxName: 'dve' is not watched; did you mean dev?"
    assert sandbox == f"  line 8, {where} watched: prod, dev"
    length = "must divide a day, and be at least 5m; write 6h or 8h"
    assert every == f"  line 10, hourly-suppression: every: {length}"
    assert listed(local) == {}


def test_a_file_is_checked_without_a_stack(tmp_path: Path) -> None:
    """Nothing runs; each wrong field is named."""
    file = tmp_path / "expectations.yaml"
    file.write_text(NIGHTLY + HOURLY)
    good = typed(["expectation", "check", str(file)], tmp_path)
    assert (good.returncode, good.stdout) == (0, "valid: 2 expectations\n")
    as_json = typed(["expectation", "check", str(file), "--json"], tmp_path)
    assert as_json.stdout.split() == ["{", '"valid":', "true,", '"expectations":', "2", "}"]
    bad = typed(["expectation", "check", "-"], tmp_path, stdin=NIGHTLY.replace("Rome", "Roma"))
    assert bad.returncode == 2
    assert "did you mean 'Europe/Rome'?" in bad.stderr
    assert bad.stdout == ""


def test_what_was_done_is_printed_as_json(local: Local) -> None:
    """With each field that changed."""
    added = local.json("expectation", "apply", "-", stdin=NIGHTLY + HOURLY)
    assert [one["name"] for one in added["added"]] == ["nightly-newsletter", "hourly-suppression"]
    changed = local.json(
        "expectation", "apply", "-", "--dry-run", stdin=NIGHTLY.replace("06:00", "07:00")
    )
    assert changed == {
        "written": False,
        "added": [],
        "changed": [
            {
                "sandboxName": "prod",
                "name": "nightly-newsletter",
                "fields": {"due": {"old": "06:00", "new": "07:00"}},
            }
        ],
        "removed": [],
        "notInFile": [{"sandboxName": "dev", "name": "hourly-suppression"}],
        "names": [],
    }


def test_one_is_muted_and_unmuted(local: Local) -> None:
    """It says until when, in its own zone; applying the file again keeps the mute."""
    apply(local, NIGHTLY)
    mute = ("expectation", "mute", "nightly-newsletter", "--until")
    far = "2099-01-01"
    assert "more than a year ahead" in local.run(*mute, far).stderr
    assert "is in the past" in local.run(*mute, "2020-01-01").stderr
    assert "is not a time: use 12h, 3d" in local.run(*mute, "tomorrow").stderr
    done = local.run(*mute, "3d")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("nightly-newsletter is muted until ")
    assert done.stdout.endswith(" Europe/Rome\n")
    assert apply(local, NIGHTLY) == ["nothing to change"]
    found = listed(local)["nightly-newsletter"]
    assert found["state"] == "MUTED"
    assert found["mutedUntil"]
    assert "MUTED" in local.run("expectation", "list").stdout
    assert "muted until" in local.run("expectation", "show", "nightly-newsletter").stdout
    done = local.run("expectation", "unmute", "nightly-newsletter")
    assert done.stdout == "nightly-newsletter is not muted\n"
    assert planned(local, "nightly-newsletter")["state"] == "OK"
    assert local.json("expectation", "unmute", "nightly-newsletter")["mutedUntil"] is None
    as_json = local.json("expectation", "mute", "nightly-newsletter", "--until", "12h")
    assert as_json["state"] == "MUTED"


def test_one_is_removed(local: Local) -> None:
    """Only that one."""
    apply(local, NIGHTLY + HOURLY)
    done = local.run("expectation", "remove", "nightly-newsletter")
    assert done.stdout == "nightly-newsletter was removed\n"
    assert listed(local).keys() == {"hourly-suppression"}
    assert local.json("expectation", "remove", "hourly-suppression")["sandboxName"] == "dev"


@pytest.mark.parametrize(
    "command", [["show"], ["remove"], ["unmute"], ["mute", "--until", "1d"]], ids=lambda c: c[0]
)
def test_an_unknown_name_is_answered_with_the_nearest(local: Local, command: list[str]) -> None:
    """Where several sandboxes have the name, it asks for the sandbox."""
    both = NIGHTLY + NIGHTLY.replace("prod", "dev")
    apply(local, both)
    mistyped = local.run("expectation", command[0], "nightly-newletter", *command[1:])
    assert mistyped.returncode == 2
    assert "did you mean nightly-newsletter?" in mistyped.stderr
    doubled = local.run("expectation", command[0], "nightly-newsletter", *command[1:])
    assert doubled.returncode == 2
    assert "prod, dev; use --sandbox" in doubled.stderr
    options = ("--sandbox", "dev", *command[1:])
    assert local.run("expectation", command[0], "nightly-newsletter", *options).returncode == 0


def overdue(now: int) -> ExpectationRecord:
    """One that was good, then missed, and is overdue, with a window in progress."""
    windows = [Window(now - n * HOUR, now - (n - 1) * HOUR, now - (n - 1) * HOUR) for n in (3, 2)]
    return ExpectationRecord(
        "prod",
        Expectation("weekly", "5bb4c46757920712f924a3eb", "Asia/Tokyo", due=0),
        applied_at=now - 9 * HOUR,
        window=Window(now - HOUR, now + HOUR, now + 90 * HOUR),
        missed=windows[1],
        missed_windows=1,
        overdue_since=windows[1].due,
        told_at=windows[1].due,
        last_good_at=now - 4 * HOUR,
        history=(PastWindow(windows[0], "GOOD", "17"), PastWindow(windows[1], "NEVER_STARTED")),
    )


def test_one_that_is_overdue_is_shown_with_its_windows(local: Local) -> None:
    """Their jobs, why one was missed, and since when it is overdue."""
    now = 1_900_000_000_000  # no sweep judges it
    store_of(local).edit_expectations("prod", [overdue(now)])
    row = local.run("expectation", "list").stdout.splitlines()[1]
    assert row.split()[:3] == ["weekly", "prod", "OVERDUE"]
    assert "Thu 2030-03-21 20:46  Mon 2030-03-18 01:46  Asia/Tokyo" in row
    text = local.run("expectation", "show", "weekly").stdout
    assert "missed windows  1" in text
    good, missed = text.splitlines()[-2:]
    assert good.split()[-2:] == ["GOOD", "17"]
    assert missed.split()[-1] == "NEVER_STARTED"
    found = show(local, "weekly")
    assert (found["state"], found["missedWindows"]) == ("OVERDUE", 1)
    assert [(past["outcome"], past["jobId"]) for past in found["windows"]] == [
        ("GOOD", "17"),
        ("NEVER_STARTED", None),
    ]


def test_a_sweep_that_writes_meanwhile_loses_nothing(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both writes are there afterwards: the command reads again, and decides anew."""
    apply(local, NIGHTLY)
    planned(local, "nightly-newsletter")
    edit = DynamoDbStore.edit_expectations
    sweeps: list[ExpectationRecord] = []

    def after_a_sweep(store: DynamoDbStore, sandbox: str, *edits: Any) -> None:
        if not sweeps:
            (record,) = store.expectations(sandbox)
            sweeps.append(replace(record, last_good_at=17))
            edit(store, sandbox, sweeps)
        edit(store, sandbox, *edits)

    monkeypatch.setattr(DynamoDbStore, "edit_expectations", after_a_sweep)
    printed = apply(local, NIGHTLY.replace("06:00", "07:00"))
    assert printed[0] == "~ nightly-newsletter (prod): due: 06:00 → 07:00"
    (record,) = store_of(local).expectations("prod")
    assert (record.last_good_at, record.expectation.due) == (17, 420)
    assert record.version > sweeps[0].version + 1


def test_a_write_that_never_succeeds_is_an_error(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three tries; it says which sandboxes were written."""
    edit = DynamoDbStore.edit_expectations
    tries: list[str] = []

    def busy(store: DynamoDbStore, sandbox: str, *edits: Any) -> None:
        tries.append(sandbox)
        if sandbox == "dev":
            raise StoreUnavailable("can't write the expectations: they have changed")
        edit(store, sandbox, *edits)

    monkeypatch.setattr(stored, "PAUSE_S", 0)
    monkeypatch.setattr(DynamoDbStore, "edit_expectations", busy)
    (error,) = apply(local, NIGHTLY + HOURLY, code=2)
    assert (
        "those of prod were written; those of dev may be only partly written; run the command"
        in error
    )
    assert tries == ["prod", "dev", "dev", "dev"]
    assert listed(local).keys() == {"nightly-newsletter"}


def test_a_write_that_is_refused_is_not_tried_again(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing permission is not there a moment later."""
    tries: list[str] = []

    def refuse(store: DynamoDbStore, sandbox: str, *_: Any) -> None:
        tries.append(sandbox)
        raise StoreRefused("can't write the expectations: AccessDeniedException")

    monkeypatch.setattr(DynamoDbStore, "edit_expectations", refuse)
    (error,) = apply(local, NIGHTLY + HOURLY, code=2)
    assert error == "error: can't write the expectations: AccessDeniedException"
    assert tries == ["prod"]


def nightly_runs(local: Local) -> None:
    """Twenty good runs of an export at 02:00 UTC, on record in sandbox dev."""
    store, day = store_of(local), 24 * HOUR
    today = now_ms() // day * day
    for n in range(1, 21):
        created = today - n * day + 2 * HOUR
        run = JobRecord(
            "dev", f"run-{n}", created, status="SUCCEEDED", outcome="SUCCEEDED", final=True,
            dataset_id="5bb4c46757920712f924a3eb", duration_ms=HOUR, touched_at=now_ms(),
        )  # fmt: skip
        store.put(run)


def test_what_to_expect_is_suggested_as_a_file(local: Local, tmp_path: Path) -> None:
    """By the jobs on record and, with --live, by Adobe's schedules; applied, nothing is left."""
    nightly_runs(local)
    cron = {"schedule": "0 0 14 * * ?", "type": "export", "state": "active"}
    for name, properties in (("VIPs", {"datasetId": "5b7c86968f7b6501e21ba9df"}), ("Others", {})):
        plan = {**cron, "name": name, "properties": properties}
        requests.post(local.control("schedules?sandbox=prod"), json=plan, timeout=10)
    done = local.run("expectation", "suggest")
    assert done.returncode == 0, done.stderr
    assert "# 14 of the last 14 days have a good run, created 02:00 to 02:00" in done.stdout
    assert "VIPs" not in done.stdout
    done = local.run("expectation", "suggest", "--live")
    assert done.returncode == 0, done.stderr
    assert apply(local, done.stdout) == [
        "+ vips (prod)",
        "+ daily-0200-5bb4c467 (dev)",
        "written; the next sweep uses it",
    ]
    dev, prod = (listed(local)[name]["definition"] for name in ("daily-0200-5bb4c467", "vips"))
    assert (dev["opens"], dev["due"], dev["timezone"]) == ("01:30", "03:30", "UTC")
    assert (prod["opens"], prod["due"]) == ("14:00", "18:00")
    assert "[]" in local.run("expectation", "suggest").stdout.splitlines()
    apply(local, "[]", "--prune")
    file = tmp_path / "expectations.yaml"
    file.write_text(done.stdout)
    assert "[]" in local.run("expectation", "suggest", str(file)).stdout.splitlines()
    (in_rome,) = local.json("expectation", "suggest", "--timezone", "Europe/Rome")["suggestions"]
    assert in_rome["definition"]["timezone"] == "Europe/Rome"
    assert in_rome["basis"]
    mistyped = local.run("expectation", "suggest", "--timezone", "Rome")
    assert mistyped.stderr.startswith("error: --timezone: there is no time zone 'Rome'; did you")


def test_a_hundred_and_more_are_applied(local: Local) -> None:
    """A transaction takes a hundred items; there may be more of them."""
    many = "".join(NIGHTLY.replace("nightly-", f"n{n}-") for n in range(120))
    assert len(apply(local, many)) == 121
    assert apply(local, many) == ["nothing to change"]
    assert len(listed(local)) == 120
