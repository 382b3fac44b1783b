"""MON-01, PAY-08: a price is the same wherever it stands, and stays what was agreed."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import yaml
from sqlalchemy import update

from tests.invariants import check_money
from tmt.catalog.file_format import read_catalogue
from tmt.catalog.import_export import export_catalogue, import_catalogue
from tmt.catalog.models import TicketType
from tmt.payments.refunds import issue_refund

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]

CATALOGUE = """
events:
  - slug: precio
    title: El precio
    venue: Sala Dos
    address: Calle Menor 2
    city: Madrid
    starts_at: "2031-05-01T20:00"
    ends_at: "2031-05-01T23:00"
    time_zone: Europe/Madrid
    language: es
    currency: {currency}
    capacity: 50
    max_per_order: 5
    status: published
    ticket_types:
      - name: General
        price: {price}
"""
# The price as an organiser writes it, Stripe's minor units of two of them, and how people read
# those: with no decimals, two, three, and two of which Stripe charges whole units only.
CLASSES = {
    "jpy": ("8000", 16000, "16.000"),
    "clp": ("9990", 19980, "19.980"),
    "eur": ("75.50", 15100, "151,00"),
    "kwd": ("7.250", 14500, "14,500"),
    "isk": ("4500", 900000, "9.000"),
}


def brought_in(shopfront, currency, price):
    text = CATALOGUE.format(currency=currency, price=price)
    now = datetime.now(UTC)
    import_catalogue(shopfront.shop.db, read_catalogue(text, "price.yaml", now).events, now)


def bought(shopfront):
    """Two places of the event, paid; its order and PaymentIntent."""
    buyer = shopfront.buyer()
    fields = buyer.form("precio")
    (price_field,) = [name for name in fields if name.startswith("shown_price-")]
    fields["quantity-" + price_field.removeprefix("shown_price-")] = "2"
    answer = buyer.post("/events/precio/orders", fields, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    order = shopfront.order(answer.headers["Location"].split("/orders/")[1].split("/")[0])
    pi = buyer.open_pay_page(order)
    page = buyer.get(f"/orders/{order.token}/pay").text
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    return order, pi, page


def mail_text(shopfront, subject):
    """The text of the mail with this word in its subject, as its reader sees it."""
    messages = [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for path in shopfront.mails()
    ]
    (message,) = [one for one in messages if subject in one["Subject"]]
    body = message.get_body(("plain",))
    return " ".join(body.get_content().replace("\xa0", " ").split())


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.case("MON-01")
@pytest.mark.parametrize("currency", CLASSES)
def test_mon01_the_same_from_the_price_list_to_the_refund(shopfront, currency):
    price, minor, formatted = CLASSES[currency]
    brought_in(shopfront, currency, price)
    order, pi, page = bought(shopfront)
    intent = shopfront.stripe.v1.payment_intents.retrieve(pi)
    assert (intent.amount, intent.amount_received, intent.currency) == (minor, minor, currency)
    assert (order.total, order.currency) == (minor, currency)
    assert formatted in page
    assert formatted in shopfront.buyer().get(f"/orders/{order.token}").text
    assert formatted in mail_text(shopfront, order.event.title)
    with shopfront.shop.db.reading() as session:
        exported = yaml.load(export_catalogue(session), Loader=yaml.BaseLoader)
    (row,) = [e for e in exported["events"] if e["slug"] == "precio"]
    assert Decimal(row["ticket_types"][0]["price"]) == Decimal(price)
    issue_refund(shopfront.shop, order.code)
    shopfront.run_jobs()
    (refund,) = shopfront.stripe.v1.refunds.list({"payment_intent": pi}).data
    assert (refund.amount, refund.currency) == (minor, currency)
    assert formatted in shopfront.buyer().get(f"/orders/{order.token}").text
    check_money(shopfront)


@pytest.mark.case("PAY-08")
@pytest.mark.parametrize("when", ["before the PaymentIntent", "after it"])
def test_pay08_a_price_that_changes_later_changes_no_order(shopfront, when):
    """The lines of an order are frozen: it is paid at the price that was agreed."""
    buyer = shopfront.buyer()
    order = buyer.reserve(2)
    if when == "after it":
        buyer.open_pay_page(order)
    shopfront.shop.db.transaction(lambda s: s.execute(update(TicketType).values(price=9900)))
    pi = buyer.open_pay_page(order)
    assert shopfront.stripe.v1.payment_intents.retrieve(pi).amount == 15000
    shopfront.confirm(pi)
    buyer.get(f"/orders/{order.token}/return")
    shopfront.run_jobs()
    assert shopfront.order(order.token).status == "paid"
    assert [ticket.price for ticket in shopfront.tickets(order)] == [7500, 7500]
    check_money(shopfront)


@pytest.mark.case("PAY-08")
def test_pay08_whoever_saw_another_price_is_asked_again(shopfront):
    buyer = shopfront.buyer()
    form = buyer.form()
    shopfront.shop.db.transaction(lambda s: s.execute(update(TicketType).values(price=9900)))
    first = shopfront.event.ticket_types[0].id
    path = f"/events/{shopfront.event.slug}/orders"
    answer = buyer.post(path, form | {f"quantity-{first}": "1"}, allow_redirects=False)
    assert answer.status_code == 422
    assert shopfront.stock() == (0, 0)
