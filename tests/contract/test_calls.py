"""The four calls and the token call: each case over a socket, raw and through the client."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from export_jobs.client import SegmentationClient
from export_jobs.contract import RequestInvalid, parse_create_request
from export_jobs.contract.errors import (
    BadCredentials,
    Forbidden,
    NotFound,
    NotUnderstood,
    Refused,
    SegmentationError,
)
from export_jobs_local.segmentation.config import MAY_CREATE, ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from support.files import seed
from support.local import client_of

from .conftest import BODY, Caller

FULL_BODY: dict[str, Any] = {
    "fields": "identities.id,personalEmail.address",
    "mergePolicy": {"id": "timestampOrdered-none-mp", "version": 2},
    "filter": {
        "segments": [
            {"segmentId": "s1", "segmentNs": "AAM", "status": ["realized", "exited", "existing"]},
            {"segmentId": "s2"},
        ],
        "segmentQualificationTime": {
            "startTime": "2018-01-01T00:00:00Z",
            "endTime": "2018-02-01T00:00:00+01:00",
        },
        "fromIngestTimestamp": "2018-01-01T00:00:00.123Z",
        "emptyProfiles": True,
    },
    "additionalFields": {
        "eventList": {
            "fields": "environment.browserDetails.name",
            "filter": {
                "fromIngestTimestamp": "2018-01-01T00:00:00Z",
                "toIngestTimestamp": "2018-03-01T00:00:00Z",
            },
        }
    },
    "destination": {"datasetId": "d", "segmentPerBatch": True},
    "schema": {"name": "_xdm.context.profile"},
    "evaluationInfo": {"segmentation": True},
}


# -- tokens and headers --------------------------------------------------------------------------


def test_a_token_is_given_as_ims_gives_it(caller: Caller) -> None:
    """A bearer token, valid for a day, for the client's credentials sent as a form."""
    answer = caller.token()
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert (answer.json()["token_type"], answer.json()["expires_in"]) == ("bearer", 86_399)


