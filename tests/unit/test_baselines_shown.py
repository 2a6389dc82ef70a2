"""What `baseline list|show|accept` say of a baseline, whatever is known of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from export_jobs.contract.times import rfc3339
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.delays import DelayPolicy
from export_jobs.model.names import NO_NAMES, Names
from export_jobs.model.records import JobRecord
from export_jobs_cli.baselines import shown
from export_jobs_cli.baselines.stored import Accepted
from support.usual import MONDAY

DAY_MS = 24 * 3_600_000
DATASET = "5bb4c46757920712f924a3eb"


def night(number: int, profiles: int | None = 900, minutes: int | None = 20) -> Run:
    duration_ms = None if minutes is None else minutes * 60_000
    return Run(MONDAY + number * DAY_MS, duration_ms, profiles)


def nights(count: int, **fields: object) -> Baseline:
    runs = tuple(night(number) for number in range(count))
    return replace(Baseline("prod", "1-0a", DATASET, runs=runs), **fields)  # type: ignore[arg-type]


def shown_of(baseline: Baseline, delays: DelayPolicy | None = None) -> shown.Shown:
    now = max((run.created_at for run in baseline.runs), default=MONDAY) + DAY_MS // 3
    return shown.Shown.of(baseline, names=NO_NAMES, delays=delays or DelayPolicy(), now=now)


def lines_of(printed: str) -> dict[str, str]:
    """The facts that were printed, by their names."""
    pairs = (line.split("  ", 1) for line in printed.splitlines() if "  " in line)
    return {name.strip(): value.strip() for name, value in pairs}


@pytest.mark.parametrize(
    ("count", "state"),
    [
        (0, "learning: 0 of 7 runs"),
        (3, "learning: 3 of 7 runs"),
        (8, "early: 8 of 28 days"),
        (29, "four weeks"),
    ],
)
def test_the_state_says_how_much_is_known(count: int, state: str) -> None:
    """In runs, then in days."""
    assert shown_of(nights(count)).state == state


def test_seven_runs_of_less_than_a_week_are_counted_in_days() -> None:
    """An hourly export still lacks a weekend after a hundred runs."""
    runs = tuple(Run(MONDAY + n * DAY_MS // 24, 60_000, 10) for n in range(100))
    assert shown_of(nights(0, runs=runs)).state == "learning: 4 of 7 days"


def test_profiles_and_duration_may_be_known_for_different_times() -> None:
    """After a new usual volume, the duration is known as before."""
    runs = tuple(night(n, None if n < 28 else 300) for n in range(30))
    one = shown_of(nights(0, runs=runs))
    assert one.state == "profiles learning: 2 of 7 runs; duration four weeks"
    without = tuple(night(n, None) for n in range(30))
    assert shown_of(nights(0, runs=without)).state == "four weeks"


def test_the_next_run_is_expected_at_its_usual_time() -> None:
    """So that it is compared with the same night of other weeks; never in the past."""
    baseline, last = nights(20), MONDAY + 19 * DAY_MS
    assert shown.next_run_at(baseline, now=last + 1) == last + DAY_MS
    assert shown.next_run_at(baseline, now=last + 3 * DAY_MS) == last + 3 * DAY_MS
    assert shown.next_run_at(nights(1), now=last) == last
    unusual = nights(20, unusual=(night(20, 1), night(21, 1)))
    assert shown.next_run_at(unusual, now=last) == MONDAY + 22 * DAY_MS


def test_one_is_shown_with_its_limits(capsys: pytest.CaptureFixture[str]) -> None:
    """What is usual, when the next run is unusual or delayed, and the last runs."""
    shown.show(shown_of(nights(30, segment_count=12, segments=("s1", "s2", "s3", "s4"))))
    printed = capsys.readouterr().out
    facts = lines_of(printed)
    assert printed.startswith("kind 1-0a\n")
    assert facts["dataset"] == DATASET
    assert facts["segments"] == "s1, s2, s3 and 9 more"
    assert facts["usual profiles"] == "900"
    assert facts["VOLUME_DROP"] == "fewer than 600"
    assert facts["VOLUME_SPIKE"] == "more than 1,350"
    assert facts["usually takes"] == "20 min"
    assert facts["SLOW"] == "more than 40 min"
    assert facts["delayed"] == "after 60 min, based on what is usual"
    assert "next run, at about 2023-12-20 00:00 UTC" in printed
    assert printed.count("20 min  ") == shown.RUNS_SHOWN
    assert "and 16 earlier" in printed
    assert "unusual, in a row" not in printed


def test_unusual_runs_are_shown_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """With how many more it takes."""
    baseline = nights(10, unusual=(night(10, 100), night(11, 90)))
    shown.show(shown_of(baseline))
    printed = capsys.readouterr().out
    _, _, apart = printed.partition("unusual, in a row (UTC); 3 that agree become the new usual\n")
    assert [line.split()[-1] for line in apart.splitlines()[1:]] == ["90", "100"]
    shown.show_list([shown_of(baseline), shown_of(nights(2))], sandboxes=2)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.endswith("unusual in a row")
    assert first.endswith("2 of 3")
    assert second.endswith("learning: 2 of 7 runs")


def test_while_it_is_learning_nothing_is_unusual(capsys: pytest.CaptureFixture[str]) -> None:
    """And only the configured limit counts."""
    shown.show(shown_of(nights(3)))
    facts = lines_of(capsys.readouterr().out)
    for name in ("VOLUME_DROP", "VOLUME_SPIKE", "SLOW"):
        assert facts[name] == "never: not enough runs are known"
    assert facts["usual profiles"] == "900"
    assert facts["delayed"] == "after 2 h 30 min, as configured"


@pytest.mark.parametrize(
    ("delays", "said"),
    [
        (DelayPolicy(factor=2), "after 40 min, based on what is usual"),
        (DelayPolicy(factor=0), "after 2 h 30 min, as configured"),
        (
            DelayPolicy(limit_ms=30 * 60_000),
            "after 30 min, as configured; based on what is usual, it would be 60 min",
        ),
        (
            DelayPolicy(by_dataset_ms={DATASET: 25 * 60_000}),
            "after 25 min, as configured; based on what is usual, it would be 60 min",
        ),
    ],
)
def test_the_limit_of_delays_is_the_smaller_one(
    delays: DelayPolicy, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the settings of the stack, as for the monitor."""
    shown.show(shown_of(nights(30), delays))
    assert lines_of(capsys.readouterr().out)["delayed"] == said


