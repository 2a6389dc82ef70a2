"""The template with parameters other than the defaults: rendered as in CloudFormation, deployed."""

from __future__ import annotations

import gc
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest
from export_jobs.aws.dynamodb.items import REJECTED_INDEX, REQUEST_NAMES
from export_jobs.aws.settings import MonitorSettings, Settings
from export_jobs.events.registry import kind_of
from export_jobs.model.records import EventType
from export_jobs_local.aws.parameters import ParameterRefused
from export_jobs_local.aws.server import REGION, MotoServer
from export_jobs_local.aws.stack import LocalStack
from export_jobs_local.aws.template import read_template, to_cloudformation
from export_jobs_local.project import TEMPLATE
from export_jobs_local.schemas import for_registry
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.system import LocalSystem, SystemConfig
from hypothesis import given
from hypothesis import strategies as st
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate as validate_openapi
from support.cloudformation import ACCOUNT, NEEDED, STACK, Rendered, render, translated
from support.command_line import parsed
from support.files import ROOT, event
from support.one_of_each import one_of_each

DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
SECRET_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/66666666-7777-8888-9999-000000000000"
SLACK = {"SlackWorkspaceId": "T07EA123LEP", "SlackChannelId": "C07EZ1ABC23"}
ALARM_CHANNEL = "C07EZ1ABC99"
HEARTBEAT = "https://hc-ping.com/planted-7f3a"
EVERYTHING = {
    **NEEDED,
    **SLACK,
    "AlarmSlackChannelId": ALARM_CHANNEL,
    "SecretKmsKeyArn": SECRET_KEY,
    "Sandboxes": "dev,prod",
    "ApiBaseUrl": "https://platform-stage.example/data/core/ups",
    "ImsTokenUrl": "https://ims-stage.example/ims/token/v3",
    "SweepSchedule": "rate(2 minutes)",
    "SweepAlarmMinutes": "30",
    "MonitorReservedConcurrency": "2",
    "PollSeconds": "60",
    "DelayLimitMinutes": "90",
    "DelayFactor": "2.5",
    "DelayRepeatMinutes": "30",
    "DatasetDelayLimits": "5bb4c46757920712f924a3eb=240,other=1",
    "MaxOpenExports": "5",
    "RequestAlarmMinutes": "60",
    "TopicEvents": "all",
    "DigestTime": "08:00",
    "DigestTimezone": "America/Argentina/Buenos_Aires",
    "RetentionDays": "31",
    "AlertEmail": "exports@example.com",
    "AlarmEmail": "oncall@example.com",
    "HeartbeatUrl": HEARTBEAT,
    "KmsKeyArn": KEY,
    "Dashboard": "false",
    "ArchiveDays": "7",
    "DiscoverSchemas": "false",
    "Tracing": "true",
    "LogLevel": "DEBUG",
    "LogRetentionDays": "90",
}
SETS = {
    "defaults": NEEDED,
    "everything changed": EVERYTHING,
    "own key, and the secret's": {**NEEDED, "KmsKeyArn": KEY, "SecretKmsKeyArn": SECRET_KEY},
    "Slack": {**NEEDED, **SLACK},
    "half of Slack": {**NEEDED, "SlackWorkspaceId": SLACK["SlackWorkspaceId"]},
    "Slack, but no workspace": {**NEEDED, **SLACK, "SlackWorkspaceId": ""},
    "two channels": {**NEEDED, **SLACK, "AlarmSlackChannelId": ALARM_CHANNEL},
    "one channel, named twice": {
        **NEEDED,
        **SLACK,
        "AlarmSlackChannelId": SLACK["SlackChannelId"],
    },
    "a channel for alarms only": {
        **NEEDED,
        "SlackWorkspaceId": SLACK["SlackWorkspaceId"],
        "AlarmSlackChannelId": ALARM_CHANNEL,
    },
    "a channel for alarms, but no workspace": {**NEEDED, "AlarmSlackChannelId": ALARM_CHANNEL},
    "a reservation": {**NEEDED, "MonitorReservedConcurrency": "2"},
    "an e-mail address": {**NEEDED, "AlertEmail": "exports@example.com"},
    "an address for alarms only": {**NEEDED, "AlarmEmail": "oncall@example.com"},
    "two addresses": {
        **NEEDED,
        "AlertEmail": "exports@example.com",
        "AlarmEmail": "oncall@example.com",
    },
    "a heartbeat": {**NEEDED, "HeartbeatUrl": HEARTBEAT},
    "no schemas": {**NEEDED, "DiscoverSchemas": "false"},
    "tracing": {**NEEDED, "Tracing": "true"},
    "no dashboard": {**NEEDED, "Dashboard": "false"},
}
NOT_SETTABLE = {"PAGE_SIZE", "OVERLAP_SECONDS"}
"""Settings that tests change, but deployers do not."""


