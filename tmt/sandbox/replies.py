"""Idempotency: the first answer to a key is the answer to that key for 24 hours."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tmt.sandbox.errors import problem
from tmt.sandbox.store import Store

_KEPT_SECONDS = 24 * 3600


class Replies:
    """The stored answers, and the keys that are being worked on at this moment."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running: set[str] = set()

    @contextmanager
    def claim(self, key: str | None) -> Iterator[None]:
        """Hold the key for the length of one request. Raises ApiError (409) if it is held."""
        if key is None:
            yield
            return
        if len(key) > 255:
            raise problem("too_large_key")
        with self._lock:
            if key in self._running:
                raise problem("idempotency_key_in_use", key=key)
            self._running.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(key)

    def find(self, key: str, now: int, endpoint: str, body: bytes) -> tuple[int, str] | None:
        """The stored status and body. Raises ApiError (400) for another request than the first."""
        self._store.execute("DELETE FROM replies WHERE created < ?", (now - _KEPT_SECONDS,))
        found = self._store.rows("SELECT * FROM replies WHERE key = ?", (key,))
        if not found:
            return None
        if found[0]["endpoint"] != endpoint:
            raise problem("idempotency_other_endpoint", key=key)
        if found[0]["fingerprint"] != _fingerprint(body):
            raise problem("idempotency_other_parameters", key=key)
        return found[0]["status"], found[0]["body"]

    def keep(
        self, key: str, now: int, endpoint: str, body: bytes, status: int, answer: str
    ) -> None:
        """Store an answer, in the transaction of what it answers."""
        self._store.execute(
            "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?)",
            (key, now, endpoint, _fingerprint(body), status, answer),
        )


def _fingerprint(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
