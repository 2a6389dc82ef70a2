"""Whether a resource's policy lets a service do something: as much of IAM's rules as that takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Verdict = bool | None
"""None: it depends on something that is not known here."""


@dataclass(frozen=True)
class Asked:
    """A call that an AWS service makes, with the condition keys that are known of it."""

    service: str
    action: str
    resource: str
    context: Mapping[str, str]
    """By their names in lower case, as condition keys are not case-sensitive."""


def allows(policy: Mapping[str, Any], asked: Asked) -> Verdict:
    """Whether a policy allows a call: some statement does, and none denies it."""
    statements = _listed(policy.get("Statement", []))
    denied = _any(_covers(s, asked) for s in statements if s.get("Effect") == "Deny")
    allowed = _any(_covers(s, asked) for s in statements if s.get("Effect") == "Allow")
    return _all([allowed, None if denied is None else not denied])


def _covers(statement: Mapping[str, Any], asked: Asked) -> Verdict:
    if statement.keys() & {"NotPrincipal", "NotAction", "NotResource"}:
        return None
    conditions = [
        _meets(operator, key, _listed(values), asked.context)
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    ]
    actions = _listed(statement.get("Action", []))
    resources = _listed(statement.get("Resource", "*"))
    return _all(
        [
            _is_for(statement.get("Principal"), asked.service),
            any(_like(action.lower(), asked.action.lower()) for action in actions),
            any(_like(resource, asked.resource) for resource in resources),
            *conditions,
        ]
    )


def _is_for(principal: Any, service: str) -> bool:
    if not isinstance(principal, Mapping):
        return bool(principal == "*")
    return service in _listed(principal.get("Service", [])) or "*" in _listed(
        principal.get("AWS", [])
    )


def _meets(operator: str, key: str, values: list[Any], context: Mapping[str, str]) -> Verdict:
    """Whether a condition is met; None if its operator or its key is not known here."""
    base = operator.removesuffix("IfExists")
    positive = base.replace("Not", "", 1)
    value = context.get(key.lower())
    if positive not in _MATCHES or value is None:
        return None
    met = any(_MATCHES[positive](str(expected), value) for expected in values)
    return met if positive == base else not met


def _like(pattern: str, text: str) -> bool:
    """IAM's wildcards: `*` and `?`, and nothing else."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.DOTALL) is not None


_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda expected, value: expected == value,
    "StringEqualsIgnoreCase": lambda expected, value: expected.lower() == value.lower(),
    "StringLike": _like,
    "ArnEquals": _like,
    "ArnLike": _like,
    "Bool": lambda expected, value: expected.lower() == value.lower(),
}
"""`ArnEquals` takes wildcards, too.

docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    found = list(verdicts)
    if any(verdict is False for verdict in found):
        return False
    return None if None in found else True


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    opposite = _all(None if verdict is None else not verdict for verdict in verdicts)
    return None if opposite is None else not opposite


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]
