"""Reading the service's schedules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from export_jobs.contract.schedule import Schedule, SchedulePage
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

SHOWN = {
    "id": "4e538382-dbd8-449e-988a-4ac639ebe72b",
    "imsOrgId": "1BD6382559DF0C130A49422D@AdobeOrg",
    "sandbox": {
        "sandboxId": "28e74200-e3de-11e9-8f5d-7f27416c5f0d",
        "sandboxName": "prod",
        "type": "production",
        "default": True,
    },
    "name": "Nightly export",
    "state": "active",
    "type": "export",
    "schedule": "0 30 13 * * ?",
    "properties": {"anything": ["goes", 7]},
    "createEpoch": 1573158851,
    "updateEpoch": 1574365202,
}


def read(**fields: Any) -> Schedule:
    return Schedule.model_validate({**SHOWN, **fields})


def test_every_field_of_a_schedule_is_read() -> None:
    """As the service's guide has them; what the properties hold is kept as it is."""
    schedule = read()
    assert schedule.id == SHOWN["id"]
    assert schedule.ims_org_id == SHOWN["imsOrgId"]
    assert (schedule.name, schedule.schedule) == ("Nightly export", "0 30 13 * * ?")
    assert (schedule.type, schedule.exports) == ("export", True)
    assert (schedule.state, schedule.is_active) == ("active", True)
    assert schedule.properties == {"anything": ["goes", 7]}
    assert (schedule.create_epoch, schedule.update_epoch) == (1573158851, 1574365202)
    assert schedule.sandbox is not None
    assert schedule.sandbox.sandbox_name == "prod"
    assert (schedule.sandbox.type, schedule.sandbox.default) == ("production", True)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ({"id": 722}, {"id": "722"}),
        ({"id": " a "}, {"id": "a"}),
        ({"id": ""}, {"id": None}),
        ({"id": {}}, {"id": None}),
        ({"name": 7}, {"name": None}),
        ({"type": " EXPORT "}, {"type": "export", "exports": True}),
        ({"type": "batch_segmentation"}, {"exports": False}),
        ({"type": ["export"]}, {"type": None, "exports": False}),
        ({"state": "Active"}, {"state": "active", "is_active": True}),
        ({"state": "inactive"}, {"is_active": False}),
        ({"state": "paused"}, {"state": "paused", "is_active": False}),
        ({"state": None}, {"state": None, "is_active": False}),
        ({"state": True}, {"state": None, "is_active": False}),
        ({"schedule": None}, {"schedule": None}),
        ({"schedule": {"cron": "0 0 1 * * ?"}}, {"schedule": None}),
        ({"properties": None}, {"properties": None}),
        ({"properties": "*"}, {"properties": "*"}),
        ({"properties": [1]}, {"properties": [1]}),
        ({"createEpoch": "1573158851"}, {"create_epoch": 1573158851}),
        ({"createEpoch": 1573158851.0}, {"create_epoch": 1573158851}),
        ({"createEpoch": 1573158851000}, {"create_epoch": None}),
        ({"createEpoch": True}, {"create_epoch": None}),
        ({"createEpoch": "2019-11-07"}, {"create_epoch": None}),
        ({"updateEpoch": -1}, {"update_epoch": None}),
        ({"sandbox": "prod"}, {"sandbox": None}),
        ({"new": 1}, {"model_extra": {"new": 1}}),
    ],
)
def test_every_variant_of_a_field_is_read_or_none(
    shown: dict[str, Any], expected: dict[str, Any]
) -> None:
    """No field costs the schedule, an unknown one is kept, and milliseconds are no seconds."""
    schedule = read(**shown)
    assert {name: getattr(schedule, name) for name in expected} == expected


def test_a_schedule_that_says_nothing_does_not_run() -> None:
    """Nothing is required, and the service's default state is inactive."""
    schedule = Schedule.model_validate({})
    assert not schedule.is_active
    assert not schedule.exports


