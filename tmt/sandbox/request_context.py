"""The context of one request or timer: the store, the time, the client, and what they need."""

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
from tmt.sandbox.registry import LISTENERS, TIMER_ACTIONS
from tmt.sandbox.store import Store

EVENT_RETENTION_SECONDS = 30 * DAY
_LABELS = {"payment_intent": "PaymentIntent", "setup_intent": "SetupIntent"}


@dataclass(frozen=True)
class RequestContext:
    """The store, the sandbox's time (Unix seconds) and base URL (`root`), and who the client is.

    `publishable` is True for a browser, which has an intent's client secret at most.
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
        """The object, or ApiError (resource_missing).

        The status is 404 for an id of the URL, and 400 for one that the parameter `param` names.
        """
        body = self.store.get(id, kind)
        expired = kind == "event" and body and body["created"] < self.now - EVENT_RETENTION_SECONDS
        if body is None or expired or body.get("deleted"):
            # Stripe's messages and parameters do not always spell the object's name.
            name = kind.rpartition(".")[2]
            label, default = load_table("errors")["labels"].get(kind, (name, name))
            missing = api_error("resource_missing", param or default, label=label, id=id[:255])
            missing.status = 400 if param else 404
            raise missing
        return body

    def visible(self, body: Json) -> Json:
        """The object as this client may see it."""
        if self.publishable:
            fields = load_table("defaults")["visible_to_browsers"].get(body["object"])
            if fields:
                return {name: body[name] for name in split_words(fields) if name in body}
        return without_internals(body)

    def intent_error(self, name: str, intent: Json, **values: Any) -> ApiError:
        """An error of data/errors.yaml about an intent; it shows the intent in a wrong state."""
        kind = intent["object"]
        error = api_error(name, kind=kind, Kind=_LABELS[kind], **values)
        if error.fields.get("code") == f"{kind}_unexpected_state":
            error.fields[kind] = self.visible(intent)
        return error

    def check_client_secret(self, intent: Json, params: Json) -> None:
        """A browser must send the intent's client secret; a server may leave it out."""
        received = params.get("client_secret")
        if received is None and self.publishable:
            raise api_error("parameter_missing", "client_secret")
        if received is not None and not secrets_match(received, intent["client_secret"]):
            raise self.intent_error("wrong_client_secret", intent)

    def save(self, body: Json) -> Json:
        """Store the object; returns it. A field that is never null is absent instead."""
        for name, field in load_table("objects").get(body["object"], {}).items():
            if name in body and body[name] is None and "nullable" not in field:
                del body[name]
        self.store.put(body)
        return body

    def emit(self, event_type: str, body: Json, previous: Json | None = None) -> Json:
        """Record an event about the object as it is now, and have its listeners act on it.

        Returns the event.
        """
        event = self._record(event_type, body, previous)
        self.notify(event_type, body)
        return event

    def notify(self, event_type: str, body: Json) -> None:
        """Call the listeners of a type of event, or of a fact that Stripe has no event for."""
        for listener in LISTENERS.get(event_type, ()):
            listener(self, body)

    def _record(self, event_type: str, body: Json, previous: Json | None = None) -> Json:
        """Store an event, to be sent to each subscribed endpoint; returns it."""
        data: Json = {"object": without_internals(body)}
        if previous is not None:
            data["previous_attributes"] = previous
        subscribers = [
            endpoint["id"]
            for endpoint in self.store.select("webhook_endpoint", status="enabled")
            if {"*", event_type} & {*endpoint["enabled_events"]}
        ]
        event = new(
            "event",
            self.now,
            api_version=API_VERSION,
            data=data,
            pending_webhooks=len(subscribers),
            request={"id": self.request_id, "idempotency_key": self.idempotency_key},
            type=event_type,
        )
        self.save(event)
        for endpoint in subscribers:
            sql = "INSERT INTO deliveries (event, endpoint, due) VALUES (?, ?, 0)"
            self.store.queue(sql, (event["id"], endpoint))
        return event

    def save_and_emit(self, body: Json, *event_types: str) -> Json:
        """Store the object and record events about it, then call their listeners; returns it."""
        self.save(body)
        for event_type in event_types:
            self._record(event_type, body)
        for event_type in event_types:
            self.notify(event_type, body)
        return body

    def update(self, body: Json, changes: Json, *event_types: str) -> Json:
        """Change the object, store it, and record events with the previous values; returns it."""
        before = {name: body.get(name) for name in without_internals(changes)}
        previous = {name: value for name, value in before.items() if value != changes[name]}
        body |= changes
        self.save(body)
        for event_type in event_types:
            self._record(event_type, body, previous)
        for event_type in event_types:
            self.notify(event_type, body)
        return body

    def schedule(self, seconds: float, action: str, id: str, argument: str = "") -> None:
        """Have a timer action run with `id` after so many seconds. KeyError for an unknown one."""
        if action not in TIMER_ACTIONS:
            raise KeyError(action)
        sql = "INSERT INTO timers (due, action, object, argument) VALUES (?, ?, ?, ?)"
        self.store.queue(sql, (self.now + seconds, action, id, argument))
