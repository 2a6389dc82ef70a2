"""Cold start, warm calls and memory of the built packages, against a bare handler.

Under AWS's runtime interface emulator, as `sam build` packages them when the runtime's own Python
is available (with byte code in the layer). `bare/app.py` has the same imports and clients, and
makes only the required calls. A start is measured from the first invocation's request to its
answer, initialisation and first run; its CPU time is that of the function's process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from export_jobs_local.aws.stack import DeployedFunction
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.packages import (
    Emulation,
    emulated,
    host_platform,
    invoke,
    runtime_folder,
    sam_build,
)

from benchmarks.measuring import LONG, Spread, Timed, compared, in_turns
from benchmarks.report import Section

TURNS = 20 if LONG else 12
BARE = Path(__file__).parent / "bare" / "app.py"
HOW = (
    f"{TURNS} starts each, interleaved, after a warm-up turn; in brackets the lowest and highest "
    "ratio of a turn. CPU is that of the function's process, all threads together."
)
CHANGES = 2
"""With changes: one job is new, another has ended."""
WARM_CALLS = 20
SLOWEST_IMPORTS = 12


@dataclass
class Stage:
    """The built packages, with the bare one, and the system that they run against."""

    system: LocalSystem
    built: Path
    runtime: Path
    folder: Path

    @contextmanager
    def started(self, artefact: str) -> Iterator[Emulation]:
        with emulated(
            self._function(artefact),
            built=self.built,
            artefact=artefact,
            runtime=self.runtime,
            environment=self.system.aws.environment,
            log=self.folder / f"{artefact}.log",
        ) as running:
            yield running

    def _function(self, artefact: str) -> DeployedFunction:
        function = self.system.pool("monitor").function
        only_prod = {**function.environment, "SANDBOXES": "prod"}
        name = {"MonitorFunction": "monitor", "BareFunction": "bare"}[artefact]
        return replace(function, environment={**only_prod, "POWERTOOLS_SERVICE_NAME": name})

    def something_changes(self) -> None:
        """Creates a job and ends another, so that both sinks get events."""
        control = self.system.service.control
        for job in control.jobs("prod"):
            if job.status == "NEW":
                control.set_status(job.id, "SUCCEEDED")
        control.create_job("prod")


@contextmanager
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        folder = Path(temporary)
        built = sam_build(folder, **host_platform())
        (built / "BareFunction").mkdir()
        shutil.copy(BARE, built / "BareFunction")
        (folder / "runtime").mkdir()
        config = SystemConfig(
            logs=folder / "logs", service=ServiceConfig(manual=True), triggers=False
        )
        with LocalSystem(config) as system:
            found = Stage(system, built, runtime_folder(folder / "runtime"), folder)
            with found.started("MonitorFunction") as running:
                found.something_changes()
                invoke(running.url, {})  # the first sweep of a sandbox has more to do
            yield found


def first_answer(stage: Stage, artefact: str, *, changes: bool) -> Timed:
    if changes:
        stage.something_changes()
    with stage.started(artefact) as running:
        began = time.perf_counter()
        answer = invoke(running.url, {"changes": CHANGES if changes else 0})
        took = Timed(cpu_s_of(python_of(running)), time.perf_counter() - began)
    assert "errorType" not in answer, answer
    return took


def warm_s_and_mib(stage: Stage, artefact: str) -> tuple[float, float]:
    """The median of warm, quiet invocations, and the peak memory of the process, in MiB."""
    with stage.started(artefact) as running:
        stage.something_changes()
        invoke(running.url, {"changes": CHANGES})
        took = []
        for _ in range(WARM_CALLS):
            began = time.perf_counter()
            invoke(running.url, {})
            took.append(time.perf_counter() - began)
        return Spread(tuple(took)).median, peak_mib(python_of(running))


def python_of(running: Emulation) -> Path:
    """The directory in /proc of the function's own process: the emulator's child."""
    for found in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = (found / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == running.emulator:
                return found
    raise AssertionError("the emulator has no child")


def cpu_s_of(process: Path) -> float:
    """The seconds of CPU time that a process has taken, all threads together."""
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mib(process: Path) -> float:
    """The peak memory of a process, in MiB."""
    fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) / 1024


def imports(stage: Stage) -> tuple[list[tuple[str, float]], float]:
    """The monitor's imports: own time in ms by top-level package, and the total."""
    with stage.started("MonitorFunction") as running:
        invoke(running.url, {})
        process = python_of(running)
        executable = (process / "exe").readlink()
        pairs = (process / "environ").read_text().split("\0")
    done = subprocess.run(
        [executable, "-S", "-X", "importtime", "-c", "import app"],
        env=dict(pair.split("=", 1) for pair in pairs if pair),
        cwd=stage.built / "MonitorFunction",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    spent: dict[str, float] = defaultdict(float)
    for line in done.stderr.splitlines():
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            spent[name.strip().partition(".")[0]] += int(own) / 1000
    return sorted(spent.items(), key=lambda entry: -entry[1]), sum(spent.values())


def run() -> Section:
    with stage() as found:
        starts = in_turns(
            {
                f"{artefact}, {case}": partial(
                    first_answer, found, artefact, changes=case == "with changes"
                )
                for case in ("quiet", "with changes")
                for artefact in ("BareFunction", "MonitorFunction")
            },
            turns=TURNS,
        )
        warm = {a: warm_s_and_mib(found, a) for a in ("BareFunction", "MonitorFunction")}
        spent, total = imports(found)
    rows = []
    for case in ("quiet", "with changes"):
        ours, bare = starts[f"MonitorFunction, {case}"], starts[f"BareFunction, {case}"]
        rows.append((f"first answer, {case}", *compared(ours, bare)))
    (our_warm, our_mib), (bare_warm, bare_mib) = warm["MonitorFunction"], warm["BareFunction"]
    rows += [
        (
            "warm answer, quiet",
            *("–",) * 3,
            f"**{our_warm / bare_warm:.2f}×**",
            f"{our_warm * 1000:.1f} ms",
            f"{bare_warm * 1000:.1f} ms",
        ),
        (
            "peak memory",
            *("–",) * 3,
            f"**{our_mib / bare_mib:.2f}×**",
            f"{our_mib:.0f} MiB",
            f"{bare_mib:.0f} MiB",
        ),
    ]
    profile = ", ".join(f"`{name}` {ms:.0f}" for name, ms in spent[:SLOWEST_IMPORTS])
    return Section(
        "Cold start and memory",
        "python -m benchmarks cold_start",
        ("", "CPU, ratio", "the monitor", "bare", "elapsed, ratio", "the monitor", "bare"),
        rows,
        remarks=(
            HOW,
            f"The monitor's {total:.0f} ms of imports (own time, in ms): {profile}.",
        ),
    )
