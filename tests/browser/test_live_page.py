"""The page as it is served, in a browser: it refreshes itself, and can be used by keyboard alone."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.names import Names
from export_jobs.model.records import RequestRecord, SandboxState
from export_jobs.model.steps import Step
from export_jobs_cli.errors import UserError
from playwright.sync_api import Browser, Error, Page, Route, expect
from support.browser import how_to_launch, serious_findings
from support.command_line import Local, envelope, until
from support.hostile_text import FRAGMENTS
from support.pages import DAY_MS, HOUR_MS, job_record
from support.site import Site

pytestmark = pytest.mark.xdist_group("live-page")
REFRESH_NOW = "document.dispatchEvent(new Event('visibilitychange'))"


def test_a_job_is_seen_to_run_and_to_end_without_a_reload(local: Local, tab: Page) -> None:
    """On the page that `export-jobs local` serves: what is asked for appears by itself."""
    tab.goto(local.description["pageUrl"])
    assert "token" not in tab.url
    tab.evaluate("window.kept = 'the same document'")
    local.send(envelope("live"))
    row = tab.locator(".grid tbody tr").first
    expect(row.locator(".mark.busy")).to_be_visible(timeout=60_000)
    expect(row.locator(".mark.good")).to_be_visible(timeout=60_000)
    expect(row.locator(".mark.busy")).to_have_count(0)
    assert tab.evaluate("window.kept") == "the same document"


def _seed(site: Site) -> None:
    """Three datasets with runs on several days."""
    now = now_ms()
    site.put(
        *(
            job_record(f"{dataset}-{day}", dataset=dataset, at=now - day * DAY_MS - HOUR_MS)
            for dataset in ("a", "b", "c")
            for day in range(0, 12, 2)
        )
    )


def _sweep(site: Site) -> None:
    """What a sweep writes that has recorded something new."""
    site.store.put_state(SandboxState("prod", now_ms(), swept_at=now_ms()))


def test_a_refresh_keeps_the_place(site: Site, tab: Page) -> None:
    """The focus stays on the same job, though its place has moved, and so does the scrolling."""
    _seed(site)
    tab.set_viewport_size({"width": 1_000, "height": 400})
    tab.goto(site.server.address)
    tab.locator('a.mark[href*="id=c-2"]').focus()
    tab.evaluate("window.scrollTo(0, 200)")
    before = tab.evaluate("window.scrollY")
    site.put(job_record("new", dataset="a", at=now_ms() - 1_000))
    _sweep(site)
    tab.evaluate(REFRESH_NOW)
    expect(tab.locator('a.mark[href*="id=new"]')).to_be_visible()
    assert "id=c-2" in tab.evaluate("document.activeElement.href")
    assert tab.evaluate("window.scrollY") == before > 0


def test_text_that_is_being_selected_stays(site: Site, tab: Page) -> None:
    """Somebody copies a command or an error: nothing is replaced until they have done so."""
    tab.goto(site.server.address)
    tab.locator("pre code").first.select_text()
    selected = tab.evaluate("getSelection().toString()")
    _seed(site)
    _sweep(site)
    tab.evaluate(REFRESH_NOW)
    tab.wait_for_timeout(700)
    assert tab.evaluate("getSelection().toString()") == selected != ""
    assert tab.locator("a.mark").count() == 0
    tab.evaluate("getSelection().removeAllRanges()")
    tab.evaluate(REFRESH_NOW)
    expect(tab.locator("a.mark").first).to_be_visible()


def test_it_says_when_it_can_t_be_refreshed_and_no_longer_when_it_can(
    site: Site, tab: Page
) -> None:
    """What was read last stays; nothing is said while all is well."""
    _seed(site)
    tab.goto(site.server.address)
    status = tab.get_by_role("status")
    assert status.inner_text() == ""

    def fails() -> None:
        raise UserError("AWS is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.pages, "overview", fails)
        tab.evaluate(REFRESH_NOW)
        expect(status).to_have_text("Not refreshed: AWS is away")
        assert tab.locator(".grid").is_visible()
    tab.evaluate(REFRESH_NOW)
    expect(status).to_have_text("")


def test_refreshing_can_be_paused(site: Site, tab: Page) -> None:
    """Who reads a long page may not want it to move; afterwards, it is refreshed at once."""
    tab.goto(site.server.address)
    tab.get_by_role("button", name="Pause").click()
    _seed(site)
    _sweep(site)
    tab.evaluate(REFRESH_NOW)
    tab.wait_for_timeout(700)
    assert tab.locator("a.mark").count() == 0
    assert tab.get_by_role("status").inner_text() == "Paused"
    tab.get_by_role("button", name="Resume").click()
    expect(tab.locator("a.mark").first).to_be_visible()
    expect(tab.get_by_role("status")).to_have_text("")


class Held:
    """Keeps what a tab asks the overview for until it is answered; the page's own script asks."""

    def __init__(self, site: Site, tab: Page) -> None:
        self._tab = tab
        self.routes: list[Route] = []
        tab.route(lambda url: url == f"{site.root}/", self._hold)

    def _hold(self, route: Route) -> None:
        self.routes.append(route)

    def wait_for(self, number: int) -> None:
        until(lambda: self._tab.wait_for_timeout(20) or len(self.routes) >= number)

    def answered(self, number: int) -> None:
        """Once the page has had the time to show it."""
        with suppress(Error):  # it was cancelled
            self.routes[number].continue_()
        self._tab.wait_for_timeout(700)


