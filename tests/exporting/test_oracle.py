"""The engine against an evaluation in plain Python, over random data and random requests."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
from export_jobs.contract import parse_create_request
from export_jobs_local.exporting.engine import DuckDbEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from support.faults import LONG

from . import oracle

HOUR = 3_600_000_000
BEGIN = 1_767_225_600_000_000
"""Epoch microseconds, like all times here."""
NOW = BEGIN + 100 * HOUR
"""The engine's clock stands still."""
PROFILES = [f"p{number}" for number in range(6)]
SOURCES = ["crm", "web", "loyalty", "other"]
POLICIES = {"newest": None, "crm-first": ["crm", "loyalty"], "web-first": ["web"]}
SEGMENTS = [
    ("ups", "germans", "germans", "newest"),
    ("AdCloud", "germans", "elders", "web-first"),
    ("ups", "elders", "elders", "crm-first"),
    ("ups", "nameless", "nameless", "newest"),
]
COLUMNS = {
    "fragments": {
        "profileId": "VARCHAR",
        "sourceDatasetId": "VARCHAR",
        "ingestedAt": "BIGINT",
        "identityMap": "MAP(VARCHAR, VARCHAR[])",
        "person": "STRUCT(name STRUCT(firstName VARCHAR, lastName VARCHAR), birthYear INTEGER)",
        "homeAddress": "STRUCT(city VARCHAR, countryCode VARCHAR)",
    },
    "events": {
        "profileId": "VARCHAR",
        "eventId": "VARCHAR",
        "timestamp": "BIGINT",
        "ingestedAt": "BIGINT",
        "eventType": "VARCHAR",
        "commerce": 'STRUCT("order" STRUCT(priceTotal DOUBLE))',
    },
    "memberships": {
        "profileId": "VARCHAR",
        "segmentNs": "VARCHAR",
        "segmentId": "VARCHAR",
        "status": "VARCHAR",
        "since": "BIGINT",
    },
}
TIMES = {"ingestedAt", "timestamp", "since"}

hours = st.integers(0, 12).map(lambda hour: BEGIN + hour * HOUR)
moments = st.sampled_from([0, 1, 2, 1_000]).flatmap(
    lambda extra: hours.map(lambda hour: hour + extra)
)
some = st.sampled_from


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


