"""How often the rule of the baselines is wrong, and what it finds, on seeded series of exports.

Each series has half as many profiles, and takes half as long, at weekends. Its values vary by a
normal distribution of their logarithms, whose standard deviation a row of the tables gives: at
0.1, two runs in three are within 10 % of usual. Nightly exports begin within three hours of the
same time, hourly ones within twenty minutes. The result is the same each time, and on any machine.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.limits import DAY_MS
from export_jobs.monitor.baselines import WEEK_MS, compare, learn

from benchmarks.measuring import LONG
from benchmarks.report import put_into, table

MORE = 10 if LONG else 1
HOUR_MS = DAY_MS // 24
BEGIN = 1_760_000_000_000
PROFILES = 1_000_000
DURATION_MS = 20 * 60_000
FOUND_SIGMAS = (0.05, 0.08, 0.1, 0.15, 0.2, 0.3)
ANOMALIES = ("VOLUME_DROP", "VOLUME_SPIKE", "SLOW")
CHANGES = {
    "a third less": (2 / 3, 1.0, "VOLUME_DROP"),
    "half": (0.5, 1.0, "VOLUME_DROP"),
    "80 % less": (0.2, 1.0, "VOLUME_DROP"),
    "twice as many": (2.0, 1.0, "VOLUME_SPIKE"),
    "twice as slow": (1.0, 2.0, "SLOW"),
    "four times as slow": (1.0, 4.0, "SLOW"),
}
"""The factors of a run's profiles and duration, and what it then has to be called."""


@dataclass(frozen=True)
class Rhythm:
    """How often an export runs, and how much its beginning varies."""

    name: str
    every_ms: int
    jitter_ms: int

    @property
    def a_day(self) -> int:
        return DAY_MS // self.every_ms


