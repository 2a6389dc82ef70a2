"""A browser, a tab in which nothing may fail, and a local system."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.browser import NoBrowser, browser
from support.command_line import Local, running_local


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        with browser() as launched:
            yield launched
    except NoBrowser as missing:
        pytest.fail(str(missing), pytrace=False)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1280, "height": 900})
    made.set_default_timeout(20_000)
    yield made
    made.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Page]:
    """No script may fail in it."""
    problems: list[str] = []
    page = context.new_page()
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    assert problems == []


@pytest.fixture
def quiet_tab(tab: Page) -> Iterator[Page]:
    """Nothing may be refused by the page's policy in it, and everything must be found."""
    problems: list[str] = []
    tab.on("console", lambda one: problems.append(one.text) if one.type == "error" else None)
    yield tab
    assert problems == []


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """One for the tests of the xdist group `live-page`; its jobs take their time."""
    command = ("local", "--pace", "4", "--sweep-every", "1", "--page-port", "0")
    with running_local(tmp_path_factory.mktemp("page"), *command) as local:
        yield local
