"""Webhook endpoints, and sending them events: signed, at once, again until they are received."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import re
import threading
import time
from contextlib import closing
from sqlite3 import Row
from urllib.parse import urlsplit

from tmt.sandbox import clocks
from tmt.sandbox.errors import api_error
from tmt.sandbox.faults import Faults, mangle
from tmt.sandbox.objects import (
    ACCOUNT_VERSION,
    API_VERSION,
    DAY,
    Json,
    new,
    token,
    without_internals,
)
from tmt.sandbox.params import changes
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_MOST_ENDPOINTS = 16
_ROLL_SECONDS = DAY
_TIMEOUT = 10.0
_LEASE = 30.0
_LONGEST_WAIT = 60.0
_PATIENCE = 5.0
_ANSWER_KEPT = 2000
_THREADS = 2
_DISABLED_AFTER = 3 * DAY
_WAITS = {"delay": 60.0, "reorder": 1.0}


def create(context: RequestContext, p: Json) -> Json:
    """POST /v1/webhook_endpoints; the only answer that shows the signing secret."""
    _check_url(p["url"])
    if len(context.store.select("webhook_endpoint")) >= _MOST_ENDPOINTS:
        raise api_error("endpoint_limit", most=_MOST_ENDPOINTS)
    version = p.get("api_version")
    if version and not re.fullmatch(r"20\d\d-\d\d-\d\d(\.[a-z]+)?", version):
        raise api_error("api_version", value=version)
    secret = "whsec_" + token(32)
    endpoint = new("webhook_endpoint", context.now, api_version=version, _secrets=[[secret, None]])
    return context.save(endpoint | changes(endpoint, p)) | {"secret": secret}


def update(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/webhook_endpoints/:id."""
    endpoint = context.fetch("webhook_endpoint", id)
    if "url" in p:
        _check_url(p["url"])
    if "disabled" in p:
        status = "disabled" if p["disabled"] else "enabled"
        endpoint |= {"status": status, "_failing_since": None}
    return context.save(endpoint | changes(endpoint, p))


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise api_error("url_invalid")


def register(store: Store, now: int, url: str, secret: str) -> None:
    """Have all events sent to `url`, signed with `secret`; known by its URL."""
    known = store.select("webhook_endpoint", url=url)
    endpoint = known[0] if known else new("webhook_endpoint", now, url=url)
    kept = {"status": "enabled", "enabled_events": ["*"], "_failing_since": None}
    store.put(endpoint | kept | {"_secrets": [[secret, None]]})


def roll(context: RequestContext, id: str) -> str:
    """A new signing secret; the old one signs too, for a day."""
    endpoint = context.fetch("webhook_endpoint", id)
    until, secret = context.now + _ROLL_SECONDS, "whsec_" + token(32)
    old = [[former, min(end or until, until)] for former, end in endpoint["_secrets"]]
    context.save(endpoint | {"_secrets": [[secret, None], *old]})
    return secret


def resend(store: Store, event: str, endpoint: str) -> None:
    """Send the event once more, now."""
    with store.transaction():
        store.queue(
            "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, 0)"
            " ON CONFLICT (event, endpoint) DO UPDATE SET due = 0",
            (event, endpoint),
        )


