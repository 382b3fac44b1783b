"""Webhook endpoints, and delivering events to them: signed, at once, repeated until received."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import threading
import time
from collections.abc import Mapping
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
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

log = logging.getLogger(__name__)
_MAX_ENDPOINTS = 16
_OLD_SECRET_SECONDS = DAY
_REQUEST_TIMEOUT = 10.0
_LEASE_SECONDS = 30.0
_MAX_WAIT_SECONDS = 60.0
_FLUSH_TIMEOUT = 5.0
_MAX_STORED_ANSWER = 2000
_THREADS = 2
_DISABLE_AFTER_SECONDS = 3 * DAY
_FAULT_DELAYS = {"delay": 60.0, "reorder": 1.0}


@route("POST /v1/webhook_endpoints")
def create_endpoint(context: RequestContext, params: Json) -> Json:
    """Create an endpoint; this answer alone shows the signing secret."""
    _check_url(params["url"])
    if len(context.store.select("webhook_endpoint")) >= _MAX_ENDPOINTS:
        raise api_error("endpoint_limit", most=_MAX_ENDPOINTS)
    secret = "whsec_" + token(32)
    endpoint = new("webhook_endpoint", context.now, api_version=params.get("api_version"))
    endpoint |= {"_secrets": [[secret, None]], **field_changes(endpoint, params)}
    return context.save(endpoint) | {"secret": secret}


@route("POST /v1/webhook_endpoints/<id>")
def update_endpoint(context: RequestContext, params: Json, id: str) -> Json:
    """Update, disable or enable an endpoint."""
    endpoint = context.fetch("webhook_endpoint", id)
    if "url" in params:
        _check_url(params["url"])
    if "disabled" in params:
        status = "disabled" if params["disabled"] else "enabled"
        endpoint |= {"status": status, "_failing_since": None}
    return context.save(endpoint | field_changes(endpoint, params))


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise api_error("url_invalid")


def register_endpoint(store: Store, now: int, url: str, secret: str) -> None:
    """Have all events sent to `url`, signed with `secret`; the URL identifies the endpoint."""
    existing = store.select("webhook_endpoint", url=url)
    endpoint = existing[0] if existing else new("webhook_endpoint", now, url=url)
    endpoint |= {"status": "enabled", "enabled_events": ["*"], "_failing_since": None}
    store.put(endpoint | {"_secrets": [[secret, None]]})


def roll_secret(context: RequestContext, id: str) -> str:
    """Create a new signing secret; the old one signs too, for a day."""
    endpoint = context.fetch("webhook_endpoint", id)
    until, secret = context.now + _OLD_SECRET_SECONDS, "whsec_" + token(32)
    old_secrets = [[old, min(end or until, until)] for old, end in endpoint["_secrets"]]
    context.save(endpoint | {"_secrets": [[secret, None], *old_secrets]})
    return secret


@route("POST /v1/events/<id>/retry")
def retry_event(context: RequestContext, params: Json, id: str) -> Json:
    """Send an event once more: to one endpoint, or to all. The official CLI calls this."""
    event = context.fetch("event", id)
    endpoints = [endpoint["id"] for endpoint in context.store.select("webhook_endpoint")]
    if "webhook_endpoint" in params:
        endpoint = context.fetch("webhook_endpoint", params["webhook_endpoint"], "webhook_endpoint")
        endpoints = [endpoint["id"]]
    for endpoint_id in endpoints:
        resend(context.store, id, endpoint_id)
    return event


def resend(store: Store, event: str, endpoint: str) -> None:
    """Send the event once more, now."""
    with store.transaction():
        store.queue(
            "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, 0)"
            " ON CONFLICT (event, endpoint) DO UPDATE SET due = 0",
            (event, endpoint),
        )


class Delivery:
    """The background threads that send events.

    A delivery is leased while it is sent, so that neither a second thread nor a second process
    sends it too, and a killed process leaves it to be sent again.
    """

    def __init__(self, store: Store, faults: Faults, retry_delays: tuple[float, ...]) -> None:
        self._store, self._faults, self._retry_delays = store, faults, retry_delays
        self._wake = threading.Event()
        self._advancing = threading.Lock()
        self._stopping = False
        self._threads: list[threading.Thread] = []
        store.on_queued = self._wake.set

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
                self._wake.set()
                thread.join(0.05)

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock forward; it cannot be moved back.

        What is due in between is done before this returns, in order, while the threads rest: debits
        settle, refunds complete, holds expire, disputes are decided, events are delivered (again).
        """
        with self._advancing:
            clocks.advance(self._store, seconds, self.flush)
        self._wake.set()

    def flush(self) -> None:
        """Send what is due, and wait a while for what other threads are sending."""
        deadline = time.monotonic() + _FLUSH_TIMEOUT
        sql = "SELECT 1 FROM deliveries WHERE due <= ? LIMIT 1"
        while self._threads and self._store.rows(sql, (self._store.now(),)):
            if self._send_one():
                deadline = time.monotonic() + _FLUSH_TIMEOUT
            elif time.monotonic() > deadline:
                return
            else:
                time.sleep(0.002)

    def _work(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                sent = not self._advancing.locked() and self._send_one()
                due = clocks.next_due(self._store)
                pause = _MAX_WAIT_SECONDS if due is None else due - self._store.now()
            except Exception:
                log.exception("The sandbox's delivery failed; it continues in a moment")
                sent, pause = False, 1.0
            if not sent:
                self._wake.wait(min(max(pause, 0.05), _MAX_WAIT_SECONDS))

    def _send_one(self) -> bool:
        """Send the delivery that is due first; returns whether there was one."""
        clocks.run_due_timers(self._store)
        with self._store.transaction():
            due = self._store.rows(
                "SELECT deliveries.* FROM deliveries JOIN objects ON objects.id = event"
                " WHERE due <= ? AND leased < ? ORDER BY due, objects.seq LIMIT 1",
                (self._store.now(), time.time()),
            )
            for row in due:
                sql = "UPDATE deliveries SET leased = ? WHERE event = ? AND endpoint = ?"
                lease = time.time() + _LEASE_SECONDS
                self._store.execute(sql, (lease, row["event"], row["endpoint"]))
        for row in due:
            # Other threads may find more in the meantime.
            self._wake.set()
            self._send(row)
        return bool(due)

    def _send(self, row: Row) -> None:
        event, endpoint = self._store.get(row["event"]), self._store.get(row["endpoint"])
        if not event or not endpoint or endpoint["status"] != "enabled":
            self._finish(row, due=None, received=False)
            return
        if not row["delayed"]:
            for kind, details in self._faults.take(event["type"], "webhook_time").items():
                seconds = float(details.get("seconds", _FAULT_DELAYS[kind]))
                self._delay(row, self._store.now() + seconds)
                return
        faults = self._faults.take(event["type"], "webhook_sent")
        if "drop" in faults:
            self._record_attempt(row, self._store.now(), None, "Dropped by a fault.", 0.0)
            self._finish(row, due=None, received=False)
            return
        received = False
        for _ in range(2 if "double" in faults else 1):
            now, started = self._store.now(), time.monotonic()
            body, signature = _sign(event, endpoint, now, faults)
            status, answer = _post(endpoint["url"], body, signature)
            self._record_attempt(row, now, status, answer, time.monotonic() - started)
            received = status is not None and 200 <= status < 300
        self._plan_retry(row, endpoint, received)

    def _record_attempt(
        self, row: Row, at: float, status: int | None, answer: str, duration: float
    ) -> None:
        self._store.execute(
            "INSERT INTO attempts (event, endpoint, at, status, answer, duration)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (row["event"], row["endpoint"], at, status, answer, duration),
        )

    def _plan_retry(self, row: Row, endpoint: Json, received: bool) -> None:
        """Plan the next attempt; an endpoint that has failed for days is disabled."""
        with self._store.transaction():
            now, attempts = self._store.now(), row["attempts"]
            due = None
            if not received and attempts < len(self._retry_delays):
                due = now + self._retry_delays[attempts]
            self._finish(row, due, received)
            failing_since = endpoint.get("_failing_since")
            if (failing_since is None) != received:
                current = self._store.get(endpoint["id"]) or endpoint
                self._store.put(current | {"_failing_since": None if received else now})
            elif failing_since is not None and now - failing_since >= _DISABLE_AFTER_SECONDS:
                self._store.put(endpoint | {"status": "disabled"})

    def _finish(self, row: Row, due: float | None, received: bool) -> None:
        """End an attempt; the next one is `due` then, or never."""
        self._store.execute(
            "UPDATE deliveries SET due = ?, attempts = attempts + 1, delayed = 0, leased = 0,"
            " delivered = delivered OR ? WHERE event = ? AND endpoint = ?",
            (due, received, row["event"], row["endpoint"]),
        )

    def _delay(self, row: Row, due: float) -> None:
        """Leave a delivery for later without an attempt."""
        self._store.execute(
            "UPDATE deliveries SET due = ?, delayed = 1, leased = 0"
            " WHERE event = ? AND endpoint = ?",
            (due, row["event"], row["endpoint"]),
        )


def _sign(event: Json, endpoint: Json, now: float, faults: Mapping[str, Json]) -> tuple[bytes, str]:
    """The body and its Stripe-Signature header: one v1 for each secret that is valid `now`."""
    version, skew = endpoint["api_version"] or API_VERSION, 0.0
    if "api_version" in faults:
        version = faults["api_version"].get("version", ACCOUNT_VERSION)
    content = {**without_internals(event), "api_version": version}
    body = mangle(content) if "odd_json" in faults else json.dumps(content, indent=2).encode()
    secrets = [secret for secret, end in endpoint["_secrets"] if end is None or end > now]
    if "wrong_signature" in faults:
        secrets = ["whsec_nobody_has_this_one"]
    elif "old_secret" in faults:
        old_secrets = [secret for secret, _ in endpoint["_secrets"][1:2]]
        secrets = old_secrets or ["whsec_before_the_last_roll"]
    elif "clock_skew" in faults:
        skew = float(faults["clock_skew"].get("seconds", -600))
    # The machine's time: receivers compare it with theirs to refuse a replay.
    timestamp = int(time.time() + skew)
    payload = b"%d." % timestamp + body
    signatures = [hmac.new(key.encode(), payload, hashlib.sha256).hexdigest() for key in secrets]
    return body, ",".join([f"t={timestamp}", *(f"v1={signature}" for signature in signatures)])


def _post(address: str, body: bytes, signature: str) -> tuple[int | None, str]:
    """The receiver's status and answer, or None and what went wrong."""
    url = urlsplit(address)
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        "Stripe-Signature": signature,
        "Connection": "close",
    }
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    is_https = url.scheme == "https"
    connection_class = http.client.HTTPSConnection if is_https else http.client.HTTPConnection
    with closing(connection_class(url.netloc, timeout=_REQUEST_TIMEOUT)) as connection:
        try:
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            text = answer.read(1 << 16).decode(errors="replace")
            return answer.status, text[:_MAX_STORED_ANSWER]
        except (OSError, http.client.HTTPException) as error:
            return None, f"{type(error).__name__}: {error}"
