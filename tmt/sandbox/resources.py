"""What all kinds of objects share: retrieved, listed, updated, deleted, and shown expanded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, load_table, new
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import FIELDS_ON_REQUEST, field_on_request, route
from tmt.sandbox.request_context import EVENT_RETENTION_SECONDS, RequestContext

_DEPTH = 4
_PAGES = ("list", "search_result")
_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "="}
_CURSORS = {
    "starting_after": "seq < (SELECT seq FROM objects AS cursor WHERE cursor.id = ?)",
    "ending_before": "seq > (SELECT seq FROM objects AS cursor WHERE cursor.id = ?)",
}
_UNDELIVERED = "EXISTS (SELECT 1 FROM deliveries WHERE event = objects.id AND delivered = 0)"
_TYPE = "json_extract(body, '$.type') GLOB ?"
# Filters by an object, which has to be there, if only as a deleted one.
_BY_OBJECT = (
    *("charge", "coupon", "customer", "invoice", "payment_intent", "payment_method", "payout"),
    *("price", "product", "subscription"),
)
# Filters by a field of another name, and by one whose case does not matter.
_FILTERED_FIELDS = {
    ("balance_transaction", "payout"): "_payout",
    ("promotion_code", "coupon"): "promotion.coupon",
    ("price", "lookup_keys"): "lookup_key",
    ("product", "ids"): "id",
}
_CASELESS = {("promotion_code", "code")}
Where = list[tuple[str, list[Any]]]


@route("GET /v1/balance_transactions/<id>", kind="balance_transaction")
@route("GET /v1/charges/<id>", kind="charge")
@route("GET /v1/coupons/<id>", kind="coupon")
@route("GET /v1/credit_notes/<id>", kind="credit_note")
@route("GET /v1/customers/<id>", kind="customer")
@route("GET /v1/disputes/<id>", kind="dispute")
@route("GET /v1/events/<id>", kind="event")
@route("GET /v1/invoice_payments/<id>", kind="invoice_payment")
@route("GET /v1/invoiceitems/<id>", kind="invoiceitem")
@route("GET /v1/invoices/<id>", kind="invoice")
@route("GET /v1/mandates/<id>", kind="mandate")
@route("GET /v1/payment_intents/<id>", kind="payment_intent", publishable=True)
@route("GET /v1/payment_method_configurations/<id>", kind="payment_method_configuration")
@route("GET /v1/payment_method_domains/<id>", kind="payment_method_domain")
@route("GET /v1/payouts/<id>", kind="payout")
@route("GET /v1/prices/<id>", kind="price")
@route("GET /v1/products/<id>", kind="product")
@route("GET /v1/promotion_codes/<id>", kind="promotion_code")
@route("GET /v1/radar/early_fraud_warnings/<id>", kind="radar.early_fraud_warning")
@route("GET /v1/refunds/<id>", kind="refund")
@route("GET /v1/reviews/<id>", kind="review")
@route("GET /v1/setup_intents/<id>", kind="setup_intent", publishable=True)
@route("GET /v1/subscriptions/<id>", kind="subscription")
@route("GET /v1/tax_ids/<id>", kind="tax_id")
@route("GET /v1/tax_rates/<id>", kind="tax_rate")
@route("GET /v1/test_helpers/test_clocks/<id>", kind="test_helpers.test_clock")
@route("GET /v1/webhook_endpoints/<id>", kind="webhook_endpoint")
def retrieve(context: RequestContext, params: Json, id: str, kind: str) -> Json:
    """An object; of a deleted one, that it is deleted."""
    body = context.store.get(id, kind) or {}
    if not body.get("deleted"):
        body = context.fetch(kind, id)
    if "client_secret" in body:
        context.check_client_secret(body, params)
    return body


@route("GET /v1/accounts/<id>")
def retrieve_account(context: RequestContext, params: Json, id: str) -> Json:
    """The sandbox's own account; it has no others."""
    account = context.store.get(id, "account")
    if account is None:
        raise api_error("no_such_account", id=id[:40])
    return account


@route("GET /v1/accounts")
def list_accounts(context: RequestContext, params: Json) -> Json:
    """The accounts that are connected to this one: none."""
    return {"object": "list", "url": context.path, "has_more": False, "data": []}


