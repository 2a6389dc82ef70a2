"""The SQL of an export. Values go in as parameters, names as quoted identifiers; no text of a request does.

Predicates of segments are SQL by definition; they come from the data directory, never from a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from export_jobs_local.exporting.catalog import MergePolicy
from export_jobs_local.exporting.columns import Path, Tree, dotted, quoted
from export_jobs_local.exporting.plan import AskedSegment, BatchPlan, EventPlan, ExportPlan

IDENTITY_MAP: Path = ("identityMap",)
_ORDER: tuple[Path, ...] = (("timestamp",), ("eventId",))
"""What a profile's events are ordered by."""


@dataclass
class Query:
    """SQL with its positional parameters, put together from pieces in their order."""

    sql: str
    parameters: list[Any] = field(default_factory=list)


def selection(plan: ExportPlan, batch: BatchPlan, profile: Tree, *, now: datetime) -> Query:
    """Whom a batch exports: `profileId`, once each."""
    members = _members(plan, batch, profile, now) if batch.segments else None
    parameters: list[Any] = []
    sql = "SELECT profileId, max(ingestedAt) AS updatedAt FROM fragments GROUP BY profileId"
    if plan.empty_profiles:
        sql += (
            " UNION ALL SELECT profileId, max(ingestedAt) FROM events"
            " ANTI JOIN fragments USING (profileId) GROUP BY profileId"
        )
    sql = f"SELECT profileId FROM ({sql})"
    if members:
        sql += f" SEMI JOIN ({members.sql}) USING (profileId)"
        parameters += members.parameters
    if plan.updated_after:
        sql += " WHERE updatedAt > ?"
        parameters.append(plan.updated_after)
    return Query(sql, parameters)


def rows(plan: ExportPlan, batch: BatchPlan, *, part: int, parts: int) -> Query:
    """What is exported of the selected profiles whose hash falls into this part."""
    attributes = plan.attributes.without(["profileId"])
    leaves = list(attributes.leaves())
    if plan.identities and IDENTITY_MAP not in leaves:
        leaves.append(IDENTITY_MAP)
    parameters: list[Any] = [parts, part]
    ctes = ["picked AS (SELECT profileId FROM selected WHERE hash(profileId) % ? = ?)"]
    exported, joins = "picked", ""
    columns = dict(attributes.packed({leaf: quoted(dotted(leaf)) for leaf in leaves}))
    if leaves:
        merged = _merged(batch.policy, leaves, "fragments SEMI JOIN picked USING (profileId)")
        parameters += merged.parameters
        ctes.append(f"merged AS ({merged.sql})")
        if plan.empty_profiles:
            joins += " LEFT JOIN merged USING (profileId)"
        else:
            exported = "merged"  # whoever was picked has a fragment: no join is needed
    if plan.events:
        told = _told(plan.events)
        parameters += told.parameters
        ctes.append(f"told AS ({told.sql})")
        joins += " LEFT JOIN told USING (profileId)"
        columns["events"] = "coalesce(told.events, [])"
    if plan.identities:
        columns["identities"] = _identities(plan.identities)
    if "profileId" in plan.attributes.children:
        columns = {"profileId": "profileId", **columns}
    shown = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    return Query(
        f"WITH {', '.join(ctes)} SELECT {shown} FROM {exported}{joins}",
        parameters,
    )


NAMESPACES = """
    SELECT namespace, count(DISTINCT profileId) FROM (
        SELECT profileId, unnest(map_keys(identityMap)) AS namespace
        FROM fragments SEMI JOIN selected USING (profileId)
    ) GROUP BY namespace ORDER BY namespace
"""


def _merged(policy: MergePolicy, leaves: list[Path], source: str) -> Query:
    """One row a profile. Each attribute is that of the fragment that wins among those that have it.

    Identities are not a choice but a union: a profile has all that its fragments have.
    """
    won = ["profileId"]
    shown = ["profileId"]
    for leaf in leaves:
        value, name = _access(leaf), quoted(dotted(leaf))
        if leaf == IDENTITY_MAP:
            won.append(
                f"flatten(list(map_entries({value})) FILTER ({value} IS NOT NULL)) AS identities"
            )
            shown.append(f"{_UNITED_IDENTITIES} AS {name}")
        else:
            won.append(f"arg_max({value}, precedence) FILTER ({value} IS NOT NULL) AS {name}")
            shown.append(name)
    order = list(reversed(policy.dataset_order)) if policy.type == "dataSetPrecedence" else []
    # The rank of the dataset, then the time to the millisecond, in one number: fast to compare.
    precedence = (
        "coalesce(list_position(?::VARCHAR[], sourceDatasetId), 0)::BIGINT * (1::BIGINT << 44)"
        " + epoch_ms(ingestedAt) AS precedence"
    )
    sql = (
        f"SELECT {', '.join(shown)} FROM (SELECT {', '.join(won)}"
        f" FROM (SELECT *, {precedence} FROM {source}) GROUP BY profileId)"
    )
    return Query(sql, [order])


