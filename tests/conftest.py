"""Fixtures: local AWS and a demo per worker, a stack, a service and a bench per test."""

from __future__ import annotations

import copy
import functools
import gc
import signal
import types
import uuid
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import coverage
import pytest
import requests
from botocore.loaders import Loader
from export_jobs_local.aws import stack as stack_module
from export_jobs_local.aws.server import AwsServer, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.subscribers import Delivery, Subscribers
from export_jobs_local.isolation import http_session
from export_jobs_local.project import TEMPLATE
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from hypothesis import HealthCheck, settings
from support.cloudformation import NEEDED
from support.demo import DemoRun, run_demo_in
from support.faults import LONG
from support.local import Bench
from support.ministack import Ministack, deployable_template
from support.schemas import validate_event
from support.site import Site, served

settings.register_profile(
    "default",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)
settings.register_profile("long", parent=settings.get_profile("default"), max_examples=2_000)
settings.load_profile("default")

# A shell starts background commands with Ctrl-C ignored, and their children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `requests.get` and the like, which only tests use, are for what runs here: no proxy of the shell.
requests.api.sessions = types.SimpleNamespace(Session=http_session)


gc.disable()  # until all tests are known; see `pytest_collection_finish`


def pytest_collection_finish() -> None:
    """Takes what is there for good out of garbage collection: looking at it is a fifth of the time."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Some libraries take what is never collected for a leak."""
    gc.enable()
    gc.unfreeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--ministack",
        metavar="PYTHON",
        help="run against ministack instead of moto; PYTHON is that of an environment with it",
    )


MEASURED = (
    *(
        f"contract/test_{module}.py"
        for module in ("calls", "client", "fuzz", "heartbeat", "proxy", "schedules")
    ),
    *(
        f"unit/{package}"
        for package in ("aws", "contract", "creator", "events", "model", "monitor")
    ),
    *(f"unit/test_{module}.py" for module in ("telemetry", "wiring")),
    *(f"integration/test_{module}.py" for module in ("commits", "queues", "reads", "tables")),
)
"""What the coverage is measured in: the tests of what `export_jobs` does by itself.

Measuring doubles the time of a test, and those of whole systems reach hardly any other line. A test
in one of these places that repeats something many times is marked `unmeasured`.
"""


def _is_measured(item: pytest.Item) -> bool:
    place = item.path.relative_to(Path(__file__).parent).as_posix()
    return place.startswith(MEASURED) and not item.get_closest_marker("unmeasured")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Interrupts the measurement of the coverage for tests that it is not measured in.

    A process of pytest-xdist has two of them: where one stops, the one before goes on.
    """
    if _is_measured(item):
        return (yield)
    stopped: list[coverage.Coverage] = []
    while measurement := coverage.Coverage.current():
        measurement.stop()
        stopped.append(measurement)
    try:
        return (yield)
    finally:
        for measurement in reversed(stopped):
            measurement.start()


LONGEST = (
    *("live-page", "cli-requests", "shell", "demo", "cli", "wheel", "local-parameters", "people"),
    *("expectations", "big", "packaged", "cli-names", "baselines", "deployer", "broad-run"),
)
"""The groups of tests that take longest. A group runs in one process, from its first test on."""


def _turn(item: pytest.Item) -> int:
    mark = item.get_closest_marker("xdist_group")
    if mark is None:
        return len(LONGEST) + 1
    group = mark.args[0]
    return LONGEST.index(group) if group in LONGEST else len(LONGEST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Starts the longest groups first, so that no process waits for another in the end.

    Gives a test of the long settings two hours.
    """
    items.sort(key=_turn)
    if LONG:
        for item in items:
            item.add_marker(pytest.mark.timeout(7_200))


@pytest.fixture(scope="session", autouse=True)
def every_published_event_fits_its_schema() -> Iterator[None]:
    """Checks what a test's subscribers receive, as `support.fakes` checks what it publishes."""
    drain = Subscribers.drain

    def checked(subscribers: Subscribers) -> list[Delivery]:
        new = drain(subscribers)
        for delivery in new:
            validate_event(delivery.type, delivery.detail)
        return new

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subscribers, "drain", checked)
        yield


@pytest.fixture(scope="session", autouse=True)
def descriptions_of_aws_are_read_once() -> Iterator[None]:
    """For all sessions of boto3: reading them is half of the time of a command."""
    init, kept = Loader.__init__, defaultdict[tuple[Any, ...], dict[Any, Any]](dict)

    def sharing(loader: Loader, *arguments: Any, **more: Any) -> None:
        init(loader, *arguments, **more)
        loader._cache = kept[type(loader), *loader.search_paths]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loader, "__init__", sharing)
        yield


@pytest.fixture(scope="session", autouse=True)
def what_is_deployed_is_read_once() -> Iterator[None]:
    """The template is parsed, and each folder of code packed, once for all stacks."""
    read = functools.cache(stack_module.read_template)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stack_module, "read_template", lambda path: copy.deepcopy(read(path)))
        patch.setattr(stack_module, "_zipped", functools.cache(stack_module._zipped))
        yield


@pytest.fixture(scope="session")
def emulator(pytestconfig: pytest.Config) -> Callable[..., AwsServer]:
    """Starts an emulator of AWS: moto, or with `--ministack` the other one."""
    python = pytestconfig.getoption("--ministack")
    return partial(Ministack, Path(python).absolute()) if python else MotoServer


@pytest.fixture(scope="session")
def aws(emulator: Callable[..., AwsServer]) -> Iterator[AwsServer]:
    with emulator() as server:
        yield server


@pytest.fixture(scope="session")
def template(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template, as far as the emulator can deploy it."""
    if pytestconfig.getoption("--ministack"):
        return deployable_template(tmp_path_factory.mktemp("template"))
    return TEMPLATE


@pytest.fixture(scope="session")
def clients(aws: AwsServer) -> dict[str, Any]:
    return {name: aws.client(name) for name in ("dynamodb", "events", "sns", "sqs")}


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    """The demo, run once for all tests that look at what it leaves; they are one xdist group."""
    return run_demo_in(tmp_path_factory.mktemp("demo"))


@pytest.fixture
def stack(aws: AwsServer, template: Path) -> Iterator[LocalStack]:
    """A separate stack for the test, with nothing left by other tests."""
    stack = LocalStack(aws, f"test-{uuid.uuid4().hex[:8]}")
    stack.deploy(template, {**NEEDED, "Sandboxes": "prod,dev"})
    yield stack
    stack.delete()


@pytest.fixture
def site(aws: AwsServer, stack: LocalStack) -> Iterator[Site]:
    """The page of the test's stack."""
    with served(aws, stack) as site:
        yield site


@pytest.fixture
def service() -> Iterator[SegmentationService]:
    """A service whose jobs move only when the test moves them."""
    with SegmentationService(ServiceConfig(manual=True)) as service:
        yield service


@pytest.fixture
def bench(
    service: SegmentationService, aws: AwsServer, stack: LocalStack, clients: dict[str, Any]
) -> Bench:
    subscribers = Subscribers(
        sqs=clients["sqs"],
        events=clients["events"],
        sns=clients["sns"],
        bus_name=stack.outputs["EventBusName"],
        topic_arn=stack.outputs["AlertTopicArn"],
        name=stack.name,
    )
    return Bench(service, aws, stack, subscribers, clients)
