"""Everything that the sandbox stores, its clock included, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tmt.sandbox.objects import Json, read_data

_LAYOUT = 4
# The timers of layout 3 named modules and functions; now they name registered actions.
_LAYOUT_3_ACTIONS = {
    "after_paying.decide": "decide_dispute",
    "after_paying.escalate": "escalate_inquiry",
    "after_paying.fail_refund": "fail_refund",
    "after_paying.land_refund": "complete_refund",
    "after_paying.open_dispute": "open_dispute",
    "after_paying.pay_waiting_refunds": "pay_waiting_refunds",
    "after_paying.unanswered": "lose_unanswered_dispute",
    "after_paying.warn_of_fraud": "create_fraud_warning",
    "attempts.book_charge": "record_charge",
    "attempts.expire_redirect": "expire_redirect",
    "attempts.settle_debit": "settle_debit",
    "clocks.test_clock_ready": "finish_test_clock",
    "intents.expire_hold": "expire_hold",
    "money.midnight": "close_day",
    "money.payout_arrives": "complete_payout",
}


class Store:
    """One connection, used by one thread at a time. A file of an older layout than 3 is emptied.

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
            layout = self.rows("PRAGMA user_version")[0][0]
            if layout == 3:
                self._upgrade_timers()
            elif layout != _LAYOUT:
                for row in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
                    if not row["name"].startswith("sqlite_"):
                        self.execute(f'DROP TABLE "{row["name"]}"')
            if layout != _LAYOUT:
                self.execute(f"PRAGMA user_version = {_LAYOUT}")
            for statement in read_data("schema.sql").split(";")[:-1]:
                self.execute(statement)

    def _upgrade_timers(self) -> None:
        """From layout 3: the argument stood behind the action or, of a redirect, the object."""
        self.execute("ALTER TABLE timers ADD COLUMN argument TEXT NOT NULL DEFAULT ''")
        for row in self.rows("SELECT * FROM timers"):
            action, _, argument = row["action"].partition(":")
            object, _, secret = row["object"].partition("/")
            self.execute(
                "UPDATE timers SET action = ?, object = ?, argument = ? WHERE id = ?",
                (_LAYOUT_3_ACTIONS.get(action, action), object, argument or secret, row["id"]),
            )

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
        """Put the sandbox's clock so many seconds ahead, unless it is further already."""
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
        """A part of a transaction that an error undoes, unless the error says `keep_changes`."""
        self.execute("SAVEPOINT part")
        try:
            yield
        except BaseException as error:
            if not getattr(error, "keep_changes", False):
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
        """The rows of one of the sandbox's own tables with these values, oldest first."""
        conditions = " AND ".join(["1", *(f"{column} = ?" for column in equal)])
        sql = f"SELECT * FROM {name} WHERE {conditions} ORDER BY rowid"  # noqa: S608 - no client's
        return self.rows(sql, [*equal.values()])

    def queue(self, sql: str, values: Sequence[Any]) -> None:
        """Run one statement that adds work for the background threads."""
        self.execute(sql, values)
        self._queued = True

    def put(self, body: Json) -> None:
        """Insert the object, or replace the one with its id."""
        self.execute(
            "INSERT INTO objects (id, kind, created, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (body["id"], body["object"], body.get("created", 0), json.dumps(body)),
        )

    def get(self, id: str, kind: str | None = None) -> Json | None:
        """The object with this id (and kind), or None."""
        for row in self.rows("SELECT kind, body FROM objects WHERE id = ?", (id,)):
            if kind is None or row["kind"] == kind:
                body: Json = json.loads(row["body"])
                return body
        return None

    def select(
        self,
        kind: str,
        where: Sequence[tuple[str, Sequence[Any]]] = (),
        order: str = "DESC",
        limit: int = -1,
        **equal: Any,
    ) -> list[Json]:
        """Objects of a kind with these values, newest first unless `order` is ASC.

        `where` holds SQL conditions of this package (never of a client) with their values.
        """
        fields = [(f"json_extract(body, '$.{name}') = ?", [equal[name]]) for name in equal]
        where = [*where, *fields]
        conditions = " AND ".join(["kind = ?", *(sql for sql, _ in where)])
        values = [kind, *(value for _, some in where for value in some), limit]
        query = ("SELECT body FROM objects WHERE", conditions, "ORDER BY seq", order, "LIMIT ?")
        return [json.loads(row["body"]) for row in self.rows(" ".join(query), values)]
