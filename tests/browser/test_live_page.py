"""The page as it is served, in a browser: it renews itself, and can be used by keyboard alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from export_jobs.aws.clock import now_ms
from export_jobs.model.expectations import Expectation, ExpectationRecord, PastWindow, Window
from export_jobs.model.names import Names
from export_jobs.model.records import RequestRecord, SandboxState
from export_jobs.model.steps import Step
from export_jobs_cli.errors import UserError
from playwright.sync_api import Browser, Page, expect
from support.browser import how_to_launch, serious_findings
from support.command_line import Local, envelope
from support.hostile_text import FRAGMENTS
from support.pages import DAY_MS, HOUR_MS, job_record
from support.site import Site

pytestmark = pytest.mark.xdist_group("live-page")

RENEW_NOW = "document.dispatchEvent(new Event('visibilitychange'))"


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


def test_a_renewal_keeps_the_place(site: Site, tab: Page) -> None:
    """The focus stays on the same job, though its place has moved, and so does the scrolling."""
    _seed(site)
    tab.set_viewport_size({"width": 1_000, "height": 400})
    tab.goto(site.server.address)
    tab.locator('a.mark[href*="id=c-2"]').focus()
    tab.evaluate("window.scrollTo(0, 200)")
    before = tab.evaluate("window.scrollY")
    site.put(job_record("new", dataset="a", at=now_ms() - 1_000))
    _sweep(site)
    tab.evaluate(RENEW_NOW)
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
    tab.evaluate(RENEW_NOW)
    tab.wait_for_timeout(700)
    assert tab.evaluate("getSelection().toString()") == selected != ""
    assert tab.locator("a.mark").count() == 0
    tab.evaluate("getSelection().removeAllRanges()")
    tab.evaluate(RENEW_NOW)
    expect(tab.locator("a.mark").first).to_be_visible()


def test_it_says_when_it_can_t_be_renewed_and_no_longer_when_it_can(site: Site, tab: Page) -> None:
    """What was read last stays; nothing is said while all is well."""
    _seed(site)
    tab.goto(site.server.address)
    status = tab.get_by_role("status")
    assert status.inner_text() == ""

    def fails() -> None:
        raise UserError("AWS is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site.pages, "overview", fails)
        tab.evaluate(RENEW_NOW)
        expect(status).to_have_text("Not renewed: AWS is away")
        assert tab.locator(".grid").is_visible()
    tab.evaluate(RENEW_NOW)
    expect(status).to_have_text("")


def test_renewing_can_be_paused(site: Site, tab: Page) -> None:
    """Who reads a long page may not want it to move; afterwards, it is renewed at once."""
    tab.goto(site.server.address)
    tab.get_by_role("button", name="Pause").click()
    _seed(site)
    _sweep(site)
    tab.evaluate(RENEW_NOW)
    tab.wait_for_timeout(700)
    assert tab.locator("a.mark").count() == 0
    tab.get_by_role("button", name="Renew").click()
    expect(tab.locator("a.mark").first).to_be_visible()


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
    site.put(job_record(bad, "FAILED", at=at - 1, request_key=bad, correlation_id=bad))
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
    """The button, the state of renewal, and the question for the token."""
    _seed(site)
    tab.goto(f"{site.root}/")
    assert serious_findings(tab) == []
    tab.get_by_label("Token").fill(site.server.token)
    tab.get_by_role("button", name="Open").click()
    expect(tab.get_by_role("heading", level=1)).to_have_text("Exports")
    assert "token" not in tab.url
    assert serious_findings(tab) == []
