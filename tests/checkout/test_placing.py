"""Placing an order: what is held, what is refused, and what a repetition does."""

from __future__ import annotations

import re
from functools import partial

import pytest
from sqlalchemy import select, update

from tests.racing import together
from tests.shopfront import add_event
from tmt.catalog.models import Event, EventStatus, TicketType
from tmt.catalog.stock import SoldOut
from tmt.checkout.models import Order
from tmt.checkout.orders import NotOnSale, PriceChanged
from tmt.core.ids import new_token
from tmt.core.money import AmountOutOfRange
from tmt.payments.models import Payment

pytestmark = [pytest.mark.usefixtures("sound"), pytest.mark.databases("sqlite")]


def in_english(buyer):
    buyer.session.headers["Accept-Language"] = "en"
    return buyer


def orders(shopfront):
    with shopfront.shop.db.reading() as session:
        return session.scalars(select(Order)).all()


def change(shopfront, table, row_id, **values):
    query = update(table).where(table.id == row_id).values(**values)
    shopfront.shop.db.transaction(lambda s: s.execute(query))


@pytest.mark.databases("sqlite", "postgresql")
def test_placing_holds_the_tickets_and_freezes_the_lines(shopfront):
    order = shopfront.buyer().reserve(2, 1)
    assert shopfront.stock() == (3, 0)
    assert order.status == "held"
    assert [(line.unit_price, line.quantity) for line in order.lines] == [(7500, 2), (2500, 1)]
    general = shopfront.event.ticket_types[0]
    change(shopfront, TicketType, general.id, price=9900, name="Otra cosa")
    again = shopfront.order(order.token)
    assert (again.total, again.currency) == (17500, "usd")
    assert again.lines[0].name == "General"
    payment = shopfront.payment(order)
    assert (payment.amount, payment.currency, payment.status) == (17500, "usd", "new")


@pytest.mark.databases("sqlite", "postgresql")
def test_the_same_form_twice_is_one_order(shopfront):
    buyer = shopfront.buyer()
    token = buyer.form()["checkout_token"]
    first = buyer.place(1, 1, checkout_token=token)
    second = buyer.place(2, 0, checkout_token=token)
    assert first.headers["Location"] == second.headers["Location"]
    assert shopfront.stock() == (2, 0)


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.parametrize("tickets_left", [1, 40])
def test_the_same_form_at_the_same_instant_is_one_order(shopfront, tickets_left):
    """With one ticket left too: the second tab must not show that it is sold out."""
    change(shopfront, Event, shopfront.event.id, capacity=tickets_left)
    for _round in range(1 if tickets_left == 1 else 4):
        token = new_token()
        place = partial(shopfront.place_directly, 1, checkout_token=token)
        results = together(*[place] * 4)
        assert len({order.id for order in results}) == 1
    with shopfront.shop.db.reading() as session:
        payments = session.scalars(select(Payment)).all()
    assert len(payments) == len(orders(shopfront)) == shopfront.stock()[0]


def test_the_price_that_was_shown_must_be_the_price(shopfront):
    buyer = in_english(shopfront.buyer())
    fields, general = buyer.form(), shopfront.event.ticket_types[0]
    change(shopfront, TicketType, general.id, price=7600)
    stale = {name: value for name, value in fields.items() if name.startswith("shown_price")}
    answer = buyer.place(1, **stale)
    assert answer.status_code == 422
    assert "A price changed" in answer.text
    assert f'name="shown_price-{general.id}" value="7600"' in answer.text
    assert 'value="Ana Ejemplo"' in answer.text
    assert shopfront.stock() == (0, 0)


def test_a_cheaper_price_from_the_browser_buys_nothing(shopfront):
    general = shopfront.event.ticket_types[0]
    answer = shopfront.buyer().place(1, **{f"shown_price-{general.id}": "1"})
    assert answer.status_code == 422
    assert not orders(shopfront)


def test_errors_are_beside_their_fields_and_the_input_is_shown_again(shopfront):
    buyer = in_english(shopfront.buyer(name="Ana & Eva", email="not an address"))
    answer = buyer.place(2, 99)
    page, balcony = answer.text, shopfront.event.ticket_types[1]
    assert answer.status_code == 422
    assert 'id="email-error"' in page
    assert f'id="quantity-{balcony.id}-error"' in page
    assert 'id="name-error"' not in page
    assert 'value="Ana &amp; Eva"' in page
    assert 'value="not an address"' in page
    assert re.search(rf'name="quantity-{balcony.id}"[^>]*\s+value="99"', page)


def test_a_type_that_sold_out_meanwhile_is_an_error_and_the_rest_stays(shopfront):
    buyer = in_english(shopfront.buyer())
    fields, (general, balcony) = buyer.form(), shopfront.event.ticket_types
    change(shopfront, TicketType, general.id, capacity=0)
    answer = buyer.place(2, 1, **fields)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert 'value="Ana Ejemplo"' in answer.text
    assert re.search(rf'name="quantity-{balcony.id}"[^>]*\s+value="1"', answer.text)
    assert shopfront.stock() == (0, 0)


