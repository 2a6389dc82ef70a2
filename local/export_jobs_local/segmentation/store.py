"""The service's jobs on disk: SQLite, with a journal of every status that any job ever had."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    org TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    status TEXT NOT NULL,
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    visible_after INTEGER NOT NULL DEFAULT 0,
    request TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS newest ON jobs (org, sandbox, created DESC, id DESC);
CREATE INDEX IF NOT EXISTS newest_by_status ON jobs (org, sandbox, status, created DESC, id DESC);
CREATE TABLE IF NOT EXISTS journal (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL,
    org TEXT NOT NULL,
    sandbox TEXT NOT NULL,
    status TEXT NOT NULL,
    at INTEGER NOT NULL,
    request_id TEXT
);
"""


@dataclass(frozen=True)
class StoredJob:
    """`body` is the job as the service shows it; times are epoch milliseconds."""

    id: int
    org: str
    sandbox: str
    status: str
    created: int
    request: dict[str, Any]
    body: dict[str, Any]


@dataclass(frozen=True)
class JournalEntry:
    """A job had this status from `at` (epoch ms) on. Deleted jobs end with `DELETED`."""

    position: int
    job: int
    org: str
    sandbox: str
    status: str
    at: int
    request_id: str | None


class JobStore:
    """All jobs of all organisations and sandboxes, kept in `directory`. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._before: dict[int, dict[str, Any]] = {}
        self._connection = sqlite3.connect(
            directory / "jobs.sqlite3", check_same_thread=False, isolation_level=None
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def add(
        self,
        *,
        org: str,
        sandbox: str,
        body: Mapping[str, Any],
        request: Mapping[str, Any],
        visible_after: int = 0,
    ) -> StoredJob:
        """Adds a job; its `id` goes into the body. Needs status, creationTime and updateTime."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO jobs (org, sandbox, status, created, updated, visible_after,"
                " request, body) VALUES (?, ?, ?, ?, ?, ?, ?, '')",
                (
                    org,
                    sandbox,
                    body["status"],
                    body["creationTime"],
                    body["updateTime"],
                    visible_after,
                    json.dumps(request),
                ),
            )
            number = int(cursor.lastrowid or 0)
            shown = {"id": number, **body}
            connection.execute("UPDATE jobs SET body = ? WHERE id = ?", (json.dumps(shown), number))
            self._note(connection, number, org, sandbox, body)
        job = self.get(number)
        assert job is not None  # noqa: S101  it has just been added
        return job

    def change(self, number: int, changes: Mapping[str, Any]) -> StoredJob | None:
        """Changes fields of the shown job; None if it is gone. A new status goes to the journal."""
        with self._transaction() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
            if row is None:
                return None
            job = _job(row)
            self._before[number] = job.body
            body = {**job.body, **changes}
            connection.execute(
                "UPDATE jobs SET status = ?, created = ?, updated = ?, body = ? WHERE id = ?",
                (
                    body["status"],
                    body["creationTime"],
                    body["updateTime"],
                    json.dumps(body),
                    number,
                ),
            )
            if body["status"] != job.status:
                self._note(connection, number, job.org, job.sandbox, body)
        return self.get(number)

    def remove(self, number: int, *, at: int) -> bool:
        with self._transaction() as connection:
            row = connection.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
            if row is None:
                return False
            job = _job(row)
            self._before.pop(number, None)
            connection.execute("DELETE FROM jobs WHERE id = ?", (number,))
            gone = {"status": "DELETED", "updateTime": at}
            self._note(connection, number, job.org, job.sandbox, gone)
        return True

    def get(self, number: int) -> StoredJob | None:
        with self._lock:
            row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (number,)).fetchone()
        return _job(row) if row else None

    def before_last_change(self, number: int) -> dict[str, Any] | None:
        """The job as it was shown before its last change, for listings that lag.

        None if it has not changed since the service started.
        """
        with self._lock:
            return self._before.get(number)

    def page(
        self,
        *,
        org: str,
        sandbox: str,
        limit: int | None,
        after: tuple[int, int] | None,
        status: str | None,
        now: int,
    ) -> list[StoredJob]:
        """Jobs, newest first, after the cursor `after` (creation time, id)."""
        where = ["org = ?", "sandbox = ?"]
        values: list[Any] = [org, sandbox]
        if status is not None:
            where.append("status = ?")
            values.append(status)
        if after is not None:
            where.append("(created, id) < (?, ?)")
            values += after
        where.append("visible_after <= ?")
        values += [now, -1 if limit is None else limit]
        query = (
            f"SELECT * FROM jobs WHERE {' AND '.join(where)}"  # noqa: S608  fixed fragments only
            " ORDER BY created DESC, id DESC LIMIT ?"
        )
        with self._lock:
            return [_job(row) for row in self._connection.execute(query, values)]

    def unfinished(self) -> list[StoredJob]:
        """Every job that has not ended, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT * FROM jobs WHERE status NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"
                " ORDER BY id"
            )
            return [_job(row) for row in rows]

    def journal(self, *, sandbox: str | None = None) -> list[JournalEntry]:
        """What really happened, in order."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT * FROM journal WHERE ? IS NULL OR sandbox = ? ORDER BY position",
                (sandbox, sandbox),
            )
            return [JournalEntry(*row) for row in rows]

    def add_history(self, *, org: str, sandbox: str, bodies: Iterable[Mapping[str, Any]]) -> None:
        """Adds many ended jobs at once, without journal entries."""
        with self._transaction() as connection:
            (start,) = connection.execute("SELECT COALESCE(MAX(id), 0) FROM jobs").fetchone()
            rows = (
                (
                    start + offset,
                    org,
                    sandbox,
                    body["status"],
                    body["creationTime"],
                    body["updateTime"],
                    "{}",
                    json.dumps({"id": start + offset, **body}),
                )
                for offset, body in enumerate(bodies, start=1)
            )
            connection.executemany(
                "INSERT INTO jobs (id, org, sandbox, status, created, updated, request, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )

    @staticmethod
    def _note(
        connection: sqlite3.Connection, number: int, org: str, sandbox: str, body: Mapping[str, Any]
    ) -> None:
        asked_by = body.get("requestId")
        connection.execute(
            "INSERT INTO journal (job, org, sandbox, status, at, request_id)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                number,
                org,
                sandbox,
                body["status"],
                body["updateTime"],
                asked_by if isinstance(asked_by, str) else None,
            ),
        )


def _job(row: tuple[Any, ...]) -> StoredJob:
    number, org, sandbox, status, created, _, _, request, body = row
    return StoredJob(number, org, sandbox, status, created, json.loads(request), json.loads(body))
