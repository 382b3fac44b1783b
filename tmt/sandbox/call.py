"""One call of the API: what it may use, and the marks it leaves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tmt.sandbox.errors import problem
from tmt.sandbox.params import apply
from tmt.sandbox.shape import ACCOUNT_VERSION, API_VERSION, Json, new, public
from tmt.sandbox.store import Store

# Stripe's messages and parameters do not always spell the object's name.
_LABELS = {
    "payment_intent": ("payment_intent", "intent"),
    "setup_intent": ("setupintent", "intent"),
    "payment_method": ("PaymentMethod", "payment_method"),
    "balance_transaction": ("balance transaction", "id"),
    "webhook_endpoint": ("webhook endpoint", "webhook_endpoint"),
    "test_helpers.test_clock": ("test_clock", "test_clock"),
    "event": ("event", "id"),
    "customer": ("customer", "customer"),
}
EVENTS_KEPT_SECONDS = 30 * 86400


@dataclass(frozen=True)
class Call:
    """The store, the sandbox's time (Unix seconds), and who asks.

    `root` is the sandbox's own address, without a slash at its end. `publishable` is True for a
    browser, which knows the publishable key and an intent's client secret.
    """

    store: Store
    now: int
    root: str = ""
    request_id: str | None = None
    idempotency_key: str | None = None
    publishable: bool = False
    version: str = ACCOUNT_VERSION

    def fetch(self, kind: str, id: str, param: str | None = None) -> Json:
        """The object, or ApiError (404, resource_missing)."""
        body = self.store.get(id, kind)
        forgotten = kind == "event" and body and body["created"] < self.now - EVENTS_KEPT_SECONDS
        if body is None or forgotten or body.get("deleted"):
            label, usual = _LABELS.get(kind, (kind.rpartition(".")[2], kind.rpartition(".")[2]))
            raise problem("resource_missing", param or usual, label=label, id=id[:255])
        return body

    def save(self, *bodies: Json) -> Json:
        """Store the objects; returns the last."""
        for body in bodies:
            self.store.put(body)
        return bodies[-1]

    def emit(self, kind: str, body: Json, previous: Json | None = None) -> None:
        """Record an event about the object as it is now, for each endpoint that wants it.

        The event is rendered here, once; each delivery differs in the `api_version` at most.
        """
        data: Json = {"object": public(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        request = {"id": self.request_id, "idempotency_key": self.idempotency_key}
        event = new(
            "event", self.now, api_version=API_VERSION, data=data, request=request, type=kind
        )
        wanting = [
            endpoint["id"]
            for endpoint in self.store.select("webhook_endpoint")
            if endpoint["status"] == "enabled" and {"*", kind} & {*endpoint["enabled_events"]}
        ]
        event["pending_webhooks"] = len(wanting)
        self.store.put(event)
        for endpoint in wanting:
            sql = "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, 0)"
            self.store.queue(sql, (event["id"], endpoint))

    def tell(self, body: Json, *events: str, before: Json | None = None) -> Json:
        """Store the object and record events about it; returns it."""
        self.store.put(body)
        for event in events:
            self.emit(event, body, before)
        return body

    def change(self, body: Json, p: Json, copied: Iterable[str], *events: str) -> Json:
        """Put the given ones of the `copied` parameters on the object, and tell of it."""
        before = {name: body[name] for name in p if name in body}
        apply(body, p, copied)
        return self.tell(body, *events, before=before)

    def later(self, seconds: float, action: str, id: str) -> None:
        """Have a function run on the object after so many seconds of sandbox time.

        `action` is its name, such as `charges.expire_hold`, or `disputes.decide:won` where it
        takes one more word.
        """
        sql = "INSERT INTO timers (due, action, object) VALUES (?, ?, ?)"
        self.store.queue(sql, (self.now + seconds, action, id))