@pytest.mark.parametrize(
    ("page", "links", "start"),
    [
        ({"next": "1"}, None, "1"),
        ({"next": 1}, None, "1"),
        ({"next": " 1 "}, None, "1"),
        ({"next": "1"}, {"next": {"href": "@/config/schedules?start=2&limit=1"}}, "1"),
        ({}, {"next": {"href": "@/config/schedules?start=1&limit=1&totalCount=10"}}, "1"),
        ({"next": ""}, {"next": {"href": "https://elsewhere.example/?start=1"}}, "1"),
        (None, {"next": {"href": "?start=1"}}, "1"),
        ({}, {"next": {}}, None),
        ({"next": None}, None, None),
        ({"next": " "}, {}, None),
        (None, None, None),
        ({}, {"next": {"href": ""}}, None),
        ({}, {"next": {"href": "?start=1&start=2"}}, None),
        ({}, {"next": {"href": "http://[?start=1"}}, None),
        ({}, {"next": 7}, None),
        ({}, "broken", None),
    ],
)
def test_the_next_start_is_read_wherever_it_is(page: Any, links: Any, start: str | None) -> None:
    """Text or number, in `_page` or else in the link, of which nothing but the start is used."""
    body = {"_page": page, "children": [], "_links": links}
    assert SchedulePage.from_answer(body).next_start == start


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"children": None},
        {"children": {"id": "a"}},
        {"children": [], "_page": 7},
        {"children": [], "_page": {"next": ["1"]}},
        {"children": [], "_page": {"next": True}},
        {"children": [], "_page": {"next": "1" * 257}},
    ],
)
def test_what_is_no_page_is_an_error(body: Any) -> None:
    """Also one whose next start can't be read, as the schedules after it would be missed."""
    with pytest.raises(ValidationError):
        SchedulePage.from_answer(body)


def test_an_entry_that_is_no_schedule_costs_only_itself() -> None:
    """It is skipped and counted; the total is the service's own count."""
    body = {"_page": {"totalCount": 5}, "children": [None, SHOWN, 7, "x", [SHOWN]]}
    page = SchedulePage.from_answer(body)
    assert [one.id for one in page.schedules] == [SHOWN["id"]]
    assert (page.unreadable, page.total) == (4, 5)


@pytest.mark.parametrize("total", [None, -1, "many", True, []])
def test_a_total_that_can_t_be_read_is_none(total: Any) -> None:
    """It costs neither the page nor its next start."""
    body = {"_page": {"totalCount": total, "next": "1"}, "children": []}
    page = SchedulePage.from_answer(body)
    assert (page.total, page.next_start) == (None, "1")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["export", "active", "0 0 1 * * ?", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
objects = st.fixed_dictionaries({}, optional=dict.fromkeys([*SHOWN, "other"], json_values))


@given(entry=objects)
def test_any_object_is_a_schedule(entry: Any) -> None:
    """Whatever its fields hold; each is of its type or None, and the cron text is unchanged."""
    schedule = Schedule.model_validate(entry)
    for value in (schedule.id, schedule.name, schedule.type, schedule.schedule, schedule.state):
        assert value is None or isinstance(value, str)
    for epoch in (schedule.create_epoch, schedule.update_epoch):
        assert epoch is None or 0 <= epoch < 10**11
    if isinstance(entry.get("schedule"), str):
        assert schedule.schedule == entry["schedule"]


@given(
    body=json_values
    | st.fixed_dictionaries(
        {"children": json_values | st.lists(objects | json_values, max_size=4)},
        optional={
            "_page": json_values | st.fixed_dictionaries({}, optional={"next": json_values}),
            "_links": json_values
            | st.fixed_dictionaries({"next": st.dictionaries(st.just("href"), json_values)}),
        },
    )
)
def test_any_json_is_a_page_or_an_error(body: Any) -> None:
    """Never a crash; no entry is lost without being counted."""
    try:
        page = SchedulePage.from_answer(json.loads(json.dumps(body)))
    except ValidationError:
        return
    assert len(page.schedules) + page.unreadable == len(body["children"])
    assert page.next_start is None or page.next_start
