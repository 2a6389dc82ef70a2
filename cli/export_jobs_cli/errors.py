"""Errors that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """Said in a line, with exit code 2; the text says what is wrong and what to do."""
