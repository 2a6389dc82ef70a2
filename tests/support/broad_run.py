"""A run through all that the functions do: what they called, logged and measured, and what they may."""

from __future__ import annotations

import ast
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig

from support.files import event

RECORDING = Path(__file__).parent / "recording"
FUNCTIONS = ("monitor", "creator")
SECRET_KEY = "arn:aws:kms:us-east-1:123456789012:key/66666666-7777-8888-9999-000000000000"
"""What the template is told that the secret is encrypted with."""
Emitted = frozenset[tuple[str, frozenset[Any]]]


@dataclass(frozen=True)
class BroadRun:
    """`calls` and `policies` by function; `outputs` are the stack's.

    `emitted` holds each metric with the names of its dimensions, and with their names and values.
    """

    calls: Mapping[str, list[dict[str, Any]]]
    policies: Mapping[str, list[dict[str, Any]]]
    emitted: Emitted
    namespaces: frozenset[str]
    outputs: Mapping[str, str]
    topic_key: str


@cache
def broad_run() -> BroadRun:
    """Runs both functions as Lambda does, once a process, through success, refusal, waiting and ends."""
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        config = SystemConfig(
            logs=logs,
            service=ServiceConfig(manual=True),
            parameters={"SecretKmsKeyArn": SECRET_KEY},
            triggers=False,
        )
        with LocalSystem(config) as system:
            pools = {name: _recording_pool(system, name) for name in FUNCTIONS}
            try:
                _go_through_everything(system, pools)
            finally:
                for pool in pools.values():
                    pool.close()
            lines = [line for log in logs.glob("*.log") for line in log.read_text().splitlines()]
            emitted, namespaces = emitted_metrics(lines)
            return BroadRun(
                calls={
                    name: [json.loads(line) for line in _calls_file(logs, name).open()]
                    for name in FUNCTIONS
                },
                policies={name: _policy(system, name) for name in FUNCTIONS},
                emitted=emitted,
                namespaces=namespaces,
                outputs=dict(system.stack.outputs),
                topic_key=system.aws.client("sns").get_topic_attributes(
                    TopicArn=system.stack.outputs["AlertTopicArn"]
                )["Attributes"]["KmsMasterKeyId"],
            )


def emitted_metrics(
    lines: list[str],
) -> tuple[Emitted, frozenset[str]]:
    """Metrics and namespaces that CloudWatch would read from log lines in the embedded format."""
    found: set[tuple[str, frozenset[Any]]] = set()
    namespaces: set[str] = set()
    for line in lines:
        if '"CloudWatchMetrics"' not in line:
            continue
        written = json.loads(line)
        for directive in written["_aws"]["CloudWatchMetrics"]:
            namespaces.add(directive["Namespace"])
            for metric in directive["Metrics"]:
                for names in directive["Dimensions"]:
                    values = frozenset((name, written[name]) for name in names)
                    found |= {(metric["Name"], frozenset(names)), (metric["Name"], values)}
    return frozenset(found), frozenset(namespaces)


def _go_through_everything(system: LocalSystem, pools: Mapping[str, FunctionPool]) -> None:
    control = system.service.control

    def monitor() -> None:
        assert pools["monitor"].invoke(event("monitor")).error is None

    def creator(name: str) -> None:
        answer = pools["creator"].invoke(event(name)).answer
        assert answer == {"batchItemFailures": []}, answer

    monitor()  # the first sweep
    creator("creator-cancel")  # of a request that has not arrived: waits
    creator("creator-create")  # arrives cancelled
    creator("creator-invalid")  # rejected: dead letters
    control.plan_fault("create", "http", times=1, status=400)
    creator("creator-mixed")  # the service refuses it, so its attempt is dropped
    redriven = event("creator-create")
    body = json.loads(redriven["Records"][0]["body"])
    redriven["Records"][0]["body"] = json.dumps({**body, "requestKey": "another"})
    assert pools["creator"].invoke(redriven).error is None  # created
    (job,) = control.jobs("prod")
    monitor()  # announces the new job
    control.set_status(job.id, "SUCCEEDED")
    monitor()  # announces its end to machines and people
    pools["creator"].invoke({"Records": [{"messageId": "m", "body": None}]})  # fails unexpectedly
    cancel = event("creator-cancel")
    cancel["Records"][0]["body"] = json.dumps(
        {"action": "cancel", "requestKey": "late", "jobId": str(job.id)}
    )
    assert pools["creator"].invoke(cancel).error is None  # done: it has ended already
    monitor()


def _recording_pool(system: LocalSystem, name: str) -> FunctionPool:
    logs = system.config.logs
    return FunctionPool(
        system.pool(name).function,
        layers=[*system.stack.layer_folders(), RECORDING],
        environment={**system.aws.environment, "CALLS_FILE": str(_calls_file(logs, name))},
        logs=logs,
    )


def _calls_file(logs: Path, name: str) -> Path:
    return logs / f"{name}.calls"


def _policy(system: LocalSystem, name: str) -> list[dict[str, Any]]:
    """The statements of the function's role, as the stack has them."""
    function = system.pool(name).function
    configuration = system.aws.client("lambda").get_function_configuration(
        FunctionName=function.name
    )
    role = configuration["Role"].rsplit("/", 1)[-1]
    iam = system.aws.client("iam")
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    statements: list[dict[str, Any]] = []
    for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"]
        # Moto keeps an inline policy of a stack's role as Python's text of it.
        parsed = ast.literal_eval(document) if isinstance(document, str) else document
        statements += filter(None, parsed["Statement"])  # it leaves None for AWS::NoValue, too
    return statements