@route("GET /v1/account", kind="account")
def retrieve_only(context: RequestContext, params: Json, kind: str) -> Json:
    """The object of a kind of which there is one."""
    return context.store.select(kind)[0]


@route("POST /v1/payment_method_domains")
def create_domain(context: RequestContext, params: Json) -> Json:
    """Register a domain for wallets; one that is registered already is answered as it is."""
    name = params["domain_name"]
    for existing in context.store.select("payment_method_domain"):
        if existing["domain_name"] == name:
            return existing
    domain = new("payment_method_domain", context.now)
    return context.save(domain | field_changes(domain, params))


@route("POST /v1/payment_method_domains/<id>")
def update_domain(context: RequestContext, params: Json, id: str) -> Json:
    """Enable or disable a domain."""
    domain = context.fetch("payment_method_domain", id)
    return context.save(domain | field_changes(domain, params))


@route("POST /v1/payment_method_domains/<id>/validate")
def validate_domain(context: RequestContext, params: Json, id: str) -> Json:
    """Look at the domain again; here every wallet is active on every domain."""
    return context.fetch("payment_method_domain", id)


@route("POST /v1/payouts/<id>", kind="payout", event_types=["payout.updated"])
@route("POST /v1/charges/<id>", kind="charge", event_types=["charge.updated"])
@route("POST /v1/coupons/<id>", kind="coupon", event_types=["coupon.updated"])
@route("POST /v1/tax_rates/<id>", kind="tax_rate", event_types=["tax_rate.updated"])
@route(
    "POST /v1/refunds/<id>", kind="refund", event_types=["refund.updated", "charge.refund.updated"]
)
def update(
    context: RequestContext, params: Json, id: str, kind: str, event_types: Sequence[str]
) -> Json:
    """Update an object whose parameters are new values of fields and nothing else."""
    body = context.fetch(kind, id)
    return context.update(body, field_changes(body, params), *event_types) if params else body


@route("DELETE /v1/coupons/<id>", kind="coupon", event_types=["coupon.deleted"])
@route(
    "DELETE /v1/test_helpers/test_clocks/<id>",
    kind="test_helpers.test_clock",
    event_types=["test_helpers.test_clock.deleted"],
)
@route("DELETE /v1/webhook_endpoints/<id>", kind="webhook_endpoint")
def delete(
    context: RequestContext, params: Json, id: str, kind: str, event_types: Sequence[str] = ()
) -> Json:
    """Delete an object."""
    body = context.fetch(kind, id)
    context.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    for event_type in event_types:
        context.emit(event_type, body)
    return {"id": id, "object": kind, "deleted": True}


@route("GET /v1/balance_transactions", kind="balance_transaction")
@route("GET /v1/charges", kind="charge")
@route("GET /v1/coupons", kind="coupon")
@route("GET /v1/credit_notes", kind="credit_note")
@route("GET /v1/customers", kind="customer")
@route("GET /v1/disputes", kind="dispute")
@route("GET /v1/events", kind="event")
@route("GET /v1/payment_intents", kind="payment_intent")
@route("GET /v1/payment_method_configurations", kind="payment_method_configuration")
@route("GET /v1/payment_method_domains", kind="payment_method_domain")
@route("GET /v1/payment_methods", kind="payment_method")
@route("GET /v1/payouts", kind="payout")
@route("GET /v1/prices", kind="price")
@route("GET /v1/products", kind="product")
@route("GET /v1/promotion_codes", kind="promotion_code")
@route("GET /v1/radar/early_fraud_warnings", kind="radar.early_fraud_warning")
@route("GET /v1/refunds", kind="refund")
@route("GET /v1/reviews", kind="review")
@route("GET /v1/setup_intents", kind="setup_intent")
@route("GET /v1/tax_rates", kind="tax_rate")
@route("GET /v1/test_helpers/test_clocks", kind="test_helpers.test_clock")
@route("GET /v1/webhook_endpoints", kind="webhook_endpoint")
def list_objects(context: RequestContext, params: Json, kind: str, url: str | None = None) -> Json:
    """A page of a list, newest first, with Stripe's filters and cursors.

    Every parameter that is not a cursor filters by the object's field of that name.
    """
    limit = params.get("limit", 10)
    if not 1 <= limit <= 100:
        raise api_error("out_of_range", "limit")
    if "starting_after" in params and "ending_before" in params:
        raise api_error("only_one", "ending_before", both="ending_before, starting_after")
    where: Where = [("json_extract(body, '$.deleted') IS NULL", [])]
    if kind == "event":
        where.append(("created >= ?", [context.now - EVENT_RETENTION_SECONDS]))
    for name, value in params.items():
        if name in _CURSORS:
            context.fetch(kind, value, name)
            where.append((_CURSORS[name], [value]))
        elif name != "limit" and value is not None:
            if name in _BY_OBJECT and context.store.get(value, name) is None:
                context.fetch(name, value, name)
            where += _filter_conditions(kind, name, value)
    backwards = "ending_before" in params
    rows = context.store.select(kind, where, "ASC" if backwards else "DESC", limit + 1)
    page = rows[:limit][::-1] if backwards else rows[:limit]
    return {
        "object": "list",
        "url": url or context.path,
        "has_more": len(rows) > limit,
        "data": [_visible(context, body) for body in page],
    }


