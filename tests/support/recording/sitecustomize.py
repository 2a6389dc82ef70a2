"""Put on a function's PYTHONPATH: writes each AWS call it makes to the file named by CALLS_FILE."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import botocore.client

_call = botocore.client.BaseClient._make_api_call


def _recorded(self: Any, operation_name: str, api_params: dict[str, Any]) -> Any:
    entry = {
        "service": self.meta.service_model.service_name,
        "operation": operation_name,
        "parameters": api_params,
    }
    with Path(os.environ["CALLS_FILE"]).open("a") as file:
        file.write(json.dumps(entry, default=str) + "\n")
    return _call(self, operation_name, api_params)


botocore.client.BaseClient._make_api_call = _recorded
