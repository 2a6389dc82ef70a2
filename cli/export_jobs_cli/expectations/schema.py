"""Generates the JSON Schema of the file, for editors: `python -m export_jobs_cli.expectations.schema`.

It uses draft 7, the newest one that every version of VS Code's YAML extension supports.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export_jobs.model.names import MAX_NAME
from export_jobs_local.schemas import FOLDER, text_of
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from export_jobs_cli.expectations.file import Entry

FILE = FOLDER / "expectations.json"


class _Draft7(GenerateJsonSchema):
    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def nullable_schema(self, schema: Any) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def schema() -> dict[str, Any]:
    """The schema of a file: a list of entries, or a mapping with names."""
    entry = Entry.model_json_schema(by_alias=True, schema_generator=_Draft7)
    entries = {"type": "array", "items": {"$ref": "#/definitions/Entry"}}
    return {
        "$schema": _Draft7.schema_dialect,
        "title": "Expected exports",
        "description": "See docs/expectations.md of Export Jobs Monitor.",
        "type": ["array", "object"],
        "items": {"$ref": "#/definitions/Entry"},
        "properties": {"expectations": entries, "names": _NAMES},
        "additionalProperties": False,
        "minProperties": 1,
        "definitions": {"Entry": entry},
    }


def _names(title: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "object",
        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": MAX_NAME},
    }


_NAMES = {
    "title": "Names",
    "description": "What datasets and segments are called, by their ids.",
    "type": "object",
    "properties": {
        "datasets": _names("Names of datasets"),
        "segments": _names("Names of segments"),
    },
    "additionalProperties": False,
    "minProperties": 1,
}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    Path(FILE).write_text(text_of(schema()), encoding="utf-8")


if __name__ == "__main__":
    main()
