"""Generates profile data, the same for the same seed. DuckDB makes a million in seconds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb

EVENTS_PER_PROFILE = 5
STEPS = ("fragments", "events", "memberships", "catalogue")

_DATASETS = [
    {
        "id": "5b7c86968f7b6501e21ba9df",
        "name": "Profile exports",
        "schemaName": "_xdm.context.profile",
    },
    {
        "id": "5bb4c46757920712f924a3eb",
        "name": "Campaign exports",
        "schemaName": "_xdm.context.profile",
    },
]
_POLICIES = [
    {"id": "timestampOrdered-none-mp", "version": 1, "type": "timestampOrdered", "default": True},
    {
        "id": "7972e3d6-96ea-4ece-9627-cbfd62709c5d",
        "version": 1,
        "type": "dataSetPrecedence",
        "datasetOrder": ["crm", "loyalty", "web"],
    },
]
_SEGMENTS = [
    {
        "id": "52c26d0d-45f2-47a2-ab30-ed06abc981ff",
        "namespace": "ups",
        "name": "Newsletter readers in Germany",
        "mergePolicyId": "timestampOrdered-none-mp",
        "predicate": "homeAddress.countryCode = 'DE' AND personalEmail.address IS NOT NULL",
    },
    {
        "id": "segment1",
        "namespace": "ups",
        "name": "Gold members",
        "mergePolicyId": "timestampOrdered-none-mp",
        "predicate": "loyalty.tier = 'gold'",
    },
    {
        "id": "segment2",
        "namespace": "AdCloud",
        "name": "Born before 1980",
        "mergePolicyId": "7972e3d6-96ea-4ece-9627-cbfd62709c5d",
        "predicate": "person.birthYear < 1980",
    },
]

# Random, but the same for the same seed: `draw(i, 'what')` is a number from 0 to 2^64 - 1.
_MACROS = """
CREATE MACRO draw(i, what) AS hash(i, what, getvariable('seed'));
CREATE MACRO chance(i, what, percent) AS draw(i, what) % 100 < percent;
CREATE MACRO pick(i, what, values) AS values[1 + (draw(i, what) % len(values))::INT];
CREATE MACRO moment(i, what) AS
    TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_milliseconds((draw(i, what) % 26000000000)::BIGINT);
CREATE MACRO id_of(i) AS printf('p%09d', i);
"""

_FRAGMENTS = """
SELECT id_of(i) AS profileId, source AS sourceDatasetId, moment(i, source) AS ingestedAt,
    CASE source
        WHEN 'crm' THEN MAP {'email': [printf('user%d@example.com', i)], 'crmid': [printf('C%d', i)]}
        WHEN 'web' THEN MAP {'ecid': [printf('%020d', draw(i, 'ecid') % 1000000000000)]}
        ELSE MAP {'loyaltyId': [printf('L%d', i)]}
    END AS identityMap,
    struct_pack(
        name := struct_pack(
            firstName := CASE WHEN source = 'crm' OR chance(i, source || 'first', 30) THEN
                pick(i, source || 'first name', ['Ada', 'Grace', 'Alan', 'Edsger', 'Barbara', 'Tony'])
            END,
            lastName := CASE WHEN source = 'crm' THEN
                pick(i, 'last name', ['Rossi', 'Schmidt', 'Garcia', 'Dubois', 'Smith', 'Novak'])
            END
        ),
        birthYear := CASE WHEN source <> 'web' AND chance(i, source || 'born?', 70) THEN
            (1940 + draw(i, source || 'born') % 65)::INTEGER
        END
    ) AS person,
    struct_pack(address := CASE WHEN source <> 'loyalty' AND chance(i, source || 'mail?', 80) THEN
        printf('user%d@%s.example.com', i, source)
    END) AS personalEmail,
    struct_pack(
        city := CASE WHEN source <> 'web' THEN
            pick(i, source || 'city', ['Berlin', 'Roma', 'Paris', 'Madrid', 'Praha', 'London'])
        END,
        countryCode := CASE WHEN chance(i, source || 'country?', 85) THEN
            pick(i, source || 'country', ['DE', 'DE', 'IT', 'FR', 'ES', 'CZ', 'GB'])
        END
    ) AS homeAddress,
    struct_pack(
        tier := CASE WHEN source = 'loyalty' THEN
            pick(i, 'tier', ['bronze', 'bronze', 'silver', 'gold'])
        END,
        points := CASE WHEN source = 'loyalty' THEN (draw(i, 'points') % 10000)::INTEGER END
    ) AS loyalty
