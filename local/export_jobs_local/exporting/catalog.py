"""The data directory: its files, and its catalogue of segments, merge policies and datasets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from export_jobs.contract.text import decode_json
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

PARQUET_FOLDERS = ("fragments", "events", "memberships")
_T = TypeVar("_T", bound=BaseModel)
_SAFE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"


def names_a_folder(name: str) -> bool:
    """Whether a name is safe as a part of a path."""
    return re.fullmatch(_SAFE_NAME, name) is not None


class DataBroken(Exception):
    """The data directory can't be read; the text has the file and the reason."""


class _Entry(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class SegmentDefinition(_Entry):
    """`predicate` is an SQL condition over the merged profile, e.g. `person.birthYear < 1980`."""

    id: str
    namespace: str = "ups"
    name: str = ""
    merge_policy_id: str | None = None
    predicate: str


class MergePolicy(_Entry):
    """`dataset_order`, for `dataSetPrecedence`, names source datasets; earlier ones win."""

    id: str
    version: int = 1
    type: Literal["timestampOrdered", "dataSetPrecedence"]
    # A merge packs the rank in it and a time in microseconds into one number of 63 bits.
    dataset_order: Annotated[list[str], Field(max_length=2_000)] = []
    default: bool = False


class Dataset(_Entry):
    """A dataset for exports. Its id is also the name of a folder."""

    id: Annotated[str, Field(pattern=f"^{_SAFE_NAME}$")]
    name: str = ""
    schema_name: str


@dataclass(frozen=True)
class Catalog:
    """The contents of `segments.json`, `merge-policies.json` and `datasets.json`."""

    segments: list[SegmentDefinition]
    merge_policies: list[MergePolicy]
    datasets: dict[str, Dataset]

    @property
    def default_policy(self) -> MergePolicy:
        return next((p for p in self.merge_policies if p.default), self.merge_policies[0])

    def policy(self, policy_id: str, version: int | None = None) -> MergePolicy | None:
        """The policy with this id and version; without a version, the latest."""
        found = (p for p in self.merge_policies if p.id == policy_id)
        wanted = [p for p in found if version in {None, p.version}]
        return max(wanted, key=lambda p: p.version, default=None)

    def definitions(self, segment_id: str, namespace: str | None) -> list[SegmentDefinition]:
        """A segment's definitions; without a namespace, those of any namespace."""
        return [
            segment
            for segment in self.segments
            if segment.id == segment_id and namespace in {None, segment.namespace}
        ]


@dataclass(frozen=True)
class DataDirectory:
    """Plain Parquet and JSON, as described in `docs/local-data.md`."""

    root: Path

    @property
    def exists(self) -> bool:
        return (self.root / "datasets.json").is_file()

    def files(self, folder: str) -> list[str]:
        """The Parquet files of `fragments`, `events` or `memberships`. Raises DataBroken."""
        found = sorted(str(path) for path in (self.root / folder).glob("*.parquet"))
        if not found:
            raise DataBroken(f"there is no Parquet file in {self.root / folder}")
        return found

    def catalog(self) -> Catalog:
        """Raises DataBroken."""
        policies = self._read("merge-policies.json", MergePolicy)
        if not policies:
            raise DataBroken(f"{self.root / 'merge-policies.json'} has no merge policy")
        return Catalog(
            segments=self._read("segments.json", SegmentDefinition),
            merge_policies=policies,
            datasets={dataset.id: dataset for dataset in self._read("datasets.json", Dataset)},
        )

    def _read(self, name: str, entry: type[_T]) -> list[_T]:
        path = self.root / name
        try:
            decoded = decode_json(path.read_bytes(), refuse_doubled_keys=True)
            return TypeAdapter(list[entry]).validate_python(decoded)  # type: ignore[valid-type]
        except (OSError, ValueError, RecursionError) as error:
            raise DataBroken(f"{path} can't be read: {error}") from None
