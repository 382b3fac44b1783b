"""Customers and what is saved for them."""

from __future__ import annotations

from tmt.sandbox import saved
from tmt.sandbox.call import Call
from tmt.sandbox.errors import problem
from tmt.sandbox.params import apply
from tmt.sandbox.rendering import page
from tmt.sandbox.shape import Json, names, new

_COPIED = names("""address balance business_name description email individual_name invoice_prefix
    name phone preferred_locales shipping tax_exempt test_clock""")


def create(call: Call, p: Json) -> Json:
    """POST /v1/customers."""
    if "test_clock" in p:
        call.fetch("test_helpers.test_clock", p["test_clock"], "test_clock")
    customer = new("customer", call.now)
    _apply(call, customer, p)
    call.tell(customer, "customer.created")
    if "payment_method" in p:
        saved.attach(call, {"customer": customer["id"]}, p["payment_method"])
    return customer


def update(call: Call, p: Json, id: str) -> Json:
    """POST /v1/customers/:id."""
    customer = call.fetch("customer", id)
    before = {name: customer[name] for name in p if name in customer}
    _apply(call, customer, p)
    return call.tell(customer, "customer.updated", before=before)


def _apply(call: Call, customer: Json, p: Json) -> None:
    apply(customer, p, _COPIED)
    settings = p.get("invoice_settings", {})
    if default := settings.get("default_payment_method"):
        method = call.fetch("payment_method", default)
        if method["customer"] != customer["id"]:
            raise problem("method_of_other", customer=method["customer"])
    customer["invoice_settings"] |= settings


def delete(call: Call, p: Json, id: str) -> Json:
    """DELETE /v1/customers/:id; its payment methods go with it, its payments stay."""
    customer = call.fetch("customer", id)
    for method in call.store.select("payment_method", customer=id):
        saved.detach(call, {}, method["id"])
    gone = {"id": id, "object": "customer", "deleted": True}
    call.save(gone | {"created": customer["created"]})
    call.emit("customer.deleted", customer)
    return gone


def payment_methods(call: Call, p: Json, id: str) -> Json:
    """GET /v1/customers/:id/payment_methods."""
    call.fetch("customer", id)
    url = f"/v1/customers/{id}/payment_methods"
    return page(call, "payment_method", url, {**p, "customer": id})


def payment_method(call: Call, p: Json, id: str, method: str) -> Json:
    """GET /v1/customers/:id/payment_methods/:method."""
    found = call.fetch("payment_method", method)
    if found["customer"] != id:
        raise problem("resource_missing", "payment_method", label="PaymentMethod", id=method)
    return found
