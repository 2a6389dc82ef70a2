"""Checks a stack's parameters as CloudFormation does first, and moto does not.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any


class ParameterRefused(Exception):
    """An unknown parameter, or a value that is not allowed; the text states what is allowed."""


def check(template: Mapping[str, Any], given: Mapping[str, str]) -> None:
    """Raises ParameterRefused for the first of `given` that the template does not allow."""
    declared = template.get("Parameters", {})
    for name, value in given.items():
        if name not in declared:
            raise ParameterRefused(_unknown(name, tuple(declared)))
        parameter = declared[name]
        if not _allows(parameter, value):
            shown = "this value" if parameter.get("NoEcho") else repr(value)
            raise ParameterRefused(
                f"parameter {name} can't be {shown}; it must be {_allowed(parameter)}"
            )


def _unknown(name: str, known: tuple[str, ...]) -> str:
    by_lower_case = {other.lower(): other for other in known}
    nearest = get_close_matches(name.lower(), by_lower_case, n=1)
    meant = f"; did you mean {by_lower_case[nearest[0]]}? Its" if nearest else "; its"
    return f"the template has no parameter {name!r}{meant} parameters are {', '.join(known)}"


def _allows(parameter: Mapping[str, Any], value: str) -> bool:
    if "AllowedValues" in parameter:
        return value in map(str, parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        # ASCII digits only, as everywhere in a template: `float` accepts others, and "nan".
        if not re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII):
            return False
        lowest, highest = parameter.get("MinValue"), parameter.get("MaxValue")
        return (lowest is None or float(value) >= lowest) and (
            highest is None or float(value) <= highest
        )
    # CloudFormation's pattern has to match the whole value.
    return bool(re.fullmatch(parameter.get("AllowedPattern", r"(?s:.*)"), value, re.ASCII))


def _allowed(parameter: Mapping[str, Any]) -> str:
    if "AllowedValues" in parameter:
        return f"one of {', '.join(map(str, parameter['AllowedValues']))}"
    if parameter["Type"] == "Number":
        lowest, highest = parameter.get("MinValue"), parameter.get("MaxValue")
        if highest is None:
            return "a number" if lowest is None else f"a number, {lowest} or more"
        return f"a number up to {highest}" if lowest is None else f"a number, {lowest} to {highest}"
    pattern = f"what {parameter['AllowedPattern']} matches"
    described = parameter.get("ConstraintDescription")
    return f"{described}: {pattern}" if described else pattern
