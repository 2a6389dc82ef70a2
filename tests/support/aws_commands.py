"""The AWS CLI's commands in a text, read with botocore's descriptions of the services."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import botocore.session
from botocore import xform_name
from botocore.model import ServiceModel
from export_jobs_local.isolation import isolated

_RENAMED = {("sns", "subscribe"): {"notification-endpoint": "endpoint"}}
"""Where the AWS CLI's option is not the API's name."""


@dataclass(frozen=True)
class AwsCommand:
    """A command, as a call of boto3."""

    service: str
    method: str
    parameters: dict[str, Any]
    options: dict[str, str]
    """`profile`, `region` and `endpoint-url`, which every command can have."""


def shown(text: str) -> list[str]:
    """The command lines in a text: what is between backticks, or the whole text.

    Fails if there are others, which would not be checked.
    """
    found = [
        line
        for line in ([text] if "`" not in text else re.findall(r"`([^`]*)`", text))
        if line.startswith(("aws ", "export-jobs "))
    ]
    assert len(found) == len(re.findall(r"\b(?:aws|export-jobs) [a-z]", text)), text
    return found


def parsed(line: str) -> AwsCommand:
    """Fails unless the operation exists, with every option, and has the values that it needs."""
    program, service, operation, *words = shlex.split(line)
    assert program == "aws"
    model = _model(service)
    (name,) = (one for one in model.operation_names if xform_name(one, "-") == operation)
    shape: Any = model.operation_model(name).input_shape
    members = {xform_name(member, "-"): member for member in shape.members}
    renamed = _RENAMED.get((service, operation), {})
    parameters, options = {}, {}
    for option, values in _options(words):
        if option in {"profile", "region", "endpoint-url"}:
            (options[option],) = values
        else:
            member = members[renamed.get(option, option)]
            parameters[member] = _value(shape.members[member], values)
    assert parameters.keys() >= set(shape.required_members), line
    return AwsCommand(service, xform_name(name), parameters, options)


@cache
def _model(service: str) -> ServiceModel:
    with isolated():
        return botocore.session.get_session().get_service_model(service)


def _options(words: list[str]) -> list[tuple[str, list[str]]]:
    """Each option with its values."""
    found: list[tuple[str, list[str]]] = []
    for is_option, group in groupby(words, lambda word: word.startswith("--")):
        if is_option:
            found += [(word[2:], []) for word in group]
        else:
            found[-1][1].extend(group)
    return found


def _value(shape: Any, values: list[str]) -> Any:
    if shape.type_name == "boolean":
        assert not values
        return True
    if shape.type_name == "list":
        return values
    (value,) = values
    if shape.type_name in {"integer", "double", "map"}:
        return json.loads(value)
    assert shape.type_name == "string"
    assert not shape.enum or value in shape.enum
    return value
