"""Products and their prices, and each recurring price as the plan that older clients know."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, template
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import field_on_request, route
from tmt.sandbox.request_context import RequestContext

_LONGEST_LOOKUP_KEY = 200
# A price recurs at least every three years.
_MOST_INTERVALS = {"day": 1095, "week": 156, "month": 36, "year": 3}


@route("POST /v1/products")
def create_product(context: RequestContext, params: Json) -> Json:
    """Create a product, with its default price if there is one."""
    product = new_product(context, params)
    if data := params.get("default_price_data"):
        price = create_price(context, product["id"], data, "default_price_data")
        context.update(product, {"default_price": price["id"]}, "product.updated")
    return product


def new_product(context: RequestContext, data: Json) -> Json:
    """Create a product of its data alone. Raises ApiError (400) for an id that is in use."""
    product = new("product", context.now, updated=context.now)
    product["id"] = new_id(context, data.get("id"), product["id"], "Product")
    product |= field_changes(product, data) | _tax_details(data)
    return context.save_and_emit(product, "product.created")


def _tax_details(data: Json) -> Json:
    # The tax code is told in two places.
    if details := data.get("tax_details"):
        details = {"performance_location": None, "tax_code": data.get("tax_code"), **details}
        return {"tax_details": details, "tax_code": details["tax_code"]}
    return {"tax_details": None} if "tax_details" in data else {}


def new_id(context: RequestContext, custom: str | None, generated: str, label: str) -> str:
    """The id that a client wants for a new object, or the generated one.

    Raises ApiError (400) if there is an object of that id.
    """
    if custom is not None and context.store.get(custom):
        raise api_error("already_exists", "id", label=label)
    return custom or generated


@route("POST /v1/products/<id>")
def update_product(context: RequestContext, params: Json, id: str) -> Json:
    """Update a product; its default price must be an active one of its own."""
    product = context.fetch("product", id)
    if default := params.get("default_price"):
        price = context.fetch("price", default, "default_price")
        if price["product"] != id or not price["active"]:
            raise api_error("default_price", id=default[:255])
    if not params:
        return product
    changes = {**field_changes(product, params), **_tax_details(params), "updated": context.now}
    # A list that is cleared is empty; other fields are null.
    changes |= {n: [] for n in ("images", "marketing_features") if changes.get(n, 0) is None}
    return context.update(product, changes, "product.updated")


@route("DELETE /v1/products/<id>")
def delete_product(context: RequestContext, params: Json, id: str) -> Json:
    """Delete a product that has no prices."""
    product = context.fetch("product", id)
    if context.store.select("price", product=id, limit=1):
        raise api_error("product_has_prices")
    context.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    context.emit("product.deleted", product)
    return {"id": id, "object": "product", "deleted": True}


@route("POST /v1/prices")
def create_price_of_product(context: RequestContext, params: Json) -> Json:
    """Create a price, of a product that there is or of a new one."""
    if ("product" in params) == ("product_data" in params):
        name = "only_one" if "product" in params else "one_needed"
        raise api_error(name, "product", both="product, product_data")
    if "product" in params:
        product = context.fetch("product", params["product"], "product")
    else:
        product = new_product(context, params["product_data"])
    return create_price(context, product["id"], params)


def create_price(context: RequestContext, product: str, data: Json, param: str = "") -> Json:
    """Create a price of a product; of a recurring one, an event tells of the plan too.

    `param` is the parameter that holds the data, or empty. Raises ApiError (400).
    """
    price = new("price", context.now, product=product, type="one_time")
    price["id"] = new_id(context, data.get("id"), price["id"], "Plan")
    price |= field_changes(price, data) | _amount(data, param)
    if recurring := data.get("recurring"):
        recurring = template("price.recurring") | recurring
        price |= {"recurring": recurring, "type": "recurring"}
        if recurring["usage_type"] == "metered" or recurring["meter"]:
            raise api_error("metered", param and f"{param}[recurring][usage_type]")
        if not 1 <= recurring["interval_count"] <= _MOST_INTERVALS[recurring["interval"]]:
            raise api_error("interval_count", param and f"{param}[recurring][interval_count]")
    price["lookup_key"] = _take_lookup_key(context, data, price["id"])
    context.save(price)
    if recurring:
        context.emit("plan.created", plan_of(price))
    context.emit("price.created", price)
    return price


def _amount(data: Json, param: str) -> Json:
    """The fields that say what a price costs: one of two amounts, or tiers."""
    amounts = [name for name in ("unit_amount", "unit_amount_decimal") if name in data]
    if data.get("billing_scheme") == "tiered":
        for name in ("tiers", "tiers_mode"):
            if not data.get(name):
                raise api_error("parameter_missing", name)
        if amounts:
            raise api_error("only_one", amounts[0], both=f"tiers, {amounts[0]}")
        return {"_tiers": _tiers(data["tiers"]), "tiers_mode": data["tiers_mode"]}
    if "tiers" in data or "tiers_mode" in data:
        raise api_error("tiers_without_scheme")
    if len(amounts) != 1:
        raise api_error(
            "only_one" if amounts else "one_needed",
            f"{param}[unit_amount]" if param else "unit_amount",
            both="unit_amount, unit_amount_decimal",
        )
    return _both_amounts(data, "unit_amount")


def _both_amounts(data: Json, name: str) -> Json:
    """An amount (minor units) as an integer, if it is one, and as a decimal; both may be null."""
    decimal = f"{name}_decimal"
    text = data.get(decimal)
    if text is None and data.get(name) is not None:
        text = str(data[name])
    if text is not None and Decimal(text) < 0:
        raise api_error("negative", name, value=text)
    whole = int(text) if text is not None and "." not in text else None
    return {name: whole, decimal: text}


def _tiers(tiers: list[Json]) -> list[Json]:
    """The tiers in order; the last one, and no other, has no end."""
    ends = [tier["up_to"] for tier in tiers]
    if ends[-1] != "inf" or "inf" in ends[:-1] or ends[:-1] != sorted({*ends[:-1]}):
        raise api_error("tiers_order")
    return [
        {
            **_both_amounts(tier, "flat_amount"),
            **_both_amounts(tier, "unit_amount"),
            "up_to": None if tier["up_to"] == "inf" else tier["up_to"],
        }
        for tier in tiers
    ]


def _take_lookup_key(context: RequestContext, data: Json, price: str) -> str | None:
    """The lookup key, taken from the price that had it if the client says so."""
    key: str | None = data.get("lookup_key")
    if key is None:
        return None
    if len(key) > _LONGEST_LOOKUP_KEY:
        raise api_error("lookup_key_too_long", most=_LONGEST_LOOKUP_KEY)
    for other in context.store.select("price", lookup_key=key):
        if other["id"] != price:
            if not data.get("transfer_lookup_key"):
                raise api_error("lookup_key_in_use", id=other["id"])
            context.update(other, {"lookup_key": None}, "price.updated")
    return key


@route("POST /v1/prices/<id>")
def update_price(context: RequestContext, params: Json, id: str) -> Json:
    """Update what may change of a price: its amount and interval never do."""
    price = context.fetch("price", id)
    changes = field_changes(price, params)
    if "lookup_key" in params:
        changes["lookup_key"] = _take_lookup_key(context, params, id)
    behavior = changes.get("tax_behavior", price["tax_behavior"])
    if price["tax_behavior"] not in ("unspecified", behavior):
        raise api_error("tax_behavior", behavior=price["tax_behavior"])
    return change_price(context, price, changes)


def change_price(context: RequestContext, price: Json, changes: Json) -> Json:
    """Change a price, and say so of it and of its plan. Raises ApiError for a default's end."""
    product = context.store.get(price["product"], "product") or {}
    if changes.get("active") is False and product.get("default_price") == price["id"]:
        raise api_error("price_is_default")
    if not changes:
        return price
    before = plan_of(price)
    context.update(price, changes, "price.updated")
    after = plan_of(price)
    previous = {name: before[name] for name in before if before[name] != after[name]}
    if price["recurring"] and previous:
        context.emit("plan.updated", after, previous)
    return price


