"""The service's schedules on disk. They are only shown: the service runs none of them."""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS schedules (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    org TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    body TEXT NOT NULL
);
"""


class ScheduleStore:
    """All schedules of all organisations and sandboxes, kept in `directory`. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            directory / "schedules.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def add(
        self, *, org: str, sandbox: str, fields: Mapping[str, Any], now_s: int
    ) -> dict[str, Any]:
        """Adds a schedule with defaults for the fields left out; returns it as the API shows it.

        `now_s` is the time in epoch seconds.
        """
        number = str(uuid.uuid4())
        body = {
            "id": number,
            "imsOrgId": org,
            "sandbox": _sandbox(sandbox),
            "name": "Local schedule",
            "state": "inactive",
            "type": "export",
            "schedule": "0 0 1 * * ?",
            "properties": {},
            "createEpoch": now_s,
            "updateEpoch": now_s,
            **fields,
        }
        with self._lock:
            self._connection.execute(
                "INSERT INTO schedules (id, org, sandbox, body) VALUES (?, ?, ?, ?)",
                (number, org, sandbox, json.dumps(body)),
            )
        return body

    def remove(self, number: str) -> bool:
        """Removes a schedule; False if there is none."""
        with self._lock:
            done = self._connection.execute("DELETE FROM schedules WHERE id = ?", (number,))
            return done.rowcount > 0

    def page(
        self, *, org: str, sandbox: str, start: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """The page with the number `start`, newest first, and how many schedules there are."""
        place = (org, sandbox)
        with self._lock:
            (total,) = self._connection.execute(
                "SELECT COUNT(*) FROM schedules WHERE org = ? AND sandbox = ?", place
            ).fetchone()
            rows = self._connection.execute(
                "SELECT body FROM schedules WHERE org = ? AND sandbox = ?"
                " ORDER BY position DESC LIMIT ? OFFSET ?",
                (*place, limit, start * limit),
            ).fetchall()
        return [json.loads(body) for (body,) in rows], total


def _sandbox(name: str) -> dict[str, Any]:
    is_production = name == "prod"
    return {
        "sandboxId": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
        "sandboxName": name,
        "type": "production" if is_production else "development",
        "default": is_production,
    }
