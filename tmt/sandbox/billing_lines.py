"""Invoice items and the lines of invoices: what is charged, and the taxes and totals of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, token, without_internals
from tmt.sandbox.params import field_changes
from tmt.sandbox.products import amount_for
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects


@route("POST /v1/invoiceitems")
def create_invoice_item(context: RequestContext, params: Json) -> Json:
    """Create an item: on a draft, or pending until an invoice of the customer includes it."""
    customer = context.fetch("customer", params["customer"], "customer")
    invoice = None
    if "invoice" in params:
        invoice = fetch_draft(context, params["invoice"], "invoice")
    item = new(
        "invoiceitem",
        context.now,
        customer=customer["id"],
        date=context.now,
        invoice=invoice and invoice["id"],
        period={"start": context.now, "end": context.now},
        test_clock=customer["test_clock"],
        amount=0,
        _line=f"il_1{token(24)}",
        _pending=invoice is None,
    )
    item |= _item_changes(context, item, params)
    if "currency" not in item:
        raise api_error("parameter_missing", "currency")
    if invoice and invoice["currency"] != item["currency"]:
        raise api_error("invoice_currency", "currency", currency=invoice["currency"])
    context.save_and_emit(item, "invoiceitem.created")
    if invoice:
        invoice["_items"].append(item["id"])
        context.update(invoice, totals(context, invoice), "invoice.updated")
    return item


@route("POST /v1/invoiceitems/<id>")
def update_invoice_item(context: RequestContext, params: Json, id: str) -> Json:
    """Update an item that is pending or on a draft."""
    item = context.fetch("invoiceitem", id)
    invoice = fetch_draft(context, item["invoice"]) if item["invoice"] else None
    context.save(item | _item_changes(context, item, params))
    if invoice:
        context.update(invoice, totals(context, invoice), "invoice.updated")
    return context.fetch("invoiceitem", id)


@route("GET /v1/invoiceitems")
def list_invoice_items(context: RequestContext, params: Json) -> Json:
    """Items, newest first; `pending` ones are on no invoice."""
    names = {"pending": "_pending"}
    filters = {names.get(name, name): value for name, value in params.items()}
    return list_objects(context, filters, "invoiceitem")


@route("DELETE /v1/invoiceitems/<id>")
def delete_invoice_item(context: RequestContext, params: Json, id: str) -> Json:
    """Delete an item that is pending or on a draft."""
    item = context.fetch("invoiceitem", id)
    invoice = fetch_draft(context, item["invoice"]) if item["invoice"] else None
    context.store.execute("DELETE FROM objects WHERE id = ?", (id,))
    context.emit("invoiceitem.deleted", item)
    if invoice:
        invoice["_items"].remove(id)
        context.update(invoice, totals(context, invoice), "invoice.updated")
    return {"id": id, "object": "invoiceitem", "deleted": True}


def fetch_draft(context: RequestContext, id: str, param: str | None = None) -> Json:
    """The invoice, which must be a draft. Raises ApiError (404, 400) otherwise."""
    invoice = context.fetch("invoice", id, param)
    if invoice["status"] != "draft":
        raise api_error("invoice_not_editable", param)
    return invoice


def pending_items(context: RequestContext, customer: str, currency: str) -> list[Json]:
    """The customer's items that are on no invoice, newest first."""
    items = context.store.select("invoiceitem", customer=customer, _pending=True)
    return [item for item in items if item["currency"] == currency]


