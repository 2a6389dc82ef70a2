"""A sandbox removed from a stack and added back, by the functions themselves on local AWS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from support.dynamodb import store_in
from support.files import event

Deploy = Callable[[str, str], FunctionPool]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[LocalSystem]:
    """A stack that watches `prod` and `dev`, where one export may be open at once."""
    config = SystemConfig(
        logs=tmp_path,
        service=ServiceConfig(manual=True),
        parameters={"MaxOpenExports": "1"},
        triggers=False,
    )
    with LocalSystem(config) as system:
        yield system


@pytest.fixture
def deploy(system: LocalSystem) -> Iterator[Deploy]:
    """Returns a function as it is once the stack is deployed with other sandboxes."""
    with ExitStack() as pools:

        def deployed(name: str, sandboxes: str) -> FunctionPool:
            function = system.pool(name).function
            environment = {**function.environment, "SANDBOXES": sandboxes}
            pool = FunctionPool(
                replace(function, environment=environment),
                layers=system.stack.layer_folders(),
                environment=system.aws.environment,
                logs=system.config.logs,
            )
            pools.callback(pool.close)
            return pool

        yield deployed


def swept(system: LocalSystem, monitor: FunctionPool) -> list[tuple[str, str]]:
    """What a sweep publishes on the bus: sandbox, and outcome of a request or status of a job."""
    assert monitor.invoke(event("monitor")).error is None
    return sorted(
        (d.detail["sandboxName"], d.detail.get("status") or d.detail["outcome"])
        for d in system.subscribers.drain()
        if d.sink == "bus"
    )


def ask(creator: FunctionPool, sandbox: str, keys: list[str]) -> None:
    (sample,) = event("creator-create")["Records"]
    job = json.loads(sample["body"])["job"]
    records = [
        {
            **sample,
            "messageId": key,
            "body": json.dumps({"requestKey": key, "sandboxName": sandbox, "job": job}),
        }
        for key in keys
    ]
    assert creator.invoke({"Records": records}).answer == {"batchItemFailures": []}


def test_a_sandbox_is_taken_out_and_put_back(system: LocalSystem, deploy: Deploy) -> None:
    """Field case 11: its requests end, its open job is followed; added back, it is as new.

    Open jobs are published then, but none that ended while it was not watched.
    """
    control, store = (
        system.service.control,
        store_in(system.aws.client("dynamodb"), system.stack.outputs),
    )
    both, creator = deploy("monitor", "prod,dev"), deploy("creator", "prod,dev")
    assert swept(system, both) == []
    ask(creator, "dev", ["created", "waits-1", "waits-2"])
    system.subscribers.drain()
    (job,) = control.jobs("dev")
    assert swept(system, both) == [("dev", "NEW")]
    assert store.watched() == {"prod", "dev"}

    only_prod = deploy("monitor", "prod")
    assert swept(system, only_prod) == [("dev", "NOT_WATCHED")] * 2
    sqs, dead_letter_queue = system.aws.client("sqs"), system.stack.outputs["DeadLetterQueueUrl"]
    letters = sqs.receive_message(
        QueueUrl=dead_letter_queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )["Messages"]
    reasons = {
        letter["MessageAttributes"]["requestKey"]["StringValue"]: letter["MessageAttributes"][
            "reason"
        ]["StringValue"]
        for letter in letters
    }
    assert reasons.keys() == {"waits-1", "waits-2"}
    assert set(reasons.values()) == {"NOT_WATCHED: the stack no longer watches sandbox 'dev'"}
    assert store.watched() == {"prod", "dev"}, "its job is open"
    control.set_status(job.id, "SUCCEEDED")
    assert swept(system, only_prod) == [("dev", "SUCCEEDED")]
    assert swept(system, only_prod) == []
    assert store.watched() == {"prod", "dev"}, "for a quarter of an hour yet"
    assert store.load("dev").state is None

    for _ in range(120):  # more than a page
        control.create_job("dev", status="SUCCEEDED")
    control.create_job("dev")
    assert swept(system, only_prod) == []
    again = deploy("monitor", "prod,dev")
    assert swept(system, again) == [("dev", "NEW")]
    assert swept(system, again) == []
    assert store.watched() == {"prod", "dev"}


def test_a_sandbox_is_put_back_while_a_job_of_it_is_open(
    system: LocalSystem, deploy: Deploy
) -> None:
    """It is still as new; only its job's end is published, because its start already was."""
    control = system.service.control
    lasting = control.create_job("dev")
    assert swept(system, deploy("monitor", "prod,dev")) == [("dev", "NEW")]
    only_prod = deploy("monitor", "prod")
    assert swept(system, only_prod) == []
    for _ in range(5):
        control.create_job("dev", status="FAILED")
    assert swept(system, only_prod) == []
    again = deploy("monitor", "prod,dev")
    assert swept(system, again) == []
    control.set_status(lasting.id, "SUCCEEDED")
    assert swept(system, again) == [("dev", "SUCCEEDED")]