def test_a_refresh_under_way_does_not_end_a_pause(site: Site, tab: Page) -> None:
    """Its answer is left out, and the page says that it is paused."""
    tab.goto(site.server.address)
    _seed(site)
    _sweep(site)
    held = Held(site, tab)
    tab.evaluate(REFRESH_NOW)
    held.wait_for(1)
    tab.get_by_role("button", name="Pause").click()
    held.answered(0)
    assert tab.get_by_role("status").inner_text() == "Paused"
    assert tab.locator("a.mark").count() == 0


def test_an_older_answer_does_not_replace_a_newer_one(site: Site, tab: Page) -> None:
    """Though it arrives later."""
    tab.goto(site.server.address)
    held = Held(site, tab)
    tab.evaluate(REFRESH_NOW)
    held.wait_for(1)
    older = tab.request.get(f"{site.root}/")
    _seed(site)
    _sweep(site)
    tab.evaluate(REFRESH_NOW)
    held.wait_for(2)
    assert tab.get_by_role("status").inner_text() == "", "that one was given up is no news"
    held.answered(1)
    expect(tab.locator("a.mark").first).to_be_visible()
    with suppress(Error):
        held.routes[0].fulfill(response=older)
    tab.wait_for_timeout(500)
    assert tab.locator("a.mark").count() > 0


def test_a_selection_made_during_a_refresh_stays(site: Site, tab: Page) -> None:
    """The answer that arrives then is left out, and the next one is shown."""
    tab.goto(site.server.address)
    _seed(site)
    _sweep(site)
    held = Held(site, tab)
    tab.evaluate(REFRESH_NOW)
    held.wait_for(1)
    tab.locator("pre code").first.select_text()
    held.answered(0)
    assert tab.evaluate("getSelection().toString()") != ""
    assert tab.locator("a.mark").count() == 0


def test_a_server_that_hangs_is_reported(site: Site, tab: Page) -> None:
    """After ten seconds; it is asked again, and what it says then is shown."""
    tab.clock.install()
    tab.goto(site.server.address)
    status = tab.get_by_role("status")
    held = Held(site, tab)
    tab.evaluate(REFRESH_NOW)
    held.wait_for(1)
    tab.clock.run_for(6_000)  # beside which real time passes
    assert status.inner_text() == ""
    tab.clock.run_for(4_000)
    expect(status).to_have_text("Not refreshed: the server does not answer.")
    tab.clock.run_for(5_000)
    held.wait_for(2)
    held.answered(1)
    expect(status).to_have_text("")


def test_after_a_restart_it_says_to_enter_the_new_token(site: Site, tab: Page) -> None:
    """There is no field for it on this page."""
    tab.goto(site.server.address)
    tab.context.clear_cookies()
    tab.evaluate(REFRESH_NOW)
    expect(tab.get_by_role("status")).to_have_text(
        "Not refreshed: this page's token is no longer valid; reload the page to enter the new one."
    )
    assert tab.get_by_role("heading", level=1).inner_text() == "Exports"
    tab.reload()
    assert tab.get_by_label("Token").is_visible()


