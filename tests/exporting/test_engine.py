"""What the engine does when something is wrong, when it is stopped, and when there is much of it."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_jobs.contract import RequestInvalid, parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine, EngineSettings
from export_jobs_local.exporting.generate import generate
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.counting import CountingEngine
from export_jobs_local.segmentation.engine import ExportCancelled, ExportFailed, PlannedBatch
from export_jobs_local.segmentation.server import SegmentationService
from support.local import client_of

DATASET = "5b7c86968f7b6501e21ba9df"
SEGMENT = "52c26d0d-45f2-47a2-ab30-ed06abc981ff"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    generate(folder / "data", profiles=2_000, seed=7)
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A directory with data of its own."""
    shutil.copytree(made / "data", tmp_path / "data")
    return tmp_path


def body(**changes: Any) -> dict[str, Any]:
    return {
        "destination": {"datasetId": DATASET},
        "schema": {"name": "_xdm.context.profile"},
        **changes,
    }


def run(engine: DuckDbEngine, asked: dict[str, Any], *batches: str) -> Any:
    planned = [PlannedBatch(name) for name in batches or ["b"]]
    return engine.run(parse_create_request(asked), planned, threading.Event())


def left_behind(place: Path) -> list[str]:
    """What exports there are, half-written ones too."""
    exports = place / "exports"
    return sorted(str(path.relative_to(exports)) for path in exports.glob("*/*"))


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"destination": {"datasetId": "nope"}}, "0100000404", "Dataset 'nope' does not exist"),
        ({"schema": {"name": "other"}}, "0100000409", "has the schema"),
        (
            {"filter": {"segments": [{"segmentId": "x"}]}},
            "0200000404",
            "Segment 'x' does not exist",
        ),
        (
            {"filter": {"segments": [{"segmentId": SEGMENT, "segmentNs": "AAM"}]}},
            "0200000404",
            "in namespace 'AAM'",
        ),
        ({"mergePolicy": {"id": "no"}}, "0300000404", "Merge policy 'no' does not exist"),
        ({"fields": "person.nmae"}, "0400000404", "did you mean 'person.name'?"),
        (
            {"additionalFields": {"eventList": {"fields": "eventTyp"}}},
            "0400000404",
            "did you mean 'eventType'?",
        ),
    ],
)
def test_what_can_t_be_exported_fails_with_the_reason(
    place: Path, changes: dict[str, Any], code: str, words: str
) -> None:
    """An error that says what; nothing is written."""
    with pytest.raises(ExportFailed) as caught:
        run(DuckDbEngine(place), body(**changes))
    assert [error.code for error in caught.value.errors] == [code]
    assert words in caught.value.errors[0].message
    assert left_behind(place) == []


def test_everything_that_is_wrong_is_said_at_once(place: Path) -> None:
    """Whoever mends a request mends it once."""
    asked = body(
        destination={"datasetId": "nope"},
        mergePolicy={"id": "no"},
        fields="a.b",
        filter={"segments": [{"segmentId": "x"}, {"segmentId": "y"}]},
    )
    with pytest.raises(ExportFailed) as caught:
        run(DuckDbEngine(place), asked)
    assert len(caught.value.errors) == 5


@pytest.mark.parametrize(
    "breaks",
    [
        lambda data: (data / "fragments" / "part-00000.parquet").write_bytes(b"PAR1 nonsense PAR1"),
        lambda data: (data / "events" / "part-00000.parquet").unlink(),
        lambda data: (data / "segments.json").write_text("{"),
        lambda data: (data / "merge-policies.json").write_text("[]"),
        lambda data: (data / "datasets.json").write_text(
            '[{"id": "../../etc", "schemaName": "s"}]'
        ),
        lambda data: truncate(data / "fragments" / "part-00000.parquet"),
    ],
)
def test_broken_data_fail_the_job(place: Path, breaks: Callable[[Path], object]) -> None:
    """With an error that says where; nothing half-written stays."""
    engine = DuckDbEngine(place)
    breaks(place / "data")
    with pytest.raises(ExportFailed) as caught:
        run(engine, body())
    assert caught.value.errors[0].message
    assert left_behind(place) == []


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_full_disk_fails_the_job(place: Path) -> None:
    """No file may grow beyond 10 KB here: the export fails, says so, and leaves nothing."""
    script = f"""
import json, resource, signal, sys, threading
from pathlib import Path
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.segmentation.engine import ExportFailed, PlannedBatch
engine = DuckDbEngine(Path({str(place)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    engine.run(parse_create_request({body()!r}), [PlannedBatch("b")], threading.Event())
except ExportFailed as failed:
    print(failed)
    sys.exit(7)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 7, done.stderr
    assert "writ" in done.stdout
    assert left_behind(place) == []


HOSTILE = [
    "' OR 1=1 --",
    '"; DROP TABLE fragments; --',
    "../../../etc/passwd",
    "/etc/passwd",
    "$1",
    "?",
    "person'||'x",
    '"',
    "\\",
    "x\x00y",
    "read_text('/etc/passwd')",
    "名前",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_request_becomes_sql_or_a_path(place: Path, text: str) -> None:
    """In every field that takes text: refused or failed for what it is, never carried out."""
    engine = DuckDbEngine(place)
    hostile = [
        body(destination={"datasetId": text}),
        body(schema={"name": text}),
        body(fields=text),
        body(fields=f"person.{text}"),
        body(mergePolicy={"id": text}),
        body(filter={"segments": [{"segmentId": text}]}),
        body(filter={"segments": [{"segmentId": SEGMENT, "segmentNs": text}]}),
        body(filter={"segments": [{"segmentId": SEGMENT}], "fromIngestTimestamp": text}),
        body(additionalFields={"eventList": {"fields": text}}),
        body(evaluationInfo={"segmentation": True}, filter={"segments": [{"segmentId": text}]}),
    ]
    for asked in hostile:
        with pytest.raises((ExportFailed, RequestInvalid)) as caught:
            run(engine, asked)
        if isinstance(caught.value, ExportFailed):
            assert {error.code[:2] for error in caught.value.errors} <= {"01", "02", "03", "04"}
    assert left_behind(place) == []
    assert run(engine, body()).profiles_exported > 1_000


def test_a_batch_appears_whole_with_its_manifest(place: Path) -> None:
    """It is written aside and renamed; whoever looks meanwhile sees all of it or nothing."""
    seen: set[frozenset[str]] = set()
    done = threading.Event()

    def look() -> None:
        folder = place / "exports" / DATASET / "b"
        while not done.is_set():
            if folder.exists():
                seen.add(frozenset(path.name for path in folder.iterdir()))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        result = run(DuckDbEngine(place), body(additionalFields={"eventList": {"fields": ""}}))
    finally:
        time.sleep(0.05)
        done.set()
        looking.join(timeout=10)
    assert len(seen) == 1
    folder = place / "exports" / DATASET / "b"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["profiles"] == result.profiles_exported
    assert manifest["profilesByNamespace"] == result.profiles_by_namespace
    assert {*manifest["files"], "manifest.json"} == set(next(iter(seen)))
    assert manifest["request"] == body(additionalFields={"eventList": {"fields": ""}})
    assert manifest["startedAt"] <= manifest["endedAt"]
    rows = duckdb.sql(f"SELECT count(*) FROM '{folder}/*.parquet'").fetchall()
    assert rows == [(result.profiles_exported,)]


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Enough that an export takes seconds."""
    folder = tmp_path_factory.mktemp("big")
    generate(folder / "data", profiles=250_000, seed=1)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


