"""The control keeps or refuses whatever it is sent, and never breaks."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests
from export_jobs_local.segmentation.config import ServiceConfig
from export_jobs_local.segmentation.server import SegmentationService
from export_jobs_local.segmentation.state import MAX_LOGGED_CALLS

from .conftest import BODY, Caller


def control(caller: Caller, method: str, path: str, **options: Any) -> requests.Response:
    url = f"{caller.service.root_url}/_control{path}"
    return requests.request(method, url, timeout=10, **options)


@pytest.mark.parametrize(
    "fields",
    [
        '{"id": 7}',
        '{"job_id": 1}',
        '{"sandbox": "x"}',
        '{"status": null}',
        '{"status": ""}',
        '{"status": 5}',
        '{"updateTime": null}',
        '{"updateTime": 1.5}',
        '{"creationTime": "abc"}',
        '{"creationTime": "5"}',
        '{"creationTime": -1}',
        '{"creationTime": 1e15}',
        '{"creationTime": true}',
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": "\\ud800"}',
        '{"\\ud800": 1}',
        "[]",
        "null",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("PATCH", "/jobs/1")])
def test_fields_that_can_t_be_are_refused(
    caller: Caller, fields: str, method: str, path: str
) -> None:
    """422, and no job is made or changed."""
    job = caller.call("POST", json=BODY).json()
    answer = control(
        caller, method, path, data=fields, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["msg"]
    assert caller.call("GET", "?limit=5").json()["records"] == [job]


def test_any_other_field_is_kept_as_it_is(caller: Caller) -> None:
    """Even one that no job of Adobe's has; the API shows it, also after a change."""
    given: dict[str, Any] = {
        "status": "PAUSED",
        "creationTime": 1_000,
        "requestId": ["no", "string"],
        "self": 1,
        "created": 2,
        "visible_after": 3,
        "fields": {"a": [None, 10**30]},
        "é": "\u0000",
    }
    made = control(caller, "POST", "/jobs", json=given).json()
    assert given.items() <= made.items()
    assert caller.call("GET", f"/{made['id']}").json() == made
    changed = control(caller, "PATCH", f"/jobs/{made['id']}", json={"creationTime": 2_000}).json()
    assert changed["creationTime"] == 2_000
    assert (changed["self"], changed["status"]) == (1, "PAUSED")
    page = caller.call("GET", "?limit=1").json()
    assert page["records"] == [changed]


