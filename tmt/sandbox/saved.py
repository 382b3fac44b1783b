"""Customers, and PaymentMethods: made from what a buyer types or from a test token, and saved."""

from __future__ import annotations

import hashlib

from tmt.sandbox.behaviours import Behaviour, behaviour, by_token, typed_card, typed_iban
from tmt.sandbox.call import Call
from tmt.sandbox.errors import card_error, problem
from tmt.sandbox.params import changes
from tmt.sandbox.resources import page
from tmt.sandbox.shape import Json, known, new, part


def create_customer(call: Call, p: Json) -> Json:
    """POST /v1/customers."""
    if "test_clock" in p:
        call.fetch("test_helpers.test_clock", p["test_clock"], "test_clock")
    customer = new("customer", call.now)
    customer |= _changes(call, customer, p)
    call.tell(customer, "customer.created")
    if "payment_method" in p:
        attach(call, {"customer": customer["id"]}, p["payment_method"])
    return customer


def update_customer(call: Call, p: Json, id: str) -> Json:
    """POST /v1/customers/:id."""
    customer = call.fetch("customer", id)
    return call.change(customer, _changes(call, customer, p), "customer.updated")


def _changes(call: Call, customer: Json, p: Json) -> Json:
    settings = p.get("invoice_settings", {})
    if default := settings.get("default_payment_method"):
        method = call.fetch("payment_method", default)
        if method["customer"] != customer["id"]:
            raise problem("method_of_other", customer=method["customer"])
    return changes(customer, p) | {"invoice_settings": customer["invoice_settings"] | settings}


def delete_customer(call: Call, p: Json, id: str) -> Json:
    """DELETE /v1/customers/:id; its payment methods go with it, its payments stay."""
    customer = call.fetch("customer", id)
    for method in call.store.select("payment_method", customer=id):
        detach(call, {}, method["id"])
    gone = call.save({"id": id, "object": "customer", "deleted": True})
    call.emit("customer.deleted", customer)
    return gone


def methods_of(call: Call, p: Json, id: str) -> Json:
    """GET /v1/customers/:id/payment_methods."""
    call.fetch("customer", id)
    return page(call, {**p, "customer": id}, "payment_method")


def create(call: Call, p: Json) -> Json:
    """POST /v1/payment_methods."""
    method = typed(call, p, "")
    return call.save(method | changes(method, p))


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id; only of one that is saved for a customer."""
    method = call.fetch("payment_method", id)
    if not method["customer"]:
        raise problem("method_saved_only")
    told = changes(method, p)
    if "billing_details" in p:
        given = p["billing_details"] or {}
        told["billing_details"] = _billing_details({**method["billing_details"], **given})
    if "card" in p and method["type"] == "card":
        expiry = {name: p["card"][name] for name in ("exp_month", "exp_year") if name in p["card"]}
        told["card"] = method["card"] | expiry
    return call.change(method, told, "payment_method.updated")


def attach(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id/attach; the bank is asked, and may refuse (402)."""
    method = named(call, id)
    customer = call.fetch("customer", p["customer"], "customer")
    test = behaviour(method)
    if method["customer"]:
        raise problem("method_attached")
    if test.redirect:
        raise problem("kind_not_savable", type=method["type"])
    if not test.attach:
        raise card_error(test.code, test.decline)
    return save_for(call, method, customer["id"])


def save_for(call: Call, method: Json, customer: str) -> Json:
    """Save the payment method for a customer; nothing happens when it is."""
    if method["customer"] == customer:
        return method
    method["customer"] = customer
    return call.tell(method, "payment_method.attached")


