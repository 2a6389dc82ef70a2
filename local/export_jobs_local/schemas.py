"""JSON Schemas of the events and of a request, made from the models: `python -m export_jobs_local.schemas`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from export_jobs.core.events import JobEventDetail, RequestEventDetail
from export_jobs.core.records import ACCEPTED, DELAYED, REJECTED, STATE_CHANGE
from export_jobs.core.requests import Envelope
from pydantic import BaseModel

from export_jobs_local.project import ROOT

FOLDER = ROOT / "docs" / "schemas"
DETAILS: dict[str, type[BaseModel]] = {
    STATE_CHANGE: JobEventDetail,
    DELAYED: JobEventDetail,
    ACCEPTED: RequestEventDetail,
    REJECTED: RequestEventDetail,
}
"""The model of each detail-type's detail."""


def schemas() -> dict[Path, dict[str, Any]]:
    """Every schema by its file: the `detail` of each detail-type, and a message on the queue."""
    found = {
        FOLDER / f"{name.lower().replace(' ', '-')}.json": {
            **model.model_json_schema(by_alias=True, mode="serialization"),
            "title": f"{name}: detail",
        }
        for name, model in DETAILS.items()
    }
    request = Envelope.model_json_schema(by_alias=True)
    found[FOLDER / "export-request.json"] = {**request, "title": "Export request"}
    return {
        path: {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        for path, schema in found.items()
    }


def text_of(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, schema in schemas().items():
        path.write_text(text_of(schema))


if __name__ == "__main__":
    main()
