"""Tokens and ConfirmationTokens: what a browser hands to the shop's server instead of card data."""

from __future__ import annotations

from tmt.sandbox import payment_methods
from tmt.sandbox.customer_sources import CARD_ADDRESS, card_of
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, template
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext

_CONFIRMATION_TOKEN_SECONDS = 12 * 3600
# What a ConfirmationToken says of the payment unless the request that confirms it says otherwise.
_PAYMENT_FIELDS = ("return_url", "setup_future_usage", "shipping", "use_stripe_sdk", "mandate_data")
_PREVIEWED = ("allow_redisplay", "billing_details", "customer", "customer_account", "type")


@route("POST /v1/tokens", publishable=True)
def create_token(context: RequestContext, params: Json) -> Json:
    """A token for a card, good for one payment method or one payment."""
    # Of a token, alone of all, Stripe's types say that these two are strings.
    card = params["card"] | {
        name: payment_methods.number(params["card"], name) for name in ("exp_month", "exp_year")
    }
    address = {name: card[field] for name, field in CARD_ADDRESS.items() if field in card}
    owner = {"address": address, **({"name": card["name"]} if "name" in card else {})}
    method = payment_methods.from_data(
        context, {"type": "card", "card": card, "billing_details": owner}, ""
    )
    return _save_token(context, method, "cvc" in card)


def _save_token(context: RequestContext, method: Json, has_cvc: bool) -> Json:
    shown = card_of(context, method)
    shown["cvc_check"] = "unchecked" if has_cvc else None
    return context.save(new("token", context.now, card=shown, _method=method))


@route("GET /v1/tokens/<id>")
def retrieve_token(context: RequestContext, params: Json, id: str) -> Json:
    """A token; of one of Stripe's test tokens, a new one of its kind."""
    test_token = payment_methods.card_of_token(id)
    if test_token is None:
        return context.fetch("token", id)
    return _save_token(context, payment_methods.from_id(context, test_token.key), has_cvc=True)


@route("POST /v1/confirmation_tokens", publishable=True)
@route("POST /v1/test_helpers/confirmation_tokens")
def create_confirmation_token(context: RequestContext, params: Json) -> Json:
    """A ConfirmationToken with the payment method that it will confirm an intent with."""
    method = payment_methods.from_params(context, params, None)
    if method is None:
        both = "payment_method, payment_method_data"
        raise api_error("one_needed", "payment_method_data", both=both)
    kind = method["type"]
    online = {"ip_address": "127.0.0.1", "user_agent": "unknown"}
    acceptance = {"customer_acceptance": {"type": "online", "online": online}}
    named = ("payment_method_options", "return_url", "setup_future_usage")
    shipping = params.get("shipping")
    if shipping:
        address = template("payment_method.billing_details.address") | shipping["address"]
        shipping = {"phone": None, **shipping, "address": address}
    body = new(
        "confirmation_token",
        context.now,
        expires_at=context.now + _CONFIRMATION_TOKEN_SECONDS,
        mandate_data=acceptance if kind == "sepa_debit" else None,
        payment_method_preview={name: method[name] for name in (*_PREVIEWED, kind)},
        **{name: params.get(name) for name in named},
        shipping=shipping,
        _method=method,
    )
    return context.save(body)


@route("GET /v1/confirmation_tokens/<id>")
def retrieve_confirmation_token(context: RequestContext, params: Json, id: str) -> Json:
    """A ConfirmationToken."""
    return context.fetch("confirmation_token", id)


def with_confirmation_token(context: RequestContext, intent: Json, params: Json) -> Json:
    """The parameters that confirm an intent, with what their ConfirmationToken stands for.

    Uses the token up. Raises ApiError (400, 404) for one that is used, too old or unknown.
    """
    if not params.get("confirmation_token"):
        return params
    for rival in ("payment_method", "payment_method_data"):
        if params.get(rival):
            raise api_error("only_one", rival, both=f"confirmation_token, {rival}")
    label = "confirmation_token"
    body = context.fetch(label, params["confirmation_token"], label)
    if body["payment_intent"] or body["setup_intent"]:
        raise api_error("confirmation_token_used", label)
    if body["expires_at"] < context.now:
        raise api_error("confirmation_token_expired", label)
    context.save(body | {intent["object"]: intent["id"]})
    method = context.save(body["_method"])
    fields = {name: body[name] for name in _PAYMENT_FIELDS if body[name]}
    named = {name: value for name, value in params.items() if name != "confirmation_token"}
    return {**fields, **named, "payment_method": method["id"]}