def test_a_token_is_given_for_parameters_in_the_query(caller: Caller) -> None:
    """Field case 28: Adobe documents the body or the query; if both have one, the body's counts."""
    service = caller.service
    good = {
        "grant_type": "client_credentials",
        "client_id": service.client_id,
        "client_secret": service.client_secret,
        "scope": service.scopes,
    }
    bad = {**good, "client_secret": "wrong"}
    url = service.ims_url
    assert requests.post(url, params=good, timeout=10).json()["token_type"] == "bearer"
    assert requests.post(url, params=bad, timeout=10).json()["error"] == "invalid_client"
    assert requests.post(url, params=bad, data=good, timeout=10).status_code == 200
    assert requests.post(url, params=good, data=bad, timeout=10).status_code == 400
    for name, value in good.items():
        rest = {other: good[other] for other in good.keys() - {name}}
        split = requests.post(url, params={name: value}, data=rest, timeout=10)
        assert split.status_code == 200, name
        emptied = requests.post(url, params=good, data={name: ""}, timeout=10)
        assert emptied.status_code == 400, name


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"client_secret": "wrong"}, "invalid_client"),
        ({"client_id": "wrong"}, "invalid_client"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": ""}, "invalid_scope"),
    ],
)
def test_a_bad_token_request_is_refused(caller: Caller, form: dict[str, str], error: str) -> None:
    """400, with the error code of OAuth."""
    answer = caller.token(**form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_the_client_reports_what_to_correct_in_the_secret(service: SegmentationService) -> None:
    """A wrong secret is reported as a bad credential, without its value."""
    with pytest.raises(BadCredentials, match=r"invalid_client.*check clientId") as caught:
        client_of(service, client_secret="not-this-one").list_jobs("prod", limit=1)
    assert "not-this-one" not in str(caught.value)


GATEWAY = [
    ({"Authorization": None}, 403, "403010", "Oauth token is missing."),
    ({"x-api-key": None}, 403, "403000", "Api Key is required"),
    ({"x-api-key": "wrong"}, 403, "403003", "Api Key is invalid"),
    ({"x-gw-ims-org-id": None}, 400, "400003", "Missing header"),
    ({"x-gw-ims-org-id": "other@AdobeOrg"}, 403, "403025", "Profile is not valid"),
    ({"Authorization": "Bearer nonsense"}, 401, "401013", "Oauth token is not valid"),
    ({"Authorization": "Basic dXNlcg=="}, 401, "401013", "Oauth token is not valid"),
]


@pytest.mark.parametrize(("headers", "status", "code", "message"), GATEWAY)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("POST", ""), ("GET", "/1"), ("DELETE", "/1")]
)
def test_the_gateway_checks_every_header_of_every_call(  # noqa: PLR0917  one per parameter
    caller: Caller,
    headers: dict[str, str | None],
    status: int,
    code: str,
    message: str,
    method: str,
    path: str,
) -> None:
    """Each error has the code and the wording of Adobe's gateway."""
    answer = caller.call(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.json() == {"error_code": code, "message": message}


def test_a_missing_or_unknown_sandbox_is_refused(caller: Caller) -> None:
    """400; the answer lists the sandboxes that exist."""
    for name in (None, "nowhere"):
        answer = caller.call("GET", "?limit=1", headers={"x-sandbox-name": name})
        assert answer.status_code == 400
        assert "prod, dev" in answer.json()["detail"]


def test_an_expired_token_is_replaced_once(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """The client gets another from IMS and repeats the call; the caller notices nothing."""
    client.list_jobs("prod", limit=1)
    service.control.expire_tokens()
    service.control.forget_calls()
    client.list_jobs("prod", limit=1)
    assert service.control.calls() == {"list": 2, "token": 1}


def test_a_fresh_token_that_is_refused_is_not_tried_for_ever(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """After two calls it is reported as a bad credential."""
    service.control.plan_fault("list", "http", status=401, times=0)
    with pytest.raises(BadCredentials, match="fresh token is refused"):
        client.list_jobs("prod", limit=1)
    assert service.control.calls()["list"] == 2


def test_tokens_expire_by_their_lifetime() -> None:
    """A service whose tokens live one second refuses them after that."""
    import time  # noqa: PLC0415

    with SegmentationService(ServiceConfig(manual=True, token_lifetime_s=1)) as service:
        caller = Caller(service)
        headers = caller.headers()
        time.sleep(1.2)
        old = {"Authorization": headers["Authorization"]}
        assert caller.call("GET", "?limit=1", headers=old).status_code == 401


def test_a_wrong_key_is_forbidden_to_the_client(service: SegmentationService) -> None:
    """The error names what to check."""
    service.control.plan_fault("list", "http", status=403)
    with pytest.raises(Forbidden, match="check API key, organisation, permissions"):
        client_of(service, tries=1).list_jobs("prod", limit=1)


# -- create --------------------------------------------------------------------------------------


def test_a_job_is_created_as_the_seed_shows_it(caller: Caller) -> None:
    """The seed's request yields a job with every field of the seed's answer, of the same type."""
    answer = caller.call("POST", json=seed("create-request"))
    assert answer.status_code == 200
    job = answer.json()
    assert answer.headers["X-Location"] == f"/data/core/ups/export/jobs/{job['id']}"
    same_shape(seed("create-answer"), job)
    assert job["status"] == "NEW"
    assert job["filter"] == seed("create-answer")["filter"]


def test_every_field_of_the_request_is_taken(caller: Caller, client: SegmentationClient) -> None:
    """Each one appears in the job, raw and through the client."""
    job = caller.call("POST", json=FULL_BODY).json()
    assert job["fields"] == FULL_BODY["fields"]
    assert job["mergePolicy"] == FULL_BODY["mergePolicy"]
    assert job["additionalFields"] == FULL_BODY["additionalFields"]
    assert (
        job["filter"]["segmentQualificationTime"]
        == (FULL_BODY["filter"]["segmentQualificationTime"])
    )
    assert [b["segmentId"] for b in job["destination"]["batches"]] == ["s1", "s2"]
    assert job["filter"]["segments"][1] == {
        "segmentId": "s2",
        "segmentNs": "ups",
        "status": ["realized"],
    }
    request = parse_create_request(FULL_BODY)
    assert request.to_wire() == FULL_BODY
    created = client.create_job("prod", request.to_wire(), request_id="r", may_send=lambda: True)
    assert created.destination
    assert len(created.destination.batch_ids) == 2


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"destination": {}}, "destination.datasetId"),
        ({"destination": None}, "destination"),
        ({"schema": {}}, "schema.name"),
        ({"datset": 1}, "datset"),
        ({"filter": {"segments": []}}, "filter.segments"),
        ({"filter": {"segments": [{}]}}, "filter.segments[0].segmentId"),
        (
            {"filter": {"segments": [{"segmentId": "s", "status": ["gone"]}]}},
            "filter.segments[0].status",
        ),
        ({"filter": {"segments": [{"segmentId": "s"}, {"segmentId": "s"}]}}, "filter.segments"),
        ({"filter": {"fromIngestTimestamp": "2018-01-01"}}, "filter.fromIngestTimestamp"),
        (
            {
                "filter": {
                    "segmentQualificationTime": {
                        "startTime": "2019-01-01T00:00:00Z",
                        "endTime": "2018-01-01T00:00:00Z",
                    }
                }
            },
            "filter.segmentQualificationTime",
        ),
        ({"fields": "a,,b"}, "fields"),
        ({"evaluationInfo": {"segmentation": "yes"}}, "evaluationInfo.segmentation"),
    ],
)
def test_a_bad_body_is_refused_with_the_field(
    caller: Caller, change: dict[str, Any], field: str
) -> None:
    """400 from the service, and the same message from the client before it sends anything."""
    body = {**BODY, **change}
    answer = caller.call("POST", json=body)
    assert answer.status_code == 400
    assert field in answer.json()["detail"]
    with pytest.raises(RequestInvalid) as caught:
        parse_create_request(body)
    assert any(problem.field.startswith(field) for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("content_type", "data"),
    [("text/plain", "{}"), ("", "{}"), ("application/x-www-form-urlencoded", "a=b")],
)
def test_only_json_is_taken(caller: Caller, content_type: str, data: str) -> None:
    """Any other content type gets the service's own error message."""
    answer = caller.call("POST", headers={"Content-Type": content_type}, data=data)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "A valid content-type must be specified"
    assert answer.json()["title"] == "BadRequestError"


