"""Generates the schemas of events and requests: `python -m export_jobs_local.schemas`.

JSON Schemas for docs/schemas, and OpenAPI 3 for EventBridge's registry, in template.yaml.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from export_jobs.creator.message import Envelope
from export_jobs.events.registry import kind_of
from export_jobs.model.records import SOURCE, EventType

from export_jobs_local.project import ROOT, TEMPLATE

FOLDER = ROOT / "docs" / "schemas"


def schemas() -> dict[Path, dict[str, Any]]:
    """All schemas by file: for the `detail` of each detail-type, and for queue messages."""
    found = {
        FOLDER / file_name(event_type): {
            **kind_of(event_type).model.model_json_schema(by_alias=True, mode="serialization"),
            "title": f"{event_type}: detail",
        }
        for event_type in EventType
    }
    request = Envelope.model_json_schema(by_alias=True)
    found[FOLDER / "export-request.json"] = {**request, "title": "Export request"}
    return {
        path: {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        for path, schema in found.items()
    }


def file_name(event_type: EventType) -> str:
    """`export-job-delayed.json`."""
    return f"{event_type.lower().replace(' ', '-')}.json"


def text_of(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def for_registry(event_type: EventType) -> dict[str, Any]:
    """The schema of a whole event, in the format of those that EventBridge discovers."""
    schema = kind_of(event_type).model.model_json_schema(by_alias=True, mode="serialization")
    name = event_type.replace(" ", "")
    text = {"type": "string"}
    return {
        "openapi": "3.0.0",
        "info": {"version": "1.0.0", "title": name},
        "paths": {},
        "components": {
            "schemas": {
                "AWSEvent": {
                    "type": "object",
                    "x-amazon-events-detail-type": event_type,
                    "x-amazon-events-source": SOURCE,
                    "required": ["detail", *_ENVELOPE],
                    "properties": {
                        "detail": {"$ref": f"#/components/schemas/{name}"},
                        **dict.fromkeys(_ENVELOPE, text),
                        "time": {"type": "string", "format": "date-time"},
                        "resources": {"type": "array", "items": text},
                    },
                },
                name: _openapi(schema),
                **{key: _openapi(inner) for key, inner in schema.get("$defs", {}).items()},
            }
        },
    }


_ENVELOPE = ("detail-type", "resources", "id", "source", "time", "region", "version", "account")


def _openapi(schema: Any) -> Any:
    """Converts a model's schema to OpenAPI 3.0, which has no null, `const` or `$defs`."""
    if isinstance(schema, list):
        return [_openapi(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key not in _LEFT_OUT}
    if "properties" in kept:  # its keys are names, not keywords
        properties = {name: _openapi(value) for name, value in kept.pop("properties").items()}
        return {**{key: _openapi(value) for key, value in kept.items()}, "properties": properties}
    if "const" in kept:
        kept["enum"] = [kept.pop("const")]
    if "$ref" in kept:
        kept["$ref"] = kept["$ref"].replace("#/$defs/", "#/components/schemas/")
    if "anyOf" in kept:
        (inner,) = (choice for choice in kept.pop("anyOf") if choice != {"type": "null"})
        kept = {**_openapi(inner), **kept, "nullable": True}
        if "enum" in kept:
            kept["enum"] = [*kept["enum"], None]
    return {key: _openapi(value) for key, value in kept.items()}


_LEFT_OUT = {"title", "default", "examples", "$defs", "description"}
"""Not needed to generate code; the schemas in docs/schemas have them."""


def folded(value: Any, indent: int = 0) -> str:
    """Formats JSON for the template: breaks only what does not fit on a line."""
    text = json.dumps(value)
    if indent + len(text) <= _WIDTH or not isinstance(value, dict | list):
        return text
    inner = indent + 2
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {folded(item, inner)}" for key, item in value.items()]
    else:
        parts = [folded(item, inner) for item in value]
    lines = [""]
    for part in (f"{part}, " for part in parts):
        whole = "\n" not in part and "\n" not in lines[-1]
        if not (whole and inner + len(lines[-1]) + len(part) <= _WIDTH):
            lines.append("")
        lines[-1] += part
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    body = "".join(f"\n{' ' * inner}{line.rstrip()}" for line in lines if line).rstrip(",")
    return f"{opening}{body}\n{' ' * indent}{closing}"


_WIDTH = 104


def in_template(text: str) -> str:
    """The template's text, with the registry's schemas from the current models."""
    begin, end = f"  # {_BEGIN}\n", f"  # {_END}\n"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    on_the_bus = (event_type for event_type in EventType if kind_of(event_type).for_machines)
    resources = "\n".join(map(_resource, on_the_bus))
    return f"{before}{begin}{resources}{end}{after}"


def _resource(event_type: EventType) -> str:
    """The schema of one type of event, as a resource of the template."""
    name = event_type.replace(" ", "")
    content = textwrap.indent(folded(for_registry(event_type)), " " * 8)
    return f"""\
  {name.removeprefix("Export")}Schema:
    Type: AWS::EventSchemas::Schema
    Condition: DiscoversSchemas
    Properties:
      RegistryName: !GetAtt SchemaRegistry.RegistryName
      SchemaName: {SOURCE}@{name}
      Type: OpenApi3
      Content: |
{content}
"""


_BEGIN = "Made by `python -m export_jobs_local.schemas` from the models:"
_END = "End of what is made from the models."


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, schema in schemas().items():
        path.write_text(text_of(schema), encoding="utf-8")
    TEMPLATE.write_text(in_template(TEMPLATE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