def _filter_conditions(kind: str, name: str, value: Any) -> Where:
    field = f"json_extract(body, '$.{_FILTERED_FIELDS.get((kind, name), name)}')"
    if isinstance(value, dict):
        if value.keys() <= _COMPARISONS.keys():
            return [(f"{field} {_COMPARISONS[name]} ?", [limit]) for name, limit in value.items()]
        parts = [_filter_conditions(kind, f"{name}.{part}", value[part]) for part in value]
        return [condition for part in parts for condition in part]
    if name == "delivery_success":
        return [(f"NOT {_UNDELIVERED}" if value else _UNDELIVERED, [])]
    if kind == "event":
        types = value if isinstance(value, list) else [value]
        return [("(" + " OR ".join([_TYPE] * len(types)) + ")", types)]
    if isinstance(value, list):
        return [(f"{field} IN ({', '.join('?' * len(value))})", value)]
    if (kind, name) in _CASELESS:
        return [(f"LOWER({field}) = LOWER(?)", [value])]
    return [(f"{field} = ?", [value])]


@field_on_request("charge.refunds")
def refunds_of(context: RequestContext, charge: Json) -> Json:
    """The refunds of a charge."""
    url = f"/v1/charges/{charge['id']}/refunds"
    return list_objects(context, {"charge": charge["id"]}, "refund", url)


def render(context: RequestContext, body: Json, paths: list[str]) -> Json:
    """The JSON of an object or list; `paths` lead to the ids that are replaced by their objects."""
    visible = _visible(context, body)
    for path in paths:
        names = path.split(".")
        if len(names) > _DEPTH:
            raise api_error("too_deep", "expand", most=_DEPTH)
        _expand(context, visible, body["object"], names, path)
    return visible


def _visible(context: RequestContext, body: Json) -> Json:
    visible = context.visible(body)
    if visible["object"] == "event":
        sql = "SELECT COUNT(*) FROM deliveries WHERE event = ? AND delivered = 0"
        visible["pending_webhooks"] = context.store.rows(sql, (visible["id"],))[0][0]
    return visible


def _expand(context: RequestContext, node: Any, part: str, names: list[str], path: str) -> None:
    """Expand the first of the names in a node, and the others in what is then there.

    `part` is the node's kind of object or, as in data/objects.yaml, the part of one that it is.
    """
    name, rest = names[0], names[1:]
    if isinstance(node, dict) and node.get("object") in _PAGES and name == "data" and rest:
        for item in node["data"]:
            _expand(context, item, item["object"], rest, path)
        return
    field = load_table("objects").get(part, {}).get(name, "")
    on_request = FIELDS_ON_REQUEST.get(f"{part}.{name}")
    is_expandable = on_request or ("expandable" in field and name in node)
    is_on_the_way = rest and isinstance(node.get(name), dict)
    is_hidden = context.publishable and name != "payment_method"
    if is_hidden or not (is_on_the_way or is_expandable):
        raise api_error("not_expandable", "expand", path=path)
    if on_request:
        value = on_request(context, node)
        node |= {} if value is None else {name: value}
    elif isinstance(node[name], str) and (body := context.store.get(node[name])):
        node[name] = _visible(context, body)
    if rest and isinstance(node.get(name), dict):
        inner = node[name].get("object", f"{part}.{name}")
        _expand(context, node[name], inner, rest, path)
