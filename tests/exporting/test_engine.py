"""The engine with invalid input, when it is stopped, and with large data."""

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
from export_jobs.client import SegmentationClient
from export_jobs.contract import CreateExportJob, Job, RequestInvalid, parse_create_request
from export_jobs.model.matching import hashes_of_job, hashes_of_request
from export_jobs_local.exporting.engine import PROFILES_PER_MB, DuckDbEngine, EngineSettings
from export_jobs_local.exporting.generate import generate
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.counting import CountingEngine
from export_jobs_local.segmentation.engine import ExportCancelled, ExportFailed
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
    """A directory with its own data."""
    shutil.copytree(made / "data", tmp_path / "data")
    return tmp_path


def body(**changes: Any) -> dict[str, Any]:
    return {
        "destination": {"datasetId": DATASET},
        "schema": {"name": "_xdm.context.profile"},
        **changes,
    }


def run(engine: DuckDbEngine, asked: dict[str, Any], *batches: str) -> Any:
    return engine.run(parse_create_request(asked), batches or ["b"], threading.Event())


def create(client: SegmentationClient, request: CreateExportJob) -> Job:
    return client.create_job("prod", request.to_wire(), request_id="r", may_send=lambda: True)


def left_behind(place: Path) -> list[str]:
    """All exports on disk, including incomplete ones."""
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
        (
            {"mergePolicy": {"id": "timestampOrdered-none-mp", "version": 2}},
            "0300000404",
            "does not exist in version 2",
        ),
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
    """The error names the cause; nothing is written."""
    with pytest.raises(ExportFailed) as caught:
        run(DuckDbEngine(place), body(**changes))
    assert [error.code for error in caught.value.errors] == [code]
    assert words in caught.value.errors[0].message
    assert left_behind(place) == []


def test_every_error_of_a_request_is_reported_at_once(place: Path) -> None:
    """So that a request has to be corrected only once."""
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
        lambda data: overwrite_the_middle(data / "fragments" / "part-00000.parquet"),
        lambda data: overwrite_the_middle(data / "events" / "part-00000.parquet"),
        lambda data: (data / "fragments" / "part-00000.parquet").write_bytes(b"PAR1 nonsense PAR1"),
        lambda data: (data / "events" / "part-00000.parquet").unlink(),
        lambda data: (data / "segments.json").write_text("{"),
        lambda data: (data / "merge-policies.json").write_text("[]"),
        lambda data: (data / "datasets.json").write_text(
            '[{"id": "../../etc", "schemaName": "s"}]'
        ),
        lambda data: (data / "datasets.json").write_text(
            f'[{{"id": "{DATASET}/../..", "schemaName": "_xdm.context.profile"}}]'
        ),
        lambda data: truncate(data / "fragments" / "part-00000.parquet"),
    ],
)
def test_broken_data_fail_the_job(place: Path, breaks: Callable[[Path], object]) -> None:
    """The error names the place; no incomplete output stays."""
    engine = DuckDbEngine(place)
    breaks(place / "data")
    with pytest.raises(ExportFailed) as caught:
        run(engine, body(additionalFields={"eventList": {"fields": ""}}))
    assert [error.code for error in caught.value.errors] == ["0500000422"]
    assert caught.value.errors[0].message
    assert left_behind(place) == []


def overwrite_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for position in range(len(content) // 5, len(content) // 2):
        content[position] ^= 0x5A
    path.write_bytes(bytes(content))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    "predicate", ["homeAddress.planet = 'X'", "person.birthYear <", "'x'::INT"]
)
def test_a_predicate_that_can_t_be_evaluated_is_named(place: Path, predicate: str) -> None:
    """Even among valid ones: the segment is named, as an error of the data; nothing is written."""
    definitions = json.loads((place / "data" / "segments.json").read_text())
    definitions[1]["predicate"] = predicate
    (place / "data" / "segments.json").write_text(json.dumps(definitions))
    asked = body(
        evaluationInfo={"segmentation": True},
        filter={"segments": [{"segmentId": d["id"]} for d in definitions]},
    )
    with pytest.raises(ExportFailed) as caught:
        run(DuckDbEngine(place), asked)
    (error,) = caught.value.errors
    assert error.code == "0500000422"
    assert "predicate of segment 'segment1' in segments.json" in error.message
    assert left_behind(place) == []