def test_an_answer_of_another_server_is_not_shown(site: Site, tab: Page) -> None:
    """As when the port now belongs to another program."""
    tab.goto(site.server.address)
    tab.route(
        lambda url: url == f"{site.root}/",
        lambda route: route.fulfill(body="<main id=main>Hello", content_type="text/html"),
    )
    tab.evaluate(REFRESH_NOW)
    expect(tab.get_by_role("status")).to_have_text(
        "Not refreshed: another server answers at this address."
    )
    assert tab.get_by_role("heading", level=1).inner_text() == "Exports"


def test_a_fault_of_the_page_is_reported(site: Site, tab: Page) -> None:
    """And that the terminal has more."""
    tab.goto(site.server.address)

    def fails() -> None:
        raise RuntimeError("a fault")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.pages, "overview", fails)
        tab.evaluate(REFRESH_NOW)
        expect(tab.get_by_role("status")).to_have_text(
            "Not refreshed: something went wrong in this page; see the error in the terminal where "
            "it was started."
        )


def test_the_time_of_reading_is_the_same_to_people_and_programs(site: Site, tab: Page) -> None:
    """Also after a refresh, with or without a change, and as the server writes it."""
    tab.goto(site.server.address)
    read_at = tab.locator("#read-at")

    def shown() -> tuple[str, str]:
        return read_at.inner_text(), read_at.get_attribute("datetime") or ""

    seen = [shown()]
    for change in (lambda: None, lambda: _seed(site)):
        change()
        tab.wait_for_timeout(1_100)  # the text has whole seconds
        tab.evaluate(REFRESH_NOW)
        expect(read_at).not_to_have_text(seen[-1][0])
        seen.append(shown())
    for text, datetime in seen:
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", text)
        assert re.fullmatch(r"[\dT:-]+\.\d{3}Z", datetime)
        assert datetime[:19].replace("T", " ") == text.removesuffix(" UTC")


def test_the_expectation_that_a_link_named_stays_marked(site: Site, tab: Page) -> None:
    """After a refresh, too, which replaces its element; and only that one."""
    names = ("first", "second")
    records = [
        ExpectationRecord("prod", Expectation(name, "d1", "UTC", due=60), now_ms())
        for name in names
    ]
    site.store.edit_expectations("prod", records)
    tab.goto(site.server.address)
    tab.goto(f"{site.root}/expectations")
    ids = [tab.locator(f"article:has-text('{name}')").get_attribute("id") for name in names]

    def marked() -> list[str]:
        script = """() => [...document.querySelectorAll("article")]
            .filter((one) => getComputedStyle(one).outlineStyle === "solid").map((one) => one.id)"""
        return list(tab.evaluate(script))

    tab.goto(f"{site.root}/expectations#{ids[1]}")
    assert marked() == [ids[1]]
    tab.evaluate("window.before = document.getElementById('main')")
    tab.evaluate(REFRESH_NOW)
    until(lambda: tab.evaluate("document.getElementById('main') !== window.before"))
    assert marked() == [ids[1]]
    tab.evaluate(f"location.hash = '{ids[0]}'")
    until(lambda: marked() == [ids[0]])


def test_everything_can_be_reached_by_keyboard(site: Site, tab: Page) -> None:
    """The content at once, the grid as one stop, its marks by arrow keys, and each job by Enter."""
    _seed(site)
    tab.goto(site.server.address)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    focused = "document.activeElement.href || ''"
    for _ in range(10):
        tab.keyboard.press("Tab")
        if "/dataset" in tab.evaluate(focused):
            break
    assert "id=a" in tab.evaluate(focused), "the first dataset of the grid"
    tab.keyboard.press("ArrowRight")
    assert "id=a-0" in tab.evaluate(focused)
    tab.keyboard.press("ArrowDown")
    assert "id=b-0" in tab.evaluate(focused)
    tab.keyboard.press("ArrowRight")
    assert "id=b-2" in tab.evaluate(focused)
    tab.keyboard.press("ArrowUp")
    assert "id=a-2" in tab.evaluate(focused)
    tab.keyboard.press("Shift+Tab")
    assert "id=" not in tab.evaluate(focused), "one step leaves the grid"
    tab.keyboard.press("Tab")
    assert "id=a-2" in tab.evaluate(focused), "and one comes back to the same mark"
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("heading", level=1)).to_contain_text("Job a-2")