def _item_changes(context: RequestContext, item: Json, params: Json) -> Json:
    """The fields that parameters set, and the amount that follows from them."""
    changes = field_changes(item, params)
    if "currency" in params:
        changes["currency"] = params["currency"]
    quantity: int = params["quantity"] if "quantity" in params else item["quantity"]
    unit = params.get("unit_amount_decimal")
    if (pricing := params.get("pricing")) and pricing.get("price"):
        price = fetch_price(context, pricing["price"], "pricing[price]", recurring=False)
        if params.get("currency", price["currency"]) != price["currency"]:
            raise api_error("price_currency", "currency", currency=price["currency"])
        changes |= {
            "currency": price["currency"],
            "description": changes.get("description") or product_name(context, price),
            "pricing": pricing_of(price),
        }
        unit = price["unit_amount_decimal"]
    if "amount" in params:
        if unit is not None or "quantity" in params:
            other = "quantity" if "quantity" in params else "unit_amount_decimal"
            raise api_error("only_one", "amount", both=f"amount, {other}")
        quantity, unit = 1, str(params["amount"])
    if unit is None and "quantity" in params:
        unit = (item["pricing"] or {}).get("unit_amount_decimal")
    if unit is None and item["pricing"] is None:
        raise api_error("one_needed", "amount", both="amount, unit_amount_decimal or pricing")
    if unit is not None:
        changes.setdefault("pricing", {"type": "price_details"})
        changes["pricing"] |= {"unit_amount_decimal": unit}
        changes |= {"quantity": quantity, "quantity_decimal": str(quantity)}
        changes["amount"] = changes["net_amount"] = multiply(str(unit), quantity)
    if "tax_rates" in params:
        changes["tax_rates"] = fetch_tax_rates(context, params["tax_rates"], "tax_rates")
    return changes


def fetch_tax_rates(context: RequestContext, ids: Sequence[str] | None, param: str) -> list[Json]:
    """The tax rates with these ids. Raises ApiError (400) for one that is not there."""
    return [context.fetch("tax_rate", id, f"{param}[{n}]") for n, id in enumerate(ids or ())]


def fetch_price(context: RequestContext, id: str, param: str, recurring: bool) -> Json:
    """An active price of this type, as it is shown. Raises ApiError (400) for any other."""
    price = context.fetch("price", id, param)
    if not price["active"]:
        raise api_error("price_inactive", param, id=id)
    if (price["recurring"] is not None) != recurring:
        expected = "recurring" if recurring else "one_time"
        raise api_error("price_type", param, expected=expected)
    return without_internals(price)


def amount_of(context: RequestContext, price: Json, quantity: int) -> int:
    """What so many units of a price cost (minor units); copies of a price lack its tiers."""
    if price["billing_scheme"] == "tiered":
        price = context.fetch("price", price["id"])
    return amount_for(price, quantity)


def pricing_of(price: Json) -> Json:
    """What a line or item says of its price."""
    details = {"price": price["id"], "product": price["product"]}
    unit = price["unit_amount_decimal"]
    return {"type": "price_details", "price_details": details, "unit_amount_decimal": unit}


def product_name(context: RequestContext, price: Json) -> str:
    """The name of the price's product."""
    product = context.store.get(price["product"], "product") or {}
    return str(product.get("name", price["product"]))


def multiply(unit_amount: str | Decimal, factor: int | Decimal) -> int:
    """The amount in minor units, rounded half away from zero."""
    return int((Decimal(unit_amount) * factor).quantize(Decimal(1), ROUND_HALF_UP))


def subscription_line(context: RequestContext, item: Json, period: Json, **fields: Any) -> Json:
    """A line for one period of a subscription's item, not on an invoice yet."""
    price, quantity = item["price"], item.get("quantity", 1)
    recurring = price["recurring"]
    every = str(recurring["interval"])
    if recurring["interval_count"] > 1:
        every = f"{recurring['interval_count']} {every}s"
    amount = amount_of(context, price, quantity)
    each = "tiers"
    if price["billing_scheme"] == "per_unit":
        each = format_amount(Decimal(price["unit_amount_decimal"]), price["currency"])
    name = product_name(context, price)
    line = _line(
        f"il_1{token(24)}",
        currency=price["currency"],
        amount=amount,
        description=f"{quantity} × {name} (at {each} / {every})",
        parent={
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": item["subscription"],
                "subscription_item": item["id"],
            },
        },
        period=period,
        pricing=pricing_of(price),
        quantity=quantity,
        subscription=item["subscription"],
        metadata=item["metadata"],
    )
    return {**line, "_tax_rates": item["tax_rates"], **fields}


