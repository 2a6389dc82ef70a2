"""`doctor`: checks everything that the system needs, and shows how to fix what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.aws.dynamodb.items import OPEN_INDEX
from export_jobs.aws.settings import MonitorSettings, SettingsInvalid
from export_jobs.client import BadCredentials, Forbidden, RetryLater, SegmentationError
from export_jobs.model.limits import CLOCKS_MS, CREATOR_TIMEOUT_S, MONITOR_TIMEOUT_S
from export_jobs.model.ports import StoreUnavailable

from export_jobs_cli import output
from export_jobs_cli.errors import UserError
from export_jobs_cli.line import Line
from export_jobs_cli.stack import DeployedSystem, refusal, unreachable

MAX_SKEW_S = CLOCKS_MS / 1000
"""The most by which the service's clock and ours may differ."""
_TIMEOUTS_S = {"MonitorFunctionName": MONITOR_TIMEOUT_S, "CreatorFunctionName": CREATOR_TIMEOUT_S}
"""The longest run of each function that leases and attempts allow for."""
SWEEP_WINDOW_MINUTES = 15
_PERMISSIONS = "your own AWS permissions may not suffice; ask for read access to the stack"
_LOST = "it was deleted from the stack: deploy the stack again"
_OTHERWISE = "try again; if it fails again, check it in the AWS console, and deploy the stack again"
_DENIED = ("AccessDenied", "AuthorizationError", "UnauthorizedOperation", "KMSAccessDenied")
_STALE = ("ExpiredToken", "InvalidClientTokenId", "UnrecognizedClient", "RequestExpired")
_GONE = ("NotFound", "NoSuchEntity", "NonExistentQueue", "QueueDoesNotExist")
"""Parts of error codes that have the same meaning in several services."""


@dataclass(frozen=True)
class Finding:
    """The result of one check. `look` needs attention, but is no failure; `cure` is what to do.

    `sandbox` is the sandbox that was checked, if the check runs for each.
    """

    name: str
    state: Literal["ok", "look", "bad"]
    detail: str
    cure: str | None = None
    sandbox: str | None = None


class _Wrong(Exception):
    """The check has failed."""

    def __init__(self, detail: str, cure: str) -> None:
        self.cure = cure
        super().__init__(detail)


class _WorthALook(_Wrong):
    """It works, but needs attention."""


def examine(system: DeployedSystem) -> Iterator[Finding]:
    """Runs every check in turn.

    Checks that depend on a failed one are skipped, so that only the cause is reported.
    """
    identity = _finding("AWS credentials", lambda: _identity(system))
    yield identity
    if identity.state == "bad":
        return
    stack = _finding("stack", lambda: _stack(system))
    yield stack
    if stack.state == "bad":
        return
    yield _finding("monitor function", lambda: _function(system, "MonitorFunctionName"))
    yield _finding("creator function", lambda: _function(system, "CreatorFunctionName"))
    settings = _settings(system)
    if settings:
        yield from _adobe(system, settings)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("jobs table", lambda: _table(system, "JobsTableName", index=OPEN_INDEX)),
        ("requests table", lambda: _table(system, "RequestsTableName")),
        ("event bus", lambda: _bus(system)),
        ("alert topic", lambda: _topic(system)),
        ("request queue", lambda: _queue(system)),
        ("queue trigger", lambda: _trigger(system)),
        ("dead letters", lambda: _dead_letter_queue(system)),
        ("schedule", lambda: _schedule(system)),
    ]
    for name, check in checks:
        yield _finding(name, check)
    for sandbox in settings.sandboxes if settings else ():
        yield _finding("last sweeps", partial(_sweeps, system, sandbox), sandbox=sandbox)
        yield _finding("line", partial(_line, system, sandbox), sandbox=sandbox)


def _settings(system: DeployedSystem) -> MonitorSettings | None:
    """The monitor's settings; None if they can't be read, which the monitor's finding reports."""
    try:
        return system.monitor
    except (ClientError, BotoCoreError, SettingsInvalid):
        return None


def _adobe(system: DeployedSystem, settings: MonitorSettings) -> Iterator[Finding]:
    secret = _finding("Adobe secret", lambda: _secret(system))
    yield secret
    yield _finding("clock", lambda: _clock(system))
    if secret.state == "bad":
        return
    token = _finding("access token", lambda: _token(system))
    yield token
    if token.state == "bad":
        return
    for sandbox in settings.sandboxes:
        yield _finding("Segmentation API", partial(_api, system, sandbox), sandbox=sandbox)


