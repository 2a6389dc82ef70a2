"""Validates events and requests against their published schemas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator, meta

from support.files import ROOT


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.json").read_text())
    meta.validate(schema)
    return Draft202012Validator(schema, validate_formats=True)


def validate_event(event_type: str, detail: Mapping[str, Any]) -> None:
    """Raises jsonschema_rs' ValidationError."""
    _validator(event_type.lower().replace(" ", "-")).validate(detail)


def validate_request(message: Mapping[str, Any]) -> None:
    """Raises jsonschema_rs' ValidationError."""
    _validator("export-request").validate(message)