def policies_in(value: Any) -> Iterator[dict[str, Any]]:
    """Every policy document, wherever it appears."""
    if isinstance(value, dict):
        if "Statement" in value:
            yield value
        for item in value.values():
            yield from policies_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from policies_in(item)


def holes_in(value: Any, path: str = "") -> Iterator[str]:
    """Places that have no value but need one."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from holes_in(item, f"{path}.{key}")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from holes_in(item, f"{path}[{position}]")
    elif value is None:
        yield path


def test_the_translator_leaves_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # the second translator replaces the first, which would warn at its end
        to_cloudformation(read_template(TEMPLATE), bucket="code", parameters=NEEDED)
    gc.collect()
    assert caplog.records == []


@pytest.fixture(params=SETS)
def chosen(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The parameters of one set."""
    return SETS[request.param]


def test_everything_changed_means_everything() -> None:
    """A new parameter has to be tested, too."""
    parameters = translated()["Parameters"]
    assert EVERYTHING.keys() == parameters.keys()
    same = [n for n, value in EVERYTHING.items() if str(parameters[n].get("Default")) == value]
    assert same == []


def test_all_it_refers_to_exists_and_nothing_is_null(chosen: Mapping[str, str]) -> None:
    """No other resource and no output refers to what a condition leaves out."""
    rendered = render(chosen)
    assert list(holes_in(dict(rendered.resources))) == []
    assert list(holes_in(dict(rendered.outputs))) == []


def test_every_policy_is_well_formed(chosen: Mapping[str, str]) -> None:
    """IAM refuses an empty statement, one without an action, and a resource that is no string."""
    found = list(policies_in(dict(render(chosen).resources)))
    assert len(found) >= 7
    for policy in found:
        assert policy["Version"] == "2012-10-17"
        for statement in policy["Statement"]:
            assert statement["Effect"] in {"Allow", "Deny"}
            actions = statement["Action"]
            assert actions
            assert all(":" in a for a in ([actions] if isinstance(actions, str) else actions))
            assert statement.get("Principal") or statement["Sid"]
            resources = statement.get("Resource", [])
            assert resources or statement["Action"] == "sts:AssumeRole"
            assert all(isinstance(text, str) for text in resources)


def test_each_function_starts_with_its_environment(chosen: Mapping[str, str]) -> None:
    """Its settings accept every variable, and no variable that they can have is missing."""
    rendered = render(chosen)
    for function, model in (
        ("MonitorFunction", MonitorSettings),
        ("CreatorFunction", Settings),
    ):
        environment = rendered.environment(function)
        model.from_environment(environment)
        known = {name.upper() for name in model.model_fields}
        assert known - environment.keys() == NOT_SETTABLE & known
        assert all("POWERTOOLS" in name for name in environment.keys() - known), "read by nobody"


