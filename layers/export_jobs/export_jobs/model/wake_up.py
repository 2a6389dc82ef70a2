"""The message by which a sweep makes the creator look at a sandbox's waiting requests."""

from __future__ import annotations

import json

KEY = "wakeUp"


def wake_up_body(sandbox: str) -> str:
    return json.dumps({KEY: sandbox})
