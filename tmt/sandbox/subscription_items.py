"""The items of subscriptions, each by itself: a change of one changes the subscription."""

from __future__ import annotations

from tmt.sandbox.billing_invoices import page_of
from tmt.sandbox.billing_subscriptions import update_subscription
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext

_OF_ITEM = (
    "EXISTS (SELECT 1 FROM json_each(objects.body, '$.items.data') AS item"
    " WHERE json_extract(item.value, '$.id') = ?)"
)
_OF_UPDATE = ("payment_behavior", "proration_behavior", "proration_date")


@route("GET /v1/subscription_items")
def list_subscription_items(context: RequestContext, params: Json) -> Json:
    """A page of a subscription's items."""
    subscription = context.fetch("subscription", params["subscription"], "subscription")
    return page_of(context, subscription["items"]["data"], params)


@route("GET /v1/subscription_items/<id>")
def retrieve_subscription_item(context: RequestContext, params: Json, id: str) -> Json:
    """An item."""
    return _find(_subscription_of(context, id), id)


@route("POST /v1/subscription_items")
def create_subscription_item(context: RequestContext, params: Json) -> Json:
    """Add an item to a subscription."""
    subscription = context.fetch("subscription", params.pop("subscription"), "subscription")
    present = {item["id"] for item in subscription["items"]["data"]}
    changed = _change(context, subscription["id"], params, {})
    added = [item for item in changed["items"]["data"] if item["id"] not in present]
    if not added:
        raise api_error("not_simulated", "payment_behavior")
    item: Json = added[0]
    return item


@route("POST /v1/subscription_items/<id>")
def update_subscription_item(context: RequestContext, params: Json, id: str) -> Json:
    """Change the price, the quantity, the tax rates or the metadata of an item."""
    subscription = _subscription_of(context, id)
    return _find(_change(context, subscription["id"], params, {"id": id}), id)


@route("DELETE /v1/subscription_items/<id>")
def delete_subscription_item(context: RequestContext, params: Json, id: str) -> Json:
    """Remove an item from its subscription."""
    subscription = _subscription_of(context, id)
    _change(context, subscription["id"], params, {"id": id, "deleted": True})
    return {"id": id, "object": "subscription_item", "deleted": True}


def _change(context: RequestContext, subscription: str, params: Json, change: Json) -> Json:
    """Update the subscription with a change of one item; returns the subscription."""
    change |= {name: value for name, value in params.items() if name not in _OF_UPDATE}
    update = {name: params[name] for name in _OF_UPDATE if name in params}
    return update_subscription(context, {**update, "items": [change]}, subscription)


def _subscription_of(context: RequestContext, id: str) -> Json:
    subscriptions = context.store.select("subscription", [(_OF_ITEM, [id])])
    if not subscriptions:
        raise api_error("resource_missing", "item", label="subscription item", id=id[:255])
    return subscriptions[0]


def _find(subscription: Json, id: str) -> Json:
    return next(item for item in subscription["items"]["data"] if item["id"] == id)