def test_what_is_set_reaches_the_functions() -> None:
    """Each setting has the value of its parameter, in its unit."""
    rendered = render(EVERYTHING)
    monitor = MonitorSettings.from_environment(rendered.environment("MonitorFunction"))
    creator = Settings.from_environment(rendered.environment("CreatorFunction"))
    assert monitor.sandboxes == creator.sandboxes == ("dev", "prod")
    assert monitor.aep_base_url == creator.aep_base_url == EVERYTHING["ApiBaseUrl"]
    assert monitor.ims_token_url == creator.ims_token_url == EVERYTHING["ImsTokenUrl"]
    assert monitor.aep_secret_id == creator.aep_secret_id == EVERYTHING["AepSecretArn"]
    assert monitor.topic_events == creator.topic_events == "all"
    assert monitor.retention_days == creator.retention_days == 31
    assert monitor.poll_seconds == 60
    assert (monitor.delay_limit_minutes, monitor.delay_repeat_minutes) == (90, 30)
    assert monitor.dataset_delay_limits == {"5bb4c46757920712f924a3eb": 240, "other": 1}
    assert creator.max_open_exports == 5
    for function in ("MonitorFunction", "CreatorFunction"):
        environment = rendered.environment(function)
        assert environment["POWERTOOLS_LOG_LEVEL"] == "DEBUG"
        assert environment["STACK_NAME"] == STACK


@pytest.mark.parametrize("name", EVERYTHING)
def test_no_parameter_is_without_effect(name: str) -> None:
    """The stack changes if only this parameter does."""
    parameter = translated()["Parameters"][name]
    default = parameter.get("Default", NEEDED["AepSecretArn"].replace("AbC123", "XyZ789"))
    assert render(EVERYTHING) != render({**EVERYTHING, name: str(default)})


@pytest.mark.parametrize("given", [NEEDED, EVERYTHING])
def test_the_topics_have_one_key_that_the_functions_may_use(given: Mapping[str, str]) -> None:
    """Either the stack creates its own, or it uses the given one and creates none."""
    rendered = render(given)
    key = given.get("KmsKeyArn") or "arn:aws:AWS::KMS::Key:TopicKey"
    topics = rendered.of("AWS::SNS::Topic")
    assert {name: topic["KmsMasterKeyId"] for name, topic in topics.items()} == {
        "AlertTopic": key,
        "AlarmTopic": key,
    }
    assert ("TopicKey" in rendered.resources) == ("KmsKeyArn" not in given)
    for role in ("MonitorRole", "CreatorRole"):
        assert statement(rendered, role, "EncryptForTopic")["Resource"] == key


