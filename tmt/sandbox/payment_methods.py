"""PaymentMethods: created from what a buyer types or from a test token, and saved for customers."""

from __future__ import annotations

import hashlib

from tmt.sandbox.errors import api_error, card_error
from tmt.sandbox.objects import Json, load_table, new, template
from tmt.sandbox.params import complete_address, field_changes
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.simulated_methods import (
    SimulatedMethod,
    find_by_card,
    find_by_email,
    find_by_iban,
    find_by_token,
    simulated_method,
)

_TOKEN_EXPIRY = (12, 2034)
_TOKEN_OWNER = {"name": "Ana Ejemplo", "email": "ana@example.com"}


@route("POST /v1/payment_methods", publishable=True)
def create_payment_method(context: RequestContext, params: Json) -> Json:
    """Create a payment method from its data."""
    method = from_data(context, params, "")
    return context.save(method | field_changes(method, params))


@route("GET /v1/payment_methods/<id>")
def retrieve_payment_method(context: RequestContext, params: Json, id: str) -> Json:
    """A payment method; of a test token, a new one of its kind."""
    if find_by_token(id) is None:
        return context.fetch("payment_method", id)
    return context.save(from_id(context, id))


@route("POST /v1/payment_methods/<id>")
def update_payment_method(context: RequestContext, params: Json, id: str) -> Json:
    """Update a payment method that is saved for a customer."""
    method = context.fetch("payment_method", id)
    if not method["customer"]:
        raise api_error("method_saved_only")
    changes = field_changes(method, params)
    if "billing_details" in params:
        details = method["billing_details"] | (params["billing_details"] or {})
        changes["billing_details"] = _complete_billing_details(details)
    if "card" in params and method["type"] == "card":
        card = params["card"]
        expiry = {name: card[name] for name in ("exp_month", "exp_year") if name in card}
        changes["card"] = method["card"] | expiry
    return context.update(method, changes, "payment_method.updated")


@route("POST /v1/payment_methods/<id>/attach")
def attach(context: RequestContext, params: Json, id: str) -> Json:
    """Save a payment method for a customer; the bank may decline that (402)."""
    method = from_id(context, id)
    customer = context.fetch("customer", params["customer"], "customer")
    if method["customer"]:
        raise api_error("method_attached")
    check_savable(method)
    return save_for_customer(context, method, customer["id"])


def check_savable(method: Json) -> None:
    """Raises ApiError (400) for a kind that is used once, and (402) if the bank declines."""
    simulated = simulated_method(method)
    if simulated.redirect:
        raise api_error("kind_not_savable", type=method["type"])
    if not simulated.attachable:
        raise card_error(simulated.code, simulated.decline_code)


def save_for_customer(context: RequestContext, method: Json, customer: str) -> Json:
    """Save the payment method for a customer, unless it is already."""
    if method["customer"] == customer:
        return method
    method["customer"] = customer
    return context.save_and_emit(method, "payment_method.attached")


@route("POST /v1/payment_methods/<id>/detach")
def detach(context: RequestContext, params: Json, id: str) -> Json:
    """Detach a payment method from its customer; it cannot be used again."""
    method = context.fetch("payment_method", id)
    if not method["customer"]:
        raise api_error("method_detached")
    _forget_default(context, method)
    return release(context, method)


def release(context: RequestContext, method: Json) -> Json:
    """The payment method without its customer; nobody can use it any more."""
    return context.update(method, {"customer": None, "_used": True}, "payment_method.detached")


def _forget_default(context: RequestContext, method: Json) -> None:
    """Nothing is paid any longer with a method by default; of sources, another takes its place."""
    customer = context.store.get(method["customer"], "customer") or {}
    if not customer or customer.get("deleted"):
        return
    changes: Json = {}
    settings = customer["invoice_settings"]
    if settings["default_payment_method"] == method["id"]:
        changes["invoice_settings"] = settings | {"default_payment_method": None}
    if customer["default_source"] == method["id"]:
        cards = context.store.select("payment_method", customer=customer["id"], _source=True)
        others = [card["id"] for card in cards if card["id"] != method["id"]]
        changes["default_source"] = others[0] if others else None
    if changes:
        context.update(customer, changes, "customer.updated")


def from_params(context: RequestContext, params: Json, customer: str | None) -> Json | None:
    """The payment method that a request names or describes, if any.

    Raises ApiError for one that may not be used, or not for this customer.
    """
    if params.get("payment_method") and params.get("payment_method_data"):
        both = "payment_method, payment_method_data"
        raise api_error("only_one", "payment_method", both=both)
    if params.get("payment_method_data"):
        return from_data(context, params["payment_method_data"], "payment_method_data")
    if not params.get("payment_method"):
        return None
    method = from_id(context, params["payment_method"], "payment_method")
    if method["customer"] and method["customer"] != customer:
        name = "method_of_other" if customer else "method_of_customer"
        raise api_error(name, customer=method["customer"])
    return method


