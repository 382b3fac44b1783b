"""PaymentMethods: made from what a buyer types or from a test token, saved for customers."""

from __future__ import annotations

import hashlib

from tmt.sandbox.behaviours import Behaviour, behaviour, by_token, typed_card, typed_iban
from tmt.sandbox.call import Call
from tmt.sandbox.errors import ApiError, card_error, problem
from tmt.sandbox.params import apply
from tmt.sandbox.shape import Json, known, names, new, part

_BILLING = names("address email name phone tax_id")
_ADDRESS = names("city country line1 line2 postal_code state")


def create(call: Call, p: Json) -> Json:
    """POST /v1/payment_methods."""
    method = typed(call, p, "")
    apply(method, p, ("allow_redisplay",))
    return call.save(method)


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id; only of one that is saved for a customer."""
    method = call.fetch("payment_method", id)
    if not method["customer"]:
        raise problem("method_saved_only")
    before = {name: method[name] for name in p if name in method}
    apply(method, p, ("allow_redisplay",))
    if "billing_details" in p:
        method["billing_details"] = billing_details(
            {**method["billing_details"], **(p["billing_details"] or {})}
        )
    if "card" in p and method["type"] == "card":
        expiry = {name: p["card"][name] for name in ("exp_month", "exp_year") if name in p["card"]}
        method["card"] |= expiry
    return call.tell(method, "payment_method.updated", before=before)


def attach(call: Call, p: Json, id: str) -> Json:
    """POST /v1/payment_methods/:id/attach; the bank is asked, and may refuse (402)."""
    method = named(call, id)
    customer = call.fetch("customer", p["customer"], "customer")
    test = behaviour(method)
    if method["customer"]:
        raise problem("method_attached")
    if method.get("_used"):
        raise problem("method_consumed")
    if test.redirect:
        raise problem("kind_not_savable", type=method["type"])
    if refused := refuse_setup(test):
        raise refused
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
    before = {"customer": method["customer"]}
    call.save(method | {"customer": None, "_used": True})
    method["customer"] = None
    call.emit("payment_method.detached", method, before)
    return method


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
    if method.get("_used"):
        raise problem("method_consumed")
    if method["customer"] and method["customer"] != customer:
        other = "method_of_other" if customer else "method_of_customer"
        raise problem(other, customer=method["customer"])
    return method


def named(call: Call, name: str) -> Json:
    """The payment method with this id, or a new one for a test token; not stored yet."""
    test = by_token(name)
    if test is None:
        return call.fetch("payment_method", name)
    if test.kind == "card":
        return _card(call, test, (12, 2034), None)
    owner = {"name": "Ana Ejemplo", "email": "ana@example.com"}
    if test.kind == "sepa_debit":
        return _debit(call, "DE89370400440532013000"[:12] + test.ends, test, owner)
    return _made(call, test, owner, part("payment_method_ideal"))


def typed(call: Call, data: Json, param: str) -> Json:
    """A payment method as a buyer typed it. Raises ApiError for what cannot be one."""
    kind, billing = data["type"], data.get("billing_details") or {}
    where = f"{param}[{kind}]" if param else kind
    if kind not in known("methods")["kinds"]:
        name = f"{param}[type]" if param else "type"
        raise problem("invalid_value", name, kind=name, value=kind)
    if kind == "ideal":
        test = by_token("pm_ideal")
        assert test is not None
        return _made(call, test, billing, part("payment_method_ideal"))
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


def billing_details(given: Json | None) -> Json:
    """Billing details with all their fields."""
    fields = {**dict.fromkeys(_BILLING), **(given or {})}
    return fields | {"address": {**dict.fromkeys(_ADDRESS), **(fields["address"] or {})}}


def card_facts(test: Behaviour, expiry: tuple[int, int]) -> Json:
    """What PaymentMethod and Charge both say about a card."""
    facts = {name: getattr(test, name) for name in ("brand", "country", "funding")}
    facts |= {"exp_month": expiry[0], "exp_year": expiry[1], "last4": test.number[-4:]}
    return facts | {"fingerprint": _fingerprint(test.number), "regulated_status": "unregulated"}


def _card(call: Call, test: Behaviour, expiry: tuple[int, int], billing: Json | None) -> Json:
    brand = test.brand
    card = part("payment_method_card") | card_facts(test, expiry)
    card |= {"display_brand": "american_express" if brand == "amex" else brand}
    card |= {"networks": {"available": [brand], "preferred": None}}
    card |= {"three_d_secure_usage": {"supported": brand in ("visa", "mastercard", "amex")}}
    return _made(call, test, billing, card)


def _debit(call: Call, iban: str, test: Behaviour, billing: Json) -> Json:
    facts = {"bank_code": iban[4:12], "country": iban[:2], "last4": iban[-4:]}
    debit = part("payment_method_sepa_debit") | facts | {"fingerprint": _fingerprint(iban)}
    return _made(call, test, billing, debit)


def _made(call: Call, test: Behaviour, billing: Json | None, details: Json) -> Json:
    billing = billing_details(billing)
    return new("payment_method", call.now, type=test.kind, billing_details=billing,
               _test=test.key, **{test.kind: details})  # fmt: skip


def _fingerprint(number: str) -> str:
    return hashlib.sha256(number.encode()).hexdigest()[:16]


def refuse_setup(test: Behaviour) -> ApiError | None:
    """What the bank says when this payment method is to be saved: nothing, or a refusal."""
    if test.attach:
        return None
    return card_error(test.code or "card_declined", test.decline)
