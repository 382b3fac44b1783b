"""Sending events to webhook endpoints: signed, at once, again until they are received."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
from sqlite3 import Row
from urllib.parse import urlsplit

from tmt.sandbox import timers
from tmt.sandbox.objects import API_VERSION, public
from tmt.sandbox.shape import Json
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_TIMEOUT = 10.0
_LEASE = 30.0
_LONGEST_WAIT = 60.0
_ANSWER_KEPT = 2000
_THREADS = 2


class Delivery:
    """The background threads. A delivery is leased while it is sent, so that neither a second
    thread nor a second process sends it too, and a killed process leaves it to be sent again."""

    def __init__(self, store: Store, retry_delays: tuple[float, ...]) -> None:
        self._store = store
        self._retry_delays = retry_delays
        self._wake = threading.Condition()
        self._news = 0
        self._stopping = False
        self._threads: list[threading.Thread] = []
        store.on_work = self.wake

    def start(self) -> None:
        """Start sending. A second call does nothing."""
        if self._threads:
            return
        for number in range(_THREADS):
            name = f"sandbox-delivery-{number}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop sending; returns when the threads have ended."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(_TIMEOUT + 1)

    def wake(self) -> None:
        """Say that there is something new to do."""
        with self._wake:
            self._news += 1
            self._wake.notify_all()

    def _work(self) -> None:
        connections: dict[str, http.client.HTTPConnection] = {}
        while not self._stopping:
            seen = self._news
            try:
                timers.run_due(self._store, time.time())
                claimed = self._claim()
                if claimed:
                    self._send(claimed, connections)
                    continue
            except Exception:
                log.exception("The sandbox's delivery failed; it goes on in a moment")
            pause = self._pause()
            with self._wake:
                if not self._stopping and self._news == seen:
                    self._wake.wait(pause)
        for connection in connections.values():
            connection.close()

    def _pause(self) -> float:
        """Seconds until something is due."""
        due = self._store.rows(
            "SELECT MIN(due) FROM (SELECT MIN(due) AS due FROM deliveries"
            " UNION ALL SELECT MIN(due) FROM timers)"
        )[0][0]
        left = _LONGEST_WAIT if due is None else due - time.time()
        return min(max(left, 0.05), _LONGEST_WAIT)

    def _claim(self) -> Row | None:
        now = time.time()
        with self._store.transaction():
            found = self._store.rows(
                "SELECT deliveries.* FROM deliveries JOIN objects ON objects.id = event"
                " WHERE due <= ? ORDER BY due, objects.seq LIMIT 1",
                (now,),
            )
            if found:
                sql = "UPDATE deliveries SET due = ? WHERE event = ? AND endpoint = ?"
                self._store.execute(sql, (now + _LEASE, found[0]["event"], found[0]["endpoint"]))
        return found[0] if found else None

    def _send(self, row: Row, connections: dict[str, http.client.HTTPConnection]) -> None:
        event, endpoint = self._store.get(row["event"]), self._store.get(row["endpoint"])
        if not event or not endpoint or endpoint["status"] != "enabled":
            self._settle(row, None, False)
            return
        body = json.dumps(
            {**public(event), "api_version": endpoint["api_version"] or API_VERSION}, indent=2
        ).encode()
        started = time.time()
        status, answer = _post(endpoint, body, int(started), connections)
        with self._store.transaction():
            self._store.execute(
                "INSERT INTO attempts (event, endpoint, at, status, answer, duration)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (row["event"], row["endpoint"], started, status, answer, time.time() - started),
            )
            received = status is not None and 200 <= status < 300
            done = received or row["attempts"] >= len(self._retry_delays)
            due = None if done else time.time() + self._retry_delays[row["attempts"]]
            self._settle(row, due, received)

    def _settle(self, row: Row, due: float | None, received: bool) -> None:
        self._store.execute(
            "UPDATE deliveries SET due = ?, attempts = attempts + 1, delivered = delivered OR ?"
            " WHERE event = ? AND endpoint = ?",
            (due, received, row["event"], row["endpoint"]),
        )


def resend(store: Store, event: str, endpoint: str) -> None:
    """Send the event once more, now."""
    with store.transaction():
        store.queue(
            "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, 0)"
            " ON CONFLICT (event, endpoint) DO UPDATE SET due = 0",
            (event, endpoint),
        )


def signature(body: bytes, timestamp: int, secrets: list[str]) -> str:
    """The Stripe-Signature header: one v1 for each active secret."""
    payload = b"%d." % timestamp + body
    made = (hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest() for secret in secrets)
    return ",".join([f"t={timestamp}", *(f"v1={digest}" for digest in made)])


def _post(
    endpoint: Json, body: bytes, now: int, connections: dict[str, http.client.HTTPConnection]
) -> tuple[int | None, str]:
    """The receiver's status and answer, or None and what went wrong."""
    url = urlsplit(endpoint["url"])
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature(body, now, endpoint["_secrets"]),
    }
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    for fresh in (False, True):
        # A kept connection may have been closed by the receiver: one new one is tried.
        kept = connections.pop(url.netloc, None) if not fresh else None
        if kept is None and not fresh:
            continue
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kept or kind(url.netloc, timeout=_TIMEOUT)
        try:
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            text = answer.read(1 << 16).decode(errors="replace")[:_ANSWER_KEPT]
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if kept is None:
                return None, f"{type(error).__name__}: {error}"
            continue
        if answer.isclosed():
            connections[url.netloc] = connection
        else:
            connection.close()
        return answer.status, text
    raise AssertionError("unreachable: the second round always returns")
