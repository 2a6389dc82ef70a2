"""Least privilege for people: the policies of docs/policies grant just what the commands call.

The permissions of deployers are tested in test_deployer_permissions.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import botocore.client
import pytest
import typer
from export_jobs.aws.clock import now_ms
from export_jobs_cli.main import app
from export_jobs_cli.stack import DeployedSystem
from export_jobs_local.aws.server import REGION
from support.broad_run import SECRET_KEY
from support.cloudformation import ACCOUNT
from support.command_line import Local, envelope, running_local, store_of, until
from support.iam import (
    ANY,
    FOLDER,
    NO_RESOURCE,
    Grant,
    Keys,
    Touched,
    granted_by,
    listed,
    missing_in,
    needed_for,
    statements_of,
    unused_in,
)
from support.unusual import DAY_MS, learned, unusual_job

pytestmark = pytest.mark.xdist_group("people")

VIEWING = {
    *("job list", "job show", "event list", "request list", "request show", "dlq list", "dlq show"),
    *("expectation list", "expectation show", "expectation suggest"),
    *("baseline list", "baseline show", "ui"),
}
"""What a viewer may type, without --live; and `--dry-run`."""
PLANNING = {
    *(f"expectation {verb}" for verb in ("apply", "mute", "unmute", "remove")),
    "baseline accept",
}
"""What a planner may type as well."""
PLACEHOLDERS = {"REGION", "ACCOUNT", "STACK"}
OF_OPERATORS = {"SECRET_ARN", "SECRET_KEY_ARN", "TOPIC_KEY_ARN"}
POLICIES = {"viewer": 6_144, "planner": 6_144, "operator": 6_144, "deployer": 10_240}
"""The maximum number of characters of each, without blanks.

