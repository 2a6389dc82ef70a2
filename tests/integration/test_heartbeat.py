"""The heartbeat of the monitor as deployed: from the template's parameter to the call."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.files import event
from support.scripted import ScriptedServer, answer, scripted

pytestmark = pytest.mark.xdist_group("heartbeat")

PLANTED = "planted-heartbeat-7f3a"


@pytest.fixture(scope="module")
def receiver() -> Iterator[ScriptedServer]:
    with scripted(answer()) as server:
        yield server


@pytest.fixture(scope="module")
def shared(
    receiver: ScriptedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSystem]:
    parameters = {"HeartbeatUrl": f"{receiver.url}/ping/{PLANTED}", "LogLevel": "DEBUG"}
    config = SystemConfig(
        logs=tmp_path_factory.mktemp("logs"),
        service=ServiceConfig(manual=True),
        parameters=parameters,
        triggers=False,
    )
    with LocalSystem(config) as system:
        yield system


@pytest.fixture
def monitor(shared: LocalSystem, receiver: ScriptedServer) -> Iterator[FunctionPool]:
    """A new process of the monitor, with a service and a receiver without faults."""
    shared.service.control.clear_faults()
    receiver._replies[:] = [answer()]
    receiver.requests.clear()
    pool = FunctionPool(
        shared.pool("monitor").function,
        layers=shared.stack.layer_folders(),
        environment=shared.aws.environment,
        logs=shared.config.logs,
    )
    yield pool
    pool.close()


def sweep(monitor: FunctionPool) -> Mapping[str, Any] | None:
    """The error of a run, or None."""
    return monitor.invoke(event("monitor")).error


def warnings(system: LocalSystem) -> list[str]:
    lines = (Path(system.config.logs) / "monitor.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if line.startswith('{"level":"WARNING"')]
    return [one["message"] for one in found if "heartbeat" in one["message"]]


def test_a_good_sweep_calls_it_once(monitor: FunctionPool, receiver: ScriptedServer) -> None:
    """By the URL of the parameter; the next run of the same process is too soon."""
    assert sweep(monitor) is None
    assert sweep(monitor) is None
    assert [(method, path) for method, path, _ in receiver.requests] == [
        ("GET", f"/ping/{PLANTED}")
    ]


def test_a_failed_sweep_of_one_sandbox_does_not_call_it(
    shared: LocalSystem, monitor: FunctionPool, receiver: ScriptedServer
) -> None:
    """Though the others succeed; the first good one of all of them does."""
    shared.service.control.plan_fault("list", "http", status=400, times=1)
    error = sweep(monitor)
    assert error
    assert error["errorType"] == "SweepFailed"
    assert receiver.requests == []
    assert sweep(monitor) is None
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("failing", ["an error", "no answer", "hangs"])
def test_a_failing_receiver_fails_no_run(
    shared: LocalSystem, monitor: FunctionPool, receiver: ScriptedServer, failing: str
) -> None:
    """Nor does one that hangs hold it up for long; a warning says so, once."""
    replies = {"an error": answer(500), "no answer": b"", "hangs": lambda c: c.recv(1)}
    receiver._replies[:] = [replies[failing]]
    before, began = len(warnings(shared)), time.monotonic()
    assert sweep(monitor) is None
    assert time.monotonic() - began < 8
    assert sweep(monitor) is None
    assert len(receiver.requests) == 1
    assert len(warnings(shared)) == before + 1


def test_a_secret_that_is_wrong_fails_no_run(
    shared: LocalSystem, monitor: FunctionPool, receiver: ScriptedServer
) -> None:
    """Nothing is called, and the warning says why."""
    arn = shared.pool("monitor").function.environment["HEARTBEAT_SECRET_ID"]
    secrets = shared.aws.client("secretsmanager")
    kept = secrets.get_secret_value(SecretId=arn)["SecretString"]
    secrets.put_secret_value(SecretId=arn, SecretString="http://elsewhere.example/planted")
    assert sweep(monitor) is None
    secrets.put_secret_value(SecretId=arn, SecretString=kept)
    assert receiver.requests == []
    assert warnings(shared)[-1].endswith("its secret is not an https:// URL")


def test_the_url_is_in_the_secret_and_nowhere_else(shared: LocalSystem) -> None:
    """In no log line of the tests before, no variable of a function and no text of the shared."""
    assert warnings(shared)
    environments = [pool.function.environment for pool in shared.pools.values()]
    logs = [path.read_text() for path in shared.config.logs.glob("*.log")]
    texts = [repr(environments), repr(shared.config), json.dumps(shared.description()), *logs]
    assert all("planted" not in text for text in texts)
    arn = shared.pool("monitor").function.environment["HEARTBEAT_SECRET_ID"]
    assert "HEARTBEAT_SECRET_ID" not in shared.pool("creator").function.environment
    value = shared.aws.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    assert value.endswith(PLANTED)


def test_a_stack_without_one_imports_nothing_of_it() -> None:
    """A cold start is paid by every stack."""
    code = (
        "import sys; from export_jobs import wiring; from types import SimpleNamespace as S;"
        "assert wiring.heartbeat(S(heartbeat_secret_id=''), None) is None;"
        "sys.exit(any('heartbeat' in name for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