@pytest.mark.parametrize(
    "data", ["{", "[]", '"text"', "[" * 50_000, "\udcff".encode("utf-8", "surrogateescape")]
)
def test_what_is_no_json_object_is_refused(caller: Caller, data: Any) -> None:
    """400, however broken it is."""
    answer = caller.call("POST", headers={"Content-Type": "application/json"}, data=data)
    assert answer.status_code == 400


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_body_may_have_a_byte_order_mark(caller: Caller, encoding: str) -> None:
    """As from a file."""
    data = json.dumps(BODY).encode(encoding)
    answer = caller.call("POST", headers={"Content-Type": "application/json"}, data=data)
    assert answer.status_code == 200, answer.text


def test_a_doubled_field_is_refused_by_name(caller: Caller) -> None:
    """As the client refuses it before it sends anything."""
    data = json.dumps(BODY)[:-1] + ', "filter": {"emptyProfiles": true}, "filter": {}}'
    answer = caller.call("POST", headers={"Content-Type": "application/json"}, data=data)
    assert answer.status_code == 400
    assert answer.json()["detail"] == "written more than once: filter"


@pytest.mark.parametrize("echoes", [True, False])
def test_the_caller_s_request_id_is_shown_where_that_is_switched_on(
    service: SegmentationService, client: SegmentationClient, *, echoes: bool
) -> None:
    """Adobe does not document whether its service shows the id, so both are supported."""
    service.control.echo_request_id(echoes)
    job = client.create_job("prod", BODY, request_id="export-jobs-1", may_send=lambda: True)
    assert (job.request_id == "export-jobs-1") is echoes
    assert job.request_id


