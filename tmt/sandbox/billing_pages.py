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

    @views.get("/invoices/<id>/<secret>/pdf", defaults={"kind": "invoice"})
    @views.get("/credit_notes/<id>/<secret>/pdf", defaults={"kind": "credit_note"})
    def download(kind: str, id: str, secret: str) -> Response:
        document = _find(store, id, secret, kind)
        if document is None:
            return render_page("invoice.html", 404, invoice=None)
        title = "Invoice" if kind == "invoice" else "Credit note"
        response = make_response(render_pdf(title, document))
        response.mimetype = "application/pdf"
        name = f"{title.replace(' ', '-')}-{document['number']}.pdf"
        response.headers["Content-Disposition"] = f"attachment; filename={name}"
        return response

    return views


def _find(store: Store, id: str, secret: str, kind: str = "invoice") -> Json | None:
    body = store.get(id, kind) or {}
    own = body.get("_secret")
    return body if own and secrets_match(secret, own) else None


def _day(seconds: int | None, language: str) -> str | None:
    if seconds is None:
        return None
    return format_date(datetime.fromtimestamp(seconds, UTC), "long", locale=language)


def render_pdf(title: str, document: Json) -> bytes:
    """A finalized invoice or a credit note as PDF: the same bytes while nothing changes in it."""
    from fpdf import FPDF

    pdf = FPDF(format="A4")
    pdf.set_creation_date(datetime.fromtimestamp(document["effective_at"], UTC))
    pdf.set_title(f"{title} {document['number']}")
    pdf.add_page()
    _line(pdf, title, size=20, bold=True)
    for label, value in (
        ("Number", document["number"]),
        ("Date of issue", _day(document["effective_at"], "en")),
        ("Date due", _day(document.get("due_date"), "en")),
        ("From", document.get("account_name")),
        ("Bill to", document.get("customer_name") or document.get("customer_email")),
        ("Status", document["status"]),
        ("Note", document.get("memo")),
    ):
        if value:
            _line(pdf, f"{label}: {value}")
    pdf.ln(6)
    currency = document["currency"]
    for line in document["lines"]["data"]:
        text = f"{line['quantity']} - {line['description'] or ''}"
        _line(pdf, text, format_amount(line["amount"], currency))
    pdf.ln(3)
    _line(pdf, "Subtotal", format_amount(document["subtotal"], currency))
    for tax in document["total_taxes"] or ():
        _line(pdf, f"Tax ({tax['tax_behavior']})", format_amount(tax["amount"], currency))
    _line(pdf, "Total", format_amount(document["total"], currency), bold=True)
    if "amount_remaining" in document:
        remaining = format_amount(document["amount_remaining"], currency)
        _line(pdf, "Amount due", remaining, bold=True)
    if document.get("footer"):
        pdf.ln(6)
        _line(pdf, document["footer"])
    return bytes(pdf.output())


def _line(pdf: FPDF, text: str, amount: str = "", *, size: int = 11, bold: bool = False) -> None:
    """A line of text with an amount at the right; the core fonts have Latin letters alone."""
    pdf.set_font("Helvetica", "B" if bold else "", size)
    pdf.cell(140, size * 0.6, text.encode("latin-1", "replace").decode("latin-1"))
    amount = amount.encode("latin-1", "replace").decode("latin-1")
    pdf.cell(0, size * 0.6, amount, new_x="LMARGIN", new_y="NEXT", align="R")