def test_a_refresh_keeps_where_tab_enters_the_grid(site: Site, tab: Page) -> None:
    """Also while the focus is elsewhere, and though the mark's place has moved."""
    _seed(site)
    site.put(job_record("c-2-failed", "FAILED", dataset="c", at=now_ms() - 2 * HOUR_MS))
    tab.goto(site.server.address)
    tab.locator('.grid a[href*="id=c-2-failed"]').focus()
    tab.keyboard.press("Tab")
    site.put(job_record("new", "FAILED", dataset="a", at=now_ms() - 1_000))
    _sweep(site)
    tab.evaluate(REFRESH_NOW)
    expect(tab.locator('a.mark[href*="id=new"]')).to_be_visible()
    tab.keyboard.press("Shift+Tab")
    assert "id=c-2-failed" in tab.evaluate("document.activeElement.href")
    assert tab.evaluate("document.activeElement.closest('.grid') !== null")


def test_a_job_that_now_needs_attention_keeps_its_place_in_the_grid(site: Site, tab: Page) -> None:
    """Though another link to it appears above the grid."""
    at = now_ms() - HOUR_MS
    _seed(site)
    site.put(job_record("ends", "PROCESSING", dataset="b", at=at))
    tab.goto(site.server.address)
    tab.locator('.grid a[href*="id=ends"]').focus()
    tab.keyboard.press("Tab")
    known = site.store.job("prod", "ends", at)
    assert known
    ended = job_record("ends", "FAILED", dataset="b", at=at)
    site.store.put(replace(ended, version=known.version, stored=known))
    tab.evaluate(REFRESH_NOW)
    expect(tab.locator('.attention a[href*="id=ends"]')).to_be_visible()
    tab.keyboard.press("Shift+Tab")
    assert "id=ends" in tab.evaluate("document.activeElement.href")
    assert tab.evaluate("document.activeElement.closest('.grid') !== null")


def test_tab_enters_a_grid_at_a_link_that_can_be_seen(site: Site, tab: Page) -> None:
    """Also once the window is so narrow that the day where the focus was is hidden."""
    now = now_ms()
    for name, days in (("older", 6), ("newer", 0)):
        site.put(job_record(name, dataset=None, at=now - days * DAY_MS - 60_000))
    stops = """[...document.querySelectorAll('.grid tbody a[tabindex="0"]')]
        .filter((a) => a.offsetParent).map((a) => new URL(a.href).searchParams.get('id'))"""
    tab.set_viewport_size({"width": 1_200, "height": 800})
    tab.goto(site.server.address)
    tab.get_by_role("button", name="Pause").click()  # a refresh would set them again
    assert tab.evaluate(stops) == ["newer"]
    tab.locator('.grid a[href*="id=older"]').focus()
    assert tab.evaluate(stops) == ["older"]
    tab.set_viewport_size({"width": 700, "height": 800})
    until(lambda: tab.evaluate(stops) == ["newer"], seconds=5)


def test_the_focus_can_be_seen(site: Site, tab: Page) -> None:
    """Otherwise nobody could use the page by keyboard."""
    _seed(site)
    tab.goto(site.server.address)
    for selector in (".top nav a", ".grid a.mark", "#pause", "pre"):
        tab.locator(selector).first.focus()
        tab.keyboard.press("Shift")  # the browser shows the focus after a key
        style = "getComputedStyle(document.activeElement).outlineStyle"
        assert tab.evaluate(style) == "solid", selector