def from_id(context: RequestContext, id: str, param: str | None = None) -> Json:
    """The payment method with this id, or a new one for a test token; not stored yet.

    Raises ApiError for one that is used up, or is not there (as `RequestContext.fetch` does).
    """
    simulated = find_by_token(id)
    if simulated is None:
        method = context.fetch("payment_method", id, param)
        if method.get("_used"):
            raise api_error("method_consumed")
        return method
    if simulated.kind == "card":
        return _new_card(context, simulated, _TOKEN_EXPIRY, {})
    if simulated.kind == "sepa_debit":
        iban = "DE8937040044" + simulated.iban_suffix
        return _new_debit(context, iban, simulated, _TOKEN_OWNER)
    return _new_method(context, simulated, _TOKEN_OWNER, {})


def from_data(context: RequestContext, data: Json, param: str) -> Json:
    """A payment method as a buyer typed it, not stored yet. Raises ApiError for what is none.

    `param` is the parameter that holds the data, or empty.
    """
    kind, billing_details = data["type"], data.get("billing_details") or {}
    kind_param = f"{param}[{kind}]" if param else kind
    if kind not in load_table("simulated_methods")["kinds"]:
        type_param = f"{param}[type]" if param else "type"
        raise api_error("invalid_value", type_param, kind=type_param, value=kind)
    if kind in ("oxxo", "link"):
        details = {"email": billing_details.get("email")} if kind == "link" else {}
        return _new_method(context, find_by_email(kind, billing_details), billing_details, details)
    if (redirect := find_by_token(f"pm_{kind}")) is not None:
        return _new_method(context, redirect, billing_details, {})
    if kind not in data:
        raise api_error("parameter_missing", kind_param)
    if kind == "sepa_debit":
        iban = data["sepa_debit"]["iban"].replace(" ", "").upper()
        simulated = find_by_iban(iban, billing_details)
        return _new_debit(context, iban, simulated, billing_details)
    card = data["card"]
    if token := card.get("token"):
        if context.store.get(token, "token"):
            return _from_card_token(context, token, billing_details)
        simulated_card = card_of_token(token)
        if simulated_card is None:
            raise api_error("resource_missing", f"{kind_param}[token]", label="token", id=token)
        return _new_card(context, simulated_card, _TOKEN_EXPIRY, billing_details)
    for name in ("number", "exp_month", "exp_year"):
        if name not in card:
            raise api_error("parameter_missing", f"{kind_param}[{name}]")
    if not context.publishable:
        raise api_error("raw_card")
    expiry = card["exp_month"], card["exp_year"] % 100 + 2000
    return _new_card(context, find_by_card(card), expiry, billing_details)


def card_of_token(token: str) -> SimulatedMethod | None:
    """The test card of `tok_visa` or `pm_card_visa`."""
    simulated = find_by_token(token) or find_by_token(token.replace("tok_", "pm_card_"))
    return simulated if simulated and simulated.kind == "card" else None


def _from_card_token(context: RequestContext, id: str, billing_details: Json) -> Json:
    """The payment method of a token that a browser made, which is used up."""
    body = context.fetch("token", id)
    if body["used"]:
        raise api_error("token_already_used", id=id)
    context.save(body | {"used": True})
    method: Json = body["_method"]
    typed = {name: value for name, value in method["billing_details"].items() if value}
    return method | {"billing_details": _complete_billing_details({**typed, **billing_details})}


def _new_card(
    context: RequestContext,
    simulated: SimulatedMethod,
    expiry: tuple[int, int],
    billing_details: Json,
) -> Json:
    brand = simulated.brand
    details = {
        "brand": brand,
        "country": simulated.country,
        "display_brand": "american_express" if brand == "amex" else brand,
        "exp_month": expiry[0],
        "exp_year": expiry[1],
        "fingerprint": _fingerprint(simulated.number),
        "funding": simulated.funding,
        "last4": simulated.number[-4:],
        "networks": {"available": [brand], "preferred": None},
        "three_d_secure_usage": {"supported": brand in ("visa", "mastercard", "amex")},
    }
    return _new_method(context, simulated, billing_details, details)


def _new_debit(
    context: RequestContext, iban: str, simulated: SimulatedMethod, billing_details: Json
) -> Json:
    details = {
        "bank_code": iban[4:12],
        "country": iban[:2],
        "fingerprint": _fingerprint(iban),
        "last4": iban[-4:],
    }
    return _new_method(context, simulated, billing_details, details)


def _new_method(
    context: RequestContext, simulated: SimulatedMethod, billing_details: Json, details: Json
) -> Json:
    kind = simulated.kind
    fields = {
        "type": kind,
        "billing_details": _complete_billing_details(billing_details),
        kind: template(f"payment_method.{kind}") | details,
        "_test": simulated.key,
    }
    return new("payment_method", context.now, **fields)


def _complete_billing_details(details: Json) -> Json:
    """Billing details with all their fields."""
    address = complete_address(details.get("address") or {})
    return {**template("payment_method.billing_details"), **details, "address": address}


def number(data: Json, name: str) -> int:
    """A part of a card that the API takes as text. Raises ApiError (400) for no number."""
    if not data[name].isdecimal():
        raise api_error("parameter_invalid_integer", f"card[{name}]", value=data[name])
    return int(data[name])


def _fingerprint(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()[:16]