def show(finding: Finding) -> None:
    console = output.console()
    mark, style = {"ok": ("ok", "green"), "look": ("look", "yellow"), "bad": ("BAD", "bold red")}[
        finding.state
    ]
    where = f"{output.plain(finding.sandbox)}: " if finding.sandbox else ""
    console.print(
        f"[{style}]{mark:<5}[/]{output.plain(finding.name):<18}{where}{output.plain(finding.detail)}",
        soft_wrap=True,
    )
    if finding.cure:
        console.print(f"     -> {output.plain(finding.cure)}", style="yellow", soft_wrap=True)


def as_json(findings: list[Finding]) -> dict[str, Any]:
    good = all(finding.state != "bad" for finding in findings)
    return {"good": good, "checks": [asdict(finding) for finding in findings]}


def _finding(name: str, check: Callable[[], str], *, sandbox: str | None = None) -> Finding:
    try:
        return Finding(name, "ok", check(), sandbox=sandbox)
    except _WorthALook as look:
        return Finding(name, "look", str(look), look.cure, sandbox)
    except _Wrong as wrong:
        return Finding(name, "bad", str(wrong), wrong.cure, sandbox)
    except SettingsInvalid as error:
        cure = "deploy the stack again with correct parameters"
        return Finding(name, "bad", str(error), cure, sandbox)
    except ClientError as error:
        return Finding(name, "bad", refusal(error), _cure(error), sandbox)
    except BotoCoreError as error:
        return Finding(name, "bad", *unreachable(error), sandbox)
    except StoreUnavailable as error:
        cause = error.__cause__
        cure = _cure(cause) if isinstance(cause, ClientError) else "try again"
        return Finding(name, "bad", str(error), cure, sandbox)


def _cure(error: ClientError) -> str:
    code = _code(error)
    if any(denied in code for denied in _DENIED):
        return _PERMISSIONS
    if any(stale in code for stale in _STALE):
        return "your own AWS credentials are no longer valid: log in again, or set AWS_PROFILE"
    return _LOST if any(gone in code for gone in _GONE) else _OTHERWISE


def _identity(system: DeployedSystem) -> str:
    return str(system.client("sts").get_caller_identity()["Arn"])


def _stack(system: DeployedSystem) -> str:
    try:
        return f"{system.name}, {len(system.outputs)} outputs"
    except UserError as error:
        raise _Wrong(
            str(error).partition(";")[0],
            "check the name (--stack, EXPORT_JOBS_STACK), the account (AWS_PROFILE; see the line "
            "above) and the region (AWS_REGION): `aws cloudformation list-stacks` lists the stacks",
        ) from None


def _function(system: DeployedSystem, output_name: str) -> str:
    try:
        found = system.function(output_name)
    except ClientError as error:
        if _code(error) == "ResourceNotFoundException":
            raise _Wrong(f"there is no function {system.outputs[output_name]}", _LOST) from None
        raise
    settings = system.monitor if output_name == "MonitorFunctionName" else system.creator
    if found.get("State", "Active") not in {"Active", "Inactive"}:
        raise _Wrong(
            f"its state is {found['State']}: {found.get('StateReason')}", "deploy the stack again"
        )
    limit_s, longest_s = found.get("Timeout", 0), _TIMEOUTS_S[output_name]
    if limit_s > longest_s:
        raise _Wrong(
            f"its timeout is {limit_s} s, but leases allow for runs of at most {longest_s} s",
            "reset the timeout, or deploy the stack again: otherwise a job might be created twice",
        )
    return f"{found['FunctionName']}; sandboxes {', '.join(settings.sandboxes)}"


def _secret(system: DeployedSystem) -> str:
    secret = system.monitor.aep_secret_id
    try:
        system.credentials()
    except ClientError as error:
        if _code(error) == "ResourceNotFoundException":
            raise _Wrong(
                f"there is no secret {secret}",
                "create it, or deploy with the correct AepSecretArn",
            ) from None
        raise
    except BadCredentials as error:
        raise _Wrong(
            str(error), "store a JSON object with clientId, clientSecret, orgId and scopes in it"
        ) from None
    return "readable, with all four fields"


def _token(system: DeployedSystem) -> str:
    try:
        system.api.prepare()
    except BadCredentials as error:
        raise _Wrong(
            str(error), "compare the secret with the project in Adobe Developer Console"
        ) from None
    except RetryLater as error:
        raise _Wrong(str(error), f"check the network and {system.monitor.ims_token_url}") from None
    except SegmentationError as error:
        raise _Wrong(str(error), "check ImsTokenUrl") from None
    return "issued by IMS"


