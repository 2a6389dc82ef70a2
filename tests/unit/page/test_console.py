"""Links into the AWS console: to the stack's own region, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from export_jobs_cli.page.console import console_links


def system(region: str, **outputs: str) -> Any:
    functions = {
        "MonitorFunctionName": {"FunctionName": "m", "LoggingConfig": {"LogGroup": "/own/group"}},
        "CreatorFunctionName": {"FunctionName": "c"},
    }
    return cast(
        "Any",
        SimpleNamespace(
            name="export jobs",
            is_on_this_machine=False,
            client=lambda _: SimpleNamespace(meta=SimpleNamespace(region_name=region)),
            function=functions.__getitem__,
            outputs={"DeadLetterQueueUrl": "https://sqs.x.amazonaws.com/1/q", **outputs},
        ),
    )


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "eu-west-1.console.aws.amazon.com"),
        ("cn-north-1", "cn-north-1.console.amazonaws.cn"),
        ("us-gov-west-1", "us-gov-west-1.console.amazonaws-us-gov.com"),
    ],
)
def test_every_link_leads_to_the_console_of_the_region(region: str, host: str) -> None:
    """Also in the partitions of China and of the US government."""
    links = console_links(system(region))
    assert [link.text for link in links] == [
        "Stack",
        "Monitor's log",
        "Creator's log",
        "Dead letters",
    ]
    for link in links:
        parts = urlsplit(link.address)
        assert (parts.scheme, parts.netloc) == ("https", host)
        assert parts.query == f"region={region}"


def test_logs_are_found_by_the_functions_own_groups() -> None:
    """The console quotes their names twice; a function without a group of its own has Lambda's."""
    addresses = {link.text: link.address for link in console_links(system("eu-west-1"))}
    assert addresses["Monitor's log"].endswith("/log-group/$252Fown$252Fgroup")
    assert addresses["Creator's log"].endswith("/log-group/$252Faws$252Flambda$252Fc")
    assert addresses["Stack"].endswith("filteringText=export%20jobs")


def test_a_dashboard_is_linked_only_if_it_is_in_the_console() -> None:
    """It is an output of the stack, and outputs are text."""
    own = "https://eu-west-1.console.aws.amazon.com/cloudwatch/home#dashboards"
    assert console_links(system("eu-west-1", DashboardUrl=own))[-1].address == own
    for other in ("https://evil.example/", "javascript:alert(1)", ""):
        assert len(console_links(system("eu-west-1", DashboardUrl=other))) == 4


def test_a_local_stack_has_no_console() -> None:
    """Its AWS is on this machine."""
    local = system("us-east-1")
    local.is_on_this_machine = True
    assert console_links(local) == []
