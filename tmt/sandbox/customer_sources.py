"""Cards that clients older than PaymentMethods save for customers, of tokens.

Such a card is a PaymentMethod whose id begins with `card_`: both spellings pay, and both lists show
it.
"""

from __future__ import annotations

from tmt.sandbox import payment_methods
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new
from tmt.sandbox.registry import field_on_request, route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects

CARD_ADDRESS = {
    "line1": "address_line1",
    "line2": "address_line2",
    "city": "address_city",
    "state": "address_state",
    "postal_code": "address_zip",
    "country": "address_country",
}
_SHOWN = "country exp_month exp_year fingerprint funding last4 regulated_status".split()
# Cards are older than the spelling of the brands in PaymentMethods.
_BRANDS = {
    "amex": "American Express",
    "diners": "Diners Club",
    "discover": "Discover",
    "jcb": "JCB",
    "mastercard": "MasterCard",
    "unionpay": "UnionPay",
    "visa": "Visa",
}


def card_of(context: RequestContext, method: Json) -> Json:
    """The card of a PaymentMethod, as tokens and sources show it."""
    details, owner = method["card"], method["billing_details"]
    card = new("card", context.now, name=owner["name"], brand=_BRANDS[details["brand"]])
    card |= {field: owner["address"][name] for name, field in CARD_ADDRESS.items()}
    card |= {name: details[name] for name in _SHOWN}
    checked = "pass" if method["customer"] else "unchecked"
    for name in ("address_line1", "address_zip"):
        card[f"{name}_check"] = checked if card[name] else None
    if method["id"].startswith("card_"):
        card |= {"id": method["id"], "customer": method["customer"], "metadata": method["metadata"]}
    return card


@route("POST /v1/customers/<id>/sources")
def create_source(context: RequestContext, params: Json, id: str) -> Json:
    """Save the card of a token for a customer; the bank may decline that (402)."""
    customer = context.fetch("customer", id)
    card = add_source(context, customer, params["source"])
    if params.get("metadata"):
        method = context.fetch("payment_method", card["id"])
        method = context.save(method | {"metadata": params["metadata"]})
        card = card_of(context, method)
    context.emit("customer.source.created", card)
    if not customer["default_source"]:
        context.update(customer, {"default_source": card["id"]}, "customer.updated")
    return card


def add_source(context: RequestContext, customer: Json, token: str) -> Json:
    """Save the card of a token for a customer, without an event."""
    if not token.startswith("tok_"):
        raise api_error("resource_missing", "source", label="token", id=token[:255])
    data = {"type": "card", "card": {"token": token}}
    method = payment_methods.from_data(context, data, "")
    payment_methods.check_savable(method)
    id = new("card", context.now)["id"]
    method |= {"id": id, "customer": customer["id"], "_source": True}
    return card_of(context, context.save(method))


@route("GET /v1/customers/<id>/sources/<source>")
def retrieve_source(context: RequestContext, params: Json, id: str, source: str) -> Json:
    """A card of a customer."""
    return card_of(context, _fetch(context, id, source))


def _fetch(context: RequestContext, id: str, source: str) -> Json:
    method = context.store.get(source, "payment_method") or {}
    if method.get("customer") != id or not method.get("_source"):
        raise api_error("resource_missing", "id", label="source", id=source[:255])
    return method


@route("GET /v1/customers/<id>/sources")
def list_sources(context: RequestContext, params: Json, id: str) -> Json:
    """The cards of a customer; the sandbox has no other sources."""
    context.fetch("customer", id)
    filters = {name: value for name, value in params.items() if name != "object"}
    page = list_objects(context, {**filters, "customer": id, "_source": True}, "payment_method")
    if params.get("object", "card") != "card":
        return page | {"data": [], "has_more": False}
    methods = [context.fetch("payment_method", method["id"]) for method in page["data"]]
    return page | {"data": [card_of(context, method) for method in methods]}


@route("POST /v1/customers/<id>/sources/<source>")
def update_source(context: RequestContext, params: Json, id: str, source: str) -> Json:
    """Change the expiry, the owner or the metadata of a card."""
    method = _fetch(context, id, source)
    before = card_of(context, method)
    details = method["billing_details"]
    address = {name: params[field] for name, field in CARD_ADDRESS.items() if field in params}
    owner = {"address": details["address"] | address, "name": params.get("name", details["name"])}
    data: Json = {"billing_details": details | owner}
    if "metadata" in params:
        data["metadata"] = params["metadata"]
    # Of a card, Stripe's types say that these two are strings.
    expiry = {
        n: payment_methods.number(params, n) for n in ("exp_month", "exp_year") if n in params
    }
    method = payment_methods.update_payment_method(context, {**data, "card": expiry}, source)
    card = card_of(context, method)
    previous = {name: before[name] for name in before if before[name] != card[name]}
    context.emit("customer.source.updated", card, previous)
    return card


@route("DELETE /v1/customers/<id>/sources/<source>")
def delete_source(context: RequestContext, params: Json, id: str, source: str) -> Json:
    """Remove a card from a customer; the newest of the others becomes the default."""
    card = card_of(context, _fetch(context, id, source))
    payment_methods.detach(context, {}, source)
    context.emit("customer.source.deleted", card)
    return {"id": source, "object": "card", "deleted": True}


@field_on_request("customer.sources")
def sources_of(context: RequestContext, customer: Json) -> Json:
    """The cards of a customer."""
    page = list_sources(context, {}, customer["id"])
    return page | {"url": f"/v1/customers/{customer['id']}/sources"}


@field_on_request("customer.default_source")
def default_source_of(context: RequestContext, customer: Json) -> Json | None:
    """The card that is a customer's default source."""
    if not customer["default_source"]:
        return None
    return retrieve_source(context, {}, customer["id"], customer["default_source"])
