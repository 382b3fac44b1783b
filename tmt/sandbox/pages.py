"""What a buyer's browser loads: stripe.js, the elements' frames, the bank's and wallet's pages."""

from __future__ import annotations

import unicodedata
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from babel import Locale
from flask import (
    Blueprint,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
)
from werkzeug.wrappers import Response as Answer

from tmt.sandbox import confirmation
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import ApiError
from tmt.sandbox.objects import Json, load_table, split_words, token
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.store import Store

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'self' http: https:; frame-ancestors *"
)
# Babel's territories that are no country of an address at Stripe.
_NO_COUNTRIES = split_words("""
    AC AQ AS BV CC CP CQ CU CX DG EA EH EU EZ FM GS GU HM IC IO IR KP MH MP NF
    PW QO SD SY TA TF UM UN VI XA XB ZZ""")


def pages(store: Store) -> Blueprint:
    """The views; `store` is read and written through the same calls as the API's."""
    views = Blueprint("pages", __name__)
    views.add_url_rule("/stripe.js", "script", lambda: _file("stripe.js"))
    views.add_url_rule("/static/<name>", "file", _file)
    views.add_url_rule("/texts/<language>", "texts", _texts)
    views.add_url_rule("/elements/payment", "element", _element)
    views.add_url_rule("/elements/expressCheckout", "express", lambda: _page("express.html"))
    views.add_url_rule("/elements/wallet", "wallet", _wallet)
    path = "/3ds/<id>/<secret>"
    views.add_url_rule(path, "ask", lambda **ids: _ask(store, **ids))
    views.add_url_rule(path, "answer", lambda **ids: _answer(store, **ids), methods=["POST"])
    return views


def _file(name: str) -> Response:
    answer = send_from_directory("static", name, max_age=0)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer


def _texts(language: str) -> Response:
    answer = jsonify(load_table("texts").get(language, {}).get("errors", {}))
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer


def _language() -> str:
    texts = load_table("texts")
    asked = request.args.get("locale") or request.accept_languages.best_match(texts) or "en"
    return asked if asked in texts else "en"


def _element() -> Response:
    every = Locale(_language()).territories.items()
    listed = [row for row in every if row[0].isalpha() and row[0] not in _NO_COUNTRIES]
    countries = sorted(listed, key=lambda row: unicodedata.normalize("NFKD", row[1]))
    return _page("element.html", methods=load_table("simulated_methods"), countries=countries)


def _wallet() -> Response:
    amount, currency = request.args.get("amount", type=int), request.args.get("currency", "")
    shown = format_amount(amount, currency.lower()[:3]) if amount else None
    return _page("wallet.html", amount=shown)


def _page(template: str, status: int = 200, **values: object) -> Response:
    language = _language()
    html = render_template(template, lang=language, t=load_table("texts")[language], **values)
    answer = make_response(html, status)
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer


def _call(store: Store) -> RequestContext:
    root = request.host_url.rstrip("/") + request.script_root
    return RequestContext(store, int(store.now()), root, f"req_{token(14)}")


def _ask(store: Store, id: str, secret: str) -> Response:
    try:
        intent = confirmation.challenged(_call(store), id, secret)
    except ApiError:
        return _page("challenge.html", 404, open=False)
    paying = "amount" in intent
    amount = format_amount(intent["amount"], intent["currency"]) if paying else None
    return _page("challenge.html", open=True, amount=amount)


def _answer(store: Store, id: str, secret: str) -> Answer:
    context = _call(store)
    try:
        with store.transaction():
            intent = confirmation.challenged(context, id, secret)
            return_url = intent["_challenge"]["return_url"]
            intent = confirmation.answer(context, intent, request.form.get("outcome") == "complete")
    except ApiError:
        return _page("challenge.html", 404, open=False)
    if return_url:
        return redirect(_returning(return_url, intent), 303)
    answer = Response(status=204)
    answer.headers["Access-Control-Allow-Origin"] = "*"
    return answer


def _returning(url: str, intent: Json) -> str:
    parts, kind = urlsplit(url), intent["object"]
    failed = intent["status"] == "requires_payment_method"
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        (kind, intent["id"]),
        (f"{kind}_client_secret", intent["client_secret"]),
        ("redirect_status", "failed" if failed else "succeeded"),
    ]
    return urlunsplit(parts._replace(query=urlencode(query)))
