"""The catalogue of the data directory, as people's editors and tools write it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from export_jobs_local.exporting.catalog import DataBroken, DataDirectory

CATALOG: dict[str, list[dict[str, Any]]] = {
    "segments.json": [{"id": "s", "name": "Käufer", "predicate": "true"}],
    "merge-policies.json": [{"id": "m", "type": "timestampOrdered"}],
    "datasets.json": [{"id": "d", "schemaName": "_xdm.context.profile"}],
}


def written(folder: Path, encoding: str) -> DataDirectory:
    for name, entries in CATALOG.items():
        (folder / name).write_bytes(json.dumps(entries, ensure_ascii=False).encode(encoding))
    return DataDirectory(folder)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_catalogue_is_read_in_the_encodings_of_files(tmp_path: Path, encoding: str) -> None:
    """Whatever the machine's own encoding is."""
    (segment,) = written(tmp_path, encoding).catalog().segments
    assert segment.name == "Käufer"


@pytest.mark.parametrize(
    ("encoding", "says"), [("cp1252", "it is not UTF-8"), ("utf-32", "it is UTF-32")]
)
def test_another_encoding_is_named_with_its_file(tmp_path: Path, encoding: str, says: str) -> None:
    """So that its owner finds it."""
    with pytest.raises(DataBroken, match=says) as caught:
        written(tmp_path, encoding).catalog()
    assert "json can't be read" in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "5", '[{"id": "m"}]'])
def test_what_is_no_catalogue_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    """However broken it is."""
    directory = written(tmp_path, "utf-8")
    (tmp_path / "merge-policies.json").write_text(text)
    with pytest.raises(DataBroken, match=r"merge-policies\.json can't be read"):
        directory.catalog()
