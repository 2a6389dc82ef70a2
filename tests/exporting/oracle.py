"""What a job must export, evaluated in plain Python: slow, obvious, independent of the engine.

Data are dictionaries, as in the files; times are epoch microseconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Row = dict[str, Any]

PROFILE_FIELDS = [
    "profileId",
    "identityMap",
    "person.name.firstName",
    "person.name.lastName",
    "person.birthYear",
    "homeAddress.city",
    "homeAddress.countryCode",
]
EVENT_FIELDS = ["eventId", "timestamp", "ingestedAt", "eventType", "commerce.order.priceTotal"]
PREDICATES: dict[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = {
    "germans": (
        "homeAddress.countryCode = 'DE'",
        lambda profile: profile["homeAddress.countryCode"] == "DE",
    ),
    "elders": (
        "person.birthYear < 1980",
        lambda profile: (
            profile["person.birthYear"] is not None and profile["person.birthYear"] < 1980
        ),
    ),
    "nameless": (
        "person.name.firstName IS NULL",
        lambda profile: profile["person.name.firstName"] is None,
    ),
}
"""Predicates of segments, in SQL and in Python."""


@dataclass(frozen=True)
class Data:
    """What a data directory holds.

    Segments are (namespace, id, predicate's name, merge policy); policies map ids to orders, None
    for the newest.
    """

    fragments: Sequence[Row]
    events: Sequence[Row]
    memberships: Sequence[Row]
    segments: Sequence[tuple[str, str, str, str]]
    policies: Mapping[str, Sequence[str] | None]
    default_policy: str


@dataclass(frozen=True)
class Expected:
    """What one batch holds."""

    rows: list[Row]
    profiles: int
    namespaces: Counter[str]


def us(time: str) -> int:
    since_epoch = datetime.fromisoformat(time) - datetime.fromtimestamp(0, UTC)
    return since_epoch // timedelta(microseconds=1)


def export(data: Data, request: Row, now: int) -> list[Expected]:
    """The batches that a request produces, in the order of its segments."""
    asked = request.get("filter", {}).get("segments") or []
    wanted = request.get("mergePolicy", {}).get("id")
    if request["destination"].get("segmentPerBatch") and asked:
        return [
            batch(data, request, [segment], wanted or policy_of(data, segment), now)
            for segment in asked
        ]
    first = policy_of(data, asked[0]) if asked else data.default_policy
    return [batch(data, request, asked, wanted or first, now)]


def policy_of(data: Data, segment: Row) -> str:
    return next(
        policy
        for namespace, name, _, policy in data.segments
        if name == segment["segmentId"] and segment.get("segmentNs") in {None, namespace}
    )


def batch(data: Data, request: Row, segments: list[Row], policy: str, now: int) -> Expected:
    selection = request.get("filter", {})
    updated: dict[str, int] = {}
    for fragment in data.fragments:
        profile = fragment["profileId"]
        updated[profile] = max(updated.get(profile, 0), fragment["ingestedAt"])
    with_fragments = set(updated)
    if selection.get("emptyProfiles"):
        for event in data.events:
            profile = event["profileId"]
            if profile not in with_fragments:
                updated[profile] = max(updated.get(profile, 0), event["ingestedAt"])
    chosen = set(updated)
    if segments:
        chosen &= {
            profile
            for segment in segments
            for profile in members(data, request, segment, policy, now)
        }
    if "fromIngestTimestamp" in selection:
        since = us(selection["fromIngestTimestamp"])
        chosen = {profile for profile in chosen if updated[profile] > since}
    rows = [row_of(data, request, profile, policy) for profile in chosen]
    namespaces: Counter[str] = Counter()
    for profile in chosen:
        namespaces.update(list(merged(data, profile, policy)["identityMap"] or {}))
    return Expected(rows, len(chosen), namespaces)


def members(data: Data, request: Row, segment: Row, policy: str, now: int) -> set[str]:
    statuses = {
        "realized" if status == "existing" else status
        for status in segment.get("status") or ["realized"]
    }
    window = request.get("filter", {}).get("segmentQualificationTime", {})
    known = [
        membership
        for membership in data.memberships
        if membership["segmentId"] == segment["segmentId"]
        and segment.get("segmentNs") in {None, membership["segmentNs"]}
    ]
    if request.get("evaluationInfo", {}).get("segmentation"):
        known = evaluated(data, segment, policy, now)
    return {
        membership["profileId"]
        for membership in known
        if membership["status"] in statuses
        and ("startTime" not in window or membership["since"] >= us(window["startTime"]))
        and ("endTime" not in window or membership["since"] <= us(window["endTime"]))
    }


def evaluated(data: Data, segment: Row, policy: str, now: int) -> list[Row]:
    """Profiles that satisfy the predicate now, and members that no longer do."""
    found = []
    for namespace, name, predicate, _ in data.segments:
        if name != segment["segmentId"] or segment.get("segmentNs") not in {None, namespace}:
            continue
        for profile in {fragment["profileId"] for fragment in data.fragments}:
            before = next(
                (
                    membership
                    for membership in data.memberships
                    if (membership["profileId"], membership["segmentNs"], membership["segmentId"])
                    == (profile, namespace, name)
                ),
                None,
            )
            holds = PREDICATES[predicate][1](merged(data, profile, policy))
            if not holds and before is None:
                continue
            status = "realized" if holds else "exited"
            same = before is not None and before["status"] == status
            since = before["since"] if before is not None and same else now
            found.append({"profileId": profile, "status": status, "since": since})
    return found


def merged(data: Data, profile: str, policy: str) -> dict[str, Any]:
    """The merged profile: each path with the value that wins."""
    order = data.policies[policy]

    def precedence(fragment: Row) -> tuple[int, int]:
        source = fragment["sourceDatasetId"]
        rank = len(order) - order.index(source) if order and source in order else 0
        return rank, fragment["ingestedAt"]

    best_last = sorted(
        (fragment for fragment in data.fragments if fragment["profileId"] == profile),
        key=precedence,
    )
    result: dict[str, Any] = dict.fromkeys(PROFILE_FIELDS)
    result["profileId"] = profile
    identities: dict[str, set[str]] = defaultdict(set)
    for fragment in best_last:
        for path in PROFILE_FIELDS:
            value = at(fragment, path)
            if path not in {"profileId", "identityMap"} and value is not None:
                result[path] = value
        for namespace, ids in (fragment["identityMap"] or {}).items():
            identities[namespace] |= set(ids)
    if any(fragment["identityMap"] is not None for fragment in best_last):
        result["identityMap"] = {name: sorted(ids) for name, ids in identities.items()}
    return result


def at(row: Row, path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = None if value is None else value.get(name)
    return value


def row_of(data: Data, request: Row, profile: str, policy: str) -> Row:
    values = merged(data, profile, policy)
    names = [name.strip() for name in request.get("fields", "").split(",") if name.strip()]
    shown = part(values, names or PROFILE_FIELDS)
    parts = {
        field
        for name in names
        if name.split(".")[0] == "identities"
        for field in (name.split(".")[1:] or ["namespace", "id"])
    }
    if parts:
        shown["identities"] = sorted(
            (
                {k: v for k, v in (("namespace", namespace), ("id", one)) if k in parts}
                for namespace, ids in (values["identityMap"] or {}).items()
                for one in ids
            ),
            key=str,
        )
    listed = request.get("additionalFields", {}).get("eventList")
    if listed is not None:
        shown["events"] = events_of(data, request, listed, profile)
    return shown


def part(values: Mapping[str, Any], names: Sequence[str]) -> Row:
    """The values that the paths name, nested again."""
    shown: Row = {}
    for path, value in values.items():
        if not any(path == name or path.startswith(f"{name}.") for name in names):
            continue
        inner = shown
        *above, last = path.split(".")
        for name in above:
            inner = inner.setdefault(name, {})
        inner[last] = value
    return shown


def events_of(data: Data, request: Row, listed: Row, profile: str) -> list[Row]:
    span = listed.get("filter", {})
    since = [
        us(text)
        for text in (
            request.get("filter", {}).get("fromIngestTimestamp"),
            span.get("fromIngestTimestamp"),
        )
        if text
    ]
    until = us(span["toIngestTimestamp"]) if "toIngestTimestamp" in span else None
    names = [name.strip() for name in listed.get("fields", "").split(",") if name.strip()]
    happened = sorted(
        (
            event
            for event in data.events
            if event["profileId"] == profile
            and all(event["ingestedAt"] > time for time in since)
            and (until is None or event["ingestedAt"] < until)
        ),
        key=lambda event: (event["timestamp"], event["eventId"]),
    )
    return [
        part({path: at(event, path) for path in EVENT_FIELDS}, names or EVENT_FIELDS)
        for event in happened
    ]