NIGHTLY = Rhythm("nightly", DAY_MS, 3 * HOUR_MS)
HOURLY = Rhythm("hourly", HOUR_MS, HOUR_MS // 3)


def series(
    rng: random.Random, rhythm: Rhythm, sigma: float, days: int, *, growth: float = 0.0
) -> Iterator[Run]:
    """The runs of some days, from a random day of the week on; `growth` is that of a week."""
    first_day = rng.randrange(7)
    for number in range(days * rhythm.a_day):
        began = number * rhythm.every_ms
        level = 0.5 if (began // DAY_MS + first_day) % 7 >= 5 else 1.0
        grown = (1 + growth) ** (began / WEEK_MS)
        yield Run(
            BEGIN + began + rng.randrange(rhythm.jitter_ms),
            int(DURATION_MS * level * math.exp(rng.gauss(0, sigma))),
            int(PROFILES * level * grown * math.exp(rng.gauss(0, sigma))),
        )


def false_alarms(
    rhythm: Rhythm, sigma: float, days: range, series_count: int, *, growth: float = 0.0
) -> tuple[int, Counter[str]]:
    """The number of runs on these days of some series, and the anomalies found in them."""
    rng, runs, found = random.Random(1), 0, Counter[str]()
    for _ in range(series_count * MORE):
        known = Baseline("prod", "kind")
        for number, run in enumerate(series(rng, rhythm, sigma, days.stop, growth=growth)):
            comparison = compare(known, run)
            if number // rhythm.a_day in days:
                runs += 1
                found.update(comparison.anomalies)
            known = learn(known, run, comparison)
    return runs, found


def history(rng: random.Random, rhythm: Rhythm, sigma: float, days: int) -> tuple[Baseline, Run]:
    """What some days have taught, and the run that follows, at any hour of the next day."""
    runs = list(series(rng, rhythm, sigma, days + 1))
    until = days * rhythm.a_day + rng.randrange(rhythm.a_day)
    known = Baseline("prod", "kind")
    for run in runs[:until]:
        judged = compare(known, run) if rhythm is NIGHTLY else compare(Baseline("", ""), run)
        known = learn(known, run, judged)  # of hourly runs, all: it would take minutes
    return known, runs[until]


def found_in(rhythm: Rhythm, sigma: float, days: int, tries: int) -> list[float]:
    """The share of runs that are found if they are as each of `CHANGES` says."""
    rng, found = random.Random(2), Counter[str]()
    for _ in range(tries * MORE):
        known, run = history(rng, rhythm, sigma, days)
        for name, (profiles, duration, anomaly) in CHANGES.items():
            changed = replace(
                run,
                profiles=int((run.profiles or 0) * profiles),
                duration_ms=int((run.duration_ms or 0) * duration),
            )
            found[name] += anomaly in compare(known, changed).anomalies
    return [found[name] / (tries * MORE) for name in CHANGES]


def alarms_of_step(sigma: float, factor: float, *, days: int, tries: int) -> tuple[float, float]:
    """The mean number of alarms in the four weeks after nightly exports change for good.

    And the share of the tries in which it is exactly three, of which the third says that this is
    usual from now on.
    """
    rng, alarms, exactly = random.Random(3), 0, 0
    for _ in range(tries * MORE):
        known, said = Baseline("prod", "kind"), []
        for number, run in enumerate(series(rng, NIGHTLY, sigma, days + 28)):
            after = number >= days
            now = replace(run, profiles=int((run.profiles or 0) * (factor if after else 1)))
            comparison = compare(known, now)
            if after and comparison.anomalies:
                said.append((number, bool(comparison.new_usual)))
            known = learn(known, now, comparison)
        alarms += len(said)
        exactly += [one for _, one in said] == [False, False, True]
    return alarms / (tries * MORE), exactly / (tries * MORE)


# -- tables --------------------------------------------------------------------------------------


_PERIODS = (
    ("nightly, from the seventh run on", NIGHTLY, range(7, 28), 600),
    ("nightly, after four weeks", NIGHTLY, range(29, 90), 400),
    ("hourly, from the second week on", HOURLY, range(7, 28), 16),
    ("hourly, after four weeks", HOURLY, range(29, 43), 16),
)


def false_alarm_table() -> str:
    rows = []
    for name, rhythm, days, count in _PERIODS:
        for sigma in (0.1, 0.2, 0.3):
            runs, found = false_alarms(rhythm, sigma, days, count)
            rates = [f"{1000 * found[one] / runs:.2f}" for one in ANOMALIES]
            rows.append([name, f"{sigma}", f"{runs:,}", *rates])
    return table(["exports", "σ", "runs", *(f"`{one}`" for one in ANOMALIES)], rows)


def found_table() -> str:
    rows = []
    for name, rhythm, days, tries in (
        ("nightly, day 14", NIGHTLY, 14, 600),
        ("nightly, after four weeks", NIGHTLY, 35, 600),
        ("hourly, after four weeks", HOURLY, 35, 60),
    ):
        for sigma in FOUND_SIGMAS:
            shares = found_in(rhythm, sigma, days, tries)
            rows.append([name, f"{sigma}", *(f"{100 * share:.1f} %" for share in shares)])
    return table(["exports", "σ", *CHANGES], rows)


def change_table() -> str:
    rows = []
    for name, factor, days in (
        ("half as many from one night on, on day 14", 0.5, 14),
        ("80 % less from one night on, on day 14", 0.2, 14),
        ("half as many from one night on, after five weeks", 0.5, 35),
        ("80 % less from one night on, after five weeks", 0.2, 35),
        ("twice as many from one night on, after five weeks", 2.0, 35),
    ):
        for sigma in (0.05, 0.1):
            alarms, exactly = alarms_of_step(sigma, factor, days=days, tries=400)
            rows.append([name, f"{sigma}", f"{alarms:.2f}", f"{100 * exactly:.0f} %"])
    return table(["nightly exports", "σ", "alarms in four weeks", "exactly three"], rows)


def growth_table() -> str:
    rows = []
    for growth in (0.05, 0.1):
        for sigma in (0.05, 0.1, 0.2):
            runs, found = false_alarms(NIGHTLY, sigma, range(7, 182), 100, growth=growth)
            rate = 1000 * (found["VOLUME_DROP"] + found["VOLUME_SPIKE"]) / runs
            rows.append(
                [f"{100 * growth:.0f} % a week, for half a year", f"{sigma}", f"{rate:.2f}"]
            )
    return table(["nightly exports grow by", "σ", "alarms in 1,000 runs"], rows)


TABLES = {
    "false alarms": false_alarm_table,
    "found": found_table,
    "changes": change_table,
    "growth": growth_table,
}


def main(arguments: Sequence[str] | None = None) -> None:
    options = argparse.ArgumentParser(prog="python -m benchmarks.baselines", description=__doc__)
    options.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page")
    page = options.parse_args(arguments).page
    for name, made in TABLES.items():
        text = made()
        print(text, end="\n\n", flush=True)
        if page:
            page.write_text(put_into(page.read_text(), name, text))


if __name__ == "__main__":
    main()