def test_no_text_from_outside_acts_in_the_page(site: Site, tab: Page) -> None:
    """Errors, ids, keys and names are shown as text on every page, and nothing runs."""
    dialogs: list[str] = []
    tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    bad = "<img src=x onerror=alert(1)><script>alert(2)</script>'\"><svg onload=alert(3)>"
    at = now_ms() - HOUR_MS
    window = Window(at - DAY_MS, at, at)
    expected = Expectation(bad, "d1", "UTC", due=60)
    record = ExpectationRecord(
        "prod", expected, at, missed=window, history=(PastWindow(window, "FAILED", bad),)
    )
    site.store.edit_expectations("prod", [record])
    site.store.put_names("prod", Names(datasets={"d1": bad[:90]}))
    texts = [bad, *(fragment for fragment in FRAGMENTS if fragment.strip())]
    for n, text in enumerate(texts):
        job = job_record(f"j{n}", "FAILED", at=at + n, errors=[{"msg": text, "code": text}])
        site.put(replace(job, kind=f"1-{n}"))
    site.put(job_record(bad, "FAILED", at=at + 1_000, request_key=bad, correlation_id=bad))
    rejected = RequestRecord(
        bad, "REJECTED", "prod", outcome="INVALID", reason=bad, named=bad, touched_at=at
    )
    site.store.commit("prod", [Step(requests=(rejected,))])
    tab.goto(site.server.address)
    expect(tab.get_by_role("region", name="Needs attention")).to_contain_text(bad)
    tab.get_by_role("link", name="Requests", exact=True).click()
    expect(tab.get_by_role("main")).to_contain_text(bad)
    tab.get_by_role("link", name="Expectations", exact=True).click()
    expect(tab.get_by_role("main")).to_contain_text(bad)
    tab.get_by_role("link", name="Overview", exact=True).click()
    tab.locator(f'a.mark[title*="job {bad[:9]}"]').click()
    expect(tab.get_by_role("heading", level=1)).to_contain_text(f"Job {bad}")
    expect(tab.get_by_role("main")).to_contain_text(bad)
    tab.get_by_role("link", name=bad[:90]).first.click()
    expect(tab.get_by_role("heading", level=1)).to_contain_text(bad[:90])
    assert tab.locator("main img, main script").count() == 0
    assert dialogs == []


def test_what_is_not_our_own_script_does_not_run(site: Site, tab: Page) -> None:
    """Even if a text did get into the page as HTML: the policy has no exception."""
    tab.goto(site.server.address)
    ran = tab.evaluate(
        """() => {
            const inline = document.createElement("script");
            inline.textContent = "window.ran = true";
            document.body.append(inline);
            const image = document.createElement("div");
            image.innerHTML = "<img src='data:,x' onerror='window.ran = true'>";
            document.body.append(image);
            return new Promise((done) => setTimeout(() => done(window.ran === true), 300));
        }"""
    )
    assert ran is False


def test_a_page_of_somebody_else_can_t_show_ours_in_a_frame(
    site: Site, tab: Page, tmp_path: Path
) -> None:
    """It could make people click on what they do not see."""
    tab.goto(site.server.address)
    other = tmp_path / "other.html"
    other.write_text(f'<iframe src="{site.root}/"></iframe>')
    tab.goto(other.as_uri())
    frame = tab.frames[1]
    assert frame.locator("main").count() == 0


def test_a_name_that_leads_here_by_dns_is_refused(site: Site, chromium: Browser) -> None:
    """As when the owner of a site makes its name lead to this machine, to read the page."""
    options = how_to_launch("--host-resolver-rules=MAP evil.example 127.0.0.1")
    rebound = chromium.browser_type.launch(**options)
    tab = rebound.new_page()
    answer = tab.goto(f"http://evil.example:{site.server.port}/?token={site.server.token}")
    assert answer
    assert answer.status == 400
    assert "Sandbox" not in tab.content()
    rebound.close()


def test_what_only_the_served_page_has_can_be_used_by_everybody(site: Site, tab: Page) -> None:
    """The button, the state of refreshing, and the question for the token."""
    _seed(site)
    tab.goto(f"{site.root}/")
    assert serious_findings(tab) == []
    tab.get_by_label("Token").fill(site.server.token)
    tab.get_by_role("button", name="Open").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Exports")
    assert "token" not in tab.url
    assert serious_findings(tab) == []