def detach(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id/detach; it cannot be used again."""
    method = call.fetch("payment_method", id)
    if not method["customer"]:
        raise problem("method_detached")
    return call.change(method, {"customer": None, "_used": True}, "payment_method.detached")


def chosen(call: Call, p: Json, customer: str | None) -> Json | None:
    """The payment method that a call names or types, if it does; ApiError if it may not be used."""
    if token := p.get("confirmation_token"):
        label = "confirmation_token"
        raise problem("resource_missing", label, label=label, id=token)
    if p.get("payment_method") and p.get("payment_method_data"):
        both = "payment_method, payment_method_data"
        raise problem("only_one", "payment_method", both=both)
    if p.get("payment_method_data"):
        return typed(call, p["payment_method_data"], "payment_method_data")
    if not p.get("payment_method"):
        return None
    method = named(call, p["payment_method"])
    if method["customer"] and method["customer"] != customer:
        other = "method_of_other" if customer else "method_of_customer"
        raise problem(other, customer=method["customer"])
    return method


def named(call: Call, name: str) -> Json:
    """The payment method with this id, or a new one for a test token; not stored yet.

    Raises ApiError for one that is used up.
    """
    test = by_token(name)
    if test is None:
        method = call.fetch("payment_method", name)
        if method.get("_used"):
            raise problem("method_consumed")
        return method
    if test.kind == "card":
        return _card(call, test, (12, 2034), {})
    owner = {"name": "Ana Ejemplo", "email": "ana@example.com"}
    if test.kind == "sepa_debit":
        return _debit(call, "DE8937040044" + test.ends, test, owner)
    return _made(call, test, owner, {})


def typed(call: Call, data: Json, param: str) -> Json:
    """A payment method as a buyer typed it. Raises ApiError for what cannot be one."""
    kind, billing = data["type"], data.get("billing_details") or {}
    where = f"{param}[{kind}]" if param else kind
    if kind not in known("methods")["kinds"]:
        name = f"{param}[type]" if param else "type"
        raise problem("invalid_value", name, kind=name, value=kind)
    if (redirect := by_token(f"pm_{kind}")) is not None:
        return _made(call, redirect, billing, {})
    if kind not in data:
        raise problem("parameter_missing", where)
    if kind == "sepa_debit":
        iban, test = typed_iban(data["sepa_debit"]["iban"], billing)
        return _debit(call, iban, test, billing)
    return _typed_card(call, data["card"], billing, where)


def _typed_card(call: Call, card: Json, billing: Json, where: str) -> Json:
    if token := card.get("token"):
        test = by_token(token) or by_token(token.replace("tok_", "pm_card_"))
        if test is None:
            raise problem("resource_missing", f"{where}[token]", label="token", id=token)
        return _card(call, test, (12, 2034), billing)
    for name in ("number", "exp_month", "exp_year"):
        if name not in card:
            raise problem("parameter_missing", f"{where}[{name}]")
    if not call.publishable:
        raise problem("raw_card")
    expiry = card["exp_month"], card["exp_year"] % 100 + 2000
    return _card(call, typed_card(card), expiry, billing)


def _card(call: Call, test: Behaviour, expiry: tuple[int, int], billing: Json) -> Json:
    facts = {name: getattr(test, name) for name in ("brand", "country", "funding")}
    return _made(call, test, billing, facts | {
        "display_brand": "american_express" if test.brand == "amex" else test.brand,
        "exp_month": expiry[0],
        "exp_year": expiry[1],
        "fingerprint": _fingerprint(test.number),
        "last4": test.number[-4:],
        "networks": {"available": [test.brand], "preferred": None},
        "three_d_secure_usage": {"supported": test.brand in ("visa", "mastercard", "amex")},
    })  # fmt: skip


def _debit(call: Call, iban: str, test: Behaviour, billing: Json) -> Json:
    facts = {"bank_code": iban[4:12], "country": iban[:2], "last4": iban[-4:]}
    return _made(call, test, billing, facts | {"fingerprint": _fingerprint(iban)})


def _made(call: Call, test: Behaviour, billing: Json, details: Json) -> Json:
    return new(
        "payment_method", call.now, type=test.kind, billing_details=_billing_details(billing),
        _test=test.key, **{test.kind: part(f"payment_method_{test.kind}") | details},
    )  # fmt: skip


def _billing_details(given: Json) -> Json:
    """Billing details with all their fields."""
    empty = part("billing_details")
    return {**empty, **given, "address": empty["address"] | (given.get("address") or {})}


def _fingerprint(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()[:16]
