"""Credit notes at the official SDK: of open invoices, of paid ones, and for refunds made before."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from pypdfium2 import PdfDocument

from .conftest import error_of
from .test_invoices import draft, save_card


@pytest.fixture
def customer(v1: Any) -> Any:
    return v1.customers.create({"name": "Teatro Real"})


@pytest.fixture
def paid(v1: Any, customer: Any) -> Any:
    """A paid invoice of 50.00 eur, and its payments."""
    save_card(v1, customer)
    return v1.invoices.pay(draft(v1, customer).id, {"expand": ["payments"]})


def test_an_open_invoice_asks_for_less(v1: Any, customer: Any) -> None:
    invoice = v1.invoices.finalize_invoice(draft(v1, customer).id, {"expand": ["payments"]})
    asked = {"invoice": invoice.id, "amount": 1000, "memo": "Piano", "email_type": "none"}
    assert v1.credit_notes.preview(asked).pre_payment_amount == 1000
    assert v1.credit_notes.list().data == []
    note = v1.credit_notes.create({**asked, "reason": "order_change"})
    assert (note.type, note.number) == ("pre_payment", f"{invoice.number}-CN-01")
    less = v1.invoices.retrieve(invoice.id)
    assert (less.amount_remaining, less.pre_payment_credit_notes_amount) == (4000, 1000)
    intent = v1.payment_intents.retrieve(invoice.payments.data[0].payment.payment_intent)
    assert intent.amount == 4000
    assert v1.credit_notes.void_credit_note(note.id).status == "void"
    assert v1.invoices.retrieve(invoice.id).amount_remaining == 5000
    assert error_of(v1.credit_notes.create, {**asked, "amount": 5001}).param == "amount"
    line = {"type": "invoice_line_item", "invoice_line_item": invoice.lines.data[0].id}
    rest = v1.credit_notes.create({"invoice": invoice.id, "lines": [{**line, "amount": 5000}]})
    assert v1.credit_notes.line_items.list(rest.id).data[0].description == "Hall"
    over = v1.invoices.retrieve(invoice.id)
    assert (over.status, over.amount_paid, over.amount_due) == ("paid", 0, 0)
    assert v1.payment_intents.retrieve(intent.id).status == "canceled"


def test_a_paid_invoice_returns_money(v1: Any, customer: Any, paid: Any) -> None:
    asked = {"invoice": paid.id, "amount": 3000}
    assert "must equal" in str(error_of(v1.credit_notes.create, asked))
    parts = {"refund_amount": 1500, "credit_amount": 1000, "out_of_band_amount": 500}
    note = v1.credit_notes.create({**asked, **parts})
    assert (note.type, note.post_payment_amount) == ("post_payment", 3000)
    assert v1.refunds.retrieve(note.refunds[0].refund).amount == 1500
    assert v1.customers.retrieve(customer.id).balance == -1000
    invoice = v1.invoices.retrieve(paid.id)
    assert (invoice.status, invoice.post_payment_credit_notes_amount) == ("paid", 3000)
    assert error_of(v1.credit_notes.void_credit_note, note.id).http_status == 400
    too_much = {"invoice": paid.id, "amount": 2001, "out_of_band_amount": 2001}
    assert error_of(v1.credit_notes.create, too_much).param == "amount"


def test_a_refund_that_was_made_before_is_linked(v1: Any, customer: Any, paid: Any) -> None:
    intent = paid.payments.data[0].payment.payment_intent
    refund = v1.refunds.create({"payment_intent": intent, "amount": 2000})
    linked = [{"refund": refund.id, "amount_refunded": 2000}]
    note = v1.credit_notes.create({"invoice": paid.id, "amount": 2000, "refunds": linked})
    assert [link.refund for link in note.refunds] == [refund.id]
    (page,) = PdfDocument(requests.get(note.pdf).content)
    assert note.number in page.get_textpage().get_text_range()
    assert len(v1.refunds.list().data) == 1
    other = v1.invoices.pay(draft(v1, customer, 2000).id)
    strange = {"invoice": other.id, "amount": 2000, "refunds": linked}
    assert error_of(v1.credit_notes.create, strange).param == "refunds"
    assert [n.invoice for n in v1.credit_notes.list({"invoice": paid.id}).data] == [paid.id]
