"""Invoices: from an item to a payment, what is void, and what a credit note returns."""

from __future__ import annotations

from typing import Any

import pytest
import stripe


@pytest.fixture
def customer(client: stripe.StripeClient) -> Any:
    """A customer whose card pays invoices; deleted afterwards."""
    customer: Any = client.v1.customers.create({"email": "contract@example.com"})
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    settings = {"default_payment_method": method.id}
    client.v1.customers.update(customer.id, {"invoice_settings": settings})
    yield customer
    client.v1.customers.delete(customer.id)


def draft(client: stripe.StripeClient, customer: Any, amount: int = 2000, **params: Any) -> Any:
    invoice = client.v1.invoices.create({"customer": customer.id, "currency": "usd", **params})
    item = {"customer": customer.id, "invoice": invoice.id, "amount": amount, "currency": "usd"}
    client.v1.invoice_items.create({**item, "description": "Hall"})
    return invoice


def test_from_an_item_to_a_payment_and_a_credit_note(
    client: stripe.StripeClient, customer: Any
) -> None:
    v1: Any = client.v1
    invoice = draft(client, customer)
    opened = v1.invoices.finalize_invoice(invoice.id, {"expand": ["confirmation_secret"]})
    assert (opened.status, opened.amount_remaining, opened.auto_advance) == ("open", 2000, False)
    assert opened.confirmation_secret.type == "payment_intent"
    assert opened.hosted_invoice_url
    assert opened.invoice_pdf
    paid = v1.invoices.pay(invoice.id, {"expand": ["payments"]})
    assert (paid.status, paid.amount_paid, paid.attempt_count) == ("paid", 2000, 1)
    assert paid.payments.data[0].status == "paid"
    asked = {"invoice": invoice.id, "amount": 500, "refund_amount": 500, "email_type": "none"}
    note = v1.credit_notes.create(asked)
    assert (note.type, note.refunds[0].amount_refunded) == ("post_payment", 500)
    assert v1.invoices.retrieve(invoice.id).post_payment_credit_notes_amount == 500


def test_what_is_sent_and_void(client: stripe.StripeClient, customer: Any) -> None:
    v1: Any = client.v1
    terms = {"collection_method": "send_invoice", "days_until_due": 14}
    invoice = v1.invoices.send_invoice(draft(client, customer, **terms).id)
    assert (invoice.status, invoice.due_date is not None) == ("open", True)
    void = v1.invoices.void_invoice(invoice.id)
    assert (void.status, void.status_transitions.voided_at is not None) == ("void", True)
    with pytest.raises(stripe.InvalidRequestError):
        v1.invoices.pay(invoice.id)


def test_a_second_invoice_has_the_next_number(client: stripe.StripeClient, customer: Any) -> None:
    v1: Any = client.v1
    numbers = [v1.invoices.finalize_invoice(draft(client, customer).id).number for _ in range(2)]
    (prefix, first), (same, second) = (number.rsplit("-", 1) for number in numbers)
    assert (prefix, int(second)) == (same, int(first) + 1)
