"""The same exports, written by hand for exactly this data: in DuckDB's SQL, and with Polars.

Each writes the rows that the local export writes, and counts the profiles of each namespace, which
a job reports. Neither checks a request, knows other columns or policies, can be cancelled, or
publishes a complete batch at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
from export_jobs_local.exporting.engine import FILE_FORMAT, EngineSettings

if TYPE_CHECKING:
    import polars as pl

EVENTS, PROFILES = "profiles with their events", "profiles"
SEGMENT = "one segment, three fields"
SEGMENT_ID = "52c26d0d-45f2-47a2-ab30-ed06abc981ff"
PARTS = 4
"""The lists of 5,000,000 events do not fit into 1,000 MB at once, and lists can't spill to disk."""


def environment(settings: EngineSettings) -> dict[str, str]:
    """For a process that exports: Polars reads its number of threads from there."""
    return {**os.environ, "POLARS_MAX_THREADS": str(settings.threads)}


@contextmanager
def connection(root: Path, settings: EngineSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the limits that the local export has."""
    with duckdb.connect(
        config={
            "memory_limit": f"{settings.memory_mb}MiB",
            "threads": settings.threads,
            "temp_directory": str(root / "spill"),
            "preserve_insertion_order": False,
        }
    ) as connected:
        connected.execute("SET TimeZone = 'UTC'")
        for folder in ("fragments", "events", "memberships"):
            files = f"{root}/data/{folder}/*.parquet"
            connected.execute(f"CREATE VIEW {folder} AS FROM read_parquet('{files}')")
        yield connected


# -- DuckDB ---------------------------------------------------------------------------------------

# A map can't have a key twice. Most profiles have each namespace in one fragment only.
_IDENTITY_MAP = """
CASE WHEN len(entries) = len(list_distinct(list_transform(entries, lambda e: e.key)))
THEN map_from_entries(entries)
ELSE map_from_entries(list_transform(
    list_distinct(list_transform(entries, lambda e: e.key)),
    lambda k: {'key': k, 'value': list_distinct(flatten(list_transform(
        list_filter(entries, lambda e: e.key = k), lambda e: e.value)))}))
END
"""

_MERGED = """
SELECT profileId,
    flatten(list(map_entries(identityMap)) FILTER (identityMap IS NOT NULL)) AS entries,
    arg_max(person.name.firstName, ingestedAt) AS firstName,
    arg_max(person.name.lastName, ingestedAt) AS lastName,
    arg_max(person.birthYear, ingestedAt) AS birthYear,
    arg_max(personalEmail.address, ingestedAt) AS address,
    arg_max(homeAddress.city, ingestedAt) AS city,
    arg_max(homeAddress.countryCode, ingestedAt) AS countryCode,
    arg_max(loyalty.tier, ingestedAt) AS tier,
    arg_max(loyalty.points, ingestedAt) AS points
FROM fragments WHERE hash(profileId) % {parts} = {part} GROUP BY profileId
"""

_SHAPED = f"""
profileId, {_IDENTITY_MAP} AS identityMap,
{{'name': {{'firstName': firstName, 'lastName': lastName}}, 'birthYear': birthYear}} AS person,
{{'address': address}} AS personalEmail,
{{'city': city, 'countryCode': countryCode}} AS homeAddress,
{{'tier': tier, 'points': points}} AS loyalty
"""

# Lists of flat structs are faster than lists of nested ones, and lists that grow one after the
# other faster than lists that grow at the same time.
_LISTS = """
SELECT profileId, list_transform(
    list_sort(list({
        't': timestamp, 'id': eventId, 'i': ingestedAt, 'e': eventType,
        'p': commerce."order".priceTotal, 'c': commerce."order".currencyCode,
        'n': web.webPageDetails.name
    })),
    lambda e: {
        'eventId': e.id, 'timestamp': e.t, 'ingestedAt': e.i, 'eventType': e.e,
        'commerce': {'order': {'priceTotal': e.p, 'currencyCode': e.c}},
        'web': {'webPageDetails': {'name': e.n}}
    }
) AS events
FROM (FROM events WHERE hash(profileId) % {parts} = {part} ORDER BY hash(profileId))
GROUP BY profileId
"""

_OF_SEGMENT = f"""
SELECT profileId, ingestedAt, person.name.firstName AS firstName, personalEmail.address AS address,
    homeAddress.city AS city, map_keys(identityMap) AS namespaces
FROM fragments SEMI JOIN (
    FROM memberships WHERE segmentId = '{SEGMENT_ID}' AND status = 'realized'
) USING (profileId)
"""

_SEGMENT = """
SELECT {'name': {'firstName': firstName}} AS person, {'address': address} AS personalEmail,
    {'city': city} AS homeAddress
FROM (
    SELECT arg_max(firstName, ingestedAt) AS firstName, arg_max(address, ingestedAt) AS address,
        arg_max(city, ingestedAt) AS city
    FROM chosen GROUP BY profileId
)
"""


def by_hand(connected: duckdb.DuckDBPyConnection, case: str, target: Path) -> Mapping[str, int]:
    """Exports with the fastest query that we found; returns the profiles of each namespace."""

    def write(number: int, sql: str) -> None:
        connected.execute(f"COPY ({sql}) TO '{target}/{number}.parquet' ({FILE_FORMAT})")

    if case == SEGMENT:
        connected.execute(f"CREATE TEMP TABLE chosen AS {_OF_SEGMENT}")
        write(0, _SEGMENT)
        counting = (
            "SELECT namespace, count(DISTINCT profileId) FROM"
            " (SELECT profileId, unnest(namespaces) AS namespace FROM chosen) GROUP BY namespace"
        )
    else:
        parts = PARTS if case == EVENTS else 1
        for part in range(parts):
            merged = _MERGED.format(parts=parts, part=part)
            sql = f"SELECT {_SHAPED} FROM ({merged})"
            if case == EVENTS:
                lists = _LISTS.replace("{parts}", str(parts)).replace("{part}", str(part))
                sql = (
                    f"SELECT merged.*, coalesce(lists.events, []) AS events FROM ({sql}) AS merged"
                    f" LEFT JOIN ({lists}) AS lists USING (profileId)"
                )
            write(part, sql)
        counting = (
            "SELECT namespace, count(*) FROM (SELECT unnest(map_keys(identityMap)) AS namespace"
            f" FROM '{target}/*.parquet') GROUP BY namespace"
        )
    return dict(connected.execute(counting).fetchall())


# -- Polars ---------------------------------------------------------------------------------------

_LEAVES = {
    "firstName": ("person", "name", "firstName"),
    "lastName": ("person", "name", "lastName"),
    "birthYear": ("person", "birthYear"),
    "address": ("personalEmail", "address"),
    "city": ("homeAddress", "city"),
    "countryCode": ("homeAddress", "countryCode"),
    "tier": ("loyalty", "tier"),
    "points": ("loyalty", "points"),
}


def polars(case: str, data: Path, target: Path) -> Mapping[str, int]:
    """Exports with Polars' streaming engine; returns the profiles of each namespace."""
    import polars as pl  # noqa: PLC0415  a requirement of the benchmarks only

    fragments, events, memberships = (
        pl.scan_parquet(data / folder / "*.parquet")
        for folder in ("fragments", "events", "memberships")
    )
    if case == SEGMENT:
        members = memberships.filter(segmentId=SEGMENT_ID, status="realized")
        chosen = fragments.join(members, on="profileId", how="semi")
        rows = _newest(chosen, ["firstName", "address", "city"]).select(
            person=pl.struct(name=pl.struct("firstName")),
            personalEmail=pl.struct("address"),
            homeAddress=pl.struct("city"),
        )
        namespaces = _namespaces(chosen).unique()
    else:
        rows = _profiles(fragments)
        if case == EVENTS:
            rows = rows.join(_events(events), on="profileId", how="left").with_columns(
                pl.col("events").fill_null([])
            )
        namespaces = _namespaces(pl.scan_parquet(target / "*.parquet"))
    rows.sink_parquet(
        target / "0.parquet",
        compression="zstd",
        compression_level=1,
        maintain_order=False,
        engine="streaming",
    )
    counted = namespaces.group_by("namespace").len().collect(engine="streaming")
    return dict(counted.iter_rows())


def _newest(fragments: pl.LazyFrame, names: list[str], *more: Any, **kept: Any) -> pl.LazyFrame:
    """The newest value of each leaf that is not null; with `more`, further aggregates of `kept`."""
    import polars as pl  # noqa: PLC0415

    leaves = {}
    for name in names:
        column, *inner = _LEAVES[name]
        leaf = pl.col(column)
        for field in inner:
            leaf = leaf.struct.field(field)
        leaves[name] = leaf
    return (
        fragments.select("profileId", "ingestedAt", **leaves, **kept)
        .group_by("profileId")
        .agg(
            *more,
            *(
                pl.col(name).max_by(pl.when(pl.col(name).is_not_null()).then(pl.col("ingestedAt")))
                for name in names
            ),
        )
    )


def _profiles(fragments: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl  # noqa: PLC0415

    merged = _newest(
        fragments,
        list(_LEAVES),
        pl.col("entries").explode(empty_as_null=False, keep_nulls=False),
        entries=pl.col("identityMap").map.entries(),
    )
    # A map can't have a key twice. Most profiles have each namespace in one fragment only.
    keys = pl.col("entries").list.eval(pl.element().struct.field("key"))
    doubled = keys.list.n_unique() < keys.list.len()
    once, twice = merged.filter(~doubled), merged.filter(doubled)
    united = (
        twice.select("profileId", "entries")
        .explode("entries")
        .select("profileId", pl.col("entries").struct.unnest())
        .group_by("profileId", "key")
        .agg(pl.col("value").explode().unique())
        .group_by("profileId")
        .agg(pl.struct("key", "value").alias("entries"))
    )
    twice = twice.drop("entries").join(united, on="profileId")
    return pl.concat([once, twice], how="diagonal").select(
        "profileId",
        identityMap=pl.col("entries").list.to_map(),
        person=pl.struct(pl.struct("firstName", "lastName").alias("name"), "birthYear"),
        personalEmail=pl.struct("address"),
        homeAddress=pl.struct("city", "countryCode"),
        loyalty=pl.struct("tier", "points"),
    )


def _events(events: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl  # noqa: PLC0415

    event = pl.struct("eventId", "timestamp", "ingestedAt", "eventType", "commerce", "web")
    return events.group_by("profileId").agg(event.sort_by("timestamp", "eventId").alias("events"))


def _namespaces(rows: pl.LazyFrame) -> pl.LazyFrame:
    import polars as pl  # noqa: PLC0415

    return (
        rows.select(pl.col("^profileId$"), namespace=pl.col("identityMap").map.keys())
        .explode("namespace")
        .drop_nulls("namespace")
    )
