"""The SQL of an export: values are parameters, names are quoted identifiers.

No text of a request becomes SQL. Segment predicates do, but come from the data directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from export_jobs_local.exporting.catalog import MergePolicy
from export_jobs_local.exporting.columns import IDENTITIES, Path, Tree, quoted
from export_jobs_local.exporting.plan import EVENTS, BatchPlan, EventPlan, ExportPlan

IDENTITY_MAP: Path = ("identityMap",)
_ORDER: tuple[Path, ...] = (("timestamp",), ("eventId",))
"""The order of a profile's events."""
_IN_PART = "hash(profileId) % ? = ?"
"""Its parameters are the number of parts and the part."""


@dataclass
class Query:
    """SQL with its positional parameters, in their order."""

    sql: str
    parameters: list[Any] = field(default_factory=list)


def updated(plan: ExportPlan) -> Query:
    """The profiles with a fragment that is new enough, if the plan asks for that."""
    return Query(
        "SELECT profileId FROM fragments GROUP BY profileId HAVING max(ingestedAt) > ?",
        [plan.updated_after],
    )


def without_fragments(plan: ExportPlan) -> Query:
    """The profiles that have only events, of which one is new enough."""
    sql = "SELECT profileId FROM events ANTI JOIN fragments USING (profileId) GROUP BY profileId"
    if plan.updated_after is None:
        return Query(sql)
    return Query(f"{sql} HAVING max(ingestedAt) > ?", [plan.updated_after])


def members(plan: ExportPlan, batch: BatchPlan, *, evaluated: str, now: datetime) -> Query:
    """The members of a batch's segments. `evaluated` is the table with all merged profiles."""
    found = _evaluated_members(batch, evaluated, now) if plan.evaluate else _known(batch)
    where, parameters = ["true"], [*found.parameters]
    for condition, value in (
        ("since >= ?", plan.qualified_from),
        ("since <= ?", plan.qualified_until),
    ):
        if value is not None:
            where.append(condition)
            parameters.append(value)
    return Query(
        f"SELECT DISTINCT profileId FROM ({found.sql}) WHERE {' AND '.join(where)}", parameters
    )


def chosen(plan: ExportPlan, batch: BatchPlan) -> Query:
    """The fragments of the profiles to export: what the export needs of them, not nested.

    The tables `updated` and `members` have to exist if the plan or the batch needs them.
    """
    source = "fragments AS one"
    if plan.updated_after is not None:
        source += " SEMI JOIN updated USING (profileId)"
    if batch.segments:
        source += " SEMI JOIN members USING (profileId)"
    return _flat(batch.policy, _leaves(plan), source)


def selected(plan: ExportPlan, batch: BatchPlan, chosen: Query) -> Query:
    """The profiles to export: those of the fragments and, if requested, those without."""
    sql = f"SELECT DISTINCT profileId FROM ({chosen.sql})"
    if plan.empty_profiles:
        sql += " UNION ALL SELECT profileId FROM without_fragments"
        if batch.segments:
            sql += " SEMI JOIN members USING (profileId)"
    return Query(sql, chosen.parameters)


def namespaces(plan: ExportPlan, chosen: Query, files: str) -> Query:
    """The number of profiles with identities in each namespace, once `files` are written."""
    if IDENTITY_MAP in plan.attributes.leaves():
        # Each profile has its namespaces once there; in its fragments they may be repeated.
        source = Query(
            "SELECT unnest(map_keys(identityMap)) AS namespace FROM read_parquet(?)", [files]
        )
        number = "count(*)"
    else:
        source = Query(
            f"SELECT profileId, unnest(namespaces) AS namespace FROM ({chosen.sql})",
            chosen.parameters,
        )
        number = "count(DISTINCT profileId)"
    return Query(
        f"SELECT namespace, {number} FROM ({source.sql}) GROUP BY namespace ORDER BY namespace",
        source.parameters,
    )


def rows(plan: ExportPlan, chosen: Query, *, part: int, parts: int) -> Query:
    """The rows to export for the selected profiles whose hash falls into this part."""
    leaves = _leaves(plan)
    parameters: list[Any] = [parts, part]
    ctes = [f"picked AS (SELECT profileId FROM selected WHERE {_IN_PART})"]
    exported, joins = "picked", ""
    columns = dict(plan.attributes.without(["profileId"]).packed(_flat_names(leaves)))
    if leaves:
        ctes.append(
            f"merged AS ({_merged(leaves, f'({chosen.sql}) SEMI JOIN picked USING (profileId)')})"
        )
        parameters += chosen.parameters
        if plan.empty_profiles:
            joins += " LEFT JOIN merged USING (profileId)"
        else:
            exported = "merged"  # every picked profile has a fragment: no join is needed
    if plan.events:
        lists = _event_lists(plan.events)
        parameters += lists.parameters
        ctes.append(f"event_lists AS ({lists.sql})")
        joins += " LEFT JOIN event_lists USING (profileId)"
        columns[EVENTS] = f"coalesce(event_lists.{EVENTS}, [])"
    if plan.identities:
        columns[IDENTITIES] = _identities(plan.identities, _flat_names(leaves)[IDENTITY_MAP])
    if "profileId" in plan.attributes.children:
        columns = {"profileId": "profileId", **columns}
    shown = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    return Query(
        f"WITH {', '.join(ctes)} SELECT {shown} FROM {exported}{joins}",
        parameters,
    )


