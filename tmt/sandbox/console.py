"""The dashboard: payments, events and their deliveries, the clock, trouble on order."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as Answer

from tmt.sandbox import disputes, money, refunds, webhooks
from tmt.sandbox.call import Call
from tmt.sandbox.currencies import spelled
from tmt.sandbox.errors import ApiError
from tmt.sandbox.faults import Faults
from tmt.sandbox.shape import Json, known, same
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
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_REASONS = ("fraudulent", "product_not_received", "inquiry")


def span(text: str) -> float:
    """`5d`, `12h`, `30m`, `90s`, `2w` or plain seconds, in seconds. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no span of time such as 5d, 12h or 90s")
    return float(match[1]) * _UNITS[match[2]]


class Console:
    """The pages under the sandbox's root; its clock and faults are also served as JSON.

    Where strangers are served too (no `local_only`), only who knows the secret key changes things.
    """

    def __init__(
        self, store: Store, ordered: Faults, advance: Callable[[float], None], key: str,
        local_only: bool,
    ) -> None:  # fmt: skip
        self._store, self._faults, self._advance = store, ordered, advance
        self._key, self._local_only = key, local_only

    def blueprint(self) -> Blueprint:
        """The views."""
        views = Blueprint("console", __name__)
        views.add_app_template_filter(spelled, "money")
        views.add_app_template_filter(_moment, "moment")
        views.add_app_template_filter(self._delivery, "delivery")
        views.before_request(self._guard)
        views.register_error_handler(ApiError, lambda e: _told(e.status, e.fields["message"]))
        views.register_error_handler(ValueError, lambda e: _told(400, str(e)))
        pages: dict[str, Callable[..., Answer]] = {
            "/": self._payments, "/payments/<id>": self._payment, "/events": self._events,
            "/events/<id>": self._event, "/clock": self._clock, "/faults": self._troubles,
        }  # fmt: skip
        changes: dict[str, Callable[..., Answer]] = {
            "/events/<id>/send/<endpoint>": self._send, "/payments/<id>/refund": self._refund,
            "/payments/<id>/dispute": self._dispute, "/disputes/<id>/decide": self._decide,
            "/endpoints/<id>": self._endpoint, "/clock": self._move, "/faults": self._order,
            "/faults/clear": self._clear,
        }  # fmt: skip
        for method, table in (("GET", pages), ("POST", changes)):
            for path, view in table.items():
                views.add_url_rule(path, view.__name__, view, methods=[method])
        return views

    def _guard(self) -> None:
        """Only a page of this site may post, or a program that knows the secret key."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.method != "POST" or same(given, self._key):
            return
        # Its own origin is what every current browser says when it posts a form of this site.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        own = urlsplit(request.headers.get("Origin", "")).netloc == request.host
        if not self._local_only or site != "same-origin" or not own:
            abort(403)

    def _payments(self) -> Answer:
        return _page("payments.html", payments=self._store.select("payment_intent", limit=_SHOWN))

    def _payment(self, id: str) -> Answer:
        intent = self._found(id, "payment_intent")
        kinds = ("charge", "refund", "dispute")
        listed: Json = {f"{kind}s": self._store.select(kind, payment_intent=id) for kind in kinds}
        events = self._store.select("event", [(_EVENTS_OF, [id])], "ASC")
        return _page("payment.html", intent=intent, events=events, reasons=_REASONS, **listed)

    def _events(self) -> Answer:
        newest = self._store.select("event", limit=_SHOWN)
        endpoints = self._store.select("webhook_endpoint")
        return _page("events.html", events=newest, endpoints=endpoints)

    def _event(self, id: str) -> Answer:
        event = self._found(id, "event")
        deliveries = self._store.rows(
            "SELECT deliveries.*, json_extract(body, '$.url') AS url FROM deliveries"
            " JOIN objects ON objects.id = endpoint WHERE event = ?", (id,),
        )  # fmt: skip
        attempts = self._store.rows("SELECT * FROM attempts WHERE event = ? ORDER BY id", (id,))
        return _page("event.html", event=event, deliveries=deliveries, attempts=attempts)

    def _send(self, id: str, endpoint: str) -> Answer:
        self._found(id, "event")
        self._found(endpoint, "webhook_endpoint")
        webhooks.resend(self._store, id, endpoint)
        return _done(f"/events/{id}")

    def _refund(self, id: str) -> Answer:
        amount = request.form.get("amount")
        with self._store.transaction():
            given = {"amount": int(amount)} if amount else {}
            refunds.create(self._call(), {"payment_intent": id, **given})
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
        due = self._store.rows("SELECT * FROM timers ORDER BY due, id LIMIT 50")
        balance = money.balance(self._call(), {})
        return _page("clock.html", now=now, ahead=ahead, due=due, balance=balance)

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

    def _delivery(self, event: str) -> str:
        """What became of an event: none (wanted it), waiting, delivered or failed."""
        rows = self._store.rows("SELECT * FROM deliveries WHERE event = ?", (event,))
        if not rows:
            return "none"
        if all(row["delivered"] for row in rows):
            return "delivered"
        failed = any(row["attempts"] and not row["delivered"] for row in rows)
        return "failed" if failed else "waiting"


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