EVENTS = body(additionalFields={"eventList": {"fields": ""}})


def test_a_running_export_is_cancelled_and_removed(big: Path) -> None:
    """It stops in mid-query, and nothing of it stays."""
    engine = DuckDbEngine(big)
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(ExportCancelled):
        engine.run(parse_create_request(EVENTS), [PlannedBatch("b")], cancelled)
    assert time.monotonic() - began < 10
    assert left_behind(big) == []


def test_little_memory_is_enough(big: Path) -> None:
    """With 100 MB for a job it spills to disk and succeeds; the process stays far below the data."""
    script = f"""
import resource, threading
from pathlib import Path
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine, EngineSettings
from export_jobs_local.segmentation.engine import PlannedBatch
engine = DuckDbEngine(Path({str(big)!r}), settings=EngineSettings(memory_mb=100))
result = engine.run(parse_create_request({body()!r}), [PlannedBatch("small")], threading.Event())
print(result.profiles_exported, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    profiles, peak_mb = map(int, done.stdout.split())
    assert profiles > 200_000
    assert peak_mb < 500
    assert not list((big / "spill").iterdir())


def test_several_jobs_run_at_once_and_no_more_than_may() -> None:
    """With room for two, a third waits in NEW until one has ended."""
    running: list[int] = []
    most = 0
    lock = threading.Lock()
    go_on = threading.Event()

    class Slow(CountingEngine):
        def run(self, *_: Any) -> Any:
            nonlocal most
            with lock:
                running.append(1)
                most = max(most, len(running))
            go_on.wait(timeout=20)
            with lock:
                running.pop()
            raise ExportFailed([])

    config = ServiceConfig(pace_s=0.01, run_s=0.01, max_running=2, engine=lambda _: Slow())
    with SegmentationService(config) as service:
        client = client_of(service)
        for number in range(3):
            client.create_job("prod", parse_create_request(body()), request_id=str(number))
        deadline = time.monotonic() + 10
        while len(running) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert [job.status for job in service.control.jobs("prod")].count("NEW") == 1
        go_on.set()
        while time.monotonic() < deadline:
            if all(job.status == "FAILED" for job in service.control.jobs("prod")):
                break
            time.sleep(0.01)
        assert most == 2
        assert {job.status for job in service.control.jobs("prod")} == {"FAILED"}


def test_a_job_of_the_service_can_be_cancelled_while_it_exports(big: Path) -> None:
    """DELETE through the API: CANCELLED within seconds, and nothing of it stays."""
    config = ServiceConfig(
        pace_s=0.01,
        run_s=0.01,
        engine=lambda _: DuckDbEngine(big, settings=EngineSettings(threads=1)),
    )
    with SegmentationService(config) as service:
        client = client_of(service)
        job = client.create_job("prod", parse_create_request(EVENTS), request_id="r").id
        deadline = time.monotonic() + 30
        while client.get_job("prod", job).status == "NEW" and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        client.cancel_job("prod", job)
        while time.monotonic() < deadline and not client.get_job("prod", job).is_final:
            time.sleep(0.05)
        assert client.get_job("prod", job).status == "CANCELLED"
    assert [name for name in left_behind(big) if "small" not in name] == []


def test_the_limits_of_this_test_process_are_its_own() -> None:
    """The full disk above was another process's."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
