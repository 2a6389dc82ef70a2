"""The pictures of the page in the README: `make screenshots`.

`python -m support.screenshots SNAPSHOT DIRECTORY` makes them of a snapshot that the demo has left.
"""

from __future__ import annotations

import sys
from pathlib import Path

from support.browser import browser

WIDTH = 1_280


def main(snapshot: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with browser() as chromium:
        tab = chromium.new_page(color_scheme="light")
        tab.set_viewport_size({"width": WIDTH, "height": 740})
        tab.goto((snapshot / "index.html").absolute().as_uri())
        tab.screenshot(path=directory / "overview.png")
        tab.set_viewport_size({"width": WIDTH, "height": 600})
        tab.get_by_role("link", name="Campaign exports", exact=True).click()
        tab.screenshot(path=directory / "dataset.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
