"""Finding a baseline by what people type, and accepting an unusual job as the new usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.records import Event, JobRecord, Undelivered
from export_jobs_cli.baselines import stored
from export_jobs_cli.errors import UserError
from support.fake_store import FakeStore
from support.fakes import Fakes
from support.usual import MONDAY

DAY_MS = 24 * 3_600_000
KIND = "1-0123456789abcdef"


class Store(FakeStore):
    """With what only people read: jobs by their ids."""

    def __init__(self) -> None:
        super().__init__(Fakes())
        self.before_writing: list[Any] = []

    def jobs(self, sandbox: str, *, named: str) -> list[JobRecord]:
        return [job for job in self.jobs_since(sandbox, 0) if job.job_id == named]

    def put_baseline(self, baseline: Baseline) -> None:
        if self.before_writing:
            self.before_writing.pop(0)()
        super().put_baseline(baseline)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(stored, "PAUSE_S", 0)
    return Store()


def system_of(store: Store) -> Any:
    def sandboxes(wanted: str | None) -> Sequence[str]:
        return (wanted,) if wanted else ("prod", "dev")

    return cast("Any", SimpleNamespace(store=store, sandboxes=sandboxes))


def a_job(profiles: int | None = 300, night: int = 40, **fields: Any) -> JobRecord:
    """One that exported too few profiles, as a sweep has recorded it."""
    job = JobRecord(
        "prod",
        "4711",
        MONDAY + night * DAY_MS,
        status="SUCCEEDED",
        final=True,
        outcome="SUCCEEDED",
        kind=KIND,
        duration_ms=1_200_000,
        profiles_exported=profiles,
        end_detail={"final": True, "anomalies": ["VOLUME_DROP"]},
    )
    return replace(job, **fields)


def a_baseline(**fields: Any) -> Baseline:
    runs = tuple(Run(MONDAY + n * DAY_MS, 1_200_000, 900) for n in range(40))
    known = Baseline(
        "prod", KIND, "d", runs=runs, unusual=(Run(MONDAY + 40 * DAY_MS, 1_200_000, 300),)
    )
    return replace(known, **fields)


def current(store: Store) -> Baseline:
    (found,) = store.every_baseline("prod", beginning=KIND)
    return found


def refused(store: Store, job_id: str = "4711", sandbox: str | None = None) -> str:
    """What is said when accepting is refused; then nothing is written."""
    before = list(store.every_baseline("prod"))
    with pytest.raises(UserError) as caught:
        stored.accept(system_of(store), job_id, sandbox=sandbox)
    assert list(store.every_baseline("prod")) == before
    return str(caught.value)


def test_an_unusual_job_is_the_new_usual(store: Store) -> None:
    """Its profiles replace those that were usual; the usual time stays known."""
    store.put_baseline(a_baseline())
    store.put(a_job())
    accepted = stored.accept(system_of(store), "4711", sandbox=None)
    assert accepted.anomalies == ("VOLUME_DROP",)
    after = current(store)
    assert after == replace(accepted.baseline, version=2)
    assert [run.profiles for run in after.runs if run.profiles is not None] == [300]
    assert sum(run.duration_ms is not None for run in after.runs) >= 28
    assert after.unusual == ()
    assert accepted.as_json()["accepted"] == ["VOLUME_DROP"]


def test_a_job_whose_end_is_not_delivered_yet_can_be_accepted(store: Store) -> None:
    """As its final event waits in the outbox."""
    event = Event("Export Job State Change", {"final": True, "anomalies": ["VOLUME_DROP"]})
    store.put_baseline(a_baseline())
    store.put(a_job(end_detail=None, outbox=(Undelivered(event, frozenset({"bus"})),)))
    assert stored.accept(system_of(store), "4711", sandbox="prod").anomalies == ("VOLUME_DROP",)


def test_an_unknown_job_is_not_accepted(store: Store) -> None:
    """It says where it was looked for."""
    assert "no job '4711' is on record in prod or dev" in refused(store)
    assert "no job '4711' is on record in dev" in refused(store, sandbox="dev")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"final": False, "status": "PROCESSING", "outcome": None}, "still open (PROCESSING)"),
        ({"final": False, "status": None, "outcome": None}, "still open (NEW)"),
        ({"status": "FAILED", "outcome": "FAILED"}, "has ended as FAILED"),
        ({"outcome": "SUCCEEDED_EMPTY", "profiles_exported": 0}, "has ended as SUCCEEDED_EMPTY"),
        ({"outcome": "SUCCEEDED_WITH_ERRORS"}, "has ended as SUCCEEDED_WITH_ERRORS"),
        ({"end_detail": {"final": True, "anomalies": []}}, "nothing to accept"),
        ({"end_detail": {"final": True}}, "nothing to accept"),
        ({"end_detail": None}, "nothing to accept"),
        ({"kind": None}, "has no baseline"),
        ({"kind": "1-ff"}, "there is no baseline for job '4711' (kind 1-ff)"),
    ],
)
def test_a_job_that_shows_nothing_usual_is_not_accepted(
    store: Store, fields: dict[str, Any], said: str
) -> None:
    """Open, ended badly, without an anomaly, or without a baseline: it says which."""
    store.put_baseline(a_baseline())
    store.put(a_job(**fields))
    assert said in refused(store)


def test_a_job_is_accepted_once(store: Store) -> None:
    """The second time, it says that the job is usual by now."""
    store.put_baseline(a_baseline())
    store.put(a_job())
    stored.accept(system_of(store), "4711", sandbox=None)
    assert "is usual by now" in refused(store)


def test_the_third_in_a_row_needs_no_acceptance(store: Store) -> None:
    """It has become the new usual by itself."""
    runs = tuple(Run(MONDAY + n * DAY_MS, 1_200_000, None) for n in range(40))
    learned = tuple(Run(MONDAY + n * DAY_MS, 1_200_000, 300) for n in (40, 41, 42))
    store.put_baseline(a_baseline(runs=(*runs, *learned), unusual=()))
    store.put(a_job(night=42))
    assert "is usual by now" in refused(store)


def test_an_id_of_several_jobs_is_refused(store: Store) -> None:
    """With --sandbox, it is clear which one is meant."""
    store.put_baseline(a_baseline())
    store.put(a_job())
    store.put(a_job(sandbox="dev"))
    assert "several jobs have the id '4711': in prod, dev; use --sandbox" in refused(store)
    assert stored.accept(system_of(store), "4711", sandbox="prod").job.sandbox == "prod"


def test_what_a_sweep_writes_meanwhile_is_kept(store: Store) -> None:
    """The baseline is read again, and the job accepted on top of it."""
    store.put_baseline(a_baseline())
    store.put(a_job())
    newest = Run(MONDAY + 41 * DAY_MS, 1_200_000, 900)

    def sweep() -> None:
        known = current(store)
        FakeStore.put_baseline(store, replace(known, runs=(*known.runs, newest), unusual=()))

    store.before_writing = [sweep]
    stored.accept(system_of(store), "4711", sandbox=None)
    kept = {run.created_at: run for run in current(store).runs}
    assert kept[newest.created_at] == replace(newest, profiles=None)
    assert kept[MONDAY + 40 * DAY_MS].profiles == 300
    assert current(store).version == 3


def test_somebody_who_accepts_it_meanwhile_is_not_overwritten(store: Store) -> None:
    """The second person is told."""
    store.put_baseline(a_baseline())
    store.put(a_job())

    def other() -> None:
        store.before_writing = []
        stored.accept(system_of(store), "4711", sandbox=None)

    store.before_writing = [other]
    with pytest.raises(UserError, match="is usual by now"):
        stored.accept(system_of(store), "4711", sandbox=None)
    assert current(store).version == 2


def test_a_baseline_that_never_rests_is_given_up(store: Store) -> None:
    """After some tries, with what to do."""
    store.put_baseline(a_baseline())
    store.put(a_job())

    def touch() -> None:
        FakeStore.put_baseline(store, current(store))

    store.before_writing = [touch] * stored.TRIES
    with pytest.raises(UserError, match="nothing was accepted; run the command again"):
        stored.accept(system_of(store), "4711", sandbox=None)
    assert not store.before_writing


# -- finding -------------------------------------------------------------------------------------


def test_a_baseline_is_found_by_its_kind_or_a_job(store: Store) -> None:
    """A kind by its beginning, too, if only one begins so."""
    store.put_baseline(a_baseline())
    store.put_baseline(a_baseline(kind="1-0fff"))
    store.put(a_job())
    for typed in (KIND, "1-01", "4711"):
        assert stored.named(system_of(store), typed, sandbox=None).kind == KIND
    assert stored.named(system_of(store), "1-0fff", sandbox=None).kind == "1-0fff"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("1-", "several kinds begin with '1-': 1-00, 1-01, 1-02, 1-03, 1-04 and 2 more"),
        ("1-07", "several sandboxes have the kind 1-07: prod, dev; use --sandbox"),
        ("1-abc", "no job '1-abc' is on record in prod or dev"),
        ("", "no job '' is on record"),
    ],
)
def test_what_is_not_clear_is_refused(store: Store, typed: str, said: str) -> None:
    """Several kinds, a kind of several sandboxes, or nothing."""
    for number in (*range(6), 7):
        store.put_baseline(a_baseline(kind=f"1-0{number}"))
    store.put_baseline(a_baseline(kind="1-07", sandbox="dev"))
    with pytest.raises(UserError) as caught:
        stored.named(system_of(store), typed, sandbox=None)
    assert said in str(caught.value)


def test_the_list_begins_with_what_ran_last(store: Store) -> None:
    """In each sandbox; an unusual run counts, too."""
    store.put_baseline(a_baseline(kind="1-a", unusual=()))
    store.put_baseline(a_baseline(kind="1-b"))
    store.put_baseline(a_baseline(kind="1-c", sandbox="dev"))
    found = stored.every_one(system_of(store), sandbox=None)
    assert [one.kind for one in found] == ["1-b", "1-a", "1-c"]
    assert stored.every_one(system_of(store), sandbox="dev") == found[2:]
