"""What a buyer's browser loads: stripe.js, the elements' frames, the bank's and wallet's pages."""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from babel import Locale
from babel.dates import format_datetime
from flask import (
    Blueprint,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
    url_for,
)
from werkzeug.wrappers import Response as WerkzeugResponse

from tmt.sandbox.confirmation import Confirmation, fetch_challenged_intent
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import ApiError
from tmt.sandbox.objects import Json, load_table, split_words, token
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import all_cards
from tmt.sandbox.store import Store
from tmt.sandbox.vouchers import expire_voucher, fetch_voucher, pay_voucher

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " frame-src 'self';"
    " base-uri 'none'; form-action 'self' http: https:; frame-ancestors *"
)
# What stripe.js is made of, in this order; each part may use what those before it define.
_SCRIPT_PARTS = ("calls.js", "dialogs.js", "elements.js", "group.js", "stripe.js")
# Countries whose cards are asked for a postal code, as their banks check it.
_WITH_POSTAL_CHECK = ("US", "CA", "GB")
# Territories of Babel that Stripe does not offer as the country of an address.
_NOT_OFFERED = split_words("""
    AC AQ AS BV CC CP CQ CU CX DG EA EH EU EZ FM GS GU HM IC IO IR KP MH MP NF
    PW QO SD SY TA TF UM UN VI XA XB ZZ""")


def pages(store: Store) -> Blueprint:
    """The views; those of the bank's page read and write the store."""
    views = Blueprint("pages", __name__)
    _add_challenge_views(views, store)
    _add_voucher_views(views, store)

    @views.get("/stripe.js")
    def script() -> Response:
        return _static_headers(Response(_script(), mimetype="text/javascript"))

    @views.get("/static/<name>")
    def file(name: str) -> Response:
        return _static_file(name)

    @views.get("/texts/<language>")
    def texts(language: str) -> Response:
        response = jsonify(load_table("texts").get(language, {}).get("errors", {}))
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    @views.get("/elements/payment")
    def payment_element() -> Response:
        methods = load_table("simulated_methods")
        return render_page("element.html", methods=methods, countries=_countries())

    @views.get("/elements/<any(card, cardNumber, cardExpiry, cardCvc, iban):kind>")
    def line_element(kind: str) -> Response:
        abroad = [card.number for card in all_cards() if card.country not in _WITH_POSTAL_CHECK]
        return render_page("line.html", kind=kind, abroad=abroad)

    @views.get("/elements/<any(address, linkAuthentication):kind>")
    def contact_element(kind: str) -> Response:
        texts = load_table("texts")[chosen_language()]
        state_names = dict.fromkeys(("CA", "ES"), texts["province"])
        return render_page(
            "contact.html",
            is_address=kind == "address",
            title=texts["address" if kind == "address" else "email"],
            countries=_countries(),
            states=_states(),
            state_names=state_names,
        )

    @views.get("/elements/expressCheckout")
    def express_checkout_element() -> Response:
        return render_page("express.html")

    @views.get("/elements/wallet")
    def wallet() -> Response:
        amount, currency = request.args.get("amount", type=int), request.args.get("currency", "")
        formatted = format_amount(amount, currency.lower()[:3]) if amount else None
        return render_page("wallet.html", amount=formatted)

    return views


def _add_challenge_views(views: Blueprint, store: Store) -> None:
    @views.get("/three-ds-2-challenge/<id>/<secret>")
    def frame_challenge(id: str, secret: str) -> Response:
        return render_page("challenge_frame.html", id=id, secret=secret)

    @views.get("/3ds/<id>/<secret>")
    def show_challenge(id: str, secret: str) -> Response:
        try:
            intent = fetch_challenged_intent(page_context(store), id, secret)
        except ApiError:
            return render_page("challenge.html", 404, open=False)
        amount = None
        if "amount" in intent:
            amount = format_amount(intent["amount"], intent["currency"])
        return render_page("challenge.html", open=True, amount=amount)

    @views.post("/3ds/<id>/<secret>")
    def answer_challenge(id: str, secret: str) -> WerkzeugResponse:
        context = page_context(store)
        try:
            with store.transaction():
                intent = fetch_challenged_intent(context, id, secret)
                return_url = intent["_challenge"]["return_url"]
                passed = request.form.get("outcome") == "complete"
                Confirmation.of(context, intent).answer_challenge(passed)
        except ApiError:
            return render_page("challenge.html", 404, open=False)
        if return_url:
            return redirect(_complete_return_url(return_url, intent), 303)
        response = Response(status=204)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response