def test_the_list_says_what_is_usual(capsys: pytest.CaptureFixture[str]) -> None:
    """Names where they are given; the sandbox only where there are several."""
    names = Names({DATASET: "Newsletter"}, {"s9": "VIPs"})
    baseline = nights(30, segment_count=2, segments=("s1", "s9"))
    one = shown.Shown.of(baseline, names=names, delays=DelayPolicy(), now=MONDAY)
    shown.show_list([one], sandboxes=1)
    header, row = capsys.readouterr().out.splitlines()
    assert "sandbox" not in header
    assert "unusual" not in header
    for text in ("1-0a", f"Newsletter ({DATASET})", "VIPs (s9), s1", "30", "20 min", "900"):
        assert text in row
    assert row.split()[-4:] == ["12-19", "00:00", "four", "weeks"]
    shown.show_list([], sandboxes=1)
    assert capsys.readouterr().out.startswith("no baselines")


def test_json_has_every_run_and_the_limits() -> None:
    """Numbers as in events; it can be written as JSON."""
    found = shown_of(nights(30, unusual=(night(30, 1),))).as_json()  # three are too old by then
    assert json.loads(json.dumps(found)) == found
    assert len(found["runs"]) == 30
    assert found["unusualInARow"] == [
        {
            "createdAt": rfc3339(MONDAY + 30 * DAY_MS),
            "durationMs": 1_200_000,
            "profilesExported": 1,
        }
    ]
    assert found["profiles"] == {
        "stage": "FOUR_WEEKS", "runs": 27, "usual": 900, "lowest": 600, "highest": 1_350,
    }  # fmt: skip
    assert found["durationMs"]["lowest"] is None
    assert (found["delayLimitMs"], found["configuredLimitMs"]) == (3_600_000, 9_000_000)
    assert found["nextRunAt"] == rfc3339(MONDAY + 31 * DAY_MS)


def test_an_accepted_job_says_what_is_usual_now(capsys: pytest.CaptureFixture[str]) -> None:
    """And that it is learned anew."""
    runs = (*(night(n, None) for n in range(30)), night(30, 300))
    baseline = nights(0, runs=runs)
    job = JobRecord("prod", "4711", MONDAY)
    shown.show_accepted(Accepted(job, ("VOLUME_DROP",), baseline), shown_of(baseline))
    first, profiles, duration, last = capsys.readouterr().out.splitlines()
    assert first == "job 4711 is the new usual: VOLUME_DROP accepted"
    assert profiles == "profiles  usually 300 (learning: 1 of 7 runs)"
    assert duration == "duration  usually 20 min (four weeks)"
    assert "nothing is unusual" in last
