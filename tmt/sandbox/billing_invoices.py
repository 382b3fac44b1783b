"""Invoices: drafts, finalized, sent, paid, voided, and what happens to them as time passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tmt.sandbox.billing_lines import fetch_draft, fetch_tax_rates, pending_items, totals
from tmt.sandbox.billing_payments import (
    close_unpaid,
    open_payment,
    pay_with_method,
    settle,
)
from tmt.sandbox.currencies import minimum_amount
from tmt.sandbox.errors import ApiError, api_error
from tmt.sandbox.objects import DAY, Json, new, token
from tmt.sandbox.params import field_changes
from tmt.sandbox.registry import on_event, route, timer_action
from tmt.sandbox.request_context import RequestContext
from tmt.sandbox.resources import list_objects

_HOUR = 3600
# A draft waits for the receivers of `invoice.created`, but no longer than this.
_LONGEST_WAIT = 3 * DAY
# What may change after an invoice was finalized.
_ALWAYS_EDITABLE = {"auto_advance", "default_payment_method", "metadata", "payment_settings"}


@route("POST /v1/invoices")
def create_invoice(context: RequestContext, params: Json) -> Json:
    """Create a draft, with the customer's pending items if the parameters say so."""
    customer = context.fetch("customer", params["customer"], "customer")
    currency = params.get("currency") or customer.get("currency")
    include = params.get("pending_invoice_items_behavior") == "include"
    if not currency:
        pending = context.store.select("invoiceitem", customer=customer["id"], _pending=True)
        account = context.store.select("account")[0]
        currency = pending[0]["currency"] if pending else account["default_currency"]
    invoice = new_invoice(context, customer, currency, "manual", include_pending=include)
    _apply_params(context, invoice, params)
    if invoice["collection_method"] == "send_invoice" and invoice["due_date"] is None:
        both = "days_until_due or due_date"
        raise api_error("one_needed", "days_until_due", both=both)
    return announce(context, invoice)


def new_invoice(
    context: RequestContext,
    customer: Json,
    currency: str,
    billing_reason: str,
    *,
    subscription_lines: Sequence[Json] = (),
    include_pending: bool = True,
    is_stored: bool = True,
    more_items: Sequence[Json] = (),
    **fields: Any,
) -> Json:
    """A draft with these lines and the customer's pending items, not announced.

    One that is not stored leaves the items as they are: a preview, which may have items that are
    not stored either.
    """
    invoice = new(
        "invoice",
        context.now,
        billing_reason=billing_reason,
        currency=currency,
        customer=customer["id"],
        period_start=context.now,
        period_end=context.now,
        test_clock=customer["test_clock"],
        _items=[],
        _included=[],
        _subscription_lines=[*subscription_lines],
        _root=context.root,
    )
    invoice |= {**fields, **_customer_fields(customer)}
    if include_pending:
        for item in pending_items(context, customer["id"], currency):
            if is_stored:
                context.update(item, {"invoice": invoice["id"], "_pending": False})
            invoice["_items"].append(item["id"])
        invoice["_included"] = [*invoice["_items"]]
    invoice |= totals(context, invoice, more_items)
    return context.save(invoice) if is_stored else invoice


def announce(context: RequestContext, invoice: Json) -> Json:
    """Record `invoice.created`; one that advances by itself is finalized an hour later."""
    if invoice["auto_advance"]:
        invoice["automatically_finalizes_at"] = context.now + _HOUR
        context.schedule(_HOUR, "finalize_automatically", invoice["id"])
    context.save(invoice)
    event = context.emit("invoice.created", invoice)
    return context.save(invoice | {"_created_event": event["id"]})


def _customer_fields(customer: Json) -> Json:
    """What an invoice says of its customer, until it is finalized."""
    names = ("address", "email", "name", "phone", "shipping", "tax_exempt")
    return {f"customer_{name}": customer.get(name) for name in names}


def _apply_params(context: RequestContext, invoice: Json, params: Json) -> None:
    """Put the parameters of create or update on the invoice."""
    if method := params.get("default_payment_method"):
        check_method(context, invoice["customer"], method)
    invoice |= field_changes(invoice, params)
    if settings := params.get("payment_settings"):
        invoice["payment_settings"] = invoice["payment_settings"] | settings
    if "default_tax_rates" in params:
        rates = fetch_tax_rates(context, params["default_tax_rates"], "default_tax_rates")
        invoice |= {"default_tax_rates": rates}
        invoice |= totals(context, invoice)
    if "days_until_due" in params:
        if invoice["collection_method"] != "send_invoice":
            raise api_error("days_until_due", "days_until_due")
        invoice["due_date"] = context.now + params["days_until_due"] * DAY


def check_method(context: RequestContext, customer: str, method: str) -> None:
    """Raises ApiError (400) if the payment method is not saved for the customer."""
    body = context.store.get(method, "payment_method") or {}
    if body.get("customer") != customer:
        raise api_error("not_of_customer", "default_payment_method", id=method[:255])