def rewrite(place: Path, folder: str, columns: str) -> None:
    """Adds columns to each row of a folder's file."""
    file = place / "data" / folder / "part-00000.parquet"
    duckdb.sql(f"CREATE OR REPLACE TABLE made AS SELECT *, {columns} FROM '{file}'")
    duckdb.sql(f"COPY made TO '{file}' (FORMAT parquet)")


def exported(place: Path, batch: str = "b") -> list[dict[str, Any]]:
    files = f"{place}/exports/{DATASET}/{batch}/*.parquet"
    rows = duckdb.sql(
        f"SELECT to_json(whole_row)::VARCHAR FROM (FROM '{files}') AS whole_row"
    ).fetchall()
    return [json.loads(text) for (text,) in rows]


def test_names_of_columns_are_the_user_s_own(place: Path) -> None:
    """Dots, our own names, and names of tables: each value stays in its column."""
    rewrite(
        place,
        "fragments",
        "'flat' AS \"a.b\", {'b': 'nested'} AS a, 'p' AS precedence, 'i' AS identities,"
        " {'x': 'f'} AS fragments, {'x': 'o'} AS one, 'zero' AS f0, 'u' AS \"updatedAt\"",
    )
    rewrite(place, "events", "{'x': 'e'} AS events, {'x': 'h'} AS happened, 'zero' AS f0")
    run(DuckDbEngine(place), body(additionalFields={"eventList": {"fields": ""}}))
    row = next(row for row in exported(place) if row["events"])
    assert (row["a.b"], row["a"], row["precedence"]) == ("flat", {"b": "nested"}, "p")
    assert (row["identities"], row["f0"], row["updatedAt"]) == ("i", "zero", "u")
    assert (row["fragments"], row["one"]) == ({"x": "f"}, {"x": "o"})
    event = row["events"][0]
    assert (event["events"], event["happened"], event["f0"]) == ({"x": "e"}, {"x": "h"}, "zero")
    run(DuckDbEngine(place), body(fields="a.b,f0"), "part")
    assert exported(place, "part")[0] == {"a.b": "flat", "a": {"b": "nested"}, "f0": "zero"}


def test_an_attribute_where_the_events_are_to_go_is_refused(place: Path) -> None:
    """One of the two would be lost; if the fields are named, they do not clash."""
    rewrite(place, "fragments", "'mine' AS \"Events\"")
    listed = {"eventList": {"fields": "eventType"}}
    with pytest.raises(ExportFailed) as caught:
        run(DuckDbEngine(place), body(additionalFields=listed))
    assert [error.code for error in caught.value.errors] == ["0400000409"]
    assert "'Events'" in caught.value.errors[0].message
    run(DuckDbEngine(place), body(additionalFields=listed, fields="person"))
    assert run(DuckDbEngine(place), body(), "without").profiles_exported > 1_000


# -- what the job shows, and what the engine does ------------------------------------------------

PRECEDENCE = "7972e3d6-96ea-4ece-9627-cbfd62709c5d"
NEWEST = "timestampOrdered-none-mp"


@pytest.mark.parametrize(
    ("changes", "policy"),
    [
        ({}, (NEWEST, 1)),
        ({"filter": {"segments": [{"segmentId": "segment1"}]}}, (NEWEST, 1)),
        ({"filter": {"segments": [{"segmentId": "segment2"}]}}, (PRECEDENCE, 3)),
        ({"mergePolicy": {"id": PRECEDENCE}}, (PRECEDENCE, 3)),
        ({"mergePolicy": {"id": PRECEDENCE, "version": 1}}, (PRECEDENCE, 1)),
    ],
)
def test_the_merge_policy_that_is_shown_is_the_one_used(
    place: Path, changes: dict[str, Any], policy: tuple[str, int]
) -> None:
    """The requested one, in its given or latest version, else the segment's, else the default."""
    policies = json.loads((place / "data" / "merge-policies.json").read_text())
    policies.append({**policies[1], "version": 3})
    (place / "data" / "merge-policies.json").write_text(json.dumps(policies))
    engine = DuckDbEngine(place)
    request = body(**changes)
    expected = {"id": policy[0], "version": policy[1]}
    assert engine.resolve(parse_create_request(request)).merge_policy == expected
    run(engine, request)
    manifest = place / "exports" / DATASET / "b" / "manifest.json"
    assert json.loads(manifest.read_text())["mergePolicy"] == expected


