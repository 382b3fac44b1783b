"""Everything the sandbox knows, in one SQLite file that outlives the process."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tmt.sandbox.shape import Json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
    created INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, seq);
CREATE INDEX IF NOT EXISTS objects_payment_intent
    ON objects (json_extract(body, '$.payment_intent'));
CREATE TABLE IF NOT EXISTS deliveries (
    event TEXT NOT NULL, endpoint TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    due REAL, delivered INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (event, endpoint));
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS attempts (
    id INTEGER PRIMARY KEY, event TEXT NOT NULL, endpoint TEXT NOT NULL, at REAL NOT NULL,
    status INTEGER, answer TEXT NOT NULL, duration REAL NOT NULL);
CREATE INDEX IF NOT EXISTS attempts_event ON attempts (event);
CREATE TABLE IF NOT EXISTS timers (
    id INTEGER PRIMARY KEY, due REAL NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, created REAL NOT NULL, endpoint TEXT NOT NULL,
    fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL);
"""


class Store:
    """One connection, used by one thread at a time.

    `BEGIN IMMEDIATE` makes a second process on the same file wait instead of losing an update.
    WAL with `synchronous=NORMAL` survives a killed process (not a power cut), which is enough
    for play money and keeps a payment to a few milliseconds.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.executescript(_SCHEMA)
        self._depth = 0
        self._queued = False
        self.on_work: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator[None]:
        """All or nothing. `on_work` is called after a commit that queued something to do."""
        with self._lock:
            outer = self._depth == 0
            if outer:
                self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            self._depth += 1
            try:
                yield
            except BaseException:
                if outer:
                    self._db.execute("ROLLBACK")
                    self._queued = False
                raise
            finally:
                self._depth -= 1
            if outer:
                self._db.execute("COMMIT")
            wake, self._queued = outer and self._queued, self._queued and not outer
        if wake:
            self.on_work()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with self._lock:
            return self._db.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of one query."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def queue(self, sql: str, values: Sequence[Any]) -> None:
        """Run one statement that makes work for the background threads."""
        self.execute(sql, values)
        self._queued = True

    def put(self, body: Json) -> None:
        """Insert the object, or replace it where its id is known."""
        self.execute(
            "INSERT INTO objects (id, kind, created, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (body["id"], body["object"], body["created"], json.dumps(body)),
        )

    def get(self, id: str, kind: str | None = None) -> Json | None:
        """The object with this id (and kind), or None."""
        found = self.rows("SELECT kind, body FROM objects WHERE id = ?", (id,))
        if not found or (kind and found[0]["kind"] != kind):
            return None
        body: Json = json.loads(found[0]["body"])
        return body

    def delete(self, id: str) -> None:
        """Forget the object."""
        self.execute("DELETE FROM objects WHERE id = ?", (id,))

    def select(
        self,
        kind: str,
        where: Sequence[tuple[str, Sequence[Any]]] = (),
        order: str = "DESC",
        limit: int = -1,
    ) -> list[Json]:
        """Objects of a kind, newest first unless `order` is ASC.

        `where` holds SQL conditions of this package (never of a client) with their values.
        """
        conditions = " AND ".join(["kind = ?", *(sql for sql, _ in where)])
        values = [kind, *(value for _, some in where for value in some), limit]
        query = ("SELECT body FROM objects WHERE", conditions, "ORDER BY seq", order, "LIMIT ?")
        return [json.loads(row["body"]) for row in self.rows(" ".join(query), values)]
