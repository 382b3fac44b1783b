"""Everything the sandbox knows, and what time it is there, in one SQLite file that outlives it."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tmt.sandbox.objects import Json, read_data

_LAYOUT = 3


class Store:
    """One connection, used by one thread at a time. A file of another layout is emptied.

    WAL with `synchronous=NORMAL` survives a killed process (not a power cut), which is enough
    for play money and keeps a payment to a few milliseconds.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._queued = False
        self.on_queued: Callable[[], None] = lambda: None
        with self.transaction():
            if self.rows("PRAGMA user_version")[0][0] != _LAYOUT:
                for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
                    if not row["name"].startswith("sqlite_"):
                        self.execute(f'DROP TABLE "{row["name"]}"')
                self.execute(f"PRAGMA user_version = {_LAYOUT}")
            for statement in read_data("schema.sql").split(";")[:-1]:
                self.execute(statement)

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        with self._lock:
            self._db.close()

    def ahead(self) -> float:
        """Seconds by which the sandbox's clock is ahead of the machine's."""
        return float(self.rows("SELECT ahead FROM clock")[0][0])

    def now(self) -> float:
        """The sandbox's time, in Unix seconds."""
        return time.time() + self.ahead()

    def move_clock(self, ahead: float) -> None:
        """Have the sandbox's clock be so many seconds ahead, unless it is more already."""
        self.execute("UPDATE clock SET ahead = MAX(ahead, ?)", (ahead,))

    @contextmanager
    def transaction(self, write: bool = True) -> Iterator[None]:
        """All or nothing. `on_queued` is called after a commit that queued something to do."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                self._queued = False
                raise
            wake, self._queued = self._queued, False
        if wake:
            self.on_queued()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of a transaction, undone alone when it raises (unless the error has `keep`)."""
        self.execute("SAVEPOINT part")
        try:
            yield
        except BaseException as error:
            if not getattr(error, "keep", False):
                self.execute("ROLLBACK TO part")
            raise
        finally:
            self.execute("RELEASE part")

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement."""
        with self._lock:
            return self._db.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of one query."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def table(self, name: str, **equal: Any) -> list[sqlite3.Row]:
        """The rows of one of the sandbox's own tables whose columns are so, oldest first."""
        conditions = " AND ".join(["1", *(f"{column} = ?" for column in equal)])
        sql = f"SELECT * FROM {name} WHERE {conditions} ORDER BY rowid"  # noqa: S608 - no client's
        return self.rows(sql, [*equal.values()])

    def queue(self, sql: str, values: Sequence[Any]) -> None:
        """Run one statement that makes work for the background threads."""
        self.execute(sql, values)
        self._queued = True

    def put(self, body: Json) -> None:
        """Insert the object, or replace it where its id is known."""
        self.execute(
            "INSERT INTO objects (id, kind, created, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (body["id"], body["object"], body.get("created", 0), json.dumps(body)),
        )

    def get(self, id: str, kind: str | None = None) -> Json | None:
        """The object with this id (and kind), or None."""
        found = self.rows("SELECT kind, body FROM objects WHERE id = ?", (id,))
        if not found or (kind and found[0]["kind"] != kind):
            return None
        body: Json = json.loads(found[0]["body"])
        return body

    def select(
        self, kind: str, where: Sequence[tuple[str, Sequence[Any]]] = (), order: str = "DESC",
        limit: int = -1, **equal: Any,
    ) -> list[Json]:  # fmt: skip
        """Objects of a kind whose fields are so, newest first unless `order` is ASC.

        `where` holds SQL conditions of this package (never of a client) with their values.
        """
        where = [*where, *((f"json_extract(body, '$.{n}') = ?", [v]) for n, v in equal.items())]
        conditions = " AND ".join(["kind = ?", *(sql for sql, _ in where)])
        values = [kind, *(value for _, some in where for value in some), limit]
        query = ("SELECT body FROM objects WHERE", conditions, "ORDER BY seq", order, "LIMIT ?")
        return [json.loads(row["body"]) for row in self.rows(" ".join(query), values)]
