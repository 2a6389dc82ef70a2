"""What the README shows."""

from __future__ import annotations

import re

from support.files import ROOT

README = (ROOT / "README.md").read_text()


def shown_after(command: str) -> list[str]:
    """The lines of the first block of output that the README shows after a command."""
    after = README[README.index(command) :]
    found = re.search(r"```text\n(.*?)```", after, re.DOTALL)
    assert found
    return found[1].splitlines()