@pytest.mark.databases("sqlite", "postgresql")
def test_when_others_bought_first_the_form_is_shown_again(shopfront):
    change(shopfront, Event, shopfront.event.id, capacity=3)
    answer = in_english(shopfront.buyer()).place(2, 2)
    assert answer.status_code == 422
    assert "there are not that many tickets left" in answer.text
    assert 'value="Ana Ejemplo"' in answer.text
    assert shopfront.stock() == (0, 0)


@pytest.mark.parametrize(
    ("quantities", "refusal"),
    [
        ((9, 0), NotOnSale),
        ((0, 0), NotOnSale),
        ((-1, 2), NotOnSale),
        ((5, 3), SoldOut),
    ],
)
def test_below_the_web_the_same_rules_hold(shopfront, quantities, refusal):
    change(shopfront, TicketType, shopfront.event.ticket_types[0].id, capacity=4)
    with pytest.raises(refusal):
        shopfront.place_directly(*quantities)
    assert shopfront.stock() == (0, 0)


def test_another_events_types_are_refused(shopfront):
    other = add_event(shopfront.shop.db, slug="otro")
    foreign = other.ticket_types[0]
    values = {"quantities": {foreign.id: 1}, "shown_prices": {foreign.id: foreign.price}}
    with pytest.raises(NotOnSale):
        shopfront.place_directly(**values)
    assert shopfront.buyer().place(0, **{f"quantity-{foreign.id}": "1"}).status_code == 422
    assert shopfront.stock() == (0, 0)


def test_a_price_that_was_never_shown_is_refused(shopfront):
    with pytest.raises(PriceChanged):
        shopfront.place_directly(1, shown_prices={})


@pytest.mark.case("MON-03")
@pytest.mark.parametrize(("currency", "price"), [("usd", 49), ("jpy", 49), ("gbp", 29)])
def test_mon03_a_total_below_the_least_is_refused(shopfront, currency, price):
    event = shopfront.event
    change(shopfront, Event, event.id, currency=currency)
    change(shopfront, TicketType, event.ticket_types[0].id, price=price)
    prices = {event.ticket_types[0].id: price}
    with pytest.raises(AmountOutOfRange):
        shopfront.place_directly(1, shown_prices=prices)
    assert shopfront.place_directly(2, shown_prices=prices).total == 2 * price


@pytest.mark.databases("sqlite", "postgresql")
def test_a_free_order_is_paid_without_stripe(shopfront):
    free = shopfront.event.ticket_types[1]
    change(shopfront, TicketType, free.id, price=0)
    answer = shopfront.buyer().place(0, 2)
    assert re.fullmatch(r"/orders/[\w-]{22}", answer.headers["Location"])
    order = orders(shopfront)[0]
    assert order.status == "paid"
    assert len(shopfront.tickets(order)) == 2
    shopfront.run_jobs()
    assert len(shopfront.mails()) == 1
    assert not shopfront.stripe.v1.payment_intents.list().data


@pytest.mark.parametrize("status", [EventStatus.DRAFT, EventStatus.CANCELED])
def test_an_event_that_is_not_published_sells_nothing(shopfront, status):
    fields = shopfront.buyer().form()
    change(shopfront, Event, shopfront.event.id, status=status)
    answer = shopfront.buyer().place(1, **fields)
    assert answer.status_code in (400, 404, 422)
    assert not orders(shopfront)


@pytest.mark.databases("sqlite", "postgresql")
def test_i8_a_token_that_no_database_takes_is_no_fault_of_ours(shopfront):
    for token in ("\x00" * 22, "x\x00y", "ñ" * 22):
        assert shopfront.buyer().place(1, checkout_token=token).status_code == 422
    assert not orders(shopfront)


class TestLimits:
    @pytest.fixture
    def settings(self):
        return {"orders_per_address": "3 per hour", "orders_per_email": "2 per hour"}

    def test_orders_from_one_address_are_limited(self, shopfront):
        emails = [f"buyer{n}@example.com" for n in range(4)]
        answers = [shopfront.buyer(email=email).place(1) for email in emails]
        assert [a.status_code for a in answers] == [303, 303, 303, 429]
        assert 3500 < int(answers[3].headers["Retry-After"]) <= 3600
        assert shopfront.stock() == (3, 0)

    def test_orders_of_one_email_are_limited_and_the_page_says_when(self, shopfront):
        emails = ["ana@example.com", "ANA@example.com", "ana@EXAMPLE.com"]
        answers = [in_english(shopfront.buyer(email=email)).place(1) for email in emails]
        assert [a.status_code for a in answers] == [303, 303, 429]
        assert "Please try again in 60 minutes." in answers[2].text
        assert shopfront.stock() == (2, 0)

    def test_the_same_order_again_does_not_count(self, shopfront):
        buyer = shopfront.buyer()
        token = buyer.form()["checkout_token"]
        for _again in range(5):
            assert buyer.place(1, checkout_token=token).status_code == 303
