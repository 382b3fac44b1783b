"""Tax rates, and the tax ids of customers and of the account."""

from __future__ import annotations

import re

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import field_on_request, route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects

_MOST_TAX_IDS = 5
# A register answers a moment after the request; these numbers decide how, as in Stripe's test mode.
_VERIFICATION_SECONDS = 1
_UNVERIFIED, _NEVER_ANSWERED = "111111111", "222222222"
# Of other kinds, every value is taken.
_FORMS = {
    "es_cif": r"[0-9A-Z][0-9]{7}[0-9A-Z]",
    "eu_vat": r"(AT|BE|BG|CY|CZ|DE|DK|EE|EL|ES|FI|FR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK"
    r"|XI)[0-9A-Z]{2,12}",
}
# The country of an id whose type does not begin with it, or that begins with another code.
_COUNTRIES = {"EL": "GR", "XI": "GB"}


@route("POST /v1/tax_rates")
def create_tax_rate(context: RequestContext, params: Json) -> Json:
    """Create a tax rate, in percent."""
    if not 0 <= params["percentage"] <= 100:
        raise api_error("percentage", "percentage")
    rate = new("tax_rate", context.now)
    fixed = {name: params[name] for name in ("inclusive", "percentage")}
    return context.save_and_emit(rate | fixed | field_changes(rate, params), "tax_rate.created")


@route("POST /v1/tax_ids")
def create_tax_id(context: RequestContext, params: Json) -> Json:
    """Create a tax id, of the account unless it says of whom."""
    owner = params.get("owner") or {"type": "self"}
    if owner["type"] == "customer":
        if "customer" not in owner:
            raise api_error("parameter_missing", "owner[customer]")
        context.fetch("customer", owner["customer"], "owner[customer]")
        return create_customer_tax_id(context, params, owner["customer"])
    if owner["type"] != "self":
        raise api_error("connect", "owner[type]")
    return _new_tax_id(context, params, None)


@route("POST /v1/customers/<id>/tax_ids")
def create_customer_tax_id(context: RequestContext, params: Json, id: str) -> Json:
    """Add a tax id to a customer; one of the European Union is looked up a moment later."""
    customer = context.fetch("customer", id)
    if len(context.store.select("tax_id", customer=id)) >= _MOST_TAX_IDS:
        raise api_error("too_many_tax_ids", most=_MOST_TAX_IDS)
    body = _new_tax_id(context, params, customer["id"])
    context.emit("customer.tax_id.created", body)
    if body["verification"]["status"] == "pending" and _NEVER_ANSWERED not in body["value"]:
        context.schedule(_VERIFICATION_SECONDS, "verify_tax_id", body["id"])
    return body


def _new_tax_id(context: RequestContext, params: Json, customer: str | None) -> Json:
    """Raises ApiError (400) for a kind that there is not, and for a value of another form."""
    kind, value = params["type"], params["value"].strip().upper()
    if form := _FORMS.get(kind):
        value = re.sub(r"[\s.-]", "", value)
        if not re.fullmatch(form, value):
            raise api_error("tax_id_invalid", kind=kind)
    code = value[:2] if kind == "eu_vat" else kind[:2].upper()
    owner: Json = {"type": "customer", "customer": customer} if customer else {"type": "self"}
    status = "pending" if kind == "eu_vat" else "unavailable"
    body = new(
        "tax_id",
        context.now,
        country=_COUNTRIES.get(code, code),
        customer=customer,
        owner={**owner, "customer_account": None},
        type=kind,
        value=value,
        verification={"status": status, "verified_address": None, "verified_name": None},
    )
    return context.save(body)


@timer_action("verify_tax_id")
def verify_tax_id(context: RequestContext, id: str) -> None:
    """The register of the European Union answers."""
    body = context.fetch("tax_id", id)
    customer = context.fetch("customer", body["customer"])
    verification: Json = {"status": "unverified", "verified_address": None, "verified_name": None}
    if _UNVERIFIED not in body["value"]:
        name = customer["name"] or "Example Company"
        address = "123 Example Street"
        verification = {"status": "verified", "verified_address": address, "verified_name": name}
    context.update(body, {"verification": verification}, "customer.tax_id.updated")


@route("GET /v1/customers/<id>/tax_ids/<tax_id>")
def retrieve_customer_tax_id(context: RequestContext, params: Json, id: str, tax_id: str) -> Json:
    """A tax id of a customer."""
    context.fetch("customer", id)
    body = context.fetch("tax_id", tax_id)
    if body["customer"] != id:
        raise api_error("resource_missing", "id", label="tax id", id=tax_id[:255])
    return body


@route("GET /v1/customers/<id>/tax_ids")
def list_customer_tax_ids(context: RequestContext, params: Json, id: str) -> Json:
    """The tax ids of a customer."""
    context.fetch("customer", id)
    return list_objects(context, {**params, "customer": id}, "tax_id")


@route("GET /v1/tax_ids")
def list_tax_ids(context: RequestContext, params: Json) -> Json:
    """The tax ids of an owner: of the account, unless a customer is named."""
    return list_objects(context, {"owner": {"type": "self"}, **params}, "tax_id")


@route("DELETE /v1/customers/<id>/tax_ids/<tax_id>")
def delete_customer_tax_id(context: RequestContext, params: Json, id: str, tax_id: str) -> Json:
    """Remove a tax id from a customer; invoices that show it stay as they are."""
    retrieve_customer_tax_id(context, {}, id, tax_id)
    return delete_tax_id(context, params, tax_id)


@route("DELETE /v1/tax_ids/<id>")
def delete_tax_id(context: RequestContext, params: Json, id: str) -> Json:
    """Delete a tax id."""
    body = context.fetch("tax_id", id)
    context.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    if body["customer"]:
        context.emit("customer.tax_id.deleted", body)
    return {"id": id, "object": "tax_id", "deleted": True}


@field_on_request("customer.tax_ids")
def tax_ids_of(context: RequestContext, customer: Json) -> Json:
    """The tax ids of a customer."""
    url = f"/v1/customers/{customer['id']}/tax_ids"
    return list_objects(context, {"customer": customer["id"]}, "tax_id", url)
