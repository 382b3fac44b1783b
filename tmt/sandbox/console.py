"""The dashboard: payments, their charges and events, every delivery, and "send again"."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Blueprint, Response, abort, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as Answer

from tmt.sandbox import delivery
from tmt.sandbox.currencies import spelled
from tmt.sandbox.shape import Json
from tmt.sandbox.store import Store

_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_SHOWN = 100
_OF_INTENT = "json_extract(body, '$.payment_intent') = ?"
_EVENTS_OF = (
    "? IN (json_extract(body, '$.data.object.id'), json_extract(body,"
    " '$.data.object.payment_intent'))"
)


def console(store: Store) -> Blueprint:
    """The pages under the sandbox's root."""
    views = Blueprint("console", __name__)
    views.add_app_template_filter(spelled, "money")
    views.add_app_template_filter(_moment, "moment")

    def payments() -> Response:
        return _page("payments.html", payments=store.select("payment_intent", limit=_SHOWN))

    def payment(id: str) -> Response:
        intent = _found(store, id, "payment_intent")
        listed = {kind: store.select(kind, [(_OF_INTENT, [id])]) for kind in ("charge", "refund")}
        events = store.select("event", [(_EVENTS_OF, [id])], "ASC")
        return _page("payment.html", intent=intent, events=_told(store, events), **listed)

    def events() -> Response:
        newest = store.select("event", limit=_SHOWN)
        return _page("events.html", events=_told(store, newest))

    def event(id: str) -> Response:
        deliveries = [
            {**row, "to": store.get(row["endpoint"]), "attempts": _attempts(store, row)}
            for row in map(dict, store.rows("SELECT * FROM deliveries WHERE event = ?", (id,)))
        ]
        return _page("event.html", event=_found(store, id, "event"), deliveries=deliveries)

    def send_again(id: str, endpoint: str) -> Answer:
        _refuse_foreign_origin()
        _found(store, id, "event")
        _found(store, endpoint, "webhook_endpoint")
        delivery.resend(store, id, endpoint)
        return redirect(f"{request.script_root}/events/{id}", 303)

    views.add_url_rule("/", "payments", payments)
    views.add_url_rule("/payments/<id>", "payment", payment)
    views.add_url_rule("/events", "events", events)
    views.add_url_rule("/events/<id>", "event", event)
    views.add_url_rule("/events/<id>/send/<endpoint>", "send_again", send_again, methods=["POST"])
    return views


def _page(template: str, **values: object) -> Response:
    answer = make_response(render_template(template, **values))
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _found(store: Store, id: str, kind: str) -> Json:
    body = store.get(id, kind)
    if body is None:
        abort(404)
    return body


def _told(store: Store, events: list[Json]) -> list[tuple[Json, str]]:
    """Each event with what became of it: none, waiting, delivered or failed."""
    told = []
    for event in events:
        sql = "SELECT due, delivered, attempts FROM deliveries WHERE event = ?"
        rows = store.rows(sql, (event["id"],))
        if not rows:
            state = "none"
        elif all(row["delivered"] for row in rows):
            state = "delivered"
        else:
            tried = any(row["attempts"] and not row["delivered"] for row in rows)
            state = "failed" if tried else "waiting"
        told.append((event, state))
    return told


def _attempts(store: Store, row: Json) -> list[Json]:
    sql = "SELECT * FROM attempts WHERE event = ? AND endpoint = ? ORDER BY id"
    return [dict(found) for found in store.rows(sql, (row["event"], row["endpoint"]))]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _refuse_foreign_origin() -> None:
    """Only a page of this site may post: its own origin, as every current browser says."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        abort(403)
    origin = request.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc != request.host:
        abort(403)
