"""What happens to subscriptions: their periods pass, their invoices are paid or fail, they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tmt.sandbox.billing_invoices import (
    announce,
    finalize,
    mark_uncollectible,
    new_invoice,
    void_invoice,
)
from tmt.sandbox.billing_lines import subscription_line
from tmt.sandbox.billing_payments import method_of
from tmt.sandbox.billing_periods import next_boundary
from tmt.sandbox.billing_settings import BillingSettings
from tmt.sandbox.objects import DAY, Json
from tmt.sandbox.registry import on_event, timer_action
from tmt.sandbox.request_context import RequestContext

UPDATED = "customer.subscription.updated"
_TRIAL_NOTICE = 3 * DAY
_ENDED = ("canceled", "incomplete_expired")
# Statuses in which no period passes.
_AT_REST = (*_ENDED, "incomplete", "paused")
_LATE = ("past_due", "unpaid")
_OF_SUBSCRIPTION = "json_extract(body, '$.parent.subscription_details.subscription') = ?"


def period_of(subscription: Json) -> Json:
    """The subscription's present period: that of its items, which all have the same."""
    item = subscription["items"]["data"][0]
    return {"start": item["current_period_start"], "end": item["current_period_end"]}


def with_period(subscription: Json, start: int, end: int) -> Json:
    """The list of the subscription's items, in this period."""
    items = subscription["items"]
    period = {"current_period_start": start, "current_period_end": end}
    return {**items, "data": [item | period for item in items["data"]]}


def period_lines(context: RequestContext, items: Json, is_trial: bool = False) -> list[Json]:
    """The lines for the period of the items, newest first; a trial costs nothing."""
    lines = []
    for item in reversed(items["data"]):
        period = {"start": item["current_period_start"], "end": item["current_period_end"]}
        line = subscription_line(context, item, period)
        if is_trial:
            name = line["description"].partition(" × ")[2].partition(" (at")[0]
            line |= {"amount": 0, "subtotal": 0, "description": f"Trial period for {name}"}
        lines.append(line)
    return lines


def draft_for(
    context: RequestContext,
    subscription: Json,
    billing_reason: str,
    lines: Sequence[Json],
    *,
    is_stored: bool = True,
    more_items: Sequence[Json] = (),
) -> Json:
    """A draft of the subscription, with the customer's pending items; not announced.

    A preview, which is not stored, may have items that are not stored either.
    """
    customer = context.fetch("customer", subscription["customer"])
    details = {"subscription": subscription["id"], "metadata": subscription["metadata"]}
    sends = subscription["collection_method"] == "send_invoice"
    types = subscription["payment_settings"]["payment_method_types"]
    period = period_of(subscription)
    fields = {
        "collection_method": subscription["collection_method"],
        "default_tax_rates": subscription["default_tax_rates"],
        "due_date": context.now + subscription["days_until_due"] * DAY if sends else None,
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": details,
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": types,
        },
    }
    if billing_reason in ("subscription_cycle", "upcoming"):
        fields |= {"period_start": period["start"], "period_end": period["end"]}
    return new_invoice(
        context,
        customer,
        subscription["currency"],
        billing_reason,
        subscription_lines=lines,
        is_stored=is_stored,
        more_items=more_items,
        **fields,
    )


def schedule_period(context: RequestContext, subscription: Json) -> None:
    """Have the end of the present period come, and what is announced before it."""
    id, end = subscription["id"], period_of(subscription)["end"]
    context.schedule(end - context.now, "renew_subscription", id, str(end))
    if subscription["status"] == "trialing":
        wait = max(end - _TRIAL_NOTICE - context.now, 0)
        context.schedule(wait, "announce_trial_end", id, str(end))
    ahead = BillingSettings.load(context.store).upcoming_days * DAY
    if end - ahead > context.now:
        context.schedule(end - ahead - context.now, "announce_renewal", id, str(end))


@timer_action("announce_trial_end")
def announce_trial_end(context: RequestContext, id: str, end: str) -> None:
    """The trial ends in three days, or sooner."""
    subscription = context.fetch("subscription", id)
    if subscription["status"] == "trialing" and str(subscription["trial_end"]) == end:
        context.emit("customer.subscription.trial_will_end", subscription)