# Most profiles have each namespace in one fragment only; then there is nothing to unite.
_NAMESPACES_OF = "list_distinct(list_transform(identities, lambda one: one.key))"
_UNITED_IDENTITIES = (
    f"CASE WHEN len(identities) = len({_NAMESPACES_OF}) THEN map_from_entries(identities)"
    f" ELSE map_from_entries(list_transform({_NAMESPACES_OF}, lambda namespace:"
    " struct_pack(key := namespace, value := list_distinct(flatten(list_transform("
    "list_filter(identities, lambda one: one.key = namespace), lambda one: one.value)))))) END"
)


def _access(leaf: Path) -> str:
    return ".".join(quoted(name) for name in leaf)


def _identities(fields: tuple[str, ...]) -> str:
    """`identityMap` as a list of identities, each with the fields asked for."""
    parts = {"namespace": "entry.key", "id": "one"}
    packed = ", ".join(f"{quoted(name)} := {parts[name]}" for name in fields)
    return (
        'coalesce(flatten(list_transform(map_entries("identityMap"),'
        f" lambda entry: list_transform(entry.value, lambda one: struct_pack({packed})))), [])"
    )


def _told(events: EventPlan) -> Query:
    """The events of each profile, as a list in the order in which they happened.

    The lists are made of flat structs, which is several times as fast as of nested ones; each is
    given its shape when it is whole.
    """
    leaves = [leaf for leaf in events.fields.leaves() if leaf not in _ORDER]
    flat = [*_ORDER, *leaves]
    names = {leaf: quoted(f"f{position}") for position, leaf in enumerate(flat)}
    packed = ", ".join(f"{name} := {_access(leaf)}" for leaf, name in names.items())
    shaped = ", ".join(
        f"{quoted(name)} := {sql}"
        for name, sql in events.fields.packed({leaf: f"one.{name}" for leaf, name in names.items()})
    )
    where, parameters = ["true"], list[Any]()
    for time in events.ingested_after:
        where.append("ingestedAt > ?")
        parameters.append(time)
    if events.ingested_before:
        where.append("ingestedAt < ?")
        parameters.append(events.ingested_before)
    sql = (
        f"SELECT profileId, list_transform(list_sort(list(struct_pack({packed}))),"
        f" lambda one: struct_pack({shaped})) AS events"
        " FROM events SEMI JOIN picked USING (profileId)"
        f" WHERE {' AND '.join(where)} GROUP BY profileId"
    )
    return Query(sql, parameters)


def _members(plan: ExportPlan, batch: BatchPlan, profile: Tree, now: datetime) -> Query:
    """Who is in any of the segments, in a status asked for, since a time asked for."""
    pieces = []
    parameters: list[Any] = []
    for segment in batch.segments:
        source = Query("SELECT * FROM memberships")
        if plan.evaluate:
            source = _evaluated(segment, batch.policy, profile, now)
        where = ["segmentId = ?", "list_contains(?::VARCHAR[], status)"]
        values: list[Any] = [segment.id, list(segment.statuses)]
        for condition, value in (
            ("segmentNs = ?", segment.namespace),
            ("lastQualificationTime >= ?", plan.qualified_from),
            ("lastQualificationTime <= ?", plan.qualified_until),
        ):
            if value is not None:
                where.append(condition)
                values.append(value)
        pieces.append(f"SELECT profileId FROM ({source.sql}) WHERE {' AND '.join(where)}")
        parameters += [*source.parameters, *values]
    return Query(" UNION ".join(pieces), parameters)


def _evaluated(segment: AskedSegment, policy: MergePolicy, profile: Tree, now: datetime) -> Query:
    """Memberships as they are now: who satisfies the predicate, and who no longer does.

    A membership that was known keeps its time; one that has just begun or ended has the present.
    """
    leaves = list(profile.without(["profileId"]).leaves())
    columns = ", ".join(
        f"{sql} AS {quoted(name)}"
        for name, sql in profile.without(["profileId"]).packed(
            {leaf: quoted(dotted(leaf)) for leaf in leaves}
        )
    )
    pieces = []
    parameters: list[Any] = []
    for definition in segment.definitions:
        merged = _merged(policy, leaves, "fragments")
        pieces.append(
            "SELECT profileId, ? AS segmentNs, ? AS segmentId, now_status AS status,"
            " CASE WHEN known.status = now_status THEN known.lastQualificationTime ELSE ? END"
            " AS lastQualificationTime"
            " FROM (SELECT profileId,"
            f" CASE WHEN ({definition.predicate}) THEN 'realized' ELSE 'exited' END AS now_status"
            f" FROM (SELECT profileId, {columns} FROM ({merged.sql})))"
            " LEFT JOIN (SELECT profileId, status, lastQualificationTime FROM memberships"
            "  WHERE segmentNs = ? AND segmentId = ?) AS known USING (profileId)"
            " WHERE now_status = 'realized' OR known.status IS NOT NULL"
        )
        names = [definition.namespace, definition.id]
        parameters += [*names, now, *merged.parameters, *names]
    return Query(" UNION ALL ".join(pieces), parameters)
