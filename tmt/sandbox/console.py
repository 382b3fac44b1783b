"""The dashboard: payments, events and their deliveries, the clock, trouble on order."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as Answer

from tmt.sandbox import delivery, disputes, money, refunds, webhooks
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import spelled
from tmt.sandbox.errors import ApiError
from tmt.sandbox.faults import Faults
from tmt.sandbox.shape import Json, known
from tmt.sandbox.store import Store

_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_SHOWN = 100
_EVENTS_OF = (
    "? IN (json_extract(body, '$.data.object.id'), json_extract(body,"
    " '$.data.object.payment_intent'))"
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
View = Callable[..., Answer]
_REASONS = ("fraudulent", "product_not_received", "inquiry")


def span(text: str) -> float:
    """`5d`, `12h`, `30m`, `90s`, `2w` or plain seconds, in seconds. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no span of time such as 5d, 12h or 90s")
    return float(match[1]) * _UNITS[match[2] or "s"]


class Console:
    """The pages under the sandbox's root; its clock and faults are also served as JSON.

    Where strangers are served too (no `local_only`), only who knows the secret key changes things.
    """

    def __init__(
        self,
        store: Store,
        ordered: Faults,
        advance: Callable[[float], None],
        key: str,
        local_only: bool,
    ) -> None:
        self._store, self._faults, self._advance = store, ordered, advance
        self._key, self._local_only = key, local_only

    def blueprint(self) -> Blueprint:
        """The views."""
        views = Blueprint("console", __name__)
        views.add_app_template_filter(spelled, "money")
        views.add_app_template_filter(_moment, "moment")
        pages: dict[str, View] = {
            "/": self._payments, "/payments/<id>": self._payment, "/events": self._events,
            "/events/<id>": self._event, "/clock": self._clock, "/faults": self._troubles,
        }  # fmt: skip
        for path, view in pages.items():
            views.add_url_rule(path, view.__name__, view)
        changes: dict[str, View] = {
            "/events/<id>/send/<endpoint>": self._send, "/payments/<id>/refund": self._refund,
            "/payments/<id>/dispute": self._dispute, "/disputes/<id>/decide": self._decide,
            "/endpoints/<id>": self._endpoint, "/clock": self._move, "/faults": self._order,
            "/faults/clear": self._clear,
        }  # fmt: skip
        for path, change in changes.items():
            name = change.__name__
            views.add_url_rule(path, name, self._guarded(change), methods=["POST"])
        return views

    def _guarded(self, change: View) -> View:
        """Only a page of this site may post, or a program that knows the secret key."""

        def guarded(**ids: str) -> Answer:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._key.encode()):
                if not self._local_only:
                    abort(403)
                _refuse_foreign_origin()
            try:
                return change(**ids)
            except ApiError as error:
                return _told(error.status, error.fields["message"])
            except ValueError as error:
                return _told(400, str(error))

        return guarded

    def _payments(self) -> Answer:
        return _page("payments.html", payments=self._store.select("payment_intent", limit=_SHOWN))

    def _payment(self, id: str) -> Answer:
        intent = self._found(id, "payment_intent")
        kinds = ("charge", "refund", "dispute")
        listed: Json = {f"{kind}s": self._store.select(kind, payment_intent=id) for kind in kinds}
        events = self._with_state(self._store.select("event", [(_EVENTS_OF, [id])], "ASC"))
        return _page("payment.html", intent=intent, events=events, reasons=_REASONS, **listed)

    def _events(self) -> Answer:
        newest = self._with_state(self._store.select("event", limit=_SHOWN))
        endpoints = self._store.select("webhook_endpoint")
        return _page("events.html", events=newest, endpoints=endpoints)

    def _event(self, id: str) -> Answer:
        event = self._found(id, "event")
        rows = map(dict, self._store.rows("SELECT * FROM deliveries WHERE event = ?", (id,)))
        sql = "SELECT * FROM attempts WHERE event = ? AND endpoint = ? ORDER BY id"
        deliveries = [
            {**row, "to": self._store.get(row["endpoint"]),
             "attempts": self._store.rows(sql, (id, row["endpoint"]))}
            for row in rows
        ]  # fmt: skip
        return _page("event.html", event=event, deliveries=deliveries)

    def _send(self, id: str, endpoint: str) -> Answer:
        self._found(id, "event")
        self._found(endpoint, "webhook_endpoint")
        delivery.resend(self._store, id, endpoint)
        return _done(f"/events/{id}")

    def _refund(self, id: str) -> Answer:
        p: Json = {"payment_intent": id}
        if amount := request.form.get("amount"):
            p["amount"] = int(amount)
        with self._store.transaction():
            refunds.create(self._call(), p)
        return _done(f"/payments/{id}")

    def _dispute(self, id: str) -> Answer:
        reason = request.form.get("reason", "")
        if reason not in _REASONS:
            raise ValueError("no such reason")
        with self._store.transaction():
            charge = self._found(id, "payment_intent")["latest_charge"]
            disputes.open_dispute(self._call(), str(charge), reason)
        return _done(f"/payments/{id}")

    def _decide(self, id: str) -> Answer:
        verdict = "won" if request.form.get("verdict") == "won" else "lost"
        with self._store.transaction():
            dispute = disputes.decide(self._call(), id, verdict)
        return _done(f"/payments/{dispute['payment_intent']}")

    def _endpoint(self, id: str) -> Answer:
        action = request.form.get("action")
        with self._store.transaction():
            if action == "roll":
                secret = webhooks.roll(self._call(), id)
                return _told(200, f"The new signing secret is {secret}; the old one ends in a day.")
            webhooks.update(self._call(), {"disabled": action == "disable"}, id)
        return _done("/events")

    def _clock(self) -> Answer:
        now, ahead = self._store.now(), self._store.ahead()
        if _wants_json():
            return jsonify(now=now, ahead=ahead)
        sql = "SELECT * FROM timers ORDER BY due, id LIMIT 50"
        balance = money.balance(self._call(), {})
        return _page("clock.html", now=now, ahead=ahead, due=self._store.rows(sql), balance=balance)

    def _move(self) -> Answer:
        self._advance(span(str(_given().get("advance", ""))))
        return self._clock() if _wants_json() else _done("/clock")

    def _troubles(self) -> Answer:
        armed = self._faults.armed()
        if _wants_json():
            return jsonify(armed)
        return _page("faults.html", armed=armed, kinds=known("faults"))

    def _order(self) -> Answer:
        given = {name: value for name, value in _given().items() if value not in ("", None)}
        kind, match = str(given.pop("kind", "")), str(given.pop("match", "*"))
        times, share = given.pop("times", 1), float(given.pop("share", 1))
        self._faults.arm(kind, match, None if times == "always" else int(times), share, **given)
        return self._troubles() if _wants_json() else _done("/faults")

    def _clear(self) -> Answer:
        self._faults.clear(int(_given().get("id", 0)))
        return self._troubles() if _wants_json() else _done("/faults")

    def _call(self) -> Call:
        return Call(self._store, int(self._store.now()), request.host_url.rstrip("/"))

    def _found(self, id: str, kind: str) -> Json:
        body = self._store.get(id, kind)
        return body if body is not None else abort(404)

    def _with_state(self, events: list[Json]) -> list[tuple[Json, str]]:
        """Each event with what became of it: none, waiting, delivered or failed."""
        told = []
        for event in events:
            sql = "SELECT delivered, attempts FROM deliveries WHERE event = ?"
            rows = self._store.rows(sql, (event["id"],))
            tried = any(row["attempts"] and not row["delivered"] for row in rows)
            done = all(row["delivered"] for row in rows)
            state = "delivered" if done else "failed" if tried else "waiting"
            told.append((event, state if rows else "none"))
        return told


def _given() -> Json:
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    return given if isinstance(given, dict) else {}


def _wants_json() -> bool:
    return "text/html" not in request.headers.get("Accept", "")


def _done(path: str) -> Answer:
    return redirect(f"{request.script_root}{path}", 303)


def _told(status: int, message: str) -> Answer:
    if _wants_json():
        return make_response(jsonify(message=message), status)
    return _page("message.html", status, message=message)


def _page(template: str, status: int = 200, **values: object) -> Answer:
    answer = make_response(render_template(template, **values), status)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _refuse_foreign_origin() -> None:
    """Its own origin is what every current browser says when it posts a form of this site."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        abort(403)
    origin = request.headers.get("Origin")
    if origin is None or urlsplit(origin).netloc != request.host:
        abort(403)
