"""Invoices at the official SDK: items, drafts, finalized, sent, paid, voided; and the clock."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from pypdfium2 import PdfDocument

from .conftest import DAY, Receiver, error_of
from .driver import Driver

HOUR = 3600


@pytest.fixture
def customer(v1: Any) -> Any:
    return v1.customers.create({"name": "Teatro Real", "email": "ana@example.com"})


def save_card(v1: Any, customer: Any, token: str = "pm_card_visa") -> str:
    """A card that pays this customer's invoices."""
    method: str = v1.payment_methods.attach(token, {"customer": customer.id}).id
    settings = {"default_payment_method": method}
    v1.customers.update(customer.id, {"invoice_settings": settings})
    return method


def draft(v1: Any, customer: Any, amount: int = 5000, **params: Any) -> Any:
    """A draft of one item: the hire of a hall."""
    item = {"customer": customer.id, "amount": amount, "currency": "eur", "description": "Hall"}
    v1.invoice_items.create(item)
    both = {"customer": customer.id, "pending_invoice_items_behavior": "include", **params}
    return v1.invoices.create(both)


def types_since(v1: Any, event_type: str) -> list[str]:
    """The types of the events after the last one of this type, oldest first."""
    types = [event.type for event in v1.events.list({"limit": 100}).data]
    return types[: types.index(event_type)][::-1]


def test_an_invoice_from_its_items_to_its_payment(v1: Any, customer: Any) -> None:
    save_card(v1, customer)
    invoice = draft(v1, customer)
    assert (invoice.status, invoice.total, invoice.number) == ("draft", 5000, None)
    added = {"customer": customer.id, "invoice": invoice.id, "currency": "eur"}
    item = v1.invoice_items.create({**added, "unit_amount_decimal": "1250.5", "quantity": 2})
    assert (item.amount, item.invoice) == (2501, invoice.id)
    v1.invoice_items.update(item.id, {"amount": 1000, "description": "Piano"})
    lines = v1.invoices.line_items.list(invoice.id, {"limit": 1})
    assert (lines.data[0].description, lines.has_more) == ("Hall", True)
    opened = v1.invoices.finalize_invoice(invoice.id, {"expand": ["confirmation_secret"]})
    assert (opened.status, opened.amount_due) == ("open", 6000)
    assert opened.number == f"{customer.invoice_prefix}-0001"
    assert opened.confirmation_secret.client_secret.startswith("pi_")
    assert error_of(v1.invoice_items.delete, item.id).code == "invoice_not_editable"
    paid = v1.invoices.pay(invoice.id, {"expand": ["payments.data.payment.payment_intent"]})
    assert (paid.status, paid.amount_paid, paid.attempt_count) == ("paid", 6000, 1)
    (payment,) = paid.payments.data
    assert payment.payment.payment_intent.amount == 6000
    by_intent = {"type": "payment_intent", "payment_intent": payment.payment.payment_intent.id}
    assert v1.invoice_payments.list({"payment": by_intent}).data[0].invoice == invoice.id
    assert types_since(v1, "invoice.finalized") == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "invoice.updated",
        "invoice.paid",
        "invoice.payment_succeeded",
        "invoice_payment.paid",
        "charge.updated",
    ]


def test_numbers_have_no_gaps(v1: Any, customer: Any) -> None:
    other = v1.customers.create()
    first, second = draft(v1, customer), draft(v1, customer)
    v1.invoices.delete(first.id)
    numbers = [v1.invoices.finalize_invoice(i).number for i in (second.id, draft(v1, other).id)]
    # What was on the deleted draft is pending again.
    (again,) = v1.invoice_items.list({"pending": True}).data
    assert again.amount == 5000
    third = draft(v1, customer)
    assert third.total == 10000
    v1.invoices.void_invoice(second.id)
    numbers.append(v1.invoices.finalize_invoice(third.id).number)
    assert [number.partition("-")[2] for number in numbers] == ["0001", "0001", "0002"]
    assert numbers[0] != numbers[1]


