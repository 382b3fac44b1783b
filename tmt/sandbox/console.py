"""The dashboard: payments, events and their deliveries, the clock, trouble on order."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as Answer

from tmt.sandbox import balance, refunds_disputes, webhooks
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import ApiError
from tmt.sandbox.faults import Faults
from tmt.sandbox.objects import Json, load_table, secrets_match
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

_POLICY = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_EVENTS_OF = (
    "? IN (json_extract(body, '$.data.object.id'), json_extract(body,"
    " '$.data.object.payment_intent'))"
)
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_REASONS = ("fraudulent", "product_not_received", "inquiry")
# The page and the kind of object that it shows, if it shows one.
_PAGES = {
    "/": ("payments", ""), "/payments/<id>": ("payment", "payment_intent"),
    "/events": ("events", ""), "/events/<id>": ("event", "event"),
    "/clock": ("clock", ""), "/faults": ("faults", ""),
}  # fmt: skip


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
        views.add_app_template_filter(format_amount, "money")
        views.add_app_template_filter(_moment, "moment")
        views.context_processor(self._at_hand)
        views.before_request(self._guard)
        views.register_error_handler(ApiError, lambda e: _told(e.status, e.fields["message"]))
        views.register_error_handler(ValueError, lambda e: _told(400, str(e)))
        for path, (page, kind) in _PAGES.items():
            views.add_url_rule(path, page, partial(self._show, page, kind))
        changes: dict[str, Callable[..., Answer]] = {
            "/events/<id>/send/<endpoint>": self._send, "/payments/<id>/refund": self._refund,
            "/payments/<id>/dispute": self._dispute, "/disputes/<id>/decide": self._decide,
            "/endpoints/<id>": self._endpoint, "/clock": self._move, "/faults": self._order,
            "/faults/clear": self._clear,
        }  # fmt: skip
        for path, view in changes.items():
            views.add_url_rule(path, view.__name__, view, methods=["POST"])
        return views

    def _guard(self) -> None:
        """Only a page of this site may post, or a program that knows the secret key."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.method != "POST" or secrets_match(given, self._key):
            return
        # Its own origin is what every current browser says when it posts a form of this site.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        own = urlsplit(request.headers.get("Origin", "")).netloc == request.host
        if not self._local_only or site != "same-origin" or not own:
            abort(403)

    def _at_hand(self) -> dict[str, object]:
        """What the templates draw from."""
        return {
            "about": lambda id: self._store.select("event", [(_EVENTS_OF, [id])], "ASC"),
            "balance": lambda: balance.balance(self._call(), {}),
            "faults": self._faults,
            "kinds": load_table("faults"),
            "reasons": _REASONS,
            "store": self._store,
        }

    def _show(self, page: str, kind: str = "", id: str = "") -> Answer:
        """A page; the clock and the faults are JSON for who asks for no page."""
        if _wants_json() and page == "clock":
            return jsonify(now=self._store.now(), ahead=self._store.ahead())
        if _wants_json() and page == "faults":
            return jsonify(self._faults.armed())
        shown: Json = {kind: self._found(id, kind)} if kind else {}
        return _page(page, **shown)

    def _send(self, id: str, endpoint: str) -> Answer:
        self._found(id, "event")
        self._found(endpoint, "webhook_endpoint")
        webhooks.resend(self._store, id, endpoint)
        return self._done(f"events/{id}")

    def _refund(self, id: str) -> Answer:
        amount = request.form.get("amount")
        with self._store.transaction():
            given = {"amount": int(amount)} if amount else {}
            refunds_disputes.refund(self._call(), {"payment_intent": id, **given})
        return self._done(f"payments/{id}")

    def _dispute(self, id: str) -> Answer:
        reason = request.form.get("reason", "")
        if reason not in _REASONS:
            raise ValueError("no such reason")
        with self._store.transaction():
            charge = self._found(id, "payment_intent")["latest_charge"]
            refunds_disputes.open_dispute(self._call(), str(charge), reason)
        return self._done(f"payments/{id}")

    def _decide(self, id: str) -> Answer:
        verdict = "won" if request.form.get("verdict") == "won" else "lost"
        with self._store.transaction():
            dispute = refunds_disputes.decide(self._call(), id, verdict)
        return self._done(f"payments/{dispute['payment_intent']}")

    def _endpoint(self, id: str) -> Answer:
        action = request.form.get("action")
        with self._store.transaction():
            if action == "roll":
                secret = webhooks.roll(self._call(), id)
                return _told(200, f"The new signing secret is {secret}; the old one ends in a day.")
            webhooks.update(self._call(), {"disabled": action == "disable"}, id)
        return self._done("events")

    def _move(self) -> Answer:
        self._advance(span(str(_given().get("advance", ""))))
        return self._done("clock")

    def _order(self) -> Answer:
        given = {name: value for name, value in _given().items() if value not in ("", None)}
        kind, match = str(given.pop("kind", "")), str(given.pop("match", "*"))
        times, share = given.pop("times", 1), float(given.pop("share", 1))
        given |= {"seconds": float(given["seconds"])} if "seconds" in given else {}
        self._faults.arm(kind, match, None if times == "always" else int(times), share, **given)
        return self._done("faults")

    def _clear(self) -> Answer:
        self._faults.clear(int(_given().get("id", 0)))
        return self._done("faults")

    def _call(self) -> RequestContext:
        return RequestContext(self._store, int(self._store.now()), request.host_url.rstrip("/"))

    def _found(self, id: str, kind: str) -> Json:
        body = self._store.get(id, kind)
        return body if body is not None else abort(404)

    def _done(self, path: str) -> Answer:
        if _wants_json() and "/" not in path:
            return self._show(path)
        return redirect(f"{request.script_root}/{path}", 303)


def _given() -> Json:
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    return given if isinstance(given, dict) else {}


def _wants_json() -> bool:
    return "text/html" not in request.headers.get("Accept", "")


def _told(status: int, message: str) -> Answer:
    if _wants_json():
        return make_response(jsonify(message=message), status)
    return _page("message", status, message=message)


def _page(page: str, status: int = 200, **values: object) -> Answer:
    answer = make_response(render_template(f"{page}.html", **values), status)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
