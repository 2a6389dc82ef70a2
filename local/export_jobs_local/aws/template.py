"""Translates `template.yaml` to CloudFormation, with SAM's own translator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

from export_jobs_local.isolation import isolated

_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def read_template(path: Path) -> dict[str, Any]:
    """The template, with CloudFormation's short forms (`!Ref`) expanded."""
    template: dict[str, Any] = yaml_parse(path.read_text(encoding="utf-8"))
    return template


def code_folders(template: Mapping[str, Any]) -> dict[str, str]:
    """The code folder of each function and layer, by its logical id."""
    return {
        name: resource["Properties"][_CODE[resource["Type"]]]
        for name, resource in template["Resources"].items()
        if resource["Type"] in _CODE
    }


def to_cloudformation(
    template: dict[str, Any], *, bucket: str, parameters: Mapping[str, str]
) -> dict[str, Any]:
    """Translates a template whose code was uploaded to `bucket` under the logical ids."""
    for name in code_folders(template):
        resource = template["Resources"][name]
        resource["Properties"][_CODE[resource["Type"]]] = {"Bucket": bucket, "Key": name}
    with isolated():  # the translator asks boto3 for the region
        translator = Translator({}, Parser())
        translated: dict[str, Any] = translator.translate(template, dict(parameters))
        translator.metrics.publish()  # to nobody; otherwise it warns that they are unpublished
    return translated
