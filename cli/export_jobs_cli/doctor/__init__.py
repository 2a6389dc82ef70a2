"""`doctor`: checks everything that the system needs, and shows how to fix what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from botocore.exceptions import BotoCoreError, ClientError
from export_jobs.aws.settings import MonitorSettings, SettingsInvalid

from export_jobs_cli.doctor import adobe, alerts, functions, resources, sweeps
from export_jobs_cli.doctor.findings import Finding, as_json, found, show
from export_jobs_cli.stack import DeployedSystem

__all__ = ["Finding", "as_json", "examine", "show"]


def examine(system: DeployedSystem) -> Iterator[Finding]:
    """Runs every check in turn.

    Checks that depend on a failed one are skipped, so that only the cause is reported.
    """
    identity = found("AWS credentials", partial(resources.identity, system))
    yield identity
    if identity.state == "bad":
        return
    stack = found("stack", partial(resources.stack, system))
    yield stack
    if stack.state == "bad":
        return
    yield from _functions(system)
    settings = _settings(system)
    if settings:
        yield from _adobe(system, settings)
    yield from _resources(system)
    for sandbox in settings.sandboxes if settings else ():
        yield found("last sweeps", partial(sweeps.sweeps, system, sandbox), sandbox=sandbox)
        yield found("line", partial(sweeps.line, system, sandbox), sandbox=sandbox)
        expected = partial(sweeps.expected, system, sandbox)
        yield found("expected exports", expected, sandbox=sandbox)


def _settings(system: DeployedSystem) -> MonitorSettings | None:
    """The monitor's settings; None if they can't be read, which the monitor's finding reports."""
    try:
        return system.monitor
    except (ClientError, BotoCoreError, SettingsInvalid):
        return None


def _functions(system: DeployedSystem) -> Iterator[Finding]:
    both = [
        found("monitor function", partial(functions.function, system, "MonitorFunctionName")),
        found("creator function", partial(functions.function, system, "CreatorFunctionName")),
    ]
    yield from both
    if all(finding.state != "bad" for finding in both):
        yield found("loop detection", partial(functions.loop_detection, system))
        yield found("concurrency", partial(functions.concurrency, system))


def _adobe(system: DeployedSystem, settings: MonitorSettings) -> Iterator[Finding]:
    secret = found("Adobe secret", partial(adobe.secret, system))
    yield secret
    yield found("clock", partial(adobe.clock, system))
    if secret.state == "bad":
        return
    token = found("access token", partial(adobe.token, system))
    yield token
    if token.state == "bad":
        return
    for sandbox in settings.sandboxes:
        api = found("Segmentation API", partial(adobe.api, system, sandbox), sandbox=sandbox)
        yield api
        if api.state != "bad":
            check = partial(adobe.export_permission, system, sandbox)
            yield found("export permission", check, sandbox=sandbox)


def _resources(system: DeployedSystem) -> Iterator[Finding]:
    yield found("jobs table", partial(resources.jobs_table, system))
    yield found("requests table", partial(resources.requests_table, system))
    yield found("event bus", partial(resources.event_bus, system))
    yield from _alerts(system)
    yield found("request queue", partial(resources.request_queue, system))
    yield found("queue trigger", partial(functions.trigger, system))
    yield found("dead letters", partial(resources.dead_letters, system))
    yield found("schedule", partial(functions.schedule, system))


def _alerts(system: DeployedSystem) -> Iterator[Finding]:
    alert_topic = alerts.Topic(system, "AlertTopicArn")
    alarm_topic = alerts.Topic(system, "AlarmTopicArn")
    both = [
        found("alert topic", partial(alerts.alert_subscribers, alert_topic)),
        found("alarm topic", partial(alerts.alarm_subscribers, alarm_topic)),
    ]
    yield from both
    if all(finding.state != "bad" for finding in both):
        yield found("topic key", partial(alerts.key, alarm_topic, alert_topic))
    if both[1].state != "bad":
        yield found("alarms", partial(alerts.alarms, alarm_topic))
        if alarm_topic.confirmed:
            yield found("alarm recipients", partial(alerts.recipients, alarm_topic))
