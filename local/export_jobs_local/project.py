"""The project's files: the local system runs the same files that are deployed.

In a checkout they are in their usual places; a wheel has copies next to this module.
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
"""Commands recognise the local system by this name, so no deployed stack should have it."""
