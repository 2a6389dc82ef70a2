"""The statuses in which a job has ended."""

from typing import Final

FINAL_STATUSES: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
"""A job in one of these has ended. In any other status, even an unknown one, it is still open."""