@timer_action("announce_renewal")
def announce_renewal(context: RequestContext, id: str, end: str) -> None:
    """The next invoice comes in some days, and would be this one."""
    subscription = context.fetch("subscription", id)
    is_due = str(period_of(subscription)["end"]) == end and not _ends_by(subscription, int(end))
    if is_due and subscription["status"] not in _AT_REST:
        invoice = upcoming_invoice(context, subscription)
        del invoice["id"]
        context.emit("invoice.upcoming", invoice)


def upcoming_invoice(
    context: RequestContext, subscription: Json, more_items: Sequence[Json] = ()
) -> Json:
    """The invoice of the next period as it would be now; not stored."""
    start = period_of(subscription)["end"]
    items = with_period(subscription, start, _end_after(subscription, start))
    lines = period_lines(context, items)
    return draft_for(
        context, subscription, "upcoming", lines, is_stored=False, more_items=more_items
    )


def _end_after(subscription: Json, start: int) -> int:
    recurring = subscription["items"]["data"][0]["price"]["recurring"]
    return next_boundary(subscription["billing_cycle_anchor"], recurring, start)


def _ends_by(subscription: Json, moment: int) -> bool:
    at = subscription["cancel_at"]
    return bool(subscription["cancel_at_period_end"] or (at is not None and at <= moment))


@timer_action("renew_subscription")
def renew_subscription(context: RequestContext, id: str, end: str) -> None:
    """A period is over: the next one begins with a draft, or the subscription ends."""
    subscription = context.fetch("subscription", id)
    context = replace(context, root=subscription["_root"])
    if str(period_of(subscription)["end"]) != end or subscription["status"] in _AT_REST:
        return
    if _ends_by(subscription, int(end)):
        end_subscription(context, subscription, "cancellation_requested")
        return
    was_trial = subscription["status"] == "trialing"
    if was_trial and not _may_follow_trial(context, subscription):
        return
    items = with_period(subscription, int(end), _end_after(subscription, int(end)))
    invoice = draft_for(context, subscription, "subscription_cycle", period_lines(context, items))
    pause = subscription["pause_collection"]
    invoice["auto_advance"] = subscription["status"] != "unpaid" and not pause
    changes: Json = {"items": items, "latest_invoice": invoice["id"]}
    if was_trial:
        changes["status"] = "active"
    context.update(subscription, changes, UPDATED)
    announce(context, invoice)
    if pause and pause["behavior"] != "keep_as_draft":
        finalize(context, invoice)
        if invoice["status"] == "open":
            act = void_invoice if pause["behavior"] == "void" else mark_uncollectible
            act(context, {}, invoice["id"])
    schedule_period(context, subscription)


def has_method(context: RequestContext, subscription: Json) -> bool:
    """Whether there is something to charge for this subscription."""
    parent = {"subscription_details": {"subscription": subscription["id"]}}
    invoice = {"default_payment_method": None, "parent": parent}
    return method_of(context, invoice | {"customer": subscription["customer"]}) is not None