def test_a_job_shows_what_was_resolved(place: Path) -> None:
    """Policy and namespaces; if no namespace was requested, the filter shows only `ups`."""
    config = ServiceConfig(manual=True, data_dir=place, engine=DuckDbEngine)
    with SegmentationService(config) as service:
        segments = [{"segmentId": "segment2"}, {"segmentId": "segment1"}]
        asked = body(
            filter={"segments": segments},
            destination={"datasetId": DATASET, "segmentPerBatch": True},
        )
        request = parse_create_request(asked)
        job = create(client_of(service), request)
        (stored,) = service.control.jobs("prod")
        batches = stored.body["destination"]["batches"]
        assert [batch["segmentNs"] for batch in batches] == ["AdCloud", "ups"]
        shown = stored.body["filter"]["segments"]
        assert [segment.get("segmentNs") for segment in shown] == [None, "ups"]
        assert stored.body["mergePolicy"] == {"id": PRECEDENCE, "version": 1}
        asked = hashes_of_request(request.to_wire())
        assert (
            hashes_of_job(job).items() & asked.items()
            == {name: shown for name, shown in hashes_of_job(job).items() if name in asked}.items()
        )
        (place / "data" / "segments.json").write_text("{")
        assert create(client_of(service), request).status == "NEW"


def test_a_full_disk_fails_the_job(place: Path) -> None:
    """Files can't grow beyond 10 KB here: the export fails, reports that, and leaves nothing."""
    script = f"""
import json, resource, signal, sys, threading
from pathlib import Path
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine
from export_jobs_local.segmentation.engine import ExportFailed
engine = DuckDbEngine(Path({str(place)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    engine.run(parse_create_request({body()!r}), ["b"], threading.Event())
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
    """In every text field it is refused or makes the job fail; it is never executed."""
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
    """It is written elsewhere and renamed, so a reader sees all of it or nothing."""
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
    """Enough data for an export to take seconds."""
    folder = tmp_path_factory.mktemp("big")
    generate(folder / "data", profiles=250_000, seed=1)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


needs_big = pytest.mark.xdist_group("big")
EVENTS = body(additionalFields={"eventList": {"fields": ""}})


@needs_big
def test_a_running_export_is_cancelled_and_removed(big: Path) -> None:
    """It stops in mid-query, and leaves nothing."""
    engine = DuckDbEngine(big)
    cancelled = threading.Event()
    threading.Timer(0.5, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(ExportCancelled):
        engine.run(parse_create_request(EVENTS), ["b"], cancelled)
    assert time.monotonic() - began < 10
    assert left_behind(big) == []


@needs_big
def test_little_memory_is_enough(big: Path) -> None:
    """With 100 MB for a job it spills to disk and succeeds; the process uses less than the data."""
    script = f"""
