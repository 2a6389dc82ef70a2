"""Promise 8: after success, failure and crash, no secret is anywhere it may be read."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from export_jobs_local.aws.runtime import Invocation
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.files import event

pytestmark = pytest.mark.xdist_group("secrets")

PLANTED = "planted-client-secret/+=& 7f3a"
BROKEN = "planted-in-a-broken-secret-51c9"


@dataclass
class LeftBehind:
    """All output as text, by its place; and the tokens that were issued."""

    places: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> LeftBehind:
    """What a whole run leaves behind, with successes, failures and crashes."""
    folder = tmp_path_factory.mktemp("secrets")
    logs, state = folder / "logs", folder / "state"
    service = ServiceConfig(manual=True, client_secret=PLANTED, data_dir=state)
    found = LeftBehind()
    config = SystemConfig(logs=logs, service=service, triggers=False)
    with LocalSystem(config) as system:
        issuer = system.service._state.tokens
        issue = issuer.issue

        def remembered(client_id: str) -> str:
            found.tokens.append(issue(client_id))
            return found.tokens[-1]

        issuer.issue = remembered  # type: ignore[method-assign]
        answers = [*_succeed(system), *_fail(system), *_crash(system)]
        errors = [answer.error for answer in answers if answer.error]
        found.places["answers"] = repr(answers)
        found.places["events"] = repr(system.subscribers.drain())
        found.places["items"] = _items(system)
        found.places["messages"] = _messages(system)
        found.places["the stack"] = _stack(system)
        found.places["the configuration's text"] = repr(system.config)
        assert {error["errorType"] for error in errors} >= {"SweepFailed", "Runtime.ExitError"}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.places[str(path.relative_to(folder))] = path.read_bytes().decode("latin-1")
    return found


def test_the_run_used_the_secrets_it_looks_for(left_behind: LeftBehind) -> None:
    """Otherwise not finding them would prove nothing; and every kind of place is searched."""
    assert len(left_behind.tokens) >= 3
    assert {
        "answers",
        "events",
        "items",
        "messages",
        "the stack",
    } <= left_behind.places.keys()
    assert {"logs/monitor.log", "logs/creator.log"} <= left_behind.places.keys()
    assert any(name.startswith("state/") for name in left_behind.places)
    for name in ("events", "items", "messages", "logs/monitor.log", "logs/creator.log"):
        assert len(left_behind.places[name]) > 500, name
    assert '"CloudWatchMetrics"' in left_behind.places["logs/monitor.log"]
    assert (
        "Traceback" in left_behind.places["logs/monitor.log"]
        or "SweepFailed" in left_behind.places["answers"]
    )


def test_no_client_secret_is_anywhere(left_behind: LeftBehind) -> None:
    """Neither as plain text, nor in a form, a URL or base64; nor that of a malformed secret."""
    for secret in (PLANTED, BROKEN):
        assert list(_places_of(secret, left_behind)) == []


def test_no_token_is_anywhere(left_behind: LeftBehind) -> None:
    """No token that was ever issued, nor its signature."""
    for token in left_behind.tokens:
        assert list(_places_of(token, left_behind)) == []
        assert list(_places_of(token.rsplit(".", 1)[-1], left_behind)) == []
    assert [name for name, text in left_behind.places.items() if "Bearer " in text] == []


def test_the_local_service_keeps_one_secret_for_its_owner_only(left_behind: LeftBehind) -> None:
    """The key that signs its tokens is in one file, which only its owner may read."""
    kept = [name for name in left_behind.places if name.endswith(".key")]
    assert kept == ["state/token.key"]
    key = left_behind.places["state/token.key"]
    others = {name: text for name, text in left_behind.places.items() if name != "state/token.key"}
    assert [name for name, text in others.items() if key in text] == []


def test_the_signing_key_is_the_owner_s_alone(tmp_path: Path) -> None:
    """No other user of the machine may read it."""
    from export_jobs_local.segmentation.tokens import TokenIssuer  # noqa: PLC0415  one test's

    TokenIssuer(tmp_path, lifetime_s=60)
    assert (tmp_path / "token.key").stat().st_mode & 0o077 == 0


def _succeed(system: LocalSystem) -> Iterator[Invocation]:
    yield system.pool("monitor").invoke(event("monitor"))
    yield system.pool("creator").invoke(event("creator-create"))
    (job,) = system.service.control.jobs("prod")
    system.service.control.set_status(job.id, "SUCCEEDED")
    yield system.pool("monitor").invoke(event("monitor"))


def _fail(system: LocalSystem) -> Iterator[Invocation]:
    control = system.service.control
    monitor, creator = system.pool("monitor"), system.pool("creator")
    for name in ("creator-invalid", "creator-cancel"):
        yield creator.invoke(event(name))
    control.expire_tokens()  # refused, and replaced
    yield monitor.invoke(event("monitor"))
    for call, kind, details in (
        ("list", "http", {"status": 500, "times": 0}),
        ("list", "http", {"status": 403, "times": 0}),
        ("list", "not_json", {"times": 0}),
        ("list", "reset_before", {"times": 0}),
        ("token", "http", {"status": 400, "times": 0}),
    ):
        control.plan_fault(call, kind, **details)
        control.expire_tokens()
        yield monitor.invoke(event("monitor"))
        control.clear_faults()
    control.plan_fault("create", "http", status=400)
    yield creator.invoke(event("creator-mixed"))
    for sandbox, kind, details in (("prod", "not_json", {}), ("dev", "http", {"status": 401})):
        control.plan_fault("create", kind, times=2, **details)
        yield creator.invoke(_asking(sandbox))
        control.clear_faults()
    yield monitor.invoke(event("monitor"))  # settles what it can


def _asking(sandbox: str) -> Any:
    """The sample create request for a sandbox, as a separate request."""
    asked = event("creator-create")
    (record,) = asked["Records"]
    request = {
        **json.loads(record["body"]),
        "requestKey": f"another-{sandbox}",
        "sandboxName": sandbox,
    }
    record |= {"messageId": f"another-{sandbox}", "body": json.dumps(request)}
    return asked


def _crash(system: LocalSystem) -> Iterator[Invocation]:
    """Killed in mid-call, invoked with nonsense, and given malformed secrets."""
    yield system.pool("creator").invoke({"Records": [{"nonsense": True}]})
    yield _killed_in_a_call(system)
    yield system.pool("monitor").invoke(event("monitor"))
    secrets = system.aws.client("secretsmanager")
    for broken in (
        f'{{"clientSecret": "{BROKEN}"',
        json.dumps({"clientSecret": BROKEN}),
        json.dumps({"clientId": [BROKEN], "clientSecret": {"it": BROKEN}, "orgId": 1, "scopes": 0}),
        json.dumps(
            {
                "clientId": "local-client-id",
                "clientSecret": BROKEN,
                "orgId": system.service.org_id,
                "scopes": system.service.scopes,
            }
        ),
    ):
        secrets.put_secret_value(SecretId="export-jobs/aep", SecretString=broken)
        yield _killed_in_a_call(system)  # a new process reads the secret again
        yield system.pool("monitor").invoke(event("monitor"))


def _killed_in_a_call(system: LocalSystem) -> Invocation:
    """The monitor, killed while it waits for an answer (or as soon as it runs)."""
    pool = system.pool("monitor")
    system.service.control.plan_fault("list", "timeout_before", times=0, seconds=5)
    answers: list[Invocation] = []
    running = threading.Thread(target=lambda: answers.append(pool.invoke(event("monitor"))))
    running.start()
    time.sleep(0.3)
    for environment in list(pool._all):
        os.kill(environment._process.pid, 9)
    running.join(timeout=60)
    system.service.control.clear_faults()
    (answer,) = answers
    return answer


def _items(system: LocalSystem) -> str:
    dynamodb = system.aws.client("dynamodb")
    return json.dumps(
        [dynamodb.scan(TableName=name)["Items"] for name in dynamodb.list_tables()["TableNames"]],
        default=repr,
    )


def _messages(system: LocalSystem) -> str:
    sqs = system.aws.client("sqs")
    found: list[Mapping[str, Any]] = []
    for url in sqs.list_queues()["QueueUrls"]:
        while messages := sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            found += messages
    return json.dumps(found, default=repr)


def _stack(system: LocalSystem) -> str:
    stacks = system.aws.client("cloudformation").describe_stacks()["Stacks"]
    return repr(stacks) + repr(
        [dict(function.environment) for function in system.stack.functions()]
    )


def _places_of(secret: str, left_behind: LeftBehind) -> Iterator[str]:
    looks = {
        secret,
        quote(secret),
        quote_plus(secret),
        base64.b64encode(secret.encode()).decode().rstrip("="),
        json.dumps(secret)[1:-1],
    }
    for name, text in left_behind.places.items():
        if any(look in text for look in looks):
            yield name
