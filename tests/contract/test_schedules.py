"""Schedules: the local service's call, its control, and the client that reads all pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from export_jobs.client import SegmentationClient
from export_jobs.client.segmentation import MAX_SCHEDULE_PAGES
from export_jobs.contract.errors import (
    BadCredentials,
    Forbidden,
    NotUnderstood,
    Refused,
    RetryLater,
    SegmentationError,
)
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from support.local import client_of
from support.scripted import ScriptedServer, answer, scripted

from .conftest import Caller
from .test_calls import GATEWAY, same_shape
from .test_client import client_to, served

SHOWN = {
    "id": "4e538382-dbd8-449e-988a-4ac639ebe72b",
    "imsOrgId": "1BD6382559DF0C130A49422D@AdobeOrg",
    "sandbox": {
        "sandboxId": "28e74200-e3de-11e9-8f5d-7f27416c5f0d",
        "sandboxName": "prod",
        "type": "production",
        "default": True,
    },
    "name": "Batch Segmentation",
    "state": "active",
    "type": "batch_segmentation",
    "schedule": "0 0 1 * * ?",
    "properties": {},
    "createEpoch": 1573158851,
    "updateEpoch": 1574365202,
}


def listed(caller: Caller, query: str = "", **headers: str | None) -> requests.Response:
    """Calls `/config/schedules`; a header of None is left out."""
    return caller.call("GET", query, headers=headers, resource="/config/schedules")


def control(service: SegmentationService, method: str, path: str, **options: Any) -> Any:
    url = f"{service.root_url}/_control/schedules{path}"
    return requests.request(method, url, timeout=10, **options)


def page(*entries: Any, **info: Any) -> dict[str, Any]:
    return {"_page": info, "children": list(entries), "_links": {"next": {}}}


def starts(server: ScriptedServer) -> list[str]:
    return [path.partition("start=")[2].partition("&")[0] for _, path, _ in server.requests]


# -- the local service -----------------------------------------------------------------------------


def test_without_any_schedule_the_page_is_empty(caller: Caller) -> None:
    """The service has none unless its control makes some."""
    assert listed(caller).json() == {
        "_page": {"totalCount": 0, "pageSize": 0},
        "children": [],
        "_links": {"next": {}},
    }


def test_a_page_of_schedules_looks_as_the_guide_shows_it(
    caller: Caller, service: SegmentationService
) -> None:
    """Every field of the guide's example has the example's type; times are in seconds."""
    given = {"name": "Nightly", "state": "active", "properties": {"a": [1]}, "other": None}
    made = service.control.create_schedule("prod", **given)
    (shown,) = listed(caller).json()["children"]
    assert shown == made
    same_shape(SHOWN, shown)
    assert given.items() <= shown.items()
    assert shown["sandbox"]["sandboxName"] == "prod"
    assert 10**9 < shown["createEpoch"] < 10**10
    assert service.control.create_schedule("prod")["state"] == "inactive"


@pytest.mark.parametrize(("headers", "status", "code", "message"), GATEWAY)
def test_the_gateway_checks_every_header_of_the_schedules_call(
    caller: Caller, headers: dict[str, str | None], status: int, code: str, message: str
) -> None:
    """With the same codes and words as for any other call."""
    refused = listed(caller, **headers)
    assert (refused.status_code, refused.json()) == (
        status,
        {"error_code": code, "message": message},
    )


@pytest.mark.parametrize("name", [None, "nowhere"])
def test_schedules_of_no_sandbox_are_refused(caller: Caller, name: str | None) -> None:
    """400, which lists the sandboxes."""
    refused = listed(caller, **{"x-sandbox-name": name})
    assert refused.status_code == 400
    assert "prod, dev" in refused.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=",
        "limit=1.5",
        "start=-1",
        "start=",
        "start=x",
        "start=1e3",
        f"start={'9' * 30}",
        "start=\u0661",
    ],
)
def test_bad_parameters_of_the_schedules_call_are_refused(caller: Caller, query: str) -> None:
    """400, which names the parameter."""
    refused = listed(caller, f"?{query}")
    assert refused.status_code == 400
    assert query.partition("=")[0] in refused.json()["detail"]


def test_schedules_are_paged_newest_first(caller: Caller, service: SegmentationService) -> None:
    """`start` is the page's number, and `next` and the link are missing on the last page."""
    made = [service.control.create_schedule("prod")["id"] for _ in range(5)]
    seen, start = [], "0"
    for following in ("1", "2", None):
        shown = listed(caller, f"?start={start}&limit=2").json()
        seen += [one["id"] for one in shown["children"]]
        size = len(shown["children"])
        info = {"totalCount": 5, "pageSize": size, **({"next": following} if following else {})}
        assert shown["_page"] == info
        link = {"href": f"@/config/schedules?start={following}&limit=2"} if following else {}
        assert shown["_links"] == {"next": link}
        start = following or ""
    assert seen == made[::-1]
    assert listed(caller, "?start=999999999&limit=999999999").json()["children"] == []