def _item_line(item: Json) -> Json:
    """The line that an item is on its invoice."""
    own = {
        "invoice_item": item["id"],
        "proration": item["proration"],
        "proration_details": {"credited_items": None},
    }
    of = (item["parent"] or {}).get("subscription_details")
    kind, other = "invoice_item_details", "subscription_item_details"
    if of:
        kind, other = other, kind
        own["subscription_item"] = of["subscription_item"]
    own["subscription"] = of and of["subscription"]
    line = _line(
        item["_line"],
        currency=item["currency"],
        amount=item["amount"],
        description=item["description"],
        discountable=item["discountable"],
        parent={"type": kind, kind: own, other: None},
        period=item["period"],
        pricing=item["pricing"],
        quantity=item["quantity"],
        subscription=own["subscription"],
        metadata=item["metadata"],
    )
    return {**line, "_tax_rates": item["tax_rates"]}


def _line(id: str, **fields: Any) -> Json:
    line = {**new("line_item", 0), "id": id, **fields}
    line |= {"quantity_decimal": str(line["quantity"]), "subtotal": line["amount"]}
    return line


def totals(context: RequestContext, invoice: Json, more_items: Sequence[Json] = ()) -> Json:
    """The fields of a draft that follow from its items and its subscription's lines.

    Its own items first, then the subscription's, then what was added to the draft.
    """
    included = invoice["_included"]
    items = [context.fetch("invoiceitem", id) for id in invoice["_items"]]
    lines = [
        *(_item_line(item) for item in more_items),
        *(_item_line(item) for item in items if item["id"] in included),
        *invoice["_subscription_lines"],
        *(_item_line(item) for item in items if item["id"] not in included),
    ]
    shown: list[Json] = []
    taxes: dict[str, Json] = {}
    subtotal = net = 0
    for line in lines:
        rates = line.get("_tax_rates") or invoice["default_tax_rates"]
        line_taxes = _taxes(line["amount"], rates)
        own = {name: value for name, value in line.items() if not name.startswith("_")}
        shown.append({**own, "invoice": invoice["id"], "taxes": line_taxes})
        subtotal += line["amount"]
        net += line["amount"] - _sum(line_taxes, "inclusive")
        for tax in line_taxes:
            key = tax["tax_rate_details"]["tax_rate"]
            sums = taxes.setdefault(key, {**tax, "amount": 0, "taxable_amount": 0})
            for name in ("amount", "taxable_amount"):
                sums[name] += tax[name]
    total_taxes = [*taxes.values()]
    total = subtotal + _sum(total_taxes, "exclusive")
    page = {"object": "list", "data": shown, "has_more": False}
    return {
        "amount_due": max(total, 0),
        "amount_remaining": max(total, 0),
        "lines": {**page, "url": f"/v1/invoices/{invoice['id']}/lines"},
        "subtotal": subtotal,
        "subtotal_excluding_tax": net,
        "total": total,
        "total_excluding_tax": net,
        "total_taxes": total_taxes,
    }


def _taxes(amount: int, rates: Iterable[Json]) -> list[Json]:
    """What each tax rate makes of an amount: on top of it, or the part of it."""
    taxes = []
    for rate in rates:
        percentage = Decimal(str(rate["percentage"]))
        base = 100 + percentage if rate["inclusive"] else Decimal(100)
        tax = multiply(percentage / base, amount)
        taxes.append(
            {
                "amount": tax,
                "tax_behavior": "inclusive" if rate["inclusive"] else "exclusive",
                "tax_rate_details": {"tax_rate": rate["id"]},
                "taxability_reason": "not_available",
                "taxable_amount": amount - tax if rate["inclusive"] else amount,
                "type": "tax_rate_details",
            }
        )
    return taxes


def _sum(taxes: Iterable[Json], behavior: str) -> int:
    return sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == behavior)