@pytest.mark.parametrize(
    ("token", "code", "intent_status"),
    [
        ("pm_card_chargeCustomerFail", "card_declined", "requires_payment_method"),
        (
            "pm_card_authenticationRequired",
            "invoice_payment_intent_requires_action",
            "requires_action",
        ),
        (None, "resource_missing", "requires_payment_method"),
    ],
)
def test_an_attempt_that_fails_leaves_the_invoice_open(
    v1: Any, customer: Any, token: str | None, code: str, intent_status: str
) -> None:
    if token:
        save_card(v1, customer, token)
    invoice = draft(v1, customer)
    error = error_of(v1.invoices.pay, invoice.id)
    assert (error.code, error.http_status) == (code, 402 if token else 400)
    invoice = v1.invoices.retrieve(invoice.id, {"expand": ["payments"]})
    assert (invoice.status, invoice.attempted) == ("open", token is not None)
    intent = v1.payment_intents.retrieve(invoice.payments.data[0].payment.payment_intent)
    assert intent.status == intent_status
    # Another card pays the same PaymentIntent, as from the payment page.
    v1.payment_intents.confirm(
        intent.id, {"payment_method": "pm_card_visa", "return_url": "https://shop.example/"}
    )
    assert v1.invoices.retrieve(invoice.id).status == "paid"


def test_a_sent_invoice_is_paid_out_of_band(
    v1: Any, customer: Any, driver: Driver, receiver: Receiver
) -> None:
    assert error_of(draft, v1, customer, collection_method="send_invoice").param == "days_until_due"
    invoice = draft(v1, customer, collection_method="send_invoice", days_until_due=14)
    sent = v1.invoices.send_invoice(invoice.id)
    assert (sent.status, sent.due_date - sent.created) == ("open", 14 * DAY)
    paid = v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid_off_stripe) == ("paid", 10000)
    driver.deliver()
    assert {"invoice.sent", "invoice.paid", "payment_intent.canceled"} <= {*receiver.types()}
    assert "invoice.payment_succeeded" not in receiver.types()
    assert error_of(v1.invoices.pay, invoice.id).http_status == 400


def test_a_debit_pays_days_later(v1: Any, customer: Any, driver: Driver) -> None:
    settings = {"payment_method_types": ["card", "sepa_debit"]}
    invoice = v1.invoices.finalize_invoice(draft(v1, customer, payment_settings=settings).id)
    intent = v1.invoice_payments.list({"invoice": invoice.id}).data[0].payment.payment_intent
    debit = {"payment_method": "pm_sepaDebit_success_de", "return_url": "https://shop.example/"}
    debit["mandate_data"] = {"customer_acceptance": {"type": "offline"}}
    assert v1.payment_intents.confirm(intent, debit).status == "processing"
    assert v1.invoices.retrieve(invoice.id).status == "open"
    driver.advance(days=6)
    assert v1.invoices.retrieve(invoice.id).status == "paid"


