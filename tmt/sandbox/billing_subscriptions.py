"""Subscriptions at the API: created, changed, canceled and resumed."""

from __future__ import annotations

from contextlib import suppress

from tmt.sandbox import intents
from tmt.sandbox.billing_changes import bill_change, wants_change
from tmt.sandbox.billing_cycle import (
    UPDATED,
    draft_for,
    end_subscription,
    has_method,
    period_lines,
    period_of,
    schedule_period,
    with_period,
)
from tmt.sandbox.billing_invoices import announce, check_method, finalize
from tmt.sandbox.billing_items import check_items, new_item
from tmt.sandbox.billing_lines import fetch_tax_rates
from tmt.sandbox.billing_payments import pay_with_method
from tmt.sandbox.billing_periods import next_boundary
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import DAY, Json, new, template
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects

_INCOMPLETE_SECONDS = 23 * 3600
_ENDED = ("canceled", "incomplete_expired")
_NOT_CANCELED = (
    "active",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
)
_LONGEST_TRIAL = 730 * DAY


@route("POST /v1/subscriptions")
def create_subscription(context: RequestContext, params: Json) -> Json:
    """Create a subscription with its first invoice, paid as `payment_behavior` says."""
    customer = context.fetch("customer", params["customer"], "customer")
    behavior = params.get("payment_behavior", "allow_incomplete")
    if behavior == "pending_if_incomplete":
        raise api_error("pending_on_create")
    subscription = new(
        "subscription",
        context.now,
        billing_cycle_anchor=context.now,
        customer=customer["id"],
        start_date=context.now,
        test_clock=customer["test_clock"],
        _creating=True,
        _root=context.root,
    )
    subscription["billing_mode"] |= {"updated_at": context.now}
    subscription["items"] = _new_items(context, subscription, params)
    subscription["currency"] = subscription["items"]["data"][0]["price"]["currency"]
    if customer.get("currency") not in (None, subscription["currency"]):
        raise api_error("customer_has_currency", "currency", currency=customer["currency"])
    _apply_settings(context, subscription, params)
    sends = subscription["collection_method"] == "send_invoice"
    if trial_end := _trial_end(context, params):
        trial = {"trial_start": context.now, "trial_end": trial_end, "status": "trialing"}
        subscription |= {**trial, "billing_cycle_anchor": trial_end}
    elif sends:
        subscription["status"] = "active"
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    end = trial_end or next_boundary(context.now, recurring, context.now)
    subscription["items"] = with_period(subscription, context.now, end)
    _apply_ending(context, subscription, params)
    context.save(subscription)
    invoice = draft_for(
        context,
        subscription,
        "subscription_create",
        period_lines(context, subscription["items"], is_trial=bool(trial_end)),
    )
    subscription["latest_invoice"] = invoice["id"]
    if invoice["total"] == 0 and not trial_end:
        subscription["status"] = "active"
    tries = subscription["status"] == "incomplete" and behavior != "default_incomplete"
    lacks_method = not sends and not has_method(context, subscription)
    if tries and lacks_method:
        raise api_error("customer_without_method")
    if trial_end and lacks_method:
        subscription["pending_setup_intent"] = _setup_intent(context, subscription)
    context.save(subscription)
    if tries:
        announce(context, invoice)
        finalize(context, invoice)
        try:
            pay_with_method(context, invoice, None, automatic=False)
        except ApiError as error:
            # It stays incomplete, and its invoice open.
            if behavior == "error_if_incomplete":
                error.keep_changes = False
                raise
    subscription = context.fetch("subscription", subscription["id"])
    context.save_and_emit(subscription | {"_creating": False}, "customer.subscription.created")
    if not tries:
        _bill_first(context, subscription, invoice)
    if context.fetch("subscription", subscription["id"])["status"] == "incomplete":
        context.schedule(_INCOMPLETE_SECONDS, "expire_incomplete", subscription["id"])
    return context.fetch("subscription", subscription["id"])


