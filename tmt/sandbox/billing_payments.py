"""How invoices are paid: their PaymentIntents, attempts that fail, and the invoice's payments."""

from __future__ import annotations

from contextlib import suppress

from tmt.sandbox import intents
from tmt.sandbox.billing_settings import next_attempt
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import Json, new
from tmt.sandbox.registry import field_on_request, on_event, route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects


@route("GET /v1/invoice_payments")
def list_invoice_payments(context: RequestContext, params: Json) -> Json:
    """The payments of invoices, newest first: of an invoice, or of a PaymentIntent."""
    payment = params.pop("payment", {})
    filters = {f"payment.{name}": value for name, value in payment.items()}
    return list_objects(context, params | filters, "invoice_payment")


def open_payment(context: RequestContext, invoice: Json) -> None:
    """Create the PaymentIntent of an invoice that was just finalized, and its invoice payment."""
    settings = invoice["payment_settings"]
    params = {
        "amount": invoice["amount_remaining"],
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "description": _description(invoice),
    }
    if types := settings["payment_method_types"]:
        params["payment_method_types"] = types
    else:
        params["automatic_payment_methods"] = {"enabled": True}
    if invoice["parent"]:
        params["setup_future_usage"] = "off_session"
    intent = intents.create_intent(context, params, "payment_intent")
    context.save(intent | {"_invoice": invoice["id"]})
    payment = new(
        "invoice_payment",
        context.now,
        amount_requested=invoice["amount_remaining"],
        currency=invoice["currency"],
        invoice=invoice["id"],
        payment={"type": "payment_intent", "payment_intent": intent["id"]},
    )
    context.save(payment)
    context.update(invoice, {"_payment_intent": intent["id"], "_payment": payment["id"]})


def _description(invoice: Json) -> str:
    reasons = {
        "subscription_create": "Subscription creation",
        "subscription_update": "Subscription update",
    }
    return reasons.get(invoice["billing_reason"], f"Invoice {invoice['number']}")


def method_of(context: RequestContext, invoice: Json) -> str | None:
    """The payment method that pays an invoice: its own, its subscription's, or the customer's."""
    subscription: Json = {}
    if invoice["parent"]:
        id = invoice["parent"]["subscription_details"]["subscription"]
        subscription = context.store.get(id, "subscription") or {}
    customer = context.store.get(invoice["customer"], "customer") or {}
    method: str | None = (
        invoice["default_payment_method"]
        or subscription.get("default_payment_method")
        or customer.get("invoice_settings", {}).get("default_payment_method")
        or customer.get("default_source")
    )
    return method


def pay_with_method(
    context: RequestContext, invoice: Json, method: str | None, *, automatic: bool
) -> None:
    """Charge a payment method, or the one that `method_of` names, without the buyer.

    An automatic attempt that fails is an attempt all the same. Raises ApiError of another: 400
    without a payment method, 402 for a declined one or one whose holder must authenticate.
    """
    method = method or method_of(context, invoice)
    if method is None:
        if not automatic:
            raise api_error("invoice_no_method")
        record_failure(context, invoice, automatic=True)
        return
    intent = context.fetch("payment_intent", invoice["_payment_intent"])
    context.save(intent | {"_automatic": automatic})
    params = {"payment_method": method, "off_session": True, "use_stripe_sdk": True}
    try:
        intent = intents.confirm_intent(context, params, intent["id"], "payment_intent")
    except ApiError as error:
        if not automatic:
            raise
        if error.status != 402:
            # The method cannot be used at all: nothing was charged.
            record_failure(context, context.fetch("invoice", invoice["id"]), automatic=True)
    if intent["status"] == "requires_action" and not automatic:
        raise api_error("invoice_payment_intent_requires_action")


@on_event("payment_intent.succeeded")
def payment_succeeded(context: RequestContext, intent: Json) -> None:
    """The PaymentIntent of an invoice was paid, and so is the invoice."""
    if invoice := _invoice_of(context, intent):
        settle(context, invoice, by_payment=True, intent=intent)


@on_event("payment_intent.payment_failed")
def payment_failed(context: RequestContext, intent: Json) -> None:
    """An attempt to pay an invoice failed."""
    if invoice := _invoice_of(context, intent):
        automatic = _is_automatic(intent)
        error = intent["last_payment_error"] or {}
        invoice["_decline_code"] = error.get("decline_code") or error.get("code")
        record_failure(context, invoice, automatic=automatic)


@on_event("payment_intent.requires_action")
def action_required(context: RequestContext, intent: Json) -> None:
    """The buyer must authenticate, who may be gone: an attempt without them has failed."""
    invoice = _invoice_of(context, intent)
    if invoice and intent["_off_session"]:
        changes = _attempt(context, invoice, bool(intent.get("_automatic")))
        context.update(invoice, changes, "invoice.updated")
        context.emit("invoice.payment_action_required", invoice)


@on_event("payment_intent.processing")
def payment_processing(context: RequestContext, intent: Json) -> None:
    """A debit of an invoice is on its way."""
    if invoice := _invoice_of(context, intent):
        count = max(invoice["attempt_count"], 1)
        changes = {"attempted": True, "attempt_count": count, "next_payment_attempt": None}
        context.update(invoice, changes, "invoice.updated")
        context.notify("invoice processing", invoice)