def test_void_and_uncollectible(v1: Any, customer: Any, driver: Driver, receiver: Receiver) -> None:
    invoices = v1.invoices
    invoice = invoices.finalize_invoice(draft(v1, customer).id)
    bad = invoices.mark_uncollectible(invoice.id)
    assert (bad.status, bad.status_details.uncollectible.reason) == (
        "uncollectible",
        "user_forgiven",
    )
    void = invoices.void_invoice(invoice.id, {"expand": ["payments"]})
    assert (void.status, void.payments.data[0].status) == ("void", "canceled")
    intent = v1.payment_intents.retrieve(void.payments.data[0].payment.payment_intent)
    assert (intent.status, intent.cancellation_reason) == ("canceled", "void_invoice")
    assert error_of(invoices.void_invoice, invoice.id).code == "status_transition_invalid"
    assert error_of(invoices.update, invoice.id, {"footer": "x"}).code == "invoice_not_editable"
    assert invoices.update(invoice.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"
    assert [i.id for i in invoices.list({"status": "void"}).data] == [invoice.id]
    driver.deliver()
    assert {"invoice.marked_uncollectible", "invoice.voided"} <= {*receiver.types()}


def test_nothing_and_too_little_are_paid_at_once(v1: Any, customer: Any) -> None:
    nothing = v1.invoices.finalize_invoice(v1.invoices.create({"customer": customer.id}).id)
    assert (nothing.status, nothing.amount_paid) == ("paid", 0)
    little = v1.invoices.finalize_invoice(draft(v1, customer, 20).id)
    assert (little.status, little.amount_due, little.ending_balance) == ("paid", 0, 20)
    assert v1.customers.retrieve(customer.id).balance == 20
    assert v1.invoices.finalize_invoice(draft(v1, customer, 500).id).amount_due == 520


def test_a_draft_waits_an_hour_after_its_event_was_received(
    v1: Any, customer: Any, driver: Driver, receiver: Receiver
) -> None:
    save_card(v1, customer)
    driver.drop_webhooks("invoice.created", times=1)
    lost = draft(v1, customer, auto_advance=True)
    driver.deliver()
    received = draft(v1, customer, auto_advance=True)
    driver.advance(hours=2)
    assert v1.invoices.retrieve(lost.id).status == "draft"
    paid = v1.invoices.retrieve(received.id)
    assert (paid.status, paid.webhooks_delivered_at is not None) == ("paid", True)
    finalized_at = paid.status_transitions.finalized_at
    assert HOUR <= finalized_at - paid.created <= HOUR + 5
    driver.advance(days=3)
    late = v1.invoices.retrieve(lost.id)
    assert late.status_transitions.finalized_at - late.created == 3 * DAY


def test_an_open_invoice_is_tried_again_until_it_is_given_up(
    v1: Any, customer: Any, driver: Driver
) -> None:
    save_card(v1, customer, "pm_card_chargeCustomerFail")
    invoice = draft(v1, customer, auto_advance=True)
    attempts = []
    for span in (HOUR * 2, 3 * DAY, 5 * DAY, 7 * DAY):
        driver.advance(seconds=span)
        invoice = v1.invoices.retrieve(invoice.id)
        attempts.append((invoice.attempt_count, invoice.next_payment_attempt is not None))
    assert attempts == [(1, True), (2, True), (3, True), (4, False)]
    assert invoice.status == "open"


def test_the_page_of_an_invoice_and_its_pdf(v1: Any, customer: Any) -> None:
    opened = v1.invoices.finalize_invoice(draft(v1, customer, 4321).id)
    address = opened.hosted_invoice_url
    assert opened.number in requests.get(address).text
    assert requests.get(address[:-1]).status_code == 404
    pdf = requests.get(opened.invoice_pdf)
    assert pdf.headers["Content-Type"] == "application/pdf"
    assert opened.number in PdfDocument(pdf.content)[0].get_textpage().get_text_range()
    assert requests.get(opened.invoice_pdf).content == pdf.content
    for outcome, text in (("declined", "declined"), ("debit", "way"), ("card", "way")):
        assert text in requests.post(address, {"outcome": outcome}).text
    other = v1.invoices.finalize_invoice(draft(v1, customer, 4321).id)
    spanish = f"{other.hosted_invoice_url}?locale=es"
    assert "pagada" in requests.post(spanish, {"outcome": "transfer"}).text
    assert "43.21 eur" in requests.get(spanish).text


def test_taxes_on_top_and_within(v1: Any, box: Any, customer: Any) -> None:
    rate = {"object": "tax_rate", "active": True, "country": "ES", "created": 1, "state": "MD"}
    rate |= {"description": "", "display_name": "IVA", "effective_percentage": 21.0}
    rate |= {"flat_amount": {"amount": 0, "currency": "eur"}, "rate_type": "percentage"}
    rate |= {"jurisdiction": "ES", "jurisdiction_level": "country", "tax_type": "vat"}
    rate |= {"livemode": False, "metadata": {}, "percentage": 21.0}
    for inclusive in (True, False):
        box._store.put({**rate, "id": f"txr_{inclusive}", "inclusive": inclusive})
    invoice = draft(v1, customer, 12100, default_tax_rates=["txr_True"])
    assert (invoice.total, invoice.total_excluding_tax) == (12100, 10000)
    other = draft(v1, customer, 10000, default_tax_rates=["txr_False"])
    assert (other.subtotal, other.total, other.total_taxes[0].amount) == (10000, 12100, 2100)
