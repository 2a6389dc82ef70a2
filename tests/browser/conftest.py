"""A browser, and a tab in which nothing may fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from support.browser import NoBrowser, browser


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
