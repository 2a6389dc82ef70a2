"""The variables that the template sets and the functions read."""

from __future__ import annotations

import pytest
from export_jobs.aws.settings import MonitorSettings, Settings, SettingsInvalid
from export_jobs.events.policy import DigestPolicy
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

POWERTOOLS = {"POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"}
NOT_FOR_THE_TEMPLATE = {"PAGE_SIZE", "OVERLAP_SECONDS"}
"""Settings that nobody needs to change in a deployed stack."""

GOOD = {
    "AEP_BASE_URL": "https://platform.adobe.io/data/core/ups",
    "IMS_TOKEN_URL": "https://ims-na1.adobelogin.com/ims/token/v3",
    "AEP_SECRET_ID": "arn",
    "SANDBOXES": "prod, dev",
    "JOBS_TABLE": "jobs",
    "REQUESTS_TABLE": "requests",
    "REQUEST_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/requests",
    "DEAD_LETTER_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/dead",
    "EVENT_BUS_NAME": "bus",
    "TOPIC_ARN": "arn",
    "STACK_ID": "arn:aws:cloudformation:us-east-1:123456789012:stack/export-jobs/1",
}


@pytest.mark.parametrize(
    ("function", "model"),
    [("MonitorFunction", MonitorSettings), ("CreatorFunction", Settings)],
)
def test_template_and_settings_name_the_same_variables(
    function: str, model: type[Settings]
) -> None:
    """A variable that is misspelt on either side would silently fall back to a default."""
    template = read_template(TEMPLATE)
    shared = template["Globals"]["Function"]["Environment"]["Variables"]
    own = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    given = {*shared, *own} - POWERTOOLS
    asked = {name.upper() for name in model.model_fields} - NOT_FOR_THE_TEMPLATE
    assert given == asked
    assert {*shared, *own} >= POWERTOOLS


def test_sandboxes_and_limits_are_read_as_lists() -> None:
    """Commas separate sandboxes, and the limits of datasets."""
    settings = MonitorSettings.from_environment({**GOOD, "DATASET_DELAY_LIMITS": "a=5, b=10"})
    assert settings.sandboxes == ("prod", "dev")
    assert settings.dataset_delay_limits == {"a": 5, "b": 10}
    assert MonitorSettings.from_environment({**GOOD, "DATASET_DELAY_LIMITS": ""}).sandboxes


def test_every_wrong_variable_is_named_and_no_value() -> None:
    """The error names each variable; a value might be a secret in the wrong place."""
    wrong = {**GOOD, "AEP_BASE_URL": "ftp://s3cret", "POLL_SECONDS": "s3cret"}
    del wrong["JOBS_TABLE"]
    with pytest.raises(SettingsInvalid) as error:
        MonitorSettings.from_environment(wrong)
    for name in ("AEP_BASE_URL", "POLL_SECONDS", "JOBS_TABLE"):
        assert name in str(error.value)
    assert "s3cret" not in str(error.value)


def test_a_digest_has_a_time_and_a_zone() -> None:
    """Without a time there is none, whatever the zone is: nothing looks it up."""
    rome = {**GOOD, "DIGEST_TIME": "08:00", "DIGEST_TIMEZONE": "Europe/Rome"}
    assert MonitorSettings.from_environment(rome).digest_policy == DigestPolicy(
        "08:00", "Europe/Rome"
    )
    utc = MonitorSettings.from_environment({**GOOD, "DIGEST_TIME": "23:59"})
    assert utc.digest_policy == DigestPolicy("23:59", "UTC")
    off = {**GOOD, "DIGEST_TIME": "", "DIGEST_TIMEZONE": "Europe/Nowhere"}
    assert MonitorSettings.from_environment(off).digest_policy is None
    assert MonitorSettings.from_environment(GOOD).digest_policy is None


@pytest.mark.parametrize("zone", ["Europe/Nowhere", "Europe", "../../etc/passwd", "", "utc+1"])
def test_a_zone_that_does_not_exist_is_refused_at_the_start(zone: str) -> None:
    """Not a day later, when the digest is due; the variable is named."""
    wrong = {**GOOD, "DIGEST_TIME": "08:00", "DIGEST_TIMEZONE": zone}
    with pytest.raises(SettingsInvalid, match=r"^DIGEST_TIMEZONE: .*not an IANA time zone"):
        MonitorSettings.from_environment(wrong)


@pytest.mark.parametrize("time", ["8:00", "24:00", "08:60", "08:00:00", "08:00\n", "noon"])
def test_a_time_that_is_none_is_refused_at_the_start(time: str) -> None:
    """The template refuses it, too."""
    with pytest.raises(SettingsInvalid, match=r"^DIGEST_TIME: "):
        MonitorSettings.from_environment({**GOOD, "DIGEST_TIME": time})


@pytest.mark.parametrize("name", ["AEP_BASE_URL", "IMS_TOKEN_URL"])
@pytest.mark.parametrize(
    "value", ["http://platform.adobe.io/x", "https://", "http://127.0.0.1.evil/"]
)
def test_tokens_go_over_tls_only(name: str, value: str) -> None:
    """Plain HTTP is for this machine only."""
    with pytest.raises(SettingsInvalid, match=name):
        MonitorSettings.from_environment({**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETENTION_DAYS", "29"),
        ("MAX_OPEN_EXPORTS", "201"),
        ("REQUEST_QUEUE_URL", "requests"),
        ("DEAD_LETTER_QUEUE_URL", "arn:aws:sqs:us-east-1:123456789012:dead"),
        ("STACK_ID", ""),
    ],
)
def test_what_the_mechanism_can_t_work_with_is_refused(name: str, value: str) -> None:
    """A dead letter must find its record, the gate must hold every slot, queues have addresses.

    The stack's id keeps the ids of events apart from those of another stack.
    """
    Settings.from_environment(GOOD)
    with pytest.raises(SettingsInvalid, match=name):
        Settings.from_environment({**GOOD, name: value})
