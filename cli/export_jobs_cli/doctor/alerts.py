"""Checks of the notifications: the topics, their key, the alarms and their recipients."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from botocore.exceptions import ClientError

from export_jobs_cli.doctor.findings import RESTORE, WorthALook, Wrong, code_of
from export_jobs_cli.doctor.policies import Asked, Verdict, allows
from export_jobs_cli.stack import DeployedSystem

ALARMS = (
    "creator-errors",
    "creator-throttled",
    "duplicates-found",
    "events-undelivered",
    "exports-overdue",
    "jobs-unreadable",
    "monitor-errors",
    "monitor-throttled",
    "queue-old",
    "request-old",
    "requests-dead",
    "requests-failing",
    "sandbox-stale",
    "sweeps-stopped",
)
"""The template's alarms, without the stack's name before them.

With the prefix alone, those of a stack whose name begins the same would be taken for this one's.
"""
_CLOUDWATCH = "cloudwatch.amazonaws.com"
_KEY_ACTIONS = ("kms:Decrypt", "kms:GenerateDataKey")
"""What CloudWatch needs for an encrypted topic.

docs.aws.amazon.com/sns/latest/dg/sns-key-management.html
"""
_NEW_KEY = (
    "deploy with another KmsKeyArn: that of a customer managed key, or empty if it was not, so that "
    "the stack makes a key"
)
_NOTHING_PUBLISHED = (
    "Nothing can be published to a topic with this key: alarms are silently lost, and events for "
    "people wait in the outbox."
)
_ALARM_FIELDS = frozenset(
    {
        *("AWSAccountId", "AlarmActions", "AlarmArn", "AlarmConfigurationUpdatedTimestamp"),
        *("AlarmDescription", "AlarmName", "InsufficientDataActions", "NewStateReason"),
        *("NewStateValue", "OKActions", "OldStateValue", "Region", "StateChangeTime", "Trigger"),
    }
)
"""The names in the message of an alarm."""


class Topic:
    """One of the stack's topics, each part of it read once."""

    def __init__(self, system: DeployedSystem, output: str) -> None:
        """`output` is the name of the stack's output with its ARN."""
        self.system = system
        self._output = output

    @cached_property
    def arn(self) -> str:
        """Raises Wrong if the stack is of a version that does not have the topic."""
        if self._output not in self.system.outputs:
            raise Wrong(f"the stack has no output {self._output}", "deploy the current version")
        return self.system.outputs[self._output]

    @property
    def key(self) -> str:
        """The id, ARN or alias of its key; empty if it is not encrypted."""
        return self.attributes.get("KmsMasterKeyId", "")

    @cached_property
    def attributes(self) -> Mapping[str, str]:
        attributes = self.system.client("sns").get_topic_attributes(TopicArn=self.arn)["Attributes"]
        return dict(attributes)

    @cached_property
    def subscriptions(self) -> list[Mapping[str, str]]:
        pages = self.system.client("sns").get_paginator("list_subscriptions_by_topic")
        return [
            subscription
            for page in pages.paginate(TopicArn=self.arn)
            for subscription in page["Subscriptions"]
        ]

    @property
    def confirmed(self) -> list[Mapping[str, str]]:
        """Others are pending, or were deleted, and have that word for an ARN."""
        return [s for s in self.subscriptions if s["SubscriptionArn"].startswith("arn:")]

    def is_open_to_alarms(
        self, policy: Mapping[str, Any], actions: Iterable[str], resource: str
    ) -> Verdict:
        """Whether a policy lets CloudWatch carry out these actions for each alarm of the stack."""
        _, partition, _, region, account, *_ = self.arn.split(":")
        verdicts = [
            allows(
                policy,
                Asked(
                    _CLOUDWATCH,
                    action,
                    resource,
                    {
                        "aws:sourceaccount": account,
                        "aws:sourcearn": f"arn:{partition}:cloudwatch:{region}:{account}:alarm:"
                        f"{self.system.name}-{alarm}",
                        "aws:sourceowner": account,
                        "aws:securetransport": "true",
                    },
                ),
            )
            for action in actions
            for alarm in ALARMS
        ]
        return False if False in verdicts else None if None in verdicts else True


def alert_subscribers(topic: Topic) -> str:
    return _subscribers(
        topic,
        parameter="AlertEmail",
        lost="No one is notified of failed exports. Events for people wait in the outbox.",
    )


def alarm_subscribers(topic: Topic) -> str:
    return _subscribers(
        topic,
        parameter="AlarmEmail",
        lost="Alarms are silently lost. If the monitor or the creator fails, no one is notified.",
    )