import re, resource, threading
from pathlib import Path
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine, EngineSettings
engine = DuckDbEngine(Path({str(big)!r}), settings=EngineSettings(memory_mb=100))
result = engine.run(parse_create_request({body()!r}), ["small"], threading.Event())
status = Path("/proc/self/status")  # getrusage counts what the process was forked from
peak_kb = re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1] if status.exists() else (
    resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(result.profiles_exported, int(peak_kb) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    profiles, peak_mb = map(int, done.stdout.split())
    assert profiles > 200_000
    assert peak_mb < 500
    assert not list((big / "spill").iterdir())


def many_segments(place: Path, count: int) -> list[dict[str, Any]]:
    """Adds this many segments, with members, to the data; returns them as a request names them."""
    data = place / "data"
    definitions = [
        {"id": f"s{number}", "predicate": f"person.birthYear = {1900 + number % 120}"}
        for number in range(count)
    ]
    (data / "segments.json").write_text(json.dumps(definitions))
    duckdb.sql(
        f"COPY (SELECT profileId, 'ups' AS segmentNs, 's' || (hash(profileId, s) % {count}) AS"
        " segmentId, 'realized' AS status, TIMESTAMPTZ '2026-01-01 00:00:00Z' AS"
        f" lastQualificationTime FROM (SELECT DISTINCT profileId FROM"
        f" '{data}/fragments/*.parquet'), range(3) AS t(s))"
        f" TO '{data}/memberships/part-00000.parquet' (FORMAT parquet)"
    )
    return [{"segmentId": definition["id"]} for definition in definitions]


@pytest.mark.parametrize("evaluate", [False, True])
def test_many_segments_are_looked_for_at_once(place: Path, *, evaluate: bool) -> None:
    """1,500 segments, the most that a job may list, take no longer than a few."""
    asked = body(
        filter={"segments": many_segments(place, 1_500)},
        evaluationInfo={"segmentation": evaluate},
        fields="profileId",
    )
    began = time.monotonic()
    result = run(DuckDbEngine(place), asked)
    assert time.monotonic() - began < 5
    assert result.profiles_exported > 500


@needs_big
@pytest.mark.parametrize("evaluate", [False, True])
def test_a_job_of_many_segments_is_cancelled_soon(
    big: Path, tmp_path: Path, *, evaluate: bool
) -> None:
    """Within two seconds, at any point, with one batch per segment."""
    shutil.copytree(big / "data", tmp_path / "data")
    asked = body(
        destination={"datasetId": DATASET, "segmentPerBatch": True},
        filter={"segments": many_segments(tmp_path, 300)},
        evaluationInfo={"segmentation": evaluate},
    )
    engine = DuckDbEngine(tmp_path)
    batches = [f"b{number}" for number in range(300)]
    for after_s in (0.3, 1.5):
        cancelled = threading.Event()
        at: list[float] = []
        timer = threading.Timer(after_s, lambda: (at.append(time.monotonic()), cancelled.set()))  # noqa: B023  used within the loop
        timer.start()
        with pytest.raises(ExportCancelled):
            engine.run(parse_create_request(asked), batches, cancelled)
        assert time.monotonic() - at[0] < 2
        assert left_behind(tmp_path) == []


def test_what_does_not_fit_is_divided_further(place: Path) -> None:
    """What was written stays, and every profile belongs to one part, whatever its hash."""
    full = {(1, 3), (2, 12), (5, 12), (41, 48)}
    written: list[list[int]] = []

    def write(number: int, part: int, parts: int) -> None:
        if (part, parts) in full:
            raise duckdb.OutOfMemoryException("full")
        assert number == len(written)
        written.append([hashed for hashed in range(10_000) if hashed % parts == part])

    engine = DuckDbEngine(place, settings=EngineSettings(memory_mb=1))
    engine._in_parts(write, profiles=2 * PROFILES_PER_MB)
    assert sorted(hashed for part in written for hashed in part) == list(range(10_000))
    assert len(written[0]) > 3_000


def test_several_jobs_run_at_once_and_no_more_than_may() -> None:
    """With capacity for two, a third job stays NEW until one has ended."""
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
        for _ in range(3):
            create(client, parse_create_request(body()))
        deadline = time.monotonic() + 30
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


@needs_big
def test_a_job_of_the_service_can_be_cancelled_while_it_exports(big: Path) -> None:
    """DELETE through the API: CANCELLED within seconds, and nothing is left."""
    config = ServiceConfig(
        pace_s=0.01,
        run_s=0.01,
        engine=lambda _: DuckDbEngine(big, settings=EngineSettings(threads=1)),
    )
    with SegmentationService(config) as service:
        client = client_of(service)
        job = create(client, parse_create_request(EVENTS)).id
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
    """The limit on files above applied to another process."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
