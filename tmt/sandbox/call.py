"""One call of the API: what it may use, and the marks it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tmt.sandbox import objects
from tmt.sandbox.errors import ApiError, missing
from tmt.sandbox.shape import Json
from tmt.sandbox.store import Store

# Stripe's messages and parameters do not always spell the object's name.
_LABELS = {
    "payment_intent": ("payment_intent", "intent"),
    "payment_method": ("PaymentMethod", "payment_method"),
    "balance_transaction": ("balance transaction", "id"),
    "webhook_endpoint": ("webhook endpoint", "webhook_endpoint"),
    "event": ("event", "id"),
}


@dataclass(frozen=True)
class Call:
    """The store, the time (Unix seconds), and who asks.

    `root` is the sandbox's own address, without a slash at its end. `publishable` is True for a
    browser, which knows the publishable key and one PaymentIntent's client secret.
    """

    store: Store
    now: int
    root: str = ""
    request_id: str | None = None
    idempotency_key: str | None = None
    publishable: bool = False
    version: str = objects.API_VERSION

    def fetch(self, kind: str, id: str, param: str | None = None) -> Json:
        """The object, or ApiError (404, resource_missing)."""
        body = self.store.get(id, kind)
        if body is None:
            label, usual = _LABELS.get(kind, (kind, kind))
            raise missing(label, id[:255], param or usual)
        return body

    def save(self, body: Json) -> Json:
        """Store the object."""
        self.store.put(body)
        return body

    def emit(self, kind: str, body: Json, previous: Json | None = None) -> None:
        """Record an event about the object as it is now, for each endpoint that wants it."""
        data: Json = {"object": objects.public(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        request = {"id": self.request_id, "idempotency_key": self.idempotency_key}
        event = objects.event(self.now, kind, data, request)
        wanting = [
            endpoint["id"]
            for endpoint in self.store.select("webhook_endpoint")
            if endpoint["status"] == "enabled" and {"*", kind} & {*endpoint["enabled_events"]}
        ]
        event["pending_webhooks"] = len(wanting)
        self.store.put(event)
        for endpoint in wanting:
            self.store.queue(
                "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, ?)",
                (event["id"], endpoint, 0.0),
            )

    def later(self, seconds: int, action: str, id: str) -> None:
        """Have the timer `action` run on the object after so many seconds."""
        sql = "INSERT INTO timers (due, action, object) VALUES (?, ?, ?)"
        self.store.queue(sql, (self.now + seconds, action, id))

    def card_error(self, code: str, message: str, intent: Json, **extra: Any) -> ApiError:
        """A refused payment (402), whose state changes stay."""
        shown = objects.publishable(intent) if self.publishable else objects.public(intent)
        more = {"payment_intent": shown, **extra}
        return ApiError(402, message, type="card_error", code=code, keep=True, extra=more)
