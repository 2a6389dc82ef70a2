"""Turns a request into a plan for the engine, or into errors for everything wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from export_jobs.contract import CreateExportJob
from export_jobs.contract.create import Segment
from export_jobs.contract.times import parse_rfc3339

from export_jobs_local.exporting.catalog import Catalog, MergePolicy, SegmentDefinition
from export_jobs_local.exporting.columns import (
    IDENTITIES,
    IDENTITY_FIELDS,
    Tree,
    UnknownField,
    field_names,
)
from export_jobs_local.segmentation.engine import (
    EngineError,
    ExportFailed,
    Resolved,
)

UNKNOWN_DATASET = "0100000404"
WRONG_SCHEMA = "0100000409"
UNKNOWN_SEGMENT = "0200000404"
UNKNOWN_POLICY = "0300000404"
UNKNOWN_FIELD = "0400000404"
NAME_TAKEN = "0400000409"
EVENTS = "events"
"""The column that holds a profile's events."""


@dataclass(frozen=True)
class AskedSegment:
    """A segment to export: its members in these statuses. A `namespace` of None means any."""

    id: str
    namespace: str | None
    statuses: tuple[str, ...]
    definitions: tuple[SegmentDefinition, ...]


@dataclass(frozen=True)
class BatchPlan:
    """One batch; without segments, it exports all profiles."""

    batch_id: str
    segments: tuple[AskedSegment, ...]
    policy: MergePolicy


@dataclass(frozen=True)
class EventPlan:
    fields: Tree
    ingested_after: tuple[datetime, ...]
    ingested_before: datetime | None


@dataclass(frozen=True)
class ExportPlan:
    """`attributes` are exported from merged profiles, `identities` from their identity lists."""

    dataset_id: str
    batches: tuple[BatchPlan, ...]
    attributes: Tree
    identities: tuple[str, ...]
    events: EventPlan | None
    updated_after: datetime | None
    qualified_from: datetime | None
    qualified_until: datetime | None
    empty_profiles: bool
    evaluate: bool


def plan_export(
    request: CreateExportJob,
    batch_ids: Sequence[str],
    catalog: Catalog,
    *,
    profile: Tree,
    event: Tree,
) -> ExportPlan:
    """Plans an export. Raises ExportFailed with every problem found.

    `profile` has the columns of a merged profile, `event` those of an event.
    """
    problems: list[EngineError] = []
    _check_destination(request, catalog, problems)
    asked = _asked_segments(request, catalog, problems)
    choosing: list[AskedSegment | None] = [*asked] or [None]
    policies = [_policy(request, segment, catalog, problems) for segment in choosing]
    attributes, identities = _attributes(request, profile, problems)
    events = _events(request, event, problems)
    _check_names(attributes, identities, events, problems)
    if problems:
        raise ExportFailed(problems)
    if len(batch_ids) == 1:
        planned = [BatchPlan(batch_ids[0], tuple(asked), policies[0])]
    else:
        planned = [
            BatchPlan(batch_id, (segment,), policy)
            for batch_id, segment, policy in zip(batch_ids, asked, policies, strict=True)
        ]
    chosen = request.filter
    window = chosen.segment_qualification_time if chosen else None
    return ExportPlan(
        dataset_id=request.destination.dataset_id,
        batches=tuple(planned),
        attributes=attributes,
        identities=identities,
        events=events,
        updated_after=_time(chosen.from_ingest_timestamp if chosen else None),
        qualified_from=_time(window.start_time if window else None),
        qualified_until=_time(window.end_time if window else None),
        empty_profiles=bool(chosen and chosen.empty_profiles),
        evaluate=bool(request.evaluation_info and request.evaluation_info.segmentation),
    )


def resolve(request: CreateExportJob, catalog: Catalog) -> Resolved:
    """What the plan uses where the request leaves it open; the first segment decides."""
    listed = _listed(request)
    definitions = [catalog.definitions(s.segment_id, _namespace(s)) for s in listed]
    policy = _chosen_policy(request, definitions[0] if definitions else [], catalog)
    return Resolved(
        {"id": policy.id, "version": policy.version} if policy else shown_policy(request),
        [
            found[0].namespace if len(found) == 1 else _namespace(segment)
            for segment, found in zip(listed, definitions, strict=True)
        ],
    )


def shown_policy(request: CreateExportJob) -> dict[str, Any]:
    """The merge policy as requested: a job that is going to fail has no other."""
    asked: dict[str, Any] = request.to_wire().get("mergePolicy", {"id": ""})
    return asked


def _listed(request: CreateExportJob) -> Sequence[Segment]:
    return (request.filter.segments if request.filter else None) or []


def _namespace(segment: Segment) -> str | None:
    """The namespace requested; None means any."""
    return segment.segment_ns if "segment_ns" in segment.model_fields_set else None