def _subscribers(topic: Topic, *, parameter: str, lost: str) -> str:
    """`lost` is the consequence if there is no such topic; `parameter` subscribes somebody."""
    try:
        topic.attributes  # noqa: B018  read before the subscriptions, to tell what is missing
    except ClientError as error:
        if code_of(error) in {"NotFound", "NotFoundException"}:
            raise Wrong(f"there is no topic {topic.arn}", RESTORE, lost) from None
        raise
    pending = [
        s["Endpoint"] for s in topic.subscriptions if s["SubscriptionArn"] == "PendingConfirmation"
    ]
    if pending:
        raise WorthALook(
            f"not confirmed: {', '.join(pending)}",
            "follow the link in the e-mail from SNS, within 48 hours of the subscription",
            "Until then, these addresses get nothing from this topic.",
        )
    if not topic.subscriptions:
        subscribe = topic.system.aws_command(
            "sns subscribe",
            *("--topic-arn", topic.arn, "--protocol", "email"),
            *("--notification-endpoint", "ADDRESS"),
        )
        raise WorthALook(
            "no subscriptions",
            f"deploy with {parameter}; if it is already set, the subscription has been deleted, by "
            f"SNS if it was not confirmed within 48 hours: `{subscribe}`",
        )
    kinds = sorted({s["Protocol"] for s in topic.subscriptions})
    return f"{len(topic.subscriptions)} subscribed, by {', '.join(kinds)}"


def key(alarm_topic: Topic, alert_topic: Topic) -> str:
    """Whether both topics have the one key that CloudWatch and the functions may use.

    AWS's own key for SNS is not such a key: its policy lets only principals of the account use it
    (repost.aws/knowledge-center/cloudwatch-configure-alarm-sns).
    """
    system, name = alarm_topic.system, alarm_topic.key
    if not name or not alert_topic.key:
        plain = alert_topic if name else alarm_topic
        raise WorthALook(
            f"{plain.arn} is not encrypted",
            _give_key(plain),
            "Alarms and events arrive, but SNS keeps them unencrypted.",
        )
    kms = system.client("kms")
    if name.endswith("alias/aws/sns"):
        raise _managed_by_aws(alarm_topic)
    described = _described(kms, name)
    if described.get("KeyManager") == "AWS":
        raise _managed_by_aws(alarm_topic)
    _check_state(system, described)
    policy = json.loads(kms.get_key_policy(KeyId=described["Arn"], PolicyName="default")["Policy"])
    verdict = alarm_topic.is_open_to_alarms(policy, _KEY_ACTIONS, described["Arn"])
    _check_policy(system, verdict, f"the policy of {described['Arn']}", " and ".join(_KEY_ACTIONS))
    if alert_topic.key != name:
        raise WorthALook(
            f"{alert_topic.arn} has another key: {alert_topic.key}",
            _give_key(alert_topic, name),
            "The functions may not be allowed to use it: events for people then wait in the outbox.",
        )
    return f"{described['Arn']}, which alarms can use"


def _described(kms: Any, name: str) -> Mapping[str, Any]:
    try:
        described: Mapping[str, Any] = kms.describe_key(KeyId=name)["KeyMetadata"]
    except ClientError as error:
        if code_of(error) == "NotFoundException":
            raise Wrong(f"there is no key {name}", _NEW_KEY, _NOTHING_PUBLISHED) from None
        raise
    return described


def _managed_by_aws(topic: Topic) -> Wrong:
    return Wrong(
        f"{topic.key} is managed by AWS, and alarms can't use it",
        f"{_NEW_KEY}; if KmsKeyArn is right, {_give_key(topic)}",
    )


def _give_key(topic: Topic, key: str = "") -> str:
    """How to set a topic's key; without a key, the user looks it up."""
    command = topic.system.aws_command(
        "sns set-topic-attributes",
        *("--topic-arn", topic.arn, "--attribute-name", "KmsMasterKeyId"),
        *("--attribute-value", key or "KEY_ARN"),
    )
    which = "" if key else ", where KEY_ARN is KmsKeyArn, or else the ARN of the stack's TopicKey"
    return f"set the topic's key: `{command}`{which}"


def _check_state(system: DeployedSystem, described: Mapping[str, Any]) -> None:
    state, arn = described["KeyState"], described["Arn"]
    if state == "Enabled":
        return
    enable = system.aws_command("kms enable-key", "--key-id", arn)
    cancel = system.aws_command("kms cancel-key-deletion", "--key-id", arn)
    cures = {"Disabled": enable, "PendingDeletion": f"`{cancel}`, then `{enable}`"}
    cure = cures.get(state, "check the key in the AWS console")
    raise Wrong(f"{arn} is {state}", cure, _NOTHING_PUBLISHED)