def _api(system: DeployedSystem, sandbox: str) -> str:
    try:
        system.api.list_jobs(sandbox, limit=1)
    except Forbidden as error:
        raise _Wrong(
            str(error),
            "give the credential's product profile access to the sandbox and its segments",
        ) from None
    except BadCredentials as error:
        raise _Wrong(
            str(error), "compare the secret with the project in Adobe Developer Console"
        ) from None
    except RetryLater as error:
        raise _Wrong(str(error), "try again later; until then, requests and sweeps wait") from None
    except SegmentationError as error:
        raise _Wrong(str(error), "check ApiBaseUrl and the sandbox") from None
    return "can list jobs"


def _clock(system: DeployedSystem) -> str:
    """Compares clocks. Needs no token: a refusal has a date, too."""
    before = time.time()
    try:
        answer = system.transport.send("GET", system.monitor.aep_base_url)
    except SegmentationError as error:
        raise _Wrong(str(error), "check the network") from None
    here = (before + time.time()) / 2
    date = answer.headers.get("Date")
    if not date:
        return "not compared: the service sends no Date header"
    skew_s = here - parsedate_to_datetime(date).timestamp()
    if abs(skew_s) > MAX_SKEW_S:
        raise _Wrong(
            f"this machine's clock is {skew_s:+.0f} s off the service's, {date}",
            "set this machine's clock; if it is right, report the service's to Adobe",
        )
    return f"within {max(1, round(abs(skew_s)))} s of the service's"


def _table(system: DeployedSystem, output_name: str, *, index: str | None = None) -> str:
    name = system.outputs[output_name]
    try:
        table = system.client("dynamodb").describe_table(TableName=name)["Table"]
    except ClientError as error:
        if _code(error) == "ResourceNotFoundException":
            raise _Wrong(
                f"there is no table {name}",
                "deploy the stack again, or restore the table from its backups",
            ) from None
        raise
    if table["TableStatus"] not in {"ACTIVE", "UPDATING"}:
        raise _Wrong(f"{name} is {table['TableStatus']}", "wait, and run doctor again")
    indexes = {found["IndexName"] for found in table.get("LocalSecondaryIndexes", [])}
    if index and index not in indexes:
        raise _Wrong(
            f"{name} has no index {index!r}", "it can't be added: have the stack recreate the table"
        )
    return f"{name}{f', with its index {index!r}' if index else ''}"


def _bus(system: DeployedSystem) -> str:
    name = system.outputs["EventBusName"]
    events = system.client("events")
    try:
        events.describe_event_bus(Name=name)
    except ClientError as error:
        if _code(error) == "ResourceNotFoundException":
            raise _Wrong(f"there is no bus {name}", "deploy the stack again") from None
        raise
    rules = events.list_rules(EventBusName=name)["Rules"]
    return f"{name}, {len(rules)} {'rule' if len(rules) == 1 else 'rules'}"


def _topic(system: DeployedSystem) -> str:
    arn = system.outputs["AlertTopicArn"]
    sns = system.client("sns")
    try:
        sns.get_topic_attributes(TopicArn=arn)
    except ClientError as error:
        if _code(error) in {"NotFound", "NotFoundException"}:
            raise _Wrong(f"there is no topic {arn}", "deploy the stack again") from None
        raise
    subscriptions = sns.list_subscriptions_by_topic(TopicArn=arn)["Subscriptions"]
    pending = [
        s["Endpoint"] for s in subscriptions if s["SubscriptionArn"] == "PendingConfirmation"
    ]
    if pending:
        raise _WorthALook(
            f"not confirmed: {', '.join(pending)}", "follow the link in the e-mail from SNS"
        )
    if not subscriptions:
        raise _WorthALook(
            "no subscriptions", "deploy with AlertEmail, or subscribe those responsible"
        )
    kinds = sorted({s["Protocol"] for s in subscriptions})
    return f"{len(subscriptions)} subscribed, by {', '.join(kinds)}"


def _queue(system: DeployedSystem) -> str:
    attributes = _queue_attributes(system, "RequestQueueUrl")
    dead = _queue_attributes(system, "DeadLetterQueueUrl")
    policy = json.loads(attributes.get("RedrivePolicy", "{}"))
    if policy.get("deadLetterTargetArn") != dead["QueueArn"]:
        raise _Wrong(
            "it has no redrive policy to the dead-letter queue",
            "deploy the stack again: without it, a message that always fails is never removed",
        )
    limit_s = system.function("CreatorFunctionName").get("Timeout", 0)
    if int(attributes["VisibilityTimeout"]) < limit_s:
        raise _Wrong(
            f"its visibility timeout is shorter than the creator's timeout of {limit_s} s",
            "deploy the stack again",
        )
    waiting = int(attributes["ApproximateNumberOfMessages"])
    waiting += int(attributes.get("ApproximateNumberOfMessagesDelayed", 0))
    return f"{waiting} not recorded yet; dead letters after {policy['maxReceiveCount']} receives"


