"""Checks of both functions, of what invokes them, and of Lambda's limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError
from export_jobs.model.limits import CREATOR_TIMEOUT_S, MONITOR_TIMEOUT_S

from export_jobs_cli.doctor.findings import RESTORE, WorthALook, Wrong, code_of
from export_jobs_cli.doctor.resources import queue_attributes
from export_jobs_cli.stack import DeployedSystem

_TIMEOUTS_S = {"MonitorFunctionName": MONITOR_TIMEOUT_S, "CreatorFunctionName": CREATOR_TIMEOUT_S}
"""The longest run of each function that leases and attempts allow for."""
RUNS_AT_ONCE: Mapping[str, int] = {
    # One starts each minute, even while those before it still wait for a sandbox that hangs.
    "MonitorFunctionName": MONITOR_TIMEOUT_S // 60 + 1,
    # The trigger's MaximumConcurrency.
    "CreatorFunctionName": 2,
}
"""How many runs of each function there can be at once."""
_QUOTA = (
    "service-quotas request-service-quota-increase --service-code lambda "
    "--quota-code L-B99A9384 --desired-value 1000"
)
"""Requests more concurrent executions, the quota that Lambda names so."""


def function(system: DeployedSystem, output_name: str) -> str:
    try:
        found = system.function(output_name)
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            raise Wrong(f"there is no function {system.outputs[output_name]}", RESTORE) from None
        raise
    settings = system.monitor if output_name == "MonitorFunctionName" else system.creator
    if found.get("State", "Active") not in {"Active", "Inactive"}:
        raise Wrong(
            f"its state is {found['State']}: {found.get('StateReason')}",
            "wait a minute if it is Pending; otherwise correct what the reason names",
        )
    limit_s, longest_s = found.get("Timeout", 0), _TIMEOUTS_S[output_name]
    if limit_s > longest_s:
        raise Wrong(
            f"its timeout is {limit_s} s, but leases allow for runs of at most {longest_s} s",
            system.aws_command(
                "lambda update-function-configuration",
                *("--function-name", found["FunctionName"], "--timeout", str(longest_s)),
            ),
            "Another run takes over work that a long run is still doing: an event might be published "
            "twice, or a job created twice.",
        )
    return f"{found['FunctionName']}; sandboxes {', '.join(settings.sandboxes)}"


def loop_detection(system: DeployedSystem) -> str:
    """Nothing in this stack loops, so Lambda's default, to stop loops, is right.

    docs.aws.amazon.com/lambda/latest/dg/API_GetFunctionRecursionConfig.html
    """
    names = [system.outputs[output] for output in _TIMEOUTS_S]
    client = system.client("lambda")
    for name in names:
        setting = client.get_function_recursion_config(FunctionName=name)["RecursiveLoop"]
        if setting != "Terminate":
            raise WorthALook(
                f"{name} has RecursiveLoop {setting}, so Lambda does not stop loops",
                system.aws_command(
                    "lambda put-function-recursion-config",
                    *("--function-name", name, "--recursive-loop", "Terminate"),
                ),
            )
    return "Lambda stops loops"


def concurrency(system: DeployedSystem) -> str:
    """Runs without a reservation share the account's unreserved concurrency with all others.

    Fewer than this stack may need by itself is too small, whatever other functions there are.
    """
    if system.is_on_this_machine:
        return "not checked: a local AWS has no such limits"
    client = system.client("lambda")
    reserved = {
        output: client.get_function_concurrency(FunctionName=system.outputs[output])
        for output in RUNS_AT_ONCE
    }
    limit = client.get_account_settings()["AccountLimit"]
    needed = sum(
        _unreserved_runs(system, system.outputs[output], reserved[output], runs)
        for output, runs in RUNS_AT_ONCE.items()
    )
    total, unreserved = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
    shares = f"{unreserved} of the account's {total} are unreserved; the stack needs up to {needed}"
    if unreserved < needed:
        more = system.aws_command(_QUOTA)
        raise WorthALook(shares, f"reserve less for other functions, or request more: `{more}`")
    return shares


def _unreserved_runs(
    system: DeployedSystem, name: str, reserved: Mapping[str, Any], runs: int
) -> int:
    """How many runs need unreserved concurrency. Raises Wrong if Lambda refuses all."""
    number = reserved.get("ReservedConcurrentExecutions")
    if number == 0:
        raise Wrong(
            f"{name} has a reserved concurrency of 0",
            system.aws_command("lambda delete-function-concurrency", "--function-name", name),
            "Lambda refuses every run of this function.",
        )
    return runs if number is None else 0


def trigger(system: DeployedSystem) -> str:
    queue_arn = queue_attributes(system, "RequestQueueUrl")["QueueArn"]
    mappings = system.client("lambda").list_event_source_mappings(
        EventSourceArn=queue_arn, FunctionName=system.outputs["CreatorFunctionName"]
    )["EventSourceMappings"]
    if not mappings:
        raise Wrong("nothing invokes the creator", RESTORE)
    mapping = mappings[0]
    if mapping["State"] not in {"Enabled", "Enabling", "Updating"}:
        raise Wrong(
            f"it is {mapping['State']}",
            system.aws_command(
                "lambda update-event-source-mapping", "--enabled", "--uuid", mapping["UUID"]
            ),
        )
    return f"{mapping['State'].lower()}, {mapping.get('BatchSize')} messages per batch"


def schedule(system: DeployedSystem) -> str:
    events = system.client("events")
    arn = system.function("MonitorFunctionName")["FunctionArn"]
    names = events.list_rule_names_by_target(TargetArn=arn)["RuleNames"]
    rules = [events.describe_rule(Name=name) for name in names]
    scheduled = [rule for rule in rules if rule.get("ScheduleExpression")]
    if not scheduled:
        raise Wrong("nothing invokes the monitor", RESTORE)
    enabled = [rule for rule in scheduled if rule["State"] != "DISABLED"]
    if not enabled:
        enable = system.aws_command("events enable-rule", "--name", scheduled[0]["Name"])
        raise Wrong("it is disabled", enable)
    return str(enabled[0]["ScheduleExpression"])