@pytest.mark.parametrize(("query", "shown"), [("", 100), ("?limit=5000", 1_000), ("?start=1", 100)])
def test_a_page_of_schedules_is_bounded(query: str, shown: int) -> None:
    """A hundred by default, as Adobe's guide states, and a thousand at most."""
    with SegmentationService(ServiceConfig(manual=True)) as service:
        for _ in range(1_001):
            service.control.create_schedule("prod")
        assert len(listed(Caller(service), query).json()["children"]) == shown


def test_schedules_of_sandboxes_and_organisations_are_kept_apart() -> None:
    """Each sandbox of each organisation has only its own."""
    with SegmentationService(ServiceConfig(manual=True, other_orgs=("b@AdobeOrg",))) as service:
        caller = Caller(service)
        made = {name: service.control.create_schedule(name)["id"] for name in ("prod", "dev")}
        for name, number in made.items():
            shown = listed(caller, **{"x-sandbox-name": name}).json()
            assert [one["id"] for one in shown["children"]] == [number]
            assert shown["_page"]["totalCount"] == 1
            assert shown["children"][0]["sandbox"]["sandboxName"] == name
        assert not listed(caller, **{"x-gw-ims-org-id": "b@AdobeOrg"}).json()["children"]


def test_schedules_outlive_a_restart(tmp_path: Path) -> None:
    """With a data directory, as jobs do."""
    config = ServiceConfig(manual=True, data_dir=tmp_path)
    with SegmentationService(config) as service:
        made = service.control.create_schedule("prod")
    with SegmentationService(config) as service:
        assert listed(Caller(service)).json()["children"] == [made]


def test_an_active_schedule_is_shown_and_not_run(
    caller: Caller, service: SegmentationService
) -> None:
    """Jobs come from callers and the control only; docs/local-service.md states it."""
    service.control.create_schedule("prod", state="active", schedule="* * * * * ?")
    listed(caller)
    assert service.control.jobs("prod") == []
    assert service.control.calls()["schedules"] == 1


# -- its control -----------------------------------------------------------------------------------


def test_the_control_creates_and_deletes_schedules(
    caller: Caller, service: SegmentationService
) -> None:
    """In the sandbox that the call names, with any further field; deleting twice is a 404."""
    given = {"name": "Weekly", "schedule": "garbage", "unknown": {"é": [None]}}
    made = control(service, "POST", "?sandbox=dev", json=given)
    assert made.status_code == 200
    shown = listed(caller, **{"x-sandbox-name": "dev"}).json()["children"]
    assert shown == [made.json()]
    assert given.items() <= shown[0].items()
    assert control(service, "DELETE", f"/{shown[0]['id']}").status_code == 204
    gone = control(service, "DELETE", f"/{shown[0]['id']}")
    assert (gone.status_code, gone.json()["title"]) == (404, "NotFoundError")
    assert not listed(caller, **{"x-sandbox-name": "dev"}).json()["children"]


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "a"},
        {"sandbox": "dev"},
        {"name": 7},
        {"schedule": None},
        {"state": True},
        {"createEpoch": "1"},
        {"createEpoch": -1},
        {"updateEpoch": 10**11},
        [],
        None,
    ],
)
def test_fields_that_no_schedule_can_have_are_refused(
    caller: Caller, service: SegmentationService, fields: Any
) -> None:
    """422, and no schedule is made."""
    refused = control(service, "POST", "", json=fields)
    assert refused.status_code == 422
    assert not listed(caller).json()["children"]