def _may_follow_trial(context: RequestContext, subscription: Json) -> bool:
    """Whether a trial is followed by a period, and otherwise the end, or a pause, of it."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    sends = subscription["collection_method"] == "send_invoice"
    if sends or behavior == "create_invoice" or has_method(context, subscription):
        return True
    if behavior == "cancel":
        end_subscription(context, subscription, "payment_failed")
    else:
        pause_subscription(context, subscription, "trial_end_without_payment_method")
    return False


def pause_subscription(context: RequestContext, subscription: Json, reason: str) -> None:
    """Pause a subscription: no period passes, no invoice is made."""
    paused = {"subscription": {"type": reason}, "transitioned_at": context.now}
    details = {"paused": {**paused, "type": "subscription"}}
    changes = {"status": "paused", "status_details": details}
    context.update(subscription, changes, UPDATED)
    context.emit("customer.subscription.paused", subscription)


def end_subscription(context: RequestContext, subscription: Json, reason: str) -> Json:
    """End a subscription now; its open invoices are not collected any more. Returns it."""
    for invoice in _open_invoices(context, subscription["id"]):
        if invoice["auto_advance"] or invoice["next_payment_attempt"]:
            changes = {"auto_advance": False, "next_payment_attempt": None}
            context.update(invoice, changes, "invoice.updated")
    details = {"comment": None, "feedback": None, "feedback_option": None}
    details |= subscription["cancellation_details"] or {}
    subscription |= {
        "canceled_at": subscription["canceled_at"] or context.now,
        "cancellation_details": details | {"reason": details.get("reason") or reason},
        "ended_at": context.now,
        "status": "canceled",
    }
    return context.save_and_emit(subscription, "customer.subscription.deleted")


def _open_invoices(context: RequestContext, subscription: str) -> list[Json]:
    unpaid = ("json_extract(body, '$.status') IN ('draft', 'open')", ())
    return context.store.select("invoice", [unpaid, (_OF_SUBSCRIPTION, [subscription])])


@timer_action("end_subscription_at")
def end_subscription_at(context: RequestContext, id: str, moment: str) -> None:
    """The moment has come at which the subscription was to end."""
    subscription = context.fetch("subscription", id)
    if str(subscription["cancel_at"]) == moment and subscription["status"] not in _ENDED:
        end_subscription(context, subscription, "cancellation_requested")


@timer_action("expire_incomplete")
def expire_incomplete(context: RequestContext, id: str) -> None:
    """The first invoice was not paid within 23 hours."""
    subscription = context.fetch("subscription", id)
    if subscription["status"] == "incomplete":
        # The subscription follows its invoice.
        void_invoice(context, {}, subscription["latest_invoice"])


@timer_action("resume_collection")
def resume_collection(context: RequestContext, id: str, moment: str) -> None:
    """Invoices of the subscription are collected again."""
    subscription = context.fetch("subscription", id)
    if str((subscription["pause_collection"] or {}).get("resumes_at")) == moment:
        context.update(subscription, {"pause_collection": None}, UPDATED)


def _subscription_of(context: RequestContext, invoice: Json) -> Json | None:
    """The invoice's subscription, unless it has none or has ended."""
    if not invoice["parent"]:
        return None
    id = invoice["parent"]["subscription_details"]["subscription"]
    subscription = context.store.get(id, "subscription")
    return subscription if subscription and subscription["status"] not in _ENDED else None


def _latest_of(context: RequestContext, invoice: Json) -> Json | None:
    """The subscription whose latest invoice this is, unless it has ended."""
    subscription = _subscription_of(context, invoice)
    is_latest = subscription and subscription["latest_invoice"] == invoice["id"]
    return subscription if is_latest else None


def _change(context: RequestContext, subscription: Json, changes: Json) -> None:
    """Change a subscription; one that is being created tells of it in its first event."""
    is_new = subscription.get("_creating")
    context.update(subscription, changes, *([] if is_new else [UPDATED]))


def _set_delinquent(context: RequestContext, invoice: Json, delinquent: bool) -> None:
    customer = context.fetch("customer", invoice["customer"])
    if customer["delinquent"] != delinquent:
        context.update(customer, {"delinquent": delinquent}, "customer.updated")


@on_event("invoice.paid")
def invoice_paid(context: RequestContext, invoice: Json) -> None:
    """A paid latest invoice starts a subscription, or makes one active again that was late."""
    if not (subscription := _latest_of(context, invoice)):
        return
    apply_pending_update(context, subscription)
    changes: Json = {}
    if subscription["status"] in ("incomplete", *_LATE):
        changes["status"] = "active"
    saves = subscription["payment_settings"]["save_default_payment_method"] == "on_subscription"
    intent = context.store.get(invoice.get("_payment_intent") or "")
    if saves and intent and not subscription["default_payment_method"]:
        method = context.store.get(intent["payment_method"] or "") or {}
        if method.get("customer"):
            changes["default_payment_method"] = method["id"]
    if changes:
        was_incomplete = subscription["status"] == "incomplete"
        _change(context, subscription, changes)
        if was_incomplete:
            schedule_period(context, subscription)
    _set_delinquent(context, invoice, False)


def apply_pending_update(context: RequestContext, subscription: Json) -> None:
    """Apply a change that has waited for its invoice, if there is one."""
    pending = subscription.get("_pending")
    if not pending:
        return
    was_shown = subscription["pending_update"] is not None
    context.update(subscription, {**pending, "pending_update": None, "_pending": None}, UPDATED)
    if was_shown:
        context.emit("customer.subscription.pending_update_applied", subscription)
    if was_shown and "billing_cycle_anchor" in pending:
        schedule_period(context, subscription)


