"""Directories that a command is told to write to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from export_jobs_cli.errors import UserError


def writable(directory: Path) -> Path:
    """Makes the directory if need be, and tries it. Raises UserError if it can't be written."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return directory
    except OSError as error:
        raise UserError(f"{directory} can't be written: {error.strerror}") from None
