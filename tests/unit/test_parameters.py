"""Values of the template's parameters that CloudFormation would refuse, and moto does not."""

from __future__ import annotations

from typing import Any

import pytest
from export_jobs_local.aws.parameters import ParameterRefused, check
from export_jobs_local.aws.template import read_template
from export_jobs_local.project import TEMPLATE

DECLARED: dict[str, dict[str, Any]] = read_template(TEMPLATE)["Parameters"]
CHECKED = {"AllowedPattern", "AllowedValues", "MinValue", "MaxValue"}
SAID_ONLY = {"Type", "Default", "Description", "ConstraintDescription", "NoEcho"}


def refused(name: str, value: str) -> str:
    with pytest.raises(ParameterRefused) as refusal:
        check({"Parameters": DECLARED}, {name: value})
    return str(refusal.value)


def test_every_kind_of_constraint_in_the_template_is_checked() -> None:
    """A new kind in the template (a MinLength, a list) has to be checked here, too."""
    assert {key for parameter in DECLARED.values() for key in parameter} == CHECKED | SAID_ONLY
    assert {parameter["Type"] for parameter in DECLARED.values()} == {"String", "Number"}


def test_every_default_is_allowed() -> None:
    """CloudFormation checks defaults, too."""
    defaults = {name: str(p["Default"]) for name, p in DECLARED.items() if "Default" in p}
    check({"Parameters": DECLARED}, defaults)


@pytest.mark.parametrize("name", DECLARED)
def test_every_parameter_refuses_what_it_cannot_be(name: str) -> None:
    """The error has its name, and what is allowed instead; the value only if it is no secret."""
    message = refused(name, "no such value\n")
    parameter = DECLARED[name]
    shown = "this value" if parameter.get("NoEcho") else "'no such value\\n'"
    assert f"parameter {name} can't be {shown}; " in message
    for value in parameter.get("AllowedValues", ()):
        assert str(value) in message
    assert parameter.get("ConstraintDescription", "") in message
    if parameter["Type"] == "String" and "AllowedValues" not in parameter:
        assert parameter["AllowedPattern"] in message


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("PollSeconds", "61", "0 to 60"),
        ("PollSeconds", "-1", "0 to 60"),
        ("PollSeconds", "nan", "0 to 60"),
        ("PollSeconds", "", "0 to 60"),
        ("PollSeconds", "1_0", "0 to 60"),
        ("PollSeconds", "\N{ARABIC-INDIC DIGIT ONE}", "0 to 60"),
        ("DelayLimitMinutes", "0", "1 or more"),
        ("LogRetentionDays", "31", "30, 60"),
        ("SweepSchedule", "rate(6 minutes)", "rate(2 minutes) to rate(5 minutes)"),
        ("SweepSchedule", "rate(5 minutes)!", "rate(2 minutes) to rate(5 minutes)"),
        ("Sandboxes", "Prod", "[a-z0-9-]"),
        ("Sandboxes", "prod\n", "[a-z0-9-]"),
        ("ApiBaseUrl", "http://example.com/data", "https://"),
    ],
)
def test_a_value_out_of_bounds_is_refused(name: str, value: str, allowed: str) -> None:
    """Below, above, no number by CloudFormation's rules, or only beginning with what is allowed."""
    assert allowed in refused(name, value).partition("it must be")[2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PollSeconds", "0"),
        ("PollSeconds", "60"),
        ("DelayLimitMinutes", "100000"),
        ("LogRetentionDays", "365"),
        ("SweepSchedule", "rate(5 minutes)"),
        ("AlertEmail", ""),
        ("ApiBaseUrl", "http://127.0.0.1:8080/data/core/ups"),
    ],
)
def test_a_value_at_the_bounds_is_allowed(name: str, value: str) -> None:
    """Both bounds are values that the parameter can have."""
    check({"Parameters": DECLARED}, {name: value})


@pytest.mark.parametrize(
    ("name", "meant"),
    [("sandboxes", "Sandboxes"), ("PolSeconds", "PollSeconds"), ("ImsTokenURL", "ImsTokenUrl")],
)
def test_a_misspelt_name_leads_to_the_nearest(name: str, meant: str) -> None:
    """The error also lists all names."""
    message = refused(name, "any")
    assert f"the template has no parameter {name!r}" in message
    assert f"did you mean {meant}?" in message
    for known in DECLARED:
        assert known in message
    assert "did you mean" not in refused("zzzzzz", "any")


def test_a_pattern_has_to_match_the_whole_value() -> None:
    """As CloudFormation documents AllowedPattern, with or without anchors."""
    declared = {"Parameters": {"Text": {"Type": "String", "AllowedPattern": "[a-z]+"}}}
    check(declared, {"Text": "abc"})
    for value in ("abc1", "1abc", ""):
        with pytest.raises(ParameterRefused):
            check(declared, {"Text": value})


def test_a_text_without_constraints_can_be_anything() -> None:
    """Even several lines; and a number without bounds can be any number."""
    free = {"Text": {"Type": "String"}, "Number": {"Type": "Number"}}
    check({"Parameters": free}, {"Text": "a\nb", "Number": "-1.5"})
    for bounds in ({}, {"MaxValue": 1}):
        declared = {"Parameters": {"Number": {"Type": "Number", **bounds}}}
        with pytest.raises(ParameterRefused, match="a number"):
            check(declared, {"Number": "x"})
