"""The message by which the sweep has the creator look at a sandbox's line."""

from __future__ import annotations

import json

KEY = "wakeUp"


def wake_up_body(sandbox: str) -> str:
    return json.dumps({KEY: sandbox})
