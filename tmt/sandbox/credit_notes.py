"""Credit notes: they lower what an open invoice asks for, or return what a paid one has taken."""

from __future__ import annotations

from decimal import Decimal

from tmt.sandbox.billing_invoices import page_of
from tmt.sandbox.billing_lines import multiply
from tmt.sandbox.billing_payments import settle
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import api_error
from tmt.sandbox.objects import Json, new, token
from tmt.sandbox.params import field_changes
from tmt.sandbox.refunds_disputes import create_refund
from tmt.sandbox.registry import route
from tmt.sandbox.request_context import RequestContext


@route("POST /v1/credit_notes")
def create_credit_note(context: RequestContext, params: Json) -> Json:
    """Issue a credit note; of a paid invoice, what it returns may be a refund, new or made before.

    Raises ApiError (400) for more than is left of the invoice, and for sums that do not agree.
    """
    note, invoice = _draft(context, params)
    amount = note["amount"]
    if params.get("refund_amount"):
        payment = {"payment_intent": invoice["_payment_intent"]}
        refund = create_refund(context, {"amount": params["refund_amount"], **payment})
        note["refunds"].append(_link(refund["id"], refund["amount"]))
    if credit := params.get("credit_amount"):
        customer = context.fetch("customer", invoice["customer"])
        changes = {"balance": customer["balance"] - credit}
        context.update(customer, changes, "customer.updated")
    _count(context, invoice, note, 1)
    count = len(context.store.select("credit_note", invoice=invoice["id"])) + 1
    secret = token(24)
    address = f"{invoice['_root'] or context.root}/credit_notes/{note['id']}/{secret}/pdf"
    note |= {"number": f"{invoice['number']}-CN-{count:02}", "pdf": address, "_secret": secret}
    context.save_and_emit(note, "credit_note.created")
    if invoice["status"] == "open" and amount and invoice["amount_remaining"] == 0:
        settle(context, invoice, by_payment=False, is_credited=True)
    return note


@route("GET /v1/credit_notes/preview")
def preview_credit_note(context: RequestContext, params: Json) -> Json:
    """The credit note that these parameters would issue."""
    note, invoice = _draft(context, params)
    number = f"{invoice['number']}-CN-01"
    return note | {"number": number, "pdf": f"{context.root}/credit_notes/preview/pdf"}


@route("POST /v1/credit_notes/<id>")
def update_credit_note(context: RequestContext, params: Json, id: str) -> Json:
    """Update the memo and the metadata."""
    note = context.fetch("credit_note", id)
    return context.update(note, field_changes(note, params), "credit_note.updated")


@route("POST /v1/credit_notes/<id>/void")
def void_credit_note(context: RequestContext, params: Json, id: str) -> Json:
    """Void a credit note of an invoice that is still open, which asks for the amount again."""
    note = context.fetch("credit_note", id)
    invoice = context.fetch("invoice", note["invoice"])
    if note["status"] == "void" or invoice["status"] != "open":
        raise api_error("credit_note_final")
    _count(context, invoice, note, -1)
    changes = {"status": "void", "voided_at": context.now}
    return context.update(note, changes, "credit_note.voided")


@route("GET /v1/credit_notes/<id>/lines")
def list_credit_note_lines(context: RequestContext, params: Json, id: str) -> Json:
    """A page of a credit note's lines, in their order."""
    return page_of(context, context.fetch("credit_note", id)["lines"]["data"], params)


