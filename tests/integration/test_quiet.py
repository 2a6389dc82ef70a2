"""Promise 6 for the function as deployed: what a quiet sweep calls."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.broad_run import FUNCTIONS, broad_run
from support.quiet import first_sweeps, loaded_by_quiet_sweeps
from support.scripted import answer, scripted


@pytest.mark.parametrize("sandboxes", [("prod",), ("prod", "dev")])
def test_a_quiet_sweep_reads_the_listing_and_the_table_and_nothing_else(
    sandboxes: tuple[str, ...],
) -> None:
    """By the deployed function, once a sandbox; the secret and a token are read by the first run."""
    first, *quiet = first_sweeps(4, sandboxes=sandboxes)
    assert first.aws.count("secretsmanager:GetSecretValue") == first.api["token"] == 1
    for sweep in quiet:
        assert sweep.aws == ("dynamodb:Query",) * len(sandboxes)
        assert sweep.api == {"list": len(sandboxes)}


def test_a_heartbeat_is_the_only_other_call_of_a_quiet_sweep() -> None:
    """At most every five minutes; its secret, which is the second one, is read by the first run."""
    with scripted(answer()) as server:
        first, *quiet = first_sweeps(
            9, parameters={"HeartbeatUrl": f"{server.url}/ping"}, minutes_apart=1
        )
    assert first.aws.count("secretsmanager:GetSecretValue") == 2
    assert {(sweep.aws, *sweep.api.items()) for sweep in quiet} == {
        (("dynamodb:Query",), ("list", 1))
    }
    assert [path for _, path, _ in server.requests] == ["/ping"] * 2


def test_a_daily_digest_adds_no_call_to_a_quiet_sweep() -> None:
    """The second run plans it, in one write; from then on it costs nothing until it is due."""
    in_twelve_hours = datetime.now(UTC) + timedelta(hours=12)
    parameters = {"DigestTime": in_twelve_hours.strftime("%H:%M"), "DigestTimezone": "UTC"}
    _, plans, *quiet = first_sweeps(5, sandboxes=("prod", "dev"), parameters=parameters)
    assert plans.aws.count("dynamodb:TransactWriteItems") == 1
    assert {sweep.aws for sweep in quiet} == {("dynamodb:Query",) * 2}


@pytest.mark.xdist_group("broad-run")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_collects_garbage_once_it_has_started(function: str) -> None:
    """It does not while it loads; if it never did, its memory would grow from run to run."""
    calls = broad_run().calls[function]
    assert calls
    assert all(call["collects"] for call in calls)


def test_a_quiet_sweep_loads_no_code_for_changes() -> None:
    """A cold start pays for what it imports: no models of jobs and events, and no texts."""
    loaded = {name.removeprefix("export_jobs.") for name in loaded_by_quiet_sweeps()}
    assert {"contract.listing", "monitor.decide", "events.outbox"} <= loaded
    assert not loaded & {
        "client.heartbeat",
        "contract.create",
        "contract.job",
        "contract.schedule",
        "events.build",
        "events.details",
        "events.messages",
        "events.registry",
        "events.wording",
        "model.calendar",
        "model.expectations",
        "monitor.expectations",
        "monitor.heartbeat",
        "monitor.summary",
    }
    assert not [name for name in loaded if name.startswith("creator")]
