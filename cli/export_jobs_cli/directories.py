"""Checks the directories that commands write to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from export_jobs_cli.errors import UserError


def writable(directory: Path) -> Path:
    """Creates the directory if needed, and tests it. Raises UserError if it is not writable."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError as error:
        raise UserError(f"can't write to {directory}: {error.strerror}") from None
