"""The items of subscriptions: new ones, changed ones, and what a change in mid-period costs."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from tmt.sandbox.billing_lines import (
    amount_of,
    fetch_price,
    fetch_tax_rates,
    multiply,
    pricing_of,
    product_name,
)
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, token
from tmt.sandbox.products import plan_of
from tmt.sandbox.request_context import RequestContext

# The parameters of an item that do something.
_SIMULATED = ("deleted", "id", "metadata", "price", "quantity", "tax_rates")


def new_item(context: RequestContext, subscription: str, data: Json, param: str) -> Json:
    """An item of a subscription, without its period."""
    _check_simulated(data, param)
    if "price" not in data:
        raise api_error("parameter_missing", f"{param}[price]")
    price = fetch_price(context, data["price"], f"{param}[price]", recurring=True)
    return new(
        "subscription_item",
        context.now,
        metadata=data.get("metadata") or {},
        plan=plan_of(price),
        price=price,
        quantity=data.get("quantity", 1),
        subscription=subscription,
        tax_rates=fetch_tax_rates(context, data.get("tax_rates"), f"{param}[tax_rates]"),
    )


def _check_simulated(data: Json, param: str) -> None:
    """Raises ApiError (400) for what an item of Stripe's may have, and none here."""
    for name in data:
        if name not in _SIMULATED:
            raise api_error("not_simulated", f"{param}[{name}]")


def check_items(items: list[Json]) -> None:
    """Raises ApiError (400) for items that one invoice and one period cannot hold."""
    every = {
        (p["currency"], p["recurring"]["interval"], p["recurring"]["interval_count"])
        for p in (item["price"] for item in items)
    }
    if len(every) > 1:
        raise api_error("items_differ", "items")
    prices = [item["price"]["id"] for item in items]
    if len({*prices}) < len(prices):
        raise api_error("items_same_price", "items")


def changed_items(context: RequestContext, subscription: Json, changes: list[Json]) -> list[Json]:
    """The subscription's items after these changes. Raises ApiError (400) for what cannot be.

    A change without `id` adds an item; one with `deleted` removes it.
    """
    items = {item["id"]: item for item in subscription["items"]["data"]}
    period = {
        name: value for name, value in next(iter(items.values())).items() if "_period_" in name
    }
    for number, data in enumerate(changes):
        param = f"items[{number}]"
        if "id" not in data:
            item = new_item(context, subscription["id"], data, param) | period
            items[item["id"]] = item
            continue
        if data["id"] not in items:
            label = "subscription item"
            raise api_error("resource_missing", f"{param}[id]", label=label, id=data["id"][:255])
        if data.get("deleted"):
            del items[data["id"]]
            continue
        _check_simulated(data, param)
        item = {**items[data["id"]]}
        if "price" in data:
            price = fetch_price(context, data["price"], f"{param}[price]", recurring=True)
            item |= {"price": price, "plan": plan_of(price)}
        if "quantity" in data:
            item["quantity"] = data["quantity"]
        if "tax_rates" in data:
            rates = fetch_tax_rates(context, data["tax_rates"], f"{param}[tax_rates]")
            item["tax_rates"] = rates
        if data.get("metadata"):
            item["metadata"] = item["metadata"] | data["metadata"]
        items[item["id"]] = item
    if not items:
        raise api_error("items_none", "items")
    check_items([*items.values()])
    return [*items.values()]


def prorations(
    context: RequestContext,
    subscription: Json,
    items: list[Json],
    at: int,
    *,
    is_new_period: bool,
) -> list[Json]:
    """The invoice items of a change at a moment of the period, by the second; not stored.

    Credits for the time that was paid and is not used, then charges for the rest of the period,
    unless a new period begins, which is charged as a whole.
    """
    before = {item["id"]: item for item in subscription["items"]["data"]}
    after = {item["id"]: item for item in items}
    credits, charges = [], []
    for id in {**before, **after}:
        old, current = before.get(id), after.get(id)
        if old and current and not is_new_period and _charged(old) == _charged(current):
            continue
        if old:
            credits.append(_proration(context, subscription, old, at, -1))
        if current and not is_new_period:
            charges.append(_proration(context, subscription, current, at, 1))
    return [proration for proration in (*credits, *charges) if proration["amount"]]


def _charged(item: Json) -> tuple[str, int]:
    return item["price"]["id"], item["quantity"]


def _proration(context: RequestContext, subscription: Json, item: Json, at: int, sign: int) -> Json:
    start, end = item["current_period_start"], item["current_period_end"]
    price, quantity = item["price"], item["quantity"]
    whole = amount_of(context, price, quantity)
    amount = sign * multiply(Decimal(whole), Decimal(end - at) / (end - start))
    words = "Unused time on" if sign < 0 else "Remaining time on"
    name = product_name(context, price)
    counted = name if quantity == 1 else f"{quantity} × {name}"
    moment = f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"
    details = {"subscription": subscription["id"], "subscription_item": item["id"]}
    return new(
        "invoiceitem",
        context.now,
        amount=amount,
        currency=price["currency"],
        customer=subscription["customer"],
        date=at,
        description=f"{words} {counted} after {moment}",
        discountable=False,
        net_amount=amount,
        parent={"type": "subscription_details", "subscription_details": details},
        period={"start": at, "end": end},
        pricing=pricing_of(price),
        proration=True,
        proration_details={"credited_items": None, "discount_amounts": []},
        quantity=quantity,
        quantity_decimal=str(quantity),
        tax_rates=item["tax_rates"],
        _line=f"il_1{token(24)}",
        _pending=True,
    )