class Delivery:
    """The background threads. A delivery is leased while it is sent, so that neither a second
    thread nor a second process sends it too, and a killed process leaves it to be sent again."""

    def __init__(self, store: Store, faults: Faults, retry_delays: tuple[float, ...]) -> None:
        self._store, self._faults, self._retry_delays = store, faults, retry_delays
        self._news = threading.Event()
        self._advancing = threading.Lock()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        store.on_queued = self._news.set

    def start(self) -> None:
        """Start sending. A second call does nothing."""
        for number in range(_THREADS - len(self._threads)):
            name = f"sandbox-delivery-{number}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """Stop sending; returns when the threads have ended."""
        self._stopping = True
        for thread in self._threads:
            while thread.is_alive():
                self._news.set()
                thread.join(0.05)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock on; there is no way back.

        What is due in between is done before this returns, in order, while the threads rest: debits
        and refunds settle, holds run out, disputes are decided, events are delivered (again).
        """
        with self._advancing:
            clocks.advance(self._store, seconds, self.flush)
        self._news.set()

    def flush(self) -> None:
        """Send what is due, and wait a while for what other threads are sending."""
        end = time.monotonic() + _PATIENCE
        sql = "SELECT 1 FROM deliveries WHERE due <= ? LIMIT 1"
        while self._threads and self._store.rows(sql, (self._store.now(),)):
            if self._send_one():
                end = time.monotonic() + _PATIENCE
            elif time.monotonic() > end:
                return
            else:
                time.sleep(0.002)

    def _work(self) -> None:
        while not self._stopping:
            self._news.clear()
            try:
                sent = not self._advancing.locked() and self._send_one()
                due = clocks.next_due(self._store)
                pause = _LONGEST_WAIT if due is None else due - self._store.now()
            except Exception:
                log.exception("The sandbox's delivery failed; it goes on in a moment")
                sent, pause = False, 1.0
            if not sent:
                self._news.wait(min(max(pause, 0.05), _LONGEST_WAIT))

    def _send_one(self) -> bool:
        """Whether there was something to send."""
        clocks.run_due(self._store)
        if row := self._claim():
            # The others may find more meanwhile.
            self._news.set()
            self._send(row)
        return row is not None

    def _claim(self) -> Row | None:
        with self._store.transaction():
            found = self._store.rows(
                "SELECT deliveries.* FROM deliveries JOIN objects ON objects.id = event"
                " WHERE due <= ? AND leased < ? ORDER BY due, objects.seq LIMIT 1",
                (self._store.now(), time.time()),
            )
            for row in found:
                sql = "UPDATE deliveries SET leased = ? WHERE event = ? AND endpoint = ?"
                self._store.execute(sql, (time.time() + _LEASE, row["event"], row["endpoint"]))
        return found[0] if found else None

    def _send(self, row: Row) -> None:
        event, endpoint = self._store.get(row["event"]), self._store.get(row["endpoint"])
        if not event or not endpoint or endpoint["status"] != "enabled":
            self._settle(row, None, False)
            return
        if not row["delayed"]:
            for kind, details in self._faults.take(event["type"], "webhook_time").items():
                late = float(details.get("seconds", _WAITS[kind]))
                self._settle(row, self._store.now() + late, False, tried=0)
                return
        trouble = self._faults.take(event["type"], "webhook_sent")
        if "drop" in trouble:
            self._record(row, self._store.now(), None, "Dropped: a fault was ordered.", 0.0)
            self._settle(row, None, False)
            return
        for _ in range(2 if "double" in trouble else 1):
            received = self._attempt(row, event, endpoint, trouble)
        self._after(row, endpoint, received)

    def _attempt(self, row: Row, event: Json, endpoint: Json, trouble: dict[str, Json]) -> bool:
        now, started = self._store.now(), time.monotonic()
        status, answer = _post(endpoint["url"], *_message(event, endpoint, now, trouble))
        self._record(row, now, status, answer, time.monotonic() - started)
        return status is not None and 200 <= status < 300

    def _record(
        self, row: Row, at: float, status: int | None, answer: str, duration: float
    ) -> None:
        sql = "INSERT INTO attempts (event, endpoint, at, status, answer, duration)"
        values = (row["event"], row["endpoint"], at, status, answer, duration)
        self._store.execute(f"{sql} VALUES (?, ?, ?, ?, ?, ?)", values)

    def _after(self, row: Row, endpoint: Json, received: bool) -> None:
        """Plan the next attempt; an endpoint that has failed for days is told nothing more."""
        with self._store.transaction():
            now = self._store.now()
            done = received or row["attempts"] >= len(self._retry_delays)
            self._settle(row, None if done else now + self._retry_delays[row["attempts"]], received)
            since = endpoint.get("_failing_since")
            if (since is None) != received:
                fresh = self._store.get(endpoint["id"]) or endpoint
                self._store.put(fresh | {"_failing_since": None if received else now})
            elif since is not None and now - since >= _DISABLED_AFTER:
                self._store.put(endpoint | {"status": "disabled"})

    def _settle(self, row: Row, due: float | None, received: bool, tried: int = 1) -> None:
        self._store.execute(
            "UPDATE deliveries SET due = ?, attempts = attempts + ?, delayed = ?, leased = 0,"
            " delivered = delivered OR ? WHERE event = ? AND endpoint = ?",
            (due, tried, not tried, received, row["event"], row["endpoint"]),
        )


def _message(
    event: Json, endpoint: Json, now: float, trouble: dict[str, Json]
) -> tuple[bytes, str]:
    """The body and its Stripe-Signature header: one v1 for each secret that signs at this time."""
    version, skew = endpoint["api_version"] or API_VERSION, 0.0
    if "api_version" in trouble:
        version = trouble["api_version"].get("version", ACCOUNT_VERSION)
    told = {**without_internals(event), "api_version": version}
    body = mangle(told) if "odd_json" in trouble else json.dumps(told, indent=2).encode()
    secrets = [secret for secret, end in endpoint["_secrets"] if end is None or end > now]
    if "wrong_signature" in trouble:
        secrets = ["whsec_nobody_has_this_one"]
    elif "old_secret" in trouble:
        former = [secret for secret, _ in endpoint["_secrets"][1:2]]
        secrets = former or ["whsec_before_the_last_roll"]
    elif "clock_skew" in trouble:
        skew = float(trouble["clock_skew"].get("seconds", -600))
    # Stamped with the machine's time: by that, receivers tell a fresh signature from a replay.
    stamp = int(time.time() + skew)
    payload = b"%d." % stamp + body
    made = (hmac.new(secret.encode(), payload, hashlib.sha256).hexdigest() for secret in secrets)
    return body, ",".join([f"t={stamp}", *(f"v1={digest}" for digest in made)])


def _post(address: str, body: bytes, signed: str) -> tuple[int | None, str]:
    """The receiver's status and answer, or None and what went wrong."""
    url = urlsplit(address)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signed,
        "Connection": "close",
    }
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    with closing(kind(url.netloc, timeout=_TIMEOUT)) as connection:
        try:
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(1 << 16).decode(errors="replace")[:_ANSWER_KEPT]
        except (OSError, http.client.HTTPException) as error:
            return None, f"{type(error).__name__}: {error}"
