"""Everything that the sandbox stores, its clock included, in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tmt.sandbox.objects import Json, encode, read_data, without_internals

_LAYOUT = 5
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
_UPSERT = (
    "INSERT INTO objects (id, kind, created, body) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET body = excluded.body"
)


class Store:
    """One connection, used by one thread at a time. A file of an older layout than 3 is emptied.

    WAL with `synchronous=NORMAL` survives a killed process (not a power cut), which is enough
    for play money and keeps a payment to a few milliseconds. In a transaction, which no other
    process interrupts, objects are read once, and written once before the next statement that
    might read them.
    """

    def __init__(self, path: str) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        # Bytes, of a new file: most objects fit into a page.
        self._db.execute("PRAGMA page_size = 8192")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        # Kilobytes, and pages: the file of a year of the clock is larger than the defaults.
        self._db.execute("PRAGMA cache_size = -65536")
        self._db.execute("PRAGMA wal_autocheckpoint = 4000")
        self._queued = False
        # Kind and JSON of the objects that this transaction has read; what it has yet to write.
        self._texts: dict[str, tuple[str, str]] = {}
        self._few: dict[str, list[Json]] = {}
        self._unwritten: dict[str, tuple[str, str, int, str]] = {}
        self._later: list[tuple[str, Sequence[Any]]] = []
        self.on_queued: Callable[[], None] = lambda: None
        # The time (Unix seconds) to which this process moves the clock, while it does.
        self.advancing_to = 0.0
        with self.transaction():
            layout = self.rows("PRAGMA user_version")[0][0]
            if layout == 3:
                self._upgrade_timers()
            if layout in (3, 4):
                for name in ("payment_intent", "settling", "payout", "balance"):
                    self.execute(f"DROP INDEX IF EXISTS objects_{name}")
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
                self._write()
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                self._queued = False
                raise
            finally:
                self._forget()
            wake, self._queued = self._queued, False
        if wake:
            self.on_queued()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of a transaction that an error undoes, unless the error says `keep_changes`."""
        self.execute("SAVEPOINT part")
        try:
            yield
            self._write()
        except BaseException as error:
            if not getattr(error, "keep_changes", False):
                self._forget()
                self._db.execute("ROLLBACK TO part")
            raise
        finally:
            self._db.execute("RELEASE part")

    def _forget(self) -> None:
        """Forget what was read, and what has yet to be written."""
        for cache in (self._texts, self._few, self._unwritten, self._later):
            cache.clear()

    def _write(self) -> None:
        """Write what this transaction has put or queued and not written, in that order."""
        if self._unwritten:
            rows = [*self._unwritten.values()]
            self._db.executemany(_UPSERT, rows)
            self._texts.update({id: (kind, text) for id, kind, _, text in rows})
            self._unwritten.clear()
        for sql, values in self._later:
            self._db.execute(sql, values)
        self._later.clear()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Run one statement, of which none but `delete` deletes what this transaction has read."""
        with self._lock:
            self._write()
            return self._db.execute(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of one query."""
        with self._lock:
            self._write()
            return self._db.execute(sql, values).fetchall()

    def table(self, name: str, **equal: Any) -> list[sqlite3.Row]:
        """The rows of one of the sandbox's own tables with these values, oldest first."""
        conditions = " AND ".join(["1", *(f"{column} = ?" for column in equal)])
        sql = f"SELECT * FROM {name} WHERE {conditions} ORDER BY rowid"  # noqa: S608 - no client's
        return self.rows(sql, [*equal.values()])

    def queue(self, sql: str, values: Sequence[Any]) -> None:
        """Run one statement that adds work for the background threads."""
        with self._lock:
            self._later.append((sql, values))
            self._queued = True
            if not self._db.in_transaction:
                self._write()

    def put(self, body: Json, more: str = "") -> str:
        """Insert the object, or replace the one with its id; returns its JSON as the API shows it.

        `more` is the JSON of further fields, without brackets.
        """
        internals = {name: value for name, value in body.items() if name[0] == "_"}
        text = shown = encode(without_internals(body) if internals else body)
        if more:
            text = shown = f"{shown[:-1]},{more}}}"
        if internals:
            text = f"{shown[:-1]},{encode(internals)[1:]}"
        row = (body["id"], body["object"], body.get("created", 0), text)
        with self._lock:
            is_known = self._texts.get(body["id"], ("", ""))[1] == text
            if is_known and body["id"] not in self._unwritten:
                return shown
            if self._db.in_transaction:
                self._unwritten[body["id"]] = row
                self._few.pop(body["object"], None)
            else:
                self._db.execute(_UPSERT, row)
        return shown

    def delete(self, id: str) -> None:
        """Delete the object with this id."""
        with self._lock:
            self.execute("DELETE FROM objects WHERE id = ?", (id,))
            self._texts.pop(id, None)
            self._few.clear()

    def get(self, id: str, kind: str | None = None) -> Json | None:
        """The object with this id (and kind), or None."""
        with self._lock:
            if id in self._unwritten:
                _, own_kind, _, text = self._unwritten[id]
            elif id in self._texts:
                own_kind, text = self._texts[id]
            else:
                sql = "SELECT kind, body FROM objects WHERE id = ?"
                row = self._db.execute(sql, (id,)).fetchone()
                if row is None:
                    return None
                own_kind, text = row
                if self._db.in_transaction:
                    self._texts[id] = own_kind, text
        if kind not in (None, own_kind):
            return None
        body: Json = json.loads(text)
        return body

    def all_of(self, kind: str) -> list[Json]:
        """All objects of a kind of which there are few, newest first; do not change them.

        A transaction reads them once.
        """
        with self._lock:
            if not self._db.in_transaction:
                return self.select(kind)
            if kind not in self._few:
                self._few[kind] = self.select(kind)
            return self._few[kind]

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
        # The kind is no variable, so that SQLite finds the indexes of single kinds.
        conditions = " AND ".join([f"kind = '{kind}'", *(sql for sql, _ in where)])
        values = [*(value for _, some in where for value in some), limit]
        query = ("SELECT body FROM objects WHERE", conditions, "ORDER BY seq", order, "LIMIT ?")
        sql = " ".join(query)
        with self._lock:
            if kind in {row[1] for row in self._unwritten.values()}:
                self._write()
            rows = self._db.execute(sql, values).fetchall()
        return [json.loads(row["body"]) for row in rows]