fragments = st.lists(
    st.fixed_dictionaries(
        {
            "profileId": some(PROFILES[:5]),
            "sourceDatasetId": some(SOURCES),
            "ingestedAt": moments,
            "identityMap": maybe(
                st.dictionaries(
                    some(["email", "ecid"]),
                    st.lists(some("abc"), min_size=1, max_size=2, unique=True),
                    max_size=2,
                )
            ),
            "person": maybe(
                st.fixed_dictionaries(
                    {
                        "name": maybe(
                            st.fixed_dictionaries(
                                {
                                    "firstName": maybe(some(["Ada", "É\"'"])),
                                    "lastName": maybe(some("XY")),
                                }
                            )
                        ),
                        "birthYear": maybe(some([1950, 1979, 1980, 2000])),
                    }
                )
            ),
            "homeAddress": maybe(
                st.fixed_dictionaries(
                    {"city": maybe(some(["Roma", ""])), "countryCode": maybe(some(["DE", "IT"]))}
                )
            ),
        }
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda fragment: (fragment["profileId"], fragment["ingestedAt"]),
)
events = st.lists(
    st.fixed_dictionaries(
        {
            "profileId": some(PROFILES),
            "eventId": some([f"e{number}" for number in range(30)]),
            "timestamp": moments,
            "ingestedAt": moments,
            "eventType": maybe(some(["view", "purchase"])),
            "commerce": maybe(
                st.fixed_dictionaries(
                    {
                        "order": maybe(
                            st.fixed_dictionaries({"priceTotal": maybe(some([1.5, 20.0]))})
                        )
                    }
                )
            ),
        }
    ),
    min_size=1,
    max_size=10,
    unique_by=lambda event: event["eventId"],
)
memberships = st.lists(
    st.fixed_dictionaries(
        {
            "profileId": some(PROFILES),
            "segmentNs": some(["ups", "AdCloud"]),
            "segmentId": some(["germans", "elders", "nameless"]),
            "status": some(["realized", "exited"]),
            "since": moments,
        }
    ),
    min_size=1,
    max_size=14,
    unique_by=lambda row: (row["profileId"], row["segmentNs"], row["segmentId"]),
)


def moment(epoch_us: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=epoch_us)


def as_time(epoch_us: int) -> str:
    return moment(epoch_us).isoformat().replace("+00:00", "Z")


times = moments.map(as_time)


def fields_of(paths: Sequence[str]) -> st.SearchStrategy[str]:
    return st.lists(some(paths), max_size=3, unique=True).map(",".join)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request that uses every parameter; its times are in order."""
    request: dict[str, Any] = {
        "destination": {"datasetId": "d", "segmentPerBatch": draw(st.booleans())},
        "schema": {"name": "s"},
    }
    if draw(st.booleans()):
        request["fields"] = draw(
            fields_of(
                [
                    *oracle.PROFILE_FIELDS,
                    "person",
                    "person.name",
                    "homeAddress",
                    "identities",
                    "identities.id",
                ]
            )
        )
    if draw(st.booleans()):
        request["mergePolicy"] = {"id": draw(some(list(POLICIES)))}
    if draw(st.booleans()):
        request["evaluationInfo"] = {"segmentation": draw(st.booleans())}
    if selection := draw(filters()):
        request["filter"] = selection
    if draw(st.booleans()):
        listed: dict[str, Any] = {
            "fields": draw(fields_of([*oracle.EVENT_FIELDS, "commerce", "commerce.order"]))
        }
        if window := draw(spans("fromIngestTimestamp", "toIngestTimestamp")):
            listed["filter"] = window
        request["additionalFields"] = {"eventList": listed}
    return request


@st.composite
def filters(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wanted := draw(segments()):
        found["segments"] = wanted
    if draw(st.booleans()):
        found["segmentQualificationTime"] = draw(spans("startTime", "endTime", at_least=1))
    if draw(st.booleans()):
        found["fromIngestTimestamp"] = draw(times)
    if draw(st.booleans()):
        found["emptyProfiles"] = draw(st.booleans())
    return found


@st.composite
def segments(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Segments to filter by, without duplicates."""
    listed = draw(
        st.lists(
            st.tuples(
                some(SEGMENTS), st.booleans(), st.sets(some(["realized", "exited", "existing"]))
            ),
            max_size=3,
            unique_by=lambda drawn: drawn[0][:2],
        )
    )
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for (namespace, name, _, _), named, statuses in listed:
        segment: dict[str, Any] = {"segmentId": name}
        if named:
            segment["segmentNs"] = namespace
        if statuses:
            segment["status"] = sorted(statuses)
        found.setdefault((name, segment.get("segmentNs", "ups")), segment)
    return list(found.values())


@st.composite
def spans(draw: st.DrawFn, begin: str, end: str, *, at_least: int = 0) -> dict[str, str]:
    """The ends of a time span, by their names; one may be missing, or both if `at_least` is 0."""
    first, last = map(as_time, sorted([draw(moments), draw(moments)]))
    span = {begin: first, end: last}
    kept = draw(st.sets(some(list(span)), min_size=at_least))
    return {name: span[name] for name in kept}


class Place:
    """A data directory that is refilled for each example and read back."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        (root / "data").mkdir()
        catalog = {
            "datasets": [{"id": "d", "schemaName": "s"}],
            "merge-policies": [
                {
                    "id": name,
                    "type": "dataSetPrecedence" if order else "timestampOrdered",
                    "datasetOrder": order or [],
                    "default": name == "newest",
                }
                for name, order in POLICIES.items()
            ],
            "segments": [
                {
                    "id": name,
                    "namespace": namespace,
                    "predicate": oracle.PREDICATES[predicate][0],
                    "mergePolicyId": policy,
                }
                for namespace, name, predicate, policy in SEGMENTS
            ],
        }
        for name, entries in catalog.items():
            (root / "data" / f"{name}.json").write_text(json.dumps(entries))
        for folder in COLUMNS:
            (root / "data" / folder).mkdir()
        self.engine = DuckDbEngine(root, clock=lambda: moment(NOW))

    def fill(self, folder: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes the rows as one Parquet file, or as two."""
        for old in (self.root / "data" / folder).iterdir():
            old.unlink()
        source = self.root / "rows.json"
        columns = ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS[folder].items())
        shown = ", ".join(
            f"make_timestamptz({name}) AS {'lastQualificationTime' if name == 'since' else name}"
            if name in TIMES
            else name
            for name in COLUMNS[folder]
        )
        half = len(rows) // 2
        for number, part in enumerate((rows[:half], rows[half:])):
            if part:
                source.write_text("\n".join(json.dumps(row) for row in part))
                target = self.root / "data" / folder / f"{number}.parquet"
                self._connection.execute(
                    f"COPY (SELECT {shown} FROM read_json('{source}', format='newline_delimited',"
                    f" columns={{{columns}}})) TO '{target}' (FORMAT parquet)"
                )

    def read(self, batch_id: str) -> list[dict[str, Any]]:
        files = str(self.root / "exports" / "d" / batch_id / "*.parquet")
        found = self._connection.execute(
            f"SELECT to_json(row)::VARCHAR FROM (SELECT * FROM read_parquet('{files}')) AS row"
        ).fetchall()
        return [json.loads(text) for (text,) in found]

    def clear(self) -> None:
        shutil.rmtree(self.root / "exports", ignore_errors=True)


def in_one_form(row: Any, name: str = "") -> Any:
    """Makes comparable what the two sides write differently: times as numbers, sets in order."""
    if isinstance(row, dict):
        return {key: in_one_form(value, key) for key, value in row.items()}
    if isinstance(row, list):
        values = [in_one_form(value) for value in row]
        return values if name == "events" else sorted(values, key=str)
    if name in TIMES and isinstance(row, str):
        return oracle.us(row)
    return row


def shape(rows: Sequence[Any]) -> list[str]:
    return sorted(json.dumps(in_one_form(row), sort_keys=True) for row in rows)


@settings(max_examples=1_500 if LONG else 40, deadline=None)
@given(
    fragments=fragments,
    events=events,
    memberships=memberships,
    asked=st.lists(requests(), min_size=3, max_size=5),
)
def test_the_engine_exports_what_plain_python_computes(
    fragments: list[Any], events: list[Any], memberships: list[Any], asked: list[dict[str, Any]]
) -> None:
    """The same profiles, values and counters, in the same batches."""
    data = oracle.Data(fragments, events, memberships, SEGMENTS, POLICIES, "newest")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        place.fill("fragments", fragments)
        place.fill("events", events)
        place.fill("memberships", memberships)
        for request in asked:
            expected = oracle.export(data, request, NOW)
            batches = [f"b{number}" for number in range(len(expected))]
            result = place.engine.run(parse_create_request(request), batches, threading.Event())
            assert result.profiles_exported == sum(batch.profiles for batch in expected), request
            namespaces = sum((batch.namespaces for batch in expected), start=oracle.Counter())
            assert result.profiles_by_namespace == dict(namespaces), request
            for planned, batch in zip(batches, expected, strict=True):
                assert shape(place.read(planned)) == shape(batch.rows), request
            place.clear()
