"""The built packages under AWS's runtime client and emulator: every sample event, over HTTP.

Import errors, missing packages and wrong handler names show here, without Docker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from export_jobs.model.expectations import Expectation, ExpectationRecord
from export_jobs.model.records import EventType
from export_jobs_cli.local import sam
from export_jobs_local.aws.subscribers import Delivery
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from samtranslator.yaml_helper import yaml_parse
from support.dynamodb import store_in
from support.files import ROOT, event
from support.packages import emulated, invoke, runtime_folder

pytestmark = pytest.mark.xdist_group("packaged")

ARTEFACTS = {"monitor": "MonitorFunction", "creator": "CreatorFunction"}


class Emulated:
    """Both built functions, each under an emulator, with a local stack of their own."""

    def __init__(self, system: LocalSystem, urls: Mapping[str, str], logs: Mapping[str, Path]):
        self.system = system
        self.logs = logs
        self._urls = urls
        self.invoked: set[str] = set()

    def send(self, sample: str) -> object:
        """The answer to `events/<sample>.json`, of the function that its name begins with."""
        self.invoked.add(sample)
        return invoke(self._urls[sample.partition("-")[0]], event(sample))

    def published(self) -> list[Delivery]:
        return self.system.subscribers.drain()


@pytest.fixture(scope="module")
def stage(built_for_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulated]:
    folder = tmp_path_factory.mktemp("emulated")
    config = SystemConfig(logs=folder, service=ServiceConfig(manual=True), triggers=False)
    with LocalSystem(config) as system, ExitStack() as running:
        runtime = runtime_folder(tmp_path_factory.mktemp("runtime"))
        logs = {name: folder / f"{name}.emulated" for name in ARTEFACTS}
        urls = {
            name: running.enter_context(
                emulated(
                    system.pool(name).function,
                    built=built_for_host,
                    artefact=artefact,
                    runtime=runtime,
                    environment=system.aws.environment,
                    log=logs[name],
                )
            ).url
            for name, artefact in ARTEFACTS.items()
        }
        yield Emulated(system, urls, logs)


def test_the_sample_events_do_what_they_say(stage: Emulated) -> None:
    """Each file of events/ is sent; its answer, events and effect on the service are right."""
    control = stage.system.service.control

    assert stage.send("monitor") == {"sandboxes": 2}
    assert stage.published() == []

    assert stage.send("creator-create") == {"batchItemFailures": []}
    (job,) = control.jobs("prod")
    (created,) = stage.published()
    assert (created.sink, created.type, created.detail["outcome"]) == (
        "bus",
        EventType.REQUEST_ACCEPTED,
        "CREATED",
    )

    assert stage.send("creator-mixed") == {"batchItemFailures": []}
    assert len(control.jobs("prod")) == 2
    mixed = [(d.type, d.detail["outcome"]) for d in stage.published() if d.sink == "bus"]
    assert sorted(mixed) == [
        (EventType.REQUEST_ACCEPTED, "CREATED"),
        (EventType.REQUEST_REJECTED, "INVALID"),
    ]

    assert stage.send("creator-invalid") == {"batchItemFailures": []}
    assert len(control.jobs("prod")) == 2
    invalid = stage.published()
    assert {d.type for d in invalid} == {EventType.REQUEST_REJECTED}
    assert sorted(d.sink for d in invalid) == ["bus", "bus", "topic", "topic"]

    control.set_status(job.id, "SUCCEEDED")
    assert stage.send("monitor") == {"sandboxes": 2}
    ended = [d for d in stage.published() if d.detail["final"]]
    assert [(d.sink, d.type, d.detail["status"]) for d in ended] == [
        ("bus", EventType.JOB_STATE_CHANGE, "SUCCEEDED"),
        ("topic", EventType.JOB_STATE_CHANGE, "SUCCEEDED"),
    ]

    assert stage.send("creator-cancel") == {"batchItemFailures": []}
    cancelled = [
        d.detail["outcome"] for d in stage.published() if d.type == EventType.REQUEST_ACCEPTED
    ]
    assert cancelled == ["ALREADY_FINAL"]

    samples = {path.stem for path in (ROOT / "events").glob("*.json")} - {"env"}
    assert stage.invoked == samples, "a new sample event needs its lines above"


def test_local_times_need_nothing_of_the_system(stage: Emulated) -> None:
    """The monitor judges an expectation in Rome by the layer's own time zones."""
    stage.send("monitor")
    store = store_in(stage.system.aws.client("dynamodb"), stage.system.stack.outputs)
    half_an_hour_ago = time.time_ns() // 1_000_000 - 30 * 60_000
    expected = Expectation("in-rome", "nobody-exports-this", "Europe/Rome", every=15)
    store.edit_expectations("prod", [ExpectationRecord("prod", expected, half_an_hour_ago)])
    stage.published()
    try:
        stage.send("monitor")
        overdue = [d for d in stage.published() if d.sink == "bus"]
    finally:
        store.edit_expectations("prod", [], store.expectations("prod"))
    assert {(d.type, d.detail["expectation"]) for d in overdue} == {(EventType.OVERDUE, "in-rome")}


def test_a_failed_sweep_is_an_error_of_the_function(stage: Emulated) -> None:
    """Lambda and the alarms count a failed invocation by what the runtime client reports."""
    control = stage.system.service.control
    control.plan_fault("list", "http", times=0, status=503)
    try:
        answer = stage.send("monitor")
    finally:
        control.clear_faults()
    assert isinstance(answer, dict)
    assert answer["errorType"] == "SweepFailed"
    assert "can't list jobs" in answer["errorMessage"]


def test_what_the_built_functions_log_is_readable(stage: Emulated) -> None:
    """Logs and metrics are JSON, one object per line, and the layer's own copies were imported."""
    stage.send("monitor")
    stage.send("creator-invalid")
    lines = [
        line for log in stage.logs.values() for line in log.read_text().splitlines() if "{" in line
    ]
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    assert {"monitor", "creator"} <= {entry.get("service") for entry in entries}
    assert any("_aws" in entry for entry in entries)
    assert not any("Traceback" in line and "SweepFailed" not in line for line in lines)


def test_sam_local_invoke_is_given_what_it_passes_on(stage: Emulated) -> None:
    """SAM drops variables that the template does not declare, and unnamed ones of `--env-vars`."""
    declared = yaml_parse(sam.declaring_the_endpoint(TEMPLATE.read_text()))
    common = declared["Globals"]["Function"]["Environment"]["Variables"].keys()
    given = sam.variables(stage.system)
    assert given.keys() == {"MonitorFunction", "CreatorFunction"}
    for function, variables in given.items():
        own = declared["Resources"][function]["Properties"]["Environment"]["Variables"]
        assert variables.keys() == common | own.keys()
        assert variables["AWS_ENDPOINT_URL"].startswith("http://")
        assert variables["JOBS_TABLE"] == stage.system.stack.outputs["JobsTableName"]
