"""Coupons, promotion codes, and the discounts that they give."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime

from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, template, token, without_internals
from tmt.sandbox.params import field_changes
from tmt.sandbox.products import new_id
from tmt.sandbox.registry import field_on_request, route, timer_action
from tmt.sandbox.request_context import RequestContext

_GENERATED_LENGTH = 8
_MOST_MONTHS = 1200


@route("POST /v1/coupons")
def create_coupon(context: RequestContext, params: Json) -> Json:
    """Create a coupon: an amount (minor units) or a percentage off."""
    coupon = new("coupon", context.now)
    coupon["id"] = new_id(context, params.get("id"), token(_GENERATED_LENGTH), "Coupon")
    coupon |= {name: params[name] for name in ("max_redemptions", "redeem_by") if name in params}
    coupon |= field_changes(coupon, params) | _reduction(params)
    months = params.get("duration_in_months")
    if (coupon["duration"] == "repeating") != (months is not None):
        name = "parameter_missing" if months is None else "months_without_repeating"
        raise api_error(name, "duration_in_months")
    if months is not None and not 1 <= months <= _MOST_MONTHS:
        raise api_error("months", "duration_in_months", most=_MOST_MONTHS)
    coupon["duration_in_months"] = months
    if coupon["max_redemptions"] is not None and coupon["max_redemptions"] < 1:
        raise api_error("too_low", "max_redemptions")
    _schedule_end(context, "expire_coupon", coupon["id"], coupon["redeem_by"], "redeem_by")
    for product in params.get("applies_to", {}).get("products", []):
        context.fetch("product", product, "applies_to[products]")
        coupon["_applies_to"] = params["applies_to"]
    return context.save_and_emit(coupon, "coupon.created")


def _reduction(params: Json) -> Json:
    both = "amount_off, percent_off"
    if "amount_off" in params and "percent_off" in params:
        raise api_error("only_one", "percent_off", both=both)
    if "percent_off" in params:
        if not 0 < params["percent_off"] <= 100:
            raise api_error("percentage", "percent_off")
        return {"percent_off": params["percent_off"]}
    if "amount_off" not in params:
        raise api_error("one_needed", "percent_off", both=both)
    if "currency" not in params:
        raise api_error("parameter_missing", "currency")
    if params["amount_off"] < 1:
        raise api_error("too_low", "amount_off")
    return {name: params[name] for name in ("amount_off", "currency")}


def _schedule_end(
    context: RequestContext, action: str, id: str, end: int | None, param: str
) -> None:
    if end is None:
        return
    if end <= context.now:
        raise api_error("time_in_past", param)
    context.schedule(end - context.now, action, id)


@timer_action("expire_coupon")
def expire_coupon(context: RequestContext, id: str) -> None:
    """A coupon can be redeemed no longer; Stripe sends no event about that."""
    coupon = context.fetch("coupon", id)
    # Its name may have passed on to another coupon since.
    if coupon["redeem_by"] and coupon["redeem_by"] <= context.now:
        context.save(coupon | {"valid": False})


@field_on_request("coupon.applies_to")
def applies_to_of(context: RequestContext, coupon: Json) -> Json | None:
    """The products that a coupon is for, if it is not for all."""
    return context.fetch("coupon", coupon["id"]).get("_applies_to")


@route("POST /v1/promotion_codes")
def create_promotion_code(context: RequestContext, params: Json) -> Json:
    """Create a code with which buyers redeem a coupon."""
    older = {"type": "coupon", "coupon": params.get("coupon")}
    promotion = template("promotion_code.promotion") | params.get("promotion", older)
    if not promotion["coupon"]:
        missing = "promotion[coupon]" if "promotion" in params else "coupon"
        raise api_error("parameter_missing", missing)
    coupon = context.fetch("coupon", promotion["coupon"], "promotion[coupon]")
    if not coupon["valid"]:
        raise api_error("coupon_expired", "promotion[coupon]")
    code = new("promotion_code", context.now, promotion=promotion)
    code |= {name: params[name] for name in ("expires_at", "max_redemptions") if name in params}
    code |= field_changes(code, params)
    code["code"] = params.get("code") or token(_GENERATED_LENGTH).upper()
    code["restrictions"] = template("promotion_code.restrictions") | params.get("restrictions", {})
    _check_new_code(context, code, coupon)
    _schedule_end(context, "expire_code", code["id"], code["expires_at"], "expires_at")
    return context.save_and_emit(code, "promotion_code.created")


def _check_new_code(context: RequestContext, code: Json, coupon: Json) -> None:
    """Raises ApiError (400) for a code in use, a malformed one, or more than its coupon offers."""
    if not re.fullmatch(r"[0-9A-Za-z-]{1,500}", code["code"]):
        raise api_error("invalid_code")
    if code["customer"]:
        context.fetch("customer", code["customer"], "customer")
    minimum = [code["restrictions"][f"minimum_amount{part}"] for part in ("", "_currency")]
    if minimum.count(None) == 1:
        both = "restrictions[minimum_amount], restrictions[minimum_amount_currency]"
        raise api_error("all_needed", "restrictions", both=both)
    most, of_coupon = code["max_redemptions"], coupon["max_redemptions"]
    if most is not None and (most < 1 or (of_coupon is not None and most > of_coupon)):
        raise api_error("code_redemptions", most=of_coupon)
    if code["expires_at"] and coupon["redeem_by"] and code["expires_at"] > coupon["redeem_by"]:
        raise api_error("code_after_coupon", "expires_at")
    _check_unique(context, code)


def _check_unique(context: RequestContext, code: Json) -> None:
    """Raises ApiError (400) if an active code for the same customer, or for all, is the same."""
    same = "LOWER(json_extract(body, '$.code')) = LOWER(?)"
    for other in context.store.select("promotion_code", [(same, [code["code"]])], active=True):
        customers = {other["customer"], code["customer"]}
        is_shared = None in customers or len(customers) == 1
        if code["active"] and other["id"] != code["id"] and is_shared:
            raise api_error("code_in_use", "code", value=code["code"])


@route("POST /v1/promotion_codes/<id>")
def update_promotion_code(context: RequestContext, params: Json, id: str) -> Json:
    """Activate or deactivate a promotion code, or change its metadata."""
    code = context.fetch("promotion_code", id)
    changes = field_changes(code, params)
    if changes.get("active") and not code["active"]:
        coupon = context.store.get(code["promotion"]["coupon"], "coupon")
        if coupon is None or not coupon["valid"] or _is_used_up(context, code):
            raise api_error("code_not_activatable")
        _check_unique(context, {**code, **changes})
    return context.update(code, changes, "promotion_code.updated") if params else code


def _is_used_up(context: RequestContext, code: Json) -> bool:
    most, end = code["max_redemptions"], code["expires_at"]
    redeemed = most is not None and code["times_redeemed"] >= most
    return redeemed or (end is not None and end <= context.now)


@timer_action("expire_code")
def expire_code(context: RequestContext, id: str) -> None:
    """A promotion code comes to its end."""
    code = context.fetch("promotion_code", id)
    if code["active"]:
        context.update(code, {"active": False}, "promotion_code.updated")


def redeem(context: RequestContext, customer: str, offer: Json, **owner: str) -> Json:
    """A discount for a customer, of the `coupon` or `promotion_code` in `offer`; counts it.

    `owner` says what it is on, such as `subscription`; without, it is on the customer. The coupon
    as it was stands in `_coupon`, as a discount outlives its coupon. Raises ApiError (400) for a
    coupon or code that cannot be redeemed, or not by this customer.
    """
    code = None
    if offer.get("promotion_code"):
        code = context.fetch("promotion_code", offer["promotion_code"], "promotion_code")
        _check_code(context, customer, code)
    name = code["promotion"]["coupon"] if code else offer["coupon"]
    coupon = context.fetch("coupon", name, "coupon")
    if not coupon["valid"]:
        raise api_error("coupon_expired", "coupon")
    discount = new("discount", context.now, **owner)
    discount |= {
        "customer": customer,
        "end": _end(context.now, coupon),
        "promotion_code": code and code["id"],
        "source": {"coupon": coupon["id"], "type": "coupon"},
        "start": context.now,
        "_coupon": coupon,
    }
    times, most = coupon["times_redeemed"] + 1, coupon["max_redemptions"]
    is_valid = most is None or times < most
    context.save(coupon | {"times_redeemed": times, "valid": is_valid})
    if code:
        code["times_redeemed"] += 1
        context.save(code)
        if _is_used_up(context, code) or not is_valid:
            context.update(code, {"active": False}, "promotion_code.updated")
    return context.save(discount)


def _check_code(context: RequestContext, customer: str, code: Json) -> None:
    if not code["active"]:
        raise api_error("code_inactive", "promotion_code")
    if code["customer"] not in (None, customer):
        raise api_error("code_of_other", "promotion_code")
    is_for_first = code["restrictions"]["first_time_transaction"]
    if is_for_first and context.store.select("charge", customer=customer, paid=True, limit=1):
        raise api_error("code_first_time", "promotion_code")


def _end(start: int, coupon: Json) -> int | None:
    """When a discount that begins at `start` ends, in Unix seconds; None for never or once."""
    if coupon["duration"] != "repeating":
        return None
    first = datetime.fromtimestamp(start, UTC)
    years, month = divmod(first.month - 1 + coupon["duration_in_months"], 12)
    year = first.year + years
    day = min(first.day, calendar.monthrange(year, month + 1)[1])
    return int(first.replace(year=year, month=month + 1, day=day).timestamp())


def change_customer_discount(context: RequestContext, customer: Json, offer: Json) -> Json:
    """The new discount of a customer as the field of one, with its event; None ends it.

    `offer` has a `coupon` or a `promotion_code`, or one of them that is None.
    """
    old = customer["discount"]
    if not any(offer.values()):
        if old:
            _end_customer_discount(context, customer)
        return {"discount": None}
    discount = redeem(context, customer["id"], offer)
    if old:
        context.store.execute("DELETE FROM objects WHERE id = ?", (old["id"],))
        changed = ("id", "end", "promotion_code", "source", "start")
        previous = {name: old[name] for name in changed if old[name] != discount[name]}
        context.emit("customer.discount.updated", discount, previous)
    else:
        context.emit("customer.discount.created", discount)
    if discount["end"]:
        seconds = discount["end"] - context.now
        context.schedule(seconds, "end_customer_discount", customer["id"], discount["id"])
    return {"discount": without_internals(discount)}


@route("DELETE /v1/customers/<id>/discount")
def delete_customer_discount(context: RequestContext, params: Json, id: str) -> Json:
    """End the discount of a customer; what it was taken from already stays cheaper."""
    customer = context.fetch("customer", id)
    if not customer["discount"]:
        raise api_error("no_discount")
    deleted = _end_customer_discount(context, customer)
    context.update(customer, {"discount": None}, "customer.updated")
    return deleted


@timer_action("end_customer_discount")
def end_customer_discount(context: RequestContext, customer: str, discount: str) -> None:
    """The months of a customer's discount are over, unless another has taken its place."""
    if (context.fetch("customer", customer)["discount"] or {}).get("id") == discount:
        delete_customer_discount(context, {}, customer)


def _end_customer_discount(context: RequestContext, customer: Json) -> Json:
    discount: Json = customer["discount"]
    context.store.execute("DELETE FROM objects WHERE id = ?", (discount["id"],))
    context.emit("customer.discount.deleted", discount)
    return {name: value for name, value in discount.items() if name != "end"} | {"deleted": True}