@route("POST /v1/invoices/<id>")
def update_invoice(context: RequestContext, params: Json, id: str) -> Json:
    """Update a draft, or of another invoice what may still change."""
    invoice = context.fetch("invoice", id)
    if restricted := sorted(set(params) - _ALWAYS_EDITABLE):
        fetch_draft(context, id, restricted[0])
    before = dict(invoice)
    _apply_params(context, invoice, params)
    if invoice["status"] == "draft" and invoice["auto_advance"] and not before["auto_advance"]:
        invoice["automatically_finalizes_at"] = context.now + _HOUR
        context.schedule(_HOUR, "finalize_automatically", id)
    return context.update(before, invoice, "invoice.updated")


@route("DELETE /v1/invoices/<id>")
def delete_invoice(context: RequestContext, params: Json, id: str) -> Json:
    """Delete a draft of no subscription; its items are pending again."""
    invoice = fetch_draft(context, id)
    if invoice["parent"]:
        raise api_error("invoice_of_subscription")
    for item in invoice["_items"]:
        changes = {"invoice": None, "_pending": True}
        context.update(context.fetch("invoiceitem", item), changes)
    deleted = context.save({"id": id, "object": "invoice", "deleted": True})
    context.emit("invoice.deleted", invoice)
    return deleted


@route("GET /v1/invoices")
def list_invoices(context: RequestContext, params: Json) -> Json:
    """Invoices, newest first."""
    names = {"subscription": "parent.subscription_details.subscription"}
    filters = {names.get(name, name): value for name, value in params.items()}
    return list_objects(context, filters, "invoice")


@route("GET /v1/invoices/<id>/lines")
def list_lines(context: RequestContext, params: Json, id: str) -> Json:
    """A page of an invoice's lines, in their order."""
    return page_of(context, context.fetch("invoice", id)["lines"]["data"], params)


def page_of(context: RequestContext, lines: Sequence[Json], params: Json) -> Json:
    """A page of lines that are a part of an object."""
    ids = [line["id"] for line in lines]
    limit, start, end = params.get("limit", 10), 0, len(lines)
    for name in ("starting_after", "ending_before"):
        if name in params and params[name] not in ids:
            raise api_error("resource_missing", name, label="line item", id=params[name][:255])
    if "starting_after" in params:
        start = ids.index(params["starting_after"]) + 1
    if "ending_before" in params:
        end = ids.index(params["ending_before"])
        start = max(end - limit, 0)
    page = lines[start : min(start + limit, end)]
    more = start > 0 if "ending_before" in params else start + limit < end
    return {"object": "list", "url": context.path, "has_more": more, "data": page}


@route("POST /v1/invoices/<id>/finalize")
def finalize_invoice(context: RequestContext, params: Json, id: str) -> Json:
    """Finalize a draft: it has a number, and can be paid. One that advances is charged at once."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] != "draft":
        raise api_error("invoice_finalized")
    if "auto_advance" in params:
        invoice["auto_advance"] = params["auto_advance"]
    finalize(context, invoice)
    if invoice["status"] == "open" and invoice["auto_advance"]:
        context.schedule(0, "collect_invoice", id)
    return context.fetch("invoice", id)


def finalize(context: RequestContext, invoice: Json) -> None:
    """Number a draft and open it for payment, with a PaymentIntent; one of nothing is paid."""
    customer = context.fetch("customer", invoice["customer"])
    sequence = customer["next_invoice_sequence"]
    root, secret = invoice["_root"] or context.root, token(24)
    address = f"{root}/invoices/{invoice['id']}/{secret}"
    due, ending_balance = _apply_balance(invoice, customer)
    customer |= {"next_invoice_sequence": sequence + 1, "balance": ending_balance}
    customer["currency"] = customer.get("currency") or invoice["currency"]
    context.save(customer)
    changes = {
        **_customer_fields(customer),
        "amount_due": due,
        "amount_remaining": due,
        "automatically_finalizes_at": None,
        "effective_at": invoice["effective_at"] or context.now,
        "ending_balance": ending_balance,
        "hosted_invoice_url": address,
        "invoice_pdf": f"{address}/pdf",
        "number": f"{customer['invoice_prefix']}-{sequence:04}",
        "starting_balance": invoice["starting_balance"],
        "status": "open",
        "status_transitions": invoice["status_transitions"] | {"finalized_at": context.now},
        "_secret": secret,
    }
    context.update(invoice, changes, "invoice.updated")
    context.emit("invoice.finalized", invoice)
    if due == 0:
        settle(context, invoice, by_payment=True)
        return
    open_payment(context, invoice)
    if invoice["due_date"]:
        wait = max(invoice["due_date"] - context.now, 0)
        context.schedule(wait, "pass_due_date", invoice["id"])


def _apply_balance(invoice: Json, customer: Json) -> tuple[int, int]:
    """What is due of the total, and the customer's balance afterwards, which is credit below 0.

    What is less than can be charged in the currency is left for the next invoice.
    """
    invoice["starting_balance"] = customer["balance"]
    due = invoice["total"] + customer["balance"]
    if due < minimum_amount(invoice["currency"]):
        return 0, due
    return due, 0


@timer_action("finalize_automatically")
def finalize_automatically(context: RequestContext, id: str) -> None:
    """Finalize and collect a draft, an hour after the receivers of `invoice.created` had it."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] != "draft" or not invoice["auto_advance"]:
        return
    context = replace(context, root=invoice["_root"])
    delivered_at, latest = _delivered_at(context, invoice), invoice["created"] + _LONGEST_WAIT
    due = min((delivered_at or context.now) + _HOUR, latest)
    if due > context.now:
        context.schedule(due - context.now, "finalize_automatically", id)
        changes = {"automatically_finalizes_at": due, "webhooks_delivered_at": delivered_at}
        context.save(invoice | changes)
        return
    invoice["webhooks_delivered_at"] = delivered_at or context.now
    finalize(context, invoice)
    collect_invoice(context, id)