def _is_automatic(intent: Json) -> bool:
    """Whether nobody asked for the intent's last attempt: it was due."""
    return bool(intent.get("_off_session") and intent.get("_automatic"))


def _invoice_of(context: RequestContext, intent: Json) -> Json | None:
    """The invoice that this PaymentIntent pays, while it can be paid."""
    invoice = context.store.get(intent.get("_invoice") or "", "invoice")
    return invoice if invoice and invoice["status"] in ("open", "uncollectible") else None


def _attempt(context: RequestContext, invoice: Json, automatic: bool) -> Json:
    """What changes on an invoice with an attempt: the first and every automatic one counts."""
    counts = automatic or invoice["attempt_count"] == 0
    attempts = invoice["attempt_count"] + counts
    changes = {"attempted": True, "attempt_count": attempts}
    if automatic:
        due = next_attempt(context, invoice, attempts, method_of(context, invoice))
        changes |= {"next_payment_attempt": due, "_exhausted": due is None}
        if due is not None:
            context.schedule(due - context.now, "retry_invoice", invoice["id"], str(due))
    return changes


def record_failure(context: RequestContext, invoice: Json, *, automatic: bool) -> None:
    """Note on the invoice that an attempt failed, and when the next one is."""
    changes = _attempt(context, invoice, automatic)
    context.update(invoice, changes, "invoice.updated")
    context.emit("invoice.payment_failed", invoice)


@timer_action("retry_invoice")
def retry_invoice(context: RequestContext, id: str, due: str) -> None:
    """The next automatic attempt, if it has not been moved."""
    invoice = context.fetch("invoice", id)
    planned = str(invoice["next_payment_attempt"]) == due and invoice["auto_advance"]
    if planned and invoice["status"] == "open":
        pay_with_method(context, invoice, None, automatic=True)


def settle(
    context: RequestContext,
    invoice: Json,
    *,
    by_payment: bool,
    intent: Json | None = None,
    is_credited: bool = False,
) -> Json:
    """An invoice is paid, through Stripe or (`by_payment` false) elsewhere; returns it.

    With `is_credited` a credit note has left nothing to pay.
    """
    if intent is None:
        cancel_payments(context, invoice, "void_invoice")
    moment = invoice["status_transitions"] | {"paid_at": context.now}
    paid = invoice["amount_due"]
    changes = {
        "amount_paid": paid,
        "amount_remaining": 0,
        "attempted": True,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
        "status_transitions": moment,
    }
    if intent:
        counts = _is_automatic(intent) or invoice["attempt_count"] == 0
        changes["attempt_count"] = invoice["attempt_count"] + counts
    if not by_payment and not is_credited:
        changes["amount_paid_off_stripe"] = paid
    context.update(invoice, changes, "invoice.updated")
    types = ["invoice.paid", *(["invoice.payment_succeeded"] if by_payment else [])]
    context.save_and_emit(invoice, *types)
    if intent:
        payment = context.fetch("invoice_payment", invoice["_payment"])
        at = {"canceled_at": None, "paid_at": context.now}
        payment |= {"amount_paid": paid, "status": "paid", "status_transitions": at}
        context.save_and_emit(payment, "invoice_payment.paid")
    return invoice


def close_unpaid(
    context: RequestContext, invoice: Json, status: str, moment: str, event_type: str
) -> Json:
    """Void an invoice, or give it up; its PaymentIntent is canceled when it is void."""
    if status == "void":
        cancel_payments(context, invoice, "void_invoice")
    changes = {
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": status,
        "status_transitions": invoice["status_transitions"] | {moment: context.now},
    }
    context.update(invoice, changes, "invoice.updated")
    return context.save_and_emit(invoice, event_type)


def cancel_payments(context: RequestContext, invoice: Json, reason: str) -> None:
    """Cancel the invoice's PaymentIntent and payment, unless they are over."""
    if not (id := invoice.get("_payment_intent")):
        return
    with suppress(ApiError):
        intents.cancel_intent(context, {"cancellation_reason": reason}, id, "payment_intent")
    payment = context.fetch("invoice_payment", invoice["_payment"])
    if payment["status"] == "open":
        at = {"canceled_at": context.now, "paid_at": None}
        context.save(payment | {"status": "canceled", "status_transitions": at})


@field_on_request("invoice.confirmation_secret")
def confirmation_secret(context: RequestContext, invoice: Json) -> Json | None:
    """What a browser pays the invoice with, once it is finalized."""
    stored = context.store.get(invoice["id"]) or {}
    intent = context.store.get(stored.get("_payment_intent") or "")
    if intent is None:
        return None
    return {"type": "payment_intent", "client_secret": intent["client_secret"]}


@field_on_request("invoice.payments")
def payments_of(context: RequestContext, invoice: Json) -> Json:
    """The invoice's payments."""
    url = f"/v1/invoice_payments?invoice={invoice['id']}"
    return list_objects(context, {"invoice": invoice["id"]}, "invoice_payment", url)
