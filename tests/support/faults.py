"""Counts outbound calls, and injects faults before, after or instead of their effect."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from botocore.exceptions import ClientError, ReadTimeoutError
from export_jobs.client import Transport
from export_jobs.client.transport import Answer
from export_jobs_local.segmentation.server import SegmentationService

Kind = Literal[
    "dies before",
    "dies after",
    "times out before",
    "times out after",
    "is throttled",
    "answers 5xx",
    "fails in part",
]
KINDS: tuple[Kind, ...] = (
    "dies before",
    "dies after",
    "times out before",
    "times out after",
    "is throttled",
    "answers 5xx",
    "fails in part",
)
MAY_REPEAT: frozenset[Kind] = frozenset({"dies before", "dies after", "times out after"})
"""Only if a publish may or may not have arrived, an event may be published again."""

LONG = bool(os.environ.get("EXPORT_JOBS_LONG"))
"""Whether the tests may take long."""

KINDS_IN_MEMORY = tuple(
    kind for kind in KINDS if LONG or kind not in {"dies before", "times out before", "answers 5xx"}
)
"""Those that differ in memory. Dying before a call equals dying after the previous one, and all
errors of a call without an effect are the same to the caller, but for a create call: only one that
is throttled has certainly made no job.
"""

BATCHES = {"put_events": "Entries", "publish_batch": "PublishBatchRequestEntries"}
_HTTP_FAULTS: dict[Kind, dict[str, Any]] = {
    "times out before": {"kind": "reset_before"},
    "times out after": {"kind": "reset_after"},
    "is throttled": {"kind": "http", "status": 429, "retry_after": "1"},
    "answers 5xx": {"kind": "http", "status": 503},
    "fails in part": {"kind": "truncated"},
}


def is_a_case_of_its_own(kind: Kind, call: str, number: int) -> bool:
    """Whether a fault at a call differs, for the caller, from every other kind of fault.

    Dying before a call equals dying after the previous one. And a caller of AWS treats all errors
    of a call without an effect alike; the HTTP client distinguishes them.
    """
    if kind == "dies before":
        return number == 0
    if kind == "fails in part":
        return call in BATCHES or call.startswith("http")
    return call.startswith("http") or kind not in {"times out before", "answers 5xx"}


def _one_of_each(calls: Sequence[tuple[int, str]], kind: Kind) -> list[tuple[int, str]]:
    """The first or the last call of each operation, in turn by the kind of fault.

    The histories test every kind at every call, with fakes.
    """
    end = -(KINDS.index(kind) % 2)
    by_operation: dict[str, list[int]] = defaultdict(list)
    for number, call in calls:
        by_operation[call].append(number)
    return [(numbers[end], call) for call, numbers in by_operation.items()]


def struck_in_memory(calls: Sequence[str], kind: Kind) -> list[int]:
    """The numbers of the fakes' calls at which a kind of fault is a case of its own."""
    only = {"fails in part": "publish", "answers 5xx": "create"}.get(kind, "")
    return [number for number, call in enumerate(calls) if LONG or call.startswith(only)]


class ProcessDied(BaseException):
    """The process has died: nothing in it may catch this and continue."""


@dataclass
class Injector:
    """Counts calls, and strikes those that `strikes` names by their number. Off while `paused`."""

    strikes: dict[int, Kind] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    struck: list[tuple[str, Kind]] = field(default_factory=list)
    paused: bool = False

    def next(self, name: str) -> Kind | None:
        if self.paused:
            return None
        kind = self.strikes.get(len(self.calls))
        self.calls.append(name)
        if kind:
            self.struck.append((name, kind))
        return kind


def strike_each_call(
    calls: Sequence[str],
    kind: Kind,
    run: Callable[[Injector], None],
    *,
    since: int = 0,
    of: Collection[str] | None = None,
) -> None:
    """Runs something once for each of its calls, with a fault at that call.

    `calls` are those of a run without faults; `since` and `of` leave out calls by their number and
    operation. Unless LONG, one call of each operation is struck.
    """
    chosen = [
        (number, call)
        for number, call in enumerate(calls)
        if number >= since
        and (of is None or call in of)
        and (LONG or is_a_case_of_its_own(kind, call, number))
    ]
    assert chosen
    for number, call in chosen if LONG else _one_of_each(chosen, kind):
        injector = Injector({number: kind})
        try:
            run(injector)
            assert injector.struck == [(call, kind)]
        except AssertionError as error:
            raise AssertionError(f"{kind} at call {number}, {call}: {error}") from error


class FaultyClient:
    """A boto3 client whose calls pass through the injector."""

    def __init__(self, client: Any, injector: Injector) -> None:
        self._client = client
        self._injector = injector

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return partial(self._call, operation)

    def _call(self, operation: str, /, **request: Any) -> Any:
        do = getattr(self._client, operation)
        kind = self._injector.next(operation)
        _fail_before(operation, kind)
        if kind == "fails in part" and operation in BATCHES:
            return _in_part(do, operation, request)
        answer = do(**request)
        _fail_after(kind)
        return answer


class FaultyTransport(Transport):
    """The client's transport; the service itself causes network faults on its socket."""

    def __init__(self, service: SegmentationService, injector: Injector, **options: Any) -> None:
        super().__init__(**options)
        self._service = service
        self._injector = injector

    def send(self, method: str, url: str, **options: Any) -> Answer:
        call = _call_name(self._service, method, url)
        kind = self._injector.next(f"http {call}")
        if kind == "dies before":
            raise ProcessDied
        if kind in _HTTP_FAULTS:
            self._service.control.plan_fault(call, **_HTTP_FAULTS[kind])
        answer = super().send(method, url, **options)
        if kind == "dies after":
            raise ProcessDied
        return answer


def _call_name(service: SegmentationService, method: str, url: str) -> Any:
    if url == service.ims_url:
        return "token"
    one = not url.rstrip("/").endswith("/export/jobs")
    return {"GET": "get" if one else "list", "POST": "create", "DELETE": "delete"}[method]


def _fail_before(operation: str, kind: Kind | None) -> None:
    """Raises the error of a fault that strikes before a call's effect, if it is one."""
    match kind:
        case "dies before":
            raise ProcessDied
        case "times out before":
            raise ReadTimeoutError(endpoint_url="aws")
        case "is throttled":
            raise _refusal("ThrottlingException", 400, operation)
        case "answers 5xx":
            raise _refusal("InternalServerError", 500, operation)


def _fail_after(kind: Kind | None) -> None:
    """Raises the error of a fault that strikes after a call's effect, if it is one."""
    match kind:
        case "dies after":
            raise ProcessDied
        case "times out after":
            raise ReadTimeoutError(endpoint_url="aws")


def _refusal(code: str, status: int, operation: str) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "as planned"},
            "ResponseMetadata": {"HTTPStatusCode": status},  # type: ignore[typeddict-item]
        },
        operation,
    )


def _in_part(do: Callable[..., Any], operation: str, request: Mapping[str, Any]) -> Any:
    """Sends every second entry and refuses the others, among them always the first."""
    name = BATCHES[operation]
    entries = request[name]
    kept = entries[1::2]
    answer = do(**{**request, name: kept}) if kept else {}
    if operation == "put_events":
        results = iter(answer.get("Entries", []))
        return {
            "FailedEntryCount": len(entries) - len(kept),
            "Entries": [
                next(results) if position % 2 else {"ErrorCode": "InternalFailure"}
                for position in range(len(entries))
            ],
        }
    failed = [{"Id": entry["Id"], "Code": "InternalError"} for entry in entries[::2]]
    return {"Successful": answer.get("Successful", []), "Failed": failed}