def _delivered_at(context: RequestContext, invoice: Json) -> int | None:
    """When every receiver had answered `invoice.created` with success; None while one has not."""
    event = (invoice["_created_event"],)
    sql = "SELECT COUNT(*) FROM deliveries WHERE event = ? AND delivered = 0"
    if context.store.rows(sql, event)[0][0]:
        return None
    sql = "SELECT MAX(at) FROM attempts WHERE event = ? AND status BETWEEN 200 AND 299"
    at = context.store.rows(sql, event)[0][0]
    return int(at) if at else int(invoice["created"])


@timer_action("collect_invoice")
def collect_invoice(context: RequestContext, id: str) -> None:
    """Charge an open invoice's customer, or send it to them."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] != "open" or not invoice["auto_advance"]:
        return
    if invoice["collection_method"] == "send_invoice":
        context.emit("invoice.sent", invoice)
    else:
        pay_with_method(context, invoice, None, automatic=True)


@timer_action("pass_due_date")
def pass_due_date(context: RequestContext, id: str) -> None:
    """An invoice was not paid by its due date."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] == "open":
        context.notify("invoice overdue", invoice)


@route("POST /v1/invoices/<id>/send")
def send_invoice(context: RequestContext, params: Json, id: str) -> Json:
    """Send an invoice by mail, which the sandbox only says; a draft is finalized first."""
    invoice = context.fetch("invoice", id)
    if invoice["collection_method"] != "send_invoice":
        raise api_error("invoice_not_sent")
    if invoice["status"] == "draft":
        finalize(context, invoice)
    elif invoice["status"] != "open":
        raise api_error("invoice_transition", action="sent", status=invoice["status"])
    return context.save_and_emit(context.fetch("invoice", id), "invoice.sent")


@route("POST /v1/invoices/<id>/pay")
def pay_invoice(context: RequestContext, params: Json, id: str) -> Json:
    """Pay an invoice now, or note that it was paid elsewhere; a draft is finalized first."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] == "draft":
        finalize(context, invoice)
        if invoice["status"] == "paid":
            return invoice
    if invoice["status"] not in ("open", "uncollectible"):
        name = "invoice_paid" if invoice["status"] == "paid" else "invoice_transition"
        raise api_error(name, action="paid", status=invoice["status"])
    if params.get("paid_out_of_band"):
        return settle(context, invoice, by_payment=False)
    try:
        pay_with_method(context, invoice, params.get("payment_method"), automatic=False)
    except ApiError as error:
        # That the draft was finalized, and the attempt, stay.
        error.keep_changes = True
        raise
    return context.fetch("invoice", id)


@route("POST /v1/invoices/<id>/void")
def void_invoice(context: RequestContext, params: Json, id: str) -> Json:
    """Void an invoice that is not paid; its number stays."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] not in ("open", "uncollectible"):
        raise api_error("invoice_transition", action="voided", status=invoice["status"])
    return close_unpaid(context, invoice, "void", "voided_at", "invoice.voided")


@route("POST /v1/invoices/<id>/mark_uncollectible")
def mark_uncollectible(
    context: RequestContext, params: Json, id: str, reason: str = "user_forgiven"
) -> Json:
    """Give an open invoice up as a bad debt; it can still be paid, or voided."""
    invoice = context.fetch("invoice", id)
    if invoice["status"] != "open":
        raise api_error("invoice_transition", action="uncollectible", status=invoice["status"])
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    event = "invoice.marked_uncollectible"
    return close_unpaid(context, invoice, "uncollectible", "marked_uncollectible_at", event)


@on_event("customer.deleted")
def stop_collection(context: RequestContext, customer: Json) -> None:
    """Open invoices of a deleted customer are not collected any more."""
    for invoice in context.store.select("invoice", customer=customer["id"], status="open"):
        changes = {"auto_advance": False, "next_payment_attempt": None}
        context.update(invoice, changes, "invoice.updated")