def _draft(context: RequestContext, params: Json) -> tuple[Json, Json]:
    """A credit note of these parameters, not stored, and its invoice."""
    invoice = context.fetch("invoice", params["invoice"], "invoice")
    if invoice["status"] not in ("open", "paid"):
        raise api_error("credit_note_status", status=invoice["status"])
    if ("amount" in params) == bool(params.get("lines")):
        raise api_error("one_needed", "amount", both="amount or lines")
    lines = [_line(context, invoice, data) for data in params.get("lines") or ()]
    total, currency = invoice["total"], invoice["currency"]
    subtotal = sum(line["amount"] for line in lines)
    if lines and invoice["subtotal"]:
        amount = multiply(Decimal(subtotal), Decimal(total) / invoice["subtotal"])
    else:
        amount = params.get("amount", 0)
        lines = [_new_line(context, amount, invoice["description"])]
    is_paid = invoice["status"] == "paid"
    most = total - sum(
        note["amount"]
        for note in context.store.select("credit_note", invoice=invoice["id"], status="issued")
    )
    if not 0 < amount <= (most if is_paid else min(most, invoice["amount_remaining"])):
        raise api_error("credit_note_amount", left=format_amount(most, currency))
    linked = [
        _linked_refund(context, invoice, data, f"refunds[{number}]")
        for number, data in enumerate(params.get("refunds") or ())
    ]
    names = ("refund_amount", "credit_amount", "out_of_band_amount")
    returned = sum(params.get(name) or 0 for name in names)
    returned += sum(refund["amount_refunded"] for refund in linked)
    if returned != (amount if is_paid else 0):
        sums = format_amount(returned, currency), format_amount(amount if is_paid else 0, currency)
        raise api_error("credit_note_sums", returned=sums[0], post_payment=sums[1])
    share = Decimal(amount) / total
    taxes = [
        {**tax, **{n: multiply(Decimal(tax[n]), share) for n in ("amount", "taxable_amount")}}
        for tax in invoice["total_taxes"] or ()
    ]
    net = amount - sum(tax["amount"] for tax in taxes)
    note = new(
        "credit_note",
        context.now,
        amount=amount,
        currency=currency,
        customer=invoice["customer"],
        effective_at=params.get("effective_at", context.now),
        invoice=invoice["id"],
        out_of_band_amount=params.get("out_of_band_amount"),
        post_payment_amount=amount if is_paid else 0,
        pre_payment_amount=0 if is_paid else amount,
        reason=params.get("reason"),
        refunds=linked,
        subtotal=subtotal or amount,
        subtotal_excluding_tax=net,
        total=amount,
        total_excluding_tax=net,
        total_taxes=taxes,
        type="post_payment" if is_paid else "pre_payment",
    )
    url = f"/v1/credit_notes/{note['id']}/lines"
    note["lines"] = {"object": "list", "data": lines, "has_more": False, "url": url}
    return note | field_changes(note, params), invoice


def _line(context: RequestContext, invoice: Json, data: Json) -> Json:
    """A line as the parameters describe it: of the invoice, or one of its own."""
    if data["type"] == "custom_line_item":
        quantity = data.get("quantity", 1)
        unit = str(data.get("unit_amount", data.get("unit_amount_decimal", 0)))
        line = _new_line(context, multiply(unit, quantity), data.get("description"))
        return line | {"quantity": quantity, "unit_amount_decimal": unit}
    id = data.get("invoice_line_item", "")
    credited = next((line for line in invoice["lines"]["data"] if line["id"] == id), None)
    if credited is None:
        raise api_error("resource_missing", "lines", label="line item", id=id[:255])
    amount = data.get("amount")
    if amount is None:
        quantity = data.get("quantity", credited["quantity"])
        amount = multiply(credited["pricing"]["unit_amount_decimal"], quantity)
    line = _new_line(context, amount, data.get("description") or credited["description"])
    return line | {"invoice_line_item": id, "type": "invoice_line_item"}


def _new_line(context: RequestContext, amount: int, description: str | None) -> Json:
    fields = {"amount": amount, "description": description, "unit_amount": amount}
    return new("credit_note_line_item", context.now, **fields, unit_amount_decimal=str(amount))


def _link(refund: str, amount: int) -> Json:
    return {
        "amount_refunded": amount,
        "payment_record_refund": None,
        "refund": refund,
        "type": "refund",
    }


def _linked_refund(context: RequestContext, invoice: Json, data: Json, param: str) -> Json:
    """A refund that was made before, all of it unless the parameters say how much.

    Raises ApiError (400) for one that is not of this invoice's payment.
    """
    refund = context.fetch("refund", data.get("refund", ""), f"{param}[refund]")
    if refund["payment_intent"] != invoice.get("_payment_intent"):
        raise api_error("credit_note_refund", id=refund["id"])
    amount = data["amount_refunded"] if "amount_refunded" in data else refund["amount"]
    return _link(refund["id"], amount)


def _count(context: RequestContext, invoice: Json, note: Json, sign: int) -> None:
    """Have the invoice count a credit note, or (sign -1) not any more."""
    before, after = sign * note["pre_payment_amount"], sign * note["post_payment_amount"]
    fields = {
        "amount_due": -before,
        "amount_remaining": -before,
        "post_payment_credit_notes_amount": after,
        "pre_payment_credit_notes_amount": before,
    }
    changes = {name: invoice[name] + change for name, change in fields.items()}
    context.update(invoice, changes, "invoice.updated")
    intent = context.store.get(invoice.get("_payment_intent") or "")
    if before and intent and invoice["amount_remaining"]:
        context.update(intent, {"amount": invoice["amount_remaining"]})
        payment = context.fetch("invoice_payment", invoice["_payment"])
        context.update(payment, {"amount_requested": invoice["amount_remaining"]})
