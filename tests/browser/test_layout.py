"""How the served page looks: with long words, in print and in high contrast."""

from __future__ import annotations

from typing import Literal

import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.model.baselines import Baseline, Run
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.names import Names
from export_jobs.model.records import RequestRecord, Ticket
from export_jobs.model.steps import Step
from playwright.sync_api import Browser, Page
from support.pages import DAY_MS, HOUR_MS, job_record
from support.site import Site

pytestmark = pytest.mark.xdist_group("live-page")

Scheme = Literal["light", "dark"]


def _wider(tab: Page) -> list[str]:
    """What is wider than the window."""
    script = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
        [...document.querySelectorAll("body *")]
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
        .map((one) => `${one.localName}.${one.className} ${one.textContent.slice(0, 30)}`)"""
    return list(tab.evaluate(script))


@pytest.mark.parametrize("width", [380, 800])
def test_long_words_make_no_page_wider_than_the_window(site: Site, tab: Page, width: int) -> None:
    """Ids, keys, names, states and reasons may be one word of hundreds of characters."""
    at = now_ms() - HOUR_MS
    word = "W" * 300
    rejected = RequestRecord(
        "k" * 200, "REJECTED", "prod", outcome=word, reason=f"{word}: {word}", touched_at=at
    )
    waiting = Ticket("prod", "w" * 200, "create", at, at, at + DAY_MS)
    site.store.commit("prod", [Step(requests=(rejected,), add_tickets=(waiting,))])
    window = Window(at - DAY_MS, at, at)
    past = PastWindow(window, "FAILED", "j" * 120)
    expected = Expectation("n" * 100, "d" * 80, "UTC", due=60)
    record = ExpectationRecord("prod", expected, at, missed=window, history=(past,))
    site.store.edit_expectations("prod", [record])
    site.store.put_names("prod", Names(datasets={"d" * 80: "N" * 100}))
    errors = [{"code": word, "msg": word}]
    common = {"dataset": "d" * 80, "correlation_id": word}
    site.put(
        job_record("j" * 120, "FAILED", at=at, errors=errors, request_key="k" * 200, **common),
        job_record("long", at=at + 2, errors=errors, profiles=10**9, took_ms=10**8, **common),
        job_record("r" * 120, word[:64], at=at + 1, request_key="o" * 200, **common),
    )
    tab.set_viewport_size({"width": width, "height": 800})
    tab.goto(site.server.address)
    for path in (
        "/",
        "/requests",
        "/expectations",
        f"/job?sandbox=prod&id={'j' * 120}",
        f"/job?sandbox=prod&id={'r' * 120}",
        f"/dataset?sandbox=prod&id={'d' * 80}",
        f"/job?sandbox=prod&id={word}",
    ):
        tab.goto(site.root + path)
        assert _wider(tab) == [], path[:30]


@pytest.mark.parametrize("width", [794, 718])
def test_a_print_has_all_days(site: Site, chromium: Browser, width: int) -> None:
    """On A4, without and with its margins: nothing is cut off, and nothing is there to click."""
    now = now_ms()
    site.put(*(job_record(f"{n}", at=now - n * DAY_MS - HOUR_MS) for n in range(14)))
    site.put(*(job_record(f"m{n}", "FAILED", at=now - n * 1_000) for n in range(6)))
    context = chromium.new_context(viewport={"width": width, "height": 1_123}, color_scheme="dark")
    tab = context.new_page()
    tab.goto(site.server.address)
    tab.emulate_media(media="print")
    columns = [
        head.inner_text() for head in tab.locator(".grid thead th").all() if head.is_visible()
    ]
    assert columns[:2] == ["Dataset", "Last run"]
    assert len(columns) == 2 + 14
    assert _wider(tab) == []
    for selector in ("nav", "button", ".commands"):
        assert not tab.locator(selector).first.is_visible(), selector
    mark = tab.locator(".grid .mark.bad").first
    assert mark.evaluate("(one) => getComputedStyle(one).printColorAdjust") == "exact"
    assert mark.evaluate("(one) => getComputedStyle(one).backgroundColor") == "rgb(251, 223, 224)"
    paper = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(paper) == "rgb(255, 255, 255)", "a dark scheme is for screens"
    for cell in tab.locator(".grid td.day").all():
        box = cell.bounding_box()
        assert box
        for one in cell.locator(".mark").all():
            inner = one.bounding_box()
            assert inner
            assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 0.5
    context.close()


IS_SEEN = """(one) => {
    const style = getComputedStyle(one);
    const unseen = ["rgba(0, 0, 0, 0)", "none", getComputedStyle(document.body).backgroundColor];
    const paint = one.ownerSVGElement ? style.fill : style.backgroundColor;
    const hasBorder = style.borderTopStyle !== "none" && style.borderTopWidth !== "0px";
    return !unseen.includes(paint) || hasBorder && !unseen.includes(style.borderTopColor);
}"""
"""Whether an element differs from the paper, by what it is filled with or by its border."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_high_contrast_shows_marks_and_charts(
    site: Site, chromium: Browser, scheme: Scheme
) -> None:
    """Where the system replaces colours, marks, points and the key of a chart can still be seen."""
    nights = [now_ms() - night * DAY_MS - HOUR_MS for night in range(12)]
    for n, at in enumerate(nights):
        site.put(job_record(f"n{n}", "FAILED" if n == 3 else "SUCCEEDED", at=at, profiles=1_000))
    runs = tuple(Run(at, 600_000, 1_000) for at in reversed(nights))
    site.store.put_baseline(Baseline("prod", "1-a", runs=runs))
    context = chromium.new_context(forced_colors="active", color_scheme=scheme)
    tab = context.new_page()
    tab.goto(site.server.address)
    assert all(mark.evaluate(IS_SEEN) for mark in tab.locator(".mark").all())
    tab.goto(f"{site.root}/dataset?sandbox=prod&id=d1")
    for selector in (
        *(".key-band", ".key-line", ".key-dot", ".key-diamond", ".state"),
        *(".chart .band", ".chart .point.good", ".chart .point.bad"),
    ):
        found = tab.locator(selector).all()
        assert found, selector
        assert all(one.evaluate(IS_SEEN) for one in found), selector
    context.close()
