"""Customers and PaymentMethods: made from what a buyer types or from a test token, and saved."""

from __future__ import annotations

import hashlib

from tmt.sandbox.errors import api_error, card_error
from tmt.sandbox.objects import Json, load_table, new, template
from tmt.sandbox.params import changes
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import page
from tmt.sandbox.simulated_methods import (
    SimulatedMethod,
    by_token,
    simulated_method,
    typed_card,
    typed_iban,
)


def create_customer(context: RequestContext, p: Json) -> Json:
    """POST /v1/customers."""
    if "test_clock" in p:
        context.fetch("test_helpers.test_clock", p["test_clock"], "test_clock")
    customer = new("customer", context.now)
    customer |= _changes(context, customer, p)
    context.save_and_emit(customer, "customer.created")
    if "payment_method" in p:
        attach(context, {"customer": customer["id"]}, p["payment_method"])
    return customer


def update_customer(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/customers/:id."""
    customer = context.fetch("customer", id)
    return context.update(customer, _changes(context, customer, p), "customer.updated")


def _changes(context: RequestContext, customer: Json, p: Json) -> Json:
    settings = p.get("invoice_settings", {})
    if default := settings.get("default_payment_method"):
        method = context.fetch("payment_method", default)
        if method["customer"] != customer["id"]:
            raise api_error("method_of_other", customer=method["customer"])
    return changes(customer, p) | {"invoice_settings": customer["invoice_settings"] | settings}


def delete_customer(context: RequestContext, p: Json, id: str) -> Json:
    """DELETE /v1/customers/:id; its payment methods go with it, its payments stay."""
    customer = context.fetch("customer", id)
    for method in context.store.select("payment_method", customer=id):
        detach(context, {}, method["id"])
    gone = context.save({"id": id, "object": "customer", "deleted": True})
    context.emit("customer.deleted", customer)
    return gone


def methods_of(context: RequestContext, p: Json, id: str) -> Json:
    """GET /v1/customers/:id/payment_methods."""
    context.fetch("customer", id)
    return page(context, {**p, "customer": id}, "payment_method")


def create(context: RequestContext, p: Json) -> Json:
    """POST /v1/payment_methods."""
    method = typed(context, p, "")
    return context.save(method | changes(method, p))


def update(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id; only of one that is saved for a customer."""
    method = context.fetch("payment_method", id)
    if not method["customer"]:
        raise api_error("method_saved_only")
    told = changes(method, p)
    if "billing_details" in p:
        given = p["billing_details"] or {}
        told["billing_details"] = _billing_details({**method["billing_details"], **given})
    if "card" in p and method["type"] == "card":
        expiry = {name: p["card"][name] for name in ("exp_month", "exp_year") if name in p["card"]}
        told["card"] = method["card"] | expiry
    return context.update(method, told, "payment_method.updated")


def attach(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id/attach; the bank is asked, and may refuse (402)."""
    method = named(context, id)
    customer = context.fetch("customer", p["customer"], "customer")
    test = simulated_method(method)
    if method["customer"]:
        raise api_error("method_attached")
    if test.redirect:
        raise api_error("kind_not_savable", type=method["type"])
    if not test.attach:
        raise card_error(test.code, test.decline)
    return save_for(context, method, customer["id"])


def save_for(context: RequestContext, method: Json, customer: str) -> Json:
    """Save the payment method for a customer; nothing happens when it is."""
    if method["customer"] == customer:
        return method
    method["customer"] = customer
    return context.save_and_emit(method, "payment_method.attached")


def detach(context: RequestContext, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id/detach; it cannot be used again."""
    method = context.fetch("payment_method", id)
    if not method["customer"]:
        raise api_error("method_detached")
    return context.update(method, {"customer": None, "_used": True}, "payment_method.detached")


def chosen(context: RequestContext, p: Json, customer: str | None) -> Json | None:
    """The payment method that a call names or types, if it does; ApiError if it may not be used."""
    if token := p.get("confirmation_token"):
        label = "confirmation_token"
        raise api_error("resource_missing", label, label=label, id=token)
    if p.get("payment_method") and p.get("payment_method_data"):
        both = "payment_method, payment_method_data"
        raise api_error("only_one", "payment_method", both=both)
    if p.get("payment_method_data"):
        return typed(context, p["payment_method_data"], "payment_method_data")
    if not p.get("payment_method"):
        return None
    method = named(context, p["payment_method"])
    if method["customer"] and method["customer"] != customer:
        other = "method_of_other" if customer else "method_of_customer"
        raise api_error(other, customer=method["customer"])
    return method


def named(context: RequestContext, name: str) -> Json:
    """The payment method with this id, or a new one for a test token; not stored yet.

    Raises ApiError for one that is used up.
    """
    test = by_token(name)
    if test is None:
        method = context.fetch("payment_method", name)
        if method.get("_used"):
            raise api_error("method_consumed")
        return method
    if test.kind == "card":
        return _card(context, test, (12, 2034), {})
    owner = {"name": "Ana Ejemplo", "email": "ana@example.com"}
    if test.kind == "sepa_debit":
        return _debit(context, "DE8937040044" + test.ends, test, owner)
    return _made(context, test, owner, {})


def typed(context: RequestContext, data: Json, param: str) -> Json:
    """A payment method as a buyer typed it. Raises ApiError for what cannot be one."""
    kind, billing = data["type"], data.get("billing_details") or {}
    where = f"{param}[{kind}]" if param else kind
    if kind not in load_table("simulated_methods")["kinds"]:
        name = f"{param}[type]" if param else "type"
        raise api_error("invalid_value", name, kind=name, value=kind)
    if (redirect := by_token(f"pm_{kind}")) is not None:
        return _made(context, redirect, billing, {})
    if kind not in data:
        raise api_error("parameter_missing", where)
    if kind == "sepa_debit":
        iban, test = typed_iban(data["sepa_debit"]["iban"], billing)
        return _debit(context, iban, test, billing)
    return _typed_card(context, data["card"], billing, where)


def _typed_card(context: RequestContext, card: Json, billing: Json, where: str) -> Json:
    if token := card.get("token"):
        test = by_token(token) or by_token(token.replace("tok_", "pm_card_"))
        if test is None:
            raise api_error("resource_missing", f"{where}[token]", label="token", id=token)
        return _card(context, test, (12, 2034), billing)
    for name in ("number", "exp_month", "exp_year"):
        if name not in card:
            raise api_error("parameter_missing", f"{where}[{name}]")
    if not context.publishable:
        raise api_error("raw_card")
    expiry = card["exp_month"], card["exp_year"] % 100 + 2000
    return _card(context, typed_card(card), expiry, billing)


def _card(
    context: RequestContext, test: SimulatedMethod, expiry: tuple[int, int], billing: Json
) -> Json:
    facts = {name: getattr(test, name) for name in ("brand", "country", "funding")}
    return _made(context, test, billing, facts | {
        "display_brand": "american_express" if test.brand == "amex" else test.brand,
        "exp_month": expiry[0],
        "exp_year": expiry[1],
        "fingerprint": _fingerprint(test.number),
        "last4": test.number[-4:],
        "networks": {"available": [test.brand], "preferred": None},
        "three_d_secure_usage": {"supported": test.brand in ("visa", "mastercard", "amex")},
    })  # fmt: skip


def _debit(context: RequestContext, iban: str, test: SimulatedMethod, billing: Json) -> Json:
    facts = {"bank_code": iban[4:12], "country": iban[:2], "last4": iban[-4:]}
    return _made(context, test, billing, facts | {"fingerprint": _fingerprint(iban)})


def _made(context: RequestContext, test: SimulatedMethod, billing: Json, details: Json) -> Json:
    return new(
        "payment_method", context.now, type=test.kind, billing_details=_billing_details(billing),
        _test=test.key, **{test.kind: template(f"payment_method_{test.kind}") | details},
    )  # fmt: skip


def _billing_details(given: Json) -> Json:
    """Billing details with all their fields."""
    empty = template("billing_details")
    return {**empty, **given, "address": empty["address"] | (given.get("address") or {})}


def _fingerprint(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()[:16]