def profiles(policy: MergePolicy, profile: Tree, *, part: int, parts: int) -> Query:
    """Merged profiles with all their attributes, for the evaluation of predicates."""
    attributes = profile.without(["profileId"])
    leaves = list(attributes.leaves())
    flat = _flat(policy, leaves, f"fragments AS one WHERE {_IN_PART}")
    columns = [f"{sql} AS {quoted(name)}" for name, sql in attributes.packed(_flat_names(leaves))]
    return Query(
        f"SELECT {', '.join(['profileId', *columns])} FROM ({_merged(leaves, f'({flat.sql})')})",
        [*flat.parameters, parts, part],
    )


def _leaves(plan: ExportPlan) -> list[Path]:
    """What is read of a profile: its attributes, and the identities if they become a list."""
    leaves = list(plan.attributes.without(["profileId"]).leaves())
    if plan.identities and IDENTITY_MAP not in leaves:
        leaves.append(IDENTITY_MAP)
    return leaves


def _flat_names(leaves: Sequence[Path]) -> dict[Path, str]:
    """Generated names, as the data's own may collide once they are not nested."""
    return {leaf: quoted(f"f{position}") for position, leaf in enumerate(leaves)}


def _flat(policy: MergePolicy, leaves: Sequence[Path], source: str) -> Query:
    """The fragments of `source`, where they are called `one`, with their leaves as columns."""
    # The rank of the dataset, then the time in microseconds, in one number: fast to compare.
    precedence = "epoch_us(one.ingestedAt)"
    parameters: list[Any] = []
    if policy.type == "dataSetPrecedence":
        precedence += (
            " + coalesce(list_position(?::VARCHAR[], one.sourceDatasetId), 0)::BIGINT"
            " * (1::BIGINT << 52)"
        )
        parameters.append(list(reversed(policy.dataset_order)))
    read = ["one.profileId", f"{precedence} AS precedence"]
    read.append(f"map_keys({_access('one', IDENTITY_MAP)}) AS namespaces")
    read += [f"{_access('one', leaf)} AS {name}" for leaf, name in _flat_names(leaves).items()]
    return Query(f"SELECT {', '.join(read)} FROM {source}", parameters)


def _merged(leaves: Sequence[Path], flat: str) -> str:
    """One row per profile: each attribute is that of the winning fragment among those that have it.

    Identities are a union: a profile has all that its fragments have.
    """
    won, shown = ["profileId"], ["profileId"]
    for leaf, name in _flat_names(leaves).items():
        if leaf == IDENTITY_MAP:
            won.append(
                f"flatten(list(map_entries({name})) FILTER ({name} IS NOT NULL)) AS identities"
            )
            shown.append(f"{_UNITED_IDENTITIES} AS {name}")
        else:
            won.append(f"arg_max({name}, precedence) AS {name}")  # it ignores NULLs
            shown.append(name)
    return (
        f"SELECT {', '.join(shown)} FROM (SELECT {', '.join(won)} FROM {flat} GROUP BY profileId)"
    )


# Most profiles have each namespace in one fragment only; then there is nothing to unite.
_NAMESPACES_OF = "list_distinct(list_transform(identities, lambda one: one.key))"
_UNITED_IDENTITIES = (
    f"CASE WHEN len(identities) = len({_NAMESPACES_OF}) THEN map_from_entries(identities)"
    f" ELSE map_from_entries(list_transform({_NAMESPACES_OF}, lambda namespace:"
    " struct_pack(key := namespace, value := list_distinct(flatten(list_transform("
    "list_filter(identities, lambda one: one.key = namespace), lambda one: one.value)))))) END"
)


def _access(row: str, leaf: Path) -> str:
    return ".".join([row, *map(quoted, leaf)])


def _identities(fields: tuple[str, ...], identity_map: str) -> str:
    """`identityMap` as a list of identities, each with the fields asked for."""
    parts = {"namespace": "entry.key", "id": "one"}
    packed = ", ".join(f"{quoted(name)} := {parts[name]}" for name in fields)
    return (
        f"coalesce(flatten(list_transform(map_entries({identity_map}),"
        f" lambda entry: list_transform(entry.value, lambda one: struct_pack({packed})))), [])"
    )


