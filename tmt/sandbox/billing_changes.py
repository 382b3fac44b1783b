"""Changes of a subscription's items in mid-period: prorated, billed, pending, and previewed."""

from __future__ import annotations

from tmt.sandbox.billing_cycle import (
    UPDATED,
    apply_pending_update,
    draft_for,
    period_lines,
    period_of,
    schedule_period,
    upcoming_invoice,
    with_period,
)
from tmt.sandbox.billing_invoices import announce, finalize, new_invoice
from tmt.sandbox.billing_items import changed_items, prorations
from tmt.sandbox.billing_payments import pay_with_method
from tmt.sandbox.billing_periods import next_boundary
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import Json, token
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext

_PENDING_SECONDS = 23 * 3600
# The parts of `subscription_details` that a preview goes by.
_PREVIEWED = ("billing_cycle_anchor", "items", "proration_behavior", "proration_date")


def wants_change(params: Json) -> bool:
    """Whether an update changes what is charged, or when."""
    return "items" in params or _is_new_period(params)


def _is_new_period(params: Json) -> bool:
    return (params.get("billing_cycle_anchor") or {}).get("type") == "now"


def _change(context: RequestContext, subscription: Json, params: Json) -> tuple[Json, list[Json]]:
    """The fields that a change sets, and its prorations, which are not stored."""
    at = params.get("proration_date", context.now)
    period = period_of(subscription)
    if not period["start"] <= at <= period["end"]:
        raise api_error("proration_date", "proration_date")
    items = changed_items(context, subscription, params.get("items") or [])
    recurring, old = (
        list_[0]["price"]["recurring"] for list_ in (items, subscription["items"]["data"])
    )
    starts_anew = _is_new_period(params)
    same = all(recurring[name] == old[name] for name in ("interval", "interval_count"))
    if not same and not starts_anew and subscription["status"] != "trialing":
        raise api_error("interval_change", "items")
    charged = params.get("proration_behavior", "create_prorations") != "none"
    is_trial = subscription["status"] == "trialing"
    lines = []
    if charged and not is_trial:
        lines = prorations(context, subscription, items, at, is_new_period=starts_anew)
    changes: Json = {"items": {**subscription["items"], "data": items}}
    if starts_anew:
        end = next_boundary(context.now, recurring, context.now)
        changes["billing_cycle_anchor"] = context.now
        changes["items"] = with_period(changes, context.now, end)
    return changes, lines


def bill_change(context: RequestContext, before: Json, subscription: Json, params: Json) -> Json:
    """Apply an update that changes the items, and bill it now or later; returns the subscription.

    Raises ApiError: 400 for what cannot be, 402 if `error_if_incomplete` says so.
    """
    changes, items = _change(context, subscription, params)
    for item in items:
        context.save_and_emit(item, "invoiceitem.created")
    starts_anew = _is_new_period(params)
    bills_now = starts_anew or params.get("proration_behavior") == "always_invoice"
    if not bills_now or before["status"] not in ("active", "past_due"):
        return context.update(before, subscription | changes, UPDATED)
    changed = subscription | changes
    lines = period_lines(context, changed["items"]) if starts_anew else []
    invoice = draft_for(context, changed, "subscription_update", lines)
    if not invoice["lines"]["data"]:
        context.store.execute("DELETE FROM objects WHERE id = ?", (invoice["id"],))
        return context.update(before, changed, UPDATED)
    behavior = params.get("payment_behavior", "allow_incomplete")
    latest = {"latest_invoice": invoice["id"]}
    if behavior == "pending_if_incomplete":
        context.update(before, subscription | latest | {"_pending": changes})
    else:
        context.update(before, changed | latest, UPDATED)
    announce(context, invoice)
    _collect(context, invoice, before, behavior)
    subscription = context.fetch("subscription", before["id"])
    if starts_anew and not subscription.get("_pending"):
        schedule_period(context, subscription)
    return subscription


def _collect(context: RequestContext, invoice: Json, subscription: Json, behavior: str) -> None:
    """Finalize and charge the invoice of a change, as the payment behavior says."""
    id, sends = subscription["id"], subscription["collection_method"] == "send_invoice"
    invoice["auto_advance"] = not sends and behavior == "allow_incomplete"
    finalize(context, invoice)
    if invoice["status"] != "open" or sends:
        # What is sent is not waited for.
        apply_pending_update(context, context.fetch("subscription", id))
    elif behavior == "default_incomplete":
        context.update(context.fetch("subscription", id), {"status": "past_due"}, UPDATED)
    elif behavior == "allow_incomplete":
        pay_with_method(context, invoice, None, automatic=True)
    else:
        try:
            pay_with_method(context, invoice, None, automatic=False)
        except ApiError as error:
            if behavior == "error_if_incomplete":
                error.keep_changes = False
                raise
            _leave_pending(context, context.fetch("subscription", id))


def _leave_pending(context: RequestContext, subscription: Json) -> None:
    """Remember a change until its invoice is paid, for 23 hours."""
    pending = subscription["_pending"]
    update = {
        "billing_cycle_anchor": pending.get("billing_cycle_anchor"),
        "cancel_at_period_end": None,
        "discount": None,
        "discounts": None,
        "expires_at": context.now + _PENDING_SECONDS,
        "metadata": None,
        "subscription_items": pending["items"]["data"],
        "trial_end": None,
        "trial_from_plan": None,
    }
    context.update(subscription, {"pending_update": update}, UPDATED)
    expires_at = str(update["expires_at"])
    context.schedule(_PENDING_SECONDS, "expire_pending_update", subscription["id"], expires_at)


@route("POST /v1/invoices/create_preview")
def create_preview(context: RequestContext, params: Json) -> Json:
    """The next invoice of a subscription or customer, or that of a change; nothing is stored."""
    details = params.get("subscription_details") or {}
    if "subscription" not in params:
        if "customer" not in params:
            raise api_error("one_needed", "customer", both="customer or subscription")
        if details:
            raise api_error("not_simulated", "subscription_details")
        customer = context.fetch("customer", params["customer"], "customer")
        currency = (
            customer.get("currency") or context.store.select("account")[0]["default_currency"]
        )
        invoice = new_invoice(context, customer, currency, "upcoming", is_stored=False)
        if not invoice["lines"]["data"]:
            raise api_error("invoice_upcoming_none")
    else:
        subscription = context.fetch("subscription", params["subscription"], "subscription")
        if subscription["status"] in ("canceled", "incomplete_expired"):
            raise api_error("invoice_upcoming_none")
        invoice = _preview_of(context, subscription, details)
    invoice["id"] = f"upcoming_in_1{token(24)}"
    return invoice


def _preview_of(context: RequestContext, subscription: Json, details: Json) -> Json:
    for name in details:
        if name not in _PREVIEWED:
            raise api_error("not_simulated", f"subscription_details[{name}]")
    if not wants_change(details):
        return upcoming_invoice(context, subscription)
    changes, items = _change(context, subscription, details)
    changed = subscription | changes
    if _is_new_period(details) or details.get("proration_behavior") == "always_invoice":
        lines = period_lines(context, changed["items"]) if _is_new_period(details) else []
        reason = "subscription_update"
        return draft_for(context, changed, reason, lines, is_stored=False, more_items=items)
    return upcoming_invoice(context, changed, items)
