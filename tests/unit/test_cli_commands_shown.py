"""Commands that other commands show are valid, and reach the same stack when they are pasted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from export_jobs.model.records import JobRecord, RequestRecord
from export_jobs_cli import dead_letters, job_show, output, request_state, requests
from export_jobs_cli.errors import UserError
from export_jobs_cli.expectations import stored
from export_jobs_cli.jobs import KnownJob
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.isolation import aws_session
from export_jobs_local.project import LOCAL_STACK
from support import aws_commands
from support.command_line import parsed, terminal

KEY = "-7"  # not an option
OPTIONS = {"stack": "night-jobs", "profile": "my profile", "region": "eu-west-1"}
REJECTED = RequestRecord(KEY, "REJECTED", "prod", outcome="REFUSED", touched_at=1)
LETTER = dead_letters.DeadLetter("m", "r", "{}", KEY, "a reason", 1)
BY_KEY = {"action": "cancel", "cancelRequestKey": KEY}
BY_JOB = {"action": "cancel", "jobId": "4711", "sandboxName": "dev"}
CREATE = {"destination": {"datasetId": "5b7c86968f7b6501e21ba9df"}, "schema": {"name": "x"}}


@pytest.fixture
def system() -> Any:
    """A deployed stack, named with a profile and a region; its tables have a rejected request."""
    made: Any = DeployedSystem(
        OPTIONS["stack"],
        session=aws_session(),
        profile=OPTIONS["profile"],
        region=OPTIONS["region"],
    )
    made.creator = made.monitor = SimpleNamespace(sandboxes=("prod", "dev"))
    made.store = SimpleNamespace(
        requests=lambda keys: {KEY: REJECTED} if KEY in keys else {},
        expectations=lambda _: [],
    )
    return made


def test_a_command_of_the_aws_cli_reaches_the_same_aws(system: Any) -> None:
    """Without a local AWS's address, it would reach an account at AWS."""
    words = ("kms enable-key", "--key-id", "k")
    options = aws_commands.parsed(system.aws_command(*words)).options
    assert options == {name: OPTIONS[name] for name in ("profile", "region")}
    url = "http://127.0.0.1:9"
    local = DeployedSystem(LOCAL_STACK, session=aws_session("us-west-2"), endpoint_url=url)
    options = aws_commands.parsed(local.aws_command(*words)).options
    assert options == {"region": "us-west-2", "endpoint-url": url}


def state(status: str, job_id: str | None = None) -> request_state.RequestState:
    return request_state.RequestState(KEY, status, job_id=job_id)


def ending(**fields: Any) -> requests.Ending:
    return requests.Ending(1, KEY, "m", "create", **fields)


def commands_in(text: str) -> list[str]:
    """What a person would copy: up to the end of the line, a closing backtick or a `>`."""
    return [line.rstrip() for line in re.findall(r"export-jobs [a-z][^`>\n]*", text)]


def error_of(call: Callable[[], object]) -> None:
    with pytest.raises(UserError) as caught:
        call()
    output.error(str(caught.value))


SHOWN: dict[str, tuple[Callable[[Any], object], list[str]]] = {
    "request create --wait": (
        lambda system: requests.show_ending(system, ending(job_id="4711")),
        ["job show"],
    ),
    "request create --wait, rejected": (
        lambda system: requests.show_ending(system, ending(rejected=True, outcome="REFUSED")),
        ["dlq show"],
    ),
    "request create --wait, cancelled": (
        lambda system: requests.show_ending(system, ending(rejected=True, outcome="CANCELLED")),
        ["request show"],
    ),
    "request create, rejected before": (
        lambda system: error_of(
            lambda: requests.create(system, json.dumps({"requestKey": KEY, "job": CREATE}))
        ),
        ["dlq redrive"],
    ),
    "request create, of a cancel request": (
        lambda system: error_of(lambda: requests.create(system, json.dumps(BY_KEY))),
        ["request cancel"],
    ),
    "request create, of a cancel request for a job": (
        lambda system: error_of(lambda: requests.create(system, json.dumps(BY_JOB))),
        ["request cancel"],
    ),
    "request show": (
        lambda system: request_state.show(system, state("CREATED", "4711")),
        ["job show"],
    ),
    "request show, dead": (
        lambda system: request_state.show(system, state(request_state.DEAD)),
        ["dlq show"],
    ),
    "request show, waiting": (
        lambda system: request_state.show(system, state("WAITING")),
        ["request list"],
    ),
    "job show": (
        lambda system: job_show.show(
            system,
            job_show.JobDetails(
                KnownJob("dev", JobRecord("dev", "4711", 1)), None, [], can_be_accepted=True
            ),
        ),
        ["baseline accept"],
    ),
    "dlq list": (
        lambda system: dead_letters.show_list(system, [LETTER]),
        ["dlq show", "dlq redrive", "dlq delete"],
    ),
    "dlq show, of no dead letter": (
        lambda system: error_of(lambda: dead_letters.of(system, [LETTER], "other")),
        ["dlq list"],
    ),
    "expectation show, of none": (
        lambda system: error_of(lambda: stored.named(system, "other", sandbox=None)),
        ["expectation list"],
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_command_that_is_shown_reaches_the_same_stack(
    name: str, system: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is valid as it is printed on a terminal, with the stack, the profile and the region."""
    monkeypatch.setattr(output, "console", terminal)
    show, expected = SHOWN[name]
    show(system)
    printed = capsys.readouterr()
    lines = commands_in(printed.out + printed.err)
    assert [" ".join(line.split()[1:3]) for line in lines] == expected
    for line in lines:
        assert parsed(line).items() >= OPTIONS.items(), line


def test_a_wait_that_is_interrupted_shows_how_to_find_the_request(
    system: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the same stack."""
    monkeypatch.setattr(output, "console", terminal)
    monkeypatch.setattr(requests, "wait", interrupt)
    sent: Any = SimpleNamespace(request_key=KEY, known=None)
    with pytest.raises(KeyboardInterrupt):
        requests.followed(system, sent, requests.Waiting(), quiet=True)
    (line,) = commands_in(capsys.readouterr().out)
    assert parsed(line).items() >= {"key": KEY, **OPTIONS}.items()


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_the_details_are_in_line_with_the_other_facts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal and elsewhere, whichever name is the longest."""
    for console in (output.console, terminal):
        for name in ("try", "waits for"):
            output.facts(console(), [(name, "one")], details="export-jobs job show 1")
            first, last = capsys.readouterr().out.splitlines()
            assert first.index("one") == last.index("export-jobs") == max(len(name), 7) + 2


def test_only_one_place_builds_commands() -> None:
    """One built elsewhere could lack the stack."""
    folder = Path(output.__file__).parent
    built = [path.name for path in folder.rglob("*.py") if "command_line(" in path.read_text()]
    assert built == ["stack.py"]
