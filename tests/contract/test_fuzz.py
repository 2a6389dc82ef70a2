"""Whatever the client receives, it returns typed results or raises typed errors."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from export_jobs.client import SegmentationClient
from export_jobs.client.transport import Answer
from export_jobs.contract import Job, JobPage
from export_jobs.contract.errors import OutcomeUnknown, SegmentationError
from export_jobs.contract.schedule import Schedule, ScheduleList
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict
from support.faults import LONG
from support.fed import fed_client
from support.files import seed
from support.scripted import ScriptedServer, answer

from .conftest import BODY
from .test_client import client_to

SCHEDULES = {
    "_page": {"totalCount": 1, "pageSize": 1, "next": ""},
    "children": [{"id": "a", "type": "export", "schedule": "0 0 1 * * ?", "createEpoch": 1}],
    "_links": {"next": {"href": ""}},
}
EXAMPLES = [
    seed("list-answer"),
    seed("create-answer"),
    seed("get-answer"),
    seed("delete-answer"),
    SCHEDULES,
]
CALLS: list[Callable[[SegmentationClient], Any]] = [
    lambda client: client.list_jobs("prod", limit=2),
    lambda client: client.get_job("prod", "1"),
    lambda client: client.create_job("prod", BODY, request_id="r", may_send=lambda: True),
    lambda client: client.cancel_job("prod", "1"),
    lambda client: client.list_schedules("prod"),
]

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["NEW", "1e999", "\x00", "x" * 5_000, "/export/jobs/?offset=1_1", "//h/?offset=1"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document, including the document itself."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """An answer of the seed with some of its places replaced, dropped or duplicated."""
    document = copy.deepcopy(draw(st.sampled_from(EXAMPLES)))
    for _ in range(draw(st.integers(0, 4))):
        path = draw(st.sampled_from(list(places(document))))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                document = draw(anything)
            continue
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        what = draw(st.sampled_from(["replace", "drop", "wrap"]))
        if what == "replace":
            parent[path[-1]] = draw(anything)
        elif what == "wrap":
            parent[path[-1]] = [parent[path[-1]]]
        else:
            del parent[path[-1]]
    return document


statuses = st.sampled_from(
    [200] * 8 + [201, 204, 206, 302, 400, 401, 403, 404, 418, 429, 500, 503, 999]
)
retry_after = st.sampled_from(["", "1", "-1", "1e9", "9" * 400, "²", "Wed, 99", "\x00"]) | st.text(
    max_size=9
)


@settings(max_examples=20_000 if LONG else 2_000, deadline=None)
@given(document=mutated(), status=statuses, wait=retry_after, call=st.sampled_from(CALLS))
def test_mutated_answers_give_typed_results_or_errors(
    document: Any, status: int, wait: str, call: Callable[[SegmentationClient], Any]
) -> None:
    """Thousands of answers that are almost right, with any status."""
    text = json.dumps(document)[:2_000]
    fed = Answer(
        status, CaseInsensitiveDict({"Retry-After": wait}), json.loads(json.dumps(document)), text
    )
    try:
        result = call(fed_client(fed))
    except SegmentationError:
        return
    assert result is None or isinstance(result, Job | JobPage | ScheduleList)
    if isinstance(result, ScheduleList):
        assert all(isinstance(schedule, Schedule) for schedule in result.schedules)
    if isinstance(result, JobPage):
        assert all(isinstance(job.whole, Job) for job in result.records)


def shows_a_job(document: Any) -> bool:
    """Whether anything in it shows which job it is, and its status."""
    if not isinstance(document, dict):
        return False
    number, status = document.get("id"), document.get("status")
    if isinstance(number, int) and not isinstance(number, bool):
        number = str(number)
    return (
        isinstance(number, str)
        and 1 <= len(number) <= 256
        and isinstance(status, str)
        and 1 <= len(status) <= 64
    )


@settings(max_examples=5_000 if LONG else 500, deadline=None)
@given(document=mutated(), status=st.integers(100, 999), wait=retry_after)
def test_a_created_job_is_a_success_that_shows_a_job(document: Any, status: int, wait: str) -> None:
    """Anything that is neither that nor a certain refusal is an unknown outcome."""
    headers = CaseInsensitiveDict({"Retry-After": wait})
    fed = Answer(status, headers, document, json.dumps(document)[:2_000])
    created = 200 <= status < 300 and shows_a_job(document)
    with nullcontext() if created else pytest.raises(SegmentationError) as caught:
        fed_client(fed).create_job("prod", BODY, request_id="r", may_send=lambda: True)
    if caught:
        sure = {400, 401, 403, 404, 405, 413, 415, 422, 429}
        assert isinstance(caught.value, OutcomeUnknown) is (status not in sure)
        assert 0 <= (caught.value.retry_after_s or 0) <= 3_600


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedServer]:
    server = ScriptedServer(answer())
    yield server
    server.close()


@pytest.mark.parametrize("rounds", [3_000 if LONG else 400])
def test_broken_bytes_give_typed_errors(server: ScriptedServer, rounds: int) -> None:
    """Over a socket: answers cut off, overwritten, duplicated and shuffled, head and body."""
    chance = random.Random(1)
    client = client_to(server.url, time_left_s=lambda: 4.0)
    whole = [answer(body=document) for document in EXAMPLES]
    for _ in range(rounds):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 9)))
                case 2:
                    del data[at : at + chance.randint(1, 40)]
                case _:
                    data[at:at] = data[max(0, at - 30) : at]

        def send_and_close(connection: Any, data: bytes = bytes(data)) -> None:
            connection.sendall(data)

        server._replies[:] = [send_and_close]
        try:
            result = chance.choice(CALLS)(client)
        except SegmentationError:
            continue
        assert result is None or isinstance(result, Job | JobPage | ScheduleList)
