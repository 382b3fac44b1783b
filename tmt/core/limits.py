"""Rate limits, counted across the processes of a machine.

The counting is the `limits` library's. Its counters are in an SQLite file of their own, so that
they neither differ from worker to worker nor contend with the shop's database; several machines
share them in a Redis.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import structlog
from limits import parse_many
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from tmt.core.errors import RateLimited

log = structlog.get_logger(__name__)

# Seconds.
_REDIS_TIMEOUT, _PAUSE = 0.5, 5.0
_SCHEMA = "CREATE TABLE IF NOT EXISTS counters (key TEXT PRIMARY KEY, count INT, expires REAL)"
# A counter that ends later than one which begins now began while the clock was ahead.
_COUNT = """
    INSERT INTO counters (key, count, expires) VALUES (:key, :amount, :now + :expiry)
    ON CONFLICT (key) DO UPDATE SET
        count = CASE WHEN expires > :now AND expires <= :now + :expiry
            THEN count + :amount ELSE :amount END,
        expires = CASE WHEN expires > :now AND expires <= :now + :expiry
            THEN expires ELSE :now + :expiry END
    RETURNING count
"""


class Limits:
    """The limits of one shop."""

    def __init__(self, url: str, instance: Path) -> None:
        """`url` names a Redis (redis://…) or is empty for a file in `instance`."""
        storage = _redis(url) if url else _FileStorage(instance / "limits.sqlite")
        self._storage = storage
        self._limiter = FixedWindowRateLimiter(storage)
        self._storage_errors = storage.base_exceptions
        self._paused_until = 0.0

    def works(self) -> bool:
        """Whether the counters can be reached."""
        try:
            return self._storage.check() is True
        except self._storage_errors:
            return False

    def purge_expired(self) -> None:
        """Deletes counters whose time is over; a Redis does so by itself."""
        if isinstance(self._storage, _FileStorage):
            self._storage.purge_expired()

    def hit(self, limit: str, action: str, client: str, *, times: int = 1) -> None:
        """Counts one `action` of a client; raises `RateLimited` beyond the limit ("20 per hour").

        Several limits are separated by semicolons ("5 per minute; 20 per hour") and all apply.
        With `times` the client may do so many times as much.
        Counters that are unavailable are logged, limit nobody, and are left alone for a while, so
        that pages do not wait for them.
        """
        if time.monotonic() < self._paused_until:
            return
        # The counters outlive a request, so addresses are hashed in them.
        client = hashlib.blake2b(client.encode(), digest_size=16).hexdigest()
        try:
            for written in parse_many(limit):
                item = type(written)(written.amount * times, written.multiples)
                if not self._limiter.hit(item, action, client):
                    reset = self._limiter.get_window_stats(item, action, client).reset_time
                    wait = max(1, round(reset - time.time()))
                    raise RateLimited(f"{action}: {item}", retry_after=wait)
        except self._storage_errors as error:
            self._paused_until = time.monotonic() + _PAUSE
            log.error("limits.unavailable", action=action, error=type(error).__name__)


def _redis(url: str) -> Storage:
    # Imported only where it is used: it costs time at start and memory.
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = dict.fromkeys(
        ("socket_timeout", "socket_connect_timeout"), _REDIS_TIMEOUT
    )
    options["retry"] = Retry(NoBackoff(), 0)
    return cast(Storage, storage_from_string(url, **options))


class _FileStorage(Storage):
    """Counters in an SQLite file, on one connection that the threads share."""

    STORAGE_SCHEME = None

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._lock = threading.Lock()
        self._open_connection: sqlite3.Connection | None = None

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
            row = connection.execute(
                "SELECT expires FROM counters WHERE key = ?", (key,)
            ).fetchone()
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

    def purge_expired(self) -> None:
        with self._connection() as connection:
            connection.execute("DELETE FROM counters WHERE expires < ?", (time.time(),))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction of its own."""
        with self._lock:
            if self._open_connection is None:
                self._open_connection = self._connect()
            with self._open_connection:
                yield self._open_connection

    def _connect(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        # Losing counters in a power cut does no harm.
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(_SCHEMA)
        connection.execute("DELETE FROM counters WHERE expires < ?", (time.time(),))
        connection.commit()
        return connection
