"""How often something may be done, counted across the processes of a machine.

The counting is the `limits` library's. Its counters stand in an SQLite file of their own, so
that they neither differ from worker to worker nor contend with the shop's database; machines
that are to share them name a Redis.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from limits import parse
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from tmt.core.errors import TooMany

_SCHEMA = "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, count INT, expires REAL)"
_COUNT = """
    INSERT INTO counters (key, count, expires) VALUES (:key, :amount, :now + :expiry)
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN expires <= :now THEN :amount ELSE count + :amount END,
        expires = CASE WHEN expires <= :now THEN :now + :expiry ELSE expires END
    RETURNING count
"""


class Limits:
    """The limits of one shop."""

    def __init__(self, url: str, instance: Path) -> None:
        """`url` names a Redis (redis://…) or is empty for a file in `instance`."""
        storage = storage_from_string(url) if url else _FileStorage(instance / "limits.sqlite")
        self._limiter = FixedWindowRateLimiter(storage)

    def hit(self, limit: str, what: str, who: str) -> None:
        """Counts one doing of `what` by `who`; `TooMany` when the limit ("20 per hour") is passed."""
        item = parse(limit)
        if not self._limiter.hit(item, what, who):
            reset = self._limiter.get_window_stats(item, what, who).reset_time
            raise TooMany(f"{what}: {limit}", retry_after=max(1, round(reset - time.time())))


class _FileStorage(Storage):
    """Counters in an SQLite file, one connection a thread."""

    STORAGE_SCHEME = None

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._local = threading.local()

    @property
    def base_exceptions(self) -> type[Exception]:
        return sqlite3.Error

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        values = {"key": key, "amount": amount, "expiry": expiry, "now": time.time()}
        with self._connection() as connection:
            return int(connection.execute(_COUNT, values).fetchone()[0])

    def get(self, key: str) -> int:
        query = "SELECT count FROM counters WHERE key = ? AND expires > ?"
        with self._connection() as connection:
            row = connection.execute(query, (key, time.time())).fetchone()
        return int(row[0]) if row else 0

    def get_expiry(self, key: str) -> float:
        with self._connection() as connection:
            row = connection.execute("SELECT expires FROM counters WHERE key = ?", (key,)).fetchone()
        return float(row[0]) if row else time.time()

    def check(self) -> bool:
        with self._connection() as connection:
            return connection.execute("SELECT 1").fetchone() is not None

    def reset(self) -> int | None:
        with self._connection() as connection:
            return connection.execute("DELETE FROM counters").rowcount

    def clear(self, key: str) -> None:
        with self._connection() as connection:
            connection.execute("DELETE FROM counters WHERE key = ?", (key,))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, in a transaction of its own."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._path, timeout=5)
            connection.execute("PRAGMA journal_mode=WAL")
            # Counters that a power cut forgets do no harm.
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute(_SCHEMA)
            connection.execute("DELETE FROM counters WHERE expires < ?", (time.time(),))
            connection.commit()
            self._local.connection = connection
        with connection:
            yield connection