@pytest.mark.parametrize("given", [NEEDED, EVERYTHING])
def test_the_secret_s_key_is_granted_where_it_has_one(given: Mapping[str, str]) -> None:
    """Through Secrets Manager only; without a key of its own there is no such statement."""
    rendered = render(given)
    for role in ("MonitorRole", "CreatorRole"):
        found = statement(rendered, role, "DecryptTheCredential")
        if "SecretKmsKeyArn" not in given:
            assert found is None
            continue
        assert found["Resource"] == SECRET_KEY
        assert found["Action"] == "kms:Decrypt"
        via = {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"}
        assert found["Condition"] == {"StringEquals": via}


def statement(rendered: Rendered, role: str, sid: str) -> Any:
    (policy,) = rendered.resources[role]["Properties"]["Policies"]
    found = [s for s in policy["PolicyDocument"]["Statement"] if s["Sid"] == sid]
    return found[0] if found else None


@pytest.mark.parametrize("name", SETS)
def test_the_heartbeat_s_url_is_in_a_secret_that_only_the_monitor_may_read(name: str) -> None:
    """Whoever may see the stack, its parameters or its functions' variables does not see it.

    The default is not empty, as `sam deploy --guided` asks until something is typed.
    """
    parameter = translated()["Parameters"]["HeartbeatUrl"]
    assert parameter["NoEcho"] is True
    assert parameter["Default"] == "none"
    rendered = render(SETS[name])
    secrets = rendered.of("AWS::SecretsManager::Secret")
    monitor = rendered.environment("MonitorFunction")["HEARTBEAT_SECRET_ID"]
    allowed = statement(rendered, "MonitorRole", "ReadTheHeartbeat")
    assert statement(rendered, "CreatorRole", "ReadTheHeartbeat") is None
    assert "HEARTBEAT_SECRET_ID" not in rendered.environment("CreatorFunction")
    if "HeartbeatUrl" not in SETS[name]:
        assert (secrets, monitor, allowed) == ({}, "", None)
        return
    assert secrets.pop("HeartbeatSecret")["SecretString"] == HEARTBEAT
    assert secrets == {}
    assert monitor == allowed["Resource"] == "HeartbeatSecret"
    assert allowed["Action"] == "secretsmanager:GetSecretValue"
    rest = {name: one for name, one in rendered.resources.items() if name != "HeartbeatSecret"}
    assert "planted" not in json.dumps([rest, rendered.outputs])


def test_the_index_of_rejected_requests_can_be_created_and_has_no_body() -> None:
    """DynamoDB projects at most 20 attributes into an index, and those that items have are enough.

    docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_Projection.html
    """
    table = render(NEEDED).of("AWS::DynamoDB::Table")["RequestsTable"]
    (index,) = table["GlobalSecondaryIndexes"]
    assert index["IndexName"] == REJECTED_INDEX
    keys = {part["KeyType"]: part["AttributeName"] for part in index["KeySchema"]}
    assert keys == {"HASH": "rejectedIn", "RANGE": "touchedAt"}
    projected = index["Projection"]["NonKeyAttributes"]
    assert len(projected) == len(set(projected)) <= 20
    assert set(projected) < set(REQUEST_NAMES) - {"requestKey", *keys.values()}
    assert "body" not in REQUEST_NAMES


def test_concurrency_is_reserved_only_when_asked_for() -> None:
    """An account with a small quota refuses any reservation, and with it the whole deployment."""
    monitor = render(NEEDED).of("AWS::Lambda::Function")["MonitorFunction"]
    assert "ReservedConcurrentExecutions" not in monitor
    monitor = render(SETS["a reservation"]).of("AWS::Lambda::Function")["MonitorFunction"]
    assert monitor["ReservedConcurrentExecutions"] == "2"


@pytest.mark.parametrize("name", SETS)
def test_runs_are_traced_only_when_asked_for(name: str) -> None:
    """Then Lambda may write to X-Ray, and otherwise no role may."""
    rendered = render(SETS[name])
    asked = SETS[name].get("Tracing") == "true"
    for function, role in (("MonitorFunction", "MonitorRole"), ("CreatorFunction", "CreatorRole")):
        properties = rendered.of("AWS::Lambda::Function")[function]
        assert properties["TracingConfig"] == {"Mode": "Active" if asked else "PassThrough"}
        assert (statement(rendered, role, "Trace") is not None) == asked
    assert ("xray:" in json.dumps(rendered.resources)) == asked


@pytest.mark.parametrize("name", SETS)
def test_a_dashboard_has_its_address_and_none_has_none(name: str) -> None:
    """The output would lead nowhere without a dashboard, and no alarm's text needs one."""
    rendered = render(SETS[name])
    wanted = SETS[name].get("Dashboard") != "false"
    assert len(rendered.of("AWS::CloudWatch::Dashboard")) == wanted
    assert ("DashboardUrl" in rendered.outputs) == wanted
    for alarm in rendered.of("AWS::CloudWatch::Alarm").values():
        assert "dashboard" not in alarm["AlarmDescription"]


def test_the_commands_of_an_alarm_are_for_its_stack() -> None:
    """Who gets an alarm has a deployed stack, and perhaps no setting that names it."""
    alarms = render(NEEDED).of("AWS::CloudWatch::Alarm").values()
    lines = re.findall(r"`(export-jobs [^`]+)`", "".join(a["AlarmDescription"] for a in alarms))
    assert len(lines) >= 6
    assert {parsed(line)["stack"] for line in lines} == {STACK}


TWO_CHANNELS = {SLACK["SlackChannelId"]: {"AlertTopic"}, ALARM_CHANNEL: {"AlarmTopic"}}
ONE_CHANNEL = {SLACK["SlackChannelId"]: {"AlertTopic", "AlarmTopic"}}
CHANNELS = {
    "Slack": ONE_CHANNEL,
    "one channel, named twice": ONE_CHANNEL,
    "two channels": TWO_CHANNELS,
    "everything changed": TWO_CHANNELS,
    "a channel for alarms only": {ALARM_CHANNEL: {"AlarmTopic"}},
}
"""The topics of each channel, by set. The other sets have none."""


@pytest.mark.parametrize("name", SETS)
def test_a_channel_has_one_configuration_with_its_topics(name: str) -> None:
    """Alarms come to the events' channel unless they have their own; a workspace is needed, too."""
    rendered = render(SETS[name])
    channels = list(rendered.of("AWS::Chatbot::SlackChannelConfiguration").values())
    assert [channel["SlackChannelId"] for channel in channels] == list(CHANNELS.get(name, {}))
    topics = {channel["SlackChannelId"]: set(channel["SnsTopicArns"]) for channel in channels}
    assert topics == CHANNELS.get(name, {})
    assert len({channel["ConfigurationName"] for channel in channels}) == len(channels)
    assert bool(channels) == ("ChatRole" in rendered.resources)
    for channel in channels:
        assert channel["SlackWorkspaceId"] == SLACK["SlackWorkspaceId"]
        assert channel["GuardrailPolicies"], "the default would be AdministratorAccess"


ADDRESSES = {
    "an e-mail address": {"AlertTopic": "exports@example.com", "AlarmTopic": "exports@example.com"},
    "an address for alarms only": {"AlarmTopic": "oncall@example.com"},
    "two addresses": {"AlertTopic": "exports@example.com", "AlarmTopic": "oncall@example.com"},
    "everything changed": {
        "AlertTopic": "exports@example.com",
        "AlarmTopic": "oncall@example.com",
    },
}
"""Who is subscribed to each topic, by set. The other sets have no address."""


@pytest.mark.parametrize("name", SETS)
def test_e_mail_is_subscribed_only_with_an_address(name: str) -> None:
    """Who gives one address gets events and alarms there; nobody loses the alarms."""
    subscriptions = list(render(SETS[name]).of("AWS::SNS::Subscription").values())
    found = {one["TopicArn"]: one["Endpoint"] for one in subscriptions}
    assert found == ADDRESSES.get(name, {})
    assert len(subscriptions) == len(found)
    assert all(one["Protocol"] == "email" for one in subscriptions)


def test_only_the_topic_of_alarms_lets_cloudwatch_in() -> None:
    """For alarms of this account, by TLS; events are published by the functions' own roles."""
    policies = render(NEEDED).of("AWS::SNS::TopicPolicy").values()
    statements = {
        (topic, statement["Sid"]): statement
        for policy in policies
        for topic in policy["Topics"]
        for statement in policy["PolicyDocument"]["Statement"]
    }
    assert statements.keys() == {
        ("AlertTopic", "TlsOnly"),
        ("AlarmTopic", "TlsOnly"),
        ("AlarmTopic", "TakeAlarms"),
    }
    for (topic, sid), found in statements.items():
        assert found["Resource"] == topic
        assert found["Action"] == "sns:Publish"
        assert found["Effect"] == ("Deny" if sid == "TlsOnly" else "Allow")
    taken = statements["AlarmTopic", "TakeAlarms"]
    assert taken["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert taken["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}


def test_alarms_and_logs_follow_their_parameters() -> None:
    """Minutes of the alarms, days of logs and archive."""
    rendered = render(EVERYTHING)
    alarms = rendered.of("AWS::CloudWatch::Alarm")
    assert alarms["RequestOldAlarm"]["Threshold"] == EVERYTHING["RequestAlarmMinutes"]
    assert alarms["SweepsStoppedAlarm"]["EvaluationPeriods"] == EVERYTHING["SweepAlarmMinutes"]
    assert {log["RetentionInDays"] for log in rendered.of("AWS::Logs::LogGroup").values()} == {"90"}
    assert rendered.of("AWS::Events::Archive")["EventArchive"]["RetentionDays"] == "7"


def test_lost_sweeps_come_from_the_schedule_s_rule_only() -> None:
    """The queue's policy names the rule that SAM makes, and that rule invokes the monitor."""
    rendered = render(NEEDED)
    policy = rendered.of("AWS::SQS::QueuePolicy")["SweepDeadLetterQueuePolicy"]["PolicyDocument"]
    (taken,) = [s for s in policy["Statement"] if s["Sid"] == "TakeLostTicks"]
    ((rule, properties),) = rendered.of("AWS::Events::Rule").items()
    assert taken["Condition"] == {
        "ArnEquals": {"aws:SourceArn": f"arn:aws:AWS::Events::Rule:{rule}"}
    }
    (target,) = properties["Targets"]
    assert target["Arn"] == "arn:aws:AWS::Lambda::Function:MonitorFunction"
    assert target["DeadLetterConfig"]["Arn"] == taken["Resource"]


def test_the_page_on_deployment_lists_every_parameter_with_its_default() -> None:
    """`sam deploy --guided` asks for each by name, and shows no description."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| *(.*?) *\| (.+) \|$", DEPLOY, re.MULTILINE)
    listed = {name: default for names, default, _ in rows for name in re.findall(r"\w+", names)}
    defaults = {
        name: f"`{parameter['Default']}`" if parameter.get("Default") != "" else "none"
        for name, parameter in translated()["Parameters"].items()
        if "Default" in parameter
    }
    assert {name: listed.get(name) for name in defaults} == defaults
    assert listed["AepSecretArn"] == ""


def test_names_in_global_places_hold_the_region() -> None:
    """The same stack in a second region must not find the names of dashboard or channel taken."""
    rendered = render({**EVERYTHING, "Dashboard": "true"})
    channels = rendered.of("AWS::Chatbot::SlackChannelConfiguration").values()
    (dashboard,) = rendered.of("AWS::CloudWatch::Dashboard").values()
    own = f"{STACK}-{REGION}"
    assert dashboard["DashboardName"] == own
    assert {channel["ConfigurationName"] for channel in channels} == {own, f"{own}-alarms"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SweepSchedule", "cron(0 * * * ? *)"),
        ("SweepSchedule", "rate(6 minutes)"),
        ("SweepSchedule", "rate(1 hour)"),
        ("SweepAlarmMinutes", "5"),
        ("RetentionDays", "29"),
        ("MaxOpenExports", "201"),
        ("DatasetDelayLimits", "a=10,b=0"),
        ("DatasetDelayLimits", "a=05"),
        ("ApiBaseUrl", "http://platform.adobe.io/data/core/ups"),
        ("Sandboxes", "prod, dev"),
        ("AepSecretArn", "export-jobs/aep"),
        ("AepSecretArn", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:export-jobs/aep"),
        ("AepSecretArn", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:my-secret"),
        ("AepSecretArn", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:aep-AbC12"),
        ("AepSecretArn", f"arn:aws:secretsmanager:{REGION}:1:secret:aep-AbC123"),
        ("KmsKeyArn", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/mine"),
        ("AlertEmail", "somebody"),
        ("AlarmEmail", "somebody"),
        ("HeartbeatUrl", ""),
        ("HeartbeatUrl", "http://hc-ping.com/7f3a"),
        ("HeartbeatUrl", "https://user@hc-ping.com/7f3a"),
        ("HeartbeatUrl", "https://hc-ping.com/7f3a b"),
        ("DiscoverSchemas", "no"),
    ],
)
def test_what_can_t_work_is_refused_before_anything_is_made(name: str, value: str) -> None:
    """By the parameter's own pattern, values or bounds; a value that is secret is not shown."""
    with pytest.raises(ParameterRefused, match=name) as caught:
        render({**EVERYTHING, name: value})
    assert ("7f3a" in str(caught.value)) is False


def test_a_local_stack_refuses_it_too(aws: MotoServer) -> None:
    """Field case 29: moto would create it, so a test could use what AWS refuses."""
    without_suffix = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:aep"
    with pytest.raises(ParameterRefused, match="AepSecretArn"):
        LocalStack(aws, "refused").deploy(TEMPLATE, {"AepSecretArn": without_suffix})


@given(st.data())
def test_whatever_the_parameters_allow_the_settings_accept(data: st.DataObject) -> None:
    """Otherwise a deployment would succeed, but its functions would never start.

    Except for the name of a time zone, which no pattern can tell from a mistyped one.
    """
    drawn = {
        name: data.draw(allowed_values(parameter), label=name)
        for name, parameter in translated()["Parameters"].items()
    }
    pattern = translated()["Parameters"]["DigestTimezone"]["AllowedPattern"]
    zones = sorted(name for name in available_timezones() if re.fullmatch(pattern, name))
    drawn["DigestTimezone"] = data.draw(st.sampled_from(zones))
    rendered = render(drawn)
    MonitorSettings.from_environment(rendered.environment("MonitorFunction"))
    Settings.from_environment(rendered.environment("CreatorFunction"))


def allowed_values(parameter: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if "AllowedValues" in parameter:
        return st.sampled_from([str(value) for value in parameter["AllowedValues"]])
    if parameter["Type"] == "Number":
        bounds = parameter["MinValue"], parameter.get("MaxValue", 10_000)
        return st.integers(*bounds).map(str)
    return st.from_regex(re.compile(parameter["AllowedPattern"], re.ASCII), fullmatch=True)


ON_THE_BUS = [event_type for event_type in EventType if kind_of(event_type).for_machines]


def test_the_registry_holds_the_schema_of_every_event() -> None:
    """They match the models: `python -m export_jobs_local.schemas` rewrites them after a change."""
    schemas = render(NEEDED).of("AWS::EventSchemas::Schema")
    contents = {schema["SchemaName"]: json.loads(schema["Content"]) for schema in schemas.values()}
    assert contents == {
        f"aep.export-jobs@{detail_type.replace(' ', '')}": for_registry(detail_type)
        for detail_type in ON_THE_BUS
    }
    assert render(SETS["no schemas"]).of("AWS::EventSchemas::Schema") == {}


@pytest.mark.parametrize("detail_type", ON_THE_BUS)
def test_a_schema_of_the_registry_is_valid_and_describes_events(detail_type: str) -> None:
    """OpenAPI 3.0, as the registry requires; and real events conform to it."""
    document = for_registry(detail_type)
    validate_openapi(document)
    whole = {"$ref": "#/components/schemas/AWSEvent", "components": document["components"]}
    validator = OAS30Validator(whole)
    envelope = {
        "version": "0",
        "id": "1",
        "source": "aep.export-jobs",
        "account": ACCOUNT,
        "time": "2027-01-31T02:00:00Z",
        "region": REGION,
        "resources": [],
    }
    events = [e for e in one_of_each().values() if e.type == detail_type]
    assert events
    for expected in events:
        validator.validate({**envelope, "detail-type": detail_type, "detail": expected.detail})
    assert not validator.is_valid({**envelope, "detail-type": detail_type, "detail": {}})


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """The stack with everything changed except the addresses, which are this machine's."""
    theirs = {"AepSecretArn", "ApiBaseUrl", "ImsTokenUrl"}
    logs: Path = tmp_path_factory.mktemp("logs")
    config = SystemConfig(
        logs=logs,
        service=ServiceConfig(manual=True),
        stack_name="changed",
        parameters={name: value for name, value in EVERYTHING.items() if name not in theirs},
        triggers=False,
    )
    with LocalSystem(config) as system:
        yield system


def test_the_stack_works_with_everything_changed(changed: LocalSystem) -> None:
    """Both functions run with the environment that they get: a job is created, then observed."""
    answer = changed.pool("monitor").invoke(event("monitor"))
    assert answer.error is None
    assert answer.answer == {"sandboxes": 2}
    assert changed.pool("creator").invoke(event("creator-create")).answer == {
        "batchItemFailures": []
    }
    (job,) = changed.service.control.jobs("prod")
    assert changed.pool("monitor").invoke(event("monitor")).error is None
    delivered = changed.subscribers.drain()
    assert {d.detail["jobId"] for d in delivered} == {str(job.id)}
    assert {d.sink for d in delivered} == {"bus", "topic"}, "TopicEvents is all"


def test_what_was_changed_is_deployed(changed: LocalSystem) -> None:
    """As far as moto deploys it: schedule and concurrency follow the parameters."""
    (schedule,) = changed.stack.schedules()
    assert schedule.expression == "rate(2 minutes)"
    monitor = changed.pool("monitor").function.name
    concurrency = changed.aws.client("lambda").get_function_concurrency(FunctionName=monitor)
    assert concurrency["ReservedConcurrentExecutions"] == 2
