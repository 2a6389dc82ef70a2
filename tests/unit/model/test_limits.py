"""The times that both functions rely on: as in the template, and mutually consistent."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from export_jobs import wiring
from export_jobs.client import transport
from export_jobs.creator.process import RequestProcessor
from export_jobs.model import limits
from export_jobs.model.limits import CREATOR_TIMEOUT_S, MONITOR_TIMEOUT_S
from export_jobs.model.matching import created_within, gives_up_from
from export_jobs.model.records import Attempt
from export_jobs.model.steps import MAX_STEPS
from export_jobs.monitor.sweep import Sweeper
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

AT = 1_800_000_000_000
DAY_S = 86_400
MAX_OPEN_EXPORTS = 200
"""As many slots as the gate's item holds."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return read_template(TEMPLATE)


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


@pytest.mark.parametrize(
    ("function", "timeout_s"),
    [("MonitorFunction", MONITOR_TIMEOUT_S), ("CreatorFunction", CREATOR_TIMEOUT_S)],
)
def test_the_functions_have_the_time_outs_that_are_reckoned_with(
    template: dict[str, Any], function: str, timeout_s: int
) -> None:
    """Leases and the settling of attempts are derived from them."""
    assert properties(template, function)["Timeout"] == timeout_s


def test_a_lease_outlives_every_run() -> None:
    """An older lease proves that its run has ended."""
    assert max(MONITOR_TIMEOUT_S, CREATOR_TIMEOUT_S) * 1000 < limits.LEASE_MS


def test_a_message_is_not_delivered_again_while_a_run_may_have_it(template: dict[str, Any]) -> None:
    """AWS asks for six times the function's time-out."""
    assert properties(template, "RequestQueue")["VisibilityTimeout"] >= 6 * CREATOR_TIMEOUT_S


def test_what_waits_for_an_outage_is_received_a_thousand_times(template: dict[str, Any]) -> None:
    """A day without DynamoDB is 120 receives, which moves no message to the dead letters."""
    queue = properties(template, "RequestQueue")
    assert queue["RedrivePolicy"]["maxReceiveCount"] == 1_000
    assert DAY_S // queue["VisibilityTimeout"] < 1_000


def test_ended_requests_are_remembered_longer_than_any_message_lives(
    template: dict[str, Any],
) -> None:
    """Fourteen days in the queue and fourteen as a dead letter; a redrive finds its record."""
    least_days = template["Parameters"]["RetentionDays"]["MinValue"]
    assert least_days >= 30
    lives_s = sum(
        properties(template, queue)["MessageRetentionPeriod"]
        for queue in ("RequestQueue", "RequestDeadLetterQueue")
    )
    assert least_days * DAY_S > lives_s


def test_the_cap_is_no_larger_than_the_gate_holds(template: dict[str, Any]) -> None:
    """Every open export may have a slot in one item."""
    assert template["Parameters"]["MaxOpenExports"]["MaxValue"] == MAX_OPEN_EXPORTS


@pytest.mark.parametrize(
    ("part", "timeout_s"), [(RequestProcessor, CREATOR_TIMEOUT_S), (Sweeper, MONITOR_TIMEOUT_S)]
)
def test_the_time_kept_in_reserve_fits(part: type, timeout_s: int) -> None:
    """It covers the longest call started before it, and leaves most of a run for work."""
    reserve_s = inspect.signature(part).parameters["reserve_s"].default
    aws = wiring._config()
    attempts = aws.retries["total_max_attempts"]
    pauses_s = sum(2**number for number in range(attempts - 1))
    assert (aws.connect_timeout + aws.read_timeout) * attempts + pauses_s < reserve_s
    assert reserve_s > wiring.AFTER_A_CALL_S + transport.LEAST_S
    assert reserve_s < timeout_s / 2


def test_a_create_call_takes_no_longer_than_is_reckoned_with() -> None:
    """From when it may be sent; and a run that has noted an attempt has the time to send it."""
    assert transport.MAX_SENT_S * 1000 <= limits.CALL_MS
    assert limits.SEND_WITHIN_MS + limits.CALL_MS < CREATOR_TIMEOUT_S * 1000


def test_no_attempt_is_given_up_while_its_job_may_still_show() -> None:
    """Nor while a run may hold its answer; and it is settled long before it becomes unknown."""
    attempt = Attempt("k", "r", noted_at=AT, send_by=AT + limits.SEND_WITHIN_MS, hashes={}, rule=1)
    earliest, latest = created_within(attempt)
    assert earliest == AT - limits.CLOCKS_MS
    assert latest == attempt.send_by + limits.CALL_MS + limits.SHOWS_MS
    assert gives_up_from(attempt) == latest + limits.CLOCKS_MS
    assert gives_up_from(attempt) > AT + limits.HOLDS_ANSWER_MS > AT + CREATOR_TIMEOUT_S * 1000
    assert (
        gives_up_from(attempt) + limits.LISTINGS_APART_MS < AT + limits.OUTCOME_KNOWN_WITHIN_MS / 10
    )


def test_a_linked_slot_outlives_the_run_that_may_not_have_seen_its_job() -> None:
    """A run that reads the gate and then the jobs sees the slot, or the job."""
    assert limits.LINKED_SLOT_MS >= CREATOR_TIMEOUT_S * 1000


def test_a_transaction_holds_its_steps() -> None:
    """DynamoDB allows 100 items: four per step, and the gate."""
    assert 4 * MAX_STEPS + 1 <= 100