FROM range(?) AS profiles(i), (VALUES ('crm', 80), ('web', 60), ('loyalty', 40)) AS t(source, percent)
WHERE chance(i, source || '?', percent)
"""

_EVENTS = """
SELECT id_of(draw(i, 'who') % ?) AS profileId, printf('e%010d', i) AS eventId,
    moment(i, 'when') AS timestamp,
    moment(i, 'when') + to_milliseconds((draw(i, 'late') % 3600000)::BIGINT) AS ingestedAt,
    pick(i, 'type', ['web.webpagedetails.pageViews', 'commerce.purchases', 'directMarketing.emailOpened'])
        AS eventType,
    struct_pack("order" := struct_pack(
        priceTotal := CASE WHEN chance(i, 'buys', 33) THEN round((draw(i, 'price') % 50000) / 100, 2) END,
        currencyCode := CASE WHEN chance(i, 'buys', 33) THEN 'EUR' END
    )) AS commerce,
    struct_pack(webPageDetails := struct_pack(
        name := pick(i, 'page', ['home', 'search', 'product', 'basket', 'checkout'])
    )) AS web
FROM range(?) AS events(i)
"""

_MEMBERSHIPS = """
SELECT id_of(i) AS profileId, segmentNs, segmentId,
    CASE WHEN chance(i, segmentId || 'status', 70) THEN 'realized' ELSE 'exited' END AS status,
    moment(i, segmentId || 'since') AS lastQualificationTime
FROM range(?) AS profiles(i), (VALUES
    ('ups', '52c26d0d-45f2-47a2-ab30-ed06abc981ff', 25), ('ups', 'segment1', 15), ('AdCloud', 'segment2', 30)
) AS t(segmentNs, segmentId, percent)
WHERE chance(i, segmentId || '?', percent)
"""


def generate(
    directory: Path,
    *,
    profiles: int,
    seed: int,
    events_per_profile: int = EVENTS_PER_PROFILE,
    replace: bool = False,
    done: Callable[[str], None] = lambda _: None,
) -> None:
    """Generates a data directory, complete or not at all; calls `done` with each of STEPS.

    About one profile in twenty has events and no fragment. Raises FileExistsError if `directory` is
    not empty; with `replace`, that is removed once the new data is complete. Raises duckdb.Error or
    OSError if the data can't be written.
    """
    if not replace and directory.exists() and any(directory.iterdir()):
        raise FileExistsError(f"{directory} already contains data")
    aside = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    counts = {
        "fragments": (_FRAGMENTS, [profiles]),
        "events": (_EVENTS, [profiles, profiles * events_per_profile]),
        "memberships": (_MEMBERSHIPS, [profiles]),
    }
    with duckdb.connect(config={"preserve_insertion_order": False}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET VARIABLE seed = ?", [seed])
        connection.execute(_MACROS)
        for folder, (sql, parameters) in counts.items():
            (aside / folder).mkdir(parents=True)
            target = str(aside / folder / "part-00000.parquet")
            connection.execute(
                f"COPY ({sql}) TO ? (FORMAT parquet, COMPRESSION zstd)", [*parameters, target]
            )
            done(folder)
    for name, entries in (
        ("datasets", _DATASETS),
        ("merge-policies", _POLICIES),
        ("segments", _SEGMENTS),
    ):
        (aside / f"{name}.json").write_text(json.dumps(entries, indent=2) + "\n")
    directory.parent.mkdir(parents=True, exist_ok=True)
    old = directory.with_name(f".{directory.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if directory.exists():
        directory.rename(old)
    aside.rename(directory)
    shutil.rmtree(old, ignore_errors=True)
    done("catalogue")