def _event_lists(events: EventPlan) -> Query:
    """The events of each profile, as a list in the order in which they happened.

    The lists are made of flat structs, which is several times as fast as nested ones, and are
    nested at the end. Events are first sorted by profile: lists that grow one after the other take
    a quarter less time than lists that grow at the same time.
    """
    leaves = [leaf for leaf in events.fields.leaves() if leaf not in _ORDER]
    names = _flat_names([*_ORDER, *leaves])
    read = ", ".join(f"{_access('happened', leaf)} AS {name}" for leaf, name in names.items())
    packed = ", ".join(f"{name} := {name}" for name in names.values())
    shaped = ", ".join(
        f"{quoted(name)} := {sql}"
        for name, sql in events.fields.packed({leaf: f"one.{name}" for leaf, name in names.items()})
    )
    where, parameters = ["true"], list[Any]()
    for time in events.ingested_after:
        where.append("happened.ingestedAt > ?")
        parameters.append(time)
    if events.ingested_before:
        where.append("happened.ingestedAt < ?")
        parameters.append(events.ingested_before)
    sql = (
        f"SELECT profileId, list_transform(list_sort(list(struct_pack({packed}))),"
        f" lambda one: struct_pack({shaped})) AS {EVENTS}"
        f" FROM (SELECT happened.profileId, {read}"
        f" FROM events AS happened SEMI JOIN picked USING (profileId)"
        f" WHERE {' AND '.join(where)} ORDER BY hash(happened.profileId)) GROUP BY profileId"
    )
    return Query(sql, parameters)


def _known(batch: BatchPlan) -> Query:
    """The profiles with a membership in any of the segments, in a status requested."""
    asked = [
        (segment.id, segment.namespace, status)
        for segment in batch.segments
        for status in segment.statuses
    ]
    return Query(
        "SELECT profileId, lastQualificationTime AS since FROM memberships JOIN ("
        " SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS ns,"
        " unnest(?::VARCHAR[]) AS status) AS asked"
        " ON segmentId = asked.id AND memberships.status = asked.status"
        " AND (asked.ns IS NULL OR segmentNs = asked.ns)",
        [list(column) for column in zip(*asked, strict=True)],
    )


def _evaluated_members(batch: BatchPlan, evaluated: str, now: datetime) -> Query:
    """Profiles in any of the segments now: those that satisfy the predicate, or no longer do.

    All predicates are evaluated in one pass. A known membership keeps its time; one that has just
    begun or ended has the present time. Definitions are identified by their position, `d`.
    """
    definitions = list(
        dict.fromkeys(
            (d.namespace, d.id, d.predicate) for s in batch.segments for d in s.definitions
        )
    )
    position = {definition: number for number, definition in enumerate(definitions)}
    asked = {
        (position[d.namespace, d.id, d.predicate], status)
        for segment in batch.segments
        for d in segment.definitions
        for status in segment.statuses
    }
    holds = ", ".join(
        f"CASE WHEN ({predicate}) THEN {number} END"
        for (_, _, predicate), number in position.items()
    )
    sql = f"""
        WITH definitions AS (
            SELECT unnest(?::VARCHAR[]) AS ns, unnest(?::VARCHAR[]) AS id, unnest(?::INT[]) AS d
        ), asked AS (
            SELECT unnest(?::INT[]) AS d, unnest(?::VARCHAR[]) AS status
        ), satisfied AS MATERIALIZED (
            SELECT profileId, unnest(list_filter([{holds}], lambda d: d IS NOT NULL)) AS d
            FROM {evaluated}
        ), known AS MATERIALIZED (
            SELECT profileId, d, status, lastQualificationTime FROM memberships
            JOIN definitions ON segmentNs = ns AND segmentId = id
        ), members AS (
            SELECT profileId, d, 'realized' AS status, CASE
                WHEN known.status = 'realized' THEN known.lastQualificationTime ELSE ? END AS since
            FROM satisfied LEFT JOIN known USING (profileId, d)
            UNION ALL
            SELECT profileId, d, 'exited', CASE
                WHEN known.status = 'exited' THEN known.lastQualificationTime ELSE ? END
            FROM known SEMI JOIN {evaluated} USING (profileId)
            ANTI JOIN satisfied USING (profileId, d)
        )
        SELECT profileId, since FROM members SEMI JOIN asked USING (d, status)
    """
    namespaces, ids, _ = zip(*definitions, strict=True)
    numbers, statuses = zip(*sorted(asked), strict=True)
    return Query(
        sql,
        [
            list(namespaces),
            list(ids),
            list(range(len(definitions))),
            list(numbers),
            list(statuses),
            now,
            now,
        ],
    )


def predicate_alone(predicate: str, evaluated: str) -> str:
    """Evaluates one predicate, to find out which of several can't be evaluated."""
    return f"SELECT count(*) FROM {evaluated} WHERE ({predicate})"