def test_a_create_request_that_the_service_refuses_is_final(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """A typed error with the service's reason."""
    service.control.plan_fault("create", "http", status=400)
    with pytest.raises(Refused, match="HTTP 400"):
        client.create_job("prod", BODY, request_id="r", may_send=lambda: True)


# -- list ----------------------------------------------------------------------------------------


def test_pages_are_newest_first_and_complete(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """5,000 jobs, some created in the same millisecond: each is listed once, in order."""
    service.control.add_history(5_000, newest=10**12, spacing_ms=0)
    jobs = [job for page in client.iter_pages("prod", limit=700) for job in page.records]
    assert len({job.id for job in jobs}) == len(jobs) == 5_000
    order = [(job.creation_time, int(job.id)) for job in jobs]
    assert order == sorted(order, reverse=True)


def test_a_page_looks_as_the_seed_shows_it(caller: Caller) -> None:
    """Records, page and link have the seed's types; the link is relative to the API."""
    for _ in range(3):
        caller.call("POST", json=seed("create-request"))
    page = caller.call("GET", "?limit=2").json()
    shown = seed("list-answer")
    same_shape(shown["page"], page["page"])
    assert page["page"]["sortField"] == "createdTime"
    assert page["page"]["sort"] == "desc"
    assert page["page"]["pageSize"] == 2
    last = page["records"][-1]
    cursor = f"{last['creationTime']}_{last['id']}"
    assert page["link"]["next"] == f"/export/jobs/?limit=2&offset={cursor}"
    rest = caller.call("GET", page["link"]["next"].removeprefix("/export/jobs")).json()
    assert len(rest["records"]) == 1
    assert not rest["link"].get("next")


def test_a_cursor_is_stable_while_new_jobs_arrive(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """No job is repeated or left out, even if the job that the cursor names is gone."""
    old = [service.control.create_job("prod").id for _ in range(6)]
    first = client.list_jobs("prod", limit=3)
    service.control.create_job("prod")
    service.control.delete_job(int(first.records[-1].id))
    second = client.list_jobs("prod", limit=3, cursor=first.next_cursor)
    assert [int(job.id) for job in second.records] == old[2::-1]


@pytest.mark.parametrize("status", ["NEW", "SUCCEEDED", "FAILED"])
def test_status_filters_and_goes_with_the_other_parameters(
    service: SegmentationService, client: SegmentationClient, status: str
) -> None:
    """All three parameters at once, page by page."""
    for number in range(9):
        service.control.create_job("prod", status=["NEW", "SUCCEEDED", "FAILED"][number % 3])
    pages = list(client.iter_pages("prod", limit=2, status=status))
    assert [len(page.records) for page in pages] == [2, 1]
    assert {job.status for page in pages for job in page.records} == {status}


def test_no_parameter_lists_every_job(caller: Caller, service: SegmentationService) -> None:
    """Which is why the client always sends a limit."""
    service.control.add_history(1_500, newest=10**12)
    page = caller.call("GET").json()
    assert len(page["records"]) == 1_500
    assert not page["link"].get("next")


def test_the_client_never_asks_for_everything(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """Its first call for a page has a limit."""
    service.control.add_history(30, newest=10**12)
    assert len(client.list_jobs("prod", limit=10).records) == 10


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=ten",
        "limit=1.5",
        "limit=",
        "limit=2&offset=garbage",
        "limit=2&offset=12",
        "limit=2&offset=1_2_3",
        "limit=2&status=SUCCESSEDED",
        "status=new",
    ],
)
def test_bad_parameters_are_refused(caller: Caller, query: str) -> None:
    """400; the answer names the parameter and the reason."""
    answer = caller.call("GET", f"?{query}")
    assert answer.status_code == 400
    name = query.rsplit("&", maxsplit=1)[-1].split("=", maxsplit=1)[0]
    assert name in answer.json()["detail"]


def test_a_huge_limit_is_bounded(caller: Caller, service: SegmentationService) -> None:
    """A page has at most a thousand jobs, and a link to the rest."""
    service.control.add_history(1_100, newest=10**12)
    page = caller.call("GET", "?limit=999999999").json()
    assert len(page["records"]) == 1_000
    assert page["link"]["next"]


def test_a_stale_cursor_goes_on_where_it_was(caller: Caller, service: SegmentationService) -> None:
    """A cursor from long ago returns older jobs, or nothing."""
    service.control.create_job("prod")
    assert caller.call("GET", "?limit=2&offset=1_1").json()["records"] == []


# -- get and delete ------------------------------------------------------------------------------


@pytest.mark.parametrize("job", ["0", "404", "abc", "1e3", "-1", "9" * 40, "%2e%2e", "a b"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_job_is_not_found(caller: Caller, job: str, method: str) -> None:
    """404, whatever the id looks like."""
    answer = caller.call(method, f"/{job}")
    assert answer.status_code == 404


def test_not_found_is_an_error_of_its_own(client: SegmentationClient) -> None:
    """A sweep recognises a vanished job by it."""
    with pytest.raises(NotFound):
        client.get_job("prod", "404")
    with pytest.raises(NotFound):
        client.cancel_job("prod", "404")
    with pytest.raises(NotFound):
        client.get_job("prod", "..")


@pytest.mark.parametrize("answers", [200, 204])
def test_a_job_is_marked_for_cancelling(answers: int) -> None:
    """200 with the seed's body, or 204 without one: the client accepts both."""
    config = ServiceConfig(manual=True, delete_answers=answers)
    with SegmentationService(config) as service:
        caller = Caller(service)
        first, second = (service.control.create_job("prod").id for _ in range(2))
        answer = caller.call("DELETE", f"/{first}")
        assert answer.status_code == answers
        assert answer.content == b"" if answers == 204 else answer.json() == seed("delete-answer")
        client_of(service).cancel_job("prod", str(second))
        assert {job.status for job in service.control.jobs("prod")} == {"CANCELLING"}


def test_a_job_that_has_ended_can_t_be_cancelled(
    caller: Caller, client: SegmentationClient, service: SegmentationService
) -> None:
    """400, and the job does not change."""
    job = service.control.create_job("prod", status="SUCCEEDED")
    answer = caller.call("DELETE", f"/{job.id}")
    assert answer.status_code == 400
    assert "already ended" in answer.json()["detail"]
    with pytest.raises(Refused):
        client.cancel_job("prod", str(job.id))


def test_other_methods_are_not_allowed(caller: Caller) -> None:
    """405: the endpoint has four calls."""
    assert caller.call("PUT").status_code == 405
    assert caller.call("PATCH", "/1").status_code == 405


# -- other ---------------------------------------------------------------------------------------


def test_sandboxes_are_kept_apart(caller: Caller, client: SegmentationClient) -> None:
    """A job of one sandbox can't be listed, found or cancelled from another."""
    number = caller.call("POST", json=BODY).json()["id"]
    assert client.list_jobs("dev", limit=5).records == ()
    for method in ("GET", "DELETE"):
        elsewhere = caller.call(method, f"/{number}", headers={"x-sandbox-name": "dev"})
        assert elsewhere.status_code == 404
    assert client.get_job("prod", str(number)).status == "NEW"


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """Jobs, their past statuses and the next job number are kept in the data directory."""
    config = ServiceConfig(manual=True, data_dir=tmp_path)
    with SegmentationService(config) as service:
        caller = Caller(service)
        first = caller.call("POST", json=BODY).json()
        service.control.set_status(first["id"], "FAILED")
        token = caller.headers()["Authorization"]
    with SegmentationService(config) as service:
        caller = Caller(service)
        again = caller.call("GET", f"/{first['id']}", headers={"Authorization": token}).json()
        assert again["status"] == "FAILED"
        assert again["creationTime"] == first["creationTime"]
        assert caller.call("POST", json=BODY).json()["id"] > first["id"]


def test_a_job_lives_by_itself_and_is_got_as_the_seed_shows_it() -> None:
    """NEW, PROCESSING, SUCCEEDED; every field of the seed's answer, times and counters included."""
    with SegmentationService(ServiceConfig(pace_s=0.05, run_s=0.05)) as service:
        caller = Caller(service)
        number = caller.call("POST", json=seed("create-request")).json()["id"]
        deadline = 200
        job = caller.call("GET", f"/{number}").json()
        while job["status"] in {"NEW", "PROCESSING"} and deadline:
            deadline -= 1
            job = caller.call("GET", f"/{number}").json()
        assert [e.status for e in service.control.journal()] == ["NEW", "PROCESSING", "SUCCEEDED"]
        same_shape({**seed("get-answer"), "errors": []}, job)
        same_shape(seed("get-answer")["metrics"], job["metrics"])
        assert job["updateTime"] >= job["creationTime"]


def test_the_page_to_try_calls_needs_no_internet(service: SegmentationService) -> None:
    """It is served, reads the OpenAPI document, and names no other host."""
    page = requests.get(f"{service.root_url}/docs", timeout=10)
    assert page.headers["content-type"].startswith("text/html")
    assert "openapi.json" in page.text
    assert "http://" not in page.text.replace(service.root_url, "")
    assert "https://" not in page.text


def same_shape(shown: Any, real: Any, place: str = "") -> None:
    """Asserts that every field of the seed is present and has the seed's type."""
    if isinstance(shown, dict):
        assert isinstance(real, dict), place
        for name, value in shown.items():
            if place.endswith(("ByNamespaceCounter", "link")):
                continue
            assert name in real, f"{place}.{name} is missing"
            same_shape(value, real[name], f"{place}.{name}")
    elif isinstance(shown, list):
        assert isinstance(real, list), place
        for value in real[:1]:
            same_shape(shown[0], value, f"{place}[]")
    else:
        assert type(real) is type(shown), f"{place}: {real!r}"


# -- access control --------------------------------------------------------------------------------


def test_access_control_shows_what_the_credential_may_do(caller: Caller) -> None:
    """As in Adobe's example: an asterisk for a permission held, nothing for one that is not."""
    url = f"{caller.service.root_url}/data/foundation/access-control/acl"
    asked = [
        f"/permissions/{MAY_CREATE}",
        "/permissions/manage-datasets",
        "/resource-types/schemas",
    ]
    answer = requests.post(
        f"{url}/effective-policies", json=asked, headers=caller.headers(), timeout=10
    )
    assert answer.json() == {"policies": {f"/permissions/{MAY_CREATE}": ["*"]}}
    headers = {k: v for k, v in caller.headers().items() if k != "x-sandbox-name"}
    known = requests.get(f"{url}/reference", headers=headers, timeout=10).json()
    assert known["permissions"][MAY_CREATE] == {"segments": ["read"]}
    assert known["resource-types"]["datasets"] == ["read", "write", "delete"]


@pytest.mark.parametrize("body", ['{"a": 1}', "[1]", "[", '"text"'])
def test_access_control_takes_an_array_of_names(caller: Caller, body: str) -> None:
    """Anything else is malformed."""
    url = f"{caller.service.root_url}/data/foundation/access-control/acl/effective-policies"
    headers = {**caller.headers(), "Content-Type": "application/json"}
    assert requests.post(url, data=body, headers=headers, timeout=10).status_code == 400


def test_a_permission_that_is_taken_away_is_missing_in_that_sandbox(
    service: SegmentationService, client: SegmentationClient
) -> None:
    """Access control and create calls agree, in each sandbox."""
    service.control.deny_create("dev")
    assert client.has_permission("prod", MAY_CREATE)
    assert not client.has_permission("dev", MAY_CREATE)
    with pytest.raises(Forbidden, match="Export Audience for Segment"):
        client.create_job("dev", BODY, request_id="r", may_send=lambda: True)
    assert client.create_job("prod", BODY, request_id="r", may_send=lambda: True).status == "NEW"
    assert not service.control.jobs("dev")


def test_the_client_tells_a_permission_from_an_unknown_name(client: SegmentationClient) -> None:
    """Access control leaves out both from what the credential has."""
    assert client.knows_permission("prod", "manage-datasets")
    assert not client.has_permission("prod", "manage-datasets")
    assert not client.knows_permission("prod", "no-such-permission")
    assert not client.has_permission("prod", "no-such-permission")


@pytest.mark.parametrize(
    ("kind", "error"),
    [("http", Refused), ("not_json", NotUnderstood), ("reset_before", SegmentationError)],
)
def test_access_control_that_does_not_answer_says_nothing_either_way(
    service: SegmentationService, client: SegmentationClient, kind: str, error: Any
) -> None:
    """An error is neither a permission nor the lack of one."""
    for call in ("policies", "reference"):
        service.control.plan_fault(call, kind, status=404)
    with pytest.raises(error):
        client.has_permission("prod", MAY_CREATE)
    with pytest.raises(error):
        client.knows_permission("prod", MAY_CREATE)
