"""Customers."""

from __future__ import annotations

import re

from tmt.sandbox.customer_balance import set_balance
from tmt.sandbox.customer_sources import add_source
from tmt.sandbox.discounts import change_customer_discount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, template, token
from tmt.sandbox.params import field_changes
from tmt.sandbox.payment_methods import attach, from_id, release
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects
from tmt.sandbox.taxes import create_customer_tax_id

_PREFIX_LENGTH = 8


@route("POST /v1/customers")
def create_customer(context: RequestContext, params: Json) -> Json:
    """Create a customer, with a saved payment method, tax ids and a balance if there are some."""
    if received := params.get("payment_method"):
        from_id(context, received, "payment_method")
    if "test_clock" in params:
        context.fetch("test_helpers.test_clock", params["test_clock"], "test_clock")
    prefix = token(_PREFIX_LENGTH).upper()
    settings = template("customer.invoice_settings")
    customer = new("customer", context.now, invoice_prefix=prefix, invoice_settings=settings)
    customer |= _changes(context, customer, {**params, "invoice_settings": {}})
    customer |= set_balance(context, customer, params.get("balance", 0), "initial")
    card = add_source(context, customer, params["source"]) if "source" in params else None
    if card:
        customer["default_source"] = card["id"]
    context.save_and_emit(customer, "customer.created")
    if card:
        context.emit("customer.source.created", card)
    if discount := _discount(context, customer, params):
        context.save(customer | discount)
        customer |= discount
    for data in params.get("tax_id_data", []):
        create_customer_tax_id(context, data, customer["id"])
    settings = params.get("invoice_settings", {})
    if received:
        method = attach(context, {"customer": customer["id"]}, received)
        if settings.get("default_payment_method") == received:
            settings = settings | {"default_payment_method": method["id"]}
    customer |= _changes(context, customer, {"invoice_settings": settings})
    return context.save(customer)


@route("POST /v1/customers/<id>")
def update_customer(context: RequestContext, params: Json, id: str) -> Json:
    """Update a customer."""
    customer = context.fetch("customer", id)
    changes = _changes(context, customer, params)
    if "source" in params:
        card = add_source(context, customer, params["source"])
        context.emit("customer.source.created", card)
        changes["default_source"] = card["id"]
    elif default := params.get("default_source"):
        method = context.store.get(default, "payment_method") or {}
        if method.get("customer") != id:
            raise api_error("resource_missing", "default_source", label="source", id=default[:255])
        changes["default_source"] = default
    changes |= _discount(context, customer, params)
    if "balance" in params:
        changes |= set_balance(context, customer, params["balance"], "adjustment")
    return context.update(customer, changes, "customer.updated")


def _discount(context: RequestContext, customer: Json, params: Json) -> Json:
    """The change of the discount that a client of an older version asks for."""
    offer: Json = {name: params[name] for name in ("coupon", "promotion_code") if name in params}
    if len(offer) == 2:
        raise api_error("only_one", "coupon", both="coupon, promotion_code")
    return change_customer_discount(context, customer, offer) if offer else {}


def _changes(context: RequestContext, customer: Json, params: Json) -> Json:
    settings = params.get("invoice_settings", {})
    if default := settings.get("default_payment_method"):
        method = context.store.get(default, "payment_method") or {}
        if method.get("customer") != customer["id"]:
            param = "invoice_settings[default_payment_method]"
            raise api_error("not_of_customer", param, id=default[:255])
    if prefix := params.get("invoice_prefix"):
        others = context.store.select("customer", invoice_prefix=prefix)
        if not re.fullmatch(r"[A-Z0-9]{3,12}", prefix):
            raise api_error("invoice_prefix")
        if any(other["id"] != customer["id"] for other in others):
            raise api_error("invoice_prefix_in_use", prefix=prefix)
    if params.get("next_invoice_sequence", 1) < 1:
        raise api_error("too_low", "next_invoice_sequence")
    changes = field_changes(customer, params)
    # What is cleared is what it was in the beginning.
    if changes.get("tax_exempt", "") is None:
        changes["tax_exempt"] = "none"
    return changes | {"invoice_settings": customer["invoice_settings"] | settings}


@route("DELETE /v1/customers/<id>")
def delete_customer(context: RequestContext, params: Json, id: str) -> Json:
    """Delete a customer, the tax ids and the saved payment methods; the payments stay."""
    customer = context.fetch("customer", id)
    deleted = context.save({"id": id, "object": "customer", "deleted": True})
    for method in context.store.select("payment_method", customer=id):
        release(context, method)
    kinds = ("tax_id", "discount")
    for body in [body for kind in kinds for body in context.store.select(kind, customer=id)]:
        context.store.execute("DELETE FROM objects WHERE id = ?", (body["id"],))
    context.emit("customer.deleted", customer)
    return deleted


@route("GET /v1/customers/<id>/payment_methods")
def list_payment_methods(context: RequestContext, params: Json, id: str) -> Json:
    """The payment methods that are saved for a customer."""
    context.fetch("customer", id)
    return list_objects(context, {**params, "customer": id}, "payment_method")


@route("GET /v1/customers/<id>/payment_methods/<method>")
def retrieve_payment_method(context: RequestContext, params: Json, id: str, method: str) -> Json:
    """A payment method that is saved for a customer."""
    context.fetch("customer", id)
    body = context.fetch("payment_method", method)
    if body["customer"] != id:
        label = "PaymentMethod"
        raise api_error("resource_missing", "payment_method", label=label, id=method[:255])
    return body