def _bill_first(context: RequestContext, subscription: Json, invoice: Json) -> None:
    """Announce the first invoice of a new subscription that nothing is charged for yet."""
    if subscription["collection_method"] == "send_invoice" and invoice["total"]:
        announce(context, invoice | {"auto_advance": True})
    else:
        announce(context, invoice)
        finalize(context, invoice)
    if subscription["status"] != "incomplete":
        schedule_period(context, subscription)


def _new_items(context: RequestContext, subscription: Json, params: Json) -> Json:
    """The list of a new subscription's items. Raises ApiError (400) for what does not fit."""
    if not params.get("items"):
        raise api_error("parameter_missing", "items")
    items = [
        new_item(context, subscription["id"], data, f"items[{number}]")
        for number, data in enumerate(params["items"])
    ]
    check_items(items)
    url = f"/v1/subscription_items?subscription={subscription['id']}"
    return {"object": "list", "data": items, "has_more": False, "url": url}


def _trial_end(context: RequestContext, params: Json) -> int | None:
    """When the trial ends that the parameters ask for; None without trial."""
    end = params.get("trial_end")
    if params.get("trial_period_days"):
        if end is not None:
            both = "trial_end, trial_period_days"
            raise api_error("only_one", "trial_period_days", both=both)
        end = context.now + params["trial_period_days"] * DAY
    if end is None or end == "now":
        return None
    if not context.now < int(end) <= context.now + _LONGEST_TRIAL:
        raise api_error("trial_end", "trial_end")
    return int(end)


def _setup_intent(context: RequestContext, subscription: Json) -> str:
    """A SetupIntent with which the buyer can save a method while the trial lasts."""
    params: Json = {"customer": subscription["customer"], "usage": "off_session"}
    if types := subscription["payment_settings"]["payment_method_types"]:
        params["payment_method_types"] = types
    else:
        params["automatic_payment_methods"] = {"enabled": True}
    id: str = intents.create_intent(context, params, "setup_intent")["id"]
    return id


def _apply_settings(context: RequestContext, subscription: Json, params: Json) -> None:
    """Put what create and update have in common on the subscription."""
    if (params.get("billing_mode") or {}).get("type") == "classic":
        raise api_error("not_simulated", "billing_mode")
    if method := params.get("default_payment_method"):
        check_method(context, subscription["customer"], method)
    subscription |= field_changes(subscription, params)
    for name in ("payment_settings", "invoice_settings", "cancellation_details"):
        if name in params:
            subscription[name] = (subscription[name] or {}) | params[name]
    if "trial_settings" in params:
        subscription["trial_settings"] = {
            "end_behavior": subscription["trial_settings"]["end_behavior"]
            | params["trial_settings"]["end_behavior"]
        }
    if "default_tax_rates" in params:
        rates = fetch_tax_rates(context, params["default_tax_rates"], "default_tax_rates")
        subscription["default_tax_rates"] = rates
    sends = subscription["collection_method"] == "send_invoice"
    if sends and subscription["days_until_due"] is None:
        raise api_error("parameter_missing", "days_until_due")
    if not sends and params.get("days_until_due") is not None:
        raise api_error("days_until_due", "days_until_due")
    if not sends:
        subscription["days_until_due"] = None


def _apply_ending(context: RequestContext, subscription: Json, params: Json) -> None:
    """Have the subscription end at a moment or with its period, or not any more."""
    if params.get("cancel_at_period_end") and params.get("cancel_at") is not None:
        both = "cancel_at, cancel_at_period_end"
        raise api_error("only_one", "cancel_at_period_end", both=both)
    if "cancel_at" in params:
        at = params["cancel_at"]
        if isinstance(at, str):
            at = period_of(subscription)["end"]
        if at is not None and at <= context.now:
            raise api_error("cancel_at", "cancel_at")
        subscription["cancel_at"] = at
        if at is not None:
            wait = at - context.now
            context.schedule(wait, "end_subscription_at", subscription["id"], str(at))
    if "cancel_at_period_end" in params:
        subscription["cancel_at_period_end"] = params["cancel_at_period_end"]
    ends = subscription["cancel_at_period_end"] or subscription["cancel_at"] is not None
    details = template("subscription.cancellation_details")
    details |= subscription["cancellation_details"] or {}
    if ends:
        subscription["canceled_at"] = subscription["canceled_at"] or context.now
        details["reason"] = "cancellation_requested"
    else:
        subscription["canceled_at"], details["reason"] = None, None
    subscription["cancellation_details"] = details


