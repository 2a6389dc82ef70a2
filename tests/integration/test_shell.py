"""Commands in a shell whose settings for AWS and the network fit nothing on this machine."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from export_jobs_local.aws.server import MotoServer
from support.command_line import EXPORT_JOBS, PLAIN, Local, envelope, running_local, typed
from support.proxy import proxied
from support.shells import FILES, everything, home, variables

pytestmark = pytest.mark.xdist_group("shell")
STACK = "export-jobs-local"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Every variable at once, and a home directory with files that can't be read."""
    files = home(tmp_path_factory.mktemp("home"), FILES["files that can't be read"])
    return {**PLAIN, **everything(reverse=True), **files}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, hostile: dict[str, str]) -> Iterator[Local]:
    """Started in that shell."""
    with running_local(tmp_path_factory.mktemp("local"), environment=hostile) as local:
        yield local


def run(
    local: Local, hostile: dict[str, str], *command: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EXPORT_JOBS, *command],
        cwd=local.folder,
        env=hostile,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
    )


def test_the_local_system_and_its_commands_work_in_any_shell(
    local: Local, hostile: dict[str, str]
) -> None:
    """Field case 26: commands that talk to it in different ways work; a request gets its job."""

    def good(*command: str, stdin: str = "") -> Any:
        done = run(local, hostile, *command, "--json", stdin=stdin)
        assert done.returncode == 0, (command, done.stdout + done.stderr)
        return json.loads(done.stdout)

    ending = good("request", "create", "-", "--wait", "--timeout", "60", stdin=envelope("shell"))
    assert ending["status"] == "SUCCEEDED"
    job = ending["jobId"]
    assert good("request", "show", "shell")["jobId"] == job
    assert good("job", "list", "--live")[0]["jobId"] == job
    assert good("job", "show", job, "--live")["status"] == "SUCCEEDED"
    assert good("event", "list", job)
    good("request", "cancel", "--job", job)
    good("request", "list")
    good("dlq", "list")
    for stack in ([], ["--stack", STACK]):
        found = good("doctor", *stack)
        assert found["good"], found


@pytest.mark.parametrize("setting", [*variables(), *FILES])
def test_no_setting_of_the_shell_reaches_the_local_system(
    local: Local, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, setting: str
) -> None:
    """One at a time, so that the one that does is named; `doctor` makes every kind of call."""
    settings = home(tmp_path, FILES[setting]) if setting in FILES else variables()[setting]
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    for stack in ([], ["--stack", STACK]):
        done = local.run("doctor", *stack)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_alone_starts_in_any_shell(hostile: dict[str, str], tmp_path: Path) -> None:
    """`api` prints how to call it once it answers."""
    with running_local(tmp_path, "api", environment=hostile) as api:
        assert api.description["apiUrl"].startswith("http://127.0.0.1:")


# -- a deployed stack ----------------------------------------------------------------------------


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """A shell without settings, except an access key and a region."""
    for name in everything():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    return monkeypatch


@pytest.mark.parametrize(
    ("retries", "calls"), [({}, None), ({"AWS_MAX_ATTEMPTS": "2", "AWS_RETRY_MODE": "standard"}, 2)]
)
def test_a_deployed_stack_is_reached_as_the_shell_says(
    shell: pytest.MonkeyPatch, tmp_path: Path, retries: dict[str, str], calls: int | None
) -> None:
    """By its proxy, in its region, and with its retries."""
    with proxied(9, reply=b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        for name, value in {"HTTPS_PROXY": proxy.url, **retries}.items():
            shell.setenv(name, value)
        done = typed(["job", "list", "--stack", "deployed"], tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "error: can't call AWS" in done.stderr
        asked = {head.split(b" ")[1] for head in proxy.asked}
        assert asked == {b"cloudformation.eu-west-1.amazonaws.com:443"}
        assert calls in {None, len(proxy.asked)}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_an_endpoint_on_this_machine_is_never_reached_by_a_proxy(
    shell: pytest.MonkeyPatch, aws: MotoServer, tmp_path: Path, host: str
) -> None:
    """Even for a stack with another name, for which the shell's other settings count."""
    shell.setenv("AWS_ENDPOINT_URL", aws.url.replace("127.0.0.1", host))
    for name, value in variables()["proxies"].items():
        shell.setenv(name, value)
    done = typed(["job", "list", "--stack", "deployed"], tmp_path)
    assert "there is no stack 'deployed' in region eu-west-1" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"AWS_PROFILE": "no-such"}, "The config profile (no-such) could not be found"),
        ({"AWS_MAX_ATTEMPTS": "x"}, "boto3 can't read a setting"),
        ({"AWS_RETRY_MODE": "x"}, """Invalid value provided to "mode": "x\""""),
    ],
)
def test_a_setting_of_the_shell_that_keeps_aws_out_of_reach_is_named(
    shell: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    """In one line, as for any other mistake."""
    for name, value in settings.items():
        shell.setenv(name, value)
    done = typed(["job", "list", "--stack", "deployed"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_home_directory_s_files_that_can_t_be_read_are_named(
    shell: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a deployed stack they matter, and boto3 has no traceback for the user."""
    home(tmp_path, FILES["files that can't be read"])
    done = typed(["job", "list", "--stack", "deployed"], tmp_path)
    assert done.returncode == 2
    assert ".aws/config" in done.stderr
    assert done.stderr.count("\n") == 1
