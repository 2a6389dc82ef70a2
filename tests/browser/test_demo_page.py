"""The page that the demo leaves behind, in a browser: what people see, and whether all can."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from support.browser import serious_findings
from support.demo import DemoRun

pytestmark = pytest.mark.xdist_group("demo")

WIDTHS = (380, 1_600)
SCHEMES = ("light", "dark")


def job_of(demo: DemoRun, request: str) -> str:
    (row,) = [row for row in demo.result["requests"] if row["name"] == request]
    return str(row["job_id"])


def pages_of(demo: DemoRun) -> list[Path]:
    """One of each kind of page, and of jobs and datasets those that differ most."""
    jobs = [
        job_of(demo, name)
        for name in ("fewer-profiles", "fails-seed", "retried.fails-once", "one-segment")
    ]
    return [
        *(demo.page / name for name in ("index.html", "requests.html", "expectations.html")),
        *(demo.page / "job" / f"prod.{job}.html" for job in jobs),
        *sorted((demo.page / "dataset").glob("*.html")),
    ]


def test_the_overview_says_what_failed_what_is_overdue_and_what_is_unusual(
    demo: DemoRun, tab: Page
) -> None:
    """In words, each with the reason: somebody who sees only this page knows what to do."""
    tab.goto((demo.page / "index.html").as_uri())
    attention = tab.get_by_role("region", name="Needs attention")
    items = attention.get_by_role("listitem").all_inner_texts()
    for words in (
        "demo-missing is overdue: no job was created by",
        f"job {job_of(demo, 'fails-unknown-dataset')} into 000000000000000000000000 failed",
        "does not exist",
        f"job {job_of(demo, 'fails-seed')} into Profile exports",
        "unknown field 'string'",
        f"job {job_of(demo, 'fewer-profiles')} into Campaign exports",
        "VOLUME DROP, 307 profiles (usually 1,000,000)",
        "compared with 28 runs of the same kind",
        "3 dead letters",
    ):
        assert any(words in item for item in items), words
    assert len(items) == 5, items
    assert "(5)" in tab.title()


def test_the_grid_shows_two_weeks_of_each_dataset(demo: DemoRun, tab: Page) -> None:
    """A row a dataset, by its name; a column a day; a mark a run, which leads to its job."""
    tab.goto((demo.page / "index.html").as_uri())
    rows = tab.locator(".grid tbody tr")
    assert [name.split("\n")[0] for name in rows.locator("th").all_inner_texts()] == [
        "Campaign exports",
        "Profile exports",
        "000000000000000000000000",
        "5b0000000000000000000000",
    ]
    assert tab.locator(".grid thead th").count() == 2 + 14
    campaign = rows.nth(0)
    assert "runs regularly; no expectation set" in campaign.inner_text()
    nights = campaign.locator("td.day")
    assert all(nights.nth(day).locator(".mark.good").count() == 1 for day in range(1, 14))
    unusual = campaign.locator(".mark.warn")
    assert "VOLUME DROP" in (unusual.get_attribute("title") or "")
    unusual.click()
    job = job_of(demo, "fewer-profiles")
    assert tab.get_by_role("heading", level=1).inner_text().startswith(f"Job {job}")
    assert (
        "fewer than 666,667" in tab.get_by_role("region", name="Compared with usual").inner_text()
    )
    assert f"export-jobs baseline accept {job} --sandbox prod" in tab.inner_text("main")


def test_a_job_shows_its_whole_life(demo: DemoRun, tab: Page) -> None:
    """Its request, its tries, each published event, and where its data is."""
    job = job_of(demo, "retried.fails-once")
    tab.goto((demo.page / "job" / f"prod.{job}.html").as_uri())
    text = tab.inner_text("main")
    for words in ("request sent", "created", "linked to its request", "SUCCEEDED", "Earlier try"):
        assert words in text
    events = tab.get_by_role("region", name="Published events").inner_text()
    assert f"Export job {job} succeeded at try 2" in events
    assert "not yet" not in events
    tab.get_by_role("region", name="Request").get_by_role("link").first.click()
    assert "the demo makes this job fail" in tab.get_by_role("region", name="Errors").inner_text()


def test_a_dataset_shows_its_runs_beside_what_is_usual(demo: DemoRun, tab: Page) -> None:
    """Two charts with the band, a point a run, and the unusual one apart."""
    tab.goto((demo.page / "index.html").as_uri())
    tab.get_by_role("link", name="Campaign exports", exact=True).click()
    charts = tab.locator("svg.chart")
    assert charts.count() == 2
    for number in range(2):
        chart = charts.nth(number)
        assert chart.locator(".band").count() == 1
        assert chart.locator("circle").count() == 27
        assert chart.locator("path.warn").count() == 1
        box = chart.bounding_box()
        assert box
        assert 100 < box["height"] < 400
    assert "export-jobs expectation suggest" in tab.inner_text("main")


def test_requests_and_expectations_say_what_became_of_them(demo: DemoRun, tab: Page) -> None:
    """Each wrong field of a rejected request, and each window."""
    tab.goto((demo.page / "requests.html").as_uri())
    text = tab.inner_text("main")
    assert "job.filter.segmnets: is not a field of the request; did you mean 'segments'?" in text
    assert "job.destination.datasetId: is required" in text
    tab.get_by_role("link", name="Expectations", exact=True).click()
    articles = tab.locator("article")
    assert [article.split("\n")[0] for article in articles.all_inner_texts()] == [
        "demo-missing OVERDUE",
        "demo-late OK",
        "demo-met OK",
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_can_be_used_by_everybody(
    demo: DemoRun, chromium: Browser, width: int, scheme: str
) -> None:
    """No serious finding of axe-core, and nothing wider than the screen, in both schemes."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    tab = context.new_page()
    for page in pages_of(demo):
        tab.goto(page.as_uri())
        assert serious_findings(tab) == [], f"{page.name} at {width} in {scheme}"
        wider = tab.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0, f"{page.name} at {width}"
    context.close()


def test_the_two_schemes_differ(demo: DemoRun, chromium: Browser) -> None:
    """Otherwise the tests above would look at one of them twice."""
    papers = set()
    for scheme in SCHEMES:
        context = chromium.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        tab = context.new_page()
        tab.goto((demo.page / "index.html").as_uri())
        papers.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
        context.close()
    assert len(papers) == 2


def test_a_narrow_screen_shows_the_last_days(demo: DemoRun, chromium: Browser) -> None:
    """Four of them, and the name; the rest is on the page of the dataset."""
    context = chromium.new_context(viewport={"width": 380, "height": 900})
    tab = context.new_page()
    tab.goto((demo.page / "index.html").as_uri())
    shown = [head for head in tab.locator(".grid thead th").all() if head.is_visible()]
    assert len(shown) == 1 + 4
    context.close()


def test_a_page_reads_well_without_scripts(demo: DemoRun, chromium: Browser) -> None:
    """A snapshot has none; the same is served."""
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((demo.page / "index.html").as_uri())
    assert "demo-missing is overdue" in tab.inner_text("main")
    tab.get_by_role("link", name="Requests", exact=True).click()
    assert re.search(r"/requests\.html$", tab.url)
    context.close()
