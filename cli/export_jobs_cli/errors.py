"""Errors that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """Printed in one line, with exit code 2; the text states what is wrong and what to do."""