def _add_voucher_views(views: Blueprint, store: Store) -> None:
    @views.get("/vouchers/<id>/<secret>")
    def show_voucher(id: str, secret: str) -> Response:
        try:
            intent = fetch_voucher(page_context(store), id, secret)
        except ApiError:
            return render_page("voucher.html", voucher=None)
        voucher = intent["_voucher"]
        details = (intent["next_action"] or {}).get("oxxo_display_details", {})
        expires = datetime.fromtimestamp(details.get("expires_after", 0), UTC)
        return render_page(
            "voucher.html",
            voucher=voucher,
            amount=format_amount(intent["amount"], intent["currency"]),
            expires=format_datetime(expires, "long", locale=chosen_language()),
        )

    @views.post("/vouchers/<id>/<secret>")
    def act_on_voucher(id: str, secret: str) -> WerkzeugResponse:
        act = pay_voucher if request.form.get("outcome") == "pay" else expire_voucher
        with suppress(ApiError), store.transaction():
            act(page_context(store), id, secret)
        return redirect(
            url_for("pages.show_voucher", id=id, secret=secret, locale=chosen_language()), 303
        )


@cache
def _script() -> str:
    """stripe.js: its parts, which see each other's names and nobody else's."""
    parts = [files(__package__).joinpath("static", "stripe", part) for part in _SCRIPT_PARTS]
    text = "\n".join(part.read_text("utf-8") for part in parts)
    return f'(() => {{\n"use strict";\n{text}}})();\n'


def _countries() -> list[tuple[str, str]]:
    """Codes and names of the countries, in the order of the reader's language."""
    territories = Locale(chosen_language()).territories.items()
    offered = [row for row in territories if row[0].isalpha() and row[0] not in _NOT_OFFERED]
    return sorted(offered, key=lambda row: unicodedata.normalize("NFKD", row[1]))


@cache
def _states() -> dict[str, list[tuple[str, str]]]:
    """What a country's addresses have as state, and its name, by country."""
    states = {}
    for country, text in load_table("states").items():
        names = text.split(", ")
        if country in ("US", "CA", "AU"):
            states[country] = [(code, name) for code, _, name in (n.partition(" ") for n in names)]
        else:
            states[country] = [(name, name) for name in names]
    return states


def _static_file(name: str) -> Response:
    return _static_headers(send_from_directory("static", name, max_age=0))


def _static_headers(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


def chosen_language() -> str:
    """The language of the request's `locale`, else the browser's, else English."""
    texts = load_table("texts")
    language = request.args.get("locale") or request.accept_languages.best_match(texts) or "en"
    return language if language in texts else "en"


def render_page(template: str, status: int = 200, **values: object) -> Response:
    """A page in the language of its reader, with the headers of this package's pages."""
    language = chosen_language()
    html = render_template(template, lang=language, t=load_table("texts")[language], **values)
    response = make_response(html, status)
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def page_context(store: Store) -> RequestContext:
    """The context of a page that a buyer's browser asks for."""
    root = request.host_url.rstrip("/") + request.script_root
    return RequestContext(store, int(store.now()), root, f"req_{token(14)}")


def _complete_return_url(url: str, intent: Json) -> str:
    """The URL to which a buyer returns, with the parameters that Stripe adds."""
    parts, kind = urlsplit(url), intent["object"]
    failed = intent["status"] == "requires_payment_method"
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        (kind, intent["id"]),
        (f"{kind}_client_secret", intent["client_secret"]),
        ("redirect_status", "failed" if failed else "succeeded"),
    ]
    return urlunsplit(parts._replace(query=urlencode(query)))
