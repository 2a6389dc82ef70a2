"""Reads files that are named on the command line."""

from __future__ import annotations

import sys
from pathlib import Path

from export_jobs.contract.text import decode_text, one_line

from export_jobs_cli.errors import UserError


def read_text(file: str, *, at_most: int | None = None) -> str:
    """The text of a file, or of standard input for `-`. Raises UserError.

    `at_most`: a larger file, in bytes, is refused, without reading all of it.
    """
    name = name_of(file)
    size = -1 if at_most is None else at_most + 1
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(size)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(size)
        if at_most is not None and len(raw) > at_most:
            raise UserError(f"can't read {name}: it is larger than {at_most // 1024:,} KB")
        return decode_text(raw)
    except OSError as error:
        raise UserError(f"can't read {name}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"can't read {name}: {error}") from None


def name_of(file: str) -> str:
    """A file as it is called in messages."""
    return "standard input" if file == "-" else one_line(file)
