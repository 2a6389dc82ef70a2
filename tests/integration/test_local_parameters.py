"""`export-jobs local --parameter`: a stack with the user's parameters, and their own service."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from export_jobs_cli.local import sam
from export_jobs_local.segmentation.server import SegmentationService
from export_jobs_local.system import LocalSystem, NoLocalService, SystemConfig
from support.command_line import Local, running_local, typed, until
from support.files import event

pytestmark = pytest.mark.xdist_group("local-parameters")

ARN = "arn:aws:secretsmanager:eu-west-1:999999999999:secret:somebody/s-secret-AbC123"
ADDRESSES = (
    "--parameter ApiBaseUrl=https://platform.example/data/core/ups "
    "--parameter ImsTokenUrl=https://ims.example/ims/token/v3"
)
SECRET = "a-secret-in-a-file-4e11"


@pytest.fixture
def credential_file(tmp_path: Path) -> Path:
    path = tmp_path / "credential.json"
    named = dict.fromkeys(("clientId", "orgId", "scopes"), "any")
    path.write_text(json.dumps({**named, "clientSecret": SECRET}))
    return path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "--parameter Sandboxs=prod",
            "the template has no parameter 'Sandboxs'; did you mean Sandboxes?",
        ),
        ("--parameter PollSeconds", "--parameter 'PollSeconds' must be NAME=VALUE"),
        ("--parameter =5", "the template has no parameter ''"),
        ("--parameter PollSeconds=5 --parameter PollSeconds=6", "PollSeconds is given twice"),
        ("--parameter PollSeconds=61", "PollSeconds can't be '61'; it must be a number, 0 to 60"),
        (
            "--parameter TopicEvents=some",
            "TopicEvents can't be 'some'; it must be one of problems, notable, all",
        ),
        ("--parameter AepSecretArn=mine", "AepSecretArn can't be 'mine'"),
        ("--parameter ApiBaseUrl=https://platform.example/x", "ApiBaseUrl also needs ImsTokenUrl"),
        ("--parameter ImsTokenUrl=https://ims.example/x", "ImsTokenUrl also needs ApiBaseUrl"),
        ("--parameter ApiBaseUrl=http://platform.example/x", "ApiBaseUrl can't be"),
        (ADDRESSES, "needs --credential FILE"),
        ("--credential credential.json", "--credential is for your own service"),
        (f"{ADDRESSES} --credential none.json", "none.json can't be read: No such file"),
        (f"{ADDRESSES} --credential .", "can't be read: Is a directory"),
        (
            f"{ADDRESSES} --credential no-json",
            "no-json is not a credential: the secret's value is not",
        ),
        (f"{ADDRESSES} --credential no-text", "secret's value can't be read: it is not UTF-8"),
        (
            f"{ADDRESSES} --credential half.json",
            "half.json is not a credential: the secret lacks orgId",
        ),
        (
            f"{ADDRESSES} --credential credential.json --pace 3 --port 0",
            "leave out --port, --pace: ",
        ),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(
    command: str, said: str, tmp_path: Path, credential_file: Path
) -> None:
    """In one line that names the parameter, without the contents of a credential's file."""
    (tmp_path / "no-json").write_text(f"{SECRET} {{")
    (tmp_path / "no-text").write_bytes(b"\xff" + SECRET.encode())
    half = json.loads(credential_file.read_text())
    del half["orgId"]
    (tmp_path / "half.json").write_text(json.dumps(half))
    before = set(tmp_path.iterdir())
    done = typed(["local", *command.split(), "--data", "data"], tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert SECRET not in done.stderr
    assert set(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """The local service, in a stack with changed parameters."""
    command = ["local", "--sweep-every", "0.5"]
    for parameter in (
        "Sandboxes=alpha,beta",
        f"AepSecretArn={ARN}",
        "MaxOpenExports=3",
        "DatasetDelayLimits=a=1,b=2",
    ):
        command += ["--parameter", parameter]
    with running_local(tmp_path_factory.mktemp("changed"), *command) as local:
        yield local


def environment(local: Local, function: str) -> dict[str, Any]:
    found = local.client("lambda").get_function_configuration(
        FunctionName=local.description["outputs"][function]
    )
    variables: dict[str, Any] = found["Environment"]["Variables"]
    return variables


def test_the_functions_get_the_parameters(changed: Local) -> None:
    """As the variables that the template sets from them."""
    monitor = environment(changed, "MonitorFunctionName")
    assert monitor["DATASET_DELAY_LIMITS"] == "a=1,b=2"
    assert str(environment(changed, "CreatorFunctionName")["MAX_OPEN_EXPORTS"]) == "3"
    assert monitor["AEP_SECRET_ID"] == ARN


def test_the_local_service_knows_the_sandboxes_given(changed: Local) -> None:
    """A request for one of them becomes a job there, which the commands list."""
    assert changed.description["sandboxes"] == ["alpha", "beta"]
    job = {
        "destination": {"datasetId": "5b7c86968f7b6501e21ba9df"},
        "schema": {"name": "_xdm.context.profile"},
    }
    changed.send(json.dumps({"sandboxName": "beta", "job": job}))
    until(lambda: changed.json("job", "list"))
    assert {job["sandboxName"] for job in changed.json("job", "list")} == {"beta"}
    journal = requests.get(f"{changed.description['controlUrl']}/journal", timeout=10).json()
    assert {entry["sandbox"] for entry in journal} == {"beta"}


def test_the_credential_is_found_under_the_arn_given(changed: Local) -> None:
    """Doctor finds nothing wrong: secret, token and API in each sandbox, in any region."""
    until(lambda: changed.run("doctor").returncode == 0)
    checks = changed.json("doctor")["checks"]
    assert {c["sandbox"] for c in checks if c["name"] == "Segmentation API"} == {"alpha", "beta"}


@dataclass(frozen=True)
class Own:
    """A local system, and the service that its functions call, in another process."""

    local: Local
    service: Local
    credential: dict[str, str]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    """As run by a user who has a service of their own: here, `export-jobs api`."""
    folder = tmp_path_factory.mktemp("own")
    with running_local(tmp_path_factory.mktemp("api"), "api", "--pace", "0.2") as service:
        fields = ("clientId", "clientSecret", "orgId", "scopes")
        credential = {name: service.description[name] for name in fields}
        (folder / "credential.json").write_text(json.dumps(credential))
        command = (
            "local --sweep-every 0.5 --data data --credential credential.json "
            f"--parameter ApiBaseUrl={service.description['apiUrl']} "
            f"--parameter ImsTokenUrl={service.description['imsUrl']}"
        )
        with running_local(folder, *command.split()) as local:
            yield Own(local, service, credential)


def test_a_request_becomes_a_job_at_the_service_of_one_s_own(own: Own, tmp_path: Path) -> None:
    """The commands follow it, as with a local service; its data stay with that service."""
    body = '{"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"}, "schema": {"name": "_xdm.context.profile"}}'
    (tmp_path / "request.json").write_text(body)
    ended = own.local.json("request", "create", str(tmp_path / "request.json"), "--wait")
    journal = requests.get(f"{own.service.description['controlUrl']}/journal", timeout=10).json()
    assert {str(entry["job"]) for entry in journal} == {ended["jobId"]}
    (listed,) = own.local.json("job", "list")
    assert listed["jobId"] == ended["jobId"]
    shown = own.local.json("job", "show", ended["jobId"])
    assert shown["data"] == [f"batch {batch}" for batch in shown["batchIds"]]
    assert own.local.json("request", "show", ended["requestKey"])["jobId"] == ended["jobId"]


def test_doctor_looks_at_the_service_of_one_s_own(own: Own) -> None:
    """Its token, its API and its clock; in the sandboxes that the template watches by default."""
    until(lambda: own.local.run("doctor").returncode == 0)
    checks = own.local.json("doctor")["checks"]
    assert {c["sandbox"] for c in checks if c["name"] == "Segmentation API"} == {"prod"}


def test_no_local_service_is_started(own: Own) -> None:
    """No port of the process answers like a control; the description has the other's addresses."""
    description = own.local.description
    assert description["apiUrl"] == own.service.description["apiUrl"]
    assert description["imsUrl"] == own.service.description["imsUrl"]
    assert description["controlUrl"] is None
    assert description["dataDirectory"] is None
    assert Path(description["logDirectory"]) == own.local.folder / "data" / "logs"
    assert description["sandboxes"] == ["prod"]
    ports = listening(own.local.process.pid)
    assert int(description["awsEndpointUrl"].rsplit(":", 1)[1]) in ports
    assert not any(is_control(port) for port in ports)
    assert any(is_control(port) for port in listening(own.service.process.pid))
    assert not list((own.local.folder / "data").glob("*.sqlite3*"))


def test_the_credential_appears_nowhere_but_in_its_file(own: Own) -> None:
    """It is in no other file, in no description, and in nothing that the commands print."""
    secret = own.credential["clientSecret"]
    assert own.credential.keys() & own.local.description.keys() == set()
    printed = [json.dumps(own.local.description)]
    for command in ("job list", "doctor", "job list --json", "doctor --json"):
        done = own.local.run(*command.split())
        printed += [done.stdout, done.stderr]
    files = {path for path in own.local.folder.rglob("*") if path.is_file()}
    assert {"local.json", "monitor.log"} <= {path.name for path in files}
    files.remove(own.local.folder / "credential.json")
    printed += [path.read_bytes().decode("latin-1") for path in files]
    assert not any(secret in text for text in printed)


def listening(pid: int) -> set[int]:
    """The ports of 127.0.0.1 on which a process listens."""
    inodes = set()
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if found := re.match(r"socket:\[(\d+)\]", str(handle.readlink())):
                inodes.add(found[1])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {
        int(line[1].split(":")[1], 16) for line in lines if line[3] == "0A" and line[9] in inodes
    }


def is_control(port: int) -> bool:
    """Whether a local Segmentation service's control answers on the port."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=5)) as connection:
        connection.settimeout(5)
        connection.sendall(b"GET /_control/calls HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head = answer.partition(b"\r\n\r\n")[0]
    return b" 200 " in head.partition(b"\r\n")[0] and b"application/json" in head


@pytest.fixture
def config(service: SegmentationService, tmp_path: Path) -> SystemConfig:
    """The configuration of a system whose functions call a service that is not its own."""
    credential = {
        "clientId": service.client_id,
        "clientSecret": service.client_secret,
        "orgId": service.org_id,
        "scopes": service.scopes,
    }
    return SystemConfig(
        logs=tmp_path,
        parameters={"ApiBaseUrl": service.api_url, "ImsTokenUrl": service.ims_url},
        credential=json.dumps(credential),
        triggers=False,
    )


def test_sam_gets_the_addresses_of_the_service_of_one_s_own(
    config: SystemConfig, service: SegmentationService
) -> None:
    """Also for its containers; there is no local service to control, and no credential is shown."""
    with LocalSystem(config) as system:
        assert system.pool("monitor").invoke(event("monitor")).error is None
        variables = sam.variables(system)
        with pytest.raises(NoLocalService):
            system.service  # noqa: B018  reading it is what fails
    for function in variables.values():
        assert function["AEP_BASE_URL"] == service.api_url
        assert function["IMS_TOKEN_URL"] == service.ims_url
    assert service.client_secret not in json.dumps(variables) + repr(config)


def test_a_credential_without_addresses_is_an_error_of_the_program(config: SystemConfig) -> None:
    """Otherwise the template's defaults would send it to Adobe."""
    alone = SystemConfig(logs=config.logs, credential=config.credential)
    with (
        pytest.raises(ValueError, match="needs the parameters ApiBaseUrl and ImsTokenUrl"),
        LocalSystem(alone),
    ):
        pass
