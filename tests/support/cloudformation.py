"""The template as CloudFormation would render it: conditions, references and functions resolved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from export_jobs_local.aws.parameters import check
from export_jobs_local.aws.server import REGION
from export_jobs_local.aws.template import read_template, to_cloudformation
from export_jobs_local.project import TEMPLATE

STACK = "export-jobs"
ACCOUNT = "123456789012"
NEEDED = {"AepSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:aep-AbC123"}
"""The parameters without a default."""
NO_VALUE = object()


@dataclass(frozen=True)
class Rendered:
    """The resources and outputs that CloudFormation would create, with functions resolved."""

    resources: Mapping[str, dict[str, Any]]
    outputs: Mapping[str, Any]

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Properties of the resources of a type."""
        return {
            name: resource.get("Properties", {})
            for name, resource in self.resources.items()
            if resource["Type"] == kind
        }

    def environment(self, function: str) -> dict[str, str]:
        variables = self.resources[function]["Properties"]["Environment"]["Variables"]
        assert all(isinstance(value, str) for value in variables.values())
        return dict(variables)


@cache
def translated() -> dict[str, Any]:
    return to_cloudformation(read_template(TEMPLATE), bucket="code", parameters=NEEDED)


def render(given: Mapping[str, str]) -> Rendered:
    """Renders the template. Raises KeyError for a missing reference, ParameterRefused for a value."""
    template = translated()
    parameters = {
        name: str(given[name] if name in given else parameter["Default"])
        for name, parameter in template["Parameters"].items()
    }
    check(template, parameters)
    return _Renderer(template, parameters).rendered()


class _Renderer:
    """Resolves the conditions, references and functions that the translated template uses."""

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        self._template = template
        self._names = {
            **parameters,
            "AWS::StackName": STACK,
            "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{STACK}/1",
            "AWS::Region": REGION,
            "AWS::AccountId": ACCOUNT,
            "AWS::Partition": "aws",
        }
        self._resources = {
            name: resource
            for name, resource in template["Resources"].items()
            if self._exists(resource)
        }

    def rendered(self) -> Rendered:
        return Rendered(
            {
                name: self._value({k: v for k, v in resource.items() if k != "Metadata"})
                for name, resource in self._resources.items()
            },
            {
                name: self._value(output["Value"])
                for name, output in self._template["Outputs"].items()
                if self._exists(output)
            },
        )

    def _exists(self, declared: Mapping[str, Any]) -> bool:
        return "Condition" not in declared or self._holds({"Condition": declared["Condition"]})

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        ((function, given),) = condition.items()
        match function:
            case "Condition":
                return self._holds(self._template["Conditions"][given])
            case "Fn::Equals":
                left, right = (self._value(side) for side in given)
                assert isinstance(left, str), "CloudFormation compares text"
                assert isinstance(right, str), "CloudFormation compares text"
                return left == right
            case "Fn::Not":
                return not self._holds(given[0])
            case "Fn::And":
                return all(self._holds(part) for part in given)
            case "Fn::Or":
                return any(self._holds(part) for part in given)
        raise LookupError(f"the tests can't evaluate the condition {function} of the template")

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            items = (self._value(item) for item in value)
            return [item for item in items if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if _is_function_call(value):
            ((function, given),) = value.items()
            return self._result_of(function, given)
        values = {key: self._value(item) for key, item in value.items()}
        return {key: item for key, item in values.items() if item is not NO_VALUE}

    def _result_of(self, function: str, given: Any) -> Any:
        match function:
            case "Ref":
                return self._reference(given)
            case "Fn::GetAtt":
                return self._attribute(*given)
            case "Fn::If":
                return self._value(given[1 if self._holds({"Condition": given[0]}) else 2])
            case "Fn::Sub":
                return re.sub(r"\$\{([^!}]+)\}", lambda name: self._named(name[1]), given)
        raise LookupError(f"the tests can't evaluate {function} of the template")

    def _named(self, name: str) -> str:
        resource, dot, attribute = name.partition(".")
        found = self._attribute(resource, attribute) if dot else self._reference(name)
        assert isinstance(found, str)
        return found

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._names:
            return self._names[name]
        kind = self._resources[name]["Type"]
        return f"https://sqs.example/{ACCOUNT}/{name}" if kind == "AWS::SQS::Queue" else name

    def _attribute(self, name: str, attribute: str) -> str:
        kind = self._resources[name]["Type"]
        return f"arn:aws:{kind}:{name}" if attribute == "Arn" else f"{name}.{attribute}"


def _is_function_call(value: Mapping[str, Any]) -> bool:
    """Whether CloudFormation would replace a mapping with a function's result."""
    return len(value) == 1 and all(key == "Ref" or key.startswith("Fn::") for key in value)
