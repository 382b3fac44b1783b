"""Plans: recurring prices for clients that are older than prices. Both have the same ids."""

from __future__ import annotations

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json
from tmt.sandbox.params import field_changes
from tmt.sandbox.products import change_price, create_price, new_product, plan_of
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects

_RECURRING = ("interval", "interval_count", "meter", "trial_period_days", "usage_type")
_AMOUNTS = {"amount": "unit_amount", "amount_decimal": "unit_amount_decimal"}


@route("POST /v1/plans")
def create_plan(context: RequestContext, params: Json) -> Json:
    """Create a plan, of a product that there is or of a new one."""
    if not params.get("product"):
        raise api_error("parameter_missing", "product")
    if isinstance(params["product"], str):
        product = context.fetch("product", params["product"], "product")
    else:
        product = new_product(context, params["product"])
    data = {_AMOUNTS.get(name, name): value for name, value in params.items()}
    recurring = {name: data.pop(name) for name in _RECURRING if name in data}
    return plan_of(create_price(context, product["id"], data | {"recurring": recurring}))


@route("GET /v1/plans/<id>")
def retrieve_plan(context: RequestContext, params: Json, id: str) -> Json:
    """A plan."""
    return plan_of(_fetch(context, id))


@route("POST /v1/plans/<id>")
def update_plan(context: RequestContext, params: Json, id: str) -> Json:
    """Update what may change of a plan."""
    price = _fetch(context, id)
    changes = field_changes(price, params)
    if "product" in params:
        changes["product"] = context.fetch("product", params["product"], "product")["id"]
    if "trial_period_days" in params:
        trial = {"trial_period_days": params["trial_period_days"]}
        changes["recurring"] = price["recurring"] | trial
    return plan_of(change_price(context, price, changes))


@route("DELETE /v1/plans/<id>")
def delete_plan(context: RequestContext, params: Json, id: str) -> Json:
    """Delete a plan, which is the only way to delete a price; subscriptions stay as they are."""
    price = _fetch(context, id)
    context.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    context.emit("plan.deleted", plan_of(price))
    context.emit("price.deleted", price)
    return {"id": id, "object": "plan", "deleted": True}


@route("GET /v1/plans")
def list_plans(context: RequestContext, params: Json) -> Json:
    """The plans, newest first."""
    page = list_objects(context, {**params, "type": "recurring"}, "price")
    return page | {"data": [plan_of(price) for price in page["data"]]}


def _fetch(context: RequestContext, id: str) -> Json:
    price = context.store.get(id, "price")
    if price is None or price["recurring"] is None:
        raise api_error("resource_missing", "plan", label="plan", id=id[:255])
    return price
