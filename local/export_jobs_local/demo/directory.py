"""Where the demo runs: it begins anew each time, and removes nobody's work but its own."""

from __future__ import annotations

import shutil
from pathlib import Path

DEFAULT = Path(".export-jobs") / "demo"
_MARK = "made-by-demo.txt"
_FOLDERS = ("exports", "logs", "spill")


class NotTheDemos(Exception):
    """There are jobs, exports or logs that no demo made; the text names them."""


def begin_anew(directory: Path) -> None:
    """Removes jobs, exports and logs of the last demo, and keeps the data they were exported from.

    Raises NotTheDemos, with nothing removed, where they may be anybody's; OSError where the
    directory can't be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    mark = directory / _MARK
    left = [
        *(directory / name for name in _FOLDERS if (directory / name).exists()),
        *directory.glob("jobs.sqlite3*"),
    ]
    if left and not mark.exists() and directory.resolve() != DEFAULT.resolve():
        raise NotTheDemos(f"{directory} holds {', '.join(path.name for path in left)}")
    mark.write_text("The next demo in this directory removes its exports, logs and jobs.\n")
    for path in left:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def keep(directory: Path) -> None:
    """From now on, what is in the directory is no longer the demo's alone."""
    (directory / _MARK).unlink(missing_ok=True)