def plan_of(price: Json) -> Json:
    """A recurring price as a plan: the same object, told as it was before there were prices."""
    same = "active billing_scheme created currency id livemode metadata nickname product tiers_mode"
    amounts = {"amount": price["unit_amount"], "amount_decimal": price["unit_amount_decimal"]}
    return {
        **template("plan"),
        **{name: price[name] for name in same.split()},
        **amounts,
        **(price["recurring"] or {}),
        "object": "plan",
    }


@field_on_request("plan.tiers")
@field_on_request("price.tiers")
def tiers_of(context: RequestContext, price: Json) -> Any:
    """The tiers of a price or plan that has some."""
    return context.fetch("price", price["id"]).get("_tiers")


def amount_for(price: Json, quantity: int) -> int:
    """What so many units of a price cost, in minor units, rounded once at the end.

    Volume tiers charge all units at the price of the tier that the quantity reaches, graduated
    ones each unit at the price of its own tier.
    """
    if price["billing_scheme"] == "per_unit":
        return _rounded(quantity * Decimal(price["unit_amount_decimal"]))
    total, start = Decimal(0), 0
    for tier in price["_tiers"]:
        end = tier["up_to"]
        is_last = end is None or quantity <= end
        if price["tiers_mode"] == "graduated" or is_last:
            first = 0 if price["tiers_mode"] == "volume" else start
            units = quantity - first if is_last else end - first
            total += Decimal(tier["flat_amount_decimal"] or 0)
            total += units * Decimal(tier["unit_amount_decimal"] or 0)
        if is_last:
            break
        start = end
    return _rounded(total)


def _rounded(amount: Decimal) -> int:
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))
