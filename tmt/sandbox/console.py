"""The dashboard: payments, events and their deliveries, the clock, and faults."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

from flask import Blueprint, abort, jsonify, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from tmt.sandbox import balance, refunds_disputes, webhooks
from tmt.sandbox.billing_settings import ENDINGS, BillingSettings
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
_ABOUT_OBJECT = (
    "? IN (json_extract(body, '$.data.object.id'), json_extract(body,"
    " '$.data.object.payment_intent'))"
)
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DISPUTE_REASONS = ("fraudulent", "product_not_received", "inquiry")


def parse_duration(text: str) -> float:
    """`5d`, `12h`, `30m`, `90s`, `2w` or plain seconds, in seconds. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhdw]?)", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no span of time such as 5d, 12h or 90s")
    return float(match[1]) * _SECONDS[match[2]]


class Console:
    """The pages under the sandbox's root; its clock and faults are also served as JSON.

    Without `local_only`, other machines may read; only who has the secret key changes anything.
    """

    def __init__(
        self,
        store: Store,
        faults: Faults,
        advance: Callable[[float], None],
        key: str,
        local_only: bool,
    ) -> None:
        self._store, self._faults, self._advance = store, faults, advance
        self._key, self._local_only = key, local_only

    def blueprint(self) -> Blueprint:
        """The views."""
        views = Blueprint("console", __name__)
        views.add_app_template_filter(format_amount, "money")
        views.add_app_template_filter(_format_time, "moment")
        views.context_processor(self._template_globals)
        views.before_request(self._check_permission)
        views.register_error_handler(
            ApiError, lambda error: _message(error.status, error.fields["message"])
        )
        views.register_error_handler(ValueError, lambda error: _message(400, str(error)))
        get, post = views.get, views.post
        get("/", endpoint="payments")(lambda: _page("payments"))
        get("/payments/<id>")(self._payment)
        post("/payments/<id>/refund")(self._refund)
        post("/payments/<id>/dispute")(self._dispute)
        post("/disputes/<id>/decide")(self._decide)
        get("/events", endpoint="events")(lambda: _page("events"))
        get("/events/<id>")(self._event)
        post("/events/<id>/send/<endpoint>")(self._resend)
        post("/endpoints/<id>")(self._change_endpoint)
        get("/clock")(self._clock)
        post("/clock")(self._advance_clock)
        get("/billing")(self._billing)
        post("/billing")(self._change_billing)
        get("/faults")(self._list_faults)
        post("/faults")(self._arm_fault)
        post("/faults/clear")(self._clear_faults)
        return views

    def _check_permission(self) -> None:
        """Only a page of this site may post, or a program that has the secret key."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if request.method != "POST" or secrets_match(key, self._key):
            return
        # Every current browser sends its origin when it posts a form of this site.
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        is_own = urlsplit(request.headers.get("Origin", "")).netloc == request.host
        if not self._local_only or site != "same-origin" or not is_own:
            abort(403)

    def _template_globals(self) -> dict[str, object]:
        return {
            "balance": lambda: balance.retrieve_balance(self._context(), {}),
            "events_about": lambda id: self._store.select("event", [(_ABOUT_OBJECT, [id])], "ASC"),
            "faults": self._faults,
            "kinds": load_table("faults"),
            "reasons": _DISPUTE_REASONS,
            "store": self._store,
        }

    def _payment(self, id: str) -> Response:
        return _page("payment", payment_intent=self._get_or_404(id, "payment_intent"))

    def _refund(self, id: str) -> Response:
        params: Json = {"payment_intent": id}
        if amount := request.form.get("amount"):
            params["amount"] = int(amount)
        with self._store.transaction():
            refunds_disputes.create_refund(self._context(), params)
        return self._redirect(f"payments/{id}")

    def _dispute(self, id: str) -> Response:
        reason = request.form.get("reason", "")
        if reason not in _DISPUTE_REASONS:
            raise ValueError("no such reason")
        with self._store.transaction():
            charge = str(self._get_or_404(id, "payment_intent")["latest_charge"])
            amount = int(request.form.get("amount") or 0) or None
            refunds_disputes.open_dispute(self._context(), charge, reason, amount)
        return self._redirect(f"payments/{id}")

    def _decide(self, id: str) -> Response:
        verdict = "won" if request.form.get("verdict") == "won" else "lost"
        with self._store.transaction():
            dispute = refunds_disputes.decide_dispute(self._context(), id, verdict)
        return self._redirect(f"payments/{dispute['payment_intent']}")

    def _event(self, id: str) -> Response:
        return _page("event", event=self._get_or_404(id, "event"))

    def _resend(self, id: str, endpoint: str) -> Response:
        self._get_or_404(id, "event")
        self._get_or_404(endpoint, "webhook_endpoint")
        webhooks.resend(self._store, id, endpoint)
        return self._redirect(f"events/{id}")

    def _change_endpoint(self, id: str) -> Response:
        action = request.form.get("action")
        with self._store.transaction():
            if action == "roll":
                secret = webhooks.roll_secret(self._context(), id)
                message = f"The new signing secret is {secret}; the old one ends in a day."
                return _message(200, message)
            webhooks.update_endpoint(self._context(), {"disabled": action == "disable"}, id)
        return self._redirect("events")

    def _clock(self) -> Response:
        if _wants_json():
            return jsonify(now=self._store.now(), ahead=self._store.ahead())
        return _page("clock")

    def _advance_clock(self) -> Response:
        self._advance(parse_duration(str(_request_data().get("advance", ""))))
        return self._clock() if _wants_json() else self._redirect("clock")

    def _billing(self) -> Response:
        settings = BillingSettings.load(self._store)
        if _wants_json():
            return jsonify(settings.as_json())
        return _page("billing", settings=settings, endings=ENDINGS)

    def _change_billing(self) -> Response:
        BillingSettings.load(self._store).changed(_request_data()).save(self._store)
        return self._billing() if _wants_json() else self._redirect("billing")

    def _list_faults(self) -> Response:
        return jsonify(self._faults.armed()) if _wants_json() else _page("faults")

    def _arm_fault(self) -> Response:
        data = {name: value for name, value in _request_data().items() if value not in ("", None)}
        kind, match = str(data.pop("kind", "")), str(data.pop("match", "*"))
        times, share = data.pop("times", 1), float(data.pop("share", 1))
        if "seconds" in data:
            data["seconds"] = float(data["seconds"])
        self._faults.arm(kind, match, None if times == "always" else int(times), share, **data)
        return self._list_faults() if _wants_json() else self._redirect("faults")

    def _clear_faults(self) -> Response:
        self._faults.clear(int(_request_data().get("id", 0)))
        return self._list_faults() if _wants_json() else self._redirect("faults")

    def _context(self) -> RequestContext:
        return RequestContext(self._store, int(self._store.now()), request.host_url.rstrip("/"))

    def _get_or_404(self, id: str, kind: str) -> Json:
        body = self._store.get(id, kind)
        return body if body is not None else abort(404)

    def _redirect(self, path: str) -> Response:
        return redirect(f"{request.script_root}/{path}", 303)


def _request_data() -> Json:
    data = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    return data if isinstance(data, dict) else {}


def _wants_json() -> bool:
    return "text/html" not in request.headers.get("Accept", "")


def _message(status: int, message: str) -> Response:
    if _wants_json():
        return make_response(jsonify(message=message), status)
    return _page("message", status, message=message)


def _page(page: str, status: int = 200, **values: object) -> Response:
    response = make_response(render_template(f"{page}.html", **values), status)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-store"
    return response


def _format_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
