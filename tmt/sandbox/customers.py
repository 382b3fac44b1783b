"""Customers."""

from __future__ import annotations

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, template
from tmt.sandbox.params import field_changes
from tmt.sandbox.payment_methods import attach, from_id, release
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects


@route("POST /v1/customers")
def create_customer(context: RequestContext, params: Json) -> Json:
    """Create a customer, with a saved payment method if there is one."""
    if received := params.get("payment_method"):
        from_id(context, received, "payment_method")
    if "test_clock" in params:
        context.fetch("test_helpers.test_clock", params["test_clock"], "test_clock")
    settings = template("customer.invoice_settings")
    customer = new("customer", context.now, invoice_settings=settings)
    customer |= _changes(context, customer, {**params, "invoice_settings": {}})
    context.save_and_emit(customer, "customer.created")
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
    return context.update(customer, _changes(context, customer, params), "customer.updated")


def _changes(context: RequestContext, customer: Json, params: Json) -> Json:
    settings = params.get("invoice_settings", {})
    if default := settings.get("default_payment_method"):
        method = context.store.get(default, "payment_method") or {}
        if method.get("customer") != customer["id"]:
            param = "invoice_settings[default_payment_method]"
            raise api_error("not_of_customer", param, id=default[:255])
    changes = field_changes(customer, params)
    return changes | {"invoice_settings": customer["invoice_settings"] | settings}


@route("DELETE /v1/customers/<id>")
def delete_customer(context: RequestContext, params: Json, id: str) -> Json:
    """Delete a customer and detach the payment methods; the payments stay."""
    customer = context.fetch("customer", id)
    for method in context.store.select("payment_method", customer=id):
        release(context, method)
    deleted = context.save({"id": id, "object": "customer", "deleted": True})
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
        raise api_error("resource_missing", "payment_method", label="PaymentMethod", id=method)
    return body
