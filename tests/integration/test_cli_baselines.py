"""`export-jobs baseline`, and unusual jobs, against the local system: what a person types."""

from __future__ import annotations

import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.aws.dynamodb.store import DynamoDbStore
from export_jobs.model.ports import BaselineChanged
from export_jobs_cli.baselines import stored
from support.command_line import Local, envelope, store_of, until
from support.unusual import DAY_MS, KIND, learned, unusual_job

pytestmark = pytest.mark.xdist_group("baselines")


@pytest.fixture(autouse=True)
def _learned(local: Local) -> None:
    """Each test begins with four weeks that are known, and an unusual one."""
    today = now_ms() // DAY_MS * DAY_MS
    store = store_of(local)
    known = {one.kind: one.version for one in store.every_baseline("prod")}
    store.put_baseline(learned(today, version=known.get(KIND, 0)))
    if not list(store.jobs("prod", named="unusual-1")):
        store.put(unusual_job(today))


def test_what_is_usual_is_listed_and_shown(local: Local) -> None:
    """By the kind, by its beginning and by a job; the same as JSON."""
    rows = local.run("baseline", "list").stdout.splitlines()
    (row,) = [line for line in rows if KIND in line]
    for text in ("prod", "20 min", "1,000,000", "four weeks", "1 of 3"):
        assert text in row
    shown = local.run("baseline", "show", KIND).stdout
    assert local.run("baseline", "show", KIND[:8]).stdout == shown
    assert local.run("baseline", "show", "unusual-1").stdout == shown
    assert "VOLUME_DROP     fewer than 666,667" in shown
    assert "delayed         after 60 min, based on what is usual" in shown
    listed = {one["kind"]: one for one in local.json("baseline", "list", "--sandbox", "prod")}
    found = local.json("baseline", "show", KIND)
    assert listed[KIND] == found
    assert (found["profiles"]["usual"], found["durationMs"]["usual"]) == (1_000_000, 1_200_000)
    assert local.json("baseline", "list", "--sandbox", "dev") == []
    assert "no baselines" in local.run("baseline", "list", "--sandbox", "dev").stdout


def test_jobs_say_how_they_are_unusual(local: Local) -> None:
    """With the numbers, and the command that accepts this one."""
    shown = local.run("job", "show", "unusual-1").stdout
    assert "took           20 min (usually 20 min)" in shown
    assert "profiles       400,000 (usually 1,000,000)" in shown
    assert "unusual        VOLUME DROP, 400,000 profiles (usually 1,000,000)" in shown
    assert "compared with  28 runs of the same kind" in shown
    hint = "export-jobs baseline accept unusual-1 --sandbox prod"
    assert shown.splitlines()[-1] == f"if this is usual from now on: {hint}"
    found = local.json("job", "show", "unusual-1")
    assert (found["anomalies"], found["profilesRatio"]) == (["VOLUME_DROP"], 0.4)
    assert (found["usualProfilesExported"], found["canBeAccepted"]) == (1_000_000, True)
    listed = local.run("job", "list", "--sandbox", "prod").stdout
    _, _, unusual = listed.partition("\nunusual\n")
    assert unusual == "unusual-1  VOLUME DROP, 400,000 profiles (usually 1,000,000)\n"


def test_an_unusual_job_is_accepted(local: Local) -> None:
    """Once; then nothing suggests it any more."""
    accepted = local.run("baseline", "accept", "unusual-1")
    assert accepted.returncode == 0, accepted.stderr
    first, profiles, duration, *_ = accepted.stdout.splitlines()
    assert first == "job unusual-1 is the new usual: VOLUME_DROP accepted"
    assert profiles == "profiles  usually 400,000 (learning: 1 of 7 runs)"
    assert duration == "duration  usually 20 min (four weeks)"
    again = local.run("baseline", "accept", "unusual-1")
    assert (again.returncode, again.stdout) == (2, "")
    assert "is usual by now" in again.stderr
    assert "baseline accept" not in local.run("job", "show", "unusual-1").stdout
    assert local.json("job", "show", "unusual-1")["canBeAccepted"] is False


def test_it_is_accepted_as_json(local: Local) -> None:
    """With the baseline as it is from now on."""
    accepted = local.json("baseline", "accept", "unusual-1", "--sandbox", "prod")
    assert (accepted["jobId"], accepted["kind"]) == ("unusual-1", KIND)
    assert accepted["accepted"] == ["VOLUME_DROP"]
    assert accepted["baseline"] == local.json("baseline", "show", KIND)


def test_a_sweep_that_writes_meanwhile_loses_nothing(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is accepted on top of what the sweep has written."""
    put = DynamoDbStore.put_baseline
    conflicts: list[type[Exception]] = []

    def after_a_sweep(store: DynamoDbStore, baseline: stored.Baseline) -> None:
        if not conflicts:
            (known,) = store.every_baseline("prod", beginning=KIND)
            put(store, known)
            conflicts.append(BaselineChanged)
        put(store, baseline)

    monkeypatch.setattr(stored, "PAUSE_S", 0)
    monkeypatch.setattr(DynamoDbStore, "put_baseline", after_a_sweep)
    before = local.run("baseline", "accept", "unusual-1")
    assert before.returncode == 0, before.stderr
    assert conflicts
    assert local.json("baseline", "show", KIND)["profiles"]["usual"] == 400_000


def test_what_a_job_teaches_can_be_seen(local: Local) -> None:
    """A job that ends well has a baseline, though nothing is unusual yet."""
    local.send(envelope("teaches"))
    until(lambda: len(local.json("baseline", "list")) == 2)
    job = local.json("request", "show", "teaches")["jobId"]
    found = local.json("baseline", "show", job)
    assert (found["profiles"]["stage"], len(found["runs"])) == ("LEARNING", 1)
    assert "learning: 1 of 7 runs" in local.run("baseline", "list").stdout
    refused = local.run("baseline", "accept", job)
    assert refused.returncode == 2
    assert "was not unusual when it ended" in refused.stderr
    unknown = local.run("baseline", "show", "none-such")
    assert "no job 'none-such' is on record in prod or dev" in unknown.stderr
