"""The time to know: from a job's end at the service to its event in a subscriber's queue.

Runs the local service over sockets, moto, and the template's functions under Lambda's runtime
client. There is one stack for each `POLL_SECONDS`; all watch the same jobs at the same time, and
each is invoked once a minute. The jobs end at random moments.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from export_jobs.model.records import SOURCE
from export_jobs_local.aws.runtime import FunctionPool
from export_jobs_local.aws.server import MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.triggers import scheduled_event
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from export_jobs_local.system import local_parameters

from benchmarks.measuring import LONG
from benchmarks.report import Plot, Section

POLL_SECONDS = (0, 30, 20, 10, 5)
PERIOD_S = 60.0
JOBS = 280 if LONG else 80
MINUTES = 7 if LONG else 1
"""Jobs end during so many whole minutes, so that a sweep a minute is as likely to be near as far."""
STARTED_S = 5.0
"""By then, each monitor has seen the jobs open."""

HOW = (
    f"{JOBS} jobs, all open at first, ended at random moments over "
    f"{PERIOD_S * MINUTES:.0f} s. With 0, a sweep runs once a minute. Half the interval is "
    "the minimum to expect of any poller with that interval."
)


class Watcher:
    """A stack with its own `POLL_SECONDS`, its monitor, and a subscriber's queue on its bus."""

    def __init__(self, aws: MotoServer, parameters: dict[str, str], poll_s: int, logs: Path):
        self.poll_s = poll_s
        self._stack = LocalStack(aws, f"poll-{poll_s}")
        self._stack.deploy(TEMPLATE, {**parameters, "PollSeconds": str(poll_s)})
        function = next(f for f in self._stack.functions() if f.folder.name == "monitor")
        self._pool = FunctionPool(
            function,
            layers=self._stack.layer_folders(),
            environment=aws.environment,
            logs=logs / str(poll_s),
        )
        (logs / str(poll_s)).mkdir()
        self._sqs = aws.client("sqs")
        self._queue = self._sqs.create_queue(QueueName=f"subscriber-{poll_s}")["QueueUrl"]
        events, bus = aws.client("events"), self._stack.outputs["EventBusName"]
        pattern = {"source": [SOURCE], "detail": {"final": [True]}}
        events.put_rule(Name="ends", EventBusName=bus, EventPattern=json.dumps(pattern))
        attributes = self._sqs.get_queue_attributes(
            QueueUrl=self._queue, AttributeNames=["QueueArn"]
        )["Attributes"]
        events.put_targets(
            Rule="ends", EventBusName=bus, Targets=[{"Id": "q", "Arn": attributes["QueueArn"]}]
        )

    def invoke(self) -> None:
        invocation = self._pool.invoke(scheduled_event("arn:aws:events:us-east-1:1:rule/bench"))
        assert invocation.error is None, invocation.error

    def watch(self, stop: threading.Event) -> None:
        """Invokes the monitor once a minute, as the schedule would."""
        due = time.monotonic()
        while not stop.is_set():
            self.invoke()
            due += PERIOD_S
            stop.wait(max(0.0, due - time.monotonic()))

    def arrivals(self) -> Iterator[tuple[str, int]]:
        """Job ids, and when SQS received the event of their end, in epoch milliseconds."""
        while messages := self._sqs.receive_message(
            QueueUrl=self._queue, MaxNumberOfMessages=10, AttributeNames=["SentTimestamp"]
        ).get("Messages"):
            for message in messages:
                job: str = json.loads(message["Body"])["detail"]["jobId"]
                yield job, int(message["Attributes"]["SentTimestamp"])
                self._sqs.delete_message(
                    QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"]
                )

    def close(self) -> None:
        self._pool.close()


@contextmanager
def watchers(service: SegmentationService, folder: Path) -> Iterator[list[Watcher]]:
    with ExitStack() as running:
        aws = running.enter_context(MotoServer())
        parameters = {**local_parameters(aws, service), "Sandboxes": "prod"}
        found = []
        for poll_s in POLL_SECONDS:
            found.append(Watcher(aws, parameters, poll_s, folder))
            running.callback(found[-1].close)
        yield found


def end_jobs(service: SegmentationService, jobs: list[int]) -> dict[str, int]:
    """Ends the jobs one by one at random moments; returns when, in epoch milliseconds."""
    chance = random.Random(3)
    began = time.monotonic()
    moments = sorted(chance.uniform(STARTED_S, STARTED_S + PERIOD_S * MINUTES) for _ in jobs)
    ended = {}
    for job, moment in zip(jobs, moments, strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        ended[str(job)] = time.time_ns() // 1_000_000
        service.control.set_status(job, "SUCCEEDED")
    return ended


def run() -> Section:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        SegmentationService(ServiceConfig(manual=True)) as service,
        watchers(service, Path(folder)) as stacks,
    ):
        jobs = [service.control.create_job("prod", status="PROCESSING").id for _ in range(JOBS)]
        stop = threading.Event()
        threads = [threading.Thread(target=stack.watch, args=[stop]) for stack in stacks]
        for thread in threads:
            thread.start()
        ended = end_jobs(service, jobs)
        time.sleep(PERIOD_S)
        stop.set()
        for thread in threads:
            thread.join(timeout=2 * PERIOD_S)
        delays = {
            stack.poll_s: [(at - ended[job]) / 1000 for job, at in stack.arrivals()]
            for stack in stacks
        }
    rows = []
    for poll_s, found in delays.items():
        assert len(found) == JOBS, (poll_s, len(found))
        cuts = statistics.quantiles(found, n=20)
        least = (poll_s or PERIOD_S) / 2
        rows.append(
            (
                str(poll_s),
                f"{cuts[9] / least:.2f}×",
                f"{cuts[9]:.1f} s",
                f"{cuts[18]:.1f} s",
                f"{max(found):.1f} s",
            )
        )
    return Section(
        "Time to know",
        "python -m benchmarks time_to_know",
        ("`POLL_SECONDS`", "median, ratio to half the interval", "median", "95 %", "longest"),
        rows,
        remarks=(HOW,),
        plots=(
            Plot(
                "time-to-know",
                "From a job's end to its event in a subscriber's queue",
                "seconds",
                "share of the jobs",
                {
                    f"POLL_SECONDS={poll_s}": [
                        (seconds, (place + 1) / JOBS)
                        for place, seconds in enumerate(sorted(delays[poll_s]))
                    ]
                    for poll_s in POLL_SECONDS
                },
                steps=True,
            ),
        ),
    )
