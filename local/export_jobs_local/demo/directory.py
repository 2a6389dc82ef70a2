"""The demo's directory: each run starts afresh, and removes only what a demo created."""

from __future__ import annotations

import shutil
from pathlib import Path

DEFAULT = Path(".export-jobs") / "demo"
_MARK = "made-by-demo.txt"
_FOLDERS = ("exports", "logs", "page", "spill")


class NotTheDemos(Exception):
    """The directory has jobs, exports or logs that no demo created; the text names them."""


def begin_anew(directory: Path) -> None:
    """Removes jobs, exports and logs of the last demo, but keeps the profile data.

    Raises NotTheDemos, and removes nothing, if they may not be a demo's; OSError if the directory
    can't be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / _MARK
    left = [
        *(directory / name for name in _FOLDERS if (directory / name).exists()),
        *directory.glob("jobs.sqlite3*"),
    ]
    if left and not mark.exists() and directory.resolve() != DEFAULT.resolve():
        raise NotTheDemos(f"{directory} contains {', '.join(path.name for path in left)}")
    mark.write_text("The next demo in this directory removes its exports, logs and jobs.\n")
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def keep(directory: Path) -> None:
    """Marks the directory's contents as no longer only the demo's."""
    (directory / _MARK).unlink(missing_ok=True)