The first three are managed policies; the last limit is for the inline policies of a role
(docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
"""
LACKING = {
    "GetFunctionRecursionConfig": {"RecursiveLoop": "Terminate"},
    "GetAccountSettings": {
        "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000}
    },
}
"""Calls that moto does not have, and what Lambda answers: after a refusal, others are not made."""
READING = {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:Scan"}


@dataclass(frozen=True)
class Typed:
    """A command as it was typed, and the AWS calls that it made."""

    words: Sequence[str]
    calls: Sequence[Mapping[str, Any]]

    @property
    def name(self) -> str:
        return " ".join(self.words[:1] if self.words[0] in {"doctor", "ui"} else self.words[:2])

    @property
    def only_looks(self) -> bool:
        return "--live" not in self.words and (self.name in VIEWING or "--dry-run" in self.words)


@dataclass(frozen=True)
class Terminal:
    """A local system that runs typed commands. Calls made only for waiting are not recorded."""

    local: Local
    typed: list[Typed] = field(default_factory=list)

    def type(self, *words: str, code: int = 0, stdin: str = "") -> None:
        with _recorded() as calls:
            done = self.local.run(*words, stdin=stdin)
        assert done.returncode == code, done.stdout + done.stderr
        self.typed.append(Typed(words, calls))


@contextmanager
def _recorded() -> Iterator[list[Mapping[str, Any]]]:
    """Every AWS call that is made in this process."""
    calls: list[Mapping[str, Any]] = []
    call = botocore.client.BaseClient._make_api_call

    def recording(client: Any, operation: str, parameters: dict[str, Any]) -> Any:
        service = client.meta.service_model.service_name
        calls.append({"service": service, "operation": operation, "parameters": parameters})
        if operation in LACKING:
            return LACKING[operation]
        return call(client, operation, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", recording)
        yield calls


@dataclass(frozen=True)
class Tour:
    """The commands typed for a stack, and the values that complete the policies for that stack."""

    typed: Sequence[Typed]
    placeholders: Mapping[str, str]

    def needed(self, typed: Callable[[Typed], bool] = lambda _: True) -> set[Grant]:
        """What all commands need, or some of them."""
        keys = Keys(topic="", secret=SECRET_KEY)
        return {
            grant
            for one in filter(typed, self.typed)
            for call in one.calls
            for grant in needed_for(call, keys, items=True)
        }

    def granted(self, policy: str) -> set[Grant]:
        return set(granted_by(statements_of(policy, self.placeholders)))


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """Every command of a stack, typed for a local one."""
    with running_local(tmp_path_factory.mktemp("people")) as local:
        terminal = Terminal(local)
        _request(terminal)
        _look(terminal)
        _expect(terminal)
        _accept(terminal)
        _deal_with_dead_letters(terminal)
        _look_at_the_page(terminal)
        _cancel(terminal)
        _follow(terminal)
        _check(terminal)
        return Tour(terminal.typed, _placeholders(local))


def _placeholders(local: Local) -> dict[str, str]:
    name = local.description["stackName"]
    (stack,) = local.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    return {
        "REGION": REGION,
        "ACCOUNT": ACCOUNT,
        "STACK": name,
        "SECRET_ARN": given["AepSecretArn"],
        "SECRET_KEY_ARN": SECRET_KEY,
        "TOPIC_KEY_ARN": _topic(local)["KmsMasterKeyId"],
    }


def _topic(local: Local) -> Mapping[str, str]:
    arn = local.description["outputs"]["AlertTopicArn"]
    attributes: Mapping[str, str] = local.client("sns").get_topic_attributes(TopicArn=arn)[
        "Attributes"
    ]
    return attributes


def _request(terminal: Terminal) -> None:
    create = ("request", "create", "-")
    stack = terminal.local.description["stackName"]
    terminal.type(*create, "--dry-run", "--stack", stack, stdin=envelope("first"))
    terminal.type(*create, "--wait", stdin=envelope("first"))
    terminal.type(*create, "--wait", "--live", stdin=envelope("second"))


def _look(terminal: Terminal) -> None:
    """Views what exists, and an unknown request, which is searched for everywhere."""
    job = terminal.local.json("request", "show", "first")["jobId"]
    terminal.type("job", "list")
    terminal.type("job", "list", "--live", "--request", "first")
    terminal.type("job", "show", job)
    terminal.type("job", "show", job, "--live")
    terminal.type("event", "list", job)
    terminal.type("request", "list", "--ended")
    terminal.type("request", "list", "--rejected")
    terminal.type("request", "show", "first")
    terminal.type("request", "show", "none-such", code=2)


def _expect(terminal: Terminal) -> None:
    """Adds, changes and removes, before and after a sweep has planned a window."""
    apply, name = ("expectation", "apply", "-"), "nightly"
    entry = {"name": name, "sandboxName": "prod", "datasetId": "d", "timezone": "UTC"}
    terminal.type(*apply, "--dry-run", stdin=json.dumps([{**entry, "due": "06:00"}]))
    names = {"datasets": {"d": "Newsletter"}}
    file = {"expectations": [{**entry, "due": "06:00"}], "names": names}
    terminal.type(*apply, stdin=json.dumps(file))
    until(lambda: terminal.local.json("expectation", "show", name)["window"])
    terminal.type("expectation", "list")
    terminal.type("expectation", "show", name)
    terminal.type("expectation", "suggest")
    terminal.type("expectation", "suggest", "--live")
    terminal.type("expectation", "mute", name, "--until", "1d")
    terminal.type("expectation", "unmute", name)
    terminal.type(*apply, stdin=json.dumps([{**entry, "every": "1h", "minProfiles": 0}]))
    terminal.type("expectation", "remove", name)


def _accept(terminal: Terminal) -> None:
    """Looks at a job that is unusual, and accepts it."""
    today, store = now_ms() // DAY_MS * DAY_MS, store_of(terminal.local)
    store.put_baseline(learned(today))
    store.put(unusual_job(today))
    terminal.type("job", "show", "unusual-1")
    terminal.type("baseline", "list")
    terminal.type("baseline", "show", "unusual-1")
    terminal.type("baseline", "accept", "unusual-1")


def _look_at_the_page(terminal: Terminal) -> None:
    """A snapshot has every page; as in AWS, with CloudWatch and links to the console."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeployedSystem, "is_on_this_machine", False)
        terminal.type("ui", "--snapshot", "page")
    assert "is unknown" not in (terminal.local.folder / "page" / "index.html").read_text()


def _deal_with_dead_letters(terminal: Terminal) -> None:
    local = terminal.local
    for key in ("misspelt", "unwanted"):
        local.send(envelope(key, filtre={}))
        until(lambda key=key: local.dead(key))
    terminal.type("dlq", "list")
    terminal.type("dlq", "show", "misspelt")
    redrive = ("dlq", "redrive", "misspelt", "--body", "-", "--wait", "--live")
    terminal.type(*redrive, stdin=envelope("misspelt"))
    terminal.type("dlq", "delete", "unwanted")


def _cancel(terminal: Terminal) -> None:
    """Cancels a running job by its id, and a request whose job has ended."""
    local = terminal.local
    with local.at_pace(60):
        local.send(envelope("long"))
        show = ("request", "show", "long", "--json")
        until(lambda: '"CREATED"' in local.run(*show).stdout)
        job = local.json("request", "show", "long")["jobId"]
        terminal.type("request", "cancel", "--job", job, "--wait", "--live")
    terminal.type("request", "cancel", "first", "--wait")


def _follow(terminal: Terminal) -> None:
    """Follows a job that has events for longer than it takes to subscribe to them."""
    with terminal.local.at_pace(3):
        terminal.local.send(envelope("followed"))
        terminal.type("event", "tail", "--limit", "1", "--seconds", "30")


def _check(terminal: Terminal) -> None:
    """As in AWS, with CloudWatch, which has no data on sweeps here, so one check is BAD.

    Each topic has a subscription, as it should.
    """
    outputs = terminal.local.description["outputs"]
    for topic in ("AlertTopicArn", "AlarmTopicArn"):
        terminal.local.client("sns").subscribe(
            TopicArn=outputs[topic], Protocol="sqs", Endpoint=outputs["DeadLetterQueueArn"]
        )
    until(lambda: terminal.local.run("doctor").returncode == 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeployedSystem, "is_on_this_machine", False)
        terminal.type("doctor", code=1)


def test_every_command_of_a_stack_is_typed(tour: Tour) -> None:
    """A new command has to be added above, and so does `--live` for a command that gains it."""
    known = dict(_commands_of_a_stack())
    assert {typed.name for typed in tour.typed} == known.keys()
    live = {typed.name for typed in tour.typed if "--live" in typed.words}
    assert live == {name for name, options in known.items() if "--live" in options}


def _commands_of_a_stack() -> Iterator[tuple[str, set[str]]]:
    """Those that take `--stack`, with their options."""

    def walk(group: Any, path: str) -> Iterator[tuple[str, set[str]]]:
        for name, inner in group.commands.items():
            options = {option for parameter in inner.params for option in parameter.opts}
            if isinstance(inner, typer.core.TyperGroup):
                yield from walk(inner, f"{path}{name} ")
            elif "--stack" in options:
                yield f"{path}{name}", options

    return walk(typer.main.get_command(app), "")


def test_the_viewer_s_policy_alone_is_enough_to_look(tour: Tour) -> None:
    """Every viewing command works with it, and it grants nothing else."""
    needed, granted = tour.needed(lambda typed: typed.only_looks), tour.granted("viewer")
    assert missing_in(granted, needed) == set(), "missing in viewer.json"
    assert unused_in(granted, needed) == set(), "granted by viewer.json, used by no viewing command"


def test_the_operator_s_policy_adds_what_is_lacking_for_the_rest(tour: Tour) -> None:
    """Attached with the viewer's, it lets every command work, and repeats no grant."""
    viewer, operator = tour.granted("viewer"), tour.granted("operator")
    lacking = missing_in(viewer, tour.needed(lambda typed: typed.name not in PLANNING))
    assert missing_in(operator, lacking) == set(), "missing in operator.json"
    assert unused_in(operator, lacking) == set(), "granted by operator.json, used by no command"


def test_the_planner_s_policy_adds_what_is_lacking_to_expect(tour: Tour) -> None:
    """Attached with the viewer's, it lets people write expectations, and accept jobs; no more."""
    needed = tour.needed(lambda typed: typed.name in PLANNING and not typed.only_looks)
    viewer, planner = tour.granted("viewer"), tour.granted("planner")
    lacking = missing_in(viewer, needed)
    assert missing_in(planner, lacking) == set(), "missing in planner.json"
    assert unused_in(planner, lacking) == set(), "granted by planner.json, used by no command"


@pytest.mark.parametrize(
    "touched",
    [
        Touched(frozenset({"prod"}), frozenset({"sandbox", "sk", "status"})),
        Touched(frozenset({"!baselines"}), frozenset({"sandbox", "sk", "runs"})),
        Touched(frozenset({"!baselines#prod", "prod"}), frozenset({"sandbox", "sk", "runs"})),
        Touched(frozenset({"!expectations"}), frozenset({"sandbox", "sk", "watermark"})),
        Touched(frozenset({"!expectations#prod", "prod"}), frozenset({"sandbox", "sk", "gate"})),
    ],
)
def test_a_planner_writes_nothing_but_expectations_and_baselines(
    tour: Tour, touched: Touched
) -> None:
    """No job, no gate, and of a sandbox's state only that expectations are to be looked at."""
    table = next(one[1] for one in tour.needed() if isinstance(one[2], Touched))
    asked: set[Grant] = {
        (f"dynamodb:{verb}Item", table, touched) for verb in ("Put", "Update", "Delete")
    }
    assert missing_in(tour.granted("planner"), asked) == asked


@pytest.mark.parametrize("verb", ["Put", "Delete"])
def test_a_planner_neither_adds_nor_removes_a_baseline(tour: Tour, verb: str) -> None:
    """Accepting a job changes one that sweeps have written."""
    table = next(one[1] for one in tour.needed() if isinstance(one[2], Touched))
    touched = Touched(frozenset({"!baselines#prod"}), frozenset({"sandbox", "sk", "runs"}))
    asked: set[Grant] = {(f"dynamodb:{verb}Item", table, touched)}
    assert missing_in(tour.granted("planner"), asked) == asked
    update: set[Grant] = {("dynamodb:UpdateItem", table, touched)}
    assert missing_in(tour.granted("planner"), update) == set()


def test_a_viewer_changes_nothing_and_reads_no_secret(tour: Tour) -> None:
    """No write to a table, no message sent or deleted, no credential and no key."""
    actions = {action for action, _, _ in tour.granted("viewer")}
    assert {action for action in actions if action.startswith("dynamodb:")} <= READING
    assert {action for action in actions if action.startswith("sqs:")} == {
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
    }
    assert not any(action.startswith(("secretsmanager:", "kms:")) for action in actions)


@pytest.mark.parametrize("policy", ["viewer", "planner", "operator"])
def test_a_stack_whose_name_begins_the_same_is_another_one(tour: Tour, policy: str) -> None:
    """A viewer of `export-jobs` can neither view nor change anything in `export-jobs-test`."""
    name = tour.placeholders["STACK"]
    others = {
        (action, resource.replace(name, f"{name}-test"), service)
        for action, resource, service in tour.needed()
        if name in resource
    }
    assert missing_in(tour.granted(policy), others) == others


def test_only_live_and_doctor_read_the_adobe_secret(tour: Tour) -> None:
    """So an operator's policy without it still works for everything else."""
    readers = {
        typed.name if typed.name == "doctor" else "--live"
        for typed in tour.typed
        if any(call["operation"] == "GetSecretValue" for call in typed.calls)
    }
    assert readers == {"doctor", "--live"}
    for typed in tour.typed:
        if typed.name != "doctor" and "--live" not in typed.words:
            assert all(call["service"] != "secretsmanager" for call in typed.calls), typed.words


@pytest.mark.parametrize("policy", POLICIES)
def test_every_statement_has_a_telling_id_and_exact_actions(policy: str) -> None:
    """No action is a pattern, and no action that has resources is granted on all of them."""
    statements = statements_of(policy, {})
    names = [statement["Sid"] for statement in statements]
    assert len(set(names)) == len(names)
    for statement in statements:
        assert re.fullmatch(r"([A-Z][a-z]*)+", statement["Sid"])
        assert statement["Effect"] == "Allow"
        actions = set(listed(statement["Action"]))
        assert not any(ANY in action for action in actions)
        if ANY in listed(statement["Resource"]):
            assert actions <= NO_RESOURCE
        else:
            assert actions.isdisjoint(NO_RESOURCE)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_is_filled_in_by_replacing_its_placeholders(policy: str) -> None:
    """Those that the docs name and no others; the result is not too long for IAM."""
    text = (FOLDER / f"{policy}.json").read_text()
    found = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", text)) - {"NONE"}
    assert found == PLACEHOLDERS | (OF_OPERATORS if policy == "operator" else set())
    for name, value in {"REGION": "ap-southeast-2", "ACCOUNT": ACCOUNT, "STACK": "s" * 20}.items():
        text = text.replace(name, value)
    assert len("".join(text.split())) <= POLICIES[policy]
