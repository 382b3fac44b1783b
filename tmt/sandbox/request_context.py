"""One call of the API: what it may use, and the marks it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import (
    ACCOUNT_VERSION,
    API_VERSION,
    DAY,
    Json,
    load_table,
    new,
    secrets_match,
    split_words,
    without_internals,
)
from tmt.sandbox.store import Store

EVENTS_KEPT_SECONDS = 30 * DAY


@dataclass(frozen=True)
class RequestContext:
    """The store, the sandbox's time (Unix seconds) and address (`root`), and who asks.

    `publishable` is True for a browser, which knows an intent's client secret at most.
    """

    store: Store
    now: int
    root: str = ""
    request_id: str | None = None
    idempotency_key: str | None = None
    publishable: bool = False
    version: str = ACCOUNT_VERSION
    path: str = ""

    def fetch(self, kind: str, id: str, param: str | None = None) -> Json:
        """The object, or ApiError (404, resource_missing)."""
        body = self.store.get(id, kind)
        forgotten = kind == "event" and body and body["created"] < self.now - EVENTS_KEPT_SECONDS
        if body is None or forgotten or body.get("deleted"):
            # Stripe's messages and parameters do not always spell the object's name.
            word = kind.rpartition(".")[2]
            label, usual = load_table("errors")["labels"].get(kind, (word, word))
            raise api_error("resource_missing", param or usual, label=label, id=id[:255])
        return body

    def visible(self, body: Json) -> Json:
        """The object as whoever asks may see it."""
        seen = (
            load_table("objects")["publishable"].get(body["object"]) if self.publishable else None
        )
        return (
            {name: body[name] for name in split_words(seen) if name in body}
            if seen
            else without_internals(body)
        )

    def intent_error(self, name: str, intent: Json, **said: Any) -> ApiError:
        """An error of data/errors.yaml that speaks of an intent; it shows one in a wrong state."""
        kind = intent["object"]
        spelled = {"payment_intent": "PaymentIntent", "setup_intent": "SetupIntent"}
        error = api_error(name, kind=kind, Kind=spelled[kind], **said)
        if error.fields.get("code") == f"{kind}_unexpected_state":
            error.fields[kind] = self.visible(intent)
        return error

    def check_client_secret(self, intent: Json, p: Json) -> None:
        """A browser must know the intent's client secret; a server may leave it out."""
        given = p.get("client_secret")
        if given is None and self.publishable:
            raise api_error("parameter_missing", "client_secret")
        if given is not None and not secrets_match(given, intent["client_secret"]):
            raise self.intent_error("wrong_client_secret", intent)

    def save(self, body: Json) -> Json:
        """Store the object; returns it."""
        self.store.put(body)
        return body

    def emit(self, kind: str, body: Json, previous: Json | None = None) -> None:
        """Record an event about the object as it is now, for each endpoint that wants it."""
        data: Json = {"object": without_internals(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        request = {"id": self.request_id, "idempotency_key": self.idempotency_key}
        event = new(
            "event", self.now, api_version=API_VERSION, data=data, request=request, type=kind
        )
        wanting = [
            endpoint["id"]
            for endpoint in self.store.select("webhook_endpoint", status="enabled")
            if {"*", kind} & {*endpoint["enabled_events"]}
        ]
        self.save(event | {"pending_webhooks": len(wanting)})
        for endpoint in wanting:
            sql = "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, 0)"
            self.store.queue(sql, (event["id"], endpoint))

    def save_and_emit(self, body: Json, *events: str) -> Json:
        """Store the object and record events about it; returns it."""
        self.save(body)
        for event in events:
            self.emit(event, body)
        return body

    def update(self, body: Json, changes: Json, *events: str) -> Json:
        """Change the object, store it, and record events that say what it was; returns it."""
        was = {name: body.get(name) for name in without_internals(changes)}
        before = {name: value for name, value in was.items() if value != changes[name]}
        body |= changes
        self.save(body)
        for event in events:
            self.emit(event, body, before)
        return body

    def schedule(self, seconds: float, action: str, id: str) -> None:
        """Have a function, such as `refunds_disputes.decide:won`, run on the object later."""
        sql = "INSERT INTO timers (due, action, object) VALUES (?, ?, ?)"
        self.store.queue(sql, (self.now + seconds, action, id))