@route("POST /v1/subscriptions/<id>")
def update_subscription(context: RequestContext, params: Json, id: str) -> Json:
    """Update a subscription that has not ended."""
    before = context.fetch("subscription", id)
    if before["status"] in _ENDED:
        raise api_error("subscription_ended", status=before["status"])
    subscription = {**before}
    _apply_settings(context, subscription, params)
    if {"cancel_at", "cancel_at_period_end"} & {*params}:
        _apply_ending(context, subscription, params)
    if "pause_collection" in params:
        pause = params["pause_collection"]
        subscription["pause_collection"] = pause and {"resumes_at": None, **pause}
        if pause and pause.get("resumes_at"):
            wait = max(pause["resumes_at"] - context.now, 0)
            context.schedule(wait, "resume_collection", id, str(pause["resumes_at"]))
    if "trial_end" in params:
        _move_trial(context, subscription, params)
    if wants_change(params):
        return bill_change(context, before, subscription, params)
    return context.update(before, subscription, UPDATED)


def _move_trial(context: RequestContext, subscription: Json, params: Json) -> None:
    """End a trial now, or at another moment, at which the next period begins."""
    if subscription["status"] != "trialing":
        raise api_error("not_simulated", "trial_end")
    end = _trial_end(context, params) or context.now
    subscription |= {"trial_end": end, "billing_cycle_anchor": end}
    subscription["items"] = with_period(subscription, period_of(subscription)["start"], end)
    schedule_period(context, subscription)


@route("DELETE /v1/subscriptions/<id>")
def cancel_subscription(context: RequestContext, params: Json, id: str) -> Json:
    """Cancel a subscription now."""
    subscription = context.fetch("subscription", id)
    if subscription["status"] in _ENDED:
        raise api_error("subscription_ended", status=subscription["status"])
    if details := params.get("cancellation_details"):
        subscription["cancellation_details"] = (
            subscription["cancellation_details"] or {}
        ) | details
    if setup := subscription["pending_setup_intent"]:
        with suppress(ApiError):
            intents.cancel_intent(context, {}, setup, "setup_intent")
    return end_subscription(context, subscription, "cancellation_requested")


@route("POST /v1/subscriptions/<id>/resume")
def resume_subscription(context: RequestContext, params: Json, id: str) -> Json:
    """Resume a paused subscription: a new period begins, which is charged now."""
    subscription = context.fetch("subscription", id)
    if subscription["status"] != "paused":
        raise api_error("subscription_not_paused", status=subscription["status"])
    if not has_method(context, subscription):
        raise api_error("customer_without_method")
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    end = next_boundary(context.now, recurring, context.now)
    items = with_period(subscription, context.now, end)
    changed = {**subscription, "items": items}
    lines = period_lines(context, items)
    invoice = draft_for(context, changed, "subscription_update", lines)
    changes: Json = {
        "billing_cycle_anchor": context.now,
        "items": items,
        "latest_invoice": invoice["id"],
    }
    subscription.pop("status_details", None)
    context.update(subscription, changes)
    announce(context, invoice)
    finalize(context, invoice)
    if invoice["status"] == "open":
        pay_with_method(context, invoice, None, automatic=False)
    subscription = context.fetch("subscription", id)
    context.update(subscription, {"status": "active"}, UPDATED)
    context.emit("customer.subscription.resumed", subscription)
    schedule_period(context, subscription)
    return subscription


@route("GET /v1/subscriptions")
def list_subscriptions(context: RequestContext, params: Json) -> Json:
    """Subscriptions, newest first; without `status`, those that are not canceled."""
    status = params.pop("status", None)
    names = {"price": "items.data[0].price.id", "plan": "items.data[0].price.id"}
    filters = {names.get(name, name): value for name, value in params.items()}
    if status == "ended":
        filters["status"] = [*_ENDED]
    elif status is None:
        filters["status"] = [*_NOT_CANCELED]
    elif status != "all":
        filters["status"] = status
    return list_objects(context, filters, "subscription")