@timer_action("expire_pending_update")
def expire_pending_update(context: RequestContext, id: str, expires_at: str) -> None:
    """The invoice of a change was not paid in time: the change is dropped, the invoice void."""
    subscription = context.fetch("subscription", id)
    if str((subscription["pending_update"] or {}).get("expires_at")) != expires_at:
        return
    context.update(subscription, {"pending_update": None, "_pending": None}, UPDATED)
    context.emit("customer.subscription.pending_update_expired", subscription)
    void_invoice(context, {}, subscription["latest_invoice"])


@on_event("invoice processing")
def invoice_processing(context: RequestContext, invoice: Json) -> None:
    """A debit that is on its way starts a subscription already."""
    subscription = _latest_of(context, invoice)
    if subscription and subscription["status"] == "incomplete":
        _change(context, subscription, {"status": "active"})
        schedule_period(context, subscription)


@on_event("invoice.payment_failed", "invoice.payment_action_required")
def invoice_failed(context: RequestContext, invoice: Json) -> None:
    """A failed attempt makes a subscription late; after the last one, the settings decide.

    The last attempt may come when there is a later invoice already.
    """
    if not (subscription := _subscription_of(context, invoice)):
        return
    is_latest = subscription["latest_invoice"] == invoice["id"]
    if subscription["status"] == "incomplete" or subscription.get("_pending"):
        return
    if invoice["billing_reason"] == "subscription_create":
        # A debit that failed later: the subscription has been active, and stays so.
        void_invoice(context, {}, invoice["id"])
        return
    if is_latest and subscription["status"] in ("active", "trialing"):
        _change(context, subscription, {"status": "past_due"})
    _set_delinquent(context, invoice, True)
    if invoice.get("_exhausted") and invoice["auto_advance"]:
        context.update(invoice, {"auto_advance": False}, "invoice.updated")
        settings = BillingSettings.load(context.store)
        if settings.forgive_after_retries:
            mark_uncollectible(context, {}, invoice["id"], "max_payment_attempts")
        _end_late(context, subscription["id"], settings.after_retries)


def _end_late(context: RequestContext, id: str, ending: str) -> None:
    """What the settings say becomes of a subscription that was not paid."""
    subscription = context.fetch("subscription", id)
    if ending == "cancel":
        end_subscription(context, subscription, "payment_failed")
    elif ending == "pause":
        pause_subscription(context, subscription, "final_payment_failure")
    elif ending == "unpaid":
        context.update(subscription, {"status": "unpaid"}, UPDATED)


@on_event("invoice overdue")
def invoice_overdue(context: RequestContext, invoice: Json) -> None:
    """An invoice that was sent has not been paid by its due date."""
    subscription = _latest_of(context, invoice)
    if subscription and subscription["status"] == "active":
        _change(context, subscription, {"status": "past_due"})
        _set_delinquent(context, invoice, True)
        days = BillingSettings.load(context.store).overdue_days
        context.schedule(days * DAY, "end_overdue", subscription["id"], invoice["id"])


@timer_action("end_overdue")
def end_overdue(context: RequestContext, id: str, invoice_id: str) -> None:
    """An invoice is overdue for as long as the settings allow."""
    subscription = context.fetch("subscription", id)
    invoice = context.fetch("invoice", invoice_id)
    if subscription["status"] == "past_due" and invoice["status"] == "open":
        _end_late(context, id, BillingSettings.load(context.store).after_overdue)


@on_event("invoice.voided", "invoice.marked_uncollectible")
def invoice_closed(context: RequestContext, invoice: Json) -> None:
    """A subscription that waited for an invoice goes on without it, or never starts."""
    if not (subscription := _latest_of(context, invoice)):
        return
    if subscription["status"] == "incomplete" and invoice["status"] == "void":
        changes = {"status": "incomplete_expired", "ended_at": context.now}
        _change(context, subscription, changes)
    elif subscription["status"] in _LATE:
        _change(context, subscription, {"status": "active"})


@on_event("customer.deleted")
def customer_deleted(context: RequestContext, customer: Json) -> None:
    """The subscriptions of a deleted customer end at once."""
    for subscription in context.store.select("subscription", customer=customer["id"]):
        if subscription["status"] not in _ENDED:
            end_subscription(context, subscription, "cancellation_requested")
