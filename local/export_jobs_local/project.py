"""Where the project's files are: the local system runs the very files that are deployed.

In a checkout they are where they belong; a wheel carries copies beside this module.
"""

from __future__ import annotations

from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]
_IN_THE_WHEEL = Path(__file__).resolve().parent / "project_files"

IS_CHECKOUT = (_CHECKOUT / "template.yaml").exists()
ROOT = _CHECKOUT if IS_CHECKOUT else _IN_THE_WHEEL
TEMPLATE = ROOT / "template.yaml"
REQUESTS = ROOT / "events" / "requests"
LOCAL_STACK = "export-jobs-local"
"""Not a name that anybody would deploy under: commands recognise the local system by it."""