def _check_policy(system: DeployedSystem, verdict: Verdict, policy: str, actions: str) -> None:
    """Raises unless the verdict is that alarms may do what they need."""
    template = system.aws_command("cloudformation get-template", "--stack-name", system.name)
    if verdict is None:
        test = system.aws_command(
            "cloudwatch set-alarm-state",
            *("--alarm-name", f"{system.name}-{ALARMS[0]}"),
            *("--state-value", "ALARM", "--state-reason", "test"),
        )
        raise WorthALook(
            f"can't be determined: {policy} has statements that doctor does not understand",
            f"compare it with the template (`{template}`), or set an alarm off: `{test}`",
            "Unknown: if CloudWatch is not allowed to use it, alarms are silently lost.",
        )
    if not verdict:
        raise Wrong(
            f"{policy} does not let alarms use it",
            f"let {_CLOUDWATCH} do {actions} in it, for this account's alarms, as in the template "
            f"(`{template}`)",
            "Alarms are silently lost: CloudWatch can't publish to the topic, and reports it only "
            "in the alarm's history.",
        )


def alarms(topic: Topic) -> str:
    """A finding of an earlier rule hides those of later ones, which are less severe."""
    found = {alarm["AlarmName"]: alarm for alarm in _alarms(topic.system)}
    names = [f"{topic.system.name}-{alarm}" for alarm in ALARMS]
    there = [found[name] for name in names if name in found]
    if topic.system.is_on_this_machine and not there:
        return "not checked: a local AWS has no alarms"
    _none(
        [name for name in names if name not in found],
        "missing",
        f"deploy the current version if the stack is older than the alarm; otherwise {RESTORE}",
    )
    silent = [alarm["AlarmName"] for alarm in there if not alarm["ActionsEnabled"]]
    enable = topic.system.aws_command("cloudwatch enable-alarm-actions", "--alarm-names", *silent)
    _none(silent, "with their actions disabled", enable)
    elsewhere = [a["AlarmName"] for a in there if topic.arn not in a.get("AlarmActions", [])]
    _none(
        elsewhere,
        "without the alarm topic in their actions",
        f"in the CloudWatch console, let them notify {topic.arn}",
    )
    policy = json.loads(topic.attributes.get("Policy") or "{}")
    verdict = topic.is_open_to_alarms(policy, ["sns:Publish"], topic.arn)
    _check_policy(topic.system, verdict, f"the policy of {topic.arn}", "sns:Publish")
    ringing = [alarm["AlarmName"] for alarm in there if alarm["StateValue"] == "ALARM"]
    if ringing:
        raise WorthALook(
            f"in ALARM: {', '.join(ringing)}",
            "read the alarm's description: "
            f"`{topic.system.aws_command('cloudwatch describe-alarms', '--alarm-names', *ringing)}`",
            "Something fails, or has failed lately; the alarm's description says what.",
        )
    return f"{len(there)}, none in ALARM"


def _alarms(system: DeployedSystem) -> Iterator[Mapping[str, Any]]:
    pages = system.client("cloudwatch").get_paginator("describe_alarms")
    asked = {"AlarmNamePrefix": f"{system.name}-", "AlarmTypes": ["MetricAlarm"]}
    for page in pages.paginate(**asked):
        yield from page["MetricAlarms"]


def _none(names: list[str], what: str, cure: str) -> None:
    """Raises if there are such alarms."""
    if names:
        raise Wrong(f"{what}: {', '.join(names)}", cure)


def recipients(topic: Topic) -> str:
    """Alarms have no message attributes, so a filter policy on attributes leaves them all out."""
    sns = topic.system.client("sns")
    reached = [
        subscription
        for subscription in topic.confirmed
        if _takes_alarms(
            sns.get_subscription_attributes(SubscriptionArn=subscription["SubscriptionArn"])[
                "Attributes"
            ]
        )
    ]
    if not reached:
        raise WorthALook(
            "every subscription has a filter policy that leaves alarms out",
            "add a subscription without a filter policy, for another address",
        )
    return f"{len(reached)} of {len(topic.confirmed)} confirmed subscriptions take alarms"


def _takes_alarms(attributes: Mapping[str, str]) -> bool:
    policy = json.loads(attributes.get("FilterPolicy") or "{}")
    if not policy:
        return True
    return attributes.get("FilterPolicyScope") == "MessageBody" and _fits_alarms(policy)


def _fits_alarms(policy: Mapping[str, Any]) -> bool:
    """Whether a policy on the body can match alarms: all that it asks for is part of them.

    The values are not compared, as they differ from alarm to alarm.
    """
    return all(_fits(name, wanted) for name, wanted in policy.items())


def _fits(name: str, wanted: Any) -> bool:
    if name == "$or":
        return any(_fits_alarms(one) for one in wanted)
    return name in _ALARM_FIELDS or wanted == [{"exists": False}]