def test_a_schedule_in_an_unknown_sandbox_is_refused(service: SegmentationService) -> None:
    """400, which lists the sandboxes."""
    refused = control(service, "POST", "?sandbox=nowhere", json={})
    assert refused.status_code == 400
    assert "prod, dev" in refused.json()["detail"]


# -- the client ------------------------------------------------------------------------------------


def test_the_client_reads_all_pages_of_one_sandbox(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """In the service's order, each schedule once, and none of another sandbox."""
    made = [service.control.create_schedule("prod")["id"] for _ in range(250)]
    other = service.control.create_schedule("dev", type="export", state="active")
    found = client.list_schedules("prod")
    assert [one.id for one in found.schedules] == made[::-1]
    assert (found.total, found.unreadable) == (250, 0)
    assert service.control.calls()["schedules"] == 3
    (only,) = client.list_schedules("dev").schedules
    assert (only.id, only.exports, only.is_active) == (other["id"], True, True)


def test_a_sandbox_without_schedules_costs_one_call(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """Its list is empty."""
    assert client.list_schedules("prod").schedules == ()
    assert service.control.calls()["schedules"] == 1


def test_each_call_for_schedules_carries_its_headers_and_its_limit() -> None:
    """The next start goes back as it came, escaped, and the limit stays the same."""
    with served(answer(body=page({"id": "a"}, next="1&x=2")), answer(body=page({"id": "b"}))) as (
        client,
        server,
    ):
        client.list_schedules("prod")
    base = "/data/core/ups/config/schedules"
    assert [path for _, path, _ in server.requests] == [
        f"{base}?start=0&limit=100",
        f"{base}?start=1%26x%3D2&limit=100",
    ]
    for method, _, head in server.requests:
        assert method == "GET"
        for line in (b"Authorization: Bearer planted.token", b"x-sandbox-name: prod"):
            assert line in head


def test_a_credential_without_the_permission_is_told_what_to_check(
    service: SegmentationService,
) -> None:
    """The same error as that of any other call, after one call."""
    service.control.plan_fault("schedules", "http", status=403, times=0)
    with pytest.raises(Forbidden, match="check API key, organisation, permissions"):
        client_of(service).list_schedules("prod")
    assert service.control.calls()["schedules"] == 1


@pytest.mark.parametrize(
    ("kind", "details", "error"),
    [
        ("http", {"status": 400}, Refused),
        ("http", {"status": 401}, BadCredentials),
        ("http", {"status": 404}, Refused),
        ("http", {"status": 429, "retry_after": "60"}, RetryLater),
        ("http", {"status": 503}, RetryLater),
        ("not_json", {}, NotUnderstood),
        ("truncated", {}, RetryLater),
        ("reset_before", {}, RetryLater),
    ],
)
def test_a_fault_of_the_schedules_call_is_a_typed_error(
    service: SegmentationService,
    client: SegmentationClient,
    kind: str,
    details: dict[str, Any],
    error: type[SegmentationError],
) -> None:
    """Also on the second page: no part of a listing passes for all of it."""
    for _ in range(101):
        service.control.create_schedule("prod")
    service.control.plan_fault("schedules", kind, after=1, times=0, **details)
    with pytest.raises(error):
        client.list_schedules("prod")


@pytest.mark.parametrize(
    ("kind", "details"),
    [("http", {"status": 503}), ("truncated", {}), ("reset_before", {})],
)
def test_a_passing_fault_of_the_schedules_call_is_tried_again(
    service: SegmentationService, kind: str, details: dict[str, Any]
) -> None:
    """As for any call that can be repeated."""
    made = service.control.create_schedule("prod")
    service.control.plan_fault("schedules", kind, **details)
    found = client_of(service).list_schedules("prod")
    assert [one.id for one in found.schedules] == [made["id"]]


def test_an_expired_token_costs_no_schedules(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """It is replaced once, within the call."""
    service.control.create_schedule("prod")
    client.list_schedules("prod")
    service.control.expire_tokens()
    assert len(client.list_schedules("prod").schedules) == 1


@pytest.mark.parametrize("entries", [[SHOWN], [SHOWN, {**SHOWN, "name": "changed"}]])
def test_schedules_that_repeat_themselves_end_in_an_error(entries: list[Any]) -> None:
    """A service that ignores `start` is asked twice, and not for ever."""
    with served(answer(body=page(*entries, next="1"))) as (client, server):
        with pytest.raises(NotUnderstood, match="repeat themselves"):
            client.list_schedules("prod")
        assert starts(server) == ["0", "1"]


@pytest.mark.parametrize("entry", [lambda n: {"id": n}, lambda _: {"name": "x"}, lambda _: 7])
def test_schedules_that_do_not_end_end_in_an_error(entry: Any) -> None:
    """After a fixed number of pages, whether or not their entries can be told apart."""
    replies = [answer(body=page(entry(n), next=n + 1)) for n in range(MAX_SCHEDULE_PAGES + 1)]
    with served(*replies) as (client, server):
        with pytest.raises(NotUnderstood, match="not ended after 100 pages"):
            client.list_schedules("prod")
        assert starts(server) == [str(n) for n in range(MAX_SCHEDULE_PAGES)]


def test_an_empty_page_of_schedules_is_the_last_one() -> None:
    """Even if it names another, as there is nothing more to read."""
    with served(answer(body=page(SHOWN, next="1")), answer(body=page(next="2", totalCount=1))) as (
        client,
        server,
    ):
        found = client.list_schedules("prod")
        assert [one.id for one in found.schedules] == [SHOWN["id"]]
        assert found.total == 1
        assert starts(server) == ["0", "1"]


def test_no_link_of_schedules_is_followed_to_another_host() -> None:
    """Only its start is used, with the service that the token is for."""
    with scripted(answer(body=page())) as elsewhere, scripted() as server:
        link = {"next": {"href": f"{elsewhere.url}/config/schedules?start=7&limit=1"}}
        first = {**page({"id": "a"}), "_links": link}
        server._replies[:] = [answer(body=first), answer(body=page({"id": "b"}))]
        found = client_to(server.url).list_schedules("prod")
        assert [one.id for one in found.schedules] == ["a", "b"]
        assert starts(server) == ["0", "7"]
        assert elsewhere.requests == []


def test_every_schedule_is_read_once_and_the_unreadable_are_counted() -> None:
    """Over all pages; of a schedule that is shown twice, the first is kept."""
    first = page({"id": "a", "name": "old"}, None, {"name": "without id"}, {"id": "a"}, next="1")
    second = page({"id": 7}, {"id": "a", "name": "new"}, "x", {"name": "without id"}, totalCount=9)
    with served(answer(body=first), answer(body=second)) as (client, _):
        found = client.list_schedules("prod")
    assert [(one.id, one.name) for one in found.schedules] == [
        ("a", "old"),
        (None, "without id"),
        ("7", None),
        (None, "without id"),
    ]
    assert (found.unreadable, found.total) == (2, 9)


@pytest.mark.parametrize("body", [{}, [], {"children": 7}, {"children": [], "_page": "x"}, "x"])
def test_what_is_no_page_of_schedules_is_not_understood(body: Any) -> None:
    """A typed error which quotes the start of the response."""
    with (
        served(answer(body=body)) as (client, _),
        pytest.raises(NotUnderstood, match=r"no page of schedules \(HTTP 200"),
    ):
        client.list_schedules("prod")
