"""One service and one stack for all runs of a worker; each run has its own sandbox."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from export_jobs_local.aws.server import AwsServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.subscribers import Subscribers
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from support.cloudformation import NEEDED
from support.local import Bench, Clock

SANDBOXES = tuple(f"s{number}" for number in range(5_000))


@pytest.fixture(scope="session")
def workshop(aws: AwsServer, clients: dict[str, Any], template: Path) -> Iterator[Bench]:
    """A bench whose parts are created once; every run takes the next sandbox."""
    clock = Clock()
    config = ServiceConfig(manual=True, sandboxes=SANDBOXES, clock=clock)
    with SegmentationService(config) as service:
        stack = LocalStack(aws, "faults")
        stack.deploy(template, NEEDED)
        subscribers = Subscribers(
            sqs=clients["sqs"],
            events=clients["events"],
            sns=clients["sns"],
            bus_name=stack.outputs["EventBusName"],
            topic_arn=stack.outputs["AlertTopicArn"],
            name="faults",
        )
        # Moto's work for the archive, which no test reads, is a large part of an event's delivery.
        for archive in clients["events"].list_archives()["Archives"]:
            if archive["EventSourceArn"].endswith(f"/{stack.outputs['EventBusName']}"):
                clients["events"].delete_archive(ArchiveName=archive["ArchiveName"])
        yield Bench(service, aws, stack, subscribers, clients, clock)


@pytest.fixture(scope="session")
def sandboxes() -> Iterator[str]:
    """Names of unused sandboxes."""
    return itertools.chain(SANDBOXES)
