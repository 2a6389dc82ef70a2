"""On a function's PYTHONPATH, it writes each AWS call to the file named by CALLS_FILE.

With each call, it writes which of our modules are loaded by then, and whether garbage is collected.
It sets the clock ahead by the milliseconds in the file named by AHEAD_FILE, if that exists.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import botocore.client

_call = botocore.client.BaseClient._make_api_call
_time_ns = time.time_ns


def _recorded(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
    entry = {
        "service": self.meta.service_model.service_name,
        "operation": operation_name,
        "parameters": api_params,
        "collects": gc.isenabled(),
        "loaded": [name for name in sys.modules if name.startswith("export_jobs.")],
    }
    with Path(os.environ["CALLS_FILE"]).open("a") as file:
        file.write(json.dumps(entry, default=str) + "\n")
    return _call(self, operation_name, api_params)


def _ahead_ns() -> int:
    file = Path(os.environ["AHEAD_FILE"])
    ahead_ms = int(file.read_text()) if file.exists() else 0
    return _time_ns() + ahead_ms * 1_000_000


botocore.client.BaseClient._make_api_call = _recorded
time.time_ns = _ahead_ns  # the source of `export_jobs.aws.clock.now_ms`