def _dead_letter_queue(system: DeployedSystem) -> str:
    count = int(_queue_attributes(system, "DeadLetterQueueUrl")["ApproximateNumberOfMessages"])
    if count:
        raise _WorthALook(f"{count} rejected or failed", "see `export-jobs dlq list`")
    return "none"


def _queue_attributes(system: DeployedSystem, output_name: str) -> dict[str, str]:
    sqs = system.client("sqs")
    url = system.outputs[output_name]
    try:
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    except ClientError as error:
        if "NonExistentQueue" in _code(error):
            raise _Wrong(f"there is no queue {url}", "deploy the stack again") from None
        raise
    return dict(found)


def _trigger(system: DeployedSystem) -> str:
    queue_arn = _queue_attributes(system, "RequestQueueUrl")["QueueArn"]
    mappings = system.client("lambda").list_event_source_mappings(
        EventSourceArn=queue_arn, FunctionName=system.outputs["CreatorFunctionName"]
    )["EventSourceMappings"]
    if not mappings:
        raise _Wrong("nothing invokes the creator", "deploy the stack again")
    mapping = mappings[0]
    if mapping["State"] not in {"Enabled", "Enabling", "Updating"}:
        raise _Wrong(
            f"it is {mapping['State']}: requests wait",
            f"aws lambda update-event-source-mapping --enabled --uuid {mapping['UUID']}",
        )
    return f"{mapping['State'].lower()}, {mapping.get('BatchSize')} messages per batch"


def _schedule(system: DeployedSystem) -> str:
    events = system.client("events")
    arn = system.function("MonitorFunctionName")["FunctionArn"]
    names = events.list_rule_names_by_target(TargetArn=arn)["RuleNames"]
    rules = [events.describe_rule(Name=name) for name in names]
    scheduled = [rule for rule in rules if rule.get("ScheduleExpression")]
    if not scheduled:
        raise _Wrong("nothing invokes the monitor", "deploy the stack again")
    enabled = [rule for rule in scheduled if rule["State"] != "DISABLED"]
    if not enabled:
        raise _Wrong(
            "it is disabled: no sweep runs",
            f"aws events enable-rule --name {scheduled[0]['Name']}",
        )
    return str(enabled[0]["ScheduleExpression"])


def _sweeps(system: DeployedSystem, sandbox: str) -> str:
    """The tables show whether sweeps fail; only CloudWatch shows that they have stopped."""
    state = system.store.load(sandbox).state
    if state is None:
        raise _Wrong("never swept", "wait for the schedule's next run; then read the monitor's log")
    if state.failing_since:
        raise _Wrong(
            f"sweeps have failed since {output.moment(state.failing_since)} UTC",
            "read the monitor's log; see the checks above",
        )
    if not system.is_on_this_machine and not _swept_lately(system, sandbox):
        raise _Wrong(
            f"no successful sweep in {SWEEP_WINDOW_MINUTES} minutes",
            "check the schedule, the monitor's log and its throttles",
        )
    return f"successful; last recorded change {output.moment(state.swept_at)[5:16]} UTC"


def _line(system: DeployedSystem, sandbox: str) -> str:
    line = Line(system, sandbox)
    waiting = (
        f"{len(line.creates)} waiting, {line.open_exports} of {line.max_open} exports open, "
        f"{len(line.attempts)} create calls with unknown outcome"
    )
    if line.held_until:
        raise _WorthALook(
            f"{waiting}; held until {output.moment(line.held_until)} UTC",
            "the service failed or throttled: read the creator's log; a created job lifts the hold",
        )
    return waiting


def _swept_lately(system: DeployedSystem, sandbox: str) -> bool:
    now = datetime.now(UTC)
    points = system.client("cloudwatch").get_metric_statistics(
        Namespace=system.outputs["MetricsNamespace"],
        MetricName="SweepAge",
        Dimensions=[
            {"Name": "sandbox", "Value": sandbox},
            {"Name": "service", "Value": "monitor"},
        ],
        StartTime=now - timedelta(minutes=SWEEP_WINDOW_MINUTES),
        EndTime=now,
        Period=60,
        Statistics=["Minimum"],
    )["Datapoints"]
    return any(point["Minimum"] == 0 for point in points)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
