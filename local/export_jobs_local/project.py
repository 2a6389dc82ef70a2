"""Where things are in the project's tree: the local system runs the very files that are deployed."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
REQUESTS = ROOT / "events" / "requests"
LOCAL_STACK = "export-jobs-local"
"""Not a name that somebody would deploy under: commands tell by it which system is meant."""