@pytest.mark.parametrize("depth", [200, 900, 990, 5_000, 200_000])
def test_no_depth_breaks_it(caller: Caller, depth: int) -> None:
    """The value is kept or refused, and listings still work."""
    nested = f'{{"x": {"[" * depth}{"]" * depth}}}'
    answer = control(
        caller, "POST", "/jobs", data=nested, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code in {200, 400, 422}
    assert caller.call("GET", "?limit=5").status_code == 200


@pytest.mark.parametrize("number", ["0", "-1", "1" * 16, "9" * 40, "abc"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_number_that_no_job_can_have_is_refused(caller: Caller, method: str, number: str) -> None:
    """422, however long it is."""
    assert control(caller, method, f"/jobs/{number}", json={}).status_code == 422


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_missing_job_is_not_found(caller: Caller, method: str) -> None:
    """404, in the service's own format."""
    answer = control(caller, method, "/jobs/404", json={})
    assert (answer.status_code, answer.json()["title"]) == (404, "NotFoundError")


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs"), ("GET", "/journal")])
def test_an_unknown_sandbox_is_refused(caller: Caller, method: str, path: str) -> None:
    """400; the answer lists the sandboxes that exist."""
    answer = control(caller, method, f"{path}?sandbox=nowhere", json={})
    assert answer.status_code == 400
    assert "prod, dev" in answer.json()["detail"]


@pytest.mark.parametrize(
    "settings",
    [{"paceS": 1e10}, {"paceS": -1}, {"paceS": "x"}, {"seed": -1}, {"seed": 2**63}, {"pace": 1}],
)
def test_settings_that_can_t_be_are_refused(caller: Caller, settings: dict[str, Any]) -> None:
    """422, and nothing is set."""
    assert control(caller, "POST", "/settings", json=settings).status_code == 422


def test_a_setting_that_is_no_number_is_refused(caller: Caller) -> None:
    """NaN, which is not valid JSON but which Python reads."""
    headers = {"Content-Type": "application/json"}
    answer = control(caller, "POST", "/settings", data='{"paceS": NaN}', headers=headers)
    assert answer.status_code == 422


def test_the_permission_to_create_is_taken_away_and_given_back(caller: Caller) -> None:
    """In the sandboxes named and no others; an unknown one is refused, and changes nothing."""
    for denied, status in ((["prod"], 403), (["dev"], 200), ([], 200)):
        answer = control(caller, "POST", "/settings", json={"createDeniedIn": denied})
        assert answer.status_code == 204
        assert caller.call("POST", json=BODY).status_code == status
    wrong = control(caller, "POST", "/settings", json={"createDeniedIn": ["prod", "nowhere"]})
    assert wrong.status_code == 400
    assert caller.call("POST", json=BODY).status_code == 200


def test_the_pace_is_for_both_waits() -> None:
    """A job created after the pace is set to zero ends at once."""
    with SegmentationService(ServiceConfig(pace_s=60, run_s=60)) as service:
        caller = Caller(service)
        assert control(caller, "POST", "/settings", json={"paceS": 0}).status_code == 204
        number = caller.call("POST", json=BODY).json()["id"]
        for _ in range(500):
            if caller.call("GET", f"/{number}").json()["status"] == "SUCCEEDED":
                return
    pytest.fail("the job still waits")


def test_the_log_of_calls_is_bounded_and_its_counts_are_not(service: SegmentationService) -> None:
    """The memory of a service that runs for weeks does not fill up with them."""
    state = service._state
    for _ in range(MAX_LOGGED_CALLS + 5):
        state.count("list")
        state.log("list", "/x" * 1_000, 200)
    counts, last = state.calls()
    assert counts == {"list": MAX_LOGGED_CALLS + 5}
    assert len(last) == MAX_LOGGED_CALLS
    assert len(last[0].path) < 300


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/data/core/ups/export/jobs/1/", 404),
        ("GET", "/nowhere", 404),
        ("PUT", "/data/core/ups/export/jobs", 405),
        ("GET", "/ims/token/v3", 405),
        ("PUT", "/_control/faults", 405),
    ],
)
def test_an_unknown_path_or_method_is_reported_in_the_service_s_format(
    caller: Caller, method: str, path: str, status: int
) -> None:
    """It is never redirected, because a client would send its token to the new address."""
    answer = requests.request(
        method, caller.service.root_url + path, timeout=10, allow_redirects=False
    )
    assert answer.status_code == status
    assert answer.json().keys() == {"type", "status", "title", "detail"}
    assert answer.json()["status"] == status
    assert ("Allow" in answer.headers) is (status == 405)


@pytest.mark.parametrize("number", ["\u0661", "1_000", "+1", "\uff11"])
def test_only_ascii_digits_are_numbers(caller: Caller, number: str) -> None:
    """A job id or a cursor with other digits is invalid."""
    caller.call("POST", json=BODY)
    assert caller.call("GET", f"/{number}").status_code == 404
    assert caller.call("GET", f"?limit=1&offset={number}_1").status_code == 400


@pytest.mark.parametrize(("field", "status"), [("fields", 200), ("\ud800", 400)])
def test_a_body_that_utf_8_can_t_hold_does_not_break_the_api(
    caller: Caller, field: str, status: int
) -> None:
    """It is accepted or refused, with an answer that can be sent."""
    data = json.dumps({**BODY, field: "\ud800"})
    answer = caller.call("POST", headers={"Content-Type": "application/json"}, data=data)
    assert answer.status_code == status
    assert isinstance(answer.json(), dict)
    assert caller.call("GET", "?limit=5").status_code == 200
