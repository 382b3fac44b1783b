"""The page of an invoice, where it is paid, and its PDF."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from babel.dates import format_date
from flask import Blueprint, Response, make_response, redirect, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from tmt.sandbox import intents
from tmt.sandbox.billing_invoices import pay_invoice
from tmt.sandbox.currencies import format_amount
from tmt.sandbox.errors import ApiError
from tmt.sandbox.objects import Json, secrets_match
from tmt.sandbox.pages import chosen_language, page_context, render_page
from tmt.sandbox.store import Store

if TYPE_CHECKING:
    from fpdf import FPDF

# The methods that the buttons pay with.
_METHODS = {
    "card": "pm_card_visa",
    "declined": "pm_card_chargeDeclined",
    "debit": "pm_sepaDebit_success_de",
}


def invoice_pages(store: Store) -> Blueprint:
    """The views; whoever has the address of an invoice may see and pay it."""
    views = Blueprint("invoices", __name__)

    @views.get("/invoices/<id>/<secret>")
    def show_invoice(id: str, secret: str) -> Response:
        invoice = _find(store, id, secret)
        if invoice is None:
            return render_page("invoice.html", 404, invoice=None)
        intent = store.get(invoice.get("_payment_intent") or "") or {}
        return render_page(
            "invoice.html",
            invoice=invoice,
            intent=intent,
            money=format_amount,
            due=_day(invoice["due_date"], chosen_language()),
        )

    @views.post("/invoices/<id>/<secret>")
    def act_on_invoice(id: str, secret: str) -> WerkzeugResponse:
        context = page_context(store)
        outcome = request.form.get("outcome", "")
        with suppress(ApiError), store.transaction():
            invoice = _find(store, id, secret)
            if invoice and outcome == "transfer":
                pay_invoice(context, {"paid_out_of_band": True}, id)
            elif invoice and outcome in _METHODS:
                params = {
                    "payment_method": _METHODS[outcome],
                    "return_url": request.url,
                    "mandate_data": {"customer_acceptance": {"type": "online"}},
                }
                # A declined card is a result, which stays.
                with suppress(ApiError):
                    intents.confirm_intent(
                        context, params, invoice["_payment_intent"], "payment_intent"
                    )
        address = url_for("invoices.show_invoice", id=id, secret=secret, locale=chosen_language())
        return redirect(address, 303)

    @views.get("/invoices/<id>/<secret>/pdf")
    def download(id: str, secret: str) -> Response:
        invoice = _find(store, id, secret)
        if invoice is None:
            return render_page("invoice.html", 404, invoice=None)
        response = make_response(render_pdf(invoice))
        response.mimetype = "application/pdf"
        name = f"attachment; filename=Invoice-{invoice['number']}.pdf"
        response.headers["Content-Disposition"] = name
        return response

    return views


def _find(store: Store, id: str, secret: str) -> Json | None:
    invoice = store.get(id, "invoice") or {}
    return invoice if secrets_match(secret, invoice.get("_secret") or "") and secret else None


def _day(seconds: int | None, language: str) -> str | None:
    if seconds is None:
        return None
    return format_date(datetime.fromtimestamp(seconds, UTC), "long", locale=language)


def render_pdf(invoice: Json) -> bytes:
    """A finalized invoice as PDF, the same bytes as long as nothing about it changes."""
    from fpdf import FPDF

    finalized_at = datetime.fromtimestamp(invoice["status_transitions"]["finalized_at"], UTC)
    pdf = FPDF(format="A4")
    pdf.set_creation_date(finalized_at)
    pdf.set_title(f"Invoice {invoice['number']}")
    pdf.add_page()
    _line(pdf, "Invoice", size=20, bold=True)
    for label, value in (
        ("Number", invoice["number"]),
        ("Date of issue", _day(invoice["effective_at"], "en")),
        ("Date due", _day(invoice["due_date"], "en")),
        ("From", invoice["account_name"]),
        ("Bill to", invoice["customer_name"] or invoice["customer_email"]),
        ("Status", invoice["status"]),
    ):
        if value:
            _line(pdf, f"{label}: {value}")
    pdf.ln(6)
    currency = invoice["currency"]
    for line in invoice["lines"]["data"]:
        text = f"{line['quantity']} - {line['description'] or ''}"
        _line(pdf, text, format_amount(line["amount"], currency))
    pdf.ln(3)
    _line(pdf, "Subtotal", format_amount(invoice["subtotal"], currency))
    for tax in invoice["total_taxes"] or ():
        label = f"Tax ({tax['tax_behavior']})"
        _line(pdf, label, format_amount(tax["amount"], currency))
    for label, name in (("Total", "total"), ("Amount due", "amount_remaining")):
        _line(pdf, label, format_amount(invoice[name], currency), bold=True)
    if invoice["footer"]:
        pdf.ln(6)
        _line(pdf, invoice["footer"])
    return bytes(pdf.output())


def _line(pdf: FPDF, text: str, amount: str = "", *, size: int = 11, bold: bool = False) -> None:
    """A line of text with an amount at the right; the core fonts have Latin letters alone."""
    pdf.set_font("Helvetica", "B" if bold else "", size)
    pdf.cell(140, size * 0.6, text.encode("latin-1", "replace").decode("latin-1"))
    amount = amount.encode("latin-1", "replace").decode("latin-1")
    pdf.cell(0, size * 0.6, amount, new_x="LMARGIN", new_y="NEXT", align="R")