def _check_destination(
    request: CreateExportJob, catalog: Catalog, problems: list[EngineError]
) -> None:
    wanted = request.destination.dataset_id
    dataset = catalog.datasets.get(wanted)
    if dataset is None:
        problems.append(EngineError(UNKNOWN_DATASET, f"Dataset {wanted!r} does not exist"))
    elif dataset.schema_name != request.schema_.name:
        problems.append(
            EngineError(
                WRONG_SCHEMA,
                f"Dataset {wanted!r} has the schema {dataset.schema_name!r}, "
                f"not {request.schema_.name!r}",
            )
        )


def _asked_segments(
    request: CreateExportJob, catalog: Catalog, problems: list[EngineError]
) -> list[AskedSegment]:
    asked = []
    for segment in _listed(request):
        namespace = _namespace(segment)
        definitions = catalog.definitions(segment.segment_id, namespace)
        if not definitions:
            place = f" in namespace {namespace!r}" if namespace else ""
            problems.append(
                EngineError(
                    UNKNOWN_SEGMENT, f"Segment {segment.segment_id!r} does not exist{place}"
                )
            )
        # Members that qualified earlier ("existing") are in the segment, too.
        statuses = {"realized" if s == "existing" else s for s in segment.status}
        asked.append(
            AskedSegment(segment.segment_id, namespace, tuple(sorted(statuses)), tuple(definitions))
        )
    return asked


def _policy(
    request: CreateExportJob,
    segment: AskedSegment | None,
    catalog: Catalog,
    problems: list[EngineError],
) -> MergePolicy:
    definitions = segment.definitions if segment else ()
    policy = _chosen_policy(request, definitions, catalog)
    if policy is not None:
        return policy
    if wanted := request.merge_policy:
        version = f" in version {wanted.version}" if "version" in wanted.model_fields_set else ""
        found = f"Merge policy {wanted.id!r} does not exist{version}"
    else:
        found = f"Merge policy {definitions[0].merge_policy_id!r} does not exist"
    problem = EngineError(UNKNOWN_POLICY, found)
    if problem not in problems:
        problems.append(problem)
    return catalog.default_policy


def _chosen_policy(
    request: CreateExportJob, definitions: Sequence[SegmentDefinition], catalog: Catalog
) -> MergePolicy | None:
    """The policy requested, else the segment's, else the default; None if it does not exist."""
    if wanted := request.merge_policy:
        return catalog.policy(
            wanted.id, wanted.version if "version" in wanted.model_fields_set else None
        )
    own = definitions[0].merge_policy_id if definitions else None
    return catalog.default_policy if own is None else catalog.policy(own)


def _check_names(
    attributes: Tree,
    identities: Sequence[str],
    events: EventPlan | None,
    problems: list[EngineError],
) -> None:
    """Checks that names are unique; DuckDB ignores their case."""
    taken = {name.lower(): name for name in attributes.children}
    for added, what in (
        (EVENTS if events else "", "the list of events"),
        (IDENTITIES if identities else "", "the list of identities"),
    ):
        if added in taken:
            text = f"the profile's attribute {taken[added]!r} has the name of {what}"
            problems.append(EngineError(NAME_TAKEN, f"fields: {text}; name the fields to export"))


def _attributes(
    request: CreateExportJob, profile: Tree, problems: list[EngineError]
) -> tuple[Tree, tuple[str, ...]]:
    names = field_names(request.fields)
    if not names:
        return profile, ()
    identities: set[str] = set()
    plain = []
    for name in names:
        head, _, rest = name.partition(".")
        if head != IDENTITIES or head in profile.children:
            plain.append(name)
        elif rest in {"", *IDENTITY_FIELDS}:
            identities.update([rest] if rest else IDENTITY_FIELDS)
        else:
            problems.append(EngineError(UNKNOWN_FIELD, f"fields: unknown field {name!r}"))
    part = _part(profile, plain, "fields", problems)
    return part, tuple(name for name in IDENTITY_FIELDS if name in identities)


def _events(request: CreateExportJob, event: Tree, problems: list[EngineError]) -> EventPlan | None:
    listed = request.additional_fields.event_list if request.additional_fields else None
    if listed is None:
        return None
    names = field_names(listed.fields)
    where = "additionalFields.eventList.fields"
    fields = _part(event, names, where, problems) if names else event
    since = [
        request.filter.from_ingest_timestamp if request.filter else None,
        listed.filter.from_ingest_timestamp if listed.filter else None,
    ]
    return EventPlan(
        fields=fields,
        ingested_after=tuple(parse_rfc3339(text) for text in since if text),
        ingested_before=_time(listed.filter.to_ingest_timestamp if listed.filter else None),
    )


def _part(tree: Tree, names: Sequence[str], where: str, problems: list[EngineError]) -> Tree:
    known = []
    for name in names:
        try:
            tree.part([name])
        except UnknownField as error:
            problems.append(EngineError(UNKNOWN_FIELD, f"{where}: {error}"))
        else:
            known.append(name)
    return tree.part(known)


def _time(text: str | None) -> datetime | None:
    return parse_rfc3339(text) if text else None
