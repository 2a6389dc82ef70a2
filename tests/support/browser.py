"""A headless Chromium or Chrome. `python tests/support/browser.py` says whether there is one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",  # which containers forbid; the pages are our own
    "--disable-gpu",
    "--no-first-run",
    # What it would otherwise ask hosts of its maker, which are not needed, and may be out of reach.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
]


class NoBrowser(Exception):
    """There is none; the text says what to install."""


def executable() -> str:
    """The path in CHROMIUM, or the first Chromium or Chrome on PATH. Raises NoBrowser."""
    wanted = os.environ.get("CHROMIUM")
    found = shutil.which(wanted) if wanted else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        where = f"there is none at CHROMIUM={wanted}" if wanted else "none is on PATH"
        raise NoBrowser(
            f"the tests of the page need Chromium or Chrome, and {where}: install it (on Debian, "
            "apt-get install chromium), or set CHROMIUM to its path"
        )
    return found


def how_to_launch(*more: str) -> dict[str, Any]:
    """The options of Playwright's `launch`; `more` are further arguments of the command line."""
    return {"executable_path": executable(), "args": [*ARGUMENTS, *more]}


@contextmanager
def browser() -> Iterator[Browser]:
    """A running browser."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only the check runs without

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(**how_to_launch())
        try:
            yield launched
        finally:
            launched.close()


def serious_findings(page: Page) -> list[tuple[str, list[str]]]:
    """What axe-core finds serious or critical: the rule, and some of the elements."""
    from axe_playwright_python.sync_playwright import Axe  # noqa: PLC0415  the same

    return [
        (found["id"], [node["html"][:200] for node in found["nodes"][:3]])
        for found in Axe().run(page).response["violations"]
        if found["impact"] in {"serious", "critical"}
    ]


if __name__ == "__main__":
    try:
        executable()
    except NoBrowser as missing:
        sys.exit(f"error: {missing}")
